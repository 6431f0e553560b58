"""Namespaces and members in two transactions at the same time (PostgreSQL)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, select

from registry.database import db, transaction
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import AllowedJobSource, Ancestry, AuditEvent, Group, Namespace, Project, Role, User, Visibility
from tests import factories
from tests.domain.namespaces.creating import create_group, create_project
from tests.races import Act, race

pytestmark = pytest.mark.postgresql


def found(namespace_id: int) -> Namespace:
    """The namespace, as the session of the thread has it."""
    return db.session.get_one(Namespace, namespace_id)


def change(namespace_id: int, **changes: Any) -> Act:
    return lambda: namespaces.change(found(namespace_id), namespaces.NamespaceChanges(**changes), by=SHELL)  # type: ignore[arg-type]


def transfer(group_id: int, parent_id: int) -> Act:
    return lambda: namespaces.transfer(found(group_id), found(parent_id), by=SHELL)  # type: ignore[arg-type]


def delete(namespace_id: int) -> Act:
    return lambda: namespaces.delete_namespace(found(namespace_id), by=SHELL)  # type: ignore[arg-type]


def full_path(path: str) -> str | None:
    return db.session.scalar(select(Namespace.full_path).where(Namespace.path == path))


@pytest.mark.parametrize("create", [create_group, create_project], ids=["group", "project"])
def test_a_namespace_created_while_its_parent_is_renamed_gets_the_new_path(
    app: Flask, group: Group, create: Callable[..., Namespace]
) -> None:
    group_id = group.id

    race(app, change(group_id, path="renamed"), lambda: create("inner", parent=found(group_id)))

    assert full_path("inner") == "renamed/inner"


@pytest.mark.parametrize("create", [create_group, create_project], ids=["group", "project"])
def test_a_namespace_created_while_its_parent_is_moved_is_below_the_new_parent(
    app: Flask, group: Group, create: Callable[..., Namespace]
) -> None:
    group_id, other_id = group.id, factories.group("other").id

    race(app, transfer(group_id, other_id), lambda: create("inner", parent=found(group_id)))

    assert full_path("inner") == "other/acme/inner"
    inner_id = db.session.scalars(select(Namespace.id).where(Namespace.path == "inner")).one()
    above = select(Ancestry.ancestor_id).where(Ancestry.namespace_id == inner_id).order_by(Ancestry.distance)
    assert db.session.scalars(above).all() == [inner_id, group_id, other_id]


def test_a_project_renamed_while_its_group_is_renamed_gets_both_names(app: Flask, project: Project) -> None:
    race(app, change(project.parent_id or 0, path="renamed"), change(project.id, path="gears"))

    assert full_path("gears") == "renamed/gears"


def test_a_project_is_not_made_public_while_its_group_is_made_private(app: Flask) -> None:
    group = factories.group(visibility=Visibility.PUBLIC)
    project_id = factories.project(parent=group).id

    outcomes = race(
        app, change(group.id, visibility=Visibility.PRIVATE), change(project_id, visibility=Visibility.PUBLIC)
    )

    assert outcomes == ("done", "InvalidRecord")


def test_two_groups_moved_into_each_other_make_no_circle(app: Flask) -> None:
    one, other = factories.group().id, factories.group().id

    assert race(app, transfer(one, other), transfer(other, one)) == ("done", "InvalidGroup")


def test_a_group_is_renamed_while_a_project_of_it_is_deleted(app: Flask, project: Project) -> None:
    outcomes = race(app, delete(project.id), change(project.parent_id or 0, path="renamed"))

    assert outcomes == ("done", "done")
    assert full_path("renamed") == "renamed"


def test_of_two_concurrent_deletions_of_a_project_one_is_refused_and_one_is_recorded(
    app: Flask, project: Project
) -> None:
    assert race(app, delete(project.id), delete(project.id)) == ("done", "NotFound")

    assert len(db.session.scalars(select(AuditEvent).where(AuditEvent.action == "project_destroyed")).all()) == 1


def test_an_archived_project_is_recorded_under_the_path_that_it_has_then(app: Flask, project: Project) -> None:
    project_id = project.id

    def archive() -> None:
        namespaces.set_archived(found(project_id), True, by=SHELL)  # type: ignore[arg-type]

    race(app, change(project.parent_id or 0, path="renamed"), archive)

    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "project_archived")).one()
    assert event.target == "renamed/tools"


def test_a_project_is_not_archived_while_it_is_deleted(app: Flask, project: Project) -> None:
    project_id = project.id

    def archive() -> None:
        namespaces.set_archived(found(project_id), True, by=SHELL)  # type: ignore[arg-type]

    assert race(app, delete(project_id), archive) == ("done", "NotFound")


def add(namespace_id: int, user_id: int, role: Role) -> Act:
    return lambda: namespaces.add_member(found(namespace_id), db.session.get_one(User, user_id), role, by=SHELL)


def demote(namespace_id: int, user_id: int) -> Act:
    return lambda: namespaces.change_member(
        found(namespace_id), db.session.get_one(User, user_id), Role.DEVELOPER, by=SHELL
    )


def remove(namespace_id: int, user_id: int) -> Act:
    return lambda: namespaces.remove_member(found(namespace_id), db.session.get_one(User, user_id), by=SHELL)


def test_a_role_is_not_given_below_a_higher_one_that_is_given_above_at_the_same_time(
    app: Flask, project: Project, outsider: User
) -> None:
    above = add(project.parent_id or 0, outsider.id, Role.MAINTAINER)

    assert race(app, above, add(project.id, outsider.id, Role.GUEST)) == ("done", "InvalidRecord")


def test_a_member_who_is_added_twice_at_the_same_time_is_added_once(
    app: Flask, project: Project, outsider: User
) -> None:
    twice = add(project.id, outsider.id, Role.GUEST)

    assert race(app, twice, twice) == ("done", "Conflict")


@pytest.mark.parametrize("second", [demote, remove])
@pytest.mark.parametrize("first", [demote, remove])
def test_of_two_owners_who_lose_their_role_at_the_same_time_one_stays(
    app: Flask, group: Group, owner: User, first: Callable[[int, int], Act], second: Callable[[int, int], Act]
) -> None:
    other = factories.member(group, Role.OWNER)

    assert race(app, first(group.id, owner.id), second(group.id, other.id)) == ("done", "Forbidden")


def test_a_member_who_becomes_the_only_owner_meanwhile_is_not_removed(app: Flask, group: Group, owner: User) -> None:
    group_id, owner_id, heir_id = group.id, owner.id, factories.member(group, Role.DEVELOPER).id

    def hand_over() -> None:
        heir = db.session.get_one(User, heir_id)
        with transaction():
            namespaces.change_member(found(group_id), heir, Role.OWNER, by=SHELL)
            namespaces.remove_member(found(group_id), db.session.get_one(User, owner_id), by=SHELL)

    def look_and_remove() -> None:
        known = namespaces.members(found(group_id))
        remove(group_id, heir_id)()
        assert known

    assert race(app, hand_over, look_and_remove) == ("done", "Forbidden")


def allow(project_id: int, source_id: int) -> Act:
    return lambda: namespaces.allow_job_source(found(project_id), found(source_id), by=SHELL)  # type: ignore[arg-type]


def test_an_allowlist_takes_no_more_than_fits_at_the_same_time(app: Flask, project: Project) -> None:
    with transaction() as session:
        sources = [Group(path=f"g{number}", name="G", visibility=Visibility.PRIVATE) for number in range(201)]
        for source in sources:
            namespaces.place(source, None, by=SHELL)
        rows = [{"project_id": project.id, "source_id": source.id} for source in sources[:199]]
        session.execute(insert(AllowedJobSource), rows)
    last, one_too_many = (partial(allow, project.id)(source.id) for source in sources[199:])

    assert race(app, last, one_too_many) == ("done", "InvalidRecord")


def test_a_source_that_is_listed_twice_at_the_same_time_is_listed_once(app: Flask, project: Project) -> None:
    twice = allow(project.id, factories.project().id)

    assert race(app, twice, twice) == ("done", "InvalidRecord")


def test_a_source_that_is_deleted_meanwhile_is_not_listed(app: Flask, project: Project) -> None:
    source_id = factories.project().id

    assert race(app, delete(source_id), allow(project.id, source_id)) == ("done", "RecordNotFound")
