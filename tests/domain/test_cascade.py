"""Settings of every type through the levels, with their locks; request forwarding is tested in test_forwarding."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from registry.database import db, transaction
from registry.domain import cascade
from registry.domain.access import SHELL
from registry.domain.cascade import CascadingSetting, Level
from registry.errors import InvalidRecord, SettingLocked
from registry.models import AuditEvent, Group, InstanceSettings, UpstreamMode
from tests import factories

JANUARY, JUNE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
# One setting of each type, with the value of the instance, and two others.
TYPES = [
    (cascade.UPSTREAM_MODE, UpstreamMode.REDIRECT, UpstreamMode.CACHE, UpstreamMode.REDIRECT),
    (cascade.MINIMUM_AGE, 0, 7, 14),
    (cascade.FIXED_DATE, None, JANUARY, JUNE),
    (cascade.BLOCKED, ["torch*"], ["demo"], ["requests==1.0", "demo"]),
]


@pytest.fixture
def line(app: Flask) -> list[Group]:
    """``top``, ``top/middle`` and ``top/middle/leaf``."""
    top = factories.group("top")
    middle = factories.group("middle", parent=top)
    return [top, middle, factories.group("leaf", parent=middle)]


def set_for_instance(setting: CascadingSetting[Any], value: object, *, lock: bool = False) -> None:
    with transaction():
        settings = db.session.get_one(InstanceSettings, 1)
        setattr(settings, setting.name, value)
        setattr(settings, setting.lock_name, lock)


@pytest.mark.parametrize(("setting", "zero", "one", "two"), TYPES, ids=lambda value: getattr(value, "name", ""))
def test_levels_and_locks_decide_for_values_of_every_type(
    line: list[Group], setting: CascadingSetting[Any], zero: Any, one: Any, two: Any
) -> None:
    top, middle, leaf = line

    def together(*values: Any) -> Any:
        """The effective one of values, outermost first."""
        return list(dict.fromkeys(chain(*values))) if setting.adds_up else values[-1]

    def change(group: Group, value: Any, *, lock: bool = False) -> None:
        setting.change(group, value=value, lock=lock, by=SHELL)

    def effective() -> Any:
        return setting.of_group(leaf).effective

    set_for_instance(setting, zero)
    assert effective() == together(zero)

    change(top, one)
    assert effective() == together(zero, one) == setting.of_group(leaf).inherited
    assert setting.of_group(leaf).inherited_from == top.id

    change(leaf, two)
    assert effective() == together(zero, one, two)
    assert setting.of_group(middle).effective == together(zero, one)

    change(top, one, lock=True)
    assert effective() == together(zero, one)
    assert setting.of_group(leaf).locked_by == top.id
    with pytest.raises(SettingLocked):
        change(leaf, None)

    set_for_instance(setting, zero, lock=True)
    assert effective() == together(zero)
    assert setting.of_group(leaf).locked_by == "instance"

    set_for_instance(setting, zero)
    change(top, None)
    assert effective() == together(zero, two)


def test_a_lock_that_is_cleared_by_one_above_is_on_record(line: list[Group]) -> None:
    top, _, leaf = line
    cascade.FORWARDING.change(leaf, value=False, lock=True, by=SHELL)

    cascade.FORWARDING.change(top, value=True, lock=True, by=SHELL)

    assert not cascade.FORWARDING.of_group(leaf).lock
    changed = select(AuditEvent).where(AuditEvent.action == "group_package_settings_changed")
    events = db.session.scalars(changed.order_by(AuditEvent.id)).all()
    assert [event.target for event in events] == [leaf.full_path, leaf.full_path, top.full_path]
    assert events[1].details == {cascade.FORWARDING.lock_name: {"before": True, "after": False}}


def test_a_locked_list_needs_no_entries(line: list[Group]) -> None:
    set_for_instance(cascade.BLOCKED, ["torch*"])

    standing = cascade.BLOCKED.change(line[0], lock=True, by=SHELL)

    assert (standing.value, standing.effective) == (None, ["torch*"])
    assert cascade.BLOCKED.of_group(line[2]).is_locked


LEVELS = st.lists(
    st.tuples(st.none() | st.integers(0, 3), st.booleans()), min_size=1, max_size=5
)  # own value and lock of groups, from the top


@given(instance=st.tuples(st.integers(0, 3), st.booleans()), groups=LEVELS, is_list=st.booleans())
def test_values_and_locks_agree_with_a_naive_model(
    instance: tuple[int, bool], groups: list[tuple[int | None, bool]], is_list: bool
) -> None:
    setting: CascadingSetting[Any] = cascade.BLOCKED if is_list else cascade.MINIMUM_AGE

    def value_of(number: int | None) -> Any:
        return number if number is None or not is_list else [f"name{number}"]

    def own(number: int | None, is_locked: bool) -> dict[str, Any]:
        return {setting.name: value_of(number), setting.lock_name: is_locked}

    counting: list[int] = []
    for number, is_locked in [instance, *groups]:
        counting += [] if number is None else [number]
        if is_locked:
            break
    expected = [f"name{number}" for number in dict.fromkeys(counting)] if is_list else counting[-1]
    is_locked_above = any(is_locked for _, is_locked in [instance, *groups[:-1]])

    levels = [Level(number, f"group{number}", own(*group)) for number, group in enumerate(groups)]
    standing = setting.standing(InstanceSettings(**own(*instance)), levels, len(groups) - 1)

    assert (standing.effective, standing.is_locked) == (expected, is_locked_above)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (cascade.MINIMUM_AGE, 3651, "is 3651, expected is a whole number from 0 to 3650"),
        (cascade.BLOCKED, ["a>1"], "contains 'a>1', expected is name, name*, or name==version (PEP 440)"),
        (cascade.ALLOWED, ["a"] * 1001, "has too many entries: 1001 (maximum is 1000)"),
    ],
    ids=["number", "pattern", "too many"],
)
def test_a_wrong_value_is_refused_with_what_is_expected(
    line: list[Group], setting: CascadingSetting[Any], value: object, message: str
) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        setting.change(line[0], value=value, by=SHELL)

    assert refusal.value.errors == {setting.name: [message]}
    assert setting.of_group(line[0]).value is None


def test_a_date_before_and_after_is_on_record(line: list[Group]) -> None:
    cascade.FIXED_DATE.change(line[0], value=JANUARY, by=SHELL)

    event = db.session.query(AuditEvent).filter_by(action="group_package_settings_changed").one()
    assert event.details == {"pypi_upstream_fixed_date": {"before": None, "after": "2026-01-01T00:00:00+00:00"}}
