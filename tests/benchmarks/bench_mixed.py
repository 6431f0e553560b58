"""Simple pages for seven connections while one client publishes packages of other names, against the pages alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread

from tests.acceptance.servers import Namespace, RunningServer
from tests.benchmarks import peers
from tests.benchmarks.goals import at_least, at_most
from tests.benchmarks.load import Load, Target, measure, median
from tests.builders import build_wheel
from tests.clients import basic

CONNECTIONS = 7
ROUNDS = 3
GOAL, P99_GOAL_MS = 0.7, 15
HEADING = (
    "beside a publishing client", "requests/s", "alone", "ratio", "goal", "p99 ms", "alone", "goal", "files/s"
)  # fmt: skip


def run(server: RunningServer, seconds: float) -> Iterator[tuple[str, ...]]:
    """One row; alone and beside the other take turns, and the medians count."""
    project = server.project()
    project.publish(*(build_wheel("paged", str(number)) for number in range(1, 11)))
    page = Target("page", f"{project.url}/simple/paged/", basic(server.root_token), pid=server.pid)
    rounds: list[tuple[Load, Load]] = []
    rates: list[float] = []
    for _ in range(ROUNDS):
        alone = measure(page, seconds / ROUNDS, CONNECTIONS)
        with _publishing(project) as published:
            began, before = time.monotonic(), len(published)
            rounds.append((alone, measure(page, seconds / ROUNDS, CONNECTIONS)))
            rates.append((len(published) - before) / (time.monotonic() - began))
    alone, beside = median([alone for alone, _ in rounds]), median([beside for _, beside in rounds])
    ratio = statistics.median(beside.requests_per_second / alone.requests_per_second for alone, beside in rounds)
    yield (
        "page of 10 files", f"{beside.requests_per_second:.0f}", f"{alone.requests_per_second:.0f}", f"{ratio:.2f}",
        at_least(ratio, GOAL), f"{beside.p99_ms:.1f}", f"{alone.p99_ms:.1f}", at_most(beside.p99_ms, P99_GOAL_MS),
        f"{statistics.median(rates):.0f}",
    )  # fmt: skip


_numbers = count()


@contextmanager
def _publishing(project: Namespace) -> Iterator[list[float]]:
    """Small wheels, each of a new name, are published one after another meanwhile: the seconds that each took."""
    party = peers.Party("ours", "", {}, {}, project.url, basic(project.server.root_token))
    published: list[float] = []
    is_over = Event()

    def publish() -> None:
        while not is_over.is_set():
            published.extend(party.upload([build_wheel(f"small{next(_numbers)}")]))

    thread = Thread(target=publish)
    thread.start()
    try:
        yield published
    finally:
        is_over.set()
        thread.join()
