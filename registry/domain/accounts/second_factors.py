"""Second factors of users who sign in with a password: codes of an authenticator app, and recovery codes.

A code of an app (TOTP, RFC 6238) is accepted once, and for one step of 30 seconds before and after its own, as clocks
differ. The secret of an app is stored encrypted, as codes cannot be verified with a digest of it. Recovery codes are
shown once, each is accepted once, and only digests of them are stored.
"""

from __future__ import annotations

import secrets
import unicodedata
from datetime import datetime
from typing import Any

import pyotp
from sqlalchemy import delete, func, select

from registry.database import db, lock, transaction
from registry.domain import audit
from registry.domain.accounts import sessions
from registry.domain.accounts.secrets import digest, seal, unseal
from registry.errors import BadRequest, Code, Fault, Forbidden, InvalidRecord
from registry.models import Passkey, RecoveryCode, User

RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 8
STEP_SECONDS = 30
ACCEPTED_STEPS = (0, -1, 1)
LONGEST_CODE = 100  # characters, with spaces and hyphens


def new_totp_secret() -> str:
    """Return a secret for an authenticator app: 160 random bits in base32."""
    return pyotp.random_base32()


def app_address(user: User, secret: str, issuer: str) -> str:
    """Return the address that an authenticator app reads from the QR code.

    :param issuer: the name under which the app shows the account.
    """
    return pyotp.TOTP(secret).provisioning_uri(name=user.username, issuer_name=issuer)


def add_app(user: User, secret: str, code: str, *, key: bytes, by: audit.Author, now: datetime) -> list[str]:
    """Set up the authenticator app of a user, whose sessions end; it replaces another one.

    Locks the row of the user.

    :param code: a code of the app, which shows that it has the secret.
    :return: new recovery codes, or none if the user has a second factor already.
    :raises InvalidRecord: the code is wrong.
    """
    step = _step_of(secret, _plain(code), now)
    if step is None:
        raise InvalidRecord({"code": [Fault(Code.WRONG_CODE)]})
    with transaction():
        lock(user)
        user.totp_secret = seal(secret, key, _purpose(user))
        user.totp_used_step = step
        return note_addition(user, "app", key=key, by=by, now=now)


def note_addition(user: User, factor: str, *, key: bytes, by: audit.Author, now: datetime) -> list[str]:
    """Record that a second factor was added to a user, whose sessions end. Requires a transaction.

    :return: new recovery codes, or none if the user has a second factor already.
    """
    codes = [] if user.has_second_factor else _new_recovery_codes(user, key)
    user.second_factor_since = user.second_factor_since or now
    sessions.end_all(user)
    audit.record(by, "second_factor_added", user.username, factor=factor)
    return codes


def replace_recovery_codes(user: User, *, key: bytes, by: audit.Author) -> list[str]:
    """Replace the recovery codes of a user; locks the row of the user.

    :raises BadRequest: the user has no second factor.
    """
    with transaction():
        lock(user)
        if not user.has_second_factor:
            raise BadRequest(Code.NO_SECOND_FACTOR)
        codes = _new_recovery_codes(user, key)
        audit.record(by, "recovery_codes_replaced", user.username)
    return codes


def recovery_codes_left(user: User) -> int:
    return db.session.scalar(select(func.count()).where(RecoveryCode.user_id == user.id)) or 0


def disable(user: User, *, by: audit.Author) -> None:
    """Remove all second factors and recovery codes of a user, whose sessions end; locks the row of the user.

    :raises BadRequest: the user has no second factor.
    """
    with transaction():
        lock(user)
        _disable(user, by)


def disable_unless_administrator(user: User, *, by: audit.Author) -> None:
    """Do as ``disable``, but not for administrators: a token of one would be enough to remove the factors of all.

    Locks the row of the user.

    :raises Forbidden: the user is an administrator.
    :raises BadRequest: the user has no second factor.
    """
    with transaction():
        lock(user)
        if user.is_admin:
            raise Forbidden(Code.SECOND_FACTOR_OF_ADMINISTRATOR)
        _disable(user, by)


def _disable(user: User, by: audit.Author) -> None:
    if not user.has_second_factor:
        raise BadRequest(Code.NO_SECOND_FACTOR)
    user.second_factor_since = user.totp_secret = user.totp_used_step = None
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    db.session.execute(delete(Passkey).where(Passkey.user_id == user.id))
    sessions.end_all(user)
    audit.record(by, "second_factor_disabled", user.username)


def accept(user: User, code: str, *, key: bytes, by: audit.Author, now: datetime) -> bool:
    """Return whether a code of the app, or a recovery code, is valid, which it then no longer is.

    Requires a transaction.
    """
    lock(user)
    plain = _plain(code)
    return _accept_totp(user, plain, key, now) or _accept_recovery_code(user, plain, key, by)


def _accept_totp(user: User, code: str, key: bytes, now: datetime) -> bool:
    secret = None if user.totp_secret is None else unseal(user.totp_secret, key, _purpose(user))
    step = None if secret is None else _step_of(secret, code, now)
    if step is None or (user.totp_used_step is not None and step <= user.totp_used_step):
        return False
    user.totp_used_step = step
    return True


def _accept_recovery_code(user: User, code: str, key: bytes, by: audit.Author) -> bool:
    used: Any = db.session.execute(
        delete(RecoveryCode).where(RecoveryCode.user_id == user.id, RecoveryCode.digest == digest(code, key))
    )
    if not used.rowcount:
        return False
    audit.record(by, "recovery_code_used", user.username, left=recovery_codes_left(user))
    return True


def _step_of(secret: str, code: str, now: datetime) -> int | None:
    """Return the step of time to which a code of an app belongs; ``None`` if it is none of the accepted ones."""
    totp, current = pyotp.TOTP(secret), int(now.timestamp()) // STEP_SECONDS
    matching = [
        current + offset
        for offset in ACCEPTED_STEPS
        if secrets.compare_digest(totp.generate_otp(current + offset).encode(), code.encode("utf-8", "surrogatepass"))
    ]
    return matching[0] if matching else None


def _new_recovery_codes(user: User, key: bytes) -> list[str]:
    codes = [secrets.token_hex(RECOVERY_CODE_BYTES) for _ in range(RECOVERY_CODES)]
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    db.session.add_all(RecoveryCode(digest=digest(code, key), user_id=user.id) for code in codes)
    return codes


def _plain(code: str) -> str:
    """Return a code as it is compared: without spaces and hyphens, and in ASCII where an input method widened it.

    It is empty if it is too long, as normalizing can take the square of the length.
    """
    if len(code) > LONGEST_CODE:
        return ""
    return "".join(unicodedata.normalize("NFKC", code).replace("-", "").split()).lower()


def _purpose(user: User) -> str:
    return f"secret of the authenticator app of user {user.id}"
