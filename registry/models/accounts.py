"""Users, their sessions, and sign-ins."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, String, Text, and_
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import AUTOINCREMENT, Enumerated, Model, UTCDateTime, utcnow


class UserState(enum.StrEnum):
    ACTIVE = "active"
    BLOCKED = "blocked"
    DEACTIVATED = "deactivated"


class ColorScheme(enum.StrEnum):
    AUTO = "auto"  # the preference of the browser
    LIGHT = "light"
    DARK = "dark"


class SignInMethod(enum.StrEnum):
    """How the user of a session was authenticated."""

    PASSWORD = "password"
    PROXY = "proxy"  # by the header of a trusted proxy
    OPENID_CONNECT = "openid_connect"


class User(Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(255))
    username_key: Mapped[str] = mapped_column(String(255), unique=True)  # lower case, as names are case-insensitive
    email: Mapped[str] = mapped_column(String(255))
    email_key: Mapped[str] = mapped_column(String(255), unique=True)
    name: Mapped[str] = mapped_column(String(255))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    must_change_password: Mapped[bool] = mapped_column(default=False)
    state: Mapped[UserState] = mapped_column(Enumerated(UserState), default=UserState.ACTIVE)
    is_admin: Mapped[bool] = mapped_column(default=False)
    is_external: Mapped[bool] = mapped_column(default=False)
    private_profile: Mapped[bool] = mapped_column(default=False)
    can_create_group: Mapped[bool] = mapped_column(default=True)
    projects_limit: Mapped[int] = mapped_column(default=100_000)
    bio: Mapped[str] = mapped_column(Text, default="")
    note: Mapped[str] = mapped_column(Text, default="")
    preferred_language: Mapped[str] = mapped_column(String(8), default="", server_default="")  # "": the browser's
    color_scheme: Mapped[ColorScheme] = mapped_column(
        Enumerated(ColorScheme), default=ColorScheme.AUTO, server_default="auto"
    )
    feed_token_number: Mapped[int] = mapped_column(default=0, server_default="0")  # see domain.accounts.feed_tokens
    # When an administrator set or confirmed the e-mail address; NULL for one that only its user has set.
    confirmed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # Until when the password is accepted although sign-in with passwords is turned off, as the shell has set it.
    password_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    last_sign_in_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    current_sign_in_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    second_factor_since: Mapped[datetime | None] = mapped_column(UTCDateTime)  # None: no second factor is asked for
    totp_secret: Mapped[str | None] = mapped_column(String(255))  # of the authenticator app, encrypted
    totp_used_step: Mapped[int | None] = mapped_column(BigInteger)  # of the last accepted code of the app

    @property
    def is_active(self) -> bool:
        return self.state is UserState.ACTIVE

    @property
    def has_second_factor(self) -> bool:
        return self.second_factor_since is not None

    @classmethod
    def has_confirmed_email(cls, email: str) -> ColumnElement[bool]:
        """Match the user with this e-mail address (case-insensitive), if it is confirmed."""
        return and_(cls.email_key == email.lower(), cls.confirmed_at.is_not(None))


class UserSession(Model):
    """A session of a browser, which exists until its user signs out. Only a digest of its secret is stored."""

    __tablename__ = "user_sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
    method: Mapped[SignInMethod] = mapped_column(Enumerated(SignInMethod), server_default="password")
    # Of the identity provider, to sign the user out there, too; encrypted with the secret of the session.
    id_token: Mapped[str | None] = mapped_column(Text)


class BegunSignIn(Model):
    """A sign-in with the right password that still needs the second factor. Only a digest of its secret is stored."""

    __tablename__ = "begun_sign_ins"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class Passkey(Model):
    """A passkey or security key of a user; ID and public key in base64url."""

    __tablename__ = "passkeys"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    credential_id: Mapped[str] = mapped_column(String(1400), unique=True)
    public_key: Mapped[str] = mapped_column(Text)
    sign_count: Mapped[int] = mapped_column(BigInteger)  # of the authenticator at the last use; 0: it does not count
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class RecoveryCode(Model):
    """A code that replaces the second factor once, of which only a digest is stored."""

    __tablename__ = "recovery_codes"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


class SignInAddress(Model):
    """An address from which a user has signed in, of which only a digest is stored."""

    __tablename__ = "sign_in_addresses"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_at: Mapped[datetime] = mapped_column(UTCDateTime)


class SignInFailures(Model):
    """Failed sign-ins that count against an address, or a login from an address; only a digest of them is stored."""

    __tablename__ = "sign_in_failures"
    __table_args__ = ()

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
