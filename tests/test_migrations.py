"""The schema as the migrations make it, on either database."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Column, Engine, MetaData, Table, create_engine, inspect, make_url, select, text

from registry import create_app, database
from registry.database import ACCESS, INDEX, MIGRATIONS, Model, db, is_sqlite, schema, utcnow
from registry.domain.access import SHELL
from registry.domain.packages import names, search
from registry.errors import ConfigurationError
from registry.models import (
    DeployToken,
    InstanceSettings,
    NameStatus,
    Package,
    PackageFile,
    PackageStatus,
    Project,
    ReservedName,
    StorageUsage,
)
from tests import factories
from tests.processes import Captured, flask, migrated_database

OLDER = sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("*.py"))[:-1]
# An upgrade from one of them includes those from all that follow; the slow group has the others, too.
UPGRADED = [
    pytest.param(version, marks=() if version in (OLDER[0], OLDER[-1]) else pytest.mark.slow) for version in OLDER
]
DROPPED = {
    "packages": {"status_message"},
    "deploy_tokens": {"revoked"},
    "content_generation": {"id"},
    "user_sessions": {"id_token"},
}  # columns that later versions lack or, of sessions, empty
DROPPED_TABLES = {"publishing_tokens", "publishing_grants"}  # which lacked what their successors hold
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
# What migrations add past the models, as it differs between the databases: the index of parts of texts.
PARTS = "searched_names_parts"
# What a row holds to be one that the registry may have written; in other columns anything of their type does.
VALUES = {
    "kind": "project", "state": "active", "users.color_scheme": "dark", "user_sessions.method": "password",
    "packages.status": "default", "purpose": "publish",
    "package_files.status": "default", "package_names.status": "archived", "jobs.status": "running",
    "imported_pipelines": [],
    "visibility": 10, "role": 30, "minimum_push_role": 40, "minimum_delete_role": None,
    "default_project_visibility": 20, "default_group_visibility": 20, "default_project_creation": "noone",
    "project_creation_level": "noone", "subgroup_creation_level": "owner", "registry_access": "public",
    "normalized_name": "demo", "pypi_upstream_mode": "cache", "advisories.id": "advisory",
}  # fmt: skip


@pytest.fixture
def new_app(tmp_path: Path, new_database: Callable[..., str]) -> Iterator[Flask]:
    """An application on an empty database, with its context pushed."""
    app = create_app({"INSTANCE_PATH": tmp_path / "instance", "DATABASE_URL": new_database()})
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def current_app(new_app: Flask) -> Flask:
    """An application on a database of the newest version without users, with its context pushed."""
    if is_sqlite(db.engine):
        shutil.copy(migrated_database(), str(db.engine.url.database))
    else:
        database.upgrade()
    return new_app


@pytest.fixture
def migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Adds, or replaces, a migration ``9999`` after the newest one, with this body."""
    newest = database.newest_version()
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "MIGRATIONS", copy)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(body: str) -> None:
        (copy / "versions" / "9999_next.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision = '9999', {newest!r}\n\n\ndef upgrade():\n    {body}\n"
        )
        schema._versions.cache_clear()

    return write


def described(engine: Engine) -> dict[str, Any]:
    """Everything the database knows about the tables, except the order of columns and defaults for old rows."""
    inspector = inspect(engine)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table),
            "never the same id": never_repeats_an_id(engine, table),
            "foreign keys": _sorted(inspector.get_foreign_keys(table)),
            "unique": _sorted(inspector.get_unique_constraints(table)),
            "checks": _sorted(inspector.get_check_constraints(table)),
            "indexes": _sorted(
                {**index, "dialect_options": {key: str(value) for key, value in index["dialect_options"].items()}}
                for index in inspector.get_indexes(table)
                if PARTS not in str(index["name"])
            ),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version" and not table.startswith(PARTS)
    }


def never_repeats_an_id(engine: Engine, table: str) -> bool:
    if not is_sqlite(engine):
        return True  # all come from sequences
    with engine.connect() as connection:
        made_with = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :table"), {"table": table})
        return "AUTOINCREMENT" in made_with.scalar_one()


def _sorted(entries: Any) -> list[Any]:
    return sorted(entries, key=repr)


def tables(engine: Engine) -> list[Table]:
    """As they are in the database, but for Alembic's own and those that triggers fill."""
    metadata = MetaData()
    metadata.reflect(engine, only=lambda name, _: not name.startswith(PARTS))
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def fill(engine: Engine) -> None:
    """Put a row into each table that has none, with a value in every column."""
    with engine.begin() as connection:
        for table in tables(engine):
            if connection.execute(table.select()).first() is None:
                connection.execute(table.insert().values({column: _value(column) for column in table.columns}))


def rows(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table that has any."""
    with engine.connect() as connection:
        found = {table.name: connection.execute(table.select()).mappings().all() for table in tables(engine)}
    return {name: [dict(row) for row in rows] for name, rows in found.items() if rows}


def _value(column: Column[Any]) -> Any:
    for name in (f"{column.table.name}.{column.name}", column.name):
        if name in VALUES:
            return VALUES[name]
    if column.table.name == "namespaces" and column.name == "parent_id":
        return None
    of_type = {
        str: column.name[:8],
        int: 1,
        float: 1.5,
        bool: True,
        date: date(2026, 1, 2),
        datetime: MOMENT,
        object: {"a": [1]},
        bytes: b"document",
    }
    return of_type[column.type.python_type]


def test_the_migrations_match_the_models(current_app: Flask, new_database: Callable[..., str]) -> None:
    from_models = create_engine(db.engine.url.set(database=make_url(new_database()).database))
    Model.metadata.create_all(from_models)

    assert described(db.engine) == described(from_models)
    from_models.dispose()


def test_the_instance_settings_begin_with_the_defaults_of_their_columns(current_app: Flask) -> None:
    table = InstanceSettings.__table__

    def read() -> dict[str, Any]:
        return dict(db.session.execute(select(table)).mappings().one())

    first = read()
    db.session.execute(table.delete())
    db.session.execute(table.insert().values(id=1))
    assert first == read()


def test_alembic_finds_nothing_to_migrate(current_app: Flask) -> None:
    with db.engine.connect() as connection:
        options = {"compare_type": True, "include_name": lambda name, *_: PARTS not in str(name)}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, Model.metadata)

    assert differences == []


def test_migrations_are_numbered_in_one_line() -> None:
    names = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))

    assert [name.split("_")[0] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    assert database.newest_version() == f"{len(names):04}"
    assert [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()] == [
        *schema._versions(MIGRATIONS)
    ]


def test_migrations_do_not_depend_on_the_models_of_today() -> None:
    for path in MIGRATIONS.rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import)\s+(\w+)", path.read_text(), re.MULTILINE)
        assert set(imported) <= {"alembic", "itertools", "packaging", "sqlalchemy", "typing", "unicodedata"}, path.name


def test_an_empty_database_is_upgraded_to_the_newest_version(new_app: Flask) -> None:
    assert database.schema_version() is None

    assert database.upgrade() == (None, database.newest_version())

    assert database.schema_version() == database.newest_version()
    database.check_schema()


def test_a_current_database_is_left_as_it_is(current_app: Flask) -> None:
    assert database.upgrade() == (database.newest_version(), database.newest_version())


@pytest.mark.sqlite
def test_a_new_database_can_be_read_by_its_owner_alone(new_app: Flask) -> None:
    database.upgrade()

    path = Path(str(db.engine.url.database))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("version", UPGRADED)
def test_data_of_an_older_version_survives_the_upgrade(new_app: Flask, version: str) -> None:
    schema._migrate(version)
    fill(db.engine)
    before = rows(db.engine)

    assert database.upgrade() == (version, database.newest_version())

    after = rows(db.engine)
    for table, old in before.items():
        if table in DROPPED_TABLES:
            continue
        kept = [{name: row[name] for name in row if name not in DROPPED.get(table, ())} for row in old]
        assert [row for row in kept if row not in [{name: new[name] for name in row} for new in after[table]]] == []
    for mapper in Model.registry.mappers:
        db.session.scalars(select(mapper)).all()  # can be read by the models


def test_a_file_published_before_yanks_were_known_is_not_yanked(new_app: Flask) -> None:
    schema._migrate("0002")
    fill(db.engine)

    database.upgrade()

    assert not db.session.scalars(select(PackageFile)).one().is_yanked
    assert names.package_name(db.session.scalars(select(Project)).one(), "demo").status is NameStatus.ACTIVE


def test_every_part_of_the_content_generation_begins_with_at_least_the_number_of_the_whole(new_app: Flask) -> None:
    schema._migrate("0008")
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE content_generation SET number = 7"))

    database.upgrade()

    generation = factories.content_generation()
    assert {*generation[:INDEX], generation[ACCESS]} == {7}
    assert generation[INDEX] > 7


def test_the_upgrade_counts_the_storage_of_projects(new_app: Flask) -> None:
    schema._migrate("0005")
    fill(db.engine)

    database.upgrade()

    file, counted = db.session.scalars(select(PackageFile)).one(), db.session.scalars(select(StorageUsage)).one()
    assert (counted.project_id, counted.files, counted.size_bytes) == (file.project_id, 1, file.size_bytes)


def test_a_package_in_a_status_that_nothing_sets_becomes_a_usual_one(new_app: Flask) -> None:
    schema._migrate("0006")
    fill(db.engine)
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE packages SET status = 'hidden'"))

    database.upgrade()

    assert db.session.scalars(select(Package.status)).one() is PackageStatus.DEFAULT


def test_the_upgrade_reserves_every_name_that_was_published(new_app: Flask) -> None:
    schema._migrate("0017")
    fill(db.engine)  # a project at the top level, with a package and a status of the name demo
    with db.engine.begin() as connection:
        events = next(table for table in tables(db.engine) if table.name == "audit_events")
        connection.execute(
            events.update().values({"action": "package_published", "target": "L0ng__Gone 1.0", "namespace_id": 1})
        )

    database.upgrade()

    columns = (ReservedName.top_id, ReservedName.normalized_name, ReservedName.skeleton, ReservedName.holder_id)
    found = db.session.execute(select(*columns).order_by(ReservedName.normalized_name))
    assert [tuple(row) for row in found] == [(1, "demo", "demo", 1), (1, "l0ng-gone", "ionggone", 1)]


def test_the_upgrade_lets_the_search_find_packages(new_app: Flask) -> None:
    schema._migrate("0019")
    fill(db.engine)

    database.upgrade()

    assert db.session.scalars(search.names(SHELL, "emo")).one().words == "summary"


@pytest.mark.parametrize("version", ["1.0rc1", "not a version"])
def test_the_upgrade_lets_the_database_sort_versions(new_app: Flask, version: str) -> None:
    schema._migrate("0035")
    fill(db.engine)
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE packages SET version = :version"), {"version": version})

    database.upgrade()

    assert db.session.scalars(select(Package.version_rank)).one() == names.version_rank(version)


def revoked_token(*changes: dict[str, object]) -> DeployToken:
    """The upgrade of a deploy token that was revoked when only audit events had the time: its own, with changes."""
    schema._migrate("0007")
    fill(db.engine)
    with db.engine.begin() as connection:
        events = next(table for table in tables(db.engine) if table.name == "audit_events")
        filled = dict(connection.execute(events.select()).mappings().one())
        connection.execute(events.delete())
        for number, changed in enumerate(changes, 1):
            own = {"id": number, "action": "deploy_token_revoked", "details": {"token_id": 1}}
            connection.execute(events.insert().values(filled | own | changed))
    database.upgrade()
    return db.session.scalars(select(DeployToken)).one()


def test_a_deploy_token_was_revoked_at_the_time_of_its_audit_event(new_app: Flask) -> None:
    assert revoked_token({}).revoked_at == MOMENT


def test_a_deploy_token_without_an_audit_event_was_revoked_before_the_upgrade(new_app: Flask) -> None:
    of_others = ({"action": "deploy_token_created"}, {"details": {"token_id": 2}}, {"namespace_id": 2})
    before = utcnow().replace(microsecond=0)

    revoked_at = revoked_token(*of_others).revoked_at

    assert revoked_at is not None
    assert before <= revoked_at <= utcnow()


def test_a_deploy_token_that_was_not_revoked_stays_active(new_app: Flask) -> None:
    schema._migrate("0007")
    fill(db.engine)
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE deploy_tokens SET revoked = false"))

    database.upgrade()

    assert db.session.scalars(select(DeployToken)).one().revoked_at is None


def test_processes_that_start_at_once_upgrade_once(tmp_path: Path, new_database: Callable[..., str]) -> None:
    environment = {
        **os.environ, "REGISTRY_INSTANCE_PATH": str(tmp_path), "REGISTRY_DATABASE_URL": new_database(),
        "REGISTRY_SLOW_QUERY_MS": "60000",  # they wait for one another, and longer waits would be logged
    }  # fmt: skip

    started = [Captured(flask, "database", "upgrade", "--json", environment=environment) for _ in range(4)]
    results = [(*process.communicate(timeout=120), process.wait()) for process in started]

    assert [(stderr, status) for _, stderr, status in results] == [("", 0)] * 4
    versions = [(json.loads(stdout)["before"], json.loads(stdout)["after"]) for stdout, _, _ in results]
    newest = database.newest_version()
    assert sorted(versions, key=str) == [(newest, newest)] * 3 + [(None, newest)]


def test_a_migration_that_fails_leaves_nothing_behind_and_can_be_repeated(
    current_app: Flask, migration: Callable[[str], None]
) -> None:
    newest = database.schema_version()
    table = "op.create_table('extras', sa.Column('id', sa.Integer(), primary_key=True))"
    migration(f"{table}; op.execute('INSERT INTO extras VALUES (1)'); op.execute('nonsense')")
    with pytest.raises(Exception, match="syntax error"):
        database.upgrade()
    assert database.schema_version() == newest
    assert not inspect(db.engine).has_table("extras")

    migration(table)

    assert database.upgrade() == (newest, "9999")
    assert inspect(db.engine).has_table("extras")


@pytest.mark.sqlite  # which cannot change a column otherwise
def test_replacing_a_table_does_not_take_the_rows_that_refer_to_it(
    current_app: Flask, migration: Callable[[str], None]
) -> None:
    project = factories.project("tools", parent=factories.group("acme"))
    before = db.session.execute(text("SELECT COUNT(*) FROM namespace_ancestries")).scalar_one()
    db.session.commit()
    migration("""
    with op.batch_alter_table("namespaces", recreate="always") as batch:
        batch.alter_column("path", type_=sa.String(300))""")

    database.upgrade()

    assert db.session.execute(text("SELECT COUNT(*) FROM namespace_ancestries")).scalar_one() == before
    assert db.session.execute(text("PRAGMA foreign_key_check")).all() == []
    assert db.session.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    assert db.session.get_one(type(project), project.id).full_path == "acme/tools"


def test_an_empty_database_is_not_served(new_app: Flask) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        database.check_schema()

    assert str(refusal.value) == (
        f"The database schema is empty, but this registry requires {database.newest_version()}; "
        "run 'pypi-registry database upgrade'."
    )


def test_an_older_database_is_not_served(current_app: Flask, migration: Callable[[str], None]) -> None:
    newest = database.schema_version()
    migration("pass")

    with pytest.raises(
        ConfigurationError, match=f"^The database schema is {newest}, but this registry requires 9999; run"
    ):
        database.check_schema()


@pytest.mark.postgresql
def test_a_database_that_does_not_keep_all_texts_is_refused(tmp_path: Path, new_database: Callable[..., str]) -> None:
    address = new_database("ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")

    with create_app({"INSTANCE_PATH": tmp_path, "DATABASE_URL": address}).app_context():
        with pytest.raises(ConfigurationError, match="has the encoding LATIN1; recreate it with CREATE DATABASE"):
            database.upgrade()
        db.engine.dispose()


@pytest.mark.parametrize("act", [database.upgrade, database.check_schema], ids=["upgrade", "check"])
def test_a_database_of_a_newer_registry_is_refused_and_left_alone(
    current_app: Flask, act: Callable[[], object]
) -> None:
    newest = database.schema_version()
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigurationError) as refusal:
        act()

    assert str(refusal.value) == (
        f"The database schema is 9999, which is newer than this registry supports ({newest}); "
        "start the registry version that created it, or a later one."
    )
    assert database.schema_version() == "9999"
