"""What administrators set for the whole instance ("Application settings API", "Plan limits API")."""

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

# What else GitLab has here is ignored when it is sent.
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
