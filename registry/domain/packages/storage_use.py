"""What takes up the storage of a project, a group, or the instance, for pages and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from registry.database import db
from registry.domain import access
from registry.models import (
    FileStatus,
    Group,
    NameSummary,
    Package,
    PackageFile,
    PackageStatus,
    Project,
    StorageUsage,
    User,
)


@dataclass(frozen=True)
class StorageUse:
    """The storage used by one package name of a project, or by one project of a group.

    :ivar packages: number of package names.
    :ivar normalized_name: of the package name; empty for a project.
    """

    name: str
    packages: int
    versions: int
    files: int
    size_bytes: int
    project: Project | None = None
    normalized_name: str = ""


_SUMS = (
    func.count(Package.normalized_name.distinct()),
    func.count(Package.id.distinct()),
    func.count(PackageFile.id),
    func.sum(PackageFile.size_bytes),
)


def by_name(project: Project) -> list[StorageUse]:
    """Return the package names of a project, largest first."""
    rows = db.session.execute(
        select(func.max(Package.name), *_SUMS, Package.normalized_name)
        .join(PackageFile, PackageFile.package_id == Package.id)
        .where(Package.project_id == project.id, PackageFile.status == FileStatus.DEFAULT)
        .group_by(Package.normalized_name)
        .order_by(func.sum(PackageFile.size_bytes).desc(), Package.normalized_name)
    )
    return [
        StorageUse(name, packages, versions, files, int(size), normalized_name=normalized_name)
        for name, packages, versions, files, size, normalized_name in rows
    ]


def by_project(group: Group) -> list[StorageUse]:
    """Return the projects with files below a group, largest first."""
    rows = db.session.execute(
        select(Project, *_SUMS)
        .join(PackageFile, PackageFile.project_id == Project.id)
        .join(Package, Package.id == PackageFile.package_id)
        .where(access.within(group), PackageFile.status == FileStatus.DEFAULT)
        .group_by(Project.id)
        .order_by(func.sum(PackageFile.size_bytes).desc(), Project.id)
    )
    return [
        StorageUse(project.full_name, packages, versions, files, int(size), project)
        for project, packages, versions, files, size in rows
    ]


@dataclass(frozen=True)
class Totals:
    """The number of records in the entire instance, and the size of its files.

    :ivar packages: package names, of each project.
    """

    users: int
    groups: int
    projects: int
    packages: int
    versions: int
    files: int
    size_bytes: int


def totals() -> Totals:
    """Count the records of the instance in one statement, without deleted packages and files."""
    counted = (
        select(func.count(User.id)),
        select(func.count(Group.id)),
        select(func.count(Project.id)),
        select(func.count()).select_from(NameSummary),
        select(func.count(Package.id)).where(Package.status != PackageStatus.PENDING_DESTRUCTION),
        select(func.coalesce(func.sum(StorageUsage.files), 0)),
        select(func.coalesce(func.sum(StorageUsage.size_bytes), 0)),
    )
    row = db.session.execute(select(*(each.scalar_subquery() for each in counted))).one()
    return Totals(*map(int, row))
