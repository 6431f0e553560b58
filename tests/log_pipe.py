"""A pipe in place of standard error, whose reader is slow."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select

from registry.logs import LogHandler


class Pipe:
    """A pipe that nothing reads until ``lines`` is called, and a handler that writes to it."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._end, end = os.pipe()
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 13)  # a pipe is writable while a page of it is free
        self._stream = os.fdopen(end, "w")
        self.handler = LogHandler(self._stream)
        self.handler.setFormatter(formatter)
        self._read = b""

    def fill(self) -> None:
        """Fill the pipe, so that further writes block."""
        os.set_blocking(self._stream.fileno(), False)
        with suppress(BlockingIOError):
            while True:
                os.write(self._stream.fileno(), b"\n" * 512)
        os.set_blocking(self._stream.fileno(), True)

    def lines(self, last: str = "", *, containing: str = "", count: int = 0) -> list[str]:
        """All lines without empty ones, up to this one, or one that contains something, or so many."""
        return self.lines_until(
            lambda lines: len(lines) >= max(count, 1) and lines[-1].endswith(last) and containing in lines[-1]
        )

    def lines_until(self, is_all: Callable[[list[str]], bool]) -> list[str]:
        """All lines without empty ones, as soon as they satisfy a condition."""
        deadline = time.monotonic() + 10
        while True:
            lines = [line for line in self._read.decode().split("\n")[:-1] if line]
            if is_all(lines):
                return lines
            assert time.monotonic() < deadline, lines[-5:]
            if select([self._end], [], [], 0.1)[0]:
                self._read += os.read(self._end, 1 << 16)

    def close(self) -> None:
        os.close(self._end)
        with suppress(OSError):
            self._stream.close()


@contextmanager
def logging_to_pipe(formatter: logging.Formatter) -> Iterator[Pipe]:
    """The root logger writes to this pipe."""
    pipe = Pipe(formatter)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [pipe.handler]
    root.setLevel(logging.INFO)
    yield pipe
    root.handlers[:] = handlers
    root.setLevel(level)
    pipe.close()
