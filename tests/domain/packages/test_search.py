"""The search for package names, and the rows that it compares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import ANONYMOUS, SHELL, Principal
from registry.domain.instance import InstanceChanges, change_instance
from registry.domain.namespaces import ProjectChanges
from registry.domain.packages import deletion, releases, search
from registry.models import (
    NameStatus,
    Package,
    Project,
    RegistryAccess,
    Role,
    SearchedName,
    User,
    Visibility,
)
from tests import factories
from tests.builders import build_wheel
from tests.tables import each

PUBLISHED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def publish(project: Project, name: str, version: str = "1.0", *, summary: str = "", days: int = 0) -> Package:
    now = PUBLISHED_AT + timedelta(days=days)
    file = factories.published(project, build_wheel(name, version), summary=summary, now=now)
    return db.session.get_one(Package, file.package_id)


def found(text: str, by: Principal = SHELL) -> list[str]:
    names = search.described(db.session.scalars(search.names(by, text)).all())
    return [f"{each.latest.name} {each.latest.version}" for each in names]


@pytest.fixture
def library(project: Project) -> Project:
    for name, summary in (
        ("typing_extensions", "Backported and experimental ｈints, with 型ヒント"),
        ("typing", "The oldest of them"),
        ("my-typing", ""),
        ("Typing.Utils", "Helps with typing-extensions"),
        ("100-percent", "100% _safe_ \"quoted\" AND NEAR('x')"),
    ):
        publish(project, name, summary=summary)
    return project


@each(
    ("text", "names"),
    [
        ("typing", ["typing 1.0", "Typing.Utils 1.0", "typing_extensions 1.0", "my-typing 1.0"]),
        ("TYPING_Extensions", ["typing_extensions 1.0"]),
        ("typing-extensions", ["typing_extensions 1.0", "Typing.Utils 1.0"]),
        ("typing  extensions", ["typing_extensions 1.0", "Typing.Utils 1.0"]),
        ("g-ext", ["typing_extensions 1.0", "Typing.Utils 1.0"]),
        ("ty", ["typing 1.0", "Typing.Utils 1.0", "typing_extensions 1.0"]),
        ("hints experimental", ["typing_extensions 1.0"]),
        ("of backported", []),
        ("hints experimental " * 4 + "of nothing else", ["typing_extensions 1.0"]),
        ("型", ["typing_extensions 1.0"]),
        ("ヒント", ["typing_extensions 1.0"]),
        ("100%", ["100-percent 1.0"]),
        ('"quoted" AND', ["100-percent 1.0"]),
        ("near('x')", ["100-percent 1.0"]),
        ("_safe_", ["100-percent 1.0"]),
        *((text, []) for text in ("", " ", "%", "_", "*", '"', "'", "\x00", "\\", "ing*", "name:typing", "x" * 10_000)),
        *((text, []) for text in ("- " * 5000, "ﷺ" * 10_000, "%" * 10_000, '"' * 10_000)),
    ],
)  # fmt: skip
def test_names_are_found_by_any_part_in_any_spelling_and_by_words_of_the_summary(
    library: Project, text: str, names: list[str]
) -> None:
    assert found(text) == names


@pytest.mark.parametrize("guests_may_pull", [True, False])
def test_only_names_that_the_caller_can_list_are_found(
    app: Flask, owner: User, outsider: User, guests_may_pull: bool
) -> None:
    guest = factories.user()
    change_instance(InstanceChanges(allow_guest_plus_roles_to_pull_packages=guests_may_pull), by=SHELL)
    inside = factories.group("inside", visibility=Visibility.PUBLIC, owner=owner)
    for path, visibility, access_level in (
        ("secret", Visibility.PRIVATE, RegistryAccess.ENABLED),
        ("pullable", Visibility.PRIVATE, RegistryAccess.PUBLIC),
        ("internal", Visibility.INTERNAL, RegistryAccess.ENABLED),
        ("open", Visibility.PUBLIC, RegistryAccess.ENABLED),
        ("members", Visibility.PUBLIC, RegistryAccess.PRIVATE),
        ("off", Visibility.PUBLIC, RegistryAccess.ENABLED),
    ):
        project = factories.project(path, parent=inside)
        publish(project, f"lib-{path}")
        off = RegistryAccess.DISABLED if path == "off" else access_level
        namespaces.change(project, ProjectChanges(visibility=visibility, registry_access=off), by=SHELL)
    namespaces.add_member(inside, guest, Role.GUEST, by=SHELL)

    def seen(by: Principal) -> list[str]:
        return sorted(each.removeprefix("lib-").removesuffix(" 1.0") for each in found("lib", by))

    everything = ["internal", "members", "open", "pullable", "secret"]
    assert seen(factories.signed_in(owner)) == everything
    assert seen(SHELL) == everything
    assert seen(factories.signed_in(outsider)) == ["internal", "open"]
    assert seen(ANONYMOUS) == ["open"]
    by_membership = {"members", "pullable", "secret"} if guests_may_pull else set()
    assert seen(factories.signed_in(guest)) == sorted({"internal", "open"} | by_membership)


def test_a_quarantined_name_is_found_with_its_status_as_in_lists(project: Project) -> None:
    publish(project, "demo")
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, by=SHELL)

    (name,) = search.described(db.session.scalars(search.names(SHELL, "demo")).all())

    assert name.status is NameStatus.QUARANTINED


def test_a_name_is_found_until_its_last_version_is_deleted(project: Project) -> None:
    first, second = publish(project, "demo", "1.0"), publish(project, "Demo", "2.0rc1")
    assert found("demo") == ["demo 1.0"]

    deletion.delete_package(first, project, by=SHELL)
    assert found("demo") == ["Demo 2.0rc1"]
    deletion.delete_package(second, project, by=SHELL)
    assert found("demo") == []

    publish(project, "demo", "3.0")
    assert found("demo") == ["demo 3.0"]


def test_a_name_is_found_by_the_summary_of_its_version_published_last(project: Project) -> None:
    publish(project, "demo", "2.0", summary="new words", days=2)
    publish(project, "demo", "1.0", summary="old words", days=1)
    assert (found("new"), found("old")) == (["demo 2.0"], [])

    latest = publish(project, "demo", "3.0", summary="newest ones", days=3)
    assert (found("newest"), found("words")) == (["demo 3.0"], [])
    factories.publish(project, build_wheel("demo", "3.0", build="1"), summary="changed")
    assert (found("changed"), found("newest")) == (["demo 3.0"], [])

    deletion.delete_package(latest, project, by=SHELL)
    assert (found("new words"), found("changed")) == (["demo 2.0"], [])


def test_a_project_takes_its_names_with_it(project: Project) -> None:
    publish(project, "demo")

    namespaces.delete_namespace(project, by=SHELL)

    assert db.session.scalars(db.select(SearchedName)).all() == []
    assert found("demo") == []
