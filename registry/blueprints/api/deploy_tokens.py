"""Deploy tokens of projects and groups ("Deploy tokens API")."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import boolean, list_of, moment, one_of, optional, required, text
from registry.blueprints.auth.credentials import current_principal, token_key
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.access import DeployScope, Permission
from registry.domain.accounts import deploy_tokens
from registry.models import Group, Namespace, Project

PROJECT = "/projects/<project:project>/deploy_tokens"
GROUP = "/groups/<group:group>/deploy_tokens"

_NEW = {
    "name": required(text),
    "scopes": required(list_of(one_of({str(scope): scope for scope in DeployScope}))),
    "expires_at": optional(moment),
    "username": optional(text),
}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("deploy_tokens", __name__)

    @blueprint.get("/deploy_tokens")
    @gate(Permission.READ_INSTANCE)
    def list_all_tokens() -> Response:
        """Return all deploy tokens of the instance."""
        return _list(None)

    @blueprint.get(PROJECT)
    @blueprint.get(GROUP)
    @gate(Permission.READ_DEPLOY_TOKENS)
    def list_tokens(namespace: Project | Group) -> Response:
        """Return the deploy tokens of a project or group."""
        return _list(namespace)

    @blueprint.get(f"{PROJECT}/<id:token_id>")
    @blueprint.get(f"{GROUP}/<id:token_id>")
    @gate(Permission.READ_DEPLOY_TOKENS)
    def show_token(namespace: Project | Group, token_id: int) -> Response:
        """Return a deploy token."""
        return jsonify(representations.deploy_token(deploy_tokens.deploy_token(namespace, token_id)))

    @blueprint.post(PROJECT)
    @blueprint.post(GROUP)
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def create_token(namespace: Project | Group) -> tuple[Response, int]:
        """Create a deploy token; its secret is returned only once."""
        sent = parameters.read(_NEW)
        token, secret = deploy_tokens.issue_deploy_token(
            namespace,
            name=sent["name"],
            scopes=sent["scopes"],
            username=sent.get("username"),
            expires_at=sent.get("expires_at"),
            key=token_key(),
            by=current_principal(),
        )
        return jsonify(representations.deploy_token(token, secret)), 201

    @blueprint.delete(f"{PROJECT}/<id:token_id>")
    @blueprint.delete(f"{GROUP}/<id:token_id>")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def destroy_token(namespace: Project | Group, token_id: int) -> tuple[str, int]:
        """Revoke and delete a deploy token."""
        token = deploy_tokens.deploy_token(namespace, token_id)
        parameters.refuse_if_modified(token.created_at)
        deploy_tokens.destroy_deploy_token(token, namespace, by=current_principal())
        return "", 204

    return blueprint


def _list(namespace: Namespace | None) -> Response:
    sent = parameters.read({"active": optional(boolean)})
    page = pagination.page(deploy_tokens.deploy_tokens(namespace, is_active=sent.get("active", False), now=utcnow()))
    return pagination.answer(page, [representations.deploy_token(token) for token in page.items])
