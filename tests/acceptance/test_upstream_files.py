"""Files of the public index in the real server, with several processes, cut transfers, a full disk, and SIGKILL."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
import requests

from tests import postgresql
from tests.acceptance.servers import ForkedServer, Namespace, RunningServer, needs_proc
from tests.acceptance.test_faults import fill, left_half_way, small_disk, stored, wait_until
from tests.builders import BuiltFile, build_wheel
from tests.fakes.index import Fault, StaticIndex

pytestmark = needs_proc
WHEEL = build_wheel("public", files={"public/padding.bin": Random(0).randbytes(3 << 20)})
OTHER = build_wheel("public", "2.0", files={"public/padding.bin": Random(0).randbytes(1 << 20)})
PATH = f"/files/{WHEEL.filename}"


@pytest.fixture
def index() -> Iterator[StaticIndex]:
    index = StaticIndex()
    index.publish(WHEEL, OTHER)
    yield index
    index.close()


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def project(
    request: pytest.FixtureRequest, start_server: Callable[..., RunningServer], index: StaticIndex,
    postgresql_server: str | None,
) -> Namespace:  # fmt: skip
    """A project of a server with one process, or with two."""
    address = "" if postgresql_server is None else postgresql.create_database(postgresql_server)
    return caching(start_server(UPSTREAM_URL=index.url, WORKERS=str(request.param), DATABASE_URL=address))


def caching(server: RunningServer) -> Namespace:
    """A project in the mode ``cache``."""
    server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
    return server.project()


def asked(project: Namespace, file: BuiltFile) -> requests.Response:
    """The beginning of the response to a request for a file."""
    url = f"{project.url}/files/{file.sha256}/{file.filename}"
    return requests.get(url, auth=("root", project.server.root_token), stream=True, timeout=60)


def download(project: Namespace, file: BuiltFile = WHEEL) -> tuple[int, str]:
    """Status and digest of a file."""
    with asked(project, file) as response:
        digest = hashlib.sha256()
        for block in response.iter_content(1 << 16):
            digest.update(block)
        return response.status_code, digest.hexdigest()


@pytest.mark.databases
def test_eight_clients_that_want_one_new_file_cost_the_public_index_one_request(
    project: Namespace, index: StaticIndex
) -> None:
    released = index.hold(PATH)
    with ThreadPoolExecutor(8) as clients:
        found = [clients.submit(download, project) for _ in range(8)]
        assert index.held.wait(30)
        released.set()

        assert {each.result() for each in found} == {(200, WHEEL.sha256)}
    assert len(index.asked_for(PATH)) == 1

    index.put(PATH, b"gone")
    assert download(project) == (200, WHEEL.sha256)


@pytest.mark.parametrize("project", [1], indirect=True)
def test_a_cut_transfer_is_continued_and_other_content_cuts_the_connection(
    project: Namespace, index: StaticIndex
) -> None:
    index.fail(PATH, Fault(200))
    assert download(project) == (200, WHEEL.sha256)
    assert [request.headers.get("Range", "") for request in index.asked_for(PATH)] == [
        "",
        f"bytes={len(WHEEL.content) // 2}-",
    ]

    path = f"/files/{OTHER.filename}"
    index.put(path, OTHER.content[:-1] + b"x")
    released = index.hold(path)
    with asked(project, OTHER) as response:
        assert response.status_code == 200
        released.set()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            response.content  # noqa: B018 - reads it
    assert not list((project.server.instance / "packages").rglob(f"*{OTHER.sha256}"))
    assert "Traceback" not in project.server.log


@pytest.mark.parametrize("project", [2], indirect=True)
def test_a_rule_that_changes_while_a_file_streams_counts_for_the_next_request(
    project: Namespace, index: StaticIndex
) -> None:
    """What was decided upon is sent to its end, and kept."""
    server, released = project.server, index.hold(PATH)
    with asked(project, WHEEL) as begun:
        assert begun.status_code == 200
        server.as_root("PUT", "/application/settings", {"pypi_upstream_blocked": ["public==1.0"]})
        answers = [download(project)[0] for _ in range(4)]
        listed = project.listed("public")
        released.set()
        assert hashlib.sha256(begun.content).hexdigest() == WHEEL.sha256
    assert (answers, list(listed)) == ([403] * 4, [OTHER.filename])
    wait_until(lambda: stored(server) == {WHEEL.sha256})
    assert download(project)[0] == 403

    server.as_root("PUT", "/application/settings", {"pypi_upstream_blocked": []})
    assert download(project) == (200, WHEEL.sha256)
    assert len(index.asked_for(PATH)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("project", [1], indirect=True)
def test_a_killed_server_continues_the_transfer_and_leaves_nothing(project: Namespace, index: StaticIndex) -> None:
    server, released = project.server, index.hold(PATH)
    client = threading.Thread(target=pytest.raises, args=(requests.RequestException, download, project))
    client.start()
    assert index.held.wait(30)
    server.kill()
    client.join()
    released.set()
    staged = server.instance / "packages" / "incoming"
    assert [path.name for path in staged.iterdir()] == [f"shared-{WHEEL.sha256}"]

    server.start()

    assert [path.name for path in staged.iterdir()] == [f"shared-{WHEEL.sha256}"]
    assert download(project) == (200, WHEEL.sha256)
    wait_until(lambda: list(staged.iterdir()) == [])
    assert "Traceback" not in server.log


@pytest.mark.slow
@pytest.mark.parametrize("project", [2], indirect=True)
def test_killed_workers_leave_nothing_that_is_given_out(project: Namespace, index: StaticIndex) -> None:
    server, released = project.server, index.hold(PATH)
    with ThreadPoolExecutor(4) as clients:
        cut = [clients.submit(pytest.raises, requests.RequestException, download, project) for _ in range(4)]
        assert index.held.wait(30)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        assert all(each.result() for each in cut)
    released.set()

    assert stored(server) == set()
    wait_until(lambda: len(server.workers()) == 2)
    assert download(project) == (200, WHEEL.sha256)
    wait_until(lambda: WHEEL.sha256 in stored(server))
    wait_until(lambda: left_half_way(server) == [])


@pytest.mark.parametrize("folder", ["packages", pytest.param(".", marks=pytest.mark.slow)])
def test_on_a_full_disk_files_are_served_from_the_public_index(tmp_path: Path, index: StaticIndex, folder: str) -> None:
    server = ForkedServer(tmp_path, UPSTREAM_URL=index.url)
    with small_disk(server.instance / folder, 10):
        server.start()
        try:
            project, room = caching(server), server.instance / "packages" / "room"
            room.write_bytes(bytes(len(WHEEL.content) // 2))  # so that the disk is full in the middle
            fill(server.instance / "packages")
            room.unlink()

            assert [download(project), download(project)] == [(200, WHEEL.sha256)] * 2

            assert len(index.asked_for(PATH)) > 1
            assert stored(server) == set()
            assert left_half_way(server) == []
            (server.instance / "packages" / "last").unlink()
            assert download(project) == (200, WHEEL.sha256)
            wait_until(lambda: stored(server) == {WHEEL.sha256})
            assert "A request failed" not in server.log
        finally:
            server.kill()
