from __future__ import annotations

import pytest
from sqlalchemy import select

from registry.database import db
from registry.models import Group, Membership, Project, Role, User, Visibility
from tests import factories
from tests.cli.running import Refused, Run, columns, loaded, succeeded


def test_a_group_and_a_subgroup_are_created(run: Run, owner: User) -> None:
    assert succeeded(run("groups", "create", "acme", "--visibility", "public", "--owner", "olivia")) == (
        "Created group acme.\n"
    )
    created = loaded(run("groups", "create", "Acme/inner", "--name", "Inner circle", "--json"))

    assert created == {
        "id": created["id"], "path": "acme/inner", "name": "Inner circle", "visibility": "private"
    }  # fmt: skip
    assert db.session.execute(select(Membership.user_id, Membership.role).join(Group)).all() == [(owner.id, Role.OWNER)]


def test_a_group_whose_owner_is_unknown_is_not_created(refused: Refused) -> None:
    assert refused("groups", "create", "acme", "--owner", "nobody") == "There is no user nobody."

    assert db.session.scalars(select(Group.id)).all() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("acme",), "path has already been taken"),
        (("none/inner",), "There is no group none."),
        (("api",), "path api is a reserved name"),
        (("acme/",), "name can't be blank; path can't be blank"),
        (("acme/inner", "--visibility", "public"), "visibility_level public is not allowed since the parent group"),
        (("other", "--visibility", "secret"), "Invalid value for '--visibility': 'secret' is not one of"),
    ],
)
def test_a_group_that_breaks_a_rule_is_refused_in_one_sentence(
    refused: Refused, group: Group, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("groups", "create", *arguments).startswith(sentence)


def test_groups_are_listed_by_path(run: Run, group: Group) -> None:
    inner = factories.group("inner", parent=group)
    first = factories.group("aaa", visibility=Visibility.INTERNAL)

    assert columns(run("groups", "list")) == [
        [str(first.id), "aaa", "Aaa", "internal"],
        [str(group.id), "acme", "Acme", "private"],
        [str(inner.id), "acme/inner", "Inner", "private"],
    ]


@pytest.mark.parametrize("parent", ["acme", "acme/inner", "olivia"])
def test_a_project_is_created_in_a_group_a_subgroup_or_a_users_space(run: Run, group: Group, parent: str) -> None:
    factories.group("inner", parent=group)

    assert succeeded(run("projects", "create", f"{parent}/tools")) == f"Created project {parent}/tools.\n"

    created = db.session.scalars(select(Project)).one()
    assert (created.full_path, created.name, created.visibility) == (f"{parent}/tools", "tools", Visibility.PRIVATE)


def test_a_project_is_created_with_name_and_visibility(run: Run) -> None:
    factories.group("open", visibility=Visibility.PUBLIC)

    created = loaded(run("projects", "create", "open/p", "--name", "Python tools", "--visibility", "public", "--json"))

    assert created == {"id": created["id"], "path": "open/p", "name": "Python tools", "visibility": "public"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tools",), "'tools' does not contain the group or user of the project."),
        (("none/tools",), "There is no group or user none."),
        (("acme/tools",), "project_namespace.name has already been taken"),
        (("acme/tools/inner",), "namespace is not valid"),
        (("acme/other", "--visibility", "internal"), "visibility_level internal is not allowed in a private group."),
    ],
    ids=["no parent", "unknown parent", "taken", "in a project", "more visible than its group"],
)
def test_a_project_that_breaks_a_rule_is_refused_in_one_sentence(
    refused: Refused, project: Project, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused("projects", "create", *arguments).startswith(sentence)


def test_projects_are_listed_by_path_all_or_those_of_a_group(run: Run, project: Project) -> None:
    other = factories.project("other", parent=factories.group("zoo"))

    assert columns(run("projects", "list")) == [
        [str(project.id), "acme/tools", "Tools", "private"],
        [str(other.id), "zoo/other", "Other", "private"],
    ]
    assert [listed["path"] for listed in loaded(run("projects", "list", "--group", "acme", "--json"))] == ["acme/tools"]
