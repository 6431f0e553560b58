"""Personal access tokens ("Personal access tokens API", "Users API: create a personal access token")."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import (
    Sent,
    boolean,
    day,
    integer,
    list_of,
    moment,
    one_of,
    optional,
    required,
    text,
)
from registry.blueprints.auth.credentials import current_principal, token_key
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.access import Permission, Scope
from registry.domain.accounts import access_tokens, users
from registry.errors import MethodNotAllowed, NotFound, Unauthenticated
from registry.models import AccessToken, User

TOKENS = "/personal_access_tokens"

_NEW = {
    "name": required(text),
    "scopes": required(list_of(text)),
    "expires_at": optional(day),
    "description": optional(text),
}
# The scopes of tokens that users can create with another token.
_OWN_SCOPES = {str(scope): scope for scope in (Scope.K8S_PROXY, Scope.SELF_ROTATE)}
_OWN_NEW = {**_NEW, "scopes": required(list_of(one_of(_OWN_SCOPES)))}
_ORDERS = {"created": "created_at", "expires": "expires_on", "last_used": "last_used_at", "name": "name"}
_SORTS = {
    f"{name}_{direction}": (column, direction == "desc")
    for name, column in _ORDERS.items()
    for direction in ("asc", "desc")
}
_LIST = {
    "user_id": optional(integer),
    "state": optional(one_of({"active": True, "inactive": False})),
    "revoked": optional(boolean),
    "search": optional(text),
    "created_after": optional(moment),
    "created_before": optional(moment),
    "last_used_after": optional(moment),
    "last_used_before": optional(moment),
    "expires_after": optional(day),
    "expires_before": optional(day),
    "sort": optional(one_of(_SORTS)),
}
_ROTATION = {"expires_at": optional(day)}


def routes(gate: Gate, rotation_gate: Gate) -> Blueprint:
    """Create the routes.

    :param rotation_gate: for rotation, which detects the reuse of revoked tokens.
    """
    blueprint = Blueprint("tokens", __name__)

    @blueprint.post("/users/<id:user_id>/personal_access_tokens")
    @gate(Permission.ADMIN_INSTANCE)
    def create_token(user_id: int) -> tuple[Response, int]:
        """Create a token for any user, as an administrator."""
        return _create(users.find_user(str(user_id)), parameters.read(_NEW))

    @blueprint.post("/user/personal_access_tokens")
    @gate(Permission.USE_API)
    def create_own_token() -> tuple[Response, int]:
        """Create a token of the current user with few scopes; other tokens must be created on a page."""
        user = current_principal().user
        if user is None:
            raise Unauthenticated
        return _create(user, parameters.read(_OWN_NEW))

    @blueprint.get(TOKENS)
    @gate(Permission.READ_OWN_TOKENS)
    def list_tokens() -> Response:
        """Return the tokens of the current user; for administrators, all tokens."""
        sent = parameters.read(_LIST)
        order_by, descending = sent.get("sort", ("id", False))
        wanted = access_tokens.AccessTokenFilter(
            user_id=sent.get("user_id"),
            is_active=sent.get("state"),
            is_revoked=sent.get("revoked"),
            search=sent.get("search", ""),
            **{name: sent[name] for name in sent if name.endswith(("_after", "_before"))},
            order_by=order_by,
            descending=descending,
        )
        page = pagination.page(access_tokens.access_tokens(wanted, by=current_principal(), now=utcnow()))
        return pagination.answer(page, [representations.access_token(token) for token in page.items])

    @blueprint.get(f"{TOKENS}/<id:token_id>")
    @gate(Permission.READ_OWN_TOKENS)
    def show_token(token_id: int) -> Response:
        """Return a token."""
        return jsonify(representations.access_token(access_tokens.access_token(token_id, by=current_principal())))

    @blueprint.get(f"{TOKENS}/self")
    @gate(Permission.USE_OWN_TOKEN)
    def show_own_token() -> Response:
        """Return the token of the request."""
        return jsonify(representations.access_token(_own_token()))

    @blueprint.post(f"{TOKENS}/<id:token_id>/rotate")
    @rotation_gate(Permission.USE_API)
    def rotate_token(token_id: int) -> Response:
        """Replace a token with a new one."""
        return _rotate(access_tokens.access_token(token_id, by=current_principal()))

    @blueprint.post(f"{TOKENS}/self/rotate")
    @rotation_gate(Permission.ROTATE_OWN_TOKEN)
    def rotate_own_token() -> Response:
        """Replace the token of the request with a new one."""
        token = current_principal().access_token
        if token is None:
            raise MethodNotAllowed
        return _rotate(token)

    @blueprint.delete(f"{TOKENS}/<id:token_id>")
    @gate(Permission.USE_API)
    def revoke_token(token_id: int) -> tuple[str, int]:
        """Revoke a token."""
        return _revoke(access_tokens.access_token(token_id, by=current_principal()))

    @blueprint.delete(f"{TOKENS}/self")
    @gate(Permission.USE_OWN_TOKEN)
    def revoke_own_token() -> tuple[str, int]:
        """Revoke the token of the request."""
        return _revoke(_own_token())

    return blueprint


def _own_token() -> AccessToken:
    token = current_principal().access_token
    if token is None:
        raise NotFound
    return token


def _create(user: User, sent: Sent) -> tuple[Response, int]:
    token, secret = access_tokens.issue_access_token(
        user,
        name=sent["name"],
        scopes=sent["scopes"],
        description=sent.get("description", ""),
        expires_on=sent.get("expires_at"),
        key=token_key(),
        by=current_principal(),
        now=utcnow(),
    )
    return jsonify(representations.access_token(token, secret)), 201


def _rotate(token: AccessToken) -> Response:
    sent = parameters.read(_ROTATION)
    rotated, secret = access_tokens.rotate_access_token(
        token, key=token_key(), by=current_principal(), now=utcnow(), expires_on=sent.get("expires_at")
    )
    return jsonify(representations.access_token(rotated, secret))


def _revoke(token: AccessToken) -> tuple[str, int]:
    parameters.refuse_if_modified(token.created_at)
    access_tokens.revoke_access_token(token, by=current_principal(), now=utcnow())
    return "", 204
