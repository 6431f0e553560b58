"""The files of an upstream index without its pages and without a network, with the faults that a test asks for."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from registry.domain.upstream.arrivals import Wanted
from registry.domain.upstream.protocol import Incoming, WrongPart
from registry.errors import UpstreamFailed

BLOCK_BYTES = 64 << 10


@dataclass(frozen=True)
class Transfer:
    """How one request is answered.

    :ivar ends_at: the connection is cut behind so many bytes of the file.
    :ivar status: of a response that is an error.
    :ivar ignores_ranges: the file is sent from its beginning.
    :ivar total_bytes: the size that the response states, if it is not the right one; -1 for none.
    """

    ends_at: int | None = None
    status: int | None = None
    ignores_ranges: bool = False
    total_bytes: int | None = None


class UpstreamFiles:
    """An upstream index (``registry.domain.upstream.protocol.Index``).

    :ivar starts: where each request for a file began.
    :ivar sends_wrong_parts: to requests that do not begin with the file.
    :ivar held: set when a request waits at the position given to ``hold``.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.sends_wrong_parts = False
        self.held = threading.Event()
        self._contents: dict[str, bytes] = {}
        self._transfers: deque[Transfer] = deque()
        self._hold_at: int | None = None
        self._not_held: str | None = None
        self._released = threading.Event()
        self.pause_seconds = 0.0  # before each block

    def offer(
        self, content: bytes, filename: str = "demo-1.0-py3-none-any.whl", *, sends: bytes | None = None,
        size_bytes: int | None = None, is_sized: bool = True,
    ) -> Wanted:  # fmt: skip
        """Offer a file.

        :param sends: different content that is sent instead.
        :param size_bytes: on the page, if not the right one.
        """
        url = f"https://files.test/{filename}"
        self._contents[url] = content if sends is None else sends
        size_bytes = len(content) if size_bytes is None else size_bytes
        return Wanted("demo", filename, url, hashlib.sha256(content).hexdigest(), size_bytes if is_sized else None)

    def answer(self, *transfers: Transfer) -> None:
        """Answer the next requests in these ways."""
        self._transfers.extend(transfers)

    def hold(self, position: int, *, but: Wanted | None = None) -> None:
        """Send nothing behind this position of any other file until ``release``."""
        self._hold_at, self._not_held = position, None if but is None else but.url

    def release(self) -> None:
        self._released.set()

    @contextmanager
    def content(self, url: str, *, start: int = 0) -> Iterator[Incoming]:
        transfer = self._transfers.popleft() if self._transfers else Transfer()
        self.starts.append(start)
        if transfer.status is not None:
            raise UpstreamFailed(transfer.status)
        if start and self.sends_wrong_parts:
            raise WrongPart
        content = self._contents[url]
        start = 0 if transfer.ignores_ranges else start
        total_bytes = len(content) if transfer.total_bytes is None else transfer.total_bytes
        blocks = self._blocks(content, start, transfer, is_held=url != self._not_held)
        yield Incoming(start, None if total_bytes < 0 else total_bytes, blocks)

    def _blocks(self, content: bytes, start: int, transfer: Transfer, *, is_held: bool) -> Iterator[bytes]:
        end = len(content) if transfer.ends_at is None else transfer.ends_at
        for position in range(start, end, BLOCK_BYTES):
            if is_held and self._hold_at is not None and position >= self._hold_at:
                self.held.set()
                self._released.wait(30)
            time.sleep(self.pause_seconds)
            yield content[position : min(position + BLOCK_BYTES, end)]
        if transfer.ends_at is not None:
            raise UpstreamFailed
