"""The base class of all models, column types, and the clock."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    DateTime,
    Index,
    MetaData,
    SmallInteger,
    String,
    TypeDecorator,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateIndex

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.engine import Dialect


AUTOINCREMENT = {"sqlite_autoincrement": True}  # ids are never reused, as on PostgreSQL


class Model(DeclarativeBase):
    """Base class of all models; a naming convention for constraints allows migrations to refer to them."""

    if TYPE_CHECKING:
        __table__: ClassVar[Table]
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
    """An aware point in time, in UTC on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        # SQLite stores text without a zone. Of each file on a page, it is read once.
        return _utc_of_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _utc_of_text(stored: str | None) -> datetime | None:
    return None if stored is None else datetime.fromisoformat(stored + "+00:00")


class Enumerated(TypeDecorator[Any]):
    """A member of an enumeration, stored as its value: a small integer or a short string."""

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


class PartialIndex(Index):
    """An index of the rows that meet a condition.

    With SQLAlchemy's own parameters, both dialects would be imported, of which a process needs one.

    :param where: the condition, in SQL.
    """

    def __init__(self, name: str, *columns: str, where: str, unique: bool = False) -> None:
        super().__init__(name, *columns, unique=unique)
        self.where = where


@compiles(CreateIndex)
def _create_index(element: CreateIndex, compiler: Any, **options: Any) -> str:
    index, created = element.element, compiler.visit_create_index(element, **options)
    return f"{created} WHERE {index.where}" if isinstance(index, PartialIndex) else created


def utcnow() -> datetime:
    """Return the current time; functions that depend on time take ``now`` as an argument instead."""
    return datetime.now(UTC)
