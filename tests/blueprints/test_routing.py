"""Addresses in every spelling that clients use, and the links they get back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import create_environ

from registry import create_app
from registry.blueprints.routing import raw_path, spelled_id
from registry.database import db
from registry.models import AuditEvent, Group, Project, Visibility
from tests import factories
from tests.builders import BuiltFile, build_wheel
from tests.clients import JSON, Client, Twine


@pytest.fixture
def wheel() -> BuiltFile:
    return build_wheel("my-pkg", "1.0")


@pytest.fixture
def project(app: Flask, twine: Twine, wheel: BuiltFile) -> Project:
    """The public project ``Acme/sub/tools`` with one wheel."""
    group = factories.group("Acme", visibility=Visibility.PUBLIC)
    sub = factories.group("sub", parent=group, visibility=Visibility.PUBLIC)
    project = factories.project("tools", parent=sub, visibility=Visibility.PUBLIC)
    assert twine.upload(project, wheel, factories.deploy_token(project)).status_code == 201
    return project


def page(client: FlaskClient, address: str, **options: Any) -> Any:
    """The simple page at this address, or the status of the refusal."""
    answer = client.get(address, headers={"Accept": JSON} | options.pop("headers", {}), **options)
    return answer.json if answer.status_code == 200 else answer.status_code


def file_urls(client: FlaskClient, address: str, **options: Any) -> list[str]:
    return [file["url"] for file in page(client, address, **options)["files"]]


def content(client: FlaskClient, address: str) -> bytes:
    answer = client.get(address, buffered=True)
    assert answer.status_code == 200
    return answer.data


SPELLINGS = [
    "{id}",
    "Acme%2Fsub%2Ftools",
    "Acme%2fsub%2ftools",
    "acme%2FSUB%2Ftools",
    "Acme/sub/tools",
    "acme/sub/TOOLS",
    "%41cme%2Fsub%2Ftools",
    "Acme%2Fsub%2Ft%6Fols",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_project_is_found_by_every_spelling_and_links_repeat_it(
    client: FlaskClient, project: Project, wheel: BuiltFile, spelling: str
) -> None:
    base = f"/api/v4/projects/{spelling.format(id=project.id)}/packages/pypi"

    [url] = file_urls(client, f"{base}/simple/my-pkg/")

    assert url == f"http://localhost{base}/files/{wheel.sha256}/{wheel.filename}"
    assert content(client, url.removeprefix("http://localhost")) == wheel.content
    index = client.get(f"{base}/simple/")
    assert f'href="http://localhost{base}/simple/my-pkg"' in index.text


@pytest.mark.parametrize("spelling", ["{id}", "Acme%2Fsub", "Acme%2fsub", "acme/sub", "%41cme%2Fsub"])
def test_a_group_is_found_by_every_spelling_and_links_repeat_it(
    client: FlaskClient, project: Project, wheel: BuiltFile, spelling: str
) -> None:
    base = f"/api/v4/groups/{spelling.format(id=project.parent_id)}/-/packages/pypi"

    [url] = file_urls(client, f"{base}/simple/my-pkg/")

    assert url == f"http://localhost{base}/files/{wheel.sha256}/{wheel.filename}"
    assert content(client, url.removeprefix("http://localhost")) == wheel.content
    assert f'href="http://localhost{base}/simple/my-pkg"' in client.get(f"{base}/simple").text


NO_PROJECT = [
    "Acme%252Fsub%252Ftools",
    "Acme%25252Fsub",
    "Acme%2F%2Fsub%2Ftools",
    "%2FAcme%2Fsub%2Ftools",
    "Acme%2Fsub%2Ftools%2F",
    "Acme%5Csub%5Ctools",
    "Acme%00sub",
    "Acme%1Fsub%1Ftools",
    "Acme%1Fsub%2Ftools",
    "Acme%2Fsub%2Ftools%00",
    "Acme%2Fsub%2F..%2Fsub%2Ftools",
    "Acme%20",
    "%FF%FE",
    "%C3%A9",
    "-1",
    "99999999999999999999",
    "1.0",
    "tools",
    "Acme",
    "Acme/sub",
    "nothing/here",
    "x" * 3000,
]


def test_an_unknown_spelling_of_a_project_is_not_found(client: FlaskClient, project: Project) -> None:
    for spelling in NO_PROJECT:
        answer = client.get(f"/api/v4/projects/{spelling}/packages/pypi/simple/my-pkg/")

        assert (answer.status_code, answer.content_type) == (404, "application/problem+json"), spelling


def test_a_group_is_no_project_and_a_user_no_group(client: FlaskClient, project: Project) -> None:
    user = factories.user("olivia")

    for address in (
        f"/api/v4/projects/{project.parent_id}/packages/pypi/simple/",
        f"/api/v4/groups/{project.id}/-/packages/pypi/simple/",
        f"/api/v4/groups/{user.username}/-/packages/pypi/simple/",
        f"/api/v4/groups/{project.parent_id}/packages/pypi/simple/",
        f"/api/v4/projects/{project.id}/-/packages/pypi/simple/",
    ):
        assert client.get(address).status_code == 404, address


def test_a_namespace_may_be_called_like_a_part_of_the_address(
    client: FlaskClient, twine: Twine, project: Project, wheel: BuiltFile
) -> None:
    group = factories.group("packages", visibility=Visibility.PUBLIC)
    odd = factories.project("pypi", parent=group, visibility=Visibility.PUBLIC)
    assert twine.upload("packages%2Fpypi", wheel, factories.deploy_token(odd)).status_code == 201

    [url] = file_urls(client, "/api/v4/projects/packages%2Fpypi/packages/pypi/simple/my-pkg")

    assert url.startswith("http://localhost/api/v4/projects/packages%2Fpypi/packages/pypi/files/")
    assert content(client, url.removeprefix("http://localhost")) == wheel.content


@pytest.mark.parametrize(
    "tail",
    ["simple", "simple/", "simple//", "simple/my-pkg", "simple/my-pkg/", "simple//my-pkg/", "/simple///my-pkg//"],
)
def test_slashes_at_the_end_or_doubled_are_answered_without_redirect(
    client: FlaskClient, project: Project, tail: str
) -> None:
    for root in (
        f"/api/v4/projects/{project.id}/packages/pypi/",
        "/api/v4//projects/Acme%2Fsub%2Ftools//packages/pypi/",
        f"/api/v4/groups/{project.parent_id}/-/packages/pypi/",
        "/api/v4/groups//acme/sub//-//packages//pypi/",
    ):
        assert client.get(root + tail).status_code == 200, root + tail
        assert client.head(root + tail).status_code == 200, root + tail


def test_an_upload_is_never_redirected(twine: Twine, project: Project) -> None:
    token = factories.deploy_token(project)
    addresses = [f"/api/v4/projects/{spelling.format(id=project.id)}/packages/pypi" for spelling in SPELLINGS]

    for number, address in enumerate(address + end for address in addresses for end in ("", "/", "//")):
        answer = twine.upload(project, build_wheel("my-pkg", f"2.{number}"), token, url=address)

        assert answer.status_code == 201, address


def test_a_file_is_downloaded_with_a_slash_at_the_end(client: FlaskClient, project: Project, wheel: BuiltFile) -> None:
    address = f"/api/v4/projects/{project.id}/packages/pypi//files//{wheel.sha256}//{wheel.filename}/"

    assert content(client, address) == wheel.content


@pytest.mark.parametrize("name", ["My.Pkg", "my%2Dpkg", "MY_PKG", "my%2E%2Epkg"])
def test_a_package_name_may_be_encoded(client: FlaskClient, project: Project, name: str) -> None:
    assert page(client, f"/api/v4/projects/{project.id}/packages/pypi/simple/{name}/")["name"] == "my-pkg"


@pytest.mark.parametrize("name", ["my%252Dpkg", "my%2Fpkg", "my/pkg", "my%00pkg", "%FF", "my%1Fpkg", "my%0Apkg", "%20"])
def test_invalid_package_names_are_refused_and_never_forwarded(
    client: FlaskClient, project: Project, name: str
) -> None:
    for spelled in (str(project.id), "Acme%2Fsub%2Ftools"):
        assert page(client, f"/api/v4/projects/{spelled}/packages/pypi/simple/{name}/") in (400, 404)


@pytest.fixture
def behind(app: Flask) -> Iterator[Callable[..., Client]]:
    """A client of the same registry under other start-time settings."""
    started: list[Flask] = []

    def start(**settings: Any) -> Client:
        shared = {name: app.config[name] for name in ("INSTANCE_PATH", "SECRET_KEY", "DATABASE_URL", "UPSTREAM_URL")}
        started.append(create_app(shared | settings))
        return Client(started[-1])

    yield start
    for other in started:
        with other.app_context():
            db.engine.dispose()


@pytest.mark.parametrize("spelling", ["{id}", "Acme%2Fsub%2Ftools", "acme/sub/tools"])
@pytest.mark.parametrize("prefix_sent", [True, False], ids=["proxy keeps the sub-path", "proxy strips the sub-path"])
def test_links_are_below_the_external_url(
    behind: Callable[..., Client], project: Project, wheel: BuiltFile, spelling: str, prefix_sent: bool
) -> None:
    client = behind(EXTERNAL_URL="https://packages.example.com:8443/py/registry/")
    base = f"/api/v4/projects/{spelling.format(id=project.id)}/packages/pypi"
    sent = "/py/registry" if prefix_sent else ""

    [url] = file_urls(client, f"{sent}{base}/simple/my-pkg/", headers={"Host": "inner:8080"})

    outside = "https://packages.example.com:8443/py/registry"
    assert url == f"{outside}{base}/files/{wheel.sha256}/{wheel.filename}"
    assert content(client, sent + url.removeprefix(outside)) == wheel.content
    assert f'href="{outside}{base}/simple/my-pkg"' in client.get(f"{sent}{base}/simple/").text


def test_a_path_that_only_begins_like_the_sub_path_keeps_its_beginning(
    behind: Callable[..., Client], project: Project
) -> None:
    client = behind(EXTERNAL_URL="https://example.com/ap")

    assert client.get(f"/api/v4/projects/{project.id}/packages/pypi/simple/").status_code == 200
    assert client.get(f"/ap/api/v4/projects/{project.id}/packages/pypi/simple/").status_code == 200


def answer_to(app: Flask, host: str, path: str) -> Response:
    """The response to a request with this host; the test client cannot send all of them."""
    return Response.from_app(app.wsgi_app, create_environ(path) | {"HTTP_HOST": host}, buffered=True)


MALFORMED_HOSTS = (
    "", "a b", "a/b", "a@b", '"><b>', "a,b", "a:99999", "a:0", "[::1", "[1]", "a..b", ".a", "xn--", "xn--99999999.jp",
    "a" * 64, "\xe4\xbe\x8b.jp",
)  # fmt: skip
ADDRESSES = {
    "/api/v4/projects": "application/json",
    "/api/v4/groups/Acme/-/packages/pypi/simple": "application/",
    "/api/nothing": "application/json",
    "/users/sign_in": "text/html",
    "/nothing": "text/html",
    "/-/health": "text/plain",
    "/-/metrics": "text/plain",
}


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_host_that_no_link_could_lead_to_is_refused(app: Flask, project: Project, path: str) -> None:
    for host in MALFORMED_HOSTS:
        answer = answer_to(app, host, path)

        assert answer.status_code == 400, host
        assert answer.headers["Content-Type"].startswith(ADDRESSES[path])
        assert "Host header" in answer.get_data(as_text=True)


ODD_HOSTS = (
    "my_registry:8080", "_a.b", "a.", "-a", "A.Example", "[::1]:8080", "[2001:db8::1]", "xn--r8jz45g.jp",
    "xn--strae-oqa.example",  # "straße", which Python's codec takes for "strasse"
)  # fmt: skip


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_every_other_host_is_accepted_and_repeated_in_links(app: Flask, project: Project, host: str) -> None:
    pypi = f"/api/v4/projects/{project.id}/packages/pypi"

    def text(path: str) -> str:
        return answer_to(app, host, path).get_data(as_text=True)

    listed = answer_to(app, host, "/api/v4/projects?per_page=1")

    assert listed.headers["Link"].startswith(f"<http://{host}/api/v4/projects?")
    assert listed.json is not None
    assert listed.json[0]["web_url"] == f"http://{host}/{project.full_path}"
    assert f'href="http://{host}{pypi}/simple/my-pkg"' in text(f"{pypi}/simple/")
    assert f'href="http://{host}{pypi}/files/' in text(f"{pypi}/simple/my-pkg")
    assert f"http://{host}/api/v4/" in text("/help/install")
    assert answer_to(app, host, "/-/health").status_code == 200


def test_only_files_hold_plus_and_exclamation_marks_which_links_leave_as_they_are(
    client: FlaskClient, twine: Twine, project: Project
) -> None:
    local = build_wheel("my-pkg", "1!2.0+local.1")
    twine.upload(project, local, factories.deploy_token(project))
    base = f"/api/v4/projects/{project.id}/packages/pypi"

    _, url = file_urls(client, f"{base}/simple/my-pkg/")

    assert url.endswith("/my_pkg-1!2.0+local.1-py3-none-any.whl")
    assert f'href="{url}#' in client.get(f"{base}/simple/my-pkg/").text
    for spelled in (url, url.replace("+", "%2B"), url.replace("!", "%21")):
        assert content(client, spelled.removeprefix("http://localhost")) == local.content


FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example.com",
    "X-Forwarded-Prefix": "/evil",
}


def test_headers_of_proxies_are_ignored_unless_they_are_trusted(client: FlaskClient, project: Project) -> None:
    [url] = file_urls(client, f"/api/v4/projects/{project.id}/packages/pypi/simple/my-pkg/", headers=FORWARDED)

    assert url.startswith(f"http://localhost/api/v4/projects/{project.id}/")


def test_a_trusted_proxy_sets_scheme_host_sub_path_and_address(behind: Callable[..., Client], project: Project) -> None:
    client = behind(TRUSTED_PROXIES=1)
    base = f"/api/v4/projects/{project.id}/packages/pypi"
    forwarded = FORWARDED | {"X-Forwarded-Host": "packages.example.com", "X-Forwarded-Prefix": "/py"}

    [url] = file_urls(client, f"{base}/simple/my-pkg/", headers=forwarded)
    token = factories.deploy_token(project)
    answer = Twine(client).upload(project, build_wheel("my-pkg", "2.0"), token, headers=forwarded)

    assert url.startswith(f"https://packages.example.com/py{base}/files/")
    assert answer.status_code == 201
    event = db.session.query(AuditEvent).filter_by(action="package_published").order_by(AuditEvent.id.desc()).first()
    assert event is not None
    assert event.address == "203.0.113.7"


@pytest.mark.parametrize(("addresses", "scheme"), [("127.0.0.1", "https"), ("192.0.2.0/24, ::1", "http")])
def test_only_proxies_at_listed_addresses_are_believed(
    behind: Callable[..., Client], project: Project, addresses: str, scheme: str
) -> None:
    client = behind(TRUSTED_PROXIES=1, TRUSTED_PROXY_ADDRESSES=addresses)

    [url] = file_urls(client, f"/api/v4/projects/{project.id}/packages/pypi/simple/my-pkg/", headers=FORWARDED)

    assert url.startswith(f"{scheme}://")


def test_of_a_chain_only_the_trusted_proxies_are_believed(behind: Callable[..., Client], project: Project) -> None:
    client = behind(TRUSTED_PROXIES=1)
    headers = {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "evil.example.com, packages.example.com"}

    [url] = file_urls(client, f"/api/v4/projects/{project.id}/packages/pypi/simple/my-pkg/", headers=headers)

    assert url.startswith("http://packages.example.com/api/v4/")


@pytest.mark.parametrize("prefix", ["py", "/py", "/py/", "//py"])
def test_the_sub_path_of_a_proxy_begins_with_one_slash(
    behind: Callable[..., Client], project: Project, prefix: str
) -> None:
    client = behind(TRUSTED_PROXIES=1)

    answer = client.get("/api/v4/projects", headers={"X-Forwarded-Prefix": prefix})

    assert answer.headers["Link"].startswith("<http://localhost/py/api/v4/projects?")
    assert 'href="/py/users/sign_in' in client.get("/explore", headers={"X-Forwarded-Prefix": prefix}).text


@pytest.mark.parametrize("prefix", ["\\\\evil.com", "/py//a", "/py\x01"])
def test_a_sub_path_that_browsers_could_take_for_a_host_is_refused(behind: Callable[..., Client], prefix: str) -> None:
    client = behind(TRUSTED_PROXIES=1)

    answer = client.get("/explore", headers={"X-Forwarded-Prefix": prefix})

    assert answer.status_code == 400
    assert "evil" not in answer.text


def test_a_proxy_that_names_no_scheme_of_the_web_is_refused(behind: Callable[..., Client]) -> None:
    client = behind(TRUSTED_PROXIES=1)

    answer = client.get("/api/v4/projects", headers={"X-Forwarded-Proto": "javascript"})

    assert answer.status_code == 400
    assert "X-Forwarded-Proto" in answer.text


def test_the_external_url_is_stronger_than_any_proxy(behind: Callable[..., Client], project: Project) -> None:
    client = behind(EXTERNAL_URL="https://packages.example.com", TRUSTED_PROXIES=1)

    [url] = file_urls(client, f"/api/v4/projects/{project.id}/packages/pypi/simple/my-pkg/", headers=FORWARDED)

    assert url.startswith("https://packages.example.com/api/v4/")


@pytest.mark.parametrize(
    ("settings", "headers", "is_secure"),
    [
        ({}, {}, False),
        ({}, FORWARDED, False),
        ({"TRUSTED_PROXIES": 1}, FORWARDED, True),
        ({"TRUSTED_PROXIES": 1}, FORWARDED | {"X-Forwarded-Proto": "http"}, False),
        ({"EXTERNAL_URL": "https://packages.example.com"}, {}, True),
    ],
    ids=["plain", "unknown proxy", "trusted proxy", "trusted proxy without TLS", "external URL"],
)
def test_the_session_cookie_is_for_https_alone_where_people_come_by_it(
    behind: Callable[..., Client], settings: dict[str, Any], headers: dict[str, str], is_secure: bool
) -> None:
    cookie = behind(**settings).get("/users/sign_in", headers=headers).headers["Set-Cookie"]

    assert ("; Secure" in cookie) is is_secure


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"REQUEST_URI": "/a%2Fb/c?d=%2F"}, "/a%2Fb/c"),
        ({"REQUEST_URI": "http://host:80/a%2Fb?c"}, "/a%2Fb"),
        ({"REQUEST_URI": "https://host/a%2Fb"}, "/a%2Fb"),
        ({"RAW_URI": "/a%2Fb"}, "/a%2Fb"),
        ({"PATH_INFO": "/a b/\xc3\xa9"}, "/a%20b/%C3%A9"),
        ({"SCRIPT_NAME": "/sub", "PATH_INFO": "/a"}, "/sub/a"),
        ({}, ""),
    ],
    ids=["origin form", "absolute form", "absolute form with TLS", "other name", "decoded only", "sub-path", "nothing"],
)
def test_the_path_is_taken_as_sent(environ: dict[str, str], path: str) -> None:
    assert raw_path(environ) == path  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "spelled"),
    [
        ("/api/v4/projects/7/packages/pypi", "7"),
        ("/api/v4/projects/7/packages/pypi/simple/packages/pypi", "7"),
        ("/api/v4/projects/7/p%61ckages/pypi/simple", "7"),
        ("/api/v4/projects/packages/pypi/packages/pypi/simple", "packages/pypi"),
        ("/api/v4/projects/a%2Fb/packages/pypi/simple", "a%2Fb"),
        ("/api//v4/projects//a//b//packages//pypi/simple", "a/b"),
        ("/api/v4/groups/a/b/-/packages/pypi/simple", "a/b"),
        ("/sub/projects/api/v4/projects/a/b/packages/pypi", "a/b"),
        ('/api/v4/projects/a"<b>/packages/pypi', "a%22%3Cb%3E"),
        ("/api/v4/version", ""),
        ("/api/v4/projects/7/members", ""),
    ],
)
def test_the_id_is_repeated_as_spelled_and_safe_in_a_link(target: str, spelled: str) -> None:
    assert spelled_id({"REQUEST_URI": target}) == spelled  # type: ignore[typeddict-item]


COSTLY_TARGETS = {
    "encoded slashes": "/api/v4/projects/" + "%2F" * 50_000 + "/nothing",
    "parts between encoded slashes": "/api/v4/projects/" + "a%2F" * 30_000 + "/nothing",
    "plain parts": "/api/v4/projects/" + "a/" * 50_000 + "nothing!",
    "slashes around an id": "/api/v4/projects" + "/" * 50_000 + "{id}" + "/" * 50_000 + "p%61ckages/pypi/simple",
    "an address as name": "/api/v4/projects/{id}/p%61ckages/pypi/simple/" + "api/v4/projects/" * 10_000,
    "parts of a page": "/" + "a/" * 50_000 + "nothing!",
}


@pytest.mark.parametrize("target", COSTLY_TARGETS.values(), ids=COSTLY_TARGETS)
def test_no_address_keeps_the_server_busy(client: FlaskClient, project: Project, target: str) -> None:
    """Each takes milliseconds; trying each way to divide an address would take minutes."""
    begun = time.thread_time()

    answer = client.get(target.format(id=project.id))

    assert answer.status_code in (200, 303, 404)
    assert time.thread_time() - begun < 20


def test_the_group_of_a_tree_is_found_however_deep(client: FlaskClient, project: Project) -> None:
    deep: Group = db.session.get_one(Group, project.parent_id)
    for number in range(5):
        deep = factories.group(f"d{number}", parent=deep, visibility=Visibility.PUBLIC)

    for spelling in (deep.full_path, deep.full_path.replace("/", "%2F")):
        assert client.get(f"/api/v4/groups/{spelling}/-/packages/pypi/simple/").status_code == 200
