"""Refused downloads of malicious files in the audit log: one event for each file, caller, and day."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.access import Principal
from registry.domain.packages.index import WithheldFile
from registry.errors import RecordNotFound
from registry.models import Project, RefusedDownload


def note(file: WithheldFile, sha256: str, filename: str, *, by: Principal, today: date) -> None:
    """Record that a caller was refused a malicious file, unless it was today already."""
    key = {"project_id": file.project_id, "sha256": sha256, "author": by.label[: audit.LONGEST_AUTHOR], "day": today}
    if db.session.get(RefusedDownload, key) is not None:
        return
    # Another request can have been faster, and the project can have been deleted.
    with suppress(IntegrityError, RecordNotFound), transaction(changes_answers=False) as session:
        session.execute(delete(RefusedDownload).where(RefusedDownload.day < today))
        session.add(RefusedDownload(**key))
        session.flush()
        project = session.get_one(Project, file.project_id)
        reason = "" if file.withheld is None else file.withheld.detail
        release = f"{file.package_name} {file.version}"
        audit.record(by, "malicious_download_refused", filename, project, package=release, reason=reason)
