"""Sign-in with a password, and rate limiting of failed attempts.

Failures are counted in the database, which all processes share: by the login, whether or not such a user exists,
and by the IP address. An attempt is counted before the password is verified, so that concurrent attempts cannot
exceed the limit.
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
FREE_FAILURES_BY_ADDRESS = 20  # many users can share an address
FIRST_WAIT_SECONDS = 15
LONGEST_WAIT_SECONDS = 600
FORGOTTEN_AFTER = timedelta(hours=1)


def sign_in(login: str, password: str, *, address: str, now: datetime) -> User | None:
    """Return the active user with this login (user name or e-mail address) and password; ``None`` if they are wrong.

    :raises TooManyRequests: too many attempts failed for this login or address; the wait grows with each.
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
    """Count an attempt as a failure in advance; takes ``AdvisoryLock.SIGN_IN`` to count concurrent attempts correctly.

    :raises TooManyRequests: the wait is not over.
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
    """Require that the wait after the latest failure is over.

    :raises TooManyRequests: it is not over.
    """
    excess = failures.count - free
    if excess < 0:
        return
    wait = min(FIRST_WAIT_SECONDS * 2 ** min(excess, 10), LONGEST_WAIT_SECONDS)
    remaining = (failures.last_at + timedelta(seconds=wait) - now).total_seconds()
    if remaining > 0:
        raise TooManyRequests(int(remaining) + 1)


def _note_success(user: User, keys: list[str], address: str, now: datetime) -> None:
    """Reset the failures of the login, and subtract the attempt from those of the address.

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
    """The user who signed in, as the author of the audit event."""

    def __init__(self, user: User, address: str) -> None:
        self.label, self.user_id, self.address = user.username, user.id, address


def _key(kind: str, value: str) -> str:
    return sha256(f"{kind}:{value}".encode()).hexdigest()
