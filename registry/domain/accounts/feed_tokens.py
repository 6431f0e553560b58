"""Feed tokens: with the one of a user, programs without a session read the feeds that the user can read.

A token is derived from the installation's key and a number of the user, so that pages can show it again although
nothing secret is stored. Another number makes another token, and ends the former.
"""

from __future__ import annotations

import hmac
import re

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.accounts.secrets import digest
from registry.models import User

PREFIX = "glft-"
_TOKEN = re.compile(rf"{PREFIX}([0-9a-f]{{40}})-([0-9]{{1,9}})", re.ASCII)


def feed_token(user: User, key: bytes) -> str:
    """Return the feed token of a user."""
    derived = digest(f"feed token {user.feed_token_number} of user {user.id}", key)
    return f"{PREFIX}{derived[:40]}-{user.id}"


def user_of(token: str, key: bytes) -> User | None:
    """Return the user with this feed token, if the user is active."""
    matched = _TOKEN.fullmatch(token)
    user = None if matched is None else db.session.get(User, int(matched[2]))
    if user is None or not user.is_active or not hmac.compare_digest(feed_token(user, key), token):
        return None
    return user


def reset(user: User, *, by: audit.Author) -> None:
    """Replace the feed token of a user with another one.

    Takes no lock: of two concurrent resets, both end the former token.
    """
    with transaction() as session:
        session.refresh(user, ["feed_token_number"], with_for_update={"of": User})
        user.feed_token_number += 1
        audit.record(by, "feed_token_reset", user.username)
