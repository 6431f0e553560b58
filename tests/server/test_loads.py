"""How workers with more connections leave new ones to the others."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from registry.server import listening
from registry.server.loads import WORKERS, Load, Loads
from tests.server.serving import Serving, answer


def load(loads: Loads, count: int) -> Load:
    """The load of a new worker with so many connections."""
    added = loads.add()
    assert added is not None
    added.share(count)
    return added


@pytest.mark.parametrize(
    ("own", "others", "leaves"),
    [
        (1, [1], False),
        (1, [0], True),
        (2, [5, 1, 7], True),
        (7, [6], True),
        (8, [7], False),
        (18, [16], False),
        (19, [16], True),
        (1, [], False),
    ],
)
def test_a_worker_leaves_a_connection_to_one_that_has_clearly_fewer(own: int, others: list[int], leaves: bool) -> None:
    loads = Loads()
    worker = load(loads, own)
    for count in others:
        load(loads, count)

    assert worker.leaves_next() is leaves


def test_a_worker_that_is_not_ready_or_has_ended_or_stops_is_left_nothing() -> None:
    loads = Loads()
    worker, ended, stopping = load(loads, 3), load(loads, 0), load(loads, 0)
    loads.add()
    loads.remove(ended)
    stopping.leave()

    assert not worker.leaves_next()


def test_a_worker_accepts_a_connection_itself_if_the_others_seem_to_be_stuck() -> None:
    loads = Loads()
    worker, other = load(loads, 3), load(loads, 0)

    assert [worker.leaves_next() for _ in range(4)] == [True, False, True, False]
    other.share(1)
    assert worker.leaves_next()
    other.share(2)
    assert worker.leaves_next()


def test_more_workers_than_have_room_take_no_part() -> None:
    loads = Loads()
    added = [loads.add() for _ in range(WORKERS)]

    assert loads.add() is None
    loads.remove(None)
    loads.remove(added[7])
    assert loads.add() is not None


def test_a_server_shares_how_many_connections_it_has_and_comes_to_rest_with_one_that_is_left(tmp_path: Path) -> None:
    loads = Loads()
    own, other = load(loads, 0), load(loads, 0)
    with closing(Serving(tmp_path, timeout_seconds=60, load=own)) as serving, ExitStack() as stack:
        for count in range(1, 6):
            connection = stack.enter_context(serving.asked_for("/whole/3"))
            assert answer(connection) == bytes(3)
            assert serving.turns_at_rest() <= 4 * count  # left, tried again, accepted, and answered
        other.share(5)
        assert not other.leaves_next()
        other.share(6)
        assert other.leaves_next()

        serving.server.stop_listening()
        other.share(7)
        assert not other.leaves_next()


def test_a_server_listens_again_in_time_also_if_the_pause_ends_while_it_looks_at_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = Loads()
    own, other = load(loads, 0), load(loads, 0)
    with closing(Serving(tmp_path, timeout_seconds=60, load=own)) as serving, ExitStack() as stack:
        for _ in range(9):
            assert answer(stack.enter_context(serving.asked_for("/whole/3"))) == bytes(3)
        serving.turns_at_rest()
        for early in range(4):
            times = iter([0.0] + [listening.LEFT_SECONDS / 2] * (early + 1))
            monkeypatch.setattr(listening, "time", SimpleNamespace(monotonic=lambda times=times: next(times, 1.0)))
            other.share(early)
            serving.server.handle_accept()

            assert serving.server.catch_up() < math.inf or serving.server.watched
