"""Lists in pages of twenty: the number in the address, and links that keep everything else in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from flask import request, url_for

from registry.domain import paging
from registry.domain.paging import Listing, Page, Record

PAGE_SIZE = 20
LARGEST_NUMBER = 1_000_000


def page(listing: Listing) -> Page[Any]:
    """The page asked for by ``?page=``; what is no number is the first."""
    return paging.page(listing, page_number(), PAGE_SIZE)


def page_of(records: Sequence[Record]) -> Page[Record]:
    """The same of a list that is at hand."""
    return paging.page_of(records, page_number(), PAGE_SIZE)


def page_number() -> int:
    number = request.args.get("page", 1, type=int)
    return min(max(number, 1), LARGEST_NUMBER)


def url_with(**changes: Any) -> str:
    """The address of this page with other parameters; ``None`` leaves one out."""
    parameters = {**request.args.to_dict(), **changes}
    kept = {name: value for name, value in parameters.items() if value not in (None, "")}
    here = url_for(request.endpoint or "", **(request.view_args or {}))
    # Put together by hand: to url_for, some names mean something else.
    return f"{here}?{urlencode(kept)}" if kept else here
