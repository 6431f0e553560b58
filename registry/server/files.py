"""Files in responses, which the operating system sends without a copy in this process."""

from __future__ import annotations

import errno
import io
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from waitress.buffers import ReadOnlyFileBasedBuffer

# Returned for files and connections between which the operating system cannot send.
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOVERFLOW)


class FileBuffer(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """A file that is sent from its position to the end of the response."""

    def __init__(self, file: Any, block_size: int = 1 << 18) -> None:
        super().__init__(file, block_size)
        self._descriptor = _descriptor(file)

    def send_to(self, connection: socket.socket, most_bytes: int) -> int | None:
        """Send as much as the client accepts at once, and return the number of bytes.

        :return: ``None`` if this file has to be read instead.
        :raises OSError: the connection is broken, would block, or the file has become shorter.
        """
        if self._descriptor is None:
            return None
        try:
            count = os.sendfile(connection.fileno(), self._descriptor, self.file.tell(), min(self.remain, most_bytes))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._descriptor = None
            return None
        if not count:
            raise shortened()
        return count


class Arriving(Protocol):
    """A file that is being received while it is sent; nothing of this waits.

    :ivar has_more: whether there is something to send.
    :ivar is_broken: whether no more will arrive, although the file has not ended.
    """

    has_more: bool
    is_broken: bool

    def peek(self, most_bytes: int) -> bytes:
        """Return the next bytes as far as they have arrived."""

    def skip(self, count: int) -> None:
        """Continue behind these bytes."""

    def send_to(self, descriptor: int, most_bytes: int) -> int | None:
        """Have the operating system send the next bytes, as far as they have arrived, and return their number.

        :return: ``None`` if they have to be read.
        """

    def await_more(self, listener: Callable[[], None]) -> bool:
        """Have a function called when more may have arrived; return false if it has already, or nothing more will."""

    def close(self) -> None: ...


class ArrivingBuffer(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """A file that is sent as it arrives, without a thread that waits for it."""

    def __init__(self, file: Arriving, block_size: int = 1 << 18) -> None:
        super().__init__(file, block_size)
        self.remain = 0

    def prepare(self, size: int | None = None) -> int:
        """Take the length of the response, which has to be known."""
        self.remain = size or 0
        return self.remain

    @property
    def has_more(self) -> bool:
        return bool(self.file.has_more)

    @property
    def is_broken(self) -> bool:
        return bool(self.file.is_broken)

    def await_more(self, listener: Callable[[], None]) -> bool:
        return bool(self.file.await_more(listener))

    def get(self, numbytes: int = -1, skip: bool = False) -> bytes:
        most_bytes = self.remain if numbytes < 0 else min(numbytes, self.remain)
        data: bytes = self.file.peek(most_bytes)
        if skip:
            self.skip(len(data))
        return data

    def skip(self, numbytes: int, allow_prune: bool = False) -> None:
        self.remain -= numbytes
        self.file.skip(numbytes)

    def send_to(self, connection: socket.socket, most_bytes: int) -> int | None:
        """Send as much as has arrived and the client accepts at once, and return the number of bytes.

        :return: ``None`` if the file has to be read instead.
        :raises OSError: the connection is broken, or would block.
        """
        try:
            count: int | None = self.file.send_to(connection.fileno(), min(self.remain, most_bytes))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return None
        return count


def file_buffer(file: Any, block_size: int = 1 << 18) -> FileBuffer | ArrivingBuffer:
    """Wrap a file of a response (PEP 3333, ``wsgi.file_wrapper``)."""
    wrapper = ArrivingBuffer if hasattr(file, "await_more") else FileBuffer
    return wrapper(file, block_size)


def shortened() -> OSError:
    return OSError(errno.EIO, "A file has become shorter while it was sent")


def _descriptor(file: Any) -> int | None:
    if not hasattr(os, "sendfile"):
        return None
    try:
        return int(file.fileno())
    except (AttributeError, io.UnsupportedOperation):  # kept in memory
        return None
