"""What probes are told of the process, the database, and the store."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import event

from registry import create_app, probes
from registry.database import db
from registry.probes import Check


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

    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.3)
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
