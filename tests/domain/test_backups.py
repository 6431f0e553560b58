from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import alembic.command
import pytest
import requests
from flask import Flask
from sqlalchemy import MetaData, delete, event, select, text

from registry import create_app, database
from registry.database import Model, db, schema, transaction, utcnow
from registry.domain import access, namespaces
from registry.domain.accounts import users
from registry.domain.operation import backup_file, backups, cleanup, table_rows
from registry.domain.operation.backup_file import Manifest, ObjectsSummary, TableSummary, Writer
from registry.domain.operation.verification import Defect, Finding
from registry.domain.packages import deletion, releases
from registry.errors import BackupRefused, BackupUnderWay, ConfigurationError, RecordNotFound
from registry.models import (
    AllowedJobSource,
    FileDownloads,
    GroupPackageSettings,
    Namespace,
    NameStatus,
    Package,
    PackageFile,
    Project,
    ProtectionRule,
    Role,
    SignInFailures,
    User,
)
from registry.storage import Storage, object_key
from registry.storage.local import LocalStorage
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.conftest import SECRET_KEY
from tests.fakes.s3 import S3Server

NOW = utcnow()
Make = Callable[..., Path]
Restore = Callable[..., Manifest]


def new_installation(folder: Path, **settings: object) -> Flask:
    return create_app({"INSTANCE_PATH": folder, **settings})


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An installation that has something in every table and two files in its store; no test changes it."""
    app = new_installation(tmp_path_factory.mktemp("origin"))
    with app.app_context():
        database.upgrade()
        furnish()
        db.engine.dispose()
    return app


def furnish() -> None:
    early, later = factories.group("early"), factories.group("later")
    project = factories.project("tools", parent=factories.group("acme"))
    developer = factories.member(project, Role.DEVELOPER, "dora", password="a pass phrase")
    namespaces.add_member(later, developer, Role.OWNER, expires_on=date(2040, 2, 29), by=access.SHELL)
    namespaces.transfer(early, later, by=access.SHELL)
    users.delete_user(factories.user("last"), by=access.SHELL)
    factories.access_token(developer)
    factories.deploy_token(project)
    factories.published(project, build_wheel(description="Überall 🎉\n"), by=factories.by_job(project, developer))
    sdist = factories.published(project, build_sdist())
    releases.set_name_status(project, "demo", NameStatus.DEPRECATED, "Use another", by=access.SHELL)
    with transaction() as session:
        session.add_all([
            AllowedJobSource(project_id=project.id, source_id=later.id),
            GroupPackageSettings(group_id=later.id, pypi_package_requests_forwarding=False),
            ProtectionRule(project_id=project.id, pattern="demo*", minimum_push_role=Role.MAINTAINER),
            SignInFailures(key="0" * 64, count=3, last_at=NOW),
            FileDownloads(file_id=sdist.id, day=date(2026, 11, 24), count=7),
        ])  # fmt: skip


@pytest.fixture(scope="module")
def made(origin: Flask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backup of ``origin``."""
    path = tmp_path_factory.mktemp("made") / "registry.tar"
    create(origin, path)
    return path


def create(app: Flask, path: Path) -> None:
    with app.app_context():
        key = app.config["SECRET_KEY"]
        backups.create(path, app.extensions["storage"], secret_key=key, now=NOW, tell=pytest.fail)
        db.engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the backup of the test lies."""
    return tmp_path / "backup" / "registry.tar"


@pytest.fixture
def backup(made: Path, path: Path) -> Path:
    """A backup of ``origin`` that the test may damage."""
    path.parent.mkdir()
    path.write_bytes(made.read_bytes())
    return path


@pytest.fixture
def problems() -> list[Finding]:
    """What was told while a backup was made or restored."""
    return []


@pytest.fixture
def demo(project: Project) -> list[PackageFile]:
    """A published wheel and sdist, with the same core metadata."""
    return [factories.published(project, file) for file in (build_wheel(), build_sdist())]


@pytest.fixture
def make(app: Flask, storage: Storage, path: Path, problems: list[Finding]) -> Make:
    """Makes a backup of the tests' own installation."""
    path.parent.mkdir()

    def make(store: Storage = storage, **options: bool) -> Path:
        backups.create(path, store, secret_key=SECRET_KEY, now=NOW, tell=problems.append, **options)
        return path

    return make


@pytest.fixture
def other(tmp_path: Path, new_database: Callable[..., str]) -> Iterator[Flask]:
    """Another installation, new, on the database that the tests run with; ``origin`` is always on SQLite."""
    app = new_installation(tmp_path / "other", DATABASE_URL=new_database())
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """Another installation, which all that is refused leaves as new."""
    return new_installation(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def restore(path: Path, problems: list[Finding]) -> Restore:
    """Restores a backup into an installation."""

    def restore(app: Flask, store: Storage | None = None, **options: bool) -> Manifest:
        with app.app_context():
            return backups.restore(
                path, store or app.extensions["storage"], secret_key=app.config["SECRET_KEY"],
                secret_key_file=app.config["SECRET_KEY_FILE"], tell=problems.append, **options,
            )  # fmt: skip

    return restore


def rows(app: Flask) -> dict[str, list[dict[str, Any]]]:
    """Everything in the database but what counts changes."""
    with app.app_context(), db.engine.connect() as connection:
        return {
            table.name: [json.loads(line) for line in table_rows.dump(connection, table)]
            for table in Model.metadata.sorted_tables
            if table.name != "content_generation"
        }


def objects(app: Flask) -> dict[str, bytes]:
    root: Path = app.extensions["storage"].root
    return {found.key: (root / found.key).read_bytes() for found in app.extensions["storage"].objects()}


def is_new(app: Flask) -> bool:
    with app.app_context():
        return database.schema_version() is None and objects(app) == {}


def members(path: Path) -> dict[str, bytes]:
    """What any tar reads from a backup."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


# The same installation again ------------------------------------------------------------------------------------


def test_every_row_and_every_object_is_restored(origin: Flask, backup: Path, other: Flask, restore: Restore) -> None:
    restore(other)

    assert [name for name, found in rows(origin).items() if not found] == [], "furnish has to fill every table"
    assert rows(other) == rows(origin)
    assert objects(other) == objects(origin)
    with other.app_context():
        database.check_schema()


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


# The file -------------------------------------------------------------------------------------------------------


def test_a_backup_is_for_its_owner_alone_and_there_when_it_is_complete(make: Make, path: Path) -> None:
    make()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_common_tools_can_read_and_check_a_backup(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()

    subprocess.run(["tar", "-xf", made, "-C", folder], check=True, stderr=subprocess.PIPE)

    subprocess.run(["sha256sum", "--check", "manifest.json.sha256"], cwd=folder, check=True, stdout=subprocess.PIPE)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["tables"]["package_files"] == {"rows": 2, "last_id": 2}
    assert manifest["objects"]["listed"] == len((folder / "objects.txt").read_text().splitlines()) == 4
    stored = [file for file in (folder / "objects").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in stored) == manifest["objects"]["size_bytes"]


def test_a_backup_replaces_no_file(make: Make, path: Path) -> None:
    path.write_text("an older backup")

    with pytest.raises(BackupRefused, match="is there already"):
        make()

    assert path.read_text() == "an older backup"


def test_two_backups_into_one_file_do_not_mix(make: Make, path: Path) -> None:
    with backup_file.new(path) as first:
        with pytest.raises(BackupRefused, match=r"Another backup is being written to .*\.partial\.$"):
            make()
        first.write(b"the first one")

    assert path.read_bytes() == b"the first one"


def test_what_a_killed_backup_left_is_written_over(make: Make, path: Path) -> None:
    path.with_name("registry.tar.partial").write_bytes(b"half" * 100_000)

    make()

    backups.verify(path, tell=pytest.fail)
    assert os.listdir(path.parent) == [path.name]


# Beside uploads and cleanups ------------------------------------------------------------------------------------


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


def test_the_rows_are_those_of_one_moment(project: Project, demo: list[PackageFile], make: Make, path: Path) -> None:
    published: list[PackageFile] = []

    def publish_meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM users" in statement and not published:
            published.append(demo[0])  # once
            published.append(factories.published(project, build_wheel("newer")))

    event.listen(db.engine, "before_cursor_execute", publish_meanwhile)
    make()
    event.remove(db.engine, "before_cursor_execute", publish_meanwhile)

    assert len(published) == 2
    assert not [name for name, content in members(path).items() if b"newer" in content]


def test_what_is_published_while_a_backup_is_made_is_not_in_it(
    project: Project, demo: list[PackageFile], storage: Storage, make: Make, other: Flask, restore: Restore
) -> None:
    make(ReadMeanwhile(storage, lambda: factories.published(project, build_wheel("newer"))))

    restore(other)

    with other.app_context():
        assert sorted(db.session.scalars(select(Package.name))) == ["demo"]
        assert len(objects(other)) == 3


def test_what_is_deleted_while_a_backup_is_made_is_in_it(
    project: Project,
    demo: list[PackageFile],
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


def test_a_backup_waits_for_a_removal_under_way(app: Flask, make: Make, path: Path) -> None:
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


def test_what_a_refused_upload_stored_stays_while_a_backup_is_made(
    project: Project, developer: User, storage: Storage
) -> None:
    """It may be what the backup is about to copy, whose row was deleted since."""

    def upload() -> None:
        with db.engine.begin() as connection:
            connection.execute(delete(User).where(User.id == developer.id))
        with pytest.raises(RecordNotFound):
            factories.published(project, build_wheel(), by=factories.signed_in(developer))

    with database.objects_kept():
        upload()

    assert storage.exists(object_key(build_wheel().sha256))


def test_deleted_files_are_not_copied(project: Project, demo: list[PackageFile], make: Make, path: Path) -> None:
    wheel, sdist = demo
    deletion.delete_file(wheel, db.session.get_one(Package, wheel.package_id), project, by=access.SHELL)

    make()

    copied = {name.rpartition("/")[2] for name in members(path) if name.startswith("objects/")}
    assert copied == {sdist.sha256, sdist.core_metadata_sha256}


# Missing and damaged objects ------------------------------------------------------------------------------------


@pytest.fixture
def broken(demo: list[PackageFile], storage: Storage) -> list[Finding]:
    """The wheel is missing and the sdist damaged."""
    wheel, sdist = demo
    storage.delete(object_key(wheel.sha256))
    (storage.root / object_key(sdist.sha256)).write_bytes(b"x" * sdist.size_bytes)  # type: ignore[attr-defined]
    found = [(Defect.MISSING, wheel), (Defect.DAMAGED, sdist)]
    return [Finding(defect, object_key(file.sha256), (f"acme/tools: {file.filename}",)) for defect, file in found]


def by_key(problems: list[Finding]) -> list[Finding]:
    return sorted(problems, key=lambda problem: problem.key)


def test_no_backup_is_made_of_missing_and_damaged_objects_which_are_told(
    broken: list[Finding], make: Make, path: Path, problems: list[Finding]
) -> None:
    with pytest.raises(BackupRefused, match=r"^2 objects are missing or damaged, so no backup was made; with --allow"):
        make()

    assert by_key(problems) == by_key(broken)
    assert os.listdir(path.parent) == []


def test_missing_and_damaged_objects_are_left_out_if_one_says_so(
    broken: list[Finding], make: Make, other: Flask, restore: Restore, problems: list[Finding]
) -> None:
    make(allow_missing=True)
    problems.clear()
    with pytest.raises(
        BackupRefused, match=r"^2 objects are missing or damaged, so nothing was restored; with --allow"
    ):
        restore(other)
    assert is_new(other)
    assert by_key(problems) == by_key([Finding(Defect.MISSING, problem.key) for problem in broken])

    restore(other, allow_missing=True)

    assert len(objects(other)) == 1
    assert len(rows(other)["package_files"]) == 2


# An inventory ---------------------------------------------------------------------------------------------------


def test_an_inventory_lists_the_objects_and_reads_none(
    demo: list[PackageFile], storage: Storage, make: Make, path: Path
) -> None:
    make(ReadMeanwhile(storage, lambda: pytest.fail("an object was read")), inventory=True)

    listed = {object_key(line.split("  ")[0]) for line in members(path)["objects.txt"].decode().splitlines()}
    assert listed == {found.key for found in storage.objects()}
    assert [name for name in members(path) if name.startswith("objects/")] == []


def test_an_inventory_is_restored_beside_the_objects_in_the_store(
    app: Flask, project: Project, demo: list[PackageFile], storage: Storage, make: Make, other: Flask, restore: Restore
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


# Damaged backups ------------------------------------------------------------------------------------------------


def place_of(path: Path, name: str) -> tarfile.TarInfo:
    with tarfile.open(path) as archive:
        return archive.getmember(name)


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def without(path: Path, name: str) -> None:
    """Write the archive anew, as tar would, without one member."""
    kept = members(path)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for other, content in kept.items():
            if other != name:
                entry = tarfile.TarInfo(other)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


DAMAGES = {
    "in the manifest": lambda path: flip(path, place_of(path, "manifest.json").offset_data + 30),
    "in the secret key": lambda path: flip(path, place_of(path, "secret_key").offset_data),
    "in a table": lambda path: flip(path, place_of(path, "tables/users.jsonl").offset_data + 20),
    "in the list of objects": lambda path: flip(path, place_of(path, "objects.txt").offset_data + 5),
    "in the header of a member": lambda path: flip(path, place_of(path, "objects.txt").offset + 5),
    "in the seal": lambda path: flip(path, place_of(path, "manifest.json.sha256").offset_data),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut before the seal": lambda path: os.truncate(path, place_of(path, "manifest.json.sha256").offset),
    "cut in the seal": lambda path: os.truncate(path, place_of(path, "manifest.json.sha256").offset_data + 10),
    "cut to nothing": lambda path: os.truncate(path, 0),
    "a table missing": lambda path: without(path, "tables/users.jsonl"),
    "no secret key": lambda path: without(path, "secret_key"),
    "no manifest": lambda path: without(path, "manifest.json"),
    "no backup": lambda path: path.write_bytes(os.urandom(100_000)),
    "another archive": lambda path: path.write_bytes(build_sdist().content),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_backup_is_refused_and_the_installation_stays_new(
    backup: Path, untouched: Flask, restore: Restore, damage: Callable[[Path], None]
) -> None:
    damage(backup)

    for use in (lambda: restore(untouched, allow_missing=True), lambda: backups.verify(backup, tell=pytest.fail)):
        with pytest.raises(BackupRefused, match=rf"^(The backup )?{backup} is (damaged: .*|no backup.*)\.$"):
            use()
    assert is_new(untouched)


@pytest.mark.parametrize(
    ("damage", "defect"),
    [
        (lambda path, name: flip(path, place_of(path, name).offset_data + 40), Defect.DAMAGED),
        (without, Defect.MISSING),
    ],
    ids=["damaged", "missing"],
)
def test_what_is_left_of_a_backup_with_a_broken_object_can_be_restored(
    origin: Flask, backup: Path, other: Flask, restore: Restore, problems: list[Finding],
    damage: Callable[[Path, str], None], defect: Defect,
) -> None:  # fmt: skip
    digest = build_sdist().sha256
    damage(backup, backup_file.object_name(digest))
    told: list[Finding] = []
    backups.verify(backup, tell=told.append)
    assert told == [Finding(defect, object_key(digest))]
    with pytest.raises(BackupRefused, match=r"^1 objects are missing or damaged"):
        restore(other)
    assert is_new(other)

    restore(other, allow_missing=True)

    assert objects(origin).keys() - objects(other).keys() == {object_key(digest)}
    assert problems == told * 2


# What is refused ------------------------------------------------------------------------------------------------


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

    with pytest.raises(BackupRefused, match=r"^REGISTRY_SECRET_KEY, or SECRET_KEY in config.py, is another key"):
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
    """Make the backup one with other content, and other things said of it, and nothing damaged."""
    with backup_file.opened(path) as backup:
        manifest = backup.manifest
    before = members(path)
    path.unlink()
    with backup_file.new(path) as file:
        writer = Writer(file, NOW)
        for name, was in list(before.items())[1:-1]:
            with writer.member(name) as member:
                member.write(content(was))
        writer.finish(replace(manifest, members=writer.digests, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema_version": "9999"}, r"was made by registry 9\.0, with a database schema \(9999\) that this one does"),
        ({"format": 2}, r"was made by registry 9\.0 in a form that this one does not know\.$"),
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


# Stopped half-way -----------------------------------------------------------------------------------------------


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


def test_a_restoration_that_was_stopped_serves_nobody_and_goes_on_with_the_same_command(
    origin: Flask, backup: Path, other: Flask, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "BATCH", 2)
    with pytest.raises(KeyboardInterrupt):
        restore(other, FullAfter(other.extensions["storage"], 2))
    assert len(objects(other)) == 2
    with other.app_context():
        for start in (database.upgrade, database.check_schema):
            with pytest.raises(ConfigurationError, match="run 'flask backup restore' with the same file again"):
                start()

    restore(other)

    assert rows(other) == rows(origin)
    assert objects(other) == objects(origin)


def test_rows_that_the_database_does_not_take_are_told(backup: Path, other: Flask, restore: Restore) -> None:
    rewrite(backup, lambda was: was.replace(b'"project_id":4', b'"project_id":999'))

    with pytest.raises(BackupRefused, match=r"^This database does not take the rows of \w+: .*(?i:foreign key).*\.$"):
        restore(other)

    with other.app_context():
        assert database.is_restoring()


# Another version ------------------------------------------------------------------------------------------------


@pytest.fixture
def old_backup(path: Path, tmp_path: Path) -> Path:
    """As a registry made it that knew nothing yet of yanks, statuses and identical uploads: without objects."""
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
        alembic.command.upgrade(schema._alembic_config(), "0002")
        with db.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        with backup_file.new(path) as file, db.engine.connect() as connection:
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
