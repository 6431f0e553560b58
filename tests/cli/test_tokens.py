from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain.accounts import access_tokens, deploy_tokens
from registry.models import AccessToken, DeployToken, Group, Project, User
from tests import factories
from tests.cli.running import Refused, Run, columns, loaded, succeeded
from tests.factories import token_key


def test_an_access_token_is_printed_alone_so_that_scripts_can_take_it(run: Run, owner: User) -> None:
    day = (utcnow() + timedelta(days=30)).date()

    secret = succeeded(
        run("tokens", "create", "olivia", "--name", "ci", "--scope", "read_api", "--scope", "read_user",
            "--expires-on", str(day))
    )  # fmt: skip

    token = access_tokens.find_access_token(secret.removesuffix("\n"), token_key())
    assert token is not None
    assert (token.user.username, token.name, token.scopes) == ("olivia", "ci", ["read_api", "read_user"])
    assert token.expires_on == day


def test_an_access_token_without_an_expiry_is_valid_as_long_as_the_instance_allows(run: Run, owner: User) -> None:
    created = loaded(run("tokens", "create", "olivia", "--name", "ci", "--scope", "api", "--json"))

    assert created["token"].startswith("glpat-")
    assert created["expires_on"] == (utcnow() + timedelta(days=365)).date().isoformat()
    assert created["state"] == "active"


@pytest.mark.parametrize("kind", ["project", "group"])
def test_a_deploy_token_is_printed_after_its_user_name(run: Run, project: Project, group: Group, kind: str) -> None:
    namespace = {"project": project, "group": group}[kind]

    username, secret = succeeded(
        run("tokens", "create", f"--{kind}", namespace.full_path, "--name", "ci",
            "--scope", "read_package_registry")
    ).split()  # fmt: skip

    token = deploy_tokens.find_deploy_token(secret, token_key(), utcnow())
    assert token is not None
    assert token.namespace_id == namespace.id
    assert token.username == username == f"gitlab+deploy-token-{token.id}"
    assert token.expires_at is None


def test_a_deploy_token_can_have_a_user_name_and_an_expiry_date(run: Run, project: Project) -> None:
    created = loaded(
        run("tokens", "create", "--project", "acme/tools", "--name", "ci", "--scope", "write_package_registry",
            "--username", "robot", "--expires-on", "2100-01-31", "--json")
    )  # fmt: skip

    assert created["username"] == "robot"
    assert created["expires_on"] == "2100-01-31"
    token = db.session.get_one(DeployToken, created["id"])
    assert token.expires_at == deploy_tokens.starts_at(token.expires_at.date())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("olivia", "--name", "x"), "Missing option '--scope'."),
        (("olivia", "--scope", "api"), "Missing option '--name'."),
        (("olivia", "--name", "x", "--scope", "everything"), "scopes can only contain available scopes"),
        (("nobody", "--name", "x", "--scope", "api"), "There is no user nobody."),
        (("olivia", "--name", "x", "--scope", "api", "--expires-on", "soon"), "Invalid value for '--expires-on'"),
        (("olivia", "--name", "x", "--scope", "api", "--expires-on", "2100-01-01"), "expires_at must be before"),
        (("olivia", "--name", "x", "--scope", "api", "--project", "acme/tools"), "USERNAME is for access tokens;"),
        (("--name", "x", "--scope", "api"), "Specify one of USERNAME, --project or --group."),
        (("--name", "x", "--scope", "api", "--project", "acme/none"), "There is no project acme/none."),
        (("--name", "x", "--scope", "api", "--group", "acme/tools"), "There is no group acme/tools."),
        (("--name", "x", "--scope", "api", "--project", "acme/tools"), "scopes can only contain available scopes"),
    ],
)
def test_a_token_that_breaks_a_rule_is_refused_in_one_sentence(
    refused: Refused, project: Project, owner: User, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("tokens", "create", *arguments).startswith(sentence)

    assert db.session.scalars(select(AccessToken.id)).all() == []
    assert db.session.scalars(select(DeployToken.id)).all() == []


def test_access_tokens_are_listed_with_their_state_and_never_with_their_secret(
    run: Run, owner: User, admin: User
) -> None:
    secret = factories.access_token(owner, "read_api", "read_user")
    today = utcnow().date()
    factories.access_token(admin, expires_on=today)

    result = run("tokens", "list")

    listed = columns(result)
    assert [line[1:6] for line in listed] == [
        ["olivia", "test", "read_api,read_user", "active", str(today + timedelta(days=365))],
        ["root", "test", "api", "expired", str(today)],
    ]
    assert secret not in result.stdout


def test_the_tokens_of_one_user_are_listed(run: Run, owner: User, admin: User) -> None:
    factories.access_token(owner)
    factories.access_token(admin)

    assert [token["username"] for token in loaded(run("tokens", "list", "olivia", "--json"))] == ["olivia"]


def test_the_deploy_tokens_of_a_group_are_listed(run: Run, project: Project, group: Group) -> None:
    factories.deploy_token(project)
    factories.deploy_token(group, username="robot")

    [listed] = loaded(run("tokens", "list", "--group", "acme", "--json"))

    assert listed["username"] == "robot"
    assert listed["scopes"] == ["read_package_registry", "write_package_registry"]


def test_an_access_token_is_revoked(run: Run, owner: User) -> None:
    secret = factories.access_token(owner)
    token_id = db.session.scalars(select(AccessToken.id)).one()

    result = run("tokens", "revoke", str(token_id))

    assert succeeded(result) == f"Revoked token {token_id} (test) of olivia.\n"
    token = access_tokens.find_access_token(secret, token_key())
    assert token is not None
    assert token.revoked_at is not None
    assert loaded(run("tokens", "revoke", str(token_id), "--json"))["state"] == "revoked"


def test_a_deploy_token_is_revoked_in_its_namespace(run: Run, refused: Refused, project: Project, group: Group) -> None:
    secret = factories.deploy_token(project)
    token_id = str(db.session.scalars(select(DeployToken.id)).one())
    assert refused("tokens", "revoke", token_id, "--group", "acme") == f"There is no deploy token {token_id} in acme."

    succeeded(run("tokens", "revoke", token_id, "--project", "acme/tools"))

    assert deploy_tokens.find_deploy_token(secret, token_key(), utcnow()) is None


def test_an_unknown_token_is_reported_by_number(refused: Refused) -> None:
    assert refused("tokens", "revoke", "77") == "There is no access token 77."
