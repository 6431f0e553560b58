"""The cache of the upstream as one file, which carries it into a network without the upstream.

The file is a tar archive, readable by any tar program: ``files.jsonl`` lists the files, then come the pages, as the
Simple API has them, and the contents of the files under their digests. What is imported is trusted no more than the
upstream: pages are read as its responses are, and contents compared with their digests. Names of members are never used
as paths.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from packaging.utils import NormalizedName, canonicalize_name
from sqlalchemy import select

from registry.database import db
from registry.domain.listings import moment
from registry.domain.new_files import new_file
from registry.domain.packages import simple
from registry.domain.upstream import cached
from registry.domain.upstream.pages import KeptPages
from registry.errors import CarryingRefused, SourceError
from registry.models import CachedFile
from registry.storage import ObjectMissing, Storage, object_key

LIST = "files.jsonl"
MAX_LIST_BYTES = 256 << 20
MAX_PAGE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
BATCH = 500
_FILE = re.compile(r"files/[0-9a-f]{2}/([0-9a-f]{64})")
_PAGE = re.compile(r"pages/([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Carried:
    """What was exported or imported.

    :ivar skipped: number of files and pages that were left out, as they are missing, malformed, or damaged.
    """

    files: int = 0
    size_bytes: int = 0
    pages: int = 0
    skipped: int = 0

    def __add__(self, other: Carried) -> Carried:
        return Carried(
            self.files + other.files, self.size_bytes + other.size_bytes, self.pages + other.pages,
            self.skipped + other.skipped,
        )  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """A file in the list.

    :ivar uploaded_at: to the upstream, in ISO 8601; ``None`` if it is not known, as in older exports.
    """

    sha256: str
    filename: str
    normalized_name: str
    size_bytes: int
    uploaded_at: str | None = None

    @classmethod
    def of(cls, row: CachedFile) -> _Entry:
        uploaded_at = None if row.uploaded_at is None else row.uploaded_at.isoformat()
        return cls(row.sha256, row.filename, row.normalized_name, row.size_bytes, uploaded_at)


def export(path: Path, storage: Storage, pages: KeptPages, now: datetime) -> Carried:
    """Write all kept files and pages to a new file.

    :raises CarryingRefused: the file exists, or another process is writing it.
    """
    entries = list(_entries())
    exported = Carried()
    with (
        new_file(path, CarryingRefused, 0o666) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        _add(archive, LIST, b"".join(json.dumps(asdict(entry)).encode() + b"\n" for entry in entries), now)
        for name, page in pages.kept_pages():
            _add(archive, f"pages/{name}.json", simple.page_json(page), now)
            exported += Carried(pages=1)
        for entry in entries:
            try:
                with storage.open(object_key(entry.sha256)) as content:
                    archive.addfile(_member(f"files/{entry.sha256[:2]}/{entry.sha256}", entry.size_bytes, now), content)
            except ObjectMissing:
                exported += Carried(skipped=1)
            else:
                exported += Carried(files=1, size_bytes=entry.size_bytes)
    return exported


def import_(path: Path, storage: Storage, pages: KeptPages, *, most_bytes: int, now: datetime) -> Carried:
    """Keep the files and pages of an export. Those that are kept already are left as they are.

    :param most_bytes: of all files that are kept.
    :raises CarryingRefused: the file is not an export, or has more than can be kept.
    """
    imported = Carried()
    try:
        with tarfile.open(path, mode="r|") as archive:
            members = iter(archive)
            entries = _listed(archive, next(members, None), path)
            if sum(entry.size_bytes for entry in entries.values()) > most_bytes:
                raise CarryingRefused(f"{path} has more than can be kept (REGISTRY_UPSTREAM_CACHE_SIZE).")
            for member in members:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    imported += Carried(skipped=1)
                elif (page_name := _PAGE.fullmatch(member.name)) is not None:
                    imported += _import_page(canonicalize_name(page_name[1]), member, content, pages)
                else:
                    imported += _import_file(entries, member, content, storage, now)
    except (tarfile.TarError, EOFError) as error:
        raise CarryingRefused(f"{path} is not an export of the upstream's cache, or is damaged.") from error
    return imported


def _entries() -> Iterator[_Entry]:
    last = ""
    statement = select(CachedFile).order_by(CachedFile.sha256).limit(BATCH)
    while rows := db.session.scalars(statement.where(CachedFile.sha256 > last)).all():
        yield from map(_Entry.of, rows)
        last = rows[-1].sha256
        db.session.rollback()
    db.session.rollback()


def _listed(archive: tarfile.TarFile, member: tarfile.TarInfo | None, path: Path) -> dict[str, _Entry]:
    """Return the files that an archive lists at its beginning, by digest.

    :raises CarryingRefused: it is not an export.
    """
    content = archive.extractfile(member) if member is not None and member.name == LIST else None
    if member is None or content is None or member.size > MAX_LIST_BYTES:
        raise CarryingRefused(f"{path} is not an export of the upstream's cache.")
    try:
        entries = [_Entry(**json.loads(line)) for line in content]
        if not all(map(_is_valid, entries)):
            raise ValueError
    except (ValueError, TypeError, RecursionError) as error:
        raise CarryingRefused(f"{path} has a malformed list of files.") from error
    return {entry.sha256: entry for entry in entries}


def _is_valid(entry: _Entry) -> bool:
    texts = (entry.sha256, entry.filename, entry.normalized_name)
    return (
        all(isinstance(text, str) and 0 < len(text) <= 255 + len(cached.METADATA_SUFFIX) for text in texts)
        and _SHA256.fullmatch(entry.sha256) is not None
        and canonicalize_name(entry.normalized_name) == entry.normalized_name
        and "/" not in entry.filename
        and isinstance(entry.size_bytes, int)
        and entry.size_bytes >= 0
        and (entry.uploaded_at is None or moment(entry.uploaded_at) is not None)
    )


def _import_page(name: NormalizedName, member: tarfile.TarInfo, content: IO[bytes], pages: KeptPages) -> Carried:
    if member.size > MAX_PAGE_BYTES:
        return Carried(skipped=1)
    try:
        pages.keep(name, content.read())
    except SourceError:
        return Carried(skipped=1)
    return Carried(pages=1)


def _import_file(
    entries: Mapping[str, _Entry], member: tarfile.TarInfo, content: IO[bytes], storage: Storage, now: datetime
) -> Carried:
    """Keep a file that is listed.

    :param entries: the files in the list, by digest.
    """
    digest = _FILE.fullmatch(member.name)
    entry = None if digest is None else entries.get(digest[1])
    if entry is None or member.size != entry.size_bytes or not _keep(entry, content, storage, now):
        return Carried(skipped=1)
    return Carried(files=1, size_bytes=entry.size_bytes)


def _keep(entry: _Entry, content: IO[bytes], storage: Storage, now: datetime) -> bool:
    """Keep a file if its content has the right digest."""
    if cached.is_cached(entry.sha256):
        return True
    db.session.rollback()  # do not keep a transaction open while the content is read
    with closing(storage.stage()) as staged:
        shutil.copyfileobj(content, staged, CHUNK_BYTES)
        if staged.sha256 != entry.sha256:
            return False
        staged.filename = entry.filename
        cached.store(
            staged, storage, filename=entry.filename, normalized_name=entry.normalized_name, now=now,
            uploaded_at=moment(entry.uploaded_at or ""),
        )  # fmt: skip
    return True


def _add(archive: tarfile.TarFile, name: str, content: bytes, now: datetime) -> None:
    archive.addfile(_member(name, len(content), now), io.BytesIO(content))


def _member(name: str, size_bytes: int, now: datetime) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size_bytes, 0o600, int(now.timestamp())
    return member
