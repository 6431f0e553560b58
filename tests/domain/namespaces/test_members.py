from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.accounts.users import StateChange
from registry.errors import Conflict, Forbidden, InvalidRecord, RecordNotFound
from registry.models import AuditEvent, Group, Membership, Namespace, Project, Role, User, UserNamespace
from tests import factories
from tests.domain.namespaces.creating import PUBLIC, errors_of
from tests.races import at_once


def roles(namespace: Namespace, **options: Any) -> list[tuple[str, str, bool]]:
    return [
        (member.user.username, member.role.title, member.is_direct)
        for member in namespaces.members(namespace, **options)
    ]


def test_members_are_listed_directly_or_with_the_inherited(group: Group, owner: User) -> None:
    sub = factories.group("sub", parent=group)
    factories.member(sub, Role.GUEST, "zoe")
    both = factories.member(group, Role.REPORTER, "bob")
    namespaces.add_member(sub, both, Role.MAINTAINER, by=SHELL)
    project = factories.project("deep", parent=sub)
    namespaces.add_member(project, both, Role.MAINTAINER, by=SHELL)

    assert roles(sub) == [("zoe", "Guest", True), ("bob", "Maintainer", True)]
    assert roles(project, inherited=True) == [
        ("olivia", "Owner", False),
        ("zoe", "Guest", False),
        ("bob", "Maintainer", True),
    ], "of equal roles the nearest one is shown"
    assert namespaces.member(project, both.id, inherited=True).source is project
    assert namespaces.member(project, owner.id, inherited=True).source is group


@pytest.mark.parametrize("query", ["ANN", "anna", "nn", "Anna@example.com"])
def test_members_are_searched_by_name_user_name_and_whole_address(group: Group, query: str) -> None:
    factories.member(group, Role.GUEST, "anna")

    assert roles(group, query=query) == [("anna", "Guest", True)]


def test_parts_of_addresses_are_searched_only_where_that_is_asked_for(group: Group) -> None:
    factories.member(group, Role.GUEST, "anna")

    assert roles(group, query="na@exa") == []
    assert roles(group, query="na@exa", by_email=True) == [("anna", "Guest", True)]


def test_a_search_takes_wildcards_literally(group: Group) -> None:
    factories.member(group, Role.GUEST, "anna")

    for query in ("%", "a__a", "\\"):
        assert roles(group, query=query, by_email=True) == [], query


def test_an_expired_member_is_listed_directly_but_no_longer_counts(group: Group, project: Project) -> None:
    user = factories.member(group, Role.MAINTAINER, "eve")
    expire(group, user)

    assert ("eve", "Maintainer", True) in roles(group)
    assert "eve" not in [name for name, _, _ in roles(project, inherited=True)]
    with pytest.raises(RecordNotFound):
        namespaces.member(project, user.id, inherited=True)


def expire(namespace: Namespace, user: User) -> None:
    direct = select(Membership).where(Membership.namespace_id == namespace.id, Membership.user_id == user.id)
    db.session.scalars(direct).one().expires_on = utcnow().date()
    db.session.commit()


def test_a_member_is_added_with_role_expiry_and_sponsor(group: Group, owner: User, outsider: User) -> None:
    tomorrow = utcnow().date() + timedelta(days=1)

    namespaces.add_member(group, outsider, Role.DEVELOPER, expires_on=tomorrow, by=factories.signed_in(owner))

    added = namespaces.member(group, outsider.id)
    assert (added.role, added.membership.expires_on) == (Role.DEVELOPER, tomorrow)
    assert added.membership.created_by is owner
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.author == "olivia")).one()
    assert (event.author, event.target, event.details) == (
        "olivia", "oscar", {"role": "Developer", "expires_on": tomorrow.isoformat()},
    )  # fmt: skip


def test_a_user_is_a_direct_member_only_once(group: Group, outsider: User) -> None:
    namespaces.add_member(group, outsider, Role.GUEST, by=SHELL)

    with pytest.raises(Conflict) as refusal:
        namespaces.add_member(group, outsider, Role.OWNER, by=SHELL)

    assert refusal.value.body() == {"message": "Member already exists"}
    assert namespaces.member(group, outsider.id).role is Role.GUEST


@pytest.mark.parametrize("role", [Role.NO_ACCESS, Role.MINIMAL_ACCESS, Role.ADMIN])
def test_a_level_that_is_no_members_is_refused(group: Group, outsider: User, role: Role) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        namespaces.add_member(group, outsider, role, by=SHELL)

    assert errors_of(refusal) == {"access_level": ["is not included in the list"]}


@pytest.mark.parametrize("days", [-1, 0])
def test_a_membership_that_would_be_over_is_refused(group: Group, outsider: User, days: int) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        namespaces.add_member(group, outsider, Role.GUEST, expires_on=utcnow().date() + timedelta(days=days), by=SHELL)

    assert errors_of(refusal) == {"expires_at": ["cannot be a date in the past"]}


def test_members_cannot_grant_or_change_roles_above_their_own(
    project: Project, owner: User, maintainer: User, outsider: User
) -> None:
    by = factories.signed_in(maintainer)
    namespaces.add_member(project, outsider, Role.MAINTAINER, by=by)
    boss = factories.member(project, Role.OWNER)
    newcomer = factories.user()

    with pytest.raises(Forbidden):
        namespaces.add_member(project, newcomer, Role.OWNER, by=by)
    with pytest.raises(Forbidden):
        namespaces.change_member(project, outsider, Role.OWNER, by=by)
    with pytest.raises(Forbidden):
        namespaces.change_member(project, boss, Role.GUEST, by=by)
    with pytest.raises(Forbidden):
        namespaces.remove_member(project, boss, by=by)
    assert namespaces.change_member(project, outsider, Role.REPORTER, by=by).role is Role.REPORTER


def test_any_member_can_leave(project: Project, developer: User) -> None:
    namespaces.remove_member(project, developer, by=factories.signed_in(developer))

    assert roles(project) == []


@pytest.mark.parametrize("direct", [None, Role.DEVELOPER, Role.MAINTAINER], ids=["new", "equal", "higher"])
def test_a_role_is_not_lower_than_the_inherited_one(group: Group, outsider: User, direct: Role | None) -> None:
    sub = factories.group("sub", parent=factories.group("between", parent=group))
    namespaces.add_member(group, outsider, Role.DEVELOPER, by=SHELL)
    if direct is not None:
        namespaces.add_member(sub, outsider, direct, by=SHELL)
    change = namespaces.add_member if direct is None else namespaces.change_member

    with pytest.raises(InvalidRecord) as refusal:
        change(sub, outsider, Role.REPORTER, by=SHELL)

    assert refusal.value.body() == {
        "message": {
            "access_level": ["should be greater than or equal to Developer inherited membership from group Acme"]
        }
    }
    assert change(sub, outsider, Role.DEVELOPER, by=SHELL).role is Role.DEVELOPER


def test_an_expired_inherited_role_sets_no_minimum(group: Group, outsider: User) -> None:
    sub = factories.group("sub", parent=group)
    namespaces.add_member(group, outsider, Role.OWNER, by=SHELL)
    expire(group, outsider)

    assert namespaces.add_member(sub, outsider, Role.GUEST, by=SHELL).role is Role.GUEST


def test_a_group_keeps_an_owner(group: Group, owner: User) -> None:
    by = factories.signed_in(owner)
    tomorrow = utcnow().date() + timedelta(days=1)

    with pytest.raises(Forbidden):
        namespaces.remove_member(group, owner, by=by)
    with pytest.raises(Forbidden):
        namespaces.change_member(group, owner, Role.MAINTAINER, by=SHELL)
    with pytest.raises(Forbidden):
        namespaces.change_member(group, owner, Role.OWNER, expires_on=tomorrow, by=SHELL)

    factories.member(group, Role.OWNER)
    namespaces.remove_member(group, owner, by=by)

    assert owner not in [member.user for member in namespaces.members(group)]


@pytest.mark.parametrize("state", ["blocked", "expired"])
def test_an_owner_who_cannot_act_does_not_count_as_one(group: Group, owner: User, state: str) -> None:
    other = factories.member(group, Role.OWNER)
    if state == "blocked":
        users.change_state(other, StateChange.BLOCK, by=SHELL)
    else:
        expire(group, other)

    with pytest.raises(Forbidden):
        namespaces.remove_member(group, owner, by=SHELL)


def test_an_owner_whose_role_ends_does_not_count_as_one(group: Group, owner: User) -> None:
    other = factories.member(group, Role.OWNER)
    soon = utcnow().date() + timedelta(days=1)
    namespaces.change_member(group, other, Role.OWNER, expires_on=soon, by=SHELL)

    with pytest.raises(Forbidden):
        namespaces.change_member(group, owner, Role.OWNER, expires_on=soon, by=SHELL)
    with pytest.raises(Forbidden):
        namespaces.remove_member(group, owner, by=SHELL)


def test_a_subgroup_can_lose_its_own_owners_while_there_are_owners_above(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    lead = factories.member(sub, Role.OWNER)

    namespaces.remove_member(sub, lead, by=SHELL)

    assert roles(sub) == []


def test_two_owners_who_remove_each_other_at_once_leave_one(app: Flask) -> None:
    for _ in range(3):
        group = factories.group()
        ids = [factories.member(group, Role.OWNER).id, factories.member(group, Role.OWNER).id]

        def remove(who: int, whom: int, group_id: int = group.id) -> None:
            by = factories.signed_in(db.session.get_one(User, who))
            namespaces.remove_member(db.session.get_one(Group, group_id), db.session.get_one(User, whom), by=by)

        results = at_once(app, lambda ids=ids: remove(*ids), lambda ids=ids: remove(*reversed(ids)))  # type: ignore[misc]

        assert results.count("done") == 1
        assert len(namespaces.members(group)) == 1


def test_the_owner_of_a_personal_namespace_stays(owner: User) -> None:
    space = users.personal_namespace(owner)

    with pytest.raises(Forbidden):
        namespaces.remove_member(space, owner, by=SHELL)
    with pytest.raises(Forbidden):
        namespaces.change_member(space, owner, Role.GUEST, by=SHELL)


def test_only_direct_members_can_be_changed_or_removed(project: Project, owner: User) -> None:
    with pytest.raises(RecordNotFound):
        namespaces.change_member(project, owner, Role.OWNER, by=SHELL)
    with pytest.raises(RecordNotFound):
        namespaces.remove_member(project, owner, by=SHELL)
    with pytest.raises(RecordNotFound):
        namespaces.member(project, owner.id)


def test_a_changed_member_is_on_record(project: Project, developer: User) -> None:
    tomorrow = utcnow().date() + timedelta(days=1)
    namespaces.change_member(project, developer, Role.MAINTAINER, expires_on=tomorrow, by=SHELL)
    namespaces.change_member(project, developer, Role.MAINTAINER, expires_on=None, by=SHELL)
    namespaces.remove_member(project, developer, by=SHELL)

    end = tomorrow.isoformat()
    events = db.session.scalars(select(AuditEvent).where(AuditEvent.namespace_id == project.id).order_by(AuditEvent.id))
    assert [(event.action, event.details) for event in events][-3:] == [
        (
            "member_changed",
            {
                "role": {"before": "Developer", "after": "Maintainer"},
                "expires_on": {"before": None, "after": end},
            },
        ),
        ("member_changed", {"expires_on": {"before": end, "after": None}}),
        ("member_removed", {"role": "Maintainer", "expires_on": None}),
    ]


def test_many_members_cost_as_many_statements_as_one(group: Group, project: Project, statements: list[str]) -> None:
    def cost() -> int:
        db.session.rollback()
        namespace = db.session.get_one(Project, project_id)
        before = len(statements)
        for member in namespaces.members(namespace, inherited=True):
            assert member.user.username
            assert member.source.name
        return len(statements) - before

    project_id = project.id
    one = cost()
    for _ in range(5):
        factories.member(group, Role.GUEST)

    assert cost() == one


def test_a_personal_namespace_has_its_user_as_only_member(owner: User) -> None:
    space = db.session.scalars(select(UserNamespace).where(UserNamespace.user_id == owner.id)).one()

    assert (space.full_path, space.visibility, space.parent_id) == ("olivia", PUBLIC, None)
    assert roles(space) == [("olivia", "Owner", True)]


def test_the_memberships_of_a_user_are_listed_with_groups_and_projects(project: Project, owner: User) -> None:
    namespaces.add_member(project, owner, Role.OWNER, by=SHELL)

    found = db.session.scalars(namespaces.memberships_of(owner)).all()

    assert [membership.namespace.full_path for membership in found] == ["acme", "acme/tools"]
