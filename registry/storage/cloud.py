"""Storage in S3-compatible stores, Google Cloud Storage, or Azure, through obstore.

Files are received, hashed, and examined on a local disk, and then uploaded in parts and in constant memory. As keys are
derived from content, repeated and concurrent uploads of an object are harmless.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Lock
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from registry.errors import Code, ConfigurationError, Unavailable
from registry.product import DISTRIBUTION
from registry.storage import (
    LINK_SECONDS,
    ObjectDamaged,
    ObjectMissing,
    StagedFile,
    StoredObject,
    checked_key,
    digest_in,
)
from registry.storage.staging import LocalStagedFile, Staging, StagingStore

try:
    import obstore
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import AzureStore, GCSStore, S3Store
except ImportError as error:
    raise ConfigurationError(
        "STORAGE_URL names an object store, which requires the extra object-store: pip install -e '.[object-store]'."
    ) from error

CONNECT_SECONDS = 3
READ_SECONDS = 4  # until a response begins, and between two chunks of it
PART_SECONDS = 30  # until a part is uploaded
PROBE_SECONDS = 2
SLOW_SECONDS = 1.5  # a request that fails after this time counts as a timeout
PAUSE_SECONDS = 5
PART_BYTES = 8 << 20
PARTS = 9000  # S3 accepts 10,000
PARALLEL_PARTS = 3
PARALLEL_PUTS = 4
CHUNK_BYTES = 1 << 20
READ_BYTES = 1 << 18
_WHOLE_REQUEST = timedelta(days=1)  # clients that download slowly keep a request open
_NO_BUCKET = re.compile("<Code>(NoSuchBucket|ContainerNotFound)</Code>")  # of S3 and Google Cloud Storage, of Azure
_process: int | None = None

Client = S3Store | GCSStore | AzureStore

logger = logging.getLogger(__name__)


class ObjectStorage(StagingStore):
    """Objects below the prefix of a bucket; thread-safe, but not usable in a process forked after its first use.

    After a timeout, a circuit breaker fails fast for a while, so that waiting requests do not occupy all threads.

    Parts that a killed process had uploaded are left to the lifecycle rules of the bucket.

    :param configuration: provides the credentials of S3 in the settings ``S3_…``. Other credentials are read from the
        standard environment variables of each provider.
    :raises ConfigurationError: the store is not usable as configured.
    """

    is_remote = True

    def __init__(self, url: str, configuration: Mapping[str, Any]) -> None:
        try:
            self._reading = _client(url, configuration, READ_SECONDS, retries=1)
            self._writing = _client(url, configuration, PART_SECONDS, retries=1)
            self._probing = _client(url, configuration, PROBE_SECONDS, retries=0)
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"STORAGE_URL is {url!r}, which is not usable: {_sentence(error)}.") from error
        folder = configuration["INSTANCE_PATH"] / "staging"
        try:
            self._staging = Staging(folder)
        except OSError as error:
            raise ConfigurationError(f"The folder {folder} cannot be created: {error.strerror}.") from error
        self._circuit_breaker = _CircuitBreaker()

    def put(self, key: str, staged: StagedFile) -> None:
        """Upload the file; S3 verifies each part against the digest in the signature of the request.

        :raises ObjectDamaged: the local disk returned different content than was written to it.
        """
        if not isinstance(staged, LocalStagedFile):
            raise TypeError("staged by another store")
        staged.seek(0)
        chunks, is_large = _Chunks(staged.file), staged.size_bytes > PART_BYTES
        try:
            with self._circuit_breaker.guarding():
                obstore.put(
                    self._writing,
                    checked_key(key),
                    chunks if is_large else b"".join(chunks),
                    attributes=_attributes(staged.filename),
                    use_multipart=is_large,
                    chunk_size=max(PART_BYTES, staged.size_bytes // PARTS),
                    max_concurrency=PARALLEL_PARTS,
                )
        except FileNotFoundError as error:
            raise Unavailable(Code.STORE_WITHOUT_BUCKET) from error
        if chunks.sha256 != staged.sha256:
            self.delete(key)
            raise ObjectDamaged(f"{staged.path} changed after it was written")

    def put_all(self, contents: Mapping[str, StagedFile]) -> None:
        with ThreadPoolExecutor(PARALLEL_PUTS, "put") as threads:
            for done in [threads.submit(self.put, *item) for item in contents.items()]:
                done.result()

    def open(self, key: str, start: int = 0) -> BinaryIO:
        return io.BufferedReader(_ObjectReader(self, checked_key(key), start), READ_BYTES)

    def chunks(self, key: str, start: int) -> tuple[int, Iterator[bytes]]:
        """Return the size of an object, and its content from ``start`` on.

        :raises ObjectMissing: the object does not exist.
        """
        try:
            with self._circuit_breaker.guarding():
                result = obstore.get(self._reading, key, options={"range": {"offset": start}} if start else None)
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        return result.meta["size"], self._read(iter(result.stream(min_chunk_size=CHUNK_BYTES)))

    def _read(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with self._circuit_breaker.guarding():
                chunk = next(stream, None)
            if chunk is None:
                return
            yield chunk

    def link(self, key: str) -> str:
        """Return a URL that is signed for GET requests only."""
        with self._circuit_breaker.guarding():
            return obstore.sign(self._reading, "GET", checked_key(key), timedelta(seconds=LINK_SECONDS))

    def exists(self, key: str) -> bool:
        try:
            with self._circuit_breaker.guarding():
                obstore.head(self._reading, checked_key(key))
        except FileNotFoundError:
            return False
        return True

    def delete(self, *keys: str) -> None:
        paths = [checked_key(key) for key in keys]
        try:
            with self._circuit_breaker.guarding():
                obstore.delete(self._reading, paths)
        except FileNotFoundError:  # S3 ignores missing objects; other stores stop at the first one
            for path in paths:
                with suppress(FileNotFoundError), self._circuit_breaker.guarding():
                    obstore.delete(self._reading, path)

    def objects(self) -> Iterator[StoredObject]:
        pages = iter(obstore.list(self._reading, chunk_size=1000))
        while True:
            with self._circuit_breaker.guarding():
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                yield StoredObject(found["path"], found["size"], found["last_modified"])

    def check(self) -> None:
        """Check that the bucket exists and is readable by listing an object."""
        self._staging.check()
        with self._circuit_breaker.guarding(is_probe=True):
            next(iter(obstore.list(self._probing, chunk_size=1)), None)


class _ObjectReader(io.RawIOBase):
    """Reads an object as a stream; a seek starts a new request. A read from the beginning to the end is verified."""

    _size_bytes: int
    _chunks: Iterator[bytes]
    _chunk: memoryview  # the unread part of the last chunk
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
        if self._position != self._received_to - len(self._chunk):
            self._receive()
        if not self._chunk:
            self._chunk = memoryview(self._next())
        size = min(len(buffer), len(self._chunk))
        buffer[:size] = self._chunk[:size]
        self._chunk = self._chunk[size:]
        self._position += size
        return size

    def close(self) -> None:
        self._chunks = iter([])  # ends the request
        super().close()

    def _receive(self) -> None:
        """Request the content from the current position on."""
        self._size_bytes, self._chunks = self._storage.chunks(self._key, self._position)
        self._chunk = memoryview(b"")
        self._received_to = self._position
        self._digest = hashlib.sha256() if self._position == 0 and digest_in(self._key) else None

    def _next(self) -> bytes:
        """Return the next chunk; raise an error instead of the last chunk of a damaged object."""
        chunk = next(self._chunks, b"")
        self._received_to += len(chunk)
        if not chunk:
            raise ObjectDamaged(f"{self._key} ends after {self._received_to} bytes")
        if self._digest is not None:
            self._digest.update(chunk)
            if self._received_to >= self._size_bytes and self._digest.hexdigest() != digest_in(self._key):
                raise ObjectDamaged(f"{self._key} has different content")
        return chunk


class _Chunks:
    """The chunks of a local file; ``sha256`` is the digest of those read so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._file.read(CHUNK_BYTES):
            self._digest.update(chunk)
            yield chunk

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class _CircuitBreaker:
    """Circuit breaker for the object store.

    After a request timed out, all requests fail fast for PAUSE_SECONDS. Then, a single request probes the store on
    behalf of all. Errors that occur without delay, such as refused connections, do not trip the breaker, as they
    occupy no threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._until: float | None = None

    @contextmanager
    def guarding(self, *, is_probe: bool = False) -> Iterator[None]:
        """Guard one request to the store in the block.

        :param is_probe: send the request even while the breaker is open.
        :raises Unavailable: the request failed, or the breaker is open.
        """
        self._refuse_while_open(is_probe)
        began = time.monotonic()
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            logger.error("The package store refused a request: %s.", _sentence(error))
            raise Unavailable(Code.STORE_REFUSES) from error
        except BaseError as error:
            _refuse_missing_bucket(error)
            logger.error("The package store is not responding: %s.", _sentence(error))
            if time.monotonic() - began > SLOW_SECONDS:
                self._until = time.monotonic() + PAUSE_SECONDS
            raise Unavailable(Code.STORE_AWAY) from error
        except FileNotFoundError as error:
            self._until = None
            _refuse_missing_bucket(error)
            raise
        self._until = None

    def _refuse_while_open(self, is_probe: bool) -> None:
        _refuse_after_fork()
        with self._lock:
            if self._until is None or is_probe:
                return
            if time.monotonic() < self._until:
                raise Unavailable(Code.STORE_AWAY)
            self._until = time.monotonic() + CONNECT_SECONDS + 2 * READ_SECONDS


def _refuse_missing_bucket(error: Exception) -> None:
    """Refuse a request for lack of the bucket, unless the answer has no content, as to HEAD.

    :raises Unavailable: there is no such bucket.
    """
    if _NO_BUCKET.search(str(error)):
        logger.error("The package store has no such bucket: %s.", _sentence(error))
        raise Unavailable(Code.STORE_WITHOUT_BUCKET) from error


def _refuse_after_fork() -> None:
    """Refuse use after a fork: the library's threads do not survive it, so every request would block forever."""
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise RuntimeError("the object store was used before this process was forked")


def _client(url: str, configuration: Mapping[str, Any], read_seconds: float, *, retries: int) -> Client:
    options = {
        "allow_http": True,  # for endpoints with http://
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=read_seconds),
        "timeout": _WHOLE_REQUEST,
        "user_agent": DISTRIBUTION,
    }
    retry_config = {"max_retries": retries, "retry_timeout": timedelta(seconds=CONNECT_SECONDS + read_seconds)}
    access = _s3_access(configuration) if url.startswith("s3:") else {}
    kind: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[url[:2]]
    return cast(Client, kind.from_url(url, config=access, client_options=options, retry_config=retry_config))


def _s3_access(configuration: Mapping[str, Any]) -> dict[str, Any]:
    names = ("endpoint", "region", "access_key_id", "secret_access_key")
    values = {name: configuration[f"S3_{name.upper()}"] for name in names}
    # Objects are deleted one by one, as not every provider supports bulk deletion.
    return {name: value for name, value in values.items() if value is not None} | {"disable_bulk_delete": True}


def _attributes(filename: str) -> dict[str, str]:
    """Return the headers for clients that follow a link, the same as in the registry's own responses."""
    attributes = {"Content-Type": "application/octet-stream"}
    if filename:
        attributes["Content-Disposition"] = f'attachment; filename="{quote(filename, safe="+!")}"'
        attributes["Cache-Control"] = "private, max-age=31536000, immutable"
    return attributes


def _sentence(error: Exception) -> str:
    """Return the message of an error without the debug output that the library appends."""
    return " ".join(str(error).partition("Debug source")[0].split())[:500].rstrip(".")
