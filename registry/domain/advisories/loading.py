"""Updating the advisories from OSV's export, in transactions of some hundred records each.

A run that is interrupted leaves every advisory as in the old export or as in the new one, and the marks on packages as
the advisories are; the next run completes it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, BinaryIO

import orjson
from sqlalchemy import delete, insert, select

from registry.database import AdvisoryLock, changes_name, db, execute, transaction
from registry.domain import audit
from registry.domain.advisories import export, marks, osv
from registry.domain.advisories.batches import batches, bounded
from registry.domain.advisories.export import Member
from registry.domain.advisories.osv import Malformed, Record
from registry.errors import SourceError, quoted
from registry.models import MALICIOUS, Advisory, AdvisoryExport, AffectedPackage, PackageAdvisory

BATCH = 1000
BATCH_BYTES = 4 << 20  # of the records of a batch, which can take thirty times as much when they are parsed
MANY_NAMES = 100  # from here on, all cached responses become stale, which is one change instead of one for each name
MAX_SECONDS = 3600
MAX_LISTED = 20
_BLOCK_BYTES = 1 << 20
_FIELDS = ("id", "summary", "details", "published_at", "withdrawn_at", "cvss_score", "severity")
_advisories, _affected = Advisory.__table__, AffectedPackage.__table__


@dataclass
class Counts:
    """What an update found, in numbers of records.

    :ivar total: advisories about packages of the Python Package Index, each counted once.
    :ivar other: records about packages of other ecosystems only.
    :ivar repeated: further records with the id of an earlier one, which are ignored.
    :ivar malformed: records that cannot be read, and are ignored: an advisory that is already known remains.
    """

    total: int = 0
    malicious: int = 0
    withdrawn: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    other: int = 0
    repeated: int = 0
    malformed: int = 0

    @property
    def changes(self) -> int:
        return self.added + self.changed + self.removed


@dataclass(frozen=True)
class Update:
    """A completed update.

    :ivar is_same: whether the file is the one of the last update, and was not read further.
    :ivar malformed: names of malformed records, at most ``MAX_LISTED``.
    """

    counts: Counts
    is_same: bool = False
    malformed: tuple[str, ...] = ()


def update(file: BinaryIO, source: str, *, now: datetime, by: audit.Author) -> Update:
    """Make the advisories those of an export, and mark the packages that they affect; takes no advisory locks.

    :param source: the name of the file, without credentials.
    :raises SourceError: the file is not an export with advisories for PyPI, or too large; or the update takes too long,
        or another one began meanwhile.
    """
    sha256 = _digest(file)
    known = current_export()
    if known is not None and known.sha256 == sha256:
        with transaction(changes_answers=False):
            known.loaded_at = now
            audit.record(by, "advisories_updated", source, is_same=True)
        return Update(Counts(total=known.advisories), is_same=True)
    run = _Run()
    for batch in bounded(run.documents(export.members(file)), BATCH, BATCH_BYTES, attrgetter("size_bytes")):
        run.store(batch)
    if not run.counts.total:
        raise SourceError("The export has no advisories about packages of the Python Package Index.")
    for ids in batches(run.vanished(), BATCH):
        run.remove(ids)
    run.finish(sha256, source, now, by)
    return Update(run.counts, malformed=tuple(run.malformed))


def are_loaded() -> bool:
    """Return whether packages can be checked."""
    export = current_export()
    return export is not None and export.loaded_at is not None


def current_export() -> AdvisoryExport | None:
    """Return the export that the advisories are from; ``None`` before the first update."""
    return db.session.get(AdvisoryExport, 1)


@dataclass(frozen=True)
class _Document:
    """A parsed record, its size before, and the digest by which a change is noticed."""

    id: str
    content: dict[str, Any]
    size_bytes: int
    digest: str


@dataclass
class _Run:
    """One update in progress.

    :ivar id: written to the database, so that an earlier run stops when a later one begins.
    :ivar seen: the ids of all advisories that remain.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    seen: set[str] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    malformed: list[str] = field(default_factory=list)
    ends_at: float = field(default_factory=lambda: time.monotonic() + MAX_SECONDS)
    has_begun: bool = False

    def documents(self, members: Iterable[Member]) -> Iterator[_Document]:
        for member in members:
            self._refuse_late()
            text = member.content or b""
            try:
                content = orjson.loads(text)
                document = _Document(osv.id_of(content), content, len(text), _short_digest(text))
            except ValueError:
                self.note_malformed(member.name)
                continue
            if document.id in self.seen:
                self.counts.repeated += 1
            else:
                self.seen.add(document.id)
                yield document

    def note_malformed(self, name: str) -> None:
        self.counts.malformed += 1
        record_id = name.removesuffix(".json")
        if len(record_id) <= osv.LONGEST_ID:
            self.seen.add(record_id)  # if it is known, it remains as it is
        if len(self.malformed) < MAX_LISTED:
            self.malformed.append(name if name.isascii() and name.isprintable() and len(name) <= 100 else quoted(name))

    def store(self, documents: Collection[_Document]) -> None:
        """Add or replace the advisories whose records have changed."""
        stored = _digests(document.id for document in documents)
        changed = []
        for document in documents:
            if stored.get(document.id) != document.digest:
                changed += self._read(document)
            else:
                self._count(document.id, is_withdrawn=bool(document.content.get("withdrawn")))
        if changed:
            with self._transaction():
                _replace(changed, names=_names_of(stored) | {name for record, _ in changed for name in record.affected})
        self.counts.added += sum(record.id not in stored for record, _ in changed)
        self.counts.changed += sum(record.id in stored for record, _ in changed)

    def _read(self, document: _Document) -> list[tuple[Record, str]]:
        """Return the record of a document with its digest, unless it is malformed or about other ecosystems."""
        try:
            record = osv.read(document.content)
        except Malformed:
            self.note_malformed(f"{document.id}.json")
            return []
        if not record.affected:
            self.counts.other += 1
            self.seen.discard(document.id)
            return []
        self._count(record.id, is_withdrawn=record.withdrawn_at is not None)
        return [(record, document.digest)]

    def _count(self, advisory_id: str, *, is_withdrawn: bool) -> None:
        self.counts.total += 1
        self.counts.malicious += advisory_id.startswith(MALICIOUS)
        self.counts.withdrawn += is_withdrawn

    def vanished(self) -> list[str]:
        """Return the ids of the advisories that the export lacks."""
        vanished, last = [], ""
        statement = select(Advisory.id).order_by(Advisory.id).limit(BATCH)
        while ids := db.session.scalars(statement.where(Advisory.id > last)).all():
            vanished += [one for one in ids if one not in self.seen]
            last = ids[-1]
        return vanished

    def remove(self, ids: Collection[str]) -> None:
        with self._transaction():
            names = _names_of(ids)
            db.session.execute(delete(AffectedPackage).where(AffectedPackage.advisory_id.in_(ids)))
            db.session.execute(delete(PackageAdvisory).where(PackageAdvisory.advisory_id.in_(ids)))
            db.session.execute(delete(Advisory).where(Advisory.id.in_(ids)))
            _renew(names)
        self.counts.removed += len(ids)

    def finish(self, sha256: str, source: str, now: datetime, by: audit.Author) -> None:
        with self._transaction() as known:
            known.sha256, known.source, known.loaded_at, known.advisories = sha256, source, now, self.counts.total
            audit.record(by, "advisories_updated", source, **asdict(self.counts))

    def _refuse_late(self) -> None:
        """Require that there is still time.

        :raises SourceError: there is not.
        """
        if time.monotonic() > self.ends_at:
            raise SourceError(f"The update takes longer than {MAX_SECONDS} seconds; run it again to complete it.")

    @contextmanager
    def _transaction(self) -> Iterator[AdvisoryExport]:
        """Change advisories and marks in a transaction, which no publication overlaps (``AdvisoryLock.TREE``).

        :raises SourceError: the update takes too long, or another one began meanwhile.
        """
        self._refuse_late()
        with transaction(lock=AdvisoryLock.TREE, changes_answers=False) as session:
            known = session.get(AdvisoryExport, 1, populate_existing=True)
            if known is None:
                known = AdvisoryExport(id=1, run="", source="")
                session.add(known)
            if self.has_begun and known.run != self.id:
                raise SourceError("Another update has begun meanwhile, which makes this one superfluous.")
            known.run, known.sha256 = self.id, ""
            yield known
        self.has_begun = True


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _short_digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _digests(ids: Iterable[str]) -> dict[str, str]:
    """Return the digests of those records that are stored, by id."""
    rows = db.session.execute(select(Advisory.id, Advisory.digest).where(Advisory.id.in_(list(ids))))
    found = {row.id: row.digest for row in rows}
    db.session.rollback()  # no transaction stays open while records are read
    return found


def _names_of(ids: Iterable[str]) -> set[str]:
    """Return the package names that these advisories are about."""
    found = select(AffectedPackage.normalized_name).where(AffectedPackage.advisory_id.in_(list(ids)))
    return set(db.session.scalars(found))


def _replace(changed: Collection[tuple[Record, str]], names: Iterable[str]) -> None:
    """Store changed records in place of earlier ones.

    :param names: all package names that the records are or were about.
    """
    ids = [record.id for record, _ in changed]
    for column in (_affected.c.advisory_id, _advisories.c.id):
        execute(delete(column.table).where(column.in_(ids)))
    execute(insert(_advisories), [_advisory_row(record, digest) for record, digest in changed])
    execute(insert(_affected), [row for record, _ in changed for row in _affected_rows(record)])
    _renew(names)


def _advisory_row(record: Record, digest: str) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in _FIELDS}
    return {**row, "aliases": list(record.aliases), "digest": digest}


def _affected_rows(record: Record) -> Iterator[dict[str, Any]]:
    for name, affected in record.affected.items():
        yield {
            "advisory_id": record.id,
            "normalized_name": name,
            "ranges": affected.ranges,
            "versions": affected.versions,
        }


def _renew(names: Iterable[str]) -> None:
    """Set the marks on packages with these names anew; cached pages of the names, also upstream's, become stale.

    Takes no advisory locks.
    """
    names = set(names)
    marks.mark_all(names)
    with transaction(changes_answers=len(names) > MANY_NAMES):
        if len(names) <= MANY_NAMES:
            for name in names:
                changes_name(name)
