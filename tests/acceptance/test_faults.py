"""A full disk, killed processes, and files that are deleted while other clients upload and download them.

``pytest -m slow --kills 50 --timeout 0`` kills more often than an ordinary run has time for.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random

import pytest
import requests

import registry
from registry import database
from registry.database import utcnow
from registry.domain.operation import cleanup
from registry.storage import Storage
from tests.acceptance.servers import ForkedServer, Namespace, RunningServer, needs_proc
from tests.builders import BuiltFile, build_wheel

StartServer = Callable[..., RunningServer]
MIB = 1 << 20

pytestmark = needs_proc


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def download(project: Namespace, url: str) -> requests.Response:
    return requests.get(url, auth=("__token__", project.server.root_token), timeout=60)


def stored(server: RunningServer) -> set[str]:
    """The digests of all stored files, each checked against the bytes."""
    found = {path: path.name for path in (server.instance / "packages" / "sha256").rglob("*") if path.is_file()}
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == digest for path, digest in found.items())
    return set(found.values())


def left_half_way(server: RunningServer) -> list[Path]:
    return [*(server.instance / "packages" / "incoming").iterdir(), *(server.instance / "spool").iterdir()]


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[None]:
    """Mount a file system of this size in place of the folder, where this machine allows it."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Fill the disk to the last byte."""
    with (folder / "last").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


SIZES = {"small": 0, "with core metadata": 30_000, "read at once": 200_000, "spooled": 600_000, "large": 6 * MIB}
DISKS = [
    pytest.param("packages", 6, "1", id="of the packages", marks=pytest.mark.slow),
    pytest.param(".", 10, "1", id="of everything"),
    pytest.param(".", 18, "2", id="of everything, in two processes", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("folder", "size_mib", "workers"), DISKS)
def test_on_a_full_disk_uploads_are_refused_and_reads_go_on(
    tmp_path: Path, folder: str, size_mib: int, workers: str
) -> None:
    server = ForkedServer(tmp_path, WORKERS=workers)
    disk = server.instance / folder
    with small_disk(disk, size_mib), ExitStack() as stack:
        server.start()
        stack.callback(server.kill)
        project, processes = server.project(), server.workers()
        (disk / "room").write_bytes(bytes(2 * MIB))

        kept, refused = publish_until_refused(project)
        fill(disk)
        refusals = [refused, *(upload(project, name, size) for name, size in SIZES.items())]

        assert {refusal.status_code for refusal in refusals} == {507}
        assert all(refusal.json()["message"].startswith("507 Insufficient Storage - ") for refusal in refusals)
        listed = project.listed("filling")
        assert sorted(listed) == sorted(file.filename for file in kept)
        assert all(download(project, listed[file.filename]).content == file.content for file in kept)
        assert len(stored(server)) == 2 * len(kept), "each file and its core metadata, and nothing of what was refused"
        assert left_half_way(server) == []
        for path in ("/explore", "/help", "/-/health", "/-/metrics"):
            assert requests.get(server.url + path, timeout=60).status_code == 200, path

        (disk / "room").unlink()
        statuses = {upload(project, name, size).status_code for name, size in SIZES.items() if name != "large"}

        assert statuses == {201}
        assert server.workers() == processes
        assert "uncaptured" not in server.log
        assert "A request failed" not in server.log


def publish_until_refused(project: Namespace) -> tuple[list[BuiltFile], requests.Response]:
    kept: list[BuiltFile] = []
    for version in count(1):
        file = build_wheel("filling", str(version), size_bytes=300_000)
        response = project.upload(file)
        if response.status_code != 201:
            break
        kept.append(file)
    return kept, response


def upload(project: Namespace, name: str, size_bytes: int) -> requests.Response:
    return project.upload(build_wheel(name.replace(" ", "-").replace(",", ""), size_bytes=size_bytes))


class Stream:
    """Four clients upload without a pause, each file once, whatever happens to the server."""

    def __init__(self, project: Namespace) -> None:
        self._project = project
        self._versions = count(1)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._upload_on) for _ in range(4)]
        self.answered: list[BuiltFile] = []
        self.refused: list[str] = []
        self.broken_off = 0

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, files: int) -> None:
        wanted = len(self.answered) + files
        wait_until(lambda: len(self.answered) >= wanted)

    def _upload_on(self) -> None:
        while not self._is_over.is_set():
            number = next(self._versions)
            file = build_wheel("stream", str(number), size_bytes=(0, 30_000, 600_000)[number % 3])
            try:
                response = self._project.upload(file)
            except requests.RequestException:
                self.broken_off += 1
                time.sleep(0.05)
                continue
            if response.status_code == 201:
                self.answered.append(file)
            else:
                self.refused.append(f"{response.status_code} {response.text}")


def kill_one_worker(server: RunningServer) -> None:
    os.kill(min(server.workers()), signal.SIGKILL)


def kill_all_workers(server: RunningServer) -> None:
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)


def kill_supervisor(server: RunningServer) -> None:
    """Its workers notice and stop by themselves, possibly after their successors have started."""
    server.kill()
    server.start()


def kill_everything(server: RunningServer) -> None:
    workers = server.workers()
    server.signal(signal.SIGSTOP)  # so that it starts no new workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    kill_supervisor(server)


KILLS = (kill_one_worker, kill_supervisor, kill_all_workers, kill_everything)


@pytest.mark.slow
def test_answered_uploads_survive_every_killed_process(start_server: StartServer, pytestconfig: pytest.Config) -> None:
    server = start_server(WORKERS="2")
    project = server.project()

    with Stream(project) as stream:
        for round_ in range(pytestconfig.getoption("kills")):
            stream.goes_on(3 + round_ % 7)
            KILLS[round_ % len(KILLS)](server)
            wait_until(lambda: len(server.workers()) == 2)
        stream.goes_on(4)
    server.restart()

    assert stream.refused == []
    assert stream.broken_off > 0
    listed = project.listed("stream")
    assert all(download(project, listed[file.filename]).content == file.content for file in stream.answered)
    for url in listed.values():
        assert hashlib.sha256(download(project, url).content).hexdigest() in url
    assert stored(server) >= {file.sha256 for file in stream.answered}
    assert left_half_way(server) == []


class Use:
    """Clients that upload the same bytes to projects over and over, and download the listed files."""

    def __init__(self, projects: Iterable[Namespace], file: BuiltFile) -> None:
        self._file = file
        self._is_over = threading.Event()
        self._pauses = Random(0)
        self._threads = [
            threading.Thread(target=self._repeat, args=(act, project))
            for project in projects
            for act in (self._upload, self._download)
        ]
        self._deletions = 0  # starts and ends counted: an odd number while one is running
        self.uploads: Counter[int] = Counter()
        self.downloads: Counter[int] = Counter()
        self.faults: list[str] = []

    def __enter__(self) -> Use:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def deletion(self) -> Iterator[None]:
        """Mark a deletion: only during one can listed files be gone when they are requested."""
        self._deletions += 1
        yield
        self._deletions += 1

    def _repeat(self, act: Callable[[Namespace], None], project: Namespace) -> None:
        while not self._is_over.is_set():
            try:
                act(project)
            except requests.RequestException as error:
                self.faults.append(str(error))

    def _upload(self, project: Namespace) -> None:
        response = project.upload(self._file)
        self.uploads[response.status_code] += 1
        if response.status_code != 201:
            time.sleep(self._pauses.uniform(0, 0.3))  # sometimes no project has the bytes, and they are removed

    def _download(self, project: Namespace) -> None:
        deletions = self._deletions
        for url in project.listed(self._file.name).values():
            response = download(project, url)
            self.downloads[response.status_code] += 1
            if response.status_code == 200 and response.content != self._file.content:
                self.faults.append("other bytes")
            if response.status_code != 200 and deletions == self._deletions and deletions % 2 == 0:
                self.faults.append("a listed file without bytes")


@contextmanager
def third_process(server: RunningServer) -> Iterator[Storage]:
    """The registry as a shell command runs it, with a clock that can be set."""
    app = registry.create_app({"INSTANCE_PATH": server.instance})
    with app.app_context():
        yield app.extensions["storage"]
    database.disconnect(app)


@pytest.mark.slow
def test_deletions_keep_the_bytes_of_concurrent_uploads_and_downloads(start_server: StartServer) -> None:
    server = start_server(WORKERS="2")
    projects, file = [server.project(), server.project()], build_wheel("shared", size_bytes=200_000)
    removed = 0

    with third_process(server) as storage, Use(projects, file) as use:
        for _ in range(25):
            wait_until(lambda: all(project.listed("shared") for project in projects))
            with use.deletion():
                for project in projects:
                    for package in project.packages():
                        server.as_root("DELETE", f"{project.rest_path}/packages/{package['id']}")
            removed += cleanup.run(storage, utcnow() + 2 * cleanup.GRACE).objects

    assert use.faults == []
    assert use.uploads.keys() <= {201, 400}
    assert use.downloads.keys() <= {200, 404}
    assert use.uploads[201] >= 50
    assert use.downloads[200] >= 25
    assert removed > 0, "and not everything was used again in time"
    for project in projects:
        assert project.upload(file).status_code in (201, 400)
        [url] = project.listed("shared").values()
        assert download(project, url).content == file.content
    assert file.sha256 in stored(server)
