from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event, func, select

from registry.database import db, utcnow
from registry.domain import access, namespaces
from registry.domain.accounts import access_tokens, deploy_tokens
from registry.domain.operation import cleanup
from registry.domain.operation.cleanup import Report
from registry.domain.packages import deletion, publishing
from registry.domain.packages.uploads import Upload
from registry.models import (
    AccessToken,
    DeployToken,
    FileStatus,
    Job,
    OldPath,
    Package,
    PackageFile,
    PackageStatus,
    Project,
    User,
)
from registry.storage import StagedFile, Storage, object_key, readme_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel

NOTHING = Report(packages=0, files=0, tokens=0, objects=0, size_bytes=0, staged_files=0)
LATER = utcnow() + timedelta(days=2)


@pytest.fixture
def stray(storage: Storage) -> str:
    """The key of an object without a row, as an upload leaves that was killed before it wrote one."""
    return stored(storage, b"bytes that no file refers to")


def stored(storage: Storage, content: bytes) -> str:
    staged = storage.stage()
    staged.write(content)
    key = object_key(staged.sha256)
    storage.put(key, staged)
    staged.close()
    return key


def test_rendered_readmes_are_removed_after_a_month(storage: Storage) -> None:
    with closing(storage.stage()) as staged:
        staged.write(b"rendered")
        storage.put(readme_key("0" * 64), staged)

    kept = cleanup.run(storage, LATER)
    report = cleanup.run(storage, LATER + cleanup.README_RETENTION)

    assert kept == NOTHING
    assert (report.objects, report.size_bytes) == (1, len(b"rendered"))
    assert not list(storage.objects())


def delete_package(file: PackageFile, project: Project) -> None:
    deletion.delete_package(db.session.get_one(Package, file.package_id), project, by=access.SHELL)


def count(kind: type) -> int:
    return db.session.scalar(select(func.count()).select_from(kind)) or 0


def keys(storage: Storage) -> set[str]:
    return {found.key for found in storage.objects()}


def test_an_empty_registry_has_nothing_to_clean(storage: Storage) -> None:
    assert cleanup.run(storage, LATER) == NOTHING


def test_published_files_stay(storage: Storage, demo: PackageFile) -> None:
    assert cleanup.run(storage, LATER) == NOTHING

    assert count(PackageFile) == 1
    assert keys(storage) == {object_key(demo.sha256), object_key(demo.core_metadata_sha256 or "")}


def test_a_deleted_package_is_removed_with_its_files_and_bytes(
    storage: Storage, project: Project, demo: PackageFile
) -> None:
    sdist = factories.published(project, build_sdist("demo", "1.0"))
    size_bytes = demo.size_bytes + sdist.size_bytes
    delete_package(demo, project)

    report = cleanup.run(storage, LATER)

    assert (report.packages, report.files) == (1, 2)
    assert report.objects == 3  # the two files, which hold the same metadata
    assert report.size_bytes > size_bytes
    assert count(Package) == count(PackageFile) == 0
    assert keys(storage) == set()


def test_a_deleted_file_is_removed_and_its_package_stays_without_files(
    storage: Storage, project: Project, demo: PackageFile
) -> None:
    package = db.session.get_one(Package, demo.package_id)
    deletion.delete_file(demo, package, project, by=access.SHELL)

    report = cleanup.run(storage, LATER)

    assert (report.packages, report.files) == (0, 1)
    assert db.session.scalars(select(Package.status)).all() == [PackageStatus.DEFAULT]


def test_a_file_that_came_to_a_package_while_it_was_deleted_goes_too(
    storage: Storage, project: Project, demo: PackageFile
) -> None:
    delete_package(demo, project)
    demo.status = FileStatus.DEFAULT
    db.session.commit()

    report = cleanup.run(storage, LATER)

    assert (report.packages, report.files) == (1, 1)


def test_other_packages_of_the_project_stay(storage: Storage, project: Project, demo: PackageFile) -> None:
    other = factories.published(project, build_wheel("demo", "2.0"))
    delete_package(demo, project)

    cleanup.run(storage, LATER)

    assert db.session.scalars(select(PackageFile.filename)).all() == [other.filename]
    assert storage.exists(object_key(other.sha256))


def test_the_rows_of_a_deleted_package_go_at_once_and_its_bytes_after_the_grace_period(
    storage: Storage, project: Project, demo: PackageFile
) -> None:
    key = object_key(demo.sha256)
    delete_package(demo, project)

    report = cleanup.run(storage, utcnow())

    assert (report.packages, report.objects) == (1, 0)
    assert storage.exists(key)
    assert cleanup.run(storage, utcnow() + timedelta(minutes=61)).objects == 2


def test_a_file_name_is_free_again_after_its_package_was_cleaned_up(
    storage: Storage, project: Project, demo: PackageFile
) -> None:
    delete_package(demo, project)
    cleanup.run(storage, LATER)

    again = factories.published(project, build_wheel("demo", "1.0"))

    assert storage.exists(object_key(again.sha256))


def test_the_path_of_a_deleted_project_is_forgotten_when_it_is_no_longer_kept(
    storage: Storage, project: Project
) -> None:
    factories.published(project, build_wheel())
    namespaces.change(project.parent, namespaces.NamespaceChanges(path="beta"), by=access.SHELL)
    namespaces.delete_namespace(project, by=access.SHELL)

    def left(days: int) -> list[str]:
        cleanup.run(storage, utcnow() + timedelta(days=days))
        return sorted(db.session.scalars(select(OldPath.path)))

    assert [left(89), left(91)] == [["acme", "beta/tools"], ["acme"]]


NOW = utcnow()
RECENTLY, LONG_AGO = NOW - timedelta(days=29), NOW - timedelta(days=31)


@pytest.fixture
def old_token(owner: User) -> AccessToken:
    """Issued long ago, and alive."""
    return issued(owner)


def issued(owner: User) -> AccessToken:
    now = LONG_AGO - timedelta(days=60)
    return access_tokens.issue_access_token(
        owner, name="laptop", scopes=["api"], key=factories.token_key(), by=access.SHELL, now=now
    )[0]


def rotated(token: AccessToken, at: datetime) -> AccessToken:
    return access_tokens.rotate_access_token(token, key=factories.token_key(), by=access.SHELL, now=at)[0]


@pytest.mark.parametrize(
    ("fields", "removed"),
    [
        ({}, 0),
        ({"revoked_at": RECENTLY}, 0),
        ({"revoked_at": LONG_AGO}, 1),
        ({"expires_on": RECENTLY.date()}, 0),
        ({"expires_on": (NOW - timedelta(days=30)).date()}, 1),
        ({"expires_on": LONG_AGO.date()}, 1),
        ({"expires_on": RECENTLY.date(), "revoked_at": LONG_AGO}, 1),
        ({"expires_on": None}, 0),
    ],
    ids=[
        "alive",
        "revoked lately",
        "revoked",
        "expired lately",
        "expired 30 days ago",
        "expired",
        "expired after its end",
        "for ever",
    ],
)
def test_an_access_token_is_removed_30_days_after_its_end(
    storage: Storage, old_token: AccessToken, fields: dict[str, object], removed: int
) -> None:
    for field, value in fields.items():
        setattr(old_token, field, value)
    factories.commit()

    assert cleanup.run(storage, NOW) == replace(NOTHING, tokens=removed)

    assert count(AccessToken) == 1 - removed


def test_the_predecessors_of_an_active_token_stay_recognizable(storage: Storage, old_token: AccessToken) -> None:
    second = rotated(old_token, LONG_AGO - timedelta(days=5))
    third = rotated(second, LONG_AGO)

    assert cleanup.run(storage, NOW).tokens == 0

    third.revoked_at = LONG_AGO
    factories.commit()
    assert cleanup.run(storage, NOW).tokens == 3


@pytest.mark.parametrize(("ended_at", "removed"), [(RECENTLY, 0), (LONG_AGO, 1)], ids=["lately", "long ago"])
@pytest.mark.parametrize("end", ["expires", "revoked"])
def test_a_deploy_token_is_removed_30_days_after_its_end(
    storage: Storage, project: Project, end: str, ended_at: datetime, removed: int
) -> None:
    for namespace in (project, factories.project()):
        factories.deploy_token(namespace)
    token = db.session.scalars(select(DeployToken).where(DeployToken.namespace_id == project.id)).one()
    if end == "expires":
        token.expires_at = ended_at
    else:
        deploy_tokens.revoke_deploy_token(token, project, by=access.SHELL, now=ended_at)
    factories.commit()

    assert cleanup.run(storage, NOW).tokens == removed

    assert count(DeployToken) == 2 - removed


@pytest.mark.parametrize("fields", [{}, {"finished_at": LONG_AGO, "expires_at": NOW}], ids=["expired", "finished"])
def test_a_job_that_published_nothing_is_removed_30_days_after_its_end(
    storage: Storage, project: Project, developer: User, fields: dict[str, datetime]
) -> None:
    jobs = {ended_at: factories.job(project, developer)[0] for ended_at in (LONG_AGO, RECENTLY)}
    for ended_at, job in jobs.items():
        job.expires_at = ended_at
    for field, value in fields.items():
        setattr(jobs[LONG_AGO], field, value)
    factories.commit()

    assert cleanup.run(storage, NOW).tokens == 1

    assert db.session.scalars(select(Job.id)).all() == [jobs[RECENTLY].id]


def test_a_job_that_published_something_stays_as_long_as_its_files(
    storage: Storage, project: Project, developer: User
) -> None:
    principal = factories.by_job(project, developer)
    file = factories.published(project, build_wheel("demo", "1.0"), by=principal)
    db.session.get_one(Job, file.job_id).expires_at = LONG_AGO
    factories.commit()

    assert cleanup.run(storage, NOW).tokens == 0

    delete_package(file, project)
    assert cleanup.run(storage, NOW).tokens == 1


def test_the_bytes_of_a_deleted_project_go(storage: Storage, project: Project, demo: PackageFile) -> None:
    namespaces.delete_namespace(project, by=access.SHELL)

    report = cleanup.run(storage, LATER)

    assert (report.packages, report.files, report.objects) == (0, 0, 2)
    assert keys(storage) == set()


def test_bytes_that_another_project_has_published_too_stay(
    storage: Storage, project: Project, demo: PackageFile
) -> None:
    other = factories.published(factories.project(), build_wheel("demo", "1.0"))
    delete_package(demo, project)

    report = cleanup.run(storage, LATER)

    assert (report.files, report.objects) == (1, 0)
    assert storage.exists(object_key(other.sha256))


def test_core_metadata_that_another_file_shares_stays(storage: Storage, project: Project, demo: PackageFile) -> None:
    other = factories.published(project, build_wheel("demo", "1.0", tag="py2-none-any"))
    deletion.delete_file(demo, db.session.get_one(Package, demo.package_id), project, by=access.SHELL)

    cleanup.run(storage, LATER)

    assert keys(storage) == {object_key(other.sha256), object_key(other.core_metadata_sha256 or "")}


def test_an_object_without_a_file_goes_after_the_grace_period(storage: Storage, stray: str) -> None:
    report = cleanup.run(storage, utcnow() + timedelta(minutes=61))

    assert report.objects == 1
    assert report.size_bytes == len(b"bytes that no file refers to")
    assert not storage.exists(stray)


def test_a_recent_object_without_a_file_can_belong_to_an_upload_in_progress(storage: Storage, stray: str) -> None:
    assert cleanup.run(storage, utcnow() + timedelta(minutes=59)) == NOTHING

    assert storage.exists(stray)


def test_files_of_others_in_the_store_are_left_alone(storage: Storage) -> None:
    assert isinstance(storage, LocalStorage)
    note = storage.root / "README.txt"
    note.write_text("kept by hand")
    os.utime(note, (0, 0))

    assert cleanup.run(storage, LATER) == NOTHING

    assert note.read_text() == "kept by hand"
    note.unlink()


def test_files_staged_by_a_killed_upload_are_swept(storage: Storage) -> None:
    assert isinstance(storage, LocalStorage)
    (storage.root / "incoming" / "upload-left").write_bytes(b"half")

    assert cleanup.run(storage, LATER).staged_files == 1


class SweptWhileUploading(LocalStorage):
    """A store in which a cleanup runs between the storing of an upload's bytes and the writing of its row."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.removed = 0

    def put_all(self, contents: Mapping[str, StagedFile]) -> None:
        super().put_all(contents)
        if not db.session.info.get("writing"):
            self.removed += cleanup.run(self, LATER).objects


def test_an_upload_whose_bytes_were_swept_before_its_row_was_written_keeps_them(
    app: Flask, project: Project, tmp_path: Path
) -> None:
    swept = SweptWhileUploading(tmp_path / "packages")
    wheel = build_wheel("demo", "1.0")
    with closing(swept.stage()) as staged:
        staged.write(wheel.content)
        upload = Upload("demo", "1.0", wheel.filename, staged, {})

        file = publishing.publish(
            upload, project=project, principal=access.SHELL, storage=swept, max_size_bytes=0, now=utcnow()
        ).file

    assert swept.removed == 2
    assert keys(swept) == {object_key(file.sha256), object_key(file.core_metadata_sha256 or "")}


def test_uploads_and_cleanups_at_the_same_time_lose_no_bytes(app: Flask, project: Project, storage: Storage) -> None:
    versions = [f"{number}.0" for number in range(20)]
    done = threading.Event()
    failures: list[BaseException] = []

    def clean() -> None:
        with app.app_context():
            try:
                while not done.is_set():
                    cleanup.run(storage, LATER)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                failures.append(error)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for number, version in enumerate(versions):
            wheel = build_wheel("demo", version)
            stored(storage, wheel.content)  # an orphan, until it is published
            file = factories.published(project, wheel)
            if number % 3 == 0:
                delete_package(file, project)
                factories.published(project, wheel)
    finally:
        done.set()
        cleaner.join()

    assert failures == []
    digests = db.session.scalars(select(PackageFile.sha256).where(PackageFile.status == FileStatus.DEFAULT)).all()
    assert len(digests) == len(versions)
    assert [digest for digest in digests if not storage.exists(object_key(digest))] == []


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(cleanup, "BATCH", 3)
    return 3


@pytest.fixture
def largest_statement(app: Flask) -> Iterator[list[int]]:
    """The most values that one statement carried."""
    seen = [0]

    def note(conn: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        if isinstance(parameters, tuple):
            seen[0] = max(seen[0], len(parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    yield seen
    event.remove(db.engine, "before_cursor_execute", note)


def test_many_packages_and_objects_are_cleaned_up_in_batches(
    storage: Storage, project: Project, small_batches: int, largest_statement: list[int]
) -> None:
    kept = [factories.published(project, build_wheel("kept", f"{number}.0")) for number in range(4)]
    for number in range(10):
        delete_package(factories.published(project, build_wheel("demo", f"{number}.0")), project)
    largest_statement[0] = 0

    report = cleanup.run(storage, LATER)

    assert (report.packages, report.files, report.objects) == (10, 10, 20)
    assert count(PackageFile) == len(kept)
    assert all(storage.exists(object_key(file.sha256)) for file in kept)
    assert largest_statement[0] <= 3 * small_batches + 2


def test_a_cleanup_that_was_stopped_half_way_is_finished_by_the_next(
    storage: Storage, project: Project, small_batches: int, demo: PackageFile
) -> None:
    contents: list[BuiltFile] = [build_wheel("demo", f"{number}.1") for number in range(7)]
    for wheel in contents:
        delete_package(factories.published(project, wheel), project)
    cleanup.run(storage, utcnow())
    orphans = cleanup.remove_orphans(storage, stored_before=LATER)
    next(orphans)
    orphans.close()
    left = keys(storage)

    report = cleanup.run(storage, LATER)

    assert 2 < len(left) < 16
    assert report.objects == len(left) - 2
    assert keys(storage) == {object_key(demo.sha256), object_key(demo.core_metadata_sha256 or "")}
