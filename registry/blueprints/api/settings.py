"""Instance settings ("Application settings API", "Plan limits API")."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, current_app, jsonify

from registry.blueprints.api import parameters, representations, setting_kinds
from registry.blueprints.api.parameters import one_of, required
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain import instance
from registry.domain.access import Permission
from registry.domain.instance import InstanceChanges
from registry.models import InstanceSettings

# GitLab's other settings are ignored.
_SETTINGS = setting_kinds.fields(InstanceChanges, setting_kinds.INSTANCE_SETTINGS)
_SIZES = setting_kinds.fields(InstanceChanges, setting_kinds.PLAN_LIMITS)
_LIMITS = {
    "plan_name": required(one_of({"default": "default"})),
    **{name: replace(parameter, null=...) for name, parameter in _SIZES.items()},  # 0 lifts a limit, null does not
}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("settings", __name__)

    @blueprint.get("/application/settings")
    @gate(Permission.READ_INSTANCE)
    def show_settings() -> Response:
        """Return all settings of the instance."""
        return jsonify(representations.instance_settings(InstanceSettings.current()))

    @blueprint.put("/application/settings")
    @gate(Permission.ADMIN_INSTANCE)
    def change_settings() -> Response:
        """Change settings, and return all of them."""
        changed = instance.change_instance(_SETTINGS.read(), by=current_principal())
        return jsonify(representations.instance_settings(changed))

    @blueprint.get("/application/plan_limits")
    @gate(Permission.READ_INSTANCE)
    def show_limits() -> Response:
        """Return the maximum file size."""
        return _limits()

    @blueprint.put("/application/plan_limits")
    @gate(Permission.ADMIN_INSTANCE)
    def change_limits() -> Response:
        """Change the maximum file size. It cannot exceed the configured limit; 0 means the configured limit."""
        instance.change_instance(_SIZES.of(parameters.read(_LIMITS)), by=current_principal())
        return _limits()

    return blueprint


def _limits() -> Response:
    return jsonify(representations.plan_limits(instance.max_file_size(current_app.config["MAX_FILE_SIZE"])))
