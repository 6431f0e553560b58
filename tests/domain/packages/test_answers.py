"""Which parts of the content generation each change of packages raises, and which it leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from registry.database import ACCESS, INDEX, db, part_of_name, transaction, utcnow
from registry.domain.access import SHELL
from registry.domain.operation import cleanup
from registry.domain.packages import deletion, lists, releases
from registry.domain.packages.downloads import Tally
from registry.domain.packages.lists import PackageFilter
from registry.models import Group, NameStatus, Package, PackageFile, Project
from registry.storage import Storage
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.races import race

DEMO = part_of_name("demo")


def raised_by(act: Callable[[], object]) -> list[int]:
    before = factories.content_generation()
    act()
    return factories.raised_parts(before)


def publish(project: Project, name: str = "demo", version: str = "1.0") -> list[int]:
    return raised_by(lambda: factories.published(project, build_wheel(name, version)))


def package(version: str = "1.0") -> Package:
    return db.session.scalars(select(Package).where(Package.version == version)).one()


def loaded(version: str) -> Package:
    """The package with its project."""
    found = select(Package).options(joinedload(Package.project)).where(Package.version == version)
    return db.session.scalars(found.execution_options(populate_existing=True)).one()


def delete(project: Project, version: str = "1.0") -> list[int]:
    return raised_by(lambda: deletion.delete_package(package(version), project, by=SHELL))


def test_the_first_package_of_a_name_changes_the_index_and_no_other_one_does(project: Project) -> None:
    assert publish(project) == [DEMO, INDEX, ACCESS], "the project hides a name from anonymous callers beside it"
    assert publish(project, version="2.0") == [DEMO]
    assert publish(project, "other") == [part_of_name("other"), INDEX]


def test_a_file_of_a_known_version_leaves_the_index(project: Project, demo: PackageFile) -> None:
    assert raised_by(lambda: factories.published(project, build_sdist())) == [DEMO]


def test_the_first_package_of_a_name_in_another_project_changes_the_index(group: Group, demo: PackageFile) -> None:
    assert publish(factories.project(parent=group)) == [DEMO, INDEX]


def test_the_last_package_of_a_name_changes_the_index_when_it_is_deleted(project: Project, group: Group) -> None:
    publish(factories.project(), version="3.0")
    publish(project)
    publish(project, version="2.0")

    assert delete(project) == [DEMO]
    assert delete(project, "2.0") == [DEMO, INDEX]


def test_a_package_in_another_spelling_changes_the_index(project: Project, demo: PackageFile) -> None:
    assert publish(project, "Demo", "2.0") == [DEMO, INDEX]
    assert publish(project, "Demo", "3.0") == [DEMO, INDEX], "what the first is called may be shown elsewhere"
    assert delete(project, "3.0") == [DEMO, INDEX]


@pytest.mark.parametrize(("name", "elsewhere"), [("Demo", "demo"), ("demo", "Demo")])
def test_a_spelling_in_another_project_is_shown_by_groups_above_both(
    group: Group, project: Project, name: str, elsewhere: str
) -> None:
    other = factories.project("other", parent=group)
    publish(project, name)
    publish(other, elsewhere, "2.0")

    assert publish(project, name, "3.0") == [DEMO, INDEX]


def test_a_deleted_package_in_another_spelling_is_forgotten(project: Project) -> None:
    publish(project, "Demo")
    delete(project)
    publish(project, "demo", "2.0")

    assert publish(project, "demo", "3.0") == [DEMO]


def test_packages_deleted_together_raise_each_number_once(project: Project, demo: PackageFile) -> None:
    publish(project, version="2.0")
    publish(project, "other", "3.0")
    before = factories.content_generation()

    found = lists.packages(project, SHELL, PackageFilter())
    deletion.delete_packages(db.session.scalars(found).all(), by=SHELL)

    assert factories.raised_parts(before) == [*sorted([DEMO, part_of_name("other")]), INDEX]
    assert {new - old for old, new in zip(before, factories.content_generation(), strict=True)} == {0, 1}


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma", "delta", "zeta"])
def test_packages_in_two_spellings_deleted_together_change_the_index(project: Project, name: str) -> None:
    """The newest one, in whose spelling the name was listed, is among them."""
    publish(project, name)
    publish(project, name, "2.0")
    publish(project, name.title(), "3.0")

    def act() -> None:
        deletion.delete_packages([loaded("2.0"), loaded("3.0")], by=SHELL)

    assert raised_by(act) == [part_of_name(name), INDEX]


def _files(project: Project) -> dict[str, Callable[[], object]]:
    file = db.session.scalars(select(PackageFile)).first()
    assert file is not None
    return {
        "version yanked": lambda: releases.yank_version(package(), project, by=SHELL),
        "version unyanked": lambda: releases.unyank_version(package(), project, by=SHELL),
        "file yanked": lambda: releases.yank_file(file, package(), project, by=SHELL),
        "file unyanked": lambda: releases.unyank_file(file, package(), project, by=SHELL),
        "status set": lambda: releases.set_name_status(project, "demo", NameStatus.QUARANTINED, by=SHELL),
        "status lifted": lambda: releases.set_name_status(project, "Demo", NameStatus.ACTIVE, by=SHELL),
        "file deleted": lambda: deletion.delete_file(file, package(), project, by=SHELL),
    }


def test_changes_of_files_and_names_leave_the_index(project: Project, release: Package) -> None:
    for name, act in _files(project).items():
        assert raised_by(act) == [DEMO], name


def test_a_call_that_changes_nothing_raises_nothing(project: Project, release: Package) -> None:
    releases.yank_version(release, project, by=SHELL)

    assert raised_by(lambda: releases.yank_version(release, project, by=SHELL)) == []
    assert raised_by(lambda: releases.set_name_status(project, "demo", NameStatus.ACTIVE, by=SHELL)) == []


def test_downloads_and_cleanups_raise_nothing(project: Project, demo: PackageFile, storage: Storage) -> None:
    tally = Tally()
    tally.note(demo.id)
    assert raised_by(tally.flush) == []
    delete(project)

    assert raised_by(lambda: cleanup.run(storage, utcnow())) == []


def test_an_outer_transaction_that_changes_more_raises_the_numbers_of_the_inner_one_too(project: Project) -> None:
    def act() -> None:
        with transaction():
            factories.published(project, build_wheel())

    assert raised_by(act) == [DEMO, INDEX, ACCESS]


@pytest.mark.postgresql
def test_the_index_changes_for_a_name_whose_last_package_is_deleted_at_the_same_time(
    app: Flask, project: Project, demo: PackageFile
) -> None:
    """The name disappears with the first transaction, and is back with the second."""
    project_id, package_id = project.id, demo.package_id
    before = factories.content_generation()

    def delete_it() -> None:
        found = db.session.get_one(Package, package_id)
        deletion.delete_package(found, db.session.get_one(Project, project_id), by=SHELL)

    def publish_it() -> None:
        factories.published(db.session.get_one(Project, project_id), build_wheel(version="2.0"))

    assert race(app, delete_it, publish_it) == ("done", "done")
    assert factories.content_generation()[INDEX] == before[INDEX] + 2
