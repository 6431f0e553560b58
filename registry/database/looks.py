"""Looks at the content generation that wait for nothing: not for a connection, a lock, or an answer.

The server's loop makes one for all requests that arrived together (``server.repeats``). On SQLite, a look takes
microseconds, and fails instead of waiting for a lock. On PostgreSQL, it is a round trip: ``begin`` sends the statement,
and the loop waits for the answer along with all its other connections. Connections are opened by a thread of their own.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import suppress
from threading import Thread
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from registry.database.connection import is_sqlite, separate_connection
from registry.database.generation import LOOK_ON_POSTGRESQL, Generation, LastNumbers

PAUSE_SECONDS = 1  # between attempts to connect
_PREPARED = b"look"
_COMMAND_OK, _TUPLES_OK = 1, 2  # libpq, PGRES_COMMAND_OK and PGRES_TUPLES_OK


def immediate_look(engine: Engine) -> ImmediateLook:
    return SQLiteLook(engine) if is_sqlite(engine) else PostgreSQLLook(engine)


class ImmediateLook(ABC):
    """One look at a time, by one thread.

    :ivar generation: the result of the last look, which is over; ``None`` if it failed.
    """

    generation: Generation | None = None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._error = engine.dialect.loaded_dbapi.Error
        self._last = LastNumbers()
        self._connection: Any = None
        self._opened: Any = None  # by the thread, and not yet in use
        self._is_opening = self._is_disposed = False
        self._open_from = 0.0
        event.listen(engine, "engine_disposed", self._note_disposal)

    @abstractmethod
    def begin(self) -> bool:
        """Begin to look, and return whether there is a connection to do so."""

    @abstractmethod
    def proceed(self) -> bool:
        """Return whether the look is over, as far as that is known by now."""

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable when there is something to ``proceed`` with."""
        return None

    def renew(self) -> None:
        """Close the connection, if any, and open another in the background, once a second at most."""
        self._abandon()
        now = time.monotonic()
        if not self._is_opening and self._opened is None and now >= self._open_from:
            self._is_opening, self._open_from = True, now + PAUSE_SECONDS
            try:
                Thread(target=self._open, name="look", daemon=True).start()
            except RuntimeError:  # the process has no room for another thread
                self._is_opening = False

    def close(self) -> None:
        """Close the connection; ``renew`` opens another at once."""
        self._abandon()
        self._open_from = 0.0

    def _abandon(self) -> None:
        """Close the connection, and the one that was opened and is not yet in use."""
        self._drop()
        self._connection, self._opened = self._opened, None
        self._drop()
        self._is_disposed = False

    def _has_connection(self) -> bool:
        if self._connection is None:
            self._connection, self._opened = self._opened, None
        return self._connection is not None and not self._is_disposed

    def _open(self) -> None:
        try:
            self._opened = self._connected()
        except (SQLAlchemyError, self._error):
            self._opened = None  # the application reports the error
        finally:
            self._is_opening = False

    def _connected(self) -> Any:
        return separate_connection(self._engine)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._last.forget_state()
        if connection is not None:
            with suppress(self._error):
                connection.close()

    def _note_disposal(self, _engine: Engine) -> None:
        self._is_disposed = True  # another thread is not to touch the connection


class SQLiteLook(ImmediateLook):
    def _connected(self) -> Any:
        connection = super()._connected()
        connection.execute("PRAGMA busy_timeout = 0")
        return connection

    def begin(self) -> bool:
        if not self._has_connection():
            return False
        try:
            self.generation = self._last.read_on_sqlite(self._connection)
        except self._error:
            return False
        return True

    def proceed(self) -> bool:
        return True


class PostgreSQLLook(ImmediateLook):
    """Speaks to the server past psycopg's methods, all of which wait (libpq, "Asynchronous Command Processing")."""

    _descriptor: int | None = None
    _is_under_way = False
    _result: Any = None

    def _connected(self) -> Any:
        connection = super()._connected()
        prepared = connection.pgconn.prepare(_PREPARED, LOOK_ON_POSTGRESQL.replace("%s", "$1").encode())
        if prepared.status != _COMMAND_OK:
            connection.close()
            raise self._engine.dialect.loaded_dbapi.OperationalError("The look could not be prepared")
        connection.pgconn.nonblocking = 1
        return connection

    def begin(self) -> bool:
        if not self._has_connection():
            return False
        try:
            self._connection.pgconn.send_query_prepared(_PREPARED, [str(self._last.state).encode()])
            self._is_under_way = not self._connection.pgconn.flush()
        except self._error:
            return False
        return self._is_under_way

    def proceed(self) -> bool:
        try:
            self._connection.pgconn.consume_input()
            if not self._is_under_way or not self._has_received_all():
                return False
            self.generation = self._received()
        except self._error:
            self.generation = None
        self._is_under_way = False
        return True

    def fileno(self) -> int | None:
        return self._descriptor

    def _has_connection(self) -> bool:
        has_connection = super()._has_connection()
        if has_connection and self._descriptor is None:  # kept, as libpq forgets it when the connection is lost
            self._descriptor = self._connection.pgconn.socket
        return has_connection

    def _has_received_all(self) -> bool:
        """Take the results that have arrived, and return whether the last message of the answer has, too.

        ``get_result`` waits for the next message, with the interpreter, unless the connection is not busy.
        """
        pgconn = self._connection.pgconn
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                return True
            self._result = self._result or result
        return False

    def _received(self) -> Generation | None:
        result, self._result = self._result, None
        if result is None or result.status != _TUPLES_OK:
            return None
        numbers = result.get_value(0, 1)
        if numbers is not None:
            state = result.get_value(0, 0).decode()
            self._last.note(state, map(int, numbers.strip(b"{}").split(b",")))
        return self._last.generation

    def _drop(self) -> None:
        self._descriptor, self._is_under_way, self._result = None, False, None
        super()._drop()
