"""Which package names were asked for in a project or group lately, and where the answers came from.

There is one row per name and project or group, with its latest answer. Requests only note their answers in memory; a
process writes what it has noted once a minute. An answer that is repeated from a cache is not noted again, so the times
are exact to some minutes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import exists, select

from registry.database import Upsert, db, delete_unlocked, transaction, utcnow
from registry.domain.packages.simple import SimplePage
from registry.models import Namespace, UpstreamAsk

KEPT = timedelta(days=30)
MOST_KEPT = 100  # names of a project or group
MOST_NOTED = 1000  # names of all projects and groups, in a minute of one process


@dataclass(frozen=True)
class Answer:
    """Where the latest answer to requests for a name came from.

    :ivar source: ``private``: projects here have the name; ``upstream``: the public index was asked; ``cache``: its
        kept page; ``redirect``: clients were redirected to it; ``none``: it has no such name; ``away``: it did not
        answer; ``withheld``: a rule hides the whole name, or a file that was asked for; ``reserved``: it is never
        asked; ``off``: nothing is asked for there.
    :ivar rule: that withholds the name or files of it, as in ``Withheld``; or empty.
    :ivar set_in: where that is set, as in ``Withheld``; or empty.
    :ivar withheld: number of files that rules withhold from the page.
    """

    source: str
    rule: str = ""
    set_in: str = ""
    withheld: int = 0

    @classmethod
    def of_page(cls, page: SimplePage, now: datetime) -> Answer:
        """Return that of a page of the public index, behind the rules."""
        is_asked = page.checked_at is not None and page.checked_at >= now
        source = "cache" if page.is_outdated or not is_asked else "upstream"
        if not page.withheld:
            return cls(source)
        first = page.withheld[0]
        return cls(source if page.files else "withheld", first.rule, first.set_in, len(page.withheld))


class Asks:
    """The answers of one process that are not written yet; thread-safe."""

    def __init__(self) -> None:
        self._noted: dict[tuple[int, str], tuple[Answer, datetime]] = {}
        self._lock = Lock()

    def note(self, namespace_id: int, normalized_name: str, answer: Answer) -> None:
        """Note an answer; those above a number in a minute are left out."""
        key, noted = (namespace_id, normalized_name), (answer, utcnow())
        with self._lock:
            if key in self._noted or len(self._noted) < MOST_NOTED:
                self._noted[key] = noted

    def tend(self) -> None:
        """Write the noted answers, and remove old and surplus ones; takes no advisory locks."""
        with self._lock:
            noted, self._noted = self._noted, {}
        if noted:
            with transaction(changes_answers=False, is_durable=False):
                for (namespace_id, name), (answer, asked_at) in sorted(noted.items()):  # in all processes alike
                    row = {"namespace_id": namespace_id, "normalized_name": name, "asked_at": asked_at}
                    _NOTE.execute(row | asdict(answer))
        for namespace_id in sorted({namespace_id for namespace_id, _ in noted}):
            _prune(namespace_id)
        _remove(UpstreamAsk.asked_at < utcnow() - KEPT)


def latest(namespace: Namespace) -> list[UpstreamAsk]:
    """Return what was asked for in a project or group itself, the latest first.

    Names are included that not all readers may know, and that others have asked for.
    """
    rows = (
        select(UpstreamAsk)
        .where(UpstreamAsk.namespace_id == namespace.id)
        .order_by(UpstreamAsk.asked_at.desc(), UpstreamAsk.normalized_name)
        .limit(MOST_KEPT)
    )
    return list(db.session.scalars(rows))


def _prune(namespace_id: int) -> None:
    """Remove all but the latest rows of a project or group."""
    own = select(UpstreamAsk.asked_at).where(UpstreamAsk.namespace_id == namespace_id)
    last_kept = db.session.scalar(own.order_by(UpstreamAsk.asked_at.desc()).offset(MOST_KEPT).limit(1))
    if last_kept is not None:
        _remove(UpstreamAsk.namespace_id == namespace_id, UpstreamAsk.asked_at <= last_kept)


def _remove(*conditions: Any) -> None:
    """Remove rows, except those that another transaction is changing; waits for no lock."""
    if db.session.scalar(select(exists().where(*conditions))):
        with transaction(changes_answers=False, is_durable=False):
            delete_unlocked(UpstreamAsk, *conditions)


_table = UpstreamAsk.__table__
_NOTE = Upsert(_table, where=lambda new: _table.c.asked_at < new.asked_at)
