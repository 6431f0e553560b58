"""Transactions: all writes of a block or none, row locks, and work deferred to the commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.orm.exc import StaleDataError

from registry.database.connection import is_sqlite
from registry.database.generation import content_generation
from registry.database.locks import AdvisoryLock, hold
from registry.database.types import Model, db
from registry.errors import Code, NoRoom, RecordNotFound

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


PendingKind = TypeVar("PendingKind", bound="Pending")


@contextmanager
def transaction(
    *, lock: AdvisoryLock | None = None, shared: bool = False, changes_answers: bool = True
) -> Iterator[Session]:
    """All writes of the block, or none. Inside another transaction the block joins it.

    On SQLite the write lock is taken at once: a reader that turns writer half-way would fail instead of waiting.

    :param lock: held until the transaction ends; inside another one, until that one ends.
    :param shared: hold that lock together with others that share it.
    :param changes_answers: whether any reader may be answered otherwise after it; raises the content generation.
    :raises OutOfOrder: the lock would have to be taken earlier (``AdvisoryLock``).
    :raises RecordNotFound: what the block changes, or refers to, was deleted meanwhile.
    :raises NoRoom: the database's disk is full.
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
        for pending in session.info.pop("at_end", {}).values():
            session.flush()
            pending.apply()
        if session.info["changes_answers"]:
            session.flush()
            # Last of all: on PostgreSQL writers wait for one another here, until the commit.
            session.execute(update(content_generation).values(number=content_generation.c.number + 1))
        session.commit()
    except StaleDataError as error:  # a record to change was deleted meanwhile
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
            raise NoRoom(Code.DATABASE_FULL) from error
        raise
    except BaseException:
        session.rollback()
        raise
    finally:
        for name in ("writing", "at_end", "locks"):
            session.info.pop(name, None)


class Pending(Protocol):
    """What a transaction still has to write."""

    def apply(self) -> None: ...


def at_end(kind: type[PendingKind]) -> PendingKind:
    """The one thing of its kind that the present transaction applies before it ends; made when first asked for.

    For rows that many writers change: held only from then to the commit, and locked by all in one order.
    """
    pending: PendingKind = db.session().info.setdefault("at_end", {}).setdefault(kind, kind())
    return pending


def _refers_to_nothing(error: IntegrityError) -> bool:
    """Whether a foreign key was violated: by a record that belongs to one which was deleted meanwhile."""
    return not _codes(error).isdisjoint({"SQLITE_CONSTRAINT_FOREIGNKEY", "23503"})


def _is_full(error: OperationalError) -> bool:
    return not _codes(error).isdisjoint({"SQLITE_FULL", "53100"})


def _codes(error: DBAPIError) -> set[object]:
    """What the database calls this failure, whichever it is."""
    return {getattr(error.orig, name, None) for name in ("sqlite_errorname", "sqlstate")}


def lock(record: Model, *attributes: str) -> None:
    """Read a record, or some of its attributes, anew and keep others from changing it until the transaction ends.

    :raises RecordNotFound: it was deleted meanwhile.
    """
    try:
        # Of this table alone: PostgreSQL locks no row of what the record may have been loaded together with.
        db.session.refresh(record, attributes or None, with_for_update={"of": type(record)})
    except InvalidRequestError as error:
        raise RecordNotFound from error


def _take_write_lock(session: Session) -> None:
    connection = session.connection()
    raw: Any = connection.connection.driver_connection
    if not raw.in_transaction:  # records changed before this block may have been written already
        connection.exec_driver_sql("BEGIN IMMEDIATE")
