"""A large file through the registry into each kind of store and out of it, beside what disk or store do alone."""

from __future__ import annotations

import hashlib
import http.client
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from registry.storage import Storage, object_key, open_storage
from tests.acceptance.clients import ENVIRONMENTS, environments_in
from tests.acceptance.servers import Namespace, RunningServer
from tests.acceptance.wire import MIB, LargeWheel, connect, digest_of_rest, file_head, large_wheel, upload_large
from tests.benchmarks.goals import at_least, at_most
from tests.benchmarks.peers import Unavailable
from tests.fakes.s3 import REQUIREMENTS, NoS3, S3Server

ROUNDS = 3
LARGEST_MIB = 256
FLOOR_SHARE, GROWTH_MIB = 0.5, 64
HEADING = ("large files in stores", "MiB/s", "floor MiB/s", "of the floor", "goal", "memory growth MiB", "goal")

Act = Callable[[LargeWheel], None]


def run(folder: Path, size_bytes: int) -> Iterator[tuple[str, ...]]:
    """A row for each way. The floor is a copy on the same disk, digested and synced, or the S3 server without us."""
    size_bytes = min(size_bytes, LARGEST_MIB * MIB)
    with _s3(folder) as s3:
        yield from _rows("folder", folder / "in-folder", {}, size_bytes, _copy, _copy)
        settings = {"STORAGE_URL": s3.address(), **s3.settings}
        bare = open_storage(s3.address(), {**s3.settings, "INSTANCE_PATH": folder})
        put, get = (lambda wheel: _put(bare, wheel)), (lambda wheel: _get(bare, wheel))
        yield from _rows("S3", folder / "in-s3", settings, size_bytes, put, get)


@contextmanager
def _s3(folder: Path) -> Iterator[S3Server]:
    (folder / "swift").mkdir()
    try:
        server = S3Server(environments_in(ENVIRONMENTS)("swift", *REQUIREMENTS), folder / "swift")
    except (NoS3, pytest.skip.Exception) as error:
        raise Unavailable(str(error)) from error
    try:
        yield server
    finally:
        server.stop()


def _rows(
    name: str, folder: Path, settings: dict[str, str], size_bytes: int, upload_floor: Act, download_floor: Act
) -> Iterator[tuple[str, ...]]:
    server = RunningServer(folder, **settings)
    server.start()
    try:
        project, wheels = server.project(), [large_wheel(folder, f"large{n}", size_bytes) for n in range(ROUNDS)]
        for way, act, floor in (("upload", _upload, upload_floor), ("download", _download, download_floor)):
            yield _row(f"{way}, {name}", server, wheels, lambda wheel, act=act: act(project, wheel), floor)
    finally:
        server.stop()


def _row(name: str, server: RunningServer, wheels: list[LargeWheel], act: Act, floor: Act) -> tuple[str, ...]:
    """Medians: floor and registry take turns, so that what else the machine does hits both alike."""
    speeds, floors, growth_bytes = [], [], 0
    for wheel in wheels:
        floors.append(_speed(floor, wheel))
        server.forget_peak()
        before = server.resident_bytes()
        speeds.append(_speed(act, wheel))
        growth_bytes = max(growth_bytes, server.resident_bytes("VmHWM") - before)
    share = statistics.median(speed / floor for speed, floor in zip(speeds, floors, strict=True))
    return (
        name,
        f"{statistics.median(speeds):.0f}",
        f"{statistics.median(floors):.0f}",
        f"{share:.2f}",
        at_least(share, FLOOR_SHARE),
        f"{growth_bytes / MIB:.1f}",
        at_most(growth_bytes / MIB, GROWTH_MIB),
    )


def _speed(act: Act, wheel: LargeWheel) -> float:
    """In MiB a second."""
    began = time.perf_counter()
    act(wheel)
    return wheel.size_bytes / MIB / (time.perf_counter() - began)


def _upload(project: Namespace, wheel: LargeWheel) -> None:
    answer = upload_large(project, wheel, project.server.root_token)
    assert answer is not None
    assert answer.status == 201, answer.body


def _download(project: Namespace, wheel: LargeWheel) -> None:
    with connect(project.server) as connection:
        connection.sendall(file_head(project, wheel, project.server.root_token))
        with closing(http.client.HTTPResponse(connection)) as response:
            response.begin()
            assert digest_of_rest(response) == wheel.sha256


def _copy(wheel: LargeWheel) -> None:
    digest, target = hashlib.sha256(), wheel.path.with_suffix(".copy")
    with target.open("wb") as copy:
        for block in wheel.chunks():
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    target.unlink()


def _put(store: Storage, wheel: LargeWheel) -> None:
    """The same library, and as many bytes from a disk."""
    with closing(store.stage()) as staged:
        for block in wheel.chunks():
            staged.write(block)
        store.put(object_key(wheel.sha256), staged)


def _get(store: Storage, wheel: LargeWheel) -> None:
    with requests.get(store.link(object_key(wheel.sha256)) or "", stream=True, timeout=60) as response:
        response.raise_for_status()
        for _ in response.iter_content(MIB):
            pass
