"""The server and its loop in this process, over an application whose answers the tests choose."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from flask import Flask, Response, request
from waitress.buffers import OverflowableBuffer
from werkzeug.wsgi import wrap_file

from registry import logs, server
from registry.environ_keys import PREFLIGHT
from registry.server.channel import Channel
from registry.server.limits import Limits
from registry.server.loads import Load
from registry.server.loop import Loop

MIB = 1 << 20
REST_SECONDS = 0.2
UPLOAD = "/api/v4/projects/1/packages/pypi"


class Serving:
    """A server whose loop runs in a thread and counts its turns.

    :ivar turns: how often the loop has waited and continued.
    :ivar tasks: how often it has given requests of a connection to a thread.
    :ivar ended: a streamed answer is complete or was abandoned.
    :ivar file: what ``/file`` answers: all of it, or the part from ``start`` of so many bytes (``size``).
    """

    def __init__(
        self,
        folder: Path,
        threads: int = 1,
        timeout_seconds: float = 1,
        app: Flask | None = None,
        limits: Limits = Limits(connections=1000),  # noqa: B008 - a constant
        load: Load | None = None,
    ) -> None:
        """Serve this application, or one with the answers that the tests need."""
        self.turns = self.tasks = 0
        self.ended = threading.Event()
        self.file = folder / "file"
        self.server = server.make_server(app or self._app(folder, threads), server.bind("127.0.0.1", 0), limits, load)
        self._count_tasks()
        self._loop = Loop(self.server)
        self._timeout_seconds = timeout_seconds
        self._is_over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _app(self, folder: Path, threads: int) -> Flask:
        app = Flask(__name__)
        app.config.update(MAX_FILE_SIZE=0, THREADS=threads, TRUSTED_PROXIES=0, INSTANCE_PATH=folder)

        app.extensions["uploads"] = re.compile(re.escape(UPLOAD))

        @app.get("/whole/<int:size_bytes>")
        def whole(size_bytes: int) -> bytes:
            return bytes(size_bytes)

        @app.get("/pieces/<int:size_mib>")
        def pieces(size_mib: int) -> Iterator[bytes]:
            try:
                for _ in range(size_mib):
                    yield bytes(MIB)
            finally:
                self.ended.set()

        @app.get("/slow/<float:seconds>")
        def slow(seconds: float) -> str:
            time.sleep(seconds)
            return "done"

        @app.get("/file")
        def file() -> Response:
            response = Response(direct_passthrough=True)
            start = request.args.get("start", 0, int)
            response.content_length = request.args.get("size", self.file.stat().st_size - start, int)
            content = self.file.open("rb")
            content.seek(start)
            response.response = wrap_file(request.environ, content)
            return response

        @app.post(UPLOAD)
        def upload() -> tuple[str, int]:
            return ("", 204) if PREFLIGHT in request.environ else (str(len(request.get_data())), 201)

        return app

    def _count_tasks(self) -> None:
        add_task = self.server.task_dispatcher.add_task

        def counting(channel: object) -> None:
            self.tasks += 1
            add_task(channel)

        self.server.task_dispatcher.add_task = counting

    def _run(self) -> None:
        with logs.never_waiting():
            while not self._is_over:
                self._loop.turn(self._timeout_seconds)
                self.turns += 1

    def turns_at_rest(self) -> int:
        """Wait until the loop takes no turns for a while, and return their number so far.

        :raises AssertionError: the loop does not come to rest.
        """
        for _ in range(20):
            before = self.turns
            time.sleep(REST_SECONDS)
            if self.turns == before:
                return before
        raise AssertionError(f"{self.turns} turns, and still more")

    def let_ahead(self, size_bytes: int) -> None:
        """How much of an answer the server buffers for its client."""
        self.server.adj.outbuf_high_watermark = size_bytes

    def channels(self) -> list[Channel]:
        """The connections that the server has at present."""
        return list(self.server.active_channels.values())

    def connected(self) -> socket.socket:
        return socket.create_connection((self.server.effective_host, int(self.server.effective_port)), timeout=10)

    def asked_for(self, path: str, **headers: str) -> socket.socket:
        connection = self.connected()
        ask(connection, path, **headers)
        return connection

    def close(self) -> None:
        self._is_over = True
        self.server.wake()
        self._thread.join()
        self.server.task_dispatcher.shutdown()
        for channel in list(self.server.active_channels.values()):
            channel.handle_close()
        self.server.close()


class StuckDisk:
    """A disk that blocks at one piece until ``go_on``, like one that is too busy.

    :param at_piece: which of the pieces of this size or more that waitress keeps, counted from one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at_piece: int = 1, size_bytes: int = MIB) -> None:
        self.is_reached = threading.Event()
        self._may_go_on = threading.Event()
        self._left = at_piece
        append = OverflowableBuffer.append

        def append_late(buffer: OverflowableBuffer, data: bytes) -> None:
            self._left -= len(data) >= size_bytes
            if not self._left and not self.is_reached.is_set():
                self.is_reached.set()
                assert self._may_go_on.wait(20)
            append(buffer, data)

        monkeypatch.setattr(OverflowableBuffer, "append", append_late)

    def go_on(self) -> None:
        self._may_go_on.set()

    def __enter__(self) -> StuckDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()


def ask(connection: socket.socket, path: str, **headers: str) -> None:
    lines = [f"GET {path} HTTP/1.1", "Host: registry.test", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())


def answer(connection: socket.socket) -> bytes:
    """The body of the next answer, which declares its length; nothing is read behind it."""
    return whole_answer(connection)[1]


def whole_answer(connection: socket.socket, has_body: bool = True) -> tuple[bytes, bytes]:
    """Head and body of the next answer; nothing is read behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, head
        head += byte
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) if has_body else 0
    body = b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        assert piece, "the answer is cut off"
        body += piece
    return head, body


def taken(connection: socket.socket) -> int:
    """Read all bytes that are available now, and return their number."""
    size_bytes = 0
    connection.settimeout(REST_SECONDS)
    with suppress(TimeoutError):
        while piece := connection.recv(MIB):
            size_bytes += len(piece)
    connection.settimeout(10)
    return size_bytes


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
