"""The threads that answer requests, and how many of them work at a time."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from registry.server import calls

LONG_SECONDS = 0.005  # a thread that has not answered after this time is probably waiting for something
INTERVAL_SECONDS = 0.002  # for how long the use of the processor is measured
UPLOAD_SHARE = 0.75  # of the threads, at most: uploads can take seconds to examine
SLACK_SECONDS = 0.001  # a thread waits for the interpreter so much longer than the loop
IDLE, BUSY = 0.6, 0.9  # of one processor: below, threads are waiting; above, another one would only get in the way

logger = logging.getLogger(__name__)


class Worker:
    """A thread's place to sleep.

    :ivar begun_at: when the thread took a request, on the monotonic clock; negative infinity while it has none.
    """

    def __init__(self) -> None:
        self.begun_at = -math.inf
        self._gate = Lock()
        self._gate.acquire()

    def sleep(self) -> None:
        self._gate.acquire()

    def wake(self) -> None:
        self.begun_at = time.monotonic()
        self._gate.release()


class Threads:
    """Waitress's task dispatcher, but with no more threads at work than the processor can use.

    The interpreter runs one thread at a time. Threads that compute in parallel take it from each other at every system
    call, which costs more than most requests do. So requests wait for the thread that is at work. Another one helps if
    that takes long, or if the processor is idle because threads wait for a database, a store, or a disk.

    Some threads take no uploads, so that other requests have one while many uploads are examined. Probes of the process
    have a thread of their own, so that they are answered at once, whatever the others do.

    The loop calls ``add_task`` and ``relieve``, which therefore wait for nothing, not even a lock.
    """

    def __init__(self, count: int) -> None:
        self._queue: deque[Any] = deque()
        self._deferred: deque[Any] = deque()  # uploads that were taken from the queue while there was no place for them
        self._places = deque([None] * max(1, int(count * UPLOAD_SHARE)))
        self._workers = [Worker() for _ in range(count)]
        self._asleep = list(self._workers)
        self._sampled_at = self._used_seconds = 0.0
        self._is_busy = self._is_over = False
        self._probes: SimpleQueue[Any] = SimpleQueue()  # of connections; ``None`` ends the thread
        self._threads = [
            Thread(target=self._work, args=(worker,), name=f"waitress-{number}", daemon=True)
            for number, worker in enumerate(self._workers)
        ]
        self._threads.append(Thread(target=self._answer_probes, name="waitress-probes", daemon=True))
        for thread in self._threads:
            thread.start()

    def add_task(self, channel: Any) -> None:
        """Have a thread call the channel's ``service``."""
        if channel.is_probe:
            self._probes.put(channel)
            return
        if not self._queue:
            self._sample()
        self._queue.append(channel)
        if not self._makes_progress():
            self._wake_another()

    def relieve(self) -> float:
        """Wake another thread if requests are waiting and it would help.

        :return: after how many seconds this has to be called again.
        """
        if not self._has_work():
            return math.inf
        elapsed = time.monotonic() - self._sampled_at
        if elapsed >= INTERVAL_SECONDS:
            use = (time.process_time() - self._used_seconds) / elapsed
            self._is_busy = use > BUSY
            if use < IDLE or not self._makes_progress():
                self._wake_another()
            self._sample()
        return INTERVAL_SECONDS if self._asleep else math.inf

    def shutdown(self, within_seconds: float = 5) -> None:
        """Cancel requests that no thread has begun, and wait for the threads to end, but not longer than this."""
        self._is_over = True
        for queue in (self._deferred, self._queue):
            with suppress(IndexError):  # the threads take requests at the same time
                while True:
                    queue.popleft().cancel()
        self._probes.put(None)
        while self._asleep:
            self._wake_another()
        deadline = time.monotonic() + within_seconds
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))
        running = sum(thread.is_alive() for thread in self._threads)
        if running:
            logger.warning("%d threads are still answering a request.", running)

    def _sample(self) -> None:
        self._sampled_at, self._used_seconds = time.monotonic(), time.process_time()

    def _makes_progress(self) -> bool:
        """Whether a thread has begun recently, so that it will soon take the next request."""
        earliest = time.monotonic() - LONG_SECONDS
        return any(worker.begun_at > earliest for worker in self._workers)

    def _wake_another(self) -> None:
        with suppress(IndexError):
            self._asleep.pop().wake()  # the last to fall asleep, whose memory is still in the processor's cache

    def _work(self, worker: Worker) -> None:
        calls.set_timer_slack(SLACK_SECONDS)
        worker.sleep()
        while not self._is_over:
            try:
                channel, is_upload = self._take()
            except IndexError:
                self._rest(worker)
                continue
            worker.begun_at = time.monotonic()
            _serve(channel)
            if is_upload:
                self._places.append(None)
            worker.begun_at = -math.inf
            if self._is_busy and self._makes_progress() and not self._deferred:
                self._rest(worker)

    def _answer_probes(self) -> None:
        while (channel := self._probes.get()) is not None:
            _serve(channel)

    def _take(self) -> tuple[Any, bool]:
        """Take the next request from the queues, and return whether it is an upload, which has a place then.

        :raises IndexError: there is none that can begin.
        """
        while True:
            if self._deferred and self._has_taken_place():
                try:
                    return self._deferred.popleft(), True
                except IndexError:  # another thread was faster
                    self._places.append(None)
            channel = self._queue.popleft()
            if not channel.is_upload:
                return channel, False
            if self._has_taken_place():
                return channel, True
            self._deferred.append(channel)

    def _has_taken_place(self) -> bool:
        try:
            self._places.pop()
        except IndexError:
            return False
        return True

    def _has_work(self) -> bool:
        """Return whether a request is waiting that can begin."""
        return bool(self._queue or (self._deferred and self._places))

    def _rest(self, worker: Worker) -> None:
        worker.begun_at = -math.inf
        self._asleep.append(worker)
        # A request that was added just before this did not find the worker asleep.
        if self._is_over or (self._has_work() and not self._makes_progress()):
            self._wake_another()
        worker.sleep()


def _serve(channel: Any) -> None:
    try:
        channel.service()
    except BaseException:
        logger.exception("A request failed.")
