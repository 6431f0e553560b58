"""Members of groups and projects, direct and inherited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import EllipsisType

from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.orm import aliased, contains_eager, joinedload

from registry.database import AdvisoryLock, contains, db, transaction, utcnow
from registry.domain import access, audit
from registry.domain.access import Permission, Principal
from registry.domain.paging import Listing
from registry.errors import Code, Conflict, Fault, Forbidden, InvalidRecord, RecordNotFound
from registry.models import MEMBER_ROLES, Ancestry, Group, Membership, Namespace, Role, User, UserNamespace, UserState


@dataclass(frozen=True)
class Member:
    """The effective role of a user in a namespace, and the membership that grants it."""

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
    """Return the members of a namespace, ordered by user ID; with ``inherited``, each with the highest role.

    :param query: part of the name or user name, or a whole e-mail address that is confirmed.
    :param by_email: whether ``query`` also matches parts of e-mail addresses, which reveals them, and addresses that
        are not confirmed.
    :param user_ids: only these users.
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
        searched |= contains(User.email_key, query) if by_email else User.has_confirmed_email(query)
        statement = statement.where(searched)
    if user_ids is not None:
        statement = statement.where(User.id.in_(list(user_ids)))
    found: dict[int, Member] = {}
    for membership, source, distance in db.session.execute(statement):
        found.setdefault(membership.user_id, Member(membership, source, distance == 0))
    return list(found.values())


def member(namespace: Namespace, user_id: int, *, inherited: bool = False) -> Member:
    """Return one member of a namespace.

    :raises RecordNotFound: the user is not a member.
    """
    for found in members(namespace, inherited=inherited, user_ids=[user_id]):
        return found
    raise RecordNotFound


def memberships_of(user: User) -> Listing[Membership]:
    """Return the direct memberships of a user with their groups and projects, ordered by full path."""
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
    """Add a member to a namespace; takes ``AdvisoryLock.TREE``, as an inherited role limits the new one.

    :raises Conflict: the user is already a direct member.
    :raises Forbidden: the role is higher than the principal's own.
    :raises InvalidRecord: the role is lower than the inherited one, or the expiration date has passed.
    :raises RecordNotFound: the namespace or user was deleted in the meantime.
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
    """Add several members independently, and return the reasons of failures by user name.

    :raises Forbidden: the role is higher than the principal's own.
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
    """Change the role and expiration date of a direct member; takes ``AdvisoryLock.TREE``, as inherited Owners count.

    :param expires_on: ``...`` keeps the current date.
    :raises RecordNotFound: the user is not a direct member.
    :raises Forbidden: a role is higher than the principal's own, or the user is the last Owner of the group, or the
        membership follows from a group of the identity provider.
    :raises InvalidRecord: as for ``add_member``.
    """
    with transaction(lock=AdvisoryLock.TREE):
        membership = _direct_member(namespace, user)
        _refuse_provided(membership)
        if isinstance(expires_on, EllipsisType):
            expires_on = membership.expires_on
        _refuse_higher(namespace, membership.role, by)
        _refuse_role(namespace, user, role, expires_on, by)
        if leaves_no_owner(membership, role, expires_on):
            raise Forbidden
        before: dict[str, object] = {"role": membership.role, "expires_on": membership.expires_on}
        after = {"role": role, "expires_on": expires_on}
        audit.record_change(by, "member_changed", user.username, namespace, before, after)
        membership.role, membership.expires_on = role, expires_on
        # Given by another member from now on.
        membership.from_provider = membership.by_creation = membership.kept_as_owner = False
    return membership


def remove_member(namespace: Namespace, user: User, *, by: Principal) -> None:
    """Remove a direct member; takes ``AdvisoryLock.TREE``, as inherited Owners count.

    :raises RecordNotFound: the user is not a direct member.
    :raises Forbidden: the role is higher than the principal's own, or the user is the last Owner of the group, or the
        membership follows from a group of the identity provider.
    """
    with transaction(lock=AdvisoryLock.TREE) as session:
        membership = _direct_member(namespace, user)
        if by.user_id != user.id:
            access.require(by, Permission.ADMIN_MEMBERS, namespace)
            _refuse_higher(namespace, membership.role, by)
        _refuse_provided(membership)
        if is_last_owner(membership):
            raise Forbidden
        details = {"role": membership.role.title, "expires_on": _shown(membership.expires_on)}
        audit.record(by, "member_removed", user.username, namespace, **details)
        session.delete(membership)


def apply_provided_roles(user: User, roles: Mapping[int, Role], *, by: audit.Author) -> None:
    """Give a user the roles that follow from groups of the identity provider, and take back those that no longer do.

    A direct membership that was added here stays if its role is higher, until it expires, or the same and permanent.
    The last Owner of a group keeps the role until there is another one. Requires a transaction that holds
    ``AdvisoryLock.TREE``.

    :param roles: by group ID.
    """
    session = db.session
    own = select(Membership).where(Membership.user_id == user.id)
    direct = {one.namespace_id: one for one in session.scalars(own, execution_options={"populate_existing": True})}
    created = {one.namespace_id for one in direct.values() if one.by_creation}
    groups = session.scalars(select(Group).where(Group.id.in_(roles)).order_by(Group.id)).all()
    for group in groups:
        if group.id not in created:
            _give(group, user, roles[group.id], direct.get(group.id), by=by)
    for membership in direct.values():
        follows = membership.from_provider or membership.kept_as_owner
        if follows and membership.namespace_id not in {*roles, *created}:
            end_provided(membership, user, by=by)
    end_by_creation(user, by=by)
    for group in groups:
        if group.id in created:
            _give(group, user, roles[group.id], session.scalar(_direct(group, user.id)), by=by)


def end_provided(membership: Membership, user: User, *, by: audit.Author) -> None:
    """Remove a membership that followed from a group of the identity provider; the last Owner of a group remains.

    Requires a transaction that holds ``AdvisoryLock.TREE``.
    """
    if is_last_owner(membership):
        membership.from_provider = membership.by_creation = False
        membership.kept_as_owner = True
        return
    group = db.session.get_one(Group, membership.namespace_id)
    audit.record(by, "member_removed", user.username, group, role=membership.role.title)
    db.session.delete(membership)
    db.session.flush()


def end_by_creation(user: User, *, by: audit.Author) -> None:
    """End the memberships that a user has by creation in groups above which the user is no longer a Maintainer.

    Requires a transaction that holds ``AdvisoryLock.TREE``.
    """
    above = aliased(Membership)
    is_maintainer_above = exists().where(
        Ancestry.namespace_id == Membership.namespace_id, Ancestry.distance > 0,
        above.namespace_id == Ancestry.ancestor_id, above.user_id == user.id, above.role >= Role.MAINTAINER,
        or_(above.expires_on.is_(None), above.expires_on > utcnow().date()),
    )  # fmt: skip
    db.session.flush()
    ended = select(Membership).where(Membership.user_id == user.id, Membership.by_creation, ~is_maintainer_above)
    for membership in db.session.scalars(ended.order_by(Membership.id)).all():
        end_provided(membership, user, by=by)


def _give(group: Group, user: User, role: Role, membership: Membership | None, *, by: audit.Author) -> None:
    if membership is None:
        db.session.add(Membership(namespace_id=group.id, user_id=user.id, user=user, role=role, from_provider=True))
        audit.record(by, "member_added", user.username, group, role=role.title, expires_on=None)
        return
    is_same = membership.role == role and membership.expires_on is None
    if is_same and membership.kept_as_owner:
        membership.from_provider, membership.kept_as_owner = True, False
    if is_same or _is_higher_here(membership, role):
        return
    if leaves_no_owner(membership, role, None):
        membership.kept_as_owner = True
        return
    before: dict[str, object] = {"role": membership.role, "expires_on": membership.expires_on}
    audit.record_change(by, "member_changed", user.username, group, before, {"role": role, "expires_on": None})
    membership.role, membership.expires_on = role, None
    membership.from_provider, membership.by_creation, membership.kept_as_owner = True, False, False


def _is_higher_here(membership: Membership, role: Role) -> bool:
    """Return whether a membership that was added here, or by creation, has a higher role, which has not expired."""
    has_expired = membership.expires_on is not None and membership.expires_on <= utcnow().date()
    is_own = membership.by_creation or not (membership.from_provider or membership.kept_as_owner)
    return is_own and membership.role > role and not has_expired


def _refuse_provided(membership: Membership) -> None:
    """Refuse to change what the next sign-in would change back.

    :raises Forbidden: the membership follows from a group of the identity provider.
    """
    if membership.from_provider and not membership.by_creation:
        raise Forbidden(Code.MEMBERSHIP_PROVIDED)


def is_last_owner(membership: Membership) -> bool:
    """Return whether the membership is that of the last Owner of a group or personal namespace."""
    namespace = db.session.get_one(Namespace, membership.namespace_id)
    if isinstance(namespace, UserNamespace):
        return True
    if membership.role < Role.OWNER or not isinstance(namespace, Group):
        return False
    return not _has_owner_besides(namespace, membership.user_id)


def leaves_no_owner(membership: Membership, role: Role, expires_on: date | None) -> bool:
    """Return whether a group would lose its last Owner if the membership had this role and expiration date."""
    return (role < Role.OWNER or expires_on is not None) and is_last_owner(membership)


def _has_owner_besides(group: Group, user_id: int | None) -> bool:
    """Return whether another active user is a permanent Owner; roles that expire would leave the group without one."""
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


def ensure_owner(group: Group, by: Principal, *, may_last: bool) -> None:
    """Make the principal an Owner of a moved group that would have no permanent one.

    :param may_last: whether the role with which the principal moved the group can become permanent.
    :raises Forbidden: it cannot.
    """
    if by.user is None or _has_owner_besides(group, None):
        return
    if not may_last:
        raise Forbidden
    membership = db.session.scalar(_direct(group, by.user.id))
    if membership is None:
        membership = Membership(namespace_id=group.id, user_id=by.user.id)
        db.session.add(membership)
    membership.role, membership.expires_on = Role.OWNER, None
    membership.from_provider = membership.by_creation = membership.kept_as_owner = False


def _direct_member(namespace: Namespace, user: User) -> Membership:
    """Return a direct membership, read again within the transaction.

    :raises RecordNotFound: the user is not a direct member.
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
    _refuse_longer(namespace, user, role, expires_on, by)
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


def role_ends_on(user: User, namespace: Namespace, role: Role) -> date | None:
    """Return when a user loses a role in a namespace, held there or in an ancestor; ``None`` if it does not expire."""
    return _last_day(_granting(user, namespace, role))


def is_lasting(user: User, namespace: Namespace, role: Role) -> bool:
    """Return whether a role of a user neither expires nor depends on a group of the identity provider."""
    granting = _granting(user, namespace, role)
    return any(each.expires_on is None and not each.from_provider for each in granting)


def follows_from_provider(user: User, namespace: Namespace, role: Role) -> bool:
    """Return whether a user would lose a role in a namespace without a group of the identity provider."""
    granting = _granting(user, namespace, role)
    return bool(granting) and all(each.from_provider for each in granting)


def _last_day(granting: Iterable[Membership]) -> date | None:
    dates = [each.expires_on for each in granting]
    return max((day for day in dates if day is not None), default=None) if all(dates) else None


def _granting(user: User, namespace: Namespace, role: Role) -> Sequence[Membership]:
    """Return the memberships by which a user has at least this role in a namespace."""
    return db.session.scalars(
        select(Membership)
        .join(Ancestry, Ancestry.ancestor_id == Membership.namespace_id)
        .where(
            Ancestry.namespace_id == namespace.id,
            Membership.user_id == user.id,
            Membership.role >= role,
            access.unexpired(),
        )
    ).all()


def _refuse_longer(namespace: Namespace, user: User, role: Role, expires_on: date | None, by: Principal) -> None:
    """Refuse that users extend a role of their own that ends by itself, there or by a new membership below.

    :raises InvalidRecord: the role would last longer than until its date, or than the group of the identity provider.
    """
    if by.is_admin or by.user_id != user.id:
        return
    granting = _granting(user, namespace, role)
    ends_on = _last_day(granting)
    if ends_on is not None and (expires_on is None or expires_on > ends_on):
        raise InvalidRecord({"expires_at": [Fault(Code.OWN_ROLE_EXPIRES, day=ends_on.isoformat())]})
    if follows_from_provider(user, namespace, role):
        raise InvalidRecord({"access_level": [Fault(Code.OWN_ROLE_PROVIDED)]})


def _refuse_higher(namespace: Namespace, role: Role, by: Principal) -> None:
    if role > access.role_in(by, namespace):
        raise Forbidden


def _shown(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
