"""The report of security advisories."""

from __future__ import annotations

import csv
from typing import Any

from registry.models import Group, Project, Visibility
from tests import factories
from tests.clients import Pip, pypi_path
from tests.osv import affected, load, record


def report(pip: Pip, namespace: Any, credentials: Any, query: str = "") -> Any:
    return pip.get(f"{pypi_path(namespace)}/vulnerabilities{query}", credentials)


def test_the_report_lists_packages_with_their_advisories(pip: Pip, project: Project, group: Group, reader: str) -> None:
    for namespace in (project, group):
        entries = report(pip, namespace, reader).json

        assert [(entry["name"], entry["version"], entry["advisory"]) for entry in entries] == [
            ("Demo", "1.0", "GHSA-1"), ("other", "1.0", "PYSEC-1"),
        ]  # fmt: skip
        assert entries[0] == {
            "project": "acme/tools", "name": "Demo", "version": "1.0", "advisory": "GHSA-1", "aliases": ["CVE-1"],
            "summary": "Summary of GHSA-1", "severity": "critical", "cvss_score": 9.8, "fixed_in": "1.5",
            "downloads_in_30_days": 4, "link": "https://osv.dev/vulnerability/GHSA-1",
        }  # fmt: skip
        assert (entries[1]["severity"], entries[1]["cvss_score"], entries[1]["fixed_in"]) == ("unknown", None, None)


def test_the_report_as_csv_has_no_formulas(pip: Pip, project: Project, reader: str) -> None:
    load(record("=cmd|' /C calc'!A0", affected("demo", versions=("1.0",))))

    response = report(pip, project, reader, "?format=csv")

    assert response.content_type == "text/csv; charset=utf-8"
    rows = list(csv.reader(response.text.splitlines()))
    assert rows == [
        [
            "project", "name", "version", "advisory", "severity", "cvss_score", "fixed_in", "downloads_in_30_days",
        ],
        ["acme/tools", "Demo", "1.0", "'=cmd|' /C calc'!A0", "unknown", "", "", "4"],
    ]  # fmt: skip
    assert report(pip, project, reader, "?format=xml").status_code == 400


def test_a_report_shows_only_what_the_caller_can_read(pip: Pip, project: Project, group: Group, reader: str) -> None:
    outsider = factories.access_token(factories.user("outsider"), "read_api")
    group.visibility = Visibility.PUBLIC
    factories.commit()

    assert report(pip, group, outsider).json == []
    assert report(pip, project, outsider).status_code == 404
    assert report(pip, project, None).status_code == 401
    assert len(report(pip, group, reader).json) == 2
