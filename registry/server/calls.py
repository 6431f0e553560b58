"""System calls that let the loop have the interpreter when it needs it, although threads compute.

Python releases the interpreter for each system call. While a thread computes, the loop then waits for its turn after
each of them, up to a switch interval, although the call itself takes microseconds: with a page for each of seven
clients, fourteen times in a turn. These calls cannot block, so they are made as ``ctypes.PyDLL`` makes them: without
releasing it. Where the library of the system does not have them, the methods of sockets are used.

After other calls, a thread that wants the interpreter waits for a switch interval, and then takes it from the one that
has it. ``set_timer_slack`` makes this wait longer for the threads that answer requests than for the loop.
"""

from __future__ import annotations

import ctypes
import select
import socket
from contextlib import suppress
from typing import Any

RECEIVED_BYTES = 16 << 10  # more than the head of a request
READ, WRITE = select.POLLIN, select.POLLOUT  # also of epoll
_SET_TIMER_SLACK = 29  # PR_SET_TIMERSLACK


def _receive_plainly(connection: socket.socket) -> bytes:
    return connection.recv(RECEIVED_BYTES)


def _send_plainly(connection: socket.socket, data: bytes) -> int:
    return connection.send(data)


try:
    _library = ctypes.PyDLL(None)
    _recv, _send = _library.recv, _library.send
    _FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
except (AttributeError, OSError, TypeError):
    receive, send = _receive_plainly, _send_plainly
else:
    # Without ``argtypes``, as converting arguments by them takes as long as the call.
    _recv.restype = _send.restype = ctypes.c_ssize_t
    _buffer: Any = ctypes.create_string_buffer(RECEIVED_BYTES)  # one, as only the loop receives
    _size = ctypes.c_size_t(RECEIVED_BYTES)

    def receive(connection: socket.socket) -> bytes:
        """Return the data that has arrived, at most ``RECEIVED_BYTES``; nothing at the end of the connection.

        :raises OSError: as ``socket.recv`` of a connection that does not block.
        """
        count: int = _recv(connection.fileno(), _buffer, _size, _FLAGS)
        data: bytes = _buffer[:count] if count >= 0 else _receive_plainly(connection)
        return data

    def send(connection: socket.socket, data: bytes) -> int:
        """Send as much as the client accepts at once, and return the number of bytes.

        :raises OSError: as ``socket.send`` of a connection that does not block.
        """
        count: int = _send(connection.fileno(), data, ctypes.c_size_t(len(data)), _FLAGS)
        return count if count >= 0 else _send_plainly(connection, data)


def set_timer_slack(seconds: float) -> None:
    """Let timeouts of this thread end so much later (prctl(2), ``PR_SET_TIMERSLACK``), on Linux only."""
    with suppress(AttributeError, NameError):
        _library.prctl(_SET_TIMER_SLACK, ctypes.c_ulong(round(seconds * 1e9)), 0, 0, 0)
