"""Advisory locks: all of them, what each guards, and the order in which they are taken."""

from __future__ import annotations

import enum
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import text

from registry.database.connection import cannot_open, connect, is_sqlite, wait_for_ever
from registry.database.types import db


@enum.unique
class AdvisoryLock(enum.Enum):
    """Every advisory lock, with its number in PostgreSQL, in the order in which locks are taken.

    While a lock is held, only those below it here may be waited for; otherwise two transactions could wait for each
    other. For the same reason locks come before rows: a transaction takes its locks before it changes or locks any
    row. ``LIMITED_GROUP`` alone comes after them, among the rows that many transactions change. Both rules are checked
    (``OutOfOrder``), the first on SQLite too.

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


class OutOfOrder(RuntimeError):
    """A mistake in the program: to wait for this lock, at this point, could end in a deadlock."""


@dataclass(frozen=True, order=True)
class _Held:
    """A lock that a session holds, in the order of ``AdvisoryLock`` and then of parts."""

    place: int
    part: int
    is_shared: bool = field(compare=False)

    @property
    def lock(self) -> AdvisoryLock:
        return list(AdvisoryLock)[self.place]


def _held(lock: AdvisoryLock, part: int = 0, *, shared: bool) -> _Held:
    return _Held(list(AdvisoryLock).index(lock), part, shared)


def hold(lock: AdvisoryLock, *, part: int = 0, shared: bool = False) -> None:
    """Wait for a lock, and hold it until the present transaction ends; one that is held already is not waited for.

    :param part: which one, where the lock is one for each of many: the id of what it guards.
    :param shared: together with others that share it; a shared lock cannot become an exclusive one.
    :raises OutOfOrder: there is no transaction, or it holds a later lock, or has changed or locked rows.
    """
    wanted, info = _held(lock, part, shared=shared), db.session().info
    if not info.get("writing"):
        raise OutOfOrder(f"{lock.name} is taken outside a transaction")
    if any(held == wanted and (shared or not held.is_shared) for held in info.get("locks", ())):
        return
    _refuse_out_of_order(wanted)
    if not is_sqlite(db.engine):  # where every writer excludes the others
        _wait_for(wanted)
    info["locks"] = (*info.get("locks", ()), wanted)


def _refuse_out_of_order(wanted: _Held) -> None:
    info = db.session().info
    for held in (*info.get("locks_beyond", ()), *info.get("locks", ())):
        if held >= wanted:
            raise OutOfOrder(f"{wanted.lock.name} is taken while {held.lock.name} is held")


def _wait_for(wanted: _Held) -> None:
    function = f"pg_advisory_xact_lock{'_shared' if wanted.is_shared else ''}"
    key = ":number, :part" if wanted.part else ":number"
    # A transaction is given a number of its own when it first changes or locks a row.
    statement = text(f"SELECT pg_current_xact_id_if_assigned() IS NOT NULL, {function}({key})")
    has_changed_rows, _ = db.session.execute(statement, {"number": wanted.lock.value, "part": wanted.part}).one()
    if has_changed_rows and wanted.lock is not AdvisoryLock.LIMITED_GROUP:
        raise OutOfOrder(f"{wanted.lock.name} is taken in a transaction that has changed or locked rows")


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
    """Whether the lock could be had; it is released at the end of the block, and when the process ends.

    :raises OutOfOrder: it is waited for within a transaction, or while this or a later lock is held.
    """
    wanted, info = _held(lock, shared=shared), db.session().info
    if wait and info.get("writing"):
        raise OutOfOrder(f"{lock.name} is taken in a transaction")
    if wait:
        _refuse_out_of_order(wanted)
    locked = _file_lock if is_sqlite(db.engine) else _advisory_lock
    with locked(lock, shared, wait) as is_held:
        before = info.get("locks_beyond", ())
        info["locks_beyond"] = (*before, wanted) if is_held else before
        try:
            yield is_held
        finally:
            info["locks_beyond"] = before


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
