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
from registry.cli import Listing
from registry.domain import namespaces
from registry.domain.accounts import users
from registry.errors import NotFound, OperatorError, RegistryError
from registry.models import Group, Namespace, Project, User
from registry.storage import Storage

Function = TypeVar("Function", bound=Callable[..., object])
AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)


class IndependentCommand(click.Command):
    """A command that needs neither configuration nor database, and reports errors in one sentence."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            with self.prepared(ctx):
                return super().invoke(ctx)
        except (OperatorError, RegistryError) as error:
            raise click.ClickException(error.sentence) from error
        except SQLAlchemyError as error:
            if not database.is_unanswered(error):
                raise
            raise click.ClickException(f"The database is not responding: {database.cause(error)}.") from error

    @contextmanager
    def prepared(self, ctx: click.Context) -> Iterator[None]:
        """Provide what the command needs while it runs."""
        yield


class Command(IndependentCommand):
    """A command that runs in an application context and requires an installation with a current schema."""

    needs_schema = True
    creates_instance = False

    @contextmanager
    def prepared(self, ctx: click.Context) -> Iterator[None]:
        app = ctx.ensure_object(ScriptInfo).load_app()
        if isinstance(app, Listing):
            app = app.create_app(creates_instance=self.creates_instance)
        with app.app_context():
            if self.needs_schema:
                database.check_schema()
            yield


class SchemaCommand(Command):
    needs_schema = False


class CreatingCommand(SchemaCommand):
    creates_instance = True


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
