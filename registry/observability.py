"""Request ids, one log line per request, and health probes."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, current_app, has_request_context, jsonify, request
from sqlalchemy import text

from registry import credential_names, database, metrics
from registry.database import db
from registry.errors import ConfigurationError, Unavailable
from registry.metrics import Metrics
from registry.storage import Storage

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("registry.requests")
probes = Blueprint("probes", __name__)

PROBE_SECONDS = 3  # probes have to be answered in time, and must not occupy threads
LONGEST_PATH = 2000  # characters of a path in the log; clients can send a hundred times as many

Note = Callable[[str, str, float], None]  # of a request: its id, the client's address, and seconds until the answer

# What is logged and counted of a request, besides its id, address, and duration.
_NOTED = (
    "REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "HTTP_USER_AGENT", "registry.principal", metrics.ROUTE, metrics.EVENT
)  # fmt: skip
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PARAMETERS = "|".join(credential_names.PARAMETERS)
_HEADERS = "|".join(name.replace("-", "[-_]") for name in credential_names.HEADERS)
# Prefixed tokens, credentials in URLs, and the values of parameters and headers that carry credentials, either as sent
# or in the representation of a dictionary.
_SECRETS = re.compile(
    r"\bgl(?:pat|dt|cbt)-[\w-]+"
    r"|(?<=://)[^/\s@]+(?=@)"
    rf"|(?P<parameter>(?:{_PARAMETERS})=)[^&\s\"']+"
    rf"|(?P<header>(?:{_HEADERS})[\\\"']*: ?[\\\"']*)[^\\\"'\n]+"
    r"|(?<=Basic )[A-Za-z0-9+/=_-]+|(?<=Bearer )\S+",
    re.IGNORECASE,
)
# Every secret follows one of these; most lines contain none of them and are not searched further.
_NAMES = {name.lower().replace("-", "_") for name in (*credential_names.PARAMETERS, *credential_names.HEADERS)}
_HINTS = ("glpat_", "gldt_", "glcbt_", "://", "basic ", "bearer ", *sorted(_NAMES))


def scrubbed(message: str) -> str:
    """Replace everything that looks like a secret."""
    folded = message.lower().replace("-", "_")
    return _SECRETS.sub(_filtered, message) if any(hint in folded for hint in _HINTS) else message


def _filtered(secret: re.Match[str]) -> str:
    return f"{secret['parameter'] or secret['header'] or ''}[FILTERED]"


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))


class JSONFormatter(logging.Formatter):
    """Formats each record as a JSON object on one line: the message, and its values as fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return scrubbed(json.dumps(entry, default=str))


def init_app(app: Flask) -> None:
    app.register_blueprint(probes)
    app.before_request(_note_route)
    app.extensions["checks"] = {
        "db_check": Check("The database", _database_failure),
        "storage_check": Check("The store", _storage_failure),
    }
    if app.config["SLOW_QUERY_MS"]:
        with app.app_context():
            database.log_slow_statements(db.engine, app.config["SLOW_QUERY_MS"], _circumstances)


def _note_route() -> None:
    """Record the route of the request for the metrics, if any matches."""
    if request.url_rule is not None:
        request.environ[metrics.ROUTE] = request.url_rule.rule


def _circumstances() -> dict[str, object]:
    """Return the route and id of the current request, if there is one."""
    if not has_request_context():
        return {"route": None, "request_id": None}
    return {"route": request.environ.get(metrics.ROUTE), "request_id": request.environ.get("registry.request_id")}


def configure_logging(form: str) -> None:
    """Log to standard error in the format ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Threads, processes, and source lines are not logged; not collecting them halves the cost of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # Python documentation, "Logging HOWTO", section "Optimization"
    # Waitress warns about every request that waits for a thread, which is normal on a busy server.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


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
                if logger.isEnabledFor(logging.INFO):
                    _log(environ, status, headers, seconds * 1000)
                if "registry.kept" in environ:
                    environ["registry.note"] = partial(self._note, environ, status, headers)
            return start_response(status, [*headers, ("X-Request-Id", request_id)], exc_info)

        return self._application(environ, start)

    def _note(self, environ: WSGIEnvironment, status: str, headers: list[tuple[str, str]]) -> Note:
        """Return a function that logs and counts the same request again."""
        kept = {name: environ[name] for name in _NOTED if name in environ}

        def note(request_id: str, address: str, seconds: float) -> None:
            self._metrics.count(kept, status, seconds)
            if logger.isEnabledFor(logging.INFO):
                again = kept | {"registry.request_id": request_id, "REMOTE_ADDR": address}
                _log(again, status, headers, seconds * 1000)

        return note


def _log(environ: WSGIEnvironment, status: str, headers: list[tuple[str, str]], duration_ms: float) -> None:
    path = str(environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")).partition("?")[0][:LONGEST_PATH]
    shown = path if path.isascii() and path.isprintable() else ascii(path)
    length = next((value for name, value in headers if name == "Content-Length"), None)
    fields = {
        "request_id": environ["registry.request_id"],
        "method": environ["REQUEST_METHOD"],
        "path": shown,
        "status": int(status[:3]),
        "duration_ms": round(duration_ms, 1),
        "size_bytes": None if length is None else int(length),
        "address": environ.get("REMOTE_ADDR"),
        "principal": environ.get("registry.principal"),
        "user_agent": environ.get("HTTP_USER_AGENT", "")[:200],
    }
    logger.info(
        "%s %s answered %s in %s ms",
        fields["method"],
        shown,
        fields["status"],
        fields["duration_ms"],
        extra=fields,
    )


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
        self.failure: str | None = f"{subject} does not answer."
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

    def attempt(self, app: Flask) -> Attempt:
        """Return the running attempt, or start one."""
        with self._lock:
            if self._latest is None or self._latest.is_over.is_set():
                self._latest = Attempt(self._subject)
                Thread(target=self._make, args=(app, self._latest), name="probe", daemon=True).start()
            return self._latest

    def _make(self, app: Flask, attempt: Attempt) -> None:
        try:
            with app.app_context():
                attempt.failure = self._find_failure()
        except Exception:
            logger.warning("%s does not answer.", self._subject, exc_info=True)
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
