"""Audit events, recorded in an append-only table in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement, Select, and_, insert, or_, select

from registry.database import Statement, contains
from registry.models import Ancestry, AuditEvent, Namespace, Role, Visibility

LONGEST_AUTHOR = 255  # length of the column, which the two user names of a sudo request can exceed
LONGEST_VALUE = 255  # characters of a text before or after a change
# Actions whose target is a version of a package.
OF_VERSIONS = frozenset({"package_published", "package_yanked", "package_unyanked"})
# Actions whose target is a file, with its version in the details.
OF_FILES = frozenset({"package_file_deleted", "package_file_yanked", "package_file_unyanked"})
# Actions that are recorded once for administrators, and once in each namespace that accepts the job.
OF_EXCHANGES = ("publishing_token_created", "reading_token_created")
NAME_STATUS_CHANGED = "package_name_status_changed"  # whose target is a package name
_INSERT = Statement(insert(AuditEvent.__table__))


class Author(Protocol):
    """The attributes of an author that an event records; ``access.Principal`` has them."""

    @property
    def label(self) -> str: ...
    @property
    def user_id(self) -> int | None: ...
    @property
    def address(self) -> str: ...


@dataclass(frozen=True)
class NamedAuthor:
    """An author who is not the principal of a request."""

    label: str
    address: str
    user_id: int | None = None


def record(by: Author, action: str, target: str, namespace: Namespace | None = None, **details: object) -> None:
    """Add an event to the current transaction.

    :param action: ``<record>_<verb>``, such as ``package_published``.
    :param details: short JSON-serializable values; never a secret.
    """
    event = {
        "action": action,
        "author": by.label[:LONGEST_AUTHOR],
        "author_id": by.user_id,
        "address": by.address,
        "namespace_id": None if namespace is None else namespace.id,
        "target": target,
        "details": details,
    }
    _INSERT.execute(event)


def record_change(
    by: Author,
    action: str,
    target: str,
    namespace: Namespace | None,
    before: Mapping[str, object],
    after: Mapping[str, object],
) -> None:
    """Add an event with the settings that changed, each with its value before and after; none if all are the same.

    :param before: values by setting; ``after`` has the same settings.
    """
    changed = {
        name: {"before": _shown(value), "after": _shown(after[name])}
        for name, value in before.items()
        if value != after[name]
    }
    if changed:
        record(by, action, target, namespace, **changed)


def _shown(value: object) -> object:
    if isinstance(value, Visibility):
        return value.label
    if isinstance(value, Role):
        return value.title
    if isinstance(value, date):
        return value.isoformat()
    return value[:LONGEST_VALUE] if isinstance(value, str) else value


@dataclass(frozen=True)
class EventFilter:
    """Criteria of a list of events; empty ones match all.

    :ivar search: part of the author, action, or target; case-insensitive.
    :ivar searched_actions: actions that match the search by their words, like the parts of authors after it.
    :ivar author: part of the author.
    :ivar authors: parts of authors that match it by their words.
    :ivar first_day: in UTC, like ``last_day``, which is included.
    """

    search: str = ""
    searched_actions: frozenset[str] = frozenset()
    searched_authors: tuple[str, ...] = ()
    author: str = ""
    authors: tuple[str, ...] = ()
    action: str = ""
    first_day: date | None = None
    last_day: date | None = None


def events(wanted: EventFilter | str = "", *, within: Namespace | None = None) -> Select[AuditEvent]:
    """Return the events, newest first.

    :param wanted: a text stands for a search.
    :param within: only events in this namespace or below it.
    """
    if isinstance(wanted, str):
        wanted = EventFilter(search=wanted)
    listing = select(AuditEvent).order_by(AuditEvent.id.desc())
    if within is not None:
        below = select(Ancestry.namespace_id).where(Ancestry.ancestor_id == within.id)
        listing = listing.where(AuditEvent.namespace_id.in_(below))
    else:
        listing = listing.where(or_(AuditEvent.namespace_id.is_(None), AuditEvent.action.not_in(OF_EXCHANGES)))
    if wanted.search:
        columns = (AuditEvent.author, AuditEvent.action, AuditEvent.target)
        found = [contains(column, wanted.search) for column in columns]
        by_words = AuditEvent.action.in_(sorted(wanted.searched_actions))
        listing = listing.where(or_(*found, by_words, *map(_is_author, wanted.searched_authors)))
    if wanted.author:
        listing = listing.where(or_(contains(AuditEvent.author, wanted.author), *map(_is_author, wanted.authors)))
    if wanted.action:
        listing = listing.where(AuditEvent.action == wanted.action)
    if wanted.first_day is not None:
        listing = listing.where(AuditEvent.created_at >= _midnight(wanted.first_day))
    if wanted.last_day is not None and wanted.last_day < date.max:
        listing = listing.where(AuditEvent.created_at < _midnight(wanted.last_day + timedelta(days=1)))
    return listing


def _is_author(part: str) -> ColumnElement[bool]:
    """Match the authors with this part that are not users."""
    return and_(AuditEvent.author_id.is_(None), contains(AuditEvent.author, part))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
