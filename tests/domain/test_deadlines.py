"""Ends of time."""

from __future__ import annotations

import threading

from registry.domain.deadlines import Deadlines


def test_the_end_of_each_block_is_watched_by_one_thread() -> None:
    deadlines, expired, later = Deadlines(), threading.Event(), threading.Event()
    threads = threading.active_count()

    with deadlines.within(3600, later.set), deadlines.within(0.01, expired.set), deadlines.within(3600, later.set):
        assert expired.wait(30)
        assert threading.active_count() == threads + 1

    assert not later.is_set()
