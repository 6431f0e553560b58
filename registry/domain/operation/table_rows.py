"""The rows of a table as lines of JSON, in a format that is the same for both databases."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from sqlalchemy import JSON, Column, Connection, Date, DateTime, Table, Update, bindparam, select

BATCH = 1000

Row = dict[str, Any]


def dump(connection: Connection, table: Table) -> Iterator[bytes]:
    """Yield a line for every row, ordered by primary key."""
    statement = select(table).order_by(*table.primary_key.columns)
    for row in connection.execution_options(yield_per=BATCH).execute(statement).mappings():
        values = {name: _plain(value) for name, value in row.items()}
        yield json.dumps(values, separators=(",", ":")).encode() + b"\n"


def load(connection: Connection, table: Table, lines: Iterable[bytes]) -> int:
    """Insert the rows of these lines into an empty table, and return their number.

    :param table: as reflected from the database, whose schema version can be older than that of this registry.
    """
    loaded = 0
    for column in table.c:
        if isinstance(column.type, JSON):
            column.type.none_as_null = True  # otherwise a missing value would become the JSON value null
    parsers = {column.name: parser for column in table.c if (parser := _parser(column))}
    rows = (_parsed(json.loads(line), parsers) for line in lines)
    # A group can be in a group created after it, so references within the table are set after all rows exist.
    deferred: dict[str, list[Row]] = {column.name: [] for column in table.c if _refers_to_own_table(column)}
    while batch := list(islice(rows, BATCH)):
        for name, references in deferred.items():
            references += _detached(batch, name, table)
        connection.execute(table.insert(), batch)
        loaded += len(batch)
    for name, references in deferred.items():
        if references:
            connection.execute(_one_row(table).values({name: bindparam("deferred_value")}), references)
    return loaded


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _parser(column: Column[Any]) -> Callable[[str], object] | None:
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat
    return date.fromisoformat if isinstance(column.type, Date) else None


def _parsed(row: Row, parsers: dict[str, Callable[[str], object]]) -> Row:
    return row | {name: parse(row[name]) for name, parse in parsers.items() if row[name] is not None}


def _refers_to_own_table(column: Column[Any]) -> bool:
    return any(key.column.table is column.table for key in column.foreign_keys)


def _detached(rows: list[Row], name: str, table: Table) -> list[Row]:
    """Set a column to ``None`` in all rows, and return its former values with the primary keys."""
    keys = [column.name for column in table.primary_key]
    values = [
        {"deferred_value": row[name], **{f"of_{key}": row[key] for key in keys}}
        for row in rows
        if row[name] is not None
    ]
    for row in rows:
        row[name] = None
    return values


def _one_row(table: Table) -> Update:
    return table.update().where(*(column == bindparam(f"of_{column.name}") for column in table.primary_key))
