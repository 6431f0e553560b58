"""What an operator sees: request ids, one log line a request, probes."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
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

PROBE_SECONDS = 3  # whoever asks must have an answer, and no thread to spare for one that does not come
LONGEST_PATH = 2000  # characters of an address in the log; clients may send a hundred times as many

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PARAMETERS = "|".join(credential_names.PARAMETERS)
_HEADERS = "|".join(name.replace("-", "[-_]") for name in credential_names.HEADERS)
# Prefixed tokens; credentials in addresses; the values of parameters and headers that carry them, as sent, or in a
# dictionary that was written out.
_SECRETS = re.compile(
    r"\bgl(?:pat|dt|cbt)-[\w-]+"
    r"|(?<=://)[^/\s@]+(?=@)"
    rf"|(?P<parameter>(?:{_PARAMETERS})=)[^&\s\"']+"
    rf"|(?P<header>(?:{_HEADERS})[\\\"']*: ?[\\\"']*)[^\\\"'\n]+"
    r"|(?<=Basic )[A-Za-z0-9+/=_-]+|(?<=Bearer )\S+",
    re.IGNORECASE,
)
# Every secret comes after one of these: a line without any of them, as most are, is not searched further.
_NAMES = {name.lower().replace("-", "_") for name in (*credential_names.PARAMETERS, *credential_names.HEADERS)}
_HINTS = ("glpat_", "gldt_", "glcbt_", "://", "basic ", "bearer ", *sorted(_NAMES))


def scrubbed(message: str) -> str:
    """The text with everything that looks like a secret blotted out."""
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
    """One object a line: the sentence, and the same values as fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
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
    """Leave for the metrics which route takes the request; an address without one has none."""
    if request.url_rule is not None:
        request.environ[metrics.ROUTE] = request.url_rule.rule


def _circumstances() -> dict[str, Any]:
    """Which request something is done for, if it is one."""
    if not has_request_context():
        return {"route": None, "request_id": None}
    return {"route": request.environ.get(metrics.ROUTE), "request_id": request.environ.get("registry.request_id")}


def configure_logging(form: str) -> None:
    """Log to standard error in the form asked for: ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Nobody is told threads, processes and lines of source: not asking for them halves the cost of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # as the standard library's "Optimization" of logging has it
    # Waitress warns of every request that waits for a thread, which is how a busy server works.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class RequestLog:
    """WSGI middleware around everything: each request has an id, and when its answer begins, a line in the log and in
    the counts.
    """

    def __init__(self, application: WSGIApplication, metrics: Metrics) -> None:
        self._application = application
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.perf_counter()
        sent = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if sent and _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
        environ["registry.request_id"] = request_id

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            is_continued = "registry.preflight" in environ and status.startswith("204")  # the answer is still to come
            if not is_continued:
                seconds = time.perf_counter() - begun
                self._metrics.count(environ, status, seconds)
                if logger.isEnabledFor(logging.INFO):
                    _log(environ, status, headers, seconds * 1000)
            return start_response(status, [*headers, ("X-Request-Id", request_id)], exc_info)

        return self._application(environ, start)


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


# Probes ---------------------------------------------------------------------------------------------------------


@probes.get("/-/health")
def health() -> Response:
    """The process answers; nothing behind it was asked."""
    return Response("GitLab OK\n", mimetype="text/plain")


@probes.get("/-/liveness")
def liveness() -> Response:
    return jsonify(status="ok")


@probes.get("/health_check")
def health_check() -> Response:
    """Database and store answer."""
    failed = _failures()
    if failed:
        return Response("; ".join(failed.values()) + "\n", status=503, mimetype="text/plain")
    return Response("success\n", mimetype="text/plain")


@probes.get("/-/readiness")
def readiness() -> tuple[Response, int]:
    """Whether requests can be served: database, schema and store, each with its sentence when it fails, soon."""
    failed = _failures()
    checks = {
        name: [{"status": "failed", "message": failed[name]} if name in failed else {"status": "ok"}]
        for name in ("db_check", "storage_check")
    }
    status = "failed" if failed else "ok"
    return jsonify(status=status, master_check=[{"status": "ok"}], **checks), 503 if failed else 200


def _failures() -> dict[str, str]:
    """What is wrong, by the name of the check, after ``PROBE_SECONDS`` at the latest."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    checks: dict[str, Check] = app.extensions["checks"]
    deadline = time.monotonic() + PROBE_SECONDS
    attempts = {name: check.attempt(app) for name, check in checks.items()}
    found = {name: attempt.failure_by(deadline) for name, attempt in attempts.items()}
    return {name: failure for name, failure in found.items() if failure is not None}


class Attempt:
    """One time that a check is made."""

    def __init__(self, subject: str) -> None:
        self.failure: str | None = f"{subject} does not answer."
        self.is_over = Event()
        self._subject = subject

    def failure_by(self, deadline: float) -> str | None:
        """The sentence to tell when this moment (of the monotonic clock) is reached, or before."""
        if self.is_over.wait(max(0, deadline - time.monotonic())):
            return self.failure
        return f"{self._subject} did not answer within {PROBE_SECONDS} seconds."


class Check:
    """A question that may hang. It is asked in a thread of its own, one at a time, however many want to know.

    :param subject: what is asked, as the beginning of a sentence.
    :param ask: returns what is wrong, if anything is.
    """

    def __init__(self, subject: str, ask: Callable[[], str | None]) -> None:
        self._subject = subject
        self._ask = ask
        self._lock = Lock()
        self._latest: Attempt | None = None

    def attempt(self, app: Flask) -> Attempt:
        """The attempt under way, or a new one."""
        with self._lock:
            if self._latest is None or self._latest.is_over.is_set():
                self._latest = Attempt(self._subject)
                Thread(target=self._make, args=(app, self._latest), name="probe", daemon=True).start()
            return self._latest

    def _make(self, app: Flask, attempt: Attempt) -> None:
        try:
            with app.app_context():
                attempt.failure = self._ask()
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
