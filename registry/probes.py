"""Blueprint "probes": whether the process responds, and whether requests can be served.

The probes of the process alone need neither database nor store. The others check both, each in a thread of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify
from sqlalchemy import text

from registry import database
from registry.database import db
from registry.errors import ConfigurationError, RegistryError, Unavailable
from registry.logs import Attempts
from registry.observability import outage
from registry.storage import Storage

PROBE_SECONDS = 3  # probes have to be answered in time, and must not occupy threads

logger = logging.getLogger(__name__)
blueprint = Blueprint("probes", __name__)


def init_app(app: Flask) -> None:
    app.register_blueprint(blueprint)
    app.extensions["checks"] = {
        "db_check": Check("The database", _database_failure),
        "storage_check": Check("The store", _storage_failure),
    }


@blueprint.errorhandler(RegistryError)
def refuse(error: RegistryError) -> Response:
    return Response(f"{error.message}\n", error.status, mimetype="text/plain")


@blueprint.get("/-/health")
def health() -> Response:
    """Report that the process responds, without checking database and store."""
    return Response("GitLab OK\n", mimetype="text/plain")


@blueprint.get("/-/liveness")
def liveness() -> Response:
    return jsonify(status="ok")


@blueprint.get("/health_check")
def health_check() -> Response:
    """Check database and store."""
    failed = _failures()
    if failed:
        return Response("; ".join(failed.values()) + "\n", status=503, mimetype="text/plain")
    return Response("success\n", mimetype="text/plain")


@blueprint.get("/-/readiness")
def readiness() -> tuple[Response, int]:
    """Report whether requests can be served, with the reason for each failed check of database, schema, and store."""
    failed = _failures()
    checks = {
        name: [{"status": "failed", "message": failed[name]} if name in failed else {"status": "ok"}]
        for name in ("db_check", "storage_check")
    }
    status = "failed" if failed else "ok"
    return jsonify(status=status, master_check=[{"status": "ok"}], **checks), 503 if failed else 200


def _failures() -> dict[str, str]:
    """Run all checks, and return the failures by name of the check, within ``PROBE_SECONDS``."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    checks: dict[str, Check] = app.extensions["checks"]
    deadline = time.monotonic() + PROBE_SECONDS
    attempts = {name: check.attempt(app) for name, check in checks.items()}
    found = {name: attempt.failure_by(deadline) for name, attempt in attempts.items()}
    return {name: failure for name, failure in found.items() if failure is not None}


class Attempt:
    """One run of a check."""

    def __init__(self, subject: str) -> None:
        self.failure: str | None = f"{subject} is not responding."
        self.is_over = Event()
        self._subject = subject

    def failure_by(self, deadline: float) -> str | None:
        """Wait until the deadline (on the monotonic clock), and return the failure, or ``None`` for success."""
        if self.is_over.wait(max(0, deadline - time.monotonic())):
            return self.failure
        return f"{self._subject} did not answer within {PROBE_SECONDS} seconds."


class Check:
    """A check that can block. It runs in its own thread, and concurrent requests share one run.

    :param subject: the subject of the messages, such as "The database".
    :param find_failure: returns a description of the failure, if there is one.
    """

    def __init__(self, subject: str, find_failure: Callable[[], str | None]) -> None:
        self._subject = subject
        self._find_failure = find_failure
        self._lock = Lock()
        self._latest: Attempt | None = None
        self._attempts = Attempts(logger, subject, "is not responding", "is responding again")

    def attempt(self, app: Flask) -> Attempt:
        """Return the running attempt, or start one.

        :raises RuntimeError: the process has no room for another thread.
        """
        with self._lock:
            if self._latest is None or self._latest.is_over.is_set():
                attempt = Attempt(self._subject)
                Thread(target=self._make, args=(app, attempt), name="probe", daemon=True).start()
                self._latest = attempt  # only now: one that was not started would never be over
            return self._latest

    def _make(self, app: Flask, attempt: Attempt) -> None:
        try:
            with app.app_context():
                attempt.failure = self._find_failure()
        except Exception as error:  # noqa: BLE001 - the next line logs it
            self._attempts.fail(error, outage(error))
        else:
            self._attempts.succeed()
        finally:
            attempt.is_over.set()


def _database_failure() -> str | None:
    db.session.execute(text("SELECT 1"))
    try:
        database.check_schema()
    except ConfigurationError as error:
        return error.sentence
    return None


def _storage_failure() -> str | None:
    storage: Storage = current_app.extensions["storage"]
    try:
        storage.check()
    except Unavailable as error:
        return error.reason
    return None


_views: tuple[Any, ...] = (health, liveness, health_check, readiness)
for _view in _views:
    _view.permission = None
