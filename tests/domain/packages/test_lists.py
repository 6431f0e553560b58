from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.packages import deletion, lists, releases, storage_use, usage
from registry.domain.packages.lists import PackageFilter
from registry.errors import RecordNotFound
from registry.models import FileStatus, Group, Namespace, Package, PackageFile, PackageStatus, Project, User
from tests import factories
from tests.builders import build_wheel
from tests.domain.packages.on_paper import project_of, publish


def listed(namespace: Namespace, wanted: PackageFilter, **options: bool) -> list[tuple[str, str]]:
    statement = lists.packages(namespace, SHELL, wanted, **options).order_by(Package.id)
    return [(package.name, package.version) for package in db.session.scalars(statement)]


def test_a_list_is_narrowed_by_name_version_and_type(project: Project) -> None:
    publish(project, "My_Pkg", "1.0")
    publish(project, "other", "1.0")
    publish(project, "my-pkg", "2.0")

    assert listed(project, PackageFilter(name="MY")) == [("My_Pkg", "1.0"), ("my-pkg", "2.0")]
    assert listed(project, PackageFilter(name="y_P")) == [("My_Pkg", "1.0"), ("my-pkg", "2.0")], "in any spelling"
    assert listed(project, PackageFilter(name="_")) == [("My_Pkg", "1.0")], "no wildcard"
    assert listed(project, PackageFilter(name="%")) == []
    assert listed(project, PackageFilter(version="1.0")) == [("My_Pkg", "1.0"), ("other", "1.0")]
    assert listed(project, PackageFilter(version="1")) == []
    assert listed(project, PackageFilter(package_type="npm")) == []


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (PackageFilter(), ["default"]),
        (PackageFilter(statuses=(PackageStatus.PENDING_DESTRUCTION,)), ["pending_destruction"]),
        (PackageFilter(statuses=tuple(PackageStatus)), ["default", "pending_destruction"]),
        (PackageFilter(statuses=()), []),
    ],
    ids=["usual", "deleted", "all", "none"],
)
def test_a_list_shows_packages_in_the_wanted_statuses(
    project: Project, wanted: PackageFilter, names: list[str]
) -> None:
    for status in PackageStatus:
        publish(project, status.value, status=status)

    assert [name for name, _ in listed(project, wanted)] == names


def test_a_groups_list_may_leave_out_its_subgroups(forest: Group) -> None:
    names = [name for name, _ in listed(forest, PackageFilter(), subgroups=False)]

    assert sorted(names) == ["internal", "members", "open"]


def test_a_package_is_found_until_it_is_deleted(project: Project) -> None:
    package = publish(project)
    deleted = publish(project, version="2.0", status=PackageStatus.PENDING_DESTRUCTION)

    assert lists.package(project, package.id) is package
    with pytest.raises(RecordNotFound):
        lists.package(project, deleted.id)


def test_a_package_is_not_found_through_another_project(project: Project) -> None:
    package = publish(project)

    for wrong_project, wrong_id in [(factories.project("other"), package.id), (project, package.id + 1)]:
        with pytest.raises(RecordNotFound):
            lists.package(wrong_project, wrong_id)


def test_other_versions_are_those_of_the_name_as_spelled_in_order(project: Project) -> None:
    package = publish(project, "demo", "1.5")
    for version in ("1.10", "1.9"):
        publish(project, "demo", version)
    publish(project, "Demo", "3.0")
    publish(project, "demo", "4.0", status=PackageStatus.PENDING_DESTRUCTION)
    publish(factories.project("other"), "demo", "5.0")

    assert [other.version for other in lists.other_versions(package)] == ["1.9", "1.10"]


def test_a_package_knows_the_jobs_that_published_its_files(project: Project, developer: User) -> None:
    first, second = (factories.job(project, developer)[0] for _ in range(2))
    by_job = publish(project, "demo", "1.0", "demo-1.0.zip", "demo-1.0.tar.gz", job=second)
    by_hand = publish(project, "demo", "2.0")
    publish(project, "demo", "3.0", job=first)

    found = lists.pipelines_of([by_job, by_hand])

    assert found == {by_job.id: [second]}
    assert lists.pipelines(by_job) == [(second.id, second)]
    assert found[by_job.id][0].user is developer


def test_imported_pipelines_follow_the_jobs_from_newest_to_oldest(project: Project, developer: User) -> None:
    job = factories.job(project, developer)[0]
    package = publish(project, "demo", "1.0", "demo-1.0.zip", "demo-1.0.tar.gz", job=job)
    old, new = factories.imported_pipeline(id=7, year=2020), factories.imported_pipeline(id=5, year=2021)
    for file in db.session.scalars(lists.package_files(package)):
        file.imported_pipelines = [old.as_json(), new.as_json()]
    factories.commit()

    assert lists.pipelines_of([package]) == {package.id: [job, new, old]}
    assert lists.pipelines(package) == [(job.id, job), (-1, new), (-2, old)]
    assert lists.pipelines(package, before=-1) == [(-2, old)]


def test_storage_is_the_sum_of_the_files_kept(forest: Group) -> None:
    db.session.scalars(
        select(PackageFile).where(PackageFile.filename.like("open%"))
    ).one().status = FileStatus.PENDING_DESTRUCTION
    db.session.commit()
    for miscount in usage.miscounts():
        usage.recount(miscount.project_id)

    assert usage.size_of(forest.id) == 600
    assert usage.size_of(project_of(forest, "deep").id) == 100
    assert usage.size_of(project_of(forest, "open").id) == 0


def test_packages_are_sorted_by_version_and_not_alphabetically(project: Project) -> None:
    versions = ["1.10", "1.9", "1.9rc1", "2.0.dev1", "1.9.post1"]
    for version in versions:
        factories.published(project, build_wheel("demo", version))
    listing = lists.packages(project, SHELL, PackageFilter())

    up, down = (db.session.scalars(lists.in_version_order(listing, descending=each)).all() for each in (False, True))

    assert [package.version for package in up] == ["1.9rc1", "1.9", "1.9.post1", "1.10", "2.0.dev1"]
    assert down == up[::-1]


def test_packages_by_id_are_those_of_the_namespace_that_are_left(group: Group, project: Project) -> None:
    kept = factories.published(project, build_wheel("kept"))
    gone = factories.published(project, build_wheel("gone"))
    foreign = factories.published(factories.project(), build_wheel("foreign"))
    deletion.delete_package(db.session.get_one(Package, gone.package_id), project, by=SHELL)
    ids = [kept.package_id, gone.package_id, foreign.package_id, 4711]

    for namespace in (project, group):
        found = lists.packages_by_id(namespace, SHELL, ids)
        assert [(package.id, package.project) for package in found] == [(kept.package_id, project)]


@pytest.mark.parametrize(
    ("given", "whole", "partial", "reason"),
    [
        ((None, None), False, False, ""),
        (("Broken", None), False, True, ""),
        (("Broken", "Broken"), True, False, "Broken"),
        (("Broken", "Worse"), True, False, ""),
        (("", ""), True, False, ""),
        ((), False, False, ""),
    ],
    ids=["not", "one file", "one reason", "two reasons", "no reason", "no files"],
)
def test_a_version_is_yanked_when_all_its_files_are(
    project: Project, given: tuple[str | None, ...], whole: bool, partial: bool, reason: str
) -> None:
    files = [factories.published(project, build_wheel(build=str(number))) for number in (1, 2)]
    package = db.session.get_one(Package, files[0].package_id)
    for number, file in enumerate(files):
        if number >= len(given):
            deletion.delete_file(file, package, project, by=SHELL)
        elif (said := given[number]) is not None:
            releases.yank_file(file, package, project, said, by=SHELL)

    yank = lists.yanks([package])[package.id]

    assert (yank.is_whole, yank.is_partial, yank.reason) == (whole, partial, reason)


def test_a_package_page_speaks_for_displayable_packages_of_readable_projects_only(
    group: Group, project: Project, guest: User
) -> None:
    package_id = factories.published(project, build_wheel()).package_id

    assert lists.shown_package(group, package_id, SHELL) is not None
    assert lists.shown_package(group, package_id, factories.signed_in(guest)) is None
    assert lists.shown_package(factories.project(), package_id, SHELL) is None


def test_totals_exclude_files_that_wait_for_removal(project: Project, owner: User) -> None:
    first, second = (factories.published(project, build_wheel("kept", version)) for version in ("1.0", "2.0"))
    gone = factories.published(project, build_wheel("gone"))
    deletion.delete_package(db.session.get_one(Package, gone.package_id), project, by=SHELL)

    assert storage_use.totals() == storage_use.Totals(
        users=1, groups=1, projects=1, packages=1, versions=2, files=2, size_bytes=first.size_bytes + second.size_bytes
    )


def test_totals_of_an_empty_instance_are_nought(app: Flask) -> None:
    assert storage_use.totals() == storage_use.Totals(0, 0, 0, 0, 0, 0, 0)


def test_the_storage_of_a_group_is_that_of_live_files(group: Group) -> None:
    kept, emptied = (factories.project(path, parent=group) for path in ("kept", "emptied"))
    deleted = [factories.published(kept, build_wheel(version="1.0")), factories.published(emptied, build_wheel())]
    live = factories.published(kept, build_wheel(version="2.0"))
    for file in deleted:
        package = db.session.get_one(Package, file.package_id)
        deletion.delete_package(package, db.session.get_one(Project, file.project_id), by=SHELL)

    used = storage_use.by_project(group)

    assert [(use.name, use.packages, use.files, use.size_bytes) for use in used] == [
        (kept.full_name, 1, 1, live.size_bytes)
    ]
