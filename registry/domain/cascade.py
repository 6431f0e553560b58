"""Settings that groups inherit from groups above and from the instance, each of which can lock them for all below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import EllipsisType
from typing import Any, Generic, Literal, TypeVar, cast

from sqlalchemy import Select, bindparam, func, literal, select, union_all

from registry.database import AdvisoryLock, Reading, db, read, transaction
from registry.domain import access, audit, namespaces
from registry.domain.access import Permission, Principal
from registry.domain.namespaces import GroupChanges
from registry.domain.patterns import without_group
from registry.domain.settings import AnyKind, Kind, Moment, OneUpstreamMode, Patterns, Score, Switch, WholeNumber
from registry.errors import InvalidRecord, SettingLocked
from registry.models import Ancestry, Group, GroupPackageSettings, InstanceSettings, Namespace

Value = TypeVar("Value")

INSTANCE: Literal["instance"] = "instance"


@dataclass(frozen=True)
class Level:
    """A group on the way from the top to a group, and its own settings.

    :ivar own: values and locks by the names of their columns; all ``None`` without own settings.
    """

    group_id: int
    full_path: str
    own: Mapping[str, Any]


@dataclass(frozen=True)
class Standing(Generic[Value]):
    """A setting of one group.

    :ivar value: the group's own value; ``None`` inherits.
    :ivar lock: whether the group locks the setting for its subgroups.
    :ivar inherited: the effective value if the group had none of its own.
    :ivar effective: the effective value.
    :ivar locked_by: the source of a lock above the group: a group's ID, ``"instance"``, or ``None`` if there is none.
    :ivar inherited_from: the source of ``inherited``: a group's ID or ``"instance"``; of a list that adds up, the
        nearest one.
    """

    value: Value | None
    lock: bool
    inherited: Value
    effective: Value
    locked_by: int | str | None
    inherited_from: int | str

    @property
    def is_locked(self) -> bool:
        return self.locked_by is not None

    @property
    def is_inherited(self) -> bool:
        """Whether the effective value comes from above the group."""
        return self.is_locked or self.value is None


@dataclass(frozen=True)
class CascadingSetting(Generic[Value]):
    """A setting of the instance and of groups.

    Of most, the nearest value is effective. The lists of ``Patterns`` add up: a group inherits what is listed above it.

    :ivar name: name of the columns with the values, and of the REST parameter.
    """

    name: str
    kind: Kind[Value]

    @property
    def lock_name(self) -> str:
        return f"lock_{self.name}"

    @property
    def any_kind(self) -> AnyKind:
        """The kind, for a match of all kinds."""
        return cast(AnyKind, self.kind)

    @property
    def adds_up(self) -> bool:
        return isinstance(self.kind, Patterns)

    def of_group(self, group: Group) -> Standing[Value]:
        """Return the setting of a group, in two statements at any depth."""
        return self.standing(InstanceSettings.current(), levels(group.id, self), group.id)

    def value_in(self, namespace: Namespace) -> Value:
        """Return the effective value in a group, or for a project in its direct parent group."""
        value, _ = self.decision_in(namespace)
        return value

    def decision_in(self, namespace: Namespace) -> tuple[Value, int | str]:
        """Return the same with its source: a group's ID or ``"instance"``."""
        group_id = namespace.id if isinstance(namespace, Group) else namespace.parent_id
        settings = InstanceSettings.current()
        if group_id is None:
            return cast(Value, getattr(settings, self.name)), INSTANCE
        standing = self.standing(settings, levels(group_id, self), group_id)
        return standing.effective, standing.inherited_from if standing.is_inherited else group_id

    def change(
        self,
        group: Group,
        *,
        value: Value | EllipsisType | None = ...,
        lock: bool | EllipsisType = ...,
        by: audit.Author,
    ) -> Standing[Value]:
        """Change the group's own setting; an omitted value (``...``) is unchanged.

        Takes ``AdvisoryLock.TREE``, as the result depends on the settings of ancestors and subgroups.

        :raises InvalidRecord: the value is not valid.
        :raises SettingLocked: the instance or an ancestor has locked it.
        """
        if value is not ... and value is not None and (faults := self.kind.faults(value)):
            raise InvalidRecord({self.name: faults})
        with transaction(lock=AdvisoryLock.TREE):
            standing = self.of_group(group)
            new_value = standing.value if value is ... else value
            new_lock = standing.lock if lock is ... else lock
            changed = (new_value, new_lock) != (standing.value, standing.lock)
            if standing.is_locked and changed:
                raise SettingLocked(self.name if new_value != standing.value else self.lock_name)
            if not self.adds_up:
                new_value = _without_repetition(standing, new_value)
                if new_lock and new_value is None:
                    new_value = standing.inherited  # a lock requires a value
            if new_lock and not standing.lock:
                self._clear_locks_below(group, by)
            self._set(group, standing, {self.name: new_value, self.lock_name: new_lock}, by)
            return self.of_group(group)

    def standing(self, instance: InstanceSettings, levels: Sequence[Level], group_id: int) -> Standing[Value]:
        """Return the setting of a group.

        :param levels: of the group, with the columns of this setting.
        """
        own = next((level.own for level in levels if level.group_id == group_id), {})
        own_value, own_lock = own.get(self.name), bool(own.get(self.lock_name))
        ancestors = [level for level in levels if level.group_id != group_id]
        placed, locked_by = self.placed(instance, ancestors), self._locked_by(instance, ancestors)
        inherited = self._together([value for _, value in placed])
        effective = inherited if locked_by is not None else self._together([inherited, own_value])
        inherited_from = placed[-1][0].group_id if isinstance(placed[-1][0], Level) else INSTANCE
        if locked_by is not None:
            inherited_from = locked_by
        return Standing(own_value, own_lock, inherited, effective, locked_by, inherited_from)

    def placed(
        self, instance: InstanceSettings, levels: Sequence[Level]
    ) -> list[tuple[Level | Literal["instance"], Value]]:
        """Return the values that count for the last level with their places, outermost first: the instance, and groups.

        Of a list that adds up, all of them are effective together, otherwise the last one.
        """
        found: list[tuple[Level | Literal["instance"], Value]] = [(INSTANCE, self._of_instance(instance))]
        if getattr(instance, self.lock_name):
            return found
        for level in levels:
            if (value := level.own[self.name]) is not None:
                found.append((level, value))
            if level.own[self.lock_name]:
                break
        return found

    def listed_in_groups(self, group_id: int) -> list[str]:
        """Return the entries of a list that adds up in a group and all above it, without the instance's."""
        found: list[str] = []
        for level in levels(group_id, self):
            found += level.own[self.name] or ()
            if level.own[self.lock_name]:
                break
        return found

    def _of_instance(self, instance: InstanceSettings) -> Value:
        """Return the instance's value, without the groups that names are reserved for, which others may not know."""
        value = getattr(instance, self.name)
        if self.adds_up:
            return cast(Value, [without_group(entry) for entry in value])
        return cast(Value, value)

    def _locked_by(self, instance: InstanceSettings, ancestors: Sequence[Level]) -> int | Literal["instance"] | None:
        if getattr(instance, self.lock_name):
            return INSTANCE
        return next((level.group_id for level in ancestors if level.own[self.lock_name]), None)

    def _together(self, values: Sequence[Any]) -> Value:
        """Return the effective one of values, outermost first; the first one is that of the instance."""
        if self.adds_up:
            return cast(Value, list(dict.fromkeys(entry for value in values for entry in value or ())))
        return cast(Value, next((value for value in reversed(values) if value is not None), None))

    def _set(self, group: Group, standing: Standing[Value], new: Mapping[str, object], by: audit.Author) -> None:
        before = {self.name: standing.value, self.lock_name: standing.lock}
        if new == before:
            return
        own = db.session.get(GroupPackageSettings, group.id) or GroupPackageSettings(group_id=group.id)
        for name, value in new.items():
            setattr(own, name, value)
        db.session.add(own)
        audit.record_change(by, "group_package_settings_changed", group.full_path, group, before, new)
        db.session.flush()

    def _clear_locks_below(self, group: Group, by: audit.Author) -> None:
        is_below = Ancestry.namespace_id == Group.id
        listing = select(GroupPackageSettings, Group).join(Group, Group.id == GroupPackageSettings.group_id)
        listing = listing.join(Ancestry, is_below).where(Ancestry.ancestor_id == group.id, Group.id != group.id)
        locking = listing.where(getattr(GroupPackageSettings, self.lock_name)).order_by(Group.id)
        for own, below in db.session.execute(locking):
            setattr(own, self.lock_name, False)
            change = {self.lock_name: True}, {self.lock_name: False}
            audit.record_change(by, "group_package_settings_changed", below.full_path, below, *change)


def path_of(place: Level | Literal["instance"]) -> str:
    """Return the full path of the group where a value is set, or ``instance``."""
    return place.full_path if isinstance(place, Level) else place


def levels(group_id: int, *settings: CascadingSetting[Any]) -> list[Level]:
    """Return a group and its ancestors, topmost first, with the columns of some settings, in one statement."""
    rows = _levels_of_one(_names(settings)).rows({"group_id": group_id})
    return [Level(row.ancestor_id, row.full_path, row._asdict()) for row in rows]


def levels_of(namespace_ids: Iterable[int], *settings: CascadingSetting[Any]) -> Mapping[int, list[Level]]:
    """Return the groups from the top to each of these groups or projects, like ``levels``, in one statement."""
    rows = read(_levels_of_many(_names(settings)), {"namespace_ids": list(set(namespace_ids))})
    found: defaultdict[int, list[Level]] = defaultdict(list)
    for row in rows:
        level = Level(row.ancestor_id, row.full_path, cast(Mapping[str, Any], row._mapping))
        found[row.namespace_id].append(level)
    return found


def _names(settings: Iterable[CascadingSetting[Any]]) -> tuple[str, ...]:
    """Return the names of the columns of some settings."""
    return tuple(name for setting in settings for name in (setting.name, setting.lock_name))


# The statements have dozens of columns, and take longer to build than to execute.


@lru_cache(maxsize=32)
def _levels_of_one(names: tuple[str, ...]) -> Reading:
    return Reading(_levels_with(names).where(Ancestry.namespace_id == bindparam("group_id")))


@lru_cache(maxsize=32)
def _levels_of_many(names: tuple[str, ...]) -> Select[tuple[Any, ...]]:
    return _levels_with(names).where(Ancestry.namespace_id.in_(bindparam("namespace_ids", expanding=True)))


def _levels_with(names: tuple[str, ...]) -> Select[tuple[Any, ...]]:
    return (
        select(
            Ancestry.namespace_id,
            Ancestry.ancestor_id,
            Namespace.full_path,
            *(getattr(GroupPackageSettings, name) for name in names),
        )
        .join(Namespace, Namespace.id == Ancestry.ancestor_id)
        .outerjoin(GroupPackageSettings, GroupPackageSettings.group_id == Ancestry.ancestor_id)
        .where(Namespace.kind == "group")
        .order_by(Ancestry.namespace_id, Ancestry.distance.desc())
    )


def _without_repetition(standing: Standing[Value], value: Value | None) -> Value | None:
    """Return the new value, or ``None`` if a group that inherits it from an ancestor keeps inheriting.

    So it follows later changes of the ancestor.
    """
    repeats = standing.inherited_from != INSTANCE and standing.inherited == value
    return None if standing.value is None and repeats else value


FORWARDING = CascadingSetting("pypi_package_requests_forwarding", Switch())
# ``access.readable`` evaluates it for each project, as a group above must not read past it.
JOB_ALLOWLISTS = CascadingSetting("enforce_job_token_allowlists_on_group_endpoints", Switch())
UPSTREAM_MODE = CascadingSetting("pypi_upstream_mode", OneUpstreamMode())
MINIMUM_AGE = CascadingSetting("pypi_upstream_minimum_age_days", WholeNumber(0, 3650))
FIXED_DATE = CascadingSetting("pypi_upstream_fixed_date", Moment())
BLOCKED = CascadingSetting("pypi_upstream_blocked", Patterns())
ALLOWED = CascadingSetting("pypi_upstream_allowed", Patterns())
RESERVED = CascadingSetting("pypi_reserved_names", Patterns(versions=False))
WITHHOLD_MALICIOUS = CascadingSetting("pypi_withhold_malicious", Switch())
WITHHOLD_CVSS_SCORE = CascadingSetting("pypi_withhold_cvss_score", Score())
# The rules about the public index.
PUBLIC_INDEX: tuple[CascadingSetting[Any], ...] = (
    UPSTREAM_MODE, RESERVED, MINIMUM_AGE, FIXED_DATE, BLOCKED, ALLOWED, WITHHOLD_MALICIOUS, WITHHOLD_CVSS_SCORE,
)  # fmt: skip
# The settings on pages and in the REST API.
SETTINGS: tuple[CascadingSetting[Any], ...] = (FORWARDING, *PUBLIC_INDEX, JOB_ALLOWLISTS)


def standings(group: Group) -> list[tuple[CascadingSetting[Any], Standing[Any]]]:
    """Return all settings of a group, in two statements at any depth."""
    instance, above = InstanceSettings.current(), levels(group.id, *SETTINGS)
    return [(setting, setting.standing(instance, above, group.id)) for setting in SETTINGS]


@dataclass(frozen=True)
class Deviation:
    """The groups that have their own value of a setting.

    :ivar groups: the first ones by path.
    """

    number: int
    groups: tuple[Group, ...]


def deviations(most: int) -> dict[str, Deviation]:
    """Return the groups with their own values of each setting that any group has, by its name, in two statements.

    :param most: the number of groups to return of each setting.
    """
    counted = select(*(func.count(getattr(GroupPackageSettings, setting.name)) for setting in SETTINGS))
    numbers = {
        setting.name: number for setting, number in zip(SETTINGS, db.session.execute(counted).one(), strict=True)
    }
    first = [_first_deviating(name, most) for name, number in numbers.items() if number]
    if not first:
        return {}
    found = union_all(*first).subquery()
    rows = db.session.execute(
        select(found.c.setting, Group).join(Group, Group.id == found.c.group_id).order_by(Group.full_path_key)
    ).all()
    return {
        name: Deviation(number, tuple(group for setting, group in rows if setting == name))
        for name, number in numbers.items()
        if number
    }


def _first_deviating(name: str, most: int) -> Select[Any]:
    first = (
        select(literal(name).label("setting"), GroupPackageSettings.group_id)
        .join(Group, Group.id == GroupPackageSettings.group_id)
        .where(getattr(GroupPackageSettings, name).is_not(None))
        .order_by(Group.full_path_key)
        .limit(most)
    )
    return select(first.subquery())


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
