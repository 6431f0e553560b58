"""Periodic work of a serving process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from flask import Flask

EVERY_SECONDS = 10

logger = logging.getLogger(__name__)


@contextmanager
def repeated(app: Flask, act: Callable[[], object], every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Call a function periodically during the block, in a thread of its own, and once more at its end.

    Failures are logged, and the function is called again the next time.
    """
    is_over = Event()

    def run() -> None:
        while not is_over.wait(every_seconds):
            _attempt(app, act)

    thread = Thread(target=run, name="background", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        _attempt(app, act)


def _attempt(app: Flask, act: Callable[[], object]) -> None:
    try:
        with app.app_context():
            act()
    except Exception:
        logger.warning("Background work failed, and is tried again.", exc_info=True)
