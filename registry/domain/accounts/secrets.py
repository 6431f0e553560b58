"""Digests of token secrets, and the time of their last use.

A secret is shown once, when it is issued; only its HMAC-SHA-256 with the installation's key is stored.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import or_, update
from sqlalchemy.orm.attributes import set_committed_value

from registry.database import transaction
from registry.models import AccessToken, DeployToken

LAST_USED_PRECISION = timedelta(minutes=10)


def digest(secret: str, key: bytes) -> str:
    """Return the stored digest of a secret: its HMAC-SHA-256 with the installation's key, in hex."""
    return hmac.new(key, secret.encode("utf-8", "surrogatepass"), sha256).hexdigest()


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
