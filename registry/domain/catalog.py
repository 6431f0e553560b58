"""What a namespace holds for a principal: the read path.

Every function here costs a fixed number of statements, whatever the number of packages, files, members or groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import ColumnElement, Select, and_, bindparam, func, inspect, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, contains_eager, joinedload

from registry.database import contains, db
from registry.domain import access, usage
from registry.domain.access import Principal
from registry.domain.simple import SimpleFile, SimpleIndex, SimplePage
from registry.errors import NotFound, RecordNotFound, Unauthenticated
from registry.models import (
    DISPLAYABLE,
    INSTALLABLE,
    FileStatus,
    Group,
    Job,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    Project,
    RegistryAccess,
    StorageUsage,
    User,
)

SHOWN_ALONE = (PackageStatus.DEFAULT, PackageStatus.DEPRECATED)

# (sha256, file name) → absolute address of the file under the index that was asked.
FileURL = Callable[[str, str], str]
AnySelect = Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class DownloadableFile:
    id: int
    filename: str
    size_bytes: int
    sha256: str
    core_metadata_sha256: str | None
    uploaded_at: datetime


_SAID_OF_ITS_NAME = and_(
    PackageName.project_id == Package.project_id, PackageName.normalized_name == Package.normalized_name
)

# The statements of the hottest paths are made once: to make one takes as long as to run it.
_LISTED_FILES = (
    select(
        Package.name,
        Package.version,
        PackageFile.filename,
        PackageFile.sha256,
        PackageFile.size_bytes,
        PackageFile.requires_python,
        PackageFile.created_at,
        PackageFile.core_metadata_sha256,
        PackageFile.core_metadata_is_final,
        PackageFile.yanked_reason,
        PackageName.status,
        PackageName.reason,
    )
    .select_from(Package)
    .outerjoin(PackageFile, and_(PackageFile.package_id == Package.id, PackageFile.status == FileStatus.DEFAULT))
    .outerjoin(PackageName, _SAID_OF_ITS_NAME)
    .where(Package.normalized_name == bindparam("name"), Package.status.in_(INSTALLABLE))
    .order_by(Package.id, PackageFile.id)
)
_DOWNLOADABLE_FILES = (
    select(
        PackageFile.id,
        PackageFile.filename,
        PackageFile.size_bytes,
        PackageFile.sha256,
        PackageFile.core_metadata_sha256,
        PackageFile.core_metadata_is_final,
        PackageFile.created_at,
    )
    .select_from(Package)
    .join(PackageFile, PackageFile.package_id == Package.id)
    .outerjoin(PackageName, _SAID_OF_ITS_NAME)
    .where(
        PackageFile.sha256 == bindparam("sha256"),
        PackageFile.filename == bindparam("filename"),
        PackageFile.status == FileStatus.DEFAULT,
        Package.status.in_(INSTALLABLE),
        or_(PackageName.status.is_(None), PackageName.status != NameStatus.QUARANTINED),
    )
    .order_by(Package.id.desc(), PackageFile.id.desc())
    .limit(1)
)


def simple_page(namespace: Namespace, name: str, file_url: FileURL, principal: Principal) -> SimplePage | None:
    """The installable files of one package name, or ``None`` when the namespace holds no record of it.

    A record without files gives an empty page: the name is taken, and must not be looked for elsewhere. So is a
    quarantined name, even when nothing of it is left.

    Several projects of a group may hold the name, each with its own status. A quarantine withholds the files of its own
    project and no others; the page as a whole is quarantined only when every project that holds the name says so,
    since a quarantined page offers no files (PEP 792). Otherwise it shows the most severe status among the projects
    whose files it offers, with that project's reason: a warning too many is better than one too few.

    :param name: normalized (PEP 503).
    """
    statement, values = _scoped(_LISTED_FILES, namespace, principal)
    rows = db.session.execute(statement, {"name": name, **values}).all()
    if not rows:
        return _withheld_page(namespace, name, principal)
    files = tuple(
        SimpleFile(
            filename=row.filename,
            url=file_url(row.sha256, row.filename),
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            requires_python=row.requires_python,
            uploaded_at=row.created_at,
            core_metadata_sha256=row.core_metadata_sha256 if row.core_metadata_is_final else None,
            yanked_reason=row.yanked_reason,
        )
        for row in rows
        if row.filename is not None and row.status is not NameStatus.QUARANTINED
    )
    status, reason = _shown_status((row.status or NameStatus.ACTIVE, row.reason or "") for row in rows)
    return SimplePage(
        name=name,
        title=rows[0].name,
        versions=sorted_versions(row.version for row in rows),
        files=files,
        status=status,
        status_reason=reason,
    )


def _withheld_page(namespace: Namespace, name: str, principal: Principal) -> SimplePage | None:
    """The page of a quarantined name of which no package is left."""
    reason = db.session.scalar(
        select(PackageName.reason)
        .where(
            PackageName.normalized_name == name,
            PackageName.status == NameStatus.QUARANTINED,
            _of_projects(PackageName.project_id, namespace, principal),
        )
        .order_by(PackageName.project_id)
        .limit(1)
    )
    if reason is None:
        return None
    return SimplePage(name=name, title=name, versions=(), files=(), status=NameStatus.QUARANTINED, status_reason=reason)


def _shown_status(said: Iterable[tuple[NameStatus, str]]) -> tuple[NameStatus, str]:
    """What the page says of a name of which the projects that hold it say this; among equals the first."""
    every = list(said)
    offering = [each for each in every if each[0] is not NameStatus.QUARANTINED]
    return max(offering or every, key=lambda each: list(NameStatus).index(each[0]))


def simple_index(namespace: Namespace, page_url: Callable[[str], str], principal: Principal) -> SimpleIndex:
    """Every package name once, under the spelling of its newest record."""
    newest = (
        select(Package.normalized_name, func.max(Package.id).label("id"))
        .where(_in_scope(namespace, principal))
        .group_by(Package.normalized_name)
        .subquery()
    )
    rows = db.session.execute(select(Package.normalized_name, Package.name).join(newest, newest.c.id == Package.id))
    # Sorted here, because databases have ideas of their own about what a dash weighs.
    return SimpleIndex(
        namespace.name, tuple((name, spelled, page_url(name)) for name, spelled in sorted(map(tuple, rows)))
    )


def downloadable_file(
    namespace: Namespace, sha256: str, filename: str, principal: Principal
) -> DownloadableFile | None:
    """The newest installable file with exactly this name and digest, or ``None``; quarantined names have none."""
    statement, values = _scoped(_DOWNLOADABLE_FILES, namespace, principal)
    row = db.session.execute(statement, {"sha256": sha256, "filename": filename, **values}).first()
    if row is None:
        return None
    metadata = row.core_metadata_sha256 if row.core_metadata_is_final else None
    return DownloadableFile(row.id, row.filename, row.size_bytes, row.sha256, metadata, row.created_at)


def refuse_where_hidden(namespace: Namespace, principal: Principal) -> None:
    """Keep from nobody in particular that something is not here, where a group hides something from them.

    uv asks without credentials first, and with them only after a 401: told anything else, it would take another index's
    package for the private one, or give up on a file that its lock names.

    :raises Unauthenticated: nobody is signed in, and signing in may show more; whatever was asked for.
    """
    if principal.is_anonymous and isinstance(namespace, Group) and hides_something(namespace, principal):
        raise Unauthenticated


def hides_something(group: Group, principal: Principal) -> bool:
    """Whether the group holds a project whose packages this principal may not read through it, but others may."""
    hidden = select(Project.id).where(
        access.within(group), Project.registry_access != RegistryAccess.DISABLED, not_(access.readable(principal))
    )
    return db.session.scalar(hidden.limit(1)) is not None


def sorted_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """Distinct versions in PEP 440 order; spellings that name the same version stay side by side."""
    return tuple(sorted(set(versions), key=lambda text: (version_key(text), text)))


def version_key(text: str) -> tuple[int, Version | str]:
    """A key that sorts version strings by PEP 440, what is no version before all others."""
    try:
        return (1, Version(text))
    except InvalidVersion:
        return (0, text)


@cache
def _in_project(statement: AnySelect) -> AnySelect:
    """The statement, narrowed to the packages of the project bound as ``project_id``."""
    return statement.where(Package.project_id == bindparam("project_id"))


def _scoped(statement: AnySelect, namespace: Namespace, principal: Principal) -> tuple[AnySelect, dict[str, object]]:
    """A statement about packages narrowed to the project, or to the readable projects below the group; and values."""
    if isinstance(namespace, Project):
        return _in_project(statement), {"project_id": namespace.id}
    # Asked of each package that was found, which are few. Listing the readable projects first would take as long as
    # there are projects.
    readable = select(Project.id).where(
        Project.id == Package.project_id, access.within(namespace), access.readable(principal)
    )
    return statement.where(readable.exists()), {}


def _in_scope(namespace: Namespace, principal: Principal) -> ColumnElement[bool]:
    """Installable packages of the project, or of the readable projects below the group."""
    return and_(Package.status.in_(INSTALLABLE), _of_projects(Package.project_id, namespace, principal))


def _of_projects(
    project_id: InstrumentedAttribute[int], namespace: Namespace, principal: Principal
) -> ColumnElement[bool]:
    """What belongs to the project, or to a readable project below the group."""
    if isinstance(namespace, Project):
        return project_id == namespace.id
    return project_id.in_(select(Project.id).where(access.within(namespace), access.readable(principal)))


# Names of packages ----------------------------------------------------------------------------------------------


def package_name(project: Project, name: str) -> PackageName:
    """What is said of a package name that the project holds.

    :param name: in any spelling.
    :raises NotFound: the project has no package of this name, and nothing is said of it either.
    """
    try:
        normalized_name = canonicalize_name(name, validate=True)
    except InvalidName as error:
        raise NotFound("Package") from error
    said = name_status(project, normalized_name)
    if inspect(said).persistent:
        return said
    kept = select(Package.id).where(
        Package.project_id == project.id,
        Package.normalized_name == normalized_name,
        Package.status != PackageStatus.PENDING_DESTRUCTION,
    )
    if db.session.scalar(kept.limit(1)) is None:
        raise NotFound("Package")
    return said


def name_status(project: Project, name: str) -> PackageName:
    """The same for any name, fresh from the database; one of which nothing is said is active (PEP 792)."""
    key = {"project_id": project.id, "normalized_name": canonicalize_name(name)}
    said = db.session.get(PackageName, key, populate_existing=True)
    return said or PackageName(**key, status=NameStatus.ACTIVE, reason="")


def name_statuses(packages: Iterable[Package]) -> dict[int, NameStatus]:
    """The status of the name of each of many packages, by the package's id, in one statement."""
    statuses = {package.id: NameStatus.ACTIVE for package in packages}
    rows = db.session.execute(
        select(Package.id, PackageName.status).join(PackageName, _SAID_OF_ITS_NAME).where(Package.id.in_(statuses))
    )
    return statuses | {row[0]: row[1] for row in rows}


# Lists of packages, as scripts and people see them --------------------------------------------------------------


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
        .where(_of_projects(Package.project_id, namespace, principal))
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
