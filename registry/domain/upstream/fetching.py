"""Fetching one file of the upstream: bounded in size and time, and continued where the connection broke off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from registry.domain.upstream.arrivals import Wanted
from registry.domain.upstream.protocol import Incoming, Index, WrongPart
from registry.errors import UpstreamFailed

SLOWEST_BYTES, SLOWEST_SECONDS = 64 << 10, 60  # an upstream that sends less in this time counts as away
TRANSFER_SECONDS = 3600
ATTEMPTS = 4  # without progress
ATTEMPTS_TO_BEGIN = 2  # while nothing of the file is here: clients that are refused try again themselves
FIRST_PAUSE_SECONDS = 0.5  # doubled each time
TRANSIENT_STATUSES = (408, 429)  # among those from 400 to 499


class Sink(Protocol):
    """Where a file is written, of which a part may be there already."""

    @property
    def size_bytes(self) -> int: ...
    def write(self, data: bytes, total_bytes: int | None) -> None:
        """Add data; ``total_bytes`` is the size of the whole file, as far as the upstream states it."""


class Contradiction(UpstreamFailed):
    """What the upstream sends is not the file of its page."""


class Fetch:
    """The transfer of one file.

    :param most_bytes: of the file.
    :param count: called with the number of bytes of each block that arrives.
    """

    def __init__(self, index: Index, wanted: Wanted, most_bytes: float, count: Callable[[int], None]) -> None:
        self._index, self._wanted, self._most_bytes, self._count = index, wanted, most_bytes, count
        self._deadline = time.monotonic() + TRANSFER_SECONDS
        self._sends_parts = True

    def run(self, sink: Sink) -> None:
        """Write what is missing, as the upstream sends it.

        :raises UpstreamFailed: it is not sent, or is not as large as the page states.
        """
        failures = 0
        while True:
            before = sink.size_bytes
            try:
                self._attempt(sink)
                return
            except UpstreamFailed as error:
                failures = 1 if sink.size_bytes > before else failures + 1
                attempts = ATTEMPTS if sink.size_bytes else ATTEMPTS_TO_BEGIN
                if failures >= attempts or time.monotonic() > self._deadline or _is_final(error):
                    raise
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))

    def _attempt(self, sink: Sink) -> None:
        with self._incoming(sink.size_bytes) as incoming:
            size_bytes = self._accepted_size(incoming, sink.size_bytes)
            known, pace = sink.size_bytes - incoming.start, _Pace(self._deadline)
            for block in incoming.blocks:
                self._count(len(block))
                pace.check(len(block))
                fresh, known = block[known:], max(0, known - len(block))
                if sink.size_bytes + len(fresh) > (self._most_bytes if size_bytes is None else size_bytes):
                    raise Contradiction
                if fresh:
                    sink.write(fresh, size_bytes)
        if size_bytes is not None and sink.size_bytes < size_bytes:
            raise UpstreamFailed

    @contextmanager
    def _incoming(self, known_bytes: int) -> Iterator[Incoming]:
        """Request what is missing, or everything after the upstream has sent another part than that."""
        try:
            with self._index.content(self._wanted.url, start=known_bytes if self._sends_parts else 0) as incoming:
                yield incoming
        except WrongPart:
            self._sends_parts = False
            raise

    def _accepted_size(self, incoming: Incoming, known_bytes: int) -> int | None:
        """Return the size of the file, as far as page or response state it.

        :raises Contradiction: they disagree, the file is too large, or the response begins in the middle.
        """
        stated = {size for size in (self._wanted.size_bytes, incoming.size_bytes) if size is not None}
        if len(stated) > 1 or max(stated, default=0) > self._most_bytes or incoming.start > known_bytes:
            raise Contradiction
        return next(iter(stated), None)


def _is_final(error: UpstreamFailed) -> bool:
    status = error.upstream_status
    is_refusal = status is not None and 400 <= status < 500 and status not in TRANSIENT_STATUSES
    return is_refusal or isinstance(error, Contradiction)


class _Pace:
    """How fast a response arrives."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._begun_at, self._bytes = time.monotonic(), 0

    def check(self, size_bytes: int) -> None:
        """Note what has arrived.

        :raises UpstreamFailed: it takes too long.
        """
        now = time.monotonic()
        self._bytes += size_bytes
        if self._bytes >= SLOWEST_BYTES:
            self._begun_at, self._bytes = now, 0
        if now > min(self._deadline, self._begun_at + SLOWEST_SECONDS):
            raise UpstreamFailed
