"""Blueprint "api": the part of GitLab's REST API v4 for provisioning and administering a package registry.

Error responses are JSON. Anonymous callers get 404 for hidden resources, and otherwise 401 without the challenge that
would make browsers prompt for a password. The status line of a 401 names the token to send, as the body is GitLab's.
"""

from __future__ import annotations

from flask import Blueprint, Response, g, jsonify

from registry.blueprints.api import (
    deploy_tokens,
    explain,
    groups,
    job_token_scope,
    jobs,
    members,
    old_paths,
    packages,
    projects,
    protection_rules,
    provider_roles,
    settings,
    tokens,
    trusted_identities,
    upstream_exceptions,
    users,
    version,
)
from registry.blueprints.auth.credentials import rest_or_job_principal, rest_principal, rotating_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.routing import API_V4
from registry.errors import RegistryError, Unauthenticated

_TO_IDENTIFY = (
    "No valid token was sent. Send a personal access token with the scope api, or with read_api to read only, "
    "in the header PRIVATE-TOKEN."
)

blueprint = Blueprint("api", __name__, url_prefix=API_V4)
gate = Gate(rest_principal, namespace_first=False)
job_gate = Gate(rest_or_job_principal, namespace_first=False)
rotation_gate = Gate(rotating_principal, namespace_first=False)
for child in (
    version.routes(gate),
    users.routes(gate),
    groups.routes(gate),
    projects.routes(gate),
    job_token_scope.routes(gate),
    members.routes(gate),
    tokens.routes(gate, rotation_gate),
    deploy_tokens.routes(gate),
    packages.routes(job_gate),
    explain.routes(job_gate),
    protection_rules.routes(gate),
    trusted_identities.routes(gate),
    settings.routes(gate),
    provider_roles.routes(gate),
    old_paths.routes(gate),
    upstream_exceptions.routes(gate),
    jobs.routes(gate, job_gate),
):
    blueprint.register_blueprint(child)


@blueprint.errorhandler(RegistryError)
def refuse(error: RegistryError) -> Response:
    if isinstance(error, Unauthenticated) and error.hidden is not None:
        error = error.hidden
    response = jsonify(error.body())
    response.status_code = error.status
    response.headers.update(error.headers())
    if isinstance(error, Unauthenticated) and ("principal" not in g or g.principal.is_anonymous):
        response.status = f"{error.status} {error.phrase} - {_TO_IDENTIFY}"
    return response
