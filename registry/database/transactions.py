"""Transactions, row locks, and work deferred to the end of a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.orm.exc import StaleDataError

from registry.database.connection import is_sqlite
from registry.database.generation import content_generation
from registry.database.locks import AdvisoryLock, hold
from registry.database.types import Model, db
from registry.errors import Code, DiskFull, RecordNotFound

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


PendingKind = TypeVar("PendingKind", bound="Pending")


@contextmanager
def transaction(
    *, lock: AdvisoryLock | None = None, shared: bool = False, changes_answers: bool = True
) -> Iterator[Session]:
    """Commit all writes of the block, or roll all of them back. A nested transaction joins the outer one.

    On SQLite, the write lock is taken at the beginning, as upgrading a read transaction would fail instead of waiting.

    :param lock: a lock to hold until the transaction ends, or the outer transaction if it is nested.
    :param shared: take the lock in shared mode.
    :param changes_answers: whether cached responses become stale; increments the content generation.
    :raises OutOfOrder: the lock has to be taken earlier (``AdvisoryLock``).
    :raises RecordNotFound: a record that the block changes or refers to was deleted in the meantime.
    :raises DiskFull: the disk of the database is full.
    """
    session: Session = db.session()
    if session.info.get("writing"):
        if lock is not None:
            hold(lock, shared=shared)
        session.info["changes_answers"] |= changes_answers
        yield session
        return
    session.info["changes_answers"] = changes_answers
    session.info["writing"] = True
    try:
        if is_sqlite(db.engine):
            _take_write_lock(session)
        if lock is not None:
            hold(lock, shared=shared)
        yield session
        for pending in sorted(session.info.pop("at_end", {}).values(), key=lambda pending: pending.order):
            session.flush()
            pending.apply()
        if session.info["changes_answers"]:
            session.flush()
            # The last statement, because on PostgreSQL, writers wait for each other from here until the commit.
            session.execute(update(content_generation).values(number=content_generation.c.number + 1))
        session.commit()
    except StaleDataError as error:  # a record to change was deleted in the meantime
        session.rollback()
        raise RecordNotFound from error
    except IntegrityError as error:
        session.rollback()
        if _refers_to_nothing(error):
            raise RecordNotFound from error
        raise
    except OperationalError as error:
        session.rollback()
        if _is_full(error):
            raise DiskFull(Code.DATABASE_FULL) from error
        raise
    except BaseException:
        session.rollback()
        raise
    finally:
        for name in ("writing", "at_end", "locks"):
            session.info.pop(name, None)


class Pending(Protocol):
    """Work that a transaction performs before it commits.

    :ivar order: work of a kind with a lower number comes first.
    """

    order: ClassVar[int]

    def apply(self) -> None: ...


def at_end(kind: type[PendingKind]) -> PendingKind:
    """Get or create this transaction's pre-commit work of a kind.

    Used for rows that many transactions change, so that these are locked only briefly, and always in the same order.
    """
    pending: PendingKind = db.session().info.setdefault("at_end", {}).setdefault(kind, kind())
    return pending


def _refers_to_nothing(error: IntegrityError) -> bool:
    """Return whether a foreign key was violated, because the record it refers to was deleted in the meantime."""
    return not _codes(error).isdisjoint({"SQLITE_CONSTRAINT_FOREIGNKEY", "23503"})


def _is_full(error: OperationalError) -> bool:
    return not _codes(error).isdisjoint({"SQLITE_FULL", "53100"})


def _codes(error: DBAPIError) -> set[object]:
    """Return the error codes of the database, either SQLite's or PostgreSQL's."""
    return {getattr(error.orig, name, None) for name in ("sqlite_errorname", "sqlstate")}


def lock(record: Model, *attributes: str) -> None:
    """Reload a record, or some of its attributes, and lock its row until the transaction ends.

    :raises RecordNotFound: the record was deleted in the meantime.
    """
    try:
        # Lock rows of this table only, as PostgreSQL would otherwise also lock rows of joined tables.
        db.session.refresh(record, attributes or None, with_for_update={"of": type(record)})
    except InvalidRequestError as error:
        raise RecordNotFound from error


def _take_write_lock(session: Session) -> None:
    connection = session.connection()
    raw: Any = connection.connection.driver_connection
    if not raw.in_transaction:  # a flush before this block may have begun a transaction
        connection.exec_driver_sql("BEGIN IMMEDIATE")
