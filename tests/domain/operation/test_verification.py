from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from registry import database
from registry.database import db, utcnow
from registry.domain import access
from registry.domain.operation import cleanup, verification
from registry.domain.operation.verification import NAMED_FILES, Defect, Finding, VerificationSummary
from registry.domain.packages import deletion
from registry.errors import BackupUnderWay
from registry.models import Package, PackageFile, Project
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import build_sdist, build_wheel

LATER = utcnow() + timedelta(days=2)


def verify(storage: Storage, *, repair: bool = False) -> tuple[VerificationSummary, list[Finding]]:
    problems: list[Finding] = []
    summary = verification.verify(storage, LATER, problems.append, repair=repair)
    return summary, problems


@pytest.fixture
def key(project: Project) -> str:
    """The key of a published wheel."""
    return object_key(factories.published(project, build_wheel("demo", "1.0")).sha256)


@pytest.fixture
def orphan(storage: Storage) -> str:
    """The key of an object without a file."""
    staged = storage.stage()
    staged.write(b"bytes that no file refers to")
    key = object_key(staged.sha256)
    storage.put(key, staged)
    staged.close()
    return key


def path_of(storage: Storage, key: str) -> Path:
    assert isinstance(storage, LocalStorage)
    return storage.root / key


def test_an_empty_registry_is_sound(storage: Storage) -> None:
    summary, problems = verify(storage)

    assert summary == VerificationSummary(checked=0, missing=0, damaged=0, orphaned=0, removed=0)
    assert summary.is_sound
    assert problems == []


def test_a_registry_is_sound_when_all_files_and_documents_are_there(
    storage: Storage, project: Project, key: str
) -> None:
    factories.published(project, build_sdist("demo", "1.0"))  # holds the same core metadata as the wheel

    summary, problems = verify(storage)

    assert summary == VerificationSummary(checked=3, missing=0, damaged=0, orphaned=0, removed=0)
    assert problems == []


def test_a_missing_object_is_reported_with_the_files_that_need_it(storage: Storage, project: Project, key: str) -> None:
    storage.delete(key)

    summary, problems = verify(storage)

    assert problems == [Finding(Defect.MISSING, key, ("acme/tools: demo-1.0-py3-none-any.whl",))]
    assert summary.missing == 1
    assert not summary.is_sound


def test_a_missing_core_metadata_document_is_reported(storage: Storage, key: str) -> None:
    key = object_key(db.session.scalars(select(PackageFile.core_metadata_sha256)).one() or "")
    storage.delete(key)

    _, problems = verify(storage)

    assert problems == [Finding(Defect.MISSING, key, ("acme/tools: demo-1.0-py3-none-any.whl",))]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-1], lambda content: b"", lambda content: content + b"x", lambda content: content[::-1]],
    ids=["cut short", "empty", "longer", "same size"],
)
def test_a_damaged_object_is_reported(storage: Storage, key: str, damage: object) -> None:
    path = path_of(storage, key)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]

    summary, problems = verify(storage)

    assert problems == [Finding(Defect.DAMAGED, key, ("acme/tools: demo-1.0-py3-none-any.whl",))]
    assert summary.damaged == 1
    assert not summary.is_sound


def test_an_object_that_cannot_be_read_is_damaged(storage: Storage, key: str) -> None:
    path = path_of(storage, key)
    path.unlink()
    path.mkdir()

    _, problems = verify(storage)

    assert [problem.defect for problem in problems] == [Defect.DAMAGED]
    path.rmdir()


def test_of_many_files_with_the_same_bytes_some_are_named(storage: Storage, project: Project, key: str) -> None:
    for number in range(NAMED_FILES + 2):
        factories.published(factories.project(f"copy{number}", parent=factories.group()), build_wheel("demo", "1.0"))
    storage.delete(key)

    _, [problem] = verify(storage)

    assert len(problem.files) == NAMED_FILES
    assert problem.files[0] == "acme/tools: demo-1.0-py3-none-any.whl"


def test_an_unreferenced_object_is_reported_and_kept(storage: Storage, key: str, orphan: str) -> None:
    summary, problems = verify(storage)

    assert problems == [Finding(Defect.ORPHANED, orphan)]
    assert summary == VerificationSummary(checked=2, missing=0, damaged=0, orphaned=1, removed=0)
    assert not summary.is_sound
    assert storage.exists(orphan)


def test_a_repair_removes_unreferenced_objects(storage: Storage, key: str, orphan: str) -> None:
    summary, problems = verify(storage, repair=True)

    assert problems == [Finding(Defect.ORPHANED, orphan, removed=True)]
    assert summary == VerificationSummary(checked=2, missing=0, damaged=0, orphaned=1, removed=1)
    assert summary.is_sound
    assert not storage.exists(orphan)
    assert storage.exists(key)


def test_a_repair_is_refused_before_anything_is_read_while_a_backup_is_made(storage: Storage, orphan: str) -> None:
    with database.objects_kept(), pytest.raises(BackupUnderWay, match=r"^A backup is being made"):
        verify(storage, repair=True)

    assert storage.exists(orphan)


def test_a_repair_does_not_replace_missing_objects(storage: Storage, key: str) -> None:
    storage.delete(key)

    summary, _ = verify(storage, repair=True)

    assert not summary.is_sound


@pytest.mark.parametrize(("hours", "is_removed"), [(23, False), (25, True)])
def test_an_orphan_of_less_than_a_day_can_belong_to_an_upload_in_progress(
    storage: Storage, orphan: str, hours: int, is_removed: bool
) -> None:
    summary = verification.verify(storage, utcnow() + timedelta(hours=hours), lambda problem: None, repair=True)

    assert summary.is_sound
    assert summary.removed == is_removed
    assert storage.exists(orphan) is not is_removed


def test_deleted_files_are_not_missing(storage: Storage, project: Project, key: str) -> None:
    deletion.delete_package(db.session.scalars(select(Package)).one(), project, by=access.SHELL)
    storage.delete(key)

    assert verify(storage)[0].is_sound


def test_files_deleted_during_the_verification_are_no_problem(
    storage: Storage, project: Project, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Vanishing(LocalStorage):
        """A store in which a package is deleted, and swept, just before its object is opened."""

        def open(self, key: str, start: int = 0):  # type: ignore[no-untyped-def]
            if package := db.session.scalar(select(Package)):
                deletion.delete_package(package, project, by=access.SHELL)
                cleanup.run(self, LATER)
            return super().open(key, start)

    summary, problems = verify(Vanishing(path_of(storage, "")))

    assert problems == []
    assert summary.is_sound


def test_many_objects_are_read_in_batches(storage: Storage, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "BATCH", 2)
    files = [factories.published(project, build_wheel("demo", f"{number}.0")) for number in range(5)]
    storage.delete(object_key(files[3].sha256))

    summary, _ = verify(storage)

    assert (summary.checked, summary.missing) == (10, 1)
