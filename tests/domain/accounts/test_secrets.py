from __future__ import annotations

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import Model, db, utcnow
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens, deploy_tokens, secrets
from registry.models import AccessToken, Project, User
from tests import factories
from tests.domain.accounts.issuing import NOW, found, issue, key


def test_only_digests_are_kept(app: Flask, project: Project, owner: User) -> None:
    secrets = [
        issue(owner)[1],
        access_tokens.rotate_access_token(issue(owner)[0], key=key(), by=SHELL, now=NOW)[1],
        factories.deploy_token(project),
        factories.job(project, owner)[1],
    ]

    kept = "\n".join(str(row) for table in Model.metadata.sorted_tables for row in db.session.execute(select(table)))
    instance: Path = app.config["INSTANCE_PATH"]
    stored = b"".join(path.read_bytes() for path in instance.rglob("*") if path.is_file())

    for secret in secrets:
        random_part = secret.rpartition("-")[2] if "-" not in secret[6:] else secret[6:]
        for form in (random_part, base64.b64encode(secret.encode()).decode().rstrip("=")):
            assert form not in kept
            assert form.encode() not in stored
    assert found(secrets[0]).digest in kept


@pytest.mark.parametrize("kind", ["access token", "deploy token"])
def test_last_use_is_noted_once_in_ten_minutes(project: Project, owner: User, kind: str, statements: list[str]) -> None:
    if kind == "access token":
        token: Any = issue(owner)[0]
    else:
        token = deploy_tokens.find_deploy_token(factories.deploy_token(project), key(), utcnow())

    def used(minutes: float) -> tuple[datetime, int]:
        before = len(statements)
        secrets.note_use(token, NOW + timedelta(minutes=minutes))
        written = sum(statement.startswith("UPDATE") for statement in statements[before:])
        db.session.refresh(token)
        return token.last_used_at, written

    assert used(0) == (NOW, 1)
    assert used(9.9) == (NOW, 0)
    assert used(10.1) == (NOW + timedelta(minutes=10.1), 1)


def test_two_requests_at_once_note_one_use(owner: User) -> None:
    token, _ = issue(owner)
    secrets.note_use(token, NOW)
    stale = AccessToken(id=token.id, last_used_at=None)

    secrets.note_use(stale, NOW + timedelta(minutes=1))

    db.session.refresh(token)
    assert token.last_used_at == NOW
