"""``flask database``: the schema."""

from __future__ import annotations

import click

from registry import database
from registry.cli.commands import CommandGroup, SchemaCommand, json_option
from registry.cli.output import print_record


@click.group("database", cls=CommandGroup)
def database_group() -> None:
    """Create, upgrade and check the database schema."""


@database_group.command("upgrade", cls=SchemaCommand)
@json_option
def upgrade_database(as_json: bool) -> None:
    """Bring the schema to the version this registry works with.

    An empty database gets its tables. Several processes may run this at once: one upgrades, the others wait.
    """
    before, after = database.upgrade()
    versions = {"before": before, "after": after}
    if before == after:
        print_record(versions, as_json, f"The schema is at version {after} already.")
    else:
        print_record(versions, as_json, f"Upgraded the schema from {before or 'empty'} to {after}.")


@database_group.command("check", cls=SchemaCommand)
@json_option
def check_database(as_json: bool) -> None:
    """Fail unless the database answers with the schema this registry works with."""
    database.check_schema()
    version = database.newest_version()
    print_record({"version": version}, as_json, f"The schema is at version {version}, as needed.")
