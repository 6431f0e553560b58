from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from registry.database import db, utcnow
from registry.domain import access, namespaces
from registry.domain.access import ANONYMOUS, SHELL, Permission
from registry.domain.accounts.users import personal_namespace
from registry.models import Group, Membership, Namespace, Project, Role, User, Visibility
from tests import factories


def test_a_role_in_a_group_counts_in_everything_below(group: Group, project: Project) -> None:
    sub = factories.group("sub", parent=group)
    deep = factories.project("deep", parent=factories.group("subsub", parent=sub))
    user = factories.member(sub, Role.DEVELOPER)

    roles = [access.role_of(user, namespace) for namespace in (group, project, sub, deep)]

    assert roles == [Role.NO_ACCESS, Role.NO_ACCESS, Role.DEVELOPER, Role.DEVELOPER]


def test_of_several_roles_the_highest_counts(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    project = factories.project("deep", parent=sub)
    user = factories.member(group, Role.REPORTER)
    namespaces.add_member(project, user, Role.MAINTAINER, by=SHELL)
    namespaces.add_member(sub, user, Role.DEVELOPER, by=SHELL)

    roles = [access.role_of(user, namespace) for namespace in (group, sub, project)]

    assert roles == [Role.REPORTER, Role.DEVELOPER, Role.MAINTAINER]


def test_a_high_role_above_is_not_lowered_by_a_low_one_below(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    user = factories.member(sub, Role.GUEST)
    namespaces.add_member(group, user, Role.MAINTAINER, by=SHELL)

    assert access.role_of(user, sub) is Role.MAINTAINER


@pytest.mark.parametrize(
    ("days", "role"),
    [(-1, Role.NO_ACCESS), (0, Role.NO_ACCESS), (1, Role.DEVELOPER)],
    ids=["yesterday", "today", "tomorrow"],
)
def test_a_membership_ends_with_the_beginning_of_its_last_day(group: Group, days: int, role: Role) -> None:
    user = factories.member(group, Role.DEVELOPER)
    membership = db.session.scalars(
        select(Membership).where(Membership.user_id == user.id, Membership.namespace_id == group.id)
    )
    membership.one().expires_on = utcnow().date() + timedelta(days=days)
    db.session.commit()

    assert access.role_of(user, group) is role
    assert (db.session.scalar(select(Group.id).where(access.visible(factories.signed_in(user)))) == group.id) is bool(
        role
    )


def test_an_expired_high_role_leaves_the_lower_one(group: Group, project: Project) -> None:
    user = factories.member(group, Role.REPORTER)
    namespaces.add_member(project, user, Role.OWNER, by=SHELL)
    direct = select(Membership).where(Membership.user_id == user.id, Membership.namespace_id == project.id)
    db.session.scalars(direct).one().expires_on = utcnow().date()
    db.session.commit()

    assert access.role_of(user, project) is Role.REPORTER


def test_the_owner_of_a_personal_namespace_owns_its_projects(owner: User, outsider: User) -> None:
    space = db.session.scalars(select(Namespace).where(Namespace.full_path == owner.username)).one()
    project = factories.project("own", parent=space)

    assert access.role_of(owner, project) is Role.OWNER
    assert access.role_of(outsider, project) is Role.NO_ACCESS


def test_an_administrator_has_a_role_everywhere_without_being_a_member(admin: User, project: Project) -> None:
    assert access.role_in(factories.signed_in(admin), project) is Role.ADMIN
    assert access.role_in(SHELL, project) is Role.ADMIN
    assert access.role_of(admin, project) is Role.NO_ACCESS


def test_machines_and_anonymous_callers_hold_no_role(project: Project) -> None:
    assert access.role_in(ANONYMOUS, project) is Role.NO_ACCESS
    assert access.role_in(factories.by_deploy_token(project), project) is Role.NO_ACCESS


class TestHeldRoles:
    def test_direct_and_inherited_roles_are_distinguished(self, app: Flask) -> None:
        top = factories.group("top")
        sub = factories.group("sub", parent=top)
        project = factories.project("project", parent=sub)
        user = factories.member(top, Role.REPORTER, "rita")
        namespaces.add_member(sub, user, Role.DEVELOPER, by=SHELL)
        namespaces.add_member(project, user, Role.MAINTAINER, by=SHELL)
        elsewhere = factories.group("elsewhere")

        held = access.held_roles(factories.signed_in(user), [top, sub, project, elsewhere])

        assert held == {
            top.id: access.HeldRoles(Role.REPORTER),
            sub.id: access.HeldRoles(Role.DEVELOPER, Role.REPORTER),
            project.id: access.HeldRoles(Role.MAINTAINER, Role.DEVELOPER),
            elsewhere.id: access.HeldRoles(),
        }

    def test_a_user_is_direct_owner_of_their_personal_namespace(self, app: Flask) -> None:
        user = factories.user("rita")
        project = factories.project(parent=personal_namespace(user))

        held = access.held_roles(factories.signed_in(user), [project])

        assert held == {project.id: access.HeldRoles(Role.OWNER)}

    def test_expired_memberships_and_anonymous_callers_hold_nothing(self, app: Flask) -> None:
        group = factories.group("top")
        user = factories.member(group, Role.OWNER, "rita")
        db.session.execute(update(Membership).values(expires_on=utcnow().date()))
        db.session.commit()

        for principal in (factories.signed_in(user), ANONYMOUS):
            assert access.held_roles(principal, [group]) == {group.id: access.HeldRoles()}


class TestLoadedRoles:
    def test_all_are_loaded_in_one_statement_and_none_is_looked_up_again(
        self, app: Flask, statements: list[str]
    ) -> None:
        groups = [factories.group() for _ in range(3)]
        user = factories.member(groups[0], Role.OWNER)
        statements.clear()

        principal = access.load_roles(factories.signed_in(user), groups)
        roles = [access.role_in(principal, group) for group in groups]

        assert roles == [Role.OWNER, Role.NO_ACCESS, Role.NO_ACCESS]
        assert len(statements) == 1
        assert access.load_roles(principal, groups) is principal

    def test_the_principal_that_was_given_learns_nothing(self, group: Group, developer: User) -> None:
        principal = factories.signed_in(developer)

        access.load_roles(principal, [group])

        assert principal.roles == {}

    def test_a_role_that_is_not_loaded_is_looked_up_each_time(self, group: Group, developer: User) -> None:
        principal = factories.signed_in(developer)
        assert access.role_in(principal, group) is Role.NO_ACCESS

        namespaces.add_member(group, developer, Role.REPORTER, by=SHELL)

        assert access.role_in(principal, group) is Role.REPORTER

    def test_a_job_has_the_roles_of_its_user_where_it_is_admitted(self, app: Flask, statements: list[str]) -> None:
        group = factories.group()
        own, listing, closed, open_to_jobs = (factories.project(parent=group) for _ in range(4))
        open_to_jobs.job_allowlist_enforced = False
        factories.commit()
        namespaces.allow_job_source(listing, own, by=SHELL)
        job = factories.by_job(own, factories.member(group, Role.DEVELOPER))
        everywhere = [group, own, listing, closed, open_to_jobs]
        statements.clear()

        principal = access.load_roles(job, everywhere)

        assert len(statements) == 2
        loaded = [access.role_in(principal, namespace) for namespace in everywhere]
        assert loaded == [access.role_in(job, namespace) for namespace in everywhere]
        assert loaded == [Role.DEVELOPER, Role.DEVELOPER, Role.DEVELOPER, Role.NO_ACCESS, Role.DEVELOPER]

    @pytest.mark.parametrize(
        ("visibility", "permission", "is_loaded"),
        [
            (Visibility.PRIVATE, Permission.READ_PACKAGE, True),
            (Visibility.PUBLIC, Permission.READ_PACKAGE, False),
            (Visibility.PUBLIC, Permission.CREATE_PACKAGE, True),
        ],
    )
    def test_a_role_is_loaded_for_a_permission_that_depends_on_it(
        self, app: Flask, visibility: Visibility, permission: Permission, is_loaded: bool
    ) -> None:
        project = factories.project(visibility=visibility)
        principal = factories.signed_in(factories.member(project, Role.DEVELOPER))

        known = access.load_role_for(principal, permission, project)

        assert known.roles == ({project.id: Role.DEVELOPER} if is_loaded else {})
        assert access.allowed(known, permission, project)

    def test_the_role_of_a_job_that_is_not_accepted_is_not_looked_up(self, app: Flask, statements: list[str]) -> None:
        own, closed = factories.project(), factories.project()
        job = factories.by_job(own, factories.member(closed, Role.OWNER))
        statements.clear()

        assert access.role_in(job, closed) is Role.NO_ACCESS
        assert len(statements) == 1
