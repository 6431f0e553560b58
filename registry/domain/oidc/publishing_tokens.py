"""Publishing tokens: what CI jobs get for their identity token, if a project trusts them."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from registry.database import db, lock, refers_to_nothing, transaction
from registry.domain import audit
from registry.domain.access import Principal, PrincipalKind
from registry.domain.accounts import sign_in
from registry.domain.accounts.secrets import digest
from registry.domain.issuers import GITHUB
from registry.domain.oidc import identity_tokens, publishers
from registry.domain.oidc.claims import claim_text
from registry.domain.oidc.identity_tokens import LEEWAY, IdentityToken
from registry.domain.oidc.keys import Issuers
from registry.domain.paging import Listing
from registry.errors import IdentityTokenRefused, RecordNotFound
from registry.models import (
    InstanceSettings,
    Project,
    PublishingGrant,
    PublishingToken,
    TrustedPublisher,
    UsedIdentityToken,
)

PREFIX = "glcbt-"
LIFETIME = timedelta(minutes=15)
KEPT_FOR = timedelta(days=7)  # so that a job that is late learns that its token has expired
# Claims of GitHub and GitLab that are shown to readers of the packages; none is about a person.
SHOWN = (
    "repository", "workflow_ref", "project_path", "ci_config_ref_uri", "ref", "sha", "environment", "run_id",
    "run_attempt", "pipeline_id", "job_id",
)  # fmt: skip
LONGEST_VALUE = 255
MOST_SHOWN = 20  # tokens on a page; they last for minutes


def audience(external_url: str | None, key: bytes) -> str:
    """Return the audience that identity tokens must have, which no other registry accepts.

    It is fixed: with one from the request, another registry could use the tokens that it receives here.

    :param external_url: of the registry, whose host users recognize. Without it, the audience is derived from the key.
    """
    if external_url:
        return urlsplit(external_url).netloc.lower()
    return f"pypi-registry-{hmac.digest(key, b'audience of identity tokens', 'sha256').hex()[:12]}"


def exchange(
    sent: str, *, audience: str, issuers: Issuers, key: bytes, address: str, now: datetime
) -> tuple[PublishingToken, str]:
    """Return a new token, and its secret, for the identity token of a job that projects trust.

    :param audience: that the identity token must be meant for.
    :param address: of the caller.
    :raises IdentityTokenRefused: it is not valid, was exchanged before, or no project trusts the job.
    :raises TooManyRequests: too many tokens from this address were refused.
    :raises Unavailable: too many issuers are being asked for their keys.
    """
    with sign_in.counting_exchanges(address, now):
        token = identity_tokens.read(sent)
        listed = InstanceSettings.current().oidc_trusted_issuers
        trusting = publishers.publishers_trusting(token.issuer)
        if not trusting or (listed and token.issuer not in listed):
            raise _untrusted("No project trusts the issuer of the identity token.")
        verified = identity_tokens.verified(token, issuers=issuers, listed=listed, audience=audience, now=now)
        matching = [each for each in trusting if not publishers.mismatches(each, verified.claims)]
        if not matching:
            raise _untrusted(_difference(trusting, verified.claims))
        return _issue(verified, matching, key=key, address=address, now=now)


def find(secret: str, key: bytes) -> PublishingToken | None:
    """Return the token with this secret and its publishers, even if it has expired or was revoked."""
    if not secret.startswith(PREFIX):
        return None
    found = digest(secret, key)
    statement = select(PublishingToken).options(joinedload(PublishingToken.publishers))
    token = db.session.scalars(statement.where(PublishingToken.digest == found)).unique().one_or_none()
    return token if token is not None and hmac.compare_digest(token.digest, found) else None


def active_tokens(project: Project, now: datetime) -> Listing[PublishingToken]:
    """Return the tokens with which jobs can publish to a project, newest first."""
    granted = (
        select(PublishingGrant.token_id)
        .join(TrustedPublisher, TrustedPublisher.id == PublishingGrant.publisher_id)
        .where(TrustedPublisher.project_id == project.id)
    )
    return (
        select(PublishingToken)
        .where(PublishingToken.id.in_(granted), PublishingToken.revoked_at.is_(None), PublishingToken.expires_at > now)
        .order_by(PublishingToken.id.desc())
    )


def latest_tokens(project: Project, now: datetime) -> list[PublishingToken]:
    """Return the newest of these tokens, as many as a page shows."""
    return list(db.session.scalars(active_tokens(project, now).limit(MOST_SHOWN)))


def token(project: Project, token_id: int) -> PublishingToken:
    """Return a token with which a job could publish to a project.

    :raises RecordNotFound: there is none with this ID.
    """
    statement = select(PublishingToken).options(joinedload(PublishingToken.publishers))
    found = db.session.scalars(statement.where(PublishingToken.id == token_id)).unique().one_or_none()
    if found is None or not found.publishers_in(project.id):
        raise RecordNotFound
    return found


def revoke(token: PublishingToken, project: Project, *, by: audit.Author, now: datetime) -> None:
    """Revoke a token from the next request on; locks its row. Revoking it again changes nothing."""
    with transaction(changes_answers=False):  # it reads nothing that is cached
        lock(token, "revoked_at")
        if token.revoked_at is None:
            token.revoked_at = now
            audit.record(by, "publishing_token_revoked", token.subject, project, token_id=token.id)


def burn(secret: str, key: bytes, now: datetime) -> None:
    """Revoke the token with this secret, which a job does after it has published; locks its row."""
    token = find(secret, key)
    if token is None or not token.is_active(now):
        return
    with transaction(changes_answers=False):
        lock(token, "revoked_at")
        token.revoked_at = token.revoked_at or now


def _issue(
    token: IdentityToken, matching: list[TrustedPublisher], *, key: bytes, address: str, now: datetime
) -> tuple[PublishingToken, str]:
    """Issue a token once for an identity token.

    Takes no lock: the primary key of used tokens lets one of several requests succeed.

    :raises IdentityTokenRefused: the identity token was exchanged before.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    issued = PublishingToken(
        digest=digest(secret, key), issuer=token.issuer, subject=_shown(token.subject),
        claims=_shown_claims(token, matching), run_url=_run_url(token), created_at=now, expires_at=now + LIFETIME,
    )  # fmt: skip
    try:
        with transaction(changes_answers=False) as session:  # no client has used the token yet
            session.execute(delete(UsedIdentityToken).where(UsedIdentityToken.expires_at < now))
            session.execute(delete(PublishingToken).where(PublishingToken.expires_at < now - KEPT_FOR))
            session.add(UsedIdentityToken(key=token.key, expires_at=token.expires_at + LEEWAY))
            session.add(issued)
            session.flush()
            session.add_all(PublishingGrant(token_id=issued.id, publisher_id=each.id) for each in matching)
            _record(issued, matching, address)
    except IntegrityError as error:
        if refers_to_nothing(error):
            raise
        raise IdentityTokenRefused("invalid-token", "The identity token was exchanged before (jti).") from error
    return issued, secret


def _record(issued: PublishingToken, matching: list[TrustedPublisher], address: str) -> None:
    by = Principal(PrincipalKind.TRUSTED_PUBLISHER, publishing_token=issued, address=address)
    for project_id in dict.fromkeys(each.project_id for each in matching):
        audit.record(
            by, "publishing_token_created", issued.subject, db.session.get_one(Project, project_id),
            token_id=issued.id, issuer=issued.issuer, claims=issued.claims, run=issued.run_url,
        )  # fmt: skip


def _difference(trusting: list[TrustedPublisher], claims: Mapping[str, Any]) -> str:
    """Return which claims of a token the publisher that is closest to it does not accept.

    It shows values of the token only, and nothing of publishers that the token has nothing in common with.
    """
    close = [different for each in trusting if len(different := publishers.mismatches(each, claims)) < len(each.claims)]
    if not close:
        return "No trusted publisher matches the claims of the identity token."
    found = "; ".join(f"{name} is {_quoted(claims.get(name))}" for name in min(close, key=len))
    return f"The trusted publisher that is closest does not accept these claims of the identity token: {found}."


def _quoted(value: object) -> str:
    if value is None:
        return "missing"
    text = claim_text(value)
    return "not a text" if text is None else f"'{_shown(text)}'"


def _shown_claims(token: IdentityToken, matching: list[TrustedPublisher]) -> dict[str, str]:
    """Return the claims that identify the job: those that publishers ask for, and those of known CI systems."""
    names = dict.fromkeys([*(name for each in matching for name in each.claims), *SHOWN])
    texts = {name: claim_text(token.claims.get(name)) for name in names if name != "sub"}
    return {name: _shown(text) for name, text in texts.items() if text}


def _shown(text: str) -> str:
    """Return a text of a token for logs and pages: printable characters only, shortened."""
    return "".join(each if each.isprintable() else "?" for each in text)[:LONGEST_VALUE]


def _run_url(token: IdentityToken) -> str:
    """Return the address of the run, for GitHub and GitLab; empty for others."""
    names = ("repository", "run_id", "project_path", "job_id")
    repository, run, project, job = (quote(claim_text(token.claims.get(name)) or "") for name in names)
    if token.issuer == GITHUB and repository and run:
        return f"https://github.com/{repository}/actions/runs/{run}"
    return f"{token.issuer.rstrip('/')}/{project}/-/jobs/{job}" if project and job else ""


def _untrusted(reason: str) -> IdentityTokenRefused:
    return IdentityTokenRefused("invalid-publisher", reason)
