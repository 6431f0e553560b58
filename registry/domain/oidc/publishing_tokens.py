"""Publishing tokens: what CI jobs get for their identity token, if a project trusts them."""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload, selectinload

from registry.database import db, lock, transaction
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
    SHOWN_CLAIMS,
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
LONGEST_VALUE = 255
MOST_GRANTS = 100  # of a token: anyone can add publishers that match
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
        if (listed and token.issuer not in listed) or not publishers.is_trusted(token.issuer):
            raise _untrusted("No project trusts the issuer of the identity token.")
        db.session.rollback()  # do not keep a transaction open while the issuer is asked for its keys
        verified = identity_tokens.verified(token, issuers=issuers, listed=listed, audience=audience, now=now)
        trusting = publishers.publishers_trusting(token.issuer)
        matching = [each for each in trusting if not publishers.mismatches(each, verified.claims)]
        if not matching:
            raise _untrusted(_difference(trusting, verified.claims))
        return _issue(verified, _bounded(matching), key=key, address=address, now=now)


def find(secret: str, key: bytes) -> PublishingToken | None:
    """Return the token with this secret and its publishers, even if it has expired or was revoked."""
    if not secret.startswith(PREFIX):
        return None
    found = digest(secret, key)
    statement = select(PublishingToken).options(joinedload(PublishingToken.publishers))
    token = db.session.scalars(statement.where(PublishingToken.digest == found)).unique().one_or_none()
    return token if token is not None and hmac.compare_digest(token.digest, found) else None


def active_tokens(project: Project, now: datetime) -> Listing[PublishingToken]:
    """Return the tokens with which jobs can publish to a project, and their publishers; newest first."""
    granted = (
        select(PublishingGrant.token_id)
        .join(TrustedPublisher, TrustedPublisher.id == PublishingGrant.publisher_id)
        .where(TrustedPublisher.project_id == project.id)
    )
    return (
        select(PublishingToken)
        .options(selectinload(PublishingToken.publishers))
        .where(PublishingToken.id.in_(granted), PublishingToken.revoked_at.is_(None), PublishingToken.expires_at > now)
        .order_by(PublishingToken.id.desc())
    )


def latest_tokens(project: Project, now: datetime) -> list[PublishingToken]:
    """Return the newest of these tokens, as many as a page shows."""
    return list(db.session.scalars(active_tokens(project, now).limit(MOST_SHOWN)))


def token(project: Project, token_id: int) -> PublishingToken:
    """Return a token with which a job can publish to a project, or could until it expired.

    :raises RecordNotFound: there is none with this ID.
    """
    statement = select(PublishingToken).options(joinedload(PublishingToken.publishers))
    found = db.session.scalars(statement.where(PublishingToken.id == token_id)).unique().one_or_none()
    if found is None or not found.publishers_in(project.id):
        raise RecordNotFound
    return found


def revoke(token: PublishingToken, project: Project, *, by: audit.Author, now: datetime) -> None:
    """End the use of a token in a project from the next request on; locks its row and then its grants there.

    Other projects that trust the job are not affected: any of them could be one of an attacker. Without a project left,
    the token is revoked.
    """
    of_token = PublishingGrant.token_id == token.id
    own = select(TrustedPublisher.id).where(TrustedPublisher.project_id == project.id)
    ended = select(PublishingGrant.publisher_id).where(of_token, PublishingGrant.publisher_id.in_(own))
    with transaction(changes_answers=False) as session:  # it reads nothing that is cached
        lock(token, "revoked_at")
        if token.revoked_at is not None:
            return
        ids = session.scalars(ended.order_by(PublishingGrant.publisher_id).with_for_update()).all()
        if not ids:
            return
        session.execute(delete(PublishingGrant).where(of_token, PublishingGrant.publisher_id.in_(ids)))
        if session.scalar(select(PublishingGrant.token_id).where(of_token).limit(1)) is None:
            token.revoked_at = now
        audit.record(by, "publishing_token_revoked", token.issuer, project, token_id=token.id)


def burn(secret: str, key: bytes, now: datetime) -> None:
    """Revoke the token with this secret in all projects, as a job does after it has published; locks its row."""
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
    :raises RecordNotFound: all publishers were deleted in the meantime.
    """
    kept = select(TrustedPublisher.id).where(TrustedPublisher.id.in_([each.id for each in matching]))
    kept = kept.order_by(TrustedPublisher.id).with_for_update(read=True, key_share=True)
    # Those that another transaction is removing are left to it, so that none waits for another.
    used, past = (
        select(column).where(expiry < limit).order_by(column).with_for_update(skip_locked=True)
        for column, expiry, limit in (
            (UsedIdentityToken.key, UsedIdentityToken.expires_at, now),
            (PublishingToken.id, PublishingToken.expires_at, now - KEPT_FOR),
        )
    )
    secret = PREFIX + secrets.token_urlsafe(32)
    issued = PublishingToken(
        digest=digest(secret, key), issuer=token.issuer, subject=_shown(token.subject),
        claims=_shown_claims(token, matching), run_url=_run_url(token), created_at=now, expires_at=now + LIFETIME,
    )  # fmt: skip
    try:
        with transaction(changes_answers=False) as session:  # no client has used the token yet
            session.execute(delete(UsedIdentityToken).where(UsedIdentityToken.key.in_(used)))
            session.execute(delete(PublishingToken).where(PublishingToken.id.in_(past)))
            session.add(UsedIdentityToken(key=token.key, expires_at=token.expires_at + LEEWAY))
            session.add(issued)
            session.flush()
            present = set(session.scalars(kept))
            matching = [each for each in matching if each.id in present]  # others were deleted in the meantime
            if not matching:
                raise RecordNotFound
            session.add_all(PublishingGrant(token_id=issued.id, publisher_id=each.id) for each in matching)
            session.flush()
            _record(issued, matching, address)
    except IntegrityError as error:
        raise IdentityTokenRefused("invalid-token", "The identity token was exchanged before (jti).") from error
    return issued, secret


def _bounded(matching: list[TrustedPublisher]) -> list[TrustedPublisher]:
    """Return at most ``MOST_GRANTS`` publishers: the oldest of each project, then the second of each, and so on.

    A project with many publishers does not crowd out others.
    """
    counts: Counter[int] = Counter()
    ranks: dict[int, int] = {}
    for each in matching:
        ranks[each.id] = counts[each.project_id]
        counts[each.project_id] += 1
    bounded = sorted(matching, key=lambda each: (ranks[each.id], each.id))[:MOST_GRANTS]
    return sorted(bounded, key=lambda each: each.id)


def _record(issued: PublishingToken, matching: list[TrustedPublisher], address: str) -> None:
    """Record who got a token for administrators, and for each project only which of its publishers accepted the job."""
    job = Principal(PrincipalKind.TRUSTED_PUBLISHER, publishing_token=issued, address=address)
    created: dict[str, object]
    action, created = "publishing_token_created", {"token_id": issued.id, "issuer": issued.issuer}
    audit.record(job, action, issued.subject, None, run=issued.run_url, **created)
    by = Principal(PrincipalKind.TRUSTED_PUBLISHER)
    ids = {each.project_id for each in matching}
    for project in db.session.scalars(select(Project).where(Project.id.in_(ids)).order_by(Project.id)):
        accepted = [each.id for each in matching if each.project_id == project.id]
        audit.record(by, action, issued.issuer, project, publisher_id=accepted, **created)


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
    """Return the claims that identify the job: those that publishers ask for, and those of known CI systems.

    ``PublishingToken.run_in`` leaves out those that only other projects ask for.
    """
    names = dict.fromkeys([*(name for each in matching for name in each.claims), *SHOWN_CLAIMS])
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
