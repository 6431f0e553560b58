"""Code shared by all commands: command classes, options, and lookups of users and namespaces."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click
from flask import current_app
from flask.cli import ScriptInfo
from sqlalchemy.exc import SQLAlchemyError

from registry import database
from registry.domain import namespaces
from registry.domain.accounts import users
from registry.errors import NotFound, OperatorError, RegistryError
from registry.models import Group, Namespace, Project, User
from registry.storage import Storage

Function = TypeVar("Function", bound=Callable[..., object])
AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)


class Command(click.Command):
    """A command that runs in an application context, requires a current schema, and reports errors in one sentence."""

    needs_schema = True

    def invoke(self, ctx: click.Context) -> object:
        app = ctx.ensure_object(ScriptInfo).load_app()
        try:
            with app.app_context():
                if self.needs_schema:
                    database.check_schema()
                return super().invoke(ctx)
        except (OperatorError, RegistryError) as error:
            raise click.ClickException(error.sentence) from error
        except SQLAlchemyError as error:
            if not database.is_unanswered(error):
                raise
            raise click.ClickException(f"The database does not answer: {getattr(error, 'orig', error)}.") from error


class SchemaCommand(Command):
    needs_schema = False


class CommandGroup(click.Group):
    command_class = Command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # click would print the usage before the message
            raise Misuse(error.format_message()) from error


class Misuse(click.ClickException):
    exit_code = click.UsageError.exit_code


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of plain lines.")


def namespace_options(action: str) -> Callable[[Function], Function]:
    """Return a decorator that adds ``--project`` and ``--group`` to a command that acts on one of them."""

    def add(function: Function) -> Function:
        function = click.option("--group", "group_path", metavar="PATH", help=f"{action} of this group.")(function)
        return click.option("--project", "project_path", metavar="PATH", help=f"{action} of this project.")(function)

    return add


def find_user(username: str) -> User:
    with missing(f"user {username}"):
        return users.find_user(username)


def find_namespace(path: str, kind: type[AnyNamespace]) -> AnyNamespace:
    label = "group or user" if kind is Namespace else kind.__name__.lower()
    with missing(f"{label} {path}"):
        return namespaces.find(path, kind)


def project_or_group(project_path: str | None, group_path: str | None, choices: str) -> Project | Group:
    if (project_path is None) == (group_path is None):
        raise click.UsageError(f"Specify one of {choices}.")
    return find_namespace(project_path, Project) if project_path else find_namespace(group_path or "", Group)


@contextmanager
def missing(subject: str) -> Iterator[None]:
    """Name the missing record in the error message, as the shell has no access restrictions."""
    try:
        yield
    except NotFound as error:
        raise click.ClickException(f"There is no {subject}.") from error


def is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def storage() -> Storage:
    store: Storage = current_app.extensions["storage"]
    return store
