"""The write lock of SQLite, for which one thread of a process asks at a time.

SQLite itself waits by asking again and again, up to ten times a second. Threads and processes would leave the database
unused between one writer and the next, and some would wait for seconds.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from registry.database.connection import BUSY_TIMEOUT, LONGEST_WAIT_SECONDS

ASK_AGAIN_SECONDS = 0.0005  # a transaction takes some milliseconds
_turns: WeakKeyDictionary[Engine, Lock] = WeakKeyDictionary()


@contextmanager
def write_lock(engine: Engine, raw: sqlite3.Connection) -> Iterator[None]:
    """Begin a transaction with the write lock, and let the next thread have it after the block, which ends it.

    :param raw: the connection of the driver.
    :raises OperationalError: other threads or processes had the lock for too long, as if SQLite had waited.
    """
    turn = _turns.setdefault(engine, Lock())
    if not turn.acquire(timeout=LONGEST_WAIT_SECONDS):
        raise _not_begun(sqlite3.OperationalError("database is locked"))
    try:
        _begin(raw)
        yield
    finally:
        turn.release()


def _begin(raw: sqlite3.Connection) -> None:
    """Begin the transaction, as soon as no other process has the lock."""
    raw.execute("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    try:
        while not _has_begun(raw, deadline):
            time.sleep(ASK_AGAIN_SECONDS)
    finally:
        raw.execute(BUSY_TIMEOUT)


def _has_begun(raw: sqlite3.Connection, deadline: float) -> bool:
    try:
        raw.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the rest of it is the cause
        if not is_busy or time.monotonic() > deadline:
            raise _not_begun(error) from error
        return False
    return True


def _not_begun(error: sqlite3.OperationalError) -> OperationalError:
    return OperationalError("BEGIN IMMEDIATE", None, error)
