"""The report of security advisories, and PyPI's JSON API."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.cascade import FORWARDING
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.pages import KeptPages
from registry.models import FileDownloads, Group, InstanceSettings, Project, Role, UpstreamMode, Visibility
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import Pip, pypi_path
from tests.fakes.index import StaticIndex
from tests.osv import HIGH, affected, load, record

RANGE = ({"introduced": "0"}, {"fixed": "1.5"}, {"introduced": "2"}, {"fixed": "2.1"})


@pytest.fixture
def reader(project: Project, group: Group) -> str:
    """Can read the group, whose project has demo 1.0 and 2.0, other 1.0, and advisories."""
    for file in (
        build_wheel("Demo", "1.0"),
        build_sdist("Demo", "1.0"),
        build_wheel("Demo", "2.0rc1"),
        build_wheel("other"),
    ):
        published = factories.published(project, file)
        db.session.execute(insert(FileDownloads), [{"file_id": published.id, "day": utcnow().date(), "count": 2}])
        db.session.commit()
    load(
        record("GHSA-1", affected("demo", *RANGE), cvss=HIGH, aliases=["CVE-1"]),
        record("GHSA-2", affected("demo", versions=("1.0",)), withdrawn="2026-01-01T00:00:00Z"),
        record("PYSEC-1", affected("other", versions=("1.0",)), summary=""),
        record("GHSA-9", affected("requests", {"introduced": "0"}, {"fixed": "2.32.0"})),
    )
    return factories.access_token(factories.member(group, Role.REPORTER, "reader"), "read_api")


def report(pip: Pip, namespace: Any, credentials: Any, query: str = "") -> Any:
    return pip.get(f"{pypi_path(namespace)}/vulnerabilities{query}", credentials)


def described(pip: Pip, namespace: Any, credentials: Any, path: str) -> Any:
    return pip.get(f"{pypi_path(namespace)}/{path}", credentials)


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


@pytest.mark.parametrize("address", ["json/demo/1.0", "pypi/Demo/1.0.0/json"])
@pytest.mark.parametrize("kind", ["project", "group"])
def test_a_version_is_described_with_its_advisories(
    pip: Pip, project: Project, group: Group, reader: str, kind: str, address: str
) -> None:
    namespace = {"project": project, "group": group}[kind]

    found = described(pip, namespace, reader, address).json

    assert (found["info"]["name"], found["info"]["version"]) == ("Demo", "1.0")
    assert [file["packagetype"] for file in found["urls"]] == ["bdist_wheel", "sdist"]
    assert pip.get(found["urls"][0]["url"], reader).status_code == 200
    assert found["vulnerabilities"] == [
        {
            "id": "GHSA-1", "aliases": ["CVE-1"], "summary": "Summary of GHSA-1", "details": "Details of GHSA-1",
            "fixed_in": ["1.5", "2.1"], "link": "https://osv.dev/vulnerability/GHSA-1", "source": "osv",
            "published": "2025-01-02T03:04:05Z", "withdrawn": None,
        },
        {
            "id": "GHSA-2", "aliases": [], "summary": "Summary of GHSA-2", "details": "Details of GHSA-2",
            "fixed_in": [], "link": "https://osv.dev/vulnerability/GHSA-2", "source": "osv",
            "published": "2025-01-02T03:04:05Z", "withdrawn": "2026-01-01T00:00:00Z",
        },
    ]  # fmt: skip


def test_a_name_is_described_by_its_latest_version_before_pre_releases(pip: Pip, project: Project, reader: str) -> None:
    found = described(pip, project, reader, "json/demo").json

    assert found["info"]["version"] == "1.0"
    assert {version: len(files) for version, files in found["releases"].items()} == {"1.0": 2, "2.0rc1": 1}
    assert described(pip, project, reader, "json/demo/3.0").status_code == 404
    assert described(pip, project, reader, "json/demo/not-a-version").status_code == 404


def test_a_withheld_version_has_advisories_and_no_files(pip: Pip, project: Project, reader: str) -> None:
    load(record("MAL-1", affected("demo", versions=("1.0",))))

    found = described(pip, project, reader, "json/demo/1.0.0").json

    assert "MAL-1" in [one["id"] for one in found["vulnerabilities"]]
    assert found["urls"] == []
    assert list(described(pip, project, reader, "json/demo").json["releases"]) == ["2.0rc1"]


def test_a_public_package_has_its_advisories_where_the_public_index_may_be_asked(
    pip: Pip, project: Project, group: Group, reader: str
) -> None:
    vulnerable, fixed = (
        described(pip, project, reader, f"pypi/requests/{version}/json") for version in ("2.31", "2.32")
    )

    assert [one["id"] for one in vulnerable.json["vulnerabilities"]] == ["GHSA-9"]
    assert fixed.json == {"info": {"name": "requests", "version": "2.32"}, "urls": [], "vulnerabilities": []}
    FORWARDING.change(group, value=False, by=SHELL)
    assert described(pip, project, reader, "pypi/requests/2.31/json").status_code == 404


def test_a_hidden_package_is_not_described(pip: Pip, project: Project, group: Group, reader: str) -> None:
    outsider = factories.access_token(factories.user("outsider"), "read_api")
    group.visibility = Visibility.PUBLIC
    factories.commit()

    assert described(pip, group, outsider, "json/demo/1.0").status_code == 404
    assert described(pip, group, None, "json/demo/1.0").status_code == 401
    assert described(pip, project, None, "json/demo").status_code == 401


def test_a_version_is_described_by_its_core_metadata(pip: Pip, project: Project, reader: str) -> None:
    document = (
        b"Metadata-Version: 2.4\nName: About\nVersion: 1.0\nSummary: Does it\nLicense-Expression: MIT\nKeywords: a,b\n"
        b"Requires-Python: >=3.9\nRequires-Dist: one>1\nRequires-Dist: two\n"
        b"Project-URL: Source, https://example.com/source\n"
    )
    for file in (build_sdist("About"), build_wheel("About", core_metadata=document)):
        factories.published(project, file)

    info = described(pip, project, reader, "pypi/about/json").json["info"]

    assert info | {
        "name": "About", "version": "1.0", "summary": "Does it", "license_expression": "MIT", "license": None,
        "requires_python": ">=3.9", "requires_dist": ["one>1", "two"], "keywords": "a,b", "yanked": False,
        "project_urls": {"Source": "https://example.com/source"}, "author": None, "classifiers": [],
    } == info  # fmt: skip


def test_a_package_of_the_public_index_has_its_files_where_they_are_fetched(
    app: Flask, pip: Pip, project: Project, reader: str, served: StaticIndex, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kept = KeptPages(PublicIndex(served.url), tmp_path / "upstream", fresh_seconds=600, threads=8)
    monkeypatch.setitem(app.extensions, "upstream_pages", kept)
    old, new = build_wheel("requests", "2.31"), build_wheel("requests", "2.32")
    served.publish(old, new, requires_python=">=3.9")
    InstanceSettings.current().pypi_upstream_mode = UpstreamMode.CACHE
    factories.commit()

    latest = described(pip, project, reader, "pypi/Requests/json").json
    known = described(pip, project, reader, "pypi/requests/2.31/json").json
    unlisted = described(pip, project, reader, "pypi/requests/2.30/json").json
    served.fail("absent/", *[503] * 4)
    away = described(pip, project, reader, "pypi/absent/1.0/json")

    assert (latest["info"]["version"], list(latest["releases"])) == ("2.32", ["2.31", "2.32"])
    assert (latest["info"]["requires_python"], latest["info"]["summary"]) == (">=3.9", None)
    assert [one["id"] for one in known["vulnerabilities"]] == ["GHSA-9"]
    assert [file["url"].rpartition("/packages/pypi/")[2] for file in known["urls"]] == [
        f"files/{old.sha256}/{old.filename}"
    ]
    assert (unlisted["info"], unlisted["urls"]) == ({"name": "requests", "version": "2.30"}, [])
    assert [one["id"] for one in unlisted["vulnerabilities"]] == ["GHSA-9"]
    assert away.json == {"info": {"name": "absent", "version": "1.0"}, "urls": [], "vulnerabilities": []}
