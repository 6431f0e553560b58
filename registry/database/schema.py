"""The schema: versions, upgrades, consistent snapshots, and restoring a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, exists, inspect, select, text, update

from registry.database.connection import connect, disable_timeouts, is_sqlite
from registry.database.generation import content_generation
from registry.database.locks import schema_locked
from registry.database.types import Model, db
from registry.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent.parent / "migrations"
RESTORING = "restoring"  # stored in place of a schema version
_FILLED_BY_MIGRATIONS = ("content_generation", "instance_settings")


def upgrade() -> tuple[str | None, str]:
    """Upgrade the schema to the newest version; if several processes start concurrently, one of them upgrades it.

    :return: the versions before and after the upgrade.
    :raises ConfigurationError: the database cannot be opened, has an unsuitable encoding, or has the schema of a newer
        registry.
    """
    with schema_locked():
        _refuse_encoding()
        before = schema_version()
        _refuse_unknown(before)
        if before != newest_version():
            _migrate("head")
        return before, newest_version()


def check_schema() -> None:
    """Check that the schema has the required version.

    :raises ConfigurationError: the schema has another version; the sentence contains the remedy.
    """
    found = schema_version()
    _refuse_unknown(found)
    if found != newest_version():
        raise ConfigurationError(
            f"The database schema is {found or 'empty'}, but this registry requires {newest_version()}; "
            "run 'pypi-registry database upgrade'."
        )


def schema_version() -> str | None:
    """Return the schema version of the database, or ``None`` if it is empty."""
    with connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return version


def newest_version() -> str:
    return _versions(MIGRATIONS)[0]


def _refuse_encoding() -> None:
    if is_sqlite(db.engine):
        return
    with connect() as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"The database (REGISTRY_DATABASE_URL) has the encoding {encoding}; "
            "recreate it with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


def knows(version: str) -> bool:
    """Return whether this registry can upgrade a database of this version."""
    return version in _versions(MIGRATIONS)


def is_restoring() -> bool:
    """Return whether a restore into the database is running or was interrupted."""
    return schema_version() == RESTORING


def _refuse_unknown(found: str | None) -> None:
    """Refuse a database that this registry cannot upgrade.

    :raises ConfigurationError: the schema is from a newer registry, or a restore is not complete.
    """
    if found == RESTORING:
        raise ConfigurationError(
            "A restore into this database is running or was interrupted; "
            "run 'pypi-registry backup restore' with the same file again, or start over with an empty database."
        )
    if found is not None and not knows(found):
        raise ConfigurationError(
            f"The database schema is {found}, which is newer than this registry supports ({newest_version()}); "
            "start the registry version that created it, or a later one."
        )


@cache
def _versions(migrations: Path) -> tuple[str, ...]:
    """Return all known versions, newest first: the numbers that the names of the migrations begin with."""
    return tuple(sorted((path.name.partition("_")[0] for path in migrations.glob("versions/*.py")), reverse=True))


def _migrate(version: str) -> None:
    # Alembic takes longer to import than the start has left, and is rarely needed.
    from alembic import command, config

    settings = config.Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    settings.attributes["engine"] = db.engine
    command.upgrade(settings, version)


@contextmanager
def snapshot() -> Iterator[Connection]:
    """Open a connection that reads the state of the database at its first query, isolated from concurrent writes."""
    with connect() as connection:
        if is_sqlite(db.engine):
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            disable_timeouts(connection)
        yield connection


def last_ids(connection: Connection) -> dict[str, int]:
    """Return the last assigned id of each table; ids are not reused, even after their rows were deleted."""
    if is_sqlite(db.engine):
        statement = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    else:
        statement = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)")
    names = [table.name for table in Model.metadata.tables.values() if "id" in table.c]
    found = {name: connection.scalar(statement, {"name": name}) for name in names}
    return {name: number for name, number in found.items() if number is not None}


def set_last_ids(connection: Connection, numbers: Mapping[str, int]) -> None:
    """Continue the numbering of each table after these ids."""
    statements = (
        ["DELETE FROM sqlite_sequence WHERE name = :name", "INSERT INTO sqlite_sequence VALUES (:name, :number)"]
        if is_sqlite(db.engine)
        else ["SELECT setval(pg_get_serial_sequence(:name, 'id'), :number)"]
    )
    for name, number in numbers.items():
        for statement in statements:
            connection.execute(text(statement), {"name": name, "number": number})


def holds_records() -> bool:
    """Return whether the database contains rows other than those inserted by migrations; false during a restore.

    :raises ConfigurationError: the schema is from a newer registry.
    """
    found = schema_version()
    if found == RESTORING:
        return False
    _refuse_unknown(found)
    with connect() as connection:
        present = set(inspect(connection).get_table_names()).intersection(Model.metadata.tables)
        if found is None:
            return bool(present)  # tables of another program
        return any(
            connection.scalar(select(exists().select_from(Model.metadata.tables[name])))
            for name in present.difference(_FILLED_BY_MIGRATIONS)
        )


def begin_restoring(version: str) -> None:
    """Recreate the tables at this schema version; until ``restored`` completes, the registry refuses the database.

    Call it within ``schema_locked``, after ``holds_records`` returned false.

    :raises ConfigurationError: the database has an unsuitable encoding.
    """
    _refuse_encoding()
    with db.engine.begin() as connection:
        if not is_sqlite(db.engine):
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        Model.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    _migrate(version)
    with db.engine.begin() as connection:
        _set_version(connection, RESTORING)


@contextmanager
def restored(version: str) -> Iterator[Connection]:
    """Open a transaction that fills the tables created by ``begin_restoring``, and upgrade the schema after it."""
    with connect() as connection:
        if is_sqlite(db.engine):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            disable_timeouts(connection)
        yield connection
        connection.execute(update(content_generation).values(number=content_generation.c.number + 1))
        _set_version(connection, version)
        connection.commit()
    _migrate("head")


def _set_version(connection: Connection, version: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
