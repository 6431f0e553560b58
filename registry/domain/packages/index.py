"""The simple index, the simple pages, and the files of a namespace, as installers read them.

Every function runs a fixed number of statements for any number of packages, files, members, and groups.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, exists, func, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from registry.database import Reading, constant, db, read
from registry.domain import access
from registry.domain.access import Principal, Reader
from registry.domain.packages import withholding
from registry.domain.packages.names import NAME_OF_PACKAGE, sorted_versions
from registry.domain.packages.simple import SimpleFile, SimpleIndex, SimplePage, Withheld
from registry.domain.packages.withholding import Reason
from registry.errors import Unauthenticated
from registry.models import (
    Ancestry,
    FileStatus,
    Group,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    Project,
    RegistryAccess,
    ReservedName,
    Visibility,
    is_kept,
)

# (sha256, file name) → absolute URL of the file below the requested index.
FileURL = Callable[[str, str], str]
AnySelect = Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class DownloadableFile:
    id: int
    normalized_name: str
    filename: str
    size_bytes: int
    sha256: str
    core_metadata_sha256: str | None
    uploaded_at: datetime


class Cause(enum.IntEnum):
    """Why a file is not offered, in the order in which causes are named."""

    QUARANTINE = 1
    ADVISORY = 2
    DELETION = 3


@dataclass(frozen=True)
class WithheldFile:
    """A file that is in the database, but is not offered.

    :ivar reason: for the quarantine, possibly empty.
    :ivar withheld: the rule that withholds it because of an advisory.
    """

    cause: Cause
    package_name: str
    version: str
    project_id: int
    project_path: str
    reason: str = ""
    withheld: Reason | None = None


# The statements of the hottest paths are built once, as building a statement takes as long as running it.
_MARKS = (Package.id.label("package_id"), Package.project_id, Package.is_malicious, Package.cvss_score)
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
        *_MARKS,
    )
    .select_from(Package)
    .outerjoin(PackageFile, and_(PackageFile.package_id == Package.id, is_kept(PackageFile.__table__)))
    .outerjoin(PackageName, NAME_OF_PACKAGE)
    .where(Package.normalized_name == bindparam("name"), Package.status == constant(PackageStatus.DEFAULT))
    .order_by(Package.id, PackageFile.id)
)
_DOWNLOADABLE_FILES = (
    select(
        PackageFile.id,
        Package.normalized_name,
        PackageFile.filename,
        PackageFile.size_bytes,
        PackageFile.sha256,
        PackageFile.core_metadata_sha256,
        PackageFile.core_metadata_is_final,
        PackageFile.created_at,
        *_MARKS,
    )
    .select_from(Package)
    .join(PackageFile, PackageFile.package_id == Package.id)
    .outerjoin(PackageName, NAME_OF_PACKAGE)
    .where(
        PackageFile.sha256 == bindparam("sha256"),
        PackageFile.filename == bindparam("filename"),
        PackageFile.status == constant(FileStatus.DEFAULT),
        Package.status == constant(PackageStatus.DEFAULT),
        or_(PackageName.status.is_(None), PackageName.status != NameStatus.QUARANTINED),
    )
    .order_by(Package.id.desc(), PackageFile.id.desc())
)
_QUARANTINE = (
    select(PackageName.reason)
    .where(PackageName.normalized_name == bindparam("name"), PackageName.status == constant(NameStatus.QUARANTINED))
    .order_by(PackageName.project_id)
    .limit(1)
)
_QUARANTINE_IN_PROJECT = Reading(_QUARANTINE.where(PackageName.project_id == bindparam("project_id")))
_holder = aliased(Namespace)
_WITHHELD_FILES = (
    select(
        Package.name,
        Package.version,
        _holder.full_path,
        PackageFile.status.label("file_status"),
        PackageName.status,
        PackageName.reason,
        *_MARKS,
    )
    .select_from(Package)
    .join(PackageFile, PackageFile.package_id == Package.id)
    .join(_holder, _holder.id == Package.project_id)
    .outerjoin(PackageName, NAME_OF_PACKAGE)
    .where(PackageFile.sha256 == bindparam("sha256"), PackageFile.filename == bindparam("filename"))
    .order_by(PackageFile.id.desc())
)

_SEVERITY = {status: number for number, status in enumerate(NameStatus)}


def simple_page(namespace: Namespace, name: str, file_url: FileURL, principal: Principal) -> SimplePage | None:
    """Return the page of the installable files of one package name, or ``None`` if the namespace lacks the name.

    A package without files results in an empty page, as the name is taken and must not be forwarded. The same applies
    to a quarantined name, even if all of its packages were deleted.

    Several projects of a group can have packages of the same name, each with its own status. A quarantine withholds
    only the files of its own project. The page is quarantined only if the name is quarantined in all of these projects,
    as a quarantined page offers no files (PEP 792). Otherwise, the page shows the most severe status among the projects
    whose files it offers, with the reason of that project: an unnecessary warning is better than a missing one.

    The page lists no version that is withheld in each of these projects.

    :param name: normalized (PEP 503).
    """
    rows = _read_scoped(_LISTED_FILES, namespace, principal, name=name)
    if not rows:
        return _withheld_page(namespace, name, principal)
    reasons = withholding.withheld(rows)
    files, withheld = [], []
    for row in rows:
        if row.filename is None or row.status is NameStatus.QUARANTINED:
            continue
        file = SimpleFile(  # by position, which takes half the time
            row.filename, file_url(row.sha256, row.filename), row.sha256, row.size_bytes, row.requires_python,
            row.created_at, row.core_metadata_sha256 if row.core_metadata_is_final else None, row.yanked_reason,
        )  # fmt: skip
        reason = reasons.get(row.package_id)
        if reason is None:
            files.append(file)
        else:
            withheld.append(Withheld(file, reason.rule, reason.set_in, None, reason.detail))
    status, status_reason = _shown_status(
        dict.fromkeys((row.status or NameStatus.ACTIVE, row.reason or "") for row in rows)
    )
    return SimplePage(
        name=name,
        title=rows[0].name,
        versions=sorted_versions(row.version for row in rows if row.package_id not in reasons),
        files=tuple(files),
        status=status,
        status_reason=status_reason,
        withheld=tuple(withheld),
    )


def _withheld_page(namespace: Namespace, name: str, principal: Principal) -> SimplePage | None:
    """Return the page of a quarantined name whose packages were all deleted."""
    if isinstance(namespace, Project):
        rows = _QUARANTINE_IN_PROJECT.rows({"name": name, "project_id": namespace.id})
    else:
        below = of_projects(PackageName.project_id, namespace, principal)
        rows = read(_QUARANTINE.where(below), {"name": name})
    reason = rows[0].reason if rows else None
    if reason is None:
        return None
    return SimplePage(name=name, title=name, versions=(), files=(), status=NameStatus.QUARANTINED, status_reason=reason)


def _shown_status(statuses: Iterable[tuple[NameStatus, str]]) -> tuple[NameStatus, str]:
    """Return the status and reason of a page from those in its projects; the first one among equals."""
    all_statuses = list(statuses)
    offering = [each for each in all_statuses if each[0] is not NameStatus.QUARANTINED]
    return max(offering or all_statuses, key=lambda each: _SEVERITY[each[0]])


def simple_index(namespace: Namespace, page_url: Callable[[str], str], principal: Principal) -> SimpleIndex:
    """Return every package name once, in the spelling of its newest package."""
    newest = (
        select(Package.normalized_name, func.max(Package.id).label("id"))
        .where(_in_scope(namespace, principal))
        .group_by(Package.normalized_name)
        .subquery()
    )
    rows = read(select(Package.normalized_name, Package.name).join(newest, newest.c.id == Package.id))
    # Sorted here, because databases collate dashes differently.
    return SimpleIndex(
        namespace.name, tuple((name, spelled, page_url(name)) for name, spelled in sorted(map(tuple, rows)))
    )


def core_metadata_of(digests: Collection[str]) -> str | None:
    """Return the digest of the core metadata document of one of these files, if one has a document.

    Preferably one that a build cannot change.
    """
    return db.session.scalar(
        select(PackageFile.core_metadata_sha256)
        .where(
            PackageFile.sha256.in_(digests),
            PackageFile.core_metadata_sha256.is_not(None),
            PackageFile.status == constant(FileStatus.DEFAULT),
        )
        .order_by(PackageFile.core_metadata_is_final.desc(), PackageFile.id)
        .limit(1)
    )


def downloadable_file(
    namespace: Namespace, sha256: str, filename: str, principal: Principal
) -> DownloadableFile | None:
    """Return the newest installable file with exactly this name and digest.

    Not one whose package name is quarantined, or that is withheld because of an advisory.
    """
    rows = _read_scoped(_DOWNLOADABLE_FILES, namespace, principal, sha256=sha256, filename=filename)
    reasons = withholding.withheld(rows)
    row = next((row for row in rows if row.package_id not in reasons), None)
    if row is None:
        return None
    metadata = row.core_metadata_sha256 if row.core_metadata_is_final else None
    return DownloadableFile(
        row.id, row.normalized_name, row.filename, row.size_bytes, row.sha256, metadata, row.created_at
    )


def withheld_file(namespace: Namespace, sha256: str, filename: str, principal: Principal) -> WithheldFile | None:
    """Return why a file of a project that the principal can read is not downloadable; ``None`` if it is unknown.

    A quarantine is named before an advisory, and both before a deletion. Cleanup removes the rows of deleted files,
    which are unknown from then on.
    """
    rows = _read_scoped(_WITHHELD_FILES, namespace, principal, sha256=sha256, filename=filename)
    reasons = withholding.withheld(rows)
    found = [file for row in rows if (file := _not_offered(row, reasons.get(row.package_id))) is not None]
    return min(found, key=lambda file: file.cause, default=None)


def _not_offered(row: Row[Any], withheld: Reason | None) -> WithheldFile | None:
    if row.status is NameStatus.QUARANTINED:
        cause = Cause.QUARANTINE
    elif row.file_status is FileStatus.PENDING_DESTRUCTION:
        cause = Cause.DELETION
    elif withheld is not None:
        cause = Cause.ADVISORY
    else:
        return None
    shown = withheld if cause is Cause.ADVISORY else None
    return WithheldFile(cause, row.name, row.version, row.project_id, row.full_path, row.reason or "", shown)


def refuse_where_hidden(namespace: Namespace, principal: Principal) -> None:
    """Challenge anonymous callers instead of answering 404, if the group hides packages from them.

    uv sends its first request without credentials and authenticates only after a 401. After any other response, it
    would install the package of another index instead of the private one, or give up on a file in its lock file.

    :raises Unauthenticated: the caller is anonymous, and authentication can reveal more, whether or not it would reveal
        the requested name.
    """
    if principal.is_anonymous and isinstance(namespace, Group) and hides_something(namespace, principal):
        raise Unauthenticated


def refuse_where_names_are_hidden(namespace: Namespace, principal: Principal) -> None:
    """Challenge anonymous callers for every unknown name if hidden groups or projects reserve names.

    Such names are not forwarded, and must not be recognized by that.

    :raises Unauthenticated: the caller is anonymous, and the group, or the top-level group above the namespace, hides
        packages or names.
    """
    refuse_where_hidden(namespace, principal)
    if principal.is_anonymous and _hides_names(namespace, principal):
        raise Unauthenticated


def opens_to_all(namespace: Project | Group, project: Project) -> bool:
    """Return whether anonymous clients find the project's packages in the index of the project itself or of a group.

    "Anyone may pull" opens only the project's own index.
    """
    if not access.allowed(access.ANONYMOUS, access.Permission.READ_PACKAGE, namespace):
        return False
    is_public = project.visibility is Visibility.PUBLIC and project.registry_access is not RegistryAccess.PRIVATE
    return namespace == project or (is_public and project.has_registry)


def hides_something(group: Group, principal: Principal) -> bool:
    """Return whether the group contains a project whose packages others can read through it, but not this principal.

    A project with its registry disabled counts if it is hidden itself and has packages: their names are not forwarded,
    and must not be recognized by that.
    """
    has_hidden_names = and_(not_(access.visible(principal)), exists().where(Package.project_id == Project.id))
    hidden = or_(_withholds_packages(principal), and_(not_(Project.has_registry), has_hidden_names))
    return db.session.scalar(select(Project.id).where(access.below(group.id), hidden).limit(1)) is not None


def _withholds_packages(principal: Principal) -> ColumnElement[bool]:
    """Return a condition on ``Project``: others can read its packages through a group, but not this principal."""
    return and_(Project.has_registry, not_(access.readable(access.reader_of(principal))))


def _hides_names(namespace: Namespace, principal: Principal) -> bool:
    """Return whether names are reserved around a namespace by projects and groups that are hidden from the principal.

    A group holds the names of projects that were deleted from it.
    """
    ancestors = select(Ancestry.ancestor_id).where(Ancestry.namespace_id == namespace.id)
    top_id = ancestors.order_by(Ancestry.distance.desc()).limit(1).scalar_subquery()
    others = select(Ancestry.namespace_id).where(Ancestry.ancestor_id == top_id, Ancestry.namespace_id != namespace.id)
    is_around = Namespace.id.in_(others)
    holds_names = exists().where(ReservedName.holder_id == Namespace.id)
    hidden = or_(not_(access.visible(principal)), and_(Namespace.kind == "project", _withholds_packages(principal)))
    return db.session.scalar(select(Namespace.id).where(is_around, holds_names, hidden).limit(1)) is not None


@cache
def _in_project(statement: AnySelect) -> Reading:
    """Restrict a statement to the packages of the project bound as ``project_id``."""
    return Reading(statement.where(Package.project_id == bindparam("project_id")))


@lru_cache(maxsize=1024)
def _through_group(statement: AnySelect, group_id: int, reader: Reader) -> Reading:
    """Restrict a statement to the packages of the projects below the group that the reader can read.

    The condition is evaluated for each matching package, of which there are few. Listing the readable projects first
    would take time proportional to the number of projects.
    """
    readable = select(Project.id).where(
        Project.id == Package.project_id, access.below(group_id), access.readable(reader)
    )
    return Reading(statement.where(readable.exists()))


def _read_scoped(statement: AnySelect, namespace: Namespace, principal: Principal, **values: object) -> Sequence[Any]:
    """Execute a statement for packages of the project, or of the readable projects below the group."""
    if isinstance(namespace, Project):
        return _in_project(statement).rows({**values, "project_id": namespace.id})
    return _through_group(statement, namespace.id, access.reader_of(principal)).rows(values)


def _in_scope(namespace: Namespace, principal: Principal) -> ColumnElement[bool]:
    """Match installable packages of the project, or of the readable projects below the group."""
    return and_(
        Package.status == constant(PackageStatus.DEFAULT), of_projects(Package.project_id, namespace, principal)
    )


def of_projects(
    project_id: InstrumentedAttribute[int], namespace: Namespace, principal: Principal
) -> ColumnElement[bool]:
    """Match rows of the project, or of the readable projects below the group."""
    if isinstance(namespace, Project):
        return project_id == namespace.id
    readable = access.readable(access.reader_of(principal))
    return project_id.in_(select(Project.id).where(access.below(namespace.id), readable))
