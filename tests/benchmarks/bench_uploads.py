"""Uploads by eight clients to two processes against one, and what ``flask packages import`` publishes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path

from tests.acceptance.servers import CHECKOUT, Namespace, RunningServer
from tests.benchmarks.goals import at_least
from tests.benchmarks.load import own_processor_seconds, percentile, processor_seconds
from tests.benchmarks.peers import Party
from tests.benchmarks.servers import gather_statistics, one_and_two_workers
from tests.builders import BuiltFile, build_wheel
from tests.clients import basic

CLIENTS = 8
ROUNDS, UPLOADS = 3, 160  # by all clients, in a round
GOAL = 1.5
HEADING = ("uploads by 8 clients", "files/s", "of one", "ratio", "goal", "p50 ms", "p99 ms", "CPU ms each", "of one")
JOBS, IMPORTED = 4, 400
IMPORT_HEADING = ("flask packages import, without its start", "files/s", "CPU ms each")

_numbers = count()


def run(folder: Path, database: str) -> Iterator[tuple[str, ...]]:
    """One row. One process and two take turns, and the medians count."""
    with one_and_two_workers(folder / "uploads", database) as servers:
        parties = [_party(server.project()) for server in servers]
        for server, party in zip(servers, parties, strict=True):
            _publish(party)  # what is loaded and prepared once
            gather_statistics(server)
        rounds = [[_publish(party) for party in parties] for _ in range(ROUNDS)]
    ratio = statistics.median(two.files_per_second / one.files_per_second for one, two in rounds)
    one, two = (_median(list(published)) for published in zip(*rounds, strict=True))
    yield (
        database, f"{two.files_per_second:.0f}", f"{one.files_per_second:.0f}", f"{ratio:.2f}", at_least(ratio, GOAL),
        f"{two.p50_ms:.1f}", f"{two.p99_ms:.1f}", f"{two.cpu_ms:.1f}", f"{one.cpu_ms:.1f}",
    )  # fmt: skip


@dataclass(frozen=True)
class Published:
    """:ivar cpu_ms: processor time of the server for each file; that of a database server is not in it."""

    files_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def _publish(party: Party) -> Published:
    """Publish small wheels of new names with all clients at once, each with a connection of its own."""
    shares = [_new_wheels(UPLOADS // CLIENTS) for _ in range(CLIENTS)]
    used_before, began = processor_seconds(party.pid), time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        durations = sorted(seconds for taken in clients.map(party.upload, shares) for seconds in taken)
    seconds, used = time.perf_counter() - began, processor_seconds(party.pid) - used_before
    return Published(
        UPLOADS / seconds, percentile(durations, 50), percentile(durations, 99), 1000 * used / len(durations)
    )


def _median(published: list[Published]) -> Published:
    return Published(*(statistics.median(figures) for figures in zip(*map(astuple, published), strict=True)))


def _party(project: Namespace) -> Party:
    server = project.server
    return Party("ours", "", {}, {}, project.url, basic(server.root_token), server.pid)


def _new_wheels(amount: int) -> list[BuiltFile]:
    return [build_wheel(f"wheel{next(_numbers)}") for _ in range(amount)]


def imports(server: RunningServer, folder: Path) -> Iterator[tuple[str, ...]]:
    """One row: the time for many files less that for one."""
    one, many = (_import(server, folder / f"imported-{amount}", amount) for amount in (1, 1 + IMPORTED))
    seconds, used_seconds = (more - less for more, less in zip(many, one, strict=True))
    yield f"--jobs {JOBS}", f"{IMPORTED / seconds:.0f}", f"{1000 * used_seconds / IMPORTED:.1f}"


def _import(server: RunningServer, source: Path, amount: int) -> tuple[float, float]:
    """Import so many small wheels to a new project; returns seconds, and seconds of processor time."""
    project = server.project()
    source.mkdir()
    for file in _new_wheels(amount):
        (source / file.filename).write_bytes(file.content)
    command = (
        sys.executable, "-m", "flask", "packages", "import", str(source), "--project", project.full_path,
        "--jobs", str(JOBS),
    )  # fmt: skip
    began, used_before = time.perf_counter(), own_processor_seconds()
    subprocess.run(command, cwd=CHECKOUT, env=server.environment(), capture_output=True, check=True)
    taken = time.perf_counter() - began, own_processor_seconds() - used_before
    assert server.request("GET", f"{project.rest_path}/packages", server.root_token).headers["X-Total"] == str(amount)
    return taken
