"""Finding users; creating, changing, blocking, and deleting them as an administrator ("Users API")."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import Fields, Sent, boolean, integer, moment, one_of, optional, required, text
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.domain.access import Permission
from registry.domain.accounts import lists, passwords, second_factors, users
from registry.domain.accounts.users import StateChange, UserChanges, UserDetails
from registry.errors import Code, Forbidden, Unauthenticated
from registry.models import UserState

_LIST = {
    "username": optional(text),
    "search": optional(text),
    "active": optional(boolean),
    "blocked": optional(boolean),
    "external": optional(boolean),
    "two_factor": optional(one_of({"enabled": True, "disabled": False})),
    "admins": optional(boolean),
    "created_after": optional(moment),
    "created_before": optional(moment),
    "order_by": optional(one_of({name: name for name in ("id", "name", "username", "created_at")})),
    "sort": optional(one_of({"asc": False, "desc": True})),
}
_PASSWORD = {
    "password": optional(text),
    "reset_password": optional(boolean),
    "force_random_password": optional(boolean),
}
_DETAILS = Fields(
    UserDetails,
    {
        "admin": optional(boolean, sets="is_admin"),
        "external": optional(boolean, sets="is_external"),
        "can_create_group": optional(boolean),
        "projects_limit": optional(integer),
        "private_profile": optional(boolean),
        "bio": optional(text, null=""),
        "note": optional(text, null=""),
    },
)
_NAMES = ("email", "username", "name")
_NEW = {**{name: required(text) for name in _NAMES}, **_PASSWORD, **_DETAILS}
_CHANGED = Fields(UserChanges, {**{name: optional(text) for name in _NAMES}, **_DETAILS})
_CHANGES = {**{name: optional(text) for name in _NAMES}, "password": optional(text), **_DETAILS}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("users", __name__)

    @blueprint.get("/user")
    @gate(Permission.READ_USER)
    def own_user() -> Response:
        """Return the current user."""
        viewer = current_principal()
        if viewer.user is None:
            raise Unauthenticated
        return jsonify(representations.own_user(viewer, viewer.user))

    @blueprint.get("/users")
    @gate(Permission.READ_USERS)
    def list_users() -> Response:
        """Return all users; anonymous callers can only look up a user name."""
        viewer = current_principal()
        sent = parameters.read(_LIST)
        if viewer.is_anonymous and "username" not in sent:
            raise Forbidden(Code.USERS_NOT_LISTED)
        page = pagination.page(lists.users(_wanted(sent, viewer.is_admin), by_email=viewer.is_admin))
        return pagination.answer(page, representations.users(page.items, viewer))

    @blueprint.get("/users/<id:user_id>")
    @gate(Permission.READ_USERS)
    def show_user(user_id: int) -> Response:
        """Return a user."""
        viewer = current_principal()
        if viewer.is_anonymous:
            raise Forbidden(Code.USER_NOT_SHOWN)
        return jsonify(representations.users([users.find_user(str(user_id))], viewer)[0])

    @blueprint.post("/users")
    @gate(Permission.ADMIN_INSTANCE)
    def create_user() -> tuple[Response, int]:
        """Create a user, who can sign in immediately, as e-mail addresses are not confirmed."""
        sent = parameters.read(_NEW, some_of=tuple(_PASSWORD))
        viewer = current_principal()
        created = users.create_user(
            username=sent["username"],
            email=sent["email"],
            name=sent["name"],
            password=sent.get("password") or passwords.generated(),
            details=_DETAILS.of(sent),
            by=viewer,
        )
        return jsonify(representations.users([created], viewer)[0]), 201

    @blueprint.put("/users/<id:user_id>")
    @gate(Permission.ADMIN_INSTANCE)
    def change_user(user_id: int) -> Response:
        """Change attributes of a user, or the password."""
        user = users.find_user(str(user_id))
        sent = parameters.read(_CHANGES)
        viewer = current_principal()
        changed = users.change_user(user, _CHANGED.of(sent), password=sent.get("password"), by=viewer)
        return jsonify(representations.users([changed], viewer)[0])

    @blueprint.delete("/users/<id:user_id>")
    @gate(Permission.ADMIN_INSTANCE)
    def delete_user(user_id: int) -> tuple[str, int]:
        """Delete a user with the personal namespace, its projects, and all tokens."""
        user = users.find_user(str(user_id))
        parameters.refuse_if_modified(user.created_at)
        users.delete_user(user, by=current_principal())
        return "", 204

    @blueprint.post(f"/users/<id:user_id>/<any({','.join(StateChange)}):verb>")
    @gate(Permission.ADMIN_INSTANCE)
    def change_state(user_id: int, verb: str) -> tuple[Response, int]:
        """Block, unblock, deactivate, or activate a user."""
        users.change_state(users.find_user(str(user_id)), StateChange(verb), by=current_principal())
        return jsonify(True), 201

    @blueprint.post("/users/<id:user_id>/confirm")
    @gate(Permission.ADMIN_INSTANCE)
    def confirm_email(user_id: int) -> tuple[Response, int]:
        """Confirm the e-mail address, by which others then find the user.

        GitLab has this only as an action of its pages; the name is that of the action.
        """
        users.confirm_email(users.find_user(str(user_id)), by=current_principal())
        return jsonify(True), 201

    @blueprint.patch("/users/<id:user_id>/disable_two_factor")
    @gate(Permission.ADMIN_INSTANCE)
    def disable_two_factor(user_id: int) -> tuple[str, int]:
        """Remove the second factors of a user who is not an administrator, as in GitLab."""
        second_factors.disable_unless_administrator(users.find_user(str(user_id)), by=current_principal())
        return "", 204

    return blueprint


def _wanted(sent: Sent, is_admin: bool) -> lists.UserFilter:
    states = [state for state, name in ((UserState.ACTIVE, "active"), (UserState.BLOCKED, "blocked")) if sent.get(name)]
    wanted = lists.UserFilter(
        username=sent.get("username"),
        search=sent.get("search", ""),
        states=tuple(states) or tuple(UserState),
        order_by=sent.get("order_by", "id"),
        descending=sent.get("sort", True),
    )
    if not is_admin:
        return wanted
    return replace(
        wanted,
        is_admin=True if sent.get("admins") else None,
        is_external=True if sent.get("external") else None,
        has_second_factor=sent.get("two_factor"),
        created_after=sent.get("created_after"),
        created_before=sent.get("created_before"),
    )
