"""A counter in the database for tests of transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flask import Flask
from sqlalchemy import select, update

from registry.database import db, transaction
from registry.models import InstanceSettings

COUNTER = InstanceSettings.pypi_max_file_size  # any column with a number


class Failure(Exception):
    pass


def counter() -> int | None:
    return db.session.scalar(select(COUNTER))


def set_counter(value: int) -> None:
    db.session.execute(update(InstanceSettings).values(pypi_max_file_size=value))


def fail_after(value: int) -> None:
    with transaction():
        set_counter(value)
        raise Failure


def in_thread(app: Flask, act: Callable[[], None]) -> threading.Thread:
    """Run in a session of its own, as another request does."""

    def run() -> None:
        with app.app_context():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
