"""What installers read of a namespace: the simple index, simple pages, and files.

Every function costs a fixed number of statements, whatever the number of packages, files, members or groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from registry.database import db
from registry.domain import access
from registry.domain.access import Principal
from registry.domain.packages.names import SAID_OF_ITS_NAME, sorted_versions
from registry.domain.packages.simple import SimpleFile, SimpleIndex, SimplePage
from registry.errors import Unauthenticated
from registry.models import (
    INSTALLABLE,
    FileStatus,
    Group,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    Project,
    RegistryAccess,
)

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
    .outerjoin(PackageName, SAID_OF_ITS_NAME)
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
    .outerjoin(PackageName, SAID_OF_ITS_NAME)
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
            of_projects(PackageName.project_id, namespace, principal),
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
    return and_(Package.status.in_(INSTALLABLE), of_projects(Package.project_id, namespace, principal))


def of_projects(
    project_id: InstrumentedAttribute[int], namespace: Namespace, principal: Principal
) -> ColumnElement[bool]:
    """What belongs to the project, or to a readable project below the group."""
    if isinstance(namespace, Project):
        return project_id == namespace.id
    return project_id.in_(select(Project.id).where(access.within(namespace), access.readable(principal)))
