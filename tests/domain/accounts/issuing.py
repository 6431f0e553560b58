"""Access tokens issued with the fields that a test is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens
from registry.models import AccessToken, User
from tests import factories

NOW = datetime(2030, 5, 17, 15, 30, tzinfo=UTC)
TODAY = NOW.date()


def key() -> bytes:
    return factories.token_key()


def issue(user: User, **fields: Any) -> tuple[AccessToken, str]:
    given = {"name": "laptop", "scopes": ["api"], "key": key(), "by": SHELL, "now": NOW}
    return access_tokens.issue_access_token(user, **given | fields)


def found(secret: str) -> AccessToken:
    token = access_tokens.find_access_token(secret, key())
    assert token is not None
    db.session.refresh(token, ["revoked_at", "last_used_at"])
    return token
