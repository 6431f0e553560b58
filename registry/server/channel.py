"""One connection: large uploads ask the application before their body is read, and closing loses no answer."""

from __future__ import annotations

import logging
import socket
import threading
import time
from io import BytesIO
from typing import Any

from flask import Response
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import WSGITask
from waitress.utilities import Error, InternalServerError

from registry.server.parser import EarlyRefusal, GuardedParser

PREFLIGHT = "registry.preflight"  # no header can be spelled so
BUFFER_BYTES = 16 << 20
STALL_SECONDS = 60
LINGER_SECONDS = 5
LINGER_BYTES = 16 << 20

logger = logging.getLogger(__name__)


class Task(WSGITask):  # type: ignore[misc]
    """Keeps the connection open behind a 204 or 304, where waitress misses a length and closes it.

    When the process is to stop, the answer to the last request that has arrived tells that the connection closes.
    """

    def set_close_on_finish(self) -> None:
        is_asked_for = self.version == "1.0" or self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or is_asked_for:
            super().set_close_on_finish()

    def build_response_header(self) -> bytes:
        if self.channel.server.is_stopping and len(self.channel.requests) == 1:
            self.request.headers["CONNECTION"] = "close"
        return bytes(super().build_response_header())


class Channel(HTTPChannel):  # type: ignore[misc]
    """Sees that a request whose parser holds its body back is asked for in its turn, by a thread as all others.

    Whoever closes a connection while the client is still sending resets it, and the client may never see why. So the
    server's half is closed first, and what still comes is dropped for a while (RFC 9112, section 9.6).
    """

    parser_class = GuardedParser
    task_class = Task
    current_outbuf_count: int
    _lingers_until: float | None = None
    _dropped_bytes = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.requests_lock = threading.RLock()  # _read_body receives what was held back before anything else

    # Asking first -------------------------------------------------------------------------------------------------

    def service(self) -> None:
        request = self.requests[0]
        if request.held is not None and self.connected:
            request.error = self._refusal(request)
            if request.error is None:
                self._read_body(request)
                return
        super().service()

    def _refusal(self, request: GuardedParser) -> Error | None:
        """What the application answers to the header alone, unless it lets the body in with 204."""
        environ = Task(self, request).get_environment() | {"wsgi.input": BytesIO(), PREFLIGHT: True}
        try:
            response = Response.from_app(self.server.application, environ, buffered=True)
        except Exception:
            logger.exception("A request failed.")
            return InternalServerError("The server encountered an unexpected internal server error")
        if response.status_code == 204:
            return None
        return EarlyRefusal(response.status, response.headers.to_wsgi_list(), response.get_data())

    def _read_body(self, request: GuardedParser) -> None:
        """Take the request out of line until its body is there."""
        held = request.release()
        with self.requests_lock:
            self.request = request
            if request.expect_continue:
                self.send_continue()
            self.last_activity = time.time()
            self.requests.pop(0)
            self.received(held)
        self.server.pull_trigger()

    # Slow clients -------------------------------------------------------------------------------------------------

    def write_soon(self, data: Any) -> int:
        """As waitress, which keeps what has been sent until a buffer is used up, but with smaller buffers."""
        if self.current_outbuf_count >= BUFFER_BYTES:
            self.current_outbuf_count = self.adj.outbuf_high_watermark
        return int(super().write_soon(data))

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait until the client has taken enough, as waitress does; but not for one that takes nothing at all.

        :raises ClientDisconnected: it has taken nothing for ``STALL_SECONDS``; the connection is closed when idle.
        """
        with self.outbuf_lock:
            while self.connected and self.total_outbufs_len > self.adj.outbuf_high_watermark:
                left = self.total_outbufs_len
                self.server.pull_trigger()
                if not self.outbuf_lock.wait(STALL_SECONDS) and self.total_outbufs_len == left:
                    raise ClientDisconnected

    # Closing ------------------------------------------------------------------------------------------------------

    def handle_close(self) -> None:
        if not (self.will_close and self._linger()):
            super().handle_close()

    def _linger(self) -> bool:
        if self._lingers_until is not None or self.total_outbufs_len or not self.connected:
            return False
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client is gone
            return False
        self.will_close = False
        self._lingers_until = time.monotonic() + LINGER_SECONDS
        return True

    def readable(self) -> bool:
        if self._lingers_until is not None and time.monotonic() > self._lingers_until:
            self.will_close = True
        return bool(super().readable())

    def received(self, data: bytes) -> bool:
        if self._lingers_until is None:
            return bool(super().received(data))
        self._dropped_bytes += len(data)
        self.will_close = self._dropped_bytes > LINGER_BYTES
        return False
