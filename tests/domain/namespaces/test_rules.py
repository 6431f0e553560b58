from __future__ import annotations

import pytest
from flask import Flask

from registry.domain import instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.errors import InvalidGroup, InvalidRecord
from registry.models import Group, Project, User, Visibility
from tests import factories
from tests.domain.namespaces.creating import INTERNAL, PRIVATE, PUBLIC, create_group, create_project, errors_of
from tests.suggested_paths import PATHS
from tests.tables import each


def test_a_user_keeps_to_the_limit_of_projects_of_their_own(app: Flask) -> None:
    user = factories.user(projects_limit=1)
    space = users.personal_namespace(user)
    create_project("one", space, factories.signed_in(user))

    with pytest.raises(InvalidRecord) as refusal:
        create_project("two", space, factories.signed_in(user))

    assert errors_of(refusal) == {"limit_reached": ["Your project limit is 1 projects!"]}


@each(
    ("path", "error"),
    [
        ("", "can't be blank"),
        ("x" * 256, "is too long (maximum is 255 characters)"),
        ("-", None),
        ("-a", None),
        (".a", None),
        ("a.", None),
        ("a-", None),
        ("a..b", None),
        ("a b", None),
        ("a/b", None),
        ("a\n", None),
        ("ä", None),
        ("a.git", None),
        ("a.ATOM", None),
        ("new", "new is a reserved name"),
        ("Edit", "Edit is a reserved name"),
    ],
)
def test_a_path_that_could_not_be_addressed_is_refused(group: Group, path: str, error: str | None) -> None:
    error = error or (
        "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-' or '.', "
        "nor end in '-', '.', '.git' or '.atom'."
    )

    with pytest.raises(InvalidRecord) as refusal:
        create_project(path, group, name="Good name")

    assert errors_of(refusal) == {"path": [error]}


@pytest.mark.parametrize("path", ["a", "A_b-c.d", "1", "_x", "x" * 255, "git", "admin", "api", "dot.git.x"])
def test_a_path_of_letters_digits_and_marks_is_taken(group: Group, path: str) -> None:
    assert create_project(path, group).full_path == f"acme/{path}"


@pytest.mark.parametrize("path", ["api", "Admin", "users", "groups", "explore", "dashboard", "help", "static", "login"])
def test_words_of_the_registrys_own_addresses_are_reserved_at_the_top(app: Flask, path: str) -> None:
    with pytest.raises(InvalidGroup) as refusal:
        create_group(path)

    assert refusal.value.message == f'Failed to save group {{:path=>["{path} is a reserved name"]}}'


def test_every_first_segment_of_a_route_is_reserved(app: Flask) -> None:
    first = {rule.rule.strip("/").partition("/")[0] for rule in app.url_map.iter_rules()}

    taken_by_the_registry = {segment for segment in first if segment and "<" not in segment}

    assert {
        segment for segment in taken_by_the_registry if not namespaces.path_errors(segment, top_level=True)
    } == set()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", "can't be blank"),
        ("  ", "can't be blank"),
        ("x" * 256, "is too long (maximum is 255 characters)"),
        ("a\x00b", "can contain only printable characters"),
        ("a\nb", "can contain only printable characters"),
    ],
)
def test_a_name_that_could_not_be_shown_is_refused(group: Group, name: str, error: str) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        create_project("good", group, name=name)

    assert errors_of(refusal) == {"name": [error]}


def test_all_errors_are_reported_at_once(group: Group) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        create_project("-", group, name=" ", visibility=PUBLIC, description="x" * 2001)

    assert set(errors_of(refusal)) == {"path", "name", "visibility_level", "description"}


@pytest.mark.parametrize("path", ["acme", "ACME", "olivia", "Olivia"])
def test_groups_and_users_share_their_paths_without_case(group: Group, path: str) -> None:
    with pytest.raises(InvalidGroup) as refusal:
        create_group(path)

    assert refusal.value.body() == {"message": 'Failed to save group {:path=>["has already been taken"]}'}


def test_projects_and_subgroups_share_their_paths_without_case(project: Project, group: Group) -> None:
    with pytest.raises(InvalidRecord) as of_project:
        create_project("TOOLS", group)
    with pytest.raises(InvalidGroup):
        create_group("Tools", parent=group)

    assert of_project.value.body() == {
        "message": {
            "project_namespace.name": ["has already been taken"],
            "name": ["has already been taken"],
            "path": ["has already been taken"],
        }
    }


def test_groups_nest_twenty_levels_deep_and_no_deeper(app: Flask) -> None:
    deepest = create_group("g1")
    for level in range(2, 20):
        deepest = create_group(f"g{level}", parent=deepest)
    create_project("fits", deepest)
    last = create_group("g20", parent=deepest)

    for create in (create_project, lambda path, parent: create_group(path, parent=parent)):
        with pytest.raises(InvalidRecord) as refusal:
            create("x", last)
        assert errors_of(refusal) == {"parent": ["is too deep (maximum is 20 levels)"]}
    other = create_group("other")
    with pytest.raises(InvalidGroup):
        namespaces.transfer(namespaces.find("g1/g2", Group), create_group("sub", parent=other), by=SHELL)


@pytest.mark.parametrize("of_parent", Visibility, ids=lambda visibility: visibility.label)
@pytest.mark.parametrize("wanted", Visibility, ids=lambda visibility: visibility.label)
def test_nothing_is_more_visible_than_its_group(app: Flask, of_parent: Visibility, wanted: Visibility) -> None:
    parent = factories.group("parent", visibility=of_parent)
    if wanted <= of_parent:
        assert create_project("project", parent, visibility=wanted).visibility is wanted
        assert create_group("sub", parent=parent, visibility=wanted).visibility is wanted
        return

    with pytest.raises(InvalidRecord) as of_project:
        create_project("project", parent, visibility=wanted)
    with pytest.raises(InvalidGroup) as of_group:
        create_group("sub", parent=parent, visibility=wanted)

    assert of_project.value.body() == {
        "message": {"visibility_level": [f"{wanted.label} is not allowed in a {of_parent.label} group."]}
    }
    assert of_group.value.message == (
        f'Failed to save group {{:visibility_level=>["{wanted.label} is not allowed since the parent group has a '
        f'{of_parent.label} visibility."]}}'
    )


def test_a_personal_namespace_accepts_projects_of_any_visibility(owner: User) -> None:
    space = users.personal_namespace(owner)

    made = [create_project(level.label, space, factories.signed_in(owner), visibility=level) for level in Visibility]

    assert [project.visibility for project in made] == list(Visibility)


def test_the_default_visibility_is_the_instances_lowered_to_the_parents(app: Flask) -> None:
    instance.change_instance(
        instance.InstanceChanges(default_group_visibility=PUBLIC, default_project_visibility=INTERNAL), by=SHELL
    )
    private, public = factories.group(visibility=PRIVATE), create_group("open")

    assert public.visibility is PUBLIC
    assert create_group("sub", parent=private).visibility is PRIVATE
    assert create_project("project", private).visibility is PRIVATE
    assert create_project("project", public).visibility is INTERNAL


def test_a_restricted_visibility_is_the_administrators(group: Group, owner: User, admin: User) -> None:
    instance.change_instance(instance.InstanceChanges(restricted_visibility_levels=["public"]), by=SHELL)

    with pytest.raises(InvalidGroup) as refusal:
        create_group("open", factories.signed_in(owner), visibility=PUBLIC)

    assert errors_of(refusal) == {"visibility_level": ["public has been restricted by your administrator."]}
    assert create_group("open", factories.signed_in(admin), visibility=PUBLIC).visibility is PUBLIC


def test_a_group_made_before_the_restriction_keeps_its_visibility_when_it_is_edited(app: Flask, owner: User) -> None:
    group = factories.group("open", owner=owner, visibility=PUBLIC)
    instance.change_instance(instance.InstanceChanges(restricted_visibility_levels=["public"]), by=SHELL)

    namespaces.change(
        group, namespaces.NamespaceChanges(description="Still here", visibility=PUBLIC), by=factories.signed_in(owner)
    )

    assert (group.description, group.visibility) == ("Still here", PUBLIC)


def test_a_group_cannot_be_less_visible_than_its_contents(app: Flask, owner: User) -> None:
    top = factories.group("top", owner=owner, visibility=PUBLIC)
    sub = factories.group("sub", parent=top, visibility=PUBLIC)
    factories.project("project", parent=sub, visibility=INTERNAL)
    by = factories.signed_in(owner)

    with pytest.raises(InvalidGroup) as refusal:
        namespaces.change(top, namespaces.NamespaceChanges(visibility=PRIVATE), by=by)
    assert set(errors_of(refusal)["visibility_level"]) == {
        "private is not allowed since there are sub-groups with higher visibility.",
        "private is not allowed since this group contains projects with higher visibility.",
    }
    assert top.visibility is PUBLIC

    namespaces.change(sub, namespaces.NamespaceChanges(visibility=INTERNAL), by=by)
    namespaces.change(top, namespaces.NamespaceChanges(visibility=INTERNAL), by=by)
    assert (top.visibility, sub.visibility) == (INTERNAL, INTERNAL)


@pytest.mark.parametrize(("name", "path"), PATHS.items())
def test_a_name_suggests_a_path(name: str, path: str) -> None:
    assert namespaces.path_from(name) == path


@pytest.mark.parametrize("path", PATHS.values())
def test_the_suggestion_is_a_path_and_suggests_itself(path: str) -> None:
    assert namespaces.path_errors(path, top_level=True) == []
    assert namespaces.path_from(path) == path


def test_only_as_much_of_a_name_as_is_valid_suggests_a_path() -> None:
    assert namespaces.path_from("a" * 300) == "a" * 255


@pytest.mark.parametrize("name", ["日本語", "!?", "-.-", ""])
def test_a_name_without_letters_or_digits_suggests_none(name: str) -> None:
    assert namespaces.path_from(name) == ""


def test_a_project_may_keep_a_visibility_that_it_would_not_be_given(app: Flask) -> None:
    group = factories.group(visibility=Visibility.PRIVATE)
    project = factories.project(parent=group)
    project.visibility = Visibility.INTERNAL

    assert namespaces.visibilities_for(project, SHELL) == [Visibility.PRIVATE, Visibility.INTERNAL]
    assert Visibility.PUBLIC in namespaces.visibilities_for(group, SHELL)
