"""Exceptions from the minimum age of upstream files, each with its author, reason, and end."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import joinedload

from registry.database import db, transaction, utcnow
from registry.domain import audit
from registry.domain.patterns import InvalidPattern, parse_pattern
from registry.errors import Code, Fault, InvalidRecord, NotFound
from registry.models import Group, UpstreamException

MOST = 1000  # of one group or of the instance
LONGEST_REASON = 1000  # characters


def exceptions_of(group: Group | None) -> list[UpstreamException]:
    """Return the exceptions of a group, or of the instance (``None``), with their users, oldest first."""
    return list(
        db.session.scalars(
            select(UpstreamException)
            .where(_is_of(group))
            .options(joinedload(UpstreamException.user))
            .order_by(UpstreamException.id)
        )
    )


def exception_of(group: Group | None, exception_id: int) -> UpstreamException:
    """Return an exception of a group, or of the instance.

    :raises NotFound: it has no exception with this ID.
    """
    found = db.session.get(UpstreamException, exception_id)
    if found is None or found.group_id != (None if group is None else group.id):
        raise NotFound("Exception")
    return found


def add_exception(
    group: Group | None, *, pattern: str, reason: str, expires_at: datetime | None, by: audit.Author
) -> UpstreamException:
    """Add an exception for a group and all below it, or for the instance (``None``). Takes no lock.

    :raises InvalidRecord: the pattern, the reason, or the end is not valid.
    :raises RecordNotFound: the group was deleted in the meantime.
    """
    pattern, reason = pattern.strip(), reason.strip()
    _refuse_invalid(pattern, reason, expires_at)
    added = UpstreamException(
        group_id=None if group is None else group.id, pattern=pattern, reason=reason, expires_at=expires_at,
        user_id=by.user_id,
    )  # fmt: skip
    with transaction() as session:
        count = session.scalar(select(func.count()).select_from(UpstreamException).where(_is_of(group))) or 0
        if count >= MOST:
            raise InvalidRecord({"pattern": [Fault(Code.TOO_MANY_EXCEPTIONS, maximum=MOST)]})
        session.add(added)
        session.flush()
        end = None if expires_at is None else expires_at.isoformat()
        audit.record(by, "upstream_exception_created", pattern, group, reason=reason[:255], expires_at=end)
    return added


def remove_exception(exception: UpstreamException, group: Group | None, *, by: audit.Author) -> None:
    """Remove an exception. Takes no lock: one that was removed in the meantime is reported as missing."""
    with transaction() as session:
        audit.record(by, "upstream_exception_deleted", exception.pattern, group, reason=exception.reason[:255])
        session.delete(exception)


def _is_of(group: Group | None) -> ColumnElement[bool]:
    return UpstreamException.group_id.is_(None) if group is None else UpstreamException.group_id == group.id


def _refuse_invalid(pattern: str, reason: str, expires_at: datetime | None) -> None:
    faults: dict[str, list[Fault]] = {}
    try:
        parse_pattern(pattern)
    except InvalidPattern:
        faults["pattern"] = [Fault(Code.NO_VERSION_PATTERN, value=pattern[:100])]
    if not reason:
        faults["reason"] = [Fault(Code.BLANK)]
    elif len(reason) > LONGEST_REASON:
        faults["reason"] = [Fault(Code.TOO_LONG, maximum=LONGEST_REASON)]
    if expires_at is not None and expires_at <= utcnow():
        faults["expires_at"] = [Fault(Code.PAST_MOMENT, value=expires_at.isoformat())]
    if faults:
        raise InvalidRecord(faults)
