"""Tables in the format CSV, of values that others have chosen."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

_BEGINNINGS_OF_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_of(rows: Iterable[Iterable[object]]) -> str:
    """Return a table that no spreadsheet takes for formulas (OWASP, "CSV Injection")."""
    table = io.StringIO()
    csv.writer(table).writerows([_cell(str(value)) for value in row] for row in rows)
    return table.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_BEGINNINGS_OF_FORMULAS) else text
