"""All advisory locks: their numbers, the data they guard, and the order in which they are taken."""

from __future__ import annotations

import enum
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import column, text

from registry.database.connection import cannot_open, connect, disable_timeouts, is_sqlite
from registry.database.statements import Statement
from registry.database.types import db


@enum.unique
class AdvisoryLock(enum.Enum):
    """Every advisory lock, with its number in PostgreSQL, in the order in which locks are taken.

    To prevent deadlocks, a session that holds a lock can only wait for locks further down in this list, and a
    transaction takes its locks before it changes or locks any row. The exception is ``LIMITED_NAMESPACE``, which is
    taken after rows have changed, together with other rows that many transactions change. Both rules are checked
    (``OutOfOrder``), the first one also on SQLite.

    On SQLite, writers exclude each other, so only the locks held beyond transactions are needed, as file locks.
    """

    # Held beyond transactions, and taken before one begins:
    SCHEMA = 7_202_611  # upgrading or restoring the database
    REMOVAL = 7_202_616  # the objects in the store: shared by processes that remove objects, exclusive for a backup
    # Held until the end of a transaction:
    FIRST_START = 7_202_613  # the existence of users
    OBJECTS = 7_202_612  # objects and the rows that refer to them: shared by uploads, exclusive for a removal
    TREE = 7_202_614  # namespaces, members, users, inherited settings: shared by changes to packages
    SIGN_IN = 7_202_615  # counts of failed sign-ins
    LIMITED_NAMESPACE = 7_202_617  # the storage in a project or below a group: one lock for each with a limit, by id


class OutOfOrder(RuntimeError):
    """A programming error: waiting for this lock at this point could end in a deadlock."""


@dataclass(frozen=True, order=True)
class _Held:
    """A lock that a session holds, ordered by ``AdvisoryLock`` and part."""

    position: int
    part: int
    is_shared: bool = field(compare=False)

    @property
    def lock(self) -> AdvisoryLock:
        return list(AdvisoryLock)[self.position]


@lru_cache(maxsize=100)
def _held(lock: AdvisoryLock, part: int = 0, *, shared: bool) -> _Held:
    return _Held(list(AdvisoryLock).index(lock), part, shared)


def hold(lock: AdvisoryLock, *, part: int = 0, shared: bool = False) -> None:
    """Wait for a lock unless it is already held, and hold it until the current transaction ends.

    :param part: the id of the record that the lock guards, if there is one lock per record.
    :param shared: take the lock in shared mode; a shared lock cannot be upgraded to an exclusive one.
    :raises OutOfOrder: there is no transaction, or it holds a later lock, or has changed or locked rows.
    """
    requested, info = _held(lock, part, shared=shared), db.session().info
    if not info.get("writing"):
        raise OutOfOrder(f"{lock.name} is taken outside a transaction")
    if any(held == requested and (shared or not held.is_shared) for held in info.get("locks", ())):
        return
    _refuse_out_of_order(requested)
    if not is_sqlite(db.engine):  # on SQLite, writers exclude each other
        _wait_for(requested)
    info["locks"] = (*info.get("locks", ()), requested)


def _refuse_out_of_order(requested: _Held) -> None:
    info = db.session().info
    for held in (*info.get("locks_beyond", ()), *info.get("locks", ())):
        if held >= requested:
            raise OutOfOrder(f"{requested.lock.name} is taken while {held.lock.name} is held")


def _lock(is_shared: bool, has_part: bool) -> Statement:
    function = f"pg_advisory_xact_lock{'_shared' if is_shared else ''}"
    key = ":number, :part" if has_part else ":number"
    # PostgreSQL assigns an id to a transaction when it first changes or locks a row.
    select = text(f"SELECT pg_current_xact_id_if_assigned() IS NOT NULL, {function}({key})")
    return Statement(select.columns(column("has_changed_rows"), column("nothing")))


_LOCK = {(is_shared, has_part): _lock(is_shared, has_part) for is_shared in (False, True) for has_part in (False, True)}


def _wait_for(requested: _Held) -> None:
    db.session.flush()
    values = {"number": requested.lock.value, "part": requested.part}
    statement = _LOCK[requested.is_shared, bool(requested.part)]
    (row,) = statement.execute(values).rows
    if row.has_changed_rows and requested.lock is not AdvisoryLock.LIMITED_NAMESPACE:
        raise OutOfOrder(f"{requested.lock.name} is taken in a transaction that has changed or locked rows")


@contextmanager
def objects_kept() -> Iterator[None]:
    """Wait for running removals of objects, and prevent any during the block, so that a snapshot remains readable.

    Uploads are not affected.
    """
    with _beyond_transactions(AdvisoryLock.REMOVAL):
        yield


@contextmanager
def objects_removable() -> Iterator[bool]:
    """Yield whether the block can remove objects, which ``objects_kept`` in another process prevents."""
    with _beyond_transactions(AdvisoryLock.REMOVAL, shared=True, wait=False) as is_held:
        yield is_held


@contextmanager
def schema_locked() -> Iterator[None]:
    """Prevent other processes from upgrading or restoring the database; a registry that starts waits for the block.

    :raises ConfigurationError: the database cannot be opened.
    """
    with _beyond_transactions(AdvisoryLock.SCHEMA):
        yield


@contextmanager
def _beyond_transactions(lock: AdvisoryLock, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Take a lock until the end of the block, or of the process, and yield whether it was acquired.

    :raises OutOfOrder: the call would wait within a transaction, or while this or a later lock is held.
    """
    requested, info = _held(lock, shared=shared), db.session().info
    if wait and info.get("writing"):
        raise OutOfOrder(f"{lock.name} is taken in a transaction")
    if wait:
        _refuse_out_of_order(requested)
    locked = _file_lock if is_sqlite(db.engine) else _advisory_lock
    with locked(lock, shared, wait) as is_held:
        before = info.get("locks_beyond", ())
        info["locks_beyond"] = (*before, requested) if is_held else before
        try:
            yield is_held
        finally:
            info["locks_beyond"] = before


@contextmanager
def _file_lock(lock: AdvisoryLock, shared: bool, wait: bool) -> Iterator[bool]:
    path = str(db.engine.url.database)
    try:
        if lock is AdvisoryLock.SCHEMA:
            _create(path)
            descriptor = os.open(f"{path}.upgrade-lock", os.O_RDWR | os.O_CREAT, 0o600)
        else:
            descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)  # locking the folder creates no file
    except OSError as error:
        raise cannot_open(f"{path}: {error.strerror}") from error
    try:
        yield _flocked(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    finally:
        os.close(descriptor)


def _create(path: str) -> None:
    """Create a database file, readable only by the owner, as it will contain password hashes; leave an existing one.

    An existing one is not even opened: to close it would release the locks that the connections of this process have on
    it, and the next process to leave would remove the write-ahead log that they use (fcntl(2); sqlite.org,
    "How To Corrupt An SQLite Database File", section 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


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
        disable_timeouts(connection)
        is_acquired = connection.execute(text(f"SELECT {function}(:number)"), {"number": lock.value}).scalar()
        yield wait or bool(is_acquired)
