"""Protection rules of a project's packages ("Protected packages API")."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import Fields, one_of, optional, required, text
from registry.blueprints.api.representations import DELETE_ROLES, PUSH_ROLES
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain.access import Permission
from registry.domain.packages import protection
from registry.domain.packages.protection import RuleChanges
from registry.models import Project

RULES = "/projects/<project:project>/packages/protection/rules"

_TYPE = one_of({"pypi": "pypi"})
_ROLES = {
    "minimum_access_level_for_push": optional(one_of(PUSH_ROLES), null=None, sets="minimum_push_role"),
    "minimum_access_level_for_delete": optional(one_of(DELETE_ROLES), null=None, sets="minimum_delete_role"),
}
_NEW = {"package_name_pattern": required(text), "package_type": required(_TYPE), **_ROLES}
_CHANGES = Fields(
    RuleChanges,
    {"package_name_pattern": optional(text, sets="pattern"), "package_type": optional(_TYPE), **_ROLES},
)


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("protection_rules", __name__)

    @blueprint.get(RULES)
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_rules(project: Project) -> Response:
        """Return the protection rules of a project."""
        page = pagination.page_of(protection.protection_rules(project))
        return pagination.answer(page, [representations.protection_rule(rule) for rule in page.items])

    @blueprint.post(RULES)
    @gate(Permission.ADMIN_PACKAGE)
    def create_rule(project: Project) -> tuple[Response, int]:
        """Create a protection rule."""
        sent = parameters.read(_NEW)
        rule = protection.add_protection_rule(
            project,
            pattern=sent["package_name_pattern"],
            package_type=sent["package_type"],
            push=sent.get("minimum_access_level_for_push"),
            delete=sent.get("minimum_access_level_for_delete"),
            by=current_principal(),
        )
        return jsonify(representations.protection_rule(rule)), 201

    @blueprint.patch(f"{RULES}/<id:rule_id>")
    @gate(Permission.ADMIN_PACKAGE)
    def change_rule(project: Project, rule_id: int) -> Response:
        """Change a protection rule."""
        rule = protection.protection_rule(project, rule_id)
        protection.change_protection_rule(rule, _CHANGES.read(), project, by=current_principal())
        return jsonify(representations.protection_rule(rule))

    @blueprint.delete(f"{RULES}/<id:rule_id>")
    @gate(Permission.ADMIN_PACKAGE)
    def delete_rule(project: Project, rule_id: int) -> tuple[str, int]:
        """Delete a protection rule."""
        rule = protection.protection_rule(project, rule_id)
        parameters.refuse_if_modified(rule.created_at)
        protection.delete_protection_rule(rule, project, by=current_principal())
        return "", 204

    return blueprint
