"""Background work: repeated, retried after failures, and done once more at the end."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from errno import ENOSPC
from functools import partial
from threading import Event

import pytest
from flask import Flask, current_app
from sqlalchemy.exc import OperationalError

from registry.errors import Code, Unavailable
from registry.server import background


def test_work_is_repeated_and_done_once_more_at_the_end(app: Flask) -> None:
    done: list[str] = []
    twice = Event()

    def act() -> None:
        done.append(current_app.name)
        if len(done) == 2:
            twice.set()

    with background.repeated(app, "The work", act, every_seconds=0.01):
        assert twice.wait(10)
    ended = len(done)

    with background.repeated(app, "The work", act, every_seconds=1000):
        pass

    assert len(done) == ended + 1


def test_the_end_is_not_kept_up_by_work_that_does_not_end(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "END_SECONDS", 0.1)
    answers = Event()

    with background.repeated(app, "The work", answers.wait, every_seconds=1000):
        pass

    assert "The work is broken off, as it takes too long." in caplog.text
    answers.set()


def locked() -> OperationalError:
    return OperationalError("BEGIN", None, sqlite3.OperationalError("database is\nlocked"))


TRIED_AGAIN = "The work failed, and is tried again"


@pytest.mark.parametrize(
    ("failures", "logged"),
    [
        ((locked, locked, Unavailable), [f"{TRIED_AGAIN}: database is locked"]),
        ((partial(Unavailable, Code.STORE_AWAY), locked), [f"{TRIED_AGAIN}: The package store is not responding."]),
        ((partial(OSError, ENOSPC, "No space left"),), [f"{TRIED_AGAIN}: No space left"]),
        ((KeyError, KeyError, KeyError), [f"{TRIED_AGAIN}.", "KeyError"]),
        (
            (locked, KeyError, locked),
            [f"{TRIED_AGAIN}: database is locked", f"{TRIED_AGAIN}.", "KeyError", f"{TRIED_AGAIN}: database is locked"],
        ),
    ],
    ids=["database", "store", "disk", "mistake", "mistake in an outage"],
)
def test_a_failure_is_logged_once_until_the_work_succeeds_and_is_retried(
    app: Flask, caplog: pytest.LogCaptureFixture, failures: Sequence[Callable[[], Exception]], logged: list[str]
) -> None:
    """With its traceback, if it is not an outage."""
    caplog.handler.setFormatter(logging.Formatter("%(message)s"))
    left, is_over = [*failures, None, None, *failures, None], Event()

    def act() -> None:
        failure = left.pop(0) if left else None
        if not left:
            is_over.set()
        if failure is not None:
            raise failure()

    with background.repeated(app, "The work", act, every_seconds=0.01):
        assert is_over.wait(10)

    lines = [line for line in caplog.text.splitlines() if not line.startswith((" ", "Traceback"))]
    assert lines == 2 * [*logged, "The work works again."]
