"""What an operator sees: request ids, log lines without secrets, slow statements."""

from __future__ import annotations

import io
import json
import logging
import shutil
import time

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from registry import create_app, logs
from registry.blueprints import routing
from registry.database import db
from registry.models import Role
from tests import factories
from tests.builders import build_wheel
from tests.clients import Pip, pypi_path
from tests.processes import migrated_database


@pytest.fixture
def lines(caplog):
    """The request lines logged so far, as records."""
    caplog.set_level(logging.INFO, "registry.requests")
    return lambda: [record for record in caplog.records if record.name == "registry.requests"]


def test_a_request_is_one_line_with_its_values_as_fields(pip, project, owner, lines):
    response = pip.index(project, factories.access_token(owner))

    (line,) = lines()
    assert line.getMessage().startswith(f"GET {pypi_path(project)}/simple/ answered 200 in ")
    assert (line.method, line.status, line.principal) == ("GET", 200, owner.username)
    assert line.request_id == response.headers["X-Request-Id"]
    assert line.size_bytes == len(response.data)


def test_a_long_address_does_not_fill_the_log(client, lines):
    client.get("/api/v4/" + "a" * 100_000)

    (line,) = lines()
    assert len(line.getMessage()) < 3000
    assert len(line.path) == 2000


def test_a_prepared_answer_is_logged_like_any_other(pip, project, owner, lines):
    token = factories.access_token(owner)

    for _ in range(2):
        pip.index(project, token)

    assert [(line.status, line.principal) for line in lines()] == [(200, owner.username)] * 2


@pytest.mark.parametrize(("sent", "kept"), [("abc-123", True), ("x" * 65, False), ("a\tb", False), ("", False)])
def test_a_request_id_that_reads_well_is_taken_over(client, sent, kept):
    answered = client.get("/-/health", headers={"X-Request-Id": sent}).headers["X-Request-Id"]

    assert (answered == sent) == kept
    assert answered


def test_no_secret_reaches_the_log(client, pip, project, owner, caplog):
    token = factories.access_token(owner)
    handler = logging.StreamHandler(stream := io.StringIO())
    for formatter in (logs.TextFormatter(), logs.JSONFormatter()):
        handler.setFormatter(formatter)
        logging.getLogger().addHandler(handler)
        try:
            pip.index(project, token)
            client.get(f"{pypi_path(project)}/simple/?private_token={token}")
            client.get(f"/{token}")
            logging.getLogger("registry").warning("a careless line: %s https://user:%s@host/", token, "hunter2")
            logging.getLogger("registry").warning("Authorization: Basic %s", "dXNlcjpzZWNyZXQ=")
        finally:
            logging.getLogger().removeHandler(handler)

    written = stream.getvalue()
    assert "a careless line" in written
    for secret in (token, "hunter2", "dXNlcjpzZWNyZXQ="):
        assert secret not in written


def test_the_json_form_is_one_object_a_line():
    record = logging.LogRecord("registry", logging.INFO, __file__, 1, "said %s", ("so",), None)
    record.size_bytes = 5

    entry = json.loads(logs.JSONFormatter().format(record))

    assert (entry["message"], entry["size_bytes"], entry["level"]) == ("said so", 5, "info")
    assert "\n" not in logs.JSONFormatter().format(record)


@pytest.fixture
def slow_app(tmp_path):
    """An application that finds every statement slow."""
    shutil.copy(migrated_database(), tmp_path)
    made = create_app({"INSTANCE_PATH": tmp_path, "SECRET_KEY": "k" * 40, "SLOW_QUERY_MS": "1"})
    with made.app_context():
        yield made
        db.session.remove()
        db.engine.dispose()


def test_a_slow_statement_is_logged_with_its_request_and_without_its_parameters(slow_app, caplog):
    token = "glpat-a-secret-that-stays-one"

    def dawdle(*_):
        time.sleep(0.01)

    event.listen(db.engine, "before_cursor_execute", dawdle)
    slow_app.test_client().get("/api/v4/user", headers={"PRIVATE-TOKEN": token, "X-Request-Id": "slow-1"})

    [line, *_] = [record for record in caplog.records if record.name == "registry.database.slow"]
    assert (line.route, line.request_id) == ("/api/v4/user", "slow-1")
    assert line.duration_ms >= 10
    assert line.statement.startswith("SELECT")
    assert "\n" not in line.getMessage()
    assert token not in caplog.text


def test_a_slow_statement_of_a_page_in_front_of_flask_is_logged_with_its_request(slow_app, caplog):
    project = factories.project()
    token = factories.access_token(factories.member(project, Role.REPORTER))
    for name in ("first", "second"):
        factories.published(project, build_wheel(name))
    pip = Pip(slow_app.test_client())
    pip.simple_page(project, "first", token)
    caplog.clear()
    event.listen(db.engine, "before_cursor_execute", lambda *_: time.sleep(0.01))

    pip.simple_page(project, "second", token, headers={"X-Request-Id": "slow-2"})

    [line] = [record for record in caplog.records if record.name == "registry.database.slow"]
    assert (line.route, line.request_id) == (routing.SIMPLE_PAGE["project"], "slow-2")


def test_a_statement_that_fails_after_long_is_logged_too(slow_app, caplog):
    event.listen(db.engine, "before_cursor_execute", lambda *_: time.sleep(0.01))

    with pytest.raises(DBAPIError):
        db.session.execute(text("SELECT nothing"))

    assert "SELECT nothing" in caplog.text
    assert [record.route for record in caplog.records if record.name == "registry.database.slow"] == [None]


def test_ordinary_statements_are_no_news(client, caplog):
    client.get("/users/sign_in")

    assert [record for record in caplog.records if record.name == "registry.database.slow"] == []
