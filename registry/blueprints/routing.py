"""Addresses as clients spell them, brought into the one form the routes are written in.

WSGI hands over a decoded path, in which ``group%2Fproject`` and ``group/project`` are the same. The raw target still
tells them apart, and so do the links we answer with: clients match credentials by the spelling they configured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from werkzeug.routing import BaseConverter, PathConverter

from registry.domain.namespaces import RESERVED, TOP_LEVEL_RESERVED

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

API = "/api/"
API_V4 = "/api/v4"
# The PyPI endpoints of each kind of namespace, below ``API_V4``.
PYPI = {
    "project": "/projects/<project:project>/packages/pypi",
    "group": "/groups/<group:group>/-/packages/pypi",
}
# Stands for an encoded slash between here and the converter; no namespace path can hold it.
_ENCODED_SLASH = "\x1f"
_NO_SLASH = "\x7f"  # in place of that sign itself, where a client sends it; nothing is called so either
# What follows an id in some route: an id spelled with plain slashes cannot run over it. A test reads the routes.
RESOURCES = (
    "-", "packages", "members", "deploy_tokens", "jobs", "job_token_scope", "archive", "unarchive", "transfer",
    "subgroups", "descendant_groups", "projects", "package_settings",
)  # fmt: skip
_PLACEHOLDER = re.compile("<[^>]+>")


class APIPaths:
    """WSGI middleware for ``/api/``: encoded slashes are kept apart, repeated and trailing slashes dropped.

    GitLab's router ignores a trailing slash; a redirect in its place would break uploads (twine refuses any).
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        path = environ.get("PATH_INFO", "")
        if path.startswith(API):
            environ["PATH_INFO"] = re.sub("/{2,}", "/", _with_encoded_slashes(path, environ)).rstrip("/")
        return self.application(environ, start_response)


class ExternalURL:
    """WSGI middleware: scheme, host and sub-path are those of the configured external URL, whatever was asked."""

    def __init__(self, application: WSGIApplication, url: str) -> None:
        self.application = application
        parts = urlsplit(url)
        self.scheme, self.host, self.prefix = parts.scheme, parts.netloc, parts.path.rstrip("/")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        environ["wsgi.url_scheme"], environ["HTTP_HOST"] = self.scheme, self.host
        environ["SCRIPT_NAME"] = self.prefix
        path = environ.get("PATH_INFO", "")
        if self.prefix and (path == self.prefix or path.startswith(self.prefix + "/")):
            environ["PATH_INFO"] = path[len(self.prefix) :] or "/"
        return self.application(environ, start_response)


class NamespaceConverter(BaseConverter):
    """``:id`` of the API: a number, ``group%2Fproject``, or the same with plain slashes."""

    part_isolating = False
    # An id in plain slashes, part by part; none of the later ones is a resource.
    later_part = rf"/(?!(?:{'|'.join(RESOURCES)})(?:/|$))[^/{_ENCODED_SLASH}]++"
    # Possessive throughout: whatever follows an id begins with a slash, so a shorter one never leads further, and
    # looking for it would take minutes where an address holds thousands of slashes.
    regex = rf"(?:[^/]++|(?!\d+/)[^/{_ENCODED_SLASH}]++(?:{later_part})++)"

    def to_python(self, value: str) -> str:
        return value.replace(_ENCODED_SLASH, "/")

    def to_url(self, value: Any) -> str:
        return quote(str(value), safe="")


class PagePathConverter(BaseConverter):
    """The full path of a group, project or user as pages spell it, with plain slashes: ``group/subgroup``.

    Only what ``domain.namespaces`` accepts as a path matches, so that no page hides another address of the registry.
    Links may be built from the record itself.
    """

    part_isolating = False
    weight = 200  # after every route that is spelled out
    segment = rf"(?!(?i:{'|'.join(sorted(RESERVED))})(?:/|$))[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
    first_segment = rf"(?!(?i:{'|'.join(map(re.escape, sorted(TOP_LEVEL_RESERVED)))})(?:/|$)){segment}"
    regex = rf"{first_segment}(?:/{segment})*"

    def to_url(self, value: Any) -> str:
        return quote(getattr(value, "full_path", value))


class PageProjectConverter(PagePathConverter):
    """The same for a project, which always lies in something."""

    regex = rf"{PagePathConverter.first_segment}(?:/{PagePathConverter.segment})+"


class RestConverter(PathConverter):
    """The rest of an address, slashes included: GitLab's ``package_name`` and ``file_name``."""

    def to_python(self, value: str) -> str:
        return value.replace(_ENCODED_SLASH, "/")


class IdConverter(BaseConverter):
    """The number of a record. What is too long for one matches no route, and reaches no database."""

    regex = r"[0-9]{1,9}"

    def to_python(self, value: str) -> int:
        return int(value)


def pypi_path(kind: str, identifier: str) -> str:
    """The path of a namespace's PyPI endpoints, without the slash in front.

    :param identifier: the namespace's id, or its path with the slashes encoded.
    """
    return _PLACEHOLDER.sub(lambda _: identifier, API_V4 + PYPI[kind]).lstrip("/")


def addresses_of(routes: Iterable[str]) -> re.Pattern[str]:
    """Matches the paths that some routes take, as they are received: with a sub-path in front, repeated slashes, or
    plain slashes in an id. Others may match too. The time it takes grows only with the length of the path.

    :param routes: as in the URL map, each with an id in it.
    """
    ends: dict[str, list[str]] = {}
    for route in routes:
        begin, end, *rest = _PLACEHOLDER.split(route)
        ends.setdefault(_with_repeated_slashes(begin), []).append(
            _with_repeated_slashes(end) + ("" if rest else r"/*\Z")
        )
    # What is in front of the id is looked for once, and not again at each place where it stands, however often a client
    # repeats it.
    patterns = [rf"(?>.*?{begin}).+(?:{'|'.join(found)})" for begin, found in ends.items()]
    return re.compile("|".join(patterns), re.DOTALL)


def raw_path(environ: WSGIEnvironment) -> str:
    """The path of the request target as it was sent, still encoded; of absolute targets only the path."""
    target = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    target = target.partition("?")[0]
    if target.startswith(("http://", "https://")):
        target = urlsplit(target).path
    return target or quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1")


def spelled_id(environ: WSGIEnvironment) -> str:
    """``:id`` of a PyPI address exactly as the client spelled it, safe to stand in a link."""
    spelled = [part for part in raw_path(environ).split("/") if part]
    parts = [unquote(part) for part in spelled]
    begin = _index(parts, ["api", "v4"], 0) + 3
    end = _index(parts, ["packages", "pypi"], begin + 1)
    if end >= len(parts):
        return ""
    identifier = spelled[begin : end - 1 if parts[end - 1] == "-" else end]
    return quote("/".join(identifier), safe="%/:@!$&'()*+,;=~-._")


def _with_repeated_slashes(literal: str) -> str:
    """A pattern for a part of a route that begins with a slash."""
    return "/" + re.escape(literal[1:]).replace("/", "/+")


def _index(parts: list[str], wanted: list[str], start: int) -> int:
    """Where ``wanted`` stands in ``parts``, from ``start`` on; the end if it does not."""
    places = range(start, len(parts))
    return next((at for at in places if parts[at : at + len(wanted)] == wanted), len(parts))


def _with_encoded_slashes(path: str, environ: WSGIEnvironment) -> str:
    path = path.replace(_ENCODED_SLASH, _NO_SLASH)
    parts = re.split("%2f", raw_path(environ), flags=re.IGNORECASE)
    decoded = [unquote_to_bytes(part).decode("latin-1").replace(_ENCODED_SLASH, _NO_SLASH) for part in parts]
    if not "/".join(decoded).endswith(path):
        return path
    # One character for one: the tail that is this path is at the same place in both.
    return _ENCODED_SLASH.join(decoded)[-len(path) :]
