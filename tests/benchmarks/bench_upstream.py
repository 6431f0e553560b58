"""The public index through the mode ``cache``, beside own packages and beside the index itself.

The index is a process of its own that answers after 20 ms. What is compared takes turns.
"""

from __future__ import annotations

import http.client
import multiprocessing
import statistics
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.servers import Namespace, RunningServer
from tests.acceptance.wire import MIB
from tests.benchmarks import bench_resolution, load
from tests.benchmarks.goals import at_most
from tests.benchmarks.load import Target
from tests.benchmarks.peers import Unavailable, uv
from tests.builders import BuiltFile, build_wheel
from tests.clients import basic
from tests.fakes.index import FILE, StaticIndex

HEADING = ("public index through the cache", "measured", "beside it", "compared", "goal")
LATENCY_SECONDS = 0.02
LARGE_FILES, LARGE_BYTES = 3, 100 * MIB
LINE_BYTES_PER_SECOND = 125_000_000  # 1 Gbit/s
COLD_PAGES, ROUNDS = 20, 3
WARM_GOAL, WHOLE_GOAL, RESOLUTION_GOAL = 1.1, 1.15, 1.5  # times as long
PAGE_GOAL_MS, FIRST_BYTE_GOAL_MS, MEMORY_GOAL_MIB = 5, 20, 16  # more

_LARGE = tuple(f"large{number}" for number in range(LARGE_FILES))
_LARGE_OF_A_LINE = tuple(f"even{number}" for number in range(LARGE_FILES))

Row = tuple[str, ...]


def run(folder: Path, seconds: float) -> Iterator[Row]:
    """A row for each figure.

    :raises Unavailable: uv is missing, behind the other figures.
    """
    files = bench_resolution.dependent_wheels()
    with _index(files) as (index_url, stop):
        server = RunningServer(folder / "upstream", UPSTREAM_URL=index_url)
        server.start()
        try:
            server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
            own, cached = server.project(), server.project()
            own.publish(*files)
            yield from _warm(own, cached, files[0], seconds)
            yield _cold_page(cached, index_url)
            yield from _cold_file(cached, index_url)
            yield _cold_file_of_a_line(cached, index_url)
            yield from _resolutions(own, cached, folder, stop)
        finally:
            server.stop()


def _warm(own: Namespace, cached: Namespace, file: BuiltFile, seconds: float) -> Iterator[Row]:
    """Requests are repeated by connections side by side, and the processor time of the server counts."""
    for name, path in {
        "warm page": f"simple/{file.name}/",
        "warm file": f"files/{file.sha256}/{file.filename}",
    }.items():
        targets = [_target(namespace, f"{namespace.url}/{path}") for namespace in (cached, own)]
        for target in targets:
            load.answer(target)
        rounds = [[load.measure(target, seconds).cpu_ms for target in targets] for _ in range(ROUNDS)]
        ours, beside = (statistics.median(taken) for taken in zip(*rounds, strict=True))
        ratio = statistics.median(ours / beside for ours, beside in rounds)
        yield (
            f"{name}, CPU ms of 1,000, beside an own one", f"{ours:.0f}", f"{beside:.0f}", f"x {ratio:.2f}",
            at_most(ratio, WARM_GOAL),
        )  # fmt: skip


def _cold_page(cached: Namespace, index_url: str) -> Row:
    load.answer(_target(cached, f"{cached.url}/simple/first/"))  # the caller is admitted, and the connection open
    rounds, used = [], cached.server.processor_seconds()
    for number in range(COLD_PAGES):
        ours = _fetched(_target(cached, f"{cached.url}/simple/cold{number}/"))[1]
        rounds.append((ours, _fetched(Target("", f"{index_url}cold{number}/", {}))[1]))
    cpu_ms = 1000 * (cached.server.processor_seconds() - used) / COLD_PAGES
    ours, beside = (1000 * statistics.median(taken) for taken in zip(*rounds, strict=True))
    more = 1000 * statistics.median(ours - beside for ours, beside in rounds)
    name = f"cold page, ms, beside the index ({cpu_ms:.1f} ms CPU)"
    return name, f"{ours:.1f}", f"{beside:.1f}", f"+ {more:.1f}", at_most(more, PAGE_GOAL_MS)


def _cold_file(cached: Namespace, index_url: str) -> Iterator[Row]:
    """The index and the registry share the processors, so all that each of them does with a byte takes its time."""
    rounds, growths = [], []
    for name in _LARGE:
        link, beside = _link_and_direct(cached, index_url, name)
        cached.server.forget_peak()
        before = cached.server.resident_bytes()
        rounds.append((*_fetched(_target(cached, link)), *beside))
        growths.append((cached.server.resident_bytes("VmHWM") - before) / MIB)
    first, whole, first_beside, whole_beside = (statistics.median(taken) for taken in zip(*rounds, strict=True))
    more = 1000 * statistics.median(ours - beside for ours, _, beside, _ in rounds)
    ratio = statistics.median(ours / beside for _, ours, _, beside in rounds)
    yield (
        "cold file of 100 MiB, ms to its first byte, beside the index", f"{1000 * first:.0f}",
        f"{1000 * first_beside:.0f}", f"+ {more:.1f}", at_most(more, FIRST_BYTE_GOAL_MS),
    )  # fmt: skip
    yield (
        "all of it, ms", f"{1000 * whole:.0f}", f"{1000 * whole_beside:.0f}", f"x {ratio:.2f}",
        at_most(ratio, WHOLE_GOAL),
    )  # fmt: skip
    growth = statistics.median(growths)
    yield "memory of the server meanwhile, MiB", "", "", f"+ {growth:.1f}", at_most(growth, MEMORY_GOAL_MIB)


def _cold_file_of_a_line(cached: Namespace, index_url: str) -> Row:
    """The index sends as fast as a line of 1 Gbit/s, so that mostly the line is waited for."""
    rounds = []
    for name in _LARGE_OF_A_LINE:
        link, beside = _link_and_direct(cached, index_url, name)
        rounds.append((_fetched(_target(cached, link))[1], beside[1]))
    ours, beside_ms = (1000 * statistics.median(taken) for taken in zip(*rounds, strict=True))
    ratio = statistics.median(ours / beside for ours, beside in rounds)
    name = "all of one that comes with 1 Gbit/s, ms"
    return name, f"{ours:.0f}", f"{beside_ms:.0f}", f"x {ratio:.2f}", at_most(ratio, WHOLE_GOAL)


def _link_and_direct(cached: Namespace, index_url: str, name: str) -> tuple[str, tuple[float, float]]:
    """Return the link to a large file, each of which is cold only once, and how long the index itself takes for it."""
    (link,) = cached.listed(name).values()
    return link, _fetched(Target("", f"{index_url.removesuffix('simple/')}files/{_file_name(name)}", {}))


def _resolutions(own: Namespace, cached: Namespace, folder: Path, stop: Callable[[], None]) -> Iterator[Row]:
    program = uv()
    if program is None:
        raise Unavailable("uv is not installed")
    server = own.server

    def row(name: str) -> Row:
        addresses = [namespace.index_url(server.root_token) for namespace in (cached, own)]
        for address in addresses:
            bench_resolution.seconds(program, address, folder)
        rounds = [[bench_resolution.seconds(program, address, folder) for address in addresses] for _ in range(ROUNDS)]
        ours, beside = (1000 * statistics.median(taken) for taken in zip(*rounds, strict=True))
        ratio = statistics.median(ours / beside for ours, beside in rounds)
        return name, f"{ours:.0f}", f"{beside:.0f}", f"x {ratio:.2f}", at_most(ratio, RESOLUTION_GOAL)

    yield row("uv resolves 100 names, ms, beside own ones")
    stop()
    server.settings["UPSTREAM_PAGE_SECONDS"] = "1"  # so that all pages are due
    server.restart()
    yield row("the same while the index is away")


def _target(namespace: Namespace, url: str) -> Target:
    return Target(url, url, basic(namespace.server.root_token), pid=namespace.server.pid)


def _fetched(target: Target) -> tuple[float, float]:
    """Return how many seconds the first byte of a body takes, and all of it, over a new connection."""
    parts, began = urlsplit(target.url), time.perf_counter()
    with closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
        connection.request("GET", parts.path, headers=dict(target.headers))
        with connection.getresponse() as response:
            assert response.status == 200, response.status
            block = response.read(1)
            first = time.perf_counter() - began
            while block:
                block = response.read(MIB)
        return first, time.perf_counter() - began


@contextmanager
def _index(files: Sequence[BuiltFile]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve these files, cold ones, and large ones in another process; yields its address, and what ends it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, files), daemon=True)
    process.start()

    def stop() -> None:
        process.terminate()
        process.join()

    try:
        yield ours.recv(), stop
    finally:
        stop()


def _serve(parent: Connection, files: Sequence[BuiltFile]) -> None:
    index = StaticIndex()
    for file in (*files, build_wheel("first"), *(build_wheel(f"cold{number}") for number in range(COLD_PAGES))):
        metadata = _metadata(file)
        index.publish(file, core_metadata={"sha256": sha256(metadata).hexdigest()})
        index.put(f"/files/{file.filename}.metadata", metadata, FILE)
        for path in (f"{file.name}/", f"/files/{file.filename}", f"/files/{file.filename}.metadata"):
            index.delay(path, LATENCY_SECONDS)
    for number, name in enumerate(_LARGE + _LARGE_OF_A_LINE):
        large = BuiltFile(_file_name(name), bytes([number]) * LARGE_BYTES, name, "1.0", files[0].kind)
        index.publish(large)
        if name in _LARGE_OF_A_LINE:
            index.limit(f"/files/{large.filename}", LINE_BYTES_PER_SECOND)
        for path in (f"{large.name}/", f"/files/{large.filename}"):
            index.delay(path, LATENCY_SECONDS)
    parent.send(index.url)
    time.sleep(3600)  # until it is ended


def _metadata(file: BuiltFile) -> bytes:
    with zipfile.ZipFile(file.open()) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))


def _file_name(name: str) -> str:
    return f"{name}-1.0-py3-none-any.whl"
