"""A backup as a file: a tar archive that any tar lists and unpacks, in a fixed order.

``manifest.json`` comes first and has the digest of every other member but the objects, which are named by theirs; its
own digest comes last, so that a backup which was cut short is known as one. Memory does not grow with the members.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from registry.errors import BackupRefused

FORMAT = 1
MANIFEST = "manifest.json"
SEAL = "manifest.json.sha256"  # as sha256sum writes it
SECRET_KEY = "secret_key"
OBJECTS = "objects.txt"  # digest and file name of every object, a line each, as sha256sum writes them
CHUNK_BYTES = 1 << 20

_OBJECT = "objects/"
_MANIFEST_BYTES = 1 << 16  # room that is left for it while the rest is written
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class TableSummary:
    """:ivar last_id: the last one given, ``None`` where records have no number."""

    rows: int
    last_id: int | None


@dataclass(frozen=True)
class ObjectsSummary:
    """:ivar included: how many of those listed are in the backup, ``size_bytes`` in all."""

    listed: int
    included: int
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    :ivar inventory: the objects are only listed; their bytes are kept safe elsewhere.
    :ivar members: the digests of all members but the objects, by name.
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
        """Of an object the digest that it has to have."""
        return self.name.rpartition("/")[2] if self.name.startswith(_OBJECT) else None


def object_name(digest: str) -> str:
    return f"{_OBJECT}{digest[:2]}/{digest}"


def table_name(name: str) -> str:
    return f"tables/{name}.jsonl"


def _seal_of(digest: str) -> bytes:
    return f"{digest}  {MANIFEST}\n".encode()


# Writing --------------------------------------------------------------------------------------------------------


@contextmanager
def new(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block is done, whole and on the disk; otherwise nothing is left of it.

    :raises BackupRefused: there is a file of this name, or another process is writing one.
    """
    if path.exists():
        raise BackupRefused(f"{path} is there already; a backup does not replace it.")
    partial = path.with_name(f"{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
        _lock_alone(file, partial)
        file.truncate()
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock_alone(file: BinaryIO, partial: Path) -> None:
    """:raises BackupRefused: another process is writing it, or has just finished."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), partial.stat()):
            return
    raise BackupRefused(f"Another backup is being written to {partial}.")


class Writer:
    """Writes the members of a backup one after another; the manifest's place is kept free at the beginning."""

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
        """What is written in the block becomes a member; if the block fails, it is as if it had not begun."""
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
        """A member that has been written, beside what is written meanwhile."""
        self._file.flush()
        return _section(self._file.fileno(), self._written[name])

    def finish(self, manifest: Manifest) -> None:
        text = json.dumps(asdict(manifest), indent=1).encode().ljust(_MANIFEST_BYTES - 1) + b"\n"
        if len(text) != _MANIFEST_BYTES:
            raise ValueError("the manifest is too long")
        with self.member(SEAL) as seal:
            seal.write(_seal_of(hashlib.sha256(text).hexdigest()))
        self._file.write(bytes(2 * _BLOCK))
        self._file.seek(_BLOCK)
        self._file.write(text)

    def _header(self, name: str, size_bytes: int) -> bytes:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size_bytes, 0o600, self._modified_at
        return entry.tobuf(tarfile.GNU_FORMAT)  # one block, whatever the size


class Content:
    """Takes what a member holds; ``digest`` is that of all of it, where it is wanted."""

    def __init__(self, file: BinaryIO, *, digested: bool) -> None:
        self._file = file
        self.digest = hashlib.sha256() if digested else None
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size_bytes += len(data)
        if self.digest is not None:
            self.digest.update(data)


# Reading --------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """:raises BackupRefused: this is no backup, or one that this registry cannot read."""
    with path.open("rb") as file:
        yield Reader(file, path)


class Reader:
    """Reads a backup, its members as often as need be.

    :raises BackupRefused: at any time, when the file proves to be damaged.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._descriptor = file.fileno()
        self._path = path
        self.manifest = self._read_manifest()

    def members(self) -> Iterator[Member]:
        """From the first to the last, which is the seal."""
        place, last = 0, ""
        while True:
            try:
                entry = tarfile.TarInfo.frombuf(os.pread(self._descriptor, _BLOCK, place), "utf-8", "strict")
            except tarfile.HeaderError as error:
                if last == SEAL:
                    return
                raise self.damaged(f"it is cut short, or wrong, at byte {place}") from error
            member = Member(entry.name, place + _BLOCK, max(entry.size, 0))
            yield member
            place, last = member.start + member.size_bytes + -member.size_bytes % _BLOCK, member.name

    def open(self, member: Member) -> io.BufferedReader:
        return _section(self._descriptor, member)

    def digest(self, member: Member) -> str:
        with self.open(member) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def refuse_damaged(self) -> None:
        """:raises BackupRefused: something else than an object is missing, or not as it was written."""
        found = {member.name: member for member in self.members() if member.object_digest is None}
        if missing := sorted({*self.manifest.members, SEAL} - found.keys()):
            raise self.damaged(f"{missing[0]} is missing")
        with self.open(found[SEAL]) as seal:
            if seal.read() != _seal_of(self.digest(found[MANIFEST])):
                raise self.damaged(f"{MANIFEST} is not as it was written")
        for name, digest in self.manifest.members.items():
            if self.digest(found[name]) != digest:
                raise self.damaged(f"{name} is not as it was written")

    def contents(self, name: str) -> io.BufferedReader:
        """The member of this name."""
        for member in self.members():
            if member.name == name:
                return self.open(member)
        raise self.damaged(f"{name} is missing")

    def damaged(self, what: str) -> BackupRefused:
        return BackupRefused(f"The backup {self._path} is damaged: {what}.")

    def _read_manifest(self) -> Manifest:
        try:
            found = self._first_document()
            if found["format"] == FORMAT:
                tables = {name: TableSummary(**table) for name, table in found["tables"].items()}
                return Manifest(**found | {"tables": tables, "objects": ObjectsSummary(**found["objects"])})
        except (BackupRefused, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupRefused(f"{self._path} is no backup of this registry, or damaged at its beginning.") from error
        raise BackupRefused(
            f"{self._path} was made by registry {found.get('registry_version')} in a form that this one does not know."
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
    """A part of a file, read without regard to where others read in it."""

    def __init__(self, descriptor: int, start: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._place, self._end = start, start + size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._end - self._place)
        found = os.pread(self._descriptor, wanted, self._place)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)
