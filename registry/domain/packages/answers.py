"""The cached responses about packages that a change makes stale.

The page of a name and its files depend on all packages of the name; every transaction that changes one of them calls
one of these functions. The lists of names depend on which names there are in each project, and on their spellings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import ClassVar

from sqlalchemy import bindparam, exists, func, or_, select

from registry.database import Stage, Statement, at_end, changes_index, changes_name, constant, folded
from registry.domain.packages import name_index
from registry.models import Package, PackageStatus


def note_change(normalized_name: str) -> None:
    """Note that the present transaction changes the files or the status of a name, but adds or deletes no package."""
    changes_name(normalized_name)


def note_added(
    project_id: int, name: str, normalized_name: str, summary: str, published_at: datetime, *, is_first: bool
) -> None:
    """Note that the present transaction adds a package, which the search then finds.

    :param is_first: whether the project had no package of the name, as far as is known.
    """
    changes_name(normalized_name)
    if is_first:
        changes_index()
        name_index.note_described(project_id, normalized_name, summary, published_at)
        return
    listing = at_end(_Listing)
    listing.add(project_id, name, normalized_name, added=1)
    listing.described[project_id, normalized_name] = (summary, published_at)


def note_deleted(package: Package) -> None:
    """Note that the present transaction deletes a package, which the search no longer finds."""
    changes_name(package.normalized_name)
    name_index.note_deleted(package.project_id, package.normalized_name)
    at_end(_Listing).add(package.project_id, package.name, package.normalized_name, added=0)


class _Listing:
    """Finds out whether the added and deleted packages of a transaction change a list of names.

    A list shows a name once, in the spelling of its newest package. It remains the same if the project had a package of
    the name before, and still has it, and all packages of the name in all projects are spelled alike.
    """

    order: ClassVar[int] = Stage.LISTING

    def __init__(self) -> None:
        self._added: Counter[tuple[int, str]] = Counter()
        self._spellings: defaultdict[str, set[str]] = defaultdict(set)
        self.described: dict[tuple[int, str], tuple[str, datetime]] = {}

    def add(self, project_id: int, name: str, normalized_name: str, *, added: int) -> None:
        self._added[project_id, normalized_name] += added
        self._spellings[normalized_name].add(name)

    def apply(self) -> None:
        is_same = True
        for (project_id, name), added in self._added.items():
            if is_same or (project_id, name) in self.described:
                is_same &= self._is_same(project_id, name, added)
        if not is_same:
            changes_index()

    def _is_same(self, project_id: int, normalized_name: str, added: int) -> bool:
        name, *others = self._spellings[normalized_name]
        summary, published_at = self.described.get((project_id, normalized_name), ("", None))
        asked = {
            "project_id": project_id, "normalized_name": normalized_name, "name": name, "number": added + 1,
            "words": folded(summary), "described_at": published_at,
        }  # fmt: skip
        (row,) = _IS_SAME.execute(asked).rows
        if published_at is not None and not row.is_found:
            name_index.note_described(project_id, normalized_name, summary, published_at)
        return bool(row.is_same) and not others


_packages = Package.__table__
_of_name = (
    _packages.c.normalized_name == bindparam("normalized_name"),
    _packages.c.status == constant(PackageStatus.DEFAULT),
)
_in_project = (
    select(_packages.c.id)
    .where(_packages.c.project_id == bindparam("project_id"), *_of_name)
    .limit(bindparam("number"))
    .subquery()
)
_IS_SAME = Statement(
    select(
        (
            (select(func.count()).select_from(_in_project).scalar_subquery() == bindparam("number"))
            # Two ranges of an index; all spellings unlike one would be none.
            & ~or_(
                exists().where(*_of_name, _packages.c.name < bindparam("name")),
                exists().where(*_of_name, _packages.c.name > bindparam("name")),
            )
        ).label("is_same"),
        name_index.IS_FOUND.label("is_found"),
    )
)
