"""Names that were published below groups, by any sequence of changes: found by those who can read them, else kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.namespaces import ProjectChanges
from registry.domain.packages import deletion, reserved
from registry.errors import Conflict, NotFound, RecordNotFound
from registry.models import Group, Package, Project, RegistryAccess, Role, User, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.clients import Pip

NAMES = ("demo", "other", "third")
FIRST, INNER, SECOND = range(3)  # projects: in a top-level group, in a subgroup that moves, in another top-level group
PLACES, USED = st.integers(FIRST, SECOND), st.sampled_from(NAMES[:2])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), PLACES, USED),
        st.tuples(st.just("delete"), PLACES, USED),
        st.tuples(st.just("release"), PLACES, USED),
        st.tuples(st.just("move"), st.just(INNER), st.none()),
        st.tuples(st.just("visibility"), PLACES, st.sampled_from(Visibility)),
        st.tuples(st.just("registry"), PLACES, st.sampled_from([RegistryAccess.DISABLED, RegistryAccess.ENABLED])),
        st.tuples(st.just("role"), PLACES, st.sampled_from([None, Role.GUEST, Role.REPORTER])),
    ),
    min_size=2,
    max_size=12,
)


@dataclass
class NaiveProject:
    """A project as its clients see it."""

    top: int  # top-level group
    visibility: Visibility = Visibility.PRIVATE
    registry: RegistryAccess = RegistryAccess.ENABLED
    role: Role | None = None  # of the member
    published: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)

    def is_readable(self, *, by_member: bool) -> bool:
        if self.registry is RegistryAccess.DISABLED:
            return False
        return self.visibility is not Visibility.PRIVATE or (by_member and self.role is Role.REPORTER)


class Naive:
    """Two top-level groups, with the project that was the first to publish each of their names."""

    def __init__(self) -> None:
        self.projects = [NaiveProject(top) for top in (0, 0, 1)]
        self.holders: list[dict[str, int]] = [{}, {}]

    def change(self, kind: str, place: int, value: Any) -> None:
        project = self.projects[place]
        if kind == "publish":
            project.published.add(value)
            project.present.add(value)
            self.holders[project.top].setdefault(value, place)
        elif kind == "delete":
            project.present.discard(value)
        elif kind == "release":
            if not self.is_present(project.top, value):
                self.holders[project.top].pop(value, None)
        elif kind == "move":
            held = {name for names in self.holders for name, holder in names.items() if holder == place}
            published = project.published & self.holders[project.top].keys()
            project.top = 1 - project.top
            for name in held | published:
                self.holders[project.top].setdefault(name, place)
        else:
            setattr(project, kind, value)

    def is_present(self, top: int, name: str) -> bool:
        return any(name in project.present for project in self.projects if project.top == top)


def make(project: Project, tops: list[Group], member: User, number: int, kind: str, value: Any) -> None:
    if kind == "publish":
        factories.published(project, build_wheel(value, str(number)))
    elif kind == "delete":
        for package in db.session.scalars(select(Package).filter_by(project_id=project.id, normalized_name=value)):
            deletion.delete_package(package, project, by=SHELL)
    elif kind == "release":
        with suppress(Conflict, NotFound):
            reserved.release(project, value, by=SHELL)
    elif kind == "move":
        inner = db.session.get_one(Group, project.parent_id)
        namespaces.transfer(inner, next(top for top in tops if top.id != inner.parent_id), by=SHELL)
    elif kind == "role":
        with suppress(RecordNotFound):
            namespaces.remove_member(project, member, by=SHELL)
        if value is not None:
            namespaces.add_member(project, member, value, by=SHELL)
    else:
        column = {"registry": "registry_access"}.get(kind, kind)
        namespaces.change(project, ProjectChanges(**{column: value}), by=SHELL)


@example([("publish", FIRST, "demo"), ("role", FIRST, Role.REPORTER), ("role", FIRST, None)])
@example(
    [("publish", FIRST, "demo"), ("visibility", FIRST, Visibility.PUBLIC), ("registry", 0, RegistryAccess.DISABLED)]
)
@example([("publish", INNER, "demo"), ("delete", INNER, "demo"), ("move", INNER, None), ("release", SECOND, "demo")])
@example(
    [("publish", FIRST, "demo"), ("publish", INNER, "demo"), ("delete", INNER, "demo"), ("release", INNER, "demo")]
)
@example([("publish", SECOND, "demo"), ("move", INNER, None), ("delete", SECOND, "demo"), ("release", INNER, "demo")])
@given(CHANGES)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_published_name_is_never_forwarded_until_it_is_released_whatever_changes(
    app: Flask, pip: Pip, changes: list[tuple[str, int, Any]]
) -> None:
    factories.empty()
    tops = [factories.group(visibility=Visibility.PUBLIC) for _ in range(2)]
    inner = factories.group(parent=tops[0], visibility=Visibility.PUBLIC)
    projects = [factories.project(parent=group, visibility=Visibility.PRIVATE) for group in (tops[0], inner, tops[1])]
    member, naive = factories.user(), Naive()
    callers = {is_member: factories.access_token(member if is_member else factories.user()) for is_member in (1, 0)}

    for number, (kind, place, value) in enumerate(changes):
        make(projects[place], tops, member, number, kind, value)
        naive.change(kind, place, value)

    def expect(namespace: Group | Project, top: int, name: str, holding: list[int], token: str) -> None:
        expected = 200 if holding else 404 if name in naive.holders[top] else 302
        assert pip.simple_page(namespace, name, token).status_code == expected, (namespace.full_path, name)

    for by_member, token in callers.items():
        readable = [place for place, each in enumerate(naive.projects) if each.is_readable(by_member=bool(by_member))]
        for name in NAMES:
            seen = [place for place in readable if name in naive.projects[place].present]
            for top, group in enumerate(tops):
                expect(group, top, name, [place for place in seen if naive.projects[place].top == top], token)
            expect(inner, naive.projects[INNER].top, name, [place for place in seen if place == INNER], token)
            for place, project in enumerate(projects):
                if place in readable:
                    expect(project, naive.projects[place].top, name, [one for one in seen if one == place], token)
                else:
                    assert pip.simple_page(project, name, token).status_code in (403, 404)
