"""Two recordings side by side: which steps differ, and how."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from pathlib import Path


def show(first: Path, second: Path, lines: int) -> int:
    """Print the differences, and return an exit status like that of ``diff``."""
    steps, others = _steps(first), _steps(second)
    missing, added = sorted(steps - others), sorted(others - steps)
    differing = [step for step in sorted(steps & others) if (first / step).read_bytes() != (second / step).read_bytes()]
    for step in differing:
        print(f"=== {step}")
        difference = difflib.unified_diff(_lines(first / step), _lines(second / step), "before", "after", "", "", 2, "")
        shown = list(difference)[2:]
        print("\n".join(shown[:lines]))
        if len(shown) > lines:
            print(f"… {len(shown) - lines} more lines")
    for step in missing:
        print(f"=== {step}: only in {first}")
    for step in added:
        print(f"=== {step}: only in {second}")
    by_part = Counter(step.split("/")[0] for step in (*differing, *missing, *added))
    for part, number in sorted(by_part.items()):
        print(f"{number:5} in {part}")
    print(f"{len(differing)} of {len(steps & others)} steps differ, {len(missing)} are gone, {len(added)} are new.")
    return 1 if by_part else 0


def _steps(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*.txt")}


def _lines(file: Path) -> list[str]:
    """The lines of a step, with indented JSON documents."""
    lines: list[str] = []
    for line in file.read_text("utf-8").split("\n"):
        if line.startswith(("{", "[")):
            try:
                lines += json.dumps(json.loads(line), indent=2, ensure_ascii=False).split("\n")
                continue
            except ValueError:
                pass
        lines.append(line)
    return lines
