"""Blueprint "monitoring": metrics for Prometheus on this machine, or with an administrator's token.

As with GitLab's monitoring "IP allowlist", the default is loopback addresses; other clients get 404.
"""

from __future__ import annotations

from ipaddress import ip_address

from flask import Blueprint, Response, current_app, request

from registry.blueprints.auth.credentials import rest_principal
from registry.domain import access
from registry.domain.access import POLICY, Permission
from registry.domain.advisories.loading import current_export
from registry.domain.packages import storage_use
from registry.domain.upstream import cached
from registry.errors import BadRequest, NotFound, RegistryError
from registry.metrics import CONTENT_TYPE, Metrics, Reading

blueprint = Blueprint("monitoring", __name__)

# Headers with which proxies mark the requests that they forward.
_FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")


@blueprint.get("/-/metrics")
def show() -> Response:
    """Return all metrics in the text format of Prometheus.

    :raises NotFound: the request comes from another machine and not from an administrator.
    """
    if not _is_asked_here() and not _is_asked_by_administrator():
        raise NotFound
    metrics: Metrics = current_app.extensions["metrics"]
    return Response(metrics.exposition(_readings()), content_type=CONTENT_TYPE)


show.permission = None  # type: ignore[attr-defined]


@blueprint.errorhandler(RegistryError)
def refuse(error: RegistryError) -> Response:
    if isinstance(error, BadRequest):
        return Response(f"{error.message}\n", error.status, mimetype="text/plain")
    return Response("404 Not Found\n", 404, mimetype="text/plain")


def _is_asked_here() -> bool:
    """Return whether the request comes from a loopback address, which can also be that of an unconfigured proxy.

    A request that a proxy forwarded comes from elsewhere, unless the proxy is trusted to name its address.
    """
    is_forwarded = current_app.config["EXTERNAL_URL"] or any(name in request.headers for name in _FORWARDED)
    if is_forwarded and "werkzeug.proxy_fix.orig" not in request.environ:
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def _is_asked_by_administrator() -> bool:
    principal = rest_principal()
    access.require_scope(principal, POLICY[Permission.READ_INSTANCE].scopes)
    return access.allowed(principal, Permission.READ_INSTANCE)


def _readings() -> list[Reading]:
    totals, kept = storage_use.totals(), cached.totals()
    export = current_export()
    updated_at = None if export is None else export.loaded_at
    return [
        Reading("registry_storage_bytes", "Sizes of all package files together", totals.size_bytes),
        Reading("registry_package_files", "Package files", totals.files),
        Reading("registry_packages", "Packages, each a version of a name in a project", totals.versions),
        Reading("registry_projects", "Projects", totals.projects),
        Reading("registry_groups", "Groups", totals.groups),
        Reading("registry_users", "Users", totals.users),
        Reading("registry_upstream_cached_files", "Files of the upstream index that are kept", kept.files),
        Reading("registry_upstream_cached_bytes", "Sizes of these files together", kept.size_bytes),
        Reading(
            "registry_advisories_updated_timestamp_seconds",
            "When the security advisories were last updated, in Unix time; 0 if never",
            0 if updated_at is None else updated_at.timestamp(),
        ),
    ]
