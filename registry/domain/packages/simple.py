"""The Simple repository API as frozen values: the index, the page of one name, and their JSON form.

PyPA specifications, "Simple repository API" 1.4 (PEP 503, 592, 629, 691, 700, 714, 740, 792). The HTML form is a
template. Tuples have a defined order, so that equal inputs give equal bytes and an ETag can be their digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

API_VERSION = "1.4"
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML = "text/html"


class SimpleFile(NamedTuple):  # pages can have thousands; a frozen dataclass takes four times as long to create
    """One file on a simple page.

    :ivar url: absolute, without a fragment.
    :ivar size_bytes: ``None`` if the upstream index does not state it.
    :ivar requires_python: the file's own value; empty if it has none.
    :ivar uploaded_at: ``None`` if the upstream index does not state it.
    :ivar core_metadata_sha256: digest of ``<url>.metadata``; ``None`` if that document is not offered.
    :ivar yanked_reason: the reason for a yank, possibly empty; ``None`` if the file is not yanked.
    :ivar provenance: URL of the file's attestations (PEP 740); ``None`` if there are none.
    """

    filename: str
    url: str
    sha256: str
    size_bytes: int | None
    requires_python: str
    uploaded_at: datetime | None
    core_metadata_sha256: str | None
    yanked_reason: str | None
    provenance: str | None = None

    @property
    def upload_time(self) -> str:
        """The upload time in UTC (RFC 3339), with a ``Z`` and at most six decimals (PEP 700); empty if unknown."""
        if self.uploaded_at is None:
            return ""
        moment = self.uploaded_at if self.uploaded_at.tzinfo is UTC else self.uploaded_at.astimezone(UTC)
        return moment.isoformat("T", "microseconds")[: -len("+00:00")] + "Z"


class Withheld(NamedTuple):
    """A file of the upstream index that a rule of the registry keeps from clients.

    :ivar rule: ``age``, ``fixed_date``, ``blocked``, ``allowed``, ``malicious``, or ``cvss``.
    :ivar set_in: full path of the group that has the rule, or ``instance``.
    :ivar until: when the rule offers the file; ``None`` if it never does.
    :ivar detail: the reason, in a sentence for people.
    """

    file: SimpleFile
    rule: str
    set_in: str
    until: datetime | None
    detail: str


@dataclass(frozen=True)
class SimplePage:
    """The files of one package name, oldest first.

    :ivar name: normalized.
    :ivar title: the name as first uploaded.
    :ivar versions: in PEP 440 order, including versions without files (PEP 700).
    :ivar status: ``active``, ``deprecated``, ``archived``, or ``quarantined`` (PEP 792).
    :ivar status_reason: possibly empty.
    :ivar withheld: files of the upstream index that are not shown, and why.
    :ivar checked_at: when the upstream index last confirmed its page; ``None`` for the registry's own.
    :ivar holds_until: when a page of the upstream index has to be asked for again; ``None`` for the registry's own.
    :ivar is_outdated: whether that was due, but the upstream index did not answer.
    """

    name: str
    title: str
    versions: tuple[str, ...]
    files: tuple[SimpleFile, ...]
    status: str
    status_reason: str
    withheld: tuple[Withheld, ...] = ()
    checked_at: datetime | None = None
    holds_until: datetime | None = None
    is_outdated: bool = False


@dataclass(frozen=True)
class SimpleIndex:
    """The package names of a namespace.

    :ivar names: sorted triples of normalized name, displayed name, and URL of the page.
    """

    title: str
    names: tuple[tuple[str, str, str], ...]


def page_json(page: SimplePage) -> bytes:
    """Render a page as JSON (PEP 691, with the keys of PEP 700).

    ``dist-info-metadata`` is never included, as pip 22.3 to 23.1 fail on it.
    """
    status = {"status": page.status} | ({"reason": page.status_reason} if page.status_reason else {})
    return _rendered(
        {
            "meta": {"api-version": API_VERSION},
            "name": page.name,
            "project-status": status,
            "versions": list(page.versions),
            "files": [_file_json(file) for file in page.files],
        }
    )


def index_json(index: SimpleIndex) -> bytes:
    return _rendered({"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name, _, _ in index.names]})


def _rendered(value: dict[str, object]) -> bytes:
    """Return a value as JSON that takes up no more memory than its length, as pages are kept.

    What orjson returns occupies the next power of two.
    """
    return bytes(memoryview(orjson.dumps(value, option=orjson.OPT_UTC_Z)))


def _file_json(file: SimpleFile) -> dict[str, object]:
    entry: dict[str, object] = {
        "filename": file.filename,
        "url": file.url,
        "hashes": {"sha256": file.sha256},
    }
    if file.size_bytes is not None:
        entry["size"] = file.size_bytes
    if file.uploaded_at is not None:
        # orjson writes the same several times as fast, but leaves out fractions that are zero.
        is_alike = file.uploaded_at.microsecond and file.uploaded_at.tzinfo is UTC
        entry["upload-time"] = file.uploaded_at if is_alike else file.upload_time
    # An empty string would mean that the file is not yanked.
    entry["yanked"] = file.yanked_reason is not None and (file.yanked_reason or True)
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    if file.core_metadata_sha256:
        entry["core-metadata"] = {"sha256": file.core_metadata_sha256}
    if file.provenance:
        entry["provenance"] = file.provenance
    return entry
