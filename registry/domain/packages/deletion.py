"""Deleting packages and files; ``operation.cleanup`` removes rows and stored objects later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import select, tuple_

from registry.database import AdvisoryLock, db, lock, transaction
from registry.domain import access, audit, namespaces
from registry.domain.access import Permission, Principal
from registry.domain.packages import answers, lists, requirements, reserved, summaries, usage
from registry.domain.packages.protection import refuse_delete_protected
from registry.errors import RecordNotFound
from registry.models import FileStatus, Package, PackageFile, PackageStatus, Project


def delete_package(package: Package, project: Project, *, by: Principal, release_name: bool = False) -> None:
    """Delete a package; it disappears from all lists immediately, and ``cleanup`` removes rows and stored objects.

    Shares ``AdvisoryLock.TREE``, so that the project is not deleted in the meantime, or takes it to release the name.

    :param release_name: release the name if nothing of it is left then (``reserved.release``).
    :raises Forbidden: the principal is not an Owner of what holds the name.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises RecordNotFound: the package was deleted in the meantime.
    """
    refuse_delete_protected(project, package.name, by)
    with (
        _releasing([(project, package.normalized_name)], release_name, by),
        transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False) as session,
    ):
        lock(package, referable=True)
        if package.status is PackageStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        package.status = PackageStatus.PENDING_DESTRUCTION
        for file in session.scalars(lists.package_files(package).order_by(PackageFile.id).with_for_update()):
            file.status = FileStatus.PENDING_DESTRUCTION
            usage.note_removed(file)
        answers.note_deleted(package)
        summaries.note_changed(package.project_id, package.normalized_name)
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
        lock(package, "status", referable=True)  # uploads to it and counts of its downloads wait
        lock(file, "status")
        if file.status is FileStatus.PENDING_DESTRUCTION:
            raise RecordNotFound
        file.status = FileStatus.PENDING_DESTRUCTION
        requirements.note_deleted(package.id, file.core_metadata_sha256)
        usage.note_removed(file)
        answers.note_change(package.normalized_name)
        summaries.note_changed(package.project_id, package.normalized_name)
        namespaces.touch(project.id)
        audit.record(by, "package_file_deleted", file.filename, project, package=f"{package.name} {package.version}")


def delete_packages(packages: Iterable[Package], *, by: Principal, release_names: bool = False) -> None:
    """Delete all of these packages, loaded with their projects, or none.

    Locks them in the order of their IDs; takes the locks of ``delete_package``, or ``AdvisoryLock.TREE``.

    :param release_names: release the names of which nothing is left then (``reserved.release``).
    :raises Forbidden: the project of one of them does not let this principal delete packages, or release its name.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises RecordNotFound: one of them was deleted in the meantime.
    """
    packages = list(packages)
    by = access.load_roles(by, {package.project_id: package.project for package in packages}.values())
    for package in packages:
        access.require(by, Permission.DESTROY_PACKAGE, package.project)
    with _releasing([(package.project, package.normalized_name) for package in packages], release_names, by):
        for package in sorted(packages, key=lambda package: package.id):
            delete_package(package, package.project, by=by)


def names_ended_by_deleting(packages: Collection[Package]) -> set[str]:
    """Return the normalized names of which a deletion of these packages leaves no version in their projects."""
    deleted = {package.id for package in packages}
    names = {(package.project_id, package.normalized_name) for package in packages}
    others = select(Package.project_id, Package.normalized_name).where(
        tuple_(Package.project_id, Package.normalized_name).in_(names),
        Package.id.not_in(deleted),
        Package.status == PackageStatus.DEFAULT,
    )
    kept = {(row.project_id, row.normalized_name) for row in db.session.execute(others.distinct())}
    return {normalized_name for _, normalized_name in names - kept}


def delete_files(
    files: Iterable[PackageFile], package: Package, project: Project, *, by: Principal, release_name: bool = False
) -> bool:
    """Delete files of a package, and the package with its last file.

    Takes the locks of ``delete_file``, or ``AdvisoryLock.TREE``.

    :param release_name: release the name if nothing of it is left then (``reserved.release``).
    :return: whether the package was deleted.
    :raises Forbidden: the principal is not an Owner of what holds the name.
    :raises ProtectedPackage: a protection rule requires a higher role.
    :raises RecordNotFound: one of the files was deleted in the meantime.
    """
    with _releasing([(project, package.normalized_name)], release_name, by):
        for file in files:
            delete_file(file, package, project, by=by)
        db.session.flush()
        if db.session.scalar(lists.package_files(package).limit(1)) is not None:
            return False
        delete_package(package, project, by=by)
        return True


@contextmanager
def _releasing(names: Iterable[tuple[Project, str]], is_wanted: bool, by: Principal) -> Iterator[None]:
    """Open a transaction for a deletion; at its end, release the names of which nothing is left.

    Takes ``AdvisoryLock.TREE`` to release them.

    :raises Forbidden: the principal is not an Owner of what holds one of the names.
    """
    with transaction(lock=AdvisoryLock.TREE if is_wanted else None, changes_answers=False):
        yield
        for project, name in dict.fromkeys(names) if is_wanted else ():
            reserved.release_if_unused(project, name, by=by)
