"""One connection: which thread it belongs to, how large uploads are authorized, and how it is closed."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress
from io import SEEK_END, BytesIO
from queue import Empty, SimpleQueue
from typing import Any

from flask import Response
from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer, ReadOnlyFileBasedBuffer
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.utilities import Error, InternalServerError, build_http_date

from registry.environ_keys import PREFLIGHT
from registry.server import calls
from registry.server.calls import READ
from registry.server.files import ArrivingBuffer, FileBuffer, shortened
from registry.server.parser import EarlyRefusal, GuardedParser, too_large
from registry.server.task import Task
from registry.server.waits import PROGRESS_BYTES, Wait

BUFFER_BYTES = 16 << 20
PIECE_BYTES = 256 << 10  # read from a buffer and sent at once
JOINED_BYTES = 64 << 10  # up to this size, a body is copied behind its head
SHARE_BYTES = 1 << 20  # sent by the loop before it turns to other connections
STALL_SECONDS = 60
LINGER_BYTES = 16 << 20

logger = logging.getLogger(__name__)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection belongs to the loop, or is lent to one thread until the requests that have arrived are answered.

    The thread sends its response itself. Data that the client does not accept at once is handed over to the loop, with
    one wake-up; from then on the loop sends alone, while the thread can continue writing. The loop never waits for the
    lock of the buffers: if a thread is writing to them, the loop turns to other connections, and the thread hands them
    over again when it has released the lock.

    A request that the loop can answer itself is lent to ``Repeats`` until it is decided whether its answer is valid.

    A request whose parser holds back the body is authorized by a thread, in its turn.

    Closing a connection while the client is sending resets it, and the client might never see the response. So the
    server closes its half first, and discards all further input for a while (RFC 9112, section 9.6).

    :ivar is_lent: to a thread or to ``Repeats``; the loop does not touch the requests.
    :ivar watched: the events that the loop waits for, as a mask of ``select.poll``; set by ``Server.watch``.
    :ivar wait: which kind of wait for its client the connection is listed with; set by ``Waits``.
    """

    request_class = GuardedParser
    task_class = Task
    watched = 0
    current_outbuf_count: int
    request: Any
    requests: list[Any]
    is_lent = False
    wait: Wait | None = None
    _is_early = False  # the client sent more before it had its response
    _is_handed_over = False
    _owes_continue = False
    _waits_for_room = False
    _is_starved = False  # the next bytes of a file that is being received have not arrived
    _is_fed = False  # they have, and the client has not been waited for since
    _is_lingering = False
    _dropped_bytes = 0
    _new_bytes = 0  # of a body, since its time began

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._room: SimpleQueue[None] = SimpleQueue()
        self.server.addresses.add(self)
        self.server.waits.begin(self, self.server.waits.head)
        self.server.watch(self)

    def parser_class(self, adjustments: Adjustments) -> GuardedParser:
        """Begin a request; waitress has a class here."""
        return self.request_class(adjustments, self.addr[0])

    def readable(self) -> bool:
        """True also while a thread answers: few clients send anything then, and ``watched`` can stay as it is."""
        if self.is_lent:
            return not self._is_early
        return not (self.will_close or self.close_when_flushed or self._is_handed_over)

    def writable(self) -> bool:
        return self._is_handed_over and not self._is_starved

    def handle_read_event(self) -> None:
        if self.is_lent or not self.readable():
            self._is_early = True
        elif self.server.repeats is None or self.request is not None or self._is_lingering:
            self.take(self._read())
        elif self.server.repeats.receive(self, self._read()):
            return  # behind its answer, everything is as before
        self.server.watch(self)

    def _read(self) -> bytes:
        """Read the data that has arrived; close the connection and return nothing if the client is gone."""
        try:
            # The rest of a request is read in larger pieces than a head.
            is_rest = self.request is not None
            data = self.socket.recv(self.adj.recv_bytes) if is_rest else calls.receive(self.socket)
        except BlockingIOError:
            return b""
        except OSError as error:
            if not isinstance(error, ConnectionError):
                logger.exception("Socket error")
            data = b""
        if not data:
            self.handle_close()
            self.connected = False
        return data

    def take(self, data: bytes, digest: bytes | None = None) -> None:
        """Parse received data, and have a thread answer the requests in it.

        :param digest: of the data, if they are one whole head, which can be remembered when it is answered.
        """
        self.received(data)
        if self.requests or self._owes_continue:
            if len(self.requests) == 1:
                self.requests[0].digest = digest
            self.lend()
            self.server.waits.end(self)
            self.server.task_dispatcher.add_task(self)
        else:
            self._await_rest(len(data))
        self.settle()

    def lend(self) -> None:
        self.is_lent, self._is_early = True, False

    def handle_write_event(self) -> None:
        self._is_handed_over = False  # before the attempt: a thread that holds the lock reads it after the release
        if self.outbuf_lock.acquire(blocking=False):
            self._write()
        self.server.watch(self)

    def _write(self) -> None:
        sent = False
        try:
            sent, _ = self._flush_exception(self._flush_some)
            self._is_handed_over = self.total_outbufs_len > 0
        finally:
            self.outbuf_lock.release()
        if self._waits_for_room and self.total_outbufs_len <= self.adj.outbuf_high_watermark:
            self._room.put(None)
        if sent:
            self.await_client()
        self.settle()

    def refer(self, data: bytes, digest: bytes) -> None:
        """Have a thread answer a request that ``Repeats`` had taken."""
        self.is_lent = False
        self.take(data, digest)
        self.server.watch(self)

    def give(self, head: bytes, body: bytes, closes: bool) -> bool:
        """Send a whole answer from the loop, unless there is still something to be sent before it.

        As much as the client accepts is sent at once, and the rest later.

        :return: whether it is sent, or will be.
        """
        if not self.outbuf_lock.acquire(False):
            return False
        try:
            if self.total_outbufs_len:
                return False
            self.is_lent, self.close_when_flushed = False, closes
            sent = self._send_at_once(head, body)
            rest = len(head) + len(body) - sent
            if rest and self.socket is not None:
                self._append_rest(head, body, sent)
                self._is_handed_over = True
        finally:
            self.outbuf_lock.release()
        if rest or closes or self.watched != READ:
            self.await_client()
            self.server.watch(self)
            self.settle()
        else:  # as nearly always: then, everything is as before the request
            self.server.waits.begin(self, self.server.waits.idle)
        return True

    def _send_at_once(self, head: bytes, body: bytes) -> int:
        """Return how many bytes were sent; the connection is closed if it is broken."""
        try:
            if len(body) < JOINED_BYTES:
                return calls.send(self.socket, head + body)
            return int(self.socket.sendmsg((head, body)))
        except BlockingIOError:
            return 0
        except ConnectionError:
            self.handle_close()
            return 0

    def _append_rest(self, head: bytes, body: bytes, sent: int) -> None:
        if sent < len(head):
            self._append(head[sent:], len(head) - sent)
        rest = len(body) - max(0, sent - len(head))
        if rest:
            self._append(_in_memory(body, rest), rest)

    def give_up(self) -> None:
        """Close the connection after a failure in the loop."""
        self.is_lent, self.will_close = False, True
        self.settle()

    def settle(self) -> None:
        """Close the connection if nothing is left to do."""
        if self._is_over and self.socket is not None:
            self.will_close, self.close_when_flushed = True, False
            self.handle_close()
        elif self._is_fed:
            self._is_fed = False
            self.await_client()

    def await_client(self) -> None:
        """Have the time begin that the client has for whatever it has to do next, unless a thread is to answer."""
        waits = self.server.waits
        if self.is_lent or self.socket is None or self._is_lingering:
            return
        if self._is_starved:
            waits.end(self)
        elif self.total_outbufs_len:
            waits.begin(self, waits.response)
        elif self.request is None:
            waits.begin(self, waits.idle)
        else:
            waits.begin(self, waits.body if self.request.headers_finished else waits.head)
        self._new_bytes = 0

    @property
    def receives_upload(self) -> bool:
        """Whether the body that arrives was asked for, after the application had authorized its upload."""
        return self.request is not None and self.request.incoming is not None

    def _await_rest(self, size_bytes: int) -> None:
        """Let the time of a head or body that has begun go on, or have that of a body begin anew if there is progress.

        Nothing begins with empty lines, which can precede a request.
        """
        if self.request is None or self._is_lingering:
            return
        waits = self.server.waits
        self._new_bytes += size_bytes
        is_body, was_body = self.request.headers_finished, self.wait is waits.body
        if is_body is not was_body or self.wait not in (waits.head, waits.body) or self._new_bytes >= PROGRESS_BYTES:
            self.await_client()

    def run_out(self, wait: Wait) -> None:
        """Close the connection, as the client has let its time pass; inside a request, with 408."""
        is_inside = wait in (self.server.waits.head, self.server.waits.body) and self.request is not None
        if is_inside and self.give(_timeout_head(), b"", closes=True):
            self._discard_request()
        else:
            self.will_close = True
        self.settle()
        self.server.watch(self)

    def drop(self) -> None:
        """Close the connection at once, although the client might not get to see the last response."""
        self.will_close = self._is_lingering = True
        self.handle_close()

    @property
    def _is_over(self) -> bool:
        return bool(self.will_close or (self.close_when_flushed and not self.total_outbufs_len and not self.is_lent))

    @property
    def is_upload(self) -> bool:
        """Whether the request that a thread answers next is an upload."""
        return bool(self.requests and self.requests[0].is_upload)

    @property
    def is_probe(self) -> bool:
        """Whether it is a probe of the process, which needs neither database nor store."""
        return bool(self.requests and self.requests[0].is_probe)

    def service(self) -> None:
        """Answer the first request, then queue the connection for the next one, or give it back to the loop."""
        try:
            self._answer()
        except BaseException:
            for request in self.requests:
                request.close()
            self.will_close, self.requests = True, []
            raise
        finally:
            if self.requests:
                self.flush()
                self.server.task_dispatcher.add_task(self)
            else:
                self._give_back()

    def _answer(self) -> None:
        if self.requests and self.requests[0].held is not None and self.connected:
            self._ask(self.requests[0])
        self._continue()
        if self.requests:
            super().service()
        self._continue()

    def _give_back(self) -> None:
        """Return the connection to the loop, and only then send the end of the response.

        Otherwise the client's next request would often arrive too early.
        """
        self.is_lent = False
        self.flush()
        if self.socket is None:
            self._discard_request()
        self.server.give_back(self)
        if self._is_handed_over or self.socket is None:
            return
        if self._is_over or self.watched != READ * self.readable():
            self.server.wake(self)

    def flush(self) -> None:
        """Send as much as the client accepts at once, and hand the rest over to the loop."""
        with self.outbuf_lock:
            if self.connected and not self._is_handed_over:
                self._flush_exception(self._flush_some, do_close=False)
        if (self.total_outbufs_len or self.will_close) and not self._is_handed_over and self.socket is not None:
            self._is_handed_over = True
            self.server.wake(self)

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send until the client accepts no more; in the loop, at most about ``SHARE_BYTES``.

        :param do_close: close a broken connection; false in a thread, which leaves that to the loop.
        :raises OSError: the connection or a file fails.
        """
        sent = 0
        while self.total_outbufs_len and (sent < SHARE_BYTES or not do_close):
            self._drop_used_up()
            count, is_all = self._send_from(self.outbufs[0], do_close)
            if count:
                self.outbufs[0].skip(count, True)
                self.total_outbufs_len -= count
                sent += count
            if not is_all:
                break
        self._drop_used_up()
        return sent > 0

    def _send_from(self, buffer: Any, do_close: bool) -> tuple[int, bool]:
        """Send from a buffer, and return how much was sent, and whether the client might accept more at once."""
        if isinstance(buffer, ArrivingBuffer) and not self._has_more(buffer):
            return 0, False
        if isinstance(buffer, FileBuffer | ArrivingBuffer):
            count = self._send_file(buffer, do_close)
            if count is not None:
                return count, count > 0
        piece = buffer.get(PIECE_BYTES)
        if not piece:
            raise shortened()
        count = self.send(piece, do_close=do_close)
        return count, count == len(piece)

    def _has_more(self, buffer: ArrivingBuffer) -> bool:
        """Return whether there is something to send; otherwise, it is sent when it arrives.

        The connection is closed if it never arrives, so that the client notices that the response is not complete.
        """
        while not buffer.has_more:
            if buffer.is_broken:
                self.will_close = True
                return False
            self._is_starved = True
            if buffer.await_more(self._feed):
                return False
            self._is_starved = False
        return True

    def _feed(self) -> None:
        """Have the loop send what has arrived; called by the thread that receives it."""
        self._is_starved, self._is_fed = False, True
        self.server.wake(self)

    def _send_file(self, file: FileBuffer | ArrivingBuffer, do_close: bool) -> int | None:
        """Send from a file, with the same treatment of a closed connection as in ``send``."""
        try:
            return file.send_to(self.socket, SHARE_BYTES)
        except BlockingIOError:
            return 0
        except ConnectionError:
            if do_close:
                self.handle_close()
            return 0

    def _drop_used_up(self) -> None:
        """Close the buffers that are sent, except the last, to which data is appended."""
        while len(self.outbufs) > 1 and not len(self.outbufs[0]):
            try:
                self.outbufs.pop(0).close()
            except OSError:
                logger.exception("A buffer could not be closed.")

    def write_soon(self, data: bytes | ReadOnlyFileBasedBuffer) -> int:
        """Append to the buffers; ``flush`` sends them.

        :raises ClientDisconnected: the connection is closed, or the client accepts nothing.
        """
        self._wait_for_room()
        size_bytes = len(data)
        if size_bytes:
            with self.outbuf_lock:
                if not self.connected:
                    raise ClientDisconnected
                self._append(data, size_bytes)
        return size_bytes

    def _append(self, data: bytes | ReadOnlyFileBasedBuffer, size_bytes: int) -> None:
        """Append to the last buffer, or start another: a buffer occupies its space until all of it is sent."""
        is_file = isinstance(data, ReadOnlyFileBasedBuffer)
        if is_file:
            self.outbufs.append(data)
        if is_file or self.current_outbuf_count >= BUFFER_BYTES:
            self.outbufs.append(OverflowableBuffer(self.adj.outbuf_overflow))
            self.current_outbuf_count = 0
        if not is_file:
            self.outbufs[-1].append(data)
            self.current_outbuf_count += size_bytes
        self.total_outbufs_len += size_bytes

    def _wait_for_room(self) -> None:
        """Wait until the client has accepted enough, but not for one that accepts nothing at all.

        :raises ClientDisconnected: it has accepted nothing for ``STALL_SECONDS``; ``run_out`` closes the connection.
        """
        if self.total_outbufs_len <= self.adj.outbuf_high_watermark:
            return
        self.flush()
        self._waits_for_room = True
        while self.connected and self.total_outbufs_len > self.adj.outbuf_high_watermark:
            left = self.total_outbufs_len
            try:
                self._room.get(timeout=STALL_SECONDS)
            except Empty:
                if self.total_outbufs_len == left:
                    raise ClientDisconnected from None
        self._waits_for_room = False

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Do nothing: ``write_soon`` waits, before it takes the lock of the buffers."""

    def _ask(self, request: GuardedParser) -> None:
        """Refuse a request by its header alone, or dequeue it until its body is complete, which it may be already."""
        request.error = self._refusal(request)
        if request.error is not None:
            return
        held = request.release()
        self.request = request
        self.requests.pop(0)
        if request.expect_continue:
            self.send_continue()
        self.received(held)

    def _refusal(self, request: GuardedParser) -> Error | None:
        """Return the application's refusal by the header alone, or ``None`` if it accepts the body (204)."""
        environ = Task(self, request).get_environment() | {
            "wsgi.input": BytesIO(), PREFLIGHT: request.incoming, "CONTENT_LENGTH": str(request.size_bytes)
        }  # fmt: skip
        try:
            response = Response.from_app(self.server.application, environ, buffered=True)
        except Exception:
            logger.exception("A request failed.")
            return InternalServerError("The server encountered an unexpected internal server error")
        if request.is_too_large and response.status_code < 400:
            return too_large()
        if response.status_code == 204:
            return None
        return EarlyRefusal(response.status, response.headers.to_wsgi_list(), response.get_data())

    def send_continue(self) -> None:
        """Leave it to a thread, like every response."""
        self.request.expect_continue = self.request.completed = False
        self.sent_continue = self._owes_continue = True

    def _continue(self) -> None:
        if self._owes_continue:
            self._owes_continue = False
            with suppress(ClientDisconnected):
                self.write_soon(b"HTTP/1.1 100 Continue\r\n\r\n")

    def handle_close(self) -> None:
        if self.will_close and self._linger():
            return
        self.will_close, self._is_handed_over = True, False  # before the attempt, as in handle_write_event
        if self.outbuf_lock.acquire(blocking=False):
            try:
                super().handle_close()
            finally:
                self.outbuf_lock.release()
            self._room.put(None)

    def del_channel(self, map: Any = None) -> None:  # noqa: A002 - as wasyncore calls it
        self.server.forget(self)
        self.server.waits.end(self)
        self.server.addresses.remove(self)
        if not self.is_lent:
            self._discard_request()
        super().del_channel(map)

    def _discard_request(self) -> None:
        """Free what a request occupies that will not arrive completely."""
        if self.request is not None:
            self.request.close()
            self.request = None

    def _linger(self) -> bool:
        if self._is_lingering or self.total_outbufs_len or self.is_lent or not self.connected:
            return False
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client is gone
            return False
        self.will_close = False
        self._is_lingering = True
        self.server.waits.begin(self, self.server.waits.linger)
        self.server.watch(self)  # for the end of what the client sends, also after a response that was repeated
        return True

    def received(self, data: bytes) -> bool:
        if not self._is_lingering:
            return bool(super().received(data))
        self._dropped_bytes += len(data)
        self.will_close = self._dropped_bytes > LINGER_BYTES
        return False


def _timeout_head() -> bytes:
    date = build_http_date(time.time())
    return f"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\nDate: {date}\r\n\r\n".encode()


def _in_memory(body: bytes, rest: int) -> ReadOnlyFileBasedBuffer:
    """The last bytes of a body as a buffer that does not copy them."""
    file = BytesIO(body)
    file.seek(-rest, SEEK_END)
    buffer = ReadOnlyFileBasedBuffer(file)
    buffer.prepare()
    return buffer
