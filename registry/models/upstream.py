"""The cache of the upstream index, which can be fetched again, so backups leave these tables out."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Date, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Model, PartialIndex, UTCDateTime, utcnow

IS_CACHE = "is_cache"  # in the ``info`` of a table


class CachedFile(Model):
    """A file of the upstream, or its core metadata document, whose content is in the store.

    The object can be that of a published file, too. Neither is removed while the other refers to it.
    """

    __tablename__ = "cached_files"
    __table_args__: Any = {"info": {IS_CACHE: True}}

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    # As on the upstream's page; a core metadata document has the suffix ``.metadata``. Of files with equal content, the
    # first one that was asked for.
    filename: Mapped[str] = mapped_column(Text)
    normalized_name: Mapped[str] = mapped_column(String(255), index=True)
    version: Mapped[str] = mapped_column(String(255))  # from the file name; "" if it has none that is valid
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    uploaded_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # to the upstream, if known
    stored_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    last_used_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, index=True)  # exact to a few minutes


class UpstreamFetch(Model):
    """A file of the upstream that was downloaded through a project or group, on which changed rules can be tried.

    The row remains after its namespace and the cached file were removed, until it is too old to count.
    """

    __tablename__ = "upstream_fetches"
    __table_args__: Any = {"info": {IS_CACHE: True}}

    namespace_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # never that of another one later
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    filename: Mapped[str] = mapped_column(Text)
    normalized_name: Mapped[str] = mapped_column(String(255))
    uploaded_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # as the upstream states it
    fetched_on: Mapped[date] = mapped_column(Date, index=True)  # the last day (UTC)


class UpstreamAsk(Model):
    """The latest answer to requests for a package name in a project or group, and where it came from.

    The row remains after its namespace was removed, until it is old.
    """

    __tablename__ = "upstream_asks"

    namespace_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # never that of another one later
    normalized_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    source: Mapped[str] = mapped_column(String(20))  # as in ``upstream.asks.Answer``, like the following
    rule: Mapped[str] = mapped_column(String(20))
    set_in: Mapped[str] = mapped_column(Text)
    withheld: Mapped[int]
    asked_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)

    __table_args__: Any = (
        Index("ix_upstream_asks_namespace_id_asked_at", "namespace_id", "asked_at"),
        {"info": {IS_CACHE: True}},
    )


class KeptPage(Model):
    """The page of a package name in the upstream index, or that it has no such name."""

    __tablename__ = "upstream_pages"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)  # normalized
    index_url: Mapped[str] = mapped_column(Text)  # of the index that has the page; those of another one are not used
    # What the registry uses of the page, compressed, and the digest of that; ``None`` if the index has no such name.
    document: Mapped[bytes | None] = mapped_column(LargeBinary)
    digest: Mapped[str | None] = mapped_column(String(64))
    etag: Mapped[str] = mapped_column(Text)  # as the index states it; "" if it states none
    checked_at: Mapped[datetime] = mapped_column(UTCDateTime)  # when the index last confirmed it
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime)

    __table_args__: Any = (
        PartialIndex("ix_upstream_pages_absent", "checked_at", where="digest IS NULL"),
        {"info": {IS_CACHE: True}},
    )
