"""The rules about the public index that are effective in a project or group, each with where it is set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar

from sqlalchemy import or_, select

from registry.database import Reading, db
from registry.domain.cascade import (
    ALLOWED,
    BLOCKED,
    FIXED_DATE,
    FORWARDING,
    INSTANCE,
    MINIMUM_AGE,
    RESERVED,
    UPSTREAM_MODE,
    WITHHOLD_CVSS_SCORE,
    WITHHOLD_MALICIOUS,
    CascadingSetting,
    Level,
    levels,
    levels_of,
    path_of,
)
from registry.domain.patterns import Pattern, parse_pattern
from registry.models import (
    Group,
    GroupPackageSettings,
    InstanceSettings,
    Namespace,
    UpstreamException,
    UpstreamMode,
)

Value = TypeVar("Value")
_SETTINGS = (
    FORWARDING,
    UPSTREAM_MODE,
    MINIMUM_AGE,
    FIXED_DATE,
    RESERVED,
    BLOCKED,
    ALLOWED,
    WITHHOLD_MALICIOUS,
    WITHHOLD_CVSS_SCORE,
)

# The columns of ``InstanceSettings`` that the rules have.
_INSTANCE = Reading(
    select(*(getattr(InstanceSettings, name) for setting in _SETTINGS for name in (setting.name, setting.lock_name)))
)


@dataclass(frozen=True)
class Placed(Generic[Value]):
    """A value, and where it is set: the full path of a group, or ``"instance"``."""

    value: Value
    set_in: str


@dataclass(frozen=True)
class AgeException:
    """Names or versions that are offered before they have the minimum age, and after the fixed date.

    :ivar expires_at: the exception does not count from then on.
    """

    pattern: Pattern
    set_in: str
    expires_at: datetime | None

    def counts_at(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True)
class Rules:
    """The effective rules of a project or group; patterns and exceptions outermost first.

    :ivar forwards: whether the public index is used at all.
    :ivar reserved: names that it is never asked for, besides those that were published (``packages.reserved``).
    :ivar exceptions: includes those that have expired; none if there is nothing to except from.
    """

    forwards: Placed[bool]
    mode: Placed[UpstreamMode]
    minimum_age_days: Placed[int]
    fixed_date: Placed[datetime | None]
    reserved: tuple[Placed[Pattern], ...]
    blocked: tuple[Placed[Pattern], ...]
    allowed: tuple[Placed[Pattern], ...]
    withhold_malicious: Placed[bool]
    withhold_cvss_score: Placed[float | None]
    exceptions: tuple[AgeException, ...]


def place_in_words(set_in: str) -> str:
    """Return the place of a rule for a sentence."""
    return "the instance" if set_in == INSTANCE else f"the group {set_in}"


def rules_of(namespace: Namespace) -> Rules:
    """Return the rules of a group, or for a project of its direct parent group.

    Takes three statements at any depth, and two if no files are withheld by their age.
    """
    group_id = namespace.id if isinstance(namespace, Group) else namespace.parent_id
    path = [] if group_id is None else levels(group_id, *_SETTINGS)
    (instance,) = _INSTANCE.rows({})
    rules = _rules(instance, path)
    if rules.minimum_age_days.value or rules.fixed_date.value:
        return replace(rules, exceptions=_exceptions(path))
    return rules


def instance_rules() -> Rules:
    """Return the rules of the instance, with the reserved names of all groups as well; three statements."""
    rows = db.session.execute(
        select(Namespace.full_path, GroupPackageSettings.pypi_reserved_names)
        .join(GroupPackageSettings, GroupPackageSettings.group_id == Namespace.id)
        .where(GroupPackageSettings.pypi_reserved_names.is_not(None))
        .order_by(Namespace.full_path)
    )
    of_groups = tuple(Placed(parse_pattern(text), path) for path, texts in rows for text in texts or ())
    rules = _rules(InstanceSettings.current(), ())
    return replace(rules, reserved=rules.reserved + of_groups, exceptions=_exceptions(()))


def rules_if(
    group: Group | None, changed: Mapping[str, Any], namespace_ids: Collection[int]
) -> dict[int, tuple[Rules, Rules]]:
    """Return the rules of groups and projects as they are, and as they would be if settings were changed.

    Takes three statements.

    :param group: whose own settings would be changed, or those of the instance (``None``).
    :param changed: new values by the names of the settings and locks.
    """
    paths = levels_of(namespace_ids, *_SETTINGS)
    groups = {level.group_id: level for path in paths.values() for level in path}
    now, exceptions = InstanceSettings.current(), _exceptions(groups.values())
    if group is None:
        then, groups_then = _copy_with(now, changed), groups
    else:
        then, groups_then = now, groups | {group.id: _with(groups[group.id], changed)} if group.id in groups else groups

    @cache  # all projects of a group have the same
    def pair(path_ids: tuple[int, ...]) -> tuple[Rules, Rules]:
        path, path_then = [groups[one] for one in path_ids], [groups_then[one] for one in path_ids]
        places = {INSTANCE, *(level.full_path for level in path)}
        counting = tuple(one for one in exceptions if one.set_in in places)
        return (
            replace(_rules(now, path), exceptions=counting),
            replace(_rules(then, path_then), exceptions=counting),
        )

    return {
        namespace_id: pair(tuple(level.group_id for level in paths.get(namespace_id, ())))
        for namespace_id in namespace_ids
    }


def _with(level: Level, changed: Mapping[str, Any]) -> Level:
    return replace(level, own={**level.own, **changed})


def _copy_with(instance: InstanceSettings, changed: Mapping[str, Any]) -> InstanceSettings:
    """Return settings that are not those of the database."""
    names = [name for setting in _SETTINGS for name in (setting.name, setting.lock_name)]
    return InstanceSettings(**({name: getattr(instance, name) for name in names} | dict(changed)))


def _rules(instance: InstanceSettings, path: Sequence[Level]) -> Rules:
    """Return the rules of the last group of a path, without exceptions."""
    return Rules(
        forwards=_nearest(FORWARDING, instance, path),
        mode=_nearest(UPSTREAM_MODE, instance, path),
        minimum_age_days=_nearest(MINIMUM_AGE, instance, path),
        fixed_date=_nearest(FIXED_DATE, instance, path),
        reserved=_patterns(RESERVED, instance, path),
        blocked=_patterns(BLOCKED, instance, path),
        allowed=_patterns(ALLOWED, instance, path),
        withhold_malicious=_nearest(WITHHOLD_MALICIOUS, instance, path),
        withhold_cvss_score=_nearest(WITHHOLD_CVSS_SCORE, instance, path),
        exceptions=(),
    )


def _nearest(setting: CascadingSetting[Value], instance: InstanceSettings, path: Sequence[Level]) -> Placed[Value]:
    place, value = setting.placed(instance, path)[-1]
    return Placed(value, path_of(place))


def _patterns(
    setting: CascadingSetting[list[str]], instance: InstanceSettings, path: Sequence[Level]
) -> tuple[Placed[Pattern], ...]:
    return tuple(
        Placed(parse_pattern(text), path_of(place)) for place, texts in setting.placed(instance, path) for text in texts
    )


def _exceptions(groups: Iterable[Level]) -> tuple[AgeException, ...]:
    """Return the exceptions of these groups and of the instance."""
    paths: dict[int | None, str] = {level.group_id: level.full_path for level in groups}
    rows = db.session.execute(
        select(UpstreamException.pattern, UpstreamException.group_id, UpstreamException.expires_at)
        .where(or_(UpstreamException.group_id.is_(None), UpstreamException.group_id.in_(paths)))
        .order_by(UpstreamException.id)
    )
    return tuple(
        AgeException(parse_pattern(pattern), paths.get(group_id, INSTANCE), expires_at)
        for pattern, group_id, expires_at in rows
    )
