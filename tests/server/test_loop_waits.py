"""The loop waits only for the next event: other clients are answered whatever delays threads and clients."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from registry.logs import Formatter, JSONFormatter, TextFormatter
from tests.log_pipe import Pipe, logging_to_pipe
from tests.server.pages import Client, by_loop, has_connection
from tests.server.serving import MIB, UPLOAD, Serving, StuckDisk, answer, eventually, taken


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A server with one thread that can be blocked, and one for other requests."""
    with closing(Serving(tmp_path, threads=2)) as serving:
        yield serving


def test_it_does_not_wait_for_buffers_while_a_thread_writes(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with StuckDisk(monkeypatch, at_piece=40) as disk, serving.asked_for("/pieces/64") as connection:
        assert disk.is_reached.wait(10)
        taken(connection)

        with serving.asked_for("/whole/3") as other:
            assert answer(other) == bytes(3)


def test_it_does_not_wait_for_buffers_of_a_client_that_disconnects(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_it_does_not_wait_for_a_body_that_a_thread_stores(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bytes of an upload arrive with its header, and are stored once it is authorized."""
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


def test_it_does_not_wait_for_a_client_that_stopped_reading(serving: Serving) -> None:
    """Its socket never becomes writable, and its connection is closed all the same."""
    serving.server.waits.response.seconds = 0.3

    with serving.asked_for(f"/whole/{32 * MIB}"):
        eventually(lambda: serving.server.active_channels)
        eventually(lambda: not serving.server.active_channels)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with logging_to_pipe(JSONFormatter()) as pipe:
        yield pipe


def test_it_does_not_wait_for_its_log(pipe: Pipe, serving_pages: Serving) -> None:
    """Standard error is a pipe that is full, and nothing reads it."""
    with Client(serving_pages) as client:
        _, body = client.known()
        client.get()
        pipe.fill()
        answers = by_loop(serving_pages, lambda: [client.get() for _ in range(300)])

    assert {answer[1] for answer in answers} == {body}
    ids = [head.partition(b"X-Request-Id: ")[2][:32].decode() for head, _ in answers]
    logged = [json.loads(line)["request_id"] for line in pipe.lines(containing=ids[-1])]
    assert logged[-300:] == ids


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()], ids=["text", "json"])
def test_its_log_lines_equal_those_of_threads(formatter: Formatter, served: Flask, tmp_path: Path) -> None:
    with logging_to_pipe(formatter) as pipe, closing(Serving(tmp_path, app=served)) as serving:
        has_connection(serving)
        with Client(serving, User_Agent='a "quoted" agent, 100%') as client:
            client.known()
            heads = by_loop(serving, lambda: [client.get()[0] for _ in range(3)])
        first, *others = [varying(line) for line in pipe.lines(count=4)]

    assert heads
    assert others == [first] * 3


def varying(line: str) -> str:
    """A line without the parts that differ in every line."""
    return re.sub(r"[0-9a-f]{32}|[0-9]+\.[0-9]|(?<=[0-9][T ])[0-9:,.]+", "...", line)
