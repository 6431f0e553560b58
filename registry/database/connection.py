"""Connections to SQLite or PostgreSQL: opening, configuration, logging of slow statements, and closing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, CursorResult, Engine, Executable, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from registry.database.types import db
from registry.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry


LONGEST_WAIT_SECONDS = 30  # for the write lock of SQLite
BUSY_TIMEOUT = f"PRAGMA busy_timeout = {1000 * LONGEST_WAIT_SECONDS}"
CACHE_KIB = 600  # of pages for each connection to SQLite; a page of the index made anew reads less than that
LONGEST_STATEMENT = 2000  # characters of a slow statement in the log
# Terminate idle transactions and long statements, and detect dead peers (libpq, "Parameter Key Words").
POSTGRESQL_SESSION = "-c idle_in_transaction_session_timeout=60000 -c statement_timeout=60000"
POSTGRESQL_CONNECTION = {
    "connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}  # fmt: skip
slow = logging.getLogger("registry.database.slow")


def init_app(app: Flask) -> None:
    """Bind the session to the application's database.

    :raises ConfigurationError: the URL is malformed, or the driver for PostgreSQL is not installed.
    """
    url = URL.create("sqlite", database=str(app.config["INSTANCE_PATH"] / "registry.sqlite3"))
    try:
        if app.config["DATABASE_URL"]:
            url = make_url(app.config["DATABASE_URL"])
    except (ArgumentError, ValueError) as error:  # the message omits the URL, which can contain a password
        raise ConfigurationError(
            "REGISTRY_DATABASE_URL has a host or port that cannot be read; expected sqlite:///<file> or "
            "postgresql://user:password@host:port/database, with :, /, and @ in the password as %3A, %2F, and %40."
        ) from error
    # Parameters of statements can contain digests and user input, which must not be logged.
    options: dict[str, object] = {"pool_size": app.config["THREADS"], "max_overflow": 4, "hide_parameters": True}
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
            f"REGISTRY_DATABASE_URL names PostgreSQL, but its driver is missing ({error}); "
            "install the extra 'postgresql'."
        ) from error
    if is_sqlite(engine):
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "checkin", _sync_again)
    else:
        event.listen(engine, "handle_error", _withhold_details)
        logging.getLogger("psycopg").addFilter(_is_no_further_error)
        app.teardown_appcontext(_end_session)  # runs before Flask-SQLAlchemy's teardown, which would fail the request


def _connection_parameters(url: URL) -> dict[str, str]:
    """Return the default parameters of a connection that the URL does not override."""
    parameters = {name: value for name, value in POSTGRESQL_CONNECTION.items() if name not in url.query}
    return parameters | {"options": f"{POSTGRESQL_SESSION} {url.query.get('options', '')}".rstrip()}


def separate_connection(engine: Engine) -> Any:
    """Open a connection of the driver that does not belong to the pool, and begins no transactions by itself."""
    fairy = engine.raw_connection()
    connection: Any = fairy.driver_connection
    fairy.detach()
    if is_sqlite(engine):
        connection.isolation_level = None
    else:
        connection.autocommit = True
    return connection


def log_slow_statements(engine: Engine, least_ms: int, circumstances: Callable[[], dict[str, object]]) -> None:
    """Log statements, including failed ones, that take at least ``least_ms``, without their parameters.

    :param circumstances: returns fields that identify the current request.
    """

    def begin(
        _connection: object, _cursor: object, _statement: str, _values: object, context: Any, _many: bool
    ) -> None:
        context.begun = time.perf_counter()

    def end(_connection: object, _cursor: object, statement: str, _values: object, context: Any, _many: bool) -> None:
        duration_ms = (time.perf_counter() - context.begun) * 1000
        if duration_ms >= least_ms:
            shown = " ".join(statement.split())[:LONGEST_STATEMENT]
            current = circumstances()
            request = ", ".join(f"{name} {value}" for name, value in current.items())
            fields = {"statement": shown, "duration_ms": round(duration_ms, 1), **current}
            slow.warning("A statement took %s ms (%s): %s", fields["duration_ms"], request, shown, extra=fields)

    def fail(failure: ExceptionContext) -> None:
        if hasattr(failure.execution_context, "begun"):
            end(None, None, failure.statement or "", None, failure.execution_context, False)

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", fail)


def execute(
    statement: Executable, parameters: Mapping[str, object] | Sequence[Mapping[str, object]] | None = None
) -> CursorResult[Any]:
    """Execute a statement on tables in the transaction of the session, past the ORM, which triples its cost.

    :param parameters: of one execution, or of several.

    The session writes none of its pending changes before, and its records do not change.
    """
    return connection_in_use().execute(statement, parameters)


def connection_in_use() -> Connection:
    """Return the connection of the session, which begins a transaction if there is none."""
    session = db.session()
    connection: Connection | None = session.info.get("connection")
    if connection is None or connection.closed:
        connection = session.connection()
        if session.info.get("writing"):  # until the transaction ends, it is the same one
            session.info["connection"] = connection
    return connection


def disconnect(app: Flask) -> None:
    """Close all connections, so that processes forked afterwards do not share them."""
    with app.app_context():
        db.engine.dispose()


def is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def is_unanswered(error: SQLAlchemyError) -> bool:
    """Return whether the database was unavailable or too slow, so that the same request can succeed later."""
    is_broken_off = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_broken_off or isinstance(error, OperationalError | NoConnectionLeft)


def cause(error: Exception) -> str:
    """Return what the driver says of an error, on one line and without the statement."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _end_session(_error: BaseException | None) -> None:
    """Close the session; ignore a lost connection, as the response is already complete."""
    if db.session.registry.has():
        session = db.session()
        try:
            session.close()
        except DBAPIError:
            session.invalidate()


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(BUSY_TIMEOUT)
    cursor.execute("PRAGMA journal_mode = WAL")
    # After a 201, an upload must survive a power failure; in WAL mode, only FULL syncs every commit.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # There are as many connections as threads, and the system's page cache serves all of them.
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.close()


def spare_sync(connection: Connection) -> None:
    """Let a connection to SQLite sync no commits until it is returned to the pool, unless a transaction is open.

    The next commit that is synced takes them along.
    """
    raw: Any = connection.connection.driver_connection
    if not raw.in_transaction and "synchronous" not in connection.info:
        connection.info["synchronous"] = raw.execute("PRAGMA synchronous").fetchone()[0]
        raw.execute("PRAGMA synchronous = NORMAL")


def _sync_again(connection: Any, record: ConnectionPoolEntry) -> None:
    level = record.info.pop("synchronous", None)
    if level is not None and connection is not None:
        connection.execute(f"PRAGMA synchronous = {level}")


def _withhold_details(context: ExceptionContext) -> None:
    """Remove the values of the offending row from PostgreSQL's message, which ``hide_parameters`` does not cover."""
    error: Any = context.original_exception
    message = getattr(getattr(error, "diag", None), "message_primary", None)
    if message is not None:
        error.args = (message,)
        if context.sqlalchemy_exception is not None:
            context.sqlalchemy_exception.args = (f"({type(error).__name__}) {message}",)


def _is_no_further_error(record: logging.LogRecord) -> bool:
    """Return whether a record of the driver is about something other than a further error next to one that it raises.

    When the second of several statements fails in the driver, it logs how the server refused the first: with values of
    parameters, and the host, user, and database of the connection.
    """
    return not str(record.msg).startswith("error ignored")


def disable_timeouts(connection: Connection) -> None:
    """Disable PostgreSQL's timeouts in this transaction, which can wait for another process or for the store."""
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))


def connect() -> Connection:
    """Open a connection.

    :raises ConfigurationError: the database is unavailable or invalid.
    """
    try:
        return db.engine.connect()
    except DBAPIError as error:
        raise cannot_open(cause(error)) from error


def cannot_open(reason: str) -> ConfigurationError:
    return ConfigurationError(f"The database (REGISTRY_DATABASE_URL) cannot be opened: {reason.rstrip('.')}.")
