"""Blueprint "pypi": the API for pip, twine, and other clients, for projects and groups.

Errors of uploads are GitLab's JSON ("PyPI API"), with the message also in the status line, which twine shows, and as
``code``, which uv shows. Errors of simple pages and files are problem documents (``problems``) with the members of that
JSON; pip shows the beginning of the explanation from the status line, and uv all of it.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from registry import metrics
from registry.addresses import root_url
from registry.blueprints.auth.credentials import find_namespace, pypi_principal
from registry.blueprints.auth.explanations import explained
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi import files, index, json_api, problems, upload, vulnerabilities
from registry.blueprints.routing import API_V4
from registry.environ_keys import EVENT
from registry.errors import InvalidParameter, InvalidToken, NotFound, RegistryError, Unauthenticated, WithheldByRule

REALM = "GitLab Packages Registry"
LONGEST_REASON = 200  # characters of a reason phrase
_TO_PUBLISH = (
    "To publish, send an access token with the scope api, not the password of your account. A deploy token needs the "
    "scope write_package_registry. Send the token as the password of Basic authentication. The user name is "
    "gitlab-ci-token for the token of a running CI job, and any name for the others."
)
_TRAVERSAL = re.compile(r"(^|[/\\])\.\.([/\\]|$)|\x00")
_LIKE_AN_INDEX = re.compile(f"{API_V4}/(?:projects|groups)/.+/packages/pypi(?:/|$)")
_PATHS = {"name": "package_name", "filename": "file_identifier"}  # parameters of routes, and what GitLab calls them

blueprint = Blueprint("pypi", __name__, url_prefix=API_V4)
gate = Gate(pypi_principal, namespace_first=True, find_namespace=find_namespace)
for part in (index, files, upload, json_api, vulnerabilities):
    blueprint.register_blueprint(part.routes(gate))


@blueprint.before_request
def refuse_traversal() -> None:
    """Refuse names of packages and files that lead out of their folder, before anything else, as GitLab does.

    :raises InvalidParameter: a part of the name is ``..``, or it contains a null character.
    """
    for parameter, value in (request.view_args or {}).items():
        if parameter in _PATHS and _TRAVERSAL.search(value):
            raise InvalidParameter(f"{_PATHS[parameter]} should be a valid file path")


@blueprint.errorhandler(RegistryError)
def refuse(error: RegistryError) -> Response:
    if isinstance(error, NotFound) and error.what in ("Project", "Group"):
        # Here, unlike in the REST API, GitLab's message does not name the missing resource.
        error = NotFound().explained(error.title, error.detail)
    if isinstance(error, WithheldByRule):
        request.environ[EVENT] = metrics.Withheld(error.rule)
    if isinstance(error, Unauthenticated):
        if request.method == "POST":
            error.advice = _TO_PUBLISH
        error = explained(error)
    response = problems.of_error(error) if is_read() else _refused_upload(error)
    response.status = f"{error.status} {_reason_phrase(error.status, _headline(error))}"
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


def is_misplaced_upload(error: HTTPException) -> bool:
    """Return whether a client publishes to an address that accepts no form."""
    return request.method == "POST" and error.code in (404, 405) and request.mimetype == "multipart/form-data"


def is_misplaced_read(error: HTTPException) -> bool:
    """Return whether a client installs from the incomplete URL of an index."""
    is_refused = request.method in ("GET", "HEAD") and error.code in (404, 405)
    return is_refused and not is_read() and _LIKE_AN_INDEX.match(request.path) is not None


def refuse_misplaced_read(error: HTTPException, body: dict[str, object]) -> BaseResponse:
    """Return the response for an index without ``/simple``, or the index of a group without ``/-/``.

    :param body: GitLab's members.
    """
    detail = "The address of an index ends in /packages/pypi/simple, and that of a group in /-/packages/pypi/simple."
    response = problems.of_http_error(error, body, detail)
    if response.mimetype == problems.MEDIA_TYPE:  # these are no addresses of pages, so the JSON is GitLab's
        response.data = jsonify(body).data
        response.content_type = "application/json"
    response.status = f"{error.code} {_reason_phrase(error.code or 0, f'{error.name} - {detail}')}"
    return response


def refuse_misplaced_upload(error: HTTPException, body: dict[str, object]) -> BaseResponse:
    """Return the response for an upload to a group, a simple page, or a page, which names the right address.

    :param body: GitLab's members.
    """
    headline = (
        f"{error.code} {error.name} - Packages are published to a project: "
        f"{root_url(request.environ)}{API_V4[1:]}/projects/ID/packages/pypi, where ID is its number, or its path with "
        "%2F in place of each slash."
    )
    response = error.get_response()
    response.data = jsonify(**body, code=headline).data
    response.content_type = "application/json"
    response.status = f"{error.code} {_reason_phrase(error.code or 0, headline)}"
    return response


def _refused_upload(error: RegistryError) -> Response:
    body = error.body()
    if request.method == "POST" and isinstance(body.get("message", body.get("error")), str):
        body["code"] = error.message if error.reason and not error.is_explained else _headline(error)
    return jsonify(body)


def _headline(error: RegistryError) -> str:
    """Return the message, with what the caller can do if the message alone does not explain the refusal."""
    if error.reason and not error.is_explained:
        return error.headline
    status = f"{error.status} {error.phrase}" if error.reason else error.headline
    return f"{status} - {error.detail}" if error.detail else status


def _reason_phrase(status: int, headline: str) -> str:
    """Return a headline for the status line: one short line of printable ASCII, if possible of whole sentences."""
    text = re.sub(r"[^\x20-\x7e]", "?", headline.removeprefix(f"{status} "))
    if len(text) <= LONGEST_REASON:
        return text
    end = text.rfind(". ", LONGEST_REASON // 2, LONGEST_REASON + 1)
    return text[:LONGEST_REASON] if end < 0 else text[: end + 1]


def _described(error: InvalidToken) -> str:
    return f'error_description="{error.reason}"'
