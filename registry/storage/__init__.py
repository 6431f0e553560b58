"""Storage of package files: one protocol for folders and object stores.

An object is written once, under a key derived from its content, and never changes.
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

from registry.errors import ConfigurationError, DiskFull

ADDRESSES = "file:///<folder>, or s3://, gs:// or az:// with <bucket>/<prefix>"
BLOCK_BYTES = 1 << 20  # enough data to make threads for the digests worthwhile
LINK_SECONDS = 600  # clients follow a link immediately, but clocks can differ by some minutes
_KEY = re.compile(r"(?:[a-z0-9]+/)*[a-z0-9]+")
_OBJECT_KEY = re.compile(r"sha256/(?P<folder>[0-9a-f]{2})/(?P<digest>(?P=folder)[0-9a-f]{62})")


class ObjectMissing(Exception):
    """There is no object under this key."""


class ObjectDamaged(OSError):
    """The content of the object does not match its key."""


class StorageFull(DiskFull):
    """The store is full; nothing was stored of the object being written."""


@dataclass(frozen=True)
class StoredObject:
    key: str
    size_bytes: int
    modified_at: datetime


class StagedFile(Protocol):
    """A temporary file that an object is received into; it is removed when closed.

    ``file`` is seekable and contains the data written so far, of which the properties return the digests.
    ``filename`` is the name for clients that download the object from its ``link``; empty if there is none.
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


class SharedStagedFile(StagedFile, Protocol):
    """A staged file that others can read while it is written (``Storage.read_shared``).

    Closing it leaves its content to the next writer.
    """

    def discard(self) -> None:
        """Remove and close the file; those who have opened it can still read it."""


class Storage(Protocol):
    """A store for objects. If the store is unavailable or refuses a request, every method raises ``Unavailable`` within
    seconds.
    """

    @property
    def is_remote(self) -> bool:
        """Whether objects are read over a network, which can block the reader."""

    def stage(self) -> StagedFile:
        """Create an empty staged file.

        :raises StorageFull: the disk is full.
        """

    def share(self, sha256: str) -> SharedStagedFile | None:
        """Open the shared staged file for content with this digest, for writing at its end.

        :return: ``None`` while another thread or process of this machine writes it.
        :raises StorageFull: the disk is full.
        """

    def read_shared(self, sha256: str) -> int | None:
        """Return a new descriptor of that file, for reading what is written by then; ``None`` if there is none."""

    def sweep_shared(self, unused_since: float) -> int:
        """Remove the shared staged files that none has written since this time, and return their number."""

    def put(self, key: str, staged: StagedFile) -> None:
        """Store a staged file durably under this key; an existing object is kept, with a new modification time."""

    def put_all(self, contents: Mapping[str, StagedFile]) -> None:
        """Store several staged files by key, in parallel but otherwise like ``put``; a failure can leave some stored.

        :raises StorageFull: the store is full.
        """

    def open(self, key: str, start: int = 0) -> BinaryIO:
        """Open an object as a seekable file, positioned at ``start``.

        :raises ObjectMissing: the object does not exist.
        :raises ObjectDamaged: raised by reads of a remote object from its beginning, before they return its last bytes.
        """

    def link(self, key: str) -> str | None:
        """Return a URL where anyone can download the object for ``LINK_SECONDS``; ``None`` if not supported."""

    def exists(self, key: str) -> bool: ...

    def delete(self, *keys: str) -> None:
        """Remove objects; missing objects are ignored."""

    def objects(self) -> Iterator[StoredObject]:
        """Yield all objects in the store, in no particular order."""

    def sweep(self) -> int:
        """Remove the staged files of terminated processes, but not what others continue, and return their number."""

    def check(self) -> None:
        """Check that the store is usable.

        :raises Unavailable: the store is not usable at the moment.
        """


class Digests:
    """Computes SHA-256, MD5, and BLAKE2b of a stream in one pass; for a long stream, each in its own thread."""

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
            # For blocks of this size, hashlib releases the global interpreter lock.
            self._running = [
                self._threads.submit(digest.update, block) for digest in (self._sha256, self._md5, self._blake2b)
            ]

    def _finish(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        if self._block:
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


class BackgroundDigest:
    """Computes the SHA-256 of a stream, for a long one in a thread beside the one that receives it.

    Blocks are kept until they are a million bytes together, as a handover costs as much as the digest of some thousand.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._blocks: list[bytes] = []
        self._size_bytes = 0
        self._thread: ThreadPoolExecutor | None = None
        self._running: Future[None] | None = None

    def update(self, block: bytes) -> None:
        self._blocks.append(block)
        self._size_bytes += len(block)
        if self._size_bytes >= BLOCK_BYTES:
            self._wait()
            self._thread = self._thread or ThreadPoolExecutor(1, "digest")
            self._running = self._thread.submit(self._update, self._taken())

    def hexdigest(self) -> str:
        """Return the digest of everything by now; the stream can continue."""
        self._wait()
        self._update(self._taken())
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None

    def _taken(self) -> list[bytes]:
        blocks, self._blocks, self._size_bytes = self._blocks, [], 0
        return blocks

    def _update(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self._digest.update(block)


def object_key(sha256: str) -> str:
    """Return the key of content with this digest; files with equal content share one object."""
    return f"sha256/{sha256[:2]}/{sha256}"


def readme_key(digest: str) -> str:
    """Return the key of a rendered README by the digest of what it was rendered from; it can be rendered again."""
    return f"readme/{digest[:2]}/{digest}"


def is_readme(key: str) -> bool:
    return key.startswith("readme/")


def digest_in(key: str) -> str | None:
    """Return the digest in a key made by ``object_key``; ``None`` for any other key."""
    found = _OBJECT_KEY.fullmatch(key)
    return found["digest"] if found else None


def checked_key(key: str) -> str:
    """Return the key if it is valid.

    :raises ObjectMissing: the key is invalid, such as one with ``..``, so no object can have it.
    """
    if not _KEY.fullmatch(key):
        raise ObjectMissing(key)
    return key


def open_storage(url: str, configuration: Mapping[str, Any]) -> Storage:
    """Open the store at this URL.

    :param configuration: provides the credentials of an object store, and the folder where its files are staged.
    :raises ConfigurationError: the kind of store is unknown, or the store is not usable as configured.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        from registry.storage.local import LocalStorage

        return LocalStorage(unquote(parts.path))
    if parts.scheme in ("s3", "gs", "az"):
        from registry.storage.cloud import ObjectStorage

        return ObjectStorage(url, configuration)
    raise ConfigurationError(f"STORAGE_URL is {url!r}; expected {ADDRESSES}.")
