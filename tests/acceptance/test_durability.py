"""Uploads answered 201 stay, refused and interrupted ones leave nothing, and secrets are stored nowhere."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import requests

from tests.acceptance.servers import DEVELOPER, Namespace, RunningServer, needs_proc
from tests.acceptance.wire import connect, multipart, upload_head
from tests.builders import BuiltFile, build_sdist, build_wheel

StartServer = Callable[..., RunningServer]


@pytest.mark.databases
@pytest.mark.parametrize("size_bytes", [0, 2_000_000], ids=["small", "large"])
def test_of_uploads_of_one_file_at_the_same_time_exactly_one_is_kept(server: RunningServer, size_bytes: int) -> None:
    project, file = server.project(), build_wheel("raced", size_bytes=size_bytes)
    gate = threading.Barrier(8)

    def upload(_: int) -> requests.Response:
        gate.wait()
        return project.upload(file)

    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(upload, range(8)))

    assert sorted(response.status_code for response in responses) == [201, *[400] * 7]
    assert all("already been taken" in response.text for response in responses if response.status_code == 400)
    [url] = project.listed("raced").values()
    assert downloaded(server, url) == file.content
    assert [package["version"] for package in project.packages()] == ["1.0"]


@pytest.mark.databases
def test_files_of_one_package_are_uploaded_at_the_same_time(server: RunningServer) -> None:
    project = server.project()
    files = [build_wheel("parallel", tag=f"cp3{minor}-none-any") for minor in range(8, 15)] + [build_sdist("parallel")]

    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(project.upload, files))

    assert [response.status_code for response in responses] == [201] * 8
    assert sorted(project.listed("parallel")) == sorted(file.filename for file in files)
    assert len(project.packages()) == 1


@pytest.mark.parametrize("rounds", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_uploads_answered_before_a_power_cut_survive_it(start_server: StartServer, rounds: int) -> None:
    """A stream of uploads that is cut at some moment, again and again."""
    server = start_server()
    project, versions = server.project(), count(1)
    answered: list[BuiltFile] = []

    for round_ in range(rounds):
        _upload_until_killed(project, versions, answered, after_files=5 + 3 * round_)
        server.restart()

        assert _left_half_way(server) == []

    listed = project.listed("stream")
    assert len(answered) >= 5 * rounds
    assert {file.filename for file in answered} <= listed.keys()
    assert all(downloaded(server, listed[file.filename]) == file.content for file in answered)
    for url in listed.values():
        assert hashlib.sha256(downloaded(server, url)).hexdigest() in url
    for path in (server.instance / "packages" / "sha256").rglob("*"):
        assert path.is_dir() or hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def _upload_until_killed(
    project: Namespace, versions: Iterator[int], answered: list[BuiltFile], *, after_files: int
) -> None:
    """Four clients upload without a pause, each file once, until the server is gone."""
    enough = threading.Semaphore(0)

    def upload_on() -> None:
        while True:
            number = next(versions)
            file = build_wheel("stream", str(number), size_bytes=(0, 30_000, 600_000)[number % 3])
            try:
                response = project.upload(file)
            except requests.RequestException:
                return
            assert response.status_code == 201, response.text
            answered.append(file)
            enough.release()

    with ThreadPoolExecutor(4) as clients:
        running = [clients.submit(upload_on) for _ in range(4)]
        for _ in range(after_files):
            assert enough.acquire(timeout=60)
        project.server.kill()
    for client in running:
        client.result()


def _left_half_way(server: RunningServer) -> list[Path]:
    """The staged files of the killed process."""
    return [*(server.instance / "packages" / "incoming").iterdir(), *(server.instance / "spool").iterdir()]


def test_unfinished_uploads_of_a_killed_server_are_swept_at_the_next_start(start_server: StartServer) -> None:
    server = start_server()
    left = server.instance / "packages" / "incoming" / "upload-left"
    server.kill()
    left.write_bytes(b"half a wheel")

    server.restart()

    assert not left.exists()


@needs_proc
def test_uploads_that_are_broken_off_leave_nothing(start_server: StartServer) -> None:
    server = start_server()
    project = server.project()
    file = build_wheel("aborted", size_bytes=1_500_000)
    before, after = multipart({"name": file.name, "version": file.version}, file.filename)
    body = before + file.content + after
    request = upload_head(project, server.root_token, len(body)) + body
    snapshot = _files(server)

    for reset in (False, True):
        for sent in (20, 150, len(request) - len(body) + 100, len(request) // 2, len(request) - 10):
            _send_and_leave(server, request[:sent], reset=reset)

    _wait_until(lambda: _files(server) == snapshot and not server.unnamed_files())
    assert project.packages() == []


@needs_proc
def test_uploads_that_are_refused_leave_nothing(start_server: StartServer) -> None:
    server = start_server()
    project = server.project()
    file = build_wheel("refused", size_bytes=1_500_000)
    reading = project.member(DEVELOPER).access_token("read_api")
    project.publish(build_wheel("refused", "0.9"))
    snapshot = _files(server)

    statuses = [
        project.upload(file, reading).status_code,
        project.upload(file, "wrong").status_code,
        project.upload(file, version="1.1").status_code,
        project.upload(file, version="not a version").status_code,
        project.upload(file, sha256_digest="0" * 64).status_code,
        project.upload(build_wheel("refused", files={"../outside.py": b""}, size_bytes=1_500_000)).status_code,
        project.upload(build_wheel("refused", "0.9")).status_code,
    ]

    assert statuses == [403, 401, 400, 400, 400, 400, 400]
    _wait_until(lambda: _files(server) == snapshot and not server.unnamed_files())


def _send_and_leave(server: RunningServer, request: bytes, *, reset: bool) -> None:
    with connect(server) as connection:
        connection.sendall(request)
        if reset:  # the connection is reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _files(server: RunningServer) -> set[str]:
    return {str(path) for path in server.instance.rglob("*") if path.is_file()}


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("log_format", ["text", pytest.param("json", marks=pytest.mark.slow)])
def test_no_secret_is_kept_in_the_instance_folder_or_the_log(start_server: StartServer, log_format: str) -> None:
    server = start_server(LOG_FORMAT=log_format)
    group = server.group()
    project = server.project(group=group)
    developer = project.member(DEVELOPER)
    secrets = {
        "root token": server.root_token,
        "root password": server.root_password,
        "access token": developer.access_token("api"),
        "project deploy token": project.deploy_token("write_package_registry")[1],
        "group deploy token": group.deploy_token("read_package_registry")[1],
        "job token": project.job_token(developer),
        "unknown token": "glpat-unknown-2b7e151628aed2a6",
        "unknown password": "correct horse battery staple",
    }
    project.publish(build_wheel("secretive"))

    for secret in secrets.values():
        _use_everywhere(project, secret)

    contents = {str(path): path.read_bytes() for path in server.instance.rglob("*") if path.is_file()}
    contents["log"] = server.log.encode()
    assert any(path.endswith("-wal") for path in contents)
    found = {
        (name, path)
        for name, secret in secrets.items()
        for path, content in contents.items()
        for form in _forms(secret)
        if form in content
    }
    assert found == set()


def test_a_generated_first_password_is_only_in_the_credentials_file(start_server: StartServer) -> None:
    server = start_server(ROOT_PASSWORD="", ROOT_TOKEN="")
    credentials = server.instance / "initial_root_credentials"
    [password] = [line.partition(": ")[2] for line in credentials.read_text().splitlines() if "password" in line]

    kept_in = [
        path.name for path in server.instance.rglob("*") if path.is_file() and password.encode() in path.read_bytes()
    ]

    assert kept_in == [credentials.name]
    assert password not in server.log
    assert credentials.stat().st_mode & 0o777 == 0o600


def test_other_users_of_the_machine_cannot_read_the_instance_folder(server: RunningServer) -> None:
    assert server.instance.stat().st_mode & 0o027 == 0
    assert (server.instance / "spool").stat().st_mode & 0o077 == 0


def _use_everywhere(project: Namespace, secret: str) -> None:
    """Send a secret in every way that clients send one, to every kind of address."""
    file = build_wheel("secretive", f"1.{len(secret)}")
    ways: list[dict[str, object]] = [
        {"auth": ("__token__", secret)},
        {"auth": ("gitlab-ci-token", secret)},
        {"auth": (secret, "")},
        {"headers": {"PRIVATE-TOKEN": secret}},
        {"headers": {"DEPLOY-TOKEN": secret}},
        {"headers": {"JOB-TOKEN": secret}},
        {"headers": {"Authorization": f"Bearer {secret}"}},
        {"headers": {"Authorization": secret}},
        {"params": {"private_token": secret}},
        {"params": {"job_token": secret}},
    ]
    for way in ways:
        for url in (f"{project.url}/simple/secretive", f"{project.server.url}/api/v4/user"):
            requests.get(url, timeout=60, **way)
    project.upload(file, secret)
    project.upload(file, secret, sha256_digest="0" * 64)


def _forms(secret: str) -> list[bytes]:
    """The secret as it is, and in Base64 behind any number of other characters."""
    raw = secret.encode()
    shifted = [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw, *shifted]


def downloaded(server: RunningServer, url: str) -> bytes:
    response = requests.get(url, auth=("__token__", server.root_token), timeout=60)
    assert response.status_code == 200, response.text
    return response.content
