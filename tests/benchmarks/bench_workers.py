"""Simple pages from two processes against one: the benefit of a second processor."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.acceptance.servers import RunningServer
from tests.benchmarks.goals import at_least
from tests.benchmarks.load import Load, Target, measure, median
from tests.builders import build_wheel
from tests.clients import basic

ROUNDS = 3
GOAL = 1.7
HEADING = ("two workers", "requests/s", "of one", "ratio", "goal", "p50 ms", "p99 ms", "CPU ms", "of one")


def run(folder: Path, seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each kind of page.

    One process and two take turns, and the medians count: what else the machine does then hits both alike.
    """
    with ExitStack() as stack:
        targets = [stack.enter_context(_targets(folder, workers)) for workers in (1, 2)]
        for one, two in zip(*targets, strict=True):
            rounds = [(measure(one, seconds / ROUNDS), measure(two, seconds / ROUNDS)) for _ in range(ROUNDS)]
            yield _row(one.name, rounds)


@contextmanager
def _targets(folder: Path, workers: int) -> Iterator[list[Target]]:
    server = RunningServer(folder / f"workers-{workers}", WORKERS=str(workers))
    server.start()
    try:
        project = server.project()
        project.publish(*(build_wheel("paged", str(number)) for number in range(1, 11)))
        page, token = f"{project.url}/simple/paged/", basic(server.root_token)
        yield [
            Target("page of 10 files, kept ready", page, token, pid=server.pid),
            Target("page of 10 files, made anew", page, token | {"If-Modified-Since": "never"}, pid=server.pid),
        ]
    finally:
        server.stop()


def _row(name: str, rounds: list[tuple[Load, Load]]) -> tuple[str, ...]:
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
    )
