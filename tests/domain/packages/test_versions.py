"""The versions of a package name, and the latest of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.packages import deletion, releases, versions
from registry.models import Package, Project
from tests import factories
from tests.builders import build_sdist, build_wheel


def published(project: Project, version: str, name: str = "demo") -> Package:
    file = factories.published(project, build_wheel(name, version))
    return db.session.get_one(Package, file.package_id)


def test_versions_are_in_the_order_of_pep_440_in_any_spelling(project: Project) -> None:
    for version in ("1.9", "1.10", "2.0rc1"):
        published(project, version)
    published(project, "1.9.post1", name="Demo")
    published(project, "3.0", name="other")
    deletion.delete_package(published(project, "4.0"), project, by=SHELL)

    found = versions.of_name(project, "demo")

    assert [each.version for each in found] == ["2.0rc1", "1.10", "1.9.post1", "1.9"]
    assert [each.is_prerelease for each in found] == [True, False, False, False]


@pytest.mark.parametrize(
    ("kept", "yanked", "expected"),
    [
        (["1.0", "2.0rc1"], [], "1.0"),
        (["2.0rc1", "2.0rc2"], [], "2.0rc2"),
        (["1.0"], ["2.0"], "1.0"),
        (["2.0rc1"], ["1.0"], "2.0rc1"),
        ([], ["1.0", "2.0"], "2.0"),
    ],
    ids=["final before pre-release", "only pre-releases", "yanked last", "pre-release before yanked", "all yanked"],
)
def test_the_latest_version_is_the_one_that_installers_choose(
    project: Project, kept: Sequence[str], yanked: Sequence[str], expected: str
) -> None:
    for version in kept:
        published(project, version)
    for version in yanked:
        releases.yank_version(published(project, version), project, by=SHELL)

    latest = versions.latest(versions.of_name(project, "demo"))

    assert latest is not None
    assert latest.version == expected


def test_a_version_of_which_one_file_is_yanked_is_not_yanked(project: Project) -> None:
    package = published(project, "1.0")
    factories.published(project, build_sdist("demo", "1.0"))
    releases.yank_file(factories.published(project, build_wheel("demo", "1.0", build="1")), package, project, by=SHELL)

    assert [each.is_yanked for each in versions.of_name(project, "demo")] == [False]
    assert versions.latest([]) is None
