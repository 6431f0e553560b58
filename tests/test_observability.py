"""What an operator sees: request ids, log lines without secrets, probes."""

from __future__ import annotations

import io
import json
import logging
import shutil
import time
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from registry import create_app, logs, observability
from registry.blueprints import routing
from registry.database import db
from registry.models import Role
from registry.observability import Check
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


@pytest.mark.parametrize(
    ("path", "body"),
    [("/-/health", "GitLab OK\n"), ("/-/liveness", '{"status":"ok"}\n'), ("/health_check", "success\n")],
)
def test_probes_answer_without_credentials(client, path, body):
    response = client.get(path)

    assert (response.status_code, response.text) == (200, body)


def test_readiness_asks_database_and_store(client, app):
    response = client.get("/-/readiness")

    assert response.status_code == 200
    assert response.json["db_check"] == response.json["storage_check"] == [{"status": "ok"}]


def test_readiness_does_not_read_the_migrations_each_time(client, monkeypatch):
    client.get("/-/readiness")
    monkeypatch.setattr(Path, "glob", None)

    assert client.get("/-/readiness").status_code == 200


def test_readiness_fails_while_the_store_is_away(client, storage, monkeypatch, tmp_path):
    monkeypatch.setattr(storage._staging, "folder", tmp_path / "gone")

    response = client.get("/-/readiness")

    assert response.status_code == 503
    assert response.json["storage_check"][0]["status"] == "failed"
    assert client.get("/health_check").status_code == 503
    assert client.get("/-/liveness").status_code == 200


def test_readiness_fails_on_an_empty_database(tmp_path):
    app = create_app({"INSTANCE_PATH": tmp_path, "SECRET_KEY": "k" * 40})

    response = app.test_client().get("/-/readiness")

    assert response.status_code == 503
    assert "pypi-registry database upgrade" in response.json["db_check"][0]["message"]
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("hanging", ["store", "database"])
def test_readiness_has_an_answer_when_something_hangs_and_asks_it_once(app, client, monkeypatch, hanging):
    let_go, asked = Event(), []

    def hang(*_):
        asked.append(None)
        let_go.wait(30)

    monkeypatch.setattr(observability, "PROBE_SECONDS", 0.3)
    monkeypatch.setitem(app.extensions, "checks", {
        "db_check": Check("The database", hang if hanging == "database" else lambda: None),
        "storage_check": Check("The store", hang if hanging == "store" else lambda: None),
    })  # fmt: skip
    try:
        answers = [client.get("/-/readiness") for _ in range(3)]
    finally:
        let_go.set()

    name = {"store": "storage_check", "database": "db_check"}[hanging]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert answers[-1].json[name] == [
        {"status": "failed", "message": f"The {hanging} did not answer within 0.3 seconds."}
    ]
    assert len(asked) == 1
    app.extensions["checks"][name].attempt(app).is_over.wait(10)
    assert client.get("/-/readiness").status_code == 200


def test_readiness_is_checked_again_after_there_was_no_room_for_a_thread(app, client, monkeypatch):
    def fail(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(Thread, "start", fail)
        assert client.get("/-/readiness").status_code == 500

    assert client.get("/-/readiness").status_code == 200


def test_readiness_reports_a_database_that_fails(app, client, caplog):
    def fail(*_):
        raise OSError("the disk is gone")

    event.listen(db.engine, "before_cursor_execute", fail)
    try:
        response = client.get("/-/readiness")
    finally:
        event.remove(db.engine, "before_cursor_execute", fail)

    assert response.status_code == 503
    assert response.json["db_check"] == [{"status": "failed", "message": "The database is not responding."}]
    assert "the disk is gone" in caplog.text


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
