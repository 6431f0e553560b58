"""Members of groups and projects, direct and inherited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from types import EllipsisType

from sqlalchemy import Select, func, select
from sqlalchemy.orm import contains_eager, joinedload

from registry.database import AdvisoryLock, contains, db, transaction, utcnow
from registry.domain import access, audit
from registry.domain.access import Permission, Principal
from registry.domain.paging import Listing
from registry.errors import Code, Conflict, Fault, Forbidden, InvalidRecord, RecordNotFound
from registry.models import MEMBER_ROLES, Ancestry, Group, Membership, Namespace, Role, User, UserNamespace, UserState


@dataclass(frozen=True)
class Member:
    """One user's role as it counts in a namespace, and the membership it comes from."""

    membership: Membership
    source: Namespace
    is_direct: bool

    @property
    def user(self) -> User:
        return self.membership.user

    @property
    def role(self) -> Role:
        return self.membership.role


def members(
    namespace: Namespace,
    *,
    inherited: bool = False,
    query: str = "",
    by_email: bool = False,
    user_ids: Iterable[int] | None = None,
) -> list[Member]:
    """Members in the order of their user ids; with the inherited ones, one entry a user: the highest role.

    :param query: keep those whose name or user name contains it, or whose e-mail address it is.
    :param by_email: whether a part of an e-mail address will do: these are not everybody's to find out.
    :param user_ids: keep only these users.
    """
    statement = (
        select(Membership, Namespace, Ancestry.distance)
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .join(Namespace, Namespace.id == Membership.namespace_id)
        .join(User, User.id == Membership.user_id)
        .options(joinedload(Membership.user), joinedload(Membership.created_by))
        .where(Ancestry.namespace_id == namespace.id)
        .order_by(User.id, Membership.role.desc(), Ancestry.distance)
    )
    if inherited:
        statement = statement.where(access.unexpired())
    else:
        statement = statement.where(Ancestry.distance == 0)
    if query:
        searched = contains(User.name, query) | contains(User.username_key, query)
        searched |= contains(User.email_key, query) if by_email else User.email_key == query.lower()
        statement = statement.where(searched)
    if user_ids is not None:
        statement = statement.where(User.id.in_(list(user_ids)))
    found: dict[int, Member] = {}
    for membership, source, distance in db.session.execute(statement):
        found.setdefault(membership.user_id, Member(membership, source, distance == 0))
    return list(found.values())


def member(namespace: Namespace, user_id: int, *, inherited: bool = False) -> Member:
    """:raises RecordNotFound: the user is no member."""
    for found in members(namespace, inherited=inherited, user_ids=[user_id]):
        return found
    raise RecordNotFound


def memberships_of(user: User) -> Listing:
    """The roles a user holds directly in groups and projects, with these, by full path."""
    return (
        select(Membership)
        .join(Namespace, Namespace.id == Membership.namespace_id)
        .options(contains_eager(Membership.namespace))
        .where(Membership.user_id == user.id, Namespace.kind != "user")
        .order_by(Namespace.full_path_key)
    )


def add_member(
    namespace: Namespace, user: User, role: Role, *, expires_on: date | None = None, by: Principal
) -> Membership:
    """Give a user a role in a namespace; takes ``AdvisoryLock.TREE``: a role above bears on the one given here.

    :raises Conflict: the user is a direct member already.
    :raises Forbidden: the role is higher than the one of whoever adds it.
    :raises InvalidRecord: lower than what the user inherits, or an expiry that has passed.
    :raises RecordNotFound: namespace or user was deleted meanwhile.
    """
    with transaction(lock=AdvisoryLock.TREE) as session:
        if session.scalar(_direct(namespace, user.id)) is not None:
            raise Conflict(Code.ALREADY_MEMBER)
        _refuse_role(namespace, user, role, expires_on, by)
        membership = Membership(
            namespace_id=namespace.id, user_id=user.id, user=user, role=role, expires_on=expires_on,
            created_by_id=by.user_id, created_by=by.user,
        )  # fmt: skip
        session.add(membership)
        audit.record(by, "member_added", user.username, namespace, role=role.title, expires_on=_shown(expires_on))
    return membership


def add_members(
    namespace: Namespace, users: Iterable[User], role: Role, *, expires_on: date | None = None, by: Principal
) -> dict[str, str]:
    """Add several users, each alone; why some could not be added, by user name.

    :raises Forbidden: the role is higher than the one of whoever adds them.
    """
    failures = {}
    for user in users:
        try:
            add_member(namespace, user, role, expires_on=expires_on, by=by)
        except (Conflict, InvalidRecord) as error:
            failures[user.username] = error.message
    return failures


def change_member(
    namespace: Namespace, user: User, role: Role, *, expires_on: date | EllipsisType | None = ..., by: Principal
) -> Membership:
    """Change role and expiry of a direct member; takes ``AdvisoryLock.TREE``: owners above count as owners.

    :param expires_on: ``...`` keeps what is set.
    :raises RecordNotFound: the user is no direct member.
    :raises Forbidden: above the changer's own role, or the group would lose its last owner.
    :raises InvalidRecord: as for ``add_member``.
    """
    with transaction(lock=AdvisoryLock.TREE):
        membership = _direct_member(namespace, user)
        if isinstance(expires_on, EllipsisType):
            expires_on = membership.expires_on
        _refuse_higher(namespace, membership.role, by)
        _refuse_role(namespace, user, role, expires_on, by)
        if (role < Role.OWNER or expires_on is not None) and is_last_owner(membership):
            raise Forbidden
        audit.record(
            by, "member_changed", user.username, namespace,
            before=membership.role.title, after=role.title, expires_on=_shown(expires_on),
        )  # fmt: skip
        membership.role, membership.expires_on = role, expires_on
    return membership


def remove_member(namespace: Namespace, user: User, *, by: Principal) -> None:
    """End a direct membership; takes ``AdvisoryLock.TREE``: owners above count as owners.

    :raises RecordNotFound: the user is no direct member.
    :raises Forbidden: above the remover's own role, or the group would lose its last owner.
    """
    with transaction(lock=AdvisoryLock.TREE) as session:
        membership = _direct_member(namespace, user)
        if by.user_id != user.id:
            access.require(by, Permission.ADMIN_MEMBERS, namespace)
            _refuse_higher(namespace, membership.role, by)
        if is_last_owner(membership):
            raise Forbidden
        audit.record(by, "member_removed", user.username, namespace, role=membership.role.title)
        session.delete(membership)


def is_last_owner(membership: Membership) -> bool:
    """Whether a group, or a user's own space, would be without an Owner if this membership ended."""
    namespace = db.session.get_one(Namespace, membership.namespace_id)
    if isinstance(namespace, UserNamespace):
        return True
    if membership.role < Role.OWNER or not isinstance(namespace, Group):
        return False
    return not _has_owner_besides(namespace, membership.user_id)


def _has_owner_besides(group: Group, user_id: int | None) -> bool:
    """Whether another active user owns the group for good: one whose role ends would leave it without an Owner."""
    others = db.session.scalar(
        select(func.count(Membership.id))
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .join(User, User.id == Membership.user_id)
        .where(
            Ancestry.namespace_id == group.id,
            Membership.role == Role.OWNER,
            Membership.user_id != (user_id or 0),
            User.state == UserState.ACTIVE,
            Membership.expires_on.is_(None),
        )
    )
    return bool(others)


def ensure_owner(group: Group, by: Principal) -> None:
    if by.user is None or _has_owner_besides(group, None):
        return
    membership = db.session.scalar(_direct(group, by.user.id))
    if membership is None:
        membership = Membership(namespace_id=group.id, user_id=by.user.id)
        db.session.add(membership)
    membership.role, membership.expires_on = Role.OWNER, None


def _direct_member(namespace: Namespace, user: User) -> Membership:
    """The membership as it is now, whatever was read of it before the transaction.

    :raises RecordNotFound: the user is no direct member.
    """
    membership = db.session.scalar(_direct(namespace, user.id), execution_options={"populate_existing": True})
    if membership is None:
        raise RecordNotFound
    return membership


def _direct(namespace: Namespace, user_id: int) -> Select[Membership]:
    return select(Membership).where(Membership.namespace_id == namespace.id, Membership.user_id == user_id)


def _refuse_role(namespace: Namespace, user: User, role: Role, expires_on: date | None, by: Principal) -> None:
    if role not in MEMBER_ROLES:
        raise InvalidRecord({"access_level": [Fault(Code.NO_MEMBER_ROLE)]})
    _refuse_higher(namespace, role, by)
    if expires_on is not None and expires_on <= utcnow().date():
        raise InvalidRecord({"expires_at": [Fault(Code.PAST_DATE)]})
    inherited = db.session.execute(
        select(Membership.role, Namespace.name)
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .join(Namespace, Namespace.id == Membership.namespace_id)
        .where(
            Ancestry.namespace_id == namespace.id,
            Ancestry.distance > 0,
            Membership.user_id == user.id,
            access.unexpired(),
        )
        .order_by(Membership.role.desc(), Ancestry.distance)
    ).first()
    if inherited is not None and role < inherited.role:
        fault = Fault(Code.ROLE_BELOW_INHERITED, role=inherited.role, group=inherited.name)
        raise InvalidRecord({"access_level": [fault]})


def _refuse_higher(namespace: Namespace, role: Role, by: Principal) -> None:
    if role > access.role_in(by, namespace):
        raise Forbidden


def _shown(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
