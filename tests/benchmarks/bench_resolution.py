"""``uv pip compile`` of 100 packages without its cache, against our index and against the same answers as static files.

The static files are our own pages, with other addresses in them, and core metadata, behind nginx.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.domain.packages import simple
from tests.acceptance.servers import Namespace, RunningServer
from tests.benchmarks import nginx
from tests.benchmarks.goals import at_most
from tests.benchmarks.load import Target, answer
from tests.benchmarks.peers import Unavailable, free_port, uv
from tests.builders import BuiltFile, build_wheel
from tests.clients import basic

HEADING = ("uv resolves 100 packages without its cache", "ms", "behind nginx", "ratio", "goal")
HOT_GOAL, CHANGED_GOAL = 1.3, 2.5
PACKAGES = 100
ROUNDS = 7


def run(server: RunningServer, folder: Path) -> Iterator[tuple[str, ...]]:
    """A row for each state of the server: everything was asked for before, or something has changed since.

    nginx takes its turn after the changes, with the same files.

    :raises Unavailable: uv or nginx is missing.
    """
    program = uv()
    if program is None:
        raise Unavailable("uv is not installed")
    project = server.project()
    project.publish(*dependent_wheels())
    ours = project.index_url(server.root_token)
    with _static(project, folder / "nginx") as static:
        seconds(program, static, folder), seconds(program, ours, folder)  # the files are read once
        rounds = []
        for number in range(ROUNDS):
            project.publish(*(build_wheel(f"resolved{package}", f"0.{number}") for package in range(PACKAGES)))
            all_changed, hot = seconds(program, ours, folder), seconds(program, ours, folder)
            project.publish(build_wheel("change", str(number)))
            other_changed = seconds(program, ours, folder)
            _copy_pages(project, folder / "nginx", static)
            rounds.append((hot, other_changed, all_changed, seconds(program, static, folder)))
    *taken, floor = (1000 * statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    names = ("hot server", "right after a change of one other name", "right after a change of all 100 names")
    for name, milliseconds, goal in zip(names, taken, (HOT_GOAL, HOT_GOAL, CHANGED_GOAL), strict=True):
        ratio = milliseconds / floor
        yield name, f"{milliseconds:.0f}", f"{floor:.0f}", f"{ratio:.2f}", at_most(ratio, goal)


def dependent_wheels() -> list[BuiltFile]:
    """Each needs the next but some; the first needs all of them in the end."""
    return [
        build_wheel(
            f"resolved{number}",
            "1.0",
            requires_python=">=3.9",
            requires_dist=[
                f"resolved{needed}>=1.0" for needed in (2 * number + 1, 2 * number + 2, number + 7) if needed < PACKAGES
            ],
        )
        for number in range(PACKAGES)
    ]


def seconds(program: str, index_url: str, folder: Path) -> float:
    wanted = folder / "wanted.txt"
    wanted.write_text("resolved0\n")
    command = [
        program, "pip", "compile", "--quiet", "--no-cache", "--no-config", "--no-header", "--no-annotate",
        "--python", sys.executable, "--index-url", index_url, str(wanted),
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={"HOME": str(folder)}, timeout=120)
    taken = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == PACKAGES, done.stdout
    return taken


@contextmanager
def _static(project: Namespace, folder: Path) -> Iterator[str]:
    """Serve the project's simple pages and files as static files; yields the address of their index."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/simple"
    _copy_pages(project, folder, address)
    with nginx.serving(folder, port):
        yield address


def _copy_pages(project: Namespace, folder: Path, address: str) -> None:
    for number in range(PACKAGES):
        _copy_page(project, f"resolved{number}", folder / "static", address.removesuffix("/simple"))


def _copy_page(project: Namespace, name: str, static: Path, address: str) -> None:
    token = basic(project.server.root_token)
    page = answer(Target(name, f"{project.url}/simple/{name}/", token | {"Accept": simple.JSON}))
    for file in json.loads(page.body)["files"]:
        path = static / file["url"].removeprefix(f"{project.url}/")
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer(Target(path.name, file["url"], token)).body)
        metadata = answer(Target(path.name, f"{file['url']}.metadata", token))
        path.with_name(f"{path.name}.metadata").write_bytes(metadata.body)
    folder = static / "simple" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_bytes(page.body.replace(project.url.encode(), address.encode()))
