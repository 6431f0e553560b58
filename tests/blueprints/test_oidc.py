"""Trusted publishing over HTTP: the exchange, uploads with its tokens, the REST API, the pages, and the shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from registry.database import db, utcnow
from registry.domain import instance
from registry.domain.access import SHELL
from registry.domain.instance import InstanceChanges
from registry.domain.oidc import exchanged_tokens, keys
from registry.domain.packages import protection
from registry.models import Project, PublishingToken, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.clients import Browser, Client, Rest, Twine
from tests.fakes.issuer import Issuer, issuer_running, signed

CLAIMS = {"project": "acme/app", "ref": "main"}
MINT, BURN = "/_/oidc/mint-token", "/_/oidc/burn-token"


@pytest.fixture(scope="module")
def _issuer() -> Iterator[Issuer]:
    with issuer_running() as issuer:
        yield issuer


@pytest.fixture
def issuer(_issuer: Issuer, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    _issuer.clear()
    monkeypatch.setenv("NO_PROXY", "*")
    instance.change_instance(InstanceChanges(oidc_trusted_issuers=[_issuer.url]), by=SHELL)
    return _issuer


@pytest.fixture
def maintainer_token(maintainer: User) -> str:
    return factories.access_token(maintainer, "api")


@pytest.fixture
def developer_token(developer: User) -> str:
    return factories.access_token(developer, "api")


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.id}/trusted_publishers"


@pytest.fixture
def publisher(rest: Rest, address: str, issuer: Issuer, maintainer_token: str) -> dict[str, Any]:
    response = rest.post(address, maintainer_token, {"issuer": issuer.url, "claims": CLAIMS})
    assert response.status_code == 201
    found: dict[str, Any] = response.json
    return found


@pytest.fixture
def mint(app: Flask, issuer: Issuer) -> Callable[..., TestResponse]:
    """Exchanges an identity token for the audience of the registry, with these claims."""
    client = Client(app)
    audience = client.get("/_/oidc/audience").json["audience"]
    return lambda **claims: client.post(MINT, json={"token": issuer.token(**{"aud": audience, **claims})})


@pytest.fixture
def secret(publisher: dict[str, Any], mint: Callable[..., TestResponse]) -> str:
    """The token of a job that the project trusts."""
    found: str = mint().json["token"]
    return found


def test_a_job_publishes_with_the_token_that_it_got_and_then_burns_it(
    app: Flask, publisher: dict[str, Any], mint: Callable[..., TestResponse], twine: Twine, rest: Rest,
    project: Project, address: str, maintainer_token: str,
) -> None:  # fmt: skip
    minted = mint()

    assert minted.status_code == 200
    assert minted.headers["Cache-Control"] == "no-store"
    assert minted.json.keys() == {"success", "token", "expires"}
    secret = minted.json["token"]
    assert twine.upload(project, build_wheel("demo"), ("__token__", secret)).status_code == 201
    [token] = rest.get(f"{address}/tokens", maintainer_token).json
    assert token.keys() == {"id", "issuer", "trusted_publisher_ids", "created_at", "expires_at"}
    assert token["trusted_publisher_ids"] == [publisher["id"]]
    for body in ({"token": secret}, {"token": secret}, {"token": "unknown"}, {}, []):
        assert Client(app).post(BURN, json=body).status_code == 202
    assert twine.upload(project, build_wheel("demo", "2.0"), ("__token__", secret)).status_code == 401
    assert rest.get(f"{address}/tokens", maintainer_token).json == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token": 1}', b'{"token": "a", "token": "b"}', b"[" * 60_000])
def test_a_body_without_a_token_is_refused(app: Flask, body: bytes) -> None:
    response = Client(app).post(MINT, data=body)

    assert response.status_code == 422
    assert [error["code"] for error in response.json["errors"]] == ["invalid-payload"]
    assert response.json["message"] == response.json["errors"][0]["description"]


def test_a_body_over_64_kib_is_refused_without_being_read(app: Flask) -> None:
    response = Client(app).post(MINT, json={"token": "a" * (1 << 16)})

    assert response.status_code == 413
    assert response.json["message"] == "413 Request Entity Too Large - The body can have up to 64 KiB."
    assert response.json["errors"] == [{"code": "request-entity-too-large", "description": response.json["message"]}]


@pytest.mark.usefixtures("publisher")
def test_refusals_for_the_moment_have_a_list_of_errors(
    mint: Callable[..., TestResponse], app: Flask, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = app.extensions["issuers"]
    monkeypatch.setattr("registry.domain.accounts.sign_in.FREE_FAILED_EXCHANGES_BY_ADDRESS", 0)
    monkeypatch.setattr(keys, "CONCURRENT_REQUESTS", 0)
    monkeypatch.setitem(app.extensions, "issuers", keys.Issuers())
    unavailable = mint()
    monkeypatch.setitem(app.extensions, "issuers", served)
    Client(app).post(MINT, json={"token": signed(issuer.claims(), RSAKey.generate_key(2048, {"kid": "first"}))})
    throttled = mint()

    assert (unavailable.status_code, throttled.status_code) == (503, 429)
    assert unavailable.headers["Retry-After"]
    assert throttled.headers["Retry-After"]
    assert [unavailable.json["errors"][0]["code"], throttled.json["errors"][0]["code"]] == [
        "service-unavailable", "too-many-requests",
    ]  # fmt: skip


def test_a_token_publishes_and_does_nothing_else(
    twine: Twine, rest: Rest, app: Flask, project: Project, secret: str
) -> None:
    other = factories.project()
    credentials = ("__token__", secret)

    assert twine.upload(other, build_wheel("demo"), credentials).status_code == 404
    refused = twine.upload(project, build_wheel("demo"), ("gitlab-ci-token", secret))
    assert refused.status_code == 401
    assert "with the user name __token__" in refused.text
    read = Client(app).get(
        f"/api/v4/projects/{project.id}/packages/pypi/simple/", auth=credentials, headers={"Accept": "text/html"}
    )
    assert read.status_code == 403
    assert rest.get(f"/projects/{project.id}", secret).status_code == 401


def test_a_publisher_of_some_names_publishes_no_others(
    rest: Rest, twine: Twine, project: Project, address: str, issuer: Issuer, maintainer_token: str,
    mint: Callable[..., TestResponse],
) -> None:  # fmt: skip
    new = {"issuer": issuer.url, "claims": CLAIMS, "package_names": ["Demo_Tools"]}
    assert rest.post(address, maintainer_token, new).json["package_names"] == ["demo-tools"]
    credentials = ("__token__", mint().json["token"])

    refused = twine.upload(project, build_wheel("other"), credentials)
    accepted = twine.upload(project, build_wheel("demo.tools"), credentials)

    assert refused.status_code == 403
    assert "can publish only demo-tools" in refused.json["message"]
    assert accepted.status_code == 201


def test_only_trusted_publishers_publish_if_the_project_wants_no_others(
    rest: Rest, twine: Twine, project: Project, secret: str, maintainer_token: str
) -> None:
    rest.put(f"/projects/{project.id}", maintainer_token, {"only_trusted_publishers": True})

    refused = twine.upload(project, build_wheel("demo"), maintainer_token)

    assert refused.status_code == 403
    assert refused.json["message"] == "403 Forbidden - Only trusted publishers can publish to this project."
    assert twine.upload(project, build_wheel("demo"), ("__token__", secret)).status_code == 201


@pytest.mark.parametrize(("role", "status"), [(Role.MAINTAINER, 201), (Role.OWNER, 403)])
def test_a_trusted_publisher_counts_as_a_maintainer_for_protection_rules(
    twine: Twine, project: Project, secret: str, role: Role, status: int
) -> None:
    protection.add_protection_rule(project, pattern="demo", package_type="pypi", push=role, delete=None, by=SHELL)

    assert twine.upload(project, build_wheel("demo"), ("__token__", secret)).status_code == status


def test_a_token_is_of_no_use_without_its_publisher_after_its_revocation_or_after_15_minutes(
    rest: Rest, twine: Twine, project: Project, address: str, publisher: dict[str, Any], maintainer_token: str,
    mint: Callable[..., TestResponse],
) -> None:  # fmt: skip
    revoked, expired, orphaned = (mint().json["token"] for _ in range(3))
    newest = rest.get(f"{address}/tokens", maintainer_token).json

    assert rest.delete(f"{address}/tokens/{newest[2]['id']}", maintainer_token).status_code == 204
    db.session.get_one(PublishingToken, newest[1]["id"]).expires_at = utcnow() - timedelta(seconds=1)
    factories.commit()
    for secret, status in ((revoked, 404), (expired, 401)):
        assert twine.upload(project, build_wheel("demo"), ("__token__", secret)).status_code == status
    assert rest.delete(f"{address}/{publisher['id']}", maintainer_token).status_code == 204
    assert twine.upload(project, build_wheel("demo"), ("__token__", orphaned)).status_code == 404
    assert rest.get(address, maintainer_token).json == []


@pytest.mark.parametrize("listed", [["https://gitlab.com"], []], ids=["another", "none"])
def test_an_issuer_that_is_no_longer_listed_is_marked_and_its_tokens_are_of_no_use(
    rest: Rest, app: Flask, twine: Twine, project: Project, address: str, publisher: dict[str, Any], maintainer: User,
    maintainer_token: str, secret: str, exchange: Callable[..., TestResponse], issuer: Issuer,
    browser_of: Callable[[User], Browser], listed: list[str],
) -> None:  # fmt: skip
    """Also without a list, as its address is none that any issuer can have."""
    rest.post(f"/projects/{project.id}/{READERS}", maintainer_token, {"issuer": issuer.url, "claims": CLAIMS})
    credentials = ("__token__", secret)
    index, reader = f"/api/v4/projects/{project.id}/packages/pypi/simple/", exchange().json["access_token"]
    assert Client(app).get(index, auth=("__token__", reader)).status_code == 200

    instance.change_instance(InstanceChanges(oidc_trusted_issuers=listed), by=SHELL)

    refused = twine.upload(project, build_wheel("demo"), credentials)
    assert (refused.status_code, Client(app).get(index, auth=("__token__", reader)).status_code) == (401, 401)
    assert [rest.get(f"{address}/tokens", maintainer_token).json, publisher["issuer_accepted"]] == [[], True]
    assert [each["issuer_accepted"] for each in rest.get(address, maintainer_token).json] == [False]
    settings = f"/{project.full_path}/-/settings/ci_cd"
    page, browser = browser_of(maintainer).get(settings), browser_of(maintainer)
    assert page.text.count("The instance does not list this issuer.") == 2, "of the publisher and the reader"
    offered = {link.rpartition("/")[2] for link in page.links if "trusted_publishers/new/" in link}
    assert offered == ({"gitlab"} if listed else {"github", "gitlab", "other"})
    form = browser.get(f"{settings}/trusted_publishers/new/gitlab")
    assert ("allows only these issuers: https://gitlab.com" in form.text) == bool(listed)
    instance.change_instance(InstanceChanges(oidc_trusted_issuers=[issuer.url]), by=SHELL)
    assert twine.upload(project, build_wheel("demo"), credentials).status_code == 201


def test_packages_name_the_run_that_published_them(
    rest: Rest, twine: Twine, address: str, project: Project, issuer: Issuer, maintainer_token: str, maintainer: User,
    mint: Callable[..., TestResponse], browser_of: Callable[[User], Browser],
) -> None:  # fmt: skip
    rest.post(address, maintainer_token, {"issuer": issuer.url, "claims": {"project_path": "acme/*"}})
    secret = mint(project_path="acme/app", job_id="7", user_email="no@example.com").json["token"]
    twine.upload(project, build_wheel("demo"), ("__token__", secret))
    run = {
        "issuer": issuer.url, "subject": "project:acme/app",
        "claims": {"project_path": "acme/app", "ref": "main", "job_id": "7"},
        "run_url": f"{issuer.url}/acme/app/-/jobs/7",
    }  # fmt: skip

    [package] = rest.get(f"/projects/{project.id}/packages", maintainer_token).json
    [file] = rest.get(f"/projects/{project.id}/packages/{package['id']}/package_files", maintainer_token).json

    assert package["trusted_publisher"] == file["trusted_publisher"] == run
    browser = browser_of(maintainer)
    page = browser.get(f"/{project.full_path}/-/packages/{package['id']}")
    assert run["run_url"] in page.links
    assert "ref: main" in page.text
    for path in ("packages?tab=versions", f"packages/{package['id']}?tab=versions"):
        assert run["run_url"] in browser.get(f"/{project.full_path}/-/{path}").links, path


def test_a_publisher_of_another_project_neither_controls_nor_sees_a_job(
    rest: Rest, twine: Twine, project: Project, publisher: dict[str, Any], issuer: Issuer, maintainer_token: str,
    mint: Callable[..., TestResponse], browser_of: Callable[[User], Browser],
) -> None:  # fmt: skip
    theirs = factories.project()
    attacker = factories.member(theirs, Role.OWNER)
    token, listed = factories.access_token(attacker, "api"), f"/projects/{theirs.id}/trusted_publishers"
    claims = {"sub": "project:acme/*", "user_email": "*", "commit": "*"}
    assert rest.post(listed, token, {"issuer": issuer.url, "claims": claims}).status_code == 201
    private = {"user_email": "vera@example.com", "commit": "c0ffee", "environment": "vault", "project_path": "acme/app"}
    credentials = ("__token__", mint(**private, job_id="7").json["token"])

    [shown] = rest.get(f"{listed}/tokens", token).json
    browser = browser_of(attacker)
    pages = [browser.get(f"/{theirs.full_path}/-/{path}").text for path in ("settings/ci_cd", "audit_events")]
    assert "project:acme/*" in pages[0]
    assert "Created a token for a trusted publisher" in pages[1]
    for secret in (*private.values(), "project:acme/app", "jobs/7"):
        assert secret not in f"{shown} {pages}"
    assert rest.delete(f"{listed}/tokens/{shown['id']}", token).status_code == 204
    assert rest.delete(f"{listed}/tokens/{shown['id']}", token).status_code == 404
    assert rest.get(f"{listed}/tokens", token).json == []

    assert twine.upload(theirs, build_wheel("demo"), credentials).status_code in (403, 404)
    assert twine.upload(project, build_wheel("demo"), credentials).status_code == 201
    [package] = rest.get(f"/projects/{project.id}/packages", maintainer_token).json
    assert package["trusted_publisher"]["claims"] == {
        **CLAIMS, "environment": "vault", "project_path": "acme/app", "job_id": "7"
    }  # fmt: skip
    assert publisher["project_id"] == project.id


BAD_PUBLISHERS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"issuer": "https://other.test"}, "issuer is not one of the issuers"),
    "no claims": ({"claims": {}}, "claims can't be blank"),
    "a branch of anyone": ({"claims": {"ref": "main", "environment": "release"}}, "not only a branch"),
    "a job of anyone": ({"claims": {"sub": "*:main"}}, "one has to name the job or its owner"),
    "any claims": ({"claims": {"ref": "**"}}, "claims can't be blank, or match any token"),
    "a claim about the token": ({"claims": {"aud": "x"}}, "which is not the name of a claim"),
    "an empty claim": ({"claims": {"ref": ""}}, "no value of 1 to 255"),
    "a nested claim": ({"claims": {"ref": {"name": "x"}}}, "claims is"),
    "no package name": ({"package_names": ["-"]}, "package_names is invalid"),
    "a long package name": ({"package_names": ["a" * 256]}, "package_names is invalid"),
}


@pytest.mark.parametrize("kind", BAD_PUBLISHERS)
def test_a_publisher_that_could_not_work_is_refused(
    rest: Rest, address: str, issuer: Issuer, maintainer_token: str, kind: str
) -> None:
    changes, expected = BAD_PUBLISHERS[kind]

    response = rest.post(address, maintainer_token, {"issuer": issuer.url, "claims": CLAIMS, **changes})

    assert response.status_code == 400
    assert (
        expected in " ".join(f"{k} {' '.join(v)}" for k, v in response.json["message"].items())
        if ("message" in response.json)
        else expected in response.json["error"]
    )
    assert rest.get(address, maintainer_token).json == []


UNSUITABLE_ISSUERS = {
    "is not public": (
        "https://10.0.0.1", "https://localhost", "https://ci.localhost:8443", "https://[::1]", "https://127.1",
        "https://[::ffff:10.0.0.1]", "https://[64:ff9b:1::a00:1]",
    ),
    "expected is https://gitlab.com": (
        "https://gitlab.com/", "https://GitLab.com", "HTTPS://gitlab.com", "https://gitlab.com:443",
    ),
    "without query or /.well-known": ("https://ci.test/.well-known/openid-configuration",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("issuer", "reason"), [(issuer, reason) for reason, issuers in UNSUITABLE_ISSUERS.items() for issuer in issuers]
)
@pytest.mark.usefixtures("app")
def test_a_publisher_whose_issuer_could_not_be_asked_or_matched_is_refused(
    rest: Rest, address: str, maintainer_token: str, issuer: str, reason: str
) -> None:
    response = rest.post(address, maintainer_token, {"issuer": issuer, "claims": {"project_path": "acme/app"}})

    assert response.status_code == 400
    [stated] = response.json["message"]["issuer"]
    assert reason in stated


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"repository": "acme/*"}, 201),
        ({"repository": "*/app"}, 400),
        ({"ref": "refs/heads/main"}, 400),
        ({"job_workflow_ref": "acme/ci/.github/workflows/release.yml@main"}, 400),
        ({"sub": "job_workflow_ref:acme/ci/.github/workflows/release.yml@main"}, 400),
        ({"sub": "repo:acme/*:environment:release"}, 201),
        ({"repository": "acme"}, 400),
        ({"repository": "acme/app", "ref": "v1"}, 400),
        ({"repository": "acme/app", "ref": "re*"}, 201),
        ({"repository": "acme/app", "workflow_ref": "acme/app/.github/workflows/release@*"}, 400),
    ],
    ids=[
        "of an owner",
        "of any owner",
        "of any repository",
        "of any caller of a workflow",
        "of any caller of a workflow by sub",
        "of an owner by sub",
        "without a slash",
        "of a short ref",
        "of any ref",
        "of a workflow without extension",
    ],
)
@pytest.mark.usefixtures("app")
def test_a_publisher_on_github_has_to_name_an_owner_as_tokens_do(
    rest: Rest, address: str, maintainer_token: str, claims: dict[str, str], status: int
) -> None:
    new = {"issuer": "https://token.actions.githubusercontent.com", "claims": claims}

    assert rest.post(address, maintainer_token, new).status_code == status


def test_developers_see_and_add_no_publishers(rest: Rest, address: str, developer_token: str) -> None:
    new = {"issuer": "https://gitlab.com", "claims": {"project_path": "acme/app"}}

    assert rest.get(address, developer_token).status_code == 403
    assert rest.post(address, developer_token, new).status_code == 403


def test_maintainers_add_and_delete_publishers_with_the_form_of_their_ci_system(
    browser_of: Callable[[User], Browser], project: Project, maintainer: User, rest: Rest, address: str,
    maintainer_token: str,
) -> None:  # fmt: skip
    browser, settings = browser_of(maintainer), f"/{project.full_path}/-/settings/ci_cd"
    new = f"{settings}/trusted_publishers/new"

    refused = browser.submit(f"{new}/github", {"repository": "*/demo"}, action=f"{new}/github")
    short = browser.submit(f"{new}/github", {"repository": "acme/demo", "ref": "v1"}, action=f"{new}/github")
    assert short.status_code == 422
    assert "No token has 'v1' for ref. Enter it like refs/heads/main" in short.text
    pasted = {"repository": "https://github.com/acme/demo.git", "workflow": ".github/workflows/release.yml"}
    browser.submit(f"{new}/github", pasted, action=f"{new}/github")
    browser.submit(f"{new}/gitlab", {"project_path": "acme/demo", "package_names": "demo"}, action=f"{new}/gitlab")
    fields = {"issuer": "https://ci.example.com", "claims": "sub = build\nref=main"}
    repeated = browser.submit(f"{new}/other", fields | {"claims": "ref=a\nref=b"}, action=f"{new}/other")
    browser.submit(f"{new}/other", fields, action=f"{new}/other")

    assert refused.status_code == repeated.status_code == 422
    added = rest.get(address, maintainer_token).json
    assert [(each["issuer"], each["claims"], each["package_names"]) for each in added] == [
        (
            "https://token.actions.githubusercontent.com",
            {"repository": "acme/demo", "workflow_ref": "acme/demo/.github/workflows/release.yml@*"}, [],
        ),
        ("https://gitlab.com", {"project_path": "acme/demo", "ref_protected": "true"}, ["demo"]),
        ("https://ci.example.com", {"sub": "build", "ref": "main"}, []),
    ]  # fmt: skip
    assert "ref_protected=true" in browser.get(settings).text
    for each in added:
        browser.post(f"{settings}/trusted_publishers/{each['id']}/delete")
    browser.submit(settings, {"only_trusted_publishers": "y"}, action=f"{settings}/only_trusted_publishers")
    assert rest.get(address, maintainer_token).json == []
    factories.reload(project)
    assert project.only_trusted_publishers


def test_the_audience_is_that_of_the_installation_and_never_of_the_request(app: Flask) -> None:
    client = Client(app)

    first, second = (client.get("/_/oidc/audience", headers={"Host": host}).json for host in ("a.example", "b.example"))

    assert first == second
    assert exchanged_tokens.audience("https://Packages.example.com:8443/pypi", b"") == "packages.example.com:8443"
    assert exchanged_tokens.audience(None, b"1") != exchanged_tokens.audience(None, b"2")


EXCHANGE, READERS = "/api/v4/oidc/token", "trusted_readers"
URN = "urn:ietf:params:oauth:"
FORM = {"grant_type": f"{URN}grant-type:token-exchange", "subject_token_type": f"{URN}token-type:jwt"}


@pytest.fixture
def exchange(app: Flask, issuer: Issuer) -> Callable[..., TestResponse]:
    """Exchanges an identity token for one to install, with these claims."""
    client = Client(app)
    audience = client.get("/_/oidc/audience").json["audience"]
    return lambda **claims: client.post(
        EXCHANGE, data=FORM | {"subject_token": issuer.token(**{"aud": audience, **claims})}
    )


def test_a_job_installs_from_what_trusts_it_until_that_is_revoked(
    rest: Rest, app: Flask, twine: Twine, exchange: Callable[..., TestResponse], issuer: Issuer
) -> None:
    top = factories.group()
    sub, other = factories.group(parent=top), factories.group(parent=top)
    project, foreign = factories.project(parent=sub), factories.project(parent=other)
    for each in (project, foreign):
        factories.published(each, build_wheel("demo", f"{each.id}.0"))
    owner = factories.access_token(factories.member(top, Role.OWNER), "api")
    readers = f"/groups/{sub.id}/{READERS}"
    added = rest.post(readers, owner, {"issuer": issuer.url, "claims": CLAIMS})
    assert added.status_code == 201
    assert rest.get(readers, owner).json == [added.json]
    assert added.json.keys() == {"id", "namespace_id", "issuer", "issuer_accepted", "claims", "created_at"}

    exchanged = exchange()

    assert exchanged.status_code == 200
    assert exchanged.headers["Cache-Control"] == "no-store"
    body = dict(exchanged.json)
    secret = body.pop("access_token")
    assert secret.startswith("glcrt-")
    assert body == {
        "issued_token_type": f"{URN}token-type:access_token", "token_type": "Bearer", "expires_in": 900,
        "scope": "read_package_registry",
    }  # fmt: skip
    client = Client(app)

    def page(kind: str, namespace_id: int, **options: Any) -> TestResponse:
        infix = "-/" if kind == "groups" else ""
        address = f"/api/v4/{kind}/{namespace_id}/{infix}packages/pypi/simple/demo/"
        return client.get(address, **{"auth": ("__token__", secret), **options})

    in_project = page("projects", project.id)
    in_group = page("groups", sub.id)
    assert f"demo-{project.id}.0-" in in_project.text
    assert f"demo-{project.id}.0-" in in_group.text
    assert f"demo-{foreign.id}.0-" not in in_group.text
    file = re.search(r'href="([^"#]+)', in_group.text)
    assert file is not None
    assert client.get(file[1], auth=("__token__", secret)).status_code == 200
    assert page("projects", project.id, auth=None, headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert page("projects", foreign.id).status_code == page("groups", top.id).status_code == 404
    assert twine.upload(project, build_wheel("demo", "9.0"), ("__token__", secret)).status_code == 403
    assert rest.get(f"/projects/{project.id}", secret).status_code == 401

    [token] = rest.get(f"{readers}/tokens", owner).json
    assert token["trusted_reader_ids"] == [added.json["id"]]
    assert rest.delete(f"{readers}/tokens/{token['id']}", owner).status_code == 204
    assert page("projects", project.id).status_code == page("groups", sub.id).status_code == 404
    above = rest.post(f"/groups/{top.id}/{READERS}", owner, {"issuer": issuer.url, "claims": CLAIMS}).json
    assert page("projects", foreign.id).status_code == page("projects", project.id).status_code == 200
    assert rest.delete(f"/groups/{top.id}/{READERS}/{above['id']}", owner).status_code == 204
    assert page("projects", foreign.id).status_code == page("projects", project.id).status_code == 404


BAD_EXCHANGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "without a grant type": ({"grant_type": ""}, "invalid_request", "grant_type has to be urn:"),
    "of another grant type": ({"grant_type": "password"}, "unsupported_grant_type", "grant_type has to be urn:"),
    "of another type": ({"subject_token_type": f"{URN}token-type:saml2"}, "invalid_request", "token-type:id_token."),
    "without a token": ({"subject_token": ""}, "invalid_request", "subject_token is missing"),
    "with two tokens": ({"subject_token": ["a", "b"]}, "invalid_request", "subject_token is repeated"),
    "for someone else": ({"actor_token": "a"}, "invalid_request", "actor_token is not supported"),
    "of another scope": ({"scope": "api"}, "invalid_scope", "scope has to be read_package_registry"),
    "for another service": ({"audience": "https://other.test"}, "invalid_target", "audience has to be"),
    "for a resource": ({"resource": "https://other.test"}, "invalid_target", "resource is not supported"),
    "for another token": ({"requested_token_type": f"{URN}token-type:jwt"}, "invalid_request", "access_token"),
    "without a valid token": ({"subject_token": "guess"}, "invalid_request", "three parts"),
}


@pytest.mark.parametrize("kind", BAD_EXCHANGES)
def test_an_exchange_of_something_else_is_refused_as_oauth_defines(app: Flask, kind: str) -> None:
    changes, code, expected = BAD_EXCHANGES[kind]

    response = Client(app).post(EXCHANGE, data={**FORM, "subject_token": "a.b.c", **changes})

    assert (response.status_code, response.json["error"]) == (400, code)
    assert expected in response.json["error_description"]


def test_a_job_that_nothing_trusts_gets_no_token_to_install(
    app: Flask, publisher: dict[str, Any], exchange: Callable[..., TestResponse], rest: Rest, project: Project,
    issuer: Issuer, maintainer_token: str,
) -> None:  # fmt: skip
    unknown = exchange()
    rest.post(f"/projects/{project.id}/{READERS}", maintainer_token, {"issuer": issuer.url, "claims": CLAIMS})
    other = exchange(ref='"\u00fc"', project="acme/app")
    too_large = Client(app).post(EXCHANGE, data=FORM | {"subject_token": "a" * (1 << 16)})
    asked = Client(app).get(EXCHANGE)

    assert publisher["issuer"] == issuer.url
    assert unknown.json["error_description"] == "No trusted reader has the issuer of the identity token."
    assert "ref is ''?''" in other.json["error_description"]
    assert {each.json["error"] for each in (unknown, other, too_large, asked)} == {"invalid_request"}
    assert [each.status_code for each in (unknown, other, too_large, asked)] == [400, 400, 413, 405]
    assert "64 KiB" in too_large.json["error_description"]


def test_maintainers_of_a_project_and_owners_of_a_group_decide_on_its_readers(
    rest: Rest, issuer: Issuer, browser_of: Callable[[User], Browser]
) -> None:
    group = factories.group()
    project = factories.project(parent=group)
    owner, maintainer, developer = (
        factories.member(group, role) for role in (Role.OWNER, Role.MAINTAINER, Role.DEVELOPER)
    )
    new = {"issuer": issuer.url, "claims": CLAIMS}

    def statuses(user: User) -> list[int]:
        token = factories.access_token(user, "api")
        places = (f"/groups/{group.id}/{READERS}", f"/projects/{project.id}/{READERS}")
        return [
            status for place in places
            for status in (rest.get(place, token).status_code, rest.post(place, token, new).status_code)
        ]  # fmt: skip

    assert statuses(owner) == [200, 201, 200, 201]
    assert statuses(maintainer) == [200, 403, 200, 201]
    assert statuses(developer) == [403, 403, 403, 403]
    settings = f"/groups/{group.full_path}/-/settings/ci_cd"
    form = f"{settings}/trusted_readers/new/gitlab"
    assert browser_of(maintainer).get(form).status_code == 403
    assert browser_of(maintainer).get(settings).status_code == 200
    browser = browser_of(owner)
    browser.submit(form, {"issuer": issuer.url, "project_path": "acme/app"}, action=form)
    assert "project_path=acme/app" in browser.get(settings).text
    latest = rest.get(f"/groups/{group.id}/{READERS}", factories.access_token(owner, "api")).json[-1]
    browser.post(f"{settings}/trusted_readers/{latest['id']}/delete")
    assert "project_path=acme/app" not in browser.get(settings).text


def test_a_listed_issuer_that_tokens_name_differently_is_refused(app: Flask, rest: Rest, admin: User) -> None:
    token = factories.access_token(admin, "api")
    issuers = ["https://GitLab.com/", "https://token.actions.githubusercontent.com"]

    response = rest.put("/application/settings", token, {"oidc_trusted_issuers": issuers})

    assert response.status_code == 400
    [reason] = response.json["message"]["oidc_trusted_issuers"]
    assert reason.startswith("contains 'https://GitLab.com/', which is not spelled")
    assert reason.endswith("expected is https://gitlab.com")


@pytest.mark.parametrize(
    ("claims", "status"),
    [({"organization_slug": "acme"}, 201), ({"sub": "organization:acme:*"}, 201), ({"sub": "organization:*"}, 400)],
    ids=["of an organization", "of its jobs", "of any organization"],
)
def test_a_publisher_of_an_issuer_with_many_owners_has_to_name_one(
    rest: Rest, address: str, maintainer_token: str, claims: dict[str, str], status: int
) -> None:
    new = {"issuer": "https://agent.buildkite.com", "claims": claims}

    assert rest.post(address, maintainer_token, new).status_code == status
