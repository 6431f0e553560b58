"""Cleanups beside uploads, in two transactions at the same time (PostgreSQL)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, transaction, utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.operation import cleanup
from registry.models import FileStatus, PackageFile, Project
from registry.storage import Storage, object_key
from tests import factories
from tests.builders import build_wheel
from tests.races import Racer, race

pytestmark = pytest.mark.postgresql


def test_a_cleanup_removes_no_rows_while_a_project_is_deleted(app: Flask, project: Project, storage: Storage) -> None:
    """Both would delete the same rows, each in an order of its own."""
    file = factories.published(factories.project(), build_wheel())
    file.status = FileStatus.PENDING_DESTRUCTION
    db.session.commit()

    with transaction():
        namespaces.delete_namespace(project, by=SHELL)
        sweep = Racer(app, lambda: cleanup.run(storage, utcnow()))
        sweep.waits_or_ends()
        outcome_before = sweep.outcome

    assert (outcome_before, sweep.finish()) == ("", "done")
    assert db.session.scalars(select(PackageFile)).all() == []


def test_a_cleanup_leaves_an_orphan_that_is_published_at_the_same_time(
    app: Flask, project: Project, storage: Storage
) -> None:
    wheel, project_id = build_wheel(), project.id
    staged = storage.stage()
    staged.write(wheel.content)
    storage.put(object_key(wheel.sha256), staged)
    staged.close()

    def publish() -> None:
        factories.published(db.session.get_one(Project, project_id), wheel)

    def clean_up() -> None:
        list(cleanup.remove_orphans(storage, stored_before=utcnow() + timedelta(days=1)))

    assert race(app, publish, clean_up) == ("done", "done")
    assert [storage.exists(object_key(digest)) for digest in db.session.scalars(select(PackageFile.sha256))] == [True]
