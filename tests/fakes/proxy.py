"""A reverse proxy with faults, between a client and the registry; it keeps every request that passed."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Passed:
    """A request that passed, and the status of its answer."""

    method: str
    path: str
    headers: dict[str, str]
    status: int


class FaultyProxy:
    """Passes on requests with the ``Host`` of the client, so that the registry's links lead through it.

    :ivar cut_after_bytes: the first answer with more bytes than this breaks off there.
    :ivar announces_core_metadata: whether pages still announce core metadata (PEP 658).
    """

    def __init__(self, target: str) -> None:
        self.passed: list[Passed] = []
        self.cut_after_bytes: int | None = None
        self.announces_core_metadata = True
        self._target = urlsplit(target)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def through(self, url: str) -> str:
        """The same address, led through the proxy."""
        return url.replace(self._target.netloc, f"127.0.0.1:{self._server.server_port}")

    def asked_for(self, filename: str) -> list[Passed]:
        """The requests for this file."""
        return [passed for passed in self.passed if passed.path.endswith(f"/{filename}")]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def answer(
        self, method: str, path: str, headers: dict[str, str]
    ) -> Iterator[tuple[http.client.HTTPResponse, bytes]]:
        """The answer of the registry, as a client sees it."""
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=60)
        try:
            sent = {name: value for name, value in headers.items() if name.lower() != "accept-encoding"}
            connection.request(method, path, headers=sent)
            response = connection.getresponse()
            body = response.read()
            if not self.announces_core_metadata and response.headers.get_content_subtype().endswith("v1+json"):
                body = _without_core_metadata(body)
            self.passed.append(Passed(method, path, headers, response.status))
            yield response, body
        finally:
            connection.close()


def _without_core_metadata(page: bytes) -> bytes:
    document = json.loads(page)
    for file in document["files"]:
        file.pop("core-metadata", None)
    return json.dumps(document).encode()


def _handler_for(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with proxy.answer(self.command, self.path, dict(self.headers.items())) as (response, body):
                self.send_response(response.status, response.reason)
                for name, value in response.headers.items():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                length = response.headers["Content-Length"] if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(self._cut(body))

        do_HEAD = do_GET

        def _cut(self, body: bytes) -> bytes:
            after = proxy.cut_after_bytes
            if after is None or len(body) <= after:
                return body
            proxy.cut_after_bytes = None
            self.close_connection = True
            return body[:after]

        def log_message(self, *_: object) -> None:
            """Requests are kept in ``passed``; nothing is printed."""

    return Handler
