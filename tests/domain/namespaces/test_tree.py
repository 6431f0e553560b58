from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from registry.database import db, transaction
from registry.domain import access, instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.errors import Forbidden, InvalidGroup, InvalidRecord, NotFound
from registry.models import Ancestry, AuditEvent, CreationLevel, Group, Membership, Namespace, Project, Role, User
from tests import factories
from tests.domain.namespaces.creating import INTERNAL, PRIVATE, PUBLIC, create_group, create_project, errors_of
from tests.races import at_once


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


def test_a_user_who_cannot_create_groups_is_refused(group: Group, outsider: User) -> None:
    developer = factories.member(group, Role.DEVELOPER)
    restrained = factories.user(can_create_group=False)

    with pytest.raises(Forbidden):
        create_group("new", factories.signed_in(restrained))
    with pytest.raises(Forbidden):
        create_group("new", factories.signed_in(developer), group)
    with pytest.raises(NotFound):
        create_group("new", factories.signed_in(outsider), group)


def test_a_new_group_inherits_the_project_creation_level_of_the_instance(app: Flask) -> None:
    instance.change_instance(instance.InstanceChanges(default_project_creation=CreationLevel.MAINTAINER), by=SHELL)

    assert create_group("fresh").project_creation_level is CreationLevel.MAINTAINER
    own = create_group("own", settings=namespaces.GroupSettings(project_creation_level=CreationLevel.NOBODY))
    assert own.project_creation_level is CreationLevel.NOBODY


def test_a_project_is_created_in_a_group_or_ones_own_space(group: Group, owner: User) -> None:
    in_group = create_project("one", group, factories.signed_in(owner))
    in_space = create_project("one", users.personal_namespace(owner), factories.signed_in(owner))

    assert (in_group.full_path, in_group.full_name) == ("acme/one", "Acme / one")
    assert (in_space.full_path, in_space.full_name) == ("olivia/one", "Olivia / one")


def test_a_project_is_refused_without_permission_to_create_it(
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


def test_a_refused_namespace_leaves_nothing_behind(group: Group) -> None:
    before = len(db.session.scalars(select(Namespace)).all())

    with pytest.raises(InvalidRecord):
        create_project("x", group, visibility=PUBLIC)
    db.session.commit()

    assert len(db.session.scalars(select(Namespace)).all()) == before


def test_visibility_is_the_owners_to_change(project: Project, maintainer: User, owner: User) -> None:
    with pytest.raises(Forbidden):
        namespaces.change(project, namespaces.NamespaceChanges(visibility=INTERNAL), by=factories.signed_in(maintainer))

    namespaces.change(
        project, namespaces.NamespaceChanges(visibility=PRIVATE, name="Same"), by=factories.signed_in(maintainer)
    )

    assert (project.name, project.visibility) == ("Same", PRIVATE)


def test_a_change_of_visibility_is_on_record(group: Group, owner: User) -> None:
    namespaces.change(group, namespaces.NamespaceChanges(visibility=PUBLIC), by=factories.signed_in(owner))

    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "group_visibility_changed")).one()
    assert (event.author, event.target, event.details) == ("olivia", "acme", {"before": "private", "after": "public"})


def test_a_new_path_or_name_reaches_everything_below(group: Group, project: Project) -> None:
    sub = factories.group("sub", parent=group)
    deep = factories.project("deep", parent=sub)

    namespaces.change(group, namespaces.NamespaceChanges(path="Renamed", name="Company"), by=SHELL)

    factories.reload(group, project, sub, deep)
    assert [namespace.full_path for namespace in (group, project, sub, deep)] == [
        "Renamed", "Renamed/tools", "Renamed/sub", "Renamed/sub/deep",
    ]  # fmt: skip
    assert deep.full_name == "Company / Sub / Deep"
    assert namespaces.find("renamed/sub/DEEP", Project) is deep
    with pytest.raises(NotFound):
        namespaces.find("acme/tools", Project)


def test_a_path_can_change_its_case_only(group: Group, project: Project) -> None:
    namespaces.change(group, namespaces.NamespaceChanges(path="ACME"), by=SHELL)

    assert project.full_path == "ACME/tools"


def test_a_refused_change_changes_nothing(group: Group, project: Project) -> None:
    factories.project("other", parent=group)

    for changes in ({"path": "OTHER", "name": "New"}, {"path": "new", "name": "New"}, {"name": "", "path": "fine"}):
        with pytest.raises(InvalidRecord):
            namespaces.change(project, namespaces.NamespaceChanges(**changes), by=SHELL)
        assert (project.path, project.name, project.full_path) == ("tools", "Tools", "acme/tools")


def test_a_group_is_moved_with_everything_in_it(group: Group, project: Project) -> None:
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


def test_a_group_is_not_moved_to_where_it_is(group: Group) -> None:
    sub = factories.group("sub", parent=group)

    for moved, parent in ((group, None), (sub, group)):
        with pytest.raises(InvalidGroup) as refusal:
            namespaces.transfer(moved, parent, by=SHELL)
        assert errors_of(refusal) == {"parent": ["is the parent group already"]}


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


def test_moving_a_group_needs_permission_to_create_one_there(group: Group, owner: User) -> None:
    elsewhere = factories.group()
    developer_there = factories.group()
    namespaces.add_member(developer_there, owner, Role.DEVELOPER, by=SHELL)

    with pytest.raises(NotFound):
        namespaces.transfer(group, elsewhere, by=factories.signed_in(owner))
    with pytest.raises(Forbidden):
        namespaces.transfer(group, developer_there, by=factories.signed_in(owner))


def test_a_group_moved_away_from_its_owners_belongs_to_the_user_who_moved_it(group: Group, owner: User) -> None:
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
        namespaces.change(record, namespaces.NamespaceChanges(path=path, name=path * 2), by=SHELL)
    except InvalidRecord:
        assert not free
    else:
        assert free
        branch.path = path


def move(forest: Forest, branch: Branch, _: str, parent: Branch | None) -> None:
    if not branch.is_group:
        return
    is_elsewhere = parent is not branch.parent and parent not in branch.subtree()
    possible = is_elsewhere and forest.is_free(branch.path, parent, besides=branch)
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


def test_of_groups_and_users_created_at_once_one_gets_the_path(app: Flask) -> None:
    for number in range(3):
        path = f"wanted{number}"

        results = at_once(
            app,
            lambda path=path: create_group(path),  # type: ignore[misc]
            lambda path=path: create_group(path.upper()),  # type: ignore[misc]
            lambda path=path: factories.user(path),  # type: ignore[misc]
        )

        assert results.count("done") == 1
        assert set(results) <= {"done", "InvalidGroup", "InvalidRecord", "AlreadyTaken"}


def test_a_project_created_while_its_group_is_renamed_is_in_it(app: Flask, group: Group) -> None:
    group_id = group.id
    for number in range(3):

        def rename(number: int = number) -> None:
            namespaces.change(
                db.session.get_one(Group, group_id), namespaces.NamespaceChanges(path=f"renamed{number}"), by=SHELL
            )

        def create(number: int = number) -> None:
            create_project(f"project{number}", db.session.get_one(Group, group_id))

        assert at_once(app, rename, create) == ["done", "done"]
    db.session.rollback()

    for project in db.session.scalars(select(Project).where(Project.parent_id == group_id)):
        db.session.refresh(project)
        assert project.full_path == f"renamed2/{project.path}"


def test_a_deleted_group_cannot_be_changed_or_used_as_a_parent(group: Group) -> None:
    other = factories.group()
    namespaces.delete_namespace(group, by=SHELL)

    for act in (
        lambda: create_project("new", group),
        lambda: create_group("new", parent=group),
        lambda: namespaces.change(group, namespaces.NamespaceChanges(name="New"), by=SHELL),
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


def test_archiving_is_on_record_and_undone(project: Project) -> None:
    namespaces.set_archived(project, True, by=SHELL)
    archived = project.archived
    namespaces.set_archived(project, False, by=SHELL)

    assert (archived, project.archived) == (True, False)
    actions = db.session.scalars(select(AuditEvent.action).where(AuditEvent.namespace_id == project.id))
    assert {"project_archived", "project_unarchived"} <= set(actions)
