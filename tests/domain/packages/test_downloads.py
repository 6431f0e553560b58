"""Downloads counted in memory and added to the database: nothing twice, nothing lost, for files that are there."""

from __future__ import annotations

import threading
from datetime import date, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

from registry.database import db, transaction, utcnow
from registry.domain import access
from registry.domain.operation import cleanup
from registry.domain.packages import deletion, downloads
from registry.domain.packages.downloads import Downloads, Tally
from registry.models import FileDownloads, Package, PackageFile, Project
from registry.storage import Storage
from tests import factories
from tests.builders import build_sdist, build_wheel


@pytest.fixture
def file(project: Project) -> PackageFile:
    return factories.published(project, build_wheel("demo", "1.0"))


def total(file: PackageFile) -> int:
    return downloads.of_files([file], utcnow().date())[file.id].total


def test_noted_downloads_are_counted_once_they_are_flushed(project: Project, file: PackageFile) -> None:
    other, tally = factories.published(project, build_sdist("demo", "1.0")), Tally()
    package = db.session.get_one(Package, file.package_id)
    changed_at = package.updated_at

    for noted in (file, file, other):
        tally.note(noted.id)
    assert total(file) == 0
    tally.flush()
    tally.note(file.id)
    tally.flush()
    tally.flush()

    assert (total(file), total(other)) == (3, 1)
    assert downloads.of_package(package, utcnow().date()) == Downloads(4, 4)
    db.session.refresh(package)
    assert utcnow() - (package.last_downloaded_at or changed_at) < timedelta(minutes=1)
    assert package.updated_at == changed_at


def test_recent_are_the_last_thirty_days_with_today(file: PackageFile) -> None:
    today = date(2026, 3, 1)
    for days_ago, count in ((0, 1), (29, 10), (30, 100), (400, 1000)):
        day = today - timedelta(days=days_ago)
        db.session.execute(insert(FileDownloads).values(file_id=file.id, day=day, count=count))
    db.session.commit()

    assert downloads.of_files([file], today) == {file.id: Downloads(recent=11, total=1111)}


def test_a_flush_costs_few_statements_and_changes_no_answer(file: PackageFile, statements: list[str]) -> None:
    tally = Tally()
    for number in range(500):
        tally.note(file.id + number)

    statements.clear()
    tally.flush()

    assert len([statement for statement in statements if statement.startswith(("SELECT", "INSERT", "UPDATE"))]) <= 8
    assert "content_generation" not in "".join(statements)


def test_counts_that_cannot_be_added_are_kept_for_the_next_time(file: PackageFile) -> None:
    tally = Tally()
    tally.note(file.id)
    with transaction() as session:
        session.execute(text("ALTER TABLE file_downloads RENAME TO gone"))

    with pytest.raises(DBAPIError):
        tally.flush()
    with transaction() as session:
        session.execute(text("ALTER TABLE gone RENAME TO file_downloads"))
    tally.note(file.id)
    tally.flush()

    assert total(file) == 2


def test_of_deleted_files_nothing_stays(project: Project, file: PackageFile, storage: Storage) -> None:
    tally = Tally()
    tally.note(file.id)
    tally.flush()
    tally.note(file.id)
    package = db.session.get_one(Package, file.package_id)

    deletion.delete_package(package, project, by=access.SHELL)
    assert downloads.of_package(package, utcnow().date()) == Downloads(0, 0)
    cleanup.run(storage, utcnow())
    tally.flush()

    assert db.session.scalar(select(func.count()).select_from(FileDownloads)) == 0


def test_processes_and_threads_add_up(app: Flask, file: PackageFile) -> None:
    tallies, file_id = [Tally() for _ in range(3)], file.id

    def download(tally: Tally) -> None:
        for _ in range(20):
            tally.note(file_id)
            with app.app_context():
                tally.flush()

    threads = [threading.Thread(target=download, args=(tally,)) for tally in tallies for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert total(file) == 120
