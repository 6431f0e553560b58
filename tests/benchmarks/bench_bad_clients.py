"""pip and twine beside clients that occupy the server, against both on an idle server; and its health meanwhile."""

from __future__ import annotations

import http.client
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

from tests.acceptance.clients import Client
from tests.acceptance.servers import Namespace, RunningServer
from tests.benchmarks.bad_clients import (
    CRAFTED_UPLOADS,
    CraftedUploads,
    SlowClient,
    occupied,
    slow_heads,
    slow_readers,
    uploading,
    withheld_bodies,
)
from tests.benchmarks.goals import at_most
from tests.benchmarks.load import processor_seconds, resident_mb
from tests.benchmarks.peers import installed
from tests.builders import build_wheel

PROGRAMS = ("twine==7.0.0", "pip==26.3")
ROUNDS, ROUNDS_OF_ALL = 1, 3  # beside one kind, and beside all of them
RATIO_GOAL, HEALTH_GOAL_MS = 3, 1000
HEALTH_EVERY_SECONDS = 0.1
HEADING = ("beside bad clients", "ms", "on an idle server", "ratio", "goal", "CPU of the server")
ANSWERS_HEADING = ("beside bad clients", "answers to crafted uploads", "MB of the server")


@dataclass
class Measured:
    """Figures of one state of the server: seconds, and for how much of them it used a processor."""

    pip: list[tuple[float, float]] = field(default_factory=list)
    twine: list[tuple[float, float]] = field(default_factory=list)
    health: list[float] = field(default_factory=list)


def run(folder: Path, answers: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Rows for each kind of bad clients, and for all of them, within about two minutes.

    Idle and beside them take turns, and medians count.

    :param answers: gets a row for each kind: how crafted uploads were answered, and the memory of the server.
    :raises Unavailable: pip or twine cannot be installed.
    """
    programs = installed(folder, *PROGRAMS)
    server = RunningServer(folder / "bad-clients")
    server.start()
    try:
        good, bad = server.project(), server.project(visibility="public")
        clients = GoodClients(good, programs, folder / "good-clients")
        crafted = CraftedUploads(bad)
        heads, readers, bodies = slow_heads(), slow_readers(bad, folder), withheld_bodies(bad)
        clients.measure(Measured())  # what is loaded and prepared once
        for name, slow, uploads, rounds in (
            (f"{len(heads)} slow heads", heads, None, ROUNDS),
            (f"{len(readers)} slow readers", readers, None, ROUNDS),
            (f"{len(bodies)} withheld bodies", bodies, None, ROUNDS),
            (f"{CRAFTED_UPLOADS} crafted uploads", [], crafted, ROUNDS),
            ("all of them", [*heads, *readers, *bodies], crafted, ROUNDS_OF_ALL),
        ):
            idle, beside, answered = Measured(), Measured(), Counter[str]()
            for _ in range(rounds):
                clients.measure(idle)
                with _bad(server, slow, uploads, answered):
                    clients.measure(beside)
            yield from _rows(name, idle, beside)
            counted = ", ".join(f"{status}: {amount}" for status, amount in sorted(answered.items()))
            answers.append((name, counted, f"{sum(resident_mb(server.pid)):.0f}"))
    finally:
        server.stop()


def _rows(name: str, idle: Measured, beside: Measured) -> Iterator[tuple[str, ...]]:
    for program in ("pip", "twine"):
        slow, fast = (_medians(getattr(measured, program)) for measured in (beside, idle))
        ratio = slow[0] / fast[0]
        yield (
            f"{program}: {name}", f"{1000 * slow[0]:.0f}", f"{1000 * fast[0]:.0f}", f"{ratio:.2f}",
            at_most(ratio, RATIO_GOAL), f"{slow[1]:.0%}",
        )  # fmt: skip
    worst, worst_idle = (1000 * max(measured.health) for measured in (beside, idle))
    ratio = worst / worst_idle
    goal = at_most(worst, HEALTH_GOAL_MS)
    yield f"/-/health, worst: {name}", f"{worst:.0f}", f"{worst_idle:.0f}", f"{ratio:.2f}", goal, ""


def _medians(figures: Sequence[tuple[float, float]]) -> tuple[float, float]:
    seconds, used = zip(*figures, strict=True)
    return statistics.median(seconds), statistics.median(used)


class GoodClients:
    """Real programs, each run with an empty cache, that install a package and publish one."""

    def __init__(self, project: Namespace, programs: Path, home: Path) -> None:
        self._project, self._home = project, home
        self._pip, self._twine = (
            Client((str(programs / "python"), "-m", program), home) for program in ("pip", "twine")
        )
        self._numbers = count(1)
        project.publish(build_wheel("library"), build_wheel("application", requires_dist=["library"]))

    def measure(self, measured: Measured) -> None:
        """Add the time of one installation, of one upload, and of each answer to ``/-/health`` meanwhile."""
        with _health(self._project.server, measured.health):
            measured.pip.append(self._timed(self._install))
            measured.twine.append(self._timed(self._publish()))

    def _timed(self, act: Callable[[], object]) -> tuple[float, float]:
        """Return seconds, and for how much of them the server used a processor."""
        pid = self._project.server.pid
        began, used_before = time.perf_counter(), processor_seconds(pid)
        act()
        seconds = time.perf_counter() - began
        return seconds, (processor_seconds(pid) - used_before) / seconds

    def _install(self) -> None:
        site = self._home / "site"
        shutil.rmtree(site, ignore_errors=True)
        index = self._project.index_url(self._project.server.root_token)
        self._pip.succeeds("install", "--no-cache-dir", "--index-url", index, "--target", site, "application")

    def _publish(self) -> Callable[[], object]:
        """Return a function that publishes a new wheel."""
        file = build_wheel("application", f"0.{next(self._numbers)}")
        path, project = self._home / file.filename, self._project
        path.write_bytes(file.content)
        credentials = ("--username", "__token__", "--password", project.server.root_token)
        return lambda: self._twine.succeeds("upload", "--repository-url", project.url, *credentials, path)


@contextmanager
def _bad(
    server: RunningServer, slow: Sequence[SlowClient], uploads: CraftedUploads | None, answered: Counter[str]
) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(occupied(server, slow))
        if uploads is not None:
            answers = stack.enter_context(uploading(uploads))
            time.sleep(1)  # until the first are being examined
            stack.callback(lambda: answered.update(answers))
        yield


@contextmanager
def _health(server: RunningServer, taken: list[float]) -> Iterator[None]:
    """Ask for ``/-/health`` during the block, each time over a new connection: the seconds that each answer took."""
    is_over = Event()

    def ask() -> None:
        while not is_over.wait(HEALTH_EVERY_SECONDS):
            began = time.perf_counter()
            with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection:
                connection.request("GET", "/-/health")
                status = connection.getresponse().status
            taken.append(time.perf_counter() - began)
            assert status == 200, status

    thread = Thread(target=ask, name="health")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
