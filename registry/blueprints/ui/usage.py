"""Usage quotas: what a project or group holds in the store."""

from __future__ import annotations

from flask import Blueprint, render_template

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.domain import catalog
from registry.domain.access import Permission
from registry.domain.catalog import StorageUse
from registry.models import Group, Project


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("usage", __name__)

    @blueprint.get("/<page_project:project>/-/usage_quotas")
    @gate(Permission.ADMIN_NAMESPACE)
    def project_usage_quotas(project: Project) -> str:
        """Storage by package name."""
        return _page(project, catalog.storage_by_name(project))

    @blueprint.get("/groups/<page_group:group>/-/usage_quotas")
    @gate(Permission.ADMIN_NAMESPACE)
    def group_usage_quotas(group: Group) -> str:
        """Storage by project."""
        return _page(group, catalog.storage_by_project(group))

    return blueprint


def _page(namespace: Project | Group, uses: list[StorageUse]) -> str:
    return render_template(
        "ui/namespaces/usage_quotas.html",
        namespace=namespace,
        total_bytes=sum(use.size_bytes for use in uses),
        largest_bytes=max((use.size_bytes for use in uses), default=0),
        found=pagination.page_of(uses),
    )
