"""Pages of other origins on the API (Fetch standard, "CORS protocol"; GitLab, ``Rack::Cors`` for ``/api/*``)."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from registry.blueprints.cross_origin import EXPOSED
from registry.models import PackageFile, Project, User, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.clients import Browser, Client, Pip, Rest, Twine, pypi_path

WHEEL = build_wheel("demo", "1.0")
ORIGIN = {"Origin": "https://lab.example"}


@pytest.fixture
def public_project(app: Flask) -> Project:
    group = factories.group("open", visibility=Visibility.PUBLIC)
    project = factories.project("tools", parent=group, visibility=Visibility.PUBLIC)
    factories.published(project, WHEEL)
    return project


def preflight(client: Any, path: str, method: str, headers: str | None = None) -> TestResponse:
    asked = {} if headers is None else {"Access-Control-Request-Headers": headers}
    answer: TestResponse = client.options(path, headers={**ORIGIN, "Access-Control-Request-Method": method, **asked})
    return answer


def test_every_answer_of_the_api_can_be_read_by_pages_of_all_origins(
    pip: Pip, rest: Rest, twine: Twine, project: Project, public_project: Project
) -> None:
    page = pip.simple_page(public_project, "demo")
    known = {"If-None-Match": page.headers["ETag"]}
    answers = {
        200: [
            page,
            pip.simple_page(public_project, "demo"),
            pip.download(public_project, WHEEL),
            rest.get("/projects"),
        ],
        204: [rest.request("OPTIONS", "/projects")],
        206: [pip.download(public_project, WHEEL, headers={"Range": "bytes=0-9"})],
        302: [pip.simple_page(public_project, "elsewhere")],
        304: [pip.simple_page(public_project, "demo", headers=known)],
        400: [
            rest.get("/projects?page=x"),
            twine.upload(public_project, WHEEL, factories.deploy_token(public_project)),
        ],
        401: [pip.simple_page(project, "demo"), rest.get("/user"), rest.get("/user", "glpat-wrong")],
        404: [
            rest.get("/nothing"),
            rest.get(f"/projects/{project.id}"),
            pip.download(public_project, build_wheel("x")),
        ],
        405: [rest.request("PUT", "/version")],
        416: [pip.download(public_project, WHEEL, headers={"Range": "bytes=99999999-"})],
    }

    for status, given in answers.items():
        for answer in given:
            assert answer.status_code == status, answer.request.path
            assert answer.headers.getlist("Access-Control-Allow-Origin") == ["*"], answer.request.path
            assert answer.headers["Access-Control-Expose-Headers"] == ", ".join(EXPOSED)
            assert "Access-Control-Allow-Credentials" not in answer.headers


def test_headers_beside_those_of_all_responses_can_be_read(rest: Rest, public_project: Project) -> None:
    answer = rest.get("/projects")

    assert {name for name, _ in answer.headers if name.startswith("X-")} - {*EXPOSED} == {
        "X-Content-Type-Options",
        "X-Frame-Options",
    }
    assert "Link" in EXPOSED


def test_pages_and_probes_are_for_their_own_origin(client: Client) -> None:
    for path in ("/users/sign_in", "/explore", "/-/health", "/nothing"):
        assert "Access-Control-Allow-Origin" not in client.get(path, headers=ORIGIN).headers
        assert "Access-Control-Allow-Methods" not in preflight(client, path, "GET").headers


@pytest.mark.parametrize("path", ["/api/v4/user", "/api/v4/nothing", "{project}", "{project}/simple/demo"])
def test_a_preflight_is_answered_without_credentials(client: Client, project: Project, path: str) -> None:
    asked = "authorization, content-type, deploy-token, job-token, private-token, x-own"

    answer = preflight(client, path.format(project=pypi_path(project)), "PUT", asked)

    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert answer.headers["Access-Control-Allow-Headers"] == asked
    assert answer.headers["Access-Control-Max-Age"] == "7200"
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("asked", [None, "", "a: b", "é", "a" * 1001])
def test_a_preflight_for_no_or_unusual_headers_names_those_of_the_api(client: Client, asked: str | None) -> None:
    answer = preflight(client, "/api/v4/user", "GET", asked)

    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "private-token", "job-token", "deploy-token", "content-type"} <= {*allowed}


def test_a_file_that_a_browser_kept_from_a_session_is_not_shown_without_it(
    app: Flask, owner: User, project: Project, demo: PackageFile
) -> None:
    """Files are kept for a year; ``Vary`` has a page of another origin, which sends no cookie, ask the registry."""
    path = f"{pypi_path(project)}/files/{demo.sha256}/{demo.filename}"

    signed_in, anonymous = (
        browser.open(path, method="HEAD") for browser in (Browser(app).sign_in(owner), Browser(app))
    )

    assert (signed_in.status_code, anonymous.status_code) == (200, 401)
    assert "Cookie" in signed_in.headers["Vary"]
