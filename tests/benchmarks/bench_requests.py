"""Requests a second and their latency, each beside its floor: bare Flask with one prepared page of the same bytes."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.domain.packages import simple
from tests.acceptance.servers import CHECKOUT, Namespace, RunningServer
from tests.benchmarks import rows
from tests.benchmarks.goals import at_least, at_most
from tests.benchmarks.load import Load, Target, answer, measure
from tests.builders import build_wheel
from tests.clients import basic

THREADS = 8
ROUNDS = 3
FILE_BYTES = 4_200  # of padding: with what a wheel needs, some 5 kB
LARGE = 1_000  # files of the large page, names of the large index
HEADING = (
    "requests", "kB", "requests/s", "floor", "ratio", "goal", "p50 ms", "p99 ms", "floor", "ratio", "goal"
)  # fmt: skip
JSON = {"Accept": simple.JSON}


@dataclass(frozen=True)
class Work:
    """:ivar goal: requests a second, as a part of the floor's.
    :ivar p99_goal: the 99th percentile of the latency, as a multiple of the floor's.
    """

    target: Target
    goal: float
    p99_goal: float | None = None


def run(server: RunningServer, folder: Path, seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each kind of request.

    All take turns with their floors, several rounds each, and the medians count: what else the machine does then hits
    both alike.
    """
    works = _works(server)
    with ExitStack() as stack:
        pairs = [(work, *stack.enter_context(_floor(work.target, folder))) for work in works]
        measured: dict[str, list[tuple[Load, Load]]] = {}
        for _ in range(ROUNDS):
            for work, _size, floor in pairs:
                loads = measure(floor, seconds / ROUNDS), measure(work.target, seconds / ROUNDS)
                measured.setdefault(work.target.name, []).append(loads)
    for work, size_bytes, _floor_target in pairs:
        yield _row(work, size_bytes, measured[work.target.name])


def _row(work: Work, size_bytes: int, rounds: list[tuple[Load, Load]]) -> tuple[str, ...]:
    floor, ours = _median([floor for floor, _ in rounds]), _median([ours for _, ours in rounds])
    ratio = statistics.median(ours.requests_per_second / floor.requests_per_second for floor, ours in rounds)
    p99_ratio = statistics.median(ours.p99_ms / floor.p99_ms for floor, ours in rounds)
    return (
        work.target.name,
        f"{size_bytes / 1000:.1f}",
        f"{ours.requests_per_second:.0f}",
        f"{floor.requests_per_second:.0f}",
        f"{ratio:.2f}",
        at_least(ratio, work.goal),
        f"{ours.p50_ms:.1f}",
        f"{ours.p99_ms:.1f}",
        f"{floor.p99_ms:.1f}",
        f"{p99_ratio:.2f}",
        "" if work.p99_goal is None else at_most(p99_ratio, work.p99_goal),
    )


def _works(server: RunningServer) -> list[Work]:
    token = basic(server.root_token)
    few, many, names = _with_files(server), server.project(), server.project()
    rows.add_to(server, many, [("many", f"1.{number}") for number in range(LARGE)])
    rows.add_to(server, names, [(f"name{number}", "1.0") for number in range(LARGE)])
    page, large_page, index = f"{few.url}/simple/paged/", f"{many.url}/simple/many/", f"{names.url}/simple/"
    etag = answer(Target("page", page, token | JSON)).headers["ETag"]
    return [
        Work(Target("page of 10 files, HTML", page, token), 0.7, 1.5),
        Work(Target("page of 10 files, JSON", page, token | JSON), 0.7, 1.5),
        Work(Target("the same, not modified", page, token | JSON | {"If-None-Match": etag}, 304), 0.8),
        Work(Target("page of 1,000 files, HTML", large_page, token), 0.5),
        Work(Target("page of 1,000 files, JSON", large_page, token | JSON), 0.5),
        Work(Target("the same in gzip", large_page, token | JSON | {"Accept-Encoding": "gzip"}), 0.5),
        Work(Target("index of 1,000 names, HTML", index, token), 0.6),
        Work(Target("index of 1,000 names, JSON", index, token | JSON), 0.6),
        Work(Target("download of a small file", few.listed("paged")["paged-1-py3-none-any.whl"], token), 0.55),
    ]


def _with_files(server: RunningServer) -> Namespace:
    """A private project with one name of 10 files."""
    project = server.project()
    project.publish(*(build_wheel("paged", str(number), size_bytes=FILE_BYTES) for number in range(1, 11)))
    return project


@contextmanager
def _floor(target: Target, folder: Path) -> Iterator[tuple[int, Target]]:
    """The size of what is asked for, and the same bytes from an application that does nothing else.

    What is asked for once more and not modified is compared with the page itself.
    """
    asked = {name: value for name, value in target.headers.items() if name != "If-None-Match"}
    page = answer(Target(target.name, target.url, asked))
    assert page.status == 200, page.body
    file = folder / "page"
    file.write_bytes(page.body)
    command = [
        sys.executable, "-m", "tests.benchmarks.floor", str(file), page.headers["Content-Type"], str(THREADS)
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}/page/"
        yield len(page.body), Target(f"floor: {target.name}", url, {})
    finally:
        process.kill()
        process.communicate()


def _median(loads: list[Load]) -> Load:
    return Load(
        statistics.median(load.requests_per_second for load in loads),
        statistics.median(load.p50_ms for load in loads),
        statistics.median(load.p99_ms for load in loads),
    )
