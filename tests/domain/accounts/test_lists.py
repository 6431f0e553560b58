from __future__ import annotations

import pytest
from flask import Flask

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import lists, users
from registry.domain.accounts.users import StateChange
from registry.models import (
    Role,
    User,
    UserState,
)
from tests import factories


def test_users_are_counted_by_kind(app: Flask, admin: User) -> None:
    factories.user(is_external=True)
    users.change_state(factories.user(), StateChange.BLOCK, by=SHELL)
    users.change_state(factories.user(is_external=True), StateChange.DEACTIVATE, by=SHELL)

    assert lists.counts() == lists.Counts(
        active=2, administrators=1, external=2, with_second_factor=0, without_second_factor=4, blocked=1, deactivated=1
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("an", ["anders", "dana", "hidden-an"]),
        ("DANA", ["dana"]),
        ("a", []),
        ("花", ["kei"]),
        ("dana@example.com", ["dana"]),
        ("dana@example", []),
        ("anders@example.com", []),
        ("%", []),
        ("x" * 300, []),
    ],
)
def test_people_to_add_are_found_by_a_part_of_the_name(app: Flask, text: str, found: list[str]) -> None:
    adding, project = factories.user("mia"), factories.project("tools")
    namespaces.add_member(project, adding, Role.MAINTAINER, by=SHELL)
    for username in ("dana", "anders", "kei", "stan", "mandy", "hidden-an", "strange-an"):
        factories.user(username, private_profile=username in ("hidden-an", "strange-an"))
    namespaces.add_member(project, users.find_username("stan"), Role.GUEST, by=SHELL)  # is one already
    shared = factories.project()
    for username in ("mia", "hidden-an"):
        namespaces.add_member(shared, users.find_username(username), Role.GUEST, by=SHELL)
    users.find_username("anders").confirmed_at = None
    users.find_username("mandy").state = UserState.BLOCKED
    users.find_username("kei").name = "花子"

    listing = lists.addable(project, text, to=factories.signed_in(adding))

    assert [user.username for user in db.session.scalars(listing)] == found


def test_an_external_user_finds_only_people_of_the_same_groups_and_projects(app: Flask, admin: User) -> None:
    group = factories.group()
    project = factories.project(parent=group)
    external = factories.user("mia", is_external=True)
    namespaces.add_member(project, external, Role.MAINTAINER, by=SHELL)
    namespaces.add_member(group, factories.user("dana"), Role.GUEST, by=SHELL)
    factories.user("diana", private_profile=True)

    def seen(user: User) -> list[str]:
        listing = lists.addable(project, "ana", to=factories.signed_in(user))
        return [found.username for found in db.session.scalars(listing)]

    assert seen(external) == ["dana"]
    assert seen(admin) == ["dana", "diana"]
