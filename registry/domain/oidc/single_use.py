"""Single use, in all processes: of identity tokens of jobs, and of sign-ins at the identity provider."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from registry.database import delete_unlocked
from registry.models import UsedIdentityToken


def record(session: Session, key: str, *, expires_at: datetime, now: datetime) -> None:
    """Record a use, and forget those that have expired. Requires a transaction.

    Takes no lock: the primary key lets one of several requests succeed.

    :param key: a digest of what is used.
    :param expires_at: until when a further use is refused.
    :raises IntegrityError: it was used before.
    """
    delete_unlocked(UsedIdentityToken, UsedIdentityToken.expires_at < now)
    session.add(UsedIdentityToken(key=key, expires_at=expires_at))
    session.flush()
