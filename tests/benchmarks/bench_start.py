"""The time until ``flask --help`` has printed its list, and until ``python app.py`` accepts connections."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.acceptance.servers import CHECKOUT, RunningServer
from tests.benchmarks.goals import at_most
from tests.benchmarks.load import own_processor_seconds

HEADING = ("start", "seconds", "goal", "CPU seconds")
ROUNDS = 5
HELP_GOAL, SERVER_GOAL = 0.7, 1.5


def run(folder: Path) -> Iterator[tuple[str, ...]]:
    """A row for each program; medians count, and the first start of each is left out."""
    server = RunningServer(folder / "started")

    def show_help() -> float:
        command = [sys.executable, "-m", "flask", "--help"]
        return _seconds(lambda: subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True))

    def start_server() -> float:
        seconds = _seconds(server.start)
        server.stop()
        return seconds

    for name, start, goal in (
        ("flask --help", show_help, HELP_GOAL),
        ("python app.py on an existing database", start_server, SERVER_GOAL),
    ):
        start()
        used_before = own_processor_seconds()
        seconds = statistics.median(start() for _ in range(ROUNDS))
        used_seconds = (own_processor_seconds() - used_before) / ROUNDS
        yield name, f"{seconds:.2f}", at_most(seconds, goal), f"{used_seconds:.2f}"


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
