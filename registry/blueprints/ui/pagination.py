"""Pagination of lists, with the page number in the URL and links that keep other parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from flask import request, url_for

from registry.domain import paging
from registry.domain.paging import Listing, Page, Record

PAGE_SIZE = 20
LARGEST_NUMBER = 1_000_000


def page(listing: Listing[Record]) -> Page[Record]:
    """Return the requested page of a list."""
    return requested(lambda number: paging.page(listing, number, PAGE_SIZE))


def page_of(records: Sequence[Record], size: int = PAGE_SIZE) -> Page[Record]:
    """Return the same of a list in memory."""
    return requested(lambda number: paging.page_of(records, number, size))


def requested(read: Callable[[int], Page[Record]]) -> Page[Record]:
    """Return the page with the number ``?page=``: the first one if it is invalid, and the last one if there are fewer.

    :param read: returns the page with a number, or an empty one that knows how many there are.
    """
    number = request.args.get("page", 1, type=int)
    found = read(min(max(number, 1), LARGEST_NUMBER))
    return found if found.number <= found.last_number else read(found.last_number)


def url_with(**changes: object) -> str:
    """Return the URL of the current page with changed parameters; ``None`` removes one."""
    parameters = {**request.args.to_dict(), **changes}
    kept = {name: value for name, value in parameters.items() if value not in (None, "")}
    here = url_for(request.endpoint or "", **(request.view_args or {}))
    # url_for is not used, because some parameter names have a special meaning for it.
    return f"{here}?{urlencode(kept)}" if kept else here
