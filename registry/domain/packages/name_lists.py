"""The lists of package names on the pages of projects and groups, from the summary of each name (``summaries``)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import selectinload

from registry.database import contains, db
from registry.domain.access import Principal
from registry.domain.packages.index import of_projects
from registry.domain.packages.names import has_part
from registry.models import (
    FileStatus,
    Job,
    Namespace,
    NameStatus,
    NameSummary,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    Project,
    User,
)


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

    :ivar name: a part of the name, in any spelling (PEP 503).
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
        statement = statement.where(has_part(NameSummary.name, NameSummary.normalized_name, wanted.name))
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


def package_counts(projects: Iterable[Project]) -> dict[int, int]:
    """Return the number of package names of each project by id, in one statement."""
    counts = {project.id: 0 for project in projects}
    rows = db.session.execute(
        select(NameSummary.project_id, func.count())
        .where(NameSummary.project_id.in_(counts))
        .group_by(NameSummary.project_id)
    )
    return counts | {row[0]: row[1] for row in rows}
