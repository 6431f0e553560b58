"""Job token allowlists of projects ("CI/CD job token scope API")."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import boolean, positive, required
from registry.blueprints.api.representations import JSON
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain import namespaces
from registry.domain.access import Permission
from registry.domain.namespaces import ProjectChanges
from registry.errors import RecordNotFound
from registry.models import Group, Namespace, Project

SCOPE = "/projects/<project:project>/job_token_scope"


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("job_token_scope", __name__)

    @blueprint.get(SCOPE)
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def show_scope(project: Project) -> Response:
        """Return whether the allowlist is enforced."""
        return jsonify(inbound_enabled=bool(project.job_allowlist_enforced), outbound_enabled=False)

    @blueprint.patch(SCOPE)
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def change_scope(project: Project) -> tuple[str, int]:
        """Change whether the allowlist is enforced."""
        sent = parameters.read({"enabled": required(boolean)})
        namespaces.change(project, ProjectChanges(job_allowlist_enforced=sent["enabled"]), by=current_principal())
        return "", 204

    @blueprint.get(f"{SCOPE}/allowlist")
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_projects(project: Project) -> Response:
        """Return the projects on the allowlist."""
        page = pagination.page_of(namespaces.allowed_job_sources(project, Project))
        shown = representations.projects(page.items, current_principal(), simple=True)
        return pagination.answer(page, _without_hidden(shown, page.items))

    @blueprint.post(f"{SCOPE}/allowlist")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def allow_project(project: Project) -> tuple[Response, int]:
        """Add a project to the allowlist."""
        return _allow(project, "target_project_id", Project)

    @blueprint.delete(f"{SCOPE}/allowlist/<id:source_id>")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def disallow_project(project: Project, source_id: int) -> tuple[str, int]:
        """Remove a project from the allowlist."""
        return _disallow(project, source_id, Project)

    @blueprint.get(f"{SCOPE}/groups_allowlist")
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_groups(project: Project) -> Response:
        """Return the groups on the allowlist."""
        page = pagination.page_of(namespaces.allowed_job_sources(project, Group))
        shown = representations.groups(page.items, current_principal())
        return pagination.answer(page, _without_hidden(shown, page.items))

    @blueprint.post(f"{SCOPE}/groups_allowlist")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def allow_group(project: Project) -> tuple[Response, int]:
        """Add a group to the allowlist."""
        return _allow(project, "target_group_id", Group)

    @blueprint.delete(f"{SCOPE}/groups_allowlist/<id:source_id>")
    @gate(Permission.ADMIN_JOB_TOKEN_SCOPE)
    def disallow_group(project: Project, source_id: int) -> tuple[str, int]:
        """Remove a group from the allowlist."""
        return _disallow(project, source_id, Group)

    return blueprint


def _without_hidden(shown: Iterable[JSON], listed: Iterable[Namespace]) -> list[JSON]:
    """Return the entries of a list, with nothing but the ID of those that the caller cannot see."""
    visible = namespaces.visible_ids(current_principal(), listed)
    return [entry if entry["id"] in visible else dict.fromkeys(entry) | {"id": entry["id"]} for entry in shown]


def _allow(project: Project, parameter: str, kind: type[Project] | type[Group]) -> tuple[Response, int]:
    sent = parameters.read({parameter: required(positive)})
    source = namespaces.find(str(sent[parameter]), kind)
    namespaces.allow_job_source(project, source, by=current_principal())
    return jsonify({"source_project_id": project.id, parameter: source.id}), 201


def _disallow(project: Project, source_id: int, kind: type[Project] | type[Group]) -> tuple[str, int]:
    """Remove a project or group from the allowlist.

    :raises RecordNotFound: it is not listed, whether or not it exists.
    """
    source = next((one for one in namespaces.allowed_job_sources(project, kind) if one.id == source_id), None)
    if source is None:
        raise RecordNotFound
    namespaces.disallow_job_source(project, source, by=current_principal())
    return "", 204
