"""What administrators set for the whole instance ("Application settings API", "Plan limits API")."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from registry.blueprints.api import parameters, representations
from registry.blueprints.api.parameters import (
    Fields,
    boolean,
    integer,
    list_of,
    one_of,
    optional,
    required,
    size_bytes,
    text,
)
from registry.blueprints.api.representations import CREATION_LEVELS, VISIBILITIES
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain import instance
from registry.domain.access import Permission
from registry.domain.instance import InstanceChanges
from registry.models import InstanceSettings

# By the names of the columns; what else GitLab has here is ignored when it is sent.
_SETTINGS = Fields(
    InstanceChanges,
    {
        "pypi_package_requests_forwarding": optional(boolean),
        "lock_pypi_package_requests_forwarding": optional(boolean),
        "package_registry_allow_anyone_to_pull_option": optional(boolean),
        "allow_guest_plus_roles_to_pull_packages": optional(boolean),
        "personal_access_token_prefix": optional(text, null=""),
        "require_personal_access_token_expiry": optional(boolean),
        "max_personal_access_token_lifetime": optional(integer),
        "default_project_visibility": optional(one_of(VISIBILITIES)),
        "default_group_visibility": optional(one_of(VISIBILITIES)),
        "restricted_visibility_levels": optional(list_of(one_of({label: label for label in VISIBILITIES})), null=[]),
        "default_project_creation": optional(one_of(CREATION_LEVELS, integer)),
        "can_create_group": optional(boolean),
        "project_storage_size_limit": optional(size_bytes, null=None),
        "group_storage_size_limit": optional(size_bytes, null=None),
    },
)
_SIZES = Fields(InstanceChanges, {"pypi_max_file_size": optional(size_bytes)})
_LIMITS = {"plan_name": required(one_of({"default": "default"})), **_SIZES}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("settings", __name__)

    @blueprint.get("/application/settings")
    @gate(Permission.READ_INSTANCE)
    def show_settings() -> Response:
        """All settings of the instance."""
        return jsonify(representations.instance_settings(InstanceSettings.current()))

    @blueprint.put("/application/settings")
    @gate(Permission.ADMIN_INSTANCE)
    def change_settings() -> Response:
        """Change some; the answer has all."""
        changed = instance.change_instance(_SETTINGS.read(), by=current_principal())
        return jsonify(representations.instance_settings(changed))

    @blueprint.get("/application/plan_limits")
    @gate(Permission.READ_INSTANCE)
    def show_limits() -> Response:
        """The largest file that is accepted."""
        return _limits()

    @blueprint.put("/application/plan_limits")
    @gate(Permission.ADMIN_INSTANCE)
    def change_limits() -> Response:
        """A lower limit than the configured one; a higher one is not more than that, and 0 lifts it."""
        instance.change_instance(_SIZES.of(parameters.read(_LIMITS)), by=current_principal())
        return _limits()

    return blueprint


def _limits() -> Response:
    return jsonify(representations.plan_limits(instance.max_file_size(current_app.config["MAX_FILE_SIZE"])))
