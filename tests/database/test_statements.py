"""Statements that are made once: they do the same as through SQLAlchemy."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Table, bindparam, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError

from registry.database import Statement, UTCDateTime, db, execute, transaction, utcnow
from registry.models import AuditEvent, NameStatus, PackageName, Project

EVENTS: Table = AuditEvent.__table__
NAMES: Table = PackageName.__table__
ADD_NAME = insert(NAMES)
ADD_EVENT = insert(EVENTS)


def audit_event(**more: object) -> dict[str, object]:
    return {"action": "a", "author": "b", "address": "", "target": "c", "details": {"d": ["é", None]}, **more}


def test_a_row_is_added_with_the_defaults_of_its_table(project: Project) -> None:
    statement = Statement(ADD_EVENT)

    with transaction():
        execute(ADD_EVENT, audit_event())
        assert statement.execute(audit_event()).changed == 1
        statement.execute(audit_event(namespace_id=project.id))  # other columns than before

    columns = [column for column in EVENTS.c if column.name not in ("id", "created_at", "namespace_id")]
    usual, made, other = db.session.execute(select(*columns).order_by(EVENTS.c.id.desc()).limit(3)).all()
    assert usual == made == other
    newest = db.session.execute(select(EVENTS.c.namespace_id, EVENTS.c.created_at).order_by(EVENTS.c.id.desc())).first()
    assert newest is not None
    assert newest.namespace_id == project.id
    assert abs((utcnow() - newest.created_at).total_seconds()) < 600


def test_returned_rows_have_values_of_python_by_the_names_of_their_columns(project: Project) -> None:
    number_of_names = select(func.count()).select_from(NAMES).scalar_subquery()
    added = insert(NAMES).returning(NAMES.c.normalized_name, NAMES.c.status, number_of_names)
    row = {"project_id": project.id, "normalized_name": "demo", "status": NameStatus.ARCHIVED, "reason": "old"}

    with transaction():
        (returned,) = Statement(added).execute(row).rows

    assert (returned.normalized_name, returned.status) == ("demo", NameStatus.ARCHIVED)
    assert returned[2] in (0, 1)


def test_a_change_counts_rows_and_sets_what_changes_with_each_update(project: Project) -> None:
    names = Project.__table__
    change = Statement(update(names).where(names.c.id == bindparam("of_id")).values(last_activity_at=bindparam("now")))
    before = db.session.scalar(select(names.c.updated_at).where(names.c.id == project.id))
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    with transaction():
        assert change.execute({"of_id": project.id, "now": moment}).changed == 1
        assert change.execute({"of_id": -1, "now": moment}).changed == 0

    after = db.session.execute(select(names.c.updated_at, names.c.last_activity_at).where(names.c.id == project.id))
    updated_at, last_activity_at = after.one()
    assert before is not None
    assert updated_at > before
    assert last_activity_at == moment


def test_a_statement_of_text_converts_the_parameters_that_have_a_type(project: Project) -> None:
    change = text("UPDATE namespaces SET last_activity_at = :now WHERE id = :of_id")
    statement = Statement(change.bindparams(bindparam("now", type_=UTCDateTime)))
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    with transaction():
        assert statement.execute({"of_id": project.id, "now": moment}).changed == 1

    names = Project.__table__
    assert db.session.scalar(select(names.c.last_activity_at).where(names.c.id == project.id)) == moment


def test_a_parameter_without_a_value_is_not_null(project: Project) -> None:
    of_project = Statement(select(NAMES.c.normalized_name).where(NAMES.c.project_id == bindparam("project_id")))

    with pytest.raises((KeyError, ProgrammingError), match="project_id"):
        of_project.execute({"project": project.id})


def test_a_failure_is_that_of_sqlalchemy_and_rolls_the_transaction_back(project: Project) -> None:
    statement = Statement(ADD_NAME)
    row = {"project_id": project.id, "normalized_name": "demo", "status": NameStatus.ARCHIVED, "reason": "a secret"}

    def add_twice() -> None:
        with transaction():
            statement.execute(row)
            statement.execute(row)

    with pytest.raises(IntegrityError) as failure:
        add_twice()

    assert "a secret" not in str(failure.value)
    assert db.session.scalar(select(func.count()).select_from(NAMES)) == 0
    with transaction():
        assert statement.execute(row).changed == 1


def test_those_who_listen_to_statements_hear_when_each_begins_and_ends(project: Project) -> None:
    sql = str(select(NAMES.c.status).compile(db.engine))
    heard: list[tuple[str, str]] = []
    names = ("before_cursor_execute", "after_cursor_execute")
    listeners = {name: lambda *sent, name=name: heard.append((name, sent[2])) for name in names}
    for name, listener in listeners.items():
        event.listen(db.engine, name, listener)

    try:
        Statement(select(NAMES.c.status)).execute({})
    finally:
        for name, listener in listeners.items():
            event.remove(db.engine, name, listener)

    assert heard == [(name, sql) for name in names]
