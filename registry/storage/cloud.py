"""The store in S3 and what speaks its language, in Google Cloud Storage or in Azure, through obstore.

Files are received, digested and examined on a local disk, and sent when they have passed: in parts, in constant memory.
The key is made of the content, so sending what is there already does no harm, and what two send at once is the same.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Lock
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from registry.errors import ConfigurationError, Unavailable
from registry.storage import (
    LINK_SECONDS,
    ObjectDamaged,
    ObjectMissing,
    StagedFile,
    StoredObject,
    checked_key,
    digest_in,
)
from registry.storage.staging import LocalStagedFile, Staging

try:
    import obstore
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import AzureStore, GCSStore, S3Store
except ImportError as error:
    raise ConfigurationError(
        "STORAGE_URL names an object store, which needs the extra object-store: pip install -e '.[object-store]'."
    ) from error

CONNECT_SECONDS = 3
READ_SECONDS = 4  # until an answer begins, and between two pieces of it
PART_SECONDS = 30  # until a part has arrived
PROBE_SECONDS = 2
SLOW_SECONDS = 1.5  # a request that fails after this long was not refused, but waited in vain
PAUSE_SECONDS = 5
PART_BYTES = 8 << 20
PARTS = 9000  # S3 takes 10,000
PARTS_AT_ONCE = 3
PUTS_AT_ONCE = 4
PIECE_BYTES = 1 << 20
READ_BYTES = 1 << 18
_WHOLE_REQUEST = timedelta(days=1)  # a slow client may take its time
_AWAY = "The package store does not answer."
_process: int | None = None

Client = S3Store | GCSStore | AzureStore

logger = logging.getLogger(__name__)


class ObjectStorage:
    """Objects below the prefix of a bucket. Many threads may use one; a process must not have used any before it forks.

    A store that does not answer is not asked for a while, so that those who need none are still served.

    :param configuration: access to S3 by the settings ``S3_…``; what is not set there, and access to the others, comes
        from the environment variables that their own tools use.
    :raises ConfigurationError: it cannot be used as configured.
    """

    is_remote = True

    def __init__(self, url: str, configuration: Mapping[str, Any]) -> None:
        try:
            self._reading = _client(url, configuration, READ_SECONDS, retries=1)
            self._writing = _client(url, configuration, PART_SECONDS, retries=1)
            self._probing = _client(url, configuration, PROBE_SECONDS, retries=0)
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"STORAGE_URL is {url!r}, which cannot be used: {_sentence(error)}.") from error
        folder = configuration["INSTANCE_PATH"] / "staging"
        try:
            self._staging = Staging(folder)
        except OSError as error:
            raise ConfigurationError(f"The folder {folder} cannot be made: {error.strerror}.") from error
        self._outage = _Outage()

    def stage(self) -> LocalStagedFile:
        return self._staging.stage()

    def put(self, key: str, staged: StagedFile) -> None:
        """Send the file; the store verifies each part against the digest that the request is signed with (S3).

        :raises ObjectDamaged: the local disk gives other bytes than were written to it.
        """
        if not isinstance(staged, LocalStagedFile):
            raise TypeError("staged by another store")
        staged.seek(0)
        pieces, is_large = _Pieces(staged.file), staged.size_bytes > PART_BYTES
        try:
            with self._outage.told():
                obstore.put(
                    self._writing,
                    checked_key(key),
                    pieces if is_large else b"".join(pieces),
                    attributes=_attributes(staged.filename),
                    use_multipart=is_large,
                    chunk_size=max(PART_BYTES, staged.size_bytes // PARTS),
                    max_concurrency=PARTS_AT_ONCE,
                )
        except FileNotFoundError as error:
            raise Unavailable("The package store has no such bucket.") from error
        if pieces.sha256 != staged.sha256:
            self.delete(key)
            raise ObjectDamaged(f"{staged.path} is not read as it was written")

    def put_all(self, contents: Mapping[str, StagedFile]) -> None:
        with ThreadPoolExecutor(PUTS_AT_ONCE, "put") as threads:
            for done in [threads.submit(self.put, *item) for item in contents.items()]:
                done.result()

    def open(self, key: str, start: int = 0) -> BinaryIO:
        return io.BufferedReader(_ObjectReader(self, checked_key(key), start), READ_BYTES)

    def pieces(self, key: str, start: int) -> tuple[int, Iterator[bytes]]:
        """The size of an object, and its bytes from a position on.

        :raises ObjectMissing:
        """
        try:
            with self._outage.told():
                result = obstore.get(self._reading, key, options={"range": {"offset": start}} if start else None)
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        return result.meta["size"], self._read(iter(result.stream(min_chunk_size=PIECE_BYTES)))

    def _read(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with self._outage.told():
                piece = next(stream, None)
            if piece is None:
                return
            yield piece

    def link(self, key: str) -> str:
        """A URL that is signed for GET alone."""
        with self._outage.told():
            return obstore.sign(self._reading, "GET", checked_key(key), timedelta(seconds=LINK_SECONDS))

    def exists(self, key: str) -> bool:
        try:
            with self._outage.told():
                obstore.head(self._reading, checked_key(key))
        except FileNotFoundError:
            return False
        return True

    def delete(self, *keys: str) -> None:
        paths = [checked_key(key) for key in keys]
        try:
            with self._outage.told():
                obstore.delete(self._reading, paths)
        except FileNotFoundError:  # S3 has no such answer; others end with it at the first that is missing
            for path in paths:
                with suppress(FileNotFoundError), self._outage.told():
                    obstore.delete(self._reading, path)

    def objects(self) -> Iterator[StoredObject]:
        pages = iter(obstore.list(self._reading, chunk_size=1000))
        while True:
            with self._outage.told():
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                yield StoredObject(found["path"], found["size"], found["last_modified"])

    def sweep(self) -> int:
        """Files staged here. Parts that a killed process had sent are for the bucket's lifecycle rules to remove."""
        return self._staging.sweep()

    def check(self) -> None:
        """Ask for the first objects: the bucket is there, and lets itself be read."""
        self._staging.check()
        with self._outage.told(is_probe=True):
            next(iter(obstore.list(self._probing, chunk_size=1)), None)


class _ObjectReader(io.RawIOBase):
    """An object, received as it is read; a seek asks anew. What is read from end to end is compared with its key."""

    _size_bytes: int
    _pieces: Iterator[bytes]
    _piece: memoryview  # what is left of the last one
    _received_to: int

    def __init__(self, storage: ObjectStorage, key: str, start: int) -> None:
        self._storage, self._key, self._position = storage, key, start
        self._receive()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size_bytes)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size_bytes:
            return 0
        if self._position != self._received_to - len(self._piece):
            self._receive()
        if not self._piece:
            self._piece = memoryview(self._next())
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        self._position += size
        return size

    def close(self) -> None:
        self._pieces = iter([])  # ends the request
        super().close()

    def _receive(self) -> None:
        """Ask for the bytes from here on."""
        self._size_bytes, self._pieces = self._storage.pieces(self._key, self._position)
        self._piece = memoryview(b"")
        self._received_to = self._position
        self._digest = hashlib.sha256() if self._position == 0 and digest_in(self._key) else None

    def _next(self) -> bytes:
        """The next piece; of a damaged object not the last one."""
        piece = next(self._pieces, b"")
        self._received_to += len(piece)
        if not piece:
            raise ObjectDamaged(f"{self._key} ends after {self._received_to} bytes")
        if self._digest is not None:
            self._digest.update(piece)
            if self._received_to >= self._size_bytes and self._digest.hexdigest() != digest_in(self._key):
                raise ObjectDamaged(f"{self._key} holds other bytes")
        return piece


class _Pieces:
    """A local file in pieces, digested as they are taken."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(PIECE_BYTES):
            self._digest.update(piece)
            yield piece

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class _Outage:
    """The silence of a store, and whose turn it is to find out whether it has ended.

    Who waited in vain spares others the wait: for PAUSE_SECONDS nobody asks, then one does for all. A store that
    answers with an error at once, or refuses connections, keeps no thread waiting and is asked by everybody.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._until: float | None = None

    @contextmanager
    def told(self, *, is_probe: bool = False) -> Iterator[None]:
        """:raises Unavailable: the store does not do what the block asks of it, or need not be asked now."""
        self._take_turn(is_probe)
        began = time.monotonic()
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            logger.error("The package store refuses: %s.", _sentence(error))
            raise Unavailable("The package store refuses what the registry asks for.") from error
        except BaseError as error:
            logger.error("The package store does not answer: %s.", _sentence(error))
            if time.monotonic() - began > SLOW_SECONDS:
                self._until = time.monotonic() + PAUSE_SECONDS
            raise Unavailable(_AWAY) from error
        except FileNotFoundError:
            self._until = None
            raise
        self._until = None

    def _take_turn(self, is_probe: bool) -> None:
        _refuse_after_fork()
        with self._lock:
            if self._until is None or is_probe:
                return
            if time.monotonic() < self._until:
                raise Unavailable(_AWAY)
            self._until = time.monotonic() + CONNECT_SECONDS + 2 * READ_SECONDS


def _refuse_after_fork() -> None:
    """The library's threads stay behind in a process that forks; in the new one every request would wait for ever."""
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise RuntimeError("the object store was used before this process was forked")


def _client(url: str, configuration: Mapping[str, Any], read_seconds: float, *, retries: int) -> Client:
    options = {
        "allow_http": True,  # if the endpoint says so
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=read_seconds),
        "timeout": _WHOLE_REQUEST,
        "user_agent": "private-pypi-registry",
    }
    patience = {"max_retries": retries, "retry_timeout": timedelta(seconds=CONNECT_SECONDS + read_seconds)}
    access = _s3_access(configuration) if url.startswith("s3:") else {}
    kind: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[url[:2]]
    return cast(Client, kind.from_url(url, config=access, client_options=options, retry_config=patience))


def _s3_access(configuration: Mapping[str, Any]) -> dict[str, Any]:
    names = ("endpoint", "region", "access_key_id", "secret_access_key")
    values = {name: configuration[f"S3_{name.upper()}"] for name in names}
    # One by one, as not every provider takes a list of what to delete.
    return {name: value for name, value in values.items() if value is not None} | {"disable_bulk_delete": True}


def _attributes(filename: str) -> dict[str, str]:
    """What a client is told that follows a link: as in the registry's own answer."""
    attributes = {"Content-Type": "application/octet-stream"}
    if filename:
        attributes["Content-Disposition"] = f'attachment; filename="{quote(filename, safe="+!")}"'
        attributes["Cache-Control"] = "private, max-age=31536000, immutable"
    return attributes


def _sentence(error: Exception) -> str:
    """The first part of the library's message, which goes on with its own insides."""
    return " ".join(str(error).partition("Debug source")[0].split())[:500].rstrip(".")
