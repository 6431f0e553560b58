"""Background work: repeated, retried after failures, and done once more at the end."""

from __future__ import annotations

import logging
from threading import Event

import pytest
from flask import Flask, current_app

from registry.server import background


def test_work_is_repeated_and_done_once_more_at_the_end(app: Flask) -> None:
    done: list[str] = []
    twice = Event()

    def act() -> None:
        done.append(current_app.name)
        if len(done) == 2:
            twice.set()

    with background.repeated(app, act, every_seconds=0.01):
        assert twice.wait(10)
    ended = len(done)

    with background.repeated(app, act, every_seconds=1000):
        pass

    assert len(done) == ended + 1


def test_a_failure_is_logged_and_the_work_is_retried(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    tried: list[None] = []
    again = Event()

    def fail() -> None:
        tried.append(None)
        if len(tried) == 2:
            again.set()
        raise OSError("nothing works")

    with background.repeated(app, fail, every_seconds=0.01):
        assert again.wait(10)

    assert "nothing works" in caplog.text
