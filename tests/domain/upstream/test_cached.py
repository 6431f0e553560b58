"""Cached files of the upstream beside published ones, whose objects they can share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from registry import database
from registry.database import db, utcnow
from registry.domain import access
from registry.domain.operation import backups, cleanup, moving, verification
from registry.domain.operation.verification import Defect, Finding
from registry.domain.packages import deletion
from registry.domain.upstream import cached
from registry.domain.upstream.cached import Totals
from registry.models import CachedFile, Package, PackageFile, Project
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import build_wheel
from tests.conftest import SECRET_KEY
from tests.domain.operation.installations import members

NOW = utcnow()
LATER = NOW + timedelta(days=2)


def keep(storage: Storage, content: bytes, filename: str = "demo-1.0-py3-none-any.whl", minutes: int = 0) -> str:
    """Keep a file, as used so many minutes after ``NOW``, and return its digest."""
    staged = storage.stage()
    staged.write(content)
    cached.store(staged, storage, filename=filename, normalized_name="demo", now=NOW + timedelta(minutes=minutes))
    staged.close()
    return staged.sha256


def digests() -> set[str]:
    return set(db.session.scalars(select(CachedFile.sha256)))


@pytest.fixture
def shared(storage: Storage, project: Project) -> PackageFile:
    """A published wheel that is cached as well."""
    wheel = build_wheel()
    file = factories.published(project, wheel)
    keep(storage, wheel.content, wheel.filename)
    return file


def test_a_kept_file_is_recorded_with_its_version(storage: Storage) -> None:
    digest = keep(storage, b"bytes", "Demo-1.0.0rc1-py3-none-any.whl.metadata")

    row = db.session.get_one(CachedFile, digest)
    assert (row.version, row.size_bytes, cached.totals()) == ("1.0.0rc1", 5, Totals(1, 5))
    assert storage.exists(object_key(digest))


def test_files_with_equal_content_are_one(storage: Storage) -> None:
    keep(storage, b"bytes")
    keep(storage, b"bytes", "demo-1.0-cp311-cp311-linux_x86_64.whl")

    assert cached.totals() == Totals(1, 5)


@pytest.mark.parametrize("filename", ["demo-1.0.exe", "demo.whl", "demo-1_0-a-b-c-d-e.whl", "demo.tar.gz"])
def test_a_file_name_without_a_valid_version_has_none(filename: str) -> None:
    assert cached.version_in(filename) == ""


def test_the_least_recently_used_files_make_room(storage: Storage) -> None:
    kept = [keep(storage, bytes([number]) * 10, minutes=number) for number in range(5)]
    cached.note_uses([kept[0]], NOW + timedelta(hours=1))

    assert cached.make_room(storage, 25) == Totals(3, 30)

    assert digests() == {kept[0], kept[4]}
    assert [storage.exists(object_key(digest)) for digest in kept] == [True, False, False, False, True]
    assert cached.make_room(storage, 25) == Totals(0, 0)


@pytest.mark.postgresql
def test_noting_uses_waits_for_no_other_transaction(storage: Storage) -> None:
    kept = [keep(storage, bytes([number])) for number in range(2)]
    with db.engine.connect() as other:
        other.execute(select(CachedFile.sha256).where(CachedFile.sha256 == kept[0]).with_for_update())

        cached.note_uses(kept, LATER)

    assert [db.session.get_one(CachedFile, digest).last_used_at for digest in kept] == [NOW, LATER]


def test_removing_a_cached_file_leaves_the_bytes_of_a_published_one(storage: Storage, shared: PackageFile) -> None:
    cached.make_room(storage, 0)

    assert not cached.is_cached(shared.sha256)
    assert storage.exists(object_key(shared.sha256))


def test_deleting_a_published_file_leaves_the_bytes_of_a_cached_one(storage: Storage, shared: PackageFile) -> None:
    key, package = object_key(shared.sha256), db.session.get_one(Package, shared.package_id)
    deletion.delete_package(package, db.session.get_one(Project, shared.project_id), by=access.SHELL)

    cleanup.run(storage, LATER)

    assert db.session.scalars(select(PackageFile)).all() == []
    assert [found.key for found in storage.objects()] == [key]


def test_nothing_is_removed_during_a_backup(storage: Storage) -> None:
    keep(storage, b"bytes")

    with database.objects_kept():
        assert cached.make_room(storage, 0) == Totals(0, 0)

    assert cached.totals() == Totals(1, 5)


def test_a_backup_leaves_the_cache_out(storage: Storage, shared: PackageFile, tmp_path: Path) -> None:
    keep(storage, b"bytes")

    backups.create(tmp_path / "registry.tar", storage, secret_key=SECRET_KEY, now=NOW, report=pytest.fail)

    names = {name for name in members(tmp_path / "registry.tar") if name.startswith("objects/")}
    assert {name.rpartition("/")[2] for name in names} == {shared.sha256, shared.core_metadata_sha256}
    assert "tables/cached_files.jsonl" not in members(tmp_path / "registry.tar")


def test_a_move_takes_the_cache_along(storage: Storage, tmp_path: Path) -> None:
    digest, target = keep(storage, b"bytes"), LocalStorage(tmp_path / "target")

    summary = moving.copy(storage, target, lambda _: None)

    assert (summary.copied, summary.is_complete, moving.count()) == (1, True, 1)
    assert target.exists(object_key(digest))


@pytest.mark.parametrize("repair", [False, True], ids=["found", "repaired"])
def test_verification_finds_defects_of_cached_files(storage: Storage, repair: bool) -> None:
    assert isinstance(storage, LocalStorage)
    missing, damaged, sound = (keep(storage, content, content.decode()) for content in (b"missing", b"damaged", b"ok"))
    storage.delete(object_key(missing))
    (storage.root / object_key(damaged)).write_bytes(b"other")
    problems: list[Finding] = []

    summary = verification.verify(storage, LATER, problems.append, repair=repair)

    assert {(problem.defect, problem.files, problem.removed) for problem in problems} == {
        (Defect.MISSING, ("upstream: missing",), repair),
        (Defect.DAMAGED, ("upstream: damaged",), repair),
    }
    assert (summary.checked, summary.orphaned, summary.is_sound) == (3, 0, repair)
    assert digests() == ({sound} if repair else {missing, damaged, sound})
