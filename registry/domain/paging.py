"""Long lists in pages: by number with a total, or on from the last record seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy import Select, func, select

from registry.database import db

Record = TypeVar("Record")
Listing: TypeAlias = Select[Any]  # a list of records in a defined order, not read yet


@dataclass(frozen=True)
class Page(Generic[Record]):
    """One page of a list; ``number`` counts from 1, and beyond the end ``items`` is empty."""

    items: Sequence[Record]
    number: int
    size: int
    total: int

    @property
    def last_number(self) -> int:
        return max(1, -(-self.total // self.size))


def page(listing: Listing, number: int, size: int) -> Page[Any]:
    """A page of what a query finds, in two statements and those of its loading options."""
    total = db.session.scalar(select(func.count()).select_from(listing.order_by(None).subquery())) or 0
    offset = (number - 1) * size
    items = db.session.scalars(listing.limit(size).offset(offset)).all() if offset < total else []
    return Page(items, number, size, total)


def page_of(records: Sequence[Record], number: int, size: int) -> Page[Record]:
    """A page of a list that is at hand already."""
    offset = (number - 1) * size
    return Page(records[offset : offset + size], number, size, len(records))


def first(listing: Listing, size: int) -> tuple[Sequence[Any], bool]:
    """The first records of a query that itself starts after the last one seen, and whether there are more."""
    items = db.session.scalars(listing.limit(size + 1)).all()
    return items[:size], len(items) > size
