"""Version and metadata of the instance."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.auth.permits import Gate
from registry.domain.access import Permission
from registry.product import installed_version

# The GitLab version with this API, by which clients detect features.
GITLAB_VERSION = "18.5.0"


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("version", __name__)

    @blueprint.get("/version")
    @gate(Permission.READ_USER)
    def version() -> Response:
        """Return the GitLab version of the API, with the registry's own version as revision."""
        return jsonify(version=GITLAB_VERSION, revision=installed_version())

    @blueprint.get("/metadata")
    @gate(Permission.READ_USER)
    def instance_metadata() -> Response:
        """Return the same with GitLab's further metadata."""
        kas = {"enabled": False, "externalUrl": None, "externalK8sProxyUrl": None, "version": None}
        return jsonify(version=GITLAB_VERSION, revision=installed_version(), kas=kas, enterprise=False)

    return blueprint
