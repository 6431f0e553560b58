"""Access to ``/api/`` for pages of other origins (CORS), as in GitLab: for all of them, but never with cookies.

micropip and JupyterLite install from public projects this way. Where ``*`` is the allowed origin, browsers do not show
a page the response to a request with cookies, so it can read only what is public, or what it has a token for.
"""

from __future__ import annotations

import re

from flask import Flask, Response, request
from werkzeug.wrappers import Response as BaseResponse

from registry import credential_names
from registry.blueprints.routing import API

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
PREFLIGHT_SECONDS = 7200  # for which browsers may remember the response to a preflight
# The headers of GitLab's list that exist here; pages can read the others of a response only if they are safelisted.
EXPOSED = (
    "ETag", "Link", "X-Next-Page", "X-Page", "X-Per-Page", "X-Prev-Page", "X-Request-Id", "X-Total", "X-Total-Pages",
)  # fmt: skip
# The headers of requests that are allowed if a preflight does not name any: those that the API reads.
READ = (
    credential_names.AUTHORIZATION, *credential_names.TOKEN_HEADERS, "Content-Type", "If-None-Match", "Range", "Sudo",
)  # fmt: skip
# Of each response, also without ``Origin``: cached ones are then the same for all clients.
HEADERS = (("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", ", ".join(EXPOSED)))
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}")


def init_app(app: Flask) -> None:
    app.before_request(_answer_preflight)
    app.after_request(_allow)


def _answer_preflight() -> Response | None:
    """Answer the question of a browser whether a page can send a request; unlike the request, without credentials."""
    is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not is_preflight or not request.path.startswith(API):
        return None
    asked = request.headers.get("Access-Control-Request-Headers", "")
    return Response(
        headers={
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": asked if _NAMES.fullmatch(asked) else ", ".join(READ),
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }
    )


def _allow(response: BaseResponse) -> BaseResponse:
    if request.path.startswith(API):
        for name, value in HEADERS:  # several times as fast as an update, which looks for each first
            response.headers.add(name, value)
    return response
