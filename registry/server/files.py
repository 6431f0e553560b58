"""Files in responses, which the operating system sends without a copy in this process."""

from __future__ import annotations

import errno
import io
import os
import socket
from typing import Any

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


def shortened() -> OSError:
    return OSError(errno.EIO, "A file has become shorter while it was sent")


def _descriptor(file: Any) -> int | None:
    if not hasattr(os, "sendfile"):
        return None
    try:
        return int(file.fileno())
    except (AttributeError, io.UnsupportedOperation):  # kept in memory
        return None
