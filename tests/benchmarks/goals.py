"""Goals beside measurements: a benchmark reports whether they were met, and continues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MEMORY_MB = 120  # resident, of each process after the run
MET, MISSED = "met", "MISSED"


def at_least(value: float, goal: float) -> str:
    return f">= {goal:g} {MET if value >= goal else MISSED}"


def at_most(value: float, goal: float) -> str:
    return f"<= {goal:g} {MET if value <= goal else MISSED}"


def found_in(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the goals in a table, each with the names of table and row."""
    for row in rows:
        connections = dict(zip(heading, row, strict=True)).get("connections", "")
        name = f"{row[0]} ({connections})" if connections else row[0]
        yield from (f"{heading[0]}: {name}: {cell}" for cell in row if cell.endswith((MET, MISSED)))
