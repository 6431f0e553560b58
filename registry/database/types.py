"""The base class of all models, column types, and the clock."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Index,
    MetaData,
    SmallInteger,
    SQLColumnExpression,
    String,
    TableValuedAlias,
    TypeDecorator,
    bindparam,
    false,
    func,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.functions import GenericFunction

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler


LONGEST_SEARCH = 10_000  # characters, which stay within SQLite's limit for patterns even at four bytes each
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


def constant(member: enum.Enum) -> ColumnElement[Any]:
    """Return a member of an enumeration of short strings as part of the text of a statement.

    SQLite plans a statement anew in each execution if an index on only some rows could depend on a bound value.
    """
    return literal_column(f"'{member.value}'")


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


class _JSONTexts(GenericFunction[str]):
    """The texts of a JSON array as rows with the column ``value``."""

    name = "json_texts"
    inherit_cache = True


@compiles(_JSONTexts, "sqlite")
def _json_texts_on_sqlite(element: _JSONTexts, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_JSONTexts, "postgresql")
def _json_texts_on_postgresql(element: _JSONTexts, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"


def texts(parameter: str) -> TableValuedAlias:
    """Return the rows of many texts, each a ``value``, which are bound as a JSON array.

    A list of parameters would be written into the text of the statement anew in each execution, which takes longer than
    the execution itself.
    """
    return _JSONTexts(bindparam(parameter, type_=String)).table_valued("value")


def contains(column: SQLColumnExpression[str], text: str) -> ColumnElement[bool]:
    """Match rows whose column contains ``text``, case-insensitively and without wildcards.

    Texts longer than SQLite's limit for patterns match nothing, as no stored value is that long.
    """
    if len(text) > LONGEST_SEARCH:
        return false()
    return func.lower(column).contains(text.lower(), autoescape=True)


def utcnow() -> datetime:
    """Return the current time; functions that depend on time take ``now`` as an argument instead."""
    return datetime.now(UTC)
