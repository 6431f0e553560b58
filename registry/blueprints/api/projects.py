"""Projects ("Projects API")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import EllipsisType

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import namespace_lists, pagination, parameters, representations, setting_kinds
from registry.blueprints.api.parameters import (
    Fields,
    Sent,
    boolean,
    integer,
    one_of,
    optional,
    size_bytes,
    text,
    visibility,
)
from registry.blueprints.api.representations import JSON
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain import namespaces
from registry.domain.access import Permission
from registry.domain.accounts import users
from registry.domain.namespaces import ProjectChanges, ProjectSettings
from registry.errors import InvalidParameter
from registry.models import Group, Namespace, Project, RegistryAccess

_COLUMNS = ("id", "name", "path", "created_at", "updated_at", "last_activity_at")
_LIST = {
    **namespace_lists.DECLARED,
    "order_by": optional(one_of({**{name: name for name in _COLUMNS}, "similarity": "name"})),
    "membership": optional(boolean),
    "archived": optional(boolean),
    "simple": optional(boolean),
    "include_subgroups": optional(boolean),
    "pagination": optional(one_of({"keyset": True, "offset": False, "legacy": False})),
    "id_after": optional(integer),
    "id_before": optional(integer),
}
_NAMES = {
    "name": optional(text),
    "path": optional(text),
    "description": optional(text, null=""),
    "visibility": optional(visibility),
}
_ACCESS = {
    "packages_enabled": optional(boolean),
    "package_registry_access_level": optional(one_of({str(level): level for level in RegistryAccess})),
}
_SETTINGS = setting_kinds.fields(ProjectSettings, namespaces.PROJECT_SETTINGS)
_LIMIT = {"storage_size_limit": optional(size_bytes, null=None)}
_FIELDS = {**_NAMES, **_ACCESS, **_SETTINGS}
_NEW = {**_FIELDS, "namespace_id": optional(integer)}
_CHANGED = Fields(ProjectChanges, {**_NAMES, **_SETTINGS, **_LIMIT})


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("projects", __name__)

    @blueprint.get("/projects")
    @gate(Permission.READ_VISIBLE)
    def list_projects() -> Response:
        """Return all visible projects."""
        return _list()

    @blueprint.get("/groups/<group:group>/projects")
    @gate(Permission.READ_NAMESPACE)
    def list_group_projects(group: Group) -> Response:
        """Return the visible projects of a group."""
        return _list(below=group)

    @blueprint.get("/users/<reference>/projects")
    @gate(Permission.READ_VISIBLE)
    def list_user_projects(reference: str) -> Response:
        """Return the visible projects in the personal namespace of a user."""
        return _list(below=users.personal_namespace(users.find_user(reference)))

    @blueprint.get("/projects/<project:project>")
    @gate(Permission.READ_NAMESPACE)
    def show_project(project: Project) -> Response:
        """Return a project."""
        sent = parameters.read({"statistics": optional(boolean)})
        return jsonify(representations.project(project, current_principal(), statistics=sent.get("statistics", False)))

    @blueprint.post("/projects")
    @gate(Permission.USE_API)
    def create_project() -> tuple[Response, int]:
        """Create a project in a group, or in the personal namespace of the current user."""
        sent = parameters.read(_NEW, some_of=("name", "path"))
        created = namespaces.create_project(
            name=sent.get("name") or sent.get("path", ""),
            path=sent.get("path") or namespaces.path_from(sent.get("name", "")),
            parent=_parent(sent.get("namespace_id")),
            by=current_principal(),
            visibility=sent.get("visibility"),
            description=sent.get("description", ""),
            settings=replace(_SETTINGS.of(sent), registry_access=_registry_access(sent, RegistryAccess.ENABLED)),
        )
        return jsonify(representations.project(created, current_principal())), 201

    @blueprint.put("/projects/<project:project>")
    @gate(Permission.ADMIN_NAMESPACE)
    def change_project(project: Project) -> Response:
        """Change a project; the storage limit requires an administrator."""
        if not parameters.is_sent():
            raise InvalidParameter(f"{', '.join(_FIELDS)} are missing, at least one parameter must be provided")
        sent = parameters.read({**_FIELDS, **_LIMIT})
        changes = replace(_CHANGED.of(sent), registry_access=_registry_access(sent, project.registry_access))
        namespaces.change(project, changes, by=current_principal())
        return jsonify(representations.project(project, current_principal()))

    @blueprint.delete("/projects/<project:project>")
    @gate(Permission.OWN_NAMESPACE)
    def delete_project(project: Project) -> tuple[Response, int]:
        """Delete a project with its packages."""
        parameters.refuse_if_modified(project.updated_at)
        namespaces.delete_namespace(project, by=current_principal())
        return jsonify(message="202 Accepted"), 202

    @blueprint.post("/projects/<project:project>/archive")
    @gate(Permission.OWN_NAMESPACE)
    def archive_project(project: Project) -> tuple[Response, int]:
        """Archive a project, which makes it read-only."""
        return _set_archived(project, True)

    @blueprint.post("/projects/<project:project>/unarchive")
    @gate(Permission.OWN_NAMESPACE)
    def unarchive_project(project: Project) -> tuple[Response, int]:
        """Unarchive a project."""
        return _set_archived(project, False)

    return blueprint


def _list(*, below: Namespace | None = None) -> Response:
    viewer = current_principal()
    sent = parameters.read(_LIST)
    by_key = sent.get("pagination", False)
    if by_key and sent.get("order_by", "id") != "id":
        raise InvalidParameter("order_by does not have a valid value")
    wanted = namespace_lists.wanted(
        sent, order_by="id" if by_key else "created_at", descending=True, joined_only=sent.get("membership", False)
    )
    listing = namespaces.projects(
        viewer,
        wanted,
        below=below,
        children_only=not sent.get("include_subgroups", False),
        archived=sent.get("archived"),
        after=sent.get("id_after"),
        before=sent.get("id_before"),
    )

    def shown(projects: Sequence[Project]) -> list[JSON]:
        return representations.projects(
            projects, viewer, statistics=sent.get("statistics", False), simple=sent.get("simple", False)
        )

    if not by_key:
        page = pagination.page(listing)
        return pagination.answer(page, shown(page.items))
    found, has_more = pagination.keyset_page(listing)
    following = {"id_before" if wanted.descending else "id_after": found[-1].id} if has_more else None
    return pagination.keyset_answer(shown(found), following)


def _parent(namespace_id: int | None) -> Namespace | None:
    user = current_principal().user
    if namespace_id is not None:
        return namespaces.by_id(namespace_id)
    return None if user is None else users.personal_namespace(user)


def _registry_access(sent: Sent, present: RegistryAccess | None) -> RegistryAccess | EllipsisType:
    """Return the new access level, if any; ``packages_enabled`` is the legacy parameter for it."""
    if "package_registry_access_level" in sent:
        level: RegistryAccess = sent["package_registry_access_level"]
        return level
    if "packages_enabled" not in sent:
        return ...
    if not sent["packages_enabled"]:
        return RegistryAccess.DISABLED
    return RegistryAccess.ENABLED if present is RegistryAccess.DISABLED else ...


def _set_archived(project: Project, archived: bool) -> tuple[Response, int]:
    namespaces.set_archived(project, archived, by=current_principal())
    return jsonify(representations.project(project, current_principal())), 201
