"""Settings of groups in two transactions at the same time (PostgreSQL)."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from registry.database import db
from registry.domain import cascade, forwarding
from registry.domain.access import SHELL
from registry.domain.cascade import FORWARDING
from registry.domain.namespaces import GroupChanges
from registry.models import Group
from tests import factories
from tests.races import Act, race

pytestmark = pytest.mark.postgresql


def set_forwarding(group_id: int, **said: Any) -> Act:
    return lambda: forwarding.change_forwarding(db.session.get_one(Group, group_id), **said, by=SHELL)


def change_group(group_id: int, **said: Any) -> Act:
    given = {{"value": FORWARDING.name, "lock": FORWARDING.lock_name}[name]: value for name, value in said.items()}
    return lambda: cascade.change_group(db.session.get_one(Group, group_id), GroupChanges(), given, by=SHELL)


@pytest.mark.parametrize("change", [set_forwarding, change_group])
def test_a_lock_that_is_set_above_at_the_same_time_counts(app: Flask, group: Group, change: Any) -> None:
    inner = factories.group("inner", parent=group)
    lock = change(group.id, value=False, lock=True)

    assert race(app, lock, change(inner.id, value=True)) == ("done", "SettingLocked")


def test_a_lock_below_that_is_set_at_the_same_time_is_lifted(app: Flask, group: Group) -> None:
    inner = factories.group("inner", parent=group)

    race(app, set_forwarding(inner.id, lock=True), set_forwarding(group.id, lock=True))

    assert not forwarding.of_group(inner).lock
