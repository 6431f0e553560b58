"""Transactions, row locks, and work deferred to the end of a transaction."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from sqlalchemy import ColumnElement, bindparam, delete, inspect, select, text, tuple_, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.orm.exc import StaleDataError

from registry.database.connection import connection_in_use, execute, is_sqlite, spare_sync
from registry.database.generation import ACCESS, INDEX, content_generation, part_of_name
from registry.database.locks import AdvisoryLock, hold
from registry.database.statements import Statement
from registry.database.types import Model, db
from registry.database.write_lock import write_lock
from registry.errors import Code, DiskFull, RecordNotFound, RegistryError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


_WITHOUT_SYNC = text("SET LOCAL synchronous_commit = off")
PendingKind = TypeVar("PendingKind", bound="Pending")


@contextmanager
def transaction(
    *, lock: AdvisoryLock | None = None, shared: bool = False, changes_answers: bool = True, is_durable: bool = True
) -> Iterator[Session]:
    """Commit all writes of the block, or roll all of them back. A nested transaction joins the outer one.

    On SQLite, the write lock is taken at the beginning, as upgrading a read transaction would fail instead of waiting.

    :param lock: a lock to hold until the transaction ends, or the outer transaction if it is nested.
    :param shared: take the lock in shared mode.
    :param changes_answers: whether all cached responses become stale. If only those about some packages do, the block
        calls ``changes_name`` and ``changes_index`` instead.
    :param is_durable: whether the changes have to survive a power failure, which takes some milliseconds; otherwise
        the last of them can be lost, as a whole. A nested transaction is as durable as the outer one.
    :raises OutOfOrder: the lock has to be taken earlier (``AdvisoryLock``).
    :raises RecordNotFound: a record that the block changes or refers to was deleted in the meantime.
    :raises DiskFull: the disk of the database is full.
    """
    session: Session = db.session()
    with nullcontext() if session.info.get("writing") else _outermost(session, is_durable=is_durable):
        if lock is not None:
            hold(lock, shared=shared)
        if changes_answers:
            _changes_access()
        yield session


@contextmanager
def _outermost(session: Session, *, is_durable: bool) -> Iterator[None]:
    """Begin a transaction, and commit it after the block, or roll it back."""
    session.info["writing"] = True
    with ExitStack() as writing:
        try:
            _begin(session, writing, is_durable=is_durable)
            yield
            _apply_pending(session)
            if session.info.get("rehearsing"):
                raise _Rehearsed
            session.commit()
        except BaseException as error:
            session.rollback()
            refusal = _refusal(error)
            if refusal is None:
                raise
            raise refusal from error
        finally:
            for name in ("writing", "connection", "at_end", "locks"):
                session.info.pop(name, None)


def _begin(session: Session, writing: ExitStack, *, is_durable: bool) -> None:
    """Begin the transaction.

    :param writing: ends after the transaction.
    """
    if not is_sqlite(db.engine):
        if not is_durable:
            session.connection().execute(_WITHOUT_SYNC)
        return
    connection = connection_in_use()
    raw: Any = connection.connection.driver_connection
    if raw.in_transaction:  # a flush before the block has begun one
        return
    if not is_durable:
        spare_sync(connection)
    writing.enter_context(write_lock(connection.engine, raw))


def _refusal(error: BaseException) -> RegistryError | None:
    """Return what an error of the database means to the caller, unless it is none, or a fault of the program."""
    if isinstance(error, StaleDataError):  # a record to change was deleted in the meantime
        return RecordNotFound()
    if isinstance(error, IntegrityError) and refers_to_nothing(error):
        return RecordNotFound()
    if isinstance(error, OperationalError) and _is_full(error):
        return DiskFull(Code.DATABASE_FULL)
    return None


class _Rehearsed(Exception):
    """Ends the block of ``rehearsal``."""


@contextmanager
def rehearsal() -> Iterator[None]:
    """Try what the block does, without any effect: instead of its first commit, the block ends.

    Errors pass. The block must not do anything that is not undone by rolling its transaction back.

    :raises RuntimeError: the block has committed nothing, so it went on as if it had.
    """
    session: Session = db.session()
    session.info["rehearsing"] = True
    try:
        yield
    except _Rehearsed:
        return
    finally:
        session.info.pop("rehearsing", None)
    raise RuntimeError("nothing was rehearsed")


class Stage(enum.IntEnum):
    """The order of the work that transactions leave to their end, in which they lock the rows that many of them change.

    On PostgreSQL, transactions that change the same rows wait for each other from there until the commit.
    """

    TOTALS = 1
    ACTIVITY = 2
    NAMES = 3
    RESERVATIONS = 4  # from here on, no other transaction commits changes of the same names
    LISTING = 5  # finds out whether the index changes
    SEARCH = 6
    SUMMARIES = 7
    INDEX = 8
    ACCESS = 9


class Pending(Protocol):
    """Work that a transaction performs before it commits.

    :ivar order: work of a kind with a lower number comes first.
    """

    order: ClassVar[int]

    def apply(self) -> None: ...


def at_end(kind: type[PendingKind]) -> PendingKind:
    """Get or create this transaction's pre-commit work of a kind.

    Used for rows that many transactions change, so that these are locked only briefly, and always in the same order.
    Work can add work of a later stage.
    """
    pending: PendingKind = db.session().info.setdefault("at_end", {}).setdefault(kind, kind())
    return pending


def _apply_pending(session: Session) -> None:
    while pending := session.info.get("at_end"):
        kind = min(pending, key=lambda kind: kind.order)
        session.flush()
        pending.pop(kind).apply()


def changes_name(normalized_name: str) -> None:
    """Make the cached pages and files of a package name stale, in all projects, when the transaction is committed.

    From the stage ``NAMES`` until then, no other transaction commits changes to packages of this name.
    """
    at_end(_Names).parts.add(part_of_name(normalized_name))


def lock_name(normalized_name: str) -> None:
    """Wait for other transactions that change packages of a name, and let none commit until this one ends.

    Call it before any row is locked; transactions that change several names do without.
    """
    execute(_LOCK_NUMBER, {"of_part": part_of_name(normalized_name)})


def changes_index() -> None:
    """Make the cached lists of package names stale, in all projects and groups, when the transaction is committed."""
    at_end(_Index)


def _changes_access() -> None:
    at_end(_Access)


class _Names:
    order: ClassVar[int] = Stage.NAMES

    def __init__(self) -> None:
        self.parts: set[int] = set()

    def apply(self) -> None:
        for part in sorted(self.parts):
            _raise_number(part)


class _Index:
    order: ClassVar[int] = Stage.INDEX

    def apply(self) -> None:
        _raise_free_number(INDEX)


class _Access:
    order: ClassVar[int] = Stage.ACCESS

    def apply(self) -> None:
        _raise_free_number(ACCESS)


_candidates = content_generation.alias()
_free_row = (
    select(_candidates.c.row)
    .where(_candidates.c.part == bindparam("of_part"))
    .order_by(_candidates.c.row)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_raised = (
    update(content_generation)
    .where(content_generation.c.part == bindparam("of_part"))
    .values(number=content_generation.c.number + 1)
)
_RAISE_FREE_NUMBER = Statement(_raised.where(content_generation.c.row == _free_row))
_RAISE_NUMBER = Statement(_raised.where(content_generation.c.row == 0))
_LOCK_NUMBER = (
    select(content_generation.c.number).where(content_generation.c.part == bindparam("of_part")).with_for_update()
)


def _raise_number(part: int) -> None:
    _RAISE_NUMBER.execute({"of_part": part})


def _raise_free_number(part: int) -> None:
    if _RAISE_FREE_NUMBER.execute({"of_part": part}).changed == 0:  # wait for one
        _raise_number(part)


def refers_to_nothing(error: IntegrityError) -> bool:
    """Return whether a foreign key was violated, because the record it refers to was deleted in the meantime."""
    return not _codes(error).isdisjoint({"SQLITE_CONSTRAINT_FOREIGNKEY", "23503"})


def _is_full(error: OperationalError) -> bool:
    return not _codes(error).isdisjoint({"SQLITE_FULL", "53100"})


def _codes(error: DBAPIError) -> set[object]:
    """Return the error codes of the database, either SQLite's or PostgreSQL's."""
    return {getattr(error.orig, name, None) for name in ("sqlite_errorname", "sqlstate")}


def lock(record: Model, *attributes: str, referable: bool = False) -> None:
    """Reload a record, or some of its attributes, and lock its row until the transaction ends.

    :param referable: let other transactions refer to the row in the meantime.
    :raises RecordNotFound: the record was deleted in the meantime.
    """
    try:
        # Lock rows of this table only, as PostgreSQL would otherwise also lock rows of joined tables.
        how = {"of": type(record), "key_share": referable}
        db.session.refresh(record, attributes or None, with_for_update=how)
    except InvalidRequestError as error:
        raise RecordNotFound from error


def delete_unlocked(kind: type[Model], *conditions: ColumnElement[bool]) -> None:
    """Delete the rows that meet conditions, except for those that another transaction is changing or deleting.

    Waits for no lock. For rows that are of no more use, which any process can delete, and no record in the session is
    one of. Requires a transaction.
    """
    key = kind.__table__.primary_key.columns
    unlocked = select(*key).where(*conditions).with_for_update(skip_locked=True)
    db.session.execute(
        delete(kind).where(tuple_(*key).in_(unlocked)),
        execution_options={"synchronize_session": False},  # else the keys of all deleted rows are read
    )


def detach(*records: Model) -> bool:
    """Remove records from the session, so that their values can be read for as long as they are kept.

    :return: false, without an effect, if a value of them has to be read again.
    """
    if any(inspect(record).expired_attributes for record in records):
        return False
    for record in records:
        db.session.expunge(record)
    return True
