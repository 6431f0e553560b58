"""The threads that answer requests: how many work at a time, and how they end."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

import pytest
from waitress.adjustments import Adjustments

from registry.server import threads
from registry.server.parser import GuardedParser, probes_at
from registry.server.threads import Threads
from tests.server.serving import eventually


class Work:
    """A task for a thread, which lasts until ``end``.

    :ivar is_begun: a thread has started it.
    """

    def __init__(self, *, is_upload: bool = False, is_probe: bool = False) -> None:
        self.is_upload, self.is_probe = is_upload, is_probe
        self.is_begun = Event()
        self.is_canceled = False
        self._may_end = Event()

    def service(self) -> None:
        self.is_begun.set()
        assert self._may_end.wait(10)

    def end(self) -> None:
        self._may_end.set()

    def cancel(self) -> None:
        self.is_canceled = True


class Call:
    """A task for a thread that calls a function."""

    is_upload = is_probe = False

    def __init__(self, function: Callable[[], object]) -> None:
        self.service = function


@contextmanager
def running(count: int) -> Iterator[Threads]:
    started = Threads(count)
    try:
        yield started
    finally:
        started.shutdown()


@pytest.fixture
def is_never_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every task count as short, however busy this machine is."""
    monkeypatch.setattr(threads, "LONG_SECONDS", 60)


def test_requests_wait_for_the_thread_that_is_at_work(is_never_long: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE", 0)
    at_work, most, done, lock = 0, 0, 0, Lock()

    def work() -> None:
        nonlocal at_work, most, done
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.001)
        with lock:
            at_work -= 1
            done += 1

    with running(8) as pool:
        for _ in range(50):
            pool.add_task(Call(work))
            pool.relieve()
        eventually(lambda: pool.relieve() and done == 50)

    assert most == 1


def test_a_request_starts_at_once_while_another_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LONG_SECONDS", 0.01)
    first, second = Work(), Work()

    with running(2) as pool:
        pool.add_task(first)
        assert first.is_begun.wait(10)
        time.sleep(0.02)
        pool.add_task(second)

        assert second.is_begun.wait(10)
        first.end()
        second.end()


def test_a_request_that_waits_gets_a_thread_when_the_one_at_work_turns_out_to_take_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "LONG_SECONDS", 0.05)
    monkeypatch.setattr(threads, "IDLE", 0)
    first, second = Work(), Work()

    with running(2) as pool:
        pool.add_task(first)
        pool.add_task(second)
        eventually(lambda: pool.relieve() and second.is_begun.is_set())
        first.end()
        second.end()


def test_a_request_that_waits_gets_a_thread_while_the_processor_is_idle(is_never_long: None) -> None:
    first, second = Work(), Work()

    with running(2) as pool:
        pool.add_task(first)
        assert first.is_begun.wait(10)
        pool.add_task(second)
        assert not second.is_begun.wait(0.1)

        eventually(lambda: pool.relieve() and second.is_begun.is_set())
        first.end()
        second.end()


def test_a_thread_rests_when_the_processor_is_busy_and_another_is_at_work(
    is_never_long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = Work(), Work(), Work()

    with running(2) as pool:
        pool.add_task(first)
        pool.add_task(second)
        eventually(lambda: pool.relieve() and second.is_begun.is_set())
        monkeypatch.setattr(threads, "BUSY", -1)
        pool.add_task(third)
        time.sleep(0.01)
        pool.relieve()
        first.end()

        assert not third.is_begun.wait(0.1)
        second.end()
        assert third.is_begun.wait(10)
        third.end()


def test_uploads_leave_threads_to_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LONG_SECONDS", 0)
    uploads, other = [Work(is_upload=True) for _ in range(9)], Work()

    with running(4) as pool:
        for upload in uploads:
            pool.add_task(upload)
            eventually(lambda: pool.relieve() and not pool._queue)
        pool.add_task(other)

        assert other.is_begun.wait(10)
        assert [upload.is_begun.is_set() for upload in uploads] == [True] * 3 + [False] * 6
        assert pool.relieve() > 60
        for upload in uploads:
            assert upload.is_begun.wait(10)
            upload.end()
        other.end()


def test_a_shutdown_cancels_uploads_that_wait_for_a_place() -> None:
    pool, begun, waiting = Threads(2), Work(is_upload=True), Work(is_upload=True)
    for upload in (begun, waiting):
        pool.add_task(upload)
        eventually(lambda: pool.relieve() and not pool._queue)

    pool.shutdown(within_seconds=0.1)
    begun.end()

    assert waiting.is_canceled


def test_nothing_is_checked_while_no_request_waits() -> None:
    with running(1) as pool:
        assert pool.relieve() > 60


def test_a_failure_does_not_end_the_thread() -> None:
    def fail() -> None:
        raise RuntimeError("nothing works")

    next_one = Work()
    next_one.end()

    with running(1) as pool:
        pool.add_task(Call(fail))
        pool.add_task(next_one)

        assert next_one.is_begun.wait(10)


def test_a_shutdown_waits_for_started_tasks_and_cancels_the_rest() -> None:
    pool, begun, queued = Threads(1), Work(), Work()
    pool.add_task(begun)
    assert begun.is_begun.wait(10)
    pool.add_task(queued)

    pool.shutdown(within_seconds=0.1)
    begun.end()

    assert queued.is_canceled
    assert not queued.is_begun.is_set()
    assert not begun.is_canceled


def test_a_shutdown_ends_all_threads() -> None:
    pool = Threads(8)

    pool.shutdown(within_seconds=10)

    assert not any(thread.is_alive() for thread in pool._threads)


def test_probes_are_answered_while_all_threads_are_occupied() -> None:
    others, probe = [Work() for _ in range(4)], Work(is_probe=True)

    with running(2) as pool:
        for work in (*others, probe):
            pool.add_task(work)
        assert probe.is_begun.wait(10)
        for work in (*others, probe):
            work.end()


@pytest.mark.parametrize(
    ("line", "is_probe"),
    [
        (b"GET /-/health", True),
        (b"HEAD /-/liveness", True),
        (b"GET /-/readiness", False),
        (b"POST /-/health", False),
        (b"GET /group/-/health", False),
        (b"GET /below/pypi/-/health", True),
        (b"GET /below/-/health", False),
    ],
)
def test_a_probe_asks_for_the_process_alone(line: bytes, is_probe: bool) -> None:
    class Parser(GuardedParser):
        uploads = re.compile("/upload")
        probes = probes_at("https://packages.example.com/below/pypi")

    parser = Parser(Adjustments(listen="127.0.0.1:0"), "127.0.0.1")
    parser.received(line + b" HTTP/1.1\r\nHost: registry.test\r\n\r\n")

    assert (parser.error, parser.is_probe) == (None, is_probe)


class Contended(deque[Work]):
    """A queue of which another thread is always faster in taking the next one."""

    def popleft(self) -> Work:
        super().popleft()
        return super().popleft()


def test_they_end_although_one_of_them_takes_a_request_while_it_would_be_canceled() -> None:
    pool = Threads(1)
    pool._queue = Contended([Work()])

    pool.shutdown()

    assert not any(thread.is_alive() for thread in pool._threads)
