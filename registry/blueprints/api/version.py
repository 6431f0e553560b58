"""Version and metadata of the instance."""

from __future__ import annotations

from functools import cache
from importlib import metadata

from flask import Blueprint, Response, jsonify

from registry.blueprints.auth.permits import Gate
from registry.domain.access import Permission

# The GitLab version with this API, by which clients detect features.
GITLAB_VERSION = "18.5.0"
DISTRIBUTION = "private-pypi-registry"


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("version", __name__)

    @blueprint.get("/version")
    @gate(Permission.READ_USER)
    def version() -> Response:
        """Return the GitLab version of the API, with the registry's own version as revision."""
        return jsonify(version=GITLAB_VERSION, revision=_own_version())

    @blueprint.get("/metadata")
    @gate(Permission.READ_USER)
    def instance_metadata() -> Response:
        """Return the same with GitLab's further metadata."""
        kas = {"enabled": False, "externalUrl": None, "externalK8sProxyUrl": None, "version": None}
        return jsonify(version=GITLAB_VERSION, revision=_own_version(), kas=kas, enterprise=False)

    return blueprint


@cache
def _own_version() -> str:
    return metadata.version(DISTRIBUTION)
