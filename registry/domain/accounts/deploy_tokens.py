"""Issuing, listing, finding, and revoking deploy tokens of projects and groups."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, date, datetime

from sqlalchemy import or_, select

from registry.database import db, lock, transaction
from registry.domain import audit
from registry.domain.access import DeployScope
from registry.domain.accounts.secrets import digest
from registry.domain.paging import Listing
from registry.errors import Code, Fault, InvalidRecord, PlainRefusal, RecordNotFound
from registry.models import DeployToken, Namespace

DEPLOY_TOKEN_PREFIX = "gldt-"
_DEPLOY_USERNAME = re.compile(r"[A-Za-z0-9_+.-]{1,255}", re.ASCII)


def issue_deploy_token(
    namespace: Namespace,
    *,
    name: str,
    scopes: Iterable[str],
    key: bytes,
    by: audit.Author,
    username: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[DeployToken, str]:
    """Issue a token for a project, or for a group and everything in it, and return it with its secret.

    Takes no lock: the database refuses a token of a namespace that was deleted.

    :raises PlainRefusal: no scope is given.
    :raises InvalidRecord: the name, scopes, or user name is invalid.
    """
    scopes = list(dict.fromkeys(scopes))
    errors: dict[str, list[Fault]] = {}
    if not name.strip():
        errors["name"] = [Fault(Code.BLANK)]
    elif len(name) > 255 or "\x00" in name:
        errors["name"] = [Fault(Code.TOO_LONG, maximum=255)]
    if set(scopes) - set(DeployScope):
        errors["scopes"] = [Fault(Code.UNKNOWN_SCOPE)]
    if username and not _DEPLOY_USERNAME.fullmatch(username):
        errors["username"] = [Fault(Code.INVALID_TOKEN_USERNAME)]
    if errors:
        raise InvalidRecord(errors)
    if not scopes:
        raise PlainRefusal(Code.NO_SCOPE)
    secret = DEPLOY_TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = DeployToken(
        namespace_id=namespace.id, name=name, username=username or "", scopes=scopes, expires_at=expires_at,
        digest=digest(secret, key), creator_id=by.user_id,
    )  # fmt: skip
    with transaction(changes_answers=False) as session:  # no client has used the token yet
        session.add(token)
        session.flush()
        token.username = token.username or f"gitlab+deploy-token-{token.id}"
        audit.record(by, "deploy_token_created", name, namespace, token_id=token.id, scopes=scopes)
    return token, secret


def deploy_tokens(namespace: Namespace | None, *, is_active: bool, now: datetime) -> Listing[DeployToken]:
    """Return the deploy tokens of a namespace, or of the whole instance.

    :param is_active: only those neither revoked nor expired.
    """
    listing = select(DeployToken).order_by(DeployToken.id)
    if namespace is not None:
        listing = listing.where(DeployToken.namespace_id == namespace.id)
    if is_active:
        unexpired = or_(DeployToken.expires_at.is_(None), DeployToken.expires_at > now)
        listing = listing.where(DeployToken.revoked_at.is_(None), unexpired)
    return listing


def deploy_token(namespace: Namespace, token_id: int) -> DeployToken:
    """Return a deploy token of a namespace.

    :raises RecordNotFound: the namespace has no token with this ID.
    """
    token = db.session.get(DeployToken, token_id)
    if token is None or token.namespace_id != namespace.id:
        raise RecordNotFound
    return token


def find_deploy_token(secret: str, key: bytes, now: datetime) -> DeployToken | None:
    """Return the active token with this secret; ``None`` if it is unknown, revoked, or expired."""
    token = find(secret, key)
    return token if token is not None and token.is_active(now) else None


def find(secret: str, key: bytes) -> DeployToken | None:
    """Return the token with this secret, even if it is revoked or has expired."""
    if not secret.startswith(DEPLOY_TOKEN_PREFIX):
        return None
    found = digest(secret, key)
    token = db.session.scalar(select(DeployToken).where(DeployToken.digest == found))
    return token if token is not None and hmac.compare_digest(token.digest, found) else None


def revoke_deploy_token(token: DeployToken, namespace: Namespace, *, by: audit.Author, now: datetime) -> None:
    """Revoke a deploy token from the next request on; locks its row, which is kept.

    Revoking it again keeps the first time.
    """
    with transaction():
        lock(token, "revoked_at")
        token.revoked_at = token.revoked_at or now
        audit.record(by, "deploy_token_revoked", token.name, namespace, token_id=token.id)


def destroy_deploy_token(token: DeployToken, namespace: Namespace, *, by: audit.Author) -> None:
    """Delete a deploy token. Takes no lock: a token that was deleted in the meantime is reported as missing."""
    with transaction() as session:
        audit.record(by, "deploy_token_destroyed", token.name, namespace, token_id=token.id)
        session.delete(token)


def starts_at(day: date) -> datetime:
    """Return 00:00 UTC of a day, when tokens with this expiration date expire."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def names(ids: Iterable[int]) -> dict[int, str]:
    """Return the names of deploy tokens by ID, without deleted ones; no statement if there are no IDs."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = db.session.execute(select(DeployToken.id, DeployToken.name).where(DeployToken.id.in_(wanted)))
    return {row.id: row.name for row in rows}
