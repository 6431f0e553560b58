"""Periodic work of a serving process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from flask import Flask

from registry.logs import Attempts

EVERY_SECONDS = 10
END_SECONDS = 5

logger = logging.getLogger(__name__)


@contextmanager
def repeated(
    app: Flask, subject: str, act: Callable[[], object], every_seconds: float = EVERY_SECONDS
) -> Iterator[None]:
    """Call a function periodically during the block, in a thread of its own, and once more at its end.

    Failures are logged, and the function is called again the next time. The end is waited for for ``END_SECONDS``: a
    database that does not answer must not keep the process from ending.

    :param subject: of the lines in the log, such as "Counting downloads".
    """
    is_over = Event()
    attempts = Attempts(logger, subject, "failed, and is tried again", "works again")

    def run() -> None:
        while not is_over.wait(every_seconds):
            _attempt(app, act, attempts)
        _attempt(app, act, attempts)

    thread = Thread(target=run, name="background", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(END_SECONDS)
        if thread.is_alive():
            logger.warning("%s is broken off, as it takes too long.", subject)


def _attempt(app: Flask, act: Callable[[], object], attempts: Attempts) -> None:
    try:
        with app.app_context():
            act()
    except Exception as error:  # noqa: BLE001 - the next line logs it
        attempts.fail(error, app.extensions["outage"](error))
    else:
        attempts.succeed()
