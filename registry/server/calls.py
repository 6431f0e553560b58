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
import os
import socket
from contextlib import suppress

RECEIVED_BYTES = 16 << 10  # more than the head of a request
_SET_TIMER_SLACK = 29  # PR_SET_TIMERSLACK


def _receive_plainly(connection: socket.socket) -> bytes:
    return connection.recv(RECEIVED_BYTES)


def _send_plainly(connection: socket.socket, data: bytes) -> int:
    return connection.send(data)


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


try:
    _library = ctypes.PyDLL(None, use_errno=True)
    _recv, _send = _library.recv, _library.send
    _FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
except (AttributeError, OSError, TypeError):
    receive, send = _receive_plainly, _send_plainly
else:
    _recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    _send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
    _recv.restype = _send.restype = ctypes.c_ssize_t
    _buffer = ctypes.create_string_buffer(RECEIVED_BYTES)  # one, as only the loop receives
    _address, _view = ctypes.addressof(_buffer), memoryview(_buffer).cast("B")

    def receive(connection: socket.socket) -> bytes:
        """Return the data that has arrived, at most ``RECEIVED_BYTES``; nothing at the end of the connection.

        :raises OSError: as ``socket.recv`` of a connection that does not block.
        """
        count = _recv(connection.fileno(), _address, RECEIVED_BYTES, _FLAGS)
        if count < 0:
            raise _failure()
        return _view[:count].tobytes()

    def send(connection: socket.socket, data: bytes) -> int:
        """Send as much as the client accepts at once, and return the number of bytes.

        :raises OSError: as ``socket.send`` of a connection that does not block.
        """
        count: int = _send(connection.fileno(), data, len(data), _FLAGS)
        if count < 0:
            raise _failure()
        return count


def set_timer_slack(seconds: float) -> None:
    """Let timeouts of this thread end so much later (prctl(2), ``PR_SET_TIMERSLACK``), on Linux only."""
    with suppress(AttributeError, NameError):
        _library.prctl(_SET_TIMER_SLACK, ctypes.c_ulong(round(seconds * 1e9)), 0, 0, 0)
