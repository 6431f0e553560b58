from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from registry import create_app
from registry.database import db
from registry.models import Membership, Role
from tests.database.counting import counter


def test_a_row_with_a_dangling_reference_is_refused(app: Flask) -> None:
    with pytest.raises(IntegrityError):
        db.session.execute(insert(Membership).values(namespace_id=1, user_id=1, role=Role.GUEST))


@pytest.mark.sqlite
def test_sqlite_keeps_committed_changes_through_a_power_cut_and_caches_little(tmp_path: Path) -> None:
    with create_app({"INSTANCE_PATH": tmp_path}).app_context():
        settings = {
            name: db.session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "cache_size")
        }
        db.session.remove()
        db.engine.dispose()

    assert settings == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000, "cache_size": -600,
    }  # fmt: skip


@pytest.mark.postgresql
def test_a_session_whose_connection_was_cut_ends_without_an_error_and_the_next_one_works(app: Flask) -> None:
    with app.app_context():
        cut = db.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with db.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:cut, 5000)"), {"cut": cut})

    with app.app_context():
        assert counter() is None


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "given", ["", "?connect_timeout=3&options=-c search_path=elsewhere"], ids=["nothing", "something"]
)
def test_a_database_url_can_set_connection_options_and_the_limits_stay(app: Flask, tmp_path: Path, given: str) -> None:
    address = app.config["DATABASE_URL"] + given
    with create_app({"INSTANCE_PATH": tmp_path, "DATABASE_URL": address}).app_context():
        shown = {
            name: db.session.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("statement_timeout", "idle_in_transaction_session_timeout", "search_path")
        }
        connection = db.session.connection().connection.driver_connection
        assert connection is not None
        timeout = connection.info.get_parameters()["connect_timeout"]
        db.session.remove()
        db.engine.dispose()

    assert (timeout, shown.pop("search_path")) == (("3", "elsewhere") if given else ("10", '"$user", public'))
    assert shown == {"statement_timeout": "1min", "idle_in_transaction_session_timeout": "1min"}


def test_an_error_does_not_show_the_parameters_of_a_statement(app: Flask) -> None:
    with pytest.raises(IntegrityError) as caught:
        db.session.execute(insert(Membership).values(namespace_id=4711, user_id=4712, role=Role.GUEST))

    assert "4711" not in str(caught.value)


@pytest.mark.postgresql
def test_the_log_does_not_show_the_parameters_of_statements_that_the_driver_gives_up(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    values = [{"value": "4711x"}, {"value": object()}]  # the server refuses the first, the driver the second

    with pytest.raises(DBAPIError):
        db.session.execute(text("SELECT CAST(:value AS integer)"), values)

    assert caplog.text == ""
