from __future__ import annotations

import pytest
from flask import Flask

from registry.domain import namespaces
from registry.domain.accounts import users
from registry.errors import NotFound
from registry.models import Group, Project, User
from tests import factories
from tests.domain.namespaces.creating import create_group
from tests.tables import each


def test_a_namespace_is_found_by_id_and_by_full_path_without_case(group: Group, project: Project) -> None:
    assert namespaces.find(str(project.id), Project) is project
    assert namespaces.find("acme/tools", Project) is project
    assert namespaces.find("ACME/Tools", Project) is project
    assert namespaces.find("Acme", Group) is group


@each(
    "reference",
    ["0", "999999999", "9999999999999999999999", "²", "acme/", "/acme", "nothing", "acme/tools/", "a\x00b", "", "-1"],
)
def test_missing_namespaces_are_not_found(project: Project, reference: str) -> None:
    with pytest.raises(NotFound):
        namespaces.find(reference, Project)


def test_a_namespace_of_another_kind_is_not_found(group: Group, project: Project, owner: User) -> None:
    space = users.personal_namespace(owner)

    for reference, kind in [
        (str(group.id), Project),
        (str(project.id), Group),
        (str(space.id), Group),
        (space.full_path, Group),
        ("acme", Project),
    ]:
        with pytest.raises(NotFound) as refusal:
            namespaces.find(reference, kind)
        assert refusal.value.message == f"404 {kind.__name__} Not Found"


def test_a_number_is_an_id_even_where_a_path_is_a_number(app: Flask) -> None:
    numbered = create_group("12345")

    with pytest.raises(NotFound):
        namespaces.find("12345", Group)
    assert namespaces.find(str(numbered.id), Group) is numbered


def test_ancestors_are_listed_from_the_top(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    deep = factories.project("deep", parent=sub)

    assert namespaces.ancestors(deep) == [group, sub]
    assert namespaces.ancestors(group) == []


def test_hidden_namespaces_are_not_found(group: Group, project: Project, owner: User, outsider: User) -> None:
    member, stranger = factories.signed_in(owner), factories.signed_in(outsider)

    assert namespaces.visible_at("ACME/tools", Project, member) is project
    assert namespaces.visible_at("acme/tools", Project, stranger) is None
    assert namespaces.visible_at("acme/nothing", Project, member) is None
    assert namespaces.visible_at("acme", Project, member) is None
    assert namespaces.visible_group(group.id, member) is group
    assert namespaces.visible_group(group.id, stranger) is None
    assert namespaces.visible_group(project.id, member) is None
    assert namespaces.visible_group(None, member) is None
