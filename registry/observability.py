"""Request ids, one log line per request, and which request a slow statement is of."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask, g, has_app_context, has_request_context, request
from sqlalchemy.exc import SQLAlchemyError

from registry import database
from registry.database import db
from registry.environ_keys import KEPT, NOTE, PREFLIGHT, PRINCIPAL, REQUEST_ID, ROUTE
from registry.errors import Unavailable, is_disk_full
from registry.logs import RecordTemplate, shared_text
from registry.metrics import Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("registry.requests")

LONGEST_PATH = 2000  # characters of a path in the log; clients can send a hundred times as many
LONGEST_METHOD = 32

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def init_app(app: Flask) -> None:
    app.before_request(_note_route)
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
        request.environ[ROUTE] = request.url_rule.rule


def _circumstances() -> dict[str, object]:
    """Return the route and id of the current request, if there is one."""
    if has_request_context():
        environ = request.environ
    else:
        environ = g.get("environ", {}) if has_app_context() else {}  # a page made in front of Flask has one
    return {"route": environ.get(ROUTE), "request_id": environ.get(REQUEST_ID)}


class RequestLog:
    """Outermost WSGI middleware: gives each request an id, and logs and counts it when its response begins."""

    def __init__(self, application: WSGIApplication, metrics: Metrics) -> None:
        self._application = application
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.perf_counter()
        sent = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if sent and _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
        environ[REQUEST_ID] = request_id

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            is_continued = PREFLIGHT in environ and status.startswith("204")  # the response follows
            if not is_continued:
                seconds = time.perf_counter() - begun
                self._metrics.count(environ, status, seconds)
                record = _record(environ, status, headers, seconds)
                if logger.isEnabledFor(logging.INFO):
                    logger.handle(record)
                if KEPT in environ:  # not with the environ itself, which then would not be freed at once
                    environ[NOTE] = partial(_note, self._metrics.counter(environ, status), record)
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
    principal: str | None = environ.get(PRINCIPAL)
    # Thousands of records are kept for requests that are repeated; these have many values in common.
    fields = {
        "request_id": environ[REQUEST_ID],
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
