"""Connections of slow clients: which threads they occupy, and for how long; and the heads of responses."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask, Response

from registry.server import channel
from tests.server.serving import MIB, Serving, answer, whole_answer


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


def responses() -> list[Response]:
    return [
        Response("page", headers={"ETag": '"1"', "X-Content-Type-Options": "nosniff"}),
        Response("page", headers={"content-language": "ja", "x-b-c": "é"}),
        Response("page", headers=[("Set-Cookie", "b=1"), ("Vary", "Cookie"), ("set-cookie", "a=2")]),
        Response("page", headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}),
        Response("page", headers={"Server": "other"}),
        Response(iter(["page"])),
        Response(status=204),
        Response("no", status="403 Forbidden - no"),
    ]


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /{} HTTP/1.1",
        "GET /{} HTTP/1.1\r\nConnection: Keep-Alive",
        "GET /{} HTTP/1.1\r\nConnection: close",
        "GET /{} HTTP/1.1\r\nConnection: keep-alive, close",
        "GET /{} HTTP/1.0",
        "GET /{} HTTP/1.0\r\nConnection: keep-alive",
    ],
)
def test_the_heads_of_responses_are_those_of_waitress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_line: str
) -> None:
    app = Flask(__name__)
    app.config.update(MAX_FILE_SIZE=0, THREADS=1, TRUSTED_PROXIES=0, INSTANCE_PATH=tmp_path)
    app.extensions["uploads"] = re.compile("/upload")
    app.add_url_rule("/<int:number>", view_func=lambda number: responses()[number])

    def heads(serving: Serving) -> Iterator[bytes]:
        for number in range(len(responses())):
            with serving.connected() as connection:
                connection.sendall(request_line.format(number).encode() + b"\r\nHost: registry.test\r\n\r\n")
                head, _ = whole_answer(connection, has_body=False)
                yield re.sub(rb"(?<=\r\nDate: )(?!Thu, 01 Jan 2026)[^\r]+", b"...", head)

    with closing(Serving(tmp_path, app=app)) as serving:
        ours = list(heads(serving))
        monkeypatch.setattr(channel.Task, "_usual_head", lambda _: b"")
        assert ours == list(heads(serving))
