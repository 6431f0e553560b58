"""The upstream index over HTTP.

Its pages are not trusted. What does not conform to the Simple API as a whole is refused, and files that installers
could not use, or that the registry could not verify or must not request, are left out. Requests go only to the index
and to the hosts of its files, never to another address in the network of the registry.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from urllib.parse import urlsplit

from packaging.utils import NormalizedName
from requests.auth import HTTPBasicAuth

from registry.domain import listings
from registry.domain.distributions.filenames import version
from registry.domain.http import Client, Page, Patience, ResponseError, Unanswered, blocks, origin
from registry.domain.ip_addresses import is_public
from registry.domain.listings import ListedFile, ListedPage
from registry.domain.packages import simple
from registry.domain.packages.names import sorted_versions
from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.policies.filenames import release_in
from registry.domain.upstream.protocol import PAUSE_SECONDS, Answer, Incoming, IndexFailed, WrongPart
from registry.errors import SourceError, UpstreamFailed
from registry.models import NameStatus

PUBLIC_FILE_HOST = "files.pythonhosted.org"
FIRST_BYTE_SECONDS = 2
PAGE_SECONDS = 10  # for all of a page
MAX_PAGE_BYTES = 64 << 20  # 50,000 files with all that the standard has
MAX_FILES = 60_000
MAX_SIZE_BYTES = 1 << 50

_NOT_MODIFIED, _ABSENT, _NOT_SATISFIABLE = 304, (404, 410), 416
_SHA256 = re.compile("[0-9a-f]{64}")
_URL = re.compile(r"[!-~]{1,4000}")
_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,200}"')
_PORTS = {"http": 80, "https": 443}


class PublicIndex:
    """The upstream index, as ``protocol.Index`` has it, and its pages."""

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        file_hosts: Collection[str] = (),
        connections: int = 1,
    ) -> None:
        """Configure access to the index, without connecting to it.

        :param url: of its list of names.
        :param username: with ``password``, for the index alone: its scheme, host, and port.
        :param file_hosts: hosts that files may have, with a port unless it is that of the scheme; by default the
            index's own and that of the public index's files.
        """
        self.host = urlsplit(url).hostname or ""
        self.url = url.rstrip("/")
        credentials = HTTPBasicAuth(username.encode(), password.encode()) if username or password else None
        self._gate = _Gate(self.url, file_hosts)
        self._client = Client(
            self.url,
            credentials,
            connections=connections,
            patience=Patience(FIRST_BYTE_SECONDS, PAGE_SECONDS, attempts=1, rate_limited_attempts=1),
            gatekeeper=self._gate,
        )

    def page(self, name: NormalizedName, etag: str = "") -> Answer:
        """Return the page of a name.

        :param etag: of the page that is known.
        :raises IndexFailed: the index does not answer in time, refuses the request, or its page is malformed.
        """
        try:
            received = self._client.read(
                f"{self.url}/{name}/", accept=listings.ACCEPT, max_bytes=MAX_PAGE_BYTES, elsewhere=False, etag=etag
            )
            listed = listings.read_page(received.body, received.media_type, received.url, name)
        except ResponseError as error:
            if error.status == _NOT_MODIFIED:
                return Answer(None, etag, is_unchanged=True)
            if error.status in _ABSENT:
                return Answer(None)
            raise IndexFailed(error.sentence, 0, error.status) from error
        except Unanswered as error:
            raise IndexFailed(error.sentence, max(error.pause_seconds, PAUSE_SECONDS)) from error
        except SourceError as error:
            raise IndexFailed(error.sentence, 0) from error
        if len(listed.files) > MAX_FILES:
            raise IndexFailed(f"the page of {name} has more than {MAX_FILES} files", 0)
        return Answer(simple_page(name, listed, self._gate), _etag(received))

    def read_page(self, name: NormalizedName, body: bytes) -> SimplePage:
        """Return a page in JSON that came another way, under the same conditions as one of the index.

        :raises SourceError: it is malformed.
        """
        listed = listings.read_page(body, simple.JSON, f"{self.url}/{name}/", name)
        if len(listed.files) > MAX_FILES:
            raise SourceError(f"the page of {name} has more than {MAX_FILES} files")
        return simple_page(name, listed, self._gate)

    @contextmanager
    def content(self, url: str, *, start: int = 0) -> Iterator[Incoming]:
        try:
            with self._client.content(url, start=start) as response:
                begin, size_bytes = _place(response.status_code, response.headers.get("Content-Range", ""), start)
                if size_bytes is None and not begin:
                    length = response.headers.get("Content-Length", "")
                    size_bytes = int(length) if re.fullmatch("[0-9]{1,18}", length) else None
                yield Incoming(begin, size_bytes, blocks(response))
        except ResponseError as error:
            if start and error.status == _NOT_SATISFIABLE:
                raise WrongPart from error
            raise UpstreamFailed(error.status) from error
        except SourceError as error:
            raise UpstreamFailed from error

    def close(self) -> None:
        """Make calls in other threads end soon, with an error."""
        self._client.close()


class _Gate:
    """Admits only the index and the hosts of its files (``http.Gatekeeper``).

    HTTPS is required, unless the index itself is not there. Other hosts than that of the index may have an address
    that is not public only if the index has one. What counts is the address that a connection was made to: a name can
    lead elsewhere after it was looked up.
    """

    def __init__(self, url: str, file_hosts: Collection[str]) -> None:
        self._own = origin(url)
        self._schemes = {"https", self._own[0]}
        hosts = file_hosts or (urlsplit(url).netloc, PUBLIC_FILE_HOST)
        self._places = {(parts.hostname, parts.port) for parts in (urlsplit(f"//{host}") for host in hosts)}
        self._admits_host = lru_cache(256)(self._is_admitted)
        self._lock = Lock()
        self._is_private: bool | None = None

    def admits(self, url: str) -> bool:
        """Return whether a URL may be requested."""
        # Of ten thousand files, most are on one host.
        return (
            _URL.fullmatch(url) is not None and "\\" not in url and self._admits_host("/".join(url.split("/", 3)[:3]))
        )

    def _is_admitted(self, url: str) -> bool:
        """Return whether a URL without a path may be requested."""
        try:
            place = scheme, host, port = origin(url)
        except ValueError:
            return False
        is_listed = (host, port) in self._places or (port == _PORTS.get(scheme) and (host, None) in self._places)
        return "@" not in urlsplit(url).netloc and (place == self._own or (scheme in self._schemes and is_listed))

    def refuse_url(self, url: str) -> None:
        if not self.admits(url):
            raise SourceError("the address is not one of the upstream index (REGISTRY_UPSTREAM_FILE_HOSTS)")

    def refuse_address(self, host: str, address: str) -> None:
        if host.strip("[]").lower() == self._own[1]:
            self._is_private = not is_public(address)
        elif not is_public(address) and not self._index_is_private():
            raise SourceError("the host of a file has an address that is not public")

    def _index_is_private(self) -> bool:
        with self._lock:
            if self._is_private is None:
                try:
                    found = socket.getaddrinfo(self._own[1], self._own[2], type=socket.SOCK_STREAM)
                except OSError as error:
                    raise SourceError("the address of the upstream index is not known") from error
                self._is_private = not all(is_public(str(place[4][0])) for place in found)
            return self._is_private


def simple_page(name: NormalizedName, listed: ListedPage, gate: _Gate) -> SimplePage:
    """Return the page of a name with the files that can be offered.

    A quarantined name has none (PEP 792). A file needs a name that belongs to the package, a valid version, a SHA-256
    digest, and an address that may be requested. Of files with the same name, the first one counts.
    """
    versions = {text for text in listed.versions if version(text) is not None}
    files: dict[str, SimpleFile] = {}
    for file in listed.files:
        found = release_in(file.filename)
        digest = file.digests.get("sha256", "")
        if found is None or found[0] != name or not _SHA256.fullmatch(digest) or file.filename in files:
            continue
        if gate.admits(file.url):
            files[file.filename] = _simple_file(file, digest, gate)
            versions.add(str(found[1]))
    is_known_status = listed.status in {status.value for status in NameStatus}
    is_quarantined = listed.status == NameStatus.QUARANTINED.value
    return SimplePage(
        name=name,
        title=name,
        versions=sorted_versions(versions),
        files=() if is_quarantined else tuple(files.values()),
        status=listed.status if is_known_status else NameStatus.ACTIVE.value,
        status_reason=listed.status_reason if is_known_status else "",
    )


def _simple_file(file: ListedFile, digest: str, gate: _Gate) -> SimpleFile:
    metadata = (file.core_metadata or {}).get("sha256", "")
    size_bytes = file.size_bytes
    return SimpleFile(
        filename=file.filename,
        url=file.url,
        sha256=digest,
        size_bytes=size_bytes if size_bytes is not None and 0 <= size_bytes <= MAX_SIZE_BYTES else None,
        requires_python=file.requires_python,
        uploaded_at=file.uploaded_at,
        core_metadata_sha256=metadata if _SHA256.fullmatch(metadata) else None,
        yanked_reason=file.yanked_reason,
        provenance=file.provenance if gate.admits(file.provenance) else None,
    )


def _etag(page: Page) -> str:
    stated = page.headers.get("ETag", "").strip()
    return stated if _ETAG.fullmatch(stated) else ""


def _place(status: int, content_range: str, start: int) -> tuple[int, int | None]:
    """Return where the content of a response begins in its file, and the size of the file.

    :raises WrongPart: it is another part than the one that was asked for.
    """
    if status != 206:
        return 0, None
    found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", content_range)
    if found is None or int(found[1]) != start:
        raise WrongPart
    return start, None if found[2] == "*" else int(found[2])
