"""The public index, in small: a Simple API on the loopback address that keeps every request from clients."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from packaging.utils import canonicalize_name

from tests.builders import BuiltFile


@dataclass(frozen=True)
class ReceivedRequest:
    method: str
    path: str
    headers: dict[str, str]


class Upstream:
    """Serves the files it was given. It is addressed by another host name than the registry, as the true one is."""

    def __init__(self, port: int = 0) -> None:
        """Serve at this port, or at a free one."""
        self.requests: list[ReceivedRequest] = []
        self._files: list[BuiltFile] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://localhost:{self._server.server_port}/simple"

    def add(self, *files: BuiltFile) -> None:
        self._files.extend(files)

    def asked_for(self, name: str) -> list[ReceivedRequest]:
        """The requests for the page of this normalized name, or for files of it."""
        return [request for request in self.requests if name in request.path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        folder, _, name = path.strip("/").partition("/")
        if folder == "simple":
            files = [file for file in self._files if canonicalize_name(file.name) == name]
            if files:
                return 200, "text/html", _page(files)
        for file in self._files:
            if path == f"/files/{file.filename}":
                return 200, "application/octet-stream", file.content
        return 404, "text/plain", b"not found"


def _page(files: list[BuiltFile]) -> bytes:
    anchors = "".join(
        f'<a href="/files/{file.filename}#sha256={file.sha256}">{file.filename}</a><br>\n' for file in files
    )
    return f"<!DOCTYPE html>\n<html><body>\n{anchors}</body></html>\n".encode()


def _handler_for(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":  # where the registry looks whether the upstream answers
                upstream.requests.append(ReceivedRequest(self.command, self.path, dict(self.headers.items())))
            status, media_type, body = upstream.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Requests are kept in ``requests``; nothing is printed."""

    return Handler
