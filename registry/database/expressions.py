"""Parts of statements that SQLAlchemy does not have."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    String,
    TableValuedAlias,
    bindparam,
    false,
    func,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

LONGEST_SEARCH = 10_000  # characters, which stay within SQLite's limit for patterns even at four bytes each


def constant(member: enum.Enum) -> ColumnElement[Any]:
    """Return a member of an enumeration of short strings as part of the text of a statement.

    SQLite plans a statement anew in each execution if an index on only some rows could depend on a bound value.
    """
    return literal_column(f"'{member.value}'")


def contains(column: SQLColumnExpression[str], text: str) -> ColumnElement[bool]:
    """Match rows whose column contains ``text``, case-insensitively and without wildcards.

    Texts longer than SQLite's limit for patterns match nothing, as no stored value is that long.
    """
    if len(text) > LONGEST_SEARCH:
        return false()
    return func.lower(column).contains(text.lower(), autoescape=True)


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
