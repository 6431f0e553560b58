from __future__ import annotations

import pytest
from sqlalchemy import select

from registry.database import db, transaction, utcnow
from registry.domain import access
from registry.domain.accounts import users
from registry.domain.accounts.users import StateChange, UserChanges
from registry.models import AuditEvent, User, UserState
from tests import factories
from tests.cli.running import Refused, Run, columns, loaded, succeeded


def test_a_user_is_created_with_a_generated_password_that_has_to_be_changed(run: Run) -> None:
    created = succeeded(run("users", "create", "alice", "--email", "alice@example.com"))

    sentence, password = created.splitlines()
    assert sentence == "Created user alice."
    user = users.verify_password("alice", password.removeprefix("Password: "))
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
    user = users.verify_password("alice", "correct horse battery")
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
    users.change_state(owner, StateChange.BLOCK, by=access.SHELL)

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


@pytest.mark.parametrize(
    ("before", "command", "sentence"),
    [
        (UserState.BLOCKED, "block", "The user is blocked and cannot be made blocked."),
        (UserState.ACTIVE, "unblock", "The user is active and cannot be made active."),
        (UserState.DEACTIVATED, "unblock", "The user is deactivated and cannot be made active."),
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    refused: Refused, owner: User, before: UserState, command: str, sentence: str
) -> None:
    owner.state = before
    factories.commit()

    assert refused("users", command, "olivia") == sentence
    assert db.session.get_one(User, owner.id).state is before


def test_the_last_administrator_cannot_be_blocked(refused: Refused, admin: User) -> None:
    sentence = refused("users", "block", "root")

    assert sentence == "The last active administrator cannot be blocked, demoted, or deleted."


def test_an_address_that_its_user_has_set_is_confirmed(run: Run, owner: User) -> None:
    users.change_user(owner, UserChanges(email="o@example.org"), confirmed=False, by=access.SHELL)
    assert users.by_name_or_confirmed_email("o@example.org") is None

    sentence = succeeded(run("users", "confirm-email", "olivia"))

    assert sentence == "Confirmed the email o@example.org of olivia.\n"
    factories.reload(owner)
    assert users.by_name_or_confirmed_email("o@example.org") == owner


@pytest.mark.parametrize("command", ["block", "unblock", "confirm-email", "reset-password", "disable-two-factor"])
def test_an_unknown_user_is_reported_by_name(refused: Refused, command: str) -> None:
    assert refused("users", command, "nobody") == "There is no user nobody."


def test_a_password_is_reset_to_a_generated_one(run: Run, owner: User) -> None:
    sentence, password = succeeded(run("users", "reset-password", "olivia")).splitlines()

    assert sentence == "Set the password of olivia."
    user = users.verify_password("olivia", password.removeprefix("Password: "))
    assert user is not None
    assert user.must_change_password


def test_a_password_is_reset_to_that_of_standard_input(run: Run, owner: User) -> None:
    result = run("users", "reset-password", "olivia", "--password-stdin", typed="correct horse\r\n")

    assert succeeded(result) == "Set the password of olivia.\n"
    assert users.verify_password("olivia", "correct horse") is not None


def test_two_factor_authentication_is_disabled(run: Run, refused: Refused, owner: User) -> None:
    with transaction():
        owner.second_factor_since = utcnow()

    assert succeeded(run("users", "disable-two-factor", "olivia")) == "Disabled two-factor authentication of olivia.\n"

    factories.reload(owner)
    assert not owner.has_second_factor
    assert refused("users", "disable-two-factor", "olivia") == "Two-factor authentication is not enabled"
