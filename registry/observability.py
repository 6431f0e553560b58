"""Request ids, one log line per request, and health probes."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, current_app, g, has_app_context, has_request_context, jsonify, request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from registry import database, metrics
from registry.database import db
from registry.errors import ConfigurationError, RegistryError, Unavailable, is_disk_full
from registry.logs import Attempts, RecordTemplate, shared_text
from registry.metrics import Metrics
from registry.storage import Storage

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("registry.requests")
probes = Blueprint("probes", __name__)

PROBE_SECONDS = 3  # probes have to be answered in time, and must not occupy threads
LONGEST_PATH = 2000  # characters of a path in the log; clients can send a hundred times as many
LONGEST_METHOD = 32

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def init_app(app: Flask) -> None:
    app.register_blueprint(probes)
    app.before_request(_note_route)
    app.extensions["checks"] = {
        "db_check": Check("The database", _database_failure),
        "storage_check": Check("The store", _storage_failure),
    }
    app.extensions["outage"] = outage
    if app.config["SLOW_QUERY_MS"]:
        with app.app_context():
            database.log_slow_statements(db.engine, app.config["SLOW_QUERY_MS"], _circumstances)


def outage(error: Exception) -> str | None:
    """Return the reason, on one line, if database, store, or disk are to blame, and not the program."""
    if isinstance(error, Unavailable):
        return error.sentence
    if isinstance(error, SQLAlchemyError) and database.is_unanswered(error):
        return database.cause(error)
    return error.strerror if isinstance(error, OSError) and is_disk_full(error) else None


def _note_route() -> None:
    """Record the route of the request for the metrics, if any matches."""
    if request.url_rule is not None:
        request.environ[metrics.ROUTE] = request.url_rule.rule


def _circumstances() -> dict[str, object]:
    """Return the route and id of the current request, if there is one."""
    if has_request_context():
        environ = request.environ
    else:
        environ = g.get("environ", {}) if has_app_context() else {}  # a page made in front of Flask has one
    return {"route": environ.get(metrics.ROUTE), "request_id": environ.get("registry.request_id")}


class RequestLog:
    """Outermost WSGI middleware: gives each request an id, and logs and counts it when its response begins."""

    def __init__(self, application: WSGIApplication, metrics: Metrics) -> None:
        self._application = application
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.perf_counter()
        sent = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if sent and _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
        environ["registry.request_id"] = request_id

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            is_continued = "registry.preflight" in environ and status.startswith("204")  # the response follows
            if not is_continued:
                seconds = time.perf_counter() - begun
                self._metrics.count(environ, status, seconds)
                record = _record(environ, status, headers, seconds)
                if logger.isEnabledFor(logging.INFO):
                    logger.handle(record)
                if "registry.kept" in environ:  # not with the environ itself, which then would not be freed at once
                    environ["registry.note"] = partial(_note, self._metrics.counter(environ, status), record)
            return start_response(status, [*headers, ("X-Request-Id", request_id)], exc_info)

        return self._application(environ, start)


def _note(count: Callable[[float], None], logged: logging.LogRecord, is_peer_logged: bool) -> Note:
    """Return a function that logs and counts the same request again.

    :param logged: the record of the request.
    :param is_peer_logged: whether the address in the log is the peer's, so that it can differ.
    """
    varying = ("request_id", "address") if is_peer_logged else ("request_id",)
    return Note(count, RecordTemplate(logged, *varying))


class Note:
    """Logs and counts the same request again."""

    __slots__ = ("_count", "_template")

    def __init__(self, count: Callable[[float], None], template: RecordTemplate) -> None:
        self._count, self._template = count, template

    def __call__(self, seconds: float, *values: str) -> None:
        """:param values: of the fields of the log record that vary."""
        self._count(seconds)
        self._template.log(logger, time.time(), (seconds * 1000, *values))


def _record(environ: WSGIEnvironment, status: str, headers: list[tuple[str, str]], seconds: float) -> logging.LogRecord:
    """Return the log record of a request."""
    path = str(environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")).partition("?")[0][:LONGEST_PATH]
    shown = path if path.isascii() and path.isprintable() else ascii(path)
    length = next((value for name, value in headers if name == "Content-Length"), None)
    principal: str | None = environ.get("registry.principal")
    # Thousands of records are kept for requests that are repeated; these have many values in common.
    fields = {
        "request_id": environ["registry.request_id"],
        "method": shared_text(environ["REQUEST_METHOD"][:LONGEST_METHOD]),
        "path": shown,
        "status": int(status[:3]),
        "duration_ms": round(seconds * 1000, 1),
        "size_bytes": None if length is None else int(length),
        "address": environ.get("REMOTE_ADDR"),
        "principal": None if principal is None else shared_text(principal),
        "user_agent": shared_text(environ.get("HTTP_USER_AGENT", "")[:200]),
    }
    values = (fields["method"], shown, fields["status"], fields["duration_ms"])
    return logger.makeRecord(
        logger.name, logging.INFO, __file__, 0, "%s %s answered %s in %s ms", values, None, extra=fields
    )


@probes.errorhandler(RegistryError)
def refuse(error: RegistryError) -> Response:
    return Response(f"{error.message}\n", error.status, mimetype="text/plain")


@probes.get("/-/health")
def health() -> Response:
    """Report that the process responds, without checking database and store."""
    return Response("GitLab OK\n", mimetype="text/plain")


@probes.get("/-/liveness")
def liveness() -> Response:
    return jsonify(status="ok")


@probes.get("/health_check")
def health_check() -> Response:
    """Check database and store."""
    failed = _failures()
    if failed:
        return Response("; ".join(failed.values()) + "\n", status=503, mimetype="text/plain")
    return Response("success\n", mimetype="text/plain")


@probes.get("/-/readiness")
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
