"""The mode ``cache``: pages of the public index at the addresses of a project or group."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event, select

from registry.database import db, utcnow
from registry.domain import audit
from registry.domain.access import SHELL
from registry.domain.cascade import BLOCKED, FORWARDING
from registry.domain.packages import deletion
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.files import Files
from registry.domain.upstream.pages import KeptPages
from registry.models import InstanceSettings, Package, Project, RegistryAccess, UpstreamMode, User, Visibility
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import JSON, Pip, links, pypi_path
from tests.fakes.index import StaticIndex
from tests.osv import affected, load, record

WHEEL, SDIST, OWN = build_wheel("public"), build_sdist("public"), build_wheel("public", "0.1")
METADATA = b"Metadata-Version: 2.1\nName: public\nVersion: 1.0\n"
METADATA_SHA256 = hashlib.sha256(METADATA).hexdigest()


@pytest.fixture(autouse=True)
def upstream(app: Flask, served: StaticIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StaticIndex:
    """The public index, which has a package ``public``."""
    index = PublicIndex(served.url)
    kept = KeptPages(index, tmp_path / "upstream", fresh_seconds=600, threads=8)
    files = Files(
        index, app.extensions["storage"], context=app.app_context, cache_bytes=1 << 30, largest_bytes=0,
        request_threads=8, count=lambda _size_bytes: None,
    )  # fmt: skip
    monkeypatch.setitem(app.extensions, "upstream_pages", kept)
    monkeypatch.setitem(app.extensions, "upstream_files", files)
    InstanceSettings.current().pypi_upstream_mode = UpstreamMode.CACHE
    factories.commit()
    served.publish(
        WHEEL, SDIST, requires_python=">=3.9", yanked="Loses data", core_metadata={"sha256": METADATA_SHA256},
        provenance=f"{served.url}provenance",
    )  # fmt: skip
    served.put(f"/files/{WHEEL.filename}.metadata", METADATA)
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
            "core-metadata": {"sha256": METADATA_SHA256}, "provenance": f"{upstream.url}provenance",
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


def test_nothing_is_looked_up_twice_for_a_name_that_is_not_here(
    pip: Pip, project: Project, token, upstream: StaticIndex, statements: list[str]
):
    pip.simple_page(project, "absent", token)  # the caller is admitted

    for mode, most in ((UpstreamMode.REDIRECT, 5), (UpstreamMode.CACHE, 11)):
        InstanceSettings.current().pypi_upstream_mode = mode
        factories.commit()
        pip.simple_page(project, f"before-{mode}", token)
        db.session.remove()
        del statements[:]
        assert pip.simple_page(project, f"other-{mode}", token).status_code in (302, 404)
        looked_up = [statement for statement in statements if statement.startswith("SELECT packages.name")]
        assert (len(looked_up), len(statements) <= most) == (1, True), statements


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


def test_a_file_and_its_metadata_come_through_the_page_of_their_name(
    pip: Pip, project: Project, group, token, upstream: StaticIndex
):
    for namespace in (project, group):
        assert pip.download(namespace, WHEEL, token).data == WHEEL.content
        assert pip.download(namespace, SDIST, token, headers={"Range": "bytes=0-9"}).status_code in (200, 206)
        assert pip.download(namespace, WHEEL, token, suffix=".metadata").data == METADATA

    paths = [request.path for request in upstream.requests]
    assert (paths.count("/simple/public/"), paths.count(f"/files/{WHEEL.filename}")) == (1, 1)


def test_a_file_that_the_page_does_not_offer_is_not_given_out(pip: Pip, project: Project, token, upstream: StaticIndex):
    stranger = build_wheel("public", "6.6")
    upstream.put(f"/files/{stranger.filename}", stranger.content)
    InstanceSettings.current().pypi_upstream_fixed_date = datetime(2020, 1, 1, tzinfo=UTC)
    factories.commit()

    absent = pip.download(project, stranger, token, headers={"Accept": JSON})
    withheld = pip.download(project, WHEEL, token, headers={"Accept": JSON})
    metadata = pip.download(project, WHEEL, token, suffix=".metadata", headers={"Accept": JSON})

    assert (absent.status_code, withheld.status_code, metadata.status_code) == (404, 403, 403)
    assert (withheld.content_type, withheld.json["title"]) == ("application/problem+json", "File withheld")
    assert {request.path for request in upstream.requests} == {"/simple/public/"}


def test_a_file_that_was_given_out_is_private_when_its_name_becomes_so(
    pip: Pip, project: Project, token, upstream: StaticIndex
):
    assert pip.download(project, WHEEL, token).status_code == 200
    assert pip.download(project, WHEEL, token).status_code == 200

    factories.published(project, OWN)

    assert pip.download(project, WHEEL, token).status_code == 404


def test_names_of_hidden_projects_are_not_recognized_by_addresses_of_files_without_credentials(
    pip: Pip, outsider: User, upstream: StaticIndex
):
    group = factories.group(visibility=Visibility.PUBLIC)
    public, hidden = (
        factories.project(parent=group, visibility=level) for level in (Visibility.PUBLIC, Visibility.PRIVATE)
    )
    absent = [build_wheel("secret"), build_wheel("nowhere")]
    before = [pip.download(public, file).status_code for file in (*absent, WHEEL)]
    factories.published(hidden, build_wheel("secret", "2.0"))

    def statuses(credentials=None):
        return [pip.download(public, file, credentials).status_code for file in (*absent, SDIST)]

    assert before == [404, 404, 200]
    assert statuses() == [401, 401, 401]
    assert statuses(factories.access_token(outsider)) == [404, 404, 200]


def test_a_new_file_is_found_at_once(pip: Pip, project: Project, token, upstream: StaticIndex, monkeypatch):
    monkeypatch.setattr("registry.domain.upstream.pages.LEAST_SECONDS", 0)
    pip.simple_page(project, "public", token)
    newer = build_wheel("public", "2.0")
    upstream.publish(WHEEL, newer)

    assert pip.download(project, newer, token).data == newer.content


def test_a_malicious_version_is_withheld_at_once_though_it_is_cached(
    pip: Pip, project: Project, token, upstream: StaticIndex
):
    newer = build_wheel("public", "2.0")
    upstream.publish(WHEEL, newer)
    assert pip.download(project, WHEEL, token).status_code == 200
    assert len(pip.simple_page(project, "public", token, JSON).json["files"]) == 2

    load(record("MAL-1", affected("public", versions=("1.0",))))

    assert [file["filename"] for file in pip.simple_page(project, "public", token, JSON).json["files"]] == [
        newer.filename
    ]
    for _ in range(2):
        refused = pip.download(project, WHEEL, token)
        assert refused.status_code == 403
        assert refused.json["detail"].startswith(f"{WHEEL.filename} is withheld. It contains malicious code")
    events = db.session.scalars(audit.events("malicious_download_refused")).all()
    assert [(event.target, event.namespace_id) for event in events] == [(WHEEL.filename, project.id)]


def test_a_rule_and_an_exception_count_at_once_on_the_page_and_at_the_address_of_a_file(
    pip: Pip, project: Project, group, token, owner, rest, upstream: StaticIndex
):
    young = build_wheel("young", "2.0")
    upstream.publish(young, **{"upload-time": utcnow().isoformat()})
    settings, secret = f"/groups/{group.id}/package_settings", factories.access_token(owner)
    before = pip.simple_page(project, "young", token, accept=JSON)
    offered = pip.download(project, young, token)

    rest.put(settings, secret, {"pypi_upstream_minimum_age_days": 7})
    gated = pip.simple_page(project, "young", token, accept=JSON)
    refused = pip.download(project, young, token)
    explained = rest.get(f"/projects/{project.id}/packages/pypi/explain?name=Young&version=2", token)
    exception = rest.post(
        f"/groups/{group.id}/upstream_exceptions", secret, {"pattern": "young==2.0", "reason": "needed"}
    ).json
    excepted = pip.simple_page(project, "young", token, accept=JSON)
    rest.delete(f"/groups/{group.id}/upstream_exceptions/{exception['id']}", secret)

    assert len(before.json["files"]) == 1
    assert offered.status_code == 200
    assert (gated.json["files"], gated.json["versions"]) == ([], [])
    assert (refused.status_code, refused.content_type) == (403, "application/problem+json")
    assert "the group acme offers files 7 days after their upload, this one from" in refused.json["detail"]
    (decision,) = explained.json["files"]
    assert explained.json["source"] == "upstream"
    assert (decision["decision"], decision["rule"], decision["set_in"]) == ("withheld", "age", "acme")
    assert len(excepted.json["files"]) == 1
    assert pip.download(project, young, token).status_code == 403


def test_a_name_is_explained_by_its_source(pip: Pip, project: Project, group, token, rest, upstream: StaticIndex):
    def asked(name: str) -> dict[str, object]:
        return rest.get(f"/groups/{group.id}/packages/pypi/explain?name={name}", token).json

    def explained(name: str) -> tuple[str, list[str]]:
        answer = asked(name)
        return answer["source"], [f"{file['filename']} {file['decision']}" for file in answer["files"]]

    factories.published(project, build_wheel("own"))
    factories.published(project, build_wheel("gone"))
    gone = db.session.scalars(select(Package).where(Package.name == "gone")).one()
    deletion.delete_package(gone, project, by=SHELL)

    assert explained("own") == ("private", ["own-1.0-py3-none-any.whl offered"])
    assert explained("gone") == ("reserved", [])
    assert explained("absent") == ("none", [])
    assert explained("public") == ("upstream", [f"{WHEEL.filename} offered", f"{SDIST.filename} offered"])
    BLOCKED.change(group, value=["public"], by=SHELL)
    rules = {name: (asked(name)["rule"], asked(name)["set_in"]) for name in ("public", "gone", "own")}
    assert rules == {"public": ("blocked", "acme"), "gone": ("reserved", "acme"), "own": (None, None)}
    assert explained("public") == ("upstream", [f"{WHEEL.filename} withheld", f"{SDIST.filename} withheld"])
    FORWARDING.change(group, value=False, by=SHELL)
    assert explained("public") == ("off", [])
    assert rest.get(f"/groups/{group.id}/packages/pypi/explain?name=no%20name", token).json == {
        "error": 'name is "no name", expected is a package name'
    }
