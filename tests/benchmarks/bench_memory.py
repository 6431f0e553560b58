"""Resident memory of a server."""

from __future__ import annotations

from collections.abc import Iterator

from tests.acceptance.servers import RunningServer
from tests.benchmarks.goals import MEMORY_MB, at_most
from tests.benchmarks.load import resident_mb

HEADING = ("memory after the run", "MB", "goal")


def run(server: RunningServer) -> Iterator[tuple[str, ...]]:
    """A row for each process."""
    for number, megabytes in enumerate(resident_mb(server.pid), 1):
        yield f"process {number}", f"{megabytes:.0f}", at_most(megabytes, MEMORY_MB)
