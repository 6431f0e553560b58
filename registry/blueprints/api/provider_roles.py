"""Roles that follow from groups of the identity provider. GitLab has nothing like it for a whole instance."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import integer, one_of, positive, required, text
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain import namespaces
from registry.domain.access import Permission
from registry.domain.single_sign_on import provider_roles
from registry.models import MEMBER_ROLES, Group

ROLES = "/application/provider_roles"
_NEW = {
    "provider_group": required(text),
    "group_id": required(positive),
    "access_level": required(one_of({int(role): role for role in MEMBER_ROLES}, integer)),
}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("provider_roles", __name__)

    @blueprint.get(ROLES)
    @gate(Permission.READ_INSTANCE)
    def list_roles() -> Response:
        """Return the roles, by the name of the group at the provider."""
        page = pagination.page_of(provider_roles.provider_roles())
        return pagination.answer(page, [representations.provider_role(one) for one in page.items])

    @blueprint.post(ROLES)
    @gate(Permission.ADMIN_INSTANCE)
    def add_role() -> tuple[Response, int]:
        """Add a role, which people get at their next sign-in."""
        sent = parameters.read(_NEW)
        group = namespaces.find(str(sent["group_id"]), Group)
        added = provider_roles.add(sent["provider_group"], group, sent["access_level"], by=current_principal())
        return jsonify(representations.provider_role(added)), 201

    @blueprint.delete(f"{ROLES}/<id:role_id>")
    @gate(Permission.ADMIN_INSTANCE)
    def delete_role(role_id: int) -> tuple[str, int]:
        """Delete a role, and if no other one is in the same group, the memberships that followed from it."""
        parameters.refuse_if_modified(provider_roles.provider_role(role_id).created_at)
        provider_roles.delete(role_id, by=current_principal())
        return "", 204

    return blueprint
