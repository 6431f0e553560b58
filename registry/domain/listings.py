"""The pages of other indexes, as they are read: lists of names, and the files of one name, in JSON or HTML.

PyPA specifications, "Simple repository API" (PEP 503, 592, 691, 700, 714, 740, 792). Other indexes are not trusted: a
page is read or refused as a whole, and every text is reduced to one printable line.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

from packaging.utils import InvalidName, canonicalize_name

from registry.domain.packages import simple
from registry.errors import SourceError

ACCEPT = f"{simple.JSON}, {simple.HTML};q=0.2, {simple.PLAIN_HTML};q=0.01"
MAX_TEXT_LENGTH = 1000
# In the JSON page of a name, which has about 15 for each file. Each becomes an object of 72 bytes or more.
MAX_VALUES = 2_000_000

_DIGEST = re.compile("[0-9a-f]{1,256}")


class ListedFile(NamedTuple):
    """One file as an index lists it.

    :ivar url: absolute, without a fragment.
    :ivar digests: in lower case, by the name of the algorithm in ``hashlib``.
    :ivar core_metadata: the digests of ``<url>.metadata``, likewise; ``None`` if that document is not offered.
    :ivar yanked_reason: the reason for a yank, possibly empty; ``None`` if the file is not yanked.
    :ivar provenance: URL; possibly empty.
    """

    filename: str
    url: str
    digests: dict[str, str]
    size_bytes: int | None
    uploaded_at: datetime | None
    requires_python: str
    core_metadata: dict[str, str] | None
    yanked_reason: str | None
    provenance: str


@dataclass(frozen=True)
class ListedPage:
    """The files of one package name as an index lists them, and the status of the name (PEP 792).

    :ivar versions: as listed; empty if the index does not list them.
    """

    files: tuple[ListedFile, ...]
    status: str
    status_reason: str
    versions: tuple[str, ...] = ()


def read_names(body: bytes, media_type: str, url: str) -> dict[str, str]:
    """Return the normalized names in a list, in order, with the URLs of their pages; empty where the standard has them.

    :param url: of the list.
    :raises SourceError: it does not conform to the Simple API.
    """
    with _parsing("the list of names"):
        return _json_names(body) if _is_json(media_type) else _html_names(body, url)


def read_page(body: bytes, media_type: str, url: str, name: str) -> ListedPage:
    """Return the files on a page.

    :param url: of the page.
    :raises SourceError: it does not conform to the Simple API.
    """
    with _parsing(f"the page of {name}"):
        return _json_page(body, url) if _is_json(media_type) else _html_page(body, url)


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


def _json_page(body: bytes, url: str) -> ListedPage:
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError("too many values")
    page = _document(body)
    status = page.get("project-status") or {}
    return ListedPage(
        tuple(_json_file(entry, url) for entry in page["files"]),
        str(status.get("status", "active")),
        one_line(str(status.get("reason") or "")),
        tuple(one_line(str(version)) for version in page.get("versions") or ()),
    )


def _json_file(entry: dict[str, Any], url: str) -> ListedFile:
    yanked = entry.get("yanked", False)
    size = entry.get("size")
    metadata = entry.get("core-metadata", entry.get("dist-info-metadata", False))
    return ListedFile(
        filename=one_line(str(entry["filename"])),
        url=_absolute(url, entry["url"]),
        digests=known_digests(entry["hashes"]),
        size_bytes=size if isinstance(size, int) and not isinstance(size, bool) else None,
        uploaded_at=moment(str(entry.get("upload-time") or "")),
        requires_python=one_line(str(entry.get("requires-python") or "")),
        core_metadata=(known_digests(metadata) if isinstance(metadata, dict) else {}) if metadata else None,
        yanked_reason=(one_line(yanked) if isinstance(yanked, str) else "") if yanked else None,
        provenance=one_line(str(entry.get("provenance") or "")),
    )


def _absolute(base: str, url: str) -> str:
    """Return the absolute form of a URL on a page, without its fragment."""
    # As on the public index; parsing takes as long as all the rest.
    if url.startswith("https://") and "#" not in url and url.isascii():
        return url
    return urljoin(base, urldefrag(_quoted(url))[0])


def _quoted(url: str) -> str:
    """Return a URL in ASCII, as it is requested; of other hosts, parsing takes the square of their length."""
    return url if url.isascii() else quote(url, safe=string.printable)


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


# Everything that begins with "<" and is more than text: a comment, a declaration, or a tag up to its attributes.
_MARKUP = re.compile(r"<(?:(?P<comment>!--)|(?P<declaration>[!?])|(?P<closing>/?)(?P<name>[a-zA-Z][^\s/>]*+))")
# One attribute of a tag, or its end.
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?:(?P<end>>)|(?P<name>[^\s/>][^\s/>=]*+)"""
    r"""(?:\s*+=\s*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s>"'][^\s>]*+)?))?+)"""
)
_WITHOUT_TAGS = ("script", "style", "title", "textarea")  # elements whose content has none


class _HTML:
    """A parsed HTML page: its ``<base>``, its ``<meta>`` elements, and its anchors with their text.

    An element that is not closed ends the page, so each character is read a few times at most, whatever the page has.
    The parser of the standard library takes minutes for some pages of 100 KB, and holds all other threads up.
    """

    def __init__(self, body: bytes, url: str) -> None:
        self.base = url
        self.meta: dict[str, str] = {}
        self.anchors: list[dict[str, str]] = []
        self._text: list[str] | None = None  # of the open anchor
        self._read(body.decode("utf-8", "replace"))
        self._close_anchor()
        _refuse_version(self.meta.get("pypi:repository-version", "1.0"))

    def _read(self, page: str) -> None:
        position = 0
        while (at := page.find("<", position)) >= 0:
            found = _MARKUP.match(page, at)
            self._add_text(page[position : at if found else at + 1])
            position = at + 1 if found is None else self._behind(page, found)
            if not position:
                return
        self._add_text(page[position:])

    def _behind(self, page: str, found: re.Match[str]) -> int:
        """Read a piece of markup, and return where it ends; 0 if it does not."""
        if found["name"] is None:
            closing = "-->" if found["comment"] else ">"
            end = page.find(closing, found.end())
            return 0 if end < 0 else end + len(closing)
        attributes: dict[str, str] = {}
        position = found.end()
        while (attribute := _ATTRIBUTE.match(page, position)) is not None:
            position = attribute.end()
            if attribute["end"]:
                return self._behind_tag(page, found, attributes, position)
            value = attribute["double"] or attribute["single"] or attribute["bare"] or ""
            attributes[attribute["name"].lower()] = unescape(value)
        return 0

    def _behind_tag(self, page: str, found: re.Match[str], attributes: dict[str, str], position: int) -> int:
        name = found["name"].lower()
        if found["closing"]:
            if name == "a":
                self._close_anchor()
            return position
        self._open(name, attributes)
        if name not in _WITHOUT_TAGS:
            return position
        end = re.compile(f"</{name}", re.IGNORECASE).search(page, position)
        return 0 if end is None else end.start()

    def _open(self, tag: str, found: dict[str, str]) -> None:
        if tag == "base" and "href" in found:
            self.base = urljoin(self.base, _quoted(found["href"]))
        elif tag == "meta" and "name" in found:
            self.meta[found["name"].lower()] = found.get("content", "")
        elif tag == "a" and "href" in found:
            self._close_anchor()
            self.anchors.append(found)
            self._text = []

    def _add_text(self, text: str) -> None:
        if self._text is not None and text:
            self._text.append(text)

    def _close_anchor(self) -> None:
        if self._text is not None:
            self.anchors[-1]["text"] = unescape("".join(self._text))
            self._text = None


def _html_names(body: bytes, url: str) -> dict[str, str]:
    """Return the names in a list, in order, with the URLs of their pages."""
    page = _HTML(body, url)
    named = [(_normalized(anchor["text"].strip().rstrip("/")), anchor["href"]) for anchor in page.anchors]
    return {name: _absolute(page.base, href) for name, href in named if name}


def _html_page(body: bytes, url: str) -> ListedPage:
    page = _HTML(body, url)
    files = (_html_file(anchor, page.base) for anchor in page.anchors)
    return ListedPage(
        tuple(file for file in files if file.filename),
        page.meta.get("pypi:project-status", "active"),
        one_line(page.meta.get("pypi:project-status-reason", "")),
    )


def _html_file(anchor: dict[str, str], base: str) -> ListedFile:
    """Parse an anchor, with ``data-size`` and ``data-upload-time``, which are a convention outside the standard."""
    location, fragment = urldefrag(urljoin(base, _quoted(anchor["href"])))
    size = anchor.get("data-size", "")
    metadata = anchor.get("data-core-metadata", anchor.get("data-dist-info-metadata"))
    return ListedFile(
        filename=one_line(unquote(urlsplit(location).path.rpartition("/")[2])),
        url=location,
        digests=_named_digest(fragment),
        size_bytes=int(size) if re.fullmatch("[0-9]{1,18}", size) else None,
        uploaded_at=moment(anchor.get("data-upload-time", "")),
        requires_python=one_line(anchor.get("data-requires-python", "")),
        core_metadata=None if metadata is None else _named_digest(metadata),
        yanked_reason=one_line(anchor["data-yanked"]) if "data-yanked" in anchor else None,
        provenance=one_line(anchor.get("data-provenance", "")),
    )


def _named_digest(text: str) -> dict[str, str]:
    """Return the digest in a fragment or attribute such as ``sha256=0123``; nothing if it has another form."""
    algorithm, _, digest = text.partition("=")
    return known_digests({algorithm: digest})


def _normalized(name: str) -> str:
    """Normalize a package name; return the empty string if it is invalid, such as a link to a parent folder."""
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName:
        return ""


def known_digests(stated: Mapping[str, str]) -> dict[str, str]:
    """Keep the digests of algorithms available here; a malformed digest becomes a text that no content matches.

    ``shake`` is left out, as its digests have no fixed length.
    """
    digests = {algorithm.lower(): digest.lower() for algorithm, digest in stated.items() if digest}
    return {
        algorithm: digest if _DIGEST.fullmatch(digest) else "malformed"
        for algorithm, digest in digests.items()
        if algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake")
    }


def moment(text: str) -> datetime | None:
    """Parse a time (RFC 3339), by default in UTC; return ``None`` if it is invalid."""
    try:
        read = datetime.fromisoformat(text)
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def one_line(text: str) -> str:
    """Reduce a name or reason to one line of printable characters of limited length.

    Valid file names remain unchanged.
    """
    if len(text) <= MAX_TEXT_LENGTH and text.isprintable() and "  " not in text:
        return text.strip()
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_TEXT_LENGTH]
