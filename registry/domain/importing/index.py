"""Import from another index, through the Simple repository API."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote, urljoin, urlunsplit

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from requests.auth import HTTPBasicAuth

from registry.domain import listings
from registry.domain.http import Client, Page, Sink, split
from registry.domain.importing.source import SourceFile, SourcePage
from registry.domain.listings import ListedFile

MAX_PAGE_BYTES = 256 << 20  # the public index lists its names on some 40 MiB


class Index:
    """Another index, in JSON or HTML (PyPA "Simple repository API"; PEP 503, 592, 691, 700, 792).

    Credentials are sent only to the scheme, host, and port of the index itself. Without credentials, ``.netrc`` applies
    to the host of each request, as in pip. Transient failures are retried.
    """

    def __init__(self, url: str, *, username: str = "", password: str = "", connections: int = 1) -> None:
        """Configure access to an index, without connecting to it.

        :param url: URL of the list of names; can contain user name and password, which the arguments override.
        :param connections: number of connections to keep open.
        :raises SourceError: ``url`` is not a valid HTTP URL.
        """
        parts = split(url)
        host = parts.netloc.rpartition("@")[2]
        self.address = urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/", "", ""))
        username, password = username or unquote(parts.username or ""), password or unquote(parts.password or "")
        if password and not username:
            username = "__token__"  # the conventional user name for a token
        self.is_local = False
        credentials = HTTPBasicAuth(username.encode(), password.encode()) if username else None
        self._client = Client(self.address, credentials, reads_netrc=True, connections=connections)
        self._pages: dict[str, str] = {}

    def names(self) -> list[NormalizedName]:
        page = self._read(self.address)
        self._pages = listings.read_names(page.body, page.media_type, page.url)
        return [canonicalize_name(name) for name in self._pages]

    def page(self, name: NormalizedName, versions: Collection[Version] = ()) -> SourcePage:
        page = self._read(self._pages.get(name) or urljoin(self.address, f"{name}/"))
        listed = listings.read_page(page.body, page.media_type, page.url, name)
        return SourcePage(tuple(map(_source_file, listed.files)), listed.status, listed.status_reason)

    def digests(self, file: SourceFile) -> dict[str, str]:
        return file.digests

    def receive(self, file: SourceFile, sink: Sink) -> None:
        self._client.receive(file.location, sink)

    def close(self) -> None:
        self._client.close()

    def _read(self, url: str) -> Page:
        return self._client.read(url, accept=listings.ACCEPT, max_bytes=MAX_PAGE_BYTES)


def _source_file(file: ListedFile) -> SourceFile:
    return SourceFile(file.filename, file.url, file.digests, file.size_bytes, file.uploaded_at, file.yanked_reason)
