from __future__ import annotations

from flask import Flask

from registry.domain import namespaces
from registry.domain.access import SHELL, Permission
from registry.models import Project, Role, User, Visibility
from tests import factories


def test_lists_show_exactly_the_visible_namespaces(project: Project, owner: User, outsider: User) -> None:
    public = factories.group(visibility=Visibility.PUBLIC)
    records = [project, public]

    assert namespaces.visible_ids(factories.signed_in(owner), records) == {project.id, public.id}
    assert namespaces.visible_ids(factories.signed_in(outsider), records) == {public.id}
    assert namespaces.visible_ids(SHELL, []) == set()


def test_a_group_moves_neither_into_itself_nor_below_itself(app: Flask) -> None:
    group = factories.group("acme")
    below = factories.group("below", parent=factories.group("sub", parent=group))
    alike, other = factories.group("acme-two"), factories.group("other")
    owner = factories.member(group, Role.OWNER)
    for place in (alike, below):
        namespaces.add_member(place, owner, Role.OWNER, by=SHELL)

    assert namespaces.new_parents(group, factories.signed_in(owner)) == [alike]
    assert namespaces.new_parents(group, SHELL) == [alike, other]
    assert below in namespaces.groups_with(factories.signed_in(owner), Permission.CREATE_SUBGROUP)
