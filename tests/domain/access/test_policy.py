"""The whole policy as a table: the permissions of each principal in each place, and how others are refused.

The expected values are written down from GitLab's documentation ("Permissions and roles", "Deploy tokens", "CI/CD job
tokens", PyPI API), not from the code.
"""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, transaction
from registry.domain import access, instance, namespaces
from registry.domain.access import ANONYMOUS, SHELL, Permission, Principal
from registry.errors import Forbidden, InsufficientScope, NotFound, RegistryError, Unauthenticated
from registry.models import (
    MEMBER_ROLES,
    CreationLevel,
    Group,
    Namespace,
    Project,
    RegistryAccess,
    Role,
    User,
    Visibility,
)
from tests import factories
from tests.domain.access.values import NO_PACKAGE_SCOPE, READ, VISIBILITIES, WRITE
from tests.tables import each

Table = dict[str, dict[Visibility, str]]


def table(text: str) -> Table:
    """Rows of ``principal | public internal private``; a row can name several principals, separated by commas."""
    rows: Table = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        names, _, outcomes = line.partition("|")
        for name in names.split(","):
            rows[name.strip()] = dict(zip(VISIBILITIES, outcomes.split(), strict=True))
    return rows


def outcome(principal: Principal, permission: Permission, namespace: Namespace | None = None) -> str:
    """``200``, or the refusal of the principal; ``scope`` is 403 because of the token's scopes."""
    try:
        access.require(principal, permission, namespace)
    except InsufficientScope:
        return "scope"
    except RegistryError as refusal:
        return str(refusal.status)
    return "200"


def outcomes(principals: dict[str, Principal], permission: Permission, namespace: Namespace) -> dict[str, str]:
    return {name: outcome(principal, permission, namespace) for name, principal in principals.items()}


def show_to(visibility: Visibility, namespace: Namespace) -> None:
    namespace.visibility = visibility
    db.session.commit()


def column(expected: Table, visibility: Visibility) -> dict[str, str]:
    return {name: row[visibility] for name, row in expected.items()}


@pytest.fixture
def tree(app: Flask) -> Project:
    """``top/sub/project`` in public groups, so that the project can have any visibility."""
    top = factories.group("top", visibility=Visibility.PUBLIC)
    sub = factories.group("sub", parent=top, visibility=Visibility.PUBLIC)
    return factories.project("project", parent=sub)


@pytest.fixture
def askers(tree: Project) -> dict[str, Principal]:
    """All principals that can ask for something in the project, by the name used in the tables."""
    with transaction():
        sub = db.session.get_one(Group, tree.parent_id)
        top = db.session.get_one(Group, sub.parent_id)
        foreign_group = factories.group("foreign", visibility=Visibility.PUBLIC)
        foreign = factories.project("elsewhere", parent=foreign_group)
        sources = factories.group("sources")
        listed, below_listed = factories.project("listed"), factories.project("below", parent=sources)
        for source in (listed, sources):
            namespaces.allow_job_source(tree, source, by=SHELL)
        users = {role: factories.member(tree, role, role.name.lower()) for role in MEMBER_ROLES}
        stranger = factories.user("stranger")
        external = factories.user("external", is_external=True)
        external_guest = factories.member(tree, Role.GUEST, "external-guest", is_external=True)
        external_developer = factories.member(tree, Role.DEVELOPER, "external-developer", is_external=True)
        external_owner = factories.member(tree, Role.OWNER, "external-owner", is_external=True)
        admin = factories.user("root", is_admin=True)
        developer, owner = users[Role.DEVELOPER], users[Role.OWNER]
        return {
            "anonymous": ANONYMOUS,
            "stranger": factories.signed_in(stranger),
            "stranger's token": factories.by_access_token(stranger),
            "external stranger": factories.signed_in(external),
            "external guest": factories.signed_in(external_guest),
            "external developer": factories.signed_in(external_developer),
            **{role.name.lower(): factories.signed_in(user) for role, user in users.items()},
            **{f"{role.name.lower()}'s token": factories.by_access_token(user) for role, user in users.items()},
            "admin": factories.signed_in(admin),
            "admin's token": factories.by_access_token(admin),
            "shell": SHELL,
            "owner's read_api": factories.by_access_token(owner, "read_api"),
            "owner's read_user": factories.by_access_token(owner, "read_user", "self_rotate", "read_registry"),
            "stranger's read_user": factories.by_access_token(stranger, "read_user"),
            "admin's sudo": factories.by_access_token(admin, "sudo", "admin_mode"),
            "deploy read": factories.by_deploy_token(tree, *READ),
            "deploy write": factories.by_deploy_token(tree, *WRITE),
            "deploy without package scope": factories.by_deploy_token(tree, *NO_PACKAGE_SCOPE),
            "deploy read of group": factories.by_deploy_token(sub, *READ),
            "deploy write of group": factories.by_deploy_token(sub, *WRITE),
            "deploy write of top group": factories.by_deploy_token(top, *WRITE),
            "deploy of foreign project": factories.by_deploy_token(foreign),
            "deploy of foreign group": factories.by_deploy_token(foreign_group),
            "trusted publisher": factories.by_trusted_publisher(tree),
            "trusted reader": factories.by_trusted_reader(tree),
            "trusted reader of top group": factories.by_trusted_reader(top),
            "foreign trusted reader": factories.by_trusted_reader(foreign_group),
            "foreign trusted publisher": factories.by_trusted_publisher(foreign),
            "job of developer": factories.by_job(tree, developer),
            "job of owner": factories.by_job(tree, owner),
            "job of reporter": factories.by_job(tree, users[Role.REPORTER]),
            "job of guest": factories.by_job(tree, users[Role.GUEST]),
            "job of stranger": factories.by_job(tree, stranger),
            "job of admin": factories.by_job(tree, admin),
            "listed job of developer": factories.by_job(listed, developer),
            "listed job of owner": factories.by_job(below_listed, owner),
            "listed job of stranger": factories.by_job(listed, stranger),
            "unlisted job of owner": factories.by_job(foreign, owner),
            "unlisted job of external owner": factories.by_job(foreign, external_owner),
            "unlisted job of admin": factories.by_job(foreign, admin),
        }


MEMBERS = "guest, planner, reporter, developer, maintainer, owner"
TOKENS = "guest's token, planner's token, reporter's token, developer's token, maintainer's token, owner's token"
ADMINS = "admin, admin's token, shell"
OWN_READERS = "trusted reader, trusted reader of top group"
OWN_DEPLOYS = "deploy read, deploy write, deploy read of group, deploy write of group, deploy write of top group"
FOREIGN_DEPLOYS = (
    "deploy without package scope, deploy of foreign project, deploy of foreign group, foreign trusted publisher, "
    "foreign trusted reader"
)
OWN_JOBS = "job of developer, job of owner, job of reporter, job of admin, listed job of developer, listed job of owner"
SEE = table(f"""
    anonymous                                           | 200 401 401
    stranger, stranger's token                          | 200 200 404
    external stranger                                   | 200 404 404
    external guest, external developer                  | 200 200 200
    {MEMBERS}, {TOKENS}, {ADMINS}, owner's read_api     | 200 200 200
    owner's read_user, admin's sudo                     | scope scope scope
    stranger's read_user                                | scope scope 404
    {OWN_DEPLOYS}                                       | 200 200 200
    {FOREIGN_DEPLOYS}                                   | 200 404 404
    {OWN_JOBS}, job of guest                            | 200 200 200
    job of stranger, listed job of stranger             | 200 200 404
    unlisted job of owner, unlisted job of admin        | 200 200 404
    unlisted job of external owner                      | 200 404 404
    trusted publisher, {OWN_READERS}                    | 200 200 200
""")
READ_PACKAGES = table(f"""
    anonymous                                           | 200 401 401
    stranger, stranger's token                          | 200 200 404
    external stranger                                   | 200 404 404
    external guest                                      | 200 403 403
    guest, planner, guest's token, planner's token      | 200 200 403
    reporter, reporter's token, owner's read_api        | 200 200 200
    developer, maintainer, owner, external developer    | 200 200 200
    developer's token, maintainer's token, owner's token, {ADMINS} | 200 200 200
    owner's read_user, admin's sudo                     | scope scope scope
    stranger's read_user                                | scope scope 404
    {OWN_DEPLOYS}                                       | 200 200 200
    {FOREIGN_DEPLOYS}                                   | 200 404 404
    {OWN_JOBS}                                          | 200 200 200
    job of guest                                        | 200 200 403
    job of stranger, listed job of stranger             | 200 200 404
    unlisted job of owner, unlisted job of admin        | 200 200 404
    unlisted job of external owner                      | 200 404 404
    trusted publisher                                   | 200 403 403
    {OWN_READERS}                                       | 200 200 200
""")
# "Package registry: only project members" beside a project that others can see.
READ_PACKAGES_OF_MEMBERS = table(f"""
    anonymous                                           | 401 401 401
    stranger, stranger's token                          | 403 403 404
    external stranger                                   | 403 404 404
    external guest                                      | 403 403 403
    guest, planner, guest's token, planner's token      | 403 403 403
    reporter, reporter's token, owner's read_api        | 200 200 200
    developer, maintainer, owner, external developer    | 200 200 200
    developer's token, maintainer's token, owner's token, {ADMINS} | 200 200 200
    owner's read_user, admin's sudo                     | scope scope scope
    stranger's read_user                                | scope scope 404
    {OWN_DEPLOYS}                                       | 200 200 200
    {FOREIGN_DEPLOYS}                                   | 403 404 404
    {OWN_JOBS}                                          | 200 200 200
    job of guest                                        | 403 403 403
    job of stranger, listed job of stranger             | 403 403 404
    unlisted job of owner, unlisted job of admin        | 403 403 404
    unlisted job of external owner                      | 403 404 404
    trusted publisher                                   | 403 403 403
    {OWN_READERS}                                       | 200 200 200
""")
PUBLISH = table(f"""
    anonymous                                           | 401 401 401
    stranger, stranger's token                          | 403 403 404
    external stranger                                   | 403 404 404
    external guest                                      | 403 403 403
    guest, planner, reporter, guest's token, planner's token, reporter's token | 403 403 403
    developer, maintainer, owner, external developer    | 200 200 200
    developer's token, maintainer's token, owner's token, {ADMINS} | 200 200 200
    owner's read_api, owner's read_user, admin's sudo   | scope scope scope
    stranger's read_user                                | scope scope 404
    deploy read, deploy read of group                   | 403 403 403
    deploy write, deploy write of group, deploy write of top group | 200 200 200
    {FOREIGN_DEPLOYS}                                   | 403 404 404
    job of developer, job of owner, job of admin        | 200 200 200
    listed job of developer, listed job of owner        | 200 200 200
    job of reporter, job of guest                       | 403 403 403
    job of stranger, listed job of stranger             | 403 403 404
    unlisted job of owner, unlisted job of admin        | 403 403 404
    unlisted job of external owner                      | 403 404 404
    trusted publisher                                   | 200 200 200
    {OWN_READERS}                                       | 403 403 403
""")
DELETE = table(f"""
    anonymous                                           | 403 401 401
    stranger, stranger's token                          | 403 403 404
    external stranger                                   | 403 404 404
    external guest, external developer                  | 403 403 403
    guest, planner, reporter, developer                 | 403 403 403
    guest's token, planner's token, reporter's token, developer's token | 403 403 403
    maintainer, owner, maintainer's token, owner's token, {ADMINS} | 200 200 200
    owner's read_api, owner's read_user, admin's sudo   | scope scope scope
    stranger's read_user                                | scope scope 404
    {OWN_DEPLOYS}                                       | 403 403 403
    {FOREIGN_DEPLOYS}                                   | 403 404 404
    job of owner, job of admin, listed job of owner     | 200 200 200
    job of developer, job of reporter, job of guest, listed job of developer | 403 403 403
    job of stranger, listed job of stranger             | 403 403 404
    unlisted job of owner, unlisted job of admin        | 403 403 404
    unlisted job of external owner                      | 403 404 404
    trusted publisher, {OWN_READERS}                    | 403 403 403
""")
# As to delete, except that anonymous callers are asked to sign in.
YANK = DELETE | table("anonymous | 401 401 401")


def refused_to_all(to_anonymous: str, expected: Table) -> Table:
    """The same for a project in a state that forbids it to all: every principal that sees it gets 403."""
    refused = {
        name: {visibility: "403" if status == "200" else status for visibility, status in row.items()}
        for name, row in expected.items()
    }
    return refused | table(f"anonymous | {to_anonymous}")


class TestProject:
    @each(
        ("permission", "expected"),
        [
            (Permission.READ_NAMESPACE, SEE),
            (Permission.READ_PACKAGE, READ_PACKAGES),
            (Permission.CREATE_PACKAGE, PUBLISH),
            (Permission.DESTROY_PACKAGE, DELETE),
            (Permission.YANK_PACKAGE, YANK),
        ],
    )
    @each("visibility", VISIBILITIES)
    def test_each_principal_is_admitted_or_refused_as_by_gitlab(
        self,
        tree: Project,
        askers: dict[str, Principal],
        visibility: Visibility,
        permission: Permission,
        expected: Table,
    ) -> None:
        show_to(visibility, tree)
        assert outcomes(askers, permission, tree) == column(expected, visibility)

    @each("visibility", VISIBILITIES)
    def test_the_registry_of_members_is_closed_to_users_who_only_see_the_project(
        self, tree: Project, askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, tree)
        tree.registry_access = RegistryAccess.PRIVATE
        db.session.commit()

        assert outcomes(askers, Permission.READ_PACKAGE, tree) == column(READ_PACKAGES_OF_MEMBERS, visibility)
        assert outcomes(askers, Permission.READ_NAMESPACE, tree) == column(SEE, visibility)
        assert outcomes(askers, Permission.CREATE_PACKAGE, tree) == column(PUBLISH, visibility)

    @each("visibility", VISIBILITIES)
    def test_anyone_can_pull_from_an_open_registry_and_do_nothing_else(
        self, tree: Project, askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, tree)
        tree.registry_access = RegistryAccess.PUBLIC
        db.session.commit()

        reading = outcomes(askers, Permission.READ_PACKAGE, tree)

        assert reading == {
            name: "scope" if READ_PACKAGES[name][Visibility.PUBLIC] == "scope" else "200" for name in askers
        }
        assert outcomes(askers, Permission.READ_NAMESPACE, tree) == column(SEE, visibility)
        assert outcomes(askers, Permission.CREATE_PACKAGE, tree) == column(PUBLISH, visibility)
        assert outcomes(askers, Permission.DESTROY_PACKAGE, tree) == column(DELETE, visibility)

    @each("visibility", VISIBILITIES)
    def test_an_open_registry_is_an_ordinary_one_when_the_instance_does_not_allow_it(
        self, tree: Project, askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, tree)
        tree.registry_access = RegistryAccess.PUBLIC
        db.session.commit()
        instance.change_instance(instance.InstanceChanges(package_registry_allow_anyone_to_pull_option=False), by=SHELL)

        assert outcomes(askers, Permission.READ_PACKAGE, tree) == column(READ_PACKAGES, visibility)

    @each("visibility", VISIBILITIES)
    def test_a_disabled_registry_refuses_administrators_too(
        self, tree: Project, askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, tree)
        tree.registry_access = RegistryAccess.DISABLED
        db.session.commit()
        seen = refused_to_all("403 401 401", SEE)

        assert outcomes(askers, Permission.READ_PACKAGE, tree) == column(seen, visibility)
        assert outcomes(askers, Permission.READ_NAMESPACE, tree) == column(SEE, visibility)
        assert outcomes(askers, Permission.CREATE_PACKAGE, tree) == column(
            refused_to_all("401 401 401", PUBLISH), visibility
        )
        assert outcomes(askers, Permission.DESTROY_PACKAGE, tree) == column(
            refused_to_all("403 401 401", DELETE), visibility
        )
        assert outcomes(askers, Permission.YANK_PACKAGE, tree) == column(
            refused_to_all("401 401 401", YANK), visibility
        )

    @each("visibility", VISIBILITIES)
    def test_an_archived_project_is_read_but_not_changed(
        self, tree: Project, askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, tree)
        namespaces.set_archived(tree, True, by=SHELL)

        assert outcomes(askers, Permission.READ_PACKAGE, tree) == column(READ_PACKAGES, visibility)
        assert outcomes(askers, Permission.CREATE_PACKAGE, tree) == column(
            refused_to_all("401 401 401", PUBLISH), visibility
        )
        assert outcomes(askers, Permission.DESTROY_PACKAGE, tree) == column(
            refused_to_all("403 401 401", DELETE), visibility
        )
        assert outcomes(askers, Permission.YANK_PACKAGE, tree) == column(
            refused_to_all("401 401 401", YANK), visibility
        )

    @each("visibility", VISIBILITIES)
    def test_guests_pull_when_the_instance_lets_them(
        self, tree: Project, askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, tree)
        instance.change_instance(instance.InstanceChanges(allow_guest_plus_roles_to_pull_packages=True), by=SHELL)

        found = outcomes(askers, Permission.READ_PACKAGE, tree)

        let_in = ("guest", "planner", "guest's token", "planner's token", "external guest", "job of guest")
        assert found == column(READ_PACKAGES, visibility) | dict.fromkeys(let_in, "200")
        assert outcomes(askers, Permission.CREATE_PACKAGE, tree) == column(PUBLISH, visibility)

    @each("visibility", VISIBILITIES)
    def test_a_project_without_allowlist_admits_every_job_with_the_rights_of_its_user(
        self, tree: Project, askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, tree)
        tree.job_allowlist_enforced = False
        db.session.commit()

        unlisted = {name: askers[name] for name in askers if name.startswith("unlisted")}

        for permission in (
            Permission.READ_PACKAGE,
            Permission.CREATE_PACKAGE,
            Permission.DESTROY_PACKAGE,
            Permission.YANK_PACKAGE,
        ):
            assert outcomes(unlisted, permission, tree) == dict.fromkeys(unlisted, "200")


# Least role of a user, whether ``read_api`` is enough for a token, and whether a job is allowed; for each permission
# without a table above.
ON_PROJECTS = {
    Permission.READ_STATISTICS: (Role.REPORTER, True, False),
    Permission.ADMIN_PACKAGE: (Role.MAINTAINER, False, False),
    Permission.CREATE_JOB: (Role.DEVELOPER, False, False),
    Permission.FINISH_JOB: (Role.GUEST, False, True),
    Permission.ADMIN_JOB_TOKEN_SCOPE: (Role.MAINTAINER, False, False),
    Permission.READ_PACKAGE_SETTINGS: (Role.MAINTAINER, True, False),
    Permission.CHANGE_PACKAGE_SETTINGS: (Role.OWNER, False, False),
    Permission.READ_DEPLOY_TOKENS: (Role.MAINTAINER, True, False),
    Permission.CHANGE_DEPLOY_TOKENS: (Role.MAINTAINER, False, False),
    Permission.ADMIN_MEMBERS: (Role.MAINTAINER, False, False),
    Permission.ADMIN_NAMESPACE: (Role.MAINTAINER, False, False),
    Permission.OWN_NAMESPACE: (Role.OWNER, False, False),
    Permission.LEAVE_NAMESPACE: (Role.GUEST, False, False),
}
ON_GROUPS = {
    Permission.READ_STATISTICS: (Role.REPORTER, True),
    Permission.READ_PACKAGE_SETTINGS: (Role.MAINTAINER, True),
    Permission.CHANGE_PACKAGE_SETTINGS: (Role.OWNER, False),
    Permission.READ_DEPLOY_TOKENS: (Role.MAINTAINER, True),
    Permission.CHANGE_DEPLOY_TOKENS: (Role.OWNER, False),
    Permission.ADMIN_MEMBERS: (Role.OWNER, False),
    Permission.ADMIN_NAMESPACE: (Role.OWNER, False),
    Permission.OWN_NAMESPACE: (Role.OWNER, False),
    Permission.LEAVE_NAMESPACE: (Role.GUEST, False),
    Permission.CREATE_PROJECT: (Role.DEVELOPER, False),
    Permission.CREATE_SUBGROUP: (Role.MAINTAINER, False),
}
IN_INSTANCE = (
    Permission.READ_VISIBLE,
    Permission.READ_USERS,
    Permission.READ_USER,
    Permission.READ_JOB,
    Permission.READ_OWN_TOKENS,
    Permission.USE_OWN_TOKEN,
    Permission.ROTATE_OWN_TOKEN,
    Permission.USE_API,
    Permission.READ_INSTANCE,
    Permission.ADMIN_INSTANCE,
)


def test_every_permission_is_in_a_table_here() -> None:
    in_tables_of_their_own = {
        Permission.READ_NAMESPACE,
        Permission.READ_MEMBERS,
        Permission.READ_PACKAGE,
        Permission.CREATE_PACKAGE,
        Permission.DESTROY_PACKAGE,
        Permission.YANK_PACKAGE,
    }

    tested = in_tables_of_their_own | set(ON_PROJECTS) | set(ON_GROUPS) | set(IN_INSTANCE)
    assert set(access.POLICY) == set(Permission) == tested


@each("visibility", VISIBILITIES)
def test_administration_of_a_project_asks_for_a_role(
    tree: Project, askers: dict[str, Principal], visibility: Visibility
) -> None:
    show_to(visibility, tree)
    roles = {"external guest": Role.GUEST, "external developer": Role.DEVELOPER}
    roles |= {role.name.lower(): role for role in MEMBER_ROLES}
    roles |= {f"{role.name.lower()}'s token": role for role in MEMBER_ROLES}
    roles |= dict.fromkeys(("admin", "admin's token", "shell"), Role.OWNER)
    roles_of_jobs = {
        "job of admin": Role.OWNER,
        "listed job of developer": Role.DEVELOPER,
        "listed job of owner": Role.OWNER,
    }
    roles_of_jobs |= {f"job of {role.name.lower()}": role for role in MEMBER_ROLES}

    found = {permission: outcomes(askers, permission, tree) for permission in ON_PROJECTS}

    expected = {}
    for permission, (least, reads, jobs) in ON_PROJECTS.items():
        may = roles | roles_of_jobs if jobs else roles
        let_in = {name: "200" for name in askers if name in may and may[name] >= least}
        refused = column(refused_to_all("401 401 401", SEE), visibility)
        expected[permission] = refused | let_in | {"owner's read_api": "200" if reads else "scope"}
    assert found == expected


@each(
    "permission",
    [Permission.CREATE_PACKAGE, Permission.DESTROY_PACKAGE, Permission.YANK_PACKAGE, Permission.CREATE_JOB],
)
def test_the_owner_of_an_archived_project_cannot_change_it(
    tree: Project, askers: dict[str, Principal], permission: Permission
) -> None:
    namespaces.set_archived(tree, True, by=SHELL)

    assert outcome(askers["owner"], permission, tree) == "403"
    assert outcome(askers["owner"], Permission.OWN_NAMESPACE, tree) == "200"


def test_members_are_listed_to_users_who_see_the_project_but_not_to_machines(
    tree: Project, askers: dict[str, Principal]
) -> None:
    tree.visibility = Visibility.INTERNAL
    db.session.commit()

    found = outcomes(askers, Permission.READ_MEMBERS, tree)

    machines = {name for name, principal in askers.items() if principal.user is None or principal.job}
    expected = column(SEE, Visibility.INTERNAL)
    assert {name: found[name] for name in found if name not in machines} == {
        name: told for name, told in expected.items() if name not in machines
    }
    assert {found[name] for name in machines if askers[name].deploy_token} == {"403", "404"}


@pytest.fixture
def group_askers(app: Flask) -> dict[str, Principal]:
    """All principals that can ask for something in ``top/sub``: members of it, above it, below it, and strangers."""
    with transaction():
        top = factories.group("top", visibility=Visibility.PUBLIC)
        sub = factories.group("sub", parent=top)
        below = factories.group("below", parent=sub)
        project = factories.project("project", parent=below)
        foreign = factories.project("elsewhere")
        users = {role: factories.member(sub, role, role.name.lower()) for role in MEMBER_ROLES}
        stranger = factories.user("stranger")
        return {
            "anonymous": ANONYMOUS,
            "stranger": factories.signed_in(stranger),
            "external stranger": factories.signed_in(factories.user("external", is_external=True)),
            **{role.name.lower(): factories.signed_in(user) for role, user in users.items()},
            "reporter above": factories.signed_in(factories.member(top, Role.REPORTER, "reporter-above")),
            "owner of project below": factories.signed_in(factories.member(project, Role.OWNER, "owner-project")),
            "owner of group below": factories.signed_in(factories.member(below, Role.OWNER, "owner-below")),
            "external member below": factories.signed_in(
                factories.member(project, Role.DEVELOPER, "external-below", is_external=True)
            ),
            "admin": factories.signed_in(factories.user("root", is_admin=True)),
            "shell": SHELL,
            "owner's read_api": factories.by_access_token(users[Role.OWNER], "read_api"),
            "owner's read_user": factories.by_access_token(users[Role.OWNER], "read_user"),
            "stranger's read_user": factories.by_access_token(stranger, "read_user"),
            "deploy": factories.by_deploy_token(sub),
            "deploy without package scope": factories.by_deploy_token(sub, *NO_PACKAGE_SCOPE),
            "deploy of group above": factories.by_deploy_token(top, *READ),
            "deploy of group below": factories.by_deploy_token(below),
            "deploy of project below": factories.by_deploy_token(project),
            "deploy of foreign project": factories.by_deploy_token(foreign),
            "trusted reader": factories.by_trusted_reader(sub),
            "trusted reader of group above": factories.by_trusted_reader(top),
            "trusted reader of group below": factories.by_trusted_reader(below),
            "trusted reader of project below": factories.by_trusted_reader(project),
            "trusted publisher of project below": factories.by_trusted_publisher(project),
            "job of reporter": factories.by_job(project, users[Role.REPORTER]),
            "job of guest": factories.by_job(project, users[Role.GUEST]),
            "foreign job of reporter": factories.by_job(foreign, users[Role.REPORTER]),
            "foreign job of stranger": factories.by_job(foreign, stranger),
        }


@pytest.fixture
def sub(group_askers: dict[str, Principal]) -> Group:
    return namespaces.find("top/sub", Group)


GROUP_MEMBERS = f"{MEMBERS}, reporter above, owner of project below, owner of group below"
OUTSIDE_DEPLOYS = (
    "deploy of group below, deploy of project below, deploy of foreign project, deploy without package scope"
)
GROUP_READERS = "trusted reader, trusted reader of group above"
TRUSTED_BELOW = "trusted reader of group below, trusted reader of project below, trusted publisher of project below"
SEE_GROUP = table(f"""
    anonymous                                           | 200 401 401
    stranger, foreign job of stranger                   | 200 200 404
    external stranger                                   | 200 404 404
    {GROUP_MEMBERS}, external member below              | 200 200 200
    admin, shell, owner's read_api                      | 200 200 200
    owner's read_user                                   | scope scope scope
    stranger's read_user                                | scope scope 404
    deploy, deploy of group above                       | 200 200 200
    {OUTSIDE_DEPLOYS}                                   | 200 404 404
    {GROUP_READERS}                                     | 200 200 200
    {TRUSTED_BELOW}                                     | 200 404 404
    job of reporter, job of guest, foreign job of reporter | 200 200 200
""")
READ_GROUP_PACKAGES = table(f"""
    anonymous                                           | 200 401 401
    stranger, foreign job of stranger                   | 200 403 404
    external stranger                                   | 200 404 404
    owner of project below, owner of group below        | 200 403 403
    external member below                               | 200 403 403
    guest, planner                                      | 200 403 403
    reporter, developer, maintainer, owner              | 200 200 200
    reporter above, admin, shell, owner's read_api      | 200 200 200
    owner's read_user                                   | scope scope scope
    stranger's read_user                                | scope scope 404
    deploy, deploy of group above                       | 200 200 200
    {OUTSIDE_DEPLOYS}                                   | 200 404 404
    {GROUP_READERS}                                     | 200 200 200
    {TRUSTED_BELOW}                                     | 200 404 404
    job of reporter, foreign job of reporter            | 200 200 200
    job of guest                                        | 200 403 403
""")


class TestGroup:
    @each(
        ("permission", "expected"),
        [(Permission.READ_NAMESPACE, SEE_GROUP), (Permission.READ_PACKAGE, READ_GROUP_PACKAGES)],
    )
    @each("visibility", VISIBILITIES)
    def test_each_principal_is_admitted_or_refused_as_by_gitlab(
        self,
        sub: Group,
        group_askers: dict[str, Principal],
        visibility: Visibility,
        permission: Permission,
        expected: Table,
    ) -> None:
        show_to(visibility, sub)
        assert outcomes(group_askers, permission, sub) == column(expected, visibility)

    @each("visibility", VISIBILITIES)
    def test_administration_asks_for_a_role(
        self, sub: Group, group_askers: dict[str, Principal], visibility: Visibility
    ) -> None:
        show_to(visibility, sub)
        roles = {role.name.lower(): role for role in MEMBER_ROLES}
        roles |= {"reporter above": Role.REPORTER, "admin": Role.OWNER, "shell": Role.OWNER}

        found = {permission: outcomes(group_askers, permission, sub) for permission in ON_GROUPS}

        expected = {}
        for permission, (least, reads) in ON_GROUPS.items():
            let_in = {name: "200" for name, role in roles.items() if role >= least}
            refused = column(refused_to_all("401 401 401", SEE_GROUP), visibility)
            expected[permission] = refused | let_in | {"owner's read_api": "200" if reads else "scope"}
        assert found == expected


@each(
    ("setting", "level", "least"),
    [
        ("project_creation_level", CreationLevel.NOBODY, None),
        ("project_creation_level", CreationLevel.MAINTAINER, Role.MAINTAINER),
        ("project_creation_level", CreationLevel.DEVELOPER, Role.DEVELOPER),
        ("subgroup_creation_level", CreationLevel.OWNER, Role.OWNER),
        ("subgroup_creation_level", CreationLevel.MAINTAINER, Role.MAINTAINER),
    ],
)
def test_a_group_decides_who_creates_projects_and_subgroups_in_it(
    sub: Group, group_askers: dict[str, Principal], setting: str, level: CreationLevel, least: Role | None
) -> None:
    setattr(sub, setting, level)
    db.session.commit()
    permission = Permission.CREATE_PROJECT if setting.startswith("project") else Permission.CREATE_SUBGROUP

    may = {role for role in MEMBER_ROLES if outcome(group_askers[role.name.lower()], permission, sub) == "200"}

    assert may == {role for role in MEMBER_ROLES if least is not None and role >= least}
    assert outcome(group_askers["admin"], permission, sub) == "200"


def test_a_personal_namespace_accepts_projects_of_its_user_only(owner: User, outsider: User, admin: User) -> None:
    space = db.session.scalars(select(Namespace).where(Namespace.full_path == owner.username)).one()

    statuses = {
        user.username: outcome(factories.signed_in(user), Permission.CREATE_PROJECT, space)
        for user in (owner, outsider, admin)
    }

    assert statuses == {"olivia": "200", "oscar": "403", "root": "200"}


# Columns as in ``IN_INSTANCE``.
INSTANCE = """
                     see  users user  job   list  use   rotate api  read  administrate
    anonymous        | 200   200   401   401   401   401   401   401   401   401
    owner            | 200   200   200   200   200   200   200   200   403   403
    owner's token    | 200   200   200   200   200   200   200   200   403   403
    owner's read_api | 200   200   200   200   200   200   scope scope 403   scope
    owner's read_user| scope 200   200   scope scope 200   200   scope scope scope
    admin            | 200   200   200   200   200   200   200   200   200   200
    admin's token    | 200   200   200   200   200   200   200   200   200   200
    admin's sudo     | scope scope scope scope scope 200   scope scope scope scope
    shell            | 200   200   200   200   200   200   200   200   200   200
    deploy write     | 403   403   403   403   403   403   403   403   403   403
    job of owner     | 403   403   403   200   403   403   403   403   403   403
    job of admin     | 403   403   403   200   403   403   403   403   403   403
"""


def test_in_the_instance_people_use_the_api_and_administrators_administrate(
    tree: Project, askers: dict[str, Principal]
) -> None:
    rows = [line.partition("|") for line in INSTANCE.splitlines() if "|" in line]
    expected = {name.strip(): dict(zip(IN_INSTANCE, told.split(), strict=True)) for name, _, told in rows}

    found = {name: {permission: outcome(askers[name], permission) for permission in IN_INSTANCE} for name in expected}

    assert found == expected


def test_the_refusal_of_a_hidden_project_carries_the_answer_of_the_rest_api(project: Project) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        access.require(ANONYMOUS, Permission.READ_PACKAGE, project)

    assert refusal.value.hidden is not None
    assert refusal.value.hidden.message == "404 Project Not Found"


def test_the_refusal_of_a_visible_project_hides_nothing(app: Flask) -> None:
    visible = factories.project(visibility=Visibility.PUBLIC)

    with pytest.raises(Unauthenticated) as refusal:
        access.require(ANONYMOUS, Permission.CREATE_PACKAGE, visible)

    assert refusal.value.hidden is None


@pytest.mark.parametrize(("kind", "message"), [("group", "404 Group Not Found"), ("project", "404 Project Not Found")])
def test_a_private_namespace_is_not_found_by_strangers(
    group: Group, project: Project, outsider: User, kind: str, message: str
) -> None:
    with pytest.raises(NotFound) as refusal:
        access.require(
            factories.signed_in(outsider), Permission.READ_PACKAGE, {"group": group, "project": project}[kind]
        )

    assert refusal.value.message == message


def test_the_refusal_of_an_insufficient_token_names_sufficient_scopes(project: Project, owner: User) -> None:
    with pytest.raises(InsufficientScope) as reading:
        access.require(factories.by_access_token(owner, "read_user"), Permission.READ_PACKAGE, project)
    with pytest.raises(InsufficientScope) as writing:
        access.require(factories.by_access_token(owner, "read_api"), Permission.CREATE_PACKAGE, project)

    assert reading.value.body() == {
        "error": "insufficient_scope",
        "error_description": "The request requires higher privileges than provided by the access token.",
        "scope": "api read_api",
    }
    assert writing.value.body()["scope"] == "api"


def test_a_refusal_has_gitlabs_wording(project: Project, guest: User) -> None:
    with pytest.raises(Forbidden) as refusal:
        access.require(factories.signed_in(guest), Permission.READ_PACKAGE, project)

    assert refusal.value.body() == {"message": "403 Forbidden"}
