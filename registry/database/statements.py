"""Statements that are made once and executed often, each in the dialect of the database.

SQLAlchemy makes a key of all parts of a statement in each execution, to find its text among those that it has made, and
evaluates everything that could differ between two executions. This takes twice as long as SQLite does to execute one.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Insert, Select, Table, Update, bindparam

from registry.database.connection import connection_in_use, is_sqlite

Processor = Callable[[Any], Any]


class Executed(NamedTuple):
    """The result of a statement.

    :ivar rows: those that it returned, with their columns as attributes.
    :ivar changed: how many rows it changed; only of a statement that returns none.
    """

    rows: list[Any]
    changed: int


class Statement:
    """A statement with parameters, whose text does not depend on their values, as with ``IN``."""

    def __init__(self, statement: Any) -> None:
        if isinstance(statement, Insert) and not statement.exported_columns:
            statement = statement.inline()  # returns no generated key
        self._statement = statement
        self._takes_columns = isinstance(statement, Insert | Update)  # from the names of its parameters
        self._compiled: WeakKeyDictionary[Engine, dict[tuple[str, ...], Compiled]] = WeakKeyDictionary()

    def execute(self, values: Mapping[str, object]) -> Executed:
        """Execute it in the transaction of the session, past the ORM.

        The session writes none of its pending changes before, and its records do not change.
        """
        connection = connection_in_use()
        compiled = self.compiled(connection.engine, values)
        return compiled.execute(connection, compiled.parameters(values))

    def compiled(self, engine: Engine, values: Mapping[str, object]) -> Compiled:
        """Return it in the dialect of a database.

        :param values: the values of its parameters, or others of the same names.
        """
        names = tuple(values) if self._takes_columns else ()
        of_engine = self._compiled.get(engine)
        if of_engine is None:
            of_engine = self._compiled.setdefault(engine, {})
        compiled = of_engine.get(names)
        if compiled is None:
            compiled = of_engine[names] = Compiled(self._statement, engine, sorted(names) or None)
        return compiled


class Upsert:
    """A statement that adds a row, or changes the one with the same primary key (``INSERT ... ON CONFLICT``).

    :param changes: returns the new values of that row, by column; called with the columns of the row to add. By
        default, that row is replaced.
    :param where: returns the condition on which that row changes, called likewise.
    """

    def __init__(
        self, table: Table, changes: Callable[[Any], dict[str, Any]] | None = None, *,
        where: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        self._table, self._changes, self._where = table, changes or self._all, where
        self._statements: dict[bool, Statement] = {}

    def execute(self, values: Mapping[str, object]) -> Executed:
        """Execute it as ``Statement`` does.

        :param values: of all columns, by name.
        """
        of_sqlite = is_sqlite(connection_in_use().engine)
        statement = self._statements.get(of_sqlite)
        if statement is None:
            statement = self._statements[of_sqlite] = Statement(self._statement(of_sqlite))
        return statement.execute(values)

    def _all(self, new: Any) -> dict[str, Any]:
        return {column.name: new[column.name] for column in self._table.c if not column.primary_key}

    def _statement(self, of_sqlite: bool) -> Any:
        # The other dialect is not imported: that of PostgreSQL takes 20 ms and 2 MB.
        insert: Any
        if of_sqlite:
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert
        added = insert(self._table).values({column.name: bindparam(column.name) for column in self._table.c})
        return added.on_conflict_do_update(
            index_elements=self._table.primary_key.columns,
            set_=self._changes(added.excluded),
            where=None if self._where is None else self._where(added.excluded),
        )


class _Execution:
    """What SQLAlchemy and those who listen to it need of the context of one execution."""

    executemany = False
    begun: float

    def handle_dbapi_exception(self, error: BaseException) -> None:
        pass


class Compiled:
    """A statement in the dialect of a database.

    :ivar is_expanded: whether its text depends on its parameters, as with ``IN``.
    """

    def __init__(self, statement: Any, engine: Engine, column_keys: list[str] | None) -> None:
        self._dialect = engine.dialect
        self._error = engine.dialect.loaded_dbapi.Error
        compiled: Any = statement.compile(engine, column_keys=column_keys)
        self.sql = str(compiled)
        self.is_expanded = bool(compiled.post_compile_params)
        self._positions: list[str] | None = compiled.positiontup
        needed = {name for parameter, name in compiled.bind_names.items() if parameter.required}
        present: dict[str, object] = compiled.construct_params(_check=False)
        # Without those that each execution has to have a value for: they would be null.
        self._constants = {name: value for name, value in present.items() if name not in needed}
        self._defaults = [
            *((column.key, column.default) for column in compiled.insert_prefetch),
            *((column.key, column.onupdate) for column in compiled.update_prefetch),
        ]
        self._binders = [
            (name, binder)
            for parameter, name in compiled.bind_names.items()
            if (binder := parameter.type.dialect_impl(self._dialect).bind_processor(self._dialect)) is not None
        ]
        columns = _returned_columns(statement)
        self._types = [column.type.dialect_impl(self._dialect) for column in columns]
        row: Any = namedtuple("Values", [str(getattr(column, "name", "")) for column in columns], rename=True)  # type: ignore[misc]
        self._made: Callable[[list[Any]], Any] = row._make
        self._processors: list[tuple[int, Processor]] | None = None

    def execute(self, connection: Connection, parameters: Any) -> Executed:
        """Execute it with the driver.

        Those who listen to the engine, such as the log of slow statements, are called as by SQLAlchemy, which also
        raises the errors.
        """
        dispatch: Any = connection.engine.dispatch
        context = _Execution()
        cursor = connection.connection.cursor()
        try:
            dispatch.before_cursor_execute(connection, cursor, self.sql, parameters, context, False)
            cursor.execute(self.sql, parameters)
            dispatch.after_cursor_execute(connection, cursor, self.sql, parameters, context, False)
            if cursor.description is None:
                return Executed([], cursor.rowcount)
            return Executed(self.converted(cursor.description, cursor.fetchall()), -1)
        except self._error as error:
            raising: Any = connection
            raising._handle_dbapi_exception(error, self.sql, parameters, cursor, context)
            raise
        finally:
            cursor.close()

    def parameters(self, values: Mapping[str, object]) -> Any:
        bound = {**self._constants, **values}
        for name, default in self._defaults:
            bound[name] = default.arg(None) if default.is_callable else default.arg
        for name, binder in self._binders:
            bound[name] = binder(bound[name])
        return bound if self._positions is None else tuple([bound[name] for name in self._positions])

    def converted(self, description: Any, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Return rows with values of Python.

        :param description: of the cursor.
        """
        if self._processors is None:
            found = [
                (number, type_.result_processor(self._dialect, column[1]))
                for number, (type_, column) in enumerate(zip(self._types, description, strict=True))
            ]
            self._processors = [(number, processor) for number, processor in found if processor is not None]
        made = []
        for row in rows:
            values = list(row)
            for number, processor in self._processors:
                value = values[number]
                if value is not None:
                    values[number] = processor(value)
            made.append(self._made(values))
        return made


def _returned_columns(statement: Any) -> list[Any]:
    """Return the columns of the rows that a statement returns; none for one that is made of text."""
    if isinstance(statement, Select):
        return list(statement.selected_columns)
    return list(getattr(statement, "exported_columns", ()))
