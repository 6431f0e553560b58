"""The content generation: a number raised by every transaction that may change a response."""

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
