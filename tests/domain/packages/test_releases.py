from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.packages import deletion, lists, names, protection, releases
from registry.errors import BadRequest, ClosedPackageName, InvalidRecord, NotFound, RecordNotFound
from registry.models import AuditEvent, FileStatus, NameStatus, Package, PackageFile, PackageName, Project, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.races import at_once

YANKS = ("package_yanked", "package_unyanked", "package_file_yanked", "package_file_unyanked")


def package_of(file: PackageFile) -> Package:
    return db.session.get_one(Package, file.package_id)


def reasons(package: Package) -> list[str | None]:
    """Of its files in the order of upload; ``None`` is not yanked."""
    files = db.session.scalars(lists.package_files(package).order_by(PackageFile.id))
    return [file.yanked_reason for file in files]


def file_of(package: Package, number: int = 0) -> PackageFile:
    return db.session.scalars(lists.package_files(package).order_by(PackageFile.id)).all()[number]


def events(*actions: str) -> list[AuditEvent]:
    return list(db.session.scalars(select(AuditEvent).where(AuditEvent.action.in_(actions)).order_by(AuditEvent.id)))


def test_a_version_is_yanked_with_all_its_files_and_offered_again(
    project: Project, release: Package, maintainer: User
) -> None:
    by = factories.signed_in(maintainer)
    before = project.last_activity_at

    releases.yank_version(release, project, "Loses data", by=by)

    assert reasons(release) == ["Loses data", "Loses data"]
    assert all(file.is_yanked for file in db.session.scalars(select(PackageFile)))

    releases.unyank_version(release, project, by=by)

    assert reasons(release) == [None, None]
    assert [(event.action, event.author, event.target, event.details) for event in events(*YANKS)] == [
        ("package_yanked", "mark", "demo 1.0", {"reason": "Loses data"}),
        ("package_unyanked", "mark", "demo 1.0", {"reason": None}),
    ]
    db.session.refresh(project)
    assert before is not None
    assert project.last_activity_at is not None
    assert project.last_activity_at > before


def test_one_file_is_yanked_alone(project: Project, release: Package) -> None:
    wheel = file_of(release)

    releases.yank_file(wheel, release, project, by=SHELL)

    assert reasons(release) == ["", None]
    [event] = events(*YANKS)
    assert (event.action, event.target) == ("package_file_yanked", wheel.filename)
    assert event.details == {"package": "demo 1.0", "reason": ""}

    releases.unyank_file(wheel, release, project, by=SHELL)

    assert reasons(release) == [None, None]


def test_the_latest_reason_counts(project: Project, release: Package) -> None:
    releases.yank_file(file_of(release), release, project, "Broken wheel", by=SHELL)
    releases.yank_version(release, project, "Loses data", by=SHELL)
    releases.yank_file(file_of(release, 1), release, project, "", by=SHELL)

    assert reasons(release) == ["Loses data", ""]


def test_an_action_without_effect_is_not_recorded(project: Project, release: Package) -> None:
    releases.unyank_version(release, project, by=SHELL)
    releases.unyank_file(file_of(release), release, project, by=SHELL)
    for _ in range(2):
        releases.yank_version(release, project, "Loses data", by=SHELL)
    releases.yank_file(file_of(release), release, project, "Loses data", by=SHELL)

    assert [event.action for event in events(*YANKS)] == ["package_yanked"]


def test_a_protection_rule_does_not_keep_from_yanking(project: Project, release: Package, maintainer: User) -> None:
    protection.add_protection_rule(project, pattern="*", push=Role.OWNER, delete=Role.OWNER, by=SHELL)

    releases.yank_version(release, project, by=factories.signed_in(maintainer))

    assert reasons(release) == ["", ""]


def test_deleted_packages_are_not_found(project: Project, release: Package) -> None:
    wheel = file_of(release)
    deletion.delete_package(release, project, by=SHELL)

    for act in (
        lambda: releases.yank_version(release, project, by=SHELL),
        lambda: releases.unyank_version(release, project, by=SHELL),
        lambda: releases.yank_file(wheel, release, project, by=SHELL),
        lambda: releases.unyank_file(wheel, release, project, by=SHELL),
    ):
        with pytest.raises(RecordNotFound):
            act()
    assert {file.yanked_reason for file in db.session.scalars(select(PackageFile))} == {None}


def test_a_version_without_files_cannot_be_yanked(project: Project) -> None:
    package = package_of(factories.published(project, build_wheel()))
    deletion.delete_file(file_of(package), package, project, by=SHELL)

    with pytest.raises(BadRequest, match=r"^demo 1\.0 has no files that could be yanked"):
        releases.yank_version(package, project, by=SHELL)


def test_a_deleted_file_is_left_as_it_is(project: Project, release: Package) -> None:
    wheel = file_of(release)
    deletion.delete_file(wheel, release, project, by=SHELL)

    releases.yank_version(release, project, by=SHELL)

    assert reasons(release) == [""]
    assert (wheel.status, wheel.yanked_reason) == (FileStatus.PENDING_DESTRUCTION, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("   ", ""),
        ("  Loses\r\n data\t", "Loses data"),
        ('<b>"5" > 4</b> & more', '<b>"5" > 4</b> & more'),
        ("データが失われます 👩‍💻", "データが失われます 👩‍💻"),
        ("x" * 1000, "x" * 1000),
    ],
    ids=["empty", "blank", "lines", "markup", "other letters", "longest"],
)
def test_a_reason_is_one_line(project: Project, release: Package, given: str, kept: str) -> None:
    releases.yank_version(release, project, given, by=SHELL)
    said = releases.set_name_status(project, "demo", NameStatus.DEPRECATED, given, by=SHELL)

    assert reasons(release) == [kept, kept]
    assert said.reason == kept


@pytest.mark.parametrize("reason", ["x" * 1001, "a\x00b", "a\x07b", "a\x7fb", "a\udc80b"], ids=ascii)
def test_a_reason_must_be_printable(project: Project, release: Package, reason: str) -> None:
    for act in (
        lambda: releases.yank_version(release, project, reason, by=SHELL),
        lambda: releases.yank_file(file_of(release), release, project, reason, by=SHELL),
        lambda: releases.set_name_status(project, "demo", NameStatus.ARCHIVED, reason, by=SHELL),
    ):
        with pytest.raises(InvalidRecord) as refusal:
            act()
        assert list(refusal.value.errors) == ["reason"]
    assert reasons(release) == [None, None]


def test_a_file_published_to_a_yanked_version_is_yanked_too(project: Project, release: Package) -> None:
    releases.yank_version(release, project, "Loses data", by=SHELL)

    added = factories.published(project, build_wheel(build="2"))
    other_spelling = factories.published(project, build_wheel("Demo", build="3"))
    other_version = factories.published(project, build_wheel(version="2.0"))

    assert added.yanked_reason == "Loses data"
    assert other_spelling.package_id != release.id
    assert other_spelling.yanked_reason == "Loses data"
    assert other_version.yanked_reason is None


def test_a_file_published_beside_one_that_is_not_yanked_is_offered(project: Project, release: Package) -> None:
    releases.yank_file(file_of(release), release, project, "Broken wheel", by=SHELL)

    added = factories.published(project, build_wheel(build="2"))

    assert added.yanked_reason is None


def test_a_version_published_again_after_its_deletion_is_offered(project: Project, release: Package) -> None:
    releases.yank_version(release, project, by=SHELL)
    deletion.delete_package(release, project, by=SHELL)

    assert factories.published(project, build_wheel()).yanked_reason is None


def test_a_yank_elsewhere_has_no_effect(project: Project, release: Package) -> None:
    releases.yank_version(release, project, by=SHELL)

    assert factories.published(factories.project("other"), build_wheel()).yanked_reason is None


@pytest.mark.parametrize("status", NameStatus)
@pytest.mark.parametrize("reason", ["", "Use demo2"], ids=["without a reason", "with a reason"])
def test_a_name_has_a_status_under_every_spelling(
    project: Project, maintainer: User, status: NameStatus, reason: str
) -> None:
    factories.published(project, build_wheel("Demo.Pkg"))

    releases.set_name_status(project, "demo_pkg", status, reason, by=factories.signed_in(maintainer))

    for name in ("demo-pkg", "Demo.Pkg", "DEMO__PKG"):
        for find in (names.package_name, names.name_status):
            said = find(project, name)
            assert (said.project_id, said.normalized_name) == (project.id, "demo-pkg")
            assert (said.status, said.reason) == (status, reason)
    on_record = [(event.author, event.target, event.details) for event in events("package_name_status_changed")]
    assert on_record == (
        []
        if status is NameStatus.ACTIVE and not reason
        else [("mark", "demo-pkg", {"before": "active", "status": status.value, "reason": reason})]
    )


def test_a_name_without_a_status_is_active_and_has_no_row(project: Project, release: Package) -> None:
    releases.set_name_status(project, "demo", NameStatus.ARCHIVED, "Done", by=SHELL)
    said = releases.set_name_status(project, "demo", NameStatus.ACTIVE, by=SHELL)

    assert (said.status, said.reason) == (NameStatus.ACTIVE, "")
    assert db.session.scalars(select(PackageName)).all() == []
    assert names.package_name(project, "demo").status is NameStatus.ACTIVE
    changes = [(event.details["before"], event.details["status"]) for event in events("package_name_status_changed")]
    assert changes == [("active", "archived"), ("archived", "active")]


def test_the_same_status_again_is_not_on_record_but_another_reason_is(project: Project, release: Package) -> None:
    for reason in ("Done", "Done", "Done for good"):
        releases.set_name_status(project, "demo", NameStatus.ARCHIVED, reason, by=SHELL)

    assert [event.details["reason"] for event in events("package_name_status_changed")] == ["Done", "Done for good"]


@pytest.mark.parametrize("name", ["nothing", "de mo", "", "a\x00b", "é", "other"])
def test_a_name_that_the_project_does_not_hold_has_no_status(project: Project, release: Package, name: str) -> None:
    factories.published(factories.project("elsewhere"), build_wheel("other"))

    with pytest.raises(NotFound, match=r"^Not Found$"):
        names.package_name(project, name)
    with pytest.raises(NotFound):
        releases.set_name_status(project, name, NameStatus.ARCHIVED, by=SHELL)


def test_a_status_outlives_the_packages(project: Project, release: Package) -> None:
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, "Malware", by=SHELL)
    deletion.delete_package(release, project, by=SHELL)

    assert names.package_name(project, "demo").reason == "Malware"
    with pytest.raises(ClosedPackageName):
        factories.published(project, build_wheel())
    releases.set_name_status(project, "demo", NameStatus.ACTIVE, by=SHELL)
    with pytest.raises(NotFound):
        names.package_name(project, "demo")
    factories.published(project, build_wheel())


@pytest.mark.parametrize(
    ("status", "reason", "sentence"),
    [
        (NameStatus.ACTIVE, "Fine", None),
        (NameStatus.DEPRECATED, "Use demo2", None),
        (NameStatus.ARCHIVED, "", "403 Forbidden - Package Demo is archived and takes no more files."),
        (NameStatus.ARCHIVED, "Done", "403 Forbidden - Package Demo is archived and takes no more files: Done"),
        (NameStatus.QUARANTINED, "Bad", "403 Forbidden - Package Demo is quarantined and takes no more files: Bad"),
    ],
)
def test_archived_and_quarantined_names_take_no_uploads(
    project: Project, release: Package, store_files: Any, status: NameStatus, reason: str, sentence: str | None
) -> None:
    releases.set_name_status(project, "demo", status, reason, by=SHELL)
    before = store_files()

    if sentence is None:
        factories.published(project, build_wheel("Demo", "2.0"))
        return
    with pytest.raises(ClosedPackageName) as refusal:
        factories.published(project, build_wheel("Demo", "2.0"))

    assert refusal.value.message == sentence
    assert store_files() == before
    factories.published(factories.project("other"), build_wheel("Demo", "2.0"))
    factories.published(project, build_wheel("demo2", "2.0"))


def test_a_status_goes_with_its_project(project: Project, release: Package) -> None:
    releases.set_name_status(project, "demo", NameStatus.ARCHIVED, by=SHELL)

    namespaces.delete_namespace(project, by=SHELL)

    assert db.session.scalars(select(PackageName)).all() == []


def test_a_change_of_an_answer_raises_the_content_generation(project: Project, release: Package) -> None:
    def raised_by(act: Any) -> bool:
        before = factories.content_generation()
        act()
        return factories.raised_parts(before) != []

    wheel = file_of(release)
    assert raised_by(lambda: releases.yank_version(release, project, by=SHELL))
    assert raised_by(lambda: releases.unyank_version(release, project, by=SHELL))
    assert raised_by(lambda: releases.yank_file(wheel, release, project, by=SHELL))
    assert raised_by(lambda: releases.unyank_file(wheel, release, project, by=SHELL))
    assert raised_by(lambda: releases.set_name_status(project, "demo", NameStatus.ARCHIVED, by=SHELL))


def test_two_concurrent_first_changes_of_a_status_both_succeed(app: Flask, project: Project, release: Package) -> None:
    project_id = project.id
    statuses = (NameStatus.DEPRECATED, NameStatus.ARCHIVED, NameStatus.QUARANTINED)

    def set_status(status: NameStatus) -> None:
        releases.set_name_status(db.session.get_one(Project, project_id), "demo", status, by=SHELL)

    assert at_once(app, *(partial(set_status, status) for status in statuses)) == ["done"] * 3
    assert len(events("package_name_status_changed")) == 3
    assert db.session.scalars(select(PackageName.status)).one() in statuses


def test_a_file_added_to_a_version_that_is_yanked_in_part_is_not_yanked(project: Project, release: Package) -> None:
    releases.yank_file(file_of(release, 1), release, project, "Broken build", by=SHELL)

    added = factories.published(project, build_wheel(release.name, release.version, tag="py2-none-any"))

    assert added.yanked_reason is None
    assert reasons(release) == [None, "Broken build", None]
