"""Files in responses: sent by the operating system where it can, and otherwise read, with the same bytes."""

from __future__ import annotations

import errno
import os
from random import Random
from typing import Any

import pytest

from tests.server.serving import MIB, Serving, answer, ask, eventually

CONTENT = Random(0).randbytes(8 * MIB + 17)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of bytes sent by each call of the operating system; grows during the test."""
    counts: list[int] = []
    sendfile = os.sendfile

    def counting(*arguments: Any) -> int:
        counts.append(sendfile(*arguments))
        return counts[-1]

    monkeypatch.setattr(os, "sendfile", counting)
    return counts


def test_a_file_is_sent_by_the_operating_system(serving: Serving, sent: list[int]) -> None:
    serving.file.write_bytes(CONTENT)

    with serving.asked_for("/file") as connection:
        assert answer(connection) == CONTENT

    eventually(lambda: sum(sent) == len(CONTENT))


@pytest.mark.parametrize(("start", "size"), [(0, 1), (5, MIB), (len(CONTENT) - 3, 3), (MIB, 7 * MIB)])
def test_a_range_of_a_file_is_sent_by_the_operating_system(
    serving: Serving, sent: list[int], start: int, size: int
) -> None:
    serving.file.write_bytes(CONTENT)

    with serving.asked_for(f"/file?start={start}&size={size}") as connection:
        assert answer(connection) == CONTENT[start : start + size]

    eventually(lambda: sum(sent) == size)


@pytest.mark.parametrize("cause", [errno.EINVAL, errno.ENOSYS])
def test_a_file_that_the_operating_system_cannot_send_is_read(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, cause: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(cause, os.strerror(cause))

    monkeypatch.setattr(os, "sendfile", refuse)
    serving.file.write_bytes(CONTENT)

    with serving.asked_for("/file?start=3") as connection:
        assert answer(connection) == CONTENT[3:]


def test_files_are_read_on_a_system_without_sendfile(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sendfile")
    serving.file.write_bytes(CONTENT)

    with serving.asked_for("/file") as connection:
        assert answer(connection) == CONTENT


def test_a_connection_is_reused_after_a_file(serving: Serving) -> None:
    serving.file.write_bytes(CONTENT)

    with serving.connected() as connection:
        for _ in range(3):
            ask(connection, "/file")
            assert answer(connection) == CONTENT


def test_a_client_that_does_not_read_its_file_occupies_no_thread(serving: Serving) -> None:
    with serving.file.open("wb") as file:
        file.truncate(64 * MIB)

    with serving.asked_for("/file") as slow, serving.asked_for("/whole/3") as other:
        assert answer(other) == bytes(3)
        assert answer(slow) == bytes(64 * MIB)
