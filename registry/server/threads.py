"""The threads that answer requests, and the queue in front of them."""

from __future__ import annotations

import logging
import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

logger = logging.getLogger(__name__)


class Threads:
    """Waitress's task dispatcher, with a queue that never makes the loop wait.

    Waitress's own queue has a lock. A thread that is interrupted while it holds the lock blocks the loop until it runs
    again. ``SimpleQueue.put`` blocks on nothing.
    """

    def __init__(self, count: int) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"waitress-{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def add_task(self, channel: Any) -> None:
        """Have a thread call the channel's ``service``."""
        self._queue.put(channel)

    def shutdown(self, within_seconds: float = 5) -> None:
        """Cancel what no thread has begun, and wait for the threads to end, but not longer than this."""
        try:
            while True:
                self._queue.get_nowait().cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + within_seconds
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))
        running = sum(thread.is_alive() for thread in self._threads)
        if running:
            logger.warning("%d threads are still answering a request.", running)

    def _work(self) -> None:
        while (channel := self._queue.get()) is not None:
            try:
                channel.service()
            except BaseException:
                logger.exception("A request failed.")
