from __future__ import annotations

from contextlib import suppress

import pytest
from flask import Flask, current_app
from packaging.utils import canonicalize_name
from sqlalchemy import delete, select
from sqlalchemy.orm import joinedload

from registry.database import db, utcnow
from registry.domain import cascade, forwarding, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.instance import InstanceChanges, change_instance
from registry.domain.operation import cleanup
from registry.domain.packages import deletion, releases, reserved
from registry.errors import Conflict, Forbidden, InvalidRecord, NotFound, ReservedPackageName
from registry.models import (
    AuditEvent,
    Group,
    Namespace,
    NameStatus,
    Package,
    PackageStatus,
    Project,
    RegistryAccess,
    ReservedName,
    Role,
    User,
)
from tests import factories
from tests.builders import build_wheel
from tests.domain.packages.on_paper import publish


def publish_name(project: Project, *names: str) -> None:
    for name in names:
        factories.published(project, build_wheel(name))


def delete_all(project: Project) -> None:
    for package in db.session.scalars(select(Package).where(Package.project_id == project.id)):
        deletion.delete_package(package, project, by=SHELL)
    cleanup.run(current_app.extensions["storage"], utcnow())


def is_reserved(namespace: Namespace, name: str = "secret") -> bool:
    return reserved.reservation(namespace, name) is not None


@pytest.fixture
def top(app: Flask) -> Group:
    return factories.group("top")


@pytest.fixture
def holder(top: Group) -> Project:
    """A project in the group ``top/inner``, which has published ``secret``."""
    project = factories.project("holder", parent=factories.group("inner", parent=top))
    publish_name(project, "Secret")
    return project


def test_a_published_name_is_reserved_in_the_whole_top_level_group(
    top: Group, holder: Project, statements: list[str]
) -> None:
    beside = factories.group("beside", parent=top)
    around = [top, holder.parent, holder, beside, factories.project(parent=beside), factories.project(parent=top)]
    elsewhere = factories.project()

    del statements[:]
    assert [is_reserved(namespace) for namespace in around] == [True] * len(around)
    assert len(statements) == len(around)
    assert not is_reserved(elsewhere)
    assert not is_reserved(elsewhere.parent)
    assert not is_reserved(top, "other")


def test_a_name_published_in_a_personal_namespace_is_reserved_in_it(owner: User) -> None:
    space = users.personal_namespace(owner)
    holder, beside = (factories.project(parent=space) for _ in range(2))
    publish_name(holder, "secret")

    assert is_reserved(beside)
    with pytest.raises(NotFound) as refusal:
        forwarding.require_forwarded(beside, "secret")
    assert refusal.value.detail == (
        "The name secret is reserved in the personal namespace olivia, so the public index is not asked. "
        "Use the index of the project that has it."
    )


def switch_off(holder: Project) -> None:
    holder.registry_access = RegistryAccess.DISABLED
    factories.commit()


def delete_project(holder: Project) -> None:
    namespaces.delete_namespace(holder, by=SHELL)


def delete_group(holder: Project) -> None:
    namespaces.delete_namespace(db.session.get_one(Group, holder.parent_id), by=SHELL)


def delete_after_deleted_packages(holder: Project) -> None:
    delete_all(holder)
    delete_project(holder)


@pytest.mark.parametrize(
    "change", [switch_off, delete_all, delete_project, delete_group, delete_after_deleted_packages]
)
def test_a_name_stays_reserved(top: Group, holder: Project, change) -> None:
    beside = factories.project(parent=top)

    change(holder)

    for namespace in (beside, top):
        assert is_reserved(namespace)
        with pytest.raises(NotFound):
            forwarding.require_forwarded(namespace, "secret")


def test_the_explanation_names_the_index_that_can_have_the_name(top: Group, holder: Project) -> None:
    def explained(namespace: Namespace) -> str:
        with pytest.raises(NotFound) as refusal:
            forwarding.require_forwarded(namespace, "secret")
        return refusal.value.detail

    beside = factories.project(parent=top)
    here = "The name secret belongs to the {} {}, so the public index is not asked. "

    assert explained(beside) == (
        "The name secret is reserved in the group top, so the public index is not asked. "
        "Use the index of the group: /api/v4/groups/top/-/packages/pypi/simple"
    )
    assert explained(top).startswith(here.format("group", "top"))
    delete_all(holder)
    assert explained(holder).startswith(here.format("project", "top/inner/holder"))
    delete_project(holder)
    assert explained(top).startswith(here.format("group", "top"))


def test_a_moved_group_takes_its_names_along_and_leaves_them_behind(top: Group, holder: Project) -> None:
    """Also those that another project of the former group published first, and those of deleted packages."""
    other = factories.project(parent=top)
    publish_name(other, "shared", "unrelated")
    publish_name(holder, "shared", "gone")
    delete_all(holder)
    publish_name(holder, "shared")
    group, new_top = db.session.get_one(Group, holder.parent_id), factories.group("newer")

    namespaces.transfer(group, new_top, by=SHELL)

    for name in ("secret", "shared", "gone"):
        assert [is_reserved(namespace, name) for namespace in (top, new_top, group, holder)] == [True] * 4, name
    assert [is_reserved(namespace, "unrelated") for namespace in (top, new_top, group)] == [True, False, False]
    namespaces.transfer(group, None, by=SHELL)
    publish_name(holder, "later")
    namespaces.transfer(group, top, by=SHELL)
    for name in ("secret", "shared", "gone", "later"):
        assert is_reserved(other, name), name
    assert not is_reserved(new_top, "later")


def test_a_name_is_reserved_by_packages_and_quarantines_alone(top: Group) -> None:
    """Rows of older versions, and those of a publication during which the name was released."""
    project = factories.project(parent=top)
    publish(project, "kept")
    for status in (NameStatus.QUARANTINED, NameStatus.DEPRECATED):
        package = publish(project, str(status))
        releases.set_name_status(project, str(status), status, by=SHELL)
        db.session.delete(package)
    db.session.commit()

    for namespace in (top, project):
        assert [is_reserved(namespace, name) for name in ("kept", "quarantined", "deprecated")] == [True, True, False]


def test_a_name_is_reserved_once_by_its_first_publication(top: Group, holder: Project) -> None:
    publish_name(factories.project(parent=top), "secret")
    factories.published(holder, build_wheel("secret", "2.0"))

    row = db.session.execute(select(ReservedName.top_id, ReservedName.normalized_name, ReservedName.holder_id)).one()
    assert tuple(row) == (top.id, "secret", holder.id)


def test_a_lost_reservation_comes_back_with_the_next_file(top: Group, holder: Project) -> None:
    db.session.execute(delete(ReservedName))
    db.session.commit()

    factories.published(holder, build_wheel("secret", "2.0"))

    assert is_reserved(factories.project(parent=top))


def packages_of(project: Project) -> list[Package]:
    found = select(Package).where(Package.project_id == project.id, Package.status == PackageStatus.DEFAULT)
    return list(db.session.scalars(found.options(joinedload(Package.project)).order_by(Package.id)))


def test_a_name_is_released_with_its_last_package(top: Group, holder: Project) -> None:
    factories.published(holder, build_wheel("secret", "2.0"))
    beside = factories.project(parent=top)
    publish_name(beside, "secret")

    for package in packages_of(holder):
        deletion.delete_package(package, holder, by=SHELL, release_name=True)
        assert is_reserved(holder)
    deletion.delete_packages(packages_of(beside), by=SHELL, release_names=True)

    assert [is_reserved(namespace) for namespace in (holder, beside, top)] == [False] * 3
    assert forwarding.require_forwarded(holder, canonicalize_name("secret")).forwards.value
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_name_released")).one()
    assert (event.target, event.namespace_id, event.author) == ("secret", top.id, "shell")


def test_a_name_that_is_in_use_is_not_released(top: Group, holder: Project) -> None:
    releases.set_name_status(holder, "secret", NameStatus.QUARANTINED, by=SHELL)
    assert reserved.names_in_use(top) == {"secret"}
    with pytest.raises(Conflict):
        reserved.release(holder, "Secret", by=SHELL)

    delete_all(holder)
    with pytest.raises(Conflict):
        reserved.release(holder, "Secret", by=SHELL)

    releases.set_name_status(holder, "secret", NameStatus.ACTIVE, by=SHELL)
    assert reserved.names_in_use(top) == set()
    reserved.release(holder, "Secret", by=SHELL)
    with pytest.raises(NotFound):
        reserved.release(holder, "Secret", by=SHELL)


@pytest.mark.parametrize(
    ("role", "place", "is_allowed"),
    [
        (Role.OWNER, "top", True), (Role.OWNER, "holder", True), (Role.MAINTAINER, "top", False),
        (Role.OWNER, "beside", False),
    ],
)  # fmt: skip
def test_the_owner_of_the_holder_releases_a_name(
    top: Group, holder: Project, role: Role, place: str, is_allowed: bool
) -> None:
    """Not the Owner of another project that publishes it, too, and deletes that."""
    beside = factories.project(parent=top)
    publish_name(beside, "secret")
    delete_all(holder)
    where = {"top": top, "holder": holder, "beside": beside}[place]
    principal = factories.signed_in(factories.member(where, role))
    [package] = packages_of(beside)

    assert reserved.may_release(beside, {"secret"}, principal) is is_allowed
    if not is_allowed:
        deleter = factories.signed_in(factories.member(beside, Role.MAINTAINER))
        with pytest.raises(Forbidden):
            deletion.delete_package(package, beside, by=deleter, release_name=True)
        factories.reload(package)
        assert package.status is PackageStatus.DEFAULT
    deletion.delete_package(package, beside, by=SHELL)
    if is_allowed:
        reserved.release(top, "secret", by=principal)
    else:
        with pytest.raises(Forbidden):
            reserved.release(top, "secret", by=principal)
    assert is_reserved(top) is not is_allowed


def test_a_release_counts_in_groups_that_were_at_the_top_level(top: Group, holder: Project) -> None:
    above = factories.group("above")
    namespaces.transfer(top, above, by=SHELL)
    delete_all(holder)

    reserved.release(holder, "secret", by=SHELL)

    assert not is_reserved(holder)


def is_refused(namespace: Namespace, name: str) -> bool:
    try:
        forwarding.require_forwarded(namespace, canonicalize_name(name))
    except NotFound:
        return True
    return False


def test_names_of_the_patterns_above_are_never_asked_for_upstream(top: Group, owner: User) -> None:
    inner = factories.group(parent=top)
    personal = factories.project(parent=users.personal_namespace(owner))
    change_instance(InstanceChanges(pypi_reserved_names=["corp-*"]), by=SHELL)
    cascade.RESERVED.change(top, value=["Acme_*", "tool"], by=SHELL)
    cascade.RESERVED.change(inner, value=["inner"], by=SHELL)

    asked = ("corp-a", "acme-a", "acme", "tool", "tools", "inner")
    refused = {
        where: [name for name in asked if is_refused(where, name)]
        for where in (factories.project(parent=inner), top, personal)
    }
    assert list(refused.values()) == [["corp-a", "acme-a", "tool", "inner"], ["corp-a", "acme-a", "tool"], ["corp-a"]]
    with pytest.raises(NotFound) as refusal:
        forwarding.require_forwarded(inner, canonicalize_name("acme-a"))
    assert 'reserved by the entry "Acme_*" in the settings of the group top' in refusal.value.detail


def test_a_name_that_the_instance_reserves_is_published_where_such_names_were_published(
    top: Group, holder: Project
) -> None:
    """By others only where an administrator has published the first one."""
    elsewhere = factories.project()
    publish_name(holder, "corp-one")
    publish_name(elsewhere, "corporate")
    change_instance(InstanceChanges(pypi_reserved_names=["corp-*", "whole"]), by=SHELL)
    developers = {
        project: factories.signed_in(factories.member(project, Role.DEVELOPER)) for project in (holder, elsewhere)
    }

    def is_accepted(project: Project, name: str, version: str = "1.0") -> bool:
        try:
            factories.publish(project, build_wheel(name, version), by=developers[project])
        except ReservedPackageName:
            return False
        return True

    assert is_accepted(holder, "corp-two")
    assert not is_accepted(elsewhere, "Corp.Two")
    assert is_accepted(elsewhere, "corporate", "2.0")
    assert [is_accepted(project, "whole") for project in (holder, elsewhere)] == [False, False]
    publish_name(elsewhere, "corp-two", "whole")
    assert [is_accepted(elsewhere, name) for name in ("corp-three", "whole-other")] == [True, True]
    assert is_accepted(elsewhere, "whole", "2.0")


def test_a_name_that_the_instance_reserves_for_a_group_is_published_in_it_and_below(top: Group) -> None:
    """Whatever was published elsewhere before, but names that are known there are published on."""
    inside, elsewhere = factories.project(parent=factories.group(parent=top)), factories.project()
    publish_name(elsewhere, "corp-old")
    change_instance(InstanceChanges(pypi_reserved_names=["corp-* @TOP", "whole@top"]), by=SHELL)
    developers = {
        project: factories.signed_in(factories.member(project, Role.DEVELOPER)) for project in (inside, elsewhere)
    }

    def accepted(project: Project) -> list[str]:
        found = []
        for name, version in (("corp-one", "1.0"), ("whole", "1.0"), ("corp-old", "2.0"), ("other", "1.0")):
            with suppress(ReservedPackageName):
                factories.publish(project, build_wheel(name, version), by=developers[project])
                found.append(name)
        return found

    assert accepted(elsewhere) == ["corp-old", "other"]
    assert accepted(inside) == ["corp-one", "whole", "corp-old", "other"]
    assert is_refused(elsewhere, "corp-x")
    assert cascade.RESERVED.of_group(top).inherited == ["corp-*", "whole"], "other groups do not see for which group"
    with pytest.raises(InvalidRecord):
        cascade.RESERVED.change(top, value=["corp-* @top"], by=SHELL)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "acme-*") for name in ("acne-client", "acm-client", "acmeclient", "amce-x", "acmme-x")),
        *((name, "tool") for name in ("too1s", "t-oo", "tol")),
        *((name, "") for name in ("acme-client", "tool", "toolbox", "client", "ab-x", "a")),
    ],
)  # fmt: skip
def test_a_new_name_that_misses_a_listed_one_by_an_edit_gets_a_remark(top: Group, name: str, expected: str) -> None:
    project, outside = factories.project(parent=factories.group(parent=top)), factories.project()
    change_instance(InstanceChanges(pypi_reserved_names=["acme-* @top", "b*"]), by=SHELL)
    cascade.RESERVED.change(top, value=["tool"], by=SHELL)

    remarks = factories.publish(project, build_wheel(name)).remarks

    assert [remark.expected.rpartition(" ")[2] for remark in remarks] == [expected] * bool(expected)
    is_remarked_outside = bool(factories.publish(outside, build_wheel(name)).remarks)
    assert is_remarked_outside == (expected == "acme-*")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Acme_Client", "no other project"),
        *((name, "mistaken for acme-client") for name in (
            "acme-clients", "acme-clint", "acme-cliemt", "acme-cilent", "acmeclient", "a-c-m-e-client", "acme-c1ient",
        )),
        *((name, "") for name in ("acme-clients2", "acme-lcinet", "acme-server", "client", "z" * 200)),
    ],
)  # fmt: skip
def test_a_new_name_that_resembles_one_of_another_project_gets_a_remark(top: Group, name: str, expected: str) -> None:
    other, project, elsewhere = factories.project(parent=top), factories.project(parent=top), factories.project()
    publish_name(other, "acme-client")

    remarks = factories.publish(project, build_wheel(name)).remarks

    assert [(remark.field, remark.value) for remark in remarks] == [("name", name)] * bool(expected)
    assert all(expected in remark.expected for remark in remarks)
    assert factories.publish(project, build_wheel(name, "2.0")).remarks == (), "of a name that is not new"
    assert factories.publish(elsewhere, build_wheel(name)).remarks == ()


def test_a_name_of_a_deleted_project_is_compared_too(top: Group) -> None:
    project, gone = factories.project(parent=top), factories.project(parent=top)
    publish_name(gone, "acme-client")
    delete_project(gone)

    remarks = factories.publish(project, build_wheel("acme-clients")).remarks

    assert "mistaken for acme-client" in remarks[0].expected


def test_names_of_the_same_project_get_no_remark_and_strict_projects_accept_others(top: Group) -> None:
    strict, other = factories.project(parent=top, strict_uploads=True), factories.project(parent=top)
    publish_name(other, "tool-1")

    assert factories.publish(other, build_wheel("too1-1")).remarks == ()
    assert len(factories.publish(strict, build_wheel("tool-2")).remarks) == 1
