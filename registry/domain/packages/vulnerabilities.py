"""The packages of a project or group with security advisories, as a report and for one name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import defer

from registry.database import db
from registry.domain.access import Principal
from registry.domain.advisories.ranges import Affected
from registry.domain.packages.downloads import RECENT
from registry.domain.packages.index import of_projects
from registry.domain.paging import Page
from registry.domain.spreadsheets import csv_of
from registry.models import (
    Advisory,
    AffectedPackage,
    FileDownloads,
    FileStatus,
    Namespace,
    Package,
    PackageAdvisory,
    PackageFile,
    PackageStatus,
    Project,
)

MOST_ENTRIES = 10_000
# Lowest CVSS scores of the words for a severity (FIRST, "Qualitative Severity Rating Scale").
_WORDS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
COLUMNS = ("project", "name", "version", "advisory", "severity", "cvss_score", "fixed_in", "downloads_in_30_days")


@dataclass(frozen=True)
class Entry:
    """A package of the registry, and one advisory about it.

    :ivar fixed_in: the lowest version above that has the problem fixed; empty if there is none.
    :ivar downloads: of all its files in the last thirty days.
    """

    package_id: int
    project: str
    name: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    summary: str
    severity: str
    cvss_score: float | None
    fixed_in: str
    downloads: int

    @property
    def link(self) -> str:
        return link_to(self.advisory)


@dataclass(frozen=True)
class Vulnerability:
    """An advisory about a version of a name.

    :ivar fixed_in: all versions that fix it.
    """

    id: str
    aliases: tuple[str, ...]
    summary: str
    details: str
    fixed_in: tuple[str, ...]
    published_at: datetime | None
    withdrawn_at: datetime | None

    @property
    def link(self) -> str:
        return link_to(self.id)


def link_to(advisory_id: str) -> str:
    """Return the address of an advisory for people."""
    return f"https://osv.dev/vulnerability/{advisory_id}"


def report(namespace: Namespace, principal: Principal, today: date) -> list[Entry]:
    """Return the packages with advisories in a project, or in the readable projects below a group, by name.

    In one statement; at most ``MOST_ENTRIES``.
    """
    return _entries(of_projects(Package.project_id, namespace, principal), today)


def report_page(namespace: Namespace, principal: Principal, today: date, number: int, size: int) -> Page[Entry]:
    """Return a page of the report, in two statements."""
    condition = of_projects(Package.project_id, namespace, principal)
    counted = (
        select(PackageAdvisory.advisory_id)
        .join(Package, Package.id == PackageAdvisory.package_id)
        .where(Package.status == PackageStatus.DEFAULT, condition)
        .limit(MOST_ENTRIES)
    )
    total = db.session.scalar(select(func.count()).select_from(counted.subquery())) or 0
    offset = (number - 1) * size
    entries = _entries(condition, today, min(size, total - offset), offset) if offset < total else []
    return Page(entries, number, size, total)


def of_package(package: Package, today: date) -> list[Entry]:
    """Return the advisories about a package, in one statement."""
    return _entries(Package.id == package.id, today)


def _entries(condition: ColumnElement[bool], today: date, most: int = MOST_ENTRIES, offset: int = 0) -> list[Entry]:
    is_recent = and_(
        PackageFile.package_id == Package.id,
        PackageFile.status == FileStatus.DEFAULT,
        FileDownloads.day > today - RECENT,
    )
    downloads = (
        select(func.coalesce(func.sum(FileDownloads.count), 0))
        .join(PackageFile, PackageFile.id == FileDownloads.file_id)
        .where(is_recent)
        .correlate(Package)
        .scalar_subquery()
    )
    rows = db.session.execute(
        select(
            Package.id, Package.name, Package.version, Project.full_path, Advisory, AffectedPackage,
            downloads.label("downloads"),
        )
        .join(PackageAdvisory, PackageAdvisory.package_id == Package.id)
        .join(Advisory, Advisory.id == PackageAdvisory.advisory_id)
        .join(
            AffectedPackage,
            and_(
                AffectedPackage.normalized_name == Package.normalized_name, AffectedPackage.advisory_id == Advisory.id
            ),
        )
        .join(Project, Project.id == Package.project_id)
        .where(Package.status == PackageStatus.DEFAULT, condition)
        .order_by(Package.normalized_name, Package.id, Advisory.id)
        .limit(most)
        .offset(offset)
        .options(defer(Advisory.details, raiseload=True))  # long, and not shown
    )  # fmt: skip
    return [
        Entry(
            package_id, path, name, version, advisory.id, tuple(advisory.aliases), advisory.summary,
            severity_of(advisory), advisory.cvss_score,
            Affected(affected.ranges, affected.versions).next_fix(version), int(count),
        )
        for package_id, name, version, path, advisory, affected, count in rows
    ]  # fmt: skip


def about(normalized_name: str, version: str) -> list[Vulnerability]:
    """Return the advisories about a version of a name, by id, also those that were withdrawn; one statement."""
    rows = db.session.execute(
        select(Advisory, AffectedPackage)
        .join(AffectedPackage, AffectedPackage.advisory_id == Advisory.id)
        .where(AffectedPackage.normalized_name == normalized_name)
        .order_by(Advisory.id)
    )
    return [
        Vulnerability(
            advisory.id, tuple(advisory.aliases), advisory.summary, advisory.details, tuple(affected.fixed_in),
            advisory.published_at, advisory.withdrawn_at,
        )
        for advisory, package in rows
        if (affected := Affected(package.ranges, package.versions)).includes(version)
    ]  # fmt: skip


def severity_of(advisory: Advisory) -> str:
    """Return the severity in a word: ``malicious``, a word of CVSS, or ``unknown``."""
    if advisory.is_malicious:
        return "malicious"
    if advisory.cvss_score is not None:
        return next((word for lowest, word in _WORDS if advisory.cvss_score >= lowest), "none")
    return advisory.severity or "unknown"


def as_csv(entries: Iterable[Entry]) -> str:
    """Return a report as a table in CSV."""
    return csv_of([COLUMNS, *map(_values, entries)])


def _values(entry: Entry) -> Sequence[object]:
    score = "" if entry.cvss_score is None else entry.cvss_score
    return (
        entry.project, entry.name, entry.version, entry.advisory, entry.severity, score, entry.fixed_in,
        entry.downloads,
    )  # fmt: skip
