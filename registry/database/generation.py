"""The content generation: numbers that transactions raise when they make cached responses stale.

There is one number for who can see what, one for the lists of package names, and one for each of 256 groups of package
names. A cached response depends on the first and on one of the others, so a publication leaves the responses for other
names valid, and on PostgreSQL, publications of different names do not wait for one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar
from zlib import crc32

from sqlalchemy import BigInteger, CheckConstraint, Column, Engine, Integer, Table, event, func, literal_column, select
from sqlalchemy.exc import SQLAlchemyError

from registry.database.connection import is_sqlite, separate_connection
from registry.database.readings import Reading
from registry.database.types import Model

# The parts of the generation, in the order in which a transaction raises their numbers. The number of a part is the sum
# of its rows. The last two have several, so that on PostgreSQL, a transaction takes one that no other one is changing.
NAME_GROUPS = 256  # parts 0 to 255: the pages and files of package names
INDEX = 256  # the lists of package names
ACCESS = 257  # who can see what, and everything else that is not about packages
ROWS = 16  # of the index, and of access

Looked = TypeVar("Looked")
Generation = tuple[int, ...]  # the numbers of all parts at one moment, by part

content_generation = Table(
    "content_generation",
    Model.metadata,
    Column("part", Integer, CheckConstraint(f"part BETWEEN 0 AND {ACCESS}", name="part"), primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
    sqlite_with_rowid=False,  # read in the order of parts
)

# All rows in one, as the driver passes the interpreter on to other threads for each row.
LOOK_ON_SQLITE = "SELECT group_concat(number, ' ') FROM (SELECT number FROM content_generation ORDER BY part, row)"
# With the last snapshot as parameter; as long as PostgreSQL returns the same one, no transaction was committed.
LOOK_ON_POSTGRESQL = (
    "SELECT pg_current_snapshot()::text, CASE WHEN pg_current_snapshot()::text <> %s"
    " THEN (SELECT array_agg(number ORDER BY part, row) FROM content_generation) END"
)

_SUM_OF_ACCESS = select(func.sum(content_generation.c.number).label("number")).where(
    content_generation.c.part == literal_column(str(ACCESS))
)
_LOOK_AT_ACCESS = str(_SUM_OF_ACCESS)  # the same in both dialects
_ACCESS_NUMBER = Reading(_SUM_OF_ACCESS)


def part_of_name(normalized_name: str) -> int:
    """Return the part of the generation on which the pages and files of a package name depend."""
    return crc32(normalized_name.encode()) % NAME_GROUPS


def access_number() -> int:
    """Return the present number for who can see what, which changes with every setting, too."""
    return int(_ACCESS_NUMBER.rows({})[0].number)


class LastNumbers:
    """The numbers that were read last, always with the same connection.

    :ivar generation: the same object as long as no number changes.
    :ivar state: identifies the state of the database that they were read from, for this connection.
    """

    generation: Generation = ()
    state: object = ""

    def forget_state(self) -> None:
        """Have the next reading read all numbers, with any connection."""
        self.state = ""

    def read_on_sqlite(self, connection: Any) -> Generation:
        # Changes with every commit of another connection; read first, so that no later commit is missed.
        state = connection.execute("PRAGMA data_version").fetchall()
        if state != self.state:
            ((numbers,),) = connection.execute(LOOK_ON_SQLITE).fetchall()
            self.note(state, map(int, numbers.split()))
        return self.generation

    def read_on_postgresql(self, connection: Any) -> Generation:
        state, numbers = connection.execute(LOOK_ON_POSTGRESQL, (self.state,)).fetchone()
        if numbers is not None:
            self.note(state, numbers)
        return self.generation

    def note(self, state: object, rows: Iterable[int]) -> None:
        """Take over the numbers of all rows, in their order."""
        numbers = tuple(rows)
        generation = (*numbers[:INDEX], sum(numbers[INDEX:-ROWS]), sum(numbers[-ROWS:]))
        self.state = state
        if generation != self.generation:
            self.generation = generation


class ContentGeneration:
    """Reads the content generation, whose numbers increase with every transaction that makes cached responses stale.

    Cached responses are sent after a look, which requests that arrive together share. So a look bypasses the connection
    pool and SQLAlchemy, and uses one persistent connection, which threads share in turn. The numbers are read only
    after a transaction was committed; otherwise a look takes microseconds on SQLite, and one statement on PostgreSQL.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._connection: Any = None
        self._last = LastNumbers()
        self._read = self._last.read_on_sqlite if is_sqlite(engine) else self._last.read_on_postgresql
        event.listen(engine, "engine_disposed", self._close)

    def look(self) -> Generation | None:
        """Return the current numbers, or ``None`` if the database is unavailable.

        As long as nothing changes, it is the same object.
        """
        return self._looked(self._read)

    def look_at_access(self) -> int | None:
        """Return only the number for who can see what: each upload changes others, which no upload depends on."""
        return self._looked(_read_access)

    def _looked(self, read: Callable[[Any], Looked]) -> Looked | None:
        with self._lock:
            if self._connection is not None:
                with suppress(self._engine.dialect.loaded_dbapi.Error):
                    return read(self._connection)
                self._drop()  # the database may have been restarted: retry with a new connection
            try:
                self._connection = separate_connection(self._engine)  # each read must see the latest commit
                return read(self._connection)
            except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error):
                self._drop()
                return None

    def _close(self, _engine: Engine) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._last.forget_state()
        if connection is not None:
            with suppress(self._engine.dialect.loaded_dbapi.Error):
                connection.close()


def _read_access(connection: Any) -> int:
    ((number,),) = connection.execute(_LOOK_AT_ACCESS).fetchall()
    return int(number)
