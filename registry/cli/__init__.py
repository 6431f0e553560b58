"""Administration from the shell: ``flask <group> <command>``. Each module has one group of thin calls into ``domain``.

A command acts as the principal ``SHELL`` and prints plain lines with tab-separated columns, or JSON with ``--json``. On
failure, it prints one sentence to standard error and exits with a non-zero status. It prompts only if standard input is
a terminal.
"""

from __future__ import annotations

from flask import Flask

from registry.cli.backup import backup_group
from registry.cli.database import database_group
from registry.cli.importing import import_packages
from registry.cli.moving import move_storage
from registry.cli.namespaces import groups_group, projects_group
from registry.cli.packages import packages_group
from registry.cli.tokens import tokens_group
from registry.cli.users import users_group


def init_app(app: Flask) -> None:
    packages_group.add_command(import_packages)
    packages_group.add_command(move_storage)
    for group in (
        database_group, users_group, tokens_group, groups_group, projects_group, packages_group, backup_group,
    ):  # fmt: skip
        app.cli.add_command(group)
