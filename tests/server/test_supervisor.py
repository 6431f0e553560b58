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

# All workers of the first attempt to start them end; each pause is shown as the number of attempts that failed.
FIRST_FOUR_WORKERS_END = """
import os, signal
from registry.server import supervisor

fork, forks = os.fork, []

def count_forks():
    forks.append(1)
    return fork()

def serve(lifeline, load):
    if len(forks) > 4:
        lifeline.sendall(b".")
        lifeline.recv(1)

def announce():
    print("serving", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

def pause_seconds(failures):
    print(failures, flush=True)
    return 0

os.fork, supervisor.pause_seconds = count_forks, pause_seconds
supervisor.Supervisor(serve, lambda: 4, announce, lambda pid: None).run(lambda: None)
"""


def test_pauses_grow_up_to_the_longest_however_many_attempts_have_failed() -> None:
    assert [pause_seconds(count) for count in (0, 1, 2, 3)] == [
        0, FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS
    ]  # fmt: skip
    assert pause_seconds(100) == pause_seconds(100_000) == LONGEST_PAUSE_SECONDS


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


def test_workers_that_are_started_together_and_end_soon_are_one_failure() -> None:
    ended = run(FIRST_FOUR_WORKERS_END)

    assert (ended.returncode, ended.stdout.split()) == (0, ["1"] * 4 + ["serving"]), ended.stderr


def test_a_worker_that_cannot_be_started_is_started_later() -> None:
    ended = run(FIRST_FORK_FAILS)

    assert (ended.returncode, ended.stdout) == (0, "serving\n"), ended.stderr
    assert "A worker cannot be started: Resource temporarily unavailable" in ended.stderr
