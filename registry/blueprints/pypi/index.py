"""Simple index and simple pages: content negotiation, ETags, and forwarding (PyPA, "Simple repository API")."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from flask import Blueprint, Request, Response, current_app, request
from packaging.utils import NormalizedName, canonicalize_name
from werkzeug.datastructures import Accept, MIMEAccept
from werkzeug.http import parse_accept_header

from registry import metrics
from registry.addresses import root_url
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi import in_front
from registry.blueprints.pypi.compression import SMALLEST_BYTES, CompressedPages
from registry.blueprints.pypi.prepared import (
    LARGEST_PAGE_BYTES,
    asks_anew,
    depends_on_index,
    depends_on_name,
    depends_on_upstream,
    let_others_proceed,
    preparable,
)
from registry.blueprints.routing import PYPI, pypi_path, spelled_id
from registry.database import utcnow
from registry.domain import forwarding
from registry.domain.access import Permission, Principal
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.packages import index, simple
from registry.domain.packages.index import FileURL
from registry.domain.packages.simple import SimpleIndex, SimplePage
from registry.domain.reachability import Upstream
from registry.domain.upstream.asks import Answer, Asks
from registry.domain.upstream.chain import upstream_for
from registry.domain.upstream.pages import KeptPages
from registry.domain.upstream.rules import Rules, rules_of
from registry.environ_keys import EVENT
from registry.errors import NotFound, UpstreamAway, UpstreamBusy, UpstreamFailed, quoted
from registry.models import Group, Namespace, Project, UpstreamMode

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PROJECT_ROOTS = (PYPI["project"] + "/simple", PYPI["project"] + "/+simple")
GROUP_ROOT = PYPI["group"] + "/simple"

# Offered media types in order of preference, with their aliases.
_OFFERS = (
    (simple.PLAIN_HTML, ()),
    (simple.JSON, ("application/vnd.pypi.simple.latest+json",)),
    (simple.HTML, ("application/vnd.pypi.simple.latest+html",)),
)

# Left as they are in links to files, as in RFC 3986, section 3.3: some readers of an index quote links once more.
_LEFT_RAW = "+!"
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_.+!~-]*").fullmatch  # for all valid file names; a quarter of the time

OUTDATED = '110 - "Response is Stale"'  # RFC 7234, section 5.5.1

_PRIVATE = Answer("private")
# In the environ of a request whose page was sought in front of Flask: whether to redirect to the upstream index.
_IS_FORWARDED = "registry.page_is_forwarded"

LONGEST_KEPT = 1000  # characters of headers whose meaning is kept

_compressed_pages = CompressedPages()


class MadePage(NamedTuple):
    """The headers and the body of a page, with status 200."""

    headers: list[tuple[str, str]]
    body: bytes

    def response(self) -> Response:
        return Response(self.body, headers=self.headers)


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("index", __name__)
    blueprint.before_request(in_front.report_failure)

    @preparable(LARGEST_PAGE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def project_index(project: Project) -> Response:
        """Return the package names of a project."""
        return _index(project)

    @preparable(LARGEST_PAGE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def project_page(project: Project, name: str) -> Response:
        """Return the files of a package name in a project."""
        return _page(project, name)

    @blueprint.get(GROUP_ROOT)
    @preparable(LARGEST_PAGE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def group_index(group: Group) -> Response:
        """Return the package names of all projects in a group that the caller can read."""
        return _index(group)

    @blueprint.get(GROUP_ROOT + "/<rest:name>")
    @preparable(LARGEST_PAGE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def group_page(group: Group, name: str) -> Response:
        """Return the files of a package name in all projects in a group that the caller can read."""
        return _page(group, name)

    for root in PROJECT_ROOTS:
        blueprint.get(root)(project_index)
        blueprint.get(root + "/<rest:name>")(project_page)
    return blueprint


def base_url(namespace: Namespace, environ: WSGIEnvironment) -> str:
    """Return the URL of the namespace's PyPI endpoints, with ``:id`` spelled as in the request.

    Clients match their configured credentials by path prefix, so links must have the same prefix.
    """
    return root_url(environ) + pypi_path(namespace.kind, spelled_id(environ) or str(namespace.id))


def _index(namespace: Namespace) -> Response:
    depends_on_index(request.environ)
    base, principal = base_url(namespace, request.environ), current_principal()
    listed = index.simple_index(namespace, lambda name: f"{base}/simple/{name}", principal)
    media_type = negotiated_media_type(request.environ)
    body = simple.index_json(listed) if media_type == simple.JSON else _html("simple/index.html", listed)
    return _validated(body, media_type, principal, request.environ).response()


def _page(namespace: Namespace, name: str) -> Response:
    in_front.report_refusal()
    if _IS_FORWARDED not in request.environ:
        page = made_page(namespace, name, current_principal(), request.environ)
        if page is not None:
            return page.response()
    return _redirect_upstream(name)


def made_page(namespace: Namespace, name: str, principal: Principal, environ: WSGIEnvironment) -> MadePage | None:
    """Make the page of a package name, or ``None`` if the upstream index has to be redirected to.

    Needs only Flask's app context.

    :param principal: can read packages in the namespace.
    :raises RegistryError: there is no such page.
    """
    normalized_name = canonicalize_name(name)
    depends_on_name(environ, normalized_name)
    page = index.simple_page(namespace, normalized_name, file_url_in(namespace, environ), principal)
    if page is None:
        return _elsewhere(namespace, name, principal, environ)
    note_answer(namespace, normalized_name, _PRIVATE)
    return _rendered(page, principal, environ)


def file_url_in(namespace: Namespace, environ: WSGIEnvironment) -> FileURL:
    """Return a function that makes the URLs of a namespace's files, as in the links of its simple pages."""
    base = base_url(namespace, environ)
    return lambda digest, filename: f"{base}/files/{digest}/{_quoted(filename)}"


def _quoted(filename: str) -> str:
    return filename if _NEEDS_NO_QUOTES(filename) else quote(filename, safe=_LEFT_RAW)


def _rendered(page: SimplePage, principal: Principal, environ: WSGIEnvironment) -> MadePage:
    media_type = negotiated_media_type(environ)
    body = simple.page_json(page) if media_type == simple.JSON else _html("simple/page.html", page)
    return _validated(body, media_type, principal, environ)


def _elsewhere(namespace: Namespace, name: str, principal: Principal, environ: WSGIEnvironment) -> MadePage | None:
    """Make the page of the upstream index for an unknown package name, or ``None`` if it has to be redirected to.

    :raises RegistryError: the upstream index is not asked for the name, has no such name, or does not answer.
    """
    index.refuse_where_names_are_hidden(namespace, principal)
    if not is_valid_name(name):
        raise NotFound("Package").explained("Package not found", f"{quoted(name)} is not a valid package name.")
    normalized_name, rules = canonicalize_name(name), rules_of(namespace)
    refusing = forwarding.refusing_rule(namespace, normalized_name, rules)
    if refusing is not None:
        source = refusing.rule if refusing.rule in ("reserved", "off") else "withheld"
        note_answer(namespace, normalized_name, Answer(source, refusing.rule, refusing.set_in))
        raise refusing.refusal()
    if rules.mode.value is UpstreamMode.CACHE:
        return _upstream_page(namespace, normalized_name, rules, principal, environ)
    note_answer(namespace, normalized_name, Answer("redirect"))
    environ[_IS_FORWARDED] = True
    return None


def note_answer(namespace: Namespace, normalized_name: str, answer: Answer) -> None:
    """Note where an answer came from, for the page "Upstream"."""
    asks: Asks = current_app.extensions["upstream_asks"]
    asks.note(namespace.id, normalized_name, answer)


def _upstream_page(
    namespace: Namespace, name: NormalizedName, rules: Rules, principal: Principal, environ: WSGIEnvironment
) -> MadePage:
    """Make the page of the upstream index, with links to files here.

    :raises NotFound: the upstream index has no such name.
    """
    now = utcnow()
    let_others_proceed(environ)
    pages: KeptPages = current_app.extensions["upstream_pages"]
    try:
        page = upstream_for(rules, pages, now).page(name, is_fresh=asks_anew(environ))
    except (UpstreamFailed, UpstreamBusy):
        note_answer(namespace, name, Answer("away"))
        raise
    note_answer(namespace, name, Answer("none") if page is None else Answer.of_page(page, now))
    if page is None:
        raise NotFound("Package").explained(
            "Package not found",
            f"The {namespace.kind} {namespace.full_path} has no package {name}, nor has {pages.host}.",
        )
    file_url = file_url_in(namespace, environ)
    files = tuple(file._replace(url=file_url(file.sha256, file.filename)) for file in page.files)
    made = _rendered(replace(page, files=files), principal, environ)
    depends_on_upstream(environ, page.holds_until)
    environ[EVENT] = metrics.UpstreamPage(_origin(page, now))
    return MadePage([*made.headers, ("Warning", OUTDATED)], made.body) if page.is_outdated else made


def _origin(page: SimplePage, now: datetime) -> str:
    if page.is_outdated:
        return "stale"
    return "miss" if page.checked_at is not None and page.checked_at >= now else "hit"


def _redirect_upstream(name: str) -> Response:
    """Redirect to the page of the upstream index.

    :raises UpstreamAway: the client would wait for an answer.
    """
    url = forwarding.page_url(name, current_app.config["UPSTREAM_URL"])
    upstream: Upstream = current_app.extensions["upstream"]
    if upstream.is_away():
        raise UpstreamAway(canonicalize_name(name), upstream.host)
    request.environ[EVENT] = metrics.Forward()
    return Response("Found upstream.\n", 302, {"Location": url}, mimetype="text/plain")


def negotiated_media_type(environ: WSGIEnvironment) -> str:
    """Return the media type of the response: ``?format=``, else the best match for ``Accept``, else HTML."""
    accept = environ.get("HTTP_ACCEPT", "")
    wanted = Request(environ).args.get("format") if environ.get("QUERY_STRING") else None
    if len(accept) + len(wanted or "") > LONGEST_KEPT:
        return _best_media_type.__wrapped__(accept, wanted)
    return _best_media_type(accept, wanted)


@lru_cache(maxsize=256)  # each client has a header of its own, and there are few
def _best_media_type(accept: str, wanted: str | None) -> str:
    accepted = {
        media_type.lower(): quality for media_type, quality in reversed(list(parse_accept_header(accept, MIMEAccept)))
    }
    best, best_quality = simple.PLAIN_HTML, 0.0
    for offered, aliases in _OFFERS:
        if wanted is not None and wanted in (offered, *aliases):
            return offered
        named = [accepted[name] for name in (offered, *aliases) if name in accepted]
        ranges = (offered.partition("/")[0] + "/*", "*/*")
        quality = max(named) if named else next((accepted[name] for name in ranges if name in accepted), 0.0)
        if quality > best_quality:
            best, best_quality = offered, quality
    return best


def _accepts_gzip(environ: WSGIEnvironment) -> bool:
    accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
    return _is_gzip_accepted.__wrapped__(accepted) if len(accepted) > LONGEST_KEPT else _is_gzip_accepted(accepted)


@lru_cache(maxsize=256)
def _is_gzip_accepted(accepted: str) -> bool:
    return parse_accept_header(accepted, Accept).quality("gzip") > 0


def _html(template: str, value: SimpleIndex | SimplePage) -> bytes:
    # Without the variables of pages for people, which need a request.
    rendered = current_app.jinja_env.get_template(template).render(value=value, api_version=simple.API_VERSION)
    return rendered.encode()


def _validated(data: bytes, media_type: str, principal: Principal, environ: WSGIEnvironment) -> MadePage:
    """Return a page with a strong ETag per media type and encoding; clients must revalidate it to see new uploads."""
    digest = sha256(media_type.encode() + b"\n" + data).hexdigest()[:32]
    is_compressed = len(data) >= SMALLEST_BYTES and _accepts_gzip(environ)
    headers = [
        ("Content-Type", media_type if media_type != simple.PLAIN_HTML else "text/html; charset=utf-8"),
        ("Vary", "Accept, Accept-Encoding"),
        ("Cache-Control", "no-cache" if principal.is_anonymous else "no-cache, private"),
        ("ETag", f'"{digest}-gzip"' if is_compressed else f'"{digest}"'),
    ]
    if is_compressed:
        headers.append(("Content-Encoding", "gzip"))
        data = _compressed_pages.compressed(digest, data)
    return MadePage([*headers, ("Content-Length", str(len(data)))], data)
