"""Deleting packages and files; ``operation.cleanup`` removes rows and stored objects later."""

from __future__ import annotations

from collections.abc import Iterable

from registry.database import AdvisoryLock, lock, transaction
from registry.domain import access, audit, namespaces
from registry.domain.access import Permission, Principal
from registry.domain.packages import answers, lists, usage
from registry.domain.packages.protection import refuse_delete_protected
from registry.errors import RecordNotFound
from registry.models import FileStatus, Package, PackageFile, PackageStatus, Project


def delete_package(package: Package, project: Project, *, by: Principal) -> None:
    """Delete a package; it disappears from all lists immediately, and ``cleanup`` removes rows and stored objects.

    Shares ``AdvisoryLock.TREE``: the project cannot be deleted in the meantime.

    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises RecordNotFound: the package was deleted in the meantime.
    """
    refuse_delete_protected(project, package.name, by)
    with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False) as session:
        lock(package)
        if package.status is PackageStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        package.status = PackageStatus.PENDING_DESTRUCTION
        for file in session.scalars(lists.package_files(package).order_by(PackageFile.id).with_for_update()):
            file.status = FileStatus.PENDING_DESTRUCTION
            usage.note_removed(file)
        answers.note_deleted(package)
        namespaces.touch(project.id)
        audit.record(by, "package_deleted", f"{package.name} {package.version}", project)


def delete_file(file: PackageFile, package: Package, project: Project, *, by: Principal) -> None:
    """Delete one file of a package, and keep the package.

    Shares ``AdvisoryLock.TREE``: the project cannot be deleted in the meantime.

    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises RecordNotFound: the file was deleted in the meantime.
    """
    refuse_delete_protected(project, package.name, by)
    with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False):
        lock(package, "status")  # uploads to it and counts of its downloads wait
        lock(file, "status")
        if file.status is FileStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        file.status = FileStatus.PENDING_DESTRUCTION
        usage.note_removed(file)
        answers.note_change(package.normalized_name)
        namespaces.touch(project.id)
        audit.record(by, "package_file_deleted", file.filename, project, package=f"{package.name} {package.version}")


def delete_packages(packages: Iterable[Package], *, by: Principal) -> None:
    """Delete all of these packages, loaded with their projects, or none.

    Locks them in the order of their IDs; takes the locks of ``delete_package``.

    :raises Forbidden: the project of one of them does not let this principal delete packages.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises RecordNotFound: one of them was deleted in the meantime.
    """
    packages = list(packages)
    by = access.load_roles(by, {package.project_id: package.project for package in packages}.values())
    for package in packages:
        access.require(by, Permission.DESTROY_PACKAGE, package.project)
    with transaction(changes_answers=False):
        for package in sorted(packages, key=lambda package: package.id):
            delete_package(package, package.project, by=by)


def delete_files(files: Iterable[PackageFile], package: Package, project: Project, *, by: Principal) -> bool:
    """Delete files of a package, and the package with its last file.

    Takes the locks of ``delete_file``.

    :returns: whether the package was deleted.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises RecordNotFound: one of the files was deleted in the meantime.
    """
    with transaction(changes_answers=False) as session:
        for file in files:
            delete_file(file, package, project, by=by)
        session.flush()
        if session.scalar(lists.package_files(package).limit(1)) is not None:
            return False
        delete_package(package, project, by=by)
        return True
