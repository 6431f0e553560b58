"""Blueprint "pypi": the API for pip, twine, and other clients, for projects and groups.

Errors of uploads are GitLab's JSON ("PyPI API"), with the message also in the status line, which twine shows, and as
``code``, which uv shows. Errors of simple pages and files are problem documents (``problems``) with the members of that
JSON; pip shows the beginning of the explanation from the status line, and uv all of it.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, current_app, jsonify, request

from registry import metrics
from registry.blueprints.auth.credentials import explained, find_namespace, pypi_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi import files, index, problems, upload, vulnerabilities
from registry.blueprints.routing import API_V4
from registry.errors import InvalidToken, NotFound, RegistryError, Unauthenticated, WithheldByRule

REALM = "GitLab Packages Registry"

blueprint = Blueprint("pypi", __name__, url_prefix=API_V4)
gate = Gate(pypi_principal, namespace_first=True, find_namespace=find_namespace)
for child in (index.routes(gate), files.routes(gate), upload.routes(gate), vulnerabilities.routes(gate)):
    blueprint.register_blueprint(child)


@blueprint.errorhandler(RegistryError)
def refuse(error: RegistryError) -> Response:
    if isinstance(error, NotFound) and error.what in ("Project", "Group"):
        # Here, unlike in the REST API, GitLab's message does not name the missing resource.
        error = NotFound().explained(error.title, error.detail)
    if isinstance(error, WithheldByRule):
        request.environ[metrics.EVENT] = metrics.Withheld(error.rule)
    response = _problem(error) if is_read() else _refused_upload(error)
    if isinstance(error, Unauthenticated | InvalidToken):
        response.headers.add("WWW-Authenticate", f'Basic realm="{REALM}"')
    if isinstance(error, InvalidToken):
        response.headers.add("WWW-Authenticate", f'Bearer realm="The API", error="invalid_token", {_described(error)}')
    response.headers.update(error.headers())
    return response


def is_read() -> bool:
    """Return whether the request is for a simple page or a file, whatever its method."""
    reads: re.Pattern[str] = current_app.extensions["reads"]
    return reads.match(request.path) is not None


def _problem(error: RegistryError) -> Response:
    if isinstance(error, Unauthenticated):
        error = explained(error)
    response = problems.of_error(error)
    headline = error.headline if error.reason else f"{error.headline} - {error.detail}"
    response.status = f"{error.status} {_reason_phrase(error, headline)}"
    return response


def _refused_upload(error: RegistryError) -> Response:
    body = error.body()
    if request.method == "POST" and isinstance(body.get("message"), str):
        body["code"] = error.message
    response = jsonify(body)
    response.status = f"{error.status} {_reason_phrase(error, error.headline)}"
    return response


def _reason_phrase(error: RegistryError, headline: str) -> str:
    """Return a headline for the status line: one short line of printable ASCII."""
    text = headline.removeprefix(f"{error.status} ")
    return re.sub(r"[^\x20-\x7e]", "?", text)[:200]


def _described(error: InvalidToken) -> str:
    return f'error_description="{error.reason}"'
