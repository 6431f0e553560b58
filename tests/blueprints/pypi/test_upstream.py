"""The mode ``cache``: pages of the public index at the addresses of a project or group."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.cascade import FORWARDING
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.pages import KeptPages
from registry.models import InstanceSettings, Project, RegistryAccess, UpstreamMode
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import JSON, Pip, links, pypi_path
from tests.fakes.index import StaticIndex

WHEEL, SDIST, OWN = build_wheel("public"), build_sdist("public"), build_wheel("public", "0.1")


@pytest.fixture(autouse=True)
def upstream(app: Flask, served: StaticIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StaticIndex:
    """The public index, which has a package ``public``."""
    kept = KeptPages(PublicIndex(served.url), tmp_path / "upstream", fresh_seconds=600, threads=8)
    monkeypatch.setitem(app.extensions, "upstream_pages", kept)
    InstanceSettings.current().pypi_upstream_mode = UpstreamMode.CACHE
    factories.commit()
    served.publish(
        WHEEL, SDIST, requires_python=">=3.9", yanked="Loses data", core_metadata={"sha256": "0" * 64},
        provenance=f"{served.url}provenance",
    )  # fmt: skip
    return served


@pytest.fixture
def token(owner):
    return factories.access_token(owner, "read_api")


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The statements of requests."""
    noted: list[str] = []

    def note(*arguments) -> None:
        noted.append(arguments[2])

    event.listen(db.engine, "before_cursor_execute", note)
    yield noted
    event.remove(db.engine, "before_cursor_execute", note)


def test_a_page_of_the_public_index_leads_to_files_here(
    pip: Pip, project: Project, group, token, upstream: StaticIndex
):
    for address in (pypi_path(project), pypi_path(group), "/api/v4/projects/acme%2Ftools/packages/pypi"):
        page = pip.get(f"{address}/simple/Public/", token, accept=JSON).json
        html = pip.get(f"{address}/simple/public/", token).text

        wheel, _ = page["files"]
        assert wheel == {
            "filename": WHEEL.filename,
            "url": f"http://localhost{address}/files/{WHEEL.sha256}/{WHEEL.filename}",
            "hashes": {"sha256": WHEEL.sha256}, "size": len(WHEEL.content),
            "upload-time": "2024-02-03T04:05:06.789000Z", "yanked": "Loses data", "requires-python": ">=3.9",
            "core-metadata": {"sha256": "0" * 64}, "provenance": f"{upstream.url}provenance",
        }  # fmt: skip
        assert [link.href.partition("#")[0] for link in links(html)] == [file["url"] for file in page["files"]]
        assert page["versions"] == ["1.0"]
    assert len(upstream.requests) == 1


def test_nothing_of_a_client_reaches_the_public_index(pip: Pip, project: Project, token, upstream: StaticIndex):
    pip.simple_page(project, "public", token, headers={"Cookie": "session=secret", "User-Agent": "pip/26.0"})

    (request,) = upstream.requests
    assert {name.lower() for name in request.headers} <= {
        "host", "user-agent", "accept", "accept-encoding", "connection",
    }  # fmt: skip
    assert token not in str(request)
    assert "pip" not in request.headers["User-Agent"]


def test_a_name_of_a_project_here_wins_whole_also_when_it_becomes_one(
    pip: Pip, project: Project, group, token, upstream: StaticIndex
):
    assert len(pip.simple_page(project, "public", token, accept=JSON).json["files"]) == 2

    factories.published(project, OWN)

    for namespace in (project, group):
        assert pip.simple_page(namespace, "public", token, accept=JSON).json["versions"] == ["0.1"]


def test_a_name_that_is_held_or_not_forwarded_is_not_asked_for(
    pip: Pip, project: Project, group, token, upstream: StaticIndex
):
    factories.published(project, OWN)
    assert pip.simple_page(group, "other").status_code == 401
    project.registry_access = RegistryAccess.DISABLED
    factories.commit()
    assert pip.simple_page(group, "public", token).status_code == 404
    FORWARDING.change(group, value=False, by=SHELL)
    assert pip.simple_page(group, "other", token).status_code == 404

    assert upstream.requests == []


def test_an_unknown_name_and_an_index_that_is_away_are_explained(
    pip: Pip, project: Project, token, upstream: StaticIndex
):
    upstream.fail("away/", 503)

    absent = pip.simple_page(project, "absent", token, accept=JSON)
    away = pip.simple_page(project, "away", token, accept=JSON)

    assert (absent.status_code, absent.content_type) == (404, "application/problem+json")
    assert absent.json["detail"] == "The project acme/tools has no package absent, nor has 127.0.0.1."
    assert (away.status_code, away.content_type) == (502, "application/problem+json")
    assert away.json["title"] == "Public index unreachable"
    assert away.headers["Retry-After"] == "10"


def test_a_kept_page_is_served_while_the_index_is_away_and_says_so(
    app: Flask, pip: Pip, project: Project, token, upstream: StaticIndex
):
    assert "Warning" not in pip.simple_page(project, "public", token).headers
    factories.commit()
    app.extensions["upstream_pages"]._fresh *= 0
    upstream.fail("public/", 503)

    answers = [pip.simple_page(project, "public", token, accept=JSON) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.headers["Warning"] for answer in answers} == {'110 - "Response is Stale"'}
    assert len(upstream.requests) == 2


def test_a_warm_page_is_a_kept_answer_that_costs_no_statement(
    pip: Pip, project: Project, token, upstream: StaticIndex, statements: list[str]
):
    first = pip.simple_page(project, "public", token)
    del statements[:]

    again = pip.simple_page(project, "public", token)
    unchanged = pip.simple_page(project, "public", token, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.data, again.status_code, unchanged.status_code) == (first.data, 200, 304)
    assert statements == []
    assert len(upstream.requests) == 1


def test_a_client_that_wants_no_cached_answer_has_the_index_asked(
    app: Flask, pip: Pip, project: Project, token, upstream: StaticIndex, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("registry.domain.upstream.pages.LEAST_SECONDS", 0)
    pip.simple_page(project, "public", token)
    upstream.publish(WHEEL)

    for number in (2, 3):
        page = pip.simple_page(project, "public", token, accept=JSON, headers={"Cache-Control": "no-cache"}).json
        assert len(page["files"]) == 1
        assert len(upstream.requests) == number
    assert len(pip.simple_page(project, "public", token, accept=JSON).json["files"]) == 1


def test_pages_are_counted_by_where_they_came_from(
    app: Flask, pip: Pip, project: Project, token, upstream: StaticIndex
):
    def counted() -> list[float]:
        exposed = app.extensions["metrics"].exposition([]).decode()
        values = dict(line.rsplit(" ", 1) for line in exposed.splitlines() if line.startswith("registry_upstream_"))
        labels = [f'registry_upstream_pages_total{{origin="{origin}"}}' for origin in ("miss", "hit", "stale")]
        return [float(values.get(label, 0)) for label in labels]

    before = counted()
    for _ in range(3):
        pip.simple_page(project, "public", token)
    app.extensions["upstream_pages"]._fresh *= 0
    upstream.fail("public/", 503)
    factories.commit()
    pip.simple_page(project, "public", token)

    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 2, 1]


def test_a_page_with_lies_is_never_an_internal_error(pip: Pip, project: Project, token, upstream: StaticIndex):
    entry = {"filename": "public-1.0.tar.gz", "url": "http://[", "hashes": {"sha256": "0" * 64}}
    surrogates = {"filename": "public-2.0.tar.gz", "url": "x", "hashes": {"sha256": "0" * 64}, "yanked": "\ud800"}
    for number, files in enumerate([[entry], [surrogates], [3], "files"]):
        upstream.put(f"lies{number}/", json.dumps({"meta": {"api-version": "1.0"}, "files": files}), JSON)
        for form in (JSON, "text/html"):
            assert pip.simple_page(project, f"lies{number}", token, accept=form).status_code in (200, 502)
