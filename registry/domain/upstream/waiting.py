"""Requests that wait for the upstream index: how many, for how long, and when it is not asked at all.

An upstream index that is slow must not occupy all threads of a process, and what several requests need, in any process
of this machine, is fetched once.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from threading import Condition, Lock

from registry.errors import UpstreamBusy

SHARE = 0.4  # of the threads, at most, which wait for pages; others wait for files
# Of a request for a place, from when a place became free or the last one was taken: of as many requests as there are
# places, and of those behind them.
PATIENCE_SECONDS, SPARE_SECONDS = 1.5, 0.4
LONGEST_WAIT_SECONDS = 3  # for a place; and for a page that another request fetches
LOOK_SECONDS = 0.01
SILENCE_SECONDS = 2.5  # without a part of any file, although some are waited for; its first byte is waited for for two
RECOVERY_SECONDS = 3  # for the one request that finds out whether the upstream index is back


class Places:
    """The places for requests that wait for the upstream index.

    A request without a place waits for one as long as places become free quickly. Otherwise the upstream index is slow,
    and the request is refused at once, so that its thread can answer others. A few may wait longer.
    """

    def __init__(self, threads: int) -> None:
        self._free = self._line = max(1, int(threads * SHARE))
        self._condition = Condition()
        self._moved_at = time.monotonic()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place during the block.

        :raises UpstreamBusy: there is none.
        """
        self._take()
        try:
            yield
        finally:
            with self._condition:
                self._free += 1
                self._moved_at = time.monotonic()
                self._condition.notify()

    def _take(self) -> None:
        given_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
        with self._condition:
            if not self._free:
                self._wait(given_up_at)
            self._free -= 1
            if not self._free:
                self._moved_at = time.monotonic()

    def _wait(self, given_up_at: float) -> None:
        patience = PATIENCE_SECONDS if self._line > 0 else SPARE_SECONDS
        self._line -= 1
        try:
            while not self._free:
                left = min(self._moved_at + patience, given_up_at) - time.monotonic()
                if left <= 0:
                    raise UpstreamBusy
                self._condition.wait(left)
        finally:
            self._line += 1


class Silence:
    """How long the upstream index has sent no part of any file."""

    def __init__(self) -> None:
        self._ended_at = -math.inf
        self._ended = Condition()

    def end(self) -> None:
        """Note that a part of a file has arrived."""
        with self._ended:
            self._ended_at = time.monotonic()
            self._ended.notify_all()

    def wake(self) -> None:
        """Have those who wait look whether it is over for them, as a file has arrived or failed."""
        with self._ended:
            self._ended.notify_all()

    def ends(self, waited_since: float, is_over: Callable[[], bool]) -> bool:
        """Wait until a part of any file arrives, or something else is over.

        :param waited_since: the monotonic time from when on files were waited for.
        :return: false once none has arrived for ``SILENCE_SECONDS``.
        """
        began_at = time.monotonic()
        with self._ended:
            while self._ended_at < began_at and not is_over():
                left = max(self._ended_at, waited_since) + SILENCE_SECONDS - time.monotonic()
                if left <= 0:
                    return False
                self._ended.wait(left)
        return True

    @property
    def is_short(self) -> bool:
        return time.monotonic() < self._ended_at + SILENCE_SECONDS


class Fetches:
    """What is being fetched at the moment, by the processes of this machine, as locked files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Let no other request fetch the same during the block; those that wait take turns.

        :raises UpstreamBusy: another request takes too long.
        """
        path = self._folder / blake2b(name.encode(), digest_size=16).hexdigest()
        descriptor = self._locked(path)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                path.unlink()  # while it is locked: who waits for it notices, and creates another
            os.close(descriptor)

    def _locked(self, path: Path) -> int:
        given_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
        while time.monotonic() < given_up_at:
            descriptor = self._opened(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    return descriptor
                os.close(descriptor)
            except BlockingIOError:
                os.close(descriptor)
                time.sleep(LOOK_SECONDS)
        raise UpstreamBusy

    def _opened(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


class Pauses:
    """When the upstream index is not asked, as seen by one process.

    After a failure, nothing is asked for the same name for a while, and after two in a row nothing at all. Then one
    request finds out whether the index is back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failures = 0  # in a row, that can concern all names
        self._resumes_at = 0.0
        self._names: dict[str, float] = {}

    def is_paused(self, name: str) -> bool:
        now = self._clock()
        with self._lock:
            if now < max(self._resumes_at, self._names.get(name, 0)):
                return True
            if self._failures > 1:
                self._resumes_at = now + RECOVERY_SECONDS
            return False

    def note_answer(self, name: str) -> None:
        with self._lock:
            self._failures, self._resumes_at = 0, 0.0
            self._names.pop(name, None)

    def note_failure(self, name: str, name_seconds: float, all_seconds: float) -> None:
        """Note that the index failed.

        :param all_seconds: 0 if the failure concerns only this name.
        """
        now = self._clock()
        with self._lock:
            if len(self._names) >= 1000:
                self._names = {known: until for known, until in self._names.items() if until > now}
            if len(self._names) < 1000:
                self._names[name] = now + name_seconds
            if all_seconds:
                self._failures += 1
                if self._failures > 1:
                    self._resumes_at = now + all_seconds
