"""The frame of all pages: navigation, URLs of static files, and formats of times and sizes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import format_decimal
from flask import Flask, Response, current_app, request, url_for
from flask_babel import get_locale, gettext, ngettext
from markupsafe import Markup

from registry.addresses import root_url
from registry.blueprints.auth import sessions
from registry.blueprints.auth.credentials import token_key
from registry.blueprints.routing import pypi_path
from registry.blueprints.ui.language import current_language
from registry.blueprints.ui.pagination import url_with
from registry.blueprints.ui.viewer import may, principal, viewer
from registry.blueprints.ui.wording import role_name, upstream_mode_name
from registry.database import utcnow
from registry.domain import access, namespaces
from registry.domain.access import Permission
from registry.domain.accounts.feed_tokens import feed_token
from registry.domain.oidc.identities import accepts_issuer
from registry.models import ColorScheme, Group, Namespace, Project
from registry.product import installed_version

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SCHEME_COOKIE = "color_scheme"  # of visitors; users have a setting
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
A_YEAR_SECONDS = 365 * 24 * 60 * 60
# Control characters and noncharacters, which are invalid in HTML (HTML, "Preprocessing the input stream").
_UNPRINTABLE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xef\xbf[\xbe\xbf]")
_REPLACEMENT = "\ufffd".encode()
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def init_app(app: Flask) -> None:
    del app.jinja_env.globals["namespace"]  # Jinja's own; in our templates, a namespace is a group or project
    app.jinja_env.globals.update(
        accepts_issuer=accepts_issuer,
        color_scheme=color_scheme,
        help_url=help_url,
        this_page=this_page,
        hue=hue,
        icon=icon,
        lacks_second_factor=sessions.lacks_second_factor,
        may=may,
        namespace_url=namespace_url,
        own_feed_url=own_feed_url,
        page_language=current_language,
        principal=principal,
        role_name=role_name,
        sentence_gap=sentence_gap,
        upstream_mode_name=upstream_mode_name,
        product_version=installed_version(),
        sidebar=sidebar,
        static_url=static_url,
        url_with=url_with,
        viewer=viewer,
    )
    app.jinja_env.filters.update(
        ago=ago, exact_time=exact_time, limit=limit, day=day, number=number, size=size, ancestors=ancestors
    )
    app.after_request(_keep_static_files)


_ICONS = "registry.icons"  # in the environment of a request: the URL of their file


def static_url(filename: str) -> str:
    """Return the URL of a static file, with a digest of its content, so that browsers can cache it until it changes."""
    return url_for("static", filename=filename, v=_digest(Path(current_app.static_folder or "") / filename))


def _digest(path: Path) -> str:
    changed = path.stat().st_mtime_ns
    digests: dict[Path, tuple[int, str]] = current_app.extensions.setdefault("static digests", {})
    if digests.get(path, (0, ""))[0] != changed:
        digests[path] = (changed, sha256(path.read_bytes()).hexdigest()[:12])
    return digests[path][1]


def _keep_static_files(response: Response) -> Response:
    if request.endpoint == "static" and response.status_code == 200 and "v" in request.args:
        response.cache_control.no_cache = None
        response.cache_control.public = True
        response.cache_control.max_age = A_YEAR_SECONDS
        response.cache_control.immutable = True
    return response


def secure_page(response: Response) -> Response:
    """Set the security headers of a page, and replace invalid characters in it.

    Only the registry's own files can run in it, it cannot be framed, and it is not cached.
    """
    if response.mimetype == "text/html" and not response.is_streamed:
        response.data = _UNPRINTABLE.sub(_REPLACEMENT, response.data)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = PERMISSIONS_POLICY
    response.headers["X-Frame-Options"] = "DENY"
    response.vary.update(("Cookie", "Accept-Language"))
    if viewer() is not None:
        response.headers["Cache-Control"] = "no-store"
    else:
        response.headers.setdefault("Cache-Control", "no-cache, private")
    return response


def icon(name: str) -> Markup:
    """Return an icon of ``static/icons.svg``. It is decorative, so a text or ``aria-label`` must accompany it."""
    if _ICONS not in request.environ:  # a page has a hundred of them
        request.environ[_ICONS] = static_url("icons.svg")
    return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>').format(
        request.environ[_ICONS], name
    )


def hue(name: str) -> int:
    """Return the number of a name's color, one of the seven colors of avatars."""
    return sum(name.encode()) % 7


def color_scheme() -> ColorScheme:
    """Return the color scheme that the user or visitor has chosen."""
    user = viewer()
    if user is not None:
        return user.color_scheme
    chosen = request.cookies.get(SCHEME_COOKIE)
    return ColorScheme(chosen) if chosen in set(ColorScheme) else ColorScheme.AUTO


@dataclass(frozen=True)
class Entry:
    """A link in the sidebar, which is current on its page and subpages."""

    label: str
    url: str

    @property
    def is_current(self) -> bool:
        path = request.script_root + request.path
        return path == self.url or path.startswith(self.url + "/")


@dataclass(frozen=True)
class Section:
    """A section of the sidebar with a title."""

    label: str
    icon: str
    entries: tuple[Entry, ...]


def sidebar(namespace: Group | Project) -> list[Section]:
    """Return GitLab's sidebar of a group or project, with the entries that the viewer can access."""
    is_project = isinstance(namespace, Project)
    offered = (
        (gettext("Manage"), "people", (
            (gettext("Members"), "members", "members", may("read_members", namespace) and viewer() is not None),
            (gettext("Audit events"), "audit", "audit_events", may("own_namespace", namespace)),
        )),
        (gettext("Deploy"), "package", (
            (gettext("Package registry"), "packages", "packages", _has_registry(namespace)),
            (gettext("Upstream"), "upstream", "upstream", _has_registry(namespace)),
            (gettext("Vulnerabilities"), "vulnerabilities", "vulnerabilities", _has_registry(namespace)),
        )),
        (gettext("Settings"), "gear", (
            (gettext("General"), "namespaces", "edit", may("admin_namespace", namespace)),
            (gettext("Packages and registries"), "settings", "packages_and_registries",
             may("read_package_settings" if is_project else "change_package_settings", namespace)),
            (gettext("Repository"), "deploy_tokens", "repository", may("read_deploy_tokens", namespace)),
            (gettext("CI/CD"), "job_tokens", "ci_cd",
             may("admin_job_token_scope" if is_project else "read_deploy_tokens", namespace)),
            (gettext("Usage quotas"), "usage", "usage_quotas", may("admin_namespace", namespace)),
        )),
    )  # fmt: skip
    sections = []
    for label, symbol, entries in offered:
        shown = tuple(
            Entry(text, namespace_url(f"{module}.{view}", namespace))
            for text, module, view, is_allowed in entries
            if is_allowed
        )
        if shown:
            sections.append(Section(label, symbol, shown))
    return sections


def namespace_url(view: str, namespace: Namespace, **parameters: Any) -> str:
    """Return the URL of a view for both kinds: ``namespace_url("members.members", group)``."""
    module, name = view.split(".")
    return url_for(f"ui.{module}.{namespace.kind}_{name}", **parameters, **{namespace.kind: cast(Any, namespace)})


def feed_url(namespace: Project | Group, name: str | None = None) -> str:
    """Return the URL of the feed of a project or group, or of a package name of a project."""
    if name is None:
        return url_for("feeds.packages", namespace=namespace)
    return url_for("feeds.versions_of_name", project=cast(Any, namespace), name=name)


def own_feed_url(namespace: Project | Group, name: str | None = None) -> str:
    """Return the same with the viewer's feed token, unless everyone can read the feed."""
    user = viewer()
    is_open = isinstance(namespace, Project) and access.allowed(access.ANONYMOUS, Permission.READ_PACKAGE, namespace)
    if user is None or is_open:
        return feed_url(namespace, name)
    return f"{feed_url(namespace, name)}?feed_token={feed_token(user, token_key())}"


def pypi_url(namespace: Project | Group) -> str:
    """Return the absolute URL of a namespace's PyPI endpoints, by ID, so that it survives changes of the path."""
    return f"{root_url(request.environ)}{pypi_path(namespace.kind, str(namespace.id))}"


def this_page() -> str | None:
    """Return the URL of the current page, as redirect target after sign-in; ``None`` for submitted forms."""
    return request.script_root + request.full_path.rstrip("?") if request.method == "GET" else None


def help_url(chapter: str | None = None, *, anchor: str | None = None, about: Namespace | None = None) -> str:
    """Return the URL of help or one of its chapters, with the URLs of the project or group ``about`` filled in."""
    filled_in: dict[str, Any] = {about.kind: about.full_path} if isinstance(about, Project | Group) else {}
    if chapter is None:
        return url_for("ui.help.index", **filled_in)
    return url_for("ui.help.chapter", name=chapter, _anchor=anchor, **filled_in)


def _has_registry(namespace: Group | Project) -> bool:
    if isinstance(namespace, Project) and not namespace.has_registry:
        return False
    return may("read_package", namespace)


def ancestors(namespace: Namespace) -> list[Namespace]:
    """Return the ancestor groups or the personal namespace for the breadcrumb, topmost first."""
    return [] if namespace.parent_id is None else namespaces.ancestors(namespace)


def sentence_gap() -> str:
    """Return what separates a sentence from the next one or from a link: Japanese has no spaces there."""
    return "" if current_language() == "ja" else " "


def ago(moment: datetime) -> str:
    """Return a relative time: ``3 hours ago``."""
    locale = get_locale()
    text = str(format_timedelta(moment - utcnow(), add_direction=True, locale=locale))
    return text.replace(" ", "") if locale is not None and locale.language == "ja" else text


def limit(moment: datetime) -> str:
    """Return the time in UTC at which something begins or ends: the day, if it is its beginning, as most are."""
    moment = moment.astimezone(UTC)
    return exact_time(moment) if moment.time() != time() else day(moment.date())


def exact_time(moment: datetime) -> str:
    """Return a time in UTC with seconds."""
    return f"{format_datetime(moment.astimezone(UTC), 'medium', locale=get_locale())} UTC"


def day(value: date) -> str:
    return str(format_date(value, "medium", locale=get_locale()))


def number(value: int) -> str:
    """Return a number with its digits in groups: ``1,234,567``."""
    return str(format_decimal(value, locale=get_locale()))


def size(size_bytes: int) -> str:
    """Return a size with three digits in binary units, as GitLab: ``4.58 KiB``."""
    if size_bytes < 1024:
        return str(ngettext("%(num)d byte", "%(num)d bytes", size_bytes))
    exponent = min(int(math.log2(size_bytes) / 10), len(_UNITS))
    shown = size_bytes / 1024**exponent
    digits = 2 if shown < 10 else 1 if shown < 100 else 0
    return f"{shown:.{digits}f} {_UNITS[exponent - 1]}"
