"""Atom feeds of the latest versions, and the badge of a name, for programs and other sites.

Callers who cannot read the packages get 404, whether or not there are any. A feed also accepts the feed token of a user
as ``?feed_token=``, which opens nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

from flask import Blueprint, Response, request, url_for
from flask_babel import gettext
from packaging.utils import canonicalize_name

from registry.addresses import root_url
from registry.blueprints.auth.credentials import complete_session_principal, feed_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.frame import feed_url, namespace_url
from registry.blueprints.ui.viewer import principal
from registry.domain.access import Permission
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.namespaces import by_path
from registry.domain.packages import lists, versions
from registry.errors import NotFound, RegistryError
from registry.models import Group, Namespace, Package, Project

ATOM = "http://www.w3.org/2005/Atom"
LONGEST = 20  # entries of a feed
BADGE_SECONDS = 300
_INVALID_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

blueprint = Blueprint("feeds", __name__)
_feed_gate = Gate(feed_principal, namespace_first=False, find_namespace=by_path, shows_new_path=True)
_gate = Gate(complete_session_principal, namespace_first=False, find_namespace=by_path, shows_new_path=True)


@blueprint.errorhandler(RegistryError)
def refuse(error: RegistryError) -> tuple[str, int]:
    """Return only a status, the same for hidden and missing feeds."""
    return "", 404 if error.status < 500 else error.status


@blueprint.get("/<page_namespace:namespace>/-/packages.atom")
@_feed_gate(Permission.READ_PACKAGE)
def packages(namespace: Namespace) -> Response:
    """The versions published last in a project, or in the projects of a group that the caller can read."""
    if not isinstance(namespace, Project | Group):
        raise NotFound("Namespace")
    title = gettext("Packages of %(name)s", name=namespace.full_name)
    page = namespace_url("packages.packages", namespace)
    return _feed(
        _tag(namespace, f"{namespace.id}/packages"), title, feed_url(namespace), page, _latest(namespace), namespace
    )


@blueprint.get("/<page_project:project>/-/packages/names/<name>.atom")
@_feed_gate(Permission.READ_PACKAGE)
def versions_of_name(project: Project, name: str) -> Response:
    """The versions of a package name published last."""
    normalized_name = canonicalize_name(name)
    latest = _latest(project, normalized_name) if is_valid_name(name) else ()
    if not latest:
        raise NotFound("Package")
    page = url_for("ui.packages.package_name", project=project, name=normalized_name)
    title = gettext("Versions of %(name)s", name=latest[0].name)
    own_url = feed_url(project, normalized_name)
    return _feed(_tag(project, f"{project.id}/packages/{normalized_name}"), title, own_url, page, latest, project)


@blueprint.get("/<page_project:project>/-/packages/names/<name>/badge.svg")
@_gate(Permission.READ_PACKAGE)
def badge(project: Project, name: str) -> Response:
    """The latest version of a package name as a picture."""
    newest = versions.latest(versions.of_name(project, canonicalize_name(name)) if is_valid_name(name) else [])
    if newest is None:
        raise NotFound("Package")
    response = Response(_badge(newest.name, f"v{newest.version}"), mimetype="image/svg+xml")
    response.headers["Content-Security-Policy"] = "default-src 'none'"
    return _conditional(response, max_age=BADGE_SECONDS)


def _latest(namespace: Project | Group, normalized_name: str | None = None) -> Sequence[Package]:
    return lists.published_last(namespace, principal(), LONGEST, normalized_name)


def _feed(
    identity: str, title: str, own_url: str, page: str, latest: Sequence[Package], namespace: Namespace
) -> Response:
    """Return a feed (RFC 4287) with the author of each version, or else the project."""
    feed = ElementTree.Element("feed", xmlns=ATOM)
    updated = max((package.created_at for package in latest), default=namespace.created_at)
    _add(feed, "id", identity)
    _add(feed, "title", title)
    _add(feed, "updated", _moment(updated))
    ElementTree.SubElement(feed, "link", rel="self", type="application/atom+xml", href=_absolute(own_url))
    ElementTree.SubElement(feed, "link", rel="alternate", type="text/html", href=_absolute(page))
    _add(ElementTree.SubElement(feed, "author"), "name", namespace.full_name)
    for package in latest:
        _add_entry(feed, package)
    body = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    response = Response(body, content_type="application/atom+xml; charset=utf-8")
    response.vary.add("Accept-Language")
    return _conditional(response)


def _add_entry(feed: ElementTree.Element, package: Package) -> None:
    entry = ElementTree.SubElement(feed, "entry")
    _add(entry, "id", _tag(package, f"packages/{package.id}"))
    _add(entry, "title", f"{package.name} {package.version}")
    _add(entry, "updated", _moment(package.created_at))
    _add(entry, "published", _moment(package.created_at))
    page = url_for("ui.packages.project_package", project=package.project, package_id=package.id)
    ElementTree.SubElement(entry, "link", rel="alternate", type="text/html", href=_absolute(page))
    author = ElementTree.SubElement(entry, "author")
    _add(author, "name", package.project.full_name if package.creator is None else package.creator.name)
    if package.summary:
        _add(entry, "summary", package.summary)


def _tag(record: Namespace | Package, name: str) -> str:
    """Return the ID of a feed or entry, which does not change when the project or group moves (RFC 4151)."""
    host = urlsplit(root_url(request.environ)).hostname
    return f"tag:{host},{record.created_at.astimezone(UTC).date()}:{name}"


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = _INVALID_IN_XML.sub("\ufffd", text)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _absolute(url: str) -> str:
    return root_url(request.environ) + url.removeprefix(request.script_root).lstrip("/")


def _badge(label: str, value: str) -> str:
    """Return a badge; widths are estimated, and the texts are fitted into them."""
    label, value = label[:64], value[:32]
    left, right = (
        round(6.6 * sum(1 + (ord(character) > 0x2000) for character in text)) + 12 for text in (label, value)
    )
    picture = ElementTree.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", width=str(left + right), height="20", role="img"
    )
    _add(picture, "title", f"{label}: {value}")
    for x, width, color in ((0, left, "#444d56"), (left, right, "#0f6b66")):
        ElementTree.SubElement(picture, "rect", x=str(x), width=str(width), height="20", fill=color)
    texts = {"font-family": "Verdana, DejaVu Sans, sans-serif", "font-size": "11", "fill": "#fff"}
    for x, width, text in ((6, left - 12, label), (left + 6, right - 12, value)):
        shown = ElementTree.SubElement(picture, "text", texts | {"x": str(x), "y": "14", "textLength": str(width)})
        shown.text = text
    return ElementTree.tostring(picture, encoding="unicode")


def _conditional(response: Response, max_age: int = 0) -> Response:
    """Return the response, or 304 if the client has it; shared caches do not keep it, as access can end."""
    response.cache_control.private = True
    if max_age:
        response.cache_control.max_age = max_age
    else:
        response.cache_control.no_cache = True
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.vary.add("Cookie")
    response.add_etag()
    response.make_conditional(request)
    return response
