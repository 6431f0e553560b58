"""The audit log. Rows are only added, never changed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Model, UTCDateTime, utcnow


class AuditEvent(Model):
    """An action of a user or token on a record. Ids are not foreign keys, as events outlive the records."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, index=True)
    action: Mapped[str] = mapped_column(String(64))
    author: Mapped[str] = mapped_column(String(255))  # as displayed: "alice", "deploy token 7", "shell"
    author_id: Mapped[int | None]
    address: Mapped[str] = mapped_column(String(64), default="")
    namespace_id: Mapped[int | None] = mapped_column(index=True)
    target: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, object]] = mapped_column(JSON, default=dict)
