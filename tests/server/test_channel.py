"""Connections of slow clients: whose thread they hold, and for how long."""

from __future__ import annotations

import socket
import time

import pytest

from registry.server import channel
from tests.server.serving import MIB, Serving, answer


def test_a_client_that_does_not_read_keeps_no_thread_from_others(serving: Serving) -> None:
    with serving.asked_for("/pieces/32"), serving.asked_for("/whole/3") as other:
        assert answer(other) == bytes(3)


def test_a_client_that_takes_nothing_of_a_longer_answer_is_given_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "STALL_SECONDS", 0.3)
    serving.let_ahead(MIB)

    with serving.asked_for("/pieces/1000000"), serving.asked_for("/whole/3") as other:
        assert answer(other) == bytes(3)
        assert serving.ended.is_set()


def test_a_client_that_reads_slowly_gets_all_of_it(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "STALL_SECONDS", 0.5)
    serving.let_ahead(MIB)
    received = 0

    with serving.asked_for("/pieces/32") as connection:
        while piece := connection.recv(MIB, socket.MSG_WAITALL):
            received += len(piece)
            time.sleep(0.02)

    assert received > 32 * MIB
