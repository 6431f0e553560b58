"""Trusted publishers of projects and trusted readers of projects and groups, and the tokens that their jobs have."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from registry.blueprints.api import pagination, parameters, representations
from registry.blueprints.api.parameters import expecting, list_of, optional, required, text, texts
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.database import utcnow
from registry.domain.access import Permission
from registry.domain.oidc import exchanged_tokens, identities
from registry.domain.oidc.exchanged_tokens import Token
from registry.domain.oidc.identities import Identity
from registry.models import Group, Namespace, Project, PublishingToken, ReadingToken, TrustedPublisher, TrustedReader

PUBLISHERS = "/projects/<project:project>/trusted_publishers"
PROJECT_READERS = "/projects/<project:project>/trusted_readers"
GROUP_READERS = "/groups/<group:group>/trusted_readers"

_NEW_READER = {
    "issuer": required(text),
    "claims": required(expecting("an object with a text for each claim", texts)),
}
_NEW_PUBLISHER = {**_NEW_READER, "package_names": optional(list_of(text), null=[])}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("trusted_identities", __name__)

    @blueprint.get(PUBLISHERS)
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_publishers(project: Project) -> Response:
        """Return the trusted publishers of a project."""
        return _list(TrustedPublisher, project)

    @blueprint.post(PUBLISHERS)
    @gate(Permission.ADMIN_PACKAGE)
    def add_publisher(project: Project) -> tuple[Response, int]:
        """Add a trusted publisher."""
        sent = parameters.read(_NEW_PUBLISHER)
        added = identities.add_publisher(
            project, issuer=sent["issuer"], claims=sent["claims"], package_names=sent.get("package_names", ()),
            by=current_principal(),
        )  # fmt: skip
        return jsonify(representations.trusted_identity(added)), 201

    @blueprint.delete(f"{PUBLISHERS}/<id:publisher_id>")
    @gate(Permission.ADMIN_PACKAGE)
    def delete_publisher(project: Project, publisher_id: int) -> tuple[str, int]:
        """Delete a trusted publisher; its tokens are of no use in the project any more."""
        return _delete(TrustedPublisher, project, publisher_id)

    @blueprint.get(f"{PUBLISHERS}/tokens")
    @gate(Permission.READ_PACKAGE_SETTINGS)
    def list_publishing_tokens(project: Project) -> Response:
        """Return the tokens with which jobs can publish at the moment."""
        return _list_tokens(PublishingToken, project)

    @blueprint.delete(f"{PUBLISHERS}/tokens/<id:token_id>")
    @gate(Permission.ADMIN_PACKAGE)
    def revoke_publishing_token(project: Project, token_id: int) -> tuple[str, int]:
        """Revoke a token of a job for the project."""
        return _revoke(PublishingToken, project, token_id)

    @blueprint.get(PROJECT_READERS)
    @blueprint.get(GROUP_READERS)
    @gate(Permission.READ_DEPLOY_TOKENS)
    def list_readers(namespace: Project | Group) -> Response:
        """Return the trusted readers of a project or group."""
        return _list(TrustedReader, namespace)

    @blueprint.post(PROJECT_READERS)
    @blueprint.post(GROUP_READERS)
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def add_reader(namespace: Project | Group) -> tuple[Response, int]:
        """Add a trusted reader."""
        sent = parameters.read(_NEW_READER)
        added = identities.add_reader(namespace, issuer=sent["issuer"], claims=sent["claims"], by=current_principal())
        return jsonify(representations.trusted_identity(added)), 201

    @blueprint.delete(f"{PROJECT_READERS}/<id:reader_id>")
    @blueprint.delete(f"{GROUP_READERS}/<id:reader_id>")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def delete_reader(namespace: Project | Group, reader_id: int) -> tuple[str, int]:
        """Delete a trusted reader; its tokens are of no use in the project or group any more."""
        return _delete(TrustedReader, namespace, reader_id)

    @blueprint.get(f"{PROJECT_READERS}/tokens")
    @blueprint.get(f"{GROUP_READERS}/tokens")
    @gate(Permission.READ_DEPLOY_TOKENS)
    def list_reading_tokens(namespace: Project | Group) -> Response:
        """Return the tokens with which jobs can install at the moment, by the trusted readers of this namespace."""
        return _list_tokens(ReadingToken, namespace)

    @blueprint.delete(f"{PROJECT_READERS}/tokens/<id:token_id>")
    @blueprint.delete(f"{GROUP_READERS}/tokens/<id:token_id>")
    @gate(Permission.CHANGE_DEPLOY_TOKENS)
    def revoke_reading_token(namespace: Project | Group, token_id: int) -> tuple[str, int]:
        """Revoke a token of a job for the project or group."""
        return _revoke(ReadingToken, namespace, token_id)

    return blueprint


def _list(kind: type[Identity], namespace: Namespace) -> Response:
    page = pagination.page_of(identities.identities_of(kind, namespace))
    return pagination.answer(page, [representations.trusted_identity(each) for each in page.items])


def _delete(kind: type[Identity], namespace: Namespace, identity_id: int) -> tuple[str, int]:
    found = identities.identity(kind, namespace, identity_id)
    parameters.refuse_if_modified(found.created_at)
    identities.delete(found, namespace, by=current_principal())
    return "", 204


def _list_tokens(kind: type[Token], namespace: Namespace) -> Response:
    page = pagination.page_of(exchanged_tokens.active_tokens(kind, namespace, utcnow()))
    return pagination.answer(page, [representations.exchanged_token(each) for each in page.items])


def _revoke(kind: type[Token], namespace: Namespace, token_id: int) -> tuple[str, int]:
    exchanged_tokens.revoke(exchanged_tokens.token(kind, namespace, token_id), namespace, by=current_principal())
    return "", 204
