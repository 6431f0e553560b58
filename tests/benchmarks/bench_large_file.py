"""One large file up and down, how much the server's memory grows by it, and its download beside the same from nginx."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.acceptance.servers import RunningServer
from tests.acceptance.wire import (
    MIB,
    TIMEOUT_SECONDS,
    LargeWheel,
    answer_on,
    connect,
    digest_of_rest,
    file_head,
    head,
    large_wheel,
    send_large,
)
from tests.benchmarks import nginx
from tests.benchmarks.goals import at_least
from tests.benchmarks.peers import free_port

HEADING = ("large file", "size MiB", "seconds", "MiB/s", "seconds after the last byte", "memory growth MiB")
NGINX_HEADING = ("large file, not digested", "MiB/s", "from nginx", "ratio", "goal", "CPU seconds")
GOAL = 0.8
ROUNDS = 5


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


def beside_nginx(server: RunningServer, folder: Path, size_bytes: int) -> Iterator[tuple[str, ...]]:
    """A row for the download; both take turns, and the medians count."""
    project, wheel = server.project(), large_wheel(folder, "larger", size_bytes)
    with connect(server) as connection:
        send_large(connection, project, wheel, server.root_token)
        assert answer_on(connection, "POST") is not None
    static, port = folder / "large" / "static", free_port()
    static.mkdir(parents=True)
    os.rename(wheel.path, static / "file")
    rounds: list[tuple[float, float, float]] = []
    with nginx.serving(static.parent, port):
        for _ in range(ROUNDS):
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
                floor = _seconds(connection, head("GET", "/file"), wheel)
            used = server.processor_seconds()
            with connect(server) as connection:
                ours = _seconds(connection, file_head(project, wheel, server.root_token), wheel)
            rounds.append((floor, ours, server.processor_seconds() - used))
    size, (floor, ours, used) = wheel.size_bytes / MIB, map(statistics.median, zip(*rounds, strict=True))
    ratio = statistics.median(floor / ours for floor, ours, _ in rounds)
    yield "download", f"{size / ours:.0f}", f"{size / floor:.0f}", f"{ratio:.2f}", at_least(ratio, GOAL), f"{used:.2f}"


def _seconds(connection: socket.socket, request: bytes, wheel: LargeWheel) -> float:
    """How long a client takes that only counts the bytes."""
    began, received, block = time.perf_counter(), 0, bytearray(MIB)
    connection.sendall(request)
    while received < wheel.size_bytes:
        count = connection.recv_into(block)
        assert count, "the answer is cut off"
        received += count
    return time.perf_counter() - began


def disk_speed(folder: Path, size_bytes: int) -> str:
    """The time the machine itself needs to write and digest as many bytes once."""
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
