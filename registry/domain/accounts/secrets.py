"""Digests of token secrets, the time of their last use, and secrets that are stored encrypted.

A secret of a token is shown once, when it is issued; only its HMAC-SHA-256 with the installation's key is stored.
Secrets that the registry needs itself are encrypted with a key that is derived from that of the installation.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from sqlalchemy import or_, update
from sqlalchemy.orm.attributes import set_committed_value

from registry.database import transaction
from registry.models import AccessToken, DeployToken

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
LAST_USED_PRECISION = timedelta(minutes=10)


def digest(secret: str, key: bytes) -> str:
    """Return the stored digest of a secret: its HMAC-SHA-256 with the installation's key, in hex."""
    return hmac.new(key, secret.encode("utf-8", "surrogatepass"), sha256).hexdigest()


def seal(secret: str, key: bytes, purpose: str) -> str:
    """Return a secret encrypted (AES-256-GCM), so that it can be decrypted for this purpose only."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return base64.urlsafe_b64encode(nonce + _cipher(key).encrypt(nonce, secret.encode(), purpose.encode())).decode()


def unseal(sealed: str, key: bytes, purpose: str) -> str | None:
    """Return the secret; ``None`` if it was encrypted with another key or for another purpose, or was changed."""
    from cryptography.exceptions import InvalidTag

    try:
        encrypted = base64.urlsafe_b64decode(sealed)
        return _cipher(key).decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], purpose.encode()).decode()
    except (ValueError, InvalidTag):
        return None


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # a large library that few requests need

    return AESGCM(hmac.digest(key, b"encrypted secrets", "sha256"))


def note_use(token: AccessToken | DeployToken, now: datetime) -> None:
    """Update ``last_used_at`` at most every ten minutes, so that busy tokens do not cause a write per request.

    Takes no lock: the condition of the update lets one of several requests write.
    """
    if token.last_used_at is not None and now - token.last_used_at < LAST_USED_PRECISION:
        return
    kind = type(token)
    with transaction(changes_answers=False) as session:
        session.execute(
            update(kind)
            .where(kind.id == token.id, or_(kind.last_used_at.is_(None), kind.last_used_at < now - LAST_USED_PRECISION))
            .values(last_used_at=now),
            execution_options={"synchronize_session": False},
        )
    set_committed_value(token, "last_used_at", now)
