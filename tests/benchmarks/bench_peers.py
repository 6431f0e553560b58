"""Pages and uploads of small wheels by one client, beside other registries that hold the same files.

Each registry keeps published files its own way: ours has bytes and row on the disk before it answers.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from tests.benchmarks.goals import MEMORY_MB, at_least, at_most
from tests.benchmarks.load import (
    CONNECTIONS,
    Load,
    Target,
    measure,
    median,
    percentile,
    processor_seconds,
    resident_mb,
)
from tests.benchmarks.peers import Party
from tests.builders import build_wheel

PAGES_HEADING = ("pages", "connections", "requests/s", "p99 ms", "CPU ms", "ours / theirs", "goal")
UPLOADS_HEADING = ("uploads by one client", "files/s", "p50 ms", "p99 ms", "CPU ms each", "ours / theirs", "goal")
MEMORY_HEADING = ("memory after pages and uploads", "MB of each process", "goal")
FEW_GOALS, MANY_GOALS = {"pypiron": 0.5}, {"devpi-server": 4.0}
UPLOAD_GOALS = {"devpi-server": 1.5, "peryx": 1.0}
ROUNDS = 3
UPLOADS = 50  # a round


def pages(ours: Party, peers: Sequence[Party], seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each page, form, number of connections, and registry that offers the form."""
    parties = (ours, *peers)
    for connections in (CONNECTIONS, 1, 64):
        few = {party.name: party.few for party in parties}
        yield from _pages("10 files", few, FEW_GOALS, connections, seconds)
    many = {party.name: party.many for party in parties}
    yield from _pages("1,000 files", many, MANY_GOALS, CONNECTIONS, seconds)


def _pages(
    page: str,
    offered: Mapping[str, Mapping[str, Target]],
    goals: Mapping[str, float],
    connections: int,
    seconds: float,
) -> Iterator[tuple[str, ...]]:
    """Registries take turns, and medians count.

    :param offered: the page by registry and form; ours comes first.
    """
    for form in next(iter(offered.values())):
        targets = {name: forms[form] for name, forms in offered.items() if form in forms}
        rounds = [
            [measure(target, seconds / ROUNDS, connections) for target in targets.values()] for _ in range(ROUNDS)
        ]
        for name, loads in zip(targets, zip(*rounds, strict=True), strict=True):
            share = statistics.median(_share(row[0], load) for row, load in zip(rounds, loads, strict=True))
            yield f"{page}, {form}, {name}", str(connections), *_cells(median(loads)), *_compared(name, share, goals)


def _share(ours: Load, theirs: Load) -> float:
    """Return ours divided by theirs; some registries take longer for one answer than a short measurement lasts."""
    return ours.requests_per_second / theirs.requests_per_second if theirs.requests_per_second else math.inf


def _cells(load: Load) -> tuple[str, str, str]:
    return f"{load.requests_per_second:.0f}", f"{load.p99_ms:.1f}", f"{load.cpu_ms:.0f}"


def _compared(name: str, share: float, goals: Mapping[str, float]) -> tuple[str, str]:
    """Return our share of what another registry does, and whether it reaches the goal."""
    goal = goals.get(name.partition(" ")[0])
    return "" if name == "ours" else f"{share:.2f}", "" if goal is None else at_least(share, goal)


def uploads(ours: Party, peers: Sequence[Party]) -> Iterator[tuple[str, ...]]:
    """A row for each registry, which hold the same files before; every wheel is the first one of its name."""
    parties, numbers = (ours, *peers), count()
    durations: list[list[float]] = [[] for _ in parties]
    used_seconds = [0.0 for _ in parties]
    for _ in range(ROUNDS):
        files = [build_wheel(f"small{next(numbers)}") for _ in range(UPLOADS)]
        for number, party in enumerate(parties):
            used_before = processor_seconds(party.pid)
            durations[number] += party.upload(files)
            used_seconds[number] += processor_seconds(party.pid) - used_before
    rates = [len(taken) / sum(taken) for taken in durations]
    for party, rate, taken, used in zip(parties, rates, durations, used_seconds, strict=True):
        ordered = sorted(taken)
        yield (
            party.name, f"{rate:.0f}", f"{percentile(ordered, 50):.1f}", f"{percentile(ordered, 99):.1f}",
            f"{1000 * used / len(taken):.1f}", *_compared(party.name, rates[0] / rate, UPLOAD_GOALS),
        )  # fmt: skip


def memory(ours: Party, peers: Sequence[Party]) -> Iterator[tuple[str, ...]]:
    """A row for each registry."""
    for party in (ours, *peers):
        pids = {party.pid, *(page.pid for page in party.few.values())}
        found = sorted((megabytes for pid in pids for megabytes in resident_mb(pid)), reverse=True)
        goal = at_most(max(found), MEMORY_MB) if party is ours and found else ""
        yield party.name, ", ".join(f"{megabytes:.0f}" for megabytes in found), goal


def sync_speed(folder: Path) -> str:
    """The time the disk needs to keep one small new file: no durable upload can be faster."""
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
