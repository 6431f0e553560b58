"""``flask users``: creates, lists, and blocks users, sets their passwords, and removes their second factors."""

from __future__ import annotations

import sys

import click
from flask import current_app

from registry.cli.commands import CommandGroup, find_user, is_terminal, json_option
from registry.cli.output import Record, print_record, print_records
from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.accounts import lists, passwords, second_factors, users
from registry.domain.accounts.users import StateChange, UserDetails
from registry.models import User

PASSWORDS_OFF = "Sign-in with passwords is turned off (REGISTRY_PASSWORD_SIGN_IN)"

password_option = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from the first line of standard input. Default: prompt for it on a terminal, or generate "
    "and print one.",
)


@click.group("users", cls=CommandGroup)
def users_group() -> None:
    """Create, list, and block users, and set their passwords."""


@users_group.command("create")
@click.argument("username")
@click.option("--email", required=True, help="Email address. The registry sends no mail to it.")
@click.option("--name", help="Full name. Default: the user name.")
@click.option("--admin", is_flag=True, help="Make the user an administrator of the instance.")
@password_option
@json_option
def create_user(username: str, email: str, name: str | None, admin: bool, password_stdin: bool, as_json: bool) -> None:
    """Create the user USERNAME.

    A generated password is printed once and has to be changed at the first sign-in.
    """
    password, is_generated = _password(password_stdin)
    user = users.create_user(
        username=username, email=email, name=name or username, password=password,
        must_change_password=is_generated, details=UserDetails(is_admin=admin), by=SHELL,
    )  # fmt: skip
    _print_with_password(user, f"Created user {user.username}.", password if is_generated else None, as_json)


@users_group.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """List all users: id, user name, email address, name, state, administrator or not."""
    print_records(
        map(_user_record, db.session.scalars(lists.users(lists.UserFilter(descending=False), by_email=True))), as_json
    )


@users_group.command("block")
@click.argument("username")
@json_option
def block_user(username: str, as_json: bool) -> None:
    """Block the user USERNAME, who can then neither sign in nor use tokens."""
    _change_state(username, StateChange.BLOCK, "Blocked", as_json)


@users_group.command("unblock")
@click.argument("username")
@json_option
def unblock_user(username: str, as_json: bool) -> None:
    """Unblock the user USERNAME."""
    _change_state(username, StateChange.UNBLOCK, "Unblocked", as_json)


@users_group.command("confirm-email")
@click.argument("username")
@json_option
def confirm_email(username: str, as_json: bool) -> None:
    """Confirm the email address of the user USERNAME, so that others find the user by it.

    Addresses set by administrators are confirmed. The registry sends no mail to confirm others.
    """
    user = find_user(username)
    users.confirm_email(user, by=SHELL)
    print_record(_user_record(user), as_json, f"Confirmed the email {user.email} of {user.username}.")


@users_group.command("reset-password")
@click.argument("username")
@password_option
@json_option
def reset_password(username: str, password_stdin: bool, as_json: bool) -> None:
    """Set a new password for the user USERNAME.

    A generated password is printed once and has to be changed at the next sign-in. Where sign-in with passwords is
    turned off (REGISTRY_PASSWORD_SIGN_IN), the new password of an administrator, such as root, is accepted for an
    hour nevertheless, at /users/sign_in?password.
    """
    user = find_user(username)
    password, is_generated = _password(password_stdin)
    passwords.set_password(user, password, must_change=is_generated, by=SHELL)
    if user.is_admin:  # whatever this shell has as REGISTRY_PASSWORD_SIGN_IN, which can differ from the server
        passwords.accept_again(user, by=SHELL, now=utcnow())
    done = f"Set the password of {user.username}.{_remark_on_use(user)}"
    _print_with_password(user, done, password if is_generated else None, as_json)


def _remark_on_use(user: User) -> str:
    """Return where a new password is accepted although passwords are turned off, or can be on the server."""
    are_off = not current_app.config["PASSWORD_SIGN_IN"]
    if user.is_admin:
        condition = f"{PASSWORDS_OFF}, but" if are_off else "If the server has REGISTRY_PASSWORD_SIGN_IN=false,"
        return f" {condition} this password is accepted for an hour, at /users/sign_in?password."
    return f" {PASSWORDS_OFF}, except for administrators." if are_off else ""


@users_group.command("disable-two-factor")
@click.argument("username")
@json_option
def disable_two_factor(username: str, as_json: bool) -> None:
    """Disable two-factor authentication of the user USERNAME, for example if they have lost their devices."""
    user = find_user(username)
    second_factors.disable(user, by=SHELL)
    print_record(_user_record(user), as_json, f"Disabled two-factor authentication of {user.username}.")


def _change_state(username: str, change: StateChange, done: str, as_json: bool) -> None:
    user = find_user(username)
    users.change_state(user, change, by=SHELL)
    print_record(_user_record(user), as_json, f"{done} user {user.username}.")


def _password(from_standard_input: bool) -> tuple[str, bool]:
    """Return the password to set, and whether it was generated."""
    if from_standard_input:
        return (sys.stdin.readline() if sys.stdin else "").rstrip("\r\n"), False
    if is_terminal():
        typed: str = click.prompt(
            "Password (leave empty to generate one)", default="", show_default=False, hide_input=True,
            confirmation_prompt=True, err=True,
        )  # fmt: skip
        if typed:
            return typed, False
    return passwords.generated(), True


def _print_with_password(user: User, sentence: str, generated: str | None, as_json: bool) -> None:
    if generated is None:
        print_record(_user_record(user), as_json, sentence)
    else:
        print_record({**_user_record(user), "password": generated}, as_json, f"{sentence}\nPassword: {generated}")


def _user_record(user: User) -> Record:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "state": user.state,
        "is_admin": user.is_admin,
    }
