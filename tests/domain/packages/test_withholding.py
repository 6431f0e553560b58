"""Versions that are withheld because of their advisories."""

from __future__ import annotations

import pytest
from flask import Flask

from registry.domain.access import SHELL
from registry.domain.cascade import WITHHOLD_CVSS_SCORE, WITHHOLD_MALICIOUS
from registry.domain.packages import index
from registry.domain.packages.index import Cause
from registry.errors import InvalidRecord
from registry.models import Group, Project
from tests import factories
from tests.domain.packages import on_paper
from tests.domain.packages.on_paper import digest, page
from tests.osv import HIGH, affected, load, record


@pytest.fixture
def versions(project: Project) -> Project:
    """A malicious version 1.0, a vulnerable 2.0 with the score 9.8, and 3.0 with an advisory without a score."""
    for version in ("1.0", "2.0", "3.0"):
        on_paper.publish(project, "demo", version)
    load(
        record("MAL-1", affected("demo", versions=("1.0",))),
        record("GHSA-1", affected("demo", versions=("2.0",)), cvss=HIGH),
        record("GHSA-2", affected("demo", versions=("3.0",))),
    )
    return project


def offered(namespace: Group | Project) -> str:
    found = page(namespace)
    assert found is not None
    by_address = [file for file in found.files if on_paper.downloads(namespace, file.filename)]
    assert len(by_address) == len(found.files)
    withheld = [file for file in found.withheld if on_paper.downloads(namespace, file.file.filename)]
    assert withheld == []
    return " ".join(file.filename.split("-")[1] for file in found.files)


def test_only_malicious_versions_are_withheld_by_default(versions: Project, group: Group) -> None:
    found = page(versions)

    assert found is not None
    assert [file.filename for file in found.files] == [f"demo-{version}-py3-none-any.whl" for version in ("2.0", "3.0")]
    (withheld,) = found.withheld
    assert (withheld.file.filename, withheld.rule, withheld.set_in) == (
        "demo-1.0-py3-none-any.whl", "malicious", "instance",
    )  # fmt: skip
    assert withheld.detail == "It contains malicious code, as reported by MAL-1."
    assert found.versions == ("2.0", "3.0")
    assert offered(group) == "2.0 3.0"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "2.0 3.0"),
        ({"malicious": False}, "1.0 2.0 3.0"),
        ({"score": 9.0}, "3.0"),
        ({"score": 9.8}, "2.0 3.0"),
        ({"score": 0.0, "malicious": False}, "1.0 3.0"),
    ],
)
def test_a_group_decides_for_its_projects_also_through_groups_above(
    versions: Project, group: Group, settings: dict[str, object], expected: str
) -> None:
    sub = factories.group("sub", parent=group)
    other = factories.project("other", parent=sub)
    on_paper.publish(other, "fine", "1.0")
    if "malicious" in settings:
        WITHHOLD_MALICIOUS.change(group, value=settings["malicious"], by=SHELL)  # type: ignore[arg-type]
    if "score" in settings:
        WITHHOLD_CVSS_SCORE.change(group, value=settings["score"], by=SHELL)  # type: ignore[arg-type]

    assert offered(versions) == offered(group) == expected


def test_a_subgroup_decides_otherwise_unless_the_group_has_locked_the_setting(group: Group) -> None:
    sub = factories.group("sub", parent=group)
    project = factories.project("below", parent=sub)
    on_paper.publish(project, "demo", "1.0")
    load(record("MAL-1"))
    WITHHOLD_MALICIOUS.change(sub, value=False, by=SHELL)

    assert offered(project) == offered(sub) == offered(group) == "1.0"

    WITHHOLD_MALICIOUS.change(group, value=True, lock=True, by=SHELL)

    assert offered(project) == offered(sub) == offered(group) == ""
    found = page(project)
    assert found is not None
    assert found.withheld[0].set_in == group.full_path


def test_of_the_same_file_in_two_projects_the_one_that_is_offered_is_found(group: Group, project: Project) -> None:
    sub = factories.group("sub", parent=group)
    for each in (project, factories.project("below", parent=sub)):
        on_paper.publish(each, "demo", "1.0")
    load(record("MAL-1"))
    name = "demo-1.0-py3-none-any.whl"
    assert not on_paper.downloads(group, name)

    WITHHOLD_MALICIOUS.change(sub, value=False, by=SHELL)

    assert on_paper.downloads(group, name)
    found = page(group)
    assert found is not None
    assert (len(found.files), len(found.withheld), found.versions) == (1, 1, ("1.0",))


def test_the_explanation_names_rule_and_advisory(versions: Project) -> None:
    filename = "demo-1.0-py3-none-any.whl"

    found = index.withheld_file(versions, digest(filename), filename, SHELL)

    assert found is not None
    assert found.withheld is not None
    assert (found.cause, found.version, found.withheld.rule) == (Cause.ADVISORY, "1.0", "malicious")
    assert (
        index.withheld_file(versions, digest("demo-2.0-py3-none-any.whl"), "demo-2.0-py3-none-any.whl", SHELL) is None
    )


def test_names_without_advisories_cost_no_further_statement(versions: Project, statements: list[str]) -> None:
    on_paper.publish(versions, "other", "1.0")

    def cost(name: str) -> int:
        factories.reload(versions)
        before = len(statements)
        page(versions, name)
        return len(statements) - before

    assert cost("other") == 1
    assert cost("demo") <= 4


def test_a_score_out_of_range_is_refused(group: Group, app: Flask) -> None:
    for value in (-0.1, 10.1, float("nan")):
        with pytest.raises(InvalidRecord, match=r"from 0\.0 to 10\.0"):
            WITHHOLD_CVSS_SCORE.change(group, value=value, by=SHELL)
