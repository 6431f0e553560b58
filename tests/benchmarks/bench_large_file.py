"""One large file up and down, and how much the server's memory grows by it."""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.acceptance.servers import RunningServer
from tests.acceptance.wire import MIB, answer_on, connect, digest_of_rest, file_head, large_wheel, send_large

HEADING = ("large file", "size MiB", "seconds", "MiB/s", "seconds after the last byte", "memory growth MiB")


def run(server: RunningServer, folder: Path, size_bytes: int) -> Iterator[tuple[str, ...]]:
    """A row for the upload and one for the download."""
    project, wheel = server.project(), large_wheel(folder, "large", size_bytes)

    def upload() -> str:
        with connect(server) as connection:
            send_large(connection, project, wheel, server.root_token)
            sent = time.perf_counter()
            answer = answer_on(connection, "POST")
        assert answer is not None
        assert answer.status == 201, answer.body
        return f"{time.perf_counter() - sent:.1f}"

    def download() -> str:
        with connect(server) as connection:
            connection.sendall(file_head(project, wheel, server.root_token))
            with closing(http.client.HTTPResponse(connection)) as response:
                response.begin()
                assert digest_of_rest(response) == wheel.sha256
        return ""

    for name, act in (("upload", upload), ("download", download)):
        server.forget_peak()
        before, began = server.resident_bytes(), time.perf_counter()
        waited = act()
        seconds, growth = time.perf_counter() - began, server.resident_bytes("VmHWM") - before
        size = wheel.size_bytes / MIB
        yield name, f"{size:.0f}", f"{seconds:.1f}", f"{size / seconds:.0f}", waited, f"{growth / MIB:.1f}"


def disk_speed(folder: Path, size_bytes: int) -> str:
    """What the machine itself takes to write and to digest as many bytes once."""
    block, digest = bytes(MIB), hashlib.sha256()
    began = time.perf_counter()
    with (folder / "written").open("wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(block)
    written = time.perf_counter()
    for _ in range(size_bytes // MIB):
        digest.update(block)
    digested = time.perf_counter()
    (folder / "written").unlink()
    return f"writing them takes {written - began:.1f} s here, one SHA-256 {digested - written:.1f} s"
