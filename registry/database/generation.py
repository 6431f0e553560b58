"""The content generation: a number that every transaction increments if it can make cached responses stale."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Engine, Integer, Table, event
from sqlalchemy.exc import SQLAlchemyError

from registry.database.connection import is_sqlite
from registry.database.types import Model

content_generation = Table(
    "content_generation",
    Model.metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True),
    Column("number", BigInteger, nullable=False),
)


class ContentGeneration:
    """Reads the content generation, which increases with every transaction that can make cached responses stale.

    Every cached response requires one read, so it bypasses the connection pool and SQLAlchemy, and uses one persistent
    connection, which threads share in turn. A read takes microseconds on SQLite.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._connection: Any = None
        event.listen(engine, "engine_disposed", self._close)

    def look(self) -> int | None:
        """Return the current number, or ``None`` if the database is unavailable."""
        with self._lock:
            if self._connection is not None:
                with suppress(self._engine.dialect.loaded_dbapi.Error):
                    return self._number()
                self._drop()  # the database may have been restarted: retry with a new connection
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
        # Each read must see the latest commit, and must not leave a transaction open.
        if is_sqlite(self._engine):
            connection.isolation_level = None
        else:
            connection.autocommit = True
        return connection

    def _number(self) -> int:
        return int(self._connection.execute("SELECT number FROM content_generation").fetchall()[0][0])
