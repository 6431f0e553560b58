from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select

from registry import config, create_app
from registry.database import db, utcnow
from registry.domain import access, accounts, tokens
from registry.models import (
    AccessToken,
    AuditEvent,
    DeployToken,
    Group,
    Membership,
    Package,
    PackageFile,
    PackageStatus,
    Project,
    Role,
    User,
    UserState,
    Visibility,
)
from registry.storage import Storage, object_key
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.factories import token_key

Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask) -> Run:
    """Runs ``flask <arguments>`` in this process; standard input is no terminal."""
    runner = app.test_cli_runner()

    def run(*arguments: str, typed: str | None = None) -> Result:
        result = runner.invoke(args=list(arguments), input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        db.session.expire_all()
        return result

    return run


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Runs a command that must fail, and returns its one sentence."""

    def refused(*arguments: str, typed: str | None = None) -> str:
        result = run(*arguments, typed=typed)
        assert result.exit_code != 0, result.output
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("Error: ")
        return lines[0].removeprefix("Error: ")

    return refused


Refused = Callable[..., str]


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def loaded(result: Result) -> Any:
    return json.loads(succeeded(result))


def columns(result: Result) -> list[list[str]]:
    return [line.split("\t") for line in succeeded(result).splitlines()]


# Database -------------------------------------------------------------------------------------------------------


def test_database_check_tells_the_version_in_place(run: Run) -> None:
    assert re.fullmatch(r"The schema is at version \d{4}, as needed\.\n", succeeded(run("database", "check")))


def test_database_upgrade_of_a_current_schema_changes_nothing(run: Run) -> None:
    versions = loaded(run("database", "upgrade", "--json"))

    assert versions["before"] == versions["after"]


# Users ----------------------------------------------------------------------------------------------------------


def test_a_user_is_created_with_a_generated_password_that_has_to_be_changed(run: Run) -> None:
    created = succeeded(run("users", "create", "alice", "--email", "alice@example.com"))

    sentence, password = created.splitlines()
    assert sentence == "Created user alice."
    user = accounts.verify_password("alice", password.removeprefix("Password: "))
    assert user is not None
    assert user.must_change_password
    assert not user.is_admin
    assert (user.name, user.email) == ("alice", "alice@example.com")


def test_a_user_is_created_with_the_password_of_standard_input(run: Run) -> None:
    result = run(
        "users", "create", "alice", "--email", "a@example.com", "--name", "Alice Liddell", "--admin",
        "--password-stdin", typed="correct horse battery\nnot read\n",
    )  # fmt: skip

    assert succeeded(result) == "Created user alice.\n"
    user = accounts.verify_password("alice", "correct horse battery")
    assert user is not None
    assert not user.must_change_password
    assert user.is_admin
    assert user.name == "Alice Liddell"


def test_a_user_created_from_the_shell_is_audited_as_such(run: Run) -> None:
    succeeded(run("users", "create", "alice", "--email", "a@example.com"))

    assert db.session.execute(select(AuditEvent.action, AuditEvent.author)).all() == [("user_created", "shell")]


def test_a_created_user_as_json_carries_the_generated_password(run: Run) -> None:
    created = loaded(run("users", "create", "alice", "--email", "a@example.com", "--json"))

    assert created.pop("password")
    assert created == {
        "id": 1, "username": "alice", "email": "a@example.com", "name": "alice", "state": "active", "is_admin": False
    } | {"id": created["id"]}  # fmt: skip


def test_no_password_is_shown_that_was_given(run: Run) -> None:
    arguments = ("users", "create", "alice", "--email", "a@example.com", "--password-stdin", "--json")

    created = loaded(run(*arguments, typed="correct horse\n"))

    assert "password" not in created


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("root", "--email", "newcomer@example.com"), "Username has already been taken"),
        (("newcomer", "--email", "ROOT@example.com"), "Email has already been taken"),
        (("newcomer", "--email", "nonsense"), "email is invalid"),
        (("ad/min", "--email", "newcomer@example.com"), "username can contain only letters, digits, '_', '-' and '.'."),
        (("newcomer",), "Missing option '--email'."),
    ],
    ids=["user name taken", "e-mail taken", "no e-mail", "bad user name", "e-mail missing"],
)
def test_a_user_that_breaks_a_rule_is_refused_in_one_sentence(
    admin: User, refused: Refused, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("users", "create", *arguments).startswith(sentence)

    assert db.session.scalars(select(User.username)).all() == ["root"]


@pytest.mark.parametrize("given", ["short\n", "", "\n"], ids=["short", "nothing", "empty line"])
def test_a_password_from_standard_input_that_is_too_short_is_refused(refused: Refused, given: str) -> None:
    sentence = refused("users", "create", "alice", "--email", "a@example.com", "--password-stdin", typed=given)

    assert sentence == "password is too short (minimum is 8 characters)"


def test_users_are_listed_by_id_with_state_and_kind(run: Run, admin: User, owner: User) -> None:
    accounts.set_state(owner, UserState.BLOCKED, by=access.SHELL)

    assert columns(run("users", "list")) == [
        [str(admin.id), "root", "root@example.com", "Root", "active", "yes"],
        [str(owner.id), "olivia", "olivia@example.com", "Olivia", "blocked", "no"],
    ]


def test_users_are_listed_as_json(run: Run, admin: User) -> None:
    [listed] = loaded(run("users", "list", "--json"))

    assert listed == {
        "id": admin.id,
        "username": "root",
        "email": "root@example.com",
        "name": "Root",
        "state": "active",
        "is_admin": True,
    }


def test_a_user_is_blocked_and_unblocked(run: Run, admin: User, owner: User) -> None:
    assert succeeded(run("users", "block", "Olivia")) == "Blocked user olivia.\n"
    assert db.session.get_one(User, owner.id).state is UserState.BLOCKED

    assert succeeded(run("users", "unblock", "olivia")) == "Unblocked user olivia.\n"
    assert db.session.get_one(User, owner.id).state is UserState.ACTIVE


def test_the_last_administrator_cannot_be_blocked(refused: Refused, admin: User) -> None:
    sentence = refused("users", "block", "root")

    assert sentence == "The last active administrator cannot be blocked, demoted or deleted."


@pytest.mark.parametrize("command", ["block", "unblock", "reset-password"])
def test_an_unknown_user_is_told_by_name(refused: Refused, command: str) -> None:
    assert refused("users", command, "nobody") == "There is no user nobody."


def test_a_password_is_reset_to_a_generated_one(run: Run, owner: User) -> None:
    sentence, password = succeeded(run("users", "reset-password", "olivia")).splitlines()

    assert sentence == "Set the password of olivia."
    user = accounts.verify_password("olivia", password.removeprefix("Password: "))
    assert user is not None
    assert user.must_change_password


def test_a_password_is_reset_to_that_of_standard_input(run: Run, owner: User) -> None:
    result = run("users", "reset-password", "olivia", "--password-stdin", typed="correct horse\r\n")

    assert succeeded(result) == "Set the password of olivia.\n"
    assert accounts.verify_password("olivia", "correct horse") is not None


# Tokens ---------------------------------------------------------------------------------------------------------


def test_an_access_token_is_printed_alone_so_that_scripts_can_take_it(run: Run, owner: User) -> None:
    day = (utcnow() + timedelta(days=30)).date()

    secret = succeeded(
        run("tokens", "create", "olivia", "--name", "ci", "--scope", "read_api", "--scope", "read_user",
            "--expires-on", str(day))
    )  # fmt: skip

    token = tokens.find_access_token(secret.removesuffix("\n"), token_key())
    assert token is not None
    assert (token.user.username, token.name, token.scopes) == ("olivia", "ci", ["read_api", "read_user"])
    assert token.expires_on == day


def test_an_access_token_without_a_day_lives_as_long_as_the_instance_allows(run: Run, owner: User) -> None:
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

    token = tokens.find_deploy_token(secret, token_key(), utcnow())
    assert token is not None
    assert token.namespace_id == namespace.id
    assert token.username == username == f"gitlab+deploy-token-{token.id}"
    assert token.expires_at is None


def test_a_deploy_token_takes_user_name_and_day_of_expiry(run: Run, project: Project) -> None:
    created = loaded(
        run("tokens", "create", "--project", "acme/tools", "--name", "ci", "--scope", "write_package_registry",
            "--username", "robot", "--expires-on", "2100-01-31", "--json")
    )  # fmt: skip

    assert created["username"] == "robot"
    assert created["expires_on"] == "2100-01-31"
    token = db.session.get_one(DeployToken, created["id"])
    assert token.expires_at == tokens.starts_at(token.expires_at.date())  # type: ignore[union-attr]


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
        (("--name", "x", "--scope", "api"), "Say which: one of USERNAME, --project or --group."),
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
    token = tokens.find_access_token(secret, token_key())
    assert token is not None
    assert token.revoked_at is not None
    assert loaded(run("tokens", "revoke", str(token_id), "--json"))["state"] == "revoked"


def test_a_deploy_token_is_revoked_in_its_namespace(run: Run, refused: Refused, project: Project, group: Group) -> None:
    secret = factories.deploy_token(project)
    token_id = str(db.session.scalars(select(DeployToken.id)).one())
    assert refused("tokens", "revoke", token_id, "--group", "acme") == f"There is no deploy token {token_id} in acme."

    succeeded(run("tokens", "revoke", token_id, "--project", "acme/tools"))

    assert tokens.find_deploy_token(secret, token_key(), utcnow()) is None


def test_an_unknown_token_is_told_by_number(refused: Refused) -> None:
    assert refused("tokens", "revoke", "77") == "There is no access token 77."


# Groups and projects --------------------------------------------------------------------------------------------


def test_a_group_and_a_subgroup_are_created(run: Run, owner: User) -> None:
    assert succeeded(run("groups", "create", "acme", "--visibility", "public", "--owner", "olivia")) == (
        "Created group acme.\n"
    )
    created = loaded(run("groups", "create", "Acme/inner", "--name", "Inner circle", "--json"))

    assert created == {
        "id": created["id"], "path": "acme/inner", "name": "Inner circle", "visibility": "private"
    }  # fmt: skip
    assert db.session.execute(select(Membership.user_id, Membership.role).join(Group)).all() == [(owner.id, Role.OWNER)]


def test_a_group_whose_owner_is_unknown_is_not_created(refused: Refused) -> None:
    assert refused("groups", "create", "acme", "--owner", "nobody") == "There is no user nobody."

    assert db.session.scalars(select(Group.id)).all() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("acme",), "path has already been taken"),
        (("none/inner",), "There is no group none."),
        (("api",), "path api is a reserved name"),
        (("acme/",), "name can't be blank; path can't be blank"),
        (("acme/inner", "--visibility", "public"), "visibility_level public is not allowed since the parent group"),
        (("other", "--visibility", "secret"), "Invalid value for '--visibility': 'secret' is not one of"),
    ],
)
def test_a_group_that_breaks_a_rule_is_refused_in_one_sentence(
    refused: Refused, group: Group, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("groups", "create", *arguments).startswith(sentence)


def test_groups_are_listed_by_path(run: Run, group: Group) -> None:
    inner = factories.group("inner", parent=group)
    first = factories.group("aaa", visibility=Visibility.INTERNAL)

    assert columns(run("groups", "list")) == [
        [str(first.id), "aaa", "Aaa", "internal"],
        [str(group.id), "acme", "Acme", "private"],
        [str(inner.id), "acme/inner", "Inner", "private"],
    ]


@pytest.mark.parametrize("parent", ["acme", "acme/inner", "olivia"])
def test_a_project_is_created_in_a_group_a_subgroup_or_a_users_space(run: Run, group: Group, parent: str) -> None:
    factories.group("inner", parent=group)

    assert succeeded(run("projects", "create", f"{parent}/tools")) == f"Created project {parent}/tools.\n"

    created = db.session.scalars(select(Project)).one()
    assert (created.full_path, created.name, created.visibility) == (f"{parent}/tools", "tools", Visibility.PRIVATE)


def test_a_project_is_created_with_name_and_visibility(run: Run) -> None:
    factories.group("open", visibility=Visibility.PUBLIC)

    created = loaded(run("projects", "create", "open/p", "--name", "Python tools", "--visibility", "public", "--json"))

    assert created == {"id": created["id"], "path": "open/p", "name": "Python tools", "visibility": "public"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tools",), "'tools' names no group or user that the project would be in."),
        (("none/tools",), "There is no group or user none."),
        (("acme/tools",), "project_namespace.name has already been taken"),
        (("acme/tools/inner",), "namespace is not valid"),
        (("acme/other", "--visibility", "internal"), "visibility_level internal is not allowed in a private group."),
    ],
    ids=["no parent", "unknown parent", "taken", "in a project", "more visible than its group"],
)
def test_a_project_that_breaks_a_rule_is_refused_in_one_sentence(
    refused: Refused, project: Project, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("projects", "create", *arguments).startswith(sentence)


def test_projects_are_listed_by_path_all_or_those_of_a_group(run: Run, project: Project) -> None:
    other = factories.project("other", parent=factories.group("zoo"))

    assert columns(run("projects", "list")) == [
        [str(project.id), "acme/tools", "Tools", "private"],
        [str(other.id), "zoo/other", "Other", "private"],
    ]
    assert [listed["path"] for listed in loaded(run("projects", "list", "--group", "acme", "--json"))] == ["acme/tools"]


# Packages -------------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(project: Project) -> Package:
    return db.session.get_one(Package, factories.published(project, build_wheel("Demo.Pkg", "1.0")).package_id)


def test_the_packages_of_a_project_are_listed(run: Run, project: Project, demo: Package) -> None:
    factories.published(factories.project(), build_wheel("other", "1.0"))

    [line] = columns(run("packages", "list", "--project", "acme/tools"))

    assert line == [
        str(demo.id), "acme/tools", "Demo.Pkg", "1.0", "default", demo.created_at.isoformat(timespec="seconds")
    ]  # fmt: skip


def test_the_packages_of_a_group_are_listed_with_those_of_its_subgroups(run: Run, group: Group, demo: Package) -> None:
    inner = factories.project("deep", parent=factories.group("inner", parent=group))
    factories.published(inner, build_wheel("other", "1.0"))

    listed = loaded(run("packages", "list", "--group", "acme", "--json"))

    assert [(package["project"], package["name"]) for package in listed] == [
        ("acme/inner/deep", "other"),
        ("acme/tools", "Demo.Pkg"),
    ]


@pytest.mark.parametrize("options", [(), ("--project", "acme/tools", "--group", "acme")], ids=["neither", "both"])
def test_packages_of_nothing_in_particular_are_not_listed(
    refused: Refused, project: Project, options: tuple[str, ...]
) -> None:
    assert refused("packages", "list", *options) == "Say which: one of --project or --group."


@pytest.mark.parametrize("spelled", ["Demo.Pkg", "demo-pkg", "DEMO__pkg"])
def test_a_package_is_deleted_under_any_spelling_of_its_name(run: Run, demo: Package, spelled: str) -> None:
    result = run("packages", "delete", "--project", "acme/tools", spelled, "1.0", "--yes")

    assert succeeded(result) == "Deleted Demo.Pkg 1.0 from acme/tools.\n"
    assert db.session.scalars(select(Package.status)).all() == [PackageStatus.PENDING_DESTRUCTION]


def test_a_package_that_is_hidden_can_be_deleted_too(run: Run, demo: Package) -> None:
    demo.status = PackageStatus.HIDDEN
    db.session.commit()

    succeeded(run("packages", "delete", "--project", "acme/tools", "demo-pkg", "1.0", "--yes"))

    assert db.session.scalars(select(Package.status)).all() == [PackageStatus.PENDING_DESTRUCTION]


def test_a_package_is_not_deleted_when_nobody_can_be_asked(refused: Refused, demo: Package) -> None:
    sentence = refused("packages", "delete", "--project", "acme/tools", "demo-pkg", "1.0", typed="y\n")

    assert sentence == "Nobody can be asked here whether to delete it; say --yes."
    assert db.session.scalars(select(Package.status)).all() == [PackageStatus.DEFAULT]


def test_a_package_that_is_not_there_is_told_by_name(refused: Refused, demo: Package) -> None:
    sentence = refused("packages", "delete", "--project", "acme/tools", "demo-pkg", "2.0", "--yes")

    assert sentence == "There is no package demo-pkg 2.0 in acme/tools."


def yanked(project: Project) -> dict[str, str | None]:
    return {file.filename: file.yanked_reason for file in db.session.scalars(select(PackageFile))}


def test_a_version_is_yanked_under_every_spelling_and_offered_again(run: Run, project: Project, demo: Package) -> None:
    factories.published(project, build_sdist("demo_pkg", "1.0"))
    factories.published(project, build_wheel("demo-pkg", "2.0"))
    release = ("--project", "acme/tools", "demo-PKG", "1.0")

    assert succeeded(run("packages", "yank", *release, "--reason", "Loses data")) == (
        "Yanked Demo.Pkg 1.0 in acme/tools.\n"
    )

    wheel, sdist = "demo_pkg-1.0-py3-none-any.whl", "demo_pkg-1.0.tar.gz"
    others = {"demo_pkg-2.0-py3-none-any.whl": None}
    assert yanked(project) == {wheel: "Loses data", sdist: "Loses data"} | others

    assert succeeded(run("packages", "unyank", *release, "--file", sdist)) == f"Unyanked {sdist} in acme/tools.\n"
    assert yanked(project) == {wheel: "Loses data", sdist: None} | others
    assert loaded(run("packages", "unyank", *release, "--json")) == {
        "project": "acme/tools", "name": "Demo.Pkg", "version": "1.0",
        "files": [
            {"filename": wheel, "yanked": False, "yanked_reason": None},
            {"filename": sdist, "yanked": False, "yanked_reason": None},
        ],
    }  # fmt: skip


def test_one_file_is_yanked(run: Run, project: Project, demo: Package) -> None:
    factories.published(project, build_sdist("Demo.Pkg", "1.0"))
    sdist = "demo_pkg-1.0.tar.gz"

    told = loaded(run("packages", "yank", "--project", "acme/tools", "demo-pkg", "1.0", "--file", sdist, "--json"))

    assert [(file["filename"], file["yanked"], file["yanked_reason"]) for file in told["files"]] == [
        ("demo_pkg-1.0-py3-none-any.whl", False, None),
        (sdist, True, ""),
    ]


@pytest.mark.parametrize("command", ["yank", "unyank"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("demo-pkg", "2.0"), "There is no package demo-pkg 2.0 in acme/tools."),
        (("demo-pkg", "1.0", "--file", "x.whl"), "demo-pkg 1.0 in acme/tools has no file x.whl."),
    ],
    ids=["version", "file"],
)
def test_what_is_not_there_cannot_be_yanked(
    refused: Refused, demo: Package, command: str, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("packages", command, "--project", "acme/tools", *arguments) == sentence


def test_a_reason_that_cannot_be_shown_is_refused(refused: Refused, demo: Package) -> None:
    sentence = refused("packages", "yank", "--project", "acme/tools", "demo-pkg", "1.0", "--reason", "x" * 1001)

    assert sentence == "reason has 1001 characters; at most 1000 are accepted"


def test_the_status_of_a_name_is_shown_and_set(run: Run, demo: Package) -> None:
    command = ("packages", "status", "--project", "acme/tools", "Demo_Pkg")
    assert succeeded(run(*command)) == "demo-pkg in acme/tools is active.\n"

    assert succeeded(run(*command, "archived", "--reason", "Moved to demo2")) == (
        "demo-pkg in acme/tools is archived: Moved to demo2\n"
    )
    assert loaded(run(*command, "--json")) == {
        "project": "acme/tools", "name": "demo-pkg", "status": "archived", "reason": "Moved to demo2"
    }  # fmt: skip
    assert succeeded(run(*command, "active")) == "demo-pkg in acme/tools is active.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("other",), "There is no package other in acme/tools."),
        (("other", "archived"), "There is no package other in acme/tools."),
        (("demo-pkg", "--reason", "Why not"), "--reason goes with a STATUS."),
        (("demo-pkg", "gone"), "Invalid value for '[active|deprecated|archived|quarantined]': 'gone' is not one of"),
    ],
    ids=["unknown name", "unknown name to set", "reason alone", "unknown status"],
)
def test_a_status_that_cannot_be_is_refused_in_one_sentence(
    refused: Refused, demo: Package, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("packages", "status", "--project", "acme/tools", *arguments).startswith(sentence)


def test_a_cleanup_tells_what_it_removed(run: Run, project: Project, demo: Package) -> None:
    succeeded(run("packages", "delete", "--project", "acme/tools", "demo-pkg", "1.0", "--yes"))

    result = run("packages", "cleanup")

    assert succeeded(result) == (
        "Removed 1 packages, 1 package files, 0 stored objects (0 bytes) and 0 unfinished uploads.\n"
    )
    assert loaded(run("packages", "cleanup", "--json")) == {
        "packages": 0, "files": 0, "objects": 0, "size_bytes": 0, "staged_files": 0
    }  # fmt: skip


def test_a_sound_store_passes_its_verification(run: Run, demo: Package) -> None:
    result = run("packages", "verify")

    assert succeeded(result) == ("Checked 2 objects: 0 missing, 0 damaged, 0 without a package file, 0 removed.\n")


@pytest.fixture
def lost(storage: Storage, project: Project) -> str:
    """The key of an object that a published file needs and that is not there."""
    key = object_key(factories.published(project, build_wheel("lost", "1.0")).sha256)
    storage.delete(key)
    return key


def test_a_verification_that_finds_something_fails(run: Run, lost: str) -> None:
    result = run("packages", "verify")

    assert result.exit_code == 1
    counts = "1 missing, 0 damaged, 0 without a package file, 0 removed"
    assert result.stdout.splitlines() == [
        f"missing\t{lost}\tacme/tools: lost-1.0-py3-none-any.whl\tno",
        f"Checked 2 objects: {counts}.",
    ]
    assert result.stderr == f"Error: The store is not as it should be: {counts}.\n"


def test_a_verification_as_json_holds_every_problem(run: Run, lost: str) -> None:
    result = run("packages", "verify", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "checked": 2, "missing": 1, "damaged": 0, "orphaned": 0, "removed": 0,
        "problems": [
            {"defect": "missing", "key": lost, "files": ["acme/tools: lost-1.0-py3-none-any.whl"], "removed": False}
        ],
    }  # fmt: skip


def test_a_repair_removes_old_objects_that_nothing_refers_to(run: Run, storage: Storage) -> None:
    staged = storage.stage()
    staged.write(b"left over")
    key = object_key(staged.sha256)
    storage.put(key, staged)
    staged.close()
    os.utime(storage.root / key, (0, 0))  # type: ignore[attr-defined]
    assert run("packages", "verify").exit_code == 1

    result = run("packages", "verify", "--repair")

    assert succeeded(result).splitlines()[0] == f"orphaned\t{key}\t\tyes"
    assert not storage.exists(key)


def on_disk(folder: Path, *files: BuiltFile) -> list[str]:
    for file in files:
        (folder / file.filename).write_bytes(file.content)
    return [str(folder / file.filename) for file in files]


def test_files_in_order_are_checked_without_a_word_of_complaint(run: Run, tmp_path: Path) -> None:
    paths = on_disk(tmp_path, build_wheel(), build_sdist())

    assert columns(run("packages", "check", *paths)) == [[paths[0], "ok"], [paths[1], "ok"]]


def test_everything_wrong_with_files_is_told_a_line_each(run: Run, tmp_path: Path) -> None:
    good, bad = on_disk(tmp_path, build_wheel(), build_sdist(requires_python="3+", requires_dist=["a\tb"]))

    result = run("packages", "check", good, bad)

    assert result.exit_code == 1
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        [good, "ok"],
        [bad, r"Requires-Dist is 'a\tb', expected is a requirement as in PEP 508"],
        [bad, "Requires-Python is '3+', expected is version specifiers as in PEP 440"],
    ]
    assert result.stderr == "Error: 1 of 2 files would be refused.\n"


def test_checked_files_as_json_have_every_problem(run: Run, tmp_path: Path) -> None:
    good, bad = on_disk(tmp_path, build_wheel(), build_wheel(filename="other-1.0-py3-none-any.whl"))

    result = run("packages", "check", "--json", good, bad)

    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"file": good, "name": "demo", "version": "1.0", "errors": []},
        {
            "file": bad,
            "name": "demo",
            "version": "1.0",
            "errors": [
                {
                    "field": ".dist-info folder",
                    "value": "demo-1.0.dist-info",
                    "expected": "that of other 1.0 as in the file name",
                },
                {"field": "Name", "value": "demo", "expected": "other as in the file name"},
            ],
        },
    ]


def test_a_file_to_check_has_to_be_there(refused: Refused, tmp_path: Path) -> None:
    assert "'gone.whl' does not exist" in refused("packages", "check", "gone.whl")
    assert "is a directory" in refused("packages", "check", str(tmp_path))


def test_files_are_checked_without_a_database(tmp_path: Path) -> None:
    (path,) = on_disk(tmp_path, build_wheel())
    empty = create_app({"INSTANCE_PATH": tmp_path / "instance"})

    result = empty.test_cli_runner().invoke(args=["packages", "check", path])

    assert succeeded(result) == f"{path}\tok\n"


# All commands ---------------------------------------------------------------------------------------------------

GROUPS = {
    "database": ["check", "upgrade"],
    "users": ["block", "create", "list", "reset-password", "unblock"],
    "tokens": ["create", "list", "revoke"],
    "groups": ["create", "list"],
    "projects": ["create", "list"],
    "packages": ["check", "cleanup", "delete", "list", "status", "unyank", "verify", "yank"],
}


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_explains_its_commands(run: Run, group: str) -> None:
    explained = succeeded(run(group, "--help"))

    listed = re.findall(r"^  (\S+)  +\S", explained.split("Commands:\n")[1], re.MULTILINE)
    assert listed == GROUPS[group]


@pytest.mark.parametrize(("group", "command"), [(group, command) for group in GROUPS for command in GROUPS[group]])
def test_every_command_explains_itself_and_offers_json(run: Run, group: str, command: str) -> None:
    explained = succeeded(run(group, command, "--help"))

    assert re.match(rf"Usage: \w+ {group} {command} ", explained)
    assert len(explained.split("\n\n")[1].strip()) > 20
    assert "--json" in explained


@pytest.mark.parametrize("arguments", [("users", "bogus"), ("users", "list", "--bogus"), ("tokens", "revoke", "x")])
def test_a_misspelled_command_fails_in_one_sentence(refused: Refused, arguments: tuple[str, ...]) -> None:
    assert refused(*arguments)


# The real thing -------------------------------------------------------------------------------------------------


class Shell:
    """Runs ``flask`` as an administrator does: in the checkout, as a process of its own."""

    def __init__(self, instance: Path) -> None:
        self.instance = instance
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "FLASK_"))
        } | {"REGISTRY_INSTANCE_PATH": str(instance)}

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=config.ROOT, env={**self.environment, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def on_a_terminal(self, *arguments: str, answers: list[str]) -> tuple[int, str]:
        """Exit status and what the screen shows; each answer is typed when a prompt waits for it."""
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            self.command(*arguments), cwd=config.ROOT, env=self.environment, stdin=terminal, stdout=terminal,
            stderr=terminal, start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        screen = b""
        try:
            while piece := os.read(controller, 4096):
                screen += piece
                if answers and screen.endswith(b": "):
                    os.write(controller, answers.pop(0).encode() + b"\n")
        except OSError:  # the last program on the terminal has ended
            pass
        os.close(controller)
        return process.wait(timeout=60), screen.decode()

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "flask", *arguments]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell on a new installation."""
    shell = Shell(tmp_path / "instance")
    assert shell("database", "upgrade").returncode == 0
    return shell


def test_flask_finds_the_application_in_the_checkout_and_lists_all_groups(tmp_path: Path) -> None:
    flask = Path(sys.executable).with_name("flask")

    shown = subprocess.run(
        [flask, "--help"], cwd=config.ROOT, env=Shell(tmp_path).environment, capture_output=True, text=True, check=True
    )

    assert shown.stderr == ""
    assert set(GROUPS) <= set(re.findall(r"^  (\w+) ", shown.stdout, re.MULTILINE))


def test_an_empty_database_is_upgraded_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path)

    first, second = shell("database", "upgrade"), shell("database", "upgrade")

    assert re.fullmatch(r"Upgraded the schema from empty to \d{4}\.\n", first.stdout)
    assert re.fullmatch(r"The schema is at version \d{4} already\.\n", second.stdout)
    assert (first.stderr, second.stderr) == ("", "")


@pytest.mark.parametrize("arguments", [("users", "list"), ("database", "check"), ("packages", "cleanup")])
def test_a_command_on_an_empty_database_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = Shell(tmp_path)(*arguments)

    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(
        r"Error: The database schema is empty, this registry needs \d{4}; run 'flask database upgrade'\.\n",
        result.stderr,
    )


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"REGISTRY_PORT": "http"}, "REGISTRY_PORT is 'http'; accepted is a whole number from 0 to 65535."),
        ({"REGISTRY_STORAGE_URL": "file:///dev/null/packages"}, "The package folder /dev/null/packages cannot be made"),
        ({"REGISTRY_INSTANCE_PATH": "/dev/null/instance"}, "The instance folder /dev/null/instance"),
        ({"REGISTRY_DATABASE_URL": "sqlite:////none/at/all.sqlite3"}, "The database (REGISTRY_DATABASE_URL) cannot be"),
        (
            {"REGISTRY_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"},
            "The database (REGISTRY_DATABASE_URL) canno",
        ),
        ({"REGISTRY_DATABASE_URL": "postgresql://u:secret@[::1/x"}, "REGISTRY_DATABASE_URL is set to an address that"),
    ],
    ids=["port", "package folder", "instance folder", "database file", "database server", "database address"],
)
def test_a_wrong_setting_is_one_sentence_and_no_traceback(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    result = Shell(tmp_path)("users", "list", **variables)

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {sentence}")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_a_file_that_is_no_database_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_text("this is a letter, and long enough not to look like an empty file" * 20)

    result = Shell(tmp_path)("users", "list")

    assert result.returncode == 1
    assert result.stderr == ("Error: The database (REGISTRY_DATABASE_URL) cannot be opened: file is not a database.\n")


def test_an_installation_is_set_up_from_the_shell(shell: Shell) -> None:
    for arguments in (
        ("users", "create", "alice", "--email", "alice@example.com"),
        ("groups", "create", "acme", "--owner", "alice"),
        ("projects", "create", "acme/tools", "--visibility", "private"),
    ):
        assert shell(*arguments).returncode == 0

    token = shell("tokens", "create", "alice", "--name", "laptop", "--scope", "api")

    assert re.fullmatch(r"glpat-[\w-]{43}\n", token.stdout)
    assert json.loads(shell("projects", "list", "--json").stdout)[0]["path"] == "acme/tools"


def test_nothing_is_asked_when_standard_input_is_closed(shell: Shell) -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m flask users create bob --email bob@example.com <&-', sys.executable],
        cwd=config.ROOT, env=shell.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Created user bob.\nPassword: ")


def test_a_terminal_is_asked_for_the_password_twice_and_does_not_show_it(shell: Shell) -> None:
    status, screen = shell.on_a_terminal(
        "users", "create", "carol", "--email", "carol@example.com", answers=["correct horse", "correct horse"]
    )

    assert status == 0
    assert "Created user carol." in screen
    assert "Password:" not in screen.split("Created user carol.")[1]


def test_a_password_left_empty_on_a_terminal_is_generated(shell: Shell) -> None:
    status, screen = shell.on_a_terminal("users", "create", "carol", "--email", "carol@example.com", answers=["", ""])

    assert status == 0
    assert re.search(r"Created user carol\.\s+Password: \S{24}\s", screen)


@pytest.fixture
def project_at_the_shell(shell: Shell) -> Iterator[Project]:
    """A project with one package in the installation of ``shell``."""
    other = create_app({"INSTANCE_PATH": shell.instance})
    with other.app_context():
        project = factories.project("tools", parent=factories.group("acme"))
        factories.published(project, build_wheel("demo", "1.0"))
        yield project


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1)], ids=["yes", "no"])
def test_a_terminal_is_asked_before_a_package_is_deleted(
    shell: Shell, project_at_the_shell: Project, answer: str, status: int
) -> None:
    found, screen = shell.on_a_terminal(
        "packages", "delete", "--project", "acme/tools", "demo", "1.0", answers=[answer]
    )

    assert "Delete demo 1.0 from acme/tools? [y/N]" in screen
    assert found == status
    left = shell("packages", "list", "--project", "acme/tools").stdout
    assert (left == "") is (answer == "y")
