from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from flask import Flask
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from registry.database import db, transaction, write_lock
from registry.database.connection import LONGEST_WAIT_SECONDS
from tests.database.counting import Failure, counter, fail_after, in_thread, set_counter

pytestmark = pytest.mark.sqlite


@pytest.fixture
def traced(app: Flask) -> Iterator[list[str]]:
    """Everything that SQLite executes in connections that are opened in this test, growing."""
    executed: list[str] = []

    def trace(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(executed.append)

    db.session.close()
    db.engine.dispose()
    event.listen(db.engine, "connect", trace)
    yield executed
    event.remove(db.engine, "connect", trace)
    db.session.close()
    db.engine.dispose()


def test_writers_of_one_process_wait_for_each_other_without_asking_sqlite(app: Flask, traced: list[str]) -> None:
    def write() -> None:
        with transaction():
            set_counter(2)

    with transaction():
        other = in_thread(app, write)
        other.join(0.2)
        assert traced.count("BEGIN IMMEDIATE") == 1
        set_counter(1)

    other.join()
    assert traced.count("BEGIN IMMEDIATE") == 2
    db.session.rollback()
    assert counter() == 2


def test_a_writer_that_waits_too_long_fails_and_the_next_one_succeeds(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_lock, "LONGEST_WAIT_SECONDS", 0.05)
    failures: list[str] = []

    def write() -> None:
        try:
            with transaction():
                set_counter(2)
        except OperationalError as error:
            failures.append(str(error.orig))

    with transaction():
        in_thread(app, write).join()
    in_thread(app, write).join()

    assert failures == ["database is locked"]
    assert counter() == 2


def test_a_writer_waits_for_another_process_until_it_has_the_lock_or_too_long(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        with transaction():
            set_counter(4)

    with closing(sqlite3.connect(str(db.engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = in_thread(app, write)
        waiting.join(0.1)
        assert waiting.is_alive()
        other.execute("ROLLBACK")
        waiting.join()
        assert counter() == 4
        db.session.rollback()

        monkeypatch.setattr(write_lock, "LONGEST_WAIT_SECONDS", 0.05)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="database is locked"):
            write()


def test_a_transaction_that_fails_lets_the_next_writer_in(app: Flask) -> None:
    def write() -> None:
        with transaction():
            set_counter(3)

    with pytest.raises(Failure):
        fail_after(1)
    in_thread(app, write).join(10)

    assert counter() == 3


def test_a_connection_that_has_the_lock_waits_for_others_as_before(app: Flask) -> None:
    usual = db.session.scalar(text("PRAGMA busy_timeout"))
    db.session.rollback()

    with transaction() as session:
        assert session.scalar(text("PRAGMA busy_timeout")) == usual == 1000 * LONGEST_WAIT_SECONDS
