from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db
from registry.domain import instance
from registry.domain.access import SHELL
from registry.domain.instance import InstanceChanges, change_instance
from registry.errors import InvalidRecord
from registry.models import AuditEvent, InstanceSettings, Visibility


def test_every_setting_is_described_once() -> None:
    columns = InstanceSettings.__table__.columns.keys()

    assert sorted(["id", *(one.name for one in instance.SETTINGS)]) == sorted(columns)


def test_instance_settings_change_by_name_and_leave_the_others(app: Flask) -> None:
    change_instance(InstanceChanges(can_create_group=False, default_group_visibility=Visibility.INTERNAL), by=SHELL)

    db.session.expire_all()
    current = InstanceSettings.current()
    assert not current.can_create_group
    assert current.default_group_visibility is Visibility.INTERNAL
    assert current.default_project_visibility is Visibility.PRIVATE


def test_a_change_of_the_instance_is_on_record(app: Flask) -> None:
    change_instance(InstanceChanges(default_group_visibility=Visibility.INTERNAL), by=SHELL)
    change_instance(InstanceChanges(), by=SHELL)

    events = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "instance_settings_changed")).all()
    assert [event.details for event in events] == [
        {"default_group_visibility": {"before": "private", "after": "internal"}}
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_personal_access_token_lifetime", 0),
        ("max_personal_access_token_lifetime", 3651),
        ("pypi_max_file_size", -1),
        ("personal_access_token_prefix", "x" * 21),
        ("personal_access_token_prefix", "ü-"),
        ("personal_access_token_prefix", "a\nb"),
    ],
)
def test_a_value_outside_its_range_is_refused_and_changes_nothing(app: Flask, name: str, value: object) -> None:
    before = getattr(InstanceSettings.current(), name)

    with pytest.raises(InvalidRecord) as refusal:
        change_instance(InstanceChanges(can_create_group=False, **{name: value}), by=SHELL)

    assert list(refusal.value.errors) == [name]
    assert getattr(InstanceSettings.current(), name) == before
    assert InstanceSettings.current().can_create_group


def test_everything_that_is_wrong_is_refused_at_once(app: Flask) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        change_instance(
            InstanceChanges(max_personal_access_token_lifetime=0, personal_access_token_prefix="\n"), by=SHELL
        )

    assert refusal.value.errors == {
        "max_personal_access_token_lifetime": ["must be between 1 and 3650 days"],
        "personal_access_token_prefix": ["is too long (maximum is 20 characters)"],
    }


@pytest.mark.parametrize(
    ("configured", "own", "largest"),
    [
        (5000, None, 5000),
        (5000, 0, 5000),
        (5000, 100, 100),
        (5000, 9000, 5000),
        (0, None, 0),
        (0, 100, 100),
    ],
)
def test_the_instance_setting_only_lowers_the_configured_file_size(
    app: Flask, configured: int, own: int | None, largest: int
) -> None:
    change_instance(InstanceChanges(pypi_max_file_size=own), by=SHELL)

    assert instance.max_file_size(configured) == largest
