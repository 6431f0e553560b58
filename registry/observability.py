"""What an operator sees: request ids, one log line a request, probes."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, jsonify, request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response as BaseResponse

from registry import database
from registry.database import db
from registry.errors import ConfigurationError, Unavailable
from registry.storage import Storage

logger = logging.getLogger("registry.requests")
probes = Blueprint("probes", __name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Prefixed tokens, credentials in addresses, and the values of parameters and headers that carry secrets.
_SECRETS = re.compile(
    r"\bgl(?:pat|dt|cbt)-[\w-]+"
    r"|(?<=://)[^/\s@]+(?=@)"
    r"|(?<=private_token=)[^&\s\"']+|(?<=job_token=)[^&\s\"']+"
    r"|(?<=Basic )[A-Za-z0-9+/=_-]+|(?<=Bearer )\S+",
    re.IGNORECASE,
)


def scrubbed(message: str) -> str:
    """The text with everything that looks like a secret blotted out."""
    return _SECRETS.sub("[FILTERED]", message)


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
    app.before_request(_begin)
    app.after_request(_finish)


def configure_logging(form: str) -> None:
    """Log to standard error in the form asked for: ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Waitress warns of every request that waits for a thread, which is how a busy server works.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def _begin() -> None:
    sent = request.headers.get("X-Request-Id", "")
    g.request_id = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
    g.started = time.perf_counter()


def _finish(response: BaseResponse) -> BaseResponse:
    request_id = g.get("request_id") or secrets.token_hex(16)
    response.headers["X-Request-Id"] = request_id
    if not logger.isEnabledFor(logging.INFO):
        return response
    duration_ms = round((time.perf_counter() - g.get("started", time.perf_counter())) * 1000, 1)
    fields = {
        "request_id": request_id,
        "method": request.method,
        "path": request.path.replace("\x1f", "%2F"),
        "route": request.endpoint,
        "status": response.status_code,
        "duration_ms": duration_ms,
        "size_bytes": response.content_length,
        "address": request.remote_addr,
        "principal": g.get("principal_label"),
        "user_agent": request.headers.get("User-Agent", "")[:200],
    }
    logger.info(
        "%s %s answered %s in %s ms",
        request.method,
        json.dumps(fields["path"])[1:-1],
        response.status_code,
        duration_ms,
        extra=fields,
    )
    return response


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
    """Whether requests can be served: database, schema and store, each with its sentence when it fails."""
    failed = _failures()
    checks = {
        name: [{"status": "failed", "message": failed[name]} if name in failed else {"status": "ok"}]
        for name in ("db_check", "storage_check")
    }
    status = "failed" if failed else "ok"
    return jsonify(status=status, master_check=[{"status": "ok"}], **checks), 503 if failed else 200


def _failures() -> dict[str, str]:
    failed = {}
    try:
        db.session.execute(text("SELECT 1"))
        database.check_schema()
    except SQLAlchemyError:
        logger.warning("The database does not answer.", exc_info=True)
        failed["db_check"] = "The database does not answer."
    except ConfigurationError as error:
        failed["db_check"] = error.reason
    storage: Storage = current_app.extensions["storage"]
    try:
        storage.check()
    except Unavailable as error:
        failed["storage_check"] = error.reason
    return failed


_views: tuple[Any, ...] = (health, liveness, health_check, readiness)
for _view in _views:
    _view.permission = None
