"""Connections that wait for their clients: how long, and which are closed when there are too many.

Clients that take their time get a small part of a second here. A wait takes no turns of the loop but that of its end.
"""

from __future__ import annotations

import resource
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from registry.server import waits
from registry.server.limits import Limits, Places, affordable, configured
from registry.server.parser import PLACES, UNASKED_BYTES
from registry.server.waits import PROGRESS_BYTES, Addresses
from tests.processes import run
from tests.server.serving import UPLOAD, Serving, answer, eventually

HALF_HEAD = b"GET /whole/3 HTTP/1.1\r\nHost: registry.test\r\n"
BODY = f"POST {UPLOAD} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: %d\r\n\r\n"
Serve = Callable[..., Serving]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers with these limits, whose loops turn only when something happens."""
    with ExitStack() as stack:
        yield lambda connections=1000, **limits: stack.enter_context(
            closing(Serving(tmp_path, threads=2, timeout_seconds=60, limits=Limits(connections, **limits)))
        )


def sent(serving: Serving, data: bytes, address: str = "127.0.0.1") -> socket.socket:
    """A connection from this address over which these bytes were sent, and that the server has accepted."""
    server = (serving.server.effective_host, int(serving.server.effective_port))
    connection = socket.create_connection(server, timeout=10, source_address=(address, 0))
    connection.sendall(data)
    eventually(lambda: connection.getsockname() in [channel.addr for channel in serving.channels()])
    return connection


def turned(serving: Serving) -> bool:
    """Have the loop turn, as it does once a second in operation, when it notices connections that threads returned."""
    serving.server.wake()
    return True


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed the connection by now, without an answer."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        connection.settimeout(10)


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n"], ids=["nothing", "a line", "two lines"])
def test_a_client_that_begins_no_request_is_disconnected(serve: Serve, data: bytes) -> None:
    with sent(serve(head_seconds=0.2), data) as connection:
        assert connection.makefile("rb").read().partition(b"\r\n")[0] in (b"", b"HTTP/1.1 408 Request Timeout")


@pytest.mark.parametrize(
    ("data", "more"),
    [(HALF_HEAD, b"a"), ((BODY % 1000).encode(), b"a"), ((BODY % (10 * PROGRESS_BYTES)).encode() + bytes(9), b"")],
    ids=["head", "small body", "large body"],
)
def test_a_request_that_does_not_end_is_refused_although_bytes_of_it_arrive(
    serve: Serve, data: bytes, more: bytes
) -> None:
    serving, is_answered = serve(head_seconds=0.3, body_seconds=0.3), Event()

    def drip() -> None:
        while more and not is_answered.wait(0.02):
            connection.sendall(more)

    with sent(serving, data) as connection:
        dripping = Thread(target=drip)
        dripping.start()
        received = connection.recv(1000)
        is_answered.set()
        dripping.join()

        assert received.startswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n")
        assert connection.recv(1) == b""


def test_a_body_that_grows_has_its_time_anew(serve: Serve) -> None:
    """It takes longer than any of its parts can."""
    serving, pieces = serve(body_seconds=1), 8

    with sent(serving, (BODY % (pieces * PROGRESS_BYTES)).encode()) as connection:
        for _ in range(pieces):
            Event().wait(0.2)
            connection.sendall(bytes(PROGRESS_BYTES))

        assert answer(connection) == str(pieces * PROGRESS_BYTES).encode()


def test_an_idle_connection_is_closed_after_its_answers(serve: Serve) -> None:
    serving = serve(idle_seconds=0.2)

    with serving.asked_for("/whole/3") as connection:
        assert answer(connection) == bytes(3)
        eventually(lambda: turned(serving) and is_closed(connection))


def test_a_thread_has_all_the_time_it_needs(serve: Serve) -> None:
    serving = serve(head_seconds=0.1, idle_seconds=0.1)

    with serving.asked_for("/slow/0.5") as connection:
        assert answer(connection) == b"done"


def test_waits_take_no_turns_but_those_of_their_ends(serve: Serve) -> None:
    serving, count = serve(head_seconds=2, linger_seconds=0.1), 100

    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(sent(serving, HALF_HEAD))
        waiting = serving.turns
        eventually(lambda: not serving.server.active_channels)

        assert waiting <= 1 + 2 * count
        assert serving.turns_at_rest() - waiting <= 4 * count, "each ends, lingers, and is closed"


def test_for_a_new_connection_the_oldest_that_waits_for_a_head_is_closed_and_then_the_oldest_idle_one(
    serve: Serve,
) -> None:
    serving, closed = serve(connections=4), []

    with ExitStack() as stack:
        busy, idle = (stack.enter_context(serving.asked_for(path)) for path in ("/slow/1.0", "/whole/3"))
        answer(idle)
        first, second = (stack.enter_context(sent(serving, HALF_HEAD)) for _ in range(2))
        for _ in range(3):
            other = stack.enter_context(serving.asked_for("/whole/3"))
            assert answer(other) == bytes(3)
            closed.append([is_closed(connection) for connection in (first, second, idle)])

        assert closed == [[True, False, False], [True, True, False], [True, True, True]]
        assert answer(busy) == b"done"


def test_for_a_new_connection_the_oldest_whose_body_makes_no_progress_is_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "STALLED_SECONDS", 3600)
    serving = serve(connections=2)

    with ExitStack() as stack:
        first, second = (stack.enter_context(sent(serving, (BODY % 100).encode() + b"a")) for _ in range(2))
        eventually(lambda: len(serving.server.waits.body.since) == 2)
        assert serving.server.waits.oldest() is None

        monkeypatch.setattr(waits, "STALLED_SECONDS", 0)
        other = stack.enter_context(serving.asked_for("/whole/3"))
        turned(serving)

        assert answer(other) == bytes(3)
        assert [is_closed(connection) for connection in (first, second)] == [True, False]


def test_an_authorized_upload_that_stalls_is_not_closed_for_a_new_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "STALLED_SECONDS", 0)
    serving = serve(connections=2)

    with ExitStack() as stack:
        upload, stalled = (
            stack.enter_context(sent(serving, (BODY % size_bytes).encode() + b"a"))
            for size_bytes in (8 * PROGRESS_BYTES, 100)
        )
        eventually(lambda: len(serving.server.waits.body.since) == 2)
        other = stack.enter_context(serving.asked_for("/whole/3"))

        assert answer(other) == bytes(3)
        assert [is_closed(connection) for connection in (upload, stalled)] == [False, True]


def test_a_stalled_request_is_closed_before_a_new_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "STALLED_SECONDS", 0)
    monkeypatch.setattr(waits, "NEW_SECONDS", 3600)
    serving = serve(connections=2)

    with ExitStack() as stack:
        stalled = stack.enter_context(sent(serving, (BODY % 100).encode() + b"a"))
        new = stack.enter_context(sent(serving, HALF_HEAD))
        eventually(lambda: len(serving.server.waits.body.since) == len(serving.server.waits.head.since) == 1)
        other = stack.enter_context(serving.asked_for("/whole/3"))

        assert answer(other) == bytes(3)
        assert [is_closed(connection) for connection in (stalled, new)] == [True, False]


def test_new_connections_wait_without_turns_while_all_others_are_busy(serve: Serve) -> None:
    serving = serve(connections=2)

    with serving.asked_for("/slow/0.5") as first, serving.asked_for("/slow/0.5") as second:
        eventually(lambda: [channel.is_lent for channel in serving.channels()] == [True, True])
        before = serving.turns
        with serving.asked_for("/whole/3") as other:
            assert [answer(first), answer(second), answer(other)] == [b"done", b"done", bytes(3)]

        assert serving.turns - before <= 10


def test_a_connection_too_many_closes_another_of_its_address_and_of_no_other(serve: Serve) -> None:
    serving = serve(per_address=2)

    with ExitStack() as stack:
        stays, first, second, third = (
            stack.enter_context(sent(serving, HALF_HEAD, address))
            for address in ("127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1")
        )
        third.sendall(b"\r\n")

        assert answer(third) == bytes(3)
        assert [is_closed(connection) for connection in (stays, first, second)] == [False, True, False]


def test_a_connection_too_many_is_closed_while_all_others_of_its_address_are_busy(serve: Serve) -> None:
    serving = serve(per_address=1)

    with serving.asked_for("/slow/0.5") as busy:
        eventually(lambda: any(channel.is_lent for channel in serving.channels()))
        with serving.connected() as other:
            assert is_ended(other)
        assert answer(busy) == b"done"


def is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@dataclass(eq=False)
class Peer:
    addr: tuple[str, int]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%lo", "fe80::2", True),
    ],
)
def test_an_address_is_one_of_ipv4_or_a_network_of_ipv6(one: str, other: str, is_same: bool) -> None:
    addresses, peer = Addresses(), Peer((one, 1))
    addresses.add(peer)  # type: ignore[arg-type]

    assert addresses.of(other) == ({peer} if is_same else set())
    addresses.remove(peer)  # type: ignore[arg-type]
    assert not addresses.of(one)


PEERS = ("127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "8.8.8.8", "2606:4700::1")


@pytest.mark.parametrize(
    ("trusted", "addresses", "unlimited"),
    [
        (0, None, ()),
        (1, None, PEERS[:4]),
        (1, (ip_network("10.1.0.0/16"), ip_network("2606:4700::1")), (*PEERS[1:3], PEERS[5])),
    ],
    ids=["no proxy", "somewhere in the network", "known"],
)
def test_only_trusted_proxies_have_any_number_of_connections(
    trusted: int, addresses: Any, unlimited: tuple[str, ...]
) -> None:
    values = {"MAX_CONNECTIONS": 10, "MAX_CONNECTIONS_PER_ADDRESS": 5, "TRUSTED_PROXY_ADDRESSES": addresses}

    limits = configured(values | {"TRUSTED_PROXIES": trusted})

    assert (limits.connections, limits.per_address) == (10, 5)
    assert tuple(peer for peer in PEERS if peer in limits.proxies) == unlimited


def test_an_address_of_a_proxy_keeps_its_connections_and_another_one_does_not(serve: Serve) -> None:
    serving = serve(per_address=1, proxies={"127.0.0.1"})

    with ExitStack() as stack:
        connections = [
            stack.enter_context(sent(serving, HALF_HEAD, address)) for address in 2 * ["127.0.0.1"] + 2 * ["127.0.0.2"]
        ]
        connections[-1].sendall(b"\r\n")

        assert answer(connections[-1]) == bytes(3)
        assert [is_closed(connection) for connection in connections[:3]] == [False, False, True]


def print_affordable(soft: int, hard: int, connections: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = affordable(Limits(connections))
    sys.stdout.write(f"{allowed.connections} {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}")


@pytest.mark.parametrize(
    ("descriptors", "connections", "printed"),
    [((300, 2000), 100, "100 456"), ((500, 2000), 100, "100 500"), ((300, 400), 100, "72 400")],
    ids=["raised", "enough", "too few"],
)
def test_open_files_allow_for_the_connections_or_connections_are_fewer(
    descriptors: tuple[int, int], connections: int, printed: str
) -> None:
    process = run(print_affordable, *descriptors, connections)

    assert (process.returncode, process.stdout) == (0, printed), process.stderr
    assert ("REGISTRY_MAX_CONNECTIONS is 100" in process.stderr) == (printed == "72 400")


LARGE = b"POST /whole/3 HTTP/1.1\r\nHost: registry.test\r\nContent-Length: %d\r\n\r\n" % (UNASKED_BYTES + 1)


@pytest.mark.parametrize(
    ("proxies", "withheld"), [((), PLACES // 2), (("127.0.0.1",), PLACES)], ids=["a client", "a proxy"]
)
def test_an_address_that_withholds_its_bodies_leaves_room_for_those_of_others(
    serve: Serve, proxies: tuple[str, ...], withheld: int
) -> None:
    """Except for a proxy, which withholds those of many clients."""
    serving = serve(proxies=proxies)

    with ExitStack() as stack:
        connections = [stack.enter_context(sent(serving, LARGE)) for _ in range(PLACES + 1)]
        refused = PLACES + 1 - withheld
        eventually(lambda: len(select.select(connections, [], [], 0)[0]) == refused)
        other = stack.enter_context(sent(serving, LARGE + bytes(UNASKED_BYTES + 1), "127.0.0.2"))

        assert other.recv(100).startswith(b"HTTP/1.1 405 " if withheld < PLACES else b"HTTP/1.1 503 ")
        assert len(serving.server.waits.body.since) == withheld


@pytest.mark.parametrize("address", ["2001:db8::%x", "::ffff:192.0.2.1"])
def test_places_are_shared_by_whatever_counts_as_one_address(address: str) -> None:
    places = Places(7)
    held = [address % number if "%" in address else address for number in range(7)]

    taken = [places.take(peer) for peer in held]

    assert taken == [True] * 4 + [False] * 3
    assert [places.take(f"192.0.2.{number}") for number in (8, 8, 9, 10)] == [True, True, True, False]
    places.give_back(held[6])
    assert places.take("192.0.2.10")
