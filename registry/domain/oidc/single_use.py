"""Single use, in all processes: of identity tokens of jobs, and of sign-ins at the identity provider."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.models import UsedIdentityToken


def record(session: Session, key: str, *, expires_at: datetime, now: datetime) -> None:
    """Record a use, and forget those that have expired. Requires a transaction.

    Takes no lock: the primary key lets one of several requests succeed.

    :param key: a digest of what is used.
    :param expires_at: until when a further use is refused.
    :raises IntegrityError: it was used before.
    """
    # Those that another transaction is removing are left to it, so that none waits for another.
    past = select(UsedIdentityToken.key).where(UsedIdentityToken.expires_at < now).order_by(UsedIdentityToken.key)
    session.execute(delete(UsedIdentityToken).where(UsedIdentityToken.key.in_(past.with_for_update(skip_locked=True))))
    session.add(UsedIdentityToken(key=key, expires_at=expires_at))
    session.flush()
