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
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from registry.errors import ConfigurationError, NoRoom

ADDRESSES = "file:///<folder>, or s3://, gs:// or az:// with <bucket>/<prefix>"
BLOCK_BYTES = 1 << 20  # of which the digests are worth threads of their own
LINK_SECONDS = 600  # an address given out is followed at once; clocks may differ by some minutes
_KEY = re.compile(r"(?:[a-z0-9]+/)*[a-z0-9]+")
_OBJECT_KEY = re.compile(r"sha256/(?P<folder>[0-9a-f]{2})/(?P<digest>(?P=folder)[0-9a-f]{62})")


class ObjectMissing(Exception):
    """There is no object under this key."""


class ObjectDamaged(OSError):
    """The object holds other bytes than those of its key."""


class StorageFull(NoRoom):
    """The store takes no more bytes; nothing was kept of what was being written."""


@dataclass(frozen=True)
class StoredObject:
    key: str
    size_bytes: int
    modified_at: datetime


class StagedFile(Protocol):
    """A file on its way in: written by the receiver, digested on the way, gone when closed unless it was put.

    ``file`` is the seekable file with what was written so far; the digests are those of everything written.
    ``filename`` is what clients call it that get it at its ``link``; for others it has none.
    """

    size_bytes: int
    filename: str

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
    """What does not answer, or refuses, raises ``Unavailable`` from any of these; and it does so within seconds."""

    @property
    def is_remote(self) -> bool:
        """Whether objects lie behind a network, so that whoever reads one may have to wait."""

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

    def open(self, key: str, start: int = 0) -> BinaryIO:
        """The object's bytes, seekable, from this position on.

        :raises ObjectMissing: now.
        :raises ObjectDamaged: while it is read over a network, from its beginning, before its last bytes.
        """

    def link(self, key: str) -> str | None:
        """An address where everybody may get the object for ``LINK_SECONDS``; ``None`` if the store has none."""

    def exists(self, key: str) -> bool: ...

    def delete(self, *keys: str) -> None:
        """Remove these objects; removing what is not there is no error."""

    def objects(self) -> Iterator[StoredObject]:
        """Everything in the store, in no order."""

    def sweep(self) -> int:
        """Remove what dead processes left half-way; the number of files removed."""

    def check(self) -> None:
        """:raises Unavailable: the store cannot be used now."""


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


def checked_key(key: str) -> str:
    """:raises ObjectMissing: nothing is kept under keys of this form; ``..`` is one of them."""
    if not _KEY.fullmatch(key):
        raise ObjectMissing(key)
    return key


def open_storage(url: str, configuration: Mapping[str, Any]) -> Storage:
    """The store at this address.

    :param configuration: the settings; of an object store the access to it, and the folder where files are staged.
    :raises ConfigurationError: no store of this kind, or it cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        from registry.storage.local import LocalStorage

        return LocalStorage(unquote(parts.path))
    if parts.scheme in ("s3", "gs", "az"):
        from registry.storage.cloud import ObjectStorage

        return ObjectStorage(url, configuration)
    raise ConfigurationError(f"STORAGE_URL is {url!r}; accepted is {ADDRESSES}.")
