"""The loop waits for nothing but what happens next: others are answered whatever holds up threads and clients."""

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


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with logging_to_pipe(JSONFormatter()) as pipe:
        yield pipe


def test_not_for_its_log(pipe: Pipe, serving_pages: Serving) -> None:
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
def test_its_lines_are_those_of_threads(formatter: Formatter, served: Flask, tmp_path: Path) -> None:
    with logging_to_pipe(formatter) as pipe, closing(Serving(tmp_path, app=served)) as serving:
        has_connection(serving)
        with Client(serving, User_Agent='a "quoted" agent, 100%') as client:
            client.known()
            heads = by_loop(serving, lambda: [client.get()[0] for _ in range(3)])
        first, *others = [varying(line) for line in pipe.lines(count=4)]

    assert heads
    assert others == [first] * 3


def varying(line: str) -> str:
    """A line without what differs in every line."""
    return re.sub(r"[0-9a-f]{32}|[0-9]+\.[0-9]|(?<=[0-9][T ])[0-9:,.]+", "...", line)
