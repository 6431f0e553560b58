"""Pages of 1,000 files, and uploads of small wheels by one client, beside other registries that hold the same.

Each registry keeps what it calls published its own way: ours has bytes and row on the disk before it answers.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.goals import at_least
from tests.benchmarks.load import measure
from tests.benchmarks.peers import Party
from tests.builders import build_wheel

PAGES_HEADING = ("a page of 1,000 files", "requests/s", "p99 ms", "ours / theirs", "goal")
UPLOADS_HEADING = ("uploads by one client", "files/s", "p50 ms", "p99 ms", "ours / theirs", "goal")
PAGE_GOALS = {"devpi-server": 4.0}
UPLOAD_GOAL = 3.0
ROUNDS = 3
UPLOADS = 100  # a round


def pages(ours: Party, peers: Sequence[Party], seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each form and registry that offers it; they take turns, and medians count."""
    for form in ours.pages:
        parties = [party for party in (ours, *peers) if form in party.pages]
        loads = [[measure(party.pages[form], seconds / ROUNDS) for party in parties] for _ in range(ROUNDS)]
        for party, measured in zip(parties, zip(*loads, strict=True), strict=True):
            rate = statistics.median(load.requests_per_second for load in measured)
            p99 = statistics.median(load.p99_ms for load in measured)
            share = statistics.median(row[0].requests_per_second / load.requests_per_second
                                      for row, load in zip(loads, measured, strict=True))  # fmt: skip
            goal = PAGE_GOALS.get(party.name.partition(" ")[0])
            compared = "" if party is ours else f"{share:.1f}"
            yield (
                f"{form}, {party.name}", f"{rate:.0f}", f"{p99:.1f}", compared,
                "" if goal is None else at_least(share, goal),
            )  # fmt: skip


def uploads(ours: Party, peers: Sequence[Party]) -> Iterator[tuple[str, ...]]:
    """A row for each registry; every one starts with the same 1,000 files."""
    parties = (ours, *peers)
    durations: list[list[float]] = [[] for _ in parties]
    for round_ in range(ROUNDS):
        for party, taken in zip(parties, durations, strict=True):
            files = [build_wheel(f"small{number}", f"{round_}.0") for number in range(UPLOADS)]
            taken += party.upload(files)
    rates = [len(taken) / sum(taken) for taken in durations]
    best = max(rates[1:], default=0.0)
    for party, rate, taken in zip(parties, rates, durations, strict=True):
        ordered = sorted(taken)
        goal = at_least(rates[0] / rate, UPLOAD_GOAL) if party is not ours and rate == best else ""
        yield (
            party.name, f"{rate:.0f}", f"{1000 * statistics.median(ordered):.1f}",
            f"{1000 * ordered[len(ordered) * 99 // 100]:.1f}", "" if party is ours else f"{rates[0] / rate:.1f}", goal,
        )  # fmt: skip


def sync_speed(folder: Path) -> str:
    """What the disk takes to keep one small new file: no durable upload can be faster than that."""
    taken = []
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(50):
        began = time.perf_counter()
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            os.fsync(descriptor)
            taken.append(time.perf_counter() - began)
    os.close(descriptor)
    return f"a small new file and its name reach the disk in {1000 * statistics.median(taken):.1f} ms here"
