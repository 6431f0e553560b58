"""Another index, in small: static pages and files on the loopback address, with the faults that a test asks for."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from packaging.utils import canonicalize_name

from tests.builders import BuiltFile
from tests.fakes.upstream import ReceivedRequest

EVEN_BYTES = 64 << 10
FILE = "application/octet-stream"
JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Fault:
    """An answer to one request that replaces the usual one.

    :ivar status: 200 cuts the connection after half of the body.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()


class StaticIndex:
    """Serves the files put there. ``credentials``: the required user name and password."""

    def __init__(self) -> None:
        self.credentials: tuple[str, str] | None = None
        self.understands_ranges = True
        self.is_closed = False
        self.connections = 0
        self.requests: list[ReceivedRequest] = []
        self.held = threading.Event()  # a request for a file that is held has come
        self._answers: dict[str, tuple[str, bytes]] = {}
        self._headers: dict[str, dict[str, str]] = {}
        self._delays: dict[str, tuple[float, float]] = {}
        self._rates: dict[str, int] = {}
        self._pages: dict[str, list[str]] = defaultdict(list)
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._holds: dict[str, threading.Event] = {}
        self._barriers: dict[str, threading.Barrier] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}/simple/"

    def put(self, path: str, body: str | bytes, media_type: str = "text/html", **headers: str) -> None:
        """Answer a path with this; relative paths begin at the list of names.

        :param headers: further ones, with ``_`` in place of dashes. A request that knows the ETag is answered with 304.
        """
        self._headers[self._path(path)] = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answers[self._path(path)] = (media_type, body.encode() if isinstance(body, str) else body)

    def offer(self, *files: BuiltFile, attributes: str = "", fragment: str | None = None) -> None:
        """Put files there, with links to them on the pages of their names, and to these on the list of names.

        :param attributes: of the links, as in ``data-yanked="Loses data"``.
        :param fragment: of the links, in place of the right digest.
        """
        for file in files:
            digest = f"#sha256={file.sha256}" if fragment is None else fragment
            link = f'<a href="../../files/{file.filename}{digest}" {attributes}>{file.filename}</a>'
            name = canonicalize_name(file.name)
            self._pages[name].append(link)
            self.put(f"{name}/", "<br>\n".join(self._pages[name]))
            self.put(f"/files/{file.filename}", file.content, FILE)
        self.put("", "\n".join(f'<a href="{name}/">{name}</a>' for name in self._pages))

    def publish(self, *files: BuiltFile, etag: str = "", **keys: object) -> None:
        """Put files there, with the JSON page of their name, which has these and no other files.

        :param keys: of each file on the page, with ``_`` in place of dashes; ``None`` leaves one out.
        """
        entries = []
        for file in files:
            entry = {
                "filename": file.filename, "url": f"../../files/{file.filename}", "hashes": {"sha256": file.sha256},
                "size": len(file.content), "upload-time": "2024-02-03T04:05:06.789000Z",
            } | {key.replace("_", "-"): value for key, value in keys.items()}  # fmt: skip
            entries.append({key: value for key, value in entry.items() if value is not None})
            self.put(f"/files/{file.filename}", file.content, FILE)
        page = json.dumps({"meta": {"api-version": "1.4"}, "name": files[0].name, "files": entries, "versions": []})
        self.put(f"{canonicalize_name(files[0].name)}/", page, JSON, ETag=etag)

    def delay(self, path: str, seconds: float, *, per_piece: float = 0) -> None:
        """Answer a path after this time, and, if asked to, send its body in pieces with as long a pause after each."""
        self._delays[self._path(path)] = (seconds, per_piece)

    def fail(self, path: str, *faults: int | Fault) -> None:
        """Answer the next requests for a path with these; a number is a status."""
        self._faults[self._path(path)].extend(Fault(fault) if isinstance(fault, int) else fault for fault in faults)

    def hold(self, path: str) -> threading.Event:
        """Keep the second half of a path back until the event is set; ``held`` is when a request waits for it."""
        self.held.clear()
        return self._holds.setdefault(self._path(path), threading.Event())

    def limit(self, path: str, bytes_per_second: int) -> None:
        """Send a path as fast as a line of this capacity does."""
        self._rates[self._path(path)] = bytes_per_second

    def asked_for(self, path: str) -> list[ReceivedRequest]:
        return [request for request in self.requests if request.path == self._path(path)]

    def meet(self, path: str, barrier: threading.Barrier) -> None:
        """Send the second half of a path when as many requests as the barrier counts have come to it."""
        self._barriers[self._path(path)] = barrier

    def clear(self) -> None:
        """Be as at the beginning."""
        self.credentials, self.understands_ranges = None, True
        self.held.clear()
        for kept in (
            self.requests, self._answers, self._headers, self._delays, self._rates, self._pages, self._faults,
            self._holds, self._barriers,
        ):  # fmt: skip
            kept.clear()

    def close(self) -> None:
        """Answer no more, on kept connections either."""
        if self.is_closed:
            return
        self.is_closed = True
        self._server.shutdown()
        self._server.server_close()

    def _path(self, path: str) -> str:
        return path if path.startswith("/") else f"/simple/{path}"

    def is_admitted(self, authorization: str | None) -> bool:
        if self.credentials is None:
            return True
        expected = base64.b64encode(":".join(self.credentials).encode()).decode()
        return authorization == f"Basic {expected}"

    def fault(self, path: str) -> Fault | None:
        return self._faults[path].popleft() if self._faults[path] else None

    def answer(self, path: str) -> tuple[str, bytes] | None:
        return self._answers.get(path)

    def headers(self, path: str) -> dict[str, str]:
        return {name: value for name, value in self._headers.get(path, {}).items() if value}

    def delays(self, path: str) -> tuple[float, float]:
        return self._delays.get(path, (0, 0))

    def rate(self, path: str) -> int | None:
        return self._rates.get(path)

    def wait(self, path: str) -> None:
        """Wait until the second half of it can be sent."""
        if path in self._holds:
            self.held.set()
            self._holds[path].wait(30)
        if path in self._barriers:
            self._barriers[path].wait(30)


def _handler_for(index: StaticIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # As servers do: otherwise the second piece of a response waits 40 ms for the acknowledgement of the first.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            index.connections += 1
            super().setup()

        def do_GET(self) -> None:
            if index.is_closed:
                self.close_connection = True
                return
            index.requests.append(ReceivedRequest(self.command, self.path, dict(self.headers.items())))
            if not index.is_admitted(self.headers.get("Authorization")):
                self._refuse(401, (("WWW-Authenticate", "Basic"),))
                return
            fault, answer = index.fault(self.path), index.answer(self.path)
            time.sleep(index.delays(self.path)[0])
            etag = index.headers(self.path).get("ETag")
            if fault is not None and fault.status != 200:
                self._refuse(fault.status, fault.headers)
            elif answer is None:
                self._refuse(404)
            elif etag is not None and self.headers.get("If-None-Match") == etag:
                self.send_response(304)
                self.end_headers()
            else:
                self._send(*answer, is_cut=fault is not None)

        def _refuse(self, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
            self.send_response(status)
            for name, value in (*headers, ("Content-Length", "0")):
                self.send_header(name, value)
            self.end_headers()

        def _send(self, media_type: str, body: bytes, *, is_cut: bool) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if index.understands_ranges else None
            start = int(wanted[1]) if wanted else 0
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body) - start))
            for name, value in index.headers(self.path).items():
                self.send_header(name, value)
            self.end_headers()
            pause = index.delays(self.path)[1]
            if pause:
                with suppress(OSError):  # the client has had enough
                    self._drip(body[start:], pause)
                return
            rate = index.rate(self.path)
            if rate is not None:
                self._send_evenly(memoryview(body)[start:], rate)
                return
            half = start + (len(body) - start) // 2
            self.wfile.write(body[start:half])
            self.wfile.flush()
            if is_cut:
                self.close_connection = True
                return
            index.wait(self.path)
            self.wfile.write(body[half:])

        def _drip(self, body: bytes, pause: float) -> None:
            for start in range(0, len(body), 16):
                self.wfile.write(body[start : start + 16])
                time.sleep(pause)

        def _send_evenly(self, body: memoryview, bytes_per_second: int) -> None:
            begun = time.perf_counter()
            for start in range(0, len(body), EVEN_BYTES):
                time.sleep(max(0, begun + start / bytes_per_second - time.perf_counter()))
                self.wfile.write(body[start : start + EVEN_BYTES])

        def log_message(self, *_: object) -> None:
            """Requests are kept in ``requests``; nothing is printed."""

    return Handler
