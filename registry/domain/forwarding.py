"""Request forwarding: the cascading setting, and the upstream URL of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType

from packaging.utils import canonicalize_name
from sqlalchemy import select, update

from registry.database import AdvisoryLock, db, transaction
from registry.domain import access, audit, namespaces
from registry.domain.access import Permission, Principal
from registry.domain.namespaces import GroupChanges
from registry.domain.packages.names import is_held
from registry.errors import NotFound, SettingLocked
from registry.models import Ancestry, Group, GroupPackageSettings, InstanceSettings, Namespace

FORWARDING = "pypi_package_requests_forwarding"
FORWARDING_LOCK = "lock_pypi_package_requests_forwarding"


@dataclass(frozen=True)
class Forwarding:
    """Request forwarding of one group.

    :param value: the group's own value; ``None`` inherits.
    :param lock: whether the group locks the setting for its subgroups.
    :param inherited: the effective value if the group had none of its own.
    :param effective: the effective value.
    :param locked_by: the source of a lock above the group: a group's ID, ``"instance"``, or ``None`` if there is none.
    :param inherited_from: the source of ``inherited``: a group's ID or ``"instance"``.
    """

    value: bool | None
    lock: bool
    inherited: bool
    effective: bool
    locked_by: int | str | None
    inherited_from: int | str

    @property
    def is_locked(self) -> bool:
        return self.locked_by is not None


def of_group(group: Group) -> Forwarding:
    """Return request forwarding of a group, in two statements at any depth."""
    return _cascade(InstanceSettings.current(), _path_settings(group.id), group.id)


def forwards(namespace: Namespace) -> bool:
    """Return whether requests for package names missing from this project or group are forwarded."""
    group_id = namespace.id if isinstance(namespace, Group) else namespace.parent_id
    if group_id is None:
        return InstanceSettings.current().pypi_package_requests_forwarding
    return _cascade(InstanceSettings.current(), _path_settings(group_id), group_id).effective


def change_forwarding(
    group: Group, *, value: bool | EllipsisType | None = ..., lock: bool | EllipsisType = ..., by: audit.Author
) -> Forwarding:
    """Change the group's own setting; an omitted value (``...``) is unchanged.

    Takes ``AdvisoryLock.TREE``, as the result depends on the settings of ancestors and subgroups.

    :raises SettingLocked: the instance or an ancestor has locked it.
    """
    with transaction(lock=AdvisoryLock.TREE):
        standing = of_group(group)
        new_value = standing.value if value is ... else value
        new_lock = standing.lock if lock is ... else lock
        changed = (new_value, new_lock) != (standing.value, standing.lock)
        if standing.is_locked and changed:
            raise SettingLocked(FORWARDING if new_value != standing.value else FORWARDING_LOCK)
        if standing.value is None and new_value is not None and _repeats_ancestor(standing, new_value):
            new_value = None  # keeps inheriting, so that it follows later changes of the ancestor
        if new_lock and new_value is None:
            new_value = standing.inherited  # a lock requires a value
        if new_lock and not standing.lock:
            _clear_locks_below(group)
        if (new_value, new_lock) != (standing.value, standing.lock):
            own = db.session.get(GroupPackageSettings, group.id) or GroupPackageSettings(group_id=group.id)
            own.pypi_package_requests_forwarding = new_value
            own.lock_pypi_package_requests_forwarding = new_lock
            db.session.add(own)
            audit.record_change(
                by,
                "group_package_settings_changed",
                group.full_path,
                group,
                {"forwarding": standing.value, "lock": standing.lock},
                {"forwarding": new_value, "lock": new_lock},
            )
            db.session.flush()
        return of_group(group)


def change_group(
    group: Group,
    changes: GroupChanges,
    *,
    value: bool | EllipsisType | None = ...,
    lock: bool | EllipsisType = ...,
    by: Principal,
) -> None:
    """Change a group and its request forwarding in one transaction.

    Takes the locks and raises the errors of ``namespaces.change`` and ``change_forwarding``.
    """
    with transaction():
        if changes.given():
            namespaces.change(group, changes, by=by)
        if value is not ... or lock is not ...:
            access.require(by, Permission.CHANGE_PACKAGE_SETTINGS, group)
            change_forwarding(group, value=value, lock=lock, by=by)


def _path_settings(group_id: int) -> Sequence[tuple[int, bool | None, bool]]:
    """Return (ID, value, lock) of the group and its ancestors, topmost first."""
    rows = db.session.execute(
        select(
            Ancestry.ancestor_id,
            GroupPackageSettings.pypi_package_requests_forwarding,
            GroupPackageSettings.lock_pypi_package_requests_forwarding,
        )
        .outerjoin(GroupPackageSettings, GroupPackageSettings.group_id == Ancestry.ancestor_id)
        .where(Ancestry.namespace_id == group_id)
        .order_by(Ancestry.distance.desc())
    )
    return [(ancestor_id, value, bool(lock)) for ancestor_id, value, lock in rows]


def _cascade(
    instance_settings: InstanceSettings, path: Sequence[tuple[int, bool | None, bool]], group_id: int
) -> Forwarding:
    instance_value = instance_settings.pypi_package_requests_forwarding
    own_value, own_lock = next(((value, lock) for id_, value, lock in path if id_ == group_id), (None, False))
    ancestors = [row for row in path if row[0] != group_id]
    spoken = [(id_, value) for id_, value, _ in ancestors if value is not None]
    inherited_from, inherited = spoken[-1] if spoken else ("instance", instance_value)
    locked_by: int | str | None = None
    effective = inherited if own_value is None else own_value
    if instance_settings.lock_pypi_package_requests_forwarding:
        locked_by, inherited_from, inherited, effective = "instance", "instance", instance_value, instance_value
    else:
        for ancestor_id, value, lock in ancestors:
            if lock:
                decided = instance_value if value is None else value
                locked_by, inherited_from, inherited, effective = ancestor_id, ancestor_id, decided, decided
                break
    return Forwarding(own_value, own_lock, inherited, effective, locked_by, inherited_from)


def _repeats_ancestor(standing: Forwarding, value: bool) -> bool:
    return standing.inherited_from != "instance" and standing.inherited == value


def _clear_locks_below(group: Group) -> None:
    below = select(Ancestry.namespace_id).where(Ancestry.ancestor_id == group.id, Ancestry.namespace_id != group.id)
    db.session.execute(
        update(GroupPackageSettings)
        .where(GroupPackageSettings.group_id.in_(below))
        .values(lock_pypi_package_requests_forwarding=False)
    )


def upstream_url(namespace: Namespace, name: str, upstream: str) -> str:
    """Return the URL of the upstream page to redirect to for a package name that this namespace lacks.

    :param name: as requested; the URL contains its normalized form (PEP 503).
    :param upstream: URL of the upstream simple index.
    :raises NotFound: forwarding is off, by the namespace's own, an inherited, or a locked setting; or the name is held
        (``names.is_held``), by a project that the caller cannot read, or only until the next cleanup.

    GitLab, "Package request forwarding": the direct parent group decides for a project. GitLab forwards held names.
    """
    normalized_name = canonicalize_name(name)
    if not forwards(namespace):
        raise NotFound("Package").explained(
            "Package not found",
            f"The {namespace.kind} {namespace.full_path} has no package {normalized_name}, and the setting "
            '"Forward PyPI package requests" is off there, so the public index is not asked.',
        )
    if is_held(namespace, normalized_name):
        raise NotFound("Package").explained(
            "Package not found",
            f"The name {normalized_name} belongs to the {namespace.kind} {namespace.full_path}, so the public index "
            "is not asked. Its packages were deleted, or you cannot read them.",
        )
    return f"{upstream}/{normalized_name}/"
