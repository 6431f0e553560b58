"""Files of the upstream while they are being received: one writer, and any number of readers.

A reader is given no byte that cannot have arrived intact: the last piece of a file is kept back until its digest is
that of the upstream's page. So a client never gets a whole file with different content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Condition

from registry.domain.packages.simple import SimpleFile
from registry.domain.upstream.cached import METADATA_SUFFIX

LAST_PIECE_BYTES = 64 << 10
BLOCK_BYTES = 1 << 18
READER_SECONDS = 180  # the server drops a client that accepts nothing for two minutes


@dataclass(frozen=True)
class Wanted:
    """A file on a page of the upstream, or its core metadata document.

    :ivar size_bytes: ``None`` if the page does not state it, as is ``uploaded_at``.
    """

    normalized_name: str
    filename: str
    url: str
    sha256: str
    size_bytes: int | None
    uploaded_at: datetime | None = None

    @classmethod
    def of_file(cls, normalized_name: str, file: SimpleFile) -> Wanted:
        return cls(normalized_name, file.filename, file.url, file.sha256, file.size_bytes, file.uploaded_at)

    @classmethod
    def of_metadata(cls, normalized_name: str, file: SimpleFile) -> Wanted | None:
        """Return the core metadata document of a file; ``None`` if the upstream has none."""
        if file.core_metadata_sha256 is None:
            return None
        filename, url = file.filename + METADATA_SUFFIX, file.url + METADATA_SUFFIX
        return cls(normalized_name, filename, url, file.core_metadata_sha256, None)


class Broken(OSError):
    """The rest of the file does not arrive, or its content is not that of the upstream's page."""


class Part:
    """The file that is being written, for reading; closed when it is not referred to any more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read(self, size_bytes: int, position: int) -> bytes:
        return os.pread(self._descriptor, size_bytes, position)

    def send_to(self, descriptor: int, position: int, size_bytes: int) -> int:
        return os.sendfile(descriptor, self._descriptor, position, size_bytes)


class Content:
    """Bytes that arrive: from a file that is written, from its writer's connection, or both. Thread-safe.

    :param size_bytes: of the whole; ``None`` until it is known.
    :ivar failure: why no more will arrive; ``None`` while nothing has failed.
    :ivar is_verified: whether everything has arrived, with the right digest.
    """

    def __init__(self, size_bytes: int | None) -> None:
        self.size_bytes = size_bytes
        self.failure: Exception | None = None
        self.is_verified = False
        self._arrived = 0
        self._changed = Condition()
        self._listeners: list[Callable[[], None]] = []

    @property
    def arrived_bytes(self) -> int:
        return self._arrived

    @property
    def free_bytes(self) -> int:
        """How many bytes from the beginning can be given out."""
        if self.is_verified:
            return self._arrived
        end = self._arrived if self.size_bytes is None else self.size_bytes
        return max(0, min(self._arrived, end - LAST_PIECE_BYTES))

    @property
    def is_over(self) -> bool:
        return self.is_verified or self.failure is not None

    def advance(self, arrived_bytes: int, size_bytes: int | None = None) -> None:
        """Note how much has arrived, and how large the file is, if that is known by now."""
        with self._changed:
            self._arrived = arrived_bytes
            self.size_bytes = size_bytes if self.size_bytes is None else self.size_bytes
            self._announce()

    def succeed(self, arrived_bytes: int) -> None:
        with self._changed:
            self._arrived = self.size_bytes = arrived_bytes
            self.is_verified = True
            self._announce()

    def fail(self, failure: Exception) -> None:
        with self._changed:
            self.failure = failure
            self._announce()

    def wait_for(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until a condition on this holds, or nothing more will arrive; return whether one of both is the case."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_over or condition(), seconds)

    def listen(self, condition: Callable[[], bool], listener: Callable[[], None]) -> bool:
        """Have a function called once, at the next change, unless the condition holds or nothing more will arrive.

        :return: whether it will be called.
        """
        with self._changed:
            if self.is_over or condition():
                return False
            self._listeners.append(listener)
            return True

    def _announce(self) -> None:
        self._changed.notify_all()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()


class Arrival(Content):
    """A file that is being received into a shared staged file, from which its readers read.

    If the file can no longer be written, because the disk is full, each reader receives the rest for itself.

    :param wanted: the file.
    :param receive_rest: starts to receive the rest of the file into a ``Detour``, for one reader.
    """

    def __init__(self, wanted: Wanted, receive_rest: Callable[[Detour], None]) -> None:
        super().__init__(wanted.size_bytes)
        self.wanted = wanted
        self.part: Part | None = None
        self.is_diverted = False
        self._receive_rest = receive_rest
        self._readers = 0

    @property
    def is_read(self) -> bool:
        return self._readers > 0

    @property
    def is_over(self) -> bool:
        return super().is_over or self.is_diverted

    def open(self) -> ArrivingFile:
        """Return a reader; the file continues to arrive until all of them are closed, and longer if most of it has."""
        with self._changed:
            self._readers += 1
        return ArrivingFile(self)

    def leave(self) -> None:
        with self._changed:
            self._readers -= 1
            self._announce()

    def divert(self) -> None:
        """Have each reader receive the rest of the file by itself."""
        with self._changed:
            self.is_diverted = True
            self._announce()

    def detour(self, start: int) -> Detour:
        detour = Detour(self, start)
        self._receive_rest(detour)
        return detour


class Detour(Content):
    """The rest of a file for one reader, received straight from the upstream, of which little is in memory.

    :ivar start: where the rest begins in the file.
    """

    MOST_BYTES = 4 << 20

    def __init__(self, arrival: Arrival, start: int) -> None:
        super().__init__(arrival.size_bytes)
        self.wanted, self.start, self._part = arrival.wanted, start, arrival.part
        self.is_left = False
        self._arrived = self._taken = start
        self._blocks = bytearray()

    def digest(self) -> hashlib._Hash:
        """Return the digest of everything before the rest.

        :raises Broken: it is not there any more.
        """
        digest, position = hashlib.sha256(), 0
        while position < self.start and self._part is not None:
            data = self._part.read(min(BLOCK_BYTES, self.start - position), position)
            if not data:
                raise Broken("the beginning of the file is gone")
            digest.update(data)
            position += len(data)
        return digest

    def put(self, data: bytes, size_bytes: int | None) -> None:
        """Add a block, as soon as the reader has taken enough of those before.

        :raises Broken: the reader has left, or takes nothing.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.is_left or len(self._blocks) < self.MOST_BYTES, READER_SECONDS):
                raise Broken("the reader takes nothing")
            if self.is_left:
                raise Broken("the reader has left")
            self._blocks += data
            self.advance(self._arrived + len(data), size_bytes)

    def take(self, most_bytes: int) -> bytes:
        """Return the next bytes that can be given out, and forget them with ``drop``."""
        with self._changed:
            return bytes(self._blocks[: max(0, min(most_bytes, self.free_bytes - self._taken))])

    def drop(self, count: int) -> None:
        with self._changed:
            del self._blocks[:count]
            self._taken += count
            self._changed.notify_all()

    def leave(self) -> None:
        with self._changed:
            self.is_left = True
            self._changed.notify_all()


class ArrivingFile:
    """Reads a file while it arrives, from its beginning. One thread at a time uses it.

    ``read`` waits for what has not arrived. The server's loop uses the other methods, which wait for nothing.
    """

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival
        self._position = 0
        self._detour: Detour | None = None
        self._is_closed = False

    @property
    def size_bytes(self) -> int | None:
        return self._arrival.size_bytes

    @property
    def failure(self) -> Exception | None:
        return self._source().failure

    def wait(self, seconds: float, *, until_begun: bool) -> bool:
        """Wait until the size of the file is known, and with ``until_begun`` until there is something to read.

        :return: whether that is the case, or no more will arrive.
        """
        source = self._source()
        return source.wait_for(
            lambda: source.size_bytes is not None and (not until_begun or self._free_bytes(source) > 0), seconds
        )

    @property
    def has_more(self) -> bool:
        """Whether there is something to read without waiting."""
        return self._free_bytes(self._source()) > 0

    @property
    def is_broken(self) -> bool:
        """Whether no more will arrive, although the file has not ended."""
        source = self._source()
        return not self._free_bytes(source) and source.failure is not None

    def peek(self, most_bytes: int) -> bytes:
        """Return the next bytes as far as they can be given out now."""
        source = self._source()
        if isinstance(source, Detour):
            return source.take(most_bytes)
        part, count = source.part, min(most_bytes, self._free_bytes(source))
        return part.read(count, self._position) if part is not None and count > 0 else b""

    def skip(self, count: int) -> None:
        """Continue behind these bytes."""
        self._position += count
        if self._detour is not None:
            self._detour.drop(count)

    def send_to(self, descriptor: int, most_bytes: int) -> int | None:
        """Have the operating system send the next bytes, and return their number, without a ``skip`` behind them.

        :return: ``None`` if they have to be read.
        """
        source = self._source()
        part = None if isinstance(source, Detour) else source.part
        if part is None or not hasattr(os, "sendfile"):
            return None
        count = min(most_bytes, self._free_bytes(source))
        return part.send_to(descriptor, self._position, count) if count > 0 else 0

    def await_more(self, listener: Callable[[], None]) -> bool:
        """Have a function called when more may have arrived; return false if it has already, or nothing more will."""
        source = self._source()
        return source.listen(lambda: self._free_bytes(source) > 0, listener)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; nothing at the end.

        :raises Broken: no more will arrive, although the file has not ended.
        """
        while True:
            if size == 0 or self._position == self._arrival.size_bytes:
                return b""
            source = self._source()
            source.wait_for(lambda: self._free_bytes(source) > 0, None)  # noqa: B023 - called before the next turn
            data = self.peek(size if size > 0 else BLOCK_BYTES)
            if data:
                self.skip(len(data))
                return data
            if self.is_broken:
                raise Broken(f"{self._arrival.wanted.filename} does not arrive") from source.failure
            if source.is_verified:
                return b""

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._detour is not None:
            self._detour.leave()
        self._arrival.leave()

    def __del__(self) -> None:
        if hasattr(self, "_is_closed"):
            self.close()

    def _source(self) -> Arrival | Detour:
        if self._detour is not None:
            return self._detour
        arrival = self._arrival
        if arrival.is_diverted and not arrival.is_verified and not self._free_bytes(arrival):
            self._detour = arrival.detour(self._position)
            return self._detour
        return arrival

    def _free_bytes(self, source: Arrival | Detour) -> int:
        return source.free_bytes - self._position
