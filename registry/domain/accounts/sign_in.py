"""Passwords and codes that users enter to sign in, or to change their account, and how often they can guess.

Failures are counted in the database, which all processes share: by the login together with the network address,
whether or not such a user exists, and by the network address alone. User name and e-mail address of a user are one
login. Failures from one address never keep out a user at another, and failures for other logins never keep out a user
who has signed in from the address before. An attempt is counted before the password is verified, so that concurrent
attempts cannot exceed the limit.

An attempt that succeeds is taken back together with its time, so that it prolongs no wait after failures.

The right password of a user with a second factor resets nothing, or an attacker who knows it could guess codes without
end. Wrong codes also count against the user at all addresses from which the user has not signed in before, which no one
without the password can bring about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import InstrumentedAttribute

from registry.database import AdvisoryLock, db, lock, transaction
from registry.domain import audit
from registry.domain.access import Principal
from registry.domain.accounts import passwords, second_factors, sessions, users
from registry.errors import (
    Code,
    Fault,
    Forbidden,
    IdentityTokenRefused,
    InvalidRecord,
    IssuerNotUsable,
    NotFound,
    RegistryError,
    SignInCodeRefused,
    TooManyRequests,
    quoted,
)
from registry.models import SignInAddress, SignInFailures, SignInMethod, User

FREE_FAILURES_BY_LOGIN = 5
FREE_FAILURES_BY_ADDRESS = 20  # many users can share an address
FREE_WRONG_CODES_BY_USER = 10  # at all addresses that are new for the user
FREE_FAILED_EXCHANGES_BY_ADDRESS = 100  # all CI jobs of a company can share an address
FIRST_WAIT_SECONDS = 15
LONGEST_WAIT_SECONDS = 600
FORGOTTEN_AFTER = timedelta(hours=1)
COUNTED_LIMIT = 10_000  # logins and addresses with failures; further ones replace the oldest
ADDRESSES_LIMIT = 20  # addresses remembered for a user
ADDRESS_REMEMBERED_FOR = timedelta(days=90)
IPV6_NETWORK_BITS = 64  # one customer's network, of which any address is as good as another


@dataclass(frozen=True)
class _Attempt:
    """An attempt that is counted in advance.

    :ivar keys: those under which it is counted, that of the login first.
    :ivar earlier: the time of the failure before it, by key.
    """

    keys: tuple[str, ...]
    at: datetime
    earlier: Mapping[str, datetime]


def sign_in(login: str, password: str, *, recovery_only: bool = False, address: str, now: datetime) -> User | None:
    """Return the active user with this login (user name or e-mail address) and password; ``None`` if they are wrong.

    A user with a second factor has signed in only after ``enter_code``.

    Takes ``AdvisoryLock.SIGN_IN``, as an attempt is counted in advance, and taken back here.

    :param recovery_only: whether sign-in with passwords is turned off: of administrators, one that the shell has just
        set is accepted; any other counts as wrong, so that no one learns for whom one is accepted.
    :raises InactiveUser: the password is right, but the user is blocked or deactivated; counted as a failed attempt.
    :raises TooManyRequests: too many attempts failed for this login from this address, or from this address; the wait
        grows with each.
    """
    claimed = users.by_login(login)
    attempt = _count_attempt(_counted(claimed, login, address, now), now)
    if recovery_only and not passwords.is_accepted_again(claimed, now):
        password = ""  # no user has it, and it takes the same time
    user = users.verify_password(login, password)
    if user is not None:
        with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False):
            lock(user, "second_factor_since", referable=True)  # it can have been added since the user was read
            if user.has_second_factor:
                _subtract_each(attempt)
            else:
                _take_back(attempt)
                note_sign_in(user, SignInMethod.PASSWORD, address=address, now=now)
    return user


def sign_in_by_proxy(name: str, *, key: bytes, address: str, now: datetime) -> tuple[User, str]:
    """Return the user with this name, whom a trusted proxy has authenticated, and the secret of the session.

    Programs send one request after another without a cookie, so a user has one session for an address and day, and
    signs in only when it begins.

    Takes ``AdvisoryLock.SIGN_IN``, so that concurrent requests begin one session, unless there is one already.

    :raises Forbidden: there is no such user.
    :raises InactiveUser: the user is blocked or deactivated.
    """
    try:
        user = users.find_username(name)
    except NotFound as error:
        raise Forbidden(Code.UNKNOWN_PROXY_USER, name=quoted(name)) from error
    users.refuse_inactive(user)
    secret = sessions.secret_by_proxy(user, _network(address), key=key, now=now)
    if sessions.find(secret, key=key, now=now) is None:
        with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False):
            if sessions.find(secret, key=key, now=now) is None:
                note_sign_in(user, SignInMethod.PROXY, address=address, now=now)
                sessions.start(user, SignInMethod.PROXY, secret=secret, key=key, now=now)
    return user, secret


def enter_code(user: User, code: str, *, begun: str, key: bytes, address: str, now: datetime) -> bool:
    """Return whether a user who has entered the right password has signed in with this code of the second factor.

    Takes ``AdvisoryLock.SIGN_IN``. Parameters and errors are those of ``complete``.
    """
    by = audit.NamedAuthor(user.username, address, user.id)

    def is_accepted() -> bool:
        return second_factors.accept(user, code, key=key, by=by, now=now)

    return complete(user, is_accepted, begun=begun, key=key, address=address, now=now)


def complete(
    user: User, is_accepted: Callable[[], bool], *, begun: str, key: bytes, address: str, now: datetime
) -> bool:
    """Return whether a user who has entered the right password has signed in with the second factor.

    The sign-in that was begun ends in the same transaction, so that it is completed once, and not after it has ended.
    Takes ``AdvisoryLock.SIGN_IN``, as an attempt is counted in advance, and taken back here.

    :param is_accepted: verifies the second factor, in a transaction.
    :param begun: the secret of the sign-in that was begun.
    :raises TooManyRequests: as for ``sign_in``; also if too many codes of the user were wrong at new addresses.
    """
    counted = _counted(user, user.username, address, now)
    if not _is_remembered(user, address, now):
        counted[_key(f"codes of user {user.id}")] = FREE_WRONG_CODES_BY_USER
    attempt = _count_attempt(counted, now)
    with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False):
        if not is_accepted() or not sessions.end_begun(begun, key=key):
            return False
        _take_back(attempt)
        note_sign_in(user, SignInMethod.PASSWORD, address=address, now=now)
    return True


def note_sign_in(user: User, method: SignInMethod, *, address: str, now: datetime) -> None:
    """Record that a user has signed in, however authenticated: the time, the address, and an audit event.

    Requires a transaction.
    """
    # Before rows that refer to the user: they share the lock of its row, which could not be raised later while a
    # deletion waits for it.
    user.last_sign_in_at, user.current_sign_in_at = user.current_sign_in_at, now
    db.session.flush()
    _remember_address(user, address, now)
    audit.record(audit.NamedAuthor(user.username, address, user.id), "user_signed_in", user.username, method=method)


@contextmanager
def counting_exchanges(address: str, now: datetime) -> Iterator[None]:
    """Count an identity token whose signature the block verifies as a failure of its address and hour, if it is wrong.

    What a valid signature costs is not counted, even if the token is refused for another reason: many jobs share an
    address, and those of one project must not slow down those of another by its mistakes.

    Takes ``AdvisoryLock.SIGN_IN``, as a token is counted in advance, and taken back here. Only the attempt itself
    is taken back, also if the issuer cannot be asked, so that a valid token allows no further guesses. Each hour starts
    anew, as the failures of an address where tokens are exchanged all day would never be forgotten.

    :raises TooManyRequests: too many tokens from this address had a wrong signature; the wait grows with each.
    """

    def is_failure(error: RegistryError) -> bool:
        return isinstance(error, IdentityTokenRefused) and not isinstance(error, IssuerNotUsable)

    with _counting("identity tokens", address, now, is_failure):
        yield


@contextmanager
def counting_answers(address: str, now: datetime) -> Iterator[None]:
    """Count the sign-in that the block completes as a failure of its address and hour, if its code is refused.

    Works like ``counting_exchanges``, but counts separately. Only a code that the provider refuses counts, as each
    invented one costs a request to the provider. Sign-ins that are denied, and those of blocked or unknown users, do
    not slow down others at the same address.

    :raises TooManyRequests: too many codes from this address were refused; the wait grows with each.
    """
    with _counting("codes of the identity provider", address, now, lambda error: isinstance(error, SignInCodeRefused)):
        yield


@contextmanager
def _counting(kind: str, address: str, now: datetime, is_failure: Callable[[RegistryError], bool]) -> Iterator[None]:
    """Count the block as a failure of its address and hour in advance; take it back unless its error is a failure."""
    key = _key(f"{kind} from {_network(address)} in {now:%Y-%m-%d %H}")
    attempt = _count_attempt({key: FREE_FAILED_EXCHANGES_BY_ADDRESS}, now)
    try:
        yield
    except RegistryError as error:
        if not is_failure(error):
            _take_back_only(attempt)
        raise
    _take_back_only(attempt)


def _take_back_only(attempt: _Attempt) -> None:
    """Take back the attempt that was counted in advance, but no failure; takes ``AdvisoryLock.SIGN_IN``."""
    with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False):
        _subtract_each(attempt)


def require_password(user: User, password: str, *, by: Principal, now: datetime) -> None:
    """Require the password of a signed-in user; a stolen session must not be good for unlimited guesses.

    Takes ``AdvisoryLock.SIGN_IN``, as an attempt is counted in advance, and taken back here.

    :raises InvalidRecord: it is missing or wrong.
    :raises TooManyRequests: as for ``sign_in``.
    """
    if not password:
        raise InvalidRecord({"current_password": [Fault(Code.BLANK)]})
    attempt = _count_attempt(_counted(user, user.username, by.address, now), now)
    if not passwords.is_password_of(user, password):
        raise InvalidRecord({"current_password": [Fault(Code.WRONG_PASSWORD)]})
    with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False):
        _take_back(attempt)


def require_password_for_email(user: User, email: str, password: str, *, by: Principal, now: datetime) -> None:
    """Require the password of a signed-in user who changes the own e-mail address.

    Takes ``AdvisoryLock.SIGN_IN``, as ``require_password`` does.

    :param password: ignored if the e-mail address stays the same.
    :raises InvalidRecord: as for ``require_password``.
    :raises TooManyRequests: as for ``sign_in``.
    """
    if email.lower() != user.email_key:
        require_password(user, password, by=by, now=now)


def _counted(user: User | None, login: str, address: str, now: datetime) -> dict[str, int]:
    """Return the keys under which an attempt is counted, that of the login first, each with its free failures."""
    name = f"login {login.strip().lower()}" if user is None else f"user {user.id}"
    counted = {_key(f"{name} from {_network(address)}"): FREE_FAILURES_BY_LOGIN}
    if user is None or not _is_remembered(user, address, now):
        counted[_key(_network(address))] = FREE_FAILURES_BY_ADDRESS
    return counted


def _count_attempt(counted: Mapping[str, int], now: datetime) -> _Attempt:
    """Count an attempt as a failure in advance; takes ``AdvisoryLock.SIGN_IN`` to count concurrent attempts correctly.

    :raises TooManyRequests: the wait is not over.
    """
    earlier = {}
    with transaction(lock=AdvisoryLock.SIGN_IN, changes_answers=False) as session:
        session.execute(delete(SignInFailures).where(SignInFailures.last_at < now - FORGOTTEN_AFTER))
        for key, free in counted.items():
            failures = session.get(SignInFailures, key, populate_existing=True)
            if failures is None:
                session.add(SignInFailures(key=key, count=1, last_at=now))
                continue
            refuse_too_early(failures, free, now)
            earlier[key] = failures.last_at
            failures.count += 1
            failures.last_at = now
        session.flush()
        _keep_newest(SignInFailures.last_at, COUNTED_LIMIT)
    return _Attempt(tuple(counted), now, earlier)


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


def _take_back(attempt: _Attempt) -> None:
    """Reset the failures of the login, and subtract the attempt from those of the address.

    Requires a transaction that holds ``AdvisoryLock.SIGN_IN``.
    """
    login_key, *other_keys = attempt.keys
    db.session.execute(delete(SignInFailures).where(SignInFailures.key == login_key))
    for key in other_keys:
        _subtract(key, attempt)


def _subtract_each(attempt: _Attempt) -> None:
    for key in attempt.keys:
        _subtract(key, attempt)


def _subtract(key: str, attempt: _Attempt) -> None:
    failures = db.session.get(SignInFailures, key, populate_existing=True)
    if failures is None:
        return
    failures.count -= 1
    if failures.last_at == attempt.at:  # no other attempt has failed since
        failures.last_at = attempt.earlier.get(key, attempt.at)


def _remember_address(user: User, address: str, now: datetime) -> None:
    session, own = db.session, SignInAddress.user_id == user.id
    key = _key(_network(address))
    session.merge(SignInAddress(user_id=user.id, key=key, last_at=now))
    session.flush()
    _keep_newest(SignInAddress.last_at, ADDRESSES_LIMIT, own)


def _is_remembered(user: User, address: str, now: datetime) -> bool:
    remembered = db.session.get(SignInAddress, (user.id, _key(_network(address))))
    return remembered is not None and now - remembered.last_at < ADDRESS_REMEMBERED_FOR


def _keep_newest(moment: InstrumentedAttribute[datetime], limit: int, *conditions: ColumnElement[bool]) -> None:
    """Delete the rows beyond this number, the oldest first."""
    session = db.session
    first_surplus = session.scalar(select(moment).where(*conditions).order_by(moment.desc()).offset(limit).limit(1))
    if first_surplus is not None:
        session.execute(delete(moment.class_).where(*conditions, moment <= first_surplus))


def _network(address: str) -> str:
    """Return the network that counts as one address; a text that is no address is its own."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, IPV6_NETWORK_BITS), strict=False))
    return str(found)


def _key(value: str) -> str:
    return sha256(value.encode()).hexdigest()
