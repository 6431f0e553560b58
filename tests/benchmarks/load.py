"""Closed-loop load: so many connections, each asking again as soon as it was answered; and what it costs the server.

``wrk`` where it is installed; otherwise one loop over plain sockets, which costs the machine little more.
"""

from __future__ import annotations

import http.client
import math
import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from itertools import repeat
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

CONNECTIONS = 8
MB = 1_000_000
_WRK_SCRIPT = Path(__file__).with_name("turns.lua")
_WRK_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """:ivar cpu_ms: processor time of the server for 1,000 requests, which other work on the machine changes little.
    :ivar load_cpu_ms: processor time of the client for as many.
    """

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float = math.nan
    load_cpu_ms: float = math.nan


@dataclass
class Turns:
    """Paths to ask for one after another; each measurement continues where the previous one ended."""

    paths: Sequence[str]
    position: int = 0

    def advance(self, count: int) -> None:
        self.position = (self.position + count) % len(self.paths)

    def next_paths(self) -> Iterator[str]:
        """Return the paths from the present position on, again and again."""
        position = self.position
        while True:
            yield self.paths[position % len(self.paths)]
            position += 1


@dataclass(frozen=True)
class Target:
    """A request to repeat.

    :ivar status: the status that every answer must have.
    :ivar pid: the process that answers, or the parent of those that do.
    :ivar turns: paths that the requests ask for instead of the URL's.
    """

    name: str
    url: str
    headers: Mapping[str, str]
    status: int = 200
    pid: int | None = None
    turns: Turns | None = None


@dataclass(frozen=True)
class Answer:
    """:ivar body: as it came, encoded or not."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def generator() -> str:
    """The load generator of this machine."""
    return "wrk" if shutil.which("wrk") else "a loop over sockets"


def measure(target: Target, seconds: float, connections: int = CONNECTIONS) -> Load:
    """:raises AssertionError: an answer was not the expected one."""
    answered = answer(target)
    assert answered.status == target.status, f"{target.name}: {answered.status} {answered.body[:300]!r}"
    generate = _wrk if shutil.which("wrk") else _loop
    before, own_before = processor_seconds(target.pid), own_processor_seconds()
    load, count = generate(target, seconds, connections)
    used, own = processor_seconds(target.pid) - before, own_processor_seconds() - own_before
    if target.turns is not None:
        target.turns.advance(count + connections)  # with the requests that were not answered in time
    return replace(load, cpu_ms=1e6 * used / max(count, 1), load_cpu_ms=1e6 * own / max(count, 1))


def median(loads: Sequence[Load]) -> Load:
    """Of each figure for itself."""
    return Load(*(statistics.median(figures) for figures in zip(*map(astuple, loads), strict=True)))


def processor_seconds(pid: int | None) -> float:
    """Return the processor time that a process and its descendants used so far; not a number without ``/proc``."""
    try:
        used = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:13] for each in _tree(pid)]
    except FileNotFoundError:
        return math.nan
    return sum(int(ticks) for user_and_system in used for ticks in user_and_system) / os.sysconf("SC_CLK_TCK")


def own_processor_seconds() -> float:
    """Return the processor time of this process and of those that it started and that have ended, such as ``wrk``."""
    return sum(os.times()[:4])


def resident_mb(pid: int | None) -> list[float]:
    """Return the resident memory of a process and of each of its descendants; nothing without ``/proc``."""
    try:
        statuses = [Path(f"/proc/{each}/status").read_text() for each in _tree(pid)]
    except FileNotFoundError:
        return []
    return [int(kib) * 1024 / MB for status in statuses for kib in re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.M)]


def _tree(pid: int | str | None) -> list[int | str | None]:
    """Return the process and its descendants."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for each in lists for child in each.read_text().split()]
    return [pid, *(each for child in children for each in _tree(child))]


def answer(target: Target) -> Answer:
    """The answer to one request without headers except ``Host``."""
    parts = urlsplit(target.url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
        connection.putrequest("GET", parts.path, skip_accept_encoding=True)
        for name, value in target.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def _wrk(target: Target, seconds: float, connections: int) -> tuple[Load, int]:
    """``wrk`` counts every status but 2xx and 3xx as an error, and prints that line only when there were some."""
    headers = [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", *headers]
    if target.turns is None:
        output = _output(*command, target.url)
    else:
        with NamedTemporaryFile("w") as paths:
            paths.writelines(f"{path}\n" for path in target.turns.paths)
            paths.flush()
            output = _output(*command, "-s", _WRK_SCRIPT, target.url, "--", paths.name, target.turns.position)
    assert "Non-2xx" not in output, output
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", output), re.search(r"(\d+) requests in", output)
    times = {
        share: float(value) * _WRK_UNITS[unit]
        for share, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", output)
    }
    assert rate is not None, output
    assert count is not None, output
    return Load(float(rate[1]), times["50"], times["99"]), int(count[1])


def _output(*command: object) -> str:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout


def _loop(target: Target, seconds: float, connections: int) -> tuple[Load, int]:
    requests, durations = _requests(target), []
    with selectors.DefaultSelector() as selector:
        started: dict[socket.socket, float] = {}
        received: dict[socket.socket, bytes] = {}
        for _ in range(connections):
            connection = _connect(target)
            selector.register(connection, selectors.EVENT_READ)
            connection.sendall(next(requests))
            started[connection], received[connection] = time.perf_counter(), b""
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                connection = key.fileobj
                received[connection] += connection.recv(1 << 18)
                if _is_complete(received[connection]):
                    durations.append(time.perf_counter() - started[connection])
                    _checked(target, received[connection])
                    received[connection], started[connection] = b"", time.perf_counter()
                    connection.sendall(next(requests))
        for connection in started:
            connection.close()
    durations.sort()
    rate = len(durations) / (now - began)
    return Load(rate, percentile(durations, 50), percentile(durations, 99)), len(durations)


def _is_complete(answer: bytes) -> bool:
    """304 gives the length of a body that does not follow."""
    header, end, body = answer.partition(b"\r\n\r\n")
    length = _CONTENT_LENGTH.search(header)
    expected = int(length[1]) if length and b" 304 " not in header[:15] else 0
    return bool(end) and len(body) >= expected


def _checked(target: Target, answer: bytes) -> None:
    assert answer.split(b" ", 2)[1] == str(target.status).encode(), answer[:300]


def _connect(target: Target) -> socket.socket:
    parts = urlsplit(target.url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _requests(target: Target) -> Iterator[bytes]:
    parts = urlsplit(target.url)
    paths = repeat(parts.path) if target.turns is None else target.turns.next_paths()
    headers = {"Host": parts.netloc, **target.headers}
    rest = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for path in paths:
        yield f"GET {path} HTTP/1.1\r\n{rest}\r\n".encode()


def percentile(ordered: Sequence[float], share: int) -> float:
    """In milliseconds; of a sorted list of seconds."""
    return 1000 * ordered[min(len(ordered) - 1, math.ceil(len(ordered) * share / 100) - 1)] if ordered else math.nan
