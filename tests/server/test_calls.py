"""How the loop reads and writes: the bytes and errors of non-blocking sockets."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from registry.server import calls

Receive = Callable[[socket.socket], bytes]
Send = Callable[[socket.socket, bytes], int]

both = pytest.mark.parametrize(
    ("receive", "send"),
    [(calls.receive, calls.send), (calls._receive_plainly, calls._send_plainly)],
    ids=["without releasing the interpreter", "plain"],
)


@pytest.fixture
def connections() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        with theirs:
            ours.setblocking(False)
            yield ours, theirs


@both
def test_sent_bytes_arrive(connections: tuple[socket.socket, socket.socket], receive: Receive, send: Send) -> None:
    ours, theirs = connections
    data = bytes(range(256)) * 10

    assert send(ours, data) == len(data)
    assert theirs.recv(1 << 20) == data
    theirs.sendall(b"\0answer\0")
    assert receive(ours) == b"\0answer\0"


@both
def test_no_more_is_received_than_a_request_head_can_have(
    connections: tuple[socket.socket, socket.socket], receive: Receive, send: Send
) -> None:
    ours, theirs = connections
    theirs.sendall(b"x" * (calls.RECEIVED_BYTES + 1))

    assert len(receive(ours)) + len(receive(ours)) == calls.RECEIVED_BYTES + 1


@both
def test_calls_do_not_block(connections: tuple[socket.socket, socket.socket], receive: Receive, send: Send) -> None:
    ours, _ = connections
    with pytest.raises(BlockingIOError):
        receive(ours)

    with pytest.raises(BlockingIOError):
        repeat(send, ours, 1000)


@both
def test_the_end_of_a_connection_is_an_empty_read_or_an_error(
    connections: tuple[socket.socket, socket.socket], receive: Receive, send: Send
) -> None:
    ours, theirs = connections
    theirs.shutdown(socket.SHUT_WR)
    assert receive(ours) == b""

    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    with pytest.raises(ConnectionError):
        repeat(send, ours, 3)


def repeat(send: Send, connection: socket.socket, count: int) -> None:
    for _ in range(count):
        send(connection, bytes(1 << 20))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_the_timer_slack_is_set_for_the_thread_alone() -> None:
    before, set_in_thread = slack_ns(), []

    def act() -> None:
        calls.set_timer_slack(0.001)
        set_in_thread.append(slack_ns())

    thread = Thread(target=act)
    thread.start()
    thread.join()

    assert set_in_thread == [1_000_000]
    assert slack_ns() == before


def slack_ns() -> int:
    slack: int = ctypes.CDLL(None).prctl(30, 0, 0, 0, 0)  # PR_GET_TIMERSLACK
    return slack
