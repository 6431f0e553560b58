"""Locks between processes that outlive transactions."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from registry.database.connection import cannot_open, connect, is_sqlite, wait_for_ever
from registry.database.types import db

SCHEMA_LOCK = 7_202_611  # any number, the same in every process (PostgreSQL advisory lock)
OBJECTS_LOCK = 7_202_612
REMOVAL_LOCK = 7_202_616


@contextmanager
def objects_kept() -> Iterator[None]:
    """While the block runs, no process removes an object from the store; waits for those that are at it.

    What was there when a snapshot was begun in the block can thus be read to its end. Uploads go on.
    """
    with _held(REMOVAL_LOCK):
        yield


@contextmanager
def objects_removable() -> Iterator[bool]:
    """Whether objects may be removed in the block: not while another process has them kept."""
    with _held(REMOVAL_LOCK, shared=True, wait=False) as is_held:
        yield is_held


@contextmanager
def schema_locked() -> Iterator[None]:
    """Keep others from upgrading the database or filling it anew, and a registry that starts meanwhile waiting.

    :raises ConfigurationError: the database cannot be opened.
    """
    with _held(SCHEMA_LOCK):
        yield


@contextmanager
def _held(number: int, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """A lock that is held beyond transactions, and let go with the end of its process; whether it could be had."""
    lock = _file_lock if is_sqlite(db.engine) else _advisory_lock
    with lock(number, shared, wait) as is_held:
        yield is_held


@contextmanager
def _file_lock(number: int, shared: bool, wait: bool) -> Iterator[bool]:
    path = str(db.engine.url.database)
    try:
        if number == SCHEMA_LOCK:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it will hold password hashes
            descriptor = os.open(f"{path}.upgrade-lock", os.O_RDWR | os.O_CREAT, 0o600)
        else:
            descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)  # a folder leaves no file behind
    except OSError as error:
        raise cannot_open(f"{path}: {error.strerror}") from error
    try:
        yield _flocked(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    finally:
        os.close(descriptor)


def _flocked(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _advisory_lock(number: int, shared: bool, wait: bool) -> Iterator[bool]:
    function = f"pg{'' if wait else '_try'}_advisory_xact_lock{'_shared' if shared else ''}"
    with connect() as connection, connection.begin():
        wait_for_ever(connection)
        answer = connection.execute(text(f"SELECT {function}(:number)"), {"number": number}).scalar()
        yield wait or bool(answer)
