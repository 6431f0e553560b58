"""The first administrator of an empty installation."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from registry.database import AdvisoryLock, transaction
from registry.domain import access
from registry.domain.access import Scope
from registry.domain.accounts import access_tokens, passwords, users
from registry.domain.accounts.users import UserDetails
from registry.models import InstanceSettings, User

USERNAME = "root"
CREDENTIALS_FILE = "initial_root_credentials"
TOKEN_LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class Credentials:
    """Password and ``api`` token of the first administrator; ``generated`` names those that were generated."""

    password: str
    token: str
    generated: tuple[str, ...]


def create_administrator(
    *, password: str | None, token: str | None, key: bytes, instance_path: Path, now: datetime
) -> Credentials | None:
    """Create ``root`` if there are no users; otherwise return ``None``.

    Takes ``AdvisoryLock.FIRST_START``, so that only one of several starting processes creates the account.

    A missing password or token is generated. Generated credentials are written to
    ``<instance>/initial_root_credentials`` (mode 0600) before the transaction ends, so that a crash cannot leave an
    account with unknown credentials.

    :param token: secret of an access token with the scope ``api``.
    :raises InvalidRecord: the given password is too short or too long.
    """
    with transaction(lock=AdvisoryLock.FIRST_START) as session:
        if session.scalar(select(User.id).limit(1)) is not None:
            return None
        generated: tuple[str, ...] = ()
        if password is None:
            password, generated = passwords.generated(), ("password",)
        if token is None:
            token = InstanceSettings.current().personal_access_token_prefix + secrets.token_urlsafe(32)
            generated += ("token",)
        user = users.create_user(
            username=USERNAME, email="root@localhost", name="Administrator", password=password,
            must_change_password="password" in generated, details=UserDetails(is_admin=True), by=access.SHELL,
        )  # fmt: skip
        access_tokens.issue_access_token(
            user, name="first token", scopes=[Scope.API], key=key, by=access.SHELL, now=now, secret=token,
            expires_on=(now + TOKEN_LIFETIME).date(),
        )  # fmt: skip
        credentials = Credentials(password, token, generated)
        if generated:
            _write(instance_path / CREDENTIALS_FILE, credentials)
    return credentials


def _write(path: Path, credentials: Credentials) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"user: {USERNAME}\n")
        for name in credentials.generated:
            file.write(f"{name}: {getattr(credentials, name)}\n")
        file.flush()
        os.fsync(file.fileno())
