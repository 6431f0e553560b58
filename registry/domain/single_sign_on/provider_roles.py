"""The roles here that follow from groups of the identity provider, applied at each sign-in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import Select, func, select
from sqlalchemy.orm import joinedload

from registry.database import AdvisoryLock, db, transaction
from registry.domain import audit, namespaces
from registry.errors import Code, Fault, InvalidRecord, RecordNotFound
from registry.models import MEMBER_ROLES, Group, Membership, Namespace, ProviderRole, Role, User

LONGEST_GROUP = 255


def provider_roles() -> list[ProviderRole]:
    """Return all entries with their groups, by the name of the group at the provider."""
    in_order = _with_groups().join(ProviderRole.group).order_by(ProviderRole.provider_group, Group.full_path_key)
    return list(db.session.scalars(in_order))


def provider_role(role_id: int) -> ProviderRole:
    """Return an entry with its group.

    :raises RecordNotFound: there is no such entry.
    """
    found = db.session.scalar(_with_groups().where(ProviderRole.id == role_id))
    if found is None:
        raise RecordNotFound
    return found


def add(provider_group: str, group: Group, role: Role, *, by: audit.Author) -> ProviderRole:
    """Add an entry, which is applied at the next sign-in of each person.

    Takes ``AdvisoryLock.TREE``: no other entry for the same groups is added in the meantime.

    :raises InvalidRecord: the name or the role is not valid, or there is an entry for these groups.
    """
    provider_group = provider_group.strip()
    refuse_invalid(provider_group)
    if role not in MEMBER_ROLES:
        raise InvalidRecord({"access_level": [Fault(Code.NO_MEMBER_ROLE)]})
    with transaction(lock=AdvisoryLock.TREE) as session:
        same = ProviderRole.provider_group == provider_group, ProviderRole.group_id == group.id
        if session.scalar(select(ProviderRole.id).where(*same)) is not None:
            raise InvalidRecord({"provider_group": [Fault(Code.TAKEN)]})
        added = ProviderRole(provider_group=provider_group, group=group, role=role)
        session.add(added)
        session.flush()
        audit.record(by, "provider_role_added", provider_group, group, role=role.title)
    return added


def refuse_invalid(provider_group: str) -> None:
    """Refuse what cannot be the name of a group of the provider.

    :raises InvalidRecord: it is empty, too long, or contains characters that are not printable.
    """
    if not provider_group or len(provider_group) > LONGEST_GROUP or not provider_group.isprintable():
        raise InvalidRecord({"provider_group": [Fault(Code.INVALID)]})


def delete(role_id: int, *, by: audit.Author) -> None:
    """Delete an entry. If no other one is about its group, the memberships that followed from it end at once.

    Otherwise, they end with the next sign-in, as the others decide on them. Takes ``AdvisoryLock.TREE``.

    :raises RecordNotFound: there is no such entry.
    """
    with transaction(lock=AdvisoryLock.TREE) as session:
        found = provider_role(role_id)
        group = found.group
        audit.record(by, "provider_role_deleted", found.provider_group, group, role=found.role.title)
        session.delete(found)
        session.flush()
        others = select(func.count()).select_from(ProviderRole).where(ProviderRole.group_id == group.id)
        if not session.scalar(others):
            _end_all(group, by=by)


def roles_of(groups: Collection[str]) -> dict[int, Role]:
    """Return the roles of a person in these groups of the provider, by the ID of the group here; the highest counts."""
    return _highest((entry.group_id, entry.role) for entry in _entries() if entry.provider_group in groups)


def groups_by_role(namespace: Namespace) -> defaultdict[Role, list[str]]:
    """Return the groups of the provider that have a role in this namespace, by role; a person can be in several."""
    found: defaultdict[Role, list[str]] = defaultdict(list)
    in_order = select(ProviderRole).where(ProviderRole.group_id == namespace.id).order_by(ProviderRole.provider_group)
    for entry in db.session.scalars(in_order):
        found[entry.role].append(entry.provider_group)
    return found


def are_used() -> bool:
    """Return whether there are entries."""
    return db.session.scalar(select(ProviderRole.id).limit(1)) is not None


def _with_groups() -> Select[ProviderRole]:
    return select(ProviderRole).options(joinedload(ProviderRole.group))


def _entries() -> Iterable[ProviderRole]:
    return db.session.scalars(select(ProviderRole))


def _highest(roles: Iterable[tuple[int, Role]]) -> dict[int, Role]:
    found: dict[int, Role] = {}
    for group_id, role in roles:
        found[group_id] = max(role, found.get(group_id, Role.NO_ACCESS))
    return found


def _end_all(group: Group, *, by: audit.Author) -> None:
    provided = select(Membership, User).join(User, User.id == Membership.user_id).where(
        Membership.namespace_id == group.id, Membership.from_provider, ~Membership.by_creation
    )  # fmt: skip
    for membership, user in db.session.execute(provided.order_by(User.id)).all():
        namespaces.end_provided(membership, user, by=by)
        namespaces.end_by_creation(user, by=by)
