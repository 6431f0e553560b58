"""The versions of a package name in a project, and which of them is the latest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, exists, func, or_, select

from registry.database import db
from registry.domain.access import Principal
from registry.domain.packages import summaries
from registry.domain.packages.index import of_projects
from registry.domain.packages.names import is_prerelease, version_key
from registry.models import AuditEvent, FileStatus, Group, NameSummary, Package, PackageFile, PackageStatus, Project

VERSION_COLUMNS = (
    Package.id,
    Package.name,
    Package.version,
    Package.created_at,
    Package.creator_id,
    func.count(PackageFile.id).label("files"),
    func.count(PackageFile.yanked_reason).label("yanked"),
)


@dataclass(frozen=True)
class PublishedVersion:
    """A package among the versions of its name, with what decides on which one is the latest.

    :ivar is_yanked: all of its files are.
    """

    id: int
    name: str
    version: str
    created_at: datetime
    creator_id: int | None
    is_yanked: bool

    @classmethod
    def from_row(cls, row: Any) -> PublishedVersion:
        """Return the version in a row of ``VERSION_COLUMNS``, which a statement groups by package."""
        is_yanked = bool(row.files) and row.files == row.yanked
        return cls(row.id, row.name, row.version, row.created_at, row.creator_id, is_yanked)

    @property
    def is_prerelease(self) -> bool:
        return is_prerelease(self.version)


def of_name(project: Project, normalized_name: str) -> list[PublishedVersion]:
    """Return the versions of a name, in any spelling, from newest to oldest by PEP 440, in one statement."""
    rows = db.session.execute(
        select(*VERSION_COLUMNS)
        .outerjoin(PackageFile, and_(PackageFile.package_id == Package.id, PackageFile.status == FileStatus.DEFAULT))
        .where(
            Package.project_id == project.id,
            Package.normalized_name == normalized_name,
            Package.status == PackageStatus.DEFAULT,
        )
        .group_by(Package.id)
        .order_by(Package.version_rank.desc(), Package.id.desc())
    )
    return list(map(PublishedVersion.from_row, rows))


def latest(versions: Iterable[PublishedVersion]) -> PublishedVersion | None:
    """Return the version that installers choose without being asked for one; ``None`` without versions.

    They prefer versions that are not yanked, and among these final ones to pre-releases.
    """
    return max(
        versions,
        key=lambda each: (not each.is_yanked, not each.is_prerelease, version_key(each.version), each.id),
        default=None,
    )


def is_surpassed(package: Package, namespace: Project | Group, principal: Principal) -> bool:
    """Return whether an index has a version of the name in another project that installers prefer."""
    rank = summaries.rank(package.version, is_yanked=False)
    preferred = exists().where(
        of_projects(NameSummary.project_id, namespace, principal),
        NameSummary.project_id != package.project_id,
        NameSummary.normalized_name == package.normalized_name,
        NameSummary.latest_rank > rank,
    )
    return bool(db.session.scalar(select(preferred)))


_BY_TOKEN = "deploy token "  # as ``access.Principal`` is recorded


def publishing_tokens(published: Iterable[tuple[int, Package | PublishedVersion]]) -> dict[int, int]:
    """Return the IDs of the deploy tokens that published versions, by package ID, from the audit log.

    At most one statement, which reads events from the oldest version on.

    :param published: versions with the IDs of their projects; those with a creator are left out.
    """
    without_creator = [(project_id, each) for project_id, each in published if each.creator_id is None]
    if not without_creator:
        return {}
    ids = {(project_id, f"{each.name} {each.version}"): each.id for project_id, each in without_creator}
    recorded = (
        select(AuditEvent.namespace_id, AuditEvent.target, AuditEvent.author_id, AuditEvent.author)
        .where(
            AuditEvent.created_at >= min(each.created_at for _, each in without_creator) - timedelta(days=1),
            AuditEvent.namespace_id.in_({project_id for project_id, _ in ids}),
            AuditEvent.action == "package_published",
            AuditEvent.target.in_({target for _, target in ids}),
        )
        .order_by(AuditEvent.id)
    )
    latest = {(row.namespace_id, row.target): row for row in db.session.execute(recorded)}
    return {
        package_id: int(row.author.removeprefix(_BY_TOKEN))
        for published_as, package_id in ids.items()
        if (row := latest.get(published_as)) and row.author_id is None and row.author.startswith(_BY_TOKEN)
    }


def events(project: Project, normalized_name: str) -> Select[AuditEvent]:
    """Select the audit events about a name, its versions, and their files, newest first.

    Events about files are found until cleanup removes the rows of deleted ones.
    """
    of_name = (Package.project_id == project.id, Package.normalized_name == normalized_name)
    names = db.session.scalars(select(Package.name).where(*of_name).distinct()).all()
    files = select(PackageFile.filename).join(Package, Package.id == PackageFile.package_id).where(*of_name)
    return (
        select(AuditEvent)
        .where(
            AuditEvent.namespace_id == project.id,
            AuditEvent.action.startswith("package_"),
            or_(
                AuditEvent.target == normalized_name,
                AuditEvent.target.in_(files),
                *(AuditEvent.target.startswith(f"{name} ", autoescape=True) for name in sorted(names)),
            ),
        )
        .order_by(AuditEvent.id.desc())
    )
