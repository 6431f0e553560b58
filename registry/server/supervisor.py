"""Several processes on one listening socket, and their supervisor.

Workers are forks, so that a new one serves within a second, but they share no state except the database and how many
connections each has (``loads``). Supervisor and worker hold the two ends of a connection, the lifeline: the worker
sends a byte when it serves, and the connection ends for each of them when the other one is gone.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from registry import logs
from registry.errors import ConfigurationError, OperatorError, RegistryError
from registry.server.loads import Load, Loads
from registry.server.loop import DRAIN_SECONDS, RETIRE

STOPS = (signal.SIGINT, signal.SIGTERM)
HANDLED = (*STOPS, signal.SIGHUP, signal.SIGCHLD)
SHORT_LIFE_SECONDS = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30
GRACE_SECONDS = 10  # beyond the time that workers give themselves to stop

logger = logging.getLogger(__name__)


@dataclass
class Worker:
    """A process that serves.

    :ivar batch: the number of the reload that started it.
    :ivar attempt: the number of the attempt to start the missing workers.
    """

    pid: int
    batch: int
    attempt: int
    lifeline: socket.socket
    load: Load | None
    started: float
    is_ready: bool = False
    is_retired: bool = False


class Supervisor:
    """Keeps the wanted number of workers running, and replaces all of them at SIGHUP without refusing connections.

    :param work: called in each new process with its end of the lifeline and its load.
    :param count: returns the wanted number of workers; called at the start and at each reload.
    :param at_start: called when the first workers serve.
    :param at_end: called with the number of each process that has ended.
    """

    def __init__(
        self,
        work: Callable[[socket.socket, Load | None], None],
        count: Callable[[], int],
        at_start: Callable[[], None],
        at_end: Callable[[int], None],
    ) -> None:
        self._work = work
        self._count = count
        self._at_start: Callable[[], None] | None = at_start
        self._at_end = at_end
        self._workers: list[Worker] = []
        self._loads = Loads()
        self._wanted = count()
        self._batch = 0
        self._attempt = self._last_failed = 0
        self._failures = 0  # attempts that failed, in a row
        self._next_start = 0.0
        self._is_stopping = False
        self._is_reloading = False
        self._wake_up, self._woken = socket.socketpair()

    def run(self, at_stop: Callable[[], None]) -> None:
        """Run until SIGINT or SIGTERM, and then until the last worker has ended or its time is up.

        :param at_stop: called before the workers have to stop.
        """
        for end in (self._wake_up, self._woken):
            end.setblocking(False)
        logs.hurry()  # workers have to be replaced, and signals followed, also if nothing reads the log
        signal.set_wakeup_fd(self._wake_up.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, self._handle)
        while not self._is_stopping:
            self._reload()
            self._replace_the_dead()
            self._retire_the_old()
            self._wait(1)
        at_stop()
        self._stop()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._is_stopping |= number in STOPS
        self._is_reloading |= number == signal.SIGHUP

    def _wait(self, seconds: float) -> None:
        """Wait for a signal or a byte from a worker, then update which workers serve, and which are gone."""
        lifelines = [worker.lifeline for worker in self._workers if not worker.is_ready]
        readable, _, _ = select.select([self._woken, *lifelines], [], [], seconds)
        with suppress(BlockingIOError):
            self._woken.recv(1 << 10)
        for worker in self._workers:
            if worker.lifeline in readable:
                worker.is_ready = bool(worker.lifeline.recv(1))
        for worker in list(self._workers):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._bury(worker, os.waitstatus_to_exitcode(status))

    def _bury(self, worker: Worker, status: int) -> None:
        self._workers.remove(worker)
        worker.lifeline.close()
        self._loads.remove(worker.load)
        self._at_end(worker.pid)
        if worker.is_retired or self._is_stopping:
            return
        logger.error("Worker %s ended unexpectedly with status %s, and is replaced.", worker.pid, status)
        if worker.is_ready and time.monotonic() - worker.started >= SHORT_LIFE_SECONDS:
            self._failures, self._next_start = 0, 0.0
        else:
            self._note_failure(worker.attempt)

    def _note_failure(self, attempt: int) -> None:
        """Pause before the next attempt to start workers, the longer, the more attempts have failed."""
        if attempt > self._last_failed:  # several workers of one attempt can end
            self._last_failed = attempt
            self._failures += 1
        self._next_start = time.monotonic() + pause_seconds(self._failures)

    def _reload(self) -> None:
        if not self._is_reloading:
            return
        self._is_reloading = False
        try:
            self._wanted = self._count()
        except ConfigurationError as error:
            logger.error("Nothing was reloaded: %s", error.sentence)
            return
        logger.info("Reloading: new workers are started, then the old ones finish.")
        self._batch += 1
        self._failures, self._next_start = 0, 0.0

    def _replace_the_dead(self) -> None:
        missing = self._wanted - len(self._current())
        if missing <= 0 or time.monotonic() < self._next_start:
            return
        self._attempt += 1
        try:
            for _ in range(missing):
                self._start()
        except OSError as error:  # the system has no room for another process
            logger.error("A worker cannot be started: %s", error.strerror)
            self._note_failure(self._attempt)

    def _current(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.batch == self._batch]

    def _start(self) -> None:
        """Start a worker.

        :raises OSError: the system lacks the resources.
        """
        ours, theirs = socket.socketpair()
        load = self._loads.add()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal between the fork and the new process's own handlers would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(ours, theirs, load)
        except OSError:
            ours.close()
            self._loads.remove(load)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            theirs.close()
        self._workers.append(Worker(pid, self._batch, self._attempt, ours, load, time.monotonic()))

    def _become_worker(self, ours: socket.socket, theirs: socket.socket, load: Load | None) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal sends it to all processes
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            for connection in (ours, self._wake_up, self._woken, *(worker.lifeline for worker in self._workers)):
                connection.close()  # a lifeline that other processes hold too would never end
            self._work(theirs, load)
            status = 0
        except (OperatorError, RegistryError) as error:
            logger.error("A worker cannot start: %s", error.sentence)
        except Exception:
            logger.exception("A worker failed.")
        finally:
            logging.shutdown()
            os._exit(status)  # without the exit handlers, which are the supervisor's

    def _retire_the_old(self) -> None:
        """Retire the workers of earlier batches once all new ones serve; if these cannot, the old ones keep running."""
        current = self._current()
        if len(current) < self._wanted or not all(worker.is_ready for worker in current):
            return
        if self._at_start is not None:
            self._at_start()
            self._at_start = None
        for worker in self._workers:
            if worker.batch != self._batch and not worker.is_retired:
                worker.is_retired = True
                self._signal(worker, RETIRE)

    def _stop(self) -> None:
        for worker in self._workers:
            self._signal(worker, signal.SIGTERM)
        deadline = time.monotonic() + DRAIN_SECONDS + GRACE_SECONDS
        while self._workers and time.monotonic() < deadline:
            self._wait(1)
        for worker in self._workers:
            logger.error("Worker %s did not stop in time and is killed.", worker.pid)
            self._signal(worker, signal.SIGKILL)
            os.waitpid(worker.pid, 0)

    def _signal(self, worker: Worker, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, number)


def pause_seconds(failures: int) -> float:
    """Return for how long no worker is started after so many attempts in a row that failed."""
    doublings = min(failures - 1, 10)  # a large power of two is no float
    return min(FIRST_PAUSE_SECONDS * 2**doublings, LONGEST_PAUSE_SECONDS) if failures else 0
