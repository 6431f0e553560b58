from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import requests
from flask import Flask
from sqlalchemy import MetaData, delete, event, func, select, text

from registry import database
from registry.database import db, schema, utcnow
from registry.domain import access, namespaces
from registry.domain.new_files import new_file
from registry.domain.operation import backup_file, backups, cleanup, table_rows
from registry.domain.operation.backup_file import Manifest, ObjectsSummary, TableSummary, Writer
from registry.domain.operation.verification import Defect, Finding
from registry.domain.packages import deletion
from registry.errors import BackupRefused, BackupUnderWay, ConfigurationError, RecordNotFound
from registry.models import Namespace, Package, PackageFile, Project, User
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.conftest import SECRET_KEY
from tests.domain.operation.installations import (
    NOW,
    Make,
    Restore,
    create,
    is_new,
    members,
    new_installation,
    objects,
    rows,
)
from tests.fakes.s3 import S3Server


def test_every_row_and_every_object_is_restored(origin: Flask, backup: Path, other: Flask, restore: Restore) -> None:
    restore(other)

    assert [name for name, found in rows(origin).items() if not found] == [], "furnish has to fill every table"
    assert rows(other) == rows(origin)
    assert objects(other) == objects(origin)
    with other.app_context():
        database.check_schema()


def test_missing_values_are_restored_as_null_and_not_as_json(backup: Path, other: Flask, restore: Restore) -> None:
    restore(other)

    with other.app_context():
        counts = [
            func.count(PackageFile.imported_pipelines),
            func.count(PackageFile.remarks),
            func.count(PackageFile.id),
        ]
        assert db.session.execute(select(*counts)).one() == (1, 0, 2)


def test_readers_are_not_answered_from_before(origin: Flask, backup: Path, other: Flask, restore: Restore) -> None:
    restore(other)

    with origin.app_context():
        before = factories.content_generation()
    with other.app_context():
        assert factories.content_generation() > before


def test_an_id_is_not_given_again_after_its_record_was_deleted(
    origin: Flask, backup: Path, other: Flask, restore: Restore
) -> None:
    restore(other)

    with other.app_context():
        assert [user["username"] for user in rows(origin)["users"]] == ["dora"]
        assert factories.user("next").id == 3


def test_the_key_of_the_secrets_is_restored(origin: Flask, backup: Path, other: Flask, restore: Restore) -> None:
    file: Path = other.config["SECRET_KEY_FILE"]
    assert file.read_text() != origin.config["SECRET_KEY_FILE"].read_text()

    restore(other)

    assert file.read_text() == origin.config["SECRET_KEY_FILE"].read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_installation_moves_to_the_other_database_and_back(
    origin: Flask, backup: Path, other: Flask, restore: Restore, path: Path, tmp_path: Path
) -> None:
    first = members(backup)
    restore(other)
    with other.app_context():
        factories.user("next")
    path.unlink()

    create(new_installation(tmp_path / "other", DATABASE_URL=other.config["DATABASE_URL"]), path)
    restore(back := new_installation(tmp_path / "back"))

    second = members(path)
    assert second["secret_key"] == first["secret_key"]
    assert second["objects.txt"] == first["objects.txt"]
    assert second["tables/package_files.jsonl"] == first["tables/package_files.jsonl"]
    assert rows(back) == rows(other)
    assert objects(back) == objects(origin)
    with back.app_context():
        assert factories.user("last").id == factories.user("very-last").id - 1 == 4
        db.engine.dispose()


def test_an_installation_moves_into_an_object_store_and_back(
    origin: Flask, backup: Path, restore: Restore, s3: S3Server, tmp_path: Path
) -> None:
    in_store = new_installation(tmp_path / "in store", STORAGE_URL=s3.address(), **s3.settings)

    restore(in_store)

    create(in_store, tmp_path / "again.tar")
    names = {name for name in members(backup) if name.startswith("objects/")}
    assert {name: members(tmp_path / "again.tar")[name] for name in names} == {
        name: members(backup)[name] for name in names
    }
    link = in_store.extensions["storage"].link(object_key(build_sdist().sha256))
    with requests.get(link, timeout=30) as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="demo-1.0.tar.gz"'


class ReadMeanwhile(LocalStorage):
    """A store in which something happens when the first object is read: the rows of the backup have been then."""

    def __init__(self, storage: Storage, happens: Callable[[], object]) -> None:
        super().__init__(storage.root)  # type: ignore[attr-defined]
        self._happens: Callable[[], object] | None = happens

    def open(self, key: str) -> BinaryIO:
        if self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
        return super().open(key)


def test_the_rows_are_those_of_one_moment(
    project: Project, demo_files: list[PackageFile], make: Make, path: Path
) -> None:
    published: list[PackageFile] = []

    def publish_meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM users" in statement and not published:
            published.append(demo_files[0])  # once
            published.append(factories.published(project, build_wheel("newer")))

    event.listen(db.engine, "before_cursor_execute", publish_meanwhile)
    make()
    event.remove(db.engine, "before_cursor_execute", publish_meanwhile)

    assert len(published) == 2
    assert not [name for name, content in members(path).items() if b"newer" in content]


def test_files_published_during_a_backup_are_not_in_it(
    project: Project, demo_files: list[PackageFile], storage: Storage, make: Make, other: Flask, restore: Restore
) -> None:
    make(ReadMeanwhile(storage, lambda: factories.published(project, build_wheel("newer"))))

    restore(other)

    with other.app_context():
        assert sorted(db.session.scalars(select(Package.name))) == ["demo"]
        assert len(objects(other)) == 3


def test_files_deleted_during_a_backup_are_in_it(
    project: Project,
    demo_files: list[PackageFile],
    storage: Storage,
    make: Make,
    other: Flask,
    restore: Restore,
    problems: list[Finding],
) -> None:
    def delete_and_clean_up() -> None:
        namespaces.delete_namespace(project, by=access.SHELL)
        with pytest.raises(BackupUnderWay, match="A backup is being made"):
            cleanup.run(storage, utcnow() + timedelta(days=2))
        with pytest.raises(BackupUnderWay, match="A backup is being made"):
            list(cleanup.remove_orphans(storage, stored_before=utcnow() + timedelta(days=2)))

    make(ReadMeanwhile(storage, delete_and_clean_up))
    restore(other)

    assert problems == []
    with other.app_context():
        assert len(list(db.session.scalars(select(PackageFile)))) == 2
        assert len(objects(other)) == 3
    assert cleanup.run(storage, utcnow() + timedelta(days=2)).objects == 3


def test_a_backup_waits_for_a_running_removal(app: Flask, make: Make, path: Path) -> None:
    def make_in_another_thread() -> None:
        with app.app_context():
            make()

    thread = threading.Thread(target=make_in_another_thread)
    with database.objects_removable() as removable, database.objects_removable() as removable_beside_another:
        thread.start()
        thread.join(0.3)
        assert (removable, removable_beside_another, thread.is_alive()) == (True, True, True)
    thread.join(30)

    assert path.exists()


def test_objects_of_a_refused_upload_stay_during_a_backup(project: Project, developer: User, storage: Storage) -> None:
    """The backup can be about to copy it, although its row was deleted since."""

    def upload() -> None:
        with db.engine.begin() as connection:
            connection.execute(delete(User).where(User.id == developer.id))
        with pytest.raises(RecordNotFound):
            factories.published(project, build_wheel(), by=factories.signed_in(developer))

    with database.objects_kept():
        upload()

    assert storage.exists(object_key(build_wheel().sha256))


def test_deleted_files_are_not_copied(project: Project, demo_files: list[PackageFile], make: Make, path: Path) -> None:
    wheel, sdist = demo_files
    deletion.delete_file(wheel, db.session.get_one(Package, wheel.package_id), project, by=access.SHELL)

    make()

    copied = {name.rpartition("/")[2] for name in members(path) if name.startswith("objects/")}
    assert copied == {sdist.sha256, sdist.core_metadata_sha256}


@pytest.fixture
def broken(demo_files: list[PackageFile], storage: Storage) -> list[Finding]:
    """The wheel is missing and the sdist damaged."""
    wheel, sdist = demo_files
    storage.delete(object_key(wheel.sha256))
    (storage.root / object_key(sdist.sha256)).write_bytes(b"x" * sdist.size_bytes)  # type: ignore[attr-defined]
    found = [(Defect.MISSING, wheel), (Defect.DAMAGED, sdist)]
    return [Finding(defect, object_key(file.sha256), (f"acme/tools: {file.filename}",)) for defect, file in found]


def by_key(problems: list[Finding]) -> list[Finding]:
    return sorted(problems, key=lambda problem: problem.key)


def test_missing_and_damaged_objects_are_reported_and_prevent_a_backup(
    broken: list[Finding], make: Make, path: Path, problems: list[Finding]
) -> None:
    with pytest.raises(BackupRefused, match=r"^2 objects are missing or damaged, so no backup was made; --allow"):
        make()

    assert by_key(problems) == by_key(broken)
    assert os.listdir(path.parent) == []


def test_missing_and_damaged_objects_are_left_out_on_request(
    broken: list[Finding], make: Make, other: Flask, restore: Restore, problems: list[Finding]
) -> None:
    make(allow_missing=True)
    problems.clear()
    with pytest.raises(BackupRefused, match=r"^2 objects are missing or damaged, so nothing was restored; --allow"):
        restore(other)
    assert is_new(other)
    assert by_key(problems) == by_key([Finding(Defect.MISSING, problem.key) for problem in broken])

    restore(other, allow_missing=True)

    assert len(objects(other)) == 1
    assert len(rows(other)["package_files"]) == 2


def test_an_inventory_lists_the_objects_and_reads_none(
    demo_files: list[PackageFile], storage: Storage, make: Make, path: Path
) -> None:
    make(ReadMeanwhile(storage, lambda: pytest.fail("an object was read")), inventory=True)

    listed = {object_key(line.split("  ")[0]) for line in members(path)["objects.txt"].decode().splitlines()}
    assert listed == {found.key for found in storage.objects()}
    assert [name for name in members(path) if name.startswith("objects/")] == []


def test_an_inventory_is_restored_beside_the_objects_in_the_store(
    app: Flask,
    project: Project,
    demo_files: list[PackageFile],
    storage: Storage,
    make: Make,
    other: Flask,
    restore: Restore,
) -> None:
    make(inventory=True)
    factories.published(project, build_wheel("newer"))

    restore(other, storage)

    assert len(rows(other)["package_files"]) == 2


def test_an_inventory_is_not_restored_where_objects_are_missing_or_damaged(
    broken: list[Finding], storage: Storage, make: Make, other: Flask, restore: Restore, problems: list[Finding]
) -> None:
    make(inventory=True)

    with pytest.raises(BackupRefused, match=r"^2 objects are missing or damaged, so nothing was restored"):
        restore(other, storage)

    assert by_key(problems) == by_key([Finding(problem.defect, problem.key) for problem in broken])
    with other.app_context():
        assert database.schema_version() is None


def test_a_database_with_records_is_not_restored_into(backup: Path, other: Flask, restore: Restore) -> None:
    with other.app_context():
        database.upgrade()
        factories.user("root")
    before = rows(other)

    with pytest.raises(BackupRefused, match=r"^The database is not empty;"):
        restore(other)

    assert rows(other) == before
    assert objects(other) == {}


def test_a_database_that_was_only_made_is_restored_into(
    origin: Flask, backup: Path, other: Flask, restore: Restore
) -> None:
    with other.app_context():
        database.upgrade()

    restore(other)

    assert rows(other) == rows(origin)


def test_the_tables_of_another_program_are_left_alone(backup: Path, other: Flask, restore: Restore) -> None:
    with other.app_context(), db.engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (name TEXT)"))

    with pytest.raises(BackupRefused, match=r"^The database is not empty;"):
        restore(other)


def test_a_store_with_objects_is_not_restored_into(
    origin: Flask, backup: Path, untouched: Flask, restore: Restore
) -> None:
    with pytest.raises(BackupRefused, match=r"^The package store is not empty;"):
        restore(untouched, origin.extensions["storage"])

    assert is_new(untouched)


def test_another_secret_key_that_is_set_is_not_replaced(backup: Path, restore: Restore, tmp_path: Path) -> None:
    keyed = new_installation(tmp_path / "keyed", SECRET_KEY="another key, which is long enough to pass")

    with pytest.raises(BackupRefused, match=r"^REGISTRY_SECRET_KEY, or SECRET_KEY in config.py, differs from"):
        restore(keyed)

    assert is_new(keyed)


def test_the_same_secret_key_that_is_set_stays_set(
    origin: Flask, backup: Path, restore: Restore, tmp_path: Path
) -> None:
    keyed = new_installation(tmp_path / "keyed", SECRET_KEY=origin.config["SECRET_KEY"])

    restore(keyed)

    assert rows(keyed) == rows(origin)
    assert not (tmp_path / "keyed" / "secret_key").exists()


def rewrite(path: Path, content: Callable[[bytes], bytes] = bytes, **changes: object) -> None:
    """Give the backup other content and another description, without damage."""
    with backup_file.opened(path) as backup:
        manifest = backup.manifest
    before = members(path)
    path.unlink()
    with new_file(path, BackupRefused) as file:
        writer = Writer(file, NOW)
        for name, was in list(before.items())[1:-1]:
            with writer.member(name) as member:
                member.write(content(was))
        writer.finish(replace(manifest, members=writer.digests, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema_version": "9999"}, r"was made by registry 9\.0, with a database schema \(9999\) that this"),
        ({"format": 2}, r"was made by registry 9\.0 in a format that this version does not support\.$"),
    ],
    ids=["schema", "format"],
)
def test_a_backup_of_a_newer_registry_is_refused(
    backup: Path, untouched: Flask, restore: Restore, changes: dict[str, Any], sentence: str
) -> None:
    rewrite(backup, registry_version="9.0", **changes)

    with pytest.raises(BackupRefused, match=sentence):
        restore(untouched)

    assert is_new(untouched)


class FullAfter(LocalStorage):
    """A store that takes so many objects and then fails."""

    def __init__(self, storage: Storage, number: int) -> None:
        super().__init__(storage.root)  # type: ignore[attr-defined]
        self._left = number

    def put_all(self, contents: Any) -> None:
        if self._left < len(contents):
            raise KeyboardInterrupt
        self._left -= len(contents)
        super().put_all(contents)


def test_an_interrupted_restoration_is_not_served_and_resumes_with_the_same_command(
    origin: Flask, backup: Path, other: Flask, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "BATCH", 2)
    with pytest.raises(KeyboardInterrupt):
        restore(other, FullAfter(other.extensions["storage"], 2))
    assert len(objects(other)) == 2
    with other.app_context():
        for start in (database.upgrade, database.check_schema):
            with pytest.raises(ConfigurationError, match="run 'pypi-registry backup restore' with the same file again"):
                start()

    restore(other)

    assert rows(other) == rows(origin)
    assert objects(other) == objects(origin)


def test_rows_that_the_database_refuses_are_reported(backup: Path, other: Flask, restore: Restore) -> None:
    rewrite(backup, lambda was: was.replace(b'"project_id":4', b'"project_id":999'))

    with pytest.raises(BackupRefused, match=r"^The database rejects the rows of \w+: .*(?i:foreign key).*\.$"):
        restore(other)

    with other.app_context():
        assert database.is_restoring()


@pytest.fixture
def old_backup(path: Path, tmp_path: Path) -> Path:
    """A backup without objects, from before yanks, statuses and identical uploads existed."""
    path.parent.mkdir()
    old = new_installation(tmp_path / "old")
    at = "'2026-01-01 00:00:00.000000'"
    statements = (
        "INSERT INTO users (id, username, username_key, email, email_key, name, must_change_password, state, is_admin,"
        " is_external, private_profile, can_create_group, projects_limit, bio, note, created_at) VALUES"
        f" (7, 'olivia', 'olivia', 'o@example.com', 'o@example.com', 'O', 0, 'active', 1, 0, 0, 1, 10, '', '', {at})",
        "INSERT INTO namespaces (id, kind, path, full_path, full_path_key, name, full_name, description, visibility,"
        " parent_id, created_at, updated_at) VALUES"
        f" (3, 'project', 't', 'a/t', 'a/t', 'T', 'T', '', 0, 5, {at}, {at}),"
        f" (5, 'group', 'a', 'a', 'a', 'A', 'A', '', 0, NULL, {at}, {at})",
    )
    with old.app_context():
        schema._migrate("0002")
        with db.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        with new_file(path, BackupRefused) as file, db.engine.connect() as connection:
            writer, tables, found = Writer(file, NOW), {}, MetaData()
            found.reflect(connection, only=lambda name, _: name != "alembic_version")
            with writer.member("secret_key") as member:
                member.write(SECRET_KEY.encode())
            for table in found.sorted_tables:
                lines = list(table_rows.dump(connection, table))
                tables[table.name] = TableSummary(len(lines), 17 if table.name == "users" else None)
                with writer.member(f"tables/{table.name}.jsonl") as member:
                    member.write(b"".join(lines))
            with writer.member("objects.txt"):
                pass
            none = ObjectsSummary(0, 0, 0)
            writer.finish(Manifest("2026-01-01", "0.0.1", "0002", False, tables, none, writer.digests))
        db.engine.dispose()
    return path


def test_a_backup_of_an_older_registry_is_brought_up_to_date(old_backup: Path, other: Flask, restore: Restore) -> None:
    assert restore(other).schema_version == "0002"

    with other.app_context():
        database.check_schema()
        user = db.session.get_one(User, 7)
        assert (user.username, user.created_at.isoformat()) == ("olivia", "2026-01-01T00:00:00+00:00")
        project = db.session.get_one(Namespace, 3)
        assert isinstance(project, Project)
        assert (project.parent_id, project.identical_upload_accepted) == (5, None)
        assert factories.user("next").id == 18


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into Linux's /proc")
def test_the_disk_has_the_secret_key_before_its_name_and_then_the_name(
    backup: Path, other: Flask, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    file: Path = other.config["SECRET_KEY_FILE"]
    before, sync, seen = file.read_text(), os.fsync, []

    def noting(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name.startswith(".secret_key-") or path == file.parent:
            seen.append((path.name, file.read_text() != before))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    restore(other)

    key, folder = seen
    assert key[0].startswith(".secret_key-")
    assert key[1] is False
    assert folder == (file.parent.name, True)


def test_an_object_that_changes_after_it_was_checked_is_not_restored(
    origin: Flask, backup: Path, other: Flask, restore: Restore
) -> None:
    content = max(objects(origin).values(), key=len)

    def damaging(label: str, total: int, items: Iterable[Any]) -> Iterable[Any]:
        if label == "Restoring":
            backup.write_bytes(backup.read_bytes().replace(content, content[:-1] + b"x"))
        return items

    with pytest.raises(BackupRefused, match="changed during the restore"):
        restore(other, progress=damaging)

    assert object_key(sha256(content).hexdigest()) not in objects(other)
