"""Issuing, listing, finding, rotating, and revoking personal access tokens."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Select, and_, bindparam, not_, or_, select, update
from sqlalchemy.orm import contains_eager, joinedload

from registry.database import AdvisoryLock, contains, db, lock, transaction
from registry.domain import access, audit, namespaces
from registry.domain.access import Principal, Scope
from registry.domain.accounts.secrets import digest
from registry.domain.paging import Listing
from registry.errors import Code, Fault, InvalidRecord, NotFound, RecordNotFound, Unauthenticated
from registry.models import AccessToken, Group, InstanceSettings, Namespace, Project, Role, User


def issue_access_token(
    user: User,
    *,
    name: str,
    scopes: Iterable[str],
    key: bytes,
    by: audit.Author,
    now: datetime,
    expires_on: date | None = None,
    description: str = "",
    secret: str | None = None,
) -> tuple[AccessToken, str]:
    """Issue a token, and return it with its secret.

    Takes no lock: the database refuses a token of a user who was deleted.

    :param expires_on: the token expires at 00:00 UTC on this date; the default is the latest that the instance allows.
    :param secret: only for the first administrator's token; otherwise generated.
    :raises InvalidRecord: the name, scopes, description, or expiration date is invalid.
    """
    settings = InstanceSettings.current()
    scopes = list(dict.fromkeys(scopes))
    latest = latest_expiry(now)
    _refuse_invalid_access_token(name, scopes, description, expires_on, latest)
    token = AccessToken(
        user_id=user.id, user=user, name=name, description=description, scopes=scopes, created_at=now,
        expires_on=expires_on or latest,
    )  # fmt: skip
    secret = secret or settings.personal_access_token_prefix + secrets.token_urlsafe(32)
    token.digest = digest(secret, key)
    with transaction(changes_answers=False) as session:  # no client has used the token yet
        session.add(token)
        session.flush()
        token.family_id = token.id
        audit.record(by, "access_token_issued", f"{user.username}: {name}", token_id=token.id, scopes=scopes)
    return token, secret


@dataclass(frozen=True)
class AccessTokenFilter:
    """Filter and order of a list of access tokens; ``None`` does not filter."""

    user_id: int | None = None
    is_active: bool | None = None
    is_revoked: bool | None = None
    search: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None
    last_used_after: datetime | None = None
    last_used_before: datetime | None = None
    expires_after: date | None = None
    expires_before: date | None = None
    order_by: str = "id"
    descending: bool = False


def access_tokens(wanted: AccessTokenFilter, *, by: Principal, now: datetime) -> Listing[AccessToken]:
    """Return the caller's tokens; for administrators, all tokens.

    :raises Unauthenticated: a user requests the tokens of another user (GitLab, personal access tokens API).
    """
    if not by.is_admin and wanted.user_id not in (None, by.user_id):
        raise Unauthenticated
    listing = select(AccessToken)
    user_id = wanted.user_id if by.is_admin else by.user_id
    if user_id is not None:
        listing = listing.where(AccessToken.user_id == user_id)
    if wanted.is_active is not None:
        today = now.astimezone(UTC).date()
        unexpired = or_(AccessToken.expires_on.is_(None), AccessToken.expires_on > today)
        is_active = and_(AccessToken.revoked_at.is_(None), unexpired)
        listing = listing.where(is_active if wanted.is_active else not_(is_active))
    if wanted.is_revoked is not None:
        is_revoked = AccessToken.revoked_at.is_not(None)
        listing = listing.where(is_revoked if wanted.is_revoked else not_(is_revoked))
    if wanted.search:
        listing = listing.where(contains(AccessToken.name, wanted.search))
    for column, earliest, latest in (
        (AccessToken.created_at, wanted.created_after, wanted.created_before),
        (AccessToken.last_used_at, wanted.last_used_after, wanted.last_used_before),
        (AccessToken.expires_on, wanted.expires_after, wanted.expires_before),
    ):
        if earliest is not None:
            listing = listing.where(column >= earliest)
        if latest is not None:
            listing = listing.where(column <= latest)
    keys = (getattr(AccessToken, wanted.order_by), AccessToken.id)
    return listing.order_by(*(key.desc() for key in keys) if wanted.descending else keys)


def access_token(token_id: int, *, by: Principal) -> AccessToken:
    """Return one of the caller's tokens; for administrators, any token.

    :raises Unauthenticated: the token belongs to another user, or does not exist: users cannot distinguish the two.
    :raises NotFound: the token does not exist, for administrators.
    """
    token = db.session.get(AccessToken, token_id, options=[joinedload(AccessToken.user)])
    if by.is_admin and token is None:
        raise NotFound
    if token is None or not (by.is_admin or token.user_id == by.user_id):
        raise Unauthenticated
    return token


def own_access_token(user: User, token_id: int) -> AccessToken:
    """Return a token of a user.

    :raises RecordNotFound: the user has no token with this ID.
    """
    token = db.session.get(AccessToken, token_id, options=[joinedload(AccessToken.user)])
    if token is None or token.user_id != user.id:
        raise RecordNotFound
    return token


def latest_expiry(now: datetime) -> date | None:
    """Return the latest expiration date of a new access token; ``None`` if the instance requires none."""
    settings = InstanceSettings.current()
    if not settings.require_personal_access_token_expiry:
        return None
    return (now + timedelta(days=settings.max_personal_access_token_lifetime)).date()


def same_lifetime(token: AccessToken, now: datetime) -> date | None:
    """Return the expiration date for the same lifetime in days, starting now, as far as the instance allows."""
    if token.expires_on is None:
        return None
    today, latest = now.date(), latest_expiry(now) or date.max
    return today + min(token.expires_on - token.created_at.date(), latest - today)


# Made once: to make a statement takes as long as to run it, and most requests ask this.
_ACCESS_TOKEN = (
    select(AccessToken).options(joinedload(AccessToken.user)).where(AccessToken.digest == bindparam("digest"))
)


def find_access_token(secret: str, key: bytes) -> AccessToken | None:
    """Return the token with this secret, in any state, with its user; ``None`` if no such token was issued."""
    found = digest(secret, key)
    token = db.session.scalar(_ACCESS_TOKEN, {"digest": found})
    return token if token is not None and hmac.compare_digest(token.digest, found) else None


@dataclass(frozen=True)
class TokenInNamespace:
    """A namespace that a token is used in.

    :ivar token: in any state, with its user; ``None`` if no such token was issued.
    :ivar role: the highest role by membership of the token's user in the namespace or any ancestor.
    """

    namespace: Namespace
    token: AccessToken | None
    role: Role


def find_in_namespace(
    reference: str, kind: type[Namespace], secret: str, key: bytes, now: datetime
) -> TokenInNamespace:
    """Return a namespace, as ``namespaces.find``, and the token with this secret, in one statement.

    :raises NotFound: there is no namespace of this kind with this ID or path.
    """
    if (searched := namespaces.searched(reference)) is None:
        raise NotFound(kind.__name__)
    column, value = searched
    found = digest(secret, key)
    parameters = {"reference": value, "digest": found, "today": now.astimezone(UTC).date()}
    row = db.session.execute(_IN_NAMESPACE[kind, column], parameters).one_or_none()
    if row is None:
        raise NotFound(kind.__name__)
    namespace, token, role = row
    is_own = token is not None and hmac.compare_digest(token.digest, found)
    return TokenInNamespace(namespace, token if is_own else None, Role(role or Role.NO_ACCESS))


def _in_namespace(kind: type[Namespace], column: str) -> Select[Namespace, AccessToken, Role | None]:
    role = access.highest_role(kind.id, AccessToken.user_id).correlate(kind, AccessToken).scalar_subquery()
    return (
        select(kind, AccessToken, role)
        .outerjoin(AccessToken, AccessToken.digest == bindparam("digest"))
        .outerjoin(AccessToken.user)
        .options(contains_eager(AccessToken.user))
        .where(getattr(kind, column) == bindparam("reference"))
    )


_IN_NAMESPACE: dict[tuple[type[Namespace], str], Select[Namespace, AccessToken, Role | None]] = {
    (kind, column): _in_namespace(kind, column) for kind in (Group, Project) for column in ("id", "full_path_key")
}


def rotate_access_token(
    token: AccessToken, *, key: bytes, by: audit.Author, now: datetime, expires_on: date | None = None
) -> tuple[AccessToken, str]:
    """Issue a new token in place of this one, which is revoked immediately.

    Rotating a token that was already rotated or revoked revokes its whole family, as one of them may have been stolen.
    Shares ``AdvisoryLock.TREE``: the user cannot be deleted in the meantime.

    :param expires_on: the default is in one week, or the latest that the instance allows.
    :raises Unauthenticated: the token was revoked or has expired.
    """
    with transaction(lock=AdvisoryLock.TREE, shared=True):
        _lock_family(token)
        lock(token, "revoked_at", "expires_on")
        if token.is_active(now):
            token.revoked_at = now
            rotated, secret = issue_access_token(
                token.user, name=token.name, scopes=token.scopes, description=token.description, key=key, by=by,
                now=now, expires_on=expires_on or _week_ahead(now),
            )  # fmt: skip
            rotated.family_id = token.family_id
            return rotated, secret
        if token.revoked_at is not None:
            revoke_family(token, by=by, now=now)
    raise Unauthenticated


def revoke_family(token: AccessToken, *, by: audit.Author, now: datetime) -> None:
    """Revoke all tokens derived from the same first token by rotation; locks the family."""
    with transaction() as session:
        _lock_family(token)
        session.execute(
            update(AccessToken)
            .where(AccessToken.family_id == token.family_id, AccessToken.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        audit.record(by, "access_token_family_revoked", f"{token.user.username}: {token.name}", token_id=token.id)


def revoke_access_token(token: AccessToken, *, by: audit.Author, now: datetime) -> None:
    """Revoke a token from the next request on; locks its row. Revoking it again changes nothing."""
    with transaction():
        lock(token, "revoked_at")
        if token.revoked_at is None:
            token.revoked_at = now
            audit.record(by, "access_token_revoked", f"{token.user.username}: {token.name}", token_id=token.id)


def _lock_family(token: AccessToken) -> None:
    """Lock the family of a token against concurrent rotation and revocation.

    The lock is on the row of its first token, which exists as long as the family does.
    """
    first = select(AccessToken.id).where(AccessToken.id == token.family_id)
    db.session.execute(first.with_for_update())


def _week_ahead(now: datetime) -> date:
    return (now + timedelta(days=min(7, InstanceSettings.current().max_personal_access_token_lifetime))).date()


def _refuse_invalid_access_token(
    name: str, scopes: list[str], description: str, expires_on: date | None, latest: date | None
) -> None:
    errors: dict[str, list[Fault]] = {}
    if not name.strip():
        errors["name"] = [Fault(Code.BLANK)]
    elif len(name) > 255 or "\x00" in name:
        errors["name"] = [Fault(Code.TOO_LONG, maximum=255)]
    if len(description) > 255 or "\x00" in description:
        errors["description"] = [Fault(Code.TOO_LONG, maximum=255)]
    if not scopes:
        errors["scopes"] = [Fault(Code.BLANK)]
    elif set(scopes) - set(Scope):
        errors["scopes"] = [Fault(Code.UNKNOWN_SCOPE)]
    if expires_on is not None and latest is not None and expires_on > latest:
        errors["expires_at"] = [Fault(Code.EXPIRES_TOO_LATE, day=latest + timedelta(days=1))]
    if errors:
        raise InvalidRecord(errors)
