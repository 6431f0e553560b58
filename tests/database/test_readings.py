from __future__ import annotations

import gc
import weakref

import pytest
from flask import Flask
from sqlalchemy import bindparam, create_engine, event, insert, select
from sqlalchemy.exc import DBAPIError, StatementError

from registry.database import Reading, db, read, transaction
from registry.database.readings import MOST_CONNECTIONS, _connections_of
from registry.database.statements import Compiled
from registry.models import NameStatus, Package, PackageFile, PackageName, Project
from tests import factories
from tests.builders import build_wheel

OF_PROJECT = (
    select(
        Package.name,
        PackageFile.size_bytes,
        PackageFile.created_at,
        PackageFile.core_metadata_is_final,
        PackageName.status,
        Package.cvss_score,
    )
    .join(PackageFile, PackageFile.package_id == Package.id)
    .outerjoin(PackageName, PackageName.project_id == Package.project_id)
    .where(Package.project_id == bindparam("of_project"))
    .order_by(PackageFile.id)
)
NAMES = select(PackageName.normalized_name).where(PackageName.project_id == bindparam("of_project"))


@pytest.fixture
def project(app: Flask) -> Project:
    """A project with two files and a deprecated name; the session is closed."""
    project = factories.project()
    factories.published(project, build_wheel("demo", "1.0"))
    factories.published(project, build_wheel("demo", "2.0"))
    _deprecate(project.id, "demo")
    db.session.remove()
    return project


def _deprecate(project_id: int, name: str) -> None:
    with transaction() as session:
        values = {"project_id": project_id, "normalized_name": name, "status": NameStatus.DEPRECATED, "reason": "Old"}
        session.execute(insert(PackageName).values(**values))


def test_its_rows_are_those_of_a_query_through_sqlalchemy(project: Project) -> None:
    values = {"of_project": project.id}

    rows = Reading(OF_PROJECT).rows(values)

    expected = read(OF_PROJECT, values)
    assert len(rows) == 2
    assert [tuple(row) for row in rows] == [tuple(row) for row in expected]
    assert [(row.name, row.status, row.created_at) for row in rows] == [
        (row.name, row.status, row.created_at) for row in expected
    ]


def test_it_sees_every_commit_and_what_its_own_transaction_has_changed(project: Project) -> None:
    reading, project_id = Reading(NAMES), project.id
    assert [row.normalized_name for row in reading.rows({"of_project": project_id})] == ["demo"]

    _deprecate(project_id, "committed")
    db.session.remove()
    assert len(reading.rows({"of_project": project_id})) == 2
    with transaction():
        db.session.execute(
            insert(PackageName).values(
                project_id=project_id, normalized_name="own", status=NameStatus.DEPRECATED, reason=""
            )
        )
        assert len(reading.rows({"of_project": project_id})) == 3
        db.session.rollback()


@pytest.mark.parametrize("has_pending", [False, True], ids=["", "pending"])
def test_it_begins_no_transaction_in_a_session(project: Project, has_pending: bool) -> None:
    """The session has one as soon as it has a change to write, which the query then sees."""
    project_id = project.id
    _deprecate(project_id, "committed")
    session = db.session()
    assert not session.in_transaction()
    if has_pending:
        name = PackageName(project_id=project_id, normalized_name="pending", status=NameStatus.DEPRECATED, reason="")
        session.add(name)
        session.flush()

    rows = Reading(NAMES).rows({"of_project": project_id})

    assert len(rows) == len(read(NAMES, {"of_project": project_id})) == 2 + has_pending
    assert session.in_transaction() is has_pending


def test_nothing_is_kept_of_an_engine_that_is_gone(app: Flask) -> None:
    engine = create_engine(db.engine.url)
    compiled, gone = Compiled(NAMES, engine, None), weakref.ref(engine)
    connections = _connections_of(engine)
    taken = connections.take()
    assert taken is not None
    assert connections.use(taken, compiled, {"of_project": 1}) == []
    engine.dispose()

    del engine, connections, compiled, taken
    gc.collect()

    assert gone() is None


@pytest.mark.postgresql
def test_a_lost_connection_is_replaced(project: Project) -> None:
    reading, values, pids = Reading(NAMES), {"of_project": project.id}, []

    def note(_connection: object, cursor: object, *_: object) -> None:
        pids.append(cursor.connection.info.backend_pid)  # type: ignore[attr-defined]

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        reading.rows(values)
        with db.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({pids[0]})")
        assert len(reading.rows(values)) == 1
        assert len(reading.rows(values)) == 1
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    assert pids[-1] != pids[0]


def test_a_value_that_is_missing_costs_no_connection(project: Project) -> None:
    for _ in range(MOST_CONNECTIONS):
        with pytest.raises((KeyError, StatementError)):  # with PostgreSQL, SQLAlchemy fails
            Reading(NAMES).rows({})

    taken = _connections_of(db.engine).take()
    assert taken is not None
    taken[0].close()


def test_a_query_that_fails_is_reported_as_by_sqlalchemy(project: Project) -> None:
    with pytest.raises(DBAPIError) as raised:
        read(NAMES, {"of_project": object()})
    with pytest.raises(type(raised.value)):
        Reading(NAMES).rows({"of_project": object()})

    db.session.rollback()
    assert len(Reading(NAMES).rows({"of_project": project.id})) == 1
