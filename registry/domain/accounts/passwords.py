"""Passwords of users: what is accepted as one, how they are kept, and how they are replaced."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from registry.database import transaction
from registry.domain import audit
from registry.errors import Code, Fault, InvalidRecord
from registry.models import User

SHORTEST, LONGEST = 8, 128  # characters
RECOVERY = timedelta(hours=1)
HASHER = PasswordHasher()  # takes a tenth of a second per password


def faults(password: str) -> list[Fault]:
    """Return why a password cannot be used: it is too short or too long."""
    if len(password) < SHORTEST:
        return [Fault(Code.TOO_SHORT, minimum=SHORTEST)]
    if len(password) > LONGEST:
        return [Fault(Code.TOO_LONG, maximum=LONGEST)]
    return []


def refuse_bad(password: str) -> None:
    """Refuse a password of invalid length.

    :raises InvalidRecord: the password is too short or too long.
    """
    if found := faults(password):
        raise InvalidRecord({"password": found})


def generated() -> str:
    return secrets.token_urlsafe(18)


def hashed(password: str) -> str:
    """Return what is stored of a password; slow, and not to be called while other writers wait."""
    return HASHER.hash(password)


def is_password_of(user: User | None, password: str) -> bool:
    """Return whether the password is that of the user; it takes the same time without a user or a password."""
    stored = user.password_hash if user is not None and user.password_hash else _decoy_hash()
    try:
        HASHER.verify(stored, password[:LONGEST])
    except (VerificationError, InvalidHashError):
        return False
    return user is not None and bool(user.password_hash) and len(password) <= LONGEST


def set_password(user: User, password: str, *, by: audit.Author, must_change: bool = False) -> None:
    """Set a password. Takes no lock: of two concurrent changes, the later wins.

    :raises InvalidRecord: the password is too short or too long.
    """
    refuse_bad(password)
    stored = hashed(password)  # before the transaction, for which other writers wait
    with transaction():
        replace(user, stored, by=by, must_change=must_change)


def replace(user: User, stored: str | None, *, by: audit.Author, must_change: bool = False) -> None:
    """Replace the password of a user in the transaction of the caller.

    :param stored: the new password as ``hashed`` returns it.
    """
    user.password_hash = stored
    user.must_change_password = must_change
    audit.record(by, "user_password_changed", user.username)


def accept_again(user: User, *, by: audit.Author, now: datetime) -> None:
    """Accept the password of an administrator for an hour although sign-in with passwords is turned off.

    Takes no lock: of two calls, the later one counts.
    """
    with transaction():
        user.password_until = now + RECOVERY
        audit.record(by, "user_password_accepted", user.username, expires_at=user.password_until.isoformat())


def is_accepted_again(user: User | None, now: datetime) -> bool:
    """Return whether the password of a user is accepted although sign-in with passwords is turned off."""
    return user is not None and user.is_admin and user.password_until is not None and now < user.password_until


@cache
def _decoy_hash() -> str:
    return hashed(secrets.token_hex(16))
