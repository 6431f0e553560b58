"""The base of all records, column types, and the one clock."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    ColumnElement,
    DateTime,
    MetaData,
    SmallInteger,
    SQLColumnExpression,
    String,
    TypeDecorator,
    false,
    func,
)
from sqlalchemy.orm import DeclarativeBase

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


LONGEST_SEARCH = 10_000  # characters: of four bytes each, still a pattern that SQLite takes
AUTOINCREMENT = {"sqlite_autoincrement": True}  # an id is never given twice, as on PostgreSQL


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
