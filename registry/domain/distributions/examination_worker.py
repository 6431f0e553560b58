"""Examines files that another process passes to this one, one after another, until that process ends."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import traceback

from registry.domain.distributions import examinations, inspection
from registry.domain.distributions.budget import Budget, Exhausted
from registry.domain.distributions.examinations import Outcome

MEMORY_BYTES = 512 << 20
NICENESS = 10  # requests come first


def main() -> None:
    """Serve the socket whose descriptor is the argument of the program."""
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, meant for the process that is served
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        while (received := examinations.received_file(connection)) is not None:
            filename, descriptor, processor_seconds = received
            _limit_processor_time(processor_seconds)
            examinations.send(connection, *_examined(filename, descriptor))


def _limit_processor_time(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, most))


def _examined(filename: str, descriptor: int) -> tuple[Outcome, bytes]:
    with open(descriptor, "rb") as file:
        try:
            return Outcome.EXAMINED, examinations.packed(inspection.parsed(file, filename, Budget()))
        except (Exhausted, MemoryError):
            return Outcome.OVER_BUDGET, b""
        except Exception:  # noqa: BLE001, raised in the other process
            return Outcome.FAILED, traceback.format_exc().encode("utf-8", "replace")
