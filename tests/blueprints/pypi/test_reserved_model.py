"""Names that were published below a group, by any sequence of changes: found by those who can read them, else kept."""

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
from registry.domain.packages import deletion
from registry.errors import RecordNotFound
from registry.models import Package, Project, RegistryAccess, Role, User, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.clients import Pip

NAMES = ("demo", "other", "third")
PLACES = st.integers(0, 1)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), PLACES, st.sampled_from(NAMES[:2])),
        st.tuples(st.just("delete"), PLACES, st.sampled_from(NAMES[:2])),
        st.tuples(st.just("visibility"), PLACES, st.sampled_from(Visibility)),
        st.tuples(st.just("registry"), PLACES, st.sampled_from([RegistryAccess.DISABLED, RegistryAccess.ENABLED])),
        st.tuples(st.just("role"), PLACES, st.sampled_from([None, Role.GUEST, Role.REPORTER])),
    ),
    min_size=2,
    max_size=10,
)


@dataclass
class Naive:
    """A project as its clients see it."""

    visibility: Visibility = Visibility.PRIVATE
    registry: RegistryAccess = RegistryAccess.ENABLED
    role: Role | None = None  # of the member
    published: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)

    def change(self, kind: str, value: Any) -> None:
        if kind == "publish":
            self.published.add(value)
            self.present.add(value)
        elif kind == "delete":
            self.present.discard(value)
        else:
            setattr(self, kind, value)

    def is_readable(self, *, by_member: bool) -> bool:
        if self.registry is RegistryAccess.DISABLED:
            return False
        return self.visibility is not Visibility.PRIVATE or (by_member and self.role is Role.REPORTER)


def make(project: Project, member: User, number: int, kind: str, value: Any) -> None:
    if kind == "publish":
        factories.published(project, build_wheel(value, str(number)))
    elif kind == "delete":
        for package in db.session.scalars(select(Package).filter_by(project_id=project.id, normalized_name=value)):
            deletion.delete_package(package, project, by=SHELL)
    elif kind == "role":
        with suppress(RecordNotFound):
            namespaces.remove_member(project, member, by=SHELL)
        if value is not None:
            namespaces.add_member(project, member, value, by=SHELL)
    else:
        column = {"registry": "registry_access"}.get(kind, kind)
        namespaces.change(project, ProjectChanges(**{column: value}), by=SHELL)


@example([("publish", 0, "demo"), ("role", 0, Role.REPORTER), ("role", 0, None)])
@example([("publish", 0, "demo"), ("visibility", 0, Visibility.PUBLIC), ("registry", 0, RegistryAccess.DISABLED)])
@example([("publish", 1, "demo"), ("visibility", 1, Visibility.PUBLIC), ("delete", 1, "demo")])
@given(CHANGES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_published_name_is_never_forwarded_whatever_changes(
    app: Flask, pip: Pip, changes: list[tuple[str, int, Any]]
) -> None:
    factories.empty()
    top = factories.group(visibility=Visibility.PUBLIC)
    inner = factories.group(parent=top, visibility=Visibility.PUBLIC)
    projects = [factories.project(parent=group, visibility=Visibility.PRIVATE) for group in (top, inner)]
    member, naive = factories.user(), [Naive(), Naive()]
    callers = {is_member: factories.access_token(member if is_member else factories.user()) for is_member in (1, 0)}

    for number, (kind, place, value) in enumerate(changes):
        make(projects[place], member, number, kind, value)
        naive[place].change(kind, value)

    held = naive[0].published | naive[1].published
    for by_member, token in callers.items():
        readable = [each.is_readable(by_member=bool(by_member)) for each in naive]
        for name in NAMES:
            seen = [is_readable and name in each.present for is_readable, each in zip(readable, naive, strict=True)]
            missing = 404 if name in held else 302
            assert pip.simple_page(top, name, token).status_code == (200 if any(seen) else missing)
            assert pip.simple_page(inner, name, token).status_code == (200 if seen[1] else missing)
            for project, is_readable, is_seen in zip(projects, readable, seen, strict=True):
                status = pip.simple_page(project, name, token).status_code
                assert status in ({200 if is_seen else missing} if is_readable else {403, 404}), (name, project.path)
