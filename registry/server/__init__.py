"""Serving on waitress: early refusals, and a stop that lets running requests finish.

Waitress receives the whole body of a request before the application sees it. What can be refused from the header
alone is therefore refused here, before a stranger can fill the disk.
"""

from __future__ import annotations

import logging
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from flask import Flask
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import WSGITask
from waitress.utilities import Error

from registry.errors import ConfigurationError

FORM_BYTES = 64 << 20  # what an upload's form may add to its file
SMALL_BODY_BYTES = 4 << 20  # every request but an upload
UNLIMITED_BYTES = 1 << 60
CHUNKED_PIECE_BYTES = 1 << 13
LONGEST_CHUNK_LINE = 1 << 14  # the head of a chunk, or what trails the last one
DRAIN_SECONDS = 60

_UPLOAD_PATH = re.compile(r"/packages/+pypi(?:/+validate)?/*$")
_CREDENTIAL_HEADERS = frozenset({"AUTHORIZATION", "PRIVATE_TOKEN", "DEPLOY_TOKEN", "COOKIE"})

logger = logging.getLogger(__name__)


class EarlyRefusal(Error):  # type: ignore[misc]
    """An answer made from the header alone; the connection closes after it."""

    def __init__(self, code: int, reason: str, body: str, *headers: tuple[str, str]) -> None:
        super().__init__(body)
        self.code, self.reason, self.headers = code, reason, headers

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        return f"{self.code} {self.reason}", [("Content-Type", "application/json"), *self.headers], self.body.encode()


class GuardedParser(HTTPRequestParser):  # type: ignore[misc]
    """Runs in the one thread that does all input: only cheap checks here, nothing that waits."""

    max_upload_bytes = UNLIMITED_BYTES

    def received(self, data: bytes) -> int:
        if not self.chunked:
            return int(super().received(data))
        # In pieces, because waitress copies all that it was given once for each chunk in it: a megabyte in chunks of
        # one byte would keep this thread busy for seconds.
        consumed = int(super().received(data[:CHUNKED_PIECE_BYTES]))
        if not self.completed:
            self._refuse(self._overrun())
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # of an absolute target that is no address
            raise ParsingError("Malformed request target") from error
        self._refuse(self._refusal())

    def _refuse(self, refusal: EarlyRefusal | None) -> None:
        if refusal is not None:
            self.error = refusal
            self.completed = True
            self.expect_continue = False
            self.content_length = 0

    def _refusal(self) -> EarlyRefusal | None:
        length = UNLIMITED_BYTES if self.chunked else self.content_length
        if length <= SMALL_BODY_BYTES:
            return None  # the application answers, with all it knows
        if not self._is_upload:
            return None if self.chunked else _too_large()  # what is chunked is counted while it comes in
        if not _CREDENTIAL_HEADERS & self.headers.keys() and "private_token=" not in self.query:
            challenge = ("WWW-Authenticate", 'Basic realm="GitLab Packages Registry"')
            return EarlyRefusal(401, "Unauthorized", '{"message":"401 Unauthorized"}', challenge)
        if not self.chunked and length > self.max_upload_bytes:
            message = "400 Bad request - File is too large"
            body = f'{{"message":"{message}","code":"{message}"}}'
            return EarlyRefusal(400, "Bad request - File is too large", body)
        return None

    def _overrun(self) -> EarlyRefusal | None:
        """Why no more of a chunked body is taken. Waitress keeps all that comes: bodies on disk, the rest in memory."""
        body = self.body_rcv
        if max(len(body.control_line), len(body.trailer)) > LONGEST_CHUNK_LINE:
            return EarlyRefusal(400, "Bad Request", '{"error":"400 Bad Request"}')
        return _too_large() if len(body) > SMALL_BODY_BYTES and not self._is_upload else None

    @property
    def _is_upload(self) -> bool:
        return self.command == "POST" and _UPLOAD_PATH.search(self.path) is not None


def _too_large() -> EarlyRefusal:
    return EarlyRefusal(413, "Request Entity Too Large", '{"error":"413 Request Entity Too Large"}')


class Task(WSGITask):  # type: ignore[misc]
    """Keeps the connection open behind a 204 or 304, where waitress misses a length and closes it."""

    def set_close_on_finish(self) -> None:
        is_asked_for = self.version == "1.0" or self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or is_asked_for:
            super().set_close_on_finish()


def bind(host: str, port: int) -> socket.socket:
    """A socket on this address; one also for a name with several: two could not share a port that the system chooses.

    :param port: 0 lets the system choose.
    :raises ConfigurationError: the address cannot be listened on.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: no host name can be spelled so
        listener.close()
        cause = error.strerror if isinstance(error, OSError) else "not a host name"
        raise ConfigurationError(
            f"REGISTRY_HOST and REGISTRY_PORT are {host}:{port}, which cannot be listened on: {cause}."
        ) from error
    return listener


def serve(app: Flask, listener: socket.socket, announce: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is running, for at most a minute.

    :param announce: called with the port once connections are accepted.
    """
    # Waitress spools bodies in the temporary folder: it must be a real disk with room for the largest file.
    spool = app.config["INSTANCE_PATH"] / "spool"
    spool.mkdir(exist_ok=True)
    tempfile.tempdir = str(spool)
    limit = app.config["MAX_FILE_SIZE"] or UNLIMITED_BYTES - FORM_BYTES

    class Parser(GuardedParser):
        max_upload_bytes = limit + FORM_BYTES

    class Channel(HTTPChannel):  # type: ignore[misc]
        parser_class = Parser
        task_class = Task

    server = create_server(
        app,
        sockets=[listener],
        threads=app.config["THREADS"],
        max_request_body_size=limit + FORM_BYTES + 1,
        recv_bytes=1 << 18,  # an upload in 256 KiB pieces costs a quarter of the time of waitress's 8
        connection_limit=1000,
        backlog=1024,
        asyncore_use_poll=True,
        ident="registry",
        clear_untrusted_proxy_headers=not app.config["TRUSTED_PROXIES"],
    )
    server.channel_class = Channel
    _run(server, announce)


def _run(server: Any, announce: Callable[[int], None]) -> None:
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        server.pull_trigger()  # Python goes on waiting for input after a signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    announce(int(server.effective_port))
    while not stopping:
        wasyncore.loop(timeout=1, map=server._map, count=1, use_poll=True)
    _drain(server)


def _drain(server: Any) -> None:
    """Take no new connections, answer what is under way, then stop the threads."""
    logger.info("Stopping: requests under way are finished first.")
    server.del_channel(server._map)
    server.socket.close()
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and any(map(_is_busy, list(server.active_channels.values()))):
        wasyncore.loop(timeout=0.2, map=server._map, count=1, use_poll=True)
    server.task_dispatcher.shutdown()


def _is_busy(channel: Any) -> bool:
    return bool(channel.requests or channel.request or channel.total_outbufs_len)
