"""Settings that groups inherit from groups above and from the instance, each of which can lock them for all below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from sqlalchemy import select, update

from registry.database import AdvisoryLock, db, transaction
from registry.domain import access, audit, namespaces
from registry.domain.access import Permission, Principal
from registry.domain.namespaces import GroupChanges
from registry.errors import SettingLocked
from registry.models import Ancestry, Group, GroupPackageSettings, InstanceSettings, Namespace


@dataclass(frozen=True)
class Standing:
    """A setting of one group.

    :ivar value: the group's own value; ``None`` inherits.
    :ivar lock: whether the group locks the setting for its subgroups.
    :ivar inherited: the effective value if the group had none of its own.
    :ivar effective: the effective value.
    :ivar locked_by: the source of a lock above the group: a group's ID, ``"instance"``, or ``None`` if there is none.
    :ivar inherited_from: the source of ``inherited``: a group's ID or ``"instance"``.
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


@dataclass(frozen=True)
class CascadingSetting:
    """A setting of the instance and of groups.

    :ivar name: name of the columns with the values, and of the REST parameter.
    """

    name: str

    @property
    def lock_name(self) -> str:
        return f"lock_{self.name}"

    def of_group(self, group: Group) -> Standing:
        """Return the setting of a group, in two statements at any depth."""
        return self._cascade(InstanceSettings.current(), self._path_settings(group.id), group.id)

    def holds_in(self, namespace: Namespace) -> bool:
        """Return the effective value in a group, or for a project in its direct parent group."""
        group_id = namespace.id if isinstance(namespace, Group) else namespace.parent_id
        settings = InstanceSettings.current()
        if group_id is None:
            return bool(getattr(settings, self.name))
        return self._cascade(settings, self._path_settings(group_id), group_id).effective

    def change(
        self,
        group: Group,
        *,
        value: bool | EllipsisType | None = ...,
        lock: bool | EllipsisType = ...,
        by: audit.Author,
    ) -> Standing:
        """Change the group's own setting; an omitted value (``...``) is unchanged.

        Takes ``AdvisoryLock.TREE``, as the result depends on the settings of ancestors and subgroups.

        :raises SettingLocked: the instance or an ancestor has locked it.
        """
        with transaction(lock=AdvisoryLock.TREE):
            standing = self.of_group(group)
            new_value = standing.value if value is ... else value
            new_lock = standing.lock if lock is ... else lock
            changed = (new_value, new_lock) != (standing.value, standing.lock)
            if standing.is_locked and changed:
                raise SettingLocked(self.name if new_value != standing.value else self.lock_name)
            if standing.value is None and new_value is not None and _repeats_ancestor(standing, new_value):
                new_value = None  # keeps inheriting, so that it follows later changes of the ancestor
            if new_lock and new_value is None:
                new_value = standing.inherited  # a lock requires a value
            if new_lock and not standing.lock:
                self._clear_locks_below(group)
            self._set(group, standing, {self.name: new_value, self.lock_name: new_lock}, by)
            return self.of_group(group)

    def _set(self, group: Group, standing: Standing, new: Mapping[str, bool | None], by: audit.Author) -> None:
        before = {self.name: standing.value, self.lock_name: standing.lock}
        if new == before:
            return
        own = db.session.get(GroupPackageSettings, group.id) or GroupPackageSettings(group_id=group.id)
        for name, value in new.items():
            setattr(own, name, value)
        db.session.add(own)
        audit.record_change(by, "group_package_settings_changed", group.full_path, group, before, new)
        db.session.flush()

    def _path_settings(self, group_id: int) -> Sequence[tuple[int, bool | None, bool]]:
        """Return (ID, value, lock) of the group and its ancestors, topmost first."""
        rows = db.session.execute(
            select(
                Ancestry.ancestor_id,
                getattr(GroupPackageSettings, self.name),
                getattr(GroupPackageSettings, self.lock_name),
            )
            .outerjoin(GroupPackageSettings, GroupPackageSettings.group_id == Ancestry.ancestor_id)
            .where(Ancestry.namespace_id == group_id)
            .order_by(Ancestry.distance.desc())
        )
        return [(ancestor_id, value, bool(lock)) for ancestor_id, value, lock in rows]

    def _cascade(
        self, instance_settings: InstanceSettings, path: Sequence[tuple[int, bool | None, bool]], group_id: int
    ) -> Standing:
        instance_value: bool = getattr(instance_settings, self.name)
        own_value, own_lock = next(((value, lock) for id_, value, lock in path if id_ == group_id), (None, False))
        ancestors = [row for row in path if row[0] != group_id]
        spoken = [(id_, value) for id_, value, _ in ancestors if value is not None]
        inherited_from, inherited = spoken[-1] if spoken else ("instance", instance_value)
        locked_by: int | str | None = None
        effective = inherited if own_value is None else own_value
        if getattr(instance_settings, self.lock_name):
            locked_by, inherited_from, inherited, effective = "instance", "instance", instance_value, instance_value
        else:
            for ancestor_id, value, lock in ancestors:
                if lock:
                    decided = instance_value if value is None else value
                    locked_by, inherited_from, inherited, effective = ancestor_id, ancestor_id, decided, decided
                    break
        return Standing(own_value, own_lock, inherited, effective, locked_by, inherited_from)

    def _clear_locks_below(self, group: Group) -> None:
        below = select(Ancestry.namespace_id).where(Ancestry.ancestor_id == group.id, Ancestry.namespace_id != group.id)
        db.session.execute(
            update(GroupPackageSettings).where(GroupPackageSettings.group_id.in_(below)).values({self.lock_name: False})
        )


def _repeats_ancestor(standing: Standing, value: bool) -> bool:
    return standing.inherited_from != "instance" and standing.inherited == value


FORWARDING = CascadingSetting("pypi_package_requests_forwarding")
# ``access.readable`` evaluates it for each project, as a group above must not read past it.
JOB_ALLOWLISTS = CascadingSetting("enforce_job_token_allowlists_on_group_endpoints")
SETTINGS = (FORWARDING, JOB_ALLOWLISTS)


def change_settings(group: Group, given: Mapping[str, Any], *, by: audit.Author) -> None:
    """Change settings of a group in one transaction that holds ``AdvisoryLock.TREE``.

    Raises the errors of ``CascadingSetting.change``.

    :param given: new values by the names of the settings and locks.
    """
    with transaction(lock=AdvisoryLock.TREE):
        for setting in SETTINGS:
            if setting.name in given or setting.lock_name in given:
                value, lock = given.get(setting.name, ...), given.get(setting.lock_name, ...)
                setting.change(group, value=value, lock=lock, by=by)


def change_group(group: Group, changes: GroupChanges, given: Mapping[str, Any], *, by: Principal) -> None:
    """Change a group and its settings in one transaction.

    Takes the locks and raises the errors of ``namespaces.change`` and ``change_settings``.
    """
    with transaction():
        if changes.given():
            namespaces.change(group, changes, by=by)
        if given:
            access.require(by, Permission.CHANGE_PACKAGE_SETTINGS, group)
            change_settings(group, given, by=by)
