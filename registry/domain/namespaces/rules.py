"""Rules that names, paths and visibilities of groups and projects obey."""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy import func, select

from registry.database import db
from registry.domain import access
from registry.domain.access import Principal
from registry.errors import InvalidGroup, InvalidRecord
from registry.models import Ancestry, Group, InstanceSettings, Namespace, Project, UserNamespace, Visibility

MAXIMUM_DEPTH = 20
_PATH = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# First segments of the registry's own addresses, and of pages an administrator may expect to add.
TOP_LEVEL_RESERVED = frozenset(
    {
        "-", ".well-known", "_", "abuse_reports", "admin", "api", "assets",
        "dashboard", "explore", "favicon.ico", "files", "groups", "health_check", "help",
        "import", "login", "logout", "oauth", "profile", "projects", "public",
        "robots.txt", "s", "search", "sitemap", "sitemap.xml", "snippets", "static",
        "unsubscribes", "uploads", "user", "users", "v2",
    }
)  # fmt: skip
# Last segments of pages below a namespace.
RESERVED = frozenset({"-", "edit", "new"})


def open_visibilities(parent: Namespace | None, by: Principal) -> list[Visibility]:
    """The visibilities something in this parent may be given."""
    return [level for level in Visibility if not _visibility_errors(level, parent, by, InvalidRecord)]


def default_visibility(kind: type[Group] | type[Project], parent: Namespace | None) -> Visibility:
    """The instance's default for a new group or project, no higher than the parent's."""
    settings = InstanceSettings.current()
    default = settings.default_group_visibility if kind is Group else settings.default_project_visibility
    return lowered_visibility(default, parent)


def path_errors(path: str, *, top_level: bool) -> list[str]:
    """What is wrong with the last part of a path; empty when nothing is."""
    if not path:
        return ["can't be blank"]
    if len(path) > 255:
        return ["is too long (maximum is 255 characters)"]
    if not _PATH.fullmatch(path) or path.lower().endswith((".git", ".atom")) or ".." in path:
        return [
            "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-' or '.', "
            "nor end in '-', '.', '.git' or '.atom'."
        ]
    if path.lower() in RESERVED or (top_level and path.lower() in TOP_LEVEL_RESERVED):
        return [f"{path} is a reserved name"]
    return []


def path_from(name: str) -> str:
    """The path that a name suggests where none is given: ``Métro tools`` → ``metro-tools``.

    Empty for a name without a letter or digit of ASCII. ``app.js`` shows the same while the name is typed.
    """
    decomposed = unicodedata.normalize("NFKD", name).lower()
    unaccented = "".join(character for character in decomposed if not unicodedata.category(character).startswith("M"))
    return re.sub(r"[^a-z0-9_.]+", "-", unaccented).strip("-.")


def name_errors(name: str) -> list[str]:
    if not name.strip():
        return ["can't be blank"]
    if len(name) > 255:
        return ["is too long (maximum is 255 characters)"]
    if _CONTROL.search(name):
        return ["can contain only printable characters"]
    return []


def refuse_invalid(
    namespace: Namespace,
    parent: Namespace | None,
    by: Principal,
    refusal: type[InvalidRecord],
    *,
    path: str | None = None,
    standing: Visibility | None = None,
) -> None:
    """:param path: the path to be, where it is not yet the namespace's.

    :param standing: the visibility that it has already, and may keep.
    """
    errors: dict[str, list[str]] = {}
    if found := name_errors(namespace.name):
        errors["name"] = found
    if found := path_errors(namespace.path if path is None else path, top_level=parent is None):
        errors["path"] = found
    if namespace.visibility is not standing:
        errors["visibility_level"] = _visibility_errors(namespace.visibility, parent, by, refusal)
    if parent is not None and depth(parent) >= MAXIMUM_DEPTH:
        errors["parent"] = [f"is too deep (maximum is {MAXIMUM_DEPTH} levels)"]
    description = namespace.description or ""  # a new record has its default only once it is stored
    if len(description) > 2000 or "\x00" in description:
        errors["description"] = ["is too long (maximum is 2000 characters)"]
    if any(errors.values()):
        raise refusal({field: found for field, found in errors.items() if found})


def _visibility_errors(
    visibility: Visibility, parent: Namespace | None, by: Principal, refusal: type[InvalidRecord]
) -> list[str]:
    if isinstance(parent, Group) and visibility > parent.visibility:
        if refusal is InvalidGroup:
            return [not_allowed_in_parent(visibility, parent)]
        return [f"{visibility.label} is not allowed in a {parent.visibility.label} group."]
    if not by.is_admin and visibility.label in InstanceSettings.current().restricted_visibility_levels:
        return [f"{visibility.label} has been restricted by your administrator."]
    return []


def not_allowed_in_parent(visibility: Visibility, parent: Namespace) -> str:
    return f"{visibility.label} is not allowed since the parent group has a {parent.visibility.label} visibility."


def refuse_more_visible_children(namespace: Namespace, refusal: type[InvalidRecord]) -> None:
    more_visible = db.session.execute(
        select(Namespace.kind)
        .where(access.within(namespace), Namespace.visibility > namespace.visibility)
        .group_by(Namespace.kind)
    ).scalars()
    label = namespace.visibility.label
    messages = {
        "project": f"{label} is not allowed since this group contains projects with higher visibility.",
        "group": f"{label} is not allowed since there are sub-groups with higher visibility.",
    }
    if errors := [messages[kind] for kind in more_visible]:
        raise refusal({"visibility_level": errors})


def refuse_over_limit(parent: Namespace, by: Principal) -> None:
    if not isinstance(parent, UserNamespace) or by.user is None or by.user.id != parent.user_id:
        return
    held = db.session.scalar(select(func.count(Project.id)).where(Project.parent_id == parent.id)) or 0
    if held >= by.user.projects_limit:
        raise InvalidRecord({"limit_reached": [f"Your project limit is {by.user.projects_limit} projects!"]})


def refuse_taken(namespace: Namespace, refusal: type[InvalidRecord]) -> None:
    other = db.session.scalar(
        select(Namespace.id).where(
            Namespace.full_path_key == namespace.full_path_key, Namespace.id != (namespace.id or 0)
        )
    )
    if other is not None:
        raise refusal(taken(namespace))


def taken(namespace: Namespace) -> dict[str, list[str]]:
    fields = ("project_namespace.name", "name", "path") if isinstance(namespace, Project) else ("path",)
    return {field: ["has already been taken"] for field in fields}


def lowered_visibility(default: Visibility, parent: Namespace | None) -> Visibility:
    return min(default, parent.visibility) if isinstance(parent, Group) else default


def depth(namespace: Namespace) -> int:
    return db.session.scalar(select(func.count()).where(Ancestry.namespace_id == namespace.id)) or 0
