"""The database: session, base of all records, column types, transactions, schema version.

SQLite and PostgreSQL are the two databases; nothing outside this module knows which one is in use.
"""

from __future__ import annotations

import enum
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    URL,
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    SmallInteger,
    SQLColumnExpression,
    String,
    Table,
    TypeDecorator,
    event,
    exists,
    false,
    func,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InvalidRequestError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionLeft
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm.exc import StaleDataError

from registry.errors import ConfigurationError, NoRoom, RecordNotFound

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy.engine import Dialect, ExceptionContext
    from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA_LOCK = 7_202_611  # any number, the same in every process (PostgreSQL advisory lock)
OBJECTS_LOCK = 7_202_612
REMOVAL_LOCK = 7_202_616

RESTORING = "restoring"  # in the place of a schema version
_FILLED_BY_MIGRATIONS = ("content_generation", "instance_settings")

LONGEST_STATEMENT = 2000  # characters of a slow statement in the log
LONGEST_SEARCH = 10_000  # characters: of four bytes each, still a pattern that SQLite takes

# Whoever holds others up is cut off; whoever is not there is not waited for (libpq, "Parameter Key Words").
POSTGRESQL_SESSION = "-c idle_in_transaction_session_timeout=60000 -c statement_timeout=60000"
POSTGRESQL_CONNECTION = {
    "connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}  # fmt: skip

AUTOINCREMENT = {"sqlite_autoincrement": True}  # an id is never given twice, as on PostgreSQL


slow = logging.getLogger("registry.database.slow")


class Model(DeclarativeBase):
    """Base of every record; names of constraints follow one convention, so that migrations can address them."""

    __table_args__: Any = AUTOINCREMENT
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


_generation = Table(
    "content_generation",
    Model.metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

PendingKind = TypeVar("PendingKind", bound="Pending")

db = SQLAlchemy(metadata=Model.metadata, session_options={"expire_on_commit": False})


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time, aware and in UTC on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Enumerated(TypeDecorator[Any]):
    """A member of an enumeration, stored as its value: a small number or a short text."""

    impl = String
    cache_ok = True

    def __init__(self, members: type[enum.Enum]) -> None:
        super().__init__(32)
        self.members = members

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(SmallInteger() if issubclass(self.members, int) else String(32))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self.members(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self.members(value)


def contains(column: SQLColumnExpression[str], text: str) -> ColumnElement[bool]:
    """Whether a text occurs in a column, without case and every sign meant literally.

    Nothing that is kept is as long as what SQLite fails to look for.
    """
    if len(text) > LONGEST_SEARCH:
        return false()
    return func.lower(column).contains(text.lower(), autoescape=True)


def utcnow() -> datetime:
    """The one clock of the registry; functions that depend on time take ``now`` instead."""
    return datetime.now(UTC)


# Connection -----------------------------------------------------------------------------------------------------


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


# Transactions ---------------------------------------------------------------------------------------------------


@contextmanager
def transaction(*, lock: int | None = None, shared: bool = False, changes_answers: bool = True) -> Iterator[Session]:
    """All writes of the block, or none. Inside another transaction the block joins it.

    On SQLite the write lock is taken at once: a reader that turns writer half-way would fail instead of waiting.

    :param lock: number of an advisory lock held to the end (PostgreSQL; on SQLite every writer excludes the others).
    :param shared: hold that lock together with others that share it.
    :param changes_answers: whether any reader may be answered otherwise after it; raises the content generation.
    :raises RecordNotFound: what the block changes, or refers to, was deleted meanwhile.
    :raises NoRoom: the database's disk is full.
    """
    session: Session = db.session()
    if session.info.get("writing"):
        session.info["changes_answers"] |= changes_answers
        yield session
        return
    session.info["changes_answers"] = changes_answers
    session.info["writing"] = True
    try:
        if is_sqlite(db.engine):
            _take_write_lock(session)
        elif lock is not None:
            function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
            session.execute(text(f"SELECT {function}(:number)"), {"number": lock})
        yield session
        for pending in session.info.pop("at_end", {}).values():
            session.flush()
            pending.apply()
        if session.info["changes_answers"]:
            session.flush()
            # Last of all: on PostgreSQL writers wait for one another here, until the commit.
            session.execute(update(_generation).values(number=_generation.c.number + 1))
        session.commit()
    except StaleDataError as error:  # a record to change was deleted meanwhile
        session.rollback()
        raise RecordNotFound from error
    except IntegrityError as error:
        session.rollback()
        if _refers_to_nothing(error):
            raise RecordNotFound from error
        raise
    except OperationalError as error:
        session.rollback()
        if _is_full(error):
            raise NoRoom("The database's disk is full.") from error
        raise
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info.pop("writing", None)
        session.info.pop("at_end", None)


class Pending(Protocol):
    """What a transaction still has to write."""

    def apply(self) -> None: ...


def at_end(kind: type[PendingKind]) -> PendingKind:
    """The one thing of its kind that the present transaction applies before it ends; made when first asked for.

    For rows that many writers change: held only from then to the commit, and locked by all in one order.
    """
    pending: PendingKind = db.session().info.setdefault("at_end", {}).setdefault(kind, kind())
    return pending


def exclude_others(number: int, part: int) -> None:
    """Wait for other transactions that named the same two numbers, and keep them out until this one ends."""
    if not is_sqlite(db.engine):  # where every writer excludes the others
        db.session.execute(text("SELECT pg_advisory_xact_lock(:number, :part)"), {"number": number, "part": part})


def _refers_to_nothing(error: IntegrityError) -> bool:
    """Whether a foreign key was violated: by a record that belongs to one which was deleted meanwhile."""
    return not _codes(error).isdisjoint({"SQLITE_CONSTRAINT_FOREIGNKEY", "23503"})


def _is_full(error: OperationalError) -> bool:
    return not _codes(error).isdisjoint({"SQLITE_FULL", "53100"})


def _codes(error: DBAPIError) -> set[object]:
    """What the database calls this failure, whichever it is."""
    return {getattr(error.orig, name, None) for name in ("sqlite_errorname", "sqlstate")}


def lock(record: Model, *attributes: str) -> None:
    """Read a record, or some of its attributes, anew and keep others from changing it until the transaction ends.

    :raises RecordNotFound: it was deleted meanwhile.
    """
    try:
        # Of this table alone: PostgreSQL locks no row of what the record may have been loaded together with.
        db.session.refresh(record, attributes or None, with_for_update={"of": type(record)})
    except InvalidRequestError as error:
        raise RecordNotFound from error


def _take_write_lock(session: Session) -> None:
    connection = session.connection()
    raw: Any = connection.connection.driver_connection
    if not raw.in_transaction:  # records changed before this block may have been written already
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class ContentGeneration:
    """Looks at the content generation: a number that is higher after any transaction that may change an answer.

    A hot page costs one look, so it goes over a connection of its own, kept open, past the pool and SQLAlchemy's
    statements; a look takes microseconds on SQLite, and threads take turns.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._connection: Any = None
        event.listen(engine, "engine_disposed", self._close)

    def look(self) -> int | None:
        """The number now, or ``None`` when the database does not answer."""
        with self._lock:
            if self._connection is not None:
                with suppress(self._engine.dialect.loaded_dbapi.Error):
                    return self._number()
                self._drop()  # the database was restarted, say: once more over a new connection
            try:
                self._connection = self._connected()
                return self._number()
            except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error):
                self._drop()
                return None

    def _close(self, _engine: Engine) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(self._engine.dialect.loaded_dbapi.Error):
                connection.close()

    def _connected(self) -> Any:
        fairy = self._engine.raw_connection()
        connection: Any = fairy.driver_connection
        fairy.detach()
        # Each look must see the newest, and leave no transaction open behind it.
        if is_sqlite(self._engine):
            connection.isolation_level = None
        else:
            connection.autocommit = True
        return connection

    def _number(self) -> int:
        return int(self._connection.execute("SELECT number FROM content_generation").fetchall()[0][0])


# Locks between processes ----------------------------------------------------------------------------------------


@contextmanager
def objects_kept() -> Iterator[None]:
    """While the block runs, no process removes an object from the store; waits for those that are at it.

    What was there when a snapshot was begun in the block can thus be read to its end. Uploads go on.
    """
    with _held(REMOVAL_LOCK):
        yield


@contextmanager
def objects_removable() -> Iterator[bool]:
    """Whether objects may be removed in the block: not while another process has them kept."""
    with _held(REMOVAL_LOCK, shared=True, wait=False) as is_held:
        yield is_held


@contextmanager
def schema_locked() -> Iterator[None]:
    """Keep others from upgrading the database or filling it anew, and a registry that starts meanwhile waiting.

    :raises ConfigurationError: the database cannot be opened.
    """
    with _held(SCHEMA_LOCK):
        yield


@contextmanager
def _held(number: int, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """A lock that is held beyond transactions, and let go with the end of its process; whether it could be had."""
    lock = _file_lock if is_sqlite(db.engine) else _advisory_lock
    with lock(number, shared, wait) as is_held:
        yield is_held


@contextmanager
def _file_lock(number: int, shared: bool, wait: bool) -> Iterator[bool]:
    path = str(db.engine.url.database)
    try:
        if number == SCHEMA_LOCK:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it will hold password hashes
            descriptor = os.open(f"{path}.upgrade-lock", os.O_RDWR | os.O_CREAT, 0o600)
        else:
            descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)  # a folder leaves no file behind
    except OSError as error:
        raise _cannot_open(f"{path}: {error.strerror}") from error
    try:
        yield _flocked(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    finally:
        os.close(descriptor)


def _flocked(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _advisory_lock(number: int, shared: bool, wait: bool) -> Iterator[bool]:
    function = f"pg{'' if wait else '_try'}_advisory_xact_lock{'_shared' if shared else ''}"
    with _connect() as connection, connection.begin():
        _wait_for_ever(connection)
        answer = connection.execute(text(f"SELECT {function}(:number)"), {"number": number}).scalar()
        yield wait or bool(answer)


def _wait_for_ever(connection: Connection) -> None:
    """In this transaction; to wait for another process, or for the store, is no failure (PostgreSQL)."""
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))


# Schema ---------------------------------------------------------------------------------------------------------


def upgrade() -> tuple[str | None, str]:
    """Bring the schema to the newest version; two processes that start at once do it once.

    :returns: the version found and the version now in place.
    :raises ConfigurationError: the database cannot be opened, does not keep all texts, or was written by a newer
        registry.
    """
    with schema_locked():
        _refuse_encoding()
        before = schema_version()
        _refuse_unknown(before)
        if before != newest_version():
            alembic.command.upgrade(_alembic_config(), "head")
        return before, newest_version()


def check_schema() -> None:
    """:raises ConfigurationError: the schema is not the one this registry works with; the sentence says what to do."""
    found = schema_version()
    _refuse_unknown(found)
    if found != newest_version():
        raise ConfigurationError(
            f"The database schema is {found or 'empty'}, this registry needs {newest_version()}; "
            "run 'flask database upgrade'."
        )


def schema_version() -> str | None:
    """The version the database is at, or ``None`` when it is empty."""
    with _connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_version() -> str:
    return _versions(MIGRATIONS)[0]


def _refuse_encoding() -> None:
    if is_sqlite(db.engine):
        return
    with _connect() as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"The database (REGISTRY_DATABASE_URL) keeps texts as {encoding}; "
            "make it anew with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


def knows(version: str) -> bool:
    """Whether this registry can upgrade a database of this version."""
    return version in _versions(MIGRATIONS)


def is_restoring() -> bool:
    """Whether a backup is being restored into the database, or was and did not come to its end."""
    return schema_version() == RESTORING


def _refuse_unknown(found: str | None) -> None:
    """:raises ConfigurationError: a newer registry wrote it, or nobody has finished writing it."""
    if found == RESTORING:
        raise ConfigurationError(
            "A backup is being restored into this database, or was and did not come to its end; "
            "run 'flask backup restore' with the same file again, or start over with an empty database."
        )
    if found is not None and not knows(found):
        raise ConfigurationError(
            f"The database schema is {found}, newer than this registry knows ({newest_version()}); "
            "start the registry version that wrote it, or a later one."
        )


@cache
def _versions(migrations: Path) -> tuple[str, ...]:
    """All versions this registry knows, the newest first; reading them takes as long as several requests."""
    return tuple(script.revision for script in ScriptDirectory(str(migrations)).walk_revisions())


def _alembic_config() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["engine"] = db.engine
    return config


def _connect() -> Connection:
    """:raises ConfigurationError: the database does not answer, or is none."""
    try:
        return db.engine.connect()
    except DBAPIError as error:
        raise _cannot_open(" ".join(str(error.orig).split())) from error


def _cannot_open(cause: str) -> ConfigurationError:
    return ConfigurationError(f"The database (REGISTRY_DATABASE_URL) cannot be opened: {cause.rstrip('.')}.")


# Snapshots, and databases filled from them ----------------------------------------------------------------------


@contextmanager
def snapshot() -> Iterator[Connection]:
    """A connection to read the database as it is at the first look, whatever is written meanwhile."""
    with _connect() as connection:
        if is_sqlite(db.engine):
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            _wait_for_ever(connection)
        yield connection


def last_ids(connection: Connection) -> dict[str, int]:
    """By table the last id that was given: it is not given again, even if its record is gone."""
    if is_sqlite(db.engine):
        statement = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    else:
        statement = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)")
    names = [table.name for table in Model.metadata.tables.values() if "id" in table.c]
    found = {name: connection.scalar(statement, {"name": name}) for name in names}
    return {name: number for name, number in found.items() if number is not None}


def set_last_ids(connection: Connection, numbers: Mapping[str, int]) -> None:
    """Have the next records numbered behind these."""
    statements = (
        ["DELETE FROM sqlite_sequence WHERE name = :name", "INSERT INTO sqlite_sequence VALUES (:name, :number)"]
        if is_sqlite(db.engine)
        else ["SELECT setval(pg_get_serial_sequence(:name, 'id'), :number)"]
    )
    for name, number in numbers.items():
        for statement in statements:
            connection.execute(text(statement), {"name": name, "number": number})


def holds_records() -> bool:
    """Whether there is anything in the database but what the migrations put there; not while it is being restored.

    :raises ConfigurationError: it was written by a newer registry.
    """
    found = schema_version()
    if found == RESTORING:
        return False
    _refuse_unknown(found)
    with _connect() as connection:
        present = set(inspect(connection).get_table_names()).intersection(Model.metadata.tables)
        if found is None:
            return bool(present)  # of some other program, to which they mean something
        return any(
            connection.scalar(select(exists().select_from(Model.metadata.tables[name])))
            for name in present.difference(_FILLED_BY_MIGRATIONS)
        )


def begin_restoring(version: str) -> None:
    """Make the tables anew, at this schema version; until ``restored`` is done, the database is good for nothing else.

    Within ``schema_locked``, after ``holds_records`` has said no.

    :raises ConfigurationError: the database does not keep all texts.
    """
    _refuse_encoding()
    with db.engine.begin() as connection:
        if not is_sqlite(db.engine):
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        Model.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    alembic.command.upgrade(_alembic_config(), version)
    with db.engine.begin() as connection:
        _set_version(connection, RESTORING)


@contextmanager
def restored(version: str) -> Iterator[Connection]:
    """One transaction to fill the tables that ``begin_restoring`` has made; then the schema is brought up to date."""
    with _connect() as connection:
        if is_sqlite(db.engine):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            _wait_for_ever(connection)
        yield connection
        connection.execute(update(_generation).values(number=_generation.c.number + 1))
        _set_version(connection, version)
        connection.commit()
    alembic.command.upgrade(_alembic_config(), "head")


def _set_version(connection: Connection, version: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
