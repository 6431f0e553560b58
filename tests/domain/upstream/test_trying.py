"""Trying changed rules on the files of the public index that were downloaded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from registry.database import utcnow
from registry.domain import cascade
from registry.domain.access import SHELL
from registry.domain.upstream import exceptions, trying, uses
from registry.domain.upstream.uses import Use
from registry.errors import InvalidRecord
from registry.models import Group, Project
from tests import factories, osv

NOW = utcnow()
TODAY = NOW.date()
OLD, YOUNG = NOW - timedelta(days=400), NOW - timedelta(days=3)


@pytest.fixture
def elsewhere() -> Project:
    return factories.project(parent=factories.group("other"))


@pytest.fixture(autouse=True)
def downloads(project: Project, group: Group, elsewhere: Project) -> None:
    """Old and young files of ``demo``, downloaded through a project and its group, and one file elsewhere."""
    uses.note(
        [
            Use(project.id, "a" * 64, "demo-1.0.tar.gz", "demo", OLD),
            Use(project.id, "b" * 64, "demo-2.0.tar.gz", "demo", YOUNG),
            Use(group.id, "b" * 64, "demo-2.0.tar.gz", "demo", YOUNG),
            Use(group.id, "c" * 64, "demo-2.0.tar.gz.metadata", "demo", YOUNG, is_metadata=True),
            Use(elsewhere.id, "d" * 64, "other-1.0.tar.gz", "other", None),
        ],
        TODAY,
    )


def hidden(group: Group | None, **changed: Any) -> list[str]:
    return [f"{one.filename} {one.rule}" for one in trying.try_change(group, changed, NOW).hidden]


def test_each_rule_is_tried(group: Group) -> None:
    osv.load(osv.record("MAL-1", osv.affected("demo", versions=("1.0",))), osv.record("GHSA-1", cvss=osv.HIGH))
    for changed, expected in (
        ({"pypi_upstream_minimum_age_days": 7}, ["demo-2.0.tar.gz age"]),
        ({"pypi_upstream_fixed_date": YOUNG}, ["demo-2.0.tar.gz fixed_date"]),
        ({"pypi_upstream_blocked": ["demo==2"]}, ["demo-2.0.tar.gz blocked"]),
        ({"pypi_upstream_allowed": ["other"]}, ["demo-2.0.tar.gz allowed"]),
        ({"pypi_reserved_names": ["dem*"]}, ["demo-2.0.tar.gz reserved"]),
        ({"pypi_withhold_cvss_score": 9.0}, ["demo-2.0.tar.gz cvss"]),
        ({"pypi_withhold_malicious": True}, []),  # it is so already
    ):
        assert hidden(group, **changed) == expected, changed
    assert trying.try_change(group, {"pypi_withhold_malicious": False}, NOW).released == 1


def test_files_are_listed_with_the_places_below_the_group_and_none_of_others(group: Group, project: Project) -> None:
    trial = trying.try_change(group, {"pypi_upstream_minimum_age_days": 7}, NOW)

    (found,) = trial.hidden
    assert (found.places, found.fetched_on) == ((group.full_path, project.full_path), TODAY)
    assert found.until == YOUNG + timedelta(days=7)
    assert (trial.examined, trial.released, trial.is_partial) == (2, 0, False)
    assert hidden(None, pypi_upstream_minimum_age_days=7) == ["demo-2.0.tar.gz age", "other-1.0.tar.gz age"]


def test_settings_and_exceptions_below_count(group: Group) -> None:
    below = factories.group("below", parent=group)
    uses.note([Use(below.id, "e" * 64, "new-1.0.tar.gz", "new", YOUNG)], TODAY)
    cascade.MINIMUM_AGE.change(below, value=0, by=SHELL)
    exceptions.add_exception(group, pattern="demo", reason="Ours", expires_at=None, by=SHELL)

    assert hidden(group, pypi_upstream_minimum_age_days=7) == []
    assert hidden(group, pypi_upstream_minimum_age_days=7, lock_pypi_upstream_minimum_age_days=True) == [
        "new-1.0.tar.gz age"
    ]


def test_nothing_changes_and_bad_values_are_refused(group: Group) -> None:
    hidden(None, pypi_upstream_minimum_age_days=7, pypi_upstream_blocked=["demo"])
    hidden(group, pypi_upstream_minimum_age_days=7)
    factories.commit()

    assert cascade.MINIMUM_AGE.of_group(group).effective == 0
    assert cascade.BLOCKED.of_group(group).effective == []
    with pytest.raises(InvalidRecord):
        hidden(group, pypi_upstream_blocked=["not a pattern"])


def test_the_latest_downloads_are_examined_and_old_ones_forgotten(
    group: Group, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses.note([Use(project.id, "f" * 64, "past-1.0.tar.gz", "past", YOUNG)], TODAY - uses.KEPT - timedelta(days=1))
    uses.note([Use(project.id, "a" * 64, "demo-1.0.tar.gz", "demo", OLD)], TODAY + timedelta(days=1))
    assert hidden(group, pypi_upstream_blocked=["past"]) == []

    monkeypatch.setattr(trying, "MOST_EXAMINED", 1)
    trial = trying.try_change(group, {"pypi_upstream_blocked": ["demo"]}, NOW)
    uses.forget_old(TODAY)

    assert ([one.filename for one in trial.hidden], trial.is_partial) == (["demo-1.0.tar.gz"], True)
    assert len(uses.fetched(None, TODAY - timedelta(days=1), 10)) == 4


def test_the_number_of_statements_depends_on_nothing(group: Group, project: Project, statements: list[str]) -> None:
    uses.note(
        [Use(project.id, f"{number:064}", f"x{number}-1.0.zip", f"x{number}", OLD) for number in range(50)], TODAY
    )
    statements.clear()

    assert len(hidden(group, pypi_upstream_blocked=["x*"])) == 50

    assert len(statements) <= 5
