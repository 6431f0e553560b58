"""The schema: versions, upgrades, consistent snapshots, and databases restored from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import alembic.config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, exists, inspect, select, text, update

from registry.database.connection import connect, is_sqlite, wait_for_ever
from registry.database.generation import content_generation
from registry.database.locks import schema_locked
from registry.database.types import Model, db
from registry.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent.parent / "migrations"
RESTORING = "restoring"  # in the place of a schema version
_FILLED_BY_MIGRATIONS = ("content_generation", "instance_settings")


def upgrade() -> tuple[str | None, str]:
    """Bring the schema to the newest version; two processes that start at once do it once.

    :returns: the version found and the version now in place.
    :raises ConfigurationError: the database cannot be opened, does not keep all texts, or was written by a newer
        registry.
    """
    with schema_locked():
        _refuse_encoding()
        before = schema_version()
        _refuse_unknown(before)
        if before != newest_version():
            alembic.command.upgrade(_alembic_config(), "head")
        return before, newest_version()


def check_schema() -> None:
    """:raises ConfigurationError: the schema is not the one this registry works with; the sentence says what to do."""
    found = schema_version()
    _refuse_unknown(found)
    if found != newest_version():
        raise ConfigurationError(
            f"The database schema is {found or 'empty'}, this registry needs {newest_version()}; "
            "run 'flask database upgrade'."
        )


def schema_version() -> str | None:
    """The version the database is at, or ``None`` when it is empty."""
    with connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_version() -> str:
    return _versions(MIGRATIONS)[0]


def _refuse_encoding() -> None:
    if is_sqlite(db.engine):
        return
    with connect() as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"The database (REGISTRY_DATABASE_URL) keeps texts as {encoding}; "
            "make it anew with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


def knows(version: str) -> bool:
    """Whether this registry can upgrade a database of this version."""
    return version in _versions(MIGRATIONS)


def is_restoring() -> bool:
    """Whether a backup is being restored into the database, or was and did not come to its end."""
    return schema_version() == RESTORING


def _refuse_unknown(found: str | None) -> None:
    """:raises ConfigurationError: a newer registry wrote it, or nobody has finished writing it."""
    if found == RESTORING:
        raise ConfigurationError(
            "A backup is being restored into this database, or was and did not come to its end; "
            "run 'flask backup restore' with the same file again, or start over with an empty database."
        )
    if found is not None and not knows(found):
        raise ConfigurationError(
            f"The database schema is {found}, newer than this registry knows ({newest_version()}); "
            "start the registry version that wrote it, or a later one."
        )


@cache
def _versions(migrations: Path) -> tuple[str, ...]:
    """All versions this registry knows, the newest first; reading them takes as long as several requests."""
    return tuple(script.revision for script in ScriptDirectory(str(migrations)).walk_revisions())


def _alembic_config() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["engine"] = db.engine
    return config


@contextmanager
def snapshot() -> Iterator[Connection]:
    """A connection to read the database as it is at the first look, whatever is written meanwhile."""
    with connect() as connection:
        if is_sqlite(db.engine):
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            wait_for_ever(connection)
        yield connection


def last_ids(connection: Connection) -> dict[str, int]:
    """By table the last id that was given: it is not given again, even if its record is gone."""
    if is_sqlite(db.engine):
        statement = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    else:
        statement = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)")
    names = [table.name for table in Model.metadata.tables.values() if "id" in table.c]
    found = {name: connection.scalar(statement, {"name": name}) for name in names}
    return {name: number for name, number in found.items() if number is not None}


def set_last_ids(connection: Connection, numbers: Mapping[str, int]) -> None:
    """Have the next records numbered behind these."""
    statements = (
        ["DELETE FROM sqlite_sequence WHERE name = :name", "INSERT INTO sqlite_sequence VALUES (:name, :number)"]
        if is_sqlite(db.engine)
        else ["SELECT setval(pg_get_serial_sequence(:name, 'id'), :number)"]
    )
    for name, number in numbers.items():
        for statement in statements:
            connection.execute(text(statement), {"name": name, "number": number})


def holds_records() -> bool:
    """Whether there is anything in the database but what the migrations put there; not while it is being restored.

    :raises ConfigurationError: it was written by a newer registry.
    """
    found = schema_version()
    if found == RESTORING:
        return False
    _refuse_unknown(found)
    with connect() as connection:
        present = set(inspect(connection).get_table_names()).intersection(Model.metadata.tables)
        if found is None:
            return bool(present)  # of some other program, to which they mean something
        return any(
            connection.scalar(select(exists().select_from(Model.metadata.tables[name])))
            for name in present.difference(_FILLED_BY_MIGRATIONS)
        )


def begin_restoring(version: str) -> None:
    """Make the tables anew, at this schema version; until ``restored`` is done, the database is good for nothing else.

    Within ``schema_locked``, after ``holds_records`` has said no.

    :raises ConfigurationError: the database does not keep all texts.
    """
    _refuse_encoding()
    with db.engine.begin() as connection:
        if not is_sqlite(db.engine):
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        Model.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    alembic.command.upgrade(_alembic_config(), version)
    with db.engine.begin() as connection:
        _set_version(connection, RESTORING)


@contextmanager
def restored(version: str) -> Iterator[Connection]:
    """One transaction to fill the tables that ``begin_restoring`` has made; then the schema is brought up to date."""
    with connect() as connection:
        if is_sqlite(db.engine):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            wait_for_ever(connection)
        yield connection
        connection.execute(update(content_generation).values(number=content_generation.c.number + 1))
        _set_version(connection, version)
        connection.commit()
    alembic.command.upgrade(_alembic_config(), "head")


def _set_version(connection: Connection, version: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
