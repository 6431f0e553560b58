"""The report of packages with security advisories in a project or group."""

from __future__ import annotations

from flask import Blueprint, render_template

from registry.blueprints.auth.permits import Gate
from registry.blueprints.routing import pypi_path
from registry.blueprints.ui import pagination
from registry.blueprints.ui.viewer import principal
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.advisories import loading
from registry.domain.packages import vulnerabilities
from registry.models import Group, Project


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("vulnerabilities", __name__)

    @blueprint.get("/<page_project:project>/-/vulnerabilities")
    @gate(Permission.READ_PACKAGE)
    def project_vulnerabilities(project: Project) -> str:
        """Show the packages of a project with advisories."""
        return _page(project)

    @blueprint.get("/groups/<page_group:group>/-/vulnerabilities")
    @gate(Permission.READ_PACKAGE)
    def group_vulnerabilities(group: Group) -> str:
        """Show the packages with advisories of all projects in a group that the viewer can read."""
        return _page(group)

    return blueprint


def _page(namespace: Project | Group) -> str:
    found = pagination.requested(
        lambda number: vulnerabilities.report_page(
            namespace, principal(), utcnow().date(), number, pagination.PAGE_SIZE
        )
    )
    return render_template(
        "ui/packages/vulnerabilities.html",
        namespace=namespace,
        found=found,
        export=loading.current_export(),
        csv_path=f"/{pypi_path(namespace.kind, str(namespace.id))}/vulnerabilities?format=csv",
    )
