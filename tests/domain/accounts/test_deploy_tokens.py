from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from registry.database import db
from registry.domain.access import SHELL, DeployScope
from registry.domain.accounts import deploy_tokens
from registry.errors import InvalidRecord, PlainRefusal
from registry.models import Group, Project, User
from tests import factories
from tests.domain.accounts.issuing import NOW, key


def test_the_hour_a_day_starts_is_midnight_in_utc() -> None:
    assert deploy_tokens.starts_at(date(2030, 5, 20)) == datetime(2030, 5, 20, tzinfo=UTC)


def issue_deploy(project: Project | Group, **fields: Any) -> Any:
    given = {"name": "servers", "scopes": ["read_package_registry"], "key": key(), "by": SHELL}
    return deploy_tokens.issue_deploy_token(project, **given | fields)


def test_a_deploy_token_is_found_by_its_secret(project: Project, owner: User) -> None:
    token, secret = issue_deploy(project, by=factories.signed_in(owner))

    assert re.fullmatch(r"gldt-[A-Za-z0-9_-]{43}", secret)
    assert deploy_tokens.find_deploy_token(secret, key(), NOW) is token
    assert (token.namespace_id, token.creator_id, token.expires_at) == (project.id, owner.id, None)
    assert deploy_tokens.find_deploy_token(secret[:-1], key(), NOW) is None
    assert deploy_tokens.find_deploy_token(secret.removeprefix("gldt-"), key(), NOW) is None


def test_a_deploy_token_has_gitlabs_user_name_or_its_own(project: Project) -> None:
    default, _ = issue_deploy(project)
    empty, _ = issue_deploy(project, username="")
    own, _ = issue_deploy(project, username="A_b-c+d.9")

    assert default.username == f"gitlab+deploy-token-{default.id}"
    assert empty.username == f"gitlab+deploy-token-{empty.id}"
    assert own.username == "A_b-c+d.9"


@pytest.mark.parametrize("username", ["a b", "a:b", "ä", "a\n", "x" * 256, "a/b"])
def test_a_deploy_token_has_no_other_user_name(project: Project, username: str) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue_deploy(project, username=username)

    assert refusal.value.errors == {"username": ["can contain only letters, digits, '_', '-', '+', and '.'"]}


def test_a_deploy_token_has_a_scope(project: Project) -> None:
    with pytest.raises(PlainRefusal) as refusal:
        issue_deploy(project, scopes=[])

    assert refusal.value.body() == {"message": "Scopes can't be blank"}
    assert issue_deploy(project, scopes=list(DeployScope))[0].scopes == [scope.value for scope in DeployScope]


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"name": " "}, {"name": ["can't be blank"]}),
        ({"name": "x" * 256}, {"name": ["is too long (maximum is 255 characters)"]}),
        ({"scopes": ["api"]}, {"scopes": ["can only contain available scopes"]}),
    ],
)
def test_a_deploy_token_that_breaks_a_rule_is_not_issued(
    project: Project, fields: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue_deploy(project, **fields)

    assert refusal.value.errors == errors


@pytest.mark.parametrize(
    ("minutes", "active"), [(-1, True), (0, False), (1, False)], ids=["before", "at the moment", "after"]
)
def test_a_deploy_token_is_valid_until_its_expiry(project: Project, minutes: int, active: bool) -> None:
    midnight = deploy_tokens.starts_at(date(2030, 6, 1))
    token, secret = issue_deploy(project, expires_at=midnight)

    looked_up = deploy_tokens.find_deploy_token(secret, key(), midnight + timedelta(minutes=minutes))

    assert (looked_up is token) is active


def test_a_revoked_deploy_token_stays_in_the_list_but_grants_nothing(project: Project) -> None:
    token, secret = issue_deploy(project)

    deploy_tokens.revoke_deploy_token(token, project, by=SHELL, now=NOW)

    assert deploy_tokens.find_deploy_token(secret, key(), NOW) is None
    assert db.session.scalars(deploy_tokens.deploy_tokens(project, is_active=False, now=NOW)).all() == [token]
    assert db.session.scalars(deploy_tokens.deploy_tokens(project, is_active=True, now=NOW)).all() == []


def test_revoking_a_deploy_token_again_keeps_the_first_time(project: Project) -> None:
    token, _ = issue_deploy(project)

    for days in range(2):
        deploy_tokens.revoke_deploy_token(token, project, by=SHELL, now=NOW + timedelta(days=days))

    assert token.revoked_at == NOW


def test_a_destroyed_deploy_token_is_not_found(project: Project) -> None:
    token, secret = issue_deploy(project)

    deploy_tokens.destroy_deploy_token(token, project, by=SHELL)

    assert deploy_tokens.find_deploy_token(secret, key(), NOW) is None
    assert db.session.scalars(deploy_tokens.deploy_tokens(project, is_active=False, now=NOW)).all() == []
