"""Packages in two transactions at the same time (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest
from flask import Flask
from sqlalchemy import delete, select

from registry.database import db, utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.namespaces import NamespaceChanges
from registry.domain.packages import deletion, downloads, lists, publishing, releases, usage
from registry.domain.packages.downloads import Tally
from registry.models import AuditEvent, Group, NameStatus, Package, PackageFile, PackageName, Project, User
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.domain.packages.publications import live_files
from tests.races import Act, at_once, race

pytestmark = pytest.mark.postgresql
WHEEL, SDIST = build_wheel(), build_sdist()


@pytest.fixture
def wheel(project: Project) -> PackageFile:
    """The wheel, published in ``project``."""
    return factories.published(project, WHEEL)


def package_of(file_id: int) -> tuple[PackageFile, Package, Project]:
    """The file with its package and project, as the session of the thread has them."""
    file = db.session.get_one(PackageFile, file_id)
    return file, db.session.get_one(Package, file.package_id), db.session.get_one(Project, file.project_id)


def publish(project_id: int, built: BuiltFile) -> Act:
    return lambda: factories.published(db.session.get_one(Project, project_id), built)


def delete_package(file_id: int) -> Act:
    def act() -> None:
        _, package, project = package_of(file_id)
        deletion.delete_package(package, project, by=SHELL)

    return act


def delete_file(file_id: int) -> Act:
    def act() -> None:
        file, package, project = package_of(file_id)
        deletion.delete_file(file, package, project, by=SHELL)

    return act


def delete_files(file_id: int) -> Act:
    def act() -> None:
        file, package, project = package_of(file_id)
        deletion.delete_files([file], package, project, by=SHELL)

    return act


def yank_version(file_id: int) -> Act:
    def act() -> None:
        _, package, project = package_of(file_id)
        releases.yank_version(package, project, by=SHELL)

    return act


def yank_file(file_id: int) -> Act:
    def act() -> None:
        file, package, project = package_of(file_id)
        releases.yank_file(file, package, project, by=SHELL)

    return act


def events(action: str) -> list[AuditEvent]:
    return list(db.session.scalars(select(AuditEvent).where(AuditEvent.action == action)))


def test_an_upload_does_not_join_a_package_that_is_deleted_at_the_same_time(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    deleted_id = wheel.package_id

    assert race(app, delete_package(wheel.id), publish(project.id, SDIST)) == ("done", "done")

    [package] = lists.packages_named(project, "demo", "1.0")
    assert package.id != deleted_id
    assert [file.filename for file in db.session.scalars(lists.package_files(package))] == [SDIST.filename]


def test_a_package_stays_that_gets_a_file_while_its_last_one_is_deleted(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    assert race(app, publish(project.id, SDIST), delete_files(wheel.id)) == ("done", "done")

    assert live_files() == [SDIST.filename]


def test_a_file_that_is_published_while_its_version_is_yanked_is_yanked_too(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    assert race(app, publish(project.id, SDIST), yank_version(wheel.id)) == ("done", "done")

    assert [file.is_yanked for file in db.session.scalars(select(PackageFile))] == [True, True]


@pytest.mark.parametrize("act", [delete_package, delete_file, delete_files])
def test_what_is_deleted_twice_at_the_same_time_is_deleted_once(
    app: Flask, wheel: PackageFile, act: Callable[[int], Act]
) -> None:
    assert race(app, act(wheel.id), act(wheel.id)) == ("done", "RecordNotFound")
    assert usage.miscounts() == []


@pytest.mark.parametrize(("gone", "yank"), [(delete_package, yank_version), (delete_file, yank_file)])
def test_what_is_deleted_at_the_same_time_is_not_yanked(
    app: Flask, wheel: PackageFile, gone: Callable[[int], Act], yank: Callable[[int], Act]
) -> None:
    assert race(app, gone(wheel.id), yank(wheel.id)) == ("done", "RecordNotFound")


def test_a_name_gets_two_statuses_at_the_same_time_one_after_the_other(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    project_id = project.id

    def say(status: NameStatus) -> Act:
        return lambda: releases.set_name_status(db.session.get_one(Project, project_id), "demo", status, by=SHELL)

    assert race(app, say(NameStatus.DEPRECATED), say(NameStatus.ARCHIVED)) == ("done", "done")
    assert db.session.scalars(select(PackageName.status)).all() == [NameStatus.ARCHIVED]
    assert [event.details["before"] for event in events("package_name_status_changed")] == ["active", "deprecated"]


def test_a_recount_waits_for_an_upload_and_counts_its_file(app: Flask, project: Project) -> None:
    project_id = project.id

    race(app, publish(project.id, WHEEL), lambda: usage.recount(project_id))

    assert usage.miscounts() == []


def test_a_limit_of_a_group_holds_for_uploads_to_two_of_its_projects_at_the_same_time(
    app: Flask, group: Group, project: Project
) -> None:
    namespaces.change(group, NamespaceChanges(storage_size_limit=len(WHEEL.content) + 10), by=SHELL)
    other = factories.project(parent=group)

    outcomes = race(app, publish(project.id, WHEEL), publish(other.id, WHEEL))

    assert outcomes == ("done", "StorageLimitReached")


def test_downloads_that_two_processes_count_at_the_same_time_add_up(app: Flask, wheel: PackageFile) -> None:
    tallies = Tally(), Tally()
    for tally in tallies:
        tally.note(wheel.id)

    race(app, tallies[0].flush, tallies[1].flush)

    assert downloads.of_files([wheel], utcnow().date())[wheel.id].total == 2


def test_a_refused_upload_leaves_the_bytes_of_another_one_under_way(
    app: Flask, project: Project, developer: User, storage: Storage
) -> None:
    project_id, developer_id = project.id, developer.id

    def publish_as_a_deleted_user() -> None:
        by = factories.signed_in(db.session.get_one(User, developer_id))
        with db.engine.begin() as connection:
            connection.execute(delete(User).where(User.id == developer_id))
        factories.published(db.session.get_one(Project, project_id), WHEEL, by=by)

    other = factories.project()

    assert race(app, publish(other.id, WHEEL), publish_as_a_deleted_user) == ("done", "RecordNotFound")
    assert storage.exists(object_key(WHEEL.sha256))


class MeetingPlace(LocalStorage):
    """A store that answers two uploads only when both ask within their transactions."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._both = Barrier(2, timeout=30)

    def exists(self, key: str) -> bool:
        if db.session.info.get("writing"):
            self._both.wait()
        return super().exists(key)


def test_uploads_do_not_wait_for_each_other_while_the_store_works(app: Flask, project: Project, tmp_path: Path) -> None:
    store, project_id = MeetingPlace(tmp_path / "packages"), project.id

    def upload(version: str) -> Act:
        def act() -> None:
            built = build_wheel("demo", version)
            with closing(store.stage()) as staged:
                staged.write(built.content)
                claimed = publishing.Upload("demo", version, built.filename, staged, {})
                publishing.publish(
                    claimed, project=db.session.get_one(Project, project_id), principal=SHELL, storage=store,
                    max_size_bytes=0, now=utcnow(),
                )  # fmt: skip

        return act

    assert at_once(app, upload("1.0"), upload("2.0")) == ["done", "done"]
