"""Deleting packages and files; ``operation.cleanup`` removes rows and bytes later."""

from __future__ import annotations

from collections.abc import Iterable

from registry.database import lock, transaction
from registry.domain import audit, namespaces
from registry.domain.access import Principal
from registry.domain.packages import lists, usage
from registry.domain.packages.protection import refuse_delete_protected
from registry.errors import RecordNotFound
from registry.models import FileStatus, Package, PackageFile, PackageStatus, Project


def delete_package(package: Package, project: Project, *, by: Principal) -> None:
    """Gone from every list at once; ``cleanup`` removes rows and bytes.

    :raises ProtectedPackage: a protection rule asks for a higher role.
    :raises RecordNotFound: it was deleted meanwhile.
    """
    refuse_delete_protected(project, package.name, by)
    with transaction() as session:
        lock(package)
        if package.status is PackageStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        package.status = PackageStatus.PENDING_DESTRUCTION
        for file in session.scalars(lists.package_files(package).order_by(PackageFile.id).with_for_update()):
            file.status = FileStatus.PENDING_DESTRUCTION
            usage.note(file, removed=True)
        namespaces.touch(project.id)
        audit.record(by, "package_deleted", f"{package.name} {package.version}", project)


def delete_file(file: PackageFile, package: Package, project: Project, *, by: Principal) -> None:
    """:raises ProtectedPackage: a protection rule asks for a higher role.

    :raises RecordNotFound: it was deleted meanwhile.
    """
    refuse_delete_protected(project, package.name, by)
    with transaction():
        lock(file, "status")
        if file.status is FileStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        file.status = FileStatus.PENDING_DESTRUCTION
        usage.note(file, removed=True)
        namespaces.touch(project.id)
        audit.record(by, "package_file_deleted", file.filename, project, package=f"{package.name} {package.version}")


def delete_packages(packages: Iterable[Package], *, by: Principal) -> None:
    """Delete several packages, each loaded with its project, or none of them; raises as ``delete_package``."""
    with transaction():
        for package in packages:
            delete_package(package, package.project, by=by)


def delete_files(files: Iterable[PackageFile], package: Package, project: Project, *, by: Principal) -> bool:
    """Delete some files of a package, and with the last of them the package.

    :returns: whether the package went too.
    :raises ProtectedPackage: a protection rule asks for a higher role.
    :raises RecordNotFound: one of them was deleted meanwhile.
    """
    with transaction() as session:
        lock(package)  # an upload to it waits, and then makes a new one
        for file in files:
            delete_file(file, package, project, by=by)
        session.flush()
        if session.scalar(lists.package_files(package).limit(1)) is not None:
            return False
        delete_package(package, project, by=by)
        return True
