from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import pytest

from registry.domain.changes import Changes
from registry.domain.instance import InstanceChanges
from registry.domain.namespaces import ProjectChanges
from registry.domain.settings import (
    Creators,
    Days,
    Kind,
    OneVisibility,
    Section,
    Setting,
    ShortText,
    SizeLimit,
    Switch,
    Visibilities,
    refuse_bad_values,
    setting,
    settings_of,
)
from registry.errors import InvalidRecord
from registry.models import CreationLevel, Visibility


@dataclass(frozen=True)
class LampChanges(Changes):
    """The changes that this module is about; no record has them."""

    name: str | EllipsisType = ...
    is_lit: bool | EllipsisType = setting(Switch(), "Lit", Section.ACCOUNTS, hint="On or off.", rest_name="lamp_lit")
    warranty: int | EllipsisType = setting(Days(5, 60), "Warranty", Section.SIZE_LIMITS)


def test_settings_are_described_in_the_order_of_the_fields() -> None:
    assert settings_of(LampChanges) == (
        Setting("is_lit", Switch(), "Lit", Section.ACCOUNTS, "On or off.", "lamp_lit"),
        Setting("warranty", Days(5, 60), "Warranty", Section.SIZE_LIMITS, "", "warranty"),
    )


def test_a_kind_that_forms_and_parameters_do_not_know_stops_the_start() -> None:
    with pytest.raises(TypeError, match="is not part of AnyKind"):
        setting(Kind[int](), "Brightness", Section.ACCOUNTS)


def test_a_setting_that_is_not_given_stays() -> None:
    assert LampChanges(is_lit=False).given() == {"is_lit": False}


def test_only_settings_that_change_are_checked() -> None:
    refuse_bad_values(LampChanges(name="\x00"))

    with pytest.raises(InvalidRecord) as refusal:
        refuse_bad_values(LampChanges(is_lit=True, warranty=4))

    assert refusal.value.errors == {"warranty": ["must be between 5 and 60 days"]}


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (Switch(), False, None),
        (Days(1, 3650), 1, None),
        (Days(1, 3650), 3650, None),
        (Days(1, 3650), 0, "must be between 1 and 3650 days"),
        (Days(1, 3650), 3651, "must be between 1 and 3650 days"),
        (SizeLimit(), None, None),
        (SizeLimit(), 0, None),
        (SizeLimit(), -1, "must be greater than or equal to 0"),
        (ShortText(3), "", None),
        (ShortText(3), "abc", None),
        (ShortText(3), "abcd", "is too long (maximum is 3 characters)"),
        (ShortText(3), "ü", "is too long (maximum is 3 characters)"),
        (ShortText(3), "\t", "is too long (maximum is 3 characters)"),
        (OneVisibility(), Visibility.PUBLIC, None),
        (Visibilities(), ["public"], None),
        (Creators(), CreationLevel.NOBODY, None),
    ],
)
def test_a_kind_reports_the_faults_of_a_value(kind: Kind[Any], value: object, sentence: str | None) -> None:
    assert [str(fault) for fault in kind.faults(value)] == ([] if sentence is None else [sentence])


@pytest.mark.parametrize("changes", [InstanceChanges, ProjectChanges])
def test_no_two_settings_of_a_record_share_a_name(changes: type[Changes]) -> None:
    names = [one.rest_name for one in settings_of(changes)]

    assert len(names) == len(set(names))
