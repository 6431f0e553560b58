"""Why a project or group offers the files of a package name, or withholds them. GitLab has nothing like it."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify
from packaging.utils import canonicalize_name
from packaging.version import Version

from registry.blueprints.api import parameters, representations
from registry.blueprints.api.parameters import expecting, optional, required, text
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.explaining import explain
from registry.models import Group, Project


def _name(value: object) -> str:
    if not is_valid_name(text(value)):
        raise ValueError
    return text(value)


_ASKED = {
    "name": required(expecting("a package name", _name)),
    "version": optional(expecting("a version (PEP 440)", lambda value: Version(text(value)))),
}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("explain", __name__)

    @blueprint.get("/projects/<project:project>/packages/pypi/explain")
    @gate(Permission.READ_PACKAGE)
    def explain_in_project(project: Project) -> Response:
        """Explain a package name in a project."""
        return _explain(project)

    @blueprint.get("/groups/<group:group>/packages/pypi/explain")
    @blueprint.get("/groups/<group:group>/-/packages/pypi/explain")
    @gate(Permission.READ_PACKAGE)
    def explain_in_group(group: Group) -> Response:
        """Explain a package name in a group."""
        return _explain(group)

    return blueprint


def _explain(namespace: Project | Group) -> Response:
    asked = parameters.read(_ASKED)
    explanation = explain(
        namespace,
        canonicalize_name(asked["name"]),
        current_principal(),
        current_app.extensions["upstream_pages"],
        utcnow(),
        version=asked.get("version"),
    )
    return jsonify(representations.explanation(explanation))
