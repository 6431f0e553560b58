"""What is read of a request before the application sees all of it.

Waitress receives the whole body first. What can be refused from the header alone is refused here, and whoever wants to
send a large file has to wait behind the header until the application has let him in.
"""

from __future__ import annotations

import re
from contextlib import suppress

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error

from registry.errors import is_disk_full

SMALL_BODY_BYTES = 4 << 20  # every request but an upload
UNASKED_BYTES = 64 << 10  # an upload of this size is read without asking first
UNLIMITED_BYTES = 1 << 60
CHUNKED_PIECE_BYTES = 1 << 13
LONGEST_CHUNK_LINE = 1 << 14  # the head of a chunk, or what trails the last one


class EarlyRefusal(Error):  # type: ignore[misc]
    """An answer made from the header alone; the connection closes after it."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        super().__init__(body)
        self.status, self.headers = status, headers

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        return self.status, self.headers, self.body


class GuardedParser(HTTPRequestParser):  # type: ignore[misc]
    """Runs in the one thread that does all input: only cheap checks here, nothing that waits.

    :cvar uploads: matches the paths to which large bodies are sent, as the application routes them.
    :ivar held: what came behind the header of a request that has to ask before it sends its body; ``None`` when it
        need not, or has asked.
    :ivar digest: of the head, if the loop can answer the same bytes itself (``Repeats``).
    """

    uploads: re.Pattern[str]
    max_upload_bytes = UNLIMITED_BYTES
    error: Error | None
    content_length: int
    expect_continue: bool
    held: bytes | None = None
    digest: bytes | None = None
    _has_to_ask = False
    _is_told_to_continue = False

    def received(self, data: bytes) -> int:
        try:
            consumed = self._received(data)
            if self.completed and self.body_rcv is not None:
                self.body_rcv.getfile().flush()  # to whoever reads it, what fails would look like a client that left
            return consumed
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._refuse(EarlyRefusal("507 Insufficient Storage", _JSON, _NO_ROOM))
            return len(data)

    def _received(self, data: bytes) -> int:
        if not self.chunked:
            consumed = int(super().received(data))
            return self._hold(data, consumed) if self._has_to_ask and not self.completed else consumed
        # In pieces, because waitress copies all that it was given once for each chunk in it: a megabyte in chunks of
        # one byte would keep this thread busy for seconds.
        consumed = int(super().received(data[:CHUNKED_PIECE_BYTES]))
        if not self.completed:
            self._refuse(self._overrun())
        return consumed

    def close(self) -> None:
        with suppress(OSError):  # a full disk does not take what is still buffered; the file goes all the same
            super().close()

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # of an absolute target that is no address
            raise ParsingError("Malformed request target") from error
        if self._is_upload:
            is_small = not self.chunked and self.content_length <= UNASKED_BYTES
            self._has_to_ask = self.body_rcv is not None and (self.expect_continue or not is_small)
        elif not self.chunked and self.content_length > SMALL_BODY_BYTES:  # what is chunked is counted as it comes
            self._refuse(_too_large())

    def _hold(self, data: bytes, consumed: int) -> int:
        """Pass for a complete request, so that the channel reads no further and puts it in line with the others."""
        self.held = data[consumed:]
        self.completed = True
        self._has_to_ask = False
        self._is_told_to_continue, self.expect_continue = self.expect_continue, False
        return len(data)

    def release(self) -> bytes:
        """Take a body from here on; what was held has to be received again."""
        held, self.held = self.held or b"", None
        self.completed = False
        self.expect_continue = self._is_told_to_continue
        return held

    def _refuse(self, refusal: EarlyRefusal | None) -> None:
        if refusal is not None:
            self.error = refusal
            self.completed = True
            self.expect_continue = False
            self.content_length = 0

    def _overrun(self) -> EarlyRefusal | None:
        """Why no more of a chunked body is taken. Waitress keeps all that comes: bodies on disk, the rest in memory."""
        body = self.body_rcv
        if max(len(body.control_line), len(body.trailer)) > LONGEST_CHUNK_LINE:
            return EarlyRefusal("400 Bad Request", _JSON, b'{"error":"400 Bad Request"}')
        limit = self.max_upload_bytes if self._is_upload else SMALL_BODY_BYTES
        return _too_large() if len(body) > limit else None

    @property
    def _is_upload(self) -> bool:
        return self.command == "POST" and self.uploads.match(self.path) is not None


_JSON = [("Content-Type", "application/json")]
_NO_ROOM = b'{"message":"507 Insufficient Storage - The disk is full."}'


def _too_large() -> EarlyRefusal:
    return EarlyRefusal("413 Request Entity Too Large", _JSON, b'{"error":"413 Request Entity Too Large"}')
