"""The security advisories of all packages in a project or group."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.routing import PYPI
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.packages import vulnerabilities
from registry.domain.packages.vulnerabilities import Entry
from registry.errors import InvalidParameter
from registry.models import Group, Namespace, Project


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("vulnerabilities", __name__)

    @blueprint.get(PYPI["project"] + "/vulnerabilities")
    @gate(Permission.READ_PACKAGE)
    def project_report(project: Project) -> Response:
        """Return the packages of a project with security advisories."""
        return _report(project)

    @blueprint.get(PYPI["group"] + "/vulnerabilities")
    @gate(Permission.READ_PACKAGE)
    def group_report(group: Group) -> Response:
        """Return the packages with security advisories of all projects in a group that the caller can read."""
        return _report(group)

    return blueprint


def _report(namespace: Namespace) -> Response:
    """Return the report in the format of the parameter ``format``: by default JSON, or CSV.

    :raises InvalidParameter: there is no such format.
    """
    wanted = request.args.get("format", "json")
    if wanted not in ("json", "csv"):
        raise InvalidParameter("format does not have a valid value")
    entries = vulnerabilities.report(namespace, current_principal(), utcnow().date())
    if wanted == "json":
        return jsonify([_entry_json(entry) for entry in entries])
    response = Response(vulnerabilities.as_csv(entries), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="vulnerabilities.csv"'
    return response


def _entry_json(entry: Entry) -> dict[str, object]:
    return {
        "project": entry.project,
        "name": entry.name,
        "version": entry.version,
        "advisory": entry.advisory,
        "aliases": list(entry.aliases),
        "summary": entry.summary,
        "severity": entry.severity,
        "cvss_score": entry.cvss_score,
        "fixed_in": entry.fixed_in or None,
        "downloads_in_30_days": entry.downloads,
        "link": entry.link,
    }
