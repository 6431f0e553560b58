"""Files that are sent while they are being received: without a thread, and without turns of the loop in between."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from flask import Flask, Response, request
from werkzeug.wsgi import wrap_file

from registry.domain.upstream.arrivals import LAST_PIECE_BYTES, Arrival, Detour, Part, Wanted
from registry.errors import UpstreamFailed
from registry.server.limits import Limits
from tests.server.serving import MIB, Serving, answer, ask, eventually, taken

CONTENT = Random(0).randbytes(2 * MIB)


class Receiver:
    """A file that arrives when the test says so.

    :ivar detours: what its readers receive for themselves.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "arriving"
        self._path.touch()
        self.detours: list[Detour] = []
        wanted = Wanted("demo", "demo-1.0.tar.gz", "https://files.test/demo-1.0.tar.gz", "0" * 64, len(CONTENT))
        self.arrival = Arrival(wanted, self.detours.append)
        self.arrival.part = Part(os.open(self._path, os.O_RDONLY))

    def receive_to(self, position: int) -> None:
        self._path.write_bytes(CONTENT[:position])
        self.arrival.advance(position)

    def app(self, folder: Path) -> Flask:
        app = Flask(__name__)
        app.config.update(MAX_FILE_SIZE=0, THREADS=1, TRUSTED_PROXIES=0, INSTANCE_PATH=folder)
        app.extensions["uploads"] = None

        @app.get("/arriving")
        def arriving() -> Response:
            response = Response(direct_passthrough=True)
            response.content_length = len(CONTENT)
            response.response = wrap_file(request.environ, self.arrival.open())  # type: ignore[arg-type]
            return response

        @app.get("/other")
        def other() -> str:
            return "other"

        return app


def head(connection: socket.socket) -> None:
    """Read the head of an answer."""
    read = b""
    while not read.endswith(b"\r\n\r\n"):
        read += connection.recv(1)


def piece(connection: socket.socket, size_bytes: int) -> bytes:
    """Read so much of a body."""
    read = b""
    while len(read) < size_bytes:
        received = connection.recv(size_bytes - len(read))
        assert received, "the answer is cut off"
        read += received
    return read


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path)


@pytest.fixture
def serving(tmp_path: Path, receiver: Receiver) -> Iterator[Serving]:
    """A server with one thread, whose clients have to accept something every 0.5 seconds."""
    limits = Limits(connections=100, response_seconds=0.5)
    with closing(Serving(tmp_path, app=receiver.app(tmp_path), limits=limits)) as serving:
        yield serving


def test_a_file_is_sent_as_it_arrives_while_the_only_thread_answers_others(
    serving: Serving, receiver: Receiver
) -> None:
    with serving.asked_for("/arriving") as client, serving.asked_for("/other") as other:
        assert answer(other) == b"other"
        receiver.receive_to(MIB)
        head(client)
        assert piece(client, MIB) == CONTENT[:MIB]
        turns = serving.turns_at_rest()
        ask(other, "/other")
        assert answer(other) == b"other"
        assert serving.turns <= turns + 6

        receiver.receive_to(len(CONTENT))
        assert piece(client, MIB - LAST_PIECE_BYTES) == CONTENT[MIB:-LAST_PIECE_BYTES]
        assert taken(client) == 0
        receiver.arrival.succeed(len(CONTENT))
        assert piece(client, LAST_PIECE_BYTES) == CONTENT[-LAST_PIECE_BYTES:]

        ask(client, "/arriving")  # over the same connection
        assert answer(client) == CONTENT
    eventually(lambda: not receiver.arrival.is_read)


def test_a_client_is_not_blamed_for_a_slow_upstream_but_for_accepting_nothing(
    serving: Serving, receiver: Receiver
) -> None:
    with serving.asked_for("/arriving") as client:
        eventually(lambda: receiver.arrival.is_read)
        head(client)
        for _ in range(4):
            assert taken(client) == 0
        receiver.receive_to(len(CONTENT))
        receiver.arrival.succeed(len(CONTENT))
        assert piece(client, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("at", [0, MIB], ids=["at once", "in the middle"])
def test_the_connection_is_cut_when_the_rest_does_not_arrive(serving: Serving, receiver: Receiver, at: int) -> None:
    with serving.asked_for("/arriving") as client:
        eventually(lambda: receiver.arrival.is_read)
        receiver.receive_to(at)
        receiver.arrival.fail(UpstreamFailed())

        received = b"".join(iter(lambda: client.recv(MIB), b""))

        assert received.partition(b"\r\n\r\n")[2] == CONTENT[:at]
    eventually(lambda: not receiver.arrival.is_read)


def test_a_reader_whose_client_left_is_closed(serving: Serving, receiver: Receiver) -> None:
    with serving.asked_for("/arriving"):
        eventually(lambda: receiver.arrival.is_read)

    receiver.receive_to(len(CONTENT))
    receiver.arrival.succeed(len(CONTENT))

    eventually(lambda: not receiver.arrival.is_read)


def test_the_rest_can_come_straight_from_the_upstream(serving: Serving, receiver: Receiver) -> None:
    with serving.asked_for("/arriving") as client:
        receiver.receive_to(MIB)
        head(client)
        assert piece(client, MIB) == CONTENT[:MIB]
        receiver.arrival.divert()
        eventually(lambda: receiver.detours)
        detour = receiver.detours[0]
        assert detour.start == MIB

        detour.put(CONTENT[MIB:], None)
        detour.succeed(len(CONTENT))

        assert piece(client, MIB) == CONTENT[MIB:]
