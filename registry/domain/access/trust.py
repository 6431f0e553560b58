"""Which trusted publishers and readers accept a CI job, decided at each request from the claims that it has proved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Select, exists, select

from registry.database import db
from registry.domain.access.principals import Acceptance, Principal
from registry.models import Ancestry, ExchangedToken, Namespace, TokenRevocation, TrustedPublisher, TrustedReader


def accepting(principal: Principal, namespace: Namespace) -> tuple[Acceptance, ...]:
    """Return the trusted publishers of a project, or readers of a namespace and its ancestors, that accept the job.

    They are read from ``principal.accepting``, or else from the database in one statement; oldest first. Those of a
    namespace in which the token was revoked are left out.
    """
    known = principal.accepting.get(namespace.id)
    return _looked_up(principal, namespace) if known is None else known


def load_accepting(principal: Principal, namespace: Namespace) -> Principal:
    """Return the principal with the result of ``accepting`` for a namespace loaded."""
    return replace(principal, accepting={**principal.accepting, namespace.id: accepting(principal, namespace)})


def _looked_up(principal: Principal, namespace: Namespace) -> tuple[Acceptance, ...]:
    if principal.publishing_token is not None:
        publishers = select(TrustedPublisher).where(TrustedPublisher.namespace_id == namespace.id)
        return _among(publishers, TrustedPublisher, principal.publishing_token)
    if principal.reading_token is not None:
        around = Ancestry.ancestor_id == TrustedReader.namespace_id
        readers = select(TrustedReader).join(Ancestry, around).where(Ancestry.namespace_id == namespace.id)
        return _among(readers, TrustedReader, principal.reading_token)
    return ()


def _among(
    identities: Select[Any], kind: type[TrustedPublisher | TrustedReader], token: ExchangedToken
) -> tuple[Acceptance, ...]:
    """Return those of the trusted publishers or readers that accept the job of a token, unless it was revoked there."""
    is_revoked = exists().where(TokenRevocation.token_id == token.id, TokenRevocation.namespace_id == kind.namespace_id)
    found = db.session.scalars(identities.where(kind.issuer == token.issuer, ~is_revoked).order_by(kind.id))
    return tuple(_acceptance(each) for each in found if not each.mismatches(token.claims))


def _acceptance(identity: TrustedPublisher | TrustedReader) -> Acceptance:
    names = identity.package_names if isinstance(identity, TrustedPublisher) else ()
    return Acceptance(identity.id, identity.namespace_id, tuple(identity.claims), tuple(names))
