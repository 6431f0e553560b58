"""Tokens that CI jobs get in exchange for their identity token, to publish or to install, if projects trust them."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from registry.database import db, delete_unlocked, lock, transaction
from registry.domain import audit
from registry.domain.access import Principal, PrincipalKind
from registry.domain.accounts import sign_in
from registry.domain.accounts.secrets import digest
from registry.domain.issuers import GITHUB
from registry.domain.oidc import identities, identity_tokens, single_use
from registry.domain.oidc.claims import claim_text, claim_texts
from registry.domain.oidc.identity_tokens import LEEWAY, IdentityToken
from registry.domain.oidc.keys import Issuers
from registry.errors import IdentityTokenRefused, RecordNotFound
from registry.models import (
    SHOWN_CLAIMS,
    ExchangedToken,
    InstanceSettings,
    Namespace,
    PublishingToken,
    ReadingToken,
    TokenRevocation,
    TrustedPublisher,
    TrustedReader,
    printable,
)

# The first is that of job tokens: these publish as well.
PREFIXES: dict[type[ExchangedToken], str] = {PublishingToken: "glcbt-", ReadingToken: "glcrt-"}
LIFETIME = timedelta(minutes=15)
KEPT_FOR = timedelta(days=7)  # so that a job that is late learns that its token has expired
MOST_RECORDED = 100  # namespaces whose audit log has an exchange

Token = TypeVar("Token", bound=PublishingToken | ReadingToken)
_TRUSTED: dict[type[ExchangedToken], type[TrustedPublisher | TrustedReader]] = {
    PublishingToken: TrustedPublisher,
    ReadingToken: TrustedReader,
}
_PRINCIPALS: dict[type[ExchangedToken], PrincipalKind] = {
    PublishingToken: PrincipalKind.TRUSTED_PUBLISHER,
    ReadingToken: PrincipalKind.TRUSTED_READER,
}


@dataclass(frozen=True)
class TokenInUse:
    """A token that is valid in a namespace.

    :ivar accepted_by: the trusted publishers or readers of the namespace itself that accept its job.
    """

    token: ExchangedToken
    accepted_by: tuple[TrustedPublisher | TrustedReader, ...]


def audience(external_url: str | None, key: bytes) -> str:
    """Return the audience that identity tokens must have, which no other registry accepts.

    It is fixed: with one from the request, another registry could use the tokens that it receives here.

    :param external_url: of the registry, whose host users recognize. Without it, the audience is derived from the key.
    """
    if external_url:
        return urlsplit(external_url).netloc.lower()
    return f"pypi-registry-{hmac.digest(key, b'audience of identity tokens', 'sha256').hex()[:12]}"


def exchange(
    sent: str, kind: type[Token], *, audience: str, issuers: Issuers, key: bytes, address: str, now: datetime
) -> tuple[Token, str]:
    """Return a new token, and its secret, for the identity token of a job that projects or groups trust.

    :param kind: to publish, for jobs that trusted publishers accept, or to read, for those of trusted readers.
    :param audience: that the identity token must be meant for.
    :param address: of the caller.
    :raises IdentityTokenRefused: it is not valid, was exchanged before, or none trusts the job.
    :raises TooManyRequests: too many tokens from this address had a wrong signature.
    :raises Unavailable: too many issuers are being asked for their keys.
    """
    trusted = _TRUSTED[kind]
    token = identity_tokens.read(sent)
    listed = InstanceSettings.current().oidc_trusted_issuers
    if not identities.accepts_issuer(token.issuer):
        raise _untrusted(f"Administrators have not listed {token.issuer}, the issuer of the identity token.")
    if not identities.is_trusted(trusted, token.issuer):
        raise _untrusted(f"No {trusted.noun.replace('_', ' ')} has the issuer of the identity token.")
    db.session.rollback()  # do not keep a transaction open while the issuer is asked for its keys
    with sign_in.counting_exchanges(address, now):
        identity_tokens.require_signature(token, issuers, listed)
    verified = identity_tokens.verified(token, audience=audience, now=now)
    texts = claim_texts(verified.claims)
    candidates = identities.candidates(trusted, token.issuer, texts)
    matching = [each for each in candidates if not each.mismatches(texts)]
    if not matching:
        compared = [*candidates, *identities.first_trusting(trusted, token.issuer)]
        raise _untrusted(_difference(compared, verified.claims))
    needed = {"sub", *SHOWN_CLAIMS, *(name for each in candidates for name in each.claims)}
    secret = PREFIXES[kind] + secrets.token_urlsafe(32)
    issued = kind(
        digest=digest(secret, key), issuer=token.issuer, subject=printable(verified.subject),
        claims={name: text for name, text in texts.items() if name in needed}, run_url=_run_url(verified),
        created_at=now, expires_at=now + LIFETIME,
    )  # fmt: skip
    _issue(issued, verified, matching, address=address, now=now)
    return issued, secret


def find_active(secret: str, key: bytes, now: datetime) -> ExchangedToken | None:
    """Return the token with this secret, unless it has ended, or the instance no longer accepts its issuer."""
    token = find(secret, key)
    is_usable = token is not None and token.is_active(now) and identities.accepts_issuer(token.issuer)
    return token if is_usable else None


def find(secret: str, key: bytes) -> ExchangedToken | None:
    """Return the token with this secret, even if it is of no use any more."""
    if not secret.startswith(tuple(PREFIXES.values())):
        return None
    found = digest(secret, key)
    token = db.session.scalar(select(ExchangedToken).where(ExchangedToken.digest == found))
    return token if token is not None and hmac.compare_digest(token.digest, found) else None


def active_tokens(kind: type[Token], namespace: Namespace, now: datetime) -> list[TokenInUse]:
    """Return the tokens with which jobs can publish to a project, or read a namespace by its own trusted readers.

    Newest first. They last for minutes, and most jobs end theirs themselves.
    """
    trusting = [
        each for each in identities.identities_of(_TRUSTED[kind], namespace) if identities.accepts_issuer(each.issuer)
    ]
    revoked = select(TokenRevocation.token_id).where(TokenRevocation.namespace_id == namespace.id)
    found = db.session.scalars(
        select(kind)
        .where(
            kind.expires_at > now, kind.revoked_at.is_(None), kind.id.not_in(revoked),
            kind.issuer.in_({each.issuer for each in trusting}),
        )
        .order_by(kind.id.desc())
    )  # fmt: skip
    listed = (TokenInUse(token, _accepting(token, trusting)) for token in found)
    return [each for each in listed if each.accepted_by]


def token(kind: type[Token], namespace: Namespace, token_id: int) -> Token:
    """Return a token that a trusted publisher or reader of a namespace accepts, or did until it expired.

    :raises RecordNotFound: there is none with this ID, or it was revoked there.
    """
    found = db.session.get(ExchangedToken, token_id)
    if not isinstance(found, kind) or db.session.get(TokenRevocation, (token_id, namespace.id)) is not None:
        raise RecordNotFound
    if not _accepting(found, identities.identities_of(_TRUSTED[kind], namespace)):
        raise RecordNotFound
    return found


def revoke(token: ExchangedToken, namespace: Namespace, *, by: audit.Author) -> None:
    """End the use of a token in a namespace from the next request on.

    Other namespaces that trust the job are not affected: any of them could be one of an attacker. Takes no lock: of
    two revocations at the same time, one finds the other's row.
    """
    with suppress(IntegrityError), transaction(changes_answers=_changes_answers(token)) as session:
        session.add(TokenRevocation(token_id=token.id, namespace_id=namespace.id))
        session.flush()
        audit.record(by, f"{token.noun}_revoked", token.issuer, namespace, token_id=token.id)


def burn(secret: str, key: bytes, now: datetime) -> None:
    """Revoke the token with this secret everywhere, as a job does after it has published; locks its row."""
    token = find(secret, key)
    if token is None or not token.is_active(now):
        return
    with transaction(changes_answers=_changes_answers(token)):
        lock(token, "revoked_at")
        token.revoked_at = token.revoked_at or now


def _issue(
    issued: ExchangedToken, verified: IdentityToken, matching: Sequence[TrustedPublisher | TrustedReader], *,
    address: str, now: datetime,
) -> None:  # fmt: skip
    """Store a token, once for each identity token, and remove tokens that expired long ago.

    Takes no lock: the primary key of used tokens lets one of several requests succeed.

    :raises IdentityTokenRefused: the identity token was exchanged before.
    """
    try:
        with transaction(changes_answers=False) as session:  # no client has used the token yet
            single_use.record(session, verified.key, expires_at=verified.expires_at + LEEWAY, now=now)
            delete_unlocked(ExchangedToken, ExchangedToken.expires_at < now - KEPT_FOR)
            session.add(issued)
            session.flush()
            _record(issued, matching, address)
    except IntegrityError as error:
        raise IdentityTokenRefused("invalid-token", "The identity token was exchanged before (jti).") from error


def _record(issued: ExchangedToken, matching: Sequence[TrustedPublisher | TrustedReader], address: str) -> None:
    """Record who got a token for administrators, and for each namespace only which of its identities accepted the job.

    Anyone can trust the jobs of others, so of many namespaces, those count that trusted such jobs first.
    """
    accepting: dict[int, list[int]] = {}
    for each in matching:
        accepting.setdefault(each.namespace_id, []).append(each.id)
    kind = _PRINCIPALS[type(issued)]
    created: dict[str, object] = {"token_id": issued.id, "issuer": issued.issuer}
    action, accepted_by = f"{issued.noun}_created", f"{matching[0].noun.removeprefix('trusted_')}_id"
    job = audit.NamedAuthor(f"{kind} {issued.subject}", address)
    recorded = list(accepting)[:MOST_RECORDED]
    places = db.session.scalars(select(Namespace).where(Namespace.id.in_(recorded)).order_by(Namespace.id)).all()
    accepted_in = [namespace.full_path for namespace in places]
    audit.record(job, action, issued.subject, None, run=issued.run_url, accepted_in=accepted_in, **created)
    for namespace in places:
        details = {accepted_by: accepting[namespace.id], **created}
        audit.record(Principal(kind), action, issued.issuer, namespace, **details)


def _accepting(
    token: ExchangedToken, trusting: Sequence[TrustedPublisher | TrustedReader]
) -> tuple[TrustedPublisher | TrustedReader, ...]:
    return tuple(each for each in trusting if each.issuer == token.issuer and not each.mismatches(token.claims))


def _changes_answers(token: ExchangedToken) -> bool:
    """Return whether the end of a token makes cached responses stale; tokens to publish read nothing that is cached."""
    return isinstance(token, ReadingToken)


def _difference(trusting: Sequence[TrustedPublisher | TrustedReader], claims: Mapping[str, Any]) -> str:
    """Return which claims of a token the publisher or reader that is closest to it does not accept.

    It shows values of the token only, and nothing of those that the token has nothing in common with.
    """
    kind, texts = trusting[0].noun.replace("_", " ") if trusting else "namespace", claim_texts(claims)
    close = [different for each in trusting if len(different := each.mismatches(texts)) < len(each.claims)]
    if not close:
        return f"No {kind} matches the claims of the identity token."
    found = "; ".join(f"{name} is {_quoted(claims.get(name))}" for name in min(close, key=len))
    return f"The {kind} that is closest does not accept these claims of the identity token: {found}."


def _quoted(value: object) -> str:
    if value is None:
        return "missing"
    text = claim_text(value)
    return "not a text" if text is None else f"'{printable(text)}'"


def _run_url(token: IdentityToken) -> str:
    """Return the address of the run, for GitHub and GitLab; empty for others."""
    names = ("repository", "run_id", "project_path", "job_id")
    repository, run, project, job = (quote(claim_text(token.claims.get(name)) or "") for name in names)
    if token.issuer == GITHUB and repository and run:
        return f"https://github.com/{repository}/actions/runs/{run}"
    return f"{token.issuer.rstrip('/')}/{project}/-/jobs/{job}" if project and job else ""


def _untrusted(reason: str) -> IdentityTokenRefused:
    return IdentityTokenRefused("invalid-publisher", reason)
