"""Backups: an installation copied into one file while it serves, checked, and restored into an empty one.

The rows are read in one snapshot of the database. The objects that it refers to are copied afterwards, which is as
good, since they never change and none is removed meanwhile. The form is the same for both databases.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, MetaData, func, literal, select, union_all
from sqlalchemy.exc import DataError, IntegrityError

from registry import database
from registry.database import Model
from registry.domain.operation import backup_file, table_rows, verification
from registry.domain.operation.backup_file import (
    CHUNK_BYTES,
    Manifest,
    Member,
    ObjectsSummary,
    Reader,
    TableSummary,
    Writer,
)
from registry.domain.operation.verification import Defect, Defective, Finding
from registry.errors import BackupRefused
from registry.models import FileStatus, PackageFile
from registry.storage import StagedFile, Storage, digest_in, object_key

DISTRIBUTION = "private-pypi-registry"
BATCH, BATCH_BYTES = 16, 1 << 26  # of objects that are put into the store together

Thing = TypeVar("Thing")
Tell = Callable[[Finding], None]


class Watch(Protocol):
    """Passes things on, and shows meanwhile how far it is."""

    def __call__(self, what: str, total: int, things: Iterable[Thing], /) -> Iterator[Thing]: ...


def unwatched(_what: str, _total: int, things: Iterable[Thing]) -> Iterator[Thing]:
    return iter(things)


# Creating -------------------------------------------------------------------------------------------------------


def create(
    path: Path, storage: Storage, *, secret_key: str, now: datetime, tell: Tell, inventory: bool = False,
    allow_missing: bool = False, watch: Watch = unwatched,
) -> Manifest:  # fmt: skip
    """Write a backup to a new file, with everything but the configuration.

    :param tell: called with each object that is missing or damaged.
    :param inventory: list the objects instead of copying them, without looking at the store.
    :param allow_missing: leave out what is missing or damaged, instead of making no backup.
    :raises BackupRefused: the file exists, or objects are missing or damaged.
    """
    with backup_file.new(path) as file, database.objects_kept():
        writer = Writer(file, now)
        with writer.member(backup_file.SECRET_KEY) as member:
            member.write(secret_key.encode())
        tables, listed = _write_rows(writer)
        objects = ObjectsSummary(listed, 0, 0)
        if not inventory:
            objects = _write_objects(writer, storage, listed, tell, watch)
            if objects.included < listed and not allow_missing:
                raise _incomplete(listed - objects.included, "no backup was made")
        manifest = Manifest(
            created_at=now.astimezone(UTC).isoformat(timespec="seconds"), registry_version=version(DISTRIBUTION),
            schema_version=database.newest_version(), inventory=inventory, tables=tables, objects=objects,
            members=writer.digests,
        )  # fmt: skip
        writer.finish(manifest)
    return manifest


def _write_rows(writer: Writer) -> tuple[dict[str, TableSummary], int]:
    """The rows of all tables, and the list of objects that they refer to; its length beside the summary."""
    rows = {}
    with database.snapshot() as connection:
        for table in Model.metadata.sorted_tables:
            rows[table.name] = _write_lines(
                writer, backup_file.table_name(table.name), table_rows.dump(connection, table)
            )
        listed = _write_lines(writer, backup_file.OBJECTS, _referenced(connection))
        last_ids = database.last_ids(connection)
    return {name: TableSummary(number, last_ids.get(name)) for name, number in rows.items()}, listed


def _write_lines(writer: Writer, name: str, lines: Iterable[bytes]) -> int:
    number = 0
    with writer.member(name) as member:
        for line in lines:
            member.write(line)
            number += 1
    return number


def _referenced(connection: Connection) -> Iterator[bytes]:
    """The objects of all files, by digest, with a name for those that are files and not core metadata.

    What deleted files have nobody needs any more.
    """
    live = PackageFile.status == FileStatus.DEFAULT
    document = PackageFile.core_metadata_sha256
    both = union_all(
        select(PackageFile.sha256.label("digest"), PackageFile.filename).where(live),
        select(document, literal("")).where(live, document.is_not(None)),
    ).subquery()
    statement = select(both.c.digest, func.max(both.c.filename)).group_by(both.c.digest).order_by(both.c.digest)
    for digest, filename in connection.execution_options(yield_per=table_rows.BATCH).execute(statement):
        yield f"{digest}  {filename}\n".encode()


def _listed(backup: Writer | Reader) -> Iterator[tuple[str, str]]:
    """Digest and file name of every object."""
    with backup.contents(backup_file.OBJECTS) as lines:
        for line in lines:
            digest, _, filename = line.decode().rstrip("\n").partition("  ")
            yield digest, filename


def _write_objects(writer: Writer, storage: Storage, listed: int, tell: Tell, watch: Watch) -> ObjectsSummary:
    included = size_bytes = 0
    for digest, _ in watch("Copying", listed, _listed(writer)):
        try:
            with writer.member(backup_file.object_name(digest)) as member:
                for chunk in verification.content(storage, digest):
                    member.write(chunk)
        except Defective as error:
            tell(Finding(error.defect, object_key(digest), verification.files_with(digest)))
        else:
            included += 1
            size_bytes += member.size_bytes
    return ObjectsSummary(listed, included, size_bytes)


def _incomplete(number: int, so: str) -> BackupRefused:
    return BackupRefused(f"{number} objects are missing or damaged, so {so}; with --allow-missing they are left out.")


# Verifying ------------------------------------------------------------------------------------------------------


def verify(path: Path, *, tell: Tell, watch: Watch = unwatched) -> Manifest:
    """Read a backup to its end and compare every digest.

    :param tell: called with each object that is missing or damaged.
    :raises BackupRefused: it cannot be read, or something else in it is damaged; nothing of it can be restored then.
    """
    with backup_file.opened(path) as backup:
        for problem in _problems(backup, watch):
            tell(problem)
        return backup.manifest


def _problems(backup: Reader, watch: Watch) -> Iterator[Finding]:
    backup.refuse_damaged()
    if backup.manifest.inventory:
        return
    for digest, _, member in watch("Checking", backup.manifest.objects.listed, _objects(backup)):
        if member is None:
            yield Finding(Defect.MISSING, object_key(digest))
        elif backup.digest(member) != digest:
            yield Finding(Defect.DAMAGED, object_key(digest))


def _objects(backup: Reader) -> Iterator[tuple[str, str, Member | None]]:
    """Digest and file name of every object that is listed, and itself if it is there; list and objects are in order."""
    members = (member for member in backup.members() if member.object_digest is not None)
    member = next(members, None)
    for digest, filename in _listed(backup):
        if member is not None and member.object_digest == digest:
            yield digest, filename, member
            member = next(members, None)
        else:
            yield digest, filename, None


# Restoring ------------------------------------------------------------------------------------------------------


def restore(
    path: Path, storage: Storage, *, secret_key: str, secret_key_file: Path | None, tell: Tell,
    allow_missing: bool = False, watch: Watch = unwatched,
) -> Manifest:  # fmt: skip
    """Fill an empty installation with what a backup holds, after every digest in it was checked.

    The rows come last, in one transaction: stopped before, the installation serves nobody and asks for the same again.

    :param secret_key: of this installation, and the file it was read from; ``None`` when it is a setting.
    :param tell: called with each object that is missing or damaged.
    :param allow_missing: leave out what is missing or damaged, instead of restoring nothing.
    :raises BackupRefused: the backup is damaged or newer than this registry, or the installation is not empty or has
        been given another secret key.
    """
    with backup_file.opened(path) as backup, database.schema_locked():
        manifest = backup.manifest
        _refuse_newer(manifest, path)
        _refuse_occupied(storage, manifest)
        kept_key = _secret_key(backup)
        if kept_key != secret_key and secret_key_file is None:
            raise BackupRefused(
                "REGISTRY_SECRET_KEY, or SECRET_KEY in config.py, is another key than that of the backup; "
                "without it the key of the backup is used."
            )
        problems = [*_problems(backup, watch), *(_store_problems(backup, storage, watch) if manifest.inventory else ())]
        for problem in problems:
            tell(problem)
        if problems and not allow_missing:
            raise _incomplete(len(problems), "nothing was restored")
        database.begin_restoring(manifest.schema_version)
        _restore_objects(backup, storage, {problem.key for problem in problems}, watch)
        if secret_key_file is not None:
            _write_key(secret_key_file, kept_key)
        _restore_rows(backup)
    return manifest


def _secret_key(backup: Reader) -> str:
    with backup.contents(backup_file.SECRET_KEY) as file:
        return file.read().decode("utf-8", "replace")  # whether it is damaged is found out with all the rest


def _refuse_newer(manifest: Manifest, path: Path) -> None:
    if not database.knows(manifest.schema_version):
        raise BackupRefused(
            f"{path} was made by registry {manifest.registry_version}, with a database schema "
            f"({manifest.schema_version}) that this one does not know; restore it with that version, or a later one."
        )


def _refuse_occupied(storage: Storage, manifest: Manifest) -> None:
    where = "a backup is restored into an installation that was not started before"
    if database.holds_records():
        raise BackupRefused(f"The database is not empty; {where}.")
    is_fresh = not manifest.inventory and not database.is_restoring()
    if is_fresh and any(digest_in(found.key) for found in storage.objects()):
        raise BackupRefused(f"The package store is not empty; {where}.")


def _store_problems(backup: Reader, storage: Storage, watch: Watch) -> Iterator[Finding]:
    """What is listed is in the store already, restored there by other means."""
    for digest, _ in watch("Checking the store", backup.manifest.objects.listed, _listed(backup)):
        defect = verification.defect(storage, digest)
        if defect is not None:
            yield Finding(defect, object_key(digest))


def _restore_objects(backup: Reader, storage: Storage, left_out: set[str], watch: Watch) -> None:
    batch: list[tuple[Member, str]] = []
    for digest, filename, member in watch("Restoring", backup.manifest.objects.listed, _objects(backup)):
        if member is None or object_key(digest) in left_out:
            continue
        batch.append((member, filename))
        if len(batch) == BATCH or sum(member.size_bytes for member, _ in batch) >= BATCH_BYTES:
            _put(backup, storage, batch)
            batch = []
    if batch:
        _put(backup, storage, batch)


def _put(backup: Reader, storage: Storage, members: list[tuple[Member, str]]) -> None:
    with ExitStack() as files:
        contents: dict[str, StagedFile] = {}
        for member, filename in members:
            staged = files.enter_context(closing(storage.stage()))
            staged.filename = filename
            with backup.open(member) as source:
                while chunk := source.read(CHUNK_BYTES):
                    staged.write(chunk)
            if staged.sha256 != member.object_digest:
                raise backup.damaged(f"{member.name} is not what it was a moment ago")
            contents[object_key(staged.sha256)] = staged
        storage.put_all(contents)


def _write_key(path: Path, key: str) -> None:
    """Whole or not at all, as what the rows hold of tokens is worth nothing without it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret_key-", delete=False) as file:  # mode 0600
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    backup_file.sync_folder(path.parent)


def _restore_rows(backup: Reader) -> None:
    tables = backup.manifest.tables
    with database.restored(backup.manifest.schema_version) as connection:
        present = MetaData()
        present.reflect(connection, only=list(tables))
        for table in reversed(present.sorted_tables):
            connection.execute(table.delete())  # what the migrations filled in
        for table in present.sorted_tables:
            with backup.contents(backup_file.table_name(table.name)) as lines:
                try:
                    table_rows.load(connection, table, lines)
                except (DataError, IntegrityError) as error:
                    raise BackupRefused(
                        f"This database does not take the rows of {table.name}: {' '.join(str(error.orig).split())}."
                    ) from error
        last_ids = {name: summary.last_id for name, summary in tables.items() if summary.last_id}
        database.set_last_ids(connection, last_ids)
