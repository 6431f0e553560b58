"""What the upstream index offers, in the order in which it passes from the index through the rules to a client.

``Index`` and ``PageIndex`` are the index itself, over HTTP. ``Upstream`` is what one namespace may see of it: the pages
that are kept here, and around them one wrapper per rule, each of which moves files of a page to those that are
withheld. The address of a file is decided by the page of its name, so no rule is asked twice or differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from packaging.utils import NormalizedName

from registry.domain.packages.simple import SimplePage
from registry.errors import UpstreamFailed

PAUSE_SECONDS = 10  # while an index that did not answer is not asked


class Upstream(Protocol):
    """The pages of the upstream index for one namespace; those of its rules wrap another ``Upstream``."""

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        """Return the page of a name, or ``None`` if the upstream index has no such name.

        The URLs of its files are those of the upstream index.

        :param is_fresh: ask the upstream index again, unless that was done a few seconds ago.
        :raises UpstreamFailed: the upstream index does not answer, and no page of the name is kept.
        :raises UpstreamBusy: too many requests are waiting for the upstream index.
        """


class IndexFailed(UpstreamFailed):
    """The index did not deliver a page.

    :param cause: for the log.
    :param pause_seconds: how long it need not be asked again; 0 if the failure concerns only this page.
    """

    def __init__(self, cause: str, pause_seconds: int, status: int | None = None) -> None:
        super().__init__(status)
        self.cause, self.pause_seconds = cause, pause_seconds


@dataclass(frozen=True)
class Answer:
    """What the index answered to a request for a page.

    :ivar page: ``None`` if it has no such name, or if the page is unchanged.
    :ivar etag: empty if the index states none.
    """

    page: SimplePage | None
    etag: str = ""
    is_unchanged: bool = False


class WrongPart(UpstreamFailed):
    """The server has sent another part of a file than it was asked for, or none. It may still send the whole file."""


@dataclass(frozen=True)
class Incoming:
    """The content of a file that is being received; not decoded, and not compared with its digest.

    :ivar start: where the blocks begin in the file: 0 if the server does not understand ranges.
    :ivar size_bytes: of the whole file, as the server states it; ``None`` if it does not.
    """

    start: int
    size_bytes: int | None
    blocks: Iterator[bytes]


class Index(Protocol):
    """The upstream index itself; thread-safe. It is not trusted."""

    def content(self, url: str, *, start: int = 0) -> AbstractContextManager[Incoming]:
        """Request a file, or the core metadata of one (``<url>.metadata``).

        Reading the blocks can raise ``UpstreamFailed``, too; those that arrived before are what the server sent.

        :param url: of a file on a page.
        :param start: number of bytes that are known, and need not be sent again.
        :raises UpstreamFailed: the server does not answer or refuses the request, or the URL is not one that files of
            the upstream index may have.
        :raises WrongPart: the server does not send what follows the known bytes.
        """


class PageIndex(Protocol):
    """The pages of the upstream index itself; thread-safe.

    :ivar host: of the index, for messages.
    :ivar url: of its list of names, without a slash at the end.
    """

    host: str
    url: str

    def page(self, name: NormalizedName, etag: str = "") -> Answer:
        """Request the page of a name.

        :param etag: of the page that is known.
        :raises IndexFailed: the index does not answer in time, refuses the request, or its page is malformed.
        """

    def read_page(self, name: NormalizedName, body: bytes) -> SimplePage:
        """Return a page in JSON that came another way, under the same conditions as one of the index.

        :raises SourceError: it is malformed.
        """
