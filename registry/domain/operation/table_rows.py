"""The rows of a table as lines of JSON, in a form that is the same for both databases."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Date, DateTime, Table, Update, bindparam, select

BATCH = 1000

Row = dict[str, Any]


def dump(connection: Connection, table: Table) -> Iterator[bytes]:
    """A line for every row, in the order of the primary key."""
    statement = select(table).order_by(*table.primary_key.columns)
    for row in connection.execution_options(yield_per=BATCH).execute(statement).mappings():
        values = {name: _plain(value) for name, value in row.items()}
        yield json.dumps(values, separators=(",", ":")).encode() + b"\n"


def load(connection: Connection, table: Table, lines: Iterable[bytes]) -> int:
    """Add the rows of these lines to an empty table; their number.

    :param table: as the database has it, which may be at another schema version than this registry.
    """
    loaded = 0
    parsers = {column.name: parser for column in table.c if (parser := _parser(column))}
    rows = (_parsed(json.loads(line), parsers) for line in lines)
    # A group may lie in one that was made after it: what refers to the same table comes when all rows are there.
    late: dict[str, list[Row]] = {column.name: [] for column in table.c if _refers_to_own_table(column)}
    while batch := list(islice(rows, BATCH)):
        for name, taken in late.items():
            taken += _taken_out(batch, name, table)
        connection.execute(table.insert(), batch)
        loaded += len(batch)
    for name, taken in late.items():
        if taken:
            connection.execute(_one_row(table).values({name: bindparam("late_value")}), taken)
    return loaded


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _parser(column: Column[Any]) -> Callable[[str], Any] | None:
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat
    return date.fromisoformat if isinstance(column.type, Date) else None


def _parsed(row: Row, parsers: dict[str, Callable[[str], Any]]) -> Row:
    return row | {name: parse(row[name]) for name, parse in parsers.items() if row[name] is not None}


def _refers_to_own_table(column: Column[Any]) -> bool:
    return any(key.column.table is column.table for key in column.foreign_keys)


def _taken_out(rows: list[Row], name: str, table: Table) -> list[Row]:
    """What the rows have in this column, with the primary key; the rows are left without."""
    keys = [column.name for column in table.primary_key]
    taken = [
        {"late_value": row[name], **{f"of_{key}": row[key] for key in keys}} for row in rows if row[name] is not None
    ]
    for row in rows:
        row[name] = None
    return taken


def _one_row(table: Table) -> Update:
    return table.update().where(*(column == bindparam(f"of_{column.name}") for column in table.primary_key))
