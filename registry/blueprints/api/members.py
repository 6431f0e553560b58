"""Members of projects and groups ("Members API")."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import Sent, day, integer, list_of, one_of, optional, required, text
from registry.blueprints.api.representations import JSON
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain import access, namespaces
from registry.domain.access import Permission
from registry.domain.accounts import users
from registry.domain.namespaces import Member
from registry.models import MEMBER_ROLES, Group, Namespace, Project, User

PROJECT = "/projects/<project:project>/members"
GROUP = "/groups/<group:group>/members"

_LIST = {"query": optional(text), "user_ids": optional(list_of(integer))}
_ROLE = required(one_of({int(role): role for role in MEMBER_ROLES}, integer))
_NEW = {
    "user_id": optional(list_of(integer)),
    "username": optional(list_of(text)),
    "access_level": _ROLE,
    "expires_at": optional(day),
}
_CHANGES = {"access_level": _ROLE, "expires_at": optional(day, null=None)}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("members", __name__)

    @blueprint.get(PROJECT)
    @blueprint.get(GROUP)
    @gate(Permission.READ_MEMBERS)
    def list_members(namespace: Project | Group) -> Response:
        """Return the direct members."""
        return _list(namespace, inherited=False)

    @blueprint.get(f"{PROJECT}/all")
    @blueprint.get(f"{GROUP}/all")
    @gate(Permission.READ_MEMBERS)
    def list_all_members(namespace: Project | Group) -> Response:
        """Return direct and inherited members, each with the highest role."""
        return _list(namespace, inherited=True)

    @blueprint.get(f"{PROJECT}/<id:user_id>")
    @blueprint.get(f"{GROUP}/<id:user_id>")
    @gate(Permission.READ_MEMBERS)
    def show_member(namespace: Project | Group, user_id: int) -> Response:
        """Return a direct member."""
        return jsonify(_shown(namespaces.member(namespace, user_id), namespace))

    @blueprint.get(f"{PROJECT}/all/<id:user_id>")
    @blueprint.get(f"{GROUP}/all/<id:user_id>")
    @gate(Permission.READ_MEMBERS)
    def show_any_member(namespace: Project | Group, user_id: int) -> Response:
        """Return a direct or inherited member."""
        return jsonify(_shown(namespaces.member(namespace, user_id, inherited=True), namespace))

    @blueprint.post(PROJECT)
    @blueprint.post(GROUP)
    @gate(Permission.ADMIN_MEMBERS)
    def add_members(namespace: Project | Group) -> tuple[Response, int]:
        """Add a member and return it; for several, return the failures."""
        sent = parameters.read(_NEW, some_of=("user_id", "username"))
        added = _users(sent)
        role, expires_on, viewer = sent["access_level"], sent.get("expires_at"), current_principal()
        if len(added) == 1:
            membership = namespaces.add_member(namespace, added[0], role, expires_on=expires_on, by=viewer)
            return jsonify(_shown(Member(membership, namespace, is_direct=True), namespace)), 201
        failures = namespaces.add_members(namespace, added, role, expires_on=expires_on, by=viewer)
        return jsonify({"status": "error", "message": failures} if failures else {"status": "success"}), 201

    @blueprint.put(f"{PROJECT}/<id:user_id>")
    @blueprint.put(f"{GROUP}/<id:user_id>")
    @gate(Permission.ADMIN_MEMBERS)
    def change_member(namespace: Project | Group, user_id: int) -> Response:
        """Change the role of a member; the expiration date is unchanged unless it is sent."""
        sent = parameters.read(_CHANGES)
        namespaces.change_member(
            namespace,
            namespaces.member(namespace, user_id).user,
            sent["access_level"],
            expires_on=sent.get("expires_at", ...),
            by=current_principal(),
        )
        return jsonify(_shown(namespaces.member(namespace, user_id), namespace))

    @blueprint.delete(f"{PROJECT}/<id:user_id>")
    @blueprint.delete(f"{GROUP}/<id:user_id>")
    @gate(Permission.LEAVE_NAMESPACE)
    def remove_member(namespace: Project | Group, user_id: int) -> tuple[str, int]:
        """Remove a direct member; users can always remove themselves."""
        member = namespaces.member(namespace, user_id)
        parameters.refuse_if_modified(member.membership.created_at)
        namespaces.remove_member(namespace, member.user, by=current_principal())
        return "", 204

    return blueprint


def _list(namespace: Namespace, *, inherited: bool) -> Response:
    sent = parameters.read(_LIST)
    email = _may_see_email(namespace)
    found = namespaces.members(
        namespace, inherited=inherited, query=sent.get("query", ""), by_email=email, user_ids=sent.get("user_ids")
    )
    page = pagination.page_of(found)
    return pagination.answer(page, [representations.member(member, email=email) for member in page.items])


def _users(sent: Sent) -> list[User]:
    by_id = [users.find_user(str(user_id)) for user_id in sent.get("user_id", ())]
    return by_id + [users.find_username(username) for username in sent.get("username", ())]


def _shown(member: Member, namespace: Namespace) -> JSON:
    return representations.member(member, email=_may_see_email(namespace))


def _may_see_email(namespace: Namespace) -> bool:
    return isinstance(namespace, Group) and access.allowed(current_principal(), Permission.ADMIN_MEMBERS, namespace)
