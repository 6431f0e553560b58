"""Signing in with a password: who it is, how often somebody may guess, and when it happened.

Failures are counted in the database, so that all processes agree: for the login name that was tried, whether or not
there is such a user, and for the address they come from. An attempt is counted before the password is looked at:
many at once gain nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete

from registry.database import AdvisoryLock, transaction
from registry.domain import audit
from registry.domain.accounts import users
from registry.errors import TooManyRequests
from registry.models import SignInFailures, User

FREE_FAILURES_BY_LOGIN = 5
FREE_FAILURES_BY_ADDRESS = 20  # many people may share one
FIRST_WAIT_SECONDS = 15
LONGEST_WAIT_SECONDS = 600
FORGOTTEN_AFTER = timedelta(hours=1)


def sign_in(login: str, password: str, *, address: str, now: datetime) -> User | None:
    """The active user with this name or e-mail address and password, or ``None``.

    :raises TooManyRequests: too many attempts failed, for this login or from this address; the wait grows with each.
    """
    counted = {
        _key("login", login.strip().lower()): FREE_FAILURES_BY_LOGIN,
        _key("address", address): FREE_FAILURES_BY_ADDRESS,
    }
    _count_attempt(counted, now)
    user = users.verify_password(login, password)
    if user is not None:
        _note_success(user, list(counted), address, now)
    return user


def _count_attempt(counted: dict[str, int], now: datetime) -> None:
    """Count a failure before it has happened; takes ``AdvisoryLock.SIGN_IN``: each of many at once counts.

    :raises TooManyRequests: a wait is not over.
    """
    with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False) as session:
        session.execute(delete(SignInFailures).where(SignInFailures.last_at < now - FORGOTTEN_AFTER))
        for key, free in counted.items():
            failures = session.get(SignInFailures, key, populate_existing=True)
            if failures is None:
                session.add(SignInFailures(key=key, count=1, last_at=now))
                continue
            refuse_too_early(failures, free, now)
            failures.count += 1
            failures.last_at = now


def refuse_too_early(failures: SignInFailures, free: int, now: datetime) -> None:
    """:raises TooManyRequests: the wait after the latest failure is not over."""
    excess = failures.count - free
    if excess < 0:
        return
    wait = min(FIRST_WAIT_SECONDS * 2 ** min(excess, 10), LONGEST_WAIT_SECONDS)
    remaining = (failures.last_at + timedelta(seconds=wait) - now).total_seconds()
    if remaining > 0:
        raise TooManyRequests(int(remaining) + 1)


def _note_success(user: User, keys: list[str], address: str, now: datetime) -> None:
    """Take back what was counted: all of the login's failures, and the one attempt of the address.

    Takes ``AdvisoryLock.SIGN_IN``.
    """
    login_key, address_key = keys
    with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False) as session:
        session.execute(delete(SignInFailures).where(SignInFailures.key == login_key))
        failures = session.get(SignInFailures, address_key, populate_existing=True)
        if failures is not None:
            failures.count -= 1
        user.last_sign_in_at, user.current_sign_in_at = user.current_sign_in_at, now
        audit.record(_SignedIn(user, address), "user_signed_in", user.username)


class _SignedIn:
    """Who signed in, as the author of the event."""

    def __init__(self, user: User, address: str) -> None:
        self.label, self.user_id, self.address = user.username, user.id, address


def _key(kind: str, value: str) -> str:
    return sha256(f"{kind}:{value}".encode()).hexdigest()
