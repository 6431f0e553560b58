"""Accounts of identity providers, with which users sign in, and the roles that follow from groups there."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.database import AUTOINCREMENT, Enumerated, Model, UTCDateTime, utcnow
from registry.models.accounts import User
from registry.models.namespaces import Group, Role


class UserIdentity(Model):
    """An account of an identity provider, with which its user signs in; a user has one of each issuer at most."""

    __tablename__ = "user_identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"), UniqueConstraint("user_id", "issuer"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    user: Mapped[User] = relationship(lazy="raise")


class ProviderRole(Model):
    """The role in a group that the people in a group of the identity provider have."""

    __tablename__ = "provider_roles"
    __table_args__ = (UniqueConstraint("provider_group", "group_id"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(primary_key=True)
    provider_group: Mapped[str] = mapped_column(String(255))
    group_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id", ondelete="CASCADE"), index=True)
    role: Mapped[Role] = mapped_column(Enumerated(Role))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    group: Mapped[Group] = relationship(lazy="raise")
