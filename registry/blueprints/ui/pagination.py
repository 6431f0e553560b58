"""Pagination of lists, with the page number in the URL and links that keep other parameters."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from flask import request, url_for

from registry.domain import paging
from registry.domain.paging import Listing, Page, Record

PAGE_SIZE = 20
LARGEST_NUMBER = 1_000_000


def page(listing: Listing[Record]) -> Page[Record]:
    """Return the page with the number ``?page=``; the first page if it is invalid."""
    return paging.page(listing, page_number(), PAGE_SIZE)


def page_of(records: Sequence[Record]) -> Page[Record]:
    """Return the same of a list in memory."""
    return paging.page_of(records, page_number(), PAGE_SIZE)


def page_number() -> int:
    number = request.args.get("page", 1, type=int)
    return min(max(number, 1), LARGEST_NUMBER)


def url_with(**changes: object) -> str:
    """Return the URL of the current page with changed parameters; ``None`` removes one."""
    parameters = {**request.args.to_dict(), **changes}
    kept = {name: value for name, value in parameters.items() if value not in (None, "")}
    here = url_for(request.endpoint or "", **(request.view_args or {}))
    # url_for is not used, because some parameter names have a special meaning for it.
    return f"{here}?{urlencode(kept)}" if kept else here
