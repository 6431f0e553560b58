"""Rules for names, paths, and visibility levels of groups and projects."""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy import func, select

from registry.database import db
from registry.domain import access
from registry.domain.access import Principal
from registry.errors import Code, Fault, Faults, InvalidGroup, InvalidRecord
from registry.models import (
    Ancestry,
    Group,
    InstanceSettings,
    Namespace,
    Project,
    RegistryAccess,
    UserNamespace,
    Visibility,
)

MAXIMUM_DEPTH = 20
LONGEST_NAME = 255  # characters, also of a path
_PATH = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# First segments of the registry's own URLs, and of pages likely to be added.
TOP_LEVEL_RESERVED = frozenset(
    {
        "-", ".well-known", "_", "abuse_reports", "admin", "api", "assets",
        "dashboard", "explore", "favicon.ico", "files", "groups", "health_check", "help",
        "import", "login", "logout", "oauth", "profile", "projects", "public",
        "robots.txt", "s", "search", "search.json", "sitemap", "sitemap.xml", "snippets", "static",
        "unsubscribes", "uploads", "user", "users", "v2",
    }
)  # fmt: skip
# Last segments of the URLs of namespace pages.
RESERVED = frozenset({"-", "edit", "new"})


def open_visibilities(parent: Namespace | None, by: Principal) -> list[Visibility]:
    """Return the visibility levels that a namespace in this parent can have."""
    return [level for level in Visibility if not _visibility_errors(level, parent, by, InvalidRecord)]


def visibilities_for(namespace: Group | Project, by: Principal) -> list[Visibility]:
    """Return the visibility levels that a namespace can have, including the current one."""
    return [*open_visibilities(namespace.parent, by), namespace.visibility]


def default_visibility(kind: type[Group] | type[Project], parent: Namespace | None) -> Visibility:
    """Return the default visibility of a new group or project, limited to that of the parent."""
    settings = InstanceSettings.current()
    default = settings.default_group_visibility if kind is Group else settings.default_project_visibility
    return lowered_visibility(default, parent)


def path_errors(path: str, *, top_level: bool) -> list[Fault]:
    """Return the errors of the last segment of a path."""
    if not path:
        return [Fault(Code.BLANK)]
    if len(path) > LONGEST_NAME:
        return [Fault(Code.TOO_LONG, maximum=LONGEST_NAME)]
    if not _PATH.fullmatch(path) or path.lower().endswith((".git", ".atom")) or ".." in path:
        return [Fault(Code.INVALID_PATH)]
    if path.lower() in RESERVED or (top_level and path.lower() in TOP_LEVEL_RESERVED):
        return [Fault(Code.RESERVED_PATH, path=path)]
    return []


def path_from(name: str) -> str:
    """Derive a path from a name: ``Métro tools`` → ``metro-tools``.

    It is empty if the name has no ASCII letters or digits. ``app.js`` does the same as the name is typed. What is in
    excess of a valid name is ignored, as decomposing it can take the square of its length.
    """
    decomposed = unicodedata.normalize("NFKD", name[:LONGEST_NAME]).lower()
    unaccented = "".join(character for character in decomposed if not unicodedata.category(character).startswith("M"))
    return re.sub(r"[^a-z0-9_.]+", "-", unaccented).strip("-.")


def name_errors(name: str) -> list[Fault]:
    """Return the errors of the name of a group, project, or user."""
    if not name.strip():
        return [Fault(Code.BLANK)]
    if len(name) > LONGEST_NAME:
        return [Fault(Code.TOO_LONG, maximum=LONGEST_NAME)]
    if _CONTROL.search(name):
        return [Fault(Code.UNPRINTABLE)]
    return []


def refuse(refusal: type[InvalidRecord], *found: Faults) -> None:
    """Refuse a namespace with all errors at once, if there are any.

    :raises InvalidRecord: there are; an instance of ``refusal``.
    """
    errors: dict[str, list[Fault]] = {}
    for faults in found:
        for field, more in faults.items():
            errors.setdefault(field, []).extend(more)
    if errors:
        raise refusal(errors)


def invalid(
    namespace: Namespace,
    parent: Namespace | None,
    by: Principal,
    refusal: type[InvalidRecord],
    *,
    path: str | None = None,
    standing: Visibility | None = None,
    was_open_to_anyone: bool = False,
) -> Faults:
    """Return the errors of the name, path, description, visibility, and access to the registry of a namespace.

    :param refusal: how they will be refused, on which their wording depends.
    :param path: the new path, if it is not set yet.
    :param standing: the current visibility, which is always valid.
    :param was_open_to_anyone: ``is_open_to_anyone`` before a change.
    """
    errors: dict[str, list[Fault]] = {}
    if found := name_errors(namespace.name):
        errors["name"] = found
    if found := path_errors(namespace.path if path is None else path, top_level=parent is None):
        errors["path"] = found
    if namespace.visibility is not standing:
        errors["visibility_level"] = _visibility_errors(namespace.visibility, parent, by, refusal)
    if is_open_to_anyone(namespace) and not was_open_to_anyone and not can_open_registry(namespace, by):
        errors["package_registry_access_level"] = [Fault(Code.VISIBILITY_RESTRICTED, level=Visibility.PUBLIC.label)]
    if parent is not None and depth(parent) >= MAXIMUM_DEPTH:
        errors["parent"] = [Fault(Code.TOO_DEEP, maximum=MAXIMUM_DEPTH)]
    description = namespace.description or ""  # a new record has no default until it is stored
    if len(description) > 2000 or "\x00" in description:
        errors["description"] = [Fault(Code.TOO_LONG, maximum=2000)]
    return {field: found for field, found in errors.items() if found}


def is_open_to_anyone(namespace: Namespace) -> bool:
    """Return whether anyone can pull from the registry of a project that is not public."""
    is_public = namespace.visibility is Visibility.PUBLIC
    return isinstance(namespace, Project) and namespace.registry_access is RegistryAccess.PUBLIC and not is_public


def can_open_registry(namespace: Namespace, by: Principal) -> bool:
    """Return whether the principal can let anyone pull from the registry of a project.

    Where public visibility is restricted, only administrators can, unless the project itself is public.
    """
    return namespace.visibility is Visibility.PUBLIC or by.is_admin or not _is_restricted(Visibility.PUBLIC)


def _is_restricted(visibility: Visibility) -> bool:
    return visibility.label in InstanceSettings.current().restricted_visibility_levels


def _visibility_errors(
    visibility: Visibility, parent: Namespace | None, by: Principal, refusal: type[InvalidRecord]
) -> list[Fault]:
    if isinstance(parent, Group) and visibility > parent.visibility:
        if refusal is InvalidGroup:
            return [not_allowed_in_parent(visibility, parent)]
        return [Fault(Code.VISIBILITY_ABOVE_GROUP, level=visibility.label, parent=parent.visibility.label)]
    if not by.is_admin and _is_restricted(visibility):
        return [Fault(Code.VISIBILITY_RESTRICTED, level=visibility.label)]
    return []


def not_allowed_in_parent(visibility: Visibility, parent: Namespace) -> Fault:
    """Return the error of a group that would be more visible than the group above it."""
    return Fault(Code.VISIBILITY_ABOVE_PARENT, level=visibility.label, parent=parent.visibility.label)


def more_visible_children(namespace: Namespace) -> Faults:
    """Return the errors of a group with a visibility that is lower than that of something in it."""
    more_visible = db.session.execute(
        select(Namespace.kind)
        .where(access.within(namespace), Namespace.visibility > namespace.visibility)
        .group_by(Namespace.kind)
    ).scalars()
    label = namespace.visibility.label
    faults = {
        "project": Fault(Code.VISIBILITY_BELOW_PROJECTS, level=label),
        "group": Fault(Code.VISIBILITY_BELOW_SUBGROUPS, level=label),
    }
    errors = [faults[kind] for kind in more_visible]
    return {"visibility_level": errors} if errors else {}


def over_limit(parent: Namespace, by: Principal) -> Faults:
    """Return the error of another project in the own personal namespace of a user who has as many as allowed."""
    if not isinstance(parent, UserNamespace) or by.user is None or by.user.id != parent.user_id:
        return {}
    held = db.session.scalar(select(func.count(Project.id)).where(Project.parent_id == parent.id)) or 0
    if held < by.user.projects_limit:
        return {}
    return {"limit_reached": [Fault(Code.PROJECTS_LIMIT, limit=by.user.projects_limit)]}


def taken(namespace: Namespace) -> Faults:
    """Return the errors of a namespace with a full path that another one has, in any case."""
    other = db.session.scalar(
        select(Namespace.id).where(
            Namespace.full_path_key == namespace.full_path_key, Namespace.id != (namespace.id or 0)
        )
    )
    if other is None:
        return {}
    fields = ("project_namespace.name", "name", "path") if isinstance(namespace, Project) else ("path",)
    return {field: [Fault(Code.TAKEN)] for field in fields}


def lowered_visibility(default: Visibility, parent: Namespace | None) -> Visibility:
    """Return a visibility level, or that of the group above if it is lower."""
    return min(default, parent.visibility) if isinstance(parent, Group) else default


def depth(namespace: Namespace) -> int:
    """Return how many namespaces deep a namespace is; 1 at the top level."""
    return db.session.scalar(select(func.count()).where(Ancestry.namespace_id == namespace.id)) or 0
