from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from registry.database import db, transaction, utcnow
from registry.domain import access, instance, namespaces
from registry.domain.access import SHELL, Principal
from registry.domain.accounts import users
from registry.errors import Conflict, Forbidden, InvalidGroup, InvalidRecord, NotFound, RecordNotFound, RegistryError
from registry.models import (
    AllowedJobSource,
    Ancestry,
    AuditEvent,
    CreationLevel,
    Group,
    Membership,
    Namespace,
    Project,
    Role,
    User,
    UserNamespace,
    UserState,
    Visibility,
)
from tests import factories

PUBLIC, INTERNAL, PRIVATE = Visibility.PUBLIC, Visibility.INTERNAL, Visibility.PRIVATE


def create_group(path: str, by: Principal = SHELL, parent: Group | None = None, **fields: Any) -> Group:
    return namespaces.create_group(**{"name": path, "path": path, "parent": parent, "by": by, **fields})


def create_project(path: str, parent: Namespace | None, by: Principal = SHELL, **fields: Any) -> Project:
    return namespaces.create_project(**{"name": path, "path": path, "parent": parent, "by": by, **fields})


def errors_of(refusal: pytest.ExceptionInfo[InvalidRecord]) -> dict[str, list[str]]:
    return refusal.value.errors


# Finding --------------------------------------------------------------------------------------------------------


def test_a_namespace_is_found_by_id_and_by_full_path_without_case(group: Group, project: Project) -> None:
    assert namespaces.find(str(project.id), Project) is project
    assert namespaces.find("acme/tools", Project) is project
    assert namespaces.find("ACME/Tools", Project) is project
    assert namespaces.find("Acme", Group) is group


@pytest.mark.parametrize(
    "reference",
    ["0", "999999999", "9999999999999999999999", "²", "acme/", "/acme", "nothing", "acme/tools/", "a\x00b", "", "-1"],
)
def test_what_is_not_there_is_not_found(project: Project, reference: str) -> None:
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


def test_ancestors_are_told_from_the_top(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    deep = factories.project("deep", parent=sub)

    assert namespaces.ancestors(deep) == [group, sub]
    assert namespaces.ancestors(group) == []


# Creating -------------------------------------------------------------------------------------------------------


def test_a_group_knows_its_path_and_its_creator_owns_it(app: Flask, owner: User) -> None:
    top = create_group("Top", factories.signed_in(owner), name=" The Top ")
    sub = create_group("sub", factories.signed_in(owner), top, name="Sub")

    assert (sub.full_path, sub.full_name, sub.full_path_key) == ("Top/sub", "The Top / Sub", "top/sub")
    assert sub.creator_id == owner.id
    assert access.role_of(owner, sub) is Role.OWNER
    direct = [member.role for member in namespaces.members(top)], namespaces.members(sub)
    assert direct == ([Role.OWNER], []), "who owns it from above needs no membership of their own"


def test_a_maintainer_who_creates_a_subgroup_owns_it(group: Group) -> None:
    maintainer = factories.member(group, Role.MAINTAINER)

    sub = create_group("sub", factories.signed_in(maintainer), group)

    assert access.role_of(maintainer, sub) is Role.OWNER
    assert access.role_of(maintainer, group) is Role.MAINTAINER


def test_whoever_may_not_create_groups_is_refused(group: Group, outsider: User) -> None:
    developer = factories.member(group, Role.DEVELOPER)
    restrained = factories.user(can_create_group=False)

    with pytest.raises(Forbidden):
        create_group("new", factories.signed_in(restrained))
    with pytest.raises(Forbidden):
        create_group("new", factories.signed_in(developer), group)
    with pytest.raises(NotFound):
        create_group("new", factories.signed_in(outsider), group)


def test_a_new_group_says_of_projects_what_the_instance_says(app: Flask) -> None:
    instance.change_instance({"default_project_creation": CreationLevel.MAINTAINER}, by=SHELL)

    assert create_group("fresh").project_creation_level is CreationLevel.MAINTAINER
    own = create_group("own", project_creation_level=CreationLevel.NOBODY)
    assert own.project_creation_level is CreationLevel.NOBODY


def test_a_project_is_created_in_a_group_or_ones_own_space(group: Group, owner: User) -> None:
    in_group = create_project("one", group, factories.signed_in(owner))
    in_space = create_project("one", users.personal_namespace(owner), factories.signed_in(owner))

    assert (in_group.full_path, in_group.full_name) == ("acme/one", "Acme / one")
    assert (in_space.full_path, in_space.full_name) == ("olivia/one", "Olivia / one")


def test_a_project_is_refused_where_its_creator_may_not(
    group: Group, project: Project, owner: User, outsider: User
) -> None:
    reporter = factories.member(group, Role.REPORTER)
    refused: list[tuple[Namespace | None, User]] = [
        (group, reporter),
        (group, outsider),
        (users.personal_namespace(owner), outsider),
        (project, owner),
        (None, owner),
    ]

    for parent, user in refused:
        with pytest.raises(InvalidRecord) as refusal:
            create_project("new", parent, factories.signed_in(user))
        assert refusal.value.body() == {"message": {"namespace": ["is not valid"]}}


def test_a_user_keeps_to_the_limit_of_projects_of_their_own(app: Flask) -> None:
    user = factories.user(projects_limit=1)
    space = users.personal_namespace(user)
    create_project("one", space, factories.signed_in(user))

    with pytest.raises(InvalidRecord) as refusal:
        create_project("two", space, factories.signed_in(user))

    assert errors_of(refusal) == {"limit_reached": ["Your project limit is 1 projects!"]}


@pytest.mark.parametrize(
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


def test_all_that_is_wrong_is_told_at_once(group: Group) -> None:
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


def test_a_refused_namespace_leaves_nothing_behind(group: Group) -> None:
    before = len(db.session.scalars(select(Namespace)).all())

    with pytest.raises(InvalidRecord):
        create_project("x", group, visibility=PUBLIC)
    db.session.commit()

    assert len(db.session.scalars(select(Namespace)).all()) == before


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


# Visibility -----------------------------------------------------------------------------------------------------


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


def test_a_personal_namespace_takes_projects_of_any_visibility(owner: User) -> None:
    space = users.personal_namespace(owner)

    made = [create_project(level.label, space, factories.signed_in(owner), visibility=level) for level in Visibility]

    assert [project.visibility for project in made] == list(Visibility)


def test_the_default_visibility_is_the_instances_lowered_to_the_parents(app: Flask) -> None:
    instance.change_instance({"default_group_visibility": PUBLIC, "default_project_visibility": INTERNAL}, by=SHELL)
    private, public = factories.group(visibility=PRIVATE), create_group("open")

    assert public.visibility is PUBLIC
    assert create_group("sub", parent=private).visibility is PRIVATE
    assert create_project("project", private).visibility is PRIVATE
    assert create_project("project", public).visibility is INTERNAL


def test_a_restricted_visibility_is_the_administrators(group: Group, owner: User, admin: User) -> None:
    instance.change_instance({"restricted_visibility_levels": ["public"]}, by=SHELL)

    with pytest.raises(InvalidGroup) as refusal:
        create_group("open", factories.signed_in(owner), visibility=PUBLIC)

    assert errors_of(refusal) == {"visibility_level": ["public has been restricted by your administrator."]}
    assert create_group("open", factories.signed_in(admin), visibility=PUBLIC).visibility is PUBLIC


def test_a_group_made_before_the_restriction_keeps_its_visibility_when_it_is_edited(app: Flask, owner: User) -> None:
    group = factories.group("open", owner=owner, visibility=PUBLIC)
    instance.change_instance({"restricted_visibility_levels": ["public"]}, by=SHELL)

    namespaces.change(group, {"description": "Still here", "visibility": PUBLIC}, by=factories.signed_in(owner))

    assert (group.description, group.visibility) == ("Still here", PUBLIC)


def test_a_group_is_not_made_less_visible_than_what_it_holds(app: Flask, owner: User) -> None:
    top = factories.group("top", owner=owner, visibility=PUBLIC)
    sub = factories.group("sub", parent=top, visibility=PUBLIC)
    factories.project("project", parent=sub, visibility=INTERNAL)
    by = factories.signed_in(owner)

    with pytest.raises(InvalidGroup) as refusal:
        namespaces.change(top, {"visibility": PRIVATE}, by=by)
    assert set(errors_of(refusal)["visibility_level"]) == {
        "private is not allowed since there are sub-groups with higher visibility.",
        "private is not allowed since this group contains projects with higher visibility.",
    }
    assert top.visibility is PUBLIC

    namespaces.change(sub, {"visibility": INTERNAL}, by=by)
    namespaces.change(top, {"visibility": INTERNAL}, by=by)
    assert (top.visibility, sub.visibility) == (INTERNAL, INTERNAL)


def test_visibility_is_the_owners_to_change(project: Project, maintainer: User, owner: User) -> None:
    with pytest.raises(Forbidden):
        namespaces.change(project, {"visibility": INTERNAL}, by=factories.signed_in(maintainer))

    namespaces.change(project, {"visibility": PRIVATE, "name": "Same"}, by=factories.signed_in(maintainer))

    assert (project.name, project.visibility) == ("Same", PRIVATE)


def test_a_change_of_visibility_is_on_record(group: Group, owner: User) -> None:
    namespaces.change(group, {"visibility": PUBLIC}, by=factories.signed_in(owner))

    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "group_visibility_changed")).one()
    assert (event.author, event.target, event.details) == ("olivia", "acme", {"before": "private", "after": "public"})


# Changing, moving, deleting -------------------------------------------------------------------------------------


def test_a_new_path_or_name_reaches_everything_below(group: Group, project: Project) -> None:
    sub = factories.group("sub", parent=group)
    deep = factories.project("deep", parent=sub)

    namespaces.change(group, {"path": "Renamed", "name": "Company"}, by=SHELL)

    factories.reload(group, project, sub, deep)
    assert [namespace.full_path for namespace in (group, project, sub, deep)] == [
        "Renamed", "Renamed/tools", "Renamed/sub", "Renamed/sub/deep",
    ]  # fmt: skip
    assert deep.full_name == "Company / Sub / Deep"
    assert namespaces.find("renamed/sub/DEEP", Project) is deep
    with pytest.raises(NotFound):
        namespaces.find("acme/tools", Project)


def test_a_path_may_change_its_case_only(group: Group, project: Project) -> None:
    namespaces.change(group, {"path": "ACME"}, by=SHELL)

    assert project.full_path == "ACME/tools"


def test_a_refused_change_changes_nothing(group: Group, project: Project) -> None:
    factories.project("other", parent=group)

    for changes in ({"path": "OTHER", "name": "New"}, {"path": "new", "name": "New"}, {"name": "", "path": "fine"}):
        with pytest.raises(InvalidRecord):
            namespaces.change(project, changes, by=SHELL)
        assert (project.path, project.name, project.full_path) == ("tools", "Tools", "acme/tools")


def test_a_moved_group_takes_everything_along(group: Group, project: Project) -> None:
    user = factories.member(group, Role.DEVELOPER)
    target = factories.group("target")
    boss = factories.member(target, Role.MAINTAINER)

    namespaces.transfer(group, target, by=SHELL)

    assert project.full_path == "target/acme/tools"
    assert namespaces.ancestors(project) == [target, group]
    assert (access.role_of(user, project), access.role_of(boss, project)) == (Role.DEVELOPER, Role.MAINTAINER)

    namespaces.transfer(group, None, by=SHELL)

    assert project.full_path == "acme/tools"
    assert (access.role_of(user, project), access.role_of(boss, project)) == (Role.DEVELOPER, Role.NO_ACCESS)


def test_a_group_is_not_moved_below_itself(group: Group) -> None:
    sub = factories.group("sub", parent=group)

    for target in (group, sub):
        with pytest.raises(InvalidGroup) as refusal:
            namespaces.transfer(group, target, by=SHELL)
        assert list(errors_of(refusal)) == ["parent"]


def test_a_group_is_not_moved_where_its_path_is_taken_or_reserved(group: Group) -> None:
    taken = factories.group("sub", parent=group)
    target = factories.group("target")
    factories.project("SUB", parent=target)
    reserved = factories.group("admin", parent=group)

    with pytest.raises(InvalidGroup) as refusal:
        namespaces.transfer(taken, target, by=SHELL)
    with pytest.raises(InvalidGroup) as refused_top:
        namespaces.transfer(reserved, None, by=SHELL)

    assert errors_of(refusal) == {"path": ["has already been taken"]}
    assert errors_of(refused_top) == {"path": ["admin is a reserved name"]}
    assert (taken.full_path, taken.parent_id) == ("acme/sub", group.id)


def test_a_group_is_not_moved_into_a_less_visible_one(app: Flask) -> None:
    public, private = factories.group(visibility=PUBLIC), factories.group(visibility=PRIVATE)

    with pytest.raises(InvalidGroup) as refusal:
        namespaces.transfer(public, private, by=SHELL)

    assert errors_of(refusal) == {
        "visibility_level": ["public is not allowed since the parent group has a private visibility."]
    }


def test_moving_a_group_asks_for_the_right_to_create_one_there(group: Group, owner: User) -> None:
    elsewhere = factories.group()
    developer_there = factories.group()
    namespaces.add_member(developer_there, owner, Role.DEVELOPER, by=SHELL)

    with pytest.raises(NotFound):
        namespaces.transfer(group, elsewhere, by=factories.signed_in(owner))
    with pytest.raises(Forbidden):
        namespaces.transfer(group, developer_there, by=factories.signed_in(owner))


def test_a_group_that_leaves_its_owners_behind_belongs_to_whoever_moved_it(group: Group, owner: User) -> None:
    sub = factories.group("sub", parent=group)

    namespaces.transfer(sub, None, by=factories.signed_in(owner))

    assert [(member.user, member.role) for member in namespaces.members(sub)] == [(owner, Role.OWNER)]


def test_deleting_a_group_deletes_everything_below(group: Group, project: Project, developer: User) -> None:
    factories.deploy_token(project)
    factories.job(project, developer)
    factories.group("sub", parent=group)
    bystander = factories.project("bystander")

    namespaces.delete_namespace(group, by=SHELL)

    left = set(db.session.scalars(select(Namespace.full_path).where(Namespace.kind != "user")))
    assert left == {bystander.full_path, bystander.full_path.removesuffix("/bystander")}
    assert db.session.scalars(select(Membership).where(Membership.user_id == developer.id)).one().role is Role.OWNER
    assert not db.session.scalars(select(Ancestry).where(Ancestry.namespace_id == project.id)).all()
    create_group("acme")


@dataclass
class Branch:
    """A namespace in a naive model of the tree: knows its parent and asks it."""

    is_group: bool
    path: str
    parent: Branch | None
    children: list[Branch] = field(default_factory=list)
    record: Namespace | None = None

    def line(self) -> list[Branch]:
        return [self] if self.parent is None else [*self.parent.line(), self]

    def full_path(self) -> str:
        return "/".join(branch.path for branch in self.line())

    def subtree(self) -> list[Branch]:
        return [self, *(branch for child in self.children for branch in child.subtree())]


class Forest:
    def __init__(self) -> None:
        self.top: list[Branch] = []

    def all(self) -> list[Branch]:
        return [branch for tree in self.top for branch in tree.subtree()]

    def siblings(self, parent: Branch | None) -> list[Branch]:
        return self.top if parent is None else parent.children

    def is_free(self, path: str, parent: Branch | None, besides: Branch | None = None) -> bool:
        return all(one is besides or one.path.lower() != path.lower() for one in self.siblings(parent))

    def add(self, branch: Branch) -> None:
        self.siblings(branch.parent).append(branch)

    def remove(self, branch: Branch) -> None:
        self.siblings(branch.parent)[:] = [one for one in self.siblings(branch.parent) if one is not branch]


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["group", "group", "project", "rename", "move", "move", "delete"]),
        st.integers(0, 50),
        st.integers(-1, 50),
        st.sampled_from(["a", "b", "B", "c", "d.e"]),
    ),
    max_size=25,
)


@given(operations=OPERATIONS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_sequence_of_changes_keeps_paths_and_ancestors_right(
    app: Flask, operations: list[tuple[str, int, int, str]]
) -> None:
    with transaction() as session:
        session.execute(delete(Namespace).where(Namespace.kind != "user"))
    session.expunge_all()
    forest = Forest()

    for name, subject, target, path in operations:
        branches = forest.all()
        groups = [branch for branch in branches if branch.is_group]
        parent = None if target == -1 or not groups else groups[target % len(groups)]
        branch = branches[subject % len(branches)] if branches else None
        if name in ("group", "project"):
            plant(forest, name, path, parent)
        elif branch is not None:
            {"rename": rename, "move": move, "delete": fell}[name](forest, branch, path, parent)

    found = {space.id: space for space in db.session.scalars(select(Namespace).where(Namespace.kind != "user"))}
    expected = forest.all()
    assert set(found) == {branch.record.id for branch in expected if branch.record}
    for branch in expected:
        assert branch.record is not None
        space = found[branch.record.id]
        db.session.refresh(space)
        assert (space.path, space.full_path, space.full_path_key) == (
            branch.path, branch.full_path(), branch.full_path().lower(),
        )  # fmt: skip
        assert space.full_name == " / ".join(one.record.name for one in branch.line() if one.record)
    assert ancestry(found) == {
        (branch.record.id, above.record.id, distance)
        for branch in expected
        for distance, above in enumerate(reversed(branch.line()))
        if branch.record and above.record
    }


def plant(forest: Forest, kind: str, path: str, parent: Branch | None) -> None:
    if kind == "project" and parent is None:
        return
    branch = Branch(kind == "group", path, parent)
    record: Any = None if parent is None else parent.record
    free = forest.is_free(path, parent)
    try:
        if branch.is_group:
            branch.record = create_group(path, parent=record)
        else:
            branch.record = create_project(path, record)
    except InvalidRecord:
        assert not free
    else:
        assert free
        forest.add(branch)


def rename(forest: Forest, branch: Branch, path: str, _: Branch | None) -> None:
    free = forest.is_free(path, branch.parent, besides=branch)
    record: Any = branch.record
    try:
        namespaces.change(record, {"path": path, "name": path * 2}, by=SHELL)
    except InvalidRecord:
        assert not free
    else:
        assert free
        branch.path = path


def move(forest: Forest, branch: Branch, _: str, parent: Branch | None) -> None:
    if not branch.is_group:
        return
    possible = parent not in branch.subtree() and forest.is_free(branch.path, parent, besides=branch)
    record: Any = branch.record
    try:
        namespaces.transfer(record, None if parent is None else parent.record, by=SHELL)  # type: ignore[arg-type]
    except InvalidGroup:
        assert not possible
    else:
        assert possible
        forest.remove(branch)
        branch.parent = parent
        forest.add(branch)


def fell(forest: Forest, branch: Branch, _: str, __: Branch | None) -> None:
    record: Any = branch.record
    namespaces.delete_namespace(record, by=SHELL)
    forest.remove(branch)


def ancestry(found: dict[int, Namespace]) -> set[tuple[int, int, int]]:
    rows = db.session.execute(
        select(Ancestry.namespace_id, Ancestry.ancestor_id, Ancestry.distance).where(Ancestry.namespace_id.in_(found))
    )
    return {tuple(row) for row in rows}


# At once --------------------------------------------------------------------------------------------------------


def at_once(app: Flask, *actions: Callable[[], object]) -> list[str]:
    """What came of each action, started together in threads: ``done`` or the name of the refusal."""
    start = threading.Barrier(len(actions))
    results = [""] * len(actions)

    def run(place: int, action: Callable[[], object]) -> None:
        with app.app_context():
            start.wait()
            try:
                action()
                results[place] = "done"
            except RegistryError as refusal:
                results[place] = type(refusal).__name__

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_groups_and_users_made_at_once_one_takes_the_path(app: Flask) -> None:
    for number in range(3):
        path = f"wanted{number}"

        results = at_once(
            app,
            lambda path=path: create_group(path),  # type: ignore[misc]
            lambda path=path: create_group(path.upper()),  # type: ignore[misc]
            lambda path=path: factories.user(path),  # type: ignore[misc]
        )

        assert results.count("done") == 1
        assert set(results) <= {"done", "InvalidGroup", "InvalidRecord", "Conflict"}


def test_what_is_made_in_a_group_that_is_renamed_at_once_lies_in_it(app: Flask, group: Group) -> None:
    group_id = group.id
    for number in range(3):

        def rename(number: int = number) -> None:
            namespaces.change(db.session.get_one(Group, group_id), {"path": f"renamed{number}"}, by=SHELL)

        def create(number: int = number) -> None:
            create_project(f"project{number}", db.session.get_one(Group, group_id))

        assert at_once(app, rename, create) == ["done", "done"]
    db.session.rollback()

    for project in db.session.scalars(select(Project).where(Project.parent_id == group_id)):
        db.session.refresh(project)
        assert project.full_path == f"renamed2/{project.path}"


def test_nothing_is_made_in_or_done_to_a_group_that_is_gone(group: Group) -> None:
    other = factories.group()
    namespaces.delete_namespace(group, by=SHELL)

    for act in (
        lambda: create_project("new", group),
        lambda: create_group("new", parent=group),
        lambda: namespaces.change(group, {"name": "New"}, by=SHELL),
        lambda: namespaces.transfer(other, group, by=SHELL),
        lambda: namespaces.transfer(group, other, by=SHELL),
    ):
        with pytest.raises(NotFound):
            act()


def test_two_groups_moved_into_each_other_at_once_make_no_circle(app: Flask) -> None:
    for _ in range(3):
        ids = [factories.group().id, factories.group().id]

        def move(here: int, there: int) -> None:
            namespaces.transfer(db.session.get_one(Group, here), db.session.get_one(Group, there), by=SHELL)

        results = at_once(app, lambda ids=ids: move(*ids), lambda ids=ids: move(*reversed(ids)))  # type: ignore[misc]

        assert sorted(results) == ["InvalidGroup", "done"]


# Members --------------------------------------------------------------------------------------------------------


def roles(namespace: Namespace, **options: Any) -> list[tuple[str, str, bool]]:
    return [
        (member.user.username, member.role.title, member.is_direct)
        for member in namespaces.members(namespace, **options)
    ]


def test_members_are_listed_directly_or_with_the_inherited(group: Group, owner: User) -> None:
    sub = factories.group("sub", parent=group)
    factories.member(sub, Role.GUEST, "zoe")
    both = factories.member(group, Role.REPORTER, "bob")
    namespaces.add_member(sub, both, Role.MAINTAINER, by=SHELL)
    project = factories.project("deep", parent=sub)
    namespaces.add_member(project, both, Role.MAINTAINER, by=SHELL)

    assert roles(sub) == [("zoe", "Guest", True), ("bob", "Maintainer", True)]
    assert roles(project, inherited=True) == [
        ("olivia", "Owner", False),
        ("zoe", "Guest", False),
        ("bob", "Maintainer", True),
    ], "of equal roles the nearest one is shown"
    assert namespaces.member(project, both.id, inherited=True).source is project
    assert namespaces.member(project, owner.id, inherited=True).source is group


@pytest.mark.parametrize("query", ["ANN", "anna", "nn", "Anna@example.com"])
def test_members_are_searched_by_name_user_name_and_whole_address(group: Group, query: str) -> None:
    factories.member(group, Role.GUEST, "anna")

    assert roles(group, query=query) == [("anna", "Guest", True)]


def test_parts_of_addresses_are_searched_only_where_that_is_asked_for(group: Group) -> None:
    factories.member(group, Role.GUEST, "anna")

    assert roles(group, query="na@exa") == []
    assert roles(group, query="na@exa", by_email=True) == [("anna", "Guest", True)]


def test_a_search_takes_wildcards_literally(group: Group) -> None:
    factories.member(group, Role.GUEST, "anna")

    for query in ("%", "a__a", "\\"):
        assert roles(group, query=query, by_email=True) == [], query


def test_an_expired_member_is_listed_directly_but_no_longer_counts(group: Group, project: Project) -> None:
    user = factories.member(group, Role.MAINTAINER, "eve")
    expire(group, user)

    assert ("eve", "Maintainer", True) in roles(group)
    assert "eve" not in [name for name, _, _ in roles(project, inherited=True)]
    with pytest.raises(RecordNotFound):
        namespaces.member(project, user.id, inherited=True)


def expire(namespace: Namespace, user: User) -> None:
    direct = select(Membership).where(Membership.namespace_id == namespace.id, Membership.user_id == user.id)
    db.session.scalars(direct).one().expires_on = utcnow().date()
    db.session.commit()


def test_a_member_is_added_with_role_expiry_and_sponsor(group: Group, owner: User, outsider: User) -> None:
    tomorrow = utcnow().date() + timedelta(days=1)

    namespaces.add_member(group, outsider, Role.DEVELOPER, expires_on=tomorrow, by=factories.signed_in(owner))

    added = namespaces.member(group, outsider.id)
    assert (added.role, added.membership.expires_on) == (Role.DEVELOPER, tomorrow)
    assert added.membership.created_by is owner
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.author == "olivia")).one()
    assert (event.author, event.target, event.details) == (
        "olivia", "oscar", {"role": "Developer", "expires_on": tomorrow.isoformat()},
    )  # fmt: skip


def test_nobody_is_a_direct_member_twice(group: Group, outsider: User) -> None:
    namespaces.add_member(group, outsider, Role.GUEST, by=SHELL)

    with pytest.raises(Conflict) as refusal:
        namespaces.add_member(group, outsider, Role.OWNER, by=SHELL)

    assert refusal.value.body() == {"message": "Member already exists"}
    assert namespaces.member(group, outsider.id).role is Role.GUEST


@pytest.mark.parametrize("role", [Role.NO_ACCESS, Role.MINIMAL_ACCESS, Role.ADMIN])
def test_a_level_that_is_no_members_is_refused(group: Group, outsider: User, role: Role) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        namespaces.add_member(group, outsider, role, by=SHELL)

    assert errors_of(refusal) == {"access_level": ["is not included in the list"]}


@pytest.mark.parametrize("days", [-1, 0])
def test_a_membership_that_would_be_over_is_refused(group: Group, outsider: User, days: int) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        namespaces.add_member(group, outsider, Role.GUEST, expires_on=utcnow().date() + timedelta(days=days), by=SHELL)

    assert errors_of(refusal) == {"expires_at": ["cannot be a date in the past"]}


def test_nobody_gives_or_takes_more_than_their_own_role(
    project: Project, owner: User, maintainer: User, outsider: User
) -> None:
    by = factories.signed_in(maintainer)
    namespaces.add_member(project, outsider, Role.MAINTAINER, by=by)
    boss = factories.member(project, Role.OWNER)
    newcomer = factories.user()

    with pytest.raises(Forbidden):
        namespaces.add_member(project, newcomer, Role.OWNER, by=by)
    with pytest.raises(Forbidden):
        namespaces.change_member(project, outsider, Role.OWNER, by=by)
    with pytest.raises(Forbidden):
        namespaces.change_member(project, boss, Role.GUEST, by=by)
    with pytest.raises(Forbidden):
        namespaces.remove_member(project, boss, by=by)
    assert namespaces.change_member(project, outsider, Role.REPORTER, by=by).role is Role.REPORTER


def test_anyone_may_leave(project: Project, developer: User) -> None:
    namespaces.remove_member(project, developer, by=factories.signed_in(developer))

    assert roles(project) == []


@pytest.mark.parametrize("direct", [None, Role.DEVELOPER, Role.MAINTAINER], ids=["new", "equal", "higher"])
def test_a_role_is_not_lower_than_the_inherited_one(group: Group, outsider: User, direct: Role | None) -> None:
    sub = factories.group("sub", parent=factories.group("between", parent=group))
    namespaces.add_member(group, outsider, Role.DEVELOPER, by=SHELL)
    if direct is not None:
        namespaces.add_member(sub, outsider, direct, by=SHELL)
    change = namespaces.add_member if direct is None else namespaces.change_member

    with pytest.raises(InvalidRecord) as refusal:
        change(sub, outsider, Role.REPORTER, by=SHELL)

    assert refusal.value.body() == {
        "message": {
            "access_level": ["should be greater than or equal to Developer inherited membership from group Acme"]
        }
    }
    assert change(sub, outsider, Role.DEVELOPER, by=SHELL).role is Role.DEVELOPER


def test_an_expired_inherited_role_sets_no_minimum(group: Group, outsider: User) -> None:
    sub = factories.group("sub", parent=group)
    namespaces.add_member(group, outsider, Role.OWNER, by=SHELL)
    expire(group, outsider)

    assert namespaces.add_member(sub, outsider, Role.GUEST, by=SHELL).role is Role.GUEST


def test_a_group_keeps_an_owner(group: Group, owner: User) -> None:
    by = factories.signed_in(owner)
    tomorrow = utcnow().date() + timedelta(days=1)

    with pytest.raises(Forbidden):
        namespaces.remove_member(group, owner, by=by)
    with pytest.raises(Forbidden):
        namespaces.change_member(group, owner, Role.MAINTAINER, by=SHELL)
    with pytest.raises(Forbidden):
        namespaces.change_member(group, owner, Role.OWNER, expires_on=tomorrow, by=SHELL)

    factories.member(group, Role.OWNER)
    namespaces.remove_member(group, owner, by=by)

    assert owner not in [member.user for member in namespaces.members(group)]


@pytest.mark.parametrize("state", ["blocked", "expired"])
def test_an_owner_who_cannot_act_does_not_count_as_one(group: Group, owner: User, state: str) -> None:
    other = factories.member(group, Role.OWNER)
    if state == "blocked":
        users.set_state(other, UserState.BLOCKED, by=SHELL)
    else:
        expire(group, other)

    with pytest.raises(Forbidden):
        namespaces.remove_member(group, owner, by=SHELL)


def test_an_owner_whose_role_ends_does_not_count_as_one(group: Group, owner: User) -> None:
    other = factories.member(group, Role.OWNER)
    soon = utcnow().date() + timedelta(days=1)
    namespaces.change_member(group, other, Role.OWNER, expires_on=soon, by=SHELL)

    with pytest.raises(Forbidden):
        namespaces.change_member(group, owner, Role.OWNER, expires_on=soon, by=SHELL)
    with pytest.raises(Forbidden):
        namespaces.remove_member(group, owner, by=SHELL)


def test_a_subgroup_may_lose_its_own_owners_while_there_are_some_above(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    lead = factories.member(sub, Role.OWNER)

    namespaces.remove_member(sub, lead, by=SHELL)

    assert roles(sub) == []


def test_two_owners_who_remove_each_other_at_once_leave_one(app: Flask) -> None:
    for _ in range(3):
        group = factories.group()
        ids = [factories.member(group, Role.OWNER).id, factories.member(group, Role.OWNER).id]

        def remove(who: int, whom: int, group_id: int = group.id) -> None:
            by = factories.signed_in(db.session.get_one(User, who))
            namespaces.remove_member(db.session.get_one(Group, group_id), db.session.get_one(User, whom), by=by)

        results = at_once(app, lambda ids=ids: remove(*ids), lambda ids=ids: remove(*reversed(ids)))  # type: ignore[misc]

        assert results.count("done") == 1
        assert len(namespaces.members(group)) == 1


def test_the_owner_of_a_personal_namespace_stays(owner: User) -> None:
    space = users.personal_namespace(owner)

    with pytest.raises(Forbidden):
        namespaces.remove_member(space, owner, by=SHELL)
    with pytest.raises(Forbidden):
        namespaces.change_member(space, owner, Role.GUEST, by=SHELL)


def test_whoever_is_no_direct_member_cannot_be_changed_or_removed(project: Project, owner: User) -> None:
    with pytest.raises(RecordNotFound):
        namespaces.change_member(project, owner, Role.OWNER, by=SHELL)
    with pytest.raises(RecordNotFound):
        namespaces.remove_member(project, owner, by=SHELL)
    with pytest.raises(RecordNotFound):
        namespaces.member(project, owner.id)


def test_a_changed_member_is_on_record(project: Project, developer: User) -> None:
    namespaces.change_member(project, developer, Role.MAINTAINER, by=SHELL)
    namespaces.remove_member(project, developer, by=SHELL)

    events = db.session.scalars(select(AuditEvent).where(AuditEvent.namespace_id == project.id).order_by(AuditEvent.id))
    assert [(event.action, event.details) for event in events][-2:] == [
        ("member_changed", {"before": "Developer", "after": "Maintainer", "expires_on": None}),
        ("member_removed", {"role": "Maintainer"}),
    ]


def test_many_members_cost_as_many_statements_as_one(group: Group, project: Project, statements: list[str]) -> None:
    def cost() -> int:
        db.session.rollback()
        namespace = db.session.get_one(Project, project_id)
        before = len(statements)
        for member in namespaces.members(namespace, inherited=True):
            assert member.user.username
            assert member.source.name
        return len(statements) - before

    project_id = project.id
    one = cost()
    for _ in range(5):
        factories.member(group, Role.GUEST)

    assert cost() == one


# Which CI jobs reach a project ----------------------------------------------------------------------------------


def test_projects_and_groups_are_listed_apart(project: Project) -> None:
    other, group = factories.project("other"), factories.group("others")

    namespaces.allow_job_source(project, other, by=SHELL)
    namespaces.allow_job_source(project, group, by=SHELL)

    assert namespaces.allowed_job_sources(project, Project) == [other]
    assert namespaces.allowed_job_sources(project, Group) == [group]


def test_a_source_is_listed_once_and_taken_off_once(project: Project) -> None:
    other = factories.project("other")
    namespaces.allow_job_source(project, other, by=SHELL)

    with pytest.raises(InvalidRecord) as refusal:
        namespaces.allow_job_source(project, other, by=SHELL)
    namespaces.disallow_job_source(project, other, by=SHELL)
    with pytest.raises(RecordNotFound):
        namespaces.disallow_job_source(project, other, by=SHELL)

    assert errors_of(refusal) == {"target_project": ["is already in the job token scope"]}
    assert namespaces.allowed_job_sources(project, Project) == []


def test_two_hundred_sources_fill_the_list(project: Project) -> None:
    with transaction() as session:
        for number in range(200):
            group = Group(path=f"g{number}", name="G", visibility=PRIVATE)
            namespaces.place(group, None)
            session.add(AllowedJobSource(project_id=project.id, source_id=group.id))

    with pytest.raises(InvalidRecord) as refusal:
        namespaces.allow_job_source(project, factories.group(), by=SHELL)

    assert errors_of(refusal) == {"source_project": ["exceeds the allowable number of project links (200)"]}


def test_a_deleted_source_is_off_the_list(project: Project) -> None:
    other = factories.project("other")
    namespaces.allow_job_source(project, other, by=SHELL)

    namespaces.delete_namespace(other, by=SHELL)

    assert namespaces.allowed_job_sources(project, Project) == []


def test_archiving_is_on_record_and_undone(project: Project) -> None:
    namespaces.set_archived(project, True, by=SHELL)
    archived = project.archived
    namespaces.set_archived(project, False, by=SHELL)

    assert (archived, project.archived) == (True, False)
    actions = db.session.scalars(select(AuditEvent.action).where(AuditEvent.namespace_id == project.id))
    assert {"project_archived", "project_unarchived"} <= set(actions)


def test_a_personal_namespace_has_its_user_as_only_member(owner: User) -> None:
    space = db.session.scalars(select(UserNamespace).where(UserNamespace.user_id == owner.id)).one()

    assert (space.full_path, space.visibility, space.parent_id) == ("olivia", PUBLIC, None)
    assert roles(space) == [("olivia", "Owner", True)]


def test_the_memberships_of_a_user_stand_with_their_groups_and_projects(project: Project, owner: User) -> None:
    namespaces.add_member(project, owner, Role.OWNER, by=SHELL)

    found = db.session.scalars(namespaces.memberships_of(owner)).all()

    assert [membership.namespace.full_path for membership in found] == ["acme", "acme/tools"]


def test_what_is_visible_of_many_is_what_is_visible_of_each(project: Project, owner: User, outsider: User) -> None:
    public = factories.group(visibility=Visibility.PUBLIC)
    records = [project, public]

    assert namespaces.visible_ids(factories.signed_in(owner), records) == {project.id, public.id}
    assert namespaces.visible_ids(factories.signed_in(outsider), records) == {public.id}
    assert namespaces.visible_ids(SHELL, []) == set()
