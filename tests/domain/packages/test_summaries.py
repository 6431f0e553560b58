"""The row that is kept of each package name."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from packaging.version import Version

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.packages import deletion, downloads, lists, releases, summaries
from registry.models import NameSummary, Package, PackageFile, Project
from tests import factories
from tests.builders import build_sdist, build_wheel

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
VERSIONS = [
    "1.0.dev1", "1.0a1.dev2", "1.0a1", "1.0a2", "1.0b1", "1.0rc1", "1.0", "1.0+abc", "1.0+abc.1", "1.0+abd", "1.0+1",
    "1.0+1.a", "1.0+2", "1.0+10", "1.0.post1.dev1", "1.0.post1", "1.0.1", "1.1", "1.9", "1.10", "2.0.0.0.1", "10.0",
    "2026.11.28", "99999999999999999999", "1!0.1", "0", "0.dev0", "1.0.post2+local",
]  # fmt: skip


def summary(name: str = "demo") -> NameSummary | None:
    db.session.expire_all()
    return db.session.scalar(db.select(NameSummary).where(NameSummary.normalized_name == name))


def values(row: NameSummary | None) -> dict[str, object] | None:
    return None if row is None else {column.name: getattr(row, column.name) for column in NameSummary.__table__.c}


def counted_again(project: Project, name: str = "demo") -> dict[str, object] | None:
    with factories.transaction():
        summaries.count(project.id, name)
    return values(summary(name))


def package(file: PackageFile) -> Package:
    return db.session.get_one(Package, file.package_id)


def test_ranks_sort_as_packaging_does() -> None:
    shuffled = random.Random(1).sample(VERSIONS, len(VERSIONS))

    in_order = sorted(shuffled, key=lambda version: summaries.rank(version, is_yanked=False)[2:])

    assert in_order == sorted(VERSIONS, key=Version)


def test_ranks_prefer_what_is_not_yanked_and_final_to_a_higher_version() -> None:
    preferred = [("1.0", False), ("2.0rc1", False), ("not a version", False), ("3.0", True), ("4.0rc1", True)]

    ranks = [summaries.rank(version, is_yanked=is_yanked) for version, is_yanked in preferred]

    assert ranks == sorted(ranks, reverse=True)
    assert all(set(rank) <= set("0123456789abcdef") for rank in ranks)


def test_publications_add_to_the_row_what_counting_again_finds(project: Project) -> None:
    ann, bob = factories.user("ann"), factories.user("bob")
    files = [build_wheel("demo", version) for version in ("1.0", "1.10", "1.9", "2.0rc1")]
    for number, (file, author) in enumerate(zip(files, (ann, ann, bob, bob), strict=True)):
        factories.published(
            project, file, by=factories.signed_in(author), now=MOMENT + timedelta(hours=number if number < 3 else -1)
        )
    sdist = build_sdist("demo", "1.0", headers=["License-Expression: MIT"])
    factories.published(project, sdist, by=factories.signed_in(ann), now=MOMENT + timedelta(days=1))

    row = summary()

    assert row is not None
    latest = db.session.get_one(Package, row.latest_id)
    assert (row.name, latest.version, row.versions, row.is_yanked, row.is_prerelease) == (
        "demo", "1.10", 4, False, False
    )  # fmt: skip
    assert row.size_bytes == sum(len(file.content) for file in (*files, sdist))
    assert (row.published_at, row.publisher_id) == (MOMENT + timedelta(hours=2), bob.id)
    assert values(row) == counted_again(project)


def test_yanks_and_deletions_change_the_row(project: Project) -> None:
    old, new = (package(factories.published(project, build_wheel("demo", version))) for version in ("1.0", "2.0"))

    def latest() -> tuple[int, bool, int] | None:
        row = summary()
        return None if row is None else (row.latest_id, row.is_yanked, row.versions)

    releases.yank_version(new, project, by=SHELL)
    assert latest() == (old.id, False, 2)
    factories.published(project, build_sdist("demo", "2.0"))  # yanked like its version
    assert latest() == (old.id, False, 2)
    releases.yank_version(old, project, by=SHELL)
    assert latest() == (new.id, True, 2)
    releases.unyank_version(new, project, by=SHELL)
    assert latest() == (new.id, False, 2)
    deletion.delete_file(db.session.scalars(lists.package_files(new).order_by(PackageFile.id)).all()[0], new, project,
                         by=SHELL)  # fmt: skip
    assert values(summary()) == counted_again(project)
    deletion.delete_package(new, project, by=SHELL)
    assert latest() == (old.id, True, 1)
    deletion.delete_package(old, project, by=SHELL)
    assert latest() is None


def test_a_name_of_pre_releases_alone_is_marked(project: Project) -> None:
    factories.published(project, build_wheel("demo", "2.0rc1"))

    row = summary()

    assert row is not None
    assert row.is_prerelease


@pytest.mark.parametrize("number", [1, 3])
def test_downloads_are_added_to_the_row_and_outlive_their_files(project: Project, number: int) -> None:
    first, second = (factories.published(project, build_wheel("demo", version)) for version in ("1.0", "2.0"))
    tally = downloads.Tally()
    for _ in range(number):
        tally.note(first.id)
        tally.note(second.id)
    tally.flush()
    deletion.delete_package(package(second), project, by=SHELL)

    row = summary()

    assert row is not None
    assert row.downloads == 2 * number
    assert utcnow() > row.published_at
