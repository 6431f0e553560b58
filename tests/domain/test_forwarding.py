from __future__ import annotations

import pytest

from registry.domain import forwarding, instance
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.forwarding import FORWARDING
from registry.errors import NotFound
from registry.models import Group, Project, User
from tests import factories

UPSTREAM = "https://upstream.test/simple"


@pytest.mark.parametrize("name", ["my-pkg", "My.Pkg", "my_pkg", "MY--PKG", "my._-pkg"])
def test_a_request_is_forwarded_under_the_normalized_name(project: Project, name: str) -> None:
    assert forwarding.upstream_url(project, name, UPSTREAM) == "https://upstream.test/simple/my-pkg/"


def test_the_direct_parent_decides_for_a_project_and_the_group_for_itself(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    in_group, in_sub = factories.project("a", parent=group), factories.project("b", parent=sub)
    forwarding.change_forwarding(sub, value=False, by=SHELL)

    for namespace in (group, in_group):
        assert forwarding.upstream_url(namespace, "demo", UPSTREAM)
    for namespace in (sub, in_sub):
        with pytest.raises(NotFound) as refusal:
            forwarding.upstream_url(namespace, "demo", UPSTREAM)
        assert refusal.value.body() == {"message": "404 Package Not Found"}


def test_a_personal_project_is_forwarded_as_the_instance_says(owner: User) -> None:
    project = factories.project("own", parent=users.personal_namespace(owner))
    assert forwarding.upstream_url(project, "demo", UPSTREAM)

    instance.change_instance({FORWARDING: False}, by=SHELL)

    with pytest.raises(NotFound):
        forwarding.upstream_url(project, "demo", UPSTREAM)
