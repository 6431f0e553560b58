"""Pagination with GitLab's parameters, headers, and links ("REST API: pagination")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from flask import Response, jsonify, request

from registry import credential_names
from registry.addresses import root_url
from registry.blueprints.api import parameters
from registry.blueprints.api.parameters import optional, positive
from registry.blueprints.api.representations import JSON
from registry.domain import paging
from registry.domain.paging import Listing, Page, Record

DEFAULT_SIZE = 20
LARGEST_SIZE = 100
_PAGE = {"page": optional(positive), "per_page": optional(positive)}


def page(listing: Listing[Record]) -> Page[Record]:
    """Return the requested page.

    :raises InvalidParameter: ``page`` or ``per_page`` is not a positive number.
    """
    return paging.page(listing, *_wanted())


def page_of(records: Sequence[Record]) -> Page[Record]:
    """Return the same of a list in memory."""
    return paging.page_of(records, *_wanted())


def answer(page: Page[Record], rows: list[JSON]) -> Response:
    """Return the response with the rows of a page, and headers and links to other pages."""
    response = jsonify(rows)
    is_last = page.number >= page.last_number
    numbers = {
        "prev": page.number - 1 if page.number > 1 else None,
        "next": None if is_last else page.number + 1,
        "first": 1,
        "last": page.last_number,
    }
    response.headers["X-Page"] = str(page.number)
    response.headers["X-Per-Page"] = str(page.size)
    response.headers["X-Total"] = str(page.total)
    response.headers["X-Total-Pages"] = str(page.last_number)
    response.headers["X-Next-Page"] = str(numbers["next"] or "")
    response.headers["X-Prev-Page"] = str(numbers["prev"] or "")
    response.headers["Link"] = ", ".join(
        _link(relation, {"page": number, "per_page": page.size}) for relation, number in numbers.items() if number
    )
    return response


def keyset_page(listing: Listing[Record]) -> tuple[Sequence[Record], bool]:
    """Return the first records of a keyset query, and whether more follow."""
    size = parameters.read(_PAGE).get("per_page", DEFAULT_SIZE)
    return paging.first(listing, min(size, LARGEST_SIZE))


def keyset_answer(rows: list[JSON], following: Mapping[str, object] | None) -> Response:
    """Return the response with the rows, and a link to the next page.

    :param following: parameters of the next page; ``None`` if there is none.
    """
    response = jsonify(rows)
    if following is not None:
        response.headers["Link"] = _link("next", following)
    return response


def _wanted() -> tuple[int, int]:
    sent = parameters.read(_PAGE)
    return sent.get("page", 1), min(sent.get("per_page", DEFAULT_SIZE), LARGEST_SIZE)


def _link(relation: str, changed: Mapping[str, object]) -> str:
    """Return a link to the URL of the request with changed parameters, without credentials, keeping encoded slashes."""
    path = quote(request.path.lstrip("/")).replace("%1F", "%2F")
    left_out = (*changed, *credential_names.PARAMETERS)
    kept = [(name, value) for name, value in request.args.items(multi=True) if name not in left_out]
    return f'<{root_url(request.environ)}{path}?{urlencode([*kept, *changed.items()])}>; rel="{relation}"'
