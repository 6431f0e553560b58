"""Where the bytes are: one protocol, a few verbs, whatever lies behind it.

An object is written once, under a key that its content decides, and never changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from registry.errors import ConfigurationError, Unavailable

BLOCK_BYTES = 1 << 20  # of which the digests are worth threads of their own
_OBJECT_KEY = re.compile(r"sha256/(?P<folder>[0-9a-f]{2})/(?P<digest>(?P=folder)[0-9a-f]{62})")


class ObjectMissing(Exception):
    """There is no object under this key."""


class StorageFull(Unavailable):
    """The store takes no more bytes; nothing was kept of what was being written."""

    status = 507
    phrase = "Insufficient Storage"


@dataclass(frozen=True)
class StoredObject:
    key: str
    size_bytes: int
    modified_at: datetime


class StagedFile(Protocol):
    """A file on its way in: written by the receiver, digested on the way, gone when closed unless it was put.

    ``file`` is the seekable file with what was written so far; the digests are those of everything written.
    """

    size_bytes: int

    @property
    def file(self) -> BinaryIO: ...
    @property
    def sha256(self) -> str: ...
    @property
    def md5(self) -> str: ...
    @property
    def blake2b_256(self) -> str: ...
    def write(self, data: bytes) -> int: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...
    def close(self) -> None: ...


class Storage(Protocol):
    def stage(self) -> StagedFile:
        """A new empty staged file.

        :raises StorageFull: there is no room.
        """

    def put(self, key: str, staged: StagedFile) -> None:
        """Keep a staged file under this key, durably; an object already there stays and counts as new."""

    def put_all(self, contents: Mapping[str, StagedFile]) -> None:
        """Keep several staged files by their keys, as ``put`` does each, but at the same time; it may keep only some.

        :raises StorageFull: there is no room for one of them.
        """

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, seekable. :raises ObjectMissing:"""

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove the object; removing what is not there is no error."""

    def objects(self) -> Iterator[StoredObject]:
        """Everything in the store, in no order."""

    def sweep(self) -> int:
        """Remove what dead processes left half-way; the number of files removed."""

    def check(self) -> None:
        """:raises Unavailable: the store cannot be read and written now."""


class Digests:
    """sha256, md5 and blake2b of a stream, in one pass; of a long one each in a thread of its own, by blocks."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._blake2b = hashlib.blake2b(digest_size=32)
        self._block = bytearray()
        self._threads: ThreadPoolExecutor | None = None
        self._running: list[Future[None]] = []

    def update(self, data: bytes) -> None:
        self._block += data
        if len(self._block) >= BLOCK_BYTES:
            for running in self._running:
                running.result()
            self._threads = self._threads or ThreadPoolExecutor(3, "digests")
            block, self._block = self._block, bytearray()
            # Of anything this long hashlib lets other threads run meanwhile.
            self._running = [
                self._threads.submit(digest.update, block) for digest in (self._sha256, self._md5, self._blake2b)
            ]

    def _finish(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        for digest in (self._sha256, self._md5, self._blake2b):
            digest.update(self._block)
        self._block = bytearray()

    @property
    def sha256(self) -> str:
        self._finish()
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        self._finish()
        return self._md5.hexdigest()

    @property
    def blake2b_256(self) -> str:
        self._finish()
        return self._blake2b.hexdigest()


def object_key(sha256: str) -> str:
    """Where content with this digest lies: equal content once, whatever its names."""
    return f"sha256/{sha256[:2]}/{sha256}"


def digest_in(key: str) -> str | None:
    """The digest that ``object_key`` made this key of; ``None`` for a key of any other form."""
    found = _OBJECT_KEY.fullmatch(key)
    return found["digest"] if found else None


def open_storage(url: str) -> Storage:
    """The store at this address.

    :raises ConfigurationError: no store of this kind, or it cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        from registry.storage.local import LocalStorage

        return LocalStorage(unquote(parts.path))
    raise ConfigurationError(f"STORAGE_URL is {url!r}; accepted is file:///<folder>.")
