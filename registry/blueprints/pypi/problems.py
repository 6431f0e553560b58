"""Problem documents: errors of simple pages and files, which name what the caller can do (PEP 847, RFC 9457).

A document has the members of GitLab's error, too. Clients that prefer HTML to JSON get it as a page.
"""

from __future__ import annotations

from functools import lru_cache

from flask import Response, current_app, json, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header

from registry.domain.packages import simple
from registry.environ_keys import REQUEST_ID
from registry.errors import RegistryError

MEDIA_TYPE = "application/problem+json"  # without parameters: uv compares it as text
_JSON = (MEDIA_TYPE, "application/json", simple.JSON, "application/vnd.pypi.simple.latest+json")
_HTML = (simple.PLAIN_HTML, simple.HTML, "application/xhtml+xml", "application/vnd.pypi.simple.latest+html")
_DETAILS = {
    404: "There is nothing at this address. The simple page of the package has the current addresses of its files.",
    405: "This address supports only GET and HEAD. To publish, use the address of the registry that ends in "
    "/packages/pypi.",
    412: "The file at this address is not the one that If-Match names.",
    413: "A request to this address cannot have such a large body.",
    416: "The file ends before the requested range.",
}


def of_error(error: RegistryError) -> Response:
    """Return the response for an error of the registry, without the error's own status line and headers."""
    title = error.title or error.phrase
    return _response(error.status, title, error.detail or _unexpected(), error.body())


def of_http_error(error: HTTPException, body: dict[str, object], detail: str = "") -> Response:
    """Return the response for an error of HTTP, with its headers.

    :param body: GitLab's members.
    :param detail: what the caller can do, if more is known than from the status.
    """
    status, headers = error.code or 500, error.get_headers()
    detail = detail or _DETAILS.get(status) or error.description or error.name
    response = _response(status, error.name, detail, body)
    response.headers.extend((name, value) for name, value in headers if name.lower() != "content-type")
    return response


def _response(status: int, title: str, detail: str, body: dict[str, object]) -> Response:
    if _prefers_html(request.headers.get("Accept", "")):
        # Past Flask, whose context for templates of pages can need the database.
        template = current_app.jinja_env.get_template("simple/problem.html")
        text = template.render(title=title, status=status, detail=detail)
        response = Response(text, status, content_type="text/html; charset=utf-8")
    else:
        document = {"title": title, "status": status, "detail": detail, **body}
        response = Response(json.dumps(document) + "\n", status, content_type=MEDIA_TYPE)
    response.vary.add("Accept")
    return response


def _unexpected() -> str:
    request_id = request.environ.get(REQUEST_ID, "")
    return f"The registry failed. An administrator finds the cause in the log, under the request {request_id}."


@lru_cache(maxsize=256)
def _prefers_html(accept: str) -> bool:
    """Return whether a client prefers HTML to JSON, as browsers and old versions of pip do."""
    accepted = parse_accept_header(accept, MIMEAccept)
    return max(map(accepted.quality, _HTML)) > max(map(accepted.quality, _JSON))
