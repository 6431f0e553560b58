"""Requests that wait for a look at a PostgreSQL server that is silent, disconnects, or answers late."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, text

from registry.database import db
from registry.server import repeats
from registry.server.limits import Limits
from registry.server.loop import Loop
from tests.server.pages import Client, Pages, by_loop, has_connection
from tests.server.serving import Serving, eventually

pytestmark = pytest.mark.postgresql


@pytest.fixture
def serving(serving_pages: Serving) -> Serving:
    return serving_pages


@contextmanager
def silence() -> Iterator[Connection]:
    """Let no look be answered meanwhile; changes over the connection are committed at the end."""
    with db.engine.begin() as connection:
        connection.execute(text("LOCK TABLE content_generation IN ACCESS EXCLUSIVE MODE"))
        yield connection


def look_of(serving: Serving) -> Any:
    assert serving.server.repeats is not None
    return serving.server.repeats._look


def terminate(serving: Serving) -> None:
    """Terminate the connection over which the loop looks."""
    pid = look_of(serving)._connection.info.backend_pid
    with db.engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


def answers_again(serving: Serving, client: Client) -> bool:
    """Whether the loop itself answers again."""
    tasks = serving.tasks
    client.known()
    client.get()
    return serving.tasks <= tasks


def test_the_loop_answers_others_meanwhile(serving: Serving) -> None:
    with Client(serving) as client, Client(serving, "/elsewhere") as other:
        _, body = client.known()
        tasks = serving.tasks
        with silence():
            client.connection.sendall(client.head)
            time.sleep(0.1)
            assert other.get()[1] == b"elsewhere"
            assert serving.tasks == tasks + 1

        assert client.answer()[1] == body
        assert serving.tasks == tasks + 1, "the look was answered in time"


def test_a_look_that_takes_too_long_leaves_its_requests_to_threads(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "LOOK_SECONDS", 0.2)
    with Client(serving) as client, Client(serving) as other:
        _, body = client.known()
        tasks = serving.tasks
        with silence():
            for each in (client, other):
                each.connection.sendall(each.head)
                time.sleep(0.05)  # the second one waits for the next look
            eventually(lambda: serving.tasks == tasks + 2)

        assert client.answer()[1] == other.answer()[1] == body
        eventually(lambda: answers_again(serving, client))


def test_a_look_whose_connection_is_lost_leaves_its_requests_to_threads(serving: Serving) -> None:
    with Client(serving) as client:
        _, body = client.known()
        client.get()
        tasks = serving.tasks
        with silence():
            client.connection.sendall(client.head)
            time.sleep(0.1)
            terminate(serving)
            eventually(lambda: serving.tasks == tasks + 1)

        assert client.answer()[1] == body
        eventually(lambda: answers_again(serving, client))


def test_a_connection_that_is_lost_between_looks_is_replaced(serving: Serving) -> None:
    with Client(serving) as client:
        _, body = client.known()
        client.get()
        for _ in range(2):
            terminate(serving)
            assert client.get()[1] == body
            eventually(lambda: answers_again(serving, client))
        time.sleep(1.1)  # connections are opened once a second at most
        terminate(serving)
        eventually(lambda: look_of(serving)._opened is not None)


def test_a_lost_idle_connection_does_not_keep_the_loop_busy(serving: Serving) -> None:
    with Client(serving) as client:
        client.known()
        client.get()
        terminate(serving)
        time.sleep(0.2)
        turns = serving.turns
        time.sleep(0.5)

        assert serving.turns - turns < 10


def test_requests_that_arrive_during_a_look_wait_for_the_next_one(serving: Serving, pages: Pages) -> None:
    with Client(serving) as early, Client(serving) as late:
        early.known()
        with silence() as connection:
            early.connection.sendall(early.head)
            time.sleep(0.05)
            connection.execute(text("UPDATE content_generation SET number = number + 1"))
        late.connection.sendall(late.head)

        assert late.answer()[1].startswith(b"page 2.")
        assert early.answer()[1].startswith((b"page 1.", b"page 2."))


def test_requests_that_wait_for_a_look_keep_their_connections(served: Flask, tmp_path: Path) -> None:
    with closing(Serving(tmp_path, app=served, limits=Limits(connections=2))) as serving:
        has_connection(serving)
        with Client(serving) as early, Client(serving) as late, ExitStack() as stack:
            _, body = early.known()
            late.known()
            with silence():
                for client in (early, late):
                    client.connection.sendall(client.head)
                    time.sleep(0.05)
                assert not any(channel.wait for channel in serving.channels())
                other = stack.enter_context(Client(serving))
                time.sleep(0.05)

            assert early.answer()[1] == late.answer()[1] == body
            assert other.get()[1] == body


def test_a_client_that_sends_more_meanwhile_is_answered_in_order(serving: Serving) -> None:
    with Client(serving) as client, Client(serving, "/page/7") as other:
        client.known()
        other.known()
        with silence():
            for head in (client.head, other.head, client.head):
                client.connection.sendall(head)
                time.sleep(0.05)

        assert [len(client.answer()[1]) for _ in range(3)] == [5000, 7, 5000]
        assert by_loop(serving, client.get)[1].startswith(b"page 1.")


def test_a_client_that_leaves_meanwhile_is_forgotten(serving: Serving) -> None:
    with Client(serving) as client:
        client.known()
        with silence():
            client.connection.sendall(client.head)
            time.sleep(0.05)
            client.close()
            time.sleep(0.05)
            assert serving.channels(), "it is closed when nothing uses it any more"

    eventually(lambda: not serving.channels())


def test_a_server_that_stops_meanwhile_waits_for_the_answer(serving: Serving) -> None:
    with Client(serving) as client:
        client.known()
        with silence():
            client.connection.sendall(client.head)
            time.sleep(0.05)
            serving.server.is_stopping = True
            loop = Loop(serving.server)
            loop._stop()
            assert loop._is_needed()

        head, body = client.answer()
        assert b"Connection: close" in head
        assert body.startswith(b"page 1.")
