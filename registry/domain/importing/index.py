"""Import from another index, through the Simple repository API."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import Version
from requests.auth import HTTPBasicAuth

from registry.domain.http import Client, Page, Sink, split
from registry.domain.importing.source import SourceFile, SourcePage, known_digests, moment, one_line
from registry.domain.packages import simple
from registry.errors import SourceError

ACCEPT = f"{simple.JSON}, {simple.HTML};q=0.2, {simple.PLAIN_HTML};q=0.01"
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
        with _parsing("the list of names"):
            is_json = _is_json(page.media_type)
            self._pages = _json_names(page.body) if is_json else _html_names(page.body, page.url)
        return [canonicalize_name(name) for name in self._pages]

    def page(self, name: NormalizedName, versions: Collection[Version] = ()) -> SourcePage:
        page = self._read(self._pages.get(name) or urljoin(self.address, f"{name}/"))
        with _parsing(f"the page of {name}"):
            is_json = _is_json(page.media_type)
            return _json_page(page.body, page.url) if is_json else _html_page(page.body, page.url)

    def digests(self, file: SourceFile) -> dict[str, str]:
        return file.digests

    def receive(self, file: SourceFile, sink: Sink) -> None:
        self._client.receive(file.location, sink)

    def close(self) -> None:
        self._client.close()

    def _read(self, url: str) -> Page:
        return self._client.read(url, accept=ACCEPT, max_bytes=MAX_PAGE_BYTES)


def _is_json(media_type: str) -> bool:
    """Return whether a page is JSON; otherwise it is HTML.

    :raises SourceError: it is neither.
    """
    if media_type not in (simple.JSON, "application/json", simple.HTML, simple.PLAIN_HTML):
        raise SourceError(f"the response has the type {media_type[:100]!a}, which is not one of the Simple API")
    return media_type in (simple.JSON, "application/json")


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
        one_line(str(status.get("reason") or "")),
    )


def _json_file(entry: dict[str, Any], url: str) -> SourceFile:
    yanked = entry.get("yanked", False)
    size = entry.get("size")
    return SourceFile(
        filename=one_line(str(entry["filename"])),
        location=urljoin(url, urldefrag(entry["url"])[0]),
        digests=known_digests(entry["hashes"]),
        size_bytes=size if isinstance(size, int) else None,
        uploaded_at=moment(str(entry.get("upload-time") or "")),
        yanked_reason=(one_line(yanked) if isinstance(yanked, str) else "") if yanked else None,
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


class _HTML(HTMLParser):
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
    page = _HTML(body, url)
    named = [(_normalized(anchor["text"].strip().rstrip("/")), anchor["href"]) for anchor in page.anchors]
    return {name: urljoin(page.base, urldefrag(href)[0]) for name, href in named if name}


def _html_page(body: bytes, url: str) -> SourcePage:
    page = _HTML(body, url)
    files = (_html_file(anchor, page.base) for anchor in page.anchors)
    return SourcePage(
        tuple(file for file in files if file.filename),
        page.meta.get("pypi:project-status", "active"),
        one_line(page.meta.get("pypi:project-status-reason", "")),
    )


def _html_file(anchor: dict[str, str], base: str) -> SourceFile:
    """Parse an anchor, with ``data-size`` and ``data-upload-time``, which are a convention outside the standard."""
    location, fragment = urldefrag(urljoin(base, anchor["href"]))
    algorithm, _, digest = fragment.partition("=")
    size = anchor.get("data-size", "")
    return SourceFile(
        filename=one_line(unquote(urlsplit(location).path.rpartition("/")[2])),
        location=location,
        digests=known_digests({algorithm: digest}),
        size_bytes=int(size) if re.fullmatch("[0-9]{1,18}", size) else None,
        uploaded_at=moment(anchor.get("data-upload-time", "")),
        yanked_reason=one_line(anchor["data-yanked"]) if "data-yanked" in anchor else None,
    )


def _normalized(name: str) -> str:
    """Normalize a package name; return the empty string if it is invalid, such as a link to a parent folder."""
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName:
        return ""
