"""Paths that groups, projects, and users have given up, for administrators.

GitLab has no API for them. Names and form follow its other resources of administrators ("Admin … API").
"""

from __future__ import annotations

from flask import Blueprint, Response

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import optional, text
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain import namespaces
from registry.domain.access import Permission

_LIST = {"search": optional(text)}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("old_paths", __name__)

    @blueprint.get("/admin/old_paths")
    @gate(Permission.READ_INSTANCE)
    def list_old_paths() -> Response:
        """Return the old paths, the latest first."""
        page = pagination.page(namespaces.all_old_paths(parameters.read(_LIST).get("search", "")))
        now = utcnow()
        return pagination.answer(page, [representations.old_path(old, now) for old in page.items])

    @blueprint.delete("/admin/old_paths/<rest:old_path>")
    @gate(Permission.ADMIN_INSTANCE)
    def free_path(old_path: str) -> tuple[str, int]:
        """End the redirect from an old path, and let others take it."""
        old = namespaces.find_old_path(old_path)
        parameters.refuse_if_modified(old.given_up_at)
        namespaces.free(old, by=current_principal())
        return "", 204

    return blueprint
