"""The pages of the upstream index that are kept in the database, for all processes, and asked for again in time.

A request for a page that is due waits for the index. If that does not answer, the kept page is used, however old.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import orjson
from packaging.utils import NormalizedName
from sqlalchemy import ColumnElement, bindparam, delete, exists, func, select, update

from registry.database import Reading, Upsert, changes_name, db, execute, read, transaction, utcnow
from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream.protocol import PAUSE_SECONDS, Answer, IndexFailed, PageIndex
from registry.domain.upstream.waiting import Fetches, Pauses, Places
from registry.errors import DiskFull, UpstreamBusy, UpstreamFailed
from registry.models import CachedFile, KeptPage

ABSENT_SECONDS = 60  # for which an answer holds that the index has no such name
LEAST_SECONDS = 5  # between two requests for a page, whatever clients ask for
FORGOTTEN_SECONDS = 3600  # after which it is forgotten that the index has no such name
MOST_FILES = 50_000  # on the pages in memory
MOST_KEPT = 50_000  # pages in the database, about half a gigabyte
BATCH = 50
_COMPRESSION = 1  # 5 ms for a megabyte

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """A kept page without its document.

    :ivar digest: of the document; ``None`` if the index has no such name.
    """

    digest: str | None
    etag: str
    checked_at: datetime


class KeptPages:
    """The pages of the upstream index, for all namespaces (``protocol.Upstream``).

    :param folder: for the locks of fetches.
    :param fresh_seconds: after which a page is asked for again.
    :param threads: that answer requests.
    """

    def __init__(self, index: PageIndex, folder: Path, *, fresh_seconds: int, threads: int) -> None:
        self.host = index.host
        self._index = index
        self._fresh = timedelta(seconds=fresh_seconds)
        self._places = Places(threads)
        self._fetches = Fetches(folder)
        self._pauses = Pauses()
        self._parsed = _ParsedPages()

    def page(self, name: NormalizedName, *, is_fresh: bool = False) -> SimplePage | None:
        kept, now = self._kept(name), utcnow()
        if kept is not None and not self._is_due(kept, is_fresh, now):
            return self._shown(name, kept)
        _give_connection_back()  # while the index is asked
        try:
            if self._pauses.is_paused(name):
                raise UpstreamFailed
            with self._places.taken(), self._fetches.alone(name):
                return self._asked(name, is_fresh)
        except (UpstreamFailed, UpstreamBusy) as error:
            return self._outdated(name, error)

    def count(self) -> int:
        """Return the number of pages of the index that are kept."""
        return db.session.scalar(select(func.count()).where(*self._of_index())) or 0

    def kept_pages(self) -> Iterator[tuple[NormalizedName, SimplePage]]:
        """Yield all pages that are kept, by name."""
        last = ""
        statement = select(KeptPage.name, KeptPage.document).where(*self._of_index()).order_by(KeptPage.name)
        while rows := db.session.execute(statement.where(KeptPage.name > last).limit(BATCH)).all():
            db.session.rollback()  # do not keep a transaction open while the pages are used
            for name, document in rows:
                yield NormalizedName(name), _page(name, document or b"")
            last = rows[-1].name
        db.session.rollback()

    def keep(self, name: NormalizedName, body: bytes) -> None:
        """Keep a page in JSON that came another way, unless there is one.

        :raises SourceError: it is malformed.
        """
        page, kept = self._index.read_page(name, body), self._kept(name)
        db.session.rollback()
        if kept is None or kept.digest is None:
            document = _document(page)
            _keep(name, self._index.url, document, _Kept(sha256(document).hexdigest(), "", utcnow()), kept)

    def tend(self) -> int:
        """Remove the pages that were not asked for the longest time if there are too many, and return their number.

        A page that is in use is confirmed again and again. Pages without files in the cache go first: the others can be
        needed while the index is away. Takes no advisory locks: what is removed meanwhile is not there any more.
        """
        excess = (db.session.scalar(select(func.count()).select_from(KeptPage)) or 0) - MOST_KEPT
        before = utcnow() - 2 * self._fresh  # responses that were made of newer ones can still be repeated
        number = excess + MOST_KEPT // 20 if excess > 0 else 0  # more than necessary, so that it is rarely necessary
        unused = [row.name for row in read(_UNUSED, {"before": before, "number": number})] if number else []
        db.session.rollback()
        for start in range(0, len(unused), BATCH):
            with transaction(changes_answers=False):
                execute(_REMOVE, {"names": unused[start : start + BATCH], "before": before})
        return len(unused)

    def _of_index(self) -> tuple[ColumnElement[bool], ...]:
        return KeptPage.index_url == self._index.url, KeptPage.digest.is_not(None)

    def _is_due(self, kept: _Kept, is_fresh: bool, now: datetime) -> bool:
        lasts = timedelta(seconds=ABSENT_SECONDS) if kept.digest is None else self._fresh
        return now - kept.checked_at >= (timedelta(seconds=LEAST_SECONDS) if is_fresh else lasts)

    def _asked(self, name: NormalizedName, is_fresh: bool) -> SimplePage | None:
        """Return a page that is due, while no other request asks for it.

        :raises IndexFailed: the index does not answer.
        """
        kept = self._kept(name)  # another request can have asked in the meantime
        _give_connection_back()
        if kept is not None and not self._is_due(kept, is_fresh, utcnow()):
            return self._shown(name, kept)
        known_etag = kept.etag if kept is not None and kept.digest is not None else ""
        try:
            answer = self._index.page(name, known_etag)
        except IndexFailed as error:
            logger.warning("The page of %s in the upstream index is not usable: %s.", name, error.cause)
            self._pauses.note_failure(name, PAUSE_SECONDS, error.pause_seconds)
            raise
        self._pauses.note_answer(name)
        return self._stored(name, kept, answer)

    def _stored(self, name: NormalizedName, kept: _Kept | None, answer: Answer) -> SimplePage | None:
        """Keep an answer, and return its page. What cannot be kept is used nonetheless."""
        now = utcnow()
        try:
            if answer.is_unchanged and kept is not None:
                _confirm(name, kept.etag, now)
                return self._shown(name, replace(kept, checked_at=now))
            document = None if answer.page is None else _document(answer.page)
            digest = None if document is None else sha256(document).hexdigest()
            _keep(name, self._index.url, document, _Kept(digest, answer.etag, now), kept)
        except DiskFull:
            logger.warning("The disk has no room for the page of %s in the upstream index.", name)
        if answer.page is None:
            return None
        return replace(answer.page, checked_at=now, holds_until=now + self._fresh)

    def _outdated(self, name: NormalizedName, error: UpstreamFailed | UpstreamBusy) -> SimplePage | None:
        """Return the kept page, although it is due.

        :raises UpstreamFailed: there is none.
        :raises UpstreamBusy: there is none, and too many requests wait for the index.
        """
        kept = self._kept(name)
        page = None if kept is None or kept.digest is None else self._shown(name, kept)
        if page is None:
            raise error.explained(
                error.title,
                f"The package {name} is not here, and {self._index.host}, where it could be, does not answer now. "
                "Nothing of it is kept here. Try again later.",
            )
        return replace(page, is_outdated=True, holds_until=utcnow() + timedelta(seconds=PAUSE_SECONDS))

    def _kept(self, name: NormalizedName) -> _Kept | None:
        rows = _KEPT.rows({"of_name": name, "url": self._index.url})
        return None if not rows else _Kept(rows[0].digest, rows[0].etag, rows[0].checked_at)

    def _shown(self, name: NormalizedName, kept: _Kept) -> SimplePage | None:
        if kept.digest is None:
            return None
        page = self._parsed.find(name, kept.digest)
        if page is None:
            rows = _DOCUMENT.rows({"of_name": name, "of_digest": kept.digest})
            if not rows:  # another request has replaced it in the meantime
                present = self._kept(name)
                return None if present is None else self._shown(name, present)
            page = _page(name, rows[0].document)
            self._parsed.keep(page, kept.digest)
        return replace(page, checked_at=kept.checked_at, holds_until=kept.checked_at + self._fresh)


class _ParsedPages:
    """The pages that were last used, up to a total number of files."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pages: dict[str, tuple[str, SimplePage]] = {}  # least recently used first
        self._files = 0

    def find(self, name: str, digest: str) -> SimplePage | None:
        with self._lock:
            found = self._pages.pop(name, None)
            if found is None:
                return None
            self._pages[name] = found
        return found[1] if found[0] == digest else None

    def keep(self, page: SimplePage, digest: str) -> None:
        with self._lock:
            self._drop(page.name)
            self._pages[page.name] = (digest, page)
            self._files += _weight(page)
            while self._files > MOST_FILES:
                self._drop(next(iter(self._pages)))

    def _drop(self, name: str) -> None:
        found = self._pages.pop(name, None)
        if found is not None:
            self._files -= _weight(found[1])


def _weight(page: SimplePage) -> int:
    return 1 + len(page.files)


_KEPT = Reading(
    select(KeptPage.digest, KeptPage.etag, KeptPage.checked_at).where(
        KeptPage.name == bindparam("of_name"), KeptPage.index_url == bindparam("url")
    )
)
_DOCUMENT = Reading(
    select(KeptPage.document).where(KeptPage.name == bindparam("of_name"), KeptPage.digest == bindparam("of_digest"))
)
_table = KeptPage.__table__
_CONFIRM = (
    update(_table)
    .where(_table.c.name == bindparam("of_name"))
    .values(checked_at=bindparam("now"), etag=bindparam("new_etag"))
)
_KEEP = Upsert(_table)
_REMOVE = delete(_table).where(
    _table.c.name.in_(bindparam("names", expanding=True)), _table.c.checked_at < bindparam("before")
)
_UNUSED = (
    select(KeptPage.name)
    .where(KeptPage.checked_at < bindparam("before"))
    .order_by(exists().where(CachedFile.normalized_name == KeptPage.name), KeptPage.checked_at, KeptPage.name)
    .limit(bindparam("number"))
)
_FORGET = delete(_table).where(_table.c.digest.is_(None), _table.c.checked_at < bindparam("before"))


def _give_connection_back() -> None:
    """End the reading transaction of the session, if there is one."""
    if db.session.registry.has():
        db.session.commit()


def _confirm(name: str, etag: str, now: datetime) -> None:
    """Record that a kept page is still the newest; takes no advisory locks."""
    with transaction(changes_answers=False, is_durable=False):
        execute(_CONFIRM, {"of_name": name, "new_etag": etag, "now": now})


def _keep(name: str, index_url: str, document: bytes | None, new: _Kept, before: _Kept | None) -> None:
    """Keep a page in place of the one before, or confirm that one; takes no advisory locks."""
    if before is not None and before.digest == new.digest:
        _confirm(name, new.etag, new.checked_at)
        return
    with transaction(changes_answers=False, is_durable=False):  # what is lost is asked for again
        values = {
            "name": name, "index_url": index_url, "document": document, "digest": new.digest, "etag": new.etag,
            "checked_at": new.checked_at, "changed_at": new.checked_at,
        }  # fmt: skip
        _KEEP.execute(values)
        if document is None:
            execute(_FORGET, {"before": new.checked_at - timedelta(seconds=FORGOTTEN_SECONDS)})
        if before is not None:  # otherwise nothing about the name can be cached
            changes_name(name)


def _document(page: SimplePage) -> bytes:
    """Return what the registry uses of a page, in a form that is the same for equal pages."""
    files = [tuple(file._replace(uploaded_at=None)) for file in page.files]
    times = [None if file.uploaded_at is None else file.uploaded_at.isoformat() for file in page.files]
    return zlib.compress(orjson.dumps([page.versions, page.status, page.status_reason, files, times]), _COMPRESSION)


_TIME = SimpleFile._fields.index("uploaded_at")


def _file(values: list[Any], time: str | None) -> SimpleFile:
    if time is not None:
        values[_TIME] = datetime.fromisoformat(time)
    return SimpleFile(*values)


def _page(name: str, document: bytes) -> SimplePage:
    versions, status, status_reason, files, times = orjson.loads(zlib.decompress(document))
    return SimplePage(
        name=name,
        title=name,
        versions=tuple(versions),
        files=tuple(map(_file, files, times)),
        status=status,
        status_reason=status_reason,
    )
