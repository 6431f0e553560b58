"""Large files in little memory, early refusals, slow clients, and a stop that lets downloads finish."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.acceptance.servers import CHECKOUT, REPORTER, ForkedServer, Namespace, RunningServer, needs_proc
from tests.acceptance.wire import (
    MIB,
    Answer,
    LargeWheel,
    answer_on,
    basic,
    connect,
    digest_of_rest,
    exchange,
    file_head,
    head,
    large_wheel,
    multipart,
    upload_head,
    upload_large,
)
from tests.builders import BuiltFile, build_wheel
from tests.server.serving import eventually

StartServer = Callable[..., RunningServer]
GIB = 1 << 30


@contextmanager
def download(project: Namespace, wheel: LargeWheel, **headers: object) -> Iterator[http.client.HTTPResponse]:
    """A download whose header was read and whose body was not."""
    with connect(project.server) as connection:
        connection.sendall(file_head(project, wheel, project.server.root_token, **headers))
        with closing(http.client.HTTPResponse(connection)) as response:
            response.begin()
            yield response


@pytest.mark.slow
@needs_proc
def test_memory_does_not_grow_with_the_file(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    project, wheel = server.project(), large_wheel(tmp_path, "large", 100 * MIB)
    project.publish(build_wheel("warm"))
    before = server.resident_bytes()
    server.forget_peak()

    uploaded = upload_large(project, wheel, server.root_token)
    with download(project, wheel) as response:
        digest = digest_of_rest(response)

    assert uploaded is not None
    assert uploaded.status == 201, uploaded.body
    assert digest == wheel.sha256
    assert server.resident_bytes("VmHWM") - before < 64 * MIB


EXPECTATIONS = pytest.mark.parametrize(
    "expect", [{}, {"Expect": "100-continue"}], ids=["sent at once", "asks to continue"]
)


@EXPECTATIONS
@pytest.mark.parametrize(
    ("token", "length"),
    [
        (None, GIB),
        ("glpat-bogus", GIB),
        ("glpat-bogus", 6 * GIB),
        ("of a reporter", GIB),
        ("of a missing project", GIB),
    ],
    ids=["anonymous", "bogus token", "bogus and too large", "no permission", "no project"],
)
def test_a_large_upload_is_refused_after_its_header_like_a_small_one(
    server: RunningServer, expect: dict[str, str], token: str | None, length: int
) -> None:
    project = server.project()
    if token == "of a reporter":
        token = project.member(REPORTER).access_token()
    elif token == "of a missing project":
        project, token = Namespace(server, "projects", 999_999, "nowhere"), server.root_token

    large = exchange(server, upload_head(project, token, length, **expect), "POST")
    small = exchange(server, upload_head(project, token, 0), "POST")

    assert lasting(large) == lasting(small)
    assert small is not None
    assert small.status in (401, 403, 404)


def lasting(answer: Answer | None) -> object:
    """An answer without the parts that differ from one to the next."""
    assert answer is not None
    headers = [item for item in answer.headers.items() if item[0] not in ("Date", "X-Request-Id", "Connection")]
    return answer.status, answer.reason, headers, answer.body


@EXPECTATIONS
def test_a_file_that_is_too_large_is_refused_by_the_length_it_declares(
    server: RunningServer, expect: dict[str, str]
) -> None:
    answer = exchange(server, upload_head(server.project(), server.root_token, 6 * GIB, **expect), "POST")

    assert answer is not None
    assert (answer.status, answer.reason) == (400, "Bad request - File is too large")


@needs_proc
@pytest.mark.parametrize("token", [None, "glpat-bogus"], ids=["anonymous", "bogus token"])
def test_a_refused_upload_leaves_nothing_and_the_client_gets_the_reason(
    server: RunningServer, token: str | None
) -> None:
    """It sends as much as it can before it looks for an answer, as most clients do."""
    project, sent, block = server.project(), 0, bytes(MIB)
    before, kept = set(server.unnamed_files()), set()

    with connect(server) as connection:
        connection.sendall(upload_head(project, token, GIB))
        with suppress(BrokenPipeError):
            while sent < GIB:
                connection.sendall(block)
                sent += len(block)
                kept |= set(server.unnamed_files()) - before
        answer = answer_on(connection, "POST")

    assert sent < 64 * MIB
    assert kept == set()
    assert answer is not None
    assert answer.status == 401


def test_a_client_library_shows_the_refusal_of_a_large_upload(server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "body"
    with path.open("wb") as file:
        file.truncate(GIB)

    with path.open("rb") as file:
        response = requests.post(server.project().url, data=file, auth=("__token__", "glpat-bogus"), timeout=60)

    assert response.status_code == 401


def test_a_large_file_can_be_validated(server: RunningServer) -> None:
    project = server.project()
    request = upload_head(project, None, GIB).replace(b"/packages/pypi ", b"/packages/pypi/validate ")

    with connect(server) as connection:
        connection.sendall(request)
        answer = answer_on(connection, "POST")

    assert answer is not None
    assert answer.status == 401, "as an upload, and not 413 as elsewhere"


@EXPECTATIONS
def test_no_other_address_takes_a_large_body(server: RunningServer, expect: dict[str, str]) -> None:
    request = head("POST", "/api/v4/projects", Authorization=basic(server.root_token), Content_Length=GIB, **expect)

    with connect(server) as connection:
        connection.sendall(request)
        answer = answer_on(connection, "POST")

    assert answer is not None
    assert answer.status == 413
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


DIALECTS = pytest.mark.parametrize(
    ("path", "content_type"),
    [("/api/v4/projects", "application/json"), ("/users/sign_in", "text/html; charset=utf-8")],
    ids=["API", "page"],
)


@DIALECTS
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length told", "in chunks"])
def test_a_body_over_a_mebibyte_is_refused_as_the_address_refuses_other_things(
    server: RunningServer, path: str, content_type: str, is_chunked: bool
) -> None:
    if is_chunked:
        request = head("POST", path, Transfer_Encoding="chunked") + chunk(bytes(MIB + 1000)) * 2
    else:
        request = head("POST", path, Content_Length=MIB + 1)

    answer = exchange(server, request, "POST")

    assert answer is not None
    assert (answer.status, answer.headers["Content-Type"]) == (413, content_type)
    assert answer.headers["X-Request-Id"] in server.log


def test_what_takes_long_to_parse_is_refused_by_its_length(server: RunningServer) -> None:
    form = {"Content_Type": "application/x-www-form-urlencoded", "Content_Length": 20_002}

    fields = exchange(server, head("POST", "/users/sign_in", **form) + b"a&" * 10_001, "POST")
    login = exchange(
        server,
        head("POST", "/users/sign_in", **form | {"Content_Length": 66_006}) + b"login=" + b"%FF" * 22_000,
        "POST",
    )
    path = exchange(server, head("GET", "/" + "a/" * 4100))

    assert fields is not None
    assert login is not None
    assert path is not None
    assert (fields.status, login.status, path.status) == (413, 413, 414)


@needs_proc
def test_withheld_bodies_occupy_little_memory_and_no_disk(start_server: StartServer) -> None:
    """Each lacks its last byte, and comes from another address. Smaller bodies than these can still be sent."""
    server = start_server(MAX_CONNECTIONS_PER_ADDRESS="0")
    sign_in = head("POST", "/users/sign_in", Content_Length=MIB)
    before, files = server.resident_bytes(), set(server.unnamed_files())

    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server, f"127.0.1.{number}")) for number in range(100)]
        for connection in connections:
            connection.sendall(sign_in)
            with suppress(ConnectionError):
                connection.sendall(bytes(MIB - 1))
        eventually(lambda: len(select.select(connections, [], [], 0)[0]) == 100 - 64)
        answers = [answer_on(connection, "POST") for connection in select.select(connections, [], [], 0)[0]]
        occupied, spooled = server.resident_bytes() - before, set(server.unnamed_files()) - files
        small = exchange(server, head("POST", "/users/sign_in", Content_Length=1000) + bytes(1000), "POST")
    after = exchange(server, head("POST", "/users/sign_in", Content_Length=MIB) + bytes(MIB), "POST")

    assert occupied < 100 * MIB
    assert spooled == set()
    assert {answer and answer.status for answer in answers} == {503}
    assert small is not None
    assert after is not None
    assert small.status in {200, 400, 403}
    assert after.status == 413, "there is room again"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


ENDLESS_BODIES = {
    "body": (chunk(bytes(MIB)), 413),
    "head of a chunk": (b"0" * MIB, 400),
    "trailer": (b"0\r\n" + b"Name: value\r\n" * 80_000, 400),
}


@pytest.mark.parametrize("path", ["/api/v4/projects", "/users/sign_in"])
@pytest.mark.parametrize(("part", "status"), ENDLESS_BODIES.values(), ids=ENDLESS_BODIES)
def test_a_body_without_a_declared_length_is_not_read_to_its_end_either(
    server: RunningServer, path: str, part: bytes, status: int
) -> None:
    sent = 0

    with connect(server) as connection:
        connection.sendall(head("POST", path, Transfer_Encoding="chunked"))
        with suppress(BrokenPipeError):
            while sent < 200 * MIB:
                connection.sendall(part)
                sent += len(part)
        answer = answer_on(connection, "POST")

    assert sent < 64 * MIB
    assert answer is not None
    assert answer.status == status


@needs_proc
def test_a_body_in_the_smallest_chunks_is_soon_read(server: RunningServer) -> None:
    """One thread does all reading: while it parses chunks, every client waits."""
    body = chunk(b" ") * (MIB // 2) + b"0\r\n\r\n"
    before = server.processor_seconds()

    answer = exchange(server, head("POST", "/api/v4/projects", Transfer_Encoding="chunked") + body, "POST")

    assert answer is not None
    assert answer.status == 401
    assert server.processor_seconds() - before < 7


def upload_body(file: BuiltFile) -> bytes:
    before, after = multipart({"name": file.name, "version": file.version}, file.filename)
    return before + file.content + after


def test_an_authorized_upload_is_asked_to_continue(server: RunningServer) -> None:
    project, body = server.project(), upload_body(build_wheel("continued", size_bytes=5 * MIB))

    with connect(server) as connection:
        connection.sendall(upload_head(project, server.root_token, len(body), Expect="100-continue"))
        told = connection.recv(100)
        connection.sendall(body)
        answer = answer_on(connection, "POST")

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer is not None
    assert answer.status == 201


@pytest.mark.parametrize("size_bytes", [0, 100_000, 2 * MIB], ids=["small", "with its header", "large"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length told", "in chunks"])
def test_requests_sent_without_waiting_are_answered_in_order(
    server: RunningServer, size_bytes: int, is_chunked: bool
) -> None:
    project, body = server.project(), upload_body(build_wheel("pipelined", size_bytes=size_bytes))
    path, authorization = f"{project.pypi_path}/simple/pipelined/", basic(server.root_token)
    page = head("GET", path, Authorization=authorization)
    last = head("GET", path, Authorization=authorization, Connection="close")
    if is_chunked:
        upload = upload_head(project, server.root_token, None, Transfer_Encoding="chunked")
        upload += chunk(body[:10]) + chunk(body[10:]) + b"0\r\n\r\n"
    else:
        upload = upload_head(project, server.root_token, len(body)) + body

    with connect(server) as connection:
        connection.sendall(page + upload + page + upload + last)
        with connection.makefile("rb") as answers:
            statuses = re.findall(rb"HTTP/1\.1 (\d+) ", answers.read())

    assert statuses == [b"302", b"201", b"200", b"400", b"200"]


def test_an_upload_over_the_first_version_of_http_is_published(server: RunningServer) -> None:
    project, body = server.project(), upload_body(build_wheel("old", size_bytes=MIB))
    request = upload_head(project, server.root_token, len(body)).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n") + body

    answer = exchange(server, request, "POST")

    assert answer is not None
    assert answer.status == 201


def test_a_large_upload_is_one_line_in_the_log(server: RunningServer) -> None:
    project = server.project()
    project.publish(build_wheel("logged", size_bytes=MIB))

    assert server.log.count(f"POST {project.pypi_path} answered") == 1


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=70000-", slice(70_000, None)),
        ("bytes=-300", slice(-300, None)),
        ("bytes=1-1", slice(1, 2)),
    ],
    ids=["first bytes", "to the end", "last bytes", "one byte"],
)
def test_a_range_of_a_file_is_exactly_that_range_and_the_connection_stays_open(
    server: RunningServer, value: str, part: slice
) -> None:
    project, file = server.project(), build_wheel("parted", size_bytes=100_000)
    project.publish(file)
    path = f"{project.pypi_path}/files/{file.sha256}/{file.filename}"
    authorization = basic(server.root_token)

    with connect(server) as connection:
        connection.sendall(head("GET", path, Authorization=authorization, Range=value))
        answer = answer_on(connection)
        connection.sendall(head("GET", path, Authorization=authorization))
        whole = answer_on(connection)

    assert answer is not None
    assert (answer.status, answer.body) == (206, file.content[part])
    assert whole is not None
    assert (whole.status, whole.body) == (200, file.content)


def test_a_connection_stays_open_behind_an_answer_without_a_body(server: RunningServer) -> None:
    project = server.project()
    project.publish(build_wheel("lasting"))
    path, authorization = f"{project.pypi_path}/simple/lasting/", basic(server.root_token)

    with connect(server) as connection:
        connection.sendall(head("GET", path, Authorization=authorization))
        first = answer_on(connection)
        assert first is not None
        for _ in range(3):
            connection.sendall(head("GET", path, Authorization=authorization, If_None_Match=first.headers["ETag"]))
            answer = answer_on(connection)

            assert answer is not None
            assert (answer.status, answer.body) == (304, b"")


def test_slow_clients_do_not_delay_others(server: RunningServer, tmp_path: Path) -> None:
    """Far more clients of each kind than there are threads."""
    project, wheel = server.project(), large_wheel(tmp_path, "slow", 24 * MIB)
    upload_large(project, wheel, server.root_token)
    half_upload = upload_head(project, server.root_token, 100 * MIB) + bytes(MIB)

    with ExitStack() as stack:
        for _ in range(20):
            for request in (half_upload, half_upload[:60]):
                stack.enter_context(connect(server)).sendall(request)
            stack.enter_context(download(project, wheel))
            stack.enter_context(download(project, wheel, Range="bytes=1-"))
        response = requests.get(f"{project.url}/simple/slow/", auth=("root", server.root_token), timeout=60)

    assert response.status_code == 200


def limited(project: Namespace, size_mib: int) -> Namespace:
    project.server.as_root("PUT", project.rest_path, {"storage_size_limit": size_mib * MIB})
    return project


def asked(project: Namespace, size_mib: int, stack: ExitStack, token: str | None = None) -> Answer | None:
    """The answer to an upload that declares this size and sends nothing; ``None`` if it is asked to continue."""
    connection, token = stack.enter_context(connect(project.server)), token or project.server.root_token
    connection.sendall(upload_head(project, token, size_mib * MIB, Expect="100-continue"))
    if connection.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 100":
        return None
    return answer_on(connection, "POST")


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of two processes that receives 200 MiB at most."""
    server = ForkedServer(tmp_path_factory.mktemp("two"), WORKERS="2", MAX_RECEIVING_SIZE=str(200 * MIB))
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("accepts_identical", [False, True])
def test_an_upload_without_a_declared_length_is_refused_when_it_passes_the_limit_of_its_project(
    two_workers: RunningServer, accepts_identical: bool
) -> None:
    project, sent = limited(two_workers.project(), 1), 0
    two_workers.as_root("PUT", project.rest_path, {"pypi_identical_upload_accepted": accepts_identical})
    before, _ = multipart({"name": "endless", "version": "1.0"}, "endless-1.0-py3-none-any.whl")

    with connect(two_workers) as connection:
        request = upload_head(project, two_workers.root_token, None, Transfer_Encoding="chunked")
        connection.sendall(request + chunk(before))
        with suppress(ConnectionError):
            while sent < 200 * MIB:
                connection.sendall(chunk(bytes(MIB)))
                sent += MIB
        answer = answer_on(connection, "POST")

    assert sent < 65 * MIB, "limit, form beside the file, and what a closing connection drops"
    assert answer is not None
    assert (answer.status, answer.reason.partition(":")[0]) == (400, "Bad request - Storage limit reached")


def test_what_is_received_counts_for_the_limits_of_its_project_in_all_processes(two_workers: RunningServer) -> None:
    project, other = limited(two_workers.project(), 60), limited(two_workers.project(), 60)

    with ExitStack() as stack:
        with ExitStack() as first:
            assert asked(project, 50, first) is None
            for _ in range(6):
                answer = asked(project, 50, stack)
                assert answer is not None
                assert answer.status == 400
                assert "is receiving 52428800" in answer.reason
            assert asked(other, 50, stack) is None
        eventually(lambda: len(list((two_workers.instance / "receiving").iterdir())) == 1)
        assert asked(project, 50, stack) is None


def test_what_is_received_at_a_time_is_limited_in_all_processes_together(two_workers: RunningServer) -> None:
    project = two_workers.project()
    colleague = project.member(30).access_token("api")

    with ExitStack() as stack:
        eventually(lambda: not list((two_workers.instance / "receiving").iterdir()))
        alone = asked(project, 201, stack)
        assert asked(project, 150, stack) is None
        answers = [*(asked(project, 60, stack, colleague) for _ in range(5)), asked(project, 1, stack)]
        assert asked(project, 50, stack, colleague) is None

    assert alone is not None
    assert alone.status == 507
    assert [(answer.status, answer.headers["Retry-After"]) for answer in answers if answer] == [(503, "5")] * 6


def test_half_heads_from_many_addresses_do_not_keep_others_out(start_server: StartServer) -> None:
    server = start_server(WORKERS="2", MAX_CONNECTIONS="60", MAX_CONNECTIONS_PER_ADDRESS="20")
    health = head("GET", "/-/health", Connection="close")

    with ExitStack() as stack:
        for number in range(400):
            connection = stack.enter_context(connect(server, source=f"127.0.0.{2 + number // 40}"))
            connection.sendall(health[:-9])
            if number % 40 == 39:
                answer = exchange(server, health)
                assert answer is not None
                assert answer.status == 200

    assert "There are 60 connections (REGISTRY_MAX_CONNECTIONS)" in server.log


def test_a_stop_lets_downloads_and_uploads_finish(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    project, wheel = server.project(), large_wheel(tmp_path, "drained", 40 * MIB)
    upload_large(project, wheel, server.root_token)
    file = build_wheel("lastminute", size_bytes=2 * MIB)
    body = upload_body(file)

    with download(project, wheel) as response, connect(server) as uploading:
        digest = hashlib.sha256(response.read(MIB))
        uploading.sendall(upload_head(project, server.root_token, len(body)) + body[:MIB])
        server.signal(signal.SIGTERM)
        _wait_until_refused(server)
        uploading.sendall(body[MIB:])
        uploaded = answer_on(uploading, "POST")
        while chunk := response.read(MIB):
            digest.update(chunk)

    assert digest.hexdigest() == wheel.sha256
    assert uploaded is not None
    assert uploaded.status == 201
    assert server.wait() == 0


def _wait_until_refused(server: RunningServer) -> None:
    for _ in range(600):
        try:
            with connect(server) as connection:
                connection.settimeout(0.1)
                connection.recv(1)
        except TimeoutError:
            continue
        except ConnectionError:
            return
    raise AssertionError("new connections are still accepted")


def test_a_stop_without_work_is_quick_and_clean(start_server: StartServer) -> None:
    server = start_server()

    with connect(server):  # an idle connection does not delay it
        status = server.stop()

    assert status == 0
    assert "Traceback" not in server.log


class Unread(RunningServer):
    """Nothing reads its standard error, a pipe."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._reader, self._end = os.pipe()

    def _started(self, log: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "app.py"], cwd=CHECKOUT, env=self.environment(), stdout=log, stderr=self._end
        )

    def fill(self) -> None:
        os.set_blocking(self._end, False)
        with suppress(BlockingIOError):
            while os.write(self._end, bytes(512)):
                pass
        os.set_blocking(self._end, True)

    def close(self) -> None:
        self.kill()
        for end in (self._reader, self._end):
            os.close(end)


def test_a_stop_does_not_wait_for_a_reader_of_the_log(tmp_path: Path) -> None:
    with closing(Unread(tmp_path)) as server:
        server.start()
        server.fill()
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(connect(server)).sendall(head("GET", "/explore"))

            assert server.stop() == 0


@needs_proc
def test_a_crafted_file_keeps_the_server_busy_for_a_fraction_of_its_examination(server: RunningServer) -> None:
    project = server.project()
    marker = "(" * 20 + 'os_name == "posix"' + ")" * 20
    crafted = build_wheel("crafted", requires_dist=[f"x{number}; {marker}" for number in range(8000)])
    project.publish(build_wheel("warm"))
    before = server.processor_seconds()

    published = project.upload(crafted)

    assert published.status_code == 201, published.text
    assert server.processor_seconds() - before < 0.5  # its examination takes over a second


@pytest.mark.parametrize("header", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"])
def test_metrics_are_kept_from_clients_of_a_proxy_that_is_not_configured(server: RunningServer, header: str) -> None:
    direct = requests.get(f"{server.url}/-/metrics", timeout=60)
    forwarded = requests.get(f"{server.url}/-/metrics", headers={header: "127.0.0.1"}, timeout=60)

    assert (direct.status_code, forwarded.status_code) == (200, 404)
