"""Connections of slow clients: whose thread they hold, and for how long."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from waitress import wasyncore

from registry import server
from registry.server import channel

MIB = 1 << 20


class Serving:
    """A server with one thread, and an application whose answers are as long as asked for.

    :ivar ended: an answer has come to its end, or was given up.
    """

    def __init__(self, folder: Path) -> None:
        self.ended = threading.Event()
        self._listener = server.bind("127.0.0.1", 0)
        self._server = server._waitress(self._app(folder), self._listener)
        self._server.is_stopping = self._is_over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _app(self, folder: Path) -> Flask:
        app = Flask(__name__)
        app.config.update(MAX_FILE_SIZE=0, THREADS=1, TRUSTED_PROXIES=0, INSTANCE_PATH=folder)
        app.extensions["uploads"] = re.compile("/upload")

        @app.get("/<int:size_mib>")
        def answer(size_mib: int) -> Iterator[bytes]:
            try:
                for _ in range(size_mib):
                    yield bytes(MIB)
            finally:
                self.ended.set()

        return app

    def _run(self) -> None:
        while not self._is_over:
            wasyncore.loop(timeout=0.05, map=self._server._map, count=1, use_poll=True)

    def let_ahead(self, size_bytes: int) -> None:
        """How much of an answer is kept for its client."""
        self._server.adj.outbuf_high_watermark = size_bytes

    def asked_for(self, size_mib: int) -> socket.socket:
        connection = socket.create_connection(self._listener.getsockname(), timeout=10)
        connection.sendall(f"GET /{size_mib} HTTP/1.0\r\n\r\n".encode())
        return connection

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        self._server.task_dispatcher.shutdown()
        for connection in list(self._server.active_channels.values()):
            connection.will_close = False  # at once, with what is kept for its client
            connection.handle_close()
        self._server.close()
        wasyncore.close_all(self._server._map)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with closing(Serving(tmp_path)) as serving:
        yield serving


def test_a_client_that_does_not_read_keeps_no_thread_from_others(serving: Serving) -> None:
    with serving.asked_for(32), serving.asked_for(0) as other:
        assert other.recv(12) == b"HTTP/1.0 200"


def test_a_client_that_takes_nothing_of_a_longer_answer_is_given_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "STALL_SECONDS", 0.3)
    serving.let_ahead(MIB)

    with serving.asked_for(1_000_000), serving.asked_for(0) as other:
        assert other.recv(12) == b"HTTP/1.0 200"
        assert serving.ended.is_set()


def test_a_client_that_reads_slowly_gets_all_of_it(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "STALL_SECONDS", 0.5)
    serving.let_ahead(MIB)
    received = 0

    with serving.asked_for(32) as connection:
        while piece := connection.recv(MIB, socket.MSG_WAITALL):
            received += len(piece)
            time.sleep(0.02)

    assert received > 32 * MIB
