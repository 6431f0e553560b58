"""Which trusted publishers and readers accept a CI job, decided at each request from the claims that it has proved."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import exists, select

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
        return _publishers(principal.publishing_token, namespace)
    return () if principal.reading_token is None else _readers(principal.reading_token, namespace)


def _publishers(token: ExchangedToken, project: Namespace) -> tuple[Acceptance, ...]:
    found = db.session.scalars(
        select(TrustedPublisher)
        .where(
            TrustedPublisher.project_id == project.id,
            TrustedPublisher.issuer == token.issuer,
            ~exists().where(
                TokenRevocation.token_id == token.id, TokenRevocation.namespace_id == TrustedPublisher.project_id
            ),
        )
        .order_by(TrustedPublisher.id)
    )
    return tuple(
        Acceptance(each.id, each.project_id, tuple(each.claims), tuple(each.package_names))
        for each in found
        if not each.mismatches(token.claims)
    )


def _readers(token: ExchangedToken, namespace: Namespace) -> tuple[Acceptance, ...]:
    found = db.session.scalars(
        select(TrustedReader)
        .join(Ancestry, Ancestry.ancestor_id == TrustedReader.namespace_id)
        .where(
            Ancestry.namespace_id == namespace.id,
            TrustedReader.issuer == token.issuer,
            ~exists().where(
                TokenRevocation.token_id == token.id, TokenRevocation.namespace_id == TrustedReader.namespace_id
            ),
        )
        .order_by(TrustedReader.id)
    )
    return tuple(
        Acceptance(each.id, each.namespace_id, tuple(each.claims))
        for each in found
        if not each.mismatches(token.claims)
    )
