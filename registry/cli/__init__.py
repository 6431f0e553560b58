"""Administration from the shell: ``flask <group> <command>``, a module per group, thin calls into ``domain``.

A command acts as the principal ``SHELL`` and prints plain lines (columns separated by tabs), or JSON with ``--json``.
What it refuses is one sentence on standard error and an exit status that is not zero. It asks only when standard input
is a terminal.
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
