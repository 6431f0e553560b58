"""Whether the upstream counts as away, with real connections."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from registry.domain import reachability
from registry.domain.reachability import AWAY_SECONDS, PRESENT_SECONDS, UNKNOWN_SECONDS
from tests.fakes.upstream import Upstream as FakeUpstream


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "ATTEMPT_SECONDS", 0.3)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that accepts one connection, and answers nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        yield listener


def at(port: int, clock: Clock, **options: bool) -> reachability.Upstream:
    return reachability.Upstream(f"http://127.0.0.1:{port}/simple", clock=clock, **options)


def port_of(upstream: FakeUpstream) -> int:
    return int(upstream.url.rpartition(":")[2].partition("/")[0])


def eventually_away(upstream: reachability.Upstream, is_away: bool) -> bool:
    """Whether the result changes to this one in the background."""
    deadline = time.monotonic() + 10
    while upstream.is_away() is not is_away and time.monotonic() < deadline:
        time.sleep(0.01)
    return upstream.is_away() is is_away


def test_an_upstream_that_answers_is_present_until_it_refuses_connections_and_again_when_it_is_back(
    clock: Clock,
) -> None:
    fake = FakeUpstream()
    port = port_of(fake)
    upstream = at(port, clock)
    assert not upstream.is_away()
    fake.close()
    assert not upstream.is_away(), "the result is used for a while"

    clock.seconds += PRESENT_SECONDS
    assert upstream.is_away()

    back = FakeUpstream(port)
    clock.seconds += AWAY_SECONDS
    assert upstream.is_away(), "nothing waits for an upstream that was away"
    assert eventually_away(upstream, False)
    back.close()


@pytest.mark.usefixtures("impatience")
def test_an_upstream_that_accepts_connections_without_answering_is_away(listener: socket.socket, clock: Clock) -> None:
    assert at(listener.getsockname()[1], clock).is_away()


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("was_reached", [True, False])
def test_an_upstream_without_any_reaction_is_away_only_if_it_was_reached_before(
    listener: socket.socket, clock: Clock, was_reached: bool
) -> None:
    port = listener.getsockname()[1]
    upstream = at(port, clock)
    if was_reached:
        listener.close()
        with closing(FakeUpstream(port)):
            assert not upstream.is_away()
        listener = socket.create_server(("127.0.0.1", port), backlog=0)
        clock.seconds += PRESENT_SECONDS
    with ExitStack() as connections:
        connections.callback(listener.close)
        for _ in range(4):  # more than wait for a listener that accepts none
            connection = connections.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))

        assert upstream.is_away() is was_reached
        clock.seconds += UNKNOWN_SECONDS
        assert upstream.is_away() is was_reached


def test_a_proxy_shows_nothing_about_the_upstream(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    assert not at(9, clock).is_away()


def test_an_upstream_that_is_not_checked_is_never_away(clock: Clock) -> None:
    assert not at(9, clock, is_checked=False).is_away()
