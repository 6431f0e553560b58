from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from registry.database import db, transaction
from registry.domain import cascade
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.cascade import CascadingSetting
from registry.domain.upstream.rules import rules_of
from registry.models import Group, InstanceSettings, UpstreamException, UpstreamMode, User
from tests import factories

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def line(app: Flask) -> list[Group]:
    """``top``, ``top/middle`` and ``top/middle/leaf``."""
    top = factories.group("top")
    middle = factories.group("middle", parent=top)
    return [top, middle, factories.group("leaf", parent=middle)]


def change(setting: CascadingSetting[Any], group: Group, value: object, *, lock: bool = False) -> None:
    setting.change(group, value=value, lock=lock, by=SHELL)


def test_each_rule_is_known_with_where_it_is_set(line: list[Group]) -> None:
    top, middle, leaf = line
    elsewhere = factories.group("elsewhere")
    with transaction():
        db.session.get_one(InstanceSettings, 1).pypi_upstream_blocked = ["evil"]
        for group_id in (None, top.id, leaf.id, elsewhere.id):
            db.session.add(UpstreamException(group_id=group_id, pattern="numpy", reason="needed", expires_at=NOW))
    change(cascade.MINIMUM_AGE, top, 7)
    change(cascade.UPSTREAM_MODE, top, UpstreamMode.CACHE, lock=True)
    change(cascade.MINIMUM_AGE, middle, 3)
    change(cascade.BLOCKED, middle, ["Torch*", "a==1"])

    rules = rules_of(factories.project("own", parent=leaf))

    assert (rules.mode.value, rules.mode.set_in) == (UpstreamMode.CACHE, "top")
    assert (rules.minimum_age_days.value, rules.minimum_age_days.set_in) == (3, "top/middle")
    assert (rules.fixed_date.value, rules.fixed_date.set_in) == (None, "instance")
    assert [(rule.value.text, rule.set_in) for rule in rules.blocked] == [
        ("evil", "instance"), ("Torch*", "top/middle"), ("a==1", "top/middle"),
    ]  # fmt: skip
    assert [one.set_in for one in rules.exceptions] == ["instance", "top", "top/middle/leaf"]


def test_a_personal_project_has_the_rules_of_the_instance(owner: User) -> None:
    project = factories.project("own", parent=users.personal_namespace(owner))

    rules = rules_of(project)

    assert (rules.mode.value, rules.mode.set_in) == (UpstreamMode.REDIRECT, "instance")
    assert rules.blocked == rules.allowed == rules.exceptions == ()


def test_an_exception_ends_at_its_moment(line: list[Group]) -> None:
    with transaction():
        db.session.add(UpstreamException(group_id=line[0].id, pattern="numpy", reason="needed", expires_at=NOW))

    change(cascade.MINIMUM_AGE, line[0], 7)

    (exception,) = rules_of(line[0]).exceptions

    assert exception.counts_at(NOW - timedelta(seconds=1))
    assert not exception.counts_at(NOW)


def test_the_number_of_statements_does_not_depend_on_the_depth(line: list[Group], statements: list[str]) -> None:
    change(cascade.MINIMUM_AGE, line[0], 7)
    counts = []
    for group in line:
        db.session.expunge_all()
        statements.clear()
        rules_of(group)
        counts.append(len(statements))

    assert counts == [3, 3, 3]
