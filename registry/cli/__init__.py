"""Administration from the shell: ``flask <group> <command>`` in a checkout, or ``pypi-registry <group> <command>``.

Each module has one group of thin calls into ``domain``. A command acts as the principal ``SHELL`` and prints plain
lines with tab-separated columns, or JSON with ``--json``. On failure, it prints one sentence to standard error and
exits with a non-zero status. It prompts only if standard input is a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import click
from flask import Flask


class LazyGroup(click.Group):
    """A group whose module is imported when one of its commands is used or described."""

    def __init__(self, name: str, help_text: str, load: Callable[[], click.Group]) -> None:
        super().__init__(name, help=help_text)
        self._load = load

    @cached_property
    def loaded(self) -> click.Group:
        return self._load()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self.loaded.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.loaded.get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        return self.loaded.invoke(ctx)


class Listing(Flask):
    """An application that has only the groups of commands.

    :ivar create_app: creates the whole application for a command that runs; it is called with ``creates_instance``.
    """

    def __init__(self, create_app: Callable[..., Flask]) -> None:
        super().__init__("registry")
        self.create_app = create_app
        init_app(self)


def init_app(app: Flask) -> None:
    for group in lazy_groups():
        app.cli.add_command(group)


def lazy_groups() -> Iterator[LazyGroup]:
    """Yield all groups, without importing their modules."""
    for name, (help_text, load) in GROUPS.items():
        yield LazyGroup(name, help_text, load)


def _backup() -> click.Group:
    from registry.cli.backup import backup_group

    return backup_group


def _database() -> click.Group:
    from registry.cli.database import database_group

    return database_group


def _groups() -> click.Group:
    from registry.cli.namespaces import groups_group

    return groups_group


def _packages() -> click.Group:
    from registry.cli.importing import import_packages
    from registry.cli.moving import move_storage
    from registry.cli.packages import packages_group

    packages_group.add_command(import_packages)
    packages_group.add_command(move_storage)
    return packages_group


def _paths() -> click.Group:
    from registry.cli.paths import paths_group

    return paths_group


def _projects() -> click.Group:
    from registry.cli.namespaces import projects_group

    return projects_group


def _provider_roles() -> click.Group:
    from registry.cli.provider_roles import provider_roles_group

    return provider_roles_group


def _tokens() -> click.Group:
    from registry.cli.tokens import tokens_group

    return tokens_group


def _trusted_publishers() -> click.Group:
    from registry.cli.trusted_identities import trusted_publishers_group

    return trusted_publishers_group


def _trusted_readers() -> click.Group:
    from registry.cli.trusted_identities import trusted_readers_group

    return trusted_readers_group


def _upstream() -> click.Group:
    from registry.cli.upstream import upstream_group

    return upstream_group


def _users() -> click.Group:
    from registry.cli.users import users_group

    return users_group


# Each text is that of the group itself, so that listing the groups does not import them.
GROUPS = {
    "backup": ("Back up the entire installation to one file, and restore it.", _backup),
    "database": ("Create, upgrade, and check the database schema.", _database),
    "groups": ("Create and list groups.", _groups),
    "packages": (
        "List, yank, and delete packages, set the status of package names, and maintain the stored files.", _packages,
    ),
    "paths": ("List and free the paths that groups, projects, and users have given up.", _paths),
    "projects": ("Create and list projects, which hold packages.", _projects),
    "provider-roles": (
        "Add, list, and delete the roles that follow from groups of the identity provider.", _provider_roles,
    ),
    "tokens": (
        "Create, list, and revoke access tokens of users, and deploy tokens of projects and groups.", _tokens,
    ),
    "trusted-publishers": (
        "Add, list, and delete the trusted publishers of projects, and the tokens that their jobs have.",
        _trusted_publishers,
    ),
    "trusted-readers": (
        "Add, list, and delete the trusted readers of projects and groups, and the tokens that their jobs have.",
        _trusted_readers,
    ),
    "upstream": ("Maintain what the registry knows of the public index.", _upstream),
    "users": ("Create, list, and block users, and set their passwords.", _users),
}  # fmt: skip
