"""The threads that answer requests."""

from __future__ import annotations

from threading import Event

from registry.server.threads import Threads


class Waiting:
    """Takes a thread until ``may_end``."""

    def __init__(self) -> None:
        self.is_begun = Event()
        self.may_end = Event()
        self.is_canceled = False

    def service(self) -> None:
        self.is_begun.set()
        assert self.may_end.wait(10)

    def cancel(self) -> None:
        self.is_canceled = True


class Failing:
    def service(self) -> None:
        raise RuntimeError("nothing works")


def test_a_failure_does_not_take_the_thread_along() -> None:
    threads, next_one = Threads(1), Waiting()

    threads.add_task(Failing())
    threads.add_task(next_one)

    assert next_one.is_begun.wait(10)
    next_one.may_end.set()
    threads.shutdown()


def test_a_shutdown_waits_for_what_has_begun_and_cancels_the_rest() -> None:
    threads, begun, queued = Threads(1), Waiting(), Waiting()
    threads.add_task(begun)
    assert begun.is_begun.wait(10)
    threads.add_task(queued)

    threads.shutdown(within_seconds=0.1)
    begun.may_end.set()

    assert queued.is_canceled
    assert not queued.is_begun.is_set()
    assert not begun.is_canceled
