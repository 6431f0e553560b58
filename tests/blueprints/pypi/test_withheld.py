"""Versions with advisories, as clients see them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.cascade import WITHHOLD_CVSS_SCORE, WITHHOLD_MALICIOUS
from registry.models import AuditEvent, Group, Project, Role
from tests import factories
from tests.builders import build_wheel
from tests.clients import JSON, Pip, Rest
from tests.osv import HIGH, affected, load, record

WHEEL = build_wheel("demo", "1.0")
MALICIOUS = record("MAL-1", affected("demo", versions=("1.0",)))


@pytest.fixture
def token(project: Project, group: Group) -> str:
    for version in ("1.0", "2.0"):
        factories.published(project, build_wheel("demo", version))
    return factories.access_token(factories.member(group, Role.REPORTER, "reader"), "read_api")


def files(pip: Pip, namespace: Any, token: str) -> list[str]:
    return [file["filename"] for file in pip.simple_page(namespace, "demo", token, JSON).json["files"]]  # type: ignore[index]


def refusals() -> list[tuple[str, str]]:
    events = select(AuditEvent).where(AuditEvent.action == "malicious_download_refused").order_by(AuditEvent.id)
    return [(event.author, event.target) for event in db.session.scalars(events)]


@pytest.mark.parametrize("kind", ["project", "group"])
def test_a_malicious_version_disappears_at_once_and_returns_with_the_advisory(
    pip: Pip, project: Project, group: Group, token: str, kind: str
) -> None:
    namespace = {"project": project, "group": group}[kind]
    assert len(files(pip, namespace, token)) == 2
    assert pip.download(namespace, WHEEL, token).status_code == 200

    load(MALICIOUS)

    assert files(pip, namespace, token) == ["demo-2.0-py3-none-any.whl"]
    for suffix in ("", ".metadata"):
        refused = pip.download(namespace, WHEEL, token, suffix, accept="application/json")
        assert (refused.status_code, refused.content_type) == (403, "application/problem+json")
        assert refused.json is not None
        assert refused.json["title"] == "Version withheld"
        assert refused.json["detail"] == (
            "demo 1.0 is withheld. It contains malicious code, as reported by MAL-1. Ask an administrator."
        )

    load(MALICIOUS | {"withdrawn": "2026-01-01T00:00:00Z"})

    assert len(files(pip, namespace, token)) == 2
    assert pip.download(namespace, WHEEL, token).status_code == 200


def test_a_changed_setting_counts_at_once(pip: Pip, project: Project, group: Group, token: str) -> None:
    load(MALICIOUS, record("GHSA-1", affected("demo", versions=("2.0",)), cvss=HIGH))
    assert files(pip, project, token) == ["demo-2.0-py3-none-any.whl"]

    WITHHOLD_MALICIOUS.change(group, value=False, by=SHELL)
    WITHHOLD_CVSS_SCORE.change(group, value=7.5, by=SHELL)

    assert files(pip, project, token) == ["demo-1.0-py3-none-any.whl"]
    refused = pip.download(project, build_wheel("demo", "2.0"), token)
    assert refused.status_code == 403
    assert refused.json is not None
    assert refused.json["detail"] == (
        "demo 2.0 is withheld. It has a vulnerability with the CVSS score 9.8 (GHSA-1), and versions above 7.5 are "
        "withheld. Ask an Owner of the group acme."
    )


def test_refused_downloads_of_malicious_files_are_recorded_once_per_file_caller_and_day(
    pip: Pip, project: Project, token: str
) -> None:
    other = factories.access_token(factories.member(project, Role.REPORTER, "other"), "read_api")
    load(MALICIOUS, record("MAL-2", affected("demo", versions=("2.0",))))

    for each in (token, token, other, token):
        assert pip.download(project, WHEEL, each).status_code == 403
    pip.download(project, WHEEL, token, ".metadata")
    pip.download(project, build_wheel("demo", "2.0"), token)

    assert refusals() == [
        ("reader", WHEEL.filename),
        ("other", WHEEL.filename),
        ("reader", "demo-2.0-py3-none-any.whl"),
    ]


def test_those_who_cannot_read_the_project_learn_nothing(pip: Pip, project: Project, token: str) -> None:
    outsider = factories.access_token(factories.user("outsider"), "read_api")
    load(MALICIOUS)

    refused, absent = (pip.download(project, file, outsider) for file in (WHEEL, build_wheel("absent")))

    assert refused.status_code == absent.status_code == 404
    assert refused.data == absent.data
    assert refusals() == []


def test_refused_files_are_counted(pip: Pip, rest: Rest, project: Project, token: str) -> None:
    load(MALICIOUS)
    pip.download(project, WHEEL, token)

    assert 'registry_withheld_files_total{rule="malicious"}' in rest.client.get("/-/metrics").text
