"""Which files of the upstream were downloaded through which project or group in the last 90 days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import exists, select

from registry.database import Upsert, db, delete_unlocked, transaction
from registry.models import Ancestry, Group, Namespace, UpstreamFetch

KEPT = timedelta(days=90)
BATCH = 200


@dataclass(frozen=True)
class Use:
    """A download of a file, or of its core metadata document, which counts as a use of that document alone.

    :ivar uploaded_at: ``None`` if the upstream does not state it.
    """

    namespace_id: int
    sha256: str
    filename: str
    normalized_name: str
    uploaded_at: datetime | None
    is_metadata: bool = False


@dataclass(frozen=True)
class Fetch:
    """A file that was downloaded, on the last day on which that was done through a project or group.

    :ivar path: full path of the project or group.
    """

    namespace_id: int
    path: str
    sha256: str
    filename: str
    normalized_name: str
    uploaded_at: datetime | None
    fetched_on: date


def note(uses: Sequence[Use], today: date) -> None:
    """Record downloads of files; takes no advisory locks."""
    rows = {
        (use.namespace_id, use.sha256): {
            "namespace_id": use.namespace_id, "sha256": use.sha256, "filename": use.filename,
            "normalized_name": use.normalized_name, "uploaded_at": use.uploaded_at, "fetched_on": today,
        }
        for use in uses if not use.is_metadata
    }  # fmt: skip
    if rows:
        with transaction(changes_answers=False):
            for key in sorted(rows):  # all processes in the same order
                _NOTE.execute(rows[key])


def forget_old(today: date) -> None:
    """Remove the rows that no longer count, except those that another transaction is changing; waits for no lock."""
    old = UpstreamFetch.fetched_on < today - KEPT
    if db.session.scalar(select(exists().where(old))):
        with transaction(changes_answers=False):
            delete_unlocked(UpstreamFetch, old)


def fetched(group: Group | None, today: date, most: int) -> list[Fetch]:
    """Return the files that were downloaded through a group and all below it, or anywhere (``None``).

    The newest ones first; at most ``most``, in one statement.
    """
    statement = (
        select(
            UpstreamFetch.namespace_id, Namespace.full_path, UpstreamFetch.sha256, UpstreamFetch.filename,
            UpstreamFetch.normalized_name, UpstreamFetch.uploaded_at, UpstreamFetch.fetched_on,
        )
        .join(Namespace, Namespace.id == UpstreamFetch.namespace_id)
        .where(UpstreamFetch.fetched_on >= today - KEPT)
        .order_by(UpstreamFetch.fetched_on.desc(), UpstreamFetch.sha256, Namespace.full_path)
        .limit(most)
    )  # fmt: skip
    if group is not None:
        below = Ancestry.namespace_id == UpstreamFetch.namespace_id
        statement = statement.join(Ancestry, below).where(Ancestry.ancestor_id == group.id)
    return [Fetch(*row) for row in db.session.execute(statement)]


_table = UpstreamFetch.__table__
_NOTE = Upsert(
    _table,
    lambda new: {"fetched_on": new.fetched_on, "uploaded_at": new.uploaded_at},
    where=lambda new: _table.c.fetched_on != new.fetched_on,
)
