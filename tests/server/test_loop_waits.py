"""The loop waits for nothing but what happens next: others are answered whatever holds up threads and clients."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.serving import MIB, UPLOAD, Serving, StuckDisk, answer, eventually, taken


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A server with a thread that may be held up, and one for others."""
    with closing(Serving(tmp_path, threads=2)) as serving:
        yield serving


def test_not_for_buffers_while_a_thread_writes(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with StuckDisk(monkeypatch, at_piece=40) as disk, serving.asked_for("/pieces/64") as connection:
        assert disk.is_reached.wait(10)
        taken(connection)

        with serving.asked_for("/whole/3") as other:
            assert answer(other) == bytes(3)


def test_not_for_buffers_of_a_client_that_breaks_off(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with StuckDisk(monkeypatch, at_piece=40) as disk, serving.asked_for("/pieces/64") as connection:
        assert disk.is_reached.wait(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a close
        connection.close()
        time.sleep(0.1)

        with serving.asked_for("/whole/3") as other:
            assert answer(other) == bytes(3)
        disk.go_on()
        eventually(serving.ended.is_set)
        eventually(lambda: not serving.server.active_channels)


def test_not_for_a_body_that_a_thread_takes_up(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bytes of an upload arrive with its header, and are kept when it has been let in."""
    first, rest = bytes(100_000), bytes(MIB)
    length = len(first) + len(rest)
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: {length}\r\n\r\n".encode()

    with StuckDisk(monkeypatch, size_bytes=1000) as disk, serving.connected() as connection:
        connection.sendall(head + first)
        assert disk.is_reached.wait(10)
        connection.sendall(rest[: MIB // 2])
        time.sleep(0.1)

        with serving.asked_for("/whole/3") as other:
            assert answer(other) == bytes(3)
        disk.go_on()
        connection.sendall(rest[MIB // 2 :])
        assert answer(connection) == str(length).encode()


def test_not_for_a_client_that_takes_nothing_any_more(serving: Serving) -> None:
    """There is never room to write to it, and it is closed all the same."""
    serving.server.adj.channel_timeout = 0.3

    with serving.asked_for(f"/whole/{32 * MIB}"):
        eventually(lambda: serving.server.active_channels)
        eventually(lambda: not serving.server.active_channels)
