"""Lists of users, and how many there are of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, exists, func, not_, or_, select, true

from registry.database import contains, db
from registry.domain import access
from registry.domain.access import Principal
from registry.domain.paging import Listing
from registry.models import (
    Membership,
    Namespace,
    User,
    UserState,
)

SHORTEST_PART = 2  # characters of a name, except in scripts such as Japanese, which have names of one


@dataclass(frozen=True)
class UserFilter:
    """Filter and order of a list of users; ``None`` does not filter.

    :param search: part of the name, user name, or e-mail address; case-insensitive.
    """

    username: str | None = None
    search: str = ""
    states: tuple[UserState, ...] = tuple(UserState)
    is_admin: bool | None = None
    is_external: bool | None = None
    has_second_factor: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    order_by: str = "id"
    descending: bool = True


def users(wanted: UserFilter, *, by_email: bool) -> Listing[User]:
    """Return the users that match a filter.

    :param by_email: whether ``search`` matches parts of e-mail addresses, which reveals them, and addresses that are
        not confirmed; if not, only whole ones that are.
    """
    listing = select(User).where(User.state.in_(wanted.states))
    if wanted.username is not None:
        listing = listing.where(User.username_key == wanted.username.lower())
    if wanted.search:
        text = wanted.search
        found = contains(User.name, text) | contains(User.username_key, text)
        found |= contains(User.email_key, text) if by_email else User.has_confirmed_email(text)
        listing = listing.where(found)
    if wanted.is_admin is not None:
        listing = listing.where(User.is_admin.is_(wanted.is_admin))
    if wanted.is_external is not None:
        listing = listing.where(User.is_external.is_(wanted.is_external))
    if wanted.has_second_factor is not None:
        has_one = User.second_factor_since.is_not(None)
        listing = listing.where(has_one if wanted.has_second_factor else ~has_one)
    if wanted.created_after is not None:
        listing = listing.where(User.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        listing = listing.where(User.created_at <= wanted.created_before)
    keys = (getattr(User, wanted.order_by), User.id)
    return listing.order_by(*(key.desc() for key in keys) if wanted.descending else keys)


def addable(namespace: Namespace, text: str, *, to: Principal) -> Listing[User]:
    """Select the active users to suggest as members for a part of a name or a confirmed address, best matches first.

    Direct members are left out, and so are users with a private profile who are in no group or project with the
    principal. External users are only shown users who are.

    :param to: holds ``ADMIN_MEMBERS`` in the namespace.
    """
    key = text.lower()
    matching = User.has_confirmed_email(text)
    if len(text) >= SHORTEST_PART or not text.isascii():
        matching |= contains(User.name, text) | contains(User.username_key, text)
    is_direct = exists().where(Membership.user_id == User.id, Membership.namespace_id == namespace.id)
    begins = or_(
        User.username_key.startswith(key, autoescape=True), func.lower(User.name).startswith(key, autoescape=True)
    )
    return (
        select(User)
        .where(User.state == UserState.ACTIVE, matching, not_(is_direct), _is_shown_to(to))
        .order_by(case((User.username_key == key, 0), (begins, 1), else_=2), func.lower(User.name), User.id)
    )


def _is_shown_to(principal: Principal) -> ColumnElement[bool]:
    if principal.is_admin:
        return true()
    shares_namespace = exists().where(
        Membership.user_id == User.id,
        Membership.namespace_id.in_(select(Namespace.id).where(access.joined(principal))),
        access.unexpired(),
    )
    return or_(User.private_profile.is_(False), shares_namespace) if principal.is_internal_user else shares_namespace


@dataclass(frozen=True)
class Counts:
    """The numbers of users of each kind, for administrators."""

    active: int
    administrators: int
    external: int
    with_second_factor: int
    without_second_factor: int
    blocked: int
    deactivated: int


def counts() -> Counts:
    """Count the users of each kind in one statement; a user can be of several kinds."""
    row = db.session.execute(
        select(
            func.count().filter(User.state == UserState.ACTIVE),
            func.count().filter(User.is_admin),
            func.count().filter(User.is_external),
            func.count().filter(User.second_factor_since.is_not(None)),
            func.count().filter(User.second_factor_since.is_(None)),
            func.count().filter(User.state == UserState.BLOCKED),
            func.count().filter(User.state == UserState.DEACTIVATED),
        ).select_from(User)
    ).one()
    return Counts(*row)
