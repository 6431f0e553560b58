"""Problem documents of simple pages and files (PEP 847, RFC 9457), and what they must not reveal."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable
from contextlib import closing
from itertools import product
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from werkzeug.test import TestResponse

from registry.blueprints.auth.credentials import JOB_USERNAME
from registry.blueprints.pypi import LONGEST_REASON
from registry.database import db, utcnow
from registry.domain import access, cascade, forwarding, namespaces
from registry.domain.accounts import access_tokens, deploy_tokens, jobs
from registry.domain.namespaces import ProjectChanges
from registry.domain.packages import deletion, releases
from registry.domain.reachability import Upstream
from registry.models import (
    AccessToken,
    DeployToken,
    Group,
    JobStatus,
    NameStatus,
    Package,
    PackageFile,
    Project,
    RegistryAccess,
    Role,
    Visibility,
)
from registry.server import SMALL_BODY_BYTES
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import JSON, Credentials, Pip, Twine, pypi_path

WHEEL, SDIST = build_wheel(), build_sdist()
PROBLEM, HTML = "application/problem+json", "text/html; charset=utf-8"
PIP = f"{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
ABSENT_PROJECT = (
    "There is no such project, or this token cannot read it. Check its number, or its path with %2F in place of each "
    "slash, and that the user of the token is a member. A deploy token reaches only its own project or group. For the "
    "job token of another project, check the job token allowlist."
)
TO_PUBLISH = "To publish, send an access token with the scope api, not the password of your account."
NEEDS_TOKEN = "Reading this requires a token."
ANOTHER = "Create a new one under Edit profile > Access tokens."


@pytest.fixture
def reporter(project: Project) -> str:
    return factories.access_token(factories.member(project, Role.REPORTER), "read_api")


def unread(project: Project) -> Credentials:
    return None


def unknown(project: Project) -> Credentials:
    return "glpat-unknown"


def expired(project: Project) -> Credentials:
    return factories.access_token(factories.user(), expires_on=utcnow().date())


def revoked(project: Project) -> Credentials:
    secret = factories.access_token(factories.user())
    token = db.session.scalars(select(AccessToken).options(joinedload(AccessToken.user))).one()
    access_tokens.revoke_access_token(token, by=access.SHELL, now=utcnow())
    return secret


def narrow(project: Project) -> Credentials:
    return factories.access_token(factories.member(project, Role.GUEST), "read_user")


def reading(project: Project) -> Credentials:
    return factories.access_token(factories.member(project, Role.DEVELOPER), "read_api")


def reading_deploy_token(project: Project) -> Credentials:
    return factories.deploy_token(project, "read_package_registry")


def misplaced(project: Project) -> Credentials:
    return factories.access_token(factories.member(project, Role.DEVELOPER)), ""


def foreign_job(project: Project) -> Credentials:
    return JOB_USERNAME, "glcbt-64_of-a-gitlab-server"


def expired_deploy_token(project: Project) -> Credentials:
    return factories.deploy_token(project, username="deployer", expires_at=utcnow())


def revoked_deploy_token(project: Project) -> Credentials:
    secret = factories.deploy_token(project, username="deployer")
    token = db.session.scalars(select(DeployToken)).one()
    deploy_tokens.revoke_deploy_token(token, project, by=access.SHELL, now=utcnow())
    return secret


def ended_job(project: Project) -> Credentials:
    job, secret = factories.job(project, factories.member(project, Role.DEVELOPER))
    jobs.finish_job(job, JobStatus.SUCCESS, by=access.Principal(access.PrincipalKind.JOB, job=job), now=utcnow())
    return JOB_USERNAME, secret


def misnamed_job(project: Project) -> Credentials:
    return "me", factories.job(project, factories.member(project, Role.DEVELOPER))[1]


def stranger(project: Project) -> Credentials:
    return factories.access_token(factories.user())


def guest(project: Project) -> Credentials:
    return factories.access_token(factories.member(project, Role.GUEST))


@pytest.mark.parametrize(
    ("caller", "status", "title", "detail"),
    [
        (unread, 401, "Authentication required", NEEDS_TOKEN),
        (unknown, 401, "Credential unknown", "The password is not a token of this registry, or the token was deleted."),
        (misplaced, 401, "Credential unknown", "The password is empty or cannot be read. It has to be the token."),
        (foreign_job, 401, "Credential unknown", "The CI_JOB_TOKEN of a GitLab server is valid only there"),
        (expired, 401, "Token expired", f"The personal access token expired on {{today}}. {ANOTHER}"),
        (revoked, 401, "Token revoked", f"The personal access token was revoked. {ANOTHER}"),
        (narrow, 403, "Scope missing", f"The personal access token lacks the scope api or read_api. {ANOTHER}"),
        (expired_deploy_token, 401, "Token expired", "The deploy token deployer expired on {today}."),
        (revoked_deploy_token, 401, "Token revoked", "The deploy token deployer was revoked."),
        (ended_job, 401, "Job ended", "The CI job of this token has ended"),
        (misnamed_job, 401, "User name wrong", "with the user name gitlab-ci-token."),
        (stranger, 404, "Not found", ABSENT_PROJECT),
        (guest, 403, "Role too low", "This requires the role Reporter or a higher one in the project acme/tools."),
    ],
    ids=lambda value: value.__name__.replace("_", " ") if callable(value) else "",
)
def test_a_refused_caller_learns_what_is_wrong_with_the_credentials(
    pip: Pip, project: Project, caller: Callable[[Project], Credentials], status: int, title: str, detail: str
) -> None:
    response = pip.simple_page(project, "demo", caller(project), accept=PIP)

    assert response.headers.getlist("Content-Type") == [PROBLEM]
    assert (response.status_code, response.json["status"], response.json["title"]) == (status, status, title)
    assert detail.format(today=utcnow().date()) in response.json["detail"]
    assert response.json.keys() & {"message", "error"}
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert "Accept" in response.vary


def test_a_caller_who_sees_a_project_learns_what_its_members_only_registry_requires(
    pip: Pip, callers: dict[str, Credentials]
) -> None:
    group = factories.group("open", visibility=Visibility.PUBLIC)
    shown = factories.project("shown", parent=group, visibility=Visibility.PUBLIC)
    namespaces.change(shown, ProjectChanges(registry_access=RegistryAccess.PRIVATE), by=access.SHELL)
    expected = {
        "stranger": ("Role too low", "the role Reporter or a higher one in the project open/shown."),
        "deploy token of another project": ("Deploy token not accepted", "a deploy token of the project open/shown or"),
        "job of a stranger": ("Job token not accepted", "A Maintainer of the project open/shown can add the project"),
    }

    for who, (title, detail) in expected.items():
        answer = pip.simple_page(shown, "demo", callers[who])

        assert (answer.status_code, answer.json["title"]) == (403, title)
        assert detail in answer.json["detail"]


def switch_off(project: Project) -> None:
    namespaces.change(project, ProjectChanges(registry_access=RegistryAccess.DISABLED), by=access.SHELL)


def stop_forwarding(project: Project) -> None:
    forwarding.change_forwarding(project.parent, value=False, by=access.SHELL)


def block(project: Project) -> None:
    cascade.BLOCKED.change(project.parent, value=["other"], by=access.SHELL)


def allow_another(project: Project) -> None:
    cascade.ALLOWED.change(project.parent, value=["another"], by=access.SHELL)


def quarantine(project: Project) -> None:
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, "malware\nreport 12.", by=access.SHELL)


def delete(project: Project) -> None:
    deletion.delete_package(db.session.scalars(select(Package)).one(), project, by=access.SHELL)


def delete_a_file(project: Project) -> None:
    file = db.session.scalars(select(PackageFile).where(PackageFile.filename == WHEEL.filename)).one()
    deletion.delete_file(file, db.session.scalars(select(Package)).one(), project, by=access.SHELL)


PAGE, FILE = "simple/other/", f"files/{WHEEL.sha256}/{WHEEL.filename}"
DELETED = (
    "File deleted",
    f"The file {WHEEL.filename} was deleted from acme/tools. If a lock file lists it, lock another version.",
)
QUARANTINED = (
    "Package quarantined",
    "The package demo is quarantined: malware report 12. Ask a Maintainer of acme/tools.",
)


@pytest.mark.parametrize(
    ("change", "path", "status", "title", "detail"),
    [
        (
            switch_off, PAGE, 403, "Package registry disabled",
            "The package registry of the project acme/tools is switched off. An Owner can switch it on under "
            "Settings > Packages and registries.",
        ),
        (
            stop_forwarding, PAGE, 404, "Package not found",
            'The project acme/tools has no package other, and the setting "Forward PyPI package requests" is off '
            "there, so the public index is not asked.",
        ),
        (
            block, PAGE, 403, "Package blocked",
            'The package other is blocked by the entry "other" in the settings of the group acme. '
            "Ask an Owner of the group acme.",
        ),
        (
            allow_another, PAGE, 403, "Package not allowed",
            "The package other is not on the list of allowed packages, which is set in the group acme. "
            "Ask an Owner of the group acme.",
        ),
        (None, "simple/no%20name/", 404, "Package not found", "'no name' is not a valid package name."),
        (quarantine, FILE, 403, *QUARANTINED),
        (quarantine, FILE + ".metadata", 403, *QUARANTINED),
        (delete, FILE, 404, *DELETED),
        (delete_a_file, FILE + ".metadata", 404, *DELETED),
        (
            None, f"files/{'0' * 64}/{WHEEL.filename}", 404, "File not found",
            "There is no file with this name and digest here. If a lock file lists it, create the lock file again.",
        ),
        (None, f"files/1/{WHEEL.filename}", 404, "File not found", "has its SHA-256 digest before the name."),
        (None, "files/1/..", 400, "Invalid parameter", "file_identifier should be a valid file path."),
    ],
    ids=[
        "registry switched off", "not forwarded", "blocked", "not allowed", "no name", "quarantined",
        "metadata of quarantined", "deleted package", "metadata of deleted file", "unknown digest", "no digest", "path",
    ],
)  # fmt: skip
def test_a_reader_learns_why_something_is_not_offered(
    pip: Pip,
    project: Project,
    release: Package,
    reporter: str,
    change: Callable[[Project], None] | None,
    path: str,
    status: int,
    title: str,
    detail: str,
) -> None:
    if change is not None:
        change(project)

    answers = [
        pip.get(f"{pypi_path(project)}/{path}", reporter, accept, method=method)
        for accept, method in ((PIP, "GET"), (PIP, "HEAD"), ("text/html", "GET"))
    ]

    problem, head, page = answers
    assert (problem.json["status"], problem.json["title"]) == (status, title)
    assert detail in problem.json["detail"]
    assert {answer.status_code for answer in answers} == {status}
    assert all("Accept" in answer.vary for answer in answers)
    assert comparable(head)[:2] == comparable(problem)[:2]
    assert head.data == b""
    assert page.content_type == HTML
    assert f"<h1>{status} {title}</h1>" in page.text
    assert "\n" not in page.status


def test_a_file_published_again_is_offered_and_a_missing_document_is_not_a_deleted_file(
    pip: Pip, project: Project, release: Package, reporter: str
) -> None:
    delete(project)
    factories.published(project, WHEEL)
    sdist = build_sdist("plain", "1.0", metadata_version="1.1")
    factories.published(project, sdist)

    assert pip.download(project, WHEEL, reporter).status_code == 200
    assert pip.download(project, sdist, reporter, suffix=".metadata").json["title"] == "File not found"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", PROBLEM),
        ("*/*", PROBLEM),
        (PIP, PROBLEM),
        (f"{JSON}, */*;q=0.1", PROBLEM),
        ("application/problem+json, text/html", PROBLEM),
        ("application/json", PROBLEM),
        ("rubbish;;;,,q=x", PROBLEM),
        ("text/html", HTML),
        ("application/vnd.pypi.simple.v1+html", HTML),
        ("text/html;q=0.5, application/json;q=0.1", HTML),
        (BROWSER, HTML),
    ],
)
def test_a_client_gets_html_only_if_it_prefers_that(pip: Pip, project: Project, accept: str, content_type: str) -> None:
    response = pip.simple_page(project, "demo", accept=accept)

    assert (response.status_code, response.content_type) == (401, content_type)
    assert response.headers["WWW-Authenticate"] == 'Basic realm="GitLab Packages Registry"'


def test_errors_of_http_are_problems_with_their_headers(
    pip: Pip, project: Project, demo: PackageFile, reporter: str
) -> None:
    wrong_method = pip.get(f"{pypi_path(project)}/simple/demo/", reporter, method="DELETE")
    wrong_range = pip.download(project, WHEEL, reporter, headers={"Range": "bytes=999999-"})
    another_file = pip.download(project, WHEEL, reporter, headers={"If-Match": '"another"'})

    assert (wrong_method.status_code, wrong_method.content_type) == (405, PROBLEM)
    assert wrong_method.json["error"] == "405 Not Allowed"
    assert wrong_method.json["title"] == "Method Not Allowed"
    assert "/packages/pypi." in wrong_method.json["detail"]
    assert set(wrong_method.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert (wrong_range.status_code, wrong_range.content_type) == (416, PROBLEM)
    assert wrong_range.headers["Content-Range"] == f"bytes */{len(WHEEL.content)}"
    assert (another_file.status_code, another_file.content_type) == (412, PROBLEM)
    assert int(another_file.headers["Content-Length"]) == len(another_file.data) > 0


def test_while_the_upstream_is_away_a_missing_name_is_404(
    app: Flask, pip: Pip, project: Project, demo: PackageFile, reporter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/simple"
    monkeypatch.setitem(app.extensions, "upstream", Upstream(address))

    missing = pip.simple_page(project, "Other", reporter, accept=PIP)

    assert (missing.status_code, missing.content_type, missing.headers["Retry-After"]) == (404, PROBLEM, "10")
    assert missing.json["message"] == "404 Package Not Found"
    assert missing.json["title"] == "Public index unreachable"
    assert missing.json["detail"].startswith("The package other is not here, and 127.0.0.1, to which requests")
    assert pip.simple_page(project, "demo", reporter).status_code == 200


def test_a_failure_names_the_request_in_the_log(
    app: Flask, pip: Pip, project: Project, demo: PackageFile, reporter: str, caplog: pytest.LogCaptureFixture
) -> None:
    for file in app.extensions["storage"].root.rglob(f"*{WHEEL.sha256}*"):
        file.unlink()

    response = pip.download(project, WHEEL, reporter)

    assert (response.status_code, response.content_type) == (500, PROBLEM)
    assert response.json["message"] == "500 Internal Server Error"
    assert response.headers["X-Request-Id"] in response.json["detail"]


@pytest.mark.parametrize(
    ("caller", "body", "advice"),
    [
        (unread, {"message": "401 Unauthorized"}, TO_PUBLISH),
        (unknown, {"message": "401 Unauthorized"}, f"The password is not a token of this registry, or the token was "
                                                   f"deleted. {TO_PUBLISH}"),
        (misplaced, {"message": "401 Unauthorized"}, "The password is empty or cannot be read."),
        (foreign_job, {"message": "401 Unauthorized"}, "jobs need a deploy token, or an identity token (Help > GitLab"),
        (misnamed_job, {"message": "401 Unauthorized"}, "with the user name gitlab-ci-token."),
        (expired, {"error": "invalid_token"}, f"The personal access token expired on {{today}}. {ANOTHER}"),
        (reading, {"error": "insufficient_scope"}, f"The personal access token lacks the scope api. {ANOTHER}"),
        (guest, {"message": "403 Forbidden"}, "This requires the role Developer or a higher one in the project"),
        (reading_deploy_token, {"message": "403 Forbidden"}, "or of a group above it, with the scope write_"),
        (stranger, {"message": "404 Not Found"}, "There is no such project, or this token cannot read it."),
    ],
    ids=lambda value: value.__name__.replace("_", " ") if callable(value) else "",
)  # fmt: skip
def test_a_refused_upload_has_the_json_of_gitlab_and_advice_where_its_clients_show_it(
    twine: Twine, project: Project, caller: Callable[[Project], Credentials], body: dict[str, str], advice: str
) -> None:
    response = twine.upload(project, WHEEL, caller(project))

    assert response.content_type == "application/json"
    assert response.json.items() >= body.items()
    assert advice.format(today=utcnow().date()) in response.json["code"]
    assert advice.format(today=utcnow().date()) in response.status
    assert len(response.status) <= len("401 ") + LONGEST_REASON
    assert response.status.endswith(".")


@pytest.mark.parametrize("content", [WHEEL.content, bytes(SMALL_BODY_BYTES)], ids=["small", "large"])
@pytest.mark.parametrize(
    ("address", "status", "error"),
    [
        ("/api/v4/groups/acme/-/packages/pypi", 404, "404 Not Found"),
        ("/api/v4/projects/acme%2Ftools/packages/pypi/simple", 405, "405 Not Allowed"),
        ("/acme/tools", 405, "405 Not Allowed"),
        ("/", 405, "405 Not Allowed"),
    ],
    ids=["group", "simple page", "page of the project", "start page"],
)
def test_an_upload_to_another_address_is_shown_the_right_one(
    twine: Twine, project: Project, address: str, status: int, error: str, content: bytes
) -> None:
    response = twine.upload(None, WHEEL, unknown(project), url=address, content=(io.BytesIO(content), WHEEL.filename))

    assert (response.status_code, response.json["error"], "Allow" in response.headers) == (status, error, status == 405)
    assert response.json["code"] == response.status
    assert "to a project: http://localhost/api/v4/projects/ID/packages/pypi, where ID" in response.status


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("projects/1/packages/pypi", 405),
        ("projects/acme%2Ftools/packages/pypi/demo/", 404),
        ("projects/acme/tools/packages/pypi/demo/", 404),
        ("groups/acme/packages/pypi/simple/demo/", 404),
        ("groups/acme/-/packages/pypi/", 404),
    ],
    ids=["address to publish to", "without simple", "plain path", "group without a hyphen", "address of a group"],
)
def test_an_installation_from_an_address_like_an_index_is_shown_how_indexes_end(
    pip: Pip, project: Project, address: str, status: int
) -> None:
    right = "an index ends in /packages/pypi/simple, and that of a group in /-/packages/pypi/simple."

    answer = pip.get(f"/api/v4/{address}", accept=PIP)
    page = pip.get(f"/api/v4/{address}", accept="text/html")

    assert (answer.status_code, answer.content_type) == (status, "application/json")
    assert answer.json == {"error": "405 Not Allowed" if status == 405 else "404 Not Found"}
    assert answer.status.endswith(right)
    assert right in page.text
    assert ("Allow" in answer.headers) is (status == 405)


def comparable(response: TestResponse, *names: str) -> tuple[str, list[tuple[str, str]], str]:
    """A whole answer, without its time and id, and with one word in place of the names that were asked for."""

    def unnamed(text: str) -> str:
        return re.sub("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "$.", "NAME", text)

    headers = [(name, unnamed(value)) for name, value in response.headers if name not in ("Date", "X-Request-Id")]
    return unnamed(response.status), headers, unnamed(response.text)


@pytest.fixture
def callers(project: Project, group: Group) -> dict[str, Credentials]:
    """Callers who cannot see ``project``, with credentials that count."""
    elsewhere = factories.project(parent=factories.group(visibility=Visibility.PRIVATE))
    developer = factories.member(elsewhere, Role.DEVELOPER)
    return {
        "stranger": stranger(elsewhere),
        "external user": factories.access_token(factories.user(is_external=True)),
        "deploy token of another project": factories.deploy_token(elsewhere),
        "deploy token without a scope for packages": factories.deploy_token(project, "read_repository"),
        "job of a stranger": (JOB_USERNAME, factories.job(elsewhere, developer)[1]),
    }


def hide_in(project: Project) -> dict[str, str]:
    """Publish in every state; the addresses of what exists, below the index, each with one that is absent."""
    factories.published(project, WHEEL)
    files = {name: build_wheel(name) for name in ("deleted", "blocked", "removed")}
    for name, file in files.items():
        factories.published(project, file)
        if name == "blocked":
            releases.set_name_status(project, name, NameStatus.QUARANTINED, "Secret reason", by=access.SHELL)
    for package in db.session.scalars(select(Package).where(Package.name.in_(["deleted", "removed"]))):
        deletion.delete_package(package, project, by=access.SHELL)
    files["demo"] = WHEEL
    pages = {f"simple/{name}/": "simple/absent/" for name in files}
    offered = {
        f"files/{file.sha256}/{file.filename}{suffix}": f"files/{'0' * 64}/{file.filename}{suffix}"
        for file, suffix in product(files.values(), ("", ".metadata"))
    }
    return pages | offered


ACCEPTS = (PIP, "text/html")


def test_a_hidden_project_or_group_is_answered_as_an_absent_one(
    pip: Pip, project: Project, group: Group, callers: dict[str, Credentials]
) -> None:
    paths = ["simple/", *[*hide_in(project)][::3]]
    at_project = (project, "acme%2Ftools", "acme%2Fabsent", False)
    places = [*product(callers.items(), [at_project, (group, "acme", "absent", True)])]
    elsewhere = factories.project()
    starter = factories.member(elsewhere, Role.DEVELOPER)
    namespaces.add_member(project, starter, Role.DEVELOPER, by=access.SHELL)
    places.append((("job outside the allowlist", (JOB_USERNAME, factories.job(elsewhere, starter)[1])), at_project))

    for (who, credentials), (record, path, absent_path, is_group) in places:
        spellings = ((record.id, record.id + 10_000), (path, absent_path))
        for rest, (accept, method, spelled) in product(paths, zip(ACCEPTS, ("GET", "HEAD"), spellings, strict=True)):
            hidden, missing = (
                comparable(pip.get(f"{pypi_path(one, group=is_group)}/{rest}", credentials, accept, method=method))
                for one in spelled
            )
            assert hidden == missing, (who, record, rest)
            assert hidden[0].startswith("404 ")


def test_an_upload_to_a_hidden_project_is_answered_as_one_to_an_absent_project(
    twine: Twine, project: Project, callers: dict[str, Credentials]
) -> None:
    for who, credentials in callers.items():
        hidden, missing = (
            comparable(twine.upload(None, WHEEL, credentials, url=f"/api/v4/projects/{number}/packages/pypi"))
            for number in (project.id, project.id + 10_000)
        )
        assert hidden == missing, who
        assert hidden[0].startswith("404 Not Found - There is no such project, or this token cannot read it.")


@pytest.mark.parametrize("forwards", [True, False])
def test_in_a_group_hidden_names_and_files_are_answered_as_absent_ones(
    pip: Pip, callers: dict[str, Credentials], forwards: bool
) -> None:
    """With one exception: signed-in callers learn that a name is taken where it would be forwarded otherwise."""
    group = factories.group("open", visibility=Visibility.PUBLIC)
    factories.published(factories.project(parent=group, visibility=Visibility.PUBLIC), build_wheel("open"))
    forwarding.change_forwarding(group, value=forwards, by=access.SHELL)
    paths = hide_in(factories.project(parent=group))

    for (who, credentials), accept in product([*callers.items(), ("anonymous", None)], ACCEPTS):
        for existing, absent in paths.items():
            if forwards and credentials and existing.startswith("simple/"):
                continue
            names = (*existing.split("/"), *absent.split("/"))
            hidden, missing = (
                comparable(
                    pip.get(f"{pypi_path(group)}/{path}", credentials, accept),
                    *{name for name in names if name not in ("", "simple", "files")},
                )
                for path in (existing, absent)
            )
            assert without_length(hidden) == without_length(missing), (who, existing)
            assert hidden[0].partition(" ")[0] == ("404" if credentials else "401")


def without_length(answer: tuple[str, list[tuple[str, str]], str]) -> Any:
    """An answer without the length of its body, which repeats the name that was asked for."""
    return answer[0], [header for header in answer[1] if header[0] != "Content-Length"], answer[2]
