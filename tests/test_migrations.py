"""The schema as the migrations make it. SQLite here; the same migrations run on PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import Engine, create_engine, inspect, text

from registry import config, create_app, database
from registry.database import MIGRATIONS, Model, db
from registry.domain import catalog
from registry.errors import ConfigurationError
from registry.models import NameStatus, PackageFile, Project, User
from tests import factories

FIRST = "0001"


@pytest.fixture
def new_app(tmp_path: Path) -> Iterator[Flask]:
    """An application on an empty SQLite database, with its context pushed."""
    app = create_app({"INSTANCE_PATH": tmp_path / "instance"})
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Adds, or replaces, a migration ``9999`` after the newest one, with this body."""
    newest = database.newest_version()
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(database, "MIGRATIONS", copy)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(body: str) -> None:
        (copy / "versions" / "9999_next.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision = '9999', {newest!r}\n\n\ndef upgrade():\n    {body}\n"
        )
        database._versions.cache_clear()

    return write


def described(engine: Engine) -> dict[str, Any]:
    """Everything about the tables that the database can tell, but the order of columns and defaults for old rows."""
    inspector = inspect(engine)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        made_with = {row.name: row.sql for row in rows}
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table),
            "never the same id": "AUTOINCREMENT" in made_with[table],
            "foreign keys": _sorted(inspector.get_foreign_keys(table)),
            "unique": _sorted(inspector.get_unique_constraints(table)),
            "checks": _sorted(inspector.get_check_constraints(table)),
            "indexes": _sorted(
                {**index, "dialect_options": {key: str(value) for key, value in index["dialect_options"].items()}}
                for index in inspector.get_indexes(table)
            ),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def _sorted(entries: Any) -> list[Any]:
    return sorted(entries, key=repr)


# Models and migrations ------------------------------------------------------------------------------------------


def test_the_migrations_make_what_the_models_say(new_app: Flask, tmp_path: Path) -> None:
    database.upgrade()
    from_models = create_engine(f"sqlite:///{tmp_path / 'models.sqlite3'}")
    Model.metadata.create_all(from_models)

    assert described(db.engine) == described(from_models)
    from_models.dispose()


def test_alembic_finds_nothing_to_migrate(new_app: Flask) -> None:
    database.upgrade()

    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Model.metadata)

    assert differences == []


def test_migrations_are_numbered_in_one_line() -> None:
    names = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))

    assert [name.split("_")[0] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    assert database.newest_version() == f"{len(names):04}"


def test_migrations_do_not_depend_on_the_models_of_today() -> None:
    for path in MIGRATIONS.rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import)\s+(\w+)", path.read_text(), re.MULTILINE)
        assert set(imported) <= {"alembic", "sqlalchemy"}, path.name


# Upgrading ------------------------------------------------------------------------------------------------------


def test_an_empty_database_is_upgraded_to_the_newest_version(new_app: Flask) -> None:
    assert database.schema_version() is None

    assert database.upgrade() == (None, database.newest_version())

    assert database.schema_version() == database.newest_version()
    database.check_schema()


def test_a_current_database_is_left_as_it_is(new_app: Flask) -> None:
    database.upgrade()

    assert database.upgrade() == (database.newest_version(), database.newest_version())


def test_a_new_database_can_be_read_by_its_owner_alone(new_app: Flask, tmp_path: Path) -> None:
    database.upgrade()

    path = tmp_path / "instance" / "registry.sqlite3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_the_first_version_holds_survives_the_upgrade(new_app: Flask) -> None:
    alembic.command.upgrade(database._alembic_config(), FIRST)
    with db.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO users (id, username, username_key, email, email_key, name, must_change_password, state,"
                " is_admin, is_external, private_profile, can_create_group, projects_limit, bio, note, created_at)"
                " VALUES (7, 'olivia', 'olivia', 'o@example.com', 'o@example.com', 'Olivia', 0, 'active',"
                " 1, 0, 0, 1, 10, '', '', '2026-01-01 00:00:00')"
            )
        )

    assert database.upgrade() == (FIRST, database.newest_version())

    user = db.session.get_one(User, 7)
    assert (user.username, user.is_admin, user.created_at.year) == ("olivia", True, 2026)


def test_a_file_published_before_yanks_were_known_is_not_yanked(new_app: Flask) -> None:
    alembic.command.upgrade(database._alembic_config(), "0002")
    at = "'2026-01-01 00:00:00'"
    with db.engine.begin() as connection:
        for statement in (
            "INSERT INTO namespaces (id, kind, path, full_path, full_path_key, name, full_name, description,"
            " visibility, created_at, updated_at)"
            f" VALUES (3, 'project', 't', 'a/t', 'a/t', 'T', 'T', '', 0, {at}, {at})",
            "INSERT INTO packages (id, project_id, name, version, normalized_name, package_type, status,"
            " status_message, created_at, updated_at, metadata_version, required_python, summary, keywords,"
            " author_email, description, description_content_type) VALUES (5, 3, 'demo', '1.0', 'demo', 'pypi',"
            f" 'default', '', {at}, {at}, '', '', '', '', '', '', '')",
            "INSERT INTO package_files (id, package_id, project_id, filename, status, size_bytes, sha256, md5,"
            " blake2b_256, requires_python, core_metadata_is_final, created_at) VALUES (7, 5, 3, 'demo-1.0.zip',"
            f" 'default', 1, '', '', '', '', 0, {at})",
        ):
            connection.execute(text(statement))

    assert database.upgrade() == ("0002", database.newest_version())

    assert not db.session.get_one(PackageFile, 7).is_yanked
    assert catalog.package_name(db.session.get_one(Project, 3), "demo").status is NameStatus.ACTIVE


def test_processes_that_start_at_once_upgrade_once(tmp_path: Path) -> None:
    environment = {**os.environ, "REGISTRY_INSTANCE_PATH": str(tmp_path)}
    command = [sys.executable, "-m", "flask", "database", "upgrade", "--json"]

    processes = [
        subprocess.Popen(
            command, cwd=config.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    results = [(*process.communicate(timeout=120), process.returncode) for process in processes]

    assert [(stderr, status) for _, stderr, status in results] == [("", 0)] * 4
    versions = [(json.loads(stdout)["before"], json.loads(stdout)["after"]) for stdout, _, _ in results]
    newest = database.newest_version()
    assert sorted(versions, key=str) == [(newest, newest)] * 3 + [(None, newest)]


def test_a_migration_that_fails_leaves_nothing_behind_and_can_be_repeated(
    new_app: Flask, migration: Callable[[str], None]
) -> None:
    newest = database.upgrade()[1]
    table = "op.create_table('extras', sa.Column('id', sa.Integer(), primary_key=True))"
    migration(f"{table}; op.execute('INSERT INTO extras VALUES (1)'); op.execute('nonsense')")
    with pytest.raises(Exception, match="syntax error"):
        database.upgrade()
    assert database.schema_version() == newest
    assert not inspect(db.engine).has_table("extras")

    migration(table)

    assert database.upgrade() == (newest, "9999")
    assert inspect(db.engine).has_table("extras")


def test_replacing_a_table_does_not_take_the_rows_that_refer_to_it(
    new_app: Flask, migration: Callable[[str], None]
) -> None:
    database.upgrade()
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


# Refusing -------------------------------------------------------------------------------------------------------


def test_an_empty_database_is_not_served(new_app: Flask) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        database.check_schema()

    assert refusal.value.reason == (
        f"The database schema is empty, this registry needs {database.newest_version()}; run 'flask database upgrade'."
    )


def test_an_older_database_is_not_served(new_app: Flask, migration: Callable[[str], None]) -> None:
    newest = database.upgrade()[1]
    migration("pass")

    with pytest.raises(ConfigurationError, match=f"^The database schema is {newest}, this registry needs 9999; run"):
        database.check_schema()


@pytest.mark.parametrize("act", [database.upgrade, database.check_schema], ids=["upgrade", "check"])
def test_a_database_of_a_newer_registry_is_refused_and_left_alone(new_app: Flask, act: Callable[[], object]) -> None:
    newest = database.upgrade()[1]
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigurationError) as refusal:
        act()

    assert refusal.value.reason == (
        f"The database schema is 9999, newer than this registry knows ({newest}); "
        "start the registry version that wrote it, or a later one."
    )
    assert database.schema_version() == "9999"
