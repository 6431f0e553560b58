"""Help: the user guide in chapters, with the URLs of this installation.

The text of a chapter is in ``templates/help/<language>/<chapter>.html``; examples of commands and files for all
languages are in ``templates/help/examples/``. ``?project=`` or ``?group=`` fills in the URLs of a project or group.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Blueprint, current_app, get_template_attribute, render_template, request
from flask_babel import gettext, lazy_gettext
from markupsafe import Markup

from registry.addresses import root_url
from registry.blueprints.auth.permits import Gate
from registry.blueprints.routing import pypi_path
from registry.blueprints.ui import commands
from registry.blueprints.ui.frame import help_url
from registry.blueprints.ui.language import current_language
from registry.blueprints.ui.viewer import principal
from registry.domain import forwarding, instance, namespaces
from registry.models import Group, Project

_ = lazy_gettext

_HEADING = re.compile(r'<h2 id="(?P<id>[\w-]+)">(?P<words>.+?)</h2>')
# Code in a sentence that fits into a line of a small screen: it is not to be broken, at hyphens for example.
_SHORT_CODE = re.compile(r'(?<!<pre tabindex="0">)<code>(?=[^<]{1,28}</code>)')
# Longer addresses and paths continue on the next line at a slash.
_LONG_PATH = re.compile(r'(?<!<pre tabindex="0">)<code>(?:https?:/)?/[^<\s]{28,}(?=</code>)')
_SLASH = re.compile(r"(?<=[^/:>])/")
# Browsers do not break a line between a Japanese full stop and code that begins with a hyphen or dot.
_CODE_AFTER_STOP = re.compile(r"(?<=[。、])<code>")


@dataclass(frozen=True)
class Chapter:
    """A chapter: the last segment of its URL, and its entry in the list of chapters."""

    name: str
    title: object
    summary: object


CHAPTERS = (
    Chapter("getting-started", _("Getting started"), _("What the registry is, and how to publish your first package.")),
    Chapter(
        "authentication", _("Authenticate"), _("Access tokens, deploy tokens, and CI job tokens, and what each can do.")
    ),
    Chapter("publish", _("Publish packages"), _("twine, uv, Poetry, and pipelines, and which files are refused.")),
    Chapter("install", _("Install packages"), _("pip, uv, and Poetry, from a project or a whole group.")),
    Chapter(
        "trusted-publishing",
        _("CI/CD without stored tokens"),
        _("Trusted publishers and readers, safe claims, and how to move away from tokens."),
    ),
    Chapter("gitlab-ci", "GitLab CI/CD", _("Jobs that publish and install with id_tokens.")),
    Chapter("github-actions", "GitHub Actions", _("Workflows that publish and install with id-token: write.")),
    Chapter(
        "other-ci", _("Other CI systems"), _("Identity tokens of any issuer of OpenID Connect, exchanged with curl.")
    ),
    Chapter(
        "releases",
        _("Yank and archive"),
        _("Withdraw a release without deleting it; deprecate, archive, or quarantine a package."),
    ),
    Chapter(
        "forwarding",
        _("The public index"),
        _("How requests are forwarded, the risks, and the rules that reduce them."),
    ),
    Chapter("requirements", _("requirements.txt and netrc"), _("Indexes and credentials in files.")),
    Chapter("versions", _("Versions"), _("Semantic versioning and valid version strings.")),
    Chapter("commands", _("Supported commands"), _("Commands that work with the registry, and those that don't.")),
    Chapter(
        "troubleshooting",
        _("Troubleshooting"),
        _("Error messages, caches, several indexes on one host, and unexpected sources."),
    ),
    Chapter("rest-api", _("REST API"), _("Scripts with python-gitlab or plain HTTP.")),
    Chapter("administration", _("Administration"), _("Shell commands, instance settings, and routine maintenance.")),
)
_NAMES = ", ".join(f"'{chapter.name}'" for chapter in CHAPTERS)


@dataclass(frozen=True)
class Addresses:
    """The URLs shown in chapters, with placeholders for the IDs of unknown projects and groups."""

    registry: str
    project: str
    group: str
    project_id: str
    group_id: str
    upstream: str
    audience: str

    @property
    def host(self) -> str:
        """Return the host without the port, as in ``.netrc``."""
        return urlsplit(self.registry).hostname or ""

    @property
    def token_variable(self) -> str:
        """Return the variable in which uv and pdm expect the identity token in GitLab CI/CD."""
        return re.sub(r"[^A-Z0-9]", "_", self.audience.upper()) + "_ID_TOKEN"

    def index(self, kind: str, username: str = "__token__", password: str = commands.TOKEN) -> str:
        """Return the index URL of a ``project`` or ``group``; without credentials if the username is empty."""
        url = f"{getattr(self, kind)}/simple"
        return commands.with_password(url, password, username) if username else url

    @property
    def trusted(self) -> str:
        """Return pip's ``--trusted-host`` option with a leading space; usually empty."""
        host = commands.trusted_host(self.registry)
        return f" --trusted-host {host}" if host else ""


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("help", __name__)

    @blueprint.get("/help")
    @gate.open
    def index() -> str:
        """Show the list of chapters."""
        shown = _shown_namespace()
        return render_template(
            "help/index.html", chapters=CHAPTERS, shown=shown, to=_links(shown), at=_addresses(shown)
        )

    @blueprint.get(f"/help/<any({_NAMES}):name>")
    @gate.open
    def chapter(name: str) -> str:
        """Show a chapter with its table of contents, and links to the previous and next one."""
        shown = _shown_namespace()
        text = Markup(_text(name, shown))  # noqa: S704 - a template of ours, rendered with autoescaping
        place = [chapter.name for chapter in CHAPTERS].index(name)
        return render_template(
            "help/chapter.html",
            chapters=CHAPTERS,
            chapter=CHAPTERS[place],
            previous=CHAPTERS[place - 1] if place else None,
            next=CHAPTERS[place + 1] if place + 1 < len(CHAPTERS) else None,
            contents=[(found["id"], Markup(found["words"])) for found in _HEADING.finditer(text)],  # noqa: S704
            text=text,
            shown=shown,
            to=_links(shown),
        )

    return blueprint


def _text(name: str, shown: Project | Group | None) -> str:
    addresses = _addresses(shown)
    code_block = get_template_attribute("components/page.html", "code_block")

    def code(example: str) -> Markup:
        typed = render_template(f"help/examples/{example}", at=addresses).rstrip("\n")
        shown_block: Markup = code_block(typed, gettext("Copy code"))
        return shown_block

    text = render_template(
        f"help/{current_language()}/{name}.html",
        at=addresses,
        code=code,
        to=_links(shown),
        shown=shown,
        forwards=None if shown is None else forwarding.forwards(shown),
        max_file_size=instance.max_file_size(current_app.config["MAX_FILE_SIZE"]),
    )
    text = _LONG_PATH.sub(lambda path: _SLASH.sub("<wbr>/", path[0]), text)
    return _SHORT_CODE.sub('<code class="whole">', _CODE_AFTER_STOP.sub("<wbr><code>", text))


def _links(shown: Project | Group | None) -> Callable[..., str]:
    """Return ``to(chapter, anchor)``, which returns the URL of a chapter with the same project or group."""

    def to(name: str | None = None, anchor: str | None = None) -> str:
        return help_url(name, anchor=anchor, about=shown)

    return to


def _shown_namespace() -> Project | Group | None:
    """Return the project or group in the query; ``None`` if it is hidden from the viewer."""
    kinds: tuple[type[Project | Group], ...] = (Project, Group)
    for kind in kinds:
        path = request.args.get(kind.__name__.lower(), "")
        if path:
            return namespaces.visible_at(path, kind, principal())
    return None


def _addresses(shown: Project | Group | None) -> Addresses:
    project = shown if isinstance(shown, Project) else None
    group = _group_of(shown)
    project_id = "<project_id>" if project is None else str(project.id)
    group_id = "<group_id>" if group is None else str(group.id)
    return Addresses(
        registry=root_url(request.environ).rstrip("/"),
        project=root_url(request.environ) + pypi_path("project", project_id),
        group=root_url(request.environ) + pypi_path("group", group_id),
        project_id=project_id,
        group_id=group_id,
        upstream=current_app.config["UPSTREAM_URL"],
        audience=current_app.config["OIDC_AUDIENCE"],
    )


def _group_of(shown: Project | Group | None) -> Group | None:
    """Return the group itself, or the parent group of a project if it is visible to the viewer."""
    return namespaces.visible_group(shown.parent_id, principal()) if isinstance(shown, Project) else shown
