"""Sources of packages to import: another index, through the Simple repository API, or a folder of files.

A source lists its package names, lists the files of a name with their metadata, and delivers the content of a file.
Sources are untrusted: file content counts only if it matches its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from http.client import responses
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urldefrag, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from registry.domain.distributions import filenames
from registry.domain.packages import simple
from registry.errors import InvalidDistribution, OperatorError

ACCEPT = f"{simple.JSON}, {simple.HTML};q=0.2, {simple.PLAIN_HTML};q=0.01"
CHUNK_BYTES = 1 << 18
MAX_PAGE_BYTES = 256 << 20  # the public index lists its names on some 40 MiB
MAX_TEXT_LENGTH = 1000
CONNECT_SECONDS, READ_SECONDS = 10, 30
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5  # doubled each time
LONGEST_PAUSE_SECONDS = 30
TRANSIENT_STATUSES = (429, 500, 502, 503, 504)  # a later attempt can succeed

_CONNECTION_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)

_DIGEST = re.compile("[0-9a-f]{1,256}")

Result = TypeVar("Result")


class SourceError(OperatorError):
    """The source lacks a page or file, or does not deliver it; the sentence contains no secrets."""


@dataclass(frozen=True)
class SourceFile:
    """One file as listed by a source.

    :ivar location: URL or path.
    :ivar digests: as declared by the source, in lower case, by the name of the algorithm in ``hashlib``.
    :ivar yanked_reason: the reason for a yank, possibly empty; ``None`` if the file is not yanked.
    """

    filename: str
    location: str
    digests: dict[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    uploaded_at: datetime | None = None
    yanked_reason: str | None = None


@dataclass(frozen=True)
class SourcePage:
    """The files of one package name, and its status (PEP 792)."""

    files: tuple[SourceFile, ...]
    status: str = "active"
    status_reason: str = ""


class Sink(Protocol):
    """Receives the content of a file; ``write`` can raise an exception to abort the transfer."""

    @property
    def size_bytes(self) -> int: ...
    def write(self, data: bytes) -> int: ...


class Source(Protocol):
    """A source of packages; thread-safe.

    :ivar address: the source's name in messages, without credentials.
    """

    address: str

    def names(self) -> list[NormalizedName]:
        """Return every package name once.

        :raises SourceError: the source does not list its names.
        """

    def page(self, name: NormalizedName) -> SourcePage:
        """Return the files of one package name.

        :raises SourceError: the source does not list them.
        """

    def digests(self, file: SourceFile) -> dict[str, str]:
        """Return the digests that are known without storing the content.

        :raises SourceError: the file cannot be read.
        """

    def receive(self, file: SourceFile, sink: Sink) -> None:
        """Write the content of a file to the sink.

        :raises SourceError: the source does not deliver the file; the sink may have received a part of it.
        """

    def close(self) -> None:
        """Make calls in other threads end soon, with an error."""


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
        parts = _split(url)
        host = parts.netloc.rpartition("@")[2]
        self.address = urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/", "", ""))
        username, password = username or unquote(parts.username or ""), password or unquote(parts.password or "")
        if password and not username:
            username = "__token__"  # the conventional user name for a token
        self._credentials = HTTPBasicAuth(username.encode(), password.encode()) if username else None
        self._pages: dict[str, str] = {}
        self._closed = Event()
        self._responses: set[requests.Response] = set()
        self._session = requests.Session()
        # Threads can share the session, as without cookies nothing in it changes.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))

    def names(self) -> list[NormalizedName]:
        url, media_type, body = self._page(self.address)
        with _parsing("the list of names"):
            self._pages = _json_names(body) if media_type == "json" else _html_names(body, url)
        return [canonicalize_name(name) for name in self._pages]

    def page(self, name: NormalizedName) -> SourcePage:
        url, media_type, body = self._page(self._pages.get(name) or urljoin(self.address, f"{name}/"))
        with _parsing(f"the page of {name}"):
            return _json_page(body, url) if media_type == "json" else _html_page(body, url)

    def digests(self, file: SourceFile) -> dict[str, str]:
        return file.digests

    def receive(self, file: SourceFile, sink: Sink) -> None:
        """Write the content of a file to the sink without decoding it; a retry resumes where the transfer broke off."""
        self._retried(lambda: self._receive_rest(file, sink))

    def close(self) -> None:
        self._closed.set()
        for response in tuple(self._responses):
            with suppress(OSError, RuntimeError, ValueError):  # it has been read completely in the meantime
                response.raw.shutdown()
        self._session.close()

    def _receive_rest(self, file: SourceFile, sink: Sink) -> None:
        received = sink.size_bytes
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
        with self._response(file.location, headers) as response:
            if response.status_code == requests.codes.partial_content:
                if not response.headers.get("Content-Range", "").startswith(f"bytes {received}-"):
                    raise SourceError("the response contains another range than requested")
                received = 0
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                fresh = chunk[received:]
                received -= len(chunk) - len(fresh)
                if fresh:
                    sink.write(fresh)

    def _page(self, url: str) -> tuple[str, str, bytes]:
        """Return the URL after redirects, the format (``json`` or ``html``), and the body of a page."""

        def read() -> tuple[str, str, bytes]:
            with self._response(url, {"Accept": ACCEPT}) as response:
                body = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    body += chunk
                    if len(body) > MAX_PAGE_BYTES:
                        raise SourceError(f"the page is larger than {MAX_PAGE_BYTES} bytes")
                return response.url, _media_type(response.headers.get("Content-Type", "")), bytes(body)

        return self._retried(read)

    @contextmanager
    def _response(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Request a URL; ``close`` interrupts the reading of the response.

        :raises SourceError: the source was closed in the meantime.
        """
        with self._get(url, headers) as response:
            self._responses.add(response)
            try:
                self._check_open()
                yield response
                self._check_open()  # without a Content-Length, an interrupted response looks complete
            finally:
                self._responses.discard(response)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise SourceError("the transfer was interrupted")

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        is_own = _origin(url) == _origin(self.address)
        response = self._session.get(
            url, headers=headers, auth=self._credentials if is_own else None, stream=True,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )  # fmt: skip
        if response.status_code in TRANSIENT_STATUSES:
            response.close()
            raise _TransientError(_status_sentence(response.status_code), _requested_pause(response))
        if not response.ok:
            response.close()
            raise SourceError(_status_sentence(response.status_code))
        return response

    def _retried(self, attempt: Callable[[], Result]) -> Result:
        for number in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except _TransientError as error:
                failure, pause = error.sentence, error.pause_seconds
            except _CONNECTION_ERRORS as error:
                failure, pause = _cause(error), 0
            except (requests.RequestException, ValueError) as error:  # ValueError: an invalid URL
                raise SourceError(f"cannot be requested ({type(error).__name__})") from error
            if number == ATTEMPTS or self._closed.wait(max(pause, FIRST_PAUSE_SECONDS * 2 ** (number - 1))):
                break
        raise SourceError(f"{failure} (attempts: {number})")


class _TransientError(SourceError):
    """A refusal that can be temporary."""

    def __init__(self, reason: str, pause_seconds: int) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


def _requested_pause(response: requests.Response) -> int:
    asked = response.headers.get("Retry-After", "")
    return min(int(asked), LONGEST_PAUSE_SECONDS) if re.fullmatch("[0-9]{1,6}", asked) else 0


def _status_sentence(status: int) -> str:
    hint = {
        401: ": the credentials are missing or not accepted",
        403: ": the credentials are not sufficient",
    }.get(status, "")
    return f"the response is {status} {responses.get(status, '')}".rstrip() + hint


def _cause(error: Exception) -> str:
    """Describe a connection error without the URL, which can contain a signature."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate is not accepted"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "the connection timed out"
    return "the connection failed"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError as error:
        raise SourceError("The source is not a valid URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SourceError("The source is not an http:// or https:// URL")
    return parts


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _media_type(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    known = {simple.JSON: "json", "application/json": "json", simple.HTML: "html", simple.PLAIN_HTML: "html"}
    if media_type not in known:
        raise SourceError(f"the response has the type {media_type[:100]!a}, which is not one of the Simple API")
    return known[media_type]


@contextmanager
def _parsing(page: str) -> Iterator[None]:
    """Turn the exceptions of parsing a page into a SourceError.

    :raises SourceError: the page does not conform to the Simple API.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SourceError(f"{page} does not conform to version 1 of the Simple API") from error


def _json_names(body: bytes) -> dict[str, str]:
    """Return the names in a list, in order, without URLs, as the standard defines those of their pages."""
    return {name: "" for project in _document(body)["projects"] if (name := _normalized(project["name"]))}


def _json_page(body: bytes, url: str) -> SourcePage:
    page = _document(body)
    status = page.get("project-status") or {}
    return SourcePage(
        tuple(_json_file(entry, url) for entry in page["files"]),
        str(status.get("status", "active")),
        _one_line(str(status.get("reason") or "")),
    )


def _json_file(entry: dict[str, Any], url: str) -> SourceFile:
    yanked = entry.get("yanked", False)
    size = entry.get("size")
    return SourceFile(
        filename=_one_line(str(entry["filename"])),
        location=urljoin(url, urldefrag(entry["url"])[0]),
        digests=_known_digests(entry["hashes"]),
        size_bytes=size if isinstance(size, int) else None,
        uploaded_at=_time(str(entry.get("upload-time") or "")),
        yanked_reason=(_one_line(yanked) if isinstance(yanked, str) else "") if yanked else None,
    )


def _document(body: bytes) -> dict[str, Any]:
    """Parse a JSON page.

    :raises ValueError: the body is not JSON, or has another major version.
    """
    document: dict[str, Any] = json.loads(body)
    _refuse_version(str(document["meta"]["api-version"]))
    return document


def _refuse_version(version: str) -> None:
    if version.partition(".")[0] != "1":
        raise ValueError(version)


class _Page(HTMLParser):
    """A parsed HTML page: its ``<base>``, its ``<meta>`` elements, and its anchors with their text."""

    def __init__(self, body: bytes, url: str) -> None:
        super().__init__()
        self.base = url
        self.meta: dict[str, str] = {}
        self.anchors: list[dict[str, str]] = []
        self._is_open = False
        self.feed(body.decode("utf-8", "replace"))
        self.close()
        _refuse_version(self.meta.get("pypi:repository-version", "1.0"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "base" and "href" in found:
            self.base = urljoin(self.base, found["href"])
        elif tag == "meta" and "name" in found:
            self.meta[found["name"].lower()] = found.get("content", "")
        elif tag == "a" and "href" in found:
            self.anchors.append(found | {"text": ""})
            self._is_open = True

    def handle_endtag(self, tag: str) -> None:
        self._is_open = self._is_open and tag != "a"

    def handle_data(self, data: str) -> None:
        if self._is_open:
            self.anchors[-1]["text"] += data


def _html_names(body: bytes, url: str) -> dict[str, str]:
    """Return the names in a list, in order, with the URLs of their pages."""
    page = _Page(body, url)
    named = [(_normalized(anchor["text"].strip().rstrip("/")), anchor["href"]) for anchor in page.anchors]
    return {name: urljoin(page.base, urldefrag(href)[0]) for name, href in named if name}


def _html_page(body: bytes, url: str) -> SourcePage:
    page = _Page(body, url)
    files = (_html_file(anchor, page.base) for anchor in page.anchors)
    return SourcePage(
        tuple(file for file in files if file.filename),
        page.meta.get("pypi:project-status", "active"),
        _one_line(page.meta.get("pypi:project-status-reason", "")),
    )


def _html_file(anchor: dict[str, str], base: str) -> SourceFile:
    """Parse an anchor, with ``data-size`` and ``data-upload-time``, which are a convention outside the standard."""
    location, fragment = urldefrag(urljoin(base, anchor["href"]))
    algorithm, _, digest = fragment.partition("=")
    size = anchor.get("data-size", "")
    return SourceFile(
        filename=_one_line(unquote(urlsplit(location).path.rpartition("/")[2])),
        location=location,
        digests=_known_digests({algorithm: digest}),
        size_bytes=int(size) if re.fullmatch("[0-9]{1,18}", size) else None,
        uploaded_at=_time(anchor.get("data-upload-time", "")),
        yanked_reason=_one_line(anchor["data-yanked"]) if "data-yanked" in anchor else None,
    )


def _normalized(name: str) -> str:
    """Normalize a package name; return the empty string if it is invalid, such as a link to a parent folder."""
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName:
        return ""


def _known_digests(stated: dict[str, str]) -> dict[str, str]:
    """Keep the digests of algorithms available here; a malformed digest becomes a text that no content matches.

    ``shake`` is left out, as its digests have no fixed length.
    """
    digests = {algorithm.lower(): digest.lower() for algorithm, digest in stated.items() if digest}
    return {
        algorithm: digest if _DIGEST.fullmatch(digest) else "malformed"
        for algorithm, digest in digests.items()
        if algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake")
    }


def _time(text: str) -> datetime | None:
    """Parse a time (RFC 3339), by default in UTC; return ``None`` if it is invalid."""
    try:
        read = datetime.fromisoformat(text)
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _one_line(text: str) -> str:
    """Reduce a name or reason to one line of printable characters of limited length.

    Valid file names remain unchanged.
    """
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_TEXT_LENGTH]


class Folder:
    """A folder of ``.whl``, ``.tar.gz``, and ``.zip`` files, searched recursively and grouped by package name.

    It has no upload times: a file's time on disk is that of a copy and unrelated to its publication.
    """

    def __init__(self, folder: Path) -> None:
        """List the files below ``folder``.

        :raises SourceError: ``folder`` or one of its subfolders cannot be read.
        """
        self.address = str(folder)
        self._files: dict[NormalizedName, list[SourceFile]] = {}
        for path in _paths_below(folder):
            self._files.setdefault(_package_in(path.name), []).append(SourceFile(_one_line(path.name), str(path)))

    def names(self) -> list[NormalizedName]:
        """Return every package name once; the empty name stands for files with invalid names."""
        return list(self._files)

    def page(self, name: NormalizedName) -> SourcePage:
        if name not in self._files:
            raise SourceError("the folder has no files of this package")
        return SourcePage(tuple(self._files[name]))

    def digests(self, file: SourceFile) -> dict[str, str]:
        sha256 = hashlib.sha256()
        for chunk in _content(file):
            sha256.update(chunk)
        return {"sha256": sha256.hexdigest()}

    def receive(self, file: SourceFile, sink: Sink) -> None:
        for chunk in _content(file):
            sink.write(chunk)

    def close(self) -> None:
        """Do nothing, as reading files does not block."""


def _paths_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise SourceError(f"The folder {error.filename} cannot be read: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if filenames.kind_of(name))


def _package_in(filename: str) -> NormalizedName:
    try:
        return filenames.parse_filename(filename).normalized_name
    except InvalidDistribution:
        return NormalizedName("")


def _content(file: SourceFile) -> Iterator[bytes]:
    try:
        with Path(file.location).open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise SourceError(f"the file cannot be read: {error.strerror}") from error
