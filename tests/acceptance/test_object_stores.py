"""A registry with its files in a real S3 server: clients notice no difference, even while the store fails."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests import processes
from tests.acceptance.clients import Client, Installer
from tests.acceptance.servers import REPORTER, ForkedServer, Namespace, RunningServer, needs_proc
from tests.acceptance.wire import MIB, connect, digest_of_rest, file_head, large_wheel, upload_large
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.fakes.index import StaticIndex
from tests.fakes.network import FaultyLine
from tests.fakes.s3 import S3Server

WHEEL = build_wheel("stored", "1.0", size_bytes=300_000)
SDIST = build_sdist("stored", "1.1")


@pytest.fixture(scope="module")
def line(s3: S3Server) -> Iterator[FaultyLine]:
    """The network between the store and registry and clients."""
    with s3.line() as (line, _):
        yield line


@pytest.fixture(scope="module")
def index() -> Iterator[StaticIndex]:
    """The public index."""
    started = StaticIndex()
    yield started
    started.close()


def start(folder: Path, s3: S3Server, line: FaultyLine, **settings: str) -> RunningServer:
    access = s3.settings | {"S3_ENDPOINT": f"http://localhost:{line.port}"}
    server = ForkedServer(folder, STORAGE_URL=s3.address(), **access, **settings)
    server.start()
    return server


@pytest.fixture(scope="module")
def streaming(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server, line: FaultyLine, index: StaticIndex
) -> Iterator[RunningServer]:
    """Files come through the registry, which is one of two processes."""
    server = start(tmp_path_factory.mktemp("streaming"), s3, line, WORKERS="2", UPSTREAM_URL=index.url)
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture(scope="module")
def redirecting(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server, line: FaultyLine, index: StaticIndex
) -> Iterator[RunningServer]:
    """Clients are sent to the store for the files."""
    folder = tmp_path_factory.mktemp("redirecting")
    server = start(folder, s3, line, STORAGE_DOWNLOADS="redirect", UPSTREAM_URL=index.url)
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture(params=["streaming", pytest.param("redirecting", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> RunningServer:
    found: RunningServer = request.getfixturevalue(request.param)
    return found


def on_disk(folder: Path, *files: BuiltFile) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.filename).write_bytes(file.content)
    return [folder / file.filename for file in files]


def test_pip_and_uv_install_packages_published_by_twine(
    server: RunningServer, line: FaultyLine, twine: Client, pip: Installer, uv: Installer, home: Path
) -> None:
    project = server.project()
    files = on_disk(home / "dist", WHEEL, SDIST)
    credentials = {"TWINE_USERNAME": "root", "TWINE_PASSWORD": server.root_token}
    reader = project.member(REPORTER).access_token("read_api")
    index_url = project.index_url(reader)

    twine.succeeds("upload", "--repository-url", project.url, *files, **credentials)
    line.heads.clear()
    pip.succeeds("install", "--no-deps", "--index-url", index_url, "stored==1.0")
    uv.succeeds("pip", "install", "--no-deps", "--target", uv.site / "uv", "--index-url", index_url, "stored==1.0")

    assert pip.installed() == {"stored": "1.0"}
    assert (uv.site / "uv" / "stored.py").exists()
    asked = [head for head in line.heads if b"GET " in head[:4]]
    is_signed = [b"X-Amz-Signature=" in head for head in asked]
    assert any(is_signed) == (project.server.instance.parent.name.startswith("redirecting"))
    assert not any(b"uthorization: Basic" in head or reader.encode() in head for head in line.heads)


def test_public_packages_are_cached_in_the_store_and_served_while_it_is_away(
    server: RunningServer, line: FaultyLine, index: StaticIndex
) -> None:
    group = server.group()
    server.as_root("PUT", f"/groups/{group.id}/package_settings", {"pypi_upstream_mode": "cache"})
    project = server.project(group=group)
    index.clear()
    files = [build_wheel(name, size_bytes=300_000) for name in ("cached", "passed-on")]
    for file in files:
        index.publish(file)
    cached, passed_on = (f"/files/{file.filename}" for file in files)

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: downloaded(project, files[0].name), range(8)))
    assert [*answers, downloaded(project, files[0].name)] == [{files[0].content}] * 9
    assert len(index.asked_for(cached)) == 1

    line.is_cut = True
    try:
        assert [downloaded(project, files[1].name) for _ in range(2)] == [{files[1].content}] * 2
    finally:
        line.heal()
    deadline, asked = time.monotonic() + 30, 0
    while asked < len(index.asked_for(passed_on)):  # until the store is tried again, and keeps it
        assert time.monotonic() < deadline
        asked = len(index.asked_for(passed_on))
        assert downloaded(project, files[1].name) == {files[1].content}


@pytest.mark.slow
def test_installers_get_metadata_from_the_registry(redirecting: RunningServer) -> None:
    project = redirecting.project()
    project.publish(WHEEL)
    [url] = project.listed("stored").values()

    head = requests.head(url, auth=("__token__", redirecting.root_token), timeout=10)
    metadata = requests.get(f"{url}.metadata", auth=("__token__", redirecting.root_token), timeout=10)

    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(WHEEL.content)))
    assert metadata.history == []
    assert b"Name: stored" in metadata.content


@pytest.mark.slow
@needs_proc
def test_memory_does_not_grow_with_a_file_that_passes_through(redirecting: RunningServer, tmp_path: Path) -> None:
    server = redirecting
    project, wheel = server.project(), large_wheel(tmp_path, "large", 100 * MIB)
    project.publish(build_wheel("warm"))
    before = server.resident_bytes()
    server.forget_peak()

    uploaded = upload_large(project, wheel, server.root_token)
    with connect(server) as connection:
        # Whose token has a header of its own is not redirected.
        connection.sendall(file_head(project, wheel, server.root_token, PRIVATE_TOKEN=server.root_token))
        with closing(http.client.HTTPResponse(connection)) as response:
            response.begin()
            digest = digest_of_rest(response)

    assert uploaded is not None
    assert uploaded.status == 201, uploaded.body
    assert digest == wheel.sha256
    assert server.resident_bytes("VmHWM") - before < 64 * MIB
    assert list((server.instance / "staging").iterdir()) == []


@pytest.mark.slow
def test_indexes_are_served_while_the_store_is_silent(streaming: RunningServer, line: FaultyLine) -> None:
    """With the default timeouts: many clients wait for ten seconds."""
    server, file = streaming, build_wheel("stored", "2.0")
    project = server.project()
    project.publish(WHEEL)
    [url] = project.listed("stored").values()
    auth = ("__token__", server.root_token)
    line.is_silent = True
    began = time.monotonic()

    with ThreadPoolExecutor(2) as threads:
        unanswered = [
            threads.submit(requests.get, url, auth=auth, timeout=30),
            threads.submit(project.upload, file),
        ]
        page = requests.get(f"{project.url}/simple/stored/", auth=auth, timeout=5)
        ready = requests.get(f"{server.url}/-/readiness", timeout=10)

    assert time.monotonic() - began < 15  # 9 on an idle machine
    assert page.status_code == 200
    assert (ready.status_code, ready.json()["storage_check"][0]["status"]) == (503, "failed")
    for answer in unanswered:
        assert (answer.result().status_code, answer.result().headers["Retry-After"]) == (503, "5")
    line.heal()
    assert _answered_again(lambda: requests.get(url, auth=auth, timeout=30)).content == WHEEL.content
    assert _answered_again(lambda: project.upload(file)).status_code == 201


def _answered_again(ask: Callable[[], requests.Response]) -> requests.Response:
    """The first answer that is not 503."""
    deadline = time.monotonic() + 30
    while (response := ask()).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return response


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_store_that_cannot_be_used_stops_the_start_with_one_sentence(
    tmp_path: Path, s3: S3Server, workers: str
) -> None:
    server = ForkedServer(tmp_path, STORAGE_URL="s3://no-such-bucket/packages", WORKERS=workers, **s3.settings)

    done = processes.run(processes.app_py, environment=server.environment())

    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("The registry cannot start: ")]
    assert told == ["The registry cannot start: The package store has no such bucket."]
    assert "NoSuchBucket" in done.stderr


@pytest.mark.slow
def test_a_registry_moves_to_an_object_store_while_it_serves(tmp_path: Path, s3: S3Server) -> None:
    server = ForkedServer(tmp_path, **s3.settings)
    server.start()
    project, before, after = server.project(), build_wheel("moved", "1.0"), build_wheel("moved", "2.0")
    project.publish(before)
    address, folder = s3.address(), (server.instance / "packages").as_uri()

    move_storage(server, "--to", address)
    project.publish(after)
    assert downloaded(project, "moved") == {before.content, after.content}
    server.settings["STORAGE_URL"] = address
    server.restart()
    move_storage(server, "--from", folder)

    for path in (server.instance / "packages" / "sha256").rglob("*/*"):
        path.unlink()
    assert downloaded(project, "moved") == {before.content, after.content}
    server.stop()


def move_storage(server: RunningServer, *options: str) -> None:
    done = processes.run(
        processes.flask, "packages", "move-storage", *options, environment=server.environment(), timeout=120
    )
    assert done.returncode == 0, done.stderr


def downloaded(project: Namespace, name: str) -> set[bytes]:
    auth = ("__token__", project.server.root_token)
    return {requests.get(url, auth=auth, timeout=60).content for url in project.listed(name).values()}
