"""Trusted publishers of a project, and the tokens with which their jobs publish."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import expecting, list_of, optional, required, text, texts
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.oidc import publishers, publishing_tokens
from registry.models import Project

PUBLISHERS = "/projects/<project:project>/trusted_publishers"

_NEW = {
    "issuer": required(text),
    "claims": required(expecting("an object with a text for each claim", texts)),
    "package_names": optional(list_of(text), null=[]),
}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("trusted_publishers", __name__)

    @blueprint.get(PUBLISHERS)
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_publishers(project: Project) -> Response:
        """Return the trusted publishers of a project."""
        page = pagination.page_of(publishers.publishers_of(project))
        return pagination.answer(page, [representations.trusted_publisher(each) for each in page.items])

    @blueprint.post(PUBLISHERS)
    @gate(Permission.ADMIN_PACKAGE)
    def add_publisher(project: Project) -> tuple[Response, int]:
        """Add a trusted publisher."""
        sent = parameters.read(_NEW)
        added = publishers.add_publisher(
            project, issuer=sent["issuer"], claims=sent["claims"], package_names=sent.get("package_names", ()),
            by=current_principal(),
        )  # fmt: skip
        return jsonify(representations.trusted_publisher(added)), 201

    @blueprint.delete(f"{PUBLISHERS}/<id:publisher_id>")
    @gate(Permission.ADMIN_PACKAGE)
    def delete_publisher(project: Project, publisher_id: int) -> tuple[str, int]:
        """Delete a trusted publisher; its tokens are of no use in the project any more."""
        publisher = publishers.publisher(project, publisher_id)
        parameters.refuse_if_modified(publisher.created_at)
        publishers.delete_publisher(publisher, project, by=current_principal())
        return "", 204

    @blueprint.get(f"{PUBLISHERS}/tokens")
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_publishing_tokens(project: Project) -> Response:
        """Return the tokens with which jobs can publish at the moment."""
        page = pagination.page(publishing_tokens.active_tokens(project, utcnow()))
        return pagination.answer(page, [representations.publishing_token(each, project) for each in page.items])

    @blueprint.delete(f"{PUBLISHERS}/tokens/<id:token_id>")
    @gate(Permission.ADMIN_PACKAGE)
    def revoke_publishing_token(project: Project, token_id: int) -> tuple[str, int]:
        """Revoke a token of a job for the project."""
        token = publishing_tokens.token(project, token_id)
        publishing_tokens.revoke(token, project, by=current_principal(), now=utcnow())
        return "", 204

    return blueprint
