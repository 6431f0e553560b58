"""Refused downloads of malicious files, recorded by many requests at once."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.packages import refusals
from registry.models import Project, RefusedDownload

TODAY = date(2026, 11, 28)


def note(project: Project, sha256: str, today: date) -> None:
    refusals.note(project.id, sha256, "demo.whl", "MAL-1", by=SHELL, today=today)


def recorded() -> set[str]:
    return set(db.session.scalars(select(RefusedDownload.sha256)))


def test_the_next_day_removes_what_was_recorded_before(project: Project) -> None:
    note(project, "old", TODAY)

    note(project, "new", TODAY + timedelta(days=1))

    assert recorded() == {"new"}


@pytest.mark.postgresql
def test_recording_waits_for_no_transaction_that_removes_the_same(project: Project) -> None:
    for sha256 in ("locked", "free"):
        note(project, sha256, TODAY)
    with db.engine.connect() as other:
        other.execute(select(RefusedDownload.day).where(RefusedDownload.sha256 == "locked").with_for_update())

        note(project, "new", TODAY + timedelta(days=1))

    assert recorded() == {"locked", "new"}
