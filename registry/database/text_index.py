"""Search for parts of texts, which an index of trigrams makes fast.

SQLite has it in a virtual table of FTS5, which triggers keep beside the table of the texts; PostgreSQL as an index, if
its extension ``pg_trgm`` can be created. The result is the same without it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, column, false, or_, select, table, text

from registry.database.connection import is_sqlite
from registry.database.types import Model, db

SHORTEST_INDEXED = 3  # characters


def folded(text: str) -> str:
    """Return a text as it is stored and compared: without regard to case, width of letters, and NUL."""
    return unicodedata.normalize("NFKC", text.replace("\x00", "")).casefold()


def any_contains(record: type[Model], parts: Mapping[str, Sequence[str]]) -> ColumnElement[bool]:
    """Match records of which any column contains all of its parts; a column without parts matches nothing.

    :param record: has an index of exactly these columns: on SQLite, a virtual table ``<name of the table>_parts``.
    :param parts: folded texts by column, which stores folded texts.
    """
    wanted = {name: list(found) for name, found in parts.items() if found}
    if not wanted:
        return false()
    columns = record.__table__.c
    matching = or_(
        *(and_(*(columns[name].contains(part, autoescape=True) for part in found)) for name, found in wanted.items())
    )
    indexed = {name: [part for part in found if len(part) >= SHORTEST_INDEXED] for name, found in wanted.items()}
    if not is_sqlite(db.engine) or not all(indexed.values()):
        return matching
    index = table(f"{record.__tablename__}_parts", column("rowid"))
    rows = select(index.c.rowid).where(text(f"{index.name} MATCH :expression"))
    found = columns.id.in_(rows.params(expression=_expression(indexed)))
    return found if indexed == wanted else and_(found, matching)


def _expression(parts: Mapping[str, Sequence[str]]) -> str:
    """Return a query in the language of FTS5, in which every part is a string."""
    return " OR ".join(f"{name} : ({' AND '.join(_quoted(part) for part in found)})" for name, found in parts.items())


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'
