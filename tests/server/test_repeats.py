"""Requests that the loop answers itself: the same answers as a thread's, and never a stale one."""

from __future__ import annotations

import gc
import logging
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.middleware.proxy_fix import ProxyFix

from registry.blueprints.pypi import prepared
from registry.blueprints.pypi.prepared import PreparedAnswers
from registry.database import db, transaction, utcnow
from registry.logs import JSONFormatter
from registry.server import repeats
from registry.server.limits import Limits
from tests.server.pages import FILE_ID, PAGE, Client, Pages, by_loop, has_connection
from tests.server.serving import MIB, Serving, eventually, taken


@pytest.fixture
def serving(serving_pages: Serving) -> Serving:
    return serving_pages


def change_something() -> None:
    with transaction():
        pass


def constant(head: bytes) -> bytes:
    """A response head without the parts that differ in every response."""
    return re.sub(rb"(?<=\r\nDate: )[^\r]+|(?<=\r\nX-Request-Id: )[0-9a-f]{32}", b"...", head)


@pytest.mark.parametrize("size_bytes", [1, 5000, MIB])
def test_identical_requests_are_answered_without_a_thread(serving: Serving, pages: Pages, size_bytes: int) -> None:
    with Client(serving, f"/page/{size_bytes}") as client:
        head, body = client.known()
        again = by_loop(serving, lambda: [client.get() for _ in range(20)])

    assert len(body) == max(size_bytes, len("page 1"))
    assert {constant(answer[0]) for answer in again} == {constant(head)}
    assert {answer[1] for answer in again} == {body}
    assert pages.made == 1


def test_each_answer_has_an_id_and_a_date_of_its_own(serving: Serving) -> None:
    with Client(serving) as client:
        client.known()
        first = [client.get()[0] for _ in range(600)]
        time.sleep(1.1)
        later = client.get()[0]

    ids = [re.findall(rb"X-Request-Id: ([0-9a-f]{32})\r\n", head) for head in first]
    assert len({found[0] for found in ids}) == 600
    dates = [re.findall(rb"\r\nDate: ([^\r]+ GMT)\r\n", head)[0] for head in (first[-1], later)]
    assert dates[0] != dates[1]


def test_another_connection_is_answered_without_a_thread_too(serving: Serving) -> None:
    with Client(serving) as client, Client(serving) as other:
        _, body = client.known()

        assert by_loop(serving, other.get)[1] == body


@pytest.mark.parametrize("headers", [{"User_Agent": "other"}, {"Accept": "text/html"}, {"Authorization": "Basic x"}])
def test_other_requests_are_not_answered_without_a_thread(serving: Serving, headers: dict[str, str]) -> None:
    with Client(serving) as client, Client(serving, **headers) as other:
        client.known()
        tasks = serving.tasks

        other.get()

        assert serving.tasks == tasks + 1


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("HEAD", {}, b"200"), ("GET", {"If_None_Match": '"1"'}, b"304"), ("HEAD", {"If_None_Match": '"1"'}, b"304")],
)
def test_head_and_not_modified_have_no_body(
    serving: Serving, method: str, headers: dict[str, str], status: bytes
) -> None:
    with Client(serving) as page, Client(serving, method=method, **headers) as client:
        page.known()
        head, _ = client.known()
        again = by_loop(serving, lambda: [client.get()[0] for _ in range(3)])

        assert {constant(answer) for answer in again} == {constant(head)}
        assert head.split()[1] == status
        assert by_loop(serving, page.get)[1].startswith(b"page 1"), "nothing is left on a connection"


@pytest.mark.parametrize(
    ("version", "headers", "closes"),
    [
        ("1.1", {"Connection": "close"}, True),
        ("1.0", {}, True),
        ("1.0", {"Connection": "keep-alive"}, False),
        ("1.1", {"Connection": "keep-alive"}, False),
    ],
)
def test_the_connection_is_closed_or_kept_as_after_the_answer_of_a_thread(
    serving: Serving, version: str, headers: dict[str, str], closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.server.waits.linger, "seconds", 60)
    for number in range(3):
        with Client(serving, version=version, **headers) as client:
            tasks = serving.tasks
            head, body = client.known()
            assert (serving.tasks == tasks) == (number > 0)
            assert (b"Connection: close" in head) == closes
            assert body.startswith(b"page 1")
            if closes:
                assert client.connection.recv(1) == b""
            else:
                assert client.get()[1] == body
        eventually(lambda: not serving.server.active_channels)


def test_a_request_id_of_the_client_is_returned(serving: Serving) -> None:
    with Client(serving, X_Request_Id="abc-1") as client:
        heads = [client.known()[0] for _ in range(3)]

    assert all(b"X-Request-Id: abc-1\r\n" in head for head in heads)


def test_a_head_that_is_very_long_is_left_to_threads(serving: Serving) -> None:
    with Client(serving, X_Long="x" * repeats.LONGEST_HEAD) as client:
        client.known()
        tasks = serving.tasks

        client.get()

        assert serving.tasks == tasks + 1


# Staleness


def test_a_request_after_a_change_never_gets_the_old_answer(serving: Serving) -> None:
    with Client(serving) as client:
        for number in range(1, 20):
            assert client.known()[1].startswith(b"page %d." % number)
            assert client.get()[1].startswith(b"page %d." % number)
            change_something()


_RAISE = """
import sys
from sqlalchemy import create_engine, text
with create_engine(sys.argv[1]).begin() as connection:
    connection.execute(text("UPDATE content_generation SET number = number + 1"))
"""


@pytest.mark.databases
def test_a_request_after_a_change_by_another_process_never_gets_the_old_answer(serving: Serving) -> None:
    url = db.engine.url.render_as_string(hide_password=False)

    with Client(serving) as client:
        assert client.known()[1].startswith(b"page 1.")
        subprocess.run([sys.executable, "-c", _RAISE, url], check=True, timeout=60)

        assert client.get()[1].startswith(b"page 2.")


def test_an_uncommitted_change_neither_changes_nor_delays_answers(serving: Serving) -> None:
    """The loop sees only committed changes, and does not wait for the others."""
    with Client(serving) as client:
        client.known()
        with transaction():
            db.session.execute(text("UPDATE instance_settings SET id = id"))
            assert by_loop(serving, client.get)[1].startswith(b"page 1.")

        assert client.get()[1].startswith(b"page 2.")


def test_many_clients_see_each_change_of_a_concurrent_writer_at_once(serving: Serving, pages: Pages) -> None:
    """A page that was made before a change is never received by a request that was sent after it."""
    with Client(serving) as first, Client(serving) as second, Client(serving) as third:
        clients = [first, second, third]
        for _ in range(100):
            for client in clients:
                client.connection.sendall(client.head)
            for client in clients:
                client.answer()
            change_something()
            made = pages.made
            for client in clients:
                client.connection.sendall(client.head)
            for client in clients:
                assert int(client.answer()[1].split(b".")[0].removeprefix(b"page ")) > made


def test_an_answer_expires_without_a_change(serving: Serving, pages: Pages) -> None:
    pages.valid_until = lambda: utcnow() + timedelta(seconds=0.5)

    with Client(serving) as client:
        client.known()
        time.sleep(0.6)

        assert client.get()[1].startswith(b"page 2.")


def test_an_answer_that_became_stale_while_it_was_made_is_not_repeated(serving: Serving, pages: Pages) -> None:
    engine = db.engine

    def raise_all() -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE content_generation SET number = number + 1"))

    pages.meanwhile = raise_all
    with Client(serving) as client:
        client.known()
        pages.meanwhile = lambda: None

        assert client.get()[1].startswith(b"page 2.")


# Connections


def test_a_client_that_reads_slowly_gets_all_of_it_from_the_loop(serving: Serving) -> None:
    with Client(serving, f"/page/{8 * MIB}") as client, Client(serving) as other:
        other.known()
        _, body = client.known()

        def slowly() -> tuple[bytes, bytes]:
            client.connection.sendall(client.head)
            time.sleep(0.2)
            for _ in range(5):
                assert other.get()[1].startswith(b"page 1.")
            return client.answer()

        assert by_loop(serving, slowly)[1] == body


def test_a_client_that_does_not_read_takes_no_turns(served: Flask, tmp_path: Path) -> None:
    with (
        closing(Serving(tmp_path, timeout_seconds=60, app=served)) as serving,
        Client(serving, f"/page/{8 * MIB}") as client,
    ):
        client.get()
        before = serving.turns_at_rest()
        client.connection.sendall(client.head)

        assert serving.turns_at_rest() - before < 100, "one for each piece that the operating system takes"
        assert taken(client.connection) > 8 * MIB


def test_a_client_that_disconnects_is_forgotten(serving: Serving) -> None:
    with Client(serving, f"/page/{8 * MIB}") as client:
        client.known()
        client.connection.sendall(client.head)
        time.sleep(0.1)

    eventually(lambda: not serving.server.active_channels)


def test_requests_sent_together_are_answered_in_order(serving: Serving) -> None:
    with Client(serving) as page, Client(serving, "/page/7") as other:
        page.known()
        other.known()
        for heads in ((page.head, other.head), (other.head, page.head), (other.head, other.head, page.head)) * 3:
            page.connection.sendall(b"".join(heads))
            sizes = [len(page.answer()[1]) for _ in heads]

            assert sizes == [5000 if head is page.head else 7 for head in heads]


def test_a_request_after_a_slow_one_waits_for_the_answer_of_that(serving: Serving, pages: Pages) -> None:
    pages.meanwhile = lambda: time.sleep(0.3)
    with Client(serving, "/page/7") as client:
        client.known()
        client.connection.sendall(b"GET /page/8 HTTP/1.1\r\nHost: registry.test\r\n\r\n")
        time.sleep(0.1)
        client.connection.sendall(client.head)

        assert [len(client.answer()[1]) for _ in range(2)] == [8, 7]


@pytest.mark.parametrize("cut", [1, 4, 20, -4, -2, -1])
def test_a_head_that_arrives_in_two_parts_is_parsed(serving: Serving, cut: int) -> None:
    with Client(serving) as client:
        _, body = client.known()
        for _ in range(2):
            client.connection.sendall(client.head[:cut])
            time.sleep(0.05)
            client.connection.sendall(client.head[cut:])

            assert client.answer()[1] == body
            assert by_loop(serving, client.get)[1] == body


@pytest.mark.parametrize("behind", [b"GET /page/7 HTTP/1.1\r\n", b"\r\n", b"x"])
def test_bytes_after_a_known_head_are_parsed(serving: Serving, behind: bytes) -> None:
    with Client(serving) as client:
        client.known()
        tasks = serving.tasks
        client.connection.sendall(client.head + behind)

        assert client.answer()[1].startswith(b"page 1.")
        assert serving.tasks == tasks + 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /page/5000 HTTP/1.1\r\nHost: registry.test\r\nContent-Length: x\r\n\r\n",
        b"GET /page/5000 HTTP/1.1\r\nHost: registry.test\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /page/5000 HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /page/5000 HTTP/1.1\r\nHost: registry.test\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    ],
    ids=["length", "encoding", "header", "size"],
)
def test_a_request_that_the_parser_refuses_is_refused_each_time(serving: Serving, head: bytes) -> None:
    for _ in range(3):
        with Client(serving) as client:
            answer, _ = client.get(head)

            assert answer.split()[1] in (b"400", b"501", b"431")


@pytest.mark.parametrize("name", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_a_request_with_a_body_is_left_to_threads(serving: Serving, name: str) -> None:
    body = b"3\r\nabc\r\n0\r\n\r\n" if "chunked" in name else b"abc"
    head = f"GET {PAGE} HTTP/1.1\r\nHost: registry.test\r\n{name}\r\n\r\n".encode()
    with Client(serving) as client:
        for _ in range(3):
            tasks = serving.tasks
            client.connection.sendall(head)
            time.sleep(0.02)
            client.connection.sendall(body)

            assert client.answer()[1].startswith(b"page 1.")
            assert serving.tasks == tasks + 1


def test_idle_connections_are_closed_after_answers_of_the_loop(serving: Serving) -> None:
    serving.server.waits.idle.seconds = 0.2

    with Client(serving) as client:
        client.known()
        client.get()

        assert client.connection.recv(1) == b""


def test_the_connection_that_the_loop_answered_last_is_the_last_to_make_room(served: Flask, tmp_path: Path) -> None:
    with closing(Serving(tmp_path, app=served, limits=Limits(connections=2))) as serving:
        has_connection(serving)
        with Client(serving) as first, Client(serving) as second:
            first.known()
            second.known()
            by_loop(serving, first.get)

            with Client(serving) as third:
                assert third.get()[1].startswith(b"page 1.")
                assert second.connection.recv(1) == b"", "it had waited longer"
            assert first.get()[1].startswith(b"page 1.")


@pytest.mark.sqlite
def test_a_request_that_has_arrived_is_answered_before_its_connection_makes_room(
    served: Flask, pages: Pages, tmp_path: Path
) -> None:
    is_counted, may_go_on = Event(), Event()

    def wait(_: int) -> None:
        is_counted.set()
        assert may_go_on.wait(10)

    with closing(Serving(tmp_path, app=served, limits=Limits(connections=1))) as serving:
        has_connection(serving)
        with Client(serving) as client:
            client.known()
            by_loop(serving, client.get)
            pages.on_download = wait
            client.get()
            assert is_counted.wait(10), "the loop is not waiting for events"
            client.connection.sendall(client.head)
            with Client(serving) as other:
                may_go_on.set()

                assert client.answer()[1].startswith(b"page 1.")
                assert client.connection.recv(1) == b""
                assert other.get()[1].startswith(b"page 1.")


def test_a_failure_of_a_look_for_a_head_closes_its_connection_and_no_other(
    serving: Serving, answers: PreparedAnswers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find, is_found = answers.find, iter([False])

    def fail_once(digest: bytes) -> Any:
        assert next(is_found, True), "nothing works"
        return find(digest)

    with Client(serving) as client, Client(serving) as other:
        other.known()
        monkeypatch.setattr(answers, "find", fail_once)
        client.connection.sendall(client.head)

        assert client.connection.recv(1) == b""
        assert by_loop(serving, other.get)[1].startswith(b"page 1.")
    assert "nothing works" in caplog.text


def test_a_failure_closes_its_connection_and_no_other(
    serving: Serving, pages: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: int) -> None:
        pages.on_download = pages.downloads.append
        raise RuntimeError("nothing works")

    with Client(serving) as client, Client(serving) as other:
        client.known()
        by_loop(serving, client.get)
        serving.turns_at_rest()  # the loop counts behind its answers
        pages.on_download = fail
        client.get()

        assert client.connection.recv(1) == b"", "it was answered before the failure"
        assert by_loop(serving, other.get)[1].startswith(b"page 1.")
    assert "nothing works" in caplog.text


# Log and metrics


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    caplog.set_level(logging.INFO, "registry.requests")
    return lambda: [record for record in caplog.records if record.name == "registry.requests"]


@pytest.mark.parametrize("headers", [{}, {"User_Agent": "pip/26"}])
def test_a_line_is_logged_as_for_the_answer_of_a_thread(
    serving: Serving, lines: Callable[[], list[logging.LogRecord]], headers: dict[str, str]
) -> None:
    with Client(serving, PAGE + "?private_token=glpat-x", **headers) as client:
        client.known()
        head, _ = by_loop(serving, client.get)

    eventually(lambda: len(lines()) == 2)  # the loop logs behind its answers
    first, again = lines()
    for name in ("method", "path", "status", "size_bytes", "address", "principal", "user_agent", "levelname", "name"):
        assert getattr(again, name) == getattr(first, name), name
    assert again.request_id.encode() in head
    assert re.sub("[0-9.]+ ms", "", again.getMessage()) == re.sub("[0-9.]+ ms", "", first.getMessage())
    assert 0 <= again.duration_ms < 1000
    assert first.created <= again.created <= time.time()


def test_an_answer_of_the_loop_is_counted_like_any_other(serving: Serving, served: Flask, pages: Pages) -> None:
    metrics = served.extensions["metrics"]

    def counts() -> dict[str, float]:
        lines = metrics.exposition(()).decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
            if "_count" in name or "le=" in name or name.startswith("registry_download")
        }

    with Client(serving) as client, Client(serving, method="HEAD") as head:
        client.known()
        before = counts()
        by_loop(serving, lambda: [client.get() for _ in range(3)])
        head.known()
        by_loop(serving, head.get)
        eventually(lambda: len(pages.downloads) == 4)  # the loop counts behind its answers
        after = counts()

    assert pages.downloads == [FILE_ID] * 4
    changed = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert changed['registry_http_request_duration_seconds_count{method="GET",route="/page",status="200"}'] == 3
    assert changed['registry_http_request_duration_seconds_count{method="HEAD",route="/page",status="200"}'] == 2
    assert changed["registry_downloads_total"] == 3
    assert changed["registry_download_bytes_total"] == 15000


# Proxies


def test_behind_a_proxy_the_forwarded_address_is_logged(
    app: Flask, pages: Pages, tmp_path: Path, lines: Callable[[], list[logging.LogRecord]]
) -> None:
    behind = pages.app(app, trusted_proxies=1)
    log: Any = behind.wsgi_app
    log._application = ProxyFix(log._application)
    with closing(Serving(tmp_path, app=behind)) as serving:
        has_connection(serving)
        with Client(serving, X_Forwarded_For="10.1.2.3") as client, Client(serving) as direct:
            client.known()
            direct.known()
            by_loop(serving, client.get)
            by_loop(serving, direct.get)

    eventually(lambda: len(lines()) == 4)
    assert [line.address for line in lines()] == ["10.1.2.3", "127.0.0.1"] * 2


# Memory


def test_remembered_heads_count_towards_the_size_of_the_cache(
    serving: Serving, answers: PreparedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "LIMIT_BYTES", 100_000)

    for number in range(200):
        with Client(serving, User_Agent=f"client {number}") as client:
            client.get()
    kept = sum(answer.size_bytes for answer in answers._kept.values())
    heads = sum(head.size_bytes for head in answers._heads.values())

    assert kept + heads == answers._size_bytes <= 100_000
    assert 10 < len(answers._heads) < 100


def test_what_is_counted_is_what_answers_and_heads_occupy(
    serving: Serving, answers: PreparedAnswers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handler, requests = logging.FileHandler(tmp_path / "log"), logging.getLogger("registry.requests")
    handler.setFormatter(JSONFormatter())
    monkeypatch.setattr(requests, "propagate", False)  # pytest keeps what it captures
    monkeypatch.setattr(requests, "handlers", [handler])
    monkeypatch.setattr(requests, "level", logging.INFO)

    def ask(numbers: range) -> None:
        for number in numbers:
            with Client(serving, f"/page/{5000 + number}", User_Agent=f"client {number}") as client:
                client.known()
                client.get()

    with closing(handler):
        ask(range(10))
        tracemalloc.start()
        gc.collect()
        counted, traced = answers._size_bytes, tracemalloc.get_traced_memory()[0]
        ask(range(10, 60))
        gc.collect()
        counted, traced = answers._size_bytes - counted, tracemalloc.get_traced_memory()[0] - traced
        tracemalloc.stop()

    assert 0.75 < traced / counted < 1.25, f"{traced} bytes are occupied, and {counted} are counted"


def test_a_head_is_forgotten_with_its_answer(serving: Serving, answers: PreparedAnswers) -> None:
    with Client(serving) as client:
        for _ in range(5):
            client.known()
            change_something()

        assert len(answers._kept) == len(answers._heads) == 1


def test_neither_heads_nor_credentials_are_kept(serving: Serving, answers: PreparedAnswers) -> None:
    with Client(serving, Authorization="Basic c2VjcmV0") as client:
        client.known()
        client.get()
    eventually(lambda: not serving.server.active_channels)
    gc.collect()
    (head,) = answers._heads.values()

    assert not [value for value in head._parts if b"c2VjcmV0" in value]
    kept = [each for each in gc.get_objects() if isinstance(each, tuple | list | dict)]
    found = [
        each
        for each in kept
        for part in (each.values() if isinstance(each, dict) else each)
        if isinstance(part, bytes) and part == client.head and part is not client.head
    ]
    assert not found


# Stopping


def test_a_server_that_stops_closes_the_connection_with_the_next_answer(serving: Serving) -> None:
    with Client(serving) as client:
        client.known()
        by_loop(serving, client.get)
        serving.server.is_stopping = True

        head, body = client.get()

        assert b"Connection: close" in head
        assert body.startswith(b"page 1.")
        assert client.connection.recv(1) == b""
