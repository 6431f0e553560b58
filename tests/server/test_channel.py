"""Connections of slow clients: which threads they occupy, and for how long."""

from __future__ import annotations

import socket
import time

import pytest

from registry.server import channel
from tests.server.serving import MIB, Serving, answer


def test_a_client_that_does_not_read_occupies_no_thread(serving: Serving) -> None:
    with serving.asked_for("/pieces/32"), serving.asked_for("/whole/3") as other:
        assert answer(other) == bytes(3)


def test_a_client_that_reads_nothing_of_a_longer_answer_is_disconnected(
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
