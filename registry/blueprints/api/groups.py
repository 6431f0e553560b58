"""Groups and subgroups ("Groups API"), and package settings of groups."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import namespace_lists, pagination, parameters, representations, setting_kinds
from registry.blueprints.api.parameters import (
    Fields,
    Sent,
    boolean,
    integer,
    list_of,
    one_of,
    optional,
    required,
    size_bytes,
    text,
    visibility,
)
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain import cascade, namespaces, paging
from registry.domain.access import Permission
from registry.domain.namespaces import GroupChanges, GroupSettings, NamespaceFilter
from registry.domain.paging import Page
from registry.models import CreationLevel, Group

_ORDERS = {"name": "name", "path": "path", "id": "id", "similarity": "name"}
_LIST = {
    **namespace_lists.DECLARED,
    "order_by": optional(one_of(_ORDERS)),
    "all_available": optional(boolean),
    "top_level_only": optional(boolean),
    "skip_groups": optional(list_of(integer)),
}
_SETTINGS = Fields(
    GroupSettings,
    {
        "project_creation_level": optional(one_of({str(level): level for level in CreationLevel})),
        "subgroup_creation_level": optional(
            one_of({str(level): level for level in (CreationLevel.OWNER, CreationLevel.MAINTAINER)})
        ),
    },
)
_FIELDS = {"description": optional(text, null=""), "visibility": optional(visibility), **_SETTINGS}
_NEW = {"name": required(text), "path": required(text), "parent_id": optional(integer), **_FIELDS}
_NAMES = {"name": optional(text), "path": optional(text)}
_LIMIT = {"storage_size_limit": optional(size_bytes, null=None)}
_CHANGED = Fields(GroupChanges, {**_NAMES, **_FIELDS, **_LIMIT})
_PACKAGE_SETTINGS = {
    **{setting.name: replace(setting_kinds.parameter(setting.any_kind), null=None) for setting in cascade.SETTINGS},
    **{setting.lock_name: optional(boolean) for setting in cascade.SETTINGS},
}
_CHANGES = {**_NAMES, **_FIELDS, **_PACKAGE_SETTINGS, **_LIMIT}
_PROJECTS_SHOWN = 100


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("groups", __name__)

    @blueprint.get("/groups")
    @gate(Permission.READ_VISIBLE)
    def list_groups() -> Response:
        """Return the groups of the current user or, on request, all visible ones; the public groups if anonymous."""
        viewer = current_principal()
        sent = parameters.read(_LIST)
        all_available = sent.get("all_available", viewer.is_admin) or viewer.is_anonymous
        listing = namespaces.groups(
            viewer,
            _wanted(sent, joined_only=not all_available),
            top_level_only=sent.get("top_level_only", False),
            without=sent.get("skip_groups", ()),
        )
        return _answer(pagination.page(listing), sent)

    @blueprint.get("/groups/<group:group>/subgroups")
    @gate(Permission.READ_NAMESPACE)
    def list_subgroups(group: Group) -> Response:
        """Return the visible direct subgroups of a group."""
        return _list_below(group, children_only=True)

    @blueprint.get("/groups/<group:group>/descendant_groups")
    @gate(Permission.READ_NAMESPACE)
    def list_descendant_groups(group: Group) -> Response:
        """Return the visible descendants of a group."""
        return _list_below(group, children_only=False)

    @blueprint.get("/groups/<group:group>")
    @gate(Permission.READ_NAMESPACE)
    def show_group(group: Group) -> Response:
        """Return a group with its visible projects."""
        viewer = current_principal()
        sent = parameters.read({"with_projects": optional(boolean), "statistics": optional(boolean)})
        shown = representations.group(group, viewer, statistics=sent.get("statistics", False))
        if sent.get("with_projects", True):
            listing = namespaces.projects(viewer, NamespaceFilter(), below=group, children_only=True)
            shown["projects"] = representations.projects(paging.first(listing, _PROJECTS_SHOWN)[0], viewer)
        return jsonify(shown)

    @blueprint.post("/groups")
    @gate(Permission.USE_API)
    def create_group() -> tuple[Response, int]:
        """Create a top-level group or a subgroup."""
        viewer = current_principal()
        sent = parameters.read(_NEW)
        parent_id = sent.get("parent_id")
        created = namespaces.create_group(
            name=sent["name"],
            path=sent["path"],
            parent=None if parent_id is None else namespaces.find(str(parent_id), Group),
            by=viewer,
            visibility=sent.get("visibility"),
            description=sent.get("description", ""),
            settings=_SETTINGS.of(sent),
        )
        return jsonify(representations.group(created, viewer)), 201

    @blueprint.put("/groups/<group:group>")
    @gate(Permission.ADMIN_NAMESPACE)
    def change_group(group: Group) -> Response:
        """Change a group, including its package settings; the storage limit requires an administrator."""
        viewer = current_principal()
        sent = parameters.read(_CHANGES)
        settings = {name: value for name, value in sent.items() if name in _PACKAGE_SETTINGS}
        cascade.change_group(group, _CHANGED.of(sent), settings, by=viewer)
        return jsonify(representations.group(group, viewer))

    @blueprint.delete("/groups/<group:group>")
    @gate(Permission.OWN_NAMESPACE)
    def delete_group(group: Group) -> tuple[Response, int]:
        """Delete a group with its contents."""
        parameters.refuse_if_modified(group.updated_at)
        namespaces.delete_namespace(group, by=current_principal())
        return jsonify(message="202 Accepted"), 202

    @blueprint.post("/groups/<group:group>/transfer")
    @gate(Permission.OWN_NAMESPACE)
    def transfer_group(group: Group) -> tuple[Response, int]:
        """Move a group into another group, or to the top level."""
        viewer = current_principal()
        parent_id = parameters.read({"group_id": optional(integer)}).get("group_id")
        parent = None if parent_id is None else namespaces.find(str(parent_id), Group)
        namespaces.transfer(group, parent, by=viewer)
        return jsonify(representations.group(group, viewer)), 201

    @blueprint.get("/groups/<group:group>/package_settings")
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def show_package_settings(group: Group) -> Response:
        """Return the package settings of a group: own and effective values. GitLab has this in GraphQL only."""
        return jsonify(representations.package_settings(group))

    @blueprint.put("/groups/<group:group>/package_settings")
    @gate(Permission.CHANGE_PACKAGE_SETTINGS)
    def change_package_settings(group: Group) -> Response:
        """Change package settings of a group."""
        cascade.change_settings(group, parameters.read(_PACKAGE_SETTINGS), by=current_principal())
        return jsonify(representations.package_settings(group))

    return blueprint


def _list_below(group: Group, *, children_only: bool) -> Response:
    viewer = current_principal()
    sent = parameters.read(_LIST)
    listing = namespaces.groups(
        viewer,
        _wanted(sent, joined_only=not sent.get("all_available", True)),
        below=group,
        children_only=children_only,
        without=sent.get("skip_groups", ()),
    )
    return _answer(pagination.page(listing), sent)


def _wanted(sent: Sent, *, joined_only: bool) -> NamespaceFilter:
    return namespace_lists.wanted(sent, order_by="name", descending=False, joined_only=joined_only)


def _answer(page: Page[Group], sent: Sent) -> Response:
    rows = representations.groups(page.items, current_principal(), statistics=sent.get("statistics", False))
    return pagination.answer(page, rows)
