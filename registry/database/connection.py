"""Connections to SQLite or PostgreSQL: opened, configured, watched for slow statements, closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from registry.database.types import db
from registry.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy.engine import ExceptionContext


LONGEST_STATEMENT = 2000  # characters of a slow statement in the log
# Whoever holds others up is cut off; whoever is not there is not waited for (libpq, "Parameter Key Words").
POSTGRESQL_SESSION = "-c idle_in_transaction_session_timeout=60000 -c statement_timeout=60000"
POSTGRESQL_CONNECTION = {
    "connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}  # fmt: skip
slow = logging.getLogger("registry.database.slow")


def init_app(app: Flask) -> None:
    """Bind the session to the application's database.

    :raises ConfigurationError: the address is malformed, or the driver of a PostgreSQL address is not installed.
    """
    url = URL.create("sqlite", database=str(app.config["INSTANCE_PATH"] / "registry.sqlite3"))
    try:
        if app.config["DATABASE_URL"]:
            url = make_url(app.config["DATABASE_URL"])
    except (ArgumentError, ValueError) as error:  # not repeated: an address may hold a password
        raise ConfigurationError(
            "REGISTRY_DATABASE_URL is set to an address that cannot be read; "
            "accepted is sqlite:///<file> or postgresql://user:password@host:port/database."
        ) from error
    # What a failed statement was given may hold digests and what people sent: it has no place in the log.
    options: dict[str, Any] = {"pool_size": app.config["THREADS"], "max_overflow": 4, "hide_parameters": True}
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        options["pool_pre_ping"] = True
        options["connect_args"] = _connection_parameters(url)
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    try:
        db.init_app(app)
        with app.app_context():
            engine = db.engine
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigurationError(
            f"DATABASE_URL names PostgreSQL, but its driver is missing ({error}); install the extra 'postgresql'."
        ) from error
    if is_sqlite(engine):
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine, "handle_error", _withhold_details)
        app.teardown_appcontext(_end_session)  # before Flask-SQLAlchemy's, which would fail the request


def _connection_parameters(url: URL) -> dict[str, str]:
    """What the address does not say otherwise."""
    parameters = {name: value for name, value in POSTGRESQL_CONNECTION.items() if name not in url.query}
    return parameters | {"options": f"{POSTGRESQL_SESSION} {url.query.get('options', '')}".rstrip()}


def log_slow_statements(engine: Engine, least_ms: int, circumstances: Callable[[], dict[str, Any]]) -> None:
    """Log each statement that takes at least so long, failed ones too; never what it was given.

    :param circumstances: fields that say on whose behalf the present statement is executed.
    """

    def begin(_connection: object, _cursor: object, _statement: str, _given: object, context: Any, _many: bool) -> None:
        context.begun = time.perf_counter()

    def end(_connection: object, _cursor: object, statement: str, _given: object, context: Any, _many: bool) -> None:
        duration_ms = (time.perf_counter() - context.begun) * 1000
        if duration_ms >= least_ms:
            shown = " ".join(statement.split())[:LONGEST_STATEMENT]
            known = circumstances()
            told = ", ".join(f"{name} {value}" for name, value in known.items())
            fields = {"statement": shown, "duration_ms": round(duration_ms, 1), **known}
            slow.warning("A statement took %s ms (%s): %s", fields["duration_ms"], told, shown, extra=fields)

    def fail(failure: Any) -> None:
        if hasattr(failure.execution_context, "begun"):
            end(None, None, failure.statement, None, failure.execution_context, False)

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", fail)


def disconnect(app: Flask) -> None:
    """Close all connections: none may be shared by the processes that this one is about to fork."""
    with app.app_context():
        db.engine.dispose()


def is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def is_unanswered(error: SQLAlchemyError) -> bool:
    """Whether the database did not answer, or not in time: the same request may succeed later."""
    is_broken_off = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_broken_off or isinstance(error, OperationalError | NoConnectionLeft)


def _end_session(_error: BaseException | None) -> None:
    """A database that goes away when the answer is made already takes nothing from it."""
    if db.session.registry.has():
        session = db.session()
        try:
            session.close()
        except DBAPIError:
            session.invalidate()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL: what was answered 201 must survive a power cut, and in WAL mode only FULL syncs at each commit.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _withhold_details(context: ExceptionContext) -> None:
    """PostgreSQL tells the values of the row that broke a rule; ``hide_parameters`` does not know of these."""
    error: Any = context.original_exception
    told = getattr(getattr(error, "diag", None), "message_primary", None)
    if told is not None:
        error.args = (told,)
        if context.sqlalchemy_exception is not None:
            context.sqlalchemy_exception.args = (f"({type(error).__name__}) {told}",)


def wait_for_ever(connection: Connection) -> None:
    """In this transaction; to wait for another process, or for the store, is no failure (PostgreSQL)."""
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))


def connect() -> Connection:
    """:raises ConfigurationError: the database does not answer, or is none."""
    try:
        return db.engine.connect()
    except DBAPIError as error:
        raise cannot_open(" ".join(str(error.orig).split())) from error


def cannot_open(cause: str) -> ConfigurationError:
    return ConfigurationError(f"The database (REGISTRY_DATABASE_URL) cannot be opened: {cause.rstrip('.')}.")
