"""Simple index and simple page: access, formats, links, and forwarding."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, timedelta
from urllib.parse import quote

import html5lib
import pytest
from flask import current_app, render_template
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import event, select

from registry.database import db, utcnow
from registry.domain import access, forwarding, instance, namespaces
from registry.domain.cascade import JOB_ALLOWLISTS
from registry.domain.operation import cleanup
from registry.domain.packages import deletion, releases, simple
from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.models import (
    Membership,
    NameStatus,
    Package,
    PackageFile,
    PackageStatus,
    RegistryAccess,
    Role,
    UserNamespace,
    Visibility,
)
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import JSON, links, pypi_path
from tests.tables import each

V1_HTML = "application/vnd.pypi.simple.v1+html"
LATEST_JSON = "application/vnd.pypi.simple.latest+json"
LATEST_HTML = "application/vnd.pypi.simple.latest+html"
PIP = f"{JSON}, {V1_HTML}; q=0.1, text/html; q=0.01"
UV = f"{JSON}, {V1_HTML};q=0.2, text/html;q=0.01"

WHEEL = build_wheel(name="demo", version="1.0", requires_python=">=3.8,<4")
SDIST = build_sdist(name="demo", version="1.0")


@pytest.fixture
def token(owner):
    return factories.access_token(owner, "read_api")


@pytest.fixture
def published_project(project, owner, twine):
    """``project`` with a wheel and an sdist of demo 1.0."""
    publishing_token = factories.access_token(owner)
    for file in (WHEEL, SDIST):
        assert twine.upload(project, file, publishing_token).status_code == 201
    return project


@each(
    ("accept", "answer"),
    [
        (None, "text/html; charset=utf-8"),
        ("", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("text/*", "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        (JSON, JSON),
        (V1_HTML, V1_HTML),
        (LATEST_JSON, JSON),
        (LATEST_HTML, V1_HTML),
        (PIP, JSON),
        (UV, JSON),
        (f"{JSON}, */*;q=0.1", JSON),
        (f"{JSON};q=0, text/html", "text/html; charset=utf-8"),
        (f"{JSON};q=0, */*", "text/html; charset=utf-8"),
        (f"{V1_HTML};q=0.5, {JSON};q=0.4", V1_HTML),
        (f"{JSON};q=0.2, {V1_HTML};q=0.3, text/html;q=0.1", V1_HTML),
        (JSON.upper(), JSON),
        ("application/json", "text/html; charset=utf-8"),
        ("application/vnd.pypi.simple.v2+json", "text/html; charset=utf-8"),
        ("rubbish;;;,,q=x", "text/html; charset=utf-8"),
        (f"{JSON};q=nonsense", JSON),
    ],
)
def test_the_form_follows_accept(client, published_project, token, accept, answer):
    headers = {"PRIVATE-TOKEN": token} | ({} if accept is None else {"Accept": accept})

    for path in ("/simple/", "/simple/demo/"):
        response = client.get(pypi_path(published_project) + path, headers=headers)

        assert response.status_code == 200
        if accept == f"{JSON};q=nonsense":
            continue
        assert response.headers.getlist("Content-Type") == [answer]
        assert response.headers["Vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize("form", [JSON, V1_HTML, LATEST_JSON])
def test_format_in_the_address_wins(pip, published_project, token, form):
    response = pip.get(
        f"{pypi_path(published_project)}/simple/demo/?format={form.replace('+', '%2B')}", token, accept="text/html"
    )

    assert response.content_type == {LATEST_JSON: JSON}.get(form, form)


@pytest.fixture
def large(project, owner, twine):
    """``project`` with so many files of demo that its pages are worth compressing."""
    publishing_token = factories.access_token(owner)
    for version in range(3):
        assert twine.upload(project, build_wheel("demo", f"1.{version}"), publishing_token).status_code == 201
    return project


@pytest.mark.parametrize("form", [JSON, "text/html"])
def test_a_page_is_compressed_for_clients_that_accept_gzip(pip, large, token, form):
    plain = pip.simple_page(large, "demo", token, accept=form)
    packed = pip.simple_page(large, "demo", token, accept=form, headers={"Accept-Encoding": "gzip, deflate"})

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data)
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept, Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]


def test_an_encoded_page_is_revalidated_by_its_own_etag(pip, large, token):
    def status(etag, encoding):
        headers = {"If-None-Match": etag, "Accept-Encoding": encoding}
        return pip.simple_page(large, "demo", token, headers=headers).status_code

    etags = {
        encoding: pip.simple_page(large, "demo", token, headers={"Accept-Encoding": encoding}).headers["ETag"]
        for encoding in ("gzip", "identity")
    }

    assert status(etags["gzip"], "gzip") == status(etags["identity"], "identity") == 304
    assert status(etags["identity"], "gzip") == status(etags["gzip"], "identity") == 200


@pytest.mark.parametrize("encodings", ["identity", "gzip;q=0", "br", ""])
def test_a_page_is_not_compressed_for_clients_that_do_not_accept_gzip(pip, large, token, encodings):
    response = pip.simple_page(large, "demo", token, headers={"Accept-Encoding": encodings})

    assert "Content-Encoding" not in response.headers


def test_a_page_of_one_packet_and_a_file_are_not_encoded(pip, published_project, token):
    headers = {"Accept-Encoding": "gzip"}

    assert "Content-Encoding" not in pip.index(published_project, token, headers=headers).headers
    sdist = links(pip.simple_page(published_project, "demo", token).text)[1]
    assert "Content-Encoding" not in pip.get(sdist.href, token, headers=headers).headers


def test_a_page_in_html(pip, published_project, token):
    response = pip.simple_page(published_project, "demo", token)

    assert response.text.startswith("<!DOCTYPE html>")
    assert "<title>Links for demo</title>" in response.text
    wheel, sdist = links(response.text)
    base = f"http://localhost{pypi_path(published_project)}/files"
    assert (wheel.text, wheel.href) == (WHEEL.filename, f"{base}/{WHEEL.sha256}/{WHEEL.filename}#sha256={WHEEL.sha256}")
    assert wheel.attributes["data-requires-python"] == ">=3.8,<4"
    assert "&gt;=3.8,&lt;4" in response.text
    assert (sdist.text, sdist.attributes["data-requires-python"]) == (SDIST.filename, "")


def test_a_page_in_json(pip, published_project, token):
    page = pip.simple_page(published_project, "demo", token, accept=JSON).json

    wheel, sdist = page["files"]
    assert (page["meta"]["api-version"], page["name"], page["versions"]) == ("1.4", "demo", ["1.0"])
    assert wheel["filename"] == WHEEL.filename
    assert wheel["url"] == f"http://localhost{pypi_path(published_project)}/files/{WHEEL.sha256}/{WHEEL.filename}"
    assert wheel["hashes"] == {"sha256": WHEEL.sha256}
    assert wheel["size"] == len(WHEEL.content)
    assert wheel["requires-python"] == ">=3.8,<4"
    assert wheel["upload-time"].endswith("Z")
    assert "requires-python" not in sdist
    assert not any("dist-info-metadata" in file for file in page["files"])


# What HTML can hold. No upload and no reason brings in the rest: control characters, halves of pairs, non-characters.
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs", "Cn"))
TEXT = st.text(CHARACTERS, max_size=40)
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
FILES = st.builds(
    SimpleFile,
    filename=st.text(CHARACTERS, min_size=1, max_size=40),
    url=TEXT.map(lambda path: f"https://registry.test/files/{quote(path)}"),
    sha256=DIGEST,
    size_bytes=st.none() | st.integers(0, 2**40),
    requires_python=TEXT,
    uploaded_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    core_metadata_sha256=st.none() | DIGEST,
    yanked_reason=st.none() | st.just("") | TEXT,
    provenance=st.none() | TEXT.map(lambda path: f"https://registry.test/provenance/{quote(path)}"),
)
PAGES = st.builds(
    SimplePage,
    name=TEXT,
    title=TEXT,
    versions=st.just(("1.0",)),
    files=st.lists(FILES, max_size=4).map(tuple),
    status=st.sampled_from([str(status) for status in NameStatus]),
    status_reason=TEXT,
)


def content_of_html(html):
    """The content of an HTML page as JSON; strictly parsed."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    meta = {element.get("name"): element.get("content") for element in tree.iter("meta")}
    files = []
    for anchor in tree.iter("a"):
        url, _, sha256 = anchor.get("href").partition("#sha256=")
        files.append(
            {
                "filename": anchor.text,
                "url": url,
                "hashes": {"sha256": sha256},
                "yanked": anchor.get("data-yanked") is not None and (anchor.get("data-yanked") or True),
            }
        )
        if anchor.get("data-size") is not None:
            files[-1]["size"] = int(anchor.get("data-size"))
        for key in ("upload-time", "provenance"):
            if anchor.get(f"data-{key}") is not None:
                files[-1][key] = anchor.get(f"data-{key}")
        if anchor.get("data-requires-python"):
            files[-1]["requires-python"] = anchor.get("data-requires-python")
        assert anchor.get("data-core-metadata") == anchor.get("data-dist-info-metadata")
        if anchor.get("data-core-metadata") is not None:
            files[-1]["core-metadata"] = {"sha256": anchor.get("data-core-metadata").removeprefix("sha256=")}
    status = {"status": meta["pypi:project-status"]}
    if "pypi:project-status-reason" in meta:
        status["reason"] = meta["pypi:project-status-reason"]
    return {"meta": {"api-version": meta["pypi:repository-version"]}, "project-status": status, "files": files}


def content_of_json(document):
    """The same of a page in JSON, which alone has the name and the list of versions."""
    return {key: value for key, value in json.loads(document).items() if key not in ("name", "versions")}


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(page=PAGES)
def test_html_and_json_of_any_page_agree(app, page):
    html = render_template("simple/page.html", value=page, api_version=simple.API_VERSION)

    assert content_of_html(html) == content_of_json(simple.page_json(page))


STATES = st.fixed_dictionaries(
    {
        "yanks": st.lists(st.none() | st.sampled_from(["", "Loses data", '"<b>" & more']), min_size=3, max_size=3),
        "status": st.sampled_from(NameStatus),
        "reason": st.sampled_from(["", "Use <demo2>"]),
    }
)


@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(state=STATES)
def test_html_and_json_of_any_published_file_agree(pip, published_project, group, token, state):
    files = db.session.scalars(select(PackageFile)).all()
    if len(files) == 2:  # the first example
        files = [*files, factories.published(factories.project("other", parent=group), build_wheel(version="2.0"))]
    for file, reason in zip(files, state["yanks"], strict=True):
        file.yanked_reason = reason
    factories.commit()
    releases.set_name_status(published_project, "demo", state["status"], state["reason"], by=access.SHELL)

    for namespace in (published_project, group):
        html, document = (pip.simple_page(namespace, "demo", token, accept=form).text for form in (V1_HTML, JSON))
        assert content_of_html(html) == content_of_json(document)


def test_a_yanked_file_is_marked_and_stays_downloadable(pip, published_project, group, token):
    package = db.session.scalars(select(Package)).one()
    wheel, sdist = db.session.scalars(select(PackageFile).order_by(PackageFile.id))
    releases.yank_file(wheel, package, published_project, 'Loses "data" & more', by=access.SHELL)
    releases.yank_file(sdist, package, published_project, by=access.SHELL)

    for namespace in (published_project, group):
        html = pip.simple_page(namespace, "demo", token).text
        document = pip.simple_page(namespace, "demo", token, accept=JSON).json

        assert [link.attributes["data-yanked"] for link in links(html)] == ['Loses "data" & more', ""]
        assert [file["yanked"] for file in document["files"]] == ['Loses "data" & more', True]
        for file in (WHEEL, SDIST):
            assert pip.download(namespace, file, token).status_code == 200
            assert pip.index(namespace, token, accept=JSON).json["projects"] == [{"name": "demo"}]

    releases.unyank_version(package, published_project, by=access.SHELL)
    assert not any(
        "data-yanked" in link.attributes for link in links(pip.simple_page(published_project, "demo", token).text)
    )


@pytest.mark.parametrize("status", NameStatus)
def test_a_page_shows_the_status_of_its_name_in_both_forms(pip, published_project, group, token, status):
    releases.set_name_status(published_project, "demo", status, "Use <demo2>", by=access.SHELL)

    for namespace in (published_project, group):
        html = pip.simple_page(namespace, "demo", token).text
        document = pip.simple_page(namespace, "demo", token, accept=JSON).json

        assert f'<meta name="pypi:project-status" content="{status}">' in html
        assert '<meta name="pypi:project-status-reason" content="Use &lt;demo2&gt;">' in html
        assert document["project-status"] == {"status": status, "reason": "Use <demo2>"}
        assert document["versions"] == ["1.0"]
        assert len(document["files"]) == len(links(html)) == (0 if status is NameStatus.QUARANTINED else 2)


def test_a_quarantined_name_offers_nothing_and_is_never_forwarded(pip, published_project, group, token):
    releases.set_name_status(published_project, "demo", NameStatus.QUARANTINED, "Malware", by=access.SHELL)
    for _ in range(2):
        for namespace in (published_project, group):
            page = pip.simple_page(namespace, "demo", token, accept=JSON)

            assert (page.status_code, page.json["files"]) == (200, [])
            for suffix in ("", ".metadata"):
                assert pip.download(namespace, WHEEL, token, suffix=suffix).status_code == 403
        for package in db.session.scalars(select(Package).where(Package.status == PackageStatus.DEFAULT)):
            deletion.delete_package(package, published_project, by=access.SHELL)

    releases.set_name_status(published_project, "demo", NameStatus.ACTIVE, by=access.SHELL)
    assert pip.simple_page(published_project, "demo", token).status_code == 404
    cleanup.run(current_app.extensions["storage"], utcnow())
    assert pip.simple_page(published_project, "demo", token).status_code == 404


@pytest.mark.parametrize("ending", ["", "/", "//"])
def test_a_name_is_found_in_any_spelling_without_redirect(pip, twine, project, owner, token, ending):
    wheel = build_wheel(name="My_Pkg", version="1.0")
    assert twine.upload(project, wheel, factories.access_token(owner)).status_code == 201

    for asked in ("My.Pkg", "my-pkg", "MY_PKG", "my....pkg", "my-_.pkg"):
        response = pip.get(f"{pypi_path(project)}/simple//{asked}{ending}", token)

        assert response.status_code == 200, asked
        assert [link.text for link in links(response.text)] == [wheel.filename]


@pytest.mark.parametrize(
    ("spelling", "is_group"),
    [("acme%2Ftools", False), ("acme%2ftools", False), ("Acme%2FTools", False), ("acme/tools", False), ("acme", True)],
)
def test_links_repeat_the_id_as_the_client_spelled_it(pip, published_project, token, spelling, is_group):
    base = pypi_path(spelling, group=is_group)

    page = pip.get(f"{base}/simple/demo/", token)
    index = pip.get(f"{base}/simple/", token)

    assert [link.href.partition("#")[0] for link in links(page.text)] == [
        f"http://localhost{base}/files/{file.sha256}/{file.filename}" for file in (WHEEL, SDIST)
    ]
    assert [link.href for link in links(index.text)] == [f"http://localhost{base}/simple/demo"]
    for link in links(page.text):
        assert pip.get(link.href.partition("#")[0].removeprefix("http://localhost"), token).status_code == 200


def test_the_page_below_the_upload_address_is_the_same(pip, published_project, token):
    base = pypi_path(published_project)

    assert pip.get(f"{base}/+simple/demo/", token).data == pip.get(f"{base}/simple/demo/", token).data


def test_head_is_get_without_a_body(pip, published_project, token):
    for path in ("/simple/", "/simple/demo/"):
        got, head = (pip.get(pypi_path(published_project) + path, token, method=method) for method in ("GET", "HEAD"))

        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Length"] == got.headers["Content-Length"]
        assert head.headers["ETag"] == got.headers["ETag"]


def test_a_page_is_revalidated_by_its_etag_and_changes_with_the_next_upload(
    pip, twine, published_project, owner, token
):
    first = pip.simple_page(published_project, "demo", token, accept=JSON)
    headers = {"If-None-Match": first.headers["ETag"]}

    again = pip.simple_page(published_project, "demo", token, accept=JSON, headers=headers)

    assert (again.status_code, again.data) == (304, b"")
    assert not first.headers["ETag"].startswith("W/")
    assert first.headers["Cache-Control"] == "no-cache, private"
    assert pip.simple_page(published_project, "demo", token, headers=headers).status_code == 200
    twine.upload(published_project, build_wheel(name="demo", version="2.0"), factories.access_token(owner))
    assert pip.simple_page(published_project, "demo", token, accept=JSON, headers=headers).status_code == 200


def test_a_record_without_files_is_an_empty_page_and_not_forwarded(pip, published_project, owner, token):
    for file in db.session.scalars(select(PackageFile)):
        package = db.session.get_one(Package, file.package_id)
        deletion.delete_file(file, package, published_project, by=access.SHELL)

    response = pip.simple_page(published_project, "demo", token)

    assert (response.status_code, links(response.text)) == (200, [])


@pytest.mark.parametrize(
    ("status", "listed"), [(PackageStatus.DEFAULT, True), (PackageStatus.PENDING_DESTRUCTION, False)]
)
def test_a_deleted_package_is_not_found(pip, published_project, token, status, listed):
    db.session.scalars(select(Package)).one().status = status
    factories.commit()

    assert pip.simple_page(published_project, "demo", token).status_code == (200 if listed else 404)
    assert pip.download(published_project, WHEEL, token).status_code == (200 if listed else 404)
    assert len(links(pip.index(published_project, token).text)) == (1 if listed else 0)


def test_foreign_text_is_escaped(pip, project, token):
    project.name = "<script>alert(1)</script>&"
    package = Package(project_id=project.id, name='<b>"x', version="1", normalized_name="x")
    db.session.add(
        PackageFile(
            package=package, project_id=project.id, filename='<i>"x.whl', size_bytes=1, sha256="0" * 64, md5="",
            blake2b_256="", requires_python='">=3<"',
        )
    )  # fmt: skip
    factories.commit()

    index, page = pip.index(project, token).text, pip.simple_page(project, "x", token).text

    assert "<script>" not in index
    assert "<b>" not in index + page
    assert "<i>" not in page
    assert links(page)[0].attributes["data-requires-python"] == '">=3<"'


def test_the_index_lists_every_name_once(pip, twine, published_project, owner, token):
    for name, version in (("Zeta", "1"), ("alpha", "1"), ("demo", "2.0")):
        twine.upload(published_project, build_wheel(name=name, version=version), factories.access_token(owner))

    html, as_json = pip.index(published_project, token), pip.index(published_project, token, accept=JSON)

    assert [link.text for link in links(html.text)] == ["alpha", "demo", "Zeta"]
    assert as_json.json == {
        "meta": {"api-version": "1.4"},
        "projects": [{"name": "alpha"}, {"name": "demo"}, {"name": "zeta"}],
    }
    assert f"<h1>Links for {published_project.name}</h1>" in html.text


def test_an_empty_index_is_no_error(pip, project, group, token):
    for namespace in (project, group):
        assert pip.index(namespace, token).status_code == 200
        assert pip.index(namespace, token, accept=JSON).json["projects"] == []


def _readers(project, group):
    """The callers of the matrices below, by name: functions that create their credentials."""
    foreign = factories.project()
    reporter = factories.member(project, Role.REPORTER)
    foreign_member = factories.member(foreign, Role.DEVELOPER)
    expired = factories.access_token(reporter, "read_api", expires_on=utcnow().date())
    ended, ended_secret = factories.job(project, reporter)
    ended.expires_at = utcnow() - timedelta(seconds=1)
    factories.commit()
    allowed_project = factories.project()
    namespaces.allow_job_source(project, allowed_project, by=access.SHELL)
    return {
        "anonymous": lambda: None,
        "bad Basic": lambda: ("somebody", "nonsense"),
        "bad job token": lambda: ("gitlab-ci-token", "nonsense"),
        "ended job": lambda: ("gitlab-ci-token", ended_secret),
        "expired access token": lambda: expired,
        "wrong scope": lambda: factories.access_token(reporter, "read_user", "read_repository"),
        "stranger": lambda: factories.access_token(factories.user()),
        "external stranger": lambda: factories.access_token(factories.user(is_external=True)),
        "guest": lambda: factories.access_token(factories.member(project, Role.GUEST)),
        "reporter": lambda: factories.access_token(reporter, "read_api"),
        "reporter of the group": lambda: factories.access_token(factories.member(group, Role.REPORTER)),
        "guest of the group": lambda: factories.access_token(factories.member(group, Role.GUEST)),
        "administrator": lambda: factories.access_token(factories.user(is_admin=True)),
        "deploy token": lambda: factories.deploy_token(project, "read_package_registry"),
        "writing deploy token": lambda: factories.deploy_token(project, "write_package_registry"),
        "deploy token of the group": lambda: factories.deploy_token(group),
        "deploy token without package scope": lambda: factories.deploy_token(project, "read_repository"),
        "foreign deploy token": lambda: factories.deploy_token(foreign),
        "expired deploy token": lambda: factories.deploy_token(project, expires_at=utcnow()),
        "job": lambda: ("gitlab-ci-token", factories.job(project, reporter)[1]),
        "job of an allowed project": lambda: ("gitlab-ci-token", factories.job(allowed_project, reporter)[1]),
        "job elsewhere": lambda: ("gitlab-ci-token", factories.job(foreign, reporter)[1]),
        "job of a stranger": lambda: ("gitlab-ci-token", factories.job(foreign, foreign_member)[1]),
    }


PROJECT_MATRIX = [
    ("anonymous", 200, 401, 401),
    ("bad Basic", 200, 401, 401),
    ("bad job token", 401, 401, 401),
    ("ended job", 401, 401, 401),
    ("expired access token", 401, 401, 401),
    ("wrong scope", 403, 403, 403),
    ("stranger", 200, 200, 404),
    ("external stranger", 200, 404, 404),
    ("guest", 200, 200, 403),
    ("reporter", 200, 200, 200),
    ("reporter of the group", 200, 200, 200),
    ("administrator", 200, 200, 200),
    ("deploy token", 200, 200, 200),
    ("writing deploy token", 200, 200, 200),
    ("deploy token of the group", 200, 200, 200),
    ("deploy token without package scope", 200, 404, 404),
    ("foreign deploy token", 200, 404, 404),
    ("expired deploy token", 200, 401, 401),
    ("job", 200, 200, 200),
    ("job of an allowed project", 200, 200, 200),
    ("job elsewhere", 200, 200, 404),
    ("job of a stranger", 200, 200, 404),
]


def expected_of(matrix, visibility):
    """The expected status by caller."""
    column = 1 + [Visibility.PUBLIC, Visibility.INTERNAL, Visibility.PRIVATE].index(visibility)
    return {row[0]: row[column] for row in matrix}


@pytest.mark.parametrize("visibility", list(Visibility), ids=lambda visibility: visibility.label)
def test_who_can_read_a_project(app, pip, twine, visibility):
    group = factories.group(visibility=Visibility.PUBLIC)
    project = factories.project(parent=group, visibility=visibility)
    twine.upload(project, WHEEL, factories.deploy_token(project))
    readers = _readers(project, group)

    for caller, expected in expected_of(PROJECT_MATRIX, visibility).items():
        credentials = readers[caller]()
        for response in (
            pip.index(project, credentials),
            pip.simple_page(project, "demo", credentials),
            pip.download(project, WHEEL, credentials),
            pip.download(project, WHEEL, credentials, suffix=".metadata"),
        ):
            assert response.status_code == expected, (caller, response.text)
            assert (expected == 401) == ("Basic realm=" in response.headers.get("WWW-Authenticate", "")), caller


GROUP_MATRIX = [
    ("anonymous", 200, 401, 401),
    ("bad Basic", 200, 401, 401),
    ("stranger", 200, 403, 404),
    ("guest", 200, 403, 403),  # member of a project below
    ("reporter", 200, 403, 403),  # member of a project below
    ("guest of the group", 200, 403, 403),
    ("reporter of the group", 200, 200, 200),
    ("administrator", 200, 200, 200),
    ("deploy token of the group", 200, 200, 200),
    ("deploy token", 200, 404, 404),
    ("foreign deploy token", 200, 404, 404),
]


@pytest.mark.parametrize("visibility", list(Visibility), ids=lambda visibility: visibility.label)
def test_who_can_read_a_group(app, pip, twine, visibility):
    group = factories.group(visibility=visibility)
    project = factories.project(parent=group, visibility=visibility)
    twine.upload(project, WHEEL, factories.deploy_token(project))
    readers, expected = _readers(project, group), expected_of(GROUP_MATRIX, visibility)

    assert {caller: pip.index(group, readers[caller]()).status_code for caller in expected} == expected


def test_a_group_shows_exactly_the_packages_the_caller_can_read(app, pip, twine):
    group = factories.group(visibility=Visibility.PUBLIC)
    below = factories.group(parent=group, visibility=Visibility.PUBLIC)
    projects = {visibility.label: factories.project(parent=below, visibility=visibility) for visibility in Visibility}
    projects["switched off"] = factories.project(
        parent=group, visibility=Visibility.PUBLIC, registry_access=RegistryAccess.DISABLED
    )
    projects["members only"] = factories.project(
        parent=group, visibility=Visibility.PUBLIC, registry_access=RegistryAccess.PRIVATE
    )
    projects["anyone may pull"] = factories.project(
        parent=group, visibility=Visibility.PRIVATE, registry_access=RegistryAccess.PUBLIC
    )
    wheels = {}
    for label, project in projects.items():
        wheels[label] = build_wheel(name=label.replace(" ", "-"), version="1.0")
        project.registry_access, before = RegistryAccess.ENABLED, project.registry_access
        factories.commit()
        assert twine.upload(project, wheels[label], factories.deploy_token(project)).status_code == 201
        project.registry_access = before
        factories.commit()
    everybody = {"public"}
    expected = {
        "anonymous": (None, everybody),
        "stranger": (factories.access_token(factories.user()), everybody | {"internal"}),
        "external": (factories.access_token(factories.user(is_external=True)), everybody),
        "reporter": (
            factories.access_token(factories.member(group, Role.REPORTER)),
            everybody | {"internal", "private", "members only", "anyone may pull"},
        ),
        "project token": (factories.deploy_token(projects["private"]), {"private"}),
        "group token": (
            factories.deploy_token(group), everybody | {"internal", "private", "members only", "anyone may pull"},
        ),
        "subgroup token on the subgroup": (factories.deploy_token(below), {"public", "internal", "private"}),
    }  # fmt: skip

    for who, (credentials, labels) in expected.items():
        scope = below if who.startswith("subgroup") else group
        index = pip.index(scope, credentials, accept=JSON).json

        assert {entry["name"] for entry in index["projects"]} == {wheels[label].name for label in labels}, who
        for label, wheel in wheels.items():
            status = pip.download(scope, wheel, credentials).status_code
            assert status == (200 if label in labels else 404 if credentials else 401), (who, label)


def test_a_job_reads_through_a_group_what_the_allowlists_deny_unless_they_count_there(app, pip, rest, twine):
    group = factories.group(visibility=Visibility.PUBLIC)
    guarded = factories.group(parent=group, visibility=Visibility.PUBLIC)
    own, listed, closed, beside = (
        factories.project(name, parent=parent)
        for name, parent in (("own", group), ("listed", guarded), ("closed", guarded), ("beside", group))
    )
    for project in (own, listed, closed, beside):
        twine.upload(project, build_wheel(name=project.path, version="1"), factories.deploy_token(project))
    namespaces.allow_job_source(listed, own, by=access.SHELL)
    owner = factories.member(group, Role.OWNER)
    job, owner_token = ("gitlab-ci-token", factories.job(own, owner)[1]), factories.access_token(owner)

    def read(scope):
        names = {entry["name"] for entry in pip.index(scope, job, accept=JSON).json["projects"]}
        answers = {name: pip.simple_page(scope, name, job).status_code for name in ("listed", "closed", "beside")}
        assert {name for name, status in answers.items() if status == 200} == names - {"own"}
        assert set(answers.values()) <= {200, 404} or scope is guarded
        return names

    def enforce(of, value, lock=False):
        changes = {JOB_ALLOWLISTS.name: value, JOB_ALLOWLISTS.lock_name: lock}
        return rest.put(f"/groups/{of.id}/package_settings", owner_token, changes).status_code

    assert pip.index(closed, job).status_code == 404
    assert read(group) == {"own", "listed", "closed", "beside"}
    assert enforce(guarded, True) == 200
    assert read(group) == {"own", "listed", "beside"}, "the group above does not read past it"
    assert read(guarded) == {"listed"}
    assert enforce(group, False, lock=True) == 200
    assert read(group) == {"own", "listed", "closed", "beside"}, "the lock above counts"
    assert enforce(group, True, lock=True) == 200
    assert read(group) == {"own", "listed"}
    assert enforce(guarded, False) == 400
    assert pip.simple_page(group, "closed", owner_token).status_code == 200


def test_a_deploy_token_of_a_parent_group_works_on_a_subgroup_and_sees_its_tree(app, pip, twine):
    group = factories.group()
    inside = factories.project(parent=factories.group(parent=group))
    beside = factories.project(parent=group)
    for project, name in ((inside, "inside"), (beside, "beside")):
        twine.upload(project, build_wheel(name=name, version="1"), factories.deploy_token(project))

    index = pip.index(inside.parent, factories.deploy_token(group), accept=JSON)

    assert [entry["name"] for entry in index.json["projects"]] == ["inside"]


@pytest.mark.parametrize("path", ["4711", "nobody%2Fnothing"])
def test_an_unknown_namespace_is_always_404(pip, token, path):
    for is_group in (True, False):
        for credentials in (None, token, ("gitlab-ci-token", "nonsense")):
            response = pip.get(f"{pypi_path(path, group=is_group)}/simple/demo/", credentials)

            assert response.status_code == 404
            assert response.json["message"] == "404 Not Found"


def test_a_users_own_space_is_no_group(pip, owner, token):
    space = namespaces.find(owner.username, UserNamespace)

    for reference in (space.id, owner.username):
        assert pip.get(f"{pypi_path(reference, group=True)}/simple/", token).status_code == 404


def test_anyone_can_pull_where_a_project_allows_it_unless_the_instance_forbids(app, pip, twine):
    project = factories.project(registry_access=RegistryAccess.PUBLIC)
    twine.upload(project, WHEEL, factories.deploy_token(project))

    assert pip.simple_page(project, "demo").status_code == 200
    instance.change_instance(
        instance.InstanceChanges(package_registry_allow_anyone_to_pull_option=False), by=access.SHELL
    )
    assert pip.simple_page(project, "demo").status_code == 401


def test_guests_pull_where_the_instance_lets_them(pip, published_project, guest):
    token = factories.access_token(guest)

    assert pip.simple_page(published_project, "demo", token).status_code == 403
    instance.change_instance(instance.InstanceChanges(allow_guest_plus_roles_to_pull_packages=True), by=access.SHELL)
    assert pip.simple_page(published_project, "demo", token).status_code == 200


def test_a_registry_that_is_switched_off_is_403_where_the_project_is_seen(app, pip):
    public = factories.project(visibility=Visibility.PUBLIC, registry_access=RegistryAccess.DISABLED)
    private = factories.project(registry_access=RegistryAccess.DISABLED)
    owner, stranger = factories.member(private, Role.OWNER), factories.user()

    assert pip.index(public).status_code == 403
    assert pip.index(private).status_code == 401
    assert pip.index(private, factories.access_token(stranger)).status_code == 404
    assert pip.index(private, factories.access_token(owner)).status_code == 403


@pytest.mark.parametrize("asked", ["unknown", "Un.Known", "un_known", "UN-_KNOWN"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unknown_name_is_forwarded_in_normalized_form(pip, project, group, token, asked, method):
    for namespace in (project, group):
        for accept in ("*/*", PIP):
            response = pip.simple_page(namespace, asked, token, accept=accept, method=method)

            normalized = "unknown" if asked == "unknown" else "un-known"
            assert response.status_code == 302
            assert response.headers["Location"] == f"https://upstream.test/simple/{normalized}/"


def test_forwarding_switched_off_is_404(pip, project, group, token):
    forwarding.change_forwarding(group, value=False, by=access.SHELL)

    for namespace in (project, group):
        response = pip.simple_page(namespace, "unknown", token)

        assert (response.status_code, response.json["message"]) == (404, "404 Package Not Found")


@pytest.mark.parametrize("caller", ["anonymous", "guest", "stranger"])
def test_callers_who_cannot_read_are_not_forwarded(pip, project, guest, outsider, caller):
    credentials = {
        "anonymous": None,
        "guest": factories.access_token(guest),
        "stranger": factories.access_token(outsider),
    }[caller]

    response = pip.simple_page(project, "unknown", credentials)

    assert response.status_code == {"anonymous": 401, "guest": 403, "stranger": 404}[caller]


def test_a_name_published_here_is_never_forwarded(pip, published_project, group, token):
    for namespace in (published_project, group):
        assert pip.simple_page(namespace, "Demo", token).status_code == 200


def test_where_a_group_hides_something_an_anonymous_caller_is_asked_to_sign_in(app, pip, twine):
    group = factories.group(visibility=Visibility.PUBLIC)
    private = factories.project(parent=group)
    twine.upload(private, build_wheel(name="secret", version="1"), factories.deploy_token(private))
    stranger = factories.access_token(factories.user())

    for name in ("secret", "nowhere"):
        assert pip.simple_page(group, name).status_code == 401, "no telling whether the name exists"
    assert pip.simple_page(group, "nowhere", stranger).status_code == 302


def test_a_name_held_below_a_group_is_never_forwarded_to_callers_who_cannot_read_it(app, pip, twine):
    """Another package of the name, by anyone, could be on the upstream index."""
    group = factories.group(visibility=Visibility.PUBLIC)
    private, switched_off, emptied = (factories.project(parent=group) for _ in range(3))
    for project, name in ((private, "secret"), (switched_off, "off"), (emptied, "gone")):
        twine.upload(project, build_wheel(name=name, version="1"), factories.deploy_token(project))
    deletion.delete_package(
        db.session.scalars(select(Package).where(Package.name == "gone")).one(), emptied, by=access.SHELL
    )
    removed, expired = (factories.member(private, Role.REPORTER) for _ in range(2))
    namespaces.remove_member(private, removed, by=access.SHELL)
    membership = db.session.scalars(select(Membership).filter_by(user_id=expired.id, namespace_id=private.id)).one()
    membership.expires_on = utcnow().date() - timedelta(days=1)
    switched_off.registry_access = RegistryAccess.DISABLED
    factories.commit()
    outsiders = {
        "stranger": factories.access_token(factories.user()),
        "removed member": factories.access_token(removed),
        "guest": factories.access_token(factories.member(group, Role.GUEST)),
        "expired role": factories.access_token(expired),
        "foreign deploy token": factories.deploy_token(factories.project()),
    }
    owner = factories.access_token(factories.member(group, Role.OWNER))

    for name in ("secret", "Secret", "off", "gone", "nowhere"):
        expected = 302 if name == "nowhere" else 404
        statuses = {who: pip.simple_page(group, name, token).status_code for who, token in outsiders.items()}
        assert statuses == dict.fromkeys(outsiders, expected), name
        assert pip.simple_page(group, name, owner).status_code == (200 if name.lower() == "secret" else expected), name
        assert pip.simple_page(group, name).status_code == 401, name


def test_the_names_of_a_hidden_project_with_its_registry_off_are_not_recognized_without_credentials(app, pip, twine):
    group = factories.group(visibility=Visibility.PUBLIC)
    project = factories.project(parent=group)
    twine.upload(project, build_wheel(name="secret", version="1"), factories.deploy_token(project))
    project.registry_access = RegistryAccess.DISABLED
    factories.commit()

    assert [pip.simple_page(group, name).status_code for name in ("secret", "nowhere")] == [401, 401]


def test_a_purely_public_group_forwards_for_all(app, pip, twine):
    group = factories.group(visibility=Visibility.PUBLIC)
    project, beside = (factories.project(parent=group, visibility=Visibility.PUBLIC) for _ in range(2))
    twine.upload(project, build_wheel(name="shared", version="1"), factories.deploy_token(project))

    for namespace in (group, project, beside):
        assert pip.simple_page(namespace, "nowhere").status_code == 302
    assert pip.simple_page(beside, "shared").status_code == 404


def test_names_of_hidden_projects_beside_a_public_one_are_not_recognized_without_credentials(app, pip, twine, outsider):
    group = factories.group(visibility=Visibility.PUBLIC)
    public, hidden = (
        factories.project(parent=group, visibility=level) for level in (Visibility.PUBLIC, Visibility.PRIVATE)
    )
    before = pip.simple_page(public, "nowhere").status_code
    twine.upload(hidden, build_wheel(name="secret", version="1"), factories.deploy_token(hidden))
    signed_in = factories.access_token(outsider)

    def statuses(credentials=None):
        return [pip.simple_page(public, name, credentials).status_code for name in ("secret", "nowhere")]

    assert (before, statuses(), statuses(signed_in)) == (302, [401, 401], [404, 302])
    namespaces.delete_namespace(hidden, by=access.SHELL)
    assert (statuses(), statuses(signed_in)) == ([404, 302], [404, 302]), "the name is the public group's then"


@each("name", ["a%2Fb", "..%2F..%2Fevil", "a/b", "%E9", "a%00b", "-", "a%0d%0aSet-Cookie:x", "é", "a b"])
def test_invalid_names_are_never_forwarded(pip, project, token, name):
    response = pip.get(f"{pypi_path(project)}/simple/{name}", token)

    assert response.status_code in (400, 404)


def test_index_and_download_are_never_forwarded(pip, project, token):
    assert pip.index(project, token).status_code == 200
    assert pip.download(project, WHEEL, token).status_code == 404


def test_the_number_of_statements_does_not_depend_on_the_number_of_records(
    pip, twine, published_project, group, owner, token
):
    statements: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))

    reads = {
        "index": lambda namespace: pip.index(namespace, token),
        "page": lambda namespace: pip.simple_page(namespace, "demo", token),
        "download": lambda namespace: pip.download(namespace, WHEEL, token),
        "forwarding": lambda namespace: pip.simple_page(namespace, "nowhere", token),
    }

    def cost(namespace):
        counts = {}
        for name, read in reads.items():
            read(namespace)
            factories.commit()  # cached responses become stale
            del statements[:]
            assert read(namespace).status_code == (302 if name == "forwarding" else 200)
            counts[name] = len(statements)
        return counts

    few = [cost(published_project), cost(group)]
    for number in range(5):
        subgroup = factories.group(parent=group)
        factories.member(subgroup, Role.DEVELOPER)
        other = factories.project(parent=subgroup)
        secret = factories.access_token(owner)
        for target in (published_project, other):
            for name in ("demo", f"extra{number}"):
                twine.upload(target, build_wheel(name=name, version=f"2.{number}"), secret)

    assert [cost(published_project), cost(group)] == few
    assert all(counts.pop("forwarding") <= 11 and max(counts.values()) <= 4 for counts in few), few
