from __future__ import annotations

from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Project, User, Visibility
from tests import factories


def test_what_is_visible_of_many_is_what_is_visible_of_each(project: Project, owner: User, outsider: User) -> None:
    public = factories.group(visibility=Visibility.PUBLIC)
    records = [project, public]

    assert namespaces.visible_ids(factories.signed_in(owner), records) == {project.id, public.id}
    assert namespaces.visible_ids(factories.signed_in(outsider), records) == {public.id}
    assert namespaces.visible_ids(SHELL, []) == set()
