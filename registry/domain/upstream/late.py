"""The upstream index, whose client is made for the first request.

The libraries of the client take a tenth of a second to import, and most commands never ask the index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from packaging.utils import NormalizedName

from registry.domain.packages.simple import SimplePage
from registry.domain.upstream.protocol import Answer, Incoming

if TYPE_CHECKING:
    from registry.domain.upstream.client import PublicIndex


class LateIndex:
    """The upstream index, as ``protocol.Index`` and ``protocol.PageIndex`` have it; arguments as of ``PublicIndex``."""

    def __init__(
        self, url: str, *, username: str = "", password: str = "", file_hosts: Collection[str] = (),
        connections: int = 1,
    ) -> None:  # fmt: skip
        self.host = urlsplit(url).hostname or ""
        self.url = url.rstrip("/")
        self._username, self._password = username, password
        self._file_hosts, self._connections = file_hosts, connections
        self._lock = Lock()
        self._made: PublicIndex | None = None

    def page(self, name: NormalizedName, etag: str = "") -> Answer:
        return self._index().page(name, etag)

    def read_page(self, name: NormalizedName, body: bytes) -> SimplePage:
        return self._index().read_page(name, body)

    @contextmanager
    def content(self, url: str, *, start: int = 0) -> Iterator[Incoming]:
        with self._index().content(url, start=start) as incoming:
            yield incoming

    def _index(self) -> PublicIndex:
        with self._lock:
            if self._made is None:
                from registry.domain.upstream.client import PublicIndex

                self._made = PublicIndex(
                    self.url, username=self._username, password=self._password, file_hosts=self._file_hosts,
                    connections=self._connections,
                )  # fmt: skip
            return self._made
