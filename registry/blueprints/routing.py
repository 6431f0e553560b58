"""Normalization of request paths to the form of the routes, and the URLs of PyPI endpoints.

WSGI provides a decoded path, in which ``group%2Fproject`` and ``group/project`` are the same. The raw target
distinguishes them, and so must links in responses: clients match credentials by the URL as configured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from werkzeug.routing import BaseConverter, PathConverter, Rule

from registry.domain.namespaces import RESERVED, TOP_LEVEL_RESERVED

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

API = "/api/"
API_V4 = "/api/v4"
OIDC = "/_/oidc"
TOKEN_EXCHANGE = f"{API_V4}/oidc/token"
# The PyPI endpoints of each kind of namespace, relative to ``API_V4``.
PYPI = {
    "project": "/projects/<project:project>/packages/pypi",
    "group": "/groups/<group:group>/-/packages/pypi",
}
UPLOADS = API_V4 + PYPI["project"]
SIMPLE_PAGE = {kind: f"{API_V4}{path}/simple/<rest:name>" for kind, path in PYPI.items()}
# Represents an encoded slash up to the converter; namespace paths cannot contain it.
_ENCODED_SLASH = "\x1f"
_NO_SLASH = "\x7f"  # replaces that character itself in requests; names cannot contain it either
# Segments that follow an ID in routes, at which an ID with plain slashes ends. A test compares them with the routes.
RESOURCES = (
    "-", "packages", "members", "deploy_tokens", "jobs", "job_token_scope", "archive", "unarchive", "transfer",
    "subgroups", "descendant_groups", "projects", "package_settings", "upstream_exceptions", "trusted_publishers",
    "trusted_readers",
)  # fmt: skip
_ENDPOINTS = "/packages/pypi"  # ends the part of a URL that has the ID
LONGEST_BEGIN = 1000  # characters of that part in memory
_PLACEHOLDER = re.compile("<[^>]+>")
# An ID in one segment, and a name that begins as valid ones do; all of it in ASCII.
_USUAL_ID, _USUAL_NAME = f"([!-.0-~{_ENCODED_SLASH}]+)", "([A-Za-z0-9][A-Za-z0-9._-]*)"


class CanonicalPaths:
    """WSGI middleware: removes trailing slashes; for ``/api/``, also repeated ones, and preserves encoded ones.

    GitLab's router ignores trailing slashes; a redirect instead would break uploads, as twine follows none.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith(API):
            environ["PATH_INFO"] = re.sub("/{2,}", "/", _with_encoded_slashes(path, environ)).rstrip("/")
        elif path.endswith("/"):
            environ["PATH_INFO"] = path.rstrip("/") or "/"
        return self.application(environ, start_response)


class NamespaceConverter(BaseConverter):
    """``:id`` of the API: a number, or a path with encoded (``group%2Fproject``) or plain slashes."""

    part_isolating = False
    # An ID with plain slashes, segment by segment; the segments after the first are not resources.
    later_part = rf"/(?!(?:{'|'.join(RESOURCES)})(?:/|$))[^/{_ENCODED_SLASH}]++"
    # All quantifiers are possessive: an ID is followed by a slash, so a shorter match never succeeds, and backtracking
    # would take minutes for a URL with thousands of slashes.
    regex = rf"(?:[^/]++|(?!\d+/)[^/{_ENCODED_SLASH}]++(?:{later_part})++)"

    def to_python(self, value: str) -> str:
        return value.replace(_ENCODED_SLASH, "/")

    def to_url(self, value: object) -> str:
        return quote(str(value), safe="")


class PagePathConverter(BaseConverter):
    """The full path of a group, project, or user in URLs of pages, with plain slashes: ``group/subgroup``.

    It matches only valid paths of ``domain.namespaces``, so that no page shadows another URL of the registry.
    ``url_for`` accepts a record as well as its path.
    """

    part_isolating = False
    weight = 200  # after all literal routes
    segment = rf"(?!(?i:{'|'.join(sorted(RESERVED))})(?:/|$))[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
    first_segment = rf"(?!(?i:{'|'.join(map(re.escape, sorted(TOP_LEVEL_RESERVED)))})(?:/|$)){segment}"
    regex = rf"{first_segment}(?:/{segment})*"

    def to_url(self, value: object) -> str:
        return quote(str(getattr(value, "full_path", value)))


class PageProjectConverter(PagePathConverter):
    """The same for a project, which always has a parent."""

    regex = rf"{PagePathConverter.first_segment}(?:/{PagePathConverter.segment})+"


class RestConverter(PathConverter):
    """The rest of a path, including slashes: GitLab's ``package_name`` and ``file_name``."""

    def to_python(self, value: str) -> str:
        return value.replace(_ENCODED_SLASH, "/")


class IdConverter(BaseConverter):
    """The ID of a record. Numbers too large for an ID match no route, so they never reach the database."""

    regex = r"[0-9]{1,9}"

    def to_python(self, value: str) -> int:
        return int(value)


class LateRule(Rule):
    """A route whose functions that make URLs are made when they are first needed.

    Werkzeug compiles two of them for each route, which took as long as all else that creates the application.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_builder = super()._compile_builder

        @cache
        def compiled() -> Callable[..., tuple[str, str]]:
            return compile_builder(append_unknown)

        return lambda rule, /, **values: compiled()(rule, **values)


def pypi_path(kind: str, identifier: str) -> str:
    """Return the path of a namespace's PyPI endpoints, without the leading slash.

    :param identifier: the namespace's ID, or its path with encoded slashes.
    """
    return _PLACEHOLDER.sub(lambda _: identifier, API_V4 + PYPI[kind]).lstrip("/")


class SimplePageURL(NamedTuple):
    """The parts of the URL of a simple page.

    :ivar rule: of its route.
    :ivar reference: the namespace, with its kind.
    """

    rule: str
    reference: str
    name: str


def simple_page_url(path: str) -> SimplePageURL | None:
    """Return the parts of the URL of a simple page in its usual spelling, ``None`` for any other path.

    Flask routes these paths alike, but takes several times as long.

    :param path: in the form that ``CanonicalPaths`` produces.
    """
    for kind, (rule, pattern) in _SIMPLE_PAGES.items():
        found = pattern.fullmatch(path)
        if found is not None:
            identifier, name = found.groups()
            return SimplePageURL(rule, f"{kind} {identifier.replace(_ENCODED_SLASH, '/')}", name)
    return None


def uploaded_to(path: str) -> str | None:
    """Return the project of the URL for uploads, with its kind, as ``SimplePageURL.reference``; likewise ``None``."""
    found = _UPLOADS.fullmatch(path)
    return None if found is None else f"project {found[1].replace(_ENCODED_SLASH, '/')}"


def _pattern(rule: str) -> re.Pattern[str]:
    """Return a pattern for the usual spelling of the paths of a rule with an ID and perhaps a name."""
    begin, middle, *name = map(re.escape, _PLACEHOLDER.split(rule))
    return re.compile(begin + _USUAL_ID + middle + (_USUAL_NAME if name else ""))


_UPLOADS = _pattern(UPLOADS)
_SIMPLE_PAGES = {kind: (rule, _pattern(rule)) for kind, rule in SIMPLE_PAGE.items()}


def addresses_of(routes: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches the raw paths of routes, in time linear in the length of the path.

    Raw paths can have a sub-path in front, repeated slashes, or plain slashes in an ID. Other paths can match, too.

    :param routes: rules of the URL map, each containing an ID.
    """
    ends: dict[str, list[str]] = {}
    for route in routes:
        begin, end, *rest = _PLACEHOLDER.split(route)
        ends.setdefault(_with_repeated_slashes(begin), []).append(
            _with_repeated_slashes(end) + ("" if rest else r"/*\Z")
        )
    # The part before the ID is matched only at its first occurrence, however often a client repeats it.
    patterns = [rf"(?>.*?{begin}).+(?:{'|'.join(found)})" for begin, found in ends.items()]
    return re.compile("|".join(patterns), re.DOTALL)


def raw_path(environ: WSGIEnvironment) -> str:
    """Return the path of the request target as sent, still encoded; of an absolute target, only the path."""
    target = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    target = target.partition("?")[0]
    if target[:8].lower().startswith(("http://", "https://")):
        target = urlsplit(target).path
    return target or quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1")


def spelled_id(environ: WSGIEnvironment) -> str:
    """Return ``:id`` of a PyPI URL exactly as the client spelled it, safe for use in links."""
    path = raw_path(environ)
    # The URLs of a namespace are alike up to here, and clients ask for many of them.
    begin = path[: path.find(_ENDPOINTS) + len(_ENDPOINTS)]
    found = _spelled_id(begin) if len(_ENDPOINTS) < len(begin) <= LONGEST_BEGIN else ""
    return found or _spelled_id.__wrapped__(path)


@lru_cache(maxsize=256)
def _spelled_id(path: str) -> str:
    spelled = [part for part in path.split("/") if part]
    parts = [unquote(part) if "%" in part else part for part in spelled]
    begin = _index(parts, ["api", "v4"], 0) + 3
    end = _index(parts, ["packages", "pypi"], begin + 1)
    if end >= len(parts):
        return ""
    identifier = spelled[begin : end - 1 if parts[end - 1] == "-" else end]
    return quote("/".join(identifier), safe="%/:@!$&'()*+,;=~-._")


def _with_repeated_slashes(literal: str) -> str:
    """Return a pattern for a part of a route that starts with a slash, which can be repeated."""
    return "/" + re.escape(literal[1:]).replace("/", "/+")


def _index(parts: list[str], wanted: list[str], start: int) -> int:
    """Return the index of ``wanted`` in ``parts`` from ``start`` on; the length if it is missing."""
    places = range(start, len(parts))
    return next((at for at in places if parts[at : at + len(wanted)] == wanted), len(parts))


def _with_encoded_slashes(path: str, environ: WSGIEnvironment) -> str:
    path, raw = path.replace(_ENCODED_SLASH, _NO_SLASH), raw_path(environ)
    if "%" not in raw:
        return path
    parts = re.split("%2f", raw, flags=re.IGNORECASE)
    decoded = [unquote_to_bytes(part).decode("latin-1").replace(_ENCODED_SLASH, _NO_SLASH) for part in parts]
    if not "/".join(decoded).endswith(path):
        return path
    # Characters are replaced one by one, so this path is the same tail of both.
    return _ENCODED_SLASH.join(decoded)[-len(path) :]
