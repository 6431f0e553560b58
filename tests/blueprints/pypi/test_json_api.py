"""PyPI's JSON API, with security advisories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from registry.domain.access import SHELL
from registry.domain.cascade import FORWARDING
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.pages import KeptPages
from registry.models import Group, InstanceSettings, Project, UpstreamMode, Visibility
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import Pip, pypi_path
from tests.fakes.index import StaticIndex
from tests.osv import affected, load, record


def described(pip: Pip, namespace: Any, credentials: Any, path: str) -> Any:
    return pip.get(f"{pypi_path(namespace)}/{path}", credentials)


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
