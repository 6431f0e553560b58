"""Goals beside measurements: a benchmark reports whether they were met, and continues."""

from __future__ import annotations

MEMORY_MB = 120  # resident, of each process after the run


def at_least(value: float, goal: float) -> str:
    return f">= {goal:g} {'met' if value >= goal else 'MISSED'}"


def at_most(value: float, goal: float) -> str:
    return f"<= {goal:g} {'met' if value <= goal else 'MISSED'}"
