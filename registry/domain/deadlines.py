"""Deadlines. One thread watches all of them, because a timer would start a thread each."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread

logger = logging.getLogger(__name__)


class Deadlines:
    """Calls functions when something takes too long. Thread-safe; a process that forks has to make its own."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._pending: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wakes_at = math.inf
        self._is_watched = False

    @contextmanager
    def within(self, seconds: float, expire: Callable[[], None]) -> Iterator[None]:
        """Call a function once, in another thread, if the block takes longer. It is never called after the block.

        :param expire: returns soon.
        """
        key, ends_at = object(), time.monotonic() + seconds
        with self._changed:
            if not self._is_watched:
                Thread(target=self._watch, name="deadlines", daemon=True).start()
                self._is_watched = True
            elif ends_at < self._wakes_at:
                self._changed.notify()
            self._pending[key] = ends_at, expire
        try:
            yield
        finally:
            with self._changed:
                self._pending.pop(key, None)

    def _watch(self) -> None:
        with self._changed:
            while self._pending:
                self._wakes_at = min(ends_at for ends_at, _ in self._pending.values())
                self._changed.wait(self._wakes_at - time.monotonic())
                now = time.monotonic()
                for key in [key for key, (ends_at, _) in self._pending.items() if ends_at <= now]:
                    self._expire(self._pending.pop(key)[1])
            self._is_watched = False

    @staticmethod
    def _expire(expire: Callable[[], None]) -> None:
        try:
            expire()
        except Exception:
            logger.exception("What a deadline should end was not ended")
