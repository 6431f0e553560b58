"""Queries for values, past the session and the ORM, of which the most frequent ones go past SQLAlchemy, too.

For each query, SQLAlchemy takes a connection from the pool, begins and ends a transaction, and creates several objects.
This takes four times as long as SQLite does to find the files of a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary, proxy

from sqlalchemy import Engine, Row, Select, event
from sqlalchemy.exc import OperationalError

from registry.database.connection import execute, separate_connection
from registry.database.statements import Compiled, Statement
from registry.database.types import db

MOST_CONNECTIONS = 4  # of a process, besides those of the pool: seldom do more threads read at a time

AnySelect = Select[*tuple[Any, ...]]


def read(statement: AnySelect, values: Mapping[str, object] | None = None) -> Sequence[Row[Any]]:
    """Execute a query for values rather than records, in the session's transaction if the session has one.

    It takes half the time of the same query through the session.
    """
    if _is_in_transaction():
        return execute(statement, values).all()
    with db.engine.connect() as connection:
        return connection.execute(statement, values).all()


def _is_in_transaction() -> bool:
    """Return whether there is a session that has begun a transaction, whose changes a query has to see."""
    return db.session.registry.has() and db.session().in_transaction()


class Reading:
    """A query that is made once and executed often.

    Rows have the attributes of those of ``read``.
    """

    def __init__(self, statement: AnySelect) -> None:
        self._query = statement
        self._statement = Statement(statement)

    def rows(self, values: Mapping[str, object]) -> Sequence[Any]:
        """Execute the query, as ``read`` does."""
        engine = db.engine
        compiled = self._statement.compiled(engine, values)
        if compiled.is_expanded:
            return read(self._query, values)
        if _is_in_transaction():
            return self._statement.execute(values).rows
        connections = _connections_of(engine)
        connection = connections.take()
        rows = None if connection is None else connections.use(connection, compiled, values)
        return read(self._query, values) if rows is None else rows


class _Connections:
    """Connections that are used by one thread at a time, each query being a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine = proxy(engine)  # does not keep the key of these connections
        self._error = engine.dialect.loaded_dbapi.Error
        self._operational_error = engine.dialect.loaded_dbapi.OperationalError
        self._places = [None] * MOST_CONNECTIONS  # methods of lists are atomic
        self._free: list[tuple[Any, int]] = []
        self._generation = 0
        event.listen(engine, "engine_disposed", self._close)

    def take(self) -> tuple[Any, int] | None:
        """Return a connection, and when it was opened; ``None`` if as many as possible are in use."""
        with suppress(IndexError):
            return self._free.pop()
        try:
            self._places.pop()
        except IndexError:
            return None
        try:
            return separate_connection(self._engine), self._generation
        except BaseException:
            self._places.append(None)
            raise

    def use(self, taken: tuple[Any, int], compiled: Compiled, values: Mapping[str, object]) -> list[Any] | None:
        """Execute a query with a connection, and keep it; return ``None`` if SQLAlchemy has to execute it.

        The connection can have been lost. A failure that can take long, such as a timeout, is not repeated.

        Those who listen to the engine, such as the log of slow statements, are called as by SQLAlchemy.

        :raises OperationalError: the database did not answer.
        """
        connection, generation = taken
        is_usable = False
        dispatch: Any = self._engine.dispatch
        context = SimpleNamespace()
        try:
            parameters = compiled.parameters(values)
            cursor = connection.cursor()
            dispatch.before_cursor_execute(None, cursor, compiled.sql, parameters, context, False)
            try:
                cursor.execute(compiled.sql, parameters)
            finally:
                dispatch.after_cursor_execute(None, cursor, compiled.sql, parameters, context, False)
            rows = compiled.converted(cursor.description, cursor.fetchall())
            is_usable = True
            return rows
        except self._error as error:
            is_lost = self._engine.dialect.is_disconnect(error, connection, None)
            if is_lost or not isinstance(error, self._operational_error):
                return None
            raise OperationalError(compiled.sql, None, error, hide_parameters=True) from error
        finally:
            if is_usable and generation == self._generation:
                self._free.append(taken)
            else:
                self._drop(connection)

    def _close(self, _engine: Engine) -> None:
        """Close the free connections; those in use are closed by their threads."""
        self._generation += 1
        while self._free:
            with suppress(IndexError):
                self._drop(self._free.pop()[0])

    def _drop(self, connection: Any) -> None:
        self._places.append(None)
        with suppress(self._error):
            connection.close()


_connections: WeakKeyDictionary[Engine, _Connections] = WeakKeyDictionary()


def _connections_of(engine: Engine) -> _Connections:
    found = _connections.get(engine)
    return _connections.setdefault(engine, _Connections(engine)) if found is None else found
