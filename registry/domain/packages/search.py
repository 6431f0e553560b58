"""The search for package names in all projects, by any part of the name and by words of the summary."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, false, func, or_, select
from sqlalchemy.orm import joinedload

from registry.database import any_contains, db, folded
from registry.domain import access
from registry.domain.access import Principal
from registry.domain.packages.names import NAME_OF_PACKAGE
from registry.domain.packages.versions import VERSION_COLUMNS, PublishedVersion, latest
from registry.domain.paging import Listing
from registry.models import (
    FileStatus,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    Project,
    SearchedName,
)

LONGEST_SEARCH = 255  # characters, as of names and summaries; the rest of a longer text is ignored
SHORTEST_PART = 3  # of a name; shorter texts are compared with its beginning
MOST_WORDS = 8
_SEPARATORS = re.compile(r"[-_.\s]+")


@dataclass(frozen=True)
class FoundName:
    """A package name of a project.

    :ivar latest: its latest version, with its project.
    """

    latest: Package
    status: NameStatus

    @property
    def project(self) -> Project:
        return self.latest.project


def names(principal: Principal, text: str) -> Listing[SearchedName]:
    """Select the package names that match a text, and whose packages the principal can list, the best matches first.

    A name matches if it is the text, begins with it, or contains it, in this order and in any spelling (PEP 503); or if
    the summary contains all of the first ``MOST_WORDS`` words of the text. Texts of one or two characters match the
    beginnings of names; in scripts other than Latin, which have words of this length, also summaries.
    """
    readable = access.readable(access.reader_of(principal))
    text = folded(text[:LONGEST_SEARCH]).strip()
    name = _SEPARATORS.sub("-", text)
    column = SearchedName.normalized_name
    rank = case(
        (column == name, 0), (column.startswith(name, autoescape=True), 1), (column.contains(name, autoescape=True), 2),
        else_=3,
    )  # fmt: skip
    return (
        select(SearchedName)
        .where(
            _matches(name, text.split()[:MOST_WORDS]), SearchedName.project_id.in_(select(Project.id).where(readable))
        )
        .order_by(rank, func.length(column), column, SearchedName.project_id)
    )


def has_more_words(text: str) -> bool:
    """Whether a text has words that are not looked for in summaries."""
    return len(text.split()) > MOST_WORDS


def _matches(name: str, words: list[str]) -> ColumnElement[bool]:
    if not words:
        return false()
    if len(name) >= SHORTEST_PART:
        return any_contains(SearchedName, {"normalized_name": [name], "words": words})
    begins = SearchedName.normalized_name.startswith(name, autoescape=True)
    return begins if name.isascii() else or_(begins, any_contains(SearchedName, {"words": words}))


def described(found: Iterable[SearchedName]) -> list[FoundName]:
    """Return the names with their latest versions and statuses, in the same order, in two statements.

    Names whose last version was deleted in the meantime are left out.
    """
    ids = [record.id for record in found]
    latest = _latest_versions(ids)
    rows = db.session.execute(
        select(Package, PackageName.status)
        .outerjoin(PackageName, NAME_OF_PACKAGE)
        .options(joinedload(Package.project))
        .where(Package.id.in_(latest.values()))
    )
    by_id = {package.id: FoundName(package, status or NameStatus.ACTIVE) for package, status in rows}
    return [by_id[latest[id_]] for id_ in ids if latest.get(id_) in by_id]


def _latest_versions(ids: list[int]) -> dict[int, int]:
    """Return the IDs of the packages that are the latest versions of names, by ID of the name."""
    rows = db.session.execute(
        select(SearchedName.id.label("name_id"), *VERSION_COLUMNS)
        .join(
            Package,
            and_(
                Package.project_id == SearchedName.project_id, Package.normalized_name == SearchedName.normalized_name
            ),
        )
        .outerjoin(PackageFile, and_(PackageFile.package_id == Package.id, PackageFile.status == FileStatus.DEFAULT))
        .where(SearchedName.id.in_(ids), Package.status == PackageStatus.DEFAULT)
        .group_by(SearchedName.id, Package.id)
        .order_by(Package.id)
    )
    versions: defaultdict[int, list[PublishedVersion]] = defaultdict(list)
    for row in rows:
        versions[row.name_id].append(PublishedVersion.from_row(row))
    return {name_id: newest.id for name_id, found in versions.items() if (newest := latest(found)) is not None}
