"""The cascade of request forwarding with its locks (GitLab, "Control package forwarding")."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from registry.database import AdvisoryLock, db, transaction
from registry.domain import cascade, forwarding, instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.cascade import change_group
from registry.domain.forwarding import change_forwarding, forwards, of_group
from registry.domain.instance import InstanceChanges, change_instance
from registry.errors import Forbidden, NotFound, SettingLocked
from registry.models import AuditEvent, Group, GroupPackageSettings, Role, User
from tests import factories
from tests.races import at_once

FORWARDING, FORWARDING_LOCK = cascade.FORWARDING.name, cascade.FORWARDING.lock_name
UPSTREAM = "https://upstream.test/simple"


@pytest.mark.parametrize("name", ["my-pkg", "My.Pkg", "my_pkg", "MY--PKG", "my._-pkg"])
def test_a_request_is_forwarded_under_the_normalized_name(name: str) -> None:
    assert forwarding.page_url(name, UPSTREAM) == "https://upstream.test/simple/my-pkg/"


def test_the_direct_parent_decides_for_a_project_and_the_group_for_itself(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    in_group, in_sub = factories.project("a", parent=group), factories.project("b", parent=sub)
    forwarding.change_forwarding(sub, value=False, by=SHELL)

    for namespace in (group, in_group):
        assert forwarding.require_forwarded(namespace, "demo")
    for namespace in (sub, in_sub):
        with pytest.raises(NotFound) as refusal:
            forwarding.require_forwarded(namespace, "demo")
        assert refusal.value.body() == {"message": "404 Package Not Found"}


def test_a_personal_project_follows_the_instance_setting(owner: User) -> None:
    project = factories.project("own", parent=users.personal_namespace(owner))
    assert forwarding.require_forwarded(project, "demo")

    instance.change_instance(instance.InstanceChanges(pypi_package_requests_forwarding=False), by=SHELL)

    with pytest.raises(NotFound):
        forwarding.require_forwarded(project, "demo")


def set_directly(group: Group, value: bool | None, *, lock: bool = False) -> None:
    """Write a group's own settings into the database, without the rules of a change."""
    db.session.add(
        GroupPackageSettings(
            group_id=group.id, pypi_package_requests_forwarding=value, lock_pypi_package_requests_forwarding=lock
        )
    )
    db.session.commit()


def stored(group: Group) -> tuple[bool | None, bool]:
    row = db.session.get(GroupPackageSettings, group.id)
    if row is None:
        return None, False
    db.session.refresh(row)
    return row.pypi_package_requests_forwarding, row.lock_pypi_package_requests_forwarding


@pytest.fixture
def line(app: Flask) -> list[Group]:
    """``top``, ``top/middle`` and ``top/middle/leaf``."""
    top = factories.group("top")
    middle = factories.group("middle", parent=top)
    return [top, middle, factories.group("leaf", parent=middle)]


ON, OFF, INHERIT = True, False, None


@pytest.mark.parametrize(
    ("instance", "top", "middle", "leaf", "effective", "decided_by"),
    [
        # (value, lock) from the instance down
        pytest.param((ON, False), (INHERIT, False), (INHERIT, False), (INHERIT, False), ON, None, id="defaults"),
        pytest.param((OFF, False), (INHERIT, False), (INHERIT, False), (INHERIT, False), OFF, None, id="instance off"),
        pytest.param((ON, False), (INHERIT, False), (INHERIT, False), (OFF, False), OFF, None, id="own value"),
        pytest.param(
            (OFF, False), (INHERIT, False), (INHERIT, False), (ON, False), ON, None, id="own value against off"
        ),
        pytest.param((ON, False), (OFF, False), (INHERIT, False), (INHERIT, False), OFF, None, id="from the top"),
        pytest.param((ON, False), (OFF, False), (ON, False), (INHERIT, False), ON, None, id="nearest ancestor wins"),
        pytest.param((ON, False), (OFF, True), (INHERIT, False), (ON, False), OFF, 0, id="locked above own value"),
        pytest.param((ON, False), (OFF, True), (ON, True), (ON, False), OFF, 0, id="topmost lock wins"),
        pytest.param((ON, False), (ON, False), (OFF, True), (ON, False), OFF, 1, id="lock below the top"),
        pytest.param(
            (ON, False), (INHERIT, False), (INHERIT, False), (OFF, True), OFF, None, id="own lock is no lock above"
        ),
        pytest.param((ON, True), (OFF, True), (OFF, False), (OFF, False), ON, "instance", id="instance lock wins"),
        pytest.param((OFF, True), (ON, True), (ON, True), (ON, True), OFF, "instance", id="instance lock off"),
    ],
)
def test_the_nearest_setting_decides(
    line: list[Group],
    instance: tuple[bool, bool],
    top: tuple[bool | None, bool],
    middle: tuple[bool | None, bool],
    leaf: tuple[bool | None, bool],
    effective: bool,
    decided_by: int | str | None,
) -> None:
    change_instance(
        InstanceChanges(
            pypi_package_requests_forwarding=instance[0], lock_pypi_package_requests_forwarding=instance[1]
        ),
        by=SHELL,
    )
    for group, (value, lock) in zip(line, (top, middle, leaf), strict=True):
        set_directly(group, value, lock=lock)
    project = factories.project(parent=line[2])

    standing = of_group(line[2])

    assert standing.effective is effective
    assert standing.locked_by == (line[decided_by].id if isinstance(decided_by, int) else decided_by)
    assert standing.is_locked is (decided_by is not None)
    assert (standing.value, standing.lock) == leaf
    assert forwards(line[2]) is forwards(project) is effective


def test_a_group_shows_the_source_of_its_value(line: list[Group]) -> None:
    top, _, leaf = line

    from_instance = of_group(leaf)
    set_directly(top, OFF)
    from_top = of_group(leaf)
    set_directly(leaf, ON)
    own = of_group(leaf)

    assert (from_instance.inherited, from_instance.inherited_from) == (ON, "instance")
    assert (from_top.inherited, from_top.inherited_from, from_top.effective) == (OFF, top.id, OFF)
    assert (own.inherited, own.inherited_from, own.effective) == (OFF, top.id, ON)


def test_a_project_of_a_personal_namespace_follows_the_instance(owner: User, line: list[Group]) -> None:
    space = users.personal_namespace(owner)
    project = factories.project(parent=space)
    set_directly(line[0], ON, lock=True)
    before = forwards(project)

    change_instance(InstanceChanges(pypi_package_requests_forwarding=OFF), by=SHELL)

    assert (before, forwards(project), forwards(space)) == (ON, OFF, OFF)


def test_the_settings_of_one_tree_do_not_affect_another(line: list[Group]) -> None:
    other = factories.group("other")
    set_directly(line[0], OFF, lock=True)

    assert of_group(other).effective is ON
    assert not of_group(other).is_locked


def test_a_moved_group_follows_its_new_ancestors(line: list[Group]) -> None:
    top, middle, leaf = line
    strict = factories.group("strict")
    set_directly(strict, OFF, lock=True)
    set_directly(top, ON)

    namespaces.transfer(middle, strict, by=SHELL)

    assert of_group(leaf).effective is OFF
    assert of_group(leaf).locked_by == strict.id


def test_the_cascade_costs_the_same_at_any_depth(app: Flask, statements: list[str]) -> None:
    groups = [factories.group()]
    for _ in range(9):
        groups.append(factories.group(parent=groups[-1]))

    def cost(group: Group) -> int:
        db.session.rollback()
        group_id = group.id
        fresh = db.session.get_one(Group, group_id)
        before = len(statements)
        forwards(fresh)
        return len(statements) - before

    assert cost(groups[0]) == cost(groups[-1]) == 2


def test_a_change_keeps_fields_it_does_not_name(line: list[Group]) -> None:
    top = line[0]
    change_forwarding(top, value=OFF, by=SHELL)
    change_forwarding(top, lock=True, by=SHELL)

    assert stored(top) == (OFF, True)

    change_forwarding(top, value=ON, by=SHELL)

    assert stored(top) == (ON, True)


def test_a_change_returns_the_new_setting(line: list[Group]) -> None:
    setting = change_forwarding(line[0], value=OFF, lock=True, by=SHELL)

    assert (setting.value, setting.lock, setting.effective, setting.inherited) == (OFF, True, OFF, ON)
    assert setting == of_group(line[0])


def test_saving_nothing_returns_a_group_to_inheriting(line: list[Group]) -> None:
    top, middle, _ = line
    change_forwarding(top, value=OFF, by=SHELL)
    change_forwarding(middle, value=ON, by=SHELL)

    change_forwarding(middle, value=None, by=SHELL)

    assert stored(middle) == (None, False)
    assert of_group(middle).effective is OFF


def test_locking_without_a_value_keeps_the_one_that_holds_now(line: list[Group]) -> None:
    top, middle, leaf = line
    change_forwarding(top, value=OFF, by=SHELL)

    change_forwarding(middle, lock=True, by=SHELL)
    change_forwarding(top, value=ON, by=SHELL)

    assert stored(middle) == (OFF, True)
    assert of_group(leaf).effective is OFF


def test_a_lock_always_holds_a_value(line: list[Group]) -> None:
    top = line[0]
    change_forwarding(top, value=OFF, lock=True, by=SHELL)

    change_forwarding(top, value=None, by=SHELL)

    assert stored(top) == (ON, True), "the value that would be inherited"


def test_locking_clears_the_locks_below_but_not_the_values(line: list[Group]) -> None:
    top, middle, leaf = line
    change_forwarding(middle, value=OFF, lock=True, by=SHELL)
    set_directly(leaf, OFF, lock=True)
    elsewhere = factories.group("elsewhere")
    change_forwarding(elsewhere, value=OFF, lock=True, by=SHELL)

    change_forwarding(top, value=ON, lock=True, by=SHELL)

    assert [stored(group) for group in line] == [(ON, True), (OFF, False), (OFF, False)]
    assert stored(elsewhere) == (OFF, True)


def test_saving_a_lock_again_leaves_later_locks_below_alone(line: list[Group]) -> None:
    top, middle, _ = line
    change_forwarding(top, value=ON, lock=True, by=SHELL)
    set_directly(middle, OFF, lock=True)

    change_forwarding(top, value=OFF, lock=True, by=SHELL)

    assert stored(middle) == (OFF, True)


def test_unlocking_brings_back_the_values_below(line: list[Group]) -> None:
    top, middle, leaf = line
    change_forwarding(middle, value=OFF, by=SHELL)
    change_forwarding(top, value=ON, lock=True, by=SHELL)
    shadowed = of_group(leaf).effective

    change_forwarding(top, lock=False, by=SHELL)

    assert (shadowed, of_group(leaf).effective) == (ON, OFF)


def test_a_value_equal_to_an_ancestors_keeps_inheriting(line: list[Group]) -> None:
    top, middle, _ = line
    change_forwarding(top, value=OFF, by=SHELL)

    change_forwarding(middle, value=OFF, by=SHELL)

    assert stored(middle) == (None, False)
    change_forwarding(top, value=ON, by=SHELL)
    assert of_group(middle).effective is ON


def test_a_value_equal_to_the_instances_is_a_groups_own(line: list[Group]) -> None:
    change_forwarding(line[0], value=ON, by=SHELL)

    change_instance(InstanceChanges(pypi_package_requests_forwarding=OFF), by=SHELL)

    assert of_group(line[0]).effective is ON


def test_a_groups_own_value_may_become_equal_to_its_ancestors(line: list[Group]) -> None:
    top, middle, _ = line
    change_forwarding(top, value=OFF, by=SHELL)
    change_forwarding(middle, value=ON, by=SHELL)

    change_forwarding(middle, value=OFF, by=SHELL)

    assert stored(middle) == (OFF, False)


@pytest.mark.parametrize("locked_by", ["instance", "ancestor"])
@pytest.mark.parametrize(
    ("change", "named"),
    [({"value": OFF}, FORWARDING), ({"lock": True}, FORWARDING_LOCK), ({"value": OFF, "lock": True}, FORWARDING)],
    ids=["value", "lock", "both"],
)
def test_a_setting_locked_above_cannot_be_changed_below(
    line: list[Group], locked_by: str, change: dict[str, Any], named: str
) -> None:
    if locked_by == "instance":
        change_instance(InstanceChanges(lock_pypi_package_requests_forwarding=True), by=SHELL)
    else:
        change_forwarding(line[0], value=ON, lock=True, by=SHELL)

    with pytest.raises(SettingLocked) as refusal:
        change_forwarding(line[2], **change, by=SHELL)

    assert refusal.value.body() == {"message": {named: ["cannot be changed because it is locked by an ancestor"]}}
    assert stored(line[2]) == (None, False)


def test_of_concurrent_changes_of_a_group_the_last_decides(app: Flask, line: list[Group]) -> None:
    for group_id in [group.id for group in line]:

        def change(value: bool, group_id: int = group_id) -> None:
            change_forwarding(db.session.get_one(Group, group_id), value=value, by=SHELL)

        assert at_once(app, *(partial(change, value) for value in (True, False) * 2)) == ["done"] * 4


def test_saving_a_locked_form_unchanged_is_no_error(line: list[Group]) -> None:
    change_forwarding(line[0], value=OFF, lock=True, by=SHELL)

    standing = change_forwarding(line[2], value=None, lock=False, by=SHELL)

    assert standing.effective is OFF


def test_the_group_that_holds_the_lock_can_change_it(line: list[Group]) -> None:
    change_forwarding(line[0], value=OFF, lock=True, by=SHELL)

    standing = change_forwarding(line[0], value=ON, lock=False, by=SHELL)

    assert (standing.value, standing.lock) == (ON, False)


def test_a_change_is_on_record_once(line: list[Group], owner: User) -> None:
    change_forwarding(line[0], value=OFF, lock=True, by=factories.signed_in(owner))
    change_forwarding(line[0], value=OFF, lock=True, by=factories.signed_in(owner))

    events = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "group_package_settings_changed")).all()
    assert [(event.author, event.target, event.details) for event in events] == [
        (
            "olivia",
            "top",
            {FORWARDING: {"before": None, "after": False}, FORWARDING_LOCK: {"before": False, "after": True}},
        )
    ]


@dataclass
class Instance:
    value: bool = True
    lock: bool = False


@dataclass
class Node:
    """One group of the model; asks its parents one by one."""

    instance: Instance
    parent: Node | None
    value: bool | None = None
    lock: bool = False
    children: list[Node] = field(default_factory=list)

    def above(self) -> list[Node]:
        """The ancestors, nearest first."""
        return [] if self.parent is None else [self.parent, *self.parent.above()]

    def below(self) -> list[Node]:
        return [descendant for child in self.children for descendant in (child, *child.below())]

    def locker(self) -> Instance | Node | None:
        if self.instance.lock:
            return self.instance
        return next((node for node in reversed(self.above()) if node.lock), None)

    def inherited(self) -> bool:
        if (locker := self.locker()) is not None and locker.value is not None:
            return locker.value
        for node in self.above():
            if node.value is not None:
                return node.value
        return self.instance.value

    def effective(self) -> bool:
        return self.inherited() if self.locker() is not None or self.value is None else self.value

    def change(self, value: bool | None, lock: bool) -> bool:
        """Whether the change was let through."""
        if (value, lock) == (self.value, self.lock):
            return True
        if self.locker() is not None:
            return False
        explicit = [node.value for node in self.above() if node.value is not None]
        if self.value is None and explicit and explicit[0] == value:
            value = None
        if lock and value is None:
            value = self.inherited()
        if lock and not self.lock:
            for node in self.below():
                node.lock = False
        self.value, self.lock = value, lock
        return True


SHAPES = st.lists(st.integers(0, 100), min_size=1, max_size=6)
CHANGES = st.lists(
    st.tuples(st.integers(-1, 6), st.sampled_from([True, False, None]), st.booleans()), min_size=1, max_size=15
)


@given(shape=SHAPES, changes=CHANGES)
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_sequence_of_changes_agrees_with_a_naive_model(
    app: Flask, shape: list[int], changes: list[tuple[int, bool | None, bool]]
) -> None:
    """Change ``(-1, value, lock)`` is the instance's, others those of a group."""
    instance = Instance()
    nodes, groups = [Node(instance, None)], []
    with transaction(lock=AdvisoryLock.TREE):
        change_instance(
            InstanceChanges(pypi_package_requests_forwarding=True, lock_pypi_package_requests_forwarding=False),
            by=SHELL,
        )
        groups.append(factories.group())
        for number in shape:
            above = number % len(nodes)
            nodes.append(Node(instance, nodes[above]))
            nodes[above].children.append(nodes[-1])
            groups.append(factories.group(parent=groups[above]))

    for place, value, lock in changes:
        if place == -1:
            instance.value, instance.lock = bool(value), lock
            change_instance(
                InstanceChanges(
                    pypi_package_requests_forwarding=bool(value), lock_pypi_package_requests_forwarding=lock
                ),
                by=SHELL,
            )
        else:
            let_through = nodes[place % len(nodes)].change(value, lock)
            assert let_through is is_let_through(groups[place % len(nodes)], value, lock)
        assert [summary(group, groups) for group in groups] == [expected(node, nodes) for node in nodes]


def is_let_through(group: Group, value: bool | None, lock: bool) -> bool:
    try:
        change_forwarding(group, value=value, lock=lock, by=SHELL)
    except SettingLocked:
        return False
    return True


def summary(group: Group, groups: list[Group]) -> tuple[object, ...]:
    standing = of_group(group)
    places: dict[object, object] = {group.id: place for place, group in enumerate(groups)}
    locked_by = places.get(standing.locked_by, standing.locked_by)
    return standing.value, standing.lock, standing.inherited, standing.effective, locked_by


def expected(node: Node, nodes: list[Node]) -> tuple[object, ...]:
    locker = node.locker()
    locked_by: object = None if locker is None else "instance"
    if isinstance(locker, Node):
        locked_by = next(place for place, candidate in enumerate(nodes) if candidate is locker)
    return node.value, node.lock, node.inherited(), node.effective(), locked_by


def test_only_an_owner_changes_forwarding_together_with_the_group(group: Group) -> None:
    maintainer = factories.signed_in(factories.member(group, Role.MAINTAINER))

    with pytest.raises(Forbidden):
        change_group(group, namespaces.GroupChanges(), {FORWARDING: False}, by=maintainer)

    assert forwarding.forwards(group)
