"""Copying all objects from one store to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask import Flask

from registry.database import db
from registry.domain import access
from registry.domain.operation import moving
from registry.domain.operation.moving import CopyOutcome, CopyResult, CopySummary
from registry.domain.packages import deletion
from registry.errors import Code, Unavailable
from registry.models import Package, PackageFile, Project
from registry.storage import StagedFile, Storage, StorageFull, object_key, open_storage
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.fakes.s3 import S3Server

WHEEL, SDIST = build_wheel("demo", "1.0"), build_sdist("demo", "2.0")


@pytest.fixture
def target(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "target")


@pytest.fixture
def files(project: Project) -> list[PackageFile]:
    """Two published files, of which each has a core metadata document too."""
    return [factories.published(project, file) for file in (WHEEL, SDIST)]


def keys(files: list[PackageFile]) -> set[str]:
    return {object_key(digest or "") for file in files for digest in (file.sha256, file.core_metadata_sha256)}


def contents(store: Storage) -> dict[str, bytes]:
    found = {}
    for listed in store.objects():
        with store.open(listed.key) as file:
            found[listed.key] = file.read()
    return found


def copied(
    source: Storage, target: Storage, report: Callable[[CopyOutcome], None] = lambda _outcome: None
) -> CopySummary:
    return moving.copy(source, target, report)


def test_only_objects_of_the_database_are_copied(
    storage: Storage, target: LocalStorage, files: list[PackageFile]
) -> None:
    stray = storage.stage()
    stray.write(b"of nobody")
    storage.put(object_key(stray.sha256), stray)
    stray.close()

    summary = copied(storage, target)

    found = contents(target)
    assert found.keys() == keys(files)
    assert found[object_key(WHEEL.sha256)] == WHEEL.content
    assert summary == CopySummary(4, 0, 0, 0, sum(map(len, found.values())))
    assert moving.count() == 4


def test_a_second_copy_brings_only_newer_files(
    storage: Storage, target: LocalStorage, files: list[PackageFile], project: Project
) -> None:
    copied(storage, target)
    files.append(factories.published(project, build_wheel("demo", "3.0")))

    summary = copied(storage, target)

    assert (summary.copied, summary.present) == (2, 4)
    assert contents(target).keys() == keys(files)


def test_many_objects_are_copied_in_batches(
    storage: Storage, target: LocalStorage, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "BATCH", 3)
    files = [factories.published(project, build_wheel("demo", f"{number}.0")) for number in range(7)]

    assert copied(storage, target).copied == 14
    assert contents(target).keys() == keys(files)


def test_missing_and_damaged_objects_are_reported_and_not_copied(
    storage: Storage, target: LocalStorage, files: list[PackageFile]
) -> None:
    wheel, sdist = (object_key(file.sha256) for file in files)
    assert isinstance(storage, LocalStorage)
    storage.delete(wheel)
    (storage.root / sdist).write_bytes(b"other bytes")
    told: list[CopyOutcome] = []

    summary = copied(storage, target, told.append)

    assert (summary.copied, summary.missing, summary.damaged) == (2, 1, 1)
    assert not summary.is_complete
    problems = {
        (outcome.result, object_key(outcome.digest)) for outcome in told if outcome.result is not CopyResult.COPIED
    }
    assert problems == {(CopyResult.MISSING, wheel), (CopyResult.DAMAGED, sdist)}
    assert contents(target).keys() == keys(files) - {wheel, sdist}
    assert list((target.root / "incoming").iterdir()) == []


def test_deleted_files_are_neither_copied_nor_missing(
    storage: Storage, target: LocalStorage, project: Project, files: list[PackageFile]
) -> None:
    deletion.delete_package(db.session.get_one(Package, files[0].package_id), project, by=access.SHELL)

    assert copied(storage, target) == CopySummary(2, 0, 0, 0, sum(map(len, contents(target).values())))


def test_files_deleted_during_the_copy_are_not_missing(
    app: Flask, storage: Storage, target: LocalStorage, project: Project, files: list[PackageFile]
) -> None:
    class Vanishing(LocalStorage):
        """A store in which the first package is deleted, and its object swept, before it is opened."""

        def open(self, key: str, start: int = 0):  # type: ignore[no-untyped-def]
            if key == object_key(WHEEL.sha256):
                with app.app_context():
                    package = db.session.get_one(Package, package_id)
                    deletion.delete_package(package, db.session.get_one(Project, project_id), by=access.SHELL)
                self.delete(key)
            return super().open(key, start)

    assert isinstance(storage, LocalStorage)
    package_id, project_id = files[0].package_id, project.id
    db.session.rollback()

    summary = copied(Vanishing(storage.root), target)

    assert summary.is_complete
    assert summary.missing == 0


class Failing(LocalStorage):
    """A store that is away for some objects first."""

    failures = 0
    error: type[Unavailable] = Unavailable

    def put(self, key: str, staged: StagedFile) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise self.error(Code.STORE_AWAY)
        super().put(key, staged)


def test_a_store_that_is_away_for_a_moment_is_waited_for(
    storage: Storage, tmp_path: Path, files: list[PackageFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PAUSES_SECONDS", (0.01, 0.01))
    target = Failing(tmp_path / "target")
    target.failures = 2

    assert copied(storage, target).copied == 4


@pytest.mark.parametrize("error", [Unavailable, StorageFull], ids=["away", "full"])
def test_a_store_that_stays_away_ends_the_copy_which_can_go_on_later(
    storage: Storage, tmp_path: Path, files: list[PackageFile], monkeypatch: pytest.MonkeyPatch,
    error: type[Unavailable],
) -> None:  # fmt: skip
    monkeypatch.setattr(moving, "PAUSES_SECONDS", () if error is Unavailable else (60,))
    target = Failing(tmp_path / "target")
    target.failures, target.error = 1, error

    with pytest.raises(error):
        copied(storage, target)
    summary = copied(storage, target)

    assert summary.copied + summary.present == 4
    assert contents(target).keys() == keys(files)


def test_files_move_to_an_object_store_under_their_names_and_back(
    s3: S3Server, storage: Storage, target: LocalStorage, files: list[PackageFile], tmp_path: Path
) -> None:
    cloud = open_storage(s3.address(), {**s3.settings, "INSTANCE_PATH": tmp_path})

    there, back = copied(storage, cloud), copied(cloud, target)

    assert (there.copied, back.copied) == (4, 4)
    assert contents(target) == contents(storage)
    response = requests.get(cloud.link(object_key(WHEEL.sha256)) or "", timeout=10)
    assert response.headers["Content-Disposition"] == f'attachment; filename="{WHEEL.filename}"'
