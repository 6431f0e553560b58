"""Lists of packages and files for the REST API, the pages, and the shell.

Every function runs a fixed number of statements for any number of packages, files, members, and groups.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from packaging.utils import canonicalize_name
from sqlalchemy import ColumnElement, Select, and_, exists, func, null, or_, select
from sqlalchemy.orm import contains_eager, joinedload, selectinload, undefer

from registry.database import contains, db
from registry.domain import access
from registry.domain.access import Principal
from registry.domain.packages import usage
from registry.domain.packages.index import of_projects
from registry.errors import RecordNotFound
from registry.models import (
    FileStatus,
    Group,
    ImportedPipeline,
    Job,
    Namespace,
    NameStatus,
    NameSummary,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    Pipeline,
    Project,
    StorageUsage,
    TrustedRun,
    User,
)


class Published(Protocol):
    """A version, as a record or as a row of a list."""

    @property
    def id(self) -> int: ...
    @property
    def creator_id(self) -> int | None: ...


@dataclass(frozen=True)
class PackageFilter:
    """Criteria of a list of packages.

    :ivar statuses: the statuses to include; an empty tuple selects nothing.
    """

    name: str = ""
    version: str = ""
    package_type: str = ""
    statuses: tuple[PackageStatus, ...] = (PackageStatus.DEFAULT,)


def packages(
    namespace: Namespace, principal: Principal, wanted: PackageFilter, *, subgroups: bool = True
) -> Select[Package]:
    """Select the packages of a project, or of the readable projects below a group; the caller orders and pages them.

    :param subgroups: for a group, whether to include the projects of its subgroups.
    """
    statement = _listed(namespace, principal).where(Package.status.in_(wanted.statuses))
    if isinstance(namespace, Group) and not subgroups:
        statement = statement.where(Project.parent_id == namespace.id)
    if wanted.name:
        statement = statement.where(contains(Package.name, wanted.name))
    if wanted.version:
        statement = statement.where(Package.version == wanted.version)
    if wanted.package_type:
        statement = statement.where(Package.package_type == wanted.package_type)
    return statement


def published_last(
    namespace: Namespace, principal: Principal, number: int, normalized_name: str | None = None
) -> Sequence[Package]:
    """Return the packages published last, with their projects and creators, newest first.

    :param normalized_name: only versions of this name.
    """
    statement = packages(namespace, principal, PackageFilter()).options(joinedload(Package.creator))
    if normalized_name is not None:
        statement = statement.where(Package.normalized_name == normalized_name)
    return db.session.scalars(ordered(statement, "created_at", descending=True).limit(number)).all()


def packages_by_id(namespace: Namespace, principal: Principal, ids: Iterable[int]) -> list[Package]:
    """Return those of these packages that belong to the project, or to a readable project below the group.

    Deleted packages are left out.
    """
    statement = _listed(namespace, principal).where(
        Package.id.in_(list(ids)), Package.status != PackageStatus.PENDING_DESTRUCTION
    )
    return list(db.session.scalars(statement.order_by(Package.id)))


def _listed(namespace: Namespace, principal: Principal) -> Select[Package]:
    """Select packages in any status, with their projects."""
    return (
        select(Package)
        .join(Project, Project.id == Package.project_id)
        .options(contains_eager(Package.project))
        .where(of_projects(Package.project_id, namespace, principal))
    )


def ordered(statement: Select[Package], order_by: str, *, descending: bool) -> Select[Package]:
    """Order a list of packages, and equals by id.

    :param order_by: ``created_at``, ``name``, ``version``, ``type``, or ``project_path``.
    """
    columns = {"type": Package.package_type, "project_path": Project.full_path_key}
    keys = (columns[order_by] if order_by in columns else getattr(Package, order_by), Package.id)
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


def in_version_order(statement: Select[Package], *, descending: bool) -> Select[Package]:
    """Order a list of packages by PEP 440, and equals by id."""
    keys = (Package.version_rank, Package.id)
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


class NameState(enum.StrEnum):
    """The marks of package names in lists, which lists can be filtered by."""

    YANKED = "yanked"
    PRERELEASE = "prerelease"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    REMARKS = "remarks"


@dataclass(frozen=True)
class NameFilter:
    """Criteria of a list of package names.

    :ivar name: a part of the name.
    :ivar publisher: the username of the user who published last, or a part of the user's name; or a part of the name of
        the CI job, or of what the identity token of a trusted publisher is about.
    """

    name: str = ""
    state: NameState | None = None
    publisher: str = ""


def package_names(namespace: Namespace, principal: Principal, wanted: NameFilter) -> Select[NameSummary]:
    """Select the package names of a project, or of the readable projects below a group, with their latest versions.

    The caller orders and pages them.
    """
    statement = (
        select(NameSummary)
        .options(selectinload(NameSummary.latest).joinedload(Package.project))
        .where(of_projects(NameSummary.project_id, namespace, principal))
    )
    if wanted.name:
        statement = statement.where(contains(NameSummary.name, wanted.name))
    if wanted.state is not None:
        statement = statement.where(_is_in(wanted.state))
    if wanted.publisher:
        statement = statement.where(_is_published_by(wanted.publisher))
    return statement


_IS_NEWEST = and_(
    Package.project_id == NameSummary.project_id,
    Package.normalized_name == NameSummary.normalized_name,
    Package.created_at == NameSummary.published_at,
    Package.status == PackageStatus.DEFAULT,
)
_IS_FILE_OF_PACKAGE = and_(PackageFile.package_id == Package.id, PackageFile.status == FileStatus.DEFAULT)


def _is_published_by(publisher: str) -> ColumnElement[bool]:
    """Match names whose newest version was published by a user, CI job, or trusted publisher of this name."""
    named = or_(User.username == publisher.lower(), contains(User.name, publisher))
    newest = select(Package.id).join(PackageFile, _IS_FILE_OF_PACKAGE).where(_IS_NEWEST)
    jobs = select(Job.id).where(contains(Job.name, publisher))
    subject = PackageFile.trusted_run["subject"].as_string()
    return or_(
        NameSummary.publisher_id.in_(select(User.id).where(named)),
        newest.where(PackageFile.job_id.in_(jobs)).exists(),
        and_(NameSummary.publisher_id.is_(None), newest.where(contains(subject, publisher)).exists()),
    )


def _is_in(state: NameState) -> ColumnElement[bool]:
    if state is NameState.YANKED:
        return NameSummary.latest_rank < "1"
    if state is NameState.PRERELEASE:
        return NameSummary.latest_rank.between("11", "12")
    if state is NameState.REMARKS:
        return NameSummary.has_remarks.is_(True)
    return exists().where(
        PackageName.project_id == NameSummary.project_id,
        PackageName.normalized_name == NameSummary.normalized_name,
        PackageName.status == NameStatus(state.value),
    )


_NAME_COLUMNS = {
    "created_at": NameSummary.published_at,
    "name": NameSummary.normalized_name,
    "downloads": NameSummary.downloads,
    "size": NameSummary.size_bytes,
}


def ordered_names(statement: Select[NameSummary], order_by: str, *, descending: bool) -> Select[NameSummary]:
    """Order a list of package names, and equals by name.

    :param order_by: ``created_at``, ``name``, ``downloads``, or ``size``.
    """
    column = _NAME_COLUMNS[order_by]
    ties = (NameSummary.normalized_name, NameSummary.project_id)
    return statement.order_by(column.desc() if descending else column, *ties)


def shown_package(namespace: Namespace, package_id: int, principal: Principal) -> Package | None:
    """Return a package with its project and creator; ``None`` if it is not readable here."""
    statement = packages(namespace, principal, PackageFilter()).options(joinedload(Package.creator))
    return db.session.scalar(statement.where(Package.id == package_id))


def package(project: Project, package_id: int) -> Package:
    """Return a package of this project.

    :raises RecordNotFound: the package does not exist, or was deleted.
    """
    found = db.session.get(Package, package_id)
    if found is None or found.project_id != project.id or found.status is not PackageStatus.DEFAULT:
        raise RecordNotFound
    return found


def packages_named(project: Project, name: str, version: str) -> list[Package]:
    """Return the packages of one version in any spelling of the name (PEP 503), oldest first, without deleted ones."""
    found = select(Package).where(
        Package.project_id == project.id,
        Package.normalized_name == canonicalize_name(name),
        Package.version == version,
        Package.status != PackageStatus.PENDING_DESTRUCTION,
    )
    return list(db.session.scalars(found.order_by(Package.id)))


def package_files(package: Package) -> Select[PackageFile]:
    return select(PackageFile).where(PackageFile.package_id == package.id, PackageFile.status == FileStatus.DEFAULT)


# How a file was published.
_PUBLISHED_WITH = (joinedload(PackageFile.job).joinedload(Job.user), undefer(PackageFile.trusted_run))


def ordered_files(package: Package, order_by: str, *, descending: bool) -> Select[PackageFile]:
    """Select the files of a package with the jobs that published them, and order equals by id.

    :param order_by: ``id``, ``file_name``, or ``created_at``.
    """
    keys = (PackageFile.filename if order_by == "file_name" else getattr(PackageFile, order_by), PackageFile.id)
    statement = package_files(package).options(*_PUBLISHED_WITH)
    return statement.order_by(*(key.desc() for key in keys) if descending else keys)


def with_remarks(files: Select[PackageFile]) -> Select[PackageFile]:
    """Select also the remarks on the files, which can be long."""
    return files.options(undefer(PackageFile.remarks))


def package_file(package: Package, file_id: int) -> PackageFile:
    """Return a file of the package with the job that published it.

    :raises RecordNotFound: the package has no such file.
    """
    statement = package_files(package).options(*_PUBLISHED_WITH)
    found = db.session.scalar(statement.where(PackageFile.id == file_id))
    if found is None:
        raise RecordNotFound
    return found


def project_file(project: Project, file_id: int) -> PackageFile:
    """Return a file of the project.

    :raises RecordNotFound: the project has no such file.
    """
    file = db.session.get(PackageFile, file_id)
    if file is None or file.project_id != project.id or file.status is not FileStatus.DEFAULT:
        raise RecordNotFound
    return file


def package_files_by_id(package: Package, ids: Iterable[int]) -> list[PackageFile]:
    """Return those of these files that belong to the package."""
    chosen = package_files(package).where(PackageFile.id.in_(list(ids)))
    return list(db.session.scalars(chosen.order_by(PackageFile.id)))


def package_size(package: Package) -> int:
    """Return the total size of the package's files in bytes."""
    sizes = package_files(package).with_only_columns(func.sum(PackageFile.size_bytes))
    return int(db.session.scalar(sizes) or 0)


@dataclass(frozen=True)
class Yank:
    """The extent of a yank in a package, and its reasons.

    :ivar reasons: the reasons of the package's files; ``None`` stands for files that are not yanked.
    """

    reasons: frozenset[str | None]

    @property
    def is_whole(self) -> bool:
        """Whether all files of the version are yanked."""
        return bool(self.reasons) and None not in self.reasons

    @property
    def is_partial(self) -> bool:
        return None in self.reasons and len(self.reasons) > 1

    @property
    def reason(self) -> str:
        """The reason, if it is the same for all files."""
        return next(iter(self.reasons)) or "" if len(self.reasons) == 1 else ""


def yanks(packages: Iterable[Package]) -> dict[int, Yank]:
    """Return the yank of each package by id, in one statement."""
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
    """Return the digest of the core metadata document of the package's newest file."""
    digests = package_files(package).with_only_columns(PackageFile.core_metadata_sha256)
    return db.session.scalar(
        digests.where(PackageFile.core_metadata_sha256.is_not(None)).order_by(PackageFile.id.desc()).limit(1)
    )


def pipelines(package: Package, *, before: int | None = None) -> list[tuple[int, Pipeline]]:
    """Return the pipelines that published files of a package with their keys, in descending order.

    :param before: only pipelines with keys below this one.
    """
    keyed: list[tuple[int, Pipeline]] = []
    imported = 0
    for pipeline in pipelines_of([package]).get(package.id, []):
        imported += pipeline.is_imported
        keyed.append((-imported if pipeline.is_imported else pipeline.id, pipeline))
    return [(key, pipeline) for key, pipeline in keyed if before is None or key < before]


def pipelines_of(packages: Iterable[Package]) -> dict[int, list[Pipeline]]:
    """Return the pipelines of each package by package id, in one statement: the CI jobs and then the imported ones.

    Both are sorted from newest to oldest. Packages without pipelines are left out.
    """
    ids = [package.id for package in packages]
    rows = db.session.execute(
        select(PackageFile.package_id, PackageFile.imported_pipelines, Job)
        .outerjoin(Job, Job.id == PackageFile.job_id)
        .options(joinedload(Job.user))
        .where(
            PackageFile.package_id.in_(ids),
            PackageFile.status == FileStatus.DEFAULT,
            or_(PackageFile.job_id.is_not(None), PackageFile.imported_pipelines.is_not(null())),
        )
    )
    found: dict[int, set[Pipeline]] = {}
    for package_id, imported, job in rows:
        elsewhere = map(ImportedPipeline.from_json, imported or ())
        found.setdefault(package_id, set()).update(elsewhere, [] if job is None else [job])
    return {package_id: sorted(listed, key=_newest_first) for package_id, listed in found.items()}


def trusted_runs_of(packages: Iterable[Published]) -> dict[int, TrustedRun]:
    """Return the run of a trusted publisher that published the first such file of each package, by package id.

    Packages without such files are left out. One statement for those without a creator.
    """
    ids = [package.id for package in packages if package.creator_id is None]
    if not ids:
        return {}
    rows = db.session.execute(
        select(PackageFile.package_id, PackageFile.trusted_run)
        .where(PackageFile.package_id.in_(ids), PackageFile.status == FileStatus.DEFAULT)
        .where(PackageFile.trusted_run.is_not(null()))
        .order_by(PackageFile.id.desc())
    )
    return {package_id: TrustedRun.from_json(run) for package_id, run in rows}


def newest_without_user(names: Iterable[NameSummary]) -> dict[int, Package]:
    """Return the newest version of each name whose newest version no user published, by ID of the latest version.

    At most one statement.
    """
    ids = [name.latest_id for name in names if name.publisher_id is None]
    if not ids:
        return {}
    rows = db.session.execute(
        select(NameSummary.latest_id, Package)
        .join(Package, _IS_NEWEST)
        .where(NameSummary.latest_id.in_(ids))
        .order_by(Package.id.desc())
    )
    return {row[0]: row[1] for row in rows}


def _newest_first(pipeline: Pipeline) -> tuple[bool, float, int]:
    return pipeline.is_imported, -pipeline.created_at.timestamp() if pipeline.is_imported else 0, -pipeline.id


def other_versions(package: Package) -> list[Package]:
    """Return the other versions of the name in the same spelling, in PEP 440 order."""
    return list(db.session.scalars(in_version_order(versions_beside(package), descending=False)))


def versions_beside(package: Package) -> Select[Package]:
    """Select the other versions of the name in the same spelling, in no particular order."""
    return select(Package).where(
        Package.project_id == package.project_id,
        Package.name == package.name,
        Package.id != package.id,
        Package.status == PackageStatus.DEFAULT,
    )


def count(statement: Select[Package]) -> int:
    """Return the number of packages in a list."""
    return db.session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0


def package_counts(projects: Iterable[Project]) -> dict[int, int]:
    """Return the number of package names of each project by id, in one statement."""
    counts = {project.id: 0 for project in projects}
    rows = db.session.execute(
        select(NameSummary.project_id, func.count())
        .where(NameSummary.project_id.in_(counts))
        .group_by(NameSummary.project_id)
    )
    return counts | {row[0]: row[1] for row in rows}


def storage_bytes(namespace: Namespace) -> int:
    """Return the total size of all files in a project, or below a group, in bytes."""
    return storage_sizes([namespace])[namespace.id]


def storage_sizes(namespaces: Iterable[Namespace]) -> dict[int, int]:
    """Return the total size of all files in each namespace by id, in bytes, in one statement."""
    return usage.sizes_of(namespace.id for namespace in namespaces)


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


def storage_by_name(project: Project) -> list[StorageUse]:
    """Return the package names of a project, largest first."""
    rows = db.session.execute(
        select(func.max(Package.name), *_STORAGE_SUMS, Package.normalized_name)
        .join(PackageFile, PackageFile.package_id == Package.id)
        .where(Package.project_id == project.id, PackageFile.status == FileStatus.DEFAULT)
        .group_by(Package.normalized_name)
        .order_by(func.sum(PackageFile.size_bytes).desc(), Package.normalized_name)
    )
    return [
        StorageUse(name, packages, versions, files, int(size), normalized_name=normalized_name)
        for name, packages, versions, files, size, normalized_name in rows
    ]


def storage_by_project(group: Group) -> list[StorageUse]:
    """Return the projects with files below a group, largest first."""
    rows = db.session.execute(
        select(Project, *_STORAGE_SUMS)
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


_STORAGE_SUMS = (
    func.count(Package.normalized_name.distinct()),
    func.count(Package.id.distinct()),
    func.count(PackageFile.id),
    func.sum(PackageFile.size_bytes),
)


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
