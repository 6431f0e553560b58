"""Requests a second and their latency, against the floor measured in the same minutes."""

from __future__ import annotations

import base64
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.acceptance.servers import CHECKOUT, Namespace, RunningServer
from tests.benchmarks.load import Load, Target, measure
from tests.builders import build_wheel

THREADS = 8
ROUNDS = 3
JSON = "application/vnd.pypi.simple.v1+json"
HEADING = ("requests", "requests/s", "p50 ms", "p99 ms", "of the floor")


def run(server: RunningServer, folder: Path, seconds: float) -> Iterator[tuple[str, ...]]:
    """A row for each kind of request.

    The kinds take turns, several rounds each, and the medians count: what else the machine does then hits all alike.
    """
    targets = _targets(server)
    page = requests.get(targets[0].url, headers=targets[0].headers, timeout=60)
    with _floor(page, folder) as floor:
        loads: dict[str, list[Load]] = {}
        for _ in range(ROUNDS):
            for target in (floor, *targets):
                loads.setdefault(target.name, []).append(measure(target, seconds / ROUNDS))
    base = _median(loads[floor.name])
    for name, measured in loads.items():
        load = _median(measured)
        share = load.requests_per_second / base.requests_per_second
        yield name, f"{load.requests_per_second:.0f}", f"{load.p50_ms:.1f}", f"{load.p99_ms:.1f}", f"{share:.2f}"


def _targets(server: RunningServer) -> list[Target]:
    project = _furnished(server)
    credentials = base64.b64encode(f"__token__:{server.root_token}".encode()).decode()
    authorization = {"Authorization": f"Basic {credentials}"}
    page_url, index_url = f"{project.url}/simple/paged/", f"{project.url}/simple/"
    etag = requests.get(page_url, headers=authorization, timeout=60).headers["ETag"]
    file_url = project.listed("paged")["paged-1-py3-none-any.whl"]
    return [
        Target("page of 10 files, HTML", page_url, authorization),
        Target("page of 10 files, JSON", page_url, authorization | {"Accept": JSON}),
        Target("page, not modified", page_url, authorization | {"If-None-Match": etag}, 304),
        Target("index of 11 names, HTML", index_url, authorization),
        Target("index of 11 names, JSON", index_url, authorization | {"Accept": JSON}),
        Target("download of a small file", file_url, authorization),
    ]


def _furnished(server: RunningServer) -> Namespace:
    """A private project with one name of 10 files and 10 names more."""
    project = server.project()
    project.publish(*(build_wheel("paged", str(number)) for number in range(1, 11)))
    project.publish(*(build_wheel(f"other{number}") for number in range(10)))
    return project


@contextmanager
def _floor(page: requests.Response, folder: Path) -> Iterator[Target]:
    """The same bytes as our page, from an application that does nothing else."""
    file = folder / "page"
    file.write_bytes(page.content)
    command = [sys.executable, "-m", "tests.benchmarks.floor", file, page.headers["Content-Type"], str(THREADS)]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Target("floor: bare Flask, one page", f"http://127.0.0.1:{process.stdout.readline().strip()}/page/", {})
    finally:
        process.kill()
        process.communicate()


def _median(loads: list[Load]) -> Load:
    return Load(
        statistics.median(load.requests_per_second for load in loads),
        statistics.median(load.p50_ms for load in loads),
        statistics.median(load.p99_ms for load in loads),
    )
