"""Backups: copy a running installation to one file, verify it, and restore it into an empty installation.

Rows are read in one database snapshot. The objects that they refer to are copied afterwards; the result is consistent
because objects never change and cleanups, which remove them, are refused during a backup. The format is the same for
both databases.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, MetaData, func, literal, select, union_all
from sqlalchemy.exc import DataError, IntegrityError

from registry import database
from registry.database import Model
from registry.domain.new_files import new_file, sync_folder
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
from registry.models import IS_CACHE, FileStatus, PackageFile
from registry.product import installed_version
from registry.storage import StagedFile, Storage, digest_in, object_key

BATCH, BATCH_BYTES = 16, 1 << 26  # number and total size of objects that are stored together

Item = TypeVar("Item")
Report = Callable[[Finding], None]


class Progress(Protocol):
    """Yields the items unchanged and displays the progress."""

    def __call__(self, label: str, total: int, items: Iterable[Item], /) -> Iterator[Item]: ...


def no_progress(_label: str, _total: int, items: Iterable[Item]) -> Iterator[Item]:
    return iter(items)


def create(
    path: Path, storage: Storage, *, secret_key: str, now: datetime, report: Report, inventory: bool = False,
    allow_missing: bool = False, progress: Progress = no_progress,
) -> Manifest:  # fmt: skip
    """Write a backup of everything except the configuration and the cache of the upstream to a new file.

    :param report: called with each missing or damaged object.
    :param inventory: list the objects instead of copying them, without accessing the store.
    :param allow_missing: omit missing and damaged objects instead of aborting.
    :raises BackupRefused: the file exists, or objects are missing or damaged.
    """
    with new_file(path, BackupRefused) as file, database.objects_kept():
        writer = Writer(file, now)
        with writer.member(backup_file.SECRET_KEY) as member:
            member.write(secret_key.encode())
        tables, listed = _write_rows(writer)
        objects = ObjectsSummary(listed, 0, 0)
        if not inventory:
            objects = _write_objects(writer, storage, listed, report, progress)
            if objects.included < listed and not allow_missing:
                raise _incomplete(listed - objects.included, "no backup was made")
        manifest = Manifest(
            created_at=now.astimezone(UTC).isoformat(timespec="seconds"), registry_version=installed_version(),
            schema_version=database.newest_version(), inventory=inventory, tables=tables, objects=objects,
            members=writer.digests,
        )  # fmt: skip
        writer.finish(manifest)
    return manifest


def _write_rows(writer: Writer) -> tuple[dict[str, TableSummary], int]:
    """Write the rows of all tables, but those of caches, and the list of their objects.

    :return: a summary by table, and the length of the list.
    """
    rows = {}
    with database.snapshot() as connection:
        for table in Model.metadata.sorted_tables:
            if IS_CACHE in table.info:
                continue
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
    """Yield a line for every object of the files that are not deleted, ordered by digest."""
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
    """Yield digest and file name of every listed object."""
    with backup.contents(backup_file.OBJECTS) as lines:
        for line in lines:
            digest, _, filename = line.decode().rstrip("\n").partition("  ")
            yield digest, filename


def _write_objects(writer: Writer, storage: Storage, listed: int, report: Report, progress: Progress) -> ObjectsSummary:
    included = size_bytes = 0
    for digest, _ in progress("Copying", listed, _listed(writer)):
        try:
            with writer.member(backup_file.object_name(digest)) as member:
                for chunk in verification.content(storage, digest):
                    member.write(chunk)
        except Defective as error:
            report(Finding(error.defect, object_key(digest), verification.files_with(digest)))
        else:
            included += 1
            size_bytes += member.size_bytes
    return ObjectsSummary(listed, included, size_bytes)


def _incomplete(number: int, consequence: str) -> BackupRefused:
    return BackupRefused(f"{number} objects are missing or damaged, so {consequence}; --allow-missing omits them.")


def verify(path: Path, *, report: Report, progress: Progress = no_progress) -> Manifest:
    """Read an entire backup and verify every digest.

    :param report: called with each missing or damaged object.
    :raises BackupRefused: the file cannot be read, or another member is damaged, so that it cannot be restored.
    """
    with backup_file.opened(path) as backup:
        for problem in _problems(backup, progress):
            report(problem)
        return backup.manifest


def _problems(backup: Reader, progress: Progress) -> Iterator[Finding]:
    backup.refuse_damaged()
    if backup.manifest.inventory:
        return
    for digest, _, member in progress("Checking", backup.manifest.objects.listed, _objects(backup)):
        if member is None:
            yield Finding(Defect.MISSING, object_key(digest))
        elif backup.digest(member) != digest:
            yield Finding(Defect.DAMAGED, object_key(digest))


def _objects(backup: Reader) -> Iterator[tuple[str, str, Member | None]]:
    """Yield digest, file name, and member of every listed object; the member is ``None`` if it is missing.

    The list and the objects have the same order.
    """
    members = (member for member in backup.members() if member.object_digest is not None)
    member = next(members, None)
    for digest, filename in _listed(backup):
        if member is not None and member.object_digest == digest:
            yield digest, filename, member
            member = next(members, None)
        else:
            yield digest, filename, None


def restore(
    path: Path, storage: Storage, *, secret_key: str, secret_key_file: Path | None, report: Report,
    allow_missing: bool = False, progress: Progress = no_progress,
) -> Manifest:  # fmt: skip
    """Restore a backup into an empty installation, after verifying every digest in it.

    The rows are restored last, in one transaction. If the restore is interrupted before, the registry refuses to start
    until the restore has been run again.

    :param secret_key: the secret key of this installation.
    :param secret_key_file: the file that contains the key; ``None`` if the key is set in the configuration.
    :param report: called with each missing or damaged object.
    :param allow_missing: omit missing and damaged objects instead of aborting.
    :raises BackupRefused: the backup is damaged or newer than this registry, or the installation is not empty or is
        configured with a different secret key.
    """
    with backup_file.opened(path) as backup, database.schema_locked():
        manifest = backup.manifest
        _refuse_newer(manifest, path)
        _refuse_occupied(storage, manifest)
        kept_key = _secret_key(backup)
        if kept_key != secret_key and secret_key_file is None:
            raise BackupRefused(
                "REGISTRY_SECRET_KEY, or SECRET_KEY in config.py, differs from the key in the backup; "
                "unset it to use the key in the backup."
            )
        problems = [
            *_problems(backup, progress),
            *(_store_problems(backup, storage, progress) if manifest.inventory else ()),
        ]
        for problem in problems:
            report(problem)
        if problems and not allow_missing:
            raise _incomplete(len(problems), "nothing was restored")
        database.begin_restoring(manifest.schema_version)
        _restore_objects(backup, storage, {problem.key for problem in problems}, progress)
        if secret_key_file is not None:
            _write_key(secret_key_file, kept_key)
        _restore_rows(backup)
    return manifest


def _secret_key(backup: Reader) -> str:
    with backup.contents(backup_file.SECRET_KEY) as file:
        return file.read().decode("utf-8", "replace")  # verified later, together with the other members


def _refuse_newer(manifest: Manifest, path: Path) -> None:
    if not database.knows(manifest.schema_version):
        raise BackupRefused(
            f"{path} was made by registry {manifest.registry_version}, with a database schema "
            f"({manifest.schema_version}) that this version does not support; restore it with that version or a later "
            "one."
        )


def _refuse_occupied(storage: Storage, manifest: Manifest) -> None:
    rule = "a backup can only be restored into an installation that was never started"
    if database.holds_records():
        raise BackupRefused(f"The database is not empty; {rule}.")
    is_fresh = not manifest.inventory and not database.is_restoring()
    if is_fresh and any(digest_in(found.key) for found in storage.objects()):
        raise BackupRefused(f"The package store is not empty; {rule}.")


def _store_problems(backup: Reader, storage: Storage, progress: Progress) -> Iterator[Finding]:
    """Yield the listed objects that are missing or damaged in the store, which was restored by other means."""
    for digest, _ in progress("Checking the store", backup.manifest.objects.listed, _listed(backup)):
        defect = verification.defect(storage, digest)
        if defect is not None:
            yield Finding(defect, object_key(digest))


def _restore_objects(backup: Reader, storage: Storage, left_out: set[str], progress: Progress) -> None:
    batch: list[tuple[Member, str]] = []
    for digest, filename, member in progress("Restoring", backup.manifest.objects.listed, _objects(backup)):
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
                shutil.copyfileobj(source, staged, CHUNK_BYTES)
            if staged.sha256 != member.object_digest:
                raise backup.damaged(f"{member.name} changed during the restore")
            contents[object_key(staged.sha256)] = staged
        storage.put_all(contents)


def _write_key(path: Path, key: str) -> None:
    """Write the secret key atomically, as the token digests in the rows are useless without it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret_key-", delete=False) as file:  # mode 0600
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    sync_folder(path.parent)


def _restore_rows(backup: Reader) -> None:
    tables = backup.manifest.tables
    with database.restored(backup.manifest.schema_version) as connection:
        present = MetaData()
        present.reflect(connection, only=list(tables))
        for table in reversed(present.sorted_tables):
            connection.execute(table.delete())  # rows inserted by migrations
        for table in present.sorted_tables:
            with backup.contents(backup_file.table_name(table.name)) as lines:
                try:
                    table_rows.load(connection, table, lines)
                except (DataError, IntegrityError) as error:
                    raise BackupRefused(
                        f"The database rejects the rows of {table.name}: {' '.join(str(error.orig).split())}."
                    ) from error
        last_ids = {name: summary.last_id for name, summary in tables.items() if summary.last_id}
        database.set_last_ids(connection, last_ids)
