"""Refused downloads of malicious files in the audit log: one event for each file, caller, and day."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

from sqlalchemy.exc import IntegrityError

from registry.database import db, delete_unlocked, transaction
from registry.domain import audit
from registry.domain.access import Principal
from registry.errors import RecordNotFound
from registry.models import Namespace, RefusedDownload


def note(namespace_id: int, sha256: str, filename: str, reason: str, *, by: Principal, today: date) -> None:
    """Record that a caller was refused a malicious file, unless it was today already; takes no advisory locks.

    :param namespace_id: the project that has the file, or for a file of the public index the project or group that was
        asked for it.
    """
    key = {"namespace_id": namespace_id, "sha256": sha256, "author": by.label[: audit.LONGEST_AUTHOR], "day": today}
    if db.session.get(RefusedDownload, key) is not None:
        return
    # Another request can have been faster, and the namespace can have been deleted.
    with suppress(IntegrityError, RecordNotFound), transaction(changes_answers=False) as session:
        delete_unlocked(RefusedDownload, RefusedDownload.day < today)
        session.add(RefusedDownload(**key))
        session.flush()
        namespace = session.get_one(Namespace, namespace_id)
        audit.record(by, "malicious_download_refused", filename, namespace, reason=reason)
