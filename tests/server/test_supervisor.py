"""How workers are started again that end soon, or that cannot be started."""

from __future__ import annotations

import subprocess
import sys

from registry.server.supervisor import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, pause_seconds

# Serves with one worker, ends when it is ready, and shows when this is; the first fork fails.
FIRST_FORK_FAILS = """
import errno, os, signal
from registry.server.supervisor import Supervisor

fork, failures = os.fork, [OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))]

def fork_later():
    if failures:
        raise failures.pop()
    return fork()

def serve(lifeline, load):
    lifeline.sendall(b".")
    lifeline.recv(1)

def announce():
    print("serving", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

os.fork = fork_later
Supervisor(serve, lambda: 1, announce, lambda pid: None).run(lambda: None)
"""


def test_pauses_grow_up_to_the_longest_however_many_workers_have_ended_soon() -> None:
    assert [pause_seconds(count) for count in (0, 1, 2, 3)] == [
        0, FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS
    ]  # fmt: skip
    assert pause_seconds(100) == pause_seconds(100_000) == LONGEST_PAUSE_SECONDS


def test_a_worker_that_cannot_be_started_is_started_later() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FIRST_FORK_FAILS], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "serving\n"), ended.stderr
    assert "A worker cannot be started: Resource temporarily unavailable" in ended.stderr
