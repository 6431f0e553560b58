"""How many statements a question costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.database import db
from registry.domain.access import Principal
from registry.domain.packages import lists, usage
from registry.domain.packages.lists import PackageFilter
from registry.models import Group, Namespace, Project, Role, User
from tests import factories
from tests.domain.packages.on_paper import downloads, index_names, page, publish

QUESTIONS: dict[str, Callable[[Namespace, Principal], object]] = {
    "simple page": lambda namespace, by: page(namespace, "demo", by),
    "simple index": index_names,
    "download": lambda namespace, by: downloads(namespace, "demo-0-py3-none-any.whl", by),
    "list": lambda namespace, by: [
        package.project.full_path for package in db.session.scalars(lists.packages(namespace, by, PackageFilter()))
    ],
    "pipelines": lambda namespace, by: lists.pipelines_of(
        db.session.scalars(lists.packages(namespace, by, PackageFilter()))
    ),
    "storage": lambda namespace, _: usage.size_of(namespace.id),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("kind", ["project", "group"])
def test_a_query_costs_the_same_at_any_size(
    group: Group, project: Project, developer: User, statements: list[str], question: str, kind: str
) -> None:
    namespace_id = {"group": group, "project": project}[kind].id
    developer_id = developer.id
    publish(project, "demo", "0", job=factories.job(project, developer)[0])

    def cost() -> int:
        db.session.rollback()
        namespace = db.session.get_one(Namespace, namespace_id)
        by = factories.signed_in(db.session.get_one(User, developer_id))
        before = len(statements)
        QUESTIONS[question](namespace, by)
        return len(statements) - before

    small = cost()
    parent = group
    for number in range(1, 6):
        parent = factories.group(f"g{number}", parent=parent)
        other = factories.project(f"p{number}", parent=parent)
        factories.member(other, Role.DEVELOPER)
        publish(other, "demo", "0", job=factories.job(other, developer)[0])
        publish(project, "demo", str(number), job=factories.job(project, developer)[0])
        publish(project, f"name{number}")

    assert cost() == small <= 3
