"""How often the loop turns: once for each event, however long that takes, and never without one.

Bounds are numbers of turns, not times: a loop that tries again and again turns thousands of times.
"""

from __future__ import annotations

import resource
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from registry.server import channel
from tests.server.serving import MIB, REST_SECONDS, Serving, StuckDisk, answer, ask, eventually, taken


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A server with one thread for answers, whose loop turns only when something happens."""
    with closing(Serving(tmp_path, timeout_seconds=60)) as serving:
        yield serving


def test_requests_over_one_connection_take_a_turn_each(serving: Serving) -> None:
    with serving.connected() as connection:
        for _ in range(50):
            ask(connection, "/whole/5000")
            assert answer(connection) == bytes(5000)

        assert serving.turns_at_rest() <= 1 + 50


def test_an_idle_connection_takes_turns_only_for_its_requests(serving: Serving) -> None:
    with serving.asked_for("/whole/3") as connection:
        answer(connection)

        assert serving.turns_at_rest() <= 1 + 1


def test_a_slow_answer_takes_no_turns_until_it_is_complete(serving: Serving) -> None:
    with serving.asked_for("/slow/0.3") as connection:
        assert answer(connection) == b"done"

        assert serving.turns_at_rest() <= 1 + 1


def test_it_takes_as_few_turns_on_a_system_without_epoll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll", raising=False)
    with closing(Serving(tmp_path, timeout_seconds=60)) as serving, serving.connected() as connection:
        for _ in range(10):
            ask(connection, "/whole/3")
            assert answer(connection) == bytes(3)
        assert serving.turns_at_rest() <= 1 + 10
        ask(connection, f"/whole/{32 * MIB}", Connection="close")
        assert len(answer(connection)) == 32 * MIB
        assert connection.recv(1) == b""
        connection.close()

        eventually(lambda: not serving.server.active_channels)
        assert serving.turns_at_rest() < 300


def test_eight_clients_at_once_take_a_turn_for_each_request_at_most(serving: Serving) -> None:
    def client() -> None:
        with serving.connected() as connection:
            for _ in range(50):
                ask(connection, "/whole/500000")
                answer(connection)

    clients = [Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()

    assert serving.turns_at_rest() <= 8 * (1 + 50 + 1) * 1.1, "accepted, asked, closed, and little beside it"


def test_a_large_answer_takes_a_turn_each_time_that_its_client_reads(serving: Serving) -> None:
    with serving.asked_for(f"/whole/{32 * MIB}") as connection:
        assert len(answer(connection)) == 32 * MIB

        assert serving.turns_at_rest() < 300


def test_a_large_answer_leaves_others_their_turns(serving: Serving) -> None:
    """A connection can send only so much in a turn, however fast its client reads."""
    with serving.file.open("wb") as file:
        file.truncate(64 * MIB)

    with serving.asked_for("/file") as connection:
        before = serving.turns_at_rest()  # the thread has left the rest to the loop
        assert len(answer(connection)) == 64 * MIB

        assert serving.turns - before > 64 * MIB // channel.SHARE_BYTES // 2


def test_a_client_that_does_not_read_takes_no_turns(serving: Serving) -> None:
    with serving.asked_for(f"/whole/{32 * MIB}") as connection:
        assert serving.turns_at_rest() <= 4, "connected, asked, handed over; and some room was left"
        assert len(answer(connection)) == 32 * MIB


def test_a_thread_that_is_delayed_while_it_writes_takes_no_turns(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client can read, the buffers hold more for it, and the thread has them locked."""
    with StuckDisk(monkeypatch, at_piece=40) as disk, serving.asked_for("/pieces/64", Connection="close") as connection:
        assert disk.is_reached.wait(10)
        before = serving.turns_at_rest()
        received = taken(connection)
        turns = serving.turns_at_rest() - before
        disk.go_on()
        while piece := connection.recv(MIB):
            received += len(piece)

    assert turns <= 2
    assert received > 64 * MIB


def test_a_lingering_connection_takes_a_turn_for_each_piece_it_receives(serving: Serving) -> None:
    with serving.asked_for("/whole/3", Connection="close") as connection:
        answer(connection)
        assert connection.recv(1) == b"", "the server has closed its half"
        for _ in range(3):
            connection.sendall(b"more")
            time.sleep(REST_SECONDS)

        lingering = serving.turns_at_rest()
    eventually(lambda: not serving.server.active_channels)

    assert lingering <= 3 + 3, "connected, asked, closed; and three pieces that are dropped"
    assert serving.turns_at_rest() <= lingering + 1


def test_a_client_that_sends_more_before_its_answer_takes_few_turns(serving: Serving) -> None:
    with serving.asked_for("/slow/0.3") as connection:
        time.sleep(0.1)
        ask(connection, "/whole/3")

        assert answer(connection) == b"done"
        assert answer(connection) == bytes(3)
        assert serving.turns_at_rest() <= 5, "connected, asked, more than can be used, answered, asked again"


def test_a_client_that_disconnects_before_its_answer_takes_few_turns(serving: Serving) -> None:
    with serving.asked_for("/slow/0.3") as connection:
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a close
    eventually(lambda: not serving.server.active_channels)

    assert serving.turns_at_rest() <= 5


def test_a_file_that_is_truncated_while_it_is_sent_ends_the_connection(serving: Serving) -> None:
    with serving.file.open("wb") as file:
        file.truncate(64 * MIB)

    with serving.asked_for("/file") as connection:
        serving.turns_at_rest()
        serving.file.write_bytes(b"")
        received = 0
        while piece := connection.recv(MIB):
            received += len(piece)
    eventually(lambda: not serving.server.active_channels)

    assert received < 64 * MIB
    assert serving.turns_at_rest() < 100


def test_a_process_without_free_file_descriptors_does_not_retry_in_a_busy_loop(tmp_path: Path) -> None:
    with closing(Serving(tmp_path)) as serving, socket.socket() as connection:
        connection.settimeout(10)
        with no_more_files():
            connection.connect((serving.server.effective_host, int(serving.server.effective_port)))
            time.sleep(0.5)
            turns = serving.turns
        ask(connection, "/whole/3")

        assert answer(connection) == bytes(3), "accepted when there is room again"
        assert turns <= 3


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let the process open no further files or connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as next_one:
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one.fileno(), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
