from __future__ import annotations

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.packages import deletion, lists, protection
from registry.errors import NotFound, ProtectedPackage, RecordNotFound
from registry.models import AuditEvent, FileStatus, Package, PackageFile, PackageStatus, Project, Role, User
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.domain.packages.publications import Publish, live_files, packages, packages_of


def test_a_deleted_package_is_marked_with_all_its_files(publish: Publish, project: Project, maintainer: User) -> None:
    publish(build_wheel(), project)
    publish(build_sdist(), project)
    package = packages()[0]

    deletion.delete_package(package, project, by=factories.signed_in(maintainer))

    files = db.session.scalars(select(PackageFile)).all()
    assert package.status is PackageStatus.PENDING_DESTRUCTION
    assert {file.status for file in files} == {FileStatus.PENDING_DESTRUCTION}
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_deleted")).one()
    assert (event.author, event.target) == ("mark", "demo 1.0")
    with pytest.raises(RecordNotFound):
        deletion.delete_package(package, project, by=SHELL)


def test_a_deleted_file_leaves_its_package_and_the_others(publish: Publish, project: Project) -> None:
    wheel = publish(build_wheel(), project)
    publish(build_sdist(), project)
    package = packages()[0]

    deletion.delete_file(wheel, package, project, by=SHELL)

    assert live_files() == ["demo-1.0.tar.gz"]
    assert package.status is PackageStatus.DEFAULT
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_file_deleted")).one()
    assert (event.target, event.details) == (wheel.filename, {"package": "demo 1.0"})
    with pytest.raises(RecordNotFound):
        deletion.delete_file(wheel, package, project, by=SHELL)


def test_several_packages_are_deleted_or_none(project: Project, maintainer: User) -> None:
    free, protected = packages_of(project, "free", "protected")
    protection.add_protection_rule(project, pattern="protected", push=None, delete=Role.OWNER, by=SHELL)

    with pytest.raises(ProtectedPackage):
        deletion.delete_packages([free, protected], by=factories.signed_in(maintainer))
    assert lists.packages_by_id(project, SHELL, [free.id, protected.id]) == [free, protected]

    deletion.delete_packages(lists.packages_by_id(project, SHELL, [free.id, protected.id]), by=SHELL)
    assert lists.packages_by_id(project, SHELL, [free.id, protected.id]) == []


def test_the_last_file_takes_the_package_along(project: Project) -> None:
    wheel = factories.published(project, build_wheel())
    sdist = factories.published(project, build_sdist())
    package = db.session.get_one(Package, wheel.package_id)

    went_first = deletion.delete_files([wheel], package, project, by=SHELL)
    status_between = package.status
    went_then = deletion.delete_files([sdist], package, project, by=SHELL)

    assert (went_first, status_between) == (False, PackageStatus.DEFAULT)
    assert (went_then, package.status) == (True, PackageStatus.PENDING_DESTRUCTION)


def test_packages_are_deleted_only_with_permission_in_each_project(project: Project) -> None:
    other = factories.project("other")
    maintainer = factories.signed_in(factories.member(project, Role.MAINTAINER))
    both = [*packages_of(project, "one"), *packages_of(other, "two")]

    with pytest.raises(NotFound):
        deletion.delete_packages(both, by=maintainer)

    db.session.expire_all()
    assert {package.status for package in both} == {PackageStatus.DEFAULT}
