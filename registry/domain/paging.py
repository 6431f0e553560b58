"""Pagination of lists: by page number with a total, or by keyset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from sqlalchemy import Select, func, select

from registry.database import db

Record = TypeVar("Record")
Item = TypeVar("Item", covariant=True)
Listing: TypeAlias = Select[Record]  # an ordered query that has not been executed


@dataclass(frozen=True)
class Page(Generic[Item]):
    """A page of a list; ``number`` starts at 1, and ``items`` is empty past the end."""

    items: Sequence[Item]
    number: int
    size: int
    total: int

    @property
    def last_number(self) -> int:
        return max(1, -(-self.total // self.size))


def page(listing: Listing[Record], number: int, size: int) -> Page[Record]:
    """Return a page of a query's results, in two statements plus those of its loading options."""
    total = db.session.scalar(select(func.count()).select_from(listing.order_by(None).subquery())) or 0
    offset = (number - 1) * size
    items = db.session.scalars(listing.limit(size).offset(offset)).all() if offset < total else []
    return Page(items, number, size, total)


def page_of(records: Sequence[Record], number: int, size: int) -> Page[Record]:
    """Return a page of a list in memory."""
    offset = (number - 1) * size
    return Page(records[offset : offset + size], number, size, len(records))


def first(listing: Listing[Record], size: int) -> tuple[Sequence[Record], bool]:
    """Return the first records of a keyset query, and whether more follow."""
    items = db.session.scalars(listing.limit(size + 1)).all()
    return items[:size], len(items) > size
