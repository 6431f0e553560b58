"""Deadlines."""

from __future__ import annotations

import threading

from registry.domain.deadlines import Deadlines


def watching() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "deadlines"}


def test_the_end_of_each_block_is_watched_by_one_thread() -> None:
    deadlines, expired, later = Deadlines(), threading.Event(), threading.Event()
    before = watching()

    with deadlines.within(3600, later.set), deadlines.within(0.01, expired.set), deadlines.within(3600, later.set):
        assert expired.wait(60)
        assert len(watching() - before) == 1

    assert not later.is_set()


def test_a_failure_at_one_deadline_keeps_no_other_from_being_watched() -> None:
    deadlines, expired = Deadlines(), threading.Event()

    def fail() -> None:
        raise RuntimeError

    with deadlines.within(0.01, fail), deadlines.within(0.02, expired.set):
        assert expired.wait(60)
