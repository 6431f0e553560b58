"""Requests a second, latency, and processor time, each beside its floor.

The floor is bare Flask on waitress with one prepared page of the same bytes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from registry.domain.packages import simple
from tests.acceptance.servers import CHECKOUT, Namespace, RunningServer
from tests.benchmarks import rows
from tests.benchmarks.goals import at_least, at_most
from tests.benchmarks.load import CONNECTIONS, Load, Target, Turns, answer, measure, median
from tests.builders import build_wheel
from tests.clients import basic

THREADS = 8
ROUNDS = 3
FILE_BYTES = 4_200  # of padding: with the rest of a wheel, some 5 kB
LARGE = 1_000  # files of the large page, names of the large index
# More pages than the registry keeps: when a name comes up again, its page has been forgotten.
NAMES, FILES = 20_000, 10
HEADING = (
    "requests", "kB", "connections", "requests/s", "floor", "ratio", "goal", "of 8", "goal",
    "p50 ms", "p99 ms", "floor", "goal", "CPU ms", "floor", "goal",
)  # fmt: skip
JSON = {"Accept": simple.JSON}
ALL_CONNECTIONS = (CONNECTIONS, 1, 64)


@dataclass(frozen=True)
class Work:
    """:ivar goal: requests a second, as a part of the floor's.
    :ivar p99_goal_ms: the 99th percentile of the latency.
    :ivar cpu_goal_ms: processor time for 1,000 requests.
    :ivar connections: eight come first, as the others are compared with them.
    :ivar goal_elsewhere: as ``goal``, for the other numbers of connections.
    """

    target: Target
    goal: float
    p99_goal_ms: float | None = None
    cpu_goal_ms: float | None = None
    connections: tuple[int, ...] = (CONNECTIONS,)
    goal_elsewhere: float | None = None


OF_EIGHT_GOAL = 0.8  # with one connection and with 64, of the requests a second with eight


def run(server: RunningServer, folder: Path, seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each kind of request and number of connections.

    All take turns with their floors, several rounds each, and the medians count: what else the machine does then hits
    both alike. CPU ms is the processor time of the server's process for 1,000 requests.
    """
    works = _works(server)
    with ExitStack() as stack:
        pairs = [(work, *stack.enter_context(_floor(work.target, folder))) for work in works]
        measured: dict[tuple[str, int], list[tuple[Load, Load]]] = {}
        for _ in range(ROUNDS):
            for work, _size, floor in pairs:
                for connections in work.connections:
                    loads = (
                        measure(floor, seconds / ROUNDS, connections),
                        measure(work.target, seconds / ROUNDS, connections),
                    )
                    measured.setdefault((work.target.name, connections), []).append(loads)
    for work, size_bytes, _floor_target in pairs:
        with_eight = measured[work.target.name, CONNECTIONS]
        for connections in work.connections:
            yield _row(work, size_bytes, connections, measured[work.target.name, connections], with_eight)


def _row(
    work: Work,
    size_bytes: int,
    connections: int,
    rounds: list[tuple[Load, Load]],
    with_eight: list[tuple[Load, Load]],
) -> tuple[str, ...]:
    floor, ours = median([floor for floor, _ in rounds]), median([ours for _, ours in rounds])
    ratio = statistics.median(ours.requests_per_second / floor.requests_per_second for floor, ours in rounds)
    of_eight = statistics.median(
        ours.requests_per_second / eight.requests_per_second
        for (_, ours), (_, eight) in zip(rounds, with_eight, strict=True)
    )
    is_eight = connections == CONNECTIONS
    goal = work.goal if is_eight else work.goal_elsewhere
    return (
        work.target.name,
        f"{size_bytes / 1000:.1f}",
        str(connections),
        f"{ours.requests_per_second:.0f}",
        f"{floor.requests_per_second:.0f}",
        f"{ratio:.2f}",
        "" if goal is None else at_least(ratio, goal),
        "" if is_eight else f"{of_eight:.2f}",
        "" if is_eight or goal is None else at_least(of_eight, OF_EIGHT_GOAL),
        f"{ours.p50_ms:.1f}",
        f"{ours.p99_ms:.1f}",
        f"{floor.p99_ms:.1f}",
        "" if work.p99_goal_ms is None or not is_eight else at_most(ours.p99_ms, work.p99_goal_ms),
        f"{ours.cpu_ms:.0f}",
        f"{floor.cpu_ms:.0f}",
        "" if work.cpu_goal_ms is None else at_most(ours.cpu_ms, work.cpu_goal_ms),
    )


def _works(server: RunningServer) -> list[Work]:
    token = basic(server.root_token)
    few, many, names = _with_files(server), server.project(), server.project()
    rows.add_to(server, many, [("many", f"1.{number}") for number in range(LARGE)])
    rows.add_to(server, names, [(f"name{number}", "1.0") for number in range(LARGE)])
    anew, turns = other_names(server)
    page, large_page, index = f"{few.url}/simple/paged/", f"{many.url}/simple/many/", f"{names.url}/simple/"
    file = few.listed("paged")["paged-1-py3-none-any.whl"]
    etag = answer(Target("page", page, token | JSON)).headers["ETag"]

    def target(name: str, url: str, status: int = 200, **headers: str) -> Target:
        return Target(
            name, url, token | {key.replace("_", "-"): value for key, value in headers.items()}, status, server.pid
        )

    return [
        Work(target("page of 10 files, HTML", page), 8, 5, 80, ALL_CONNECTIONS, 1.8),
        Work(target("page of 10 files, JSON", page, **JSON), 8, 5, 80, ALL_CONNECTIONS, 1.8),
        Work(target("the same, not modified", page, 304, **JSON, If_None_Match=etag), 5),
        Work(
            replace(target("the same made anew, every time another name", anew, **JSON), turns=turns),
            0.5,
            connections=ALL_CONNECTIONS,
        ),
        Work(target("page of 1,000 files, HTML", large_page), 2),
        Work(target("page of 1,000 files, JSON", large_page, **JSON), 2),
        Work(target("the same in gzip", large_page, **JSON, Accept_Encoding="gzip"), 5),
        Work(target("index of 1,000 names, HTML", index), 5),
        Work(target("index of 1,000 names, JSON", index, **JSON), 5),
        Work(target("download of a small file", file), 5),
    ]


def _with_files(server: RunningServer) -> Namespace:
    """A private project with one name of 10 files."""
    project = server.project()
    project.publish(*(build_wheel("paged", str(number), size_bytes=FILE_BYTES) for number in range(1, 11)))
    return project


def other_names(server: RunningServer) -> tuple[str, Turns]:
    """Return the page of a new name, and those of thousands of names to ask for in turn: all have to be made anew."""
    project = server.project()
    rows.add_to(server, project, [(f"other{number}", "1.0") for number in range(NAMES)], FILES)
    paths = [f"{urlsplit(project.url).path}/simple/other{number}/" for number in range(NAMES)]
    return f"{project.url}/simple/other0/", Turns(paths)


@contextmanager
def _floor(target: Target, folder: Path) -> Iterator[tuple[int, Target]]:
    """Yield the size of the answer's body, and a target that gives the same answer and does nothing else."""
    page = answer(target)
    assert page.status == target.status, page.body
    file = folder / "page"
    file.write_bytes(page.body)
    command = [
        sys.executable, "-m", "tests.benchmarks.floor", str(file), str(page.status),
        page.headers.get("Content-Type", simple.PLAIN_HTML), str(THREADS),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}/page/"
        floor = Target(f"floor: {target.name}", url, {}, target.status, process.pid, target.turns)
        yield len(page.body), floor
    finally:
        process.kill()
        process.communicate()
