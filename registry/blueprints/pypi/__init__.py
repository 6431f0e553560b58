"""Blueprint "pypi": the API for pip, twine, and other clients, for projects and groups.

All error responses are JSON (GitLab, "PyPI API"). Errors of uploads repeat the message in the status line, which twine
shows, and as ``code``, which uv shows.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, jsonify, request

from registry.blueprints.auth.credentials import find_namespace, pypi_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi import files, index, upload
from registry.blueprints.routing import API_V4
from registry.errors import InvalidToken, NotFound, RegistryError, Unauthenticated

REALM = "GitLab Packages Registry"

blueprint = Blueprint("pypi", __name__, url_prefix=API_V4)
gate = Gate(pypi_principal, namespace_first=True, find_namespace=find_namespace)
for child in (index.routes(gate), files.routes(gate), upload.routes(gate)):
    blueprint.register_blueprint(child)


@blueprint.errorhandler(RegistryError)
def refuse(error: RegistryError) -> Response:
    if isinstance(error, NotFound) and error.what in ("Project", "Group"):
        error = NotFound()  # here, unlike in the REST API, GitLab does not name the missing resource
    body = error.body()
    if request.method == "POST" and isinstance(body.get("message"), str):
        body["code"] = error.message
    response = jsonify(body)
    response.status = f"{error.status} {reason_phrase(error)}"
    if isinstance(error, Unauthenticated | InvalidToken):
        response.headers.add("WWW-Authenticate", f'Basic realm="{REALM}"')
    if isinstance(error, InvalidToken):
        response.headers.add("WWW-Authenticate", f'Bearer realm="The API", error="invalid_token", {_described(error)}')
    response.headers.update(error.headers())
    return response


def reason_phrase(error: RegistryError) -> str:
    """Return the message for the status line: one short line of printable ASCII."""
    text = error.headline.removeprefix(f"{error.status} ")
    return re.sub(r"[^\x20-\x7e]", "?", text)[:200]


def _described(error: InvalidToken) -> str:
    return f'error_description="{error.reason}"'
