from __future__ import annotations

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import SHELL, Principal
from registry.domain.packages import deletion, lists, protection
from registry.errors import ProtectedPackage, RecordNotFound, Unprocessable
from registry.models import AuditEvent, Project, ProtectionRule, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.domain.packages.publications import Publish, StoreFiles, live_files, packages, packages_of


def protect(project: Project, pattern: str, push: Role | None = None, delete: Role | None = None) -> ProtectionRule:
    return protection.add_protection_rule(project, pattern=pattern, push=push, delete=delete, by=SHELL)


def principal(kind: str, project: Project) -> Principal:
    if kind == "deploy token":
        return factories.by_deploy_token(project)
    if kind == "admin":
        return factories.signed_in(factories.user("root", is_admin=True))
    role = {"developer": Role.DEVELOPER, "maintainer": Role.MAINTAINER, "owner": Role.OWNER}[
        kind.removesuffix("'s job")
    ]
    user = factories.member(project, role)
    return factories.by_job(project, user) if kind.endswith("job") else factories.signed_in(user)


KINDS = ("developer", "maintainer", "owner", "admin", "deploy token", "owner's job", "developer's job")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        (Role.MAINTAINER, {"developer", "deploy token", "developer's job"}),
        (Role.OWNER, {"developer", "maintainer", "deploy token", "developer's job"}),
        (Role.ADMIN, {"developer", "maintainer", "owner", "deploy token", "owner's job", "developer's job"}),
        (None, {"deploy token"}),
    ],
    ids=["maintainer", "owner", "admin", "a rule for deleting only"],
)
def test_a_rule_asks_for_a_role_to_publish(
    publish: Publish, project: Project, store_files: StoreFiles, kind: str, rule: Role | None, refused: set[str]
) -> None:
    protect(project, "demo", push=rule, delete=Role.OWNER if rule is None else None)
    by = principal(kind, project)
    if kind not in refused:
        assert publish(build_wheel(), project, by).filename
        return

    with pytest.raises(ProtectedPackage) as refusal:
        publish(build_wheel(), project, by)

    assert refusal.value.body() == {"message": "403 Forbidden - Package protected."}
    assert store_files() == []
    assert packages() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_for_other_names_asks_nothing(publish: Publish, project: Project, kind: str) -> None:
    protect(project, "other*", push=Role.ADMIN)

    assert publish(build_wheel(), project, principal(kind, project)).filename


@pytest.mark.parametrize(
    ("rule", "refused"),
    [(Role.OWNER, {"maintainer"}), (Role.ADMIN, {"maintainer", "owner"}), (None, set())],
    ids=["owner", "admin", "a rule for publishing only"],
)
@pytest.mark.parametrize("kind", ["maintainer", "owner", "admin"])
def test_a_rule_asks_for_a_role_to_delete(
    publish: Publish, project: Project, kind: str, rule: Role | None, refused: set[str]
) -> None:
    file = publish(build_wheel(), project)
    package = packages()[0]
    protect(project, "demo", push=Role.MAINTAINER if rule is None else None, delete=rule)
    by = principal(kind, project)
    if kind not in refused:
        deletion.delete_file(file, package, project, by=by)
        deletion.delete_package(package, project, by=by)
        return

    with pytest.raises(ProtectedPackage):
        deletion.delete_file(file, package, project, by=by)
    with pytest.raises(ProtectedPackage):
        deletion.delete_package(package, project, by=by)
    assert live_files() == [file.filename]


def test_a_role_from_above_counts(publish: Publish, project: Project, owner: User) -> None:
    protect(project, "demo", push=Role.OWNER)

    assert publish(build_wheel(), project, factories.signed_in(owner)).filename


def test_the_strictest_of_several_rules_counts(publish: Publish, project: Project, maintainer: User) -> None:
    protect(project, "demo", push=Role.MAINTAINER)
    protect(project, "d*", push=Role.OWNER)

    with pytest.raises(ProtectedPackage):
        publish(build_wheel(), project, factories.signed_in(maintainer))


@pytest.mark.parametrize(
    ("pattern", "name", "covers"),
    [
        ("my-pkg", "my-pkg", True),
        ("my-pkg", "my_pkg", True),
        ("my-pkg", "My.Pkg", True),
        ("my-pkg", "my--pkg", True),
        ("my_pkg", "my-pkg", True),
        ("My.Pkg", "my_pkg", True),
        ("my--pkg", "my.pkg", True),
        ("my-pkg", "my-pkg2", False),
        ("my-pkg", "mypkg", False),
        ("my-pkg", "amy-pkg", False),
        ("my-*", "my_pkg", True),
        ("my-*", "my-", True),
        ("my_*", "my.pkg.extra", True),
        ("*-pkg", "my_pkg", True),
        ("*", "anything", True),
        ("*pkg*", "my-pkg-2", True),
        ("m*p*g", "my-pkg", True),
        ("m*p*g", "my-pkh", False),
        ("MY-PKG", "my-pkg", True),
        ("a.c", "abc", False),
        ("a.c", "a-c", True),
    ],
)
def test_a_pattern_covers_every_spelling_of_a_name(pattern: str, name: str, covers: bool) -> None:
    assert protection.matches(pattern, name) is covers


def test_a_pattern_full_of_wildcards_is_decided_at_once() -> None:
    assert not protection.matches("*a" * 127 + "b", "a" * 255)


@pytest.mark.parametrize("spelled", ["my_pkg", "My.Pkg", "my-pkg"])
def test_another_spelling_is_no_way_around_a_rule(
    publish: Publish, project: Project, developer: User, spelled: str
) -> None:
    protect(project, "my-pkg", push=Role.MAINTAINER)

    with pytest.raises(ProtectedPackage):
        publish(build_wheel("my-pkg"), project, factories.signed_in(developer), name=spelled)


@pytest.mark.parametrize("pattern", ["", " ", "a b", "a/b", "@scope/a", "a?", "[a]", "x" * 256, "a\n", "é"], ids=ascii)
def test_a_pattern_is_a_name_with_wildcards(project: Project, pattern: str) -> None:
    with pytest.raises(Unprocessable) as refusal:
        protect(project, pattern, push=Role.OWNER)

    assert "should be a valid PyPI package name with optional wildcard characters." in refusal.value.message
    assert refusal.value.status == 422


def test_a_rule_asks_for_something(project: Project) -> None:
    with pytest.raises(Unprocessable) as refusal:
        protect(project, "demo")

    assert refusal.value.message == "A rule must have at least a minimum access role for push or delete."


def test_a_pattern_is_unique_in_a_project(project: Project) -> None:
    rule = protect(project, "demo", push=Role.OWNER)
    other = protect(project, "other", push=Role.OWNER)
    protect(factories.project("other"), "demo", push=Role.OWNER)

    with pytest.raises(Unprocessable) as refusal:
        protect(project, "demo", delete=Role.OWNER)
    with pytest.raises(Unprocessable):
        protection.change_protection_rule(other, protection.RuleChanges(pattern="demo"), project, by=SHELL)

    assert "has already been taken" in refusal.value.message
    assert [found.pattern for found in protection.protection_rules(project)] == ["demo", "other"]
    assert protection.protection_rules(project)[0] is rule


def test_a_rule_is_changed_and_deleted(project: Project) -> None:
    rule = protect(project, "demo", push=Role.OWNER)

    protection.change_protection_rule(
        rule, protection.RuleChanges(minimum_push_role=None, minimum_delete_role=Role.ADMIN), project, by=SHELL
    )
    with pytest.raises(Unprocessable):
        protection.change_protection_rule(rule, protection.RuleChanges(minimum_delete_role=None), project, by=SHELL)
    db.session.refresh(rule)
    assert (rule.minimum_push_role, rule.minimum_delete_role) == (None, Role.ADMIN)

    protection.delete_protection_rule(rule, project, by=SHELL)

    assert protection.protection_rules(project) == []
    events = db.session.scalars(select(AuditEvent).where(AuditEvent.target == "demo").order_by(AuditEvent.id))
    assert [event.action for event in events] == [
        "protection_rule_created",
        "protection_rule_changed",
        "protection_rule_deleted",
    ]


def test_protections_of_many_packages_agree_with_deleting_each(
    project: Project, maintainer: User, developer: User
) -> None:
    free, owned, marked = packages_of(project, "free", "owned", "marked")
    protection.add_protection_rule(project, pattern="OWN*", push=None, delete=Role.OWNER, by=SHELL)
    protection.add_protection_rule(project, pattern="marked", push=Role.OWNER, delete=None, by=SHELL)
    packages = lists.packages_by_id(project, SHELL, [free.id, owned.id, marked.id])

    found = {
        who: [(each.is_protected, each.may_delete) for each in protection.protections(packages, by).values()]
        for who, by in (
            ("admin", SHELL),
            ("maintainer", factories.signed_in(maintainer)),
            ("developer", factories.signed_in(developer)),
        )
    }

    assert found == {
        "admin": [(False, True), (True, True), (True, True)],
        "maintainer": [(False, True), (True, False), (True, True)],
        "developer": [(False, False), (True, False), (True, False)],
    }


def test_a_rule_for_a_project_that_was_deleted_is_refused_as_such(project: Project) -> None:
    deleted = db.session.get_one(Project, project.id)
    db.session.expunge(deleted)
    namespaces.delete_namespace(namespaces.find(str(deleted.id), Project), by=SHELL)

    with pytest.raises(RecordNotFound):
        protection.add_protection_rule(deleted, pattern="demo", push=Role.OWNER, delete=None, by=SHELL)
