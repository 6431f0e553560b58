"""Packages in two transactions at the same time (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest
from flask import Flask
from sqlalchemy import delete, event, select, text

from registry.database import ACCESS, INDEX, db, transaction, utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.namespaces import NamespaceChanges
from registry.domain.operation import cleanup
from registry.domain.packages import deletion, downloads, lists, protection, publishing, releases, usage
from registry.domain.packages.downloads import Tally
from registry.domain.packages.protection import RuleChanges
from registry.domain.packages.uploads import Upload
from registry.errors import Code, DuplicateFile, Unprocessable
from registry.models import (
    AuditEvent,
    Group,
    NameStatus,
    NameSummary,
    Package,
    PackageFile,
    PackageName,
    Project,
    ReservedName,
    Role,
    StorageUsage,
    User,
)
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.domain.packages.publications import live_files
from tests.races import Act, Racer, at_once, meanwhile, race

pytestmark = pytest.mark.postgresql
WHEEL, SDIST = build_wheel(), build_sdist()
PACKAGE_IS_LOCKED = "FROM packages .* FOR (NO KEY )?UPDATE"


@pytest.fixture
def wheel(project: Project) -> PackageFile:
    """The wheel, published in ``project``."""
    return factories.published(project, WHEEL)


def package_of(file_id: int) -> tuple[PackageFile, Package, Project]:
    """The file with its package and project, as the session of the thread has them."""
    file = db.session.get_one(PackageFile, file_id)
    return file, db.session.get_one(Package, file.package_id), db.session.get_one(Project, file.project_id)


def publish(project_id: int, built: BuiltFile) -> Act:
    return lambda: factories.publish(db.session.get_one(Project, project_id), built)


def delete_package(file_id: int, *, release_name: bool = False) -> Act:
    def act() -> None:
        _, package, project = package_of(file_id)
        deletion.delete_package(package, project, by=SHELL, release_name=release_name)

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
    return list(db.session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id)))


def test_an_upload_does_not_join_a_package_that_is_deleted_at_the_same_time(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    deleted_id = wheel.package_id

    assert race(app, delete_package(wheel.id), publish(project.id, SDIST)) == ("done", "done")

    [package] = lists.packages_named(project, "demo", "1.0")
    assert package.id != deleted_id
    assert [file.filename for file in db.session.scalars(lists.package_files(package))] == [SDIST.filename]


@pytest.mark.parametrize("is_uploaded_first", [True, False])
def test_a_name_that_is_released_while_a_version_of_it_is_uploaded_is_reserved(
    app: Flask, project: Project, wheel: PackageFile, is_uploaded_first: bool
) -> None:
    """The upload examines the name before it takes the lock under which the name is released."""
    upload, release = publish(project.id, build_wheel(version="2.0")), delete_package(wheel.id, release_name=True)

    if is_uploaded_first:
        outcomes = race(app, upload, release, after="AS is_reserved")
    else:
        outcomes = race(app, release, upload)

    assert outcomes == ("done", "done")
    assert live_files() == ["demo-2.0-py3-none-any.whl"]
    assert list(db.session.scalars(select(ReservedName.normalized_name))) == ["demo"]


def test_a_package_stays_that_gets_a_file_while_its_last_one_is_deleted(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    assert race(app, publish(project.id, SDIST), delete_files(wheel.id)) == ("done", "done")

    assert live_files() == [SDIST.filename]


def test_the_latest_version_is_deleted_while_a_file_is_published_to_the_one_before(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    """The deletion makes the row of the name refer to the version that the upload has locked."""
    latest = factories.published(project, build_wheel(version="2.0"))

    outcomes = race(app, publish(project.id, SDIST), delete_package(latest.id), after=PACKAGE_IS_LOCKED)

    assert outcomes == ("done", "done")
    assert db.session.scalars(select(NameSummary.latest_id)).all() == [wheel.package_id]


def test_a_file_that_is_published_while_its_version_is_yanked_is_yanked_too(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    assert race(app, publish(project.id, SDIST), yank_version(wheel.id)) == ("done", "done")

    assert [file.is_yanked for file in db.session.scalars(select(PackageFile))] == [True, True]


@pytest.mark.parametrize("act", [delete_package, delete_file, delete_files])
def test_a_package_deleted_twice_at_the_same_time_is_deleted_once(
    app: Flask, wheel: PackageFile, act: Callable[[int], Act]
) -> None:
    assert race(app, act(wheel.id), act(wheel.id)) == ("done", "RecordNotFound")
    assert usage.miscounts() == []


@pytest.mark.parametrize(("gone", "yank"), [(delete_package, yank_version), (delete_file, yank_file)])
def test_a_package_deleted_at_the_same_time_is_not_yanked(
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


def set_status(project_id: int, name: str) -> Act:
    def act() -> None:
        project = db.session.get_one(Project, project_id)
        releases.set_name_status(project, name, NameStatus.DEPRECATED, by=SHELL)

    return act


OTHER = build_wheel("other")


@pytest.mark.parametrize("act", [delete_package, delete_files, yank_version, yank_file])
@pytest.mark.parametrize("is_first", [True, False], ids=["an upload first", "an upload second"])
def test_a_change_of_a_name_and_an_upload_of_another_do_not_wait_for_each_other(
    app: Flask, project: Project, wheel: PackageFile, act: Callable[[int], Act], is_first: bool
) -> None:
    upload = publish(project.id, OTHER)
    first, second = (upload, act(wheel.id)) if is_first else (act(wheel.id), upload)

    assert meanwhile(app, first, second) == "done"


@pytest.mark.parametrize("known", [True, False], ids=["known names", "new names"])
def test_uploads_of_two_names_do_not_wait_for_each_other(app: Flask, project: Project, known: bool) -> None:
    for name in ("demo", "other") if known else ():
        factories.published(project, build_wheel(name, "0.9"))
    before = factories.content_generation()

    assert meanwhile(app, publish(project.id, WHEEL), publish(project.id, OTHER)) == "done"
    assert usage.miscounts() == []
    assert factories.content_generation()[INDEX] == before[INDEX] + (0 if known else 2)


@pytest.mark.parametrize("part", [INDEX, ACCESS])
def test_uploads_of_more_new_names_than_there_are_numbers_wait_for_one_of_them(
    app: Flask, project: Project, part: int
) -> None:
    before = factories.content_generation()
    with db.engine.begin() as connection:
        connection.execute(text("SELECT row FROM content_generation WHERE part = :part FOR UPDATE"), {"part": part})
        upload = Racer(app, publish(project.id, WHEEL))
        upload.waits_or_ends()
        assert upload.outcome == ""

    assert upload.finish() == "done"
    assert factories.content_generation()[part] == before[part] + 1


def test_the_status_of_a_name_and_an_upload_of_another_do_not_wait_for_each_other(
    app: Flask, project: Project, wheel: PackageFile
) -> None:
    factories.published(project, build_wheel("other", "0.9"))

    assert meanwhile(app, set_status(project.id, "demo"), publish(project.id, OTHER)) == "done"
    assert meanwhile(app, publish(project.id, build_wheel("other", "2.0")), set_status(project.id, "demo")) == "done"


@pytest.mark.parametrize(
    ("second", "outcome"),
    [(SDIST, "done"), (build_wheel(version="2.0"), "done"), (WHEEL, "DuplicateFile")],
    ids=["another file", "another version", "the same file"],
)
def test_uploads_of_one_name_wait_for_each_other(app: Flask, project: Project, second: BuiltFile, outcome: str) -> None:
    assert meanwhile(app, publish(project.id, WHEEL), publish(project.id, second)) == f"waits, then {outcome}"


def test_a_recount_waits_for_an_upload_and_counts_its_file(app: Flask, project: Project) -> None:
    project_id = project.id

    race(app, publish(project.id, WHEEL), lambda: usage.recount(project_id))

    assert usage.miscounts() == []


def test_a_recount_corrects_the_sum_of_all_rows(app: Flask, project: Project) -> None:
    assert meanwhile(app, publish(project.id, WHEEL), publish(project.id, OTHER)) == "done"
    rows = db.session.scalars(select(StorageUsage)).all()
    assert len(rows) == 2, "one for each of the two transactions"
    for row in rows:
        row.files += 7
    db.session.commit()

    usage.recount(project.id)

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
        factories.publish(db.session.get_one(Project, project_id), WHEEL, by=by)

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


def upload(project_id: int, built: BuiltFile, store: Storage) -> None:
    with closing(store.stage()) as staged:
        staged.write(built.content)
        claimed = Upload(built.name, built.version, built.filename, staged, {})
        publishing.publish(
            claimed, project=db.session.get_one(Project, project_id), principal=SHELL, storage=store,
            max_size_bytes=0, now=utcnow(),
        )  # fmt: skip


def test_uploads_do_not_wait_for_each_other_while_the_store_works(app: Flask, project: Project, tmp_path: Path) -> None:
    store, project_id = MeetingPlace(tmp_path), project.id

    outcomes = at_once(
        app,
        lambda: upload(project_id, build_wheel(version="1.0"), store),
        lambda: upload(project_id, build_wheel(version="2.0"), store),
    )

    assert outcomes == ["done", "done"]


def test_an_upload_by_a_user_who_is_deleted_before_it_is_repeated_leaves_nothing(
    app: Flask, project: Project, developer: User, store_files: Callable[[], list[str]]
) -> None:
    project_id, developer_id = project.id, developer.id

    def publish_another_file_and_delete_the_user() -> None:
        with transaction() as session:
            publish(project_id, SDIST)()
            session.execute(delete(User).where(User.id == developer_id))

    def publish_as_the_user() -> None:
        by = factories.signed_in(db.session.get_one(User, developer_id))
        factories.publish(db.session.get_one(Project, project_id), WHEEL, by=by)

    outcomes = race(app, publish_another_file_and_delete_the_user, publish_as_the_user)

    assert outcomes == ("done", "RecordNotFound")
    assert len(store_files()) == 2, "the other file and its metadata"


class Busy(LocalStorage):
    """A store that does something else before it looks for the wheel in an upload's transaction, each time another."""

    def __init__(self, root: Path, *interludes: Act) -> None:
        super().__init__(root)
        self._interludes = list(interludes)

    def exists(self, key: str) -> bool:
        if db.session.info.get("writing") and key == object_key(WHEEL.sha256) and self._interludes:
            self._interludes.pop(0)()
        return super().exists(key)


def test_an_upload_is_refused_whose_file_is_published_deleted_and_published_again_meanwhile(
    app: Flask, project: Project, tmp_path: Path
) -> None:
    project_id = project.id

    def elsewhere(act: Act) -> None:
        with app.app_context():
            act()

    def delete_all() -> None:
        for file_id in db.session.scalars(select(PackageFile.id)).all():
            delete_package(file_id)()

    def publish_and_delete_at_the_rollback() -> None:
        elsewhere(publish(project_id, WHEEL))
        event.listen(db.session(), "after_rollback", lambda _: elsewhere(delete_all), once=True)

    store = Busy(tmp_path, publish_and_delete_at_the_rollback, lambda: elsewhere(publish(project_id, WHEEL)))

    with pytest.raises(DuplicateFile):
        upload(project_id, WHEEL, store)
    assert live_files() == [WHEEL.filename]


def delete_project(project_id: int) -> Act:
    return lambda: namespaces.delete_namespace(db.session.get_one(Project, project_id), by=SHELL)


@pytest.mark.parametrize(
    ("act", "first_row"),
    [
        (delete_package, "packages"), (delete_files, "packages"), (yank_version, "packages"),
        (yank_file, "package_files"),
    ],
)  # fmt: skip
def test_a_project_is_deleted_when_changes_of_its_packages_have_ended(
    app: Flask, wheel: PackageFile, act: Callable[[int], Act], first_row: str
) -> None:
    is_locked = rf"FROM {first_row} .* FOR (NO KEY )?UPDATE"

    assert race(app, act(wheel.id), delete_project(wheel.project_id), after=is_locked) == ("done", "done")


def test_a_project_is_deleted_when_the_status_of_one_of_its_names_is_set(app: Flask, wheel: PackageFile) -> None:
    status, is_locked = set_status(wheel.project_id, "demo"), "FROM content_generation .* FOR UPDATE"

    assert race(app, status, delete_project(wheel.project_id), after=is_locked) == ("done", "done")


def test_a_project_is_deleted_when_an_upload_to_one_of_its_packages_has_ended(app: Flask, wheel: PackageFile) -> None:
    upload = publish(wheel.project_id, SDIST)

    assert race(app, upload, delete_project(wheel.project_id), after=PACKAGE_IS_LOCKED) == ("done", "done")


def test_a_user_is_deleted_when_an_upload_to_one_of_their_packages_has_ended(
    app: Flask, project: Project, developer: User
) -> None:
    project_id, developer_id = project.id, developer.id

    def publish_as_developer(built: BuiltFile) -> None:
        by = factories.signed_in(db.session.get_one(User, developer_id))
        factories.publish(db.session.get_one(Project, project_id), built, by=by)

    def delete_user() -> None:
        users.delete_user(db.session.get_one(User, developer_id), by=SHELL)

    publish_as_developer(WHEEL)

    outcomes = race(app, lambda: publish_as_developer(SDIST), delete_user, after=PACKAGE_IS_LOCKED)

    assert outcomes == ("done", "done")


def test_a_project_is_deleted_when_its_downloads_are_counted(app: Flask, project: Project) -> None:
    first, second = (factories.published(project, build_wheel(name)) for name in ("zeta", "alpha"))
    tally = Tally()
    tally.note(first.id)
    tally.flush()  # the row is now behind that of the other package, and would be deleted after it
    for file in (first, second):
        tally.note(file.id)

    assert race(app, tally.flush, delete_project(project.id), after="UPDATE packages") == ("done", "done")


def test_packages_that_are_deleted_in_any_order_are_locked_in_one(app: Flask, project: Project) -> None:
    project_id = project.id
    ids = [factories.published(project, build_wheel(name)).package_id for name in ("one", "two")]

    def delete_in_order(chosen: list[int]) -> Act:
        def act() -> None:
            found = lists.packages_by_id(db.session.get_one(Project, project_id), SHELL, chosen)
            deletion.delete_packages(sorted(found, key=lambda package: chosen.index(package.id)), by=SHELL)

        return act

    forth, back = delete_in_order(ids), delete_in_order(ids[::-1])

    assert race(app, forth, back, after=PACKAGE_IS_LOCKED) == ("done", "RecordNotFound")


def test_packages_are_deleted_while_a_file_is_published_to_one_of_them(app: Flask, project: Project) -> None:
    """Both change the project's row, after they have taken all other locks."""
    project_id = project.id
    ids = [factories.published(project, build_wheel(name)).package_id for name in ("one", "two")]

    def delete_both() -> None:
        deletion.delete_packages(lists.packages_by_id(db.session.get_one(Project, project_id), SHELL, ids), by=SHELL)

    upload = publish(project_id, build_sdist("two"))

    assert race(app, delete_both, upload, after="UPDATE namespaces") == ("done", "done")


def test_a_package_is_deleted_while_its_downloads_are_counted(app: Flask, wheel: PackageFile) -> None:
    tally = Tally()
    tally.note(wheel.id)

    outcomes = race(app, delete_package(wheel.id), tally.flush, after=PACKAGE_IS_LOCKED)

    assert outcomes == ("done", "done")


def test_a_file_is_not_removed_while_its_downloads_are_counted(
    app: Flask, wheel: PackageFile, storage: Storage
) -> None:
    tally, file_id = Tally(), wheel.id
    tally.note(file_id)

    def delete_and_clean_up() -> None:
        delete_file(file_id)()
        cleanup.run(storage, utcnow())

    assert race(app, tally.flush, delete_and_clean_up, after="UPDATE packages") == ("done", "done")


def test_downloads_of_a_file_that_is_removed_at_the_same_time_are_dropped(
    app: Flask, wheel: PackageFile, storage: Storage
) -> None:
    tally = Tally()
    tally.note(wheel.id)
    delete_file(wheel.id)()

    assert race(app, lambda: cleanup.run(storage, utcnow()), tally.flush) == ("done", "done")


def test_of_two_changes_that_would_leave_a_rule_without_role_the_second_is_refused_for_that(
    app: Flask, project: Project
) -> None:
    project_id = project.id
    rule_id = protection.add_protection_rule(
        project, pattern="demo", push=Role.OWNER, delete=Role.OWNER, by=SHELL
    ).id  # fmt: skip
    reasons: list[str] = []

    def change(changes: RuleChanges) -> Act:
        def act() -> None:
            project = db.session.get_one(Project, project_id)
            rule = protection.protection_rule(project, rule_id)
            try:
                protection.change_protection_rule(rule, changes, project, by=SHELL)
            except Unprocessable as refusal:
                reasons.append(refusal.reason)
                raise

        return act

    outcomes = race(app, change(RuleChanges(minimum_push_role=None)), change(RuleChanges(minimum_delete_role=None)))

    assert outcomes == ("done", "Unprocessable")
    assert reasons == [Code.RULE_WITHOUT_ROLE.value]
