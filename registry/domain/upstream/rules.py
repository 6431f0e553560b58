"""The rules about the public index that are effective in a project or group, each with where it is set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from sqlalchemy import or_, select

from registry.database import db
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
)
from registry.domain.patterns import Pattern, parse_pattern
from registry.models import Group, InstanceSettings, Namespace, UpstreamException, UpstreamMode

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
    instance = InstanceSettings.current()
    path = [] if group_id is None else levels(group_id, *_SETTINGS)
    minimum_age, fixed_date = _nearest(MINIMUM_AGE, instance, path), _nearest(FIXED_DATE, instance, path)
    return Rules(
        forwards=_nearest(FORWARDING, instance, path),
        mode=_nearest(UPSTREAM_MODE, instance, path),
        minimum_age_days=minimum_age,
        fixed_date=fixed_date,
        reserved=_patterns(RESERVED, instance, path),
        blocked=_patterns(BLOCKED, instance, path),
        allowed=_patterns(ALLOWED, instance, path),
        withhold_malicious=_nearest(WITHHOLD_MALICIOUS, instance, path),
        withhold_cvss_score=_nearest(WITHHOLD_CVSS_SCORE, instance, path),
        exceptions=_exceptions(path) if minimum_age.value or fixed_date.value else (),
    )


def _nearest(setting: CascadingSetting[Value], instance: InstanceSettings, path: Sequence[Level]) -> Placed[Value]:
    place, value = setting.placed(instance, path)[-1]
    return Placed(value, _path_of(place))


def _patterns(
    setting: CascadingSetting[list[str]], instance: InstanceSettings, path: Sequence[Level]
) -> tuple[Placed[Pattern], ...]:
    return tuple(
        Placed(parse_pattern(text), _path_of(place))
        for place, texts in setting.placed(instance, path)
        for text in texts
    )


def _path_of(place: Level | str) -> str:
    return place.full_path if isinstance(place, Level) else place


def _exceptions(path: Sequence[Level]) -> tuple[AgeException, ...]:
    paths: dict[int | None, str] = {level.group_id: level.full_path for level in path}
    rows = db.session.execute(
        select(UpstreamException.pattern, UpstreamException.group_id, UpstreamException.expires_at)
        .where(or_(UpstreamException.group_id.is_(None), UpstreamException.group_id.in_(paths)))
        .order_by(UpstreamException.id)
    )
    return tuple(
        AgeException(parse_pattern(pattern), paths.get(group_id, INSTANCE), expires_at)
        for pattern, group_id, expires_at in rows
    )
