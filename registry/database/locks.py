"""Advisory locks: all of them, what each guards, and the order in which they are taken."""

from __future__ import annotations

import enum
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from registry.database.connection import cannot_open, connect, is_sqlite, wait_for_ever
from registry.database.types import db


@enum.unique
class AdvisoryLock(enum.Enum):
    """Every advisory lock, with its number in PostgreSQL.

    SQLite needs files only for the locks that are held beyond transactions: its writers exclude one another.
    """

    # Held beyond transactions, and taken before one begins:
    SCHEMA = 7_202_611  # one process upgrades or restores the database
    REMOVAL = 7_202_616  # the objects in the store: shared by those that remove some, exclusive to a backup
    # Held to the end of a transaction:
    FIRST_START = 7_202_613  # whether there is any user
    TREE = 7_202_614  # paths and ancestors of namespaces, members, users, settings that groups inherit
    OBJECTS = 7_202_612  # objects and the rows that refer to them: shared by uploads, exclusive to a removal
    SIGN_IN = 7_202_615  # counts of failed sign-ins
    DOWNLOADS = 7_202_618  # counts of downloads
    LIMITED_GROUP = 7_202_617  # what the projects below a group hold, a lock for each group, in the order of their ids


def hold(lock: AdvisoryLock, *, part: int = 0, shared: bool = False) -> None:
    """Wait for a lock, and hold it until the present transaction ends.

    :param part: which one, where the lock is one for each of many: the id of what it guards.
    :param shared: together with others that share it.
    """
    if is_sqlite(db.engine):  # where every writer excludes the others
        return
    function = f"pg_advisory_xact_lock{'_shared' if shared else ''}"
    key = ":number, :part" if part else ":number"
    db.session.execute(text(f"SELECT {function}({key})"), {"number": lock.value, "part": part})


@contextmanager
def objects_kept() -> Iterator[None]:
    """While the block runs, no process removes an object from the store; waits for those that are at it.

    What was there when a snapshot was begun in the block can thus be read to its end. Uploads go on.
    """
    with _beyond_transactions(AdvisoryLock.REMOVAL):
        yield


@contextmanager
def objects_removable() -> Iterator[bool]:
    """Whether objects may be removed in the block: not while another process has them kept."""
    with _beyond_transactions(AdvisoryLock.REMOVAL, shared=True, wait=False) as is_held:
        yield is_held


@contextmanager
def schema_locked() -> Iterator[None]:
    """Keep others from upgrading the database or filling it anew, and a registry that starts meanwhile waiting.

    :raises ConfigurationError: the database cannot be opened.
    """
    with _beyond_transactions(AdvisoryLock.SCHEMA):
        yield


@contextmanager
def _beyond_transactions(lock: AdvisoryLock, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Whether the lock could be had; it is released at the end of the block, and when the process ends."""
    locked = _file_lock if is_sqlite(db.engine) else _advisory_lock
    with locked(lock, shared, wait) as is_held:
        yield is_held


@contextmanager
def _file_lock(lock: AdvisoryLock, shared: bool, wait: bool) -> Iterator[bool]:
    path = str(db.engine.url.database)
    try:
        if lock is AdvisoryLock.SCHEMA:
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
def _advisory_lock(lock: AdvisoryLock, shared: bool, wait: bool) -> Iterator[bool]:
    function = f"pg{'' if wait else '_try'}_advisory_xact_lock{'_shared' if shared else ''}"
    with connect() as connection, connection.begin():
        wait_for_ever(connection)
        answer = connection.execute(text(f"SELECT {function}(:number)"), {"number": lock.value}).scalar()
        yield wait or bool(answer)
