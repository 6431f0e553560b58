"""``flask database``: upgrades and checks the database schema."""

from __future__ import annotations

import click

from registry import database
from registry.cli.commands import CommandGroup, CreatingCommand, SchemaCommand, json_option
from registry.cli.output import print_record


@click.group("database", cls=CommandGroup)
def database_group() -> None:
    """Create, upgrade, and check the database schema."""


@database_group.command("upgrade", cls=CreatingCommand)
@json_option
def upgrade_database(as_json: bool) -> None:
    """Upgrade the schema to the version that this registry requires.

    In an empty database, all tables are created. If several processes run this command at the same time, one upgrades,
    and the others wait.
    """
    before, after = database.upgrade()
    versions = {"before": before, "after": after}
    if before == after:
        print_record(versions, as_json, f"The schema is already at version {after}.")
    else:
        print_record(versions, as_json, f"Upgraded the schema from {before or 'empty'} to {after}.")


@database_group.command("check", cls=SchemaCommand)
@json_option
def check_database(as_json: bool) -> None:
    """Check that the database is available and has the schema version that this registry requires."""
    database.check_schema()
    version = database.newest_version()
    print_record({"version": version}, as_json, f"The schema is at the required version {version}.")
