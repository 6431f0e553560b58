"""What an operator sees: request ids, log lines without secrets, probes."""

from __future__ import annotations

import io
import json
import logging

import pytest

from registry import create_app, database, observability
from registry.database import db
from tests import factories
from tests.clients import pypi_path


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
    for formatter in (observability.TextFormatter(), observability.JSONFormatter()):
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

    entry = json.loads(observability.JSONFormatter().format(record))

    assert (entry["message"], entry["size_bytes"], entry["level"]) == ("said so", 5, "info")
    assert "\n" not in observability.JSONFormatter().format(record)


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


def test_readiness_does_not_read_the_migrations_each_time(client, monkeypatch, tmp_path):
    client.get("/-/readiness")
    monkeypatch.setattr(database.ScriptDirectory, "walk_revisions", None)

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
    assert "flask database upgrade" in response.json["db_check"][0]["message"]
    with app.app_context():
        db.engine.dispose()
