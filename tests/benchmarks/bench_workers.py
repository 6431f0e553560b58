"""Simple pages from two processes against one: the benefit of a second processor.

The load comes from the same machine and takes part of its processors: on two of them, two workers cannot do twice the
work of one.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from registry.domain.packages import simple
from tests.acceptance.servers import RunningServer
from tests.benchmarks.bench_requests import other_names
from tests.benchmarks.goals import MEMORY_MB, at_least, at_most
from tests.benchmarks.load import Load, Target, measure, median, resident_mb
from tests.benchmarks.servers import one_and_two_workers
from tests.builders import build_wheel
from tests.clients import basic

ROUNDS = 3
GOAL = 1.7
HEADING = (
    "two workers", "requests/s", "of one", "ratio", "goal", "p50 ms", "p99 ms", "CPU ms", "of one", "of the load",
    "MB of each process", "goal",
)  # fmt: skip


def run(folder: Path, database: str, seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each kind of page.

    One process and two take turns, and the medians count: what else the machine does then hits both alike.
    """
    with one_and_two_workers(folder / "workers", database) as servers:
        for one, two in zip(*map(_targets, servers), strict=True):
            rounds = [(measure(one, seconds / ROUNDS), measure(two, seconds / ROUNDS)) for _ in range(ROUNDS)]
            yield _row(f"{one.name}, {database}", rounds, resident_mb(two.pid))


def _targets(server: RunningServer) -> list[Target]:
    project, token = server.project(), basic(server.root_token)
    project.publish(*(build_wheel("paged", str(number)) for number in range(1, 11)))
    page = Target("page of 10 files", f"{project.url}/simple/paged/", token | {"Accept": simple.JSON}, pid=server.pid)
    url, turns = other_names(server)
    return [page, replace(page, name="made anew, every time another name", url=url, turns=turns)]


def _row(name: str, rounds: list[tuple[Load, Load]], memory: list[float]) -> tuple[str, ...]:
    ratio = statistics.median(two.requests_per_second / one.requests_per_second for one, two in rounds)
    one, two = median([one for one, _ in rounds]), median([two for _, two in rounds])
    return (
        name,
        f"{two.requests_per_second:.0f}",
        f"{one.requests_per_second:.0f}",
        f"{ratio:.2f}",
        at_least(ratio, GOAL),
        f"{two.p50_ms:.1f}",
        f"{two.p99_ms:.1f}",
        f"{two.cpu_ms:.0f}",
        f"{one.cpu_ms:.0f}",
        f"{two.load_cpu_ms:.0f}",
        ", ".join(f"{megabytes:.0f}" for megabytes in memory),
        at_most(max(memory), MEMORY_MB) if memory else "",
    )
