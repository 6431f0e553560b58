"""The format of backup files: a tar archive with its members in a fixed order, readable by any tar program.

``manifest.json`` comes first and contains the digests of all other members except the objects, whose names are their
digests. The digest of the manifest itself comes last, so that a truncated backup is recognized. Memory use does not
depend on the size of the members.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from registry.errors import BackupRefused

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.json.sha256"  # in the format of sha256sum
SECRET_KEY = "secret_key"
OBJECTS = "objects.txt"  # digest and file name of every object, in the format of sha256sum
CHUNK_BYTES = 1 << 20

_OBJECT = "objects/"
_MANIFEST_BYTES = 1 << 16  # reserved at the beginning while the other members are written
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class TableSummary:
    """The content of one table.

    :ivar last_id: the last id assigned; ``None`` for tables without generated ids.
    """

    rows: int
    last_id: int | None


@dataclass(frozen=True)
class ObjectsSummary:
    """The objects of a backup.

    :ivar listed: number of objects that the rows refer to.
    :ivar included: number of objects in the backup, with a total size of ``size_bytes``.
    """

    listed: int
    included: int
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """The table of contents of a backup.

    :ivar inventory: whether the backup only lists the objects, which are backed up by other means.
    :ivar members: the digests of all members except the objects, by name.
    """

    created_at: str
    registry_version: str
    schema_version: str
    inventory: bool
    tables: dict[str, TableSummary]
    objects: ObjectsSummary
    members: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class Member:
    name: str
    start: int
    size_bytes: int

    @property
    def object_digest(self) -> str | None:
        """The expected digest of an object; ``None`` for other members."""
        return self.name.rpartition("/")[2] if self.name.startswith(_OBJECT) else None


def object_name(digest: str) -> str:
    return f"{_OBJECT}{digest[:2]}/{digest}"


def table_name(name: str) -> str:
    return f"tables/{name}.jsonl"


def _digest_line(digest: str) -> bytes:
    return f"{digest}  {MANIFEST}\n".encode()


class Writer:
    """Writes the members of a backup in sequence, after reserving space for the manifest at the beginning."""

    def __init__(self, file: BinaryIO, now: datetime) -> None:
        self._file = file
        self._modified_at = int(now.timestamp())
        self._written: dict[str, Member] = {}
        self.digests: dict[str, str] = {}
        with self.member(MANIFEST) as manifest:
            manifest.write(b" " * _MANIFEST_BYTES)
        del self.digests[MANIFEST]

    @contextmanager
    def member(self, name: str) -> Iterator[Content]:
        """Write the content produced by the block as a member; if the block fails, remove the partial member."""
        start = self._file.tell()
        self._file.write(bytes(_BLOCK))
        content = Content(self._file, digested=not name.startswith(_OBJECT))
        try:
            yield content
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            raise
        self._file.write(bytes(-content.size_bytes % _BLOCK))
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(self._header(name, content.size_bytes))
        self._file.seek(end)
        if content.digest is not None:
            self.digests[name] = content.digest.hexdigest()
            self._written[name] = Member(name, start + _BLOCK, content.size_bytes)

    def contents(self, name: str) -> io.BufferedReader:
        """Open a finished member for reading; writing can continue in the meantime."""
        self._file.flush()
        return _section(self._file.fileno(), self._written[name])

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest into its reserved space, and its digest at the end."""
        text = json.dumps(asdict(manifest), indent=1).encode().ljust(_MANIFEST_BYTES - 1) + b"\n"
        if len(text) != _MANIFEST_BYTES:
            raise ValueError("the manifest is too long")
        with self.member(MANIFEST_DIGEST) as member:
            member.write(_digest_line(hashlib.sha256(text).hexdigest()))
        self._file.write(bytes(2 * _BLOCK))
        self._file.seek(_BLOCK)
        self._file.write(text)

    def _header(self, name: str, size_bytes: int) -> bytes:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size_bytes, 0o600, self._modified_at
        return entry.tobuf(tarfile.GNU_FORMAT)  # one block for any size


class Content:
    """Receives the content of a member.

    :ivar digest: of the entire content, if ``digested``; otherwise ``None``.
    """

    def __init__(self, file: BinaryIO, *, digested: bool) -> None:
        self._file = file
        self.digest = hashlib.sha256() if digested else None
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size_bytes += len(data)
        if self.digest is not None:
            self.digest.update(data)


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Open a backup for reading.

    :raises BackupRefused: the file is not a backup, or has a format that is not supported.
    """
    with path.open("rb") as file:
        yield Reader(file, path)


class Reader:
    """Reads the members of a backup, in any order and repeatedly.

    :raises BackupRefused: raised by any method that finds the file damaged.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._descriptor = file.fileno()
        self._path = path
        self.manifest = self._read_manifest()

    def members(self) -> Iterator[Member]:
        """Yield all members in order; the last one is the digest of the manifest."""
        offset, last = 0, ""
        while True:
            try:
                entry = tarfile.TarInfo.frombuf(os.pread(self._descriptor, _BLOCK, offset), "utf-8", "strict")
            except tarfile.HeaderError as error:
                if last == MANIFEST_DIGEST:
                    return
                raise self.damaged(f"it is truncated or malformed at byte {offset}") from error
            member = Member(entry.name, offset + _BLOCK, max(entry.size, 0))
            yield member
            offset, last = member.start + member.size_bytes + -member.size_bytes % _BLOCK, member.name

    def open(self, member: Member) -> io.BufferedReader:
        return _section(self._descriptor, member)

    def digest(self, member: Member) -> str:
        with self.open(member) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def refuse_damaged(self) -> None:
        """Verify all members except the objects.

        :raises BackupRefused: one of them is missing, or does not match its digest.
        """
        found = {member.name: member for member in self.members() if member.object_digest is None}
        if missing := sorted({*self.manifest.members, MANIFEST_DIGEST} - found.keys()):
            raise self.damaged(f"{missing[0]} is missing")
        with self.open(found[MANIFEST_DIGEST]) as file:
            if file.read() != _digest_line(self.digest(found[MANIFEST])):
                raise self.damaged(f"{MANIFEST} does not match its digest")
        for name, digest in self.manifest.members.items():
            if self.digest(found[name]) != digest:
                raise self.damaged(f"{name} does not match its digest")

    def contents(self, name: str) -> io.BufferedReader:
        """Open the member of this name for reading."""
        for member in self.members():
            if member.name == name:
                return self.open(member)
        raise self.damaged(f"{name} is missing")

    def damaged(self, reason: str) -> BackupRefused:
        return BackupRefused(f"The backup {self._path} is damaged: {reason}.")

    def _read_manifest(self) -> Manifest:
        try:
            found = self._first_document()
            if found["format"] == FORMAT:
                tables = {name: TableSummary(**table) for name, table in found["tables"].items()}
                return Manifest(**found | {"tables": tables, "objects": ObjectsSummary(**found["objects"])})
        except (BackupRefused, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupRefused(
                f"{self._path} is not a backup of this registry, or its beginning is damaged."
            ) from error
        raise BackupRefused(
            f"{self._path} was made by registry {found.get('registry_version')} in a format that this version does not "
            "support."
        )

    def _first_document(self) -> dict[str, Any]:
        first = next(self.members())
        if first.name != MANIFEST or first.size_bytes != _MANIFEST_BYTES:
            raise ValueError(first.name)
        with self.open(first) as file:
            found: dict[str, Any] = json.load(file)
        return found


def _section(descriptor: int, member: Member) -> io.BufferedReader:
    return io.BufferedReader(_Section(descriptor, member.start, member.size_bytes), CHUNK_BYTES)


class _Section(io.RawIOBase):
    """A part of a file, read independently of the file's position."""

    def __init__(self, descriptor: int, start: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._position, self._end = start, start + size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._end - self._position)
        chunk = os.pread(self._descriptor, size, self._position)
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)
