"""The Simple repository API as frozen values: the index, the page of one name, and their JSON form.

PyPA "Simple repository API" 1.4 (PEP 503, 592, 629, 691, 700, 714, 792). The HTML form is a template. Tuples in a
defined order: equal inputs give equal bytes, so that an ETag can be a digest of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

API_VERSION = "1.4"
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML = "text/html"


@dataclass(frozen=True)
class SimpleFile:
    """One file on a simple page.

    :param url: absolute and without a fragment.
    :param requires_python: the file's own value; empty when it has none.
    :param core_metadata_sha256: digest of ``<url>.metadata``; ``None`` when that is not offered.
    :param yanked_reason: why the file is yanked, which may be empty; ``None`` when it is not.
    """

    filename: str
    url: str
    sha256: str
    size_bytes: int
    requires_python: str
    uploaded_at: datetime
    core_metadata_sha256: str | None
    yanked_reason: str | None

    @property
    def upload_time(self) -> str:
        """RFC 3339 in UTC with a Z and at most six decimals (PEP 700)."""
        return self.uploaded_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class SimplePage:
    """The files of one package name, oldest first.

    :param name: normalized.
    :param title: the name as first uploaded.
    :param versions: in PEP 440 order, those without files too (PEP 700).
    :param status: ``active``, ``deprecated``, ``archived`` or ``quarantined`` (PEP 792).
    :param status_reason: may be empty.
    """

    name: str
    title: str
    versions: tuple[str, ...]
    files: tuple[SimpleFile, ...]
    status: str
    status_reason: str


@dataclass(frozen=True)
class SimpleIndex:
    """The package names of a namespace, sorted: normalized name, shown name and address of the page."""

    title: str
    names: tuple[tuple[str, str, str], ...]


def page_json(page: SimplePage) -> str:
    """PEP 691 with PEP 700's keys; ``dist-info-metadata`` is never written (pip 22.3 to 23.1 fail on it)."""
    status = {"status": page.status} | ({"reason": page.status_reason} if page.status_reason else {})
    return _dump(
        {
            "meta": {"api-version": API_VERSION},
            "name": page.name,
            "project-status": status,
            "versions": list(page.versions),
            "files": [_file_json(file) for file in page.files],
        }
    )


def index_json(index: SimpleIndex) -> str:
    return _dump({"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name, _, _ in index.names]})


def _file_json(file: SimpleFile) -> dict[str, object]:
    entry: dict[str, object] = {
        "filename": file.filename,
        "url": file.url,
        "hashes": {"sha256": file.sha256},
        "size": file.size_bytes,
        "upload-time": file.upload_time,
        # An empty text would say that it is not yanked.
        "yanked": file.yanked_reason is not None and (file.yanked_reason or True),
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    if file.core_metadata_sha256:
        entry["core-metadata"] = {"sha256": file.core_metadata_sha256}
    return entry


def _dump(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
