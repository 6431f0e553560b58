"""Passkeys and security keys as second factors (W3C, Web Authentication).

A browser asks the authenticator of the user for a signature of a challenge, and includes the origin of the page. What
it sends is verified with the public key that it sent when the passkey was added. The authenticator has to verify its
user, by a PIN or a fingerprint.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from registry.database import db, lock, transaction
from registry.domain import audit
from registry.domain.accounts import second_factors, sessions
from registry.errors import Code, Fault, InvalidRecord, NotFound
from registry.models import Passkey, RecoveryCode, User

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

MOST_PASSKEYS = 20
LONGEST_NAME = 100
LONGEST_RESPONSE = 20_000  # characters
LONGEST_ID_BYTES = 1023  # W3C, Web Authentication, "Credential ID"


@dataclass(frozen=True)
class Site:
    """The registry as browsers see it.

    :ivar host: without a port; passkeys are of use on this host only.
    :ivar origin: scheme, host, and port.
    """

    host: str
    origin: str

    @property
    def admits_passkeys(self) -> bool:
        """Return whether browsers use passkeys here: with a host name, and HTTPS unless that is ``localhost``."""
        try:
            ip_address(self.host)
        except ValueError:
            return self.origin.startswith("https://") or self.host == "localhost" or self.host.endswith(".localhost")
        return False


def passkeys_of(user: User) -> list[Passkey]:
    return list(db.session.scalars(select(Passkey).where(Passkey.user_id == user.id).order_by(Passkey.id)))


def creation_options(user: User, challenge: bytes, site: Site, *, key: bytes) -> str:
    """Return the options with which a browser asks for a new passkey, in JSON."""
    import webauthn  # a large library that few requests need
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = webauthn.generate_registration_options(
        rp_id=site.host,
        rp_name=site.host,
        user_id=hmac.digest(key, f"passkeys of user {user.id}".encode(), "sha256"),
        user_name=user.username,
        user_display_name=user.name,
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=_descriptors(user),
    )
    return webauthn.options_to_json(options)


def request_options(user: User, challenge: bytes, site: Site) -> str:
    """Return the options with which a browser asks for the use of a passkey of the user, in JSON."""
    import webauthn
    from webauthn.helpers.structs import UserVerificationRequirement

    options = webauthn.generate_authentication_options(
        rp_id=site.host,
        challenge=challenge,
        allow_credentials=_descriptors(user),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def add(
    user: User, name: str, response: str, challenge: bytes, site: Site, *, key: bytes, by: audit.Author, now: datetime
) -> list[str]:
    """Add a passkey of the user, whose sessions end; locks the row of the user.

    :param response: what the browser sent, in JSON.
    :return: new recovery codes, or none if the user has a second factor already.
    :raises InvalidRecord: the response or the name is invalid, the passkey was added before, or there are too many.
    """
    _refuse_name(name)
    credential_id, public_key, sign_count = _verified_creation(response, challenge, site)
    with transaction() as session:
        lock(user)
        if (session.scalar(select(func.count()).where(Passkey.user_id == user.id)) or 0) >= MOST_PASSKEYS:
            raise InvalidRecord({"name": [Fault(Code.TOO_MANY_PASSKEYS, maximum=MOST_PASSKEYS)]})
        session.add(
            Passkey(
                user_id=user.id, name=name, credential_id=credential_id, public_key=public_key, sign_count=sign_count,
                created_at=now,
            )
        )  # fmt: skip
        try:
            session.flush()
        except IntegrityError as error:  # of this user or another one, also if added concurrently
            raise InvalidRecord({"credential": [Fault(Code.TAKEN)]}) from error
        return second_factors.note_addition(user, "passkey", key=key, by=by, now=now)


def remove(user: User, passkey_id: int, *, by: audit.Author) -> None:
    """Remove a passkey of the user, whose sessions end; with the last second factor, recovery codes are removed, too.

    Locks the row of the user.

    :raises NotFound: there is no such passkey.
    """
    with transaction() as session:
        lock(user)
        removed = session.scalar(select(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user.id))
        if removed is None:
            raise NotFound
        session.delete(removed)
        session.flush()
        if user.totp_secret is None and not passkeys_of(user):
            user.second_factor_since = None
            session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
        sessions.end_all(user)
        audit.record(by, "second_factor_removed", user.username, factor="passkey", name=removed.name)


def accept(user: User, response: str, challenge: bytes, site: Site, *, now: datetime) -> bool:
    """Return whether a browser's response was signed by a passkey of the user. Requires a transaction.

    The count of signatures, of authenticators that have one, must have risen, as that of a copy has not.
    """
    import webauthn
    from webauthn.helpers import base64url_to_bytes

    lock(user)
    passkey = next((one for one in passkeys_of(user) if one.credential_id == _sent_id(response)), None)
    if passkey is None:
        return False
    try:
        verified = webauthn.verify_authentication_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=base64url_to_bytes(passkey.public_key),
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except _failures():
        return False
    passkey.sign_count, passkey.last_used_at = verified.new_sign_count, now
    return True


def _refuse_name(name: str) -> None:
    if not name:
        raise InvalidRecord({"name": [Fault(Code.BLANK)]})
    if len(name) > LONGEST_NAME:
        raise InvalidRecord({"name": [Fault(Code.TOO_LONG, maximum=LONGEST_NAME)]})
    if not name.isprintable():
        raise InvalidRecord({"name": [Fault(Code.UNPRINTABLE)]})


def _verified_creation(response: str, challenge: bytes, site: Site) -> tuple[str, str, int]:
    """Return ID, public key, and count of signatures of a new passkey.

    :raises InvalidRecord: the response is not that to the challenge.
    """
    import webauthn
    from webauthn.helpers import bytes_to_base64url

    try:
        if len(response) > LONGEST_RESPONSE:
            raise ValueError(response[:100])
        verified = webauthn.verify_registration_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
        )
        if len(verified.credential_id) > LONGEST_ID_BYTES:
            raise ValueError(verified.credential_id[:100])
    except _failures() as error:
        raise InvalidRecord({"credential": [Fault(Code.INVALID)]}) from error
    return (
        bytes_to_base64url(verified.credential_id),
        bytes_to_base64url(verified.credential_public_key),
        verified.sign_count,
    )


def _failures() -> tuple[type[Exception], ...]:
    """Return the errors of responses that are malformed or not valid."""
    from webauthn.helpers.exceptions import WebAuthnException

    return (WebAuthnException, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def _sent_id(response: str) -> str | None:
    """Return the ID of the passkey in a browser's response."""
    try:
        sent = json.loads(response) if len(response) <= LONGEST_RESPONSE else None
    except (ValueError, RecursionError):
        return None
    return sent["id"] if isinstance(sent, dict) and isinstance(sent.get("id"), str) else None


def _descriptors(user: User) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    return [
        PublicKeyCredentialDescriptor(id=base64url_to_bytes(passkey.credential_id)) for passkey in passkeys_of(user)
    ]
