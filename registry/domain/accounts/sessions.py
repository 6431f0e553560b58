"""Sessions of browsers. Each is recorded, so that it ends at sign-out for every copy of its cookie.

A sign-in that still needs the second factor is recorded alike, for a few minutes, and is no session.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, or_, select

from registry.database import db, delete_unlocked, transaction
from registry.domain import audit
from registry.domain.accounts.secrets import digest, seal, unseal
from registry.models import BegunSignIn, InstanceSettings, SignInMethod, User, UserSession

LIFETIME = timedelta(days=7)  # from the sign-in on, however often the session is used
BEGUN_LIFETIME = timedelta(minutes=10)  # from the password to the second factor
LIMIT = 100  # sessions of one user; a further one ends the oldest
ID_TOKEN = "ID token of the session"  # purpose of the encryption


def start(
    user: User, method: SignInMethod, *, secret: str = "", id_token: str | None = None, key: bytes, now: datetime
) -> str:
    """Record a new session of a user, and return the secret that its cookie contains.

    Takes no lock: sessions do not depend on each other.

    :param secret: by default a random one.
    :param id_token: of the identity provider that has authenticated the user. It is stored encrypted with the secret,
        which only the browser has.
    """
    secret = secret or secrets.token_urlsafe(32)
    new = UserSession(
        digest=digest(secret, key), user_id=user.id, expires_at=now + LIFETIME, method=method,
        id_token=None if id_token is None else seal(id_token, secret.encode(), ID_TOKEN),
    )  # fmt: skip
    others = and_(UserSession.user_id == user.id, UserSession.digest != new.digest)
    with transaction(changes_answers=False) as session:
        _add(new, now)
        surplus = select(UserSession.expires_at).where(others).order_by(UserSession.expires_at.desc()).offset(LIMIT - 1)
        newest_surplus = session.scalar(surplus.limit(1))
        if newest_surplus is not None:
            session.execute(delete(UserSession).where(others, UserSession.expires_at <= newest_surplus))
    return secret


def start_by_password(user: User, *, key: bytes, now: datetime) -> str | None:
    """Record a new session of a user who has entered the right password; ``None`` if a second factor is needed.

    A transaction that adds a second factor locks the row of the user, to which the new one refers: either the factor is
    seen here, or adding it ends this session, too.
    """
    if user.has_second_factor:
        return None
    with transaction(changes_answers=False) as session:
        secret = start(user, SignInMethod.PASSWORD, key=key, now=now)
        session.flush()
        if session.scalar(select(User.second_factor_since).where(User.id == user.id)) is None:
            return secret
        discard(secret, key=key)
    return None


def secret_by_proxy(user: User, network: str, *, key: bytes, now: datetime) -> str:
    """Return the secret of the only session of a user that a proxy begins in a network on a day.

    It is always the same, so that requests without a cookie share one session. The cookie alone is of no use. Another
    day has another secret: the row of a session that has expired may not have been removed yet.
    """
    return digest(f"session by proxy of user {user.id} from {network} on {now:%Y-%m-%d}", key)


@dataclass(frozen=True)
class FoundSession:
    """A session that has not ended.

    :ivar lacks_second_factor: whether the instance requires a second factor that the user does not have.
    """

    user: User
    method: SignInMethod
    lacks_second_factor: bool


def find(secret: str, *, key: bytes, now: datetime) -> FoundSession | None:
    """Return the session with this secret; ``None`` if it has ended."""
    row = db.session.execute(
        select(User, UserSession.method, _lacks_second_factor())
        .join(UserSession, UserSession.user_id == User.id)
        .join(InstanceSettings, InstanceSettings.id == 1)
        .where(UserSession.digest == digest(secret, key), UserSession.expires_at > now)
    ).one_or_none()
    return None if row is None else FoundSession(row[0], row[1], bool(row[2]))


def _lacks_second_factor() -> ColumnElement[bool]:
    """Match sessions that began with a password, and nothing else where the instance requires more."""
    required = or_(
        InstanceSettings.require_two_factor_authentication,
        and_(User.is_admin, InstanceSettings.require_admin_two_factor_authentication),
    )
    return and_(UserSession.method == SignInMethod.PASSWORD, User.second_factor_since.is_(None), required)


def id_token(secret: str, *, key: bytes) -> str | None:
    """Return the ID token of the identity provider that has authenticated the user of a session, if there is one."""
    sealed = db.session.scalar(select(UserSession.id_token).where(UserSession.digest == digest(secret, key)))
    return None if sealed is None else unseal(sealed, secret.encode(), ID_TOKEN)


def end(secret: str, user: User, *, key: bytes, by: audit.Author) -> str | None:
    """End the session of a user who signs out, and return the ID token of the sign-in if there is one.

    Takes no lock: ending it twice does no harm.
    """
    with transaction() as session:
        found = id_token(secret, key=key)
        session.execute(delete(UserSession).where(UserSession.digest == digest(secret, key)))
        audit.record(by, "user_signed_out", user.username)
    return found


def discard(secret: str, *, key: bytes) -> None:
    """End a session that is replaced. Takes no lock: ending it twice does no harm."""
    with transaction() as session:
        session.execute(delete(UserSession).where(UserSession.digest == digest(secret, key)))


def end_all(user: User) -> None:
    """End all sessions of a user, and sign-ins that were begun. Requires a transaction."""
    db.session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    db.session.execute(delete(BegunSignIn).where(BegunSignIn.user_id == user.id))


def begin(user: User, *, key: bytes, now: datetime) -> str:
    """Record that a user has entered the right password, and return the secret that the cookie contains.

    Takes no lock: sign-ins do not depend on each other.
    """
    secret = secrets.token_urlsafe(32)
    with transaction(changes_answers=False):
        _add(BegunSignIn(digest=digest(secret, key), user_id=user.id, expires_at=now + BEGUN_LIFETIME), now)
    return secret


def begun_by(secret: str, *, key: bytes, now: datetime) -> User | None:
    """Return the user who has begun the sign-in with this secret; ``None`` if it has expired or ended."""
    return db.session.scalar(
        select(User)
        .join(BegunSignIn, BegunSignIn.user_id == User.id)
        .where(BegunSignIn.digest == digest(secret, key), BegunSignIn.expires_at > now)
    )


def end_begun(secret: str, *, key: bytes) -> bool:
    """End a sign-in that was begun, and return whether it had not ended yet.

    Takes no lock: of several requests, one deletes the row.
    """
    with transaction(changes_answers=False) as session:
        ended: Any = session.execute(delete(BegunSignIn).where(BegunSignIn.digest == digest(secret, key)))
    return bool(ended.rowcount)


def _add(new: UserSession | BegunSignIn, now: datetime) -> None:
    """Add a session, or a sign-in that was begun, and remove those that have expired. Requires a transaction."""
    kind = type(new)
    db.session.add(new)
    # First, as it locks the row of the user, which others lock before they end the sessions of the user.
    db.session.flush()
    delete_unlocked(kind, kind.expires_at <= now)
