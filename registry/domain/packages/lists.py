"""Packages and files as scripts and people list them.

Every function costs a fixed number of statements, whatever the number of packages, files, members or groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.utils import canonicalize_name
from sqlalchemy import Select, func, select
from sqlalchemy.orm import contains_eager, joinedload

from registry.database import contains, db
from registry.domain import access
from registry.domain.access import Principal
from registry.domain.packages import usage
from registry.domain.packages.index import of_projects
from registry.domain.packages.names import version_key
from registry.errors import RecordNotFound
from registry.models import (
    DISPLAYABLE,
    FileStatus,
    Group,
    Job,
    Namespace,
    Package,
    PackageFile,
    PackageStatus,
    Project,
    StorageUsage,
    User,
)

SHOWN_ALONE = (PackageStatus.DEFAULT, PackageStatus.DEPRECATED)


@dataclass(frozen=True)
class PackageFilter:
    """What a list of packages is narrowed to. ``status`` ``None``: the displayable ones."""

    name: str = ""
    version: str = ""
    package_type: str = ""
    status: PackageStatus | None = None


def packages(
    namespace: Namespace, principal: Principal, wanted: PackageFilter, *, subgroups: bool = True
) -> Select[Package]:
    """The packages of a project, or of the readable projects below a group, to be ordered and paged by the caller.

    :param subgroups: for a group, whether projects of its subgroups count.
    """
    statuses = DISPLAYABLE if wanted.status is None else (wanted.status,)
    statement = _listed(namespace, principal).where(Package.status.in_(statuses))
    if isinstance(namespace, Group) and not subgroups:
        statement = statement.where(Project.parent_id == namespace.id)
    if wanted.name:
        statement = statement.where(contains(Package.name, wanted.name))
    if wanted.version:
        statement = statement.where(Package.version == wanted.version)
    if wanted.package_type:
        statement = statement.where(Package.package_type == wanted.package_type)
    return statement


def packages_by_id(namespace: Namespace, principal: Principal, ids: Iterable[int]) -> list[Package]:
    """Those of these that lie in the project, or in a readable project below the group, and are not deleted."""
    statement = _listed(namespace, principal).where(
        Package.id.in_(list(ids)), Package.status != PackageStatus.PENDING_DESTRUCTION
    )
    return list(db.session.scalars(statement.order_by(Package.id)))


def _listed(namespace: Namespace, principal: Principal) -> Select[Package]:
    """Packages in any status, each with its project."""
    return (
        select(Package)
        .join(Project, Project.id == Package.project_id)
        .options(contains_eager(Package.project))
        .where(of_projects(Package.project_id, namespace, principal))
    )


def ordered(statement: Select[Package], order_by: str, *, descending: bool) -> Select[Package]:
    """:param order_by: ``created_at``, ``name``, ``version``, ``type`` or ``project_path``; equals by id."""
    columns = {"type": Package.package_type, "project_path": Project.full_path_key}
    keys = (columns[order_by] if order_by in columns else getattr(Package, order_by), Package.id)
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


def ids_in_version_order(statement: Select[Package], *, descending: bool) -> list[int]:
    """The ids of a list of packages in the order of PEP 440, which no database knows; equals by id."""
    found = statement.order_by(None).subquery()
    rows = db.session.execute(select(found.c.version, found.c.id)).all()
    return [
        package_id for _, package_id in sorted(rows, key=lambda row: (version_key(row[0]), row[1]), reverse=descending)
    ]


def shown_package(namespace: Namespace, package_id: int, principal: Principal) -> Package | None:
    """A package that has a page, in the project or in a readable project below the group, with project and creator."""
    statement = packages(namespace, principal, PackageFilter()).options(joinedload(Package.creator))
    return db.session.scalar(statement.where(Package.id == package_id, Package.status.in_(SHOWN_ALONE)))


def package(project: Project, package_id: int, statuses: Iterable[PackageStatus] = SHOWN_ALONE) -> Package:
    """A package of this project that is shown on its own.

    :raises RecordNotFound: there is none, or its status hides it.
    """
    found = db.session.get(Package, package_id)
    if found is None or found.project_id != project.id or found.status not in statuses:
        raise RecordNotFound
    return found


def packages_named(project: Project, name: str, version: str) -> list[Package]:
    """The records of one release, under every spelling of its name (PEP 503), the oldest first; no deleted ones."""
    found = select(Package).where(
        Package.project_id == project.id,
        Package.normalized_name == canonicalize_name(name),
        Package.version == version,
        Package.status != PackageStatus.PENDING_DESTRUCTION,
    )
    return list(db.session.scalars(found.order_by(Package.id)))


def package_files(package: Package) -> Select[PackageFile]:
    return select(PackageFile).where(PackageFile.package_id == package.id, PackageFile.status == FileStatus.DEFAULT)


def ordered_files(package: Package, order_by: str, *, descending: bool) -> Select[PackageFile]:
    """The files with the jobs that published them.

    :param order_by: ``id``, ``file_name`` or ``created_at``; equals by id.
    """
    keys = (PackageFile.filename if order_by == "file_name" else getattr(PackageFile, order_by), PackageFile.id)
    statement = package_files(package).options(joinedload(PackageFile.job).joinedload(Job.user))
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


def package_file(package: Package, file_id: int) -> PackageFile:
    """One file, with the job that published it.

    :raises RecordNotFound: the package has no such file.
    """
    statement = package_files(package).options(joinedload(PackageFile.job).joinedload(Job.user))
    found = db.session.scalar(statement.where(PackageFile.id == file_id))
    if found is None:
        raise RecordNotFound
    return found


def project_file(project: Project, file_id: int) -> PackageFile:
    """:raises RecordNotFound: the project has no such file."""
    file = db.session.get(PackageFile, file_id)
    if file is None or file.project_id != project.id or file.status is not FileStatus.DEFAULT:
        raise RecordNotFound
    return file


def package_files_by_id(package: Package, ids: Iterable[int]) -> list[PackageFile]:
    """Those of these files that the package has."""
    chosen = package_files(package).where(PackageFile.id.in_(list(ids)))
    return list(db.session.scalars(chosen.order_by(PackageFile.id)))


def package_size(package: Package) -> int:
    """The sum of the sizes of its files, in bytes."""
    sizes = package_files(package).with_only_columns(func.sum(PackageFile.size_bytes))
    return int(db.session.scalar(sizes) or 0)


@dataclass(frozen=True)
class Yank:
    """How much of a package is yanked, and why.

    :ivar reasons: those of its files; ``None`` stands for files that are not yanked.
    """

    reasons: frozenset[str | None]

    @property
    def is_whole(self) -> bool:
        """The version is yanked: all its files are."""
        return bool(self.reasons) and None not in self.reasons

    @property
    def is_partial(self) -> bool:
        return None in self.reasons and len(self.reasons) > 1

    @property
    def reason(self) -> str:
        """The one of a version that is yanked for one reason."""
        return next(iter(self.reasons)) or "" if len(self.reasons) == 1 else ""


def yanks(packages: Iterable[Package]) -> dict[int, Yank]:
    """How much of each of many packages is yanked, by its id, in one statement."""
    reasons: dict[int, set[str | None]] = {package.id: set() for package in packages}
    rows = db.session.execute(
        select(PackageFile.package_id, PackageFile.yanked_reason)
        .where(PackageFile.package_id.in_(reasons), PackageFile.status == FileStatus.DEFAULT)
        .distinct()
    )
    for package_id, reason in rows:
        reasons[package_id].add(reason)
    return {package_id: Yank(frozenset(found)) for package_id, found in reasons.items()}


def core_metadata_digest(package: Package) -> str | None:
    """The digest of the core metadata document of the newest file of the package."""
    digests = package_files(package).with_only_columns(PackageFile.core_metadata_sha256)
    return db.session.scalar(
        digests.where(PackageFile.core_metadata_sha256.is_not(None)).order_by(PackageFile.id.desc()).limit(1)
    )


def jobs(package: Package, *, before: int | None = None) -> Select[Job]:
    """The CI jobs that published files of a package, the newest first.

    :param before: only ids below this one.
    """
    published = select(PackageFile.job_id).where(
        PackageFile.package_id == package.id, PackageFile.status == FileStatus.DEFAULT
    )
    statement = select(Job).options(joinedload(Job.user)).where(Job.id.in_(published)).order_by(Job.id.desc())
    return statement if before is None else statement.where(Job.id < before)


def jobs_of(packages: Iterable[Package]) -> dict[int, list[Job]]:
    """The same for many packages, by the package's id, in one statement; ids without a job are left out."""
    ids = [package.id for package in packages]
    rows = db.session.execute(
        select(PackageFile.package_id, Job)
        .join(Job, Job.id == PackageFile.job_id)
        .options(joinedload(Job.user))
        .where(PackageFile.package_id.in_(ids), PackageFile.status == FileStatus.DEFAULT)
        .order_by(Job.id.desc())
    )
    found: dict[int, list[Job]] = {}
    for package_id, job in rows:
        listed = found.setdefault(package_id, [])
        if job not in listed:
            listed.append(job)
    return found


def other_versions(package: Package) -> list[Package]:
    """Displayable records of the same name as spelled, in PEP 440 order."""
    found = db.session.scalars(versions_beside(package))
    return sorted(found, key=lambda record: version_key(record.version))


def versions_beside(package: Package) -> Select[Package]:
    """The same in no order, not read yet."""
    return select(Package).where(
        Package.project_id == package.project_id,
        Package.name == package.name,
        Package.id != package.id,
        Package.status.in_(DISPLAYABLE),
    )


def count(statement: Select[Package]) -> int:
    """How many packages a list holds."""
    return db.session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0


def package_counts(projects: Iterable[Project]) -> dict[int, int]:
    """How many packages each of many projects shows, by its id, in one statement."""
    counts = {project.id: 0 for project in projects}
    rows = db.session.execute(
        select(Package.project_id, func.count())
        .where(Package.project_id.in_(counts), Package.status.in_(DISPLAYABLE))
        .group_by(Package.project_id)
    )
    return counts | {row[0]: row[1] for row in rows}


def storage_bytes(namespace: Namespace) -> int:
    """The sum of the sizes of all files kept in a project, or below a group."""
    return storage_sizes([namespace])[namespace.id]


def storage_sizes(namespaces: Iterable[Namespace]) -> dict[int, int]:
    """The same for many namespaces, in bytes by id, in one statement."""
    return usage.sizes_of(namespace.id for namespace in namespaces)


@dataclass(frozen=True)
class StorageUse:
    """What one package name of a project, or one project of a group, holds in the store."""

    name: str
    packages: int
    files: int
    size_bytes: int
    project: Project | None = None


def storage_by_name(project: Project) -> list[StorageUse]:
    """The package names of a project, the largest first."""
    rows = db.session.execute(
        select(func.max(Package.name), *_STORAGE_SUMS)
        .join(PackageFile, PackageFile.package_id == Package.id)
        .where(Package.project_id == project.id, PackageFile.status == FileStatus.DEFAULT)
        .group_by(Package.normalized_name)
        .order_by(func.sum(PackageFile.size_bytes).desc(), Package.normalized_name)
    )
    return [StorageUse(name, packages, files, int(size)) for name, packages, files, size in rows]


def storage_by_project(group: Group) -> list[StorageUse]:
    """The projects below a group that hold files, the largest first."""
    rows = db.session.execute(
        select(Project, *_STORAGE_SUMS)
        .join(PackageFile, PackageFile.project_id == Project.id)
        .join(Package, Package.id == PackageFile.package_id)
        .where(access.within(group), PackageFile.status == FileStatus.DEFAULT)
        .group_by(Project.id)
        .order_by(func.sum(PackageFile.size_bytes).desc(), Project.id)
    )
    return [
        StorageUse(project.full_name, packages, files, int(size), project) for project, packages, files, size in rows
    ]


_STORAGE_SUMS = (
    func.count(Package.id.distinct()),
    func.count(PackageFile.id),
    func.sum(PackageFile.size_bytes),
)


@dataclass(frozen=True)
class Totals:
    """What the whole instance holds."""

    users: int
    groups: int
    projects: int
    packages: int
    files: int
    size_bytes: int


def totals() -> Totals:
    """Counted in one statement; what is deleted and only waits for its removal is left out."""
    counted = (
        select(func.count(User.id)),
        select(func.count(Group.id)),
        select(func.count(Project.id)),
        select(func.count(Package.id)).where(Package.status != PackageStatus.PENDING_DESTRUCTION),
        select(func.coalesce(func.sum(StorageUsage.files), 0)),
        select(func.coalesce(func.sum(StorageUsage.size_bytes), 0)),
    )
    row = db.session.execute(select(*(each.scalar_subquery() for each in counted))).one()
    return Totals(*map(int, row))
