"""HTTP by hand over a socket, for requests that no client library sends."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from tests.acceptance.servers import Namespace, RunningServer
from tests.builders import build_wheel

TIMEOUT_SECONDS = 60
MIB = 1 << 20
BOUNDARY = "ad1bd3b5c7a64b9e"


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes


def connect(server: RunningServer, source: str = "") -> socket.socket:
    """A connection; ``source`` is the address it comes from."""
    parts = urlsplit(server.url)
    return socket.create_connection(
        (parts.hostname or "", parts.port or 0), timeout=TIMEOUT_SECONDS, source_address=(source, 0)
    )


def head(method: str, target: str, **headers: object) -> bytes:
    """Request line and header; underscores in names become dashes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: registry.test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"__token__:{token}".encode()).decode()


def answer_on(connection: socket.socket, method: str = "GET") -> Answer | None:
    """The next answer on the connection; ``None`` when the server closes it without one."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Answer(response.status, response.reason, response.msg, response.read())
    except (http.client.BadStatusLine, ConnectionError):
        return None
    finally:
        response.close()


def exchange(server: RunningServer, request: bytes, method: str = "GET") -> Answer | None:
    """The answer to these bytes; the server can answer before all are sent."""
    with connect(server) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return answer_on(connection, method)


def multipart(fields: dict[str, str], filename: str) -> tuple[bytes, bytes]:
    """The parts before and after the file in an upload's body."""
    before = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    before += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return before.encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def upload_head(project: Namespace, token: str | None, length: int | None, **headers: object) -> bytes:
    sent: dict[str, object] = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    if token is not None:
        sent["Authorization"] = basic(token)
    if length is not None:
        sent["Content-Length"] = length
    return head("POST", project.pypi_path, **sent, **headers)


@dataclass(frozen=True)
class LargeWheel:
    """A wheel on disk, too large to be held in memory."""

    path: Path
    name: str
    version: str
    sha256: str
    size_bytes: int

    def chunks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while chunk := file.read(MIB):
                yield chunk


def large_wheel(folder: Path, name: str, size_bytes: int) -> LargeWheel:
    """A wheel of about this size, written in pieces."""
    block, count = Random(0).randbytes(MIB), size_bytes // MIB
    padding_digest = hashlib.sha256()
    for _ in range(count):
        padding_digest.update(block)
    recorded = base64.urlsafe_b64encode(padding_digest.digest()).rstrip(b"=").decode()
    small = build_wheel(name)
    with zipfile.ZipFile(small.open()) as archive:
        record = archive.read(archive.namelist()[-1]) + f"padding.bin,sha256={recorded},{count * MIB}\n".encode()
    small = build_wheel(name, record=record)
    path = folder / small.filename
    path.write_bytes(small.content)
    with zipfile.ZipFile(path, "a") as archive, archive.open("padding.bin", "w", force_zip64=True) as padding:
        for _ in range(count):
            padding.write(block)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return LargeWheel(path, small.name, small.version, digest, path.stat().st_size)


def upload_large(project: Namespace, wheel: LargeWheel, token: str) -> Answer | None:
    """Upload in pieces, as twine does."""
    with connect(project.server) as connection:
        send_large(connection, project, wheel, token)
        return answer_on(connection, "POST")


def send_large(connection: socket.socket, project: Namespace, wheel: LargeWheel, token: str) -> None:
    fields = {":action": "file_upload", "name": wheel.name, "version": wheel.version, "sha256_digest": wheel.sha256}
    before, after = multipart(fields, wheel.path.name)
    connection.sendall(upload_head(project, token, len(before) + wheel.size_bytes + len(after)) + before)
    for chunk in wheel.chunks():
        connection.sendall(chunk)
    connection.sendall(after)


def file_head(project: Namespace, wheel: LargeWheel, token: str, **headers: object) -> bytes:
    path = f"{project.pypi_path}/files/{wheel.sha256}/{wheel.path.name}"
    return head("GET", path, Authorization=basic(token), Connection="close", **headers)


def digest_of_rest(response: http.client.HTTPResponse) -> str:
    """The SHA-256 of the body still to come."""
    digest = hashlib.sha256()
    while chunk := response.read(MIB):
        digest.update(chunk)
    return digest.hexdigest()
