"""Looks at PostgreSQL that are answered in pieces."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import create_engine

from registry.database import db
from registry.database.looks import PostgreSQLLook

pytestmark = pytest.mark.postgresql

# A process of its own, because a look that waits can block the interpreter of this one. After a line on standard input
# it withholds the next ``ReadyForQuery``, the last message of an answer, until another line, or for 5 s at most.
PROXY = """\
import select, socket, sys, threading
port = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
client, _ = listener.accept()
server = socket.create_connection(("127.0.0.1", port))

def forward():
    while data := client.recv(65536):
        server.sendall(data)

threading.Thread(target=forward, daemon=True).start()
is_withholding = False
while data := server.recv(65536):
    if select.select([sys.stdin], [], [], 0)[0]:
        is_withholding = bool(sys.stdin.readline())
    if is_withholding and data.endswith(b"Z\\0\\0\\0\\5I"):
        client.sendall(data[:-6])
        if select.select([sys.stdin], [], [], 5)[0]:
            sys.stdin.readline()
        data, is_withholding = data[-6:], False
    client.sendall(data)
"""


@contextmanager
def proxy() -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-c", PROXY, str(db.engine.url.port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def release(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def proceeds(look: PostgreSQLLook) -> bool:
    descriptor = look.fileno()
    assert descriptor is not None
    return bool(select.select([descriptor], [], [], 10)[0]) and look.proceed()


def test_a_look_does_not_wait_for_the_last_message_of_its_answer(app: Flask) -> None:
    with proxy() as (process, port):
        engine = create_engine(db.engine.url.set(port=port))
        look = PostgreSQLLook(engine)
        look.renew()
        while not look.begin():
            time.sleep(0.01)
        while not proceeds(look):
            pass
        first = look.generation
        release(process)
        assert look.begin()

        assert not proceeds(look)

        release(process)
        while not proceeds(look):
            pass
        assert look.generation == first is not None
        look.close()
        engine.dispose()
