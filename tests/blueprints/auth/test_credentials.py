"""Authentication on the PyPI routes: each way to send a credential, in GitLab's order, to both visibilities."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import select
from werkzeug.test import TestResponse

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens, deploy_tokens, jobs, passwords, users
from registry.domain.accounts.secrets import digest
from registry.domain.accounts.users import StateChange
from registry.models import AccessToken, DeployToken, JobStatus, PackageFile, Project, Role, User, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.clients import Twine, basic

PASSWORD = "correct horse battery"
GARBAGE = "glpat-" + "x" * 43


@dataclass
class World:
    """A public and a private project of one group, and secrets of all kinds."""

    public: Project
    private: Project
    reporter: User
    secrets: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.secrets[name]


@pytest.fixture
def world(app: Flask) -> World:
    group = factories.group("acme", visibility=Visibility.PUBLIC)
    public = factories.project("open", parent=group, visibility=Visibility.PUBLIC)
    private = factories.project("closed", parent=group)
    elsewhere = factories.project("elsewhere", visibility=Visibility.PUBLIC)
    reporter = factories.member(group, Role.REPORTER, "rita", password=PASSWORD)
    stranger = factories.user("stranger")
    blocked, deactivated = factories.member(group, Role.OWNER), factories.member(group, Role.OWNER)
    secrets = {
        "token": factories.access_token(reporter, "read_api"),
        "api token": factories.access_token(reporter),
        "stranger's": factories.access_token(stranger),
        "wrong scope": factories.access_token(reporter, "read_user", "read_registry"),
        "expired": factories.access_token(reporter, expires_on=utcnow().date()),
        "revoked": factories.access_token(reporter),
        "blocked": factories.access_token(blocked),
        "deactivated": factories.access_token(deactivated),
        "deploy": factories.deploy_token(private),
        "group deploy": factories.deploy_token(group),
        "foreign deploy": factories.deploy_token(elsewhere),
        "expired deploy": factories.deploy_token(private, expires_at=utcnow() - timedelta(seconds=1)),
        "revoked deploy": factories.deploy_token(private),
        "job": factories.job(private, reporter)[1],
        "blocked user's job": factories.job(private, blocked)[1],
    }
    finished, secrets["finished job"] = factories.job(private, reporter)
    jobs.finish_job(finished, JobStatus.SUCCESS, by=SHELL, now=utcnow())
    overdue, secrets["overdue job"] = factories.job(private, reporter)
    overdue.expires_at = utcnow()
    db.session.commit()
    users.change_state(blocked, StateChange.BLOCK, by=SHELL)
    users.change_state(deactivated, StateChange.DEACTIVATE, by=SHELL)
    key = factories.token_key()
    revoked = access_tokens.find_access_token(secrets["revoked"], key)
    assert revoked is not None
    access_tokens.revoke_access_token(revoked, by=SHELL, now=utcnow())
    revoked_deploy = deploy_tokens.find_deploy_token(secrets["revoked deploy"], key, utcnow())
    assert revoked_deploy is not None
    deploy_tokens.revoke_deploy_token(revoked_deploy, private, by=SHELL, now=utcnow())
    return World(public, private, reporter, secrets)


def path(project: Project) -> str:
    return f"/api/v4/projects/{project.id}/packages/pypi/simple/"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def private_token(secret: str) -> dict[str, str]:
    return {"PRIVATE-TOKEN": secret}


def deploy_header(secret: str) -> dict[str, str]:
    return {"Deploy-Token": secret}


def as_user(username: str) -> Callable[[str], dict[str, str]]:
    return lambda secret: basic((username, secret))


def as_latin1(username: str) -> Callable[[str], dict[str, str]]:
    """As pip and twine encode it."""
    return lambda secret: {
        "Authorization": "Basic " + base64.b64encode(f"{username}:{secret}".encode("latin-1")).decode()
    }


ci = as_user("gitlab-ci-token")
someone = as_user("someone")

# How the credential is sent, which one, and the answer on the public and on the private project.
WAYS: list[tuple[str, Callable[[str], dict[str, str]], str, int, int]] = [
    ("nothing", lambda _: {}, "", 200, 401),
    # 1. Deploy tokens: by the password alone, or by header.
    ("deploy token, Basic", someone, "deploy", 200, 200),
    ("deploy token, Basic without user name", as_user(""), "deploy", 200, 200),
    ("deploy token, Basic as gitlab-ci-token", ci, "deploy", 200, 200),
    ("deploy token, Deploy-Token header", deploy_header, "deploy", 200, 200),
    ("deploy token, Bearer", bearer, "deploy", 200, 200),
    ("deploy token of the group", someone, "group deploy", 200, 200),
    ("deploy token of another project", someone, "foreign deploy", 200, 404),
    ("deploy token as PRIVATE-TOKEN", private_token, "deploy", 401, 401),
    ("deploy token as user name", lambda secret: basic((secret, "")), "deploy", 200, 401),
    ("wrong deploy token, Basic", lambda _: basic(("gitlab+deploy-token-1", "gldt-wrong")), "", 200, 401),
    ("wrong deploy token, Deploy-Token header", lambda _: deploy_header("gldt-wrong"), "", 200, 401),
    ("wrong deploy token, Bearer", lambda _: bearer("gldt-wrong"), "", 401, 401),
    ("expired deploy token, Basic", someone, "expired deploy", 200, 401),
    ("revoked deploy token, Basic", someone, "revoked deploy", 200, 401),
    ("revoked deploy token, Deploy-Token header", deploy_header, "revoked deploy", 200, 401),
    ("revoked deploy token, Bearer", bearer, "revoked deploy", 401, 401),
    # 2. Job tokens as bearer.
    ("job token, Bearer", bearer, "job", 200, 200),
    ("finished job, Bearer", bearer, "finished job", 401, 401),
    ("overdue job, Bearer", bearer, "overdue job", 401, 401),
    ("wrong job token, Bearer", lambda _: bearer("glcbt-wrong"), "", 401, 401),
    # 3. Access tokens.
    ("access token, Bearer", bearer, "token", 200, 200),
    ("access token, PRIVATE-TOKEN", private_token, "token", 200, 200),
    ("access token, Basic with its name", as_user("test"), "token", 200, 200),
    ("access token, Basic with the user's name", as_user("rita"), "token", 200, 200),
    ("access token, Basic with another user's name", as_user("stranger"), "token", 200, 200),
    ("access token, Basic as __token__", as_user("__token__"), "token", 200, 200),
    ("access token, Basic as gitlab-ci-token", ci, "token", 200, 200),
    ("access token, Basic without user name", as_user(""), "token", 200, 200),
    ("access token, Basic with a user name in UTF-8", as_user("ünï"), "token", 200, 200),
    ("access token, Basic with a user name in Latin-1", as_latin1("Clé de Rita"), "token", 200, 200),
    ("job token, Basic with a user name in Latin-1", as_latin1("gitlab-ci-tokén"), "job", 200, 401),
    ("access token as user name", lambda secret: basic((secret, "")), "token", 200, 401),
    ("access token as Deploy-Token", deploy_header, "token", 200, 401),
    ("access token with a blank", lambda secret: basic(("a", f"{secret} ")), "token", 200, 401),
    ("stranger's access token", someone, "stranger's", 200, 404),
    ("wrong access token, Bearer", lambda _: bearer(GARBAGE), "", 401, 401),
    ("wrong access token, Bearer like parameters", lambda _: bearer("a=b"), "", 401, 401),
    ("wrong access token, PRIVATE-TOKEN", lambda _: private_token(GARBAGE), "", 401, 401),
    ("wrong access token, Basic", lambda _: basic(("someone", GARBAGE)), "", 200, 401),
    ("expired access token, Basic", someone, "expired", 401, 401),
    ("expired access token, PRIVATE-TOKEN", private_token, "expired", 401, 401),
    ("revoked access token, Basic", someone, "revoked", 401, 401),
    ("revoked access token, Bearer", bearer, "revoked", 401, 401),
    ("access token of wrong scope, Basic", someone, "wrong scope", 403, 403),
    ("access token of wrong scope, Bearer", bearer, "wrong scope", 403, 403),
    ("access token of a blocked user", someone, "blocked", 403, 403),
    ("account password", lambda _: basic(("rita", PASSWORD)), "", 200, 401),
    # 4. Job tokens as Basic password of exactly gitlab-ci-token.
    ("job token, Basic as gitlab-ci-token", ci, "job", 200, 200),
    ("job token, Basic as someone", someone, "job", 200, 401),
    ("job token, Basic in other case", as_user("GitLab-CI-Token"), "job", 200, 401),
    ("job token, JOB-TOKEN header", lambda secret: {"JOB-TOKEN": secret}, "job", 200, 401),
    ("job token, PRIVATE-TOKEN", private_token, "job", 401, 401),
    ("finished job, Basic", ci, "finished job", 401, 401),
    ("garbage as gitlab-ci-token", lambda _: basic(("gitlab-ci-token", "garbage")), "", 401, 401),
    ("nothing as gitlab-ci-token", lambda _: basic(("gitlab-ci-token", "")), "", 200, 401),
    ("job of a blocked user", ci, "blocked user's job", 403, 403),
    # Empty and unknown forms are ignored.
    ("empty Bearer", lambda _: bearer(""), "", 200, 401),
    ("empty PRIVATE-TOKEN", lambda _: private_token(""), "", 200, 401),
    ("another scheme", lambda secret: {"Authorization": f"Token {secret}"}, "token", 200, 401),
    ("schemes in other case", lambda secret: {"Authorization": f"BEARER {secret}"}, "token", 200, 200),
    # The first of several wins.
    ("deploy token before a wrong PRIVATE-TOKEN", lambda s: basic(s) | private_token(GARBAGE), "deploy", 200, 200),
    ("job before a wrong PRIVATE-TOKEN", lambda s: bearer(s) | private_token(GARBAGE), "job", 200, 200),
    ("wrong PRIVATE-TOKEN before a good Basic", lambda s: basic(s) | private_token(GARBAGE), "token", 401, 401),
    ("wrong Deploy-Token before a good Basic", lambda s: basic(s) | deploy_header("gldt-wrong"), "token", 200, 200),
]  # fmt: skip


def test_each_way_to_send_a_credential_is_answered_as_gitlab_does(client: FlaskClient, world: World) -> None:
    found = {}
    for name, send, secret, _, _ in WAYS:
        headers = send(world[secret] if secret else "")
        answers = [client.get(path(project), headers=headers) for project in (world.public, world.private)]
        found[name] = [answer.status_code for answer in answers]
        assert all(challenges_basic(answer) for answer in answers if answer.status_code == 401), name

    assert found == {name: [public, private] for name, _, _, public, private in WAYS}


def challenges_basic(answer: TestResponse) -> bool:
    return 'Basic realm="GitLab Packages Registry"' in answer.headers.getlist("WWW-Authenticate")


def test_of_parameters_only_private_token_counts(client: FlaskClient, world: World) -> None:
    def answers(**query: str) -> list[int]:
        return [client.get(path(one), query_string=query).status_code for one in (world.public, world.private)]

    assert answers(private_token=world["token"]) == [200, 200]
    assert answers(private_token=world["deploy"]) == [401, 401]
    assert answers(private_token=world["expired"]) == [401, 401]
    assert answers(private_token="") == [200, 401]
    assert answers(job_token=world["job"]) == [200, 401]
    assert answers(access_token=world["token"]) == [200, 401]


def test_a_deploy_token_is_looked_for_before_an_access_token(client: FlaskClient, world: World) -> None:
    foreign = deploy_header(world["foreign deploy"])

    answers = [
        client.get(path(world.private), headers=foreign | basic(world["token"])),
        client.get(path(world.private), headers=foreign | private_token(world["token"])),
        client.get(path(world.private), headers=basic(world["foreign deploy"]) | private_token(world["token"])),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404], "none speaks for the member any more"


def test_an_access_token_by_header_comes_before_one_by_basic(client: FlaskClient, world: World) -> None:
    headers = private_token(world["stranger's"]) | basic(world["token"])

    assert client.get(path(world.private), headers=headers).status_code == 404


def test_head_is_answered_as_get(client: FlaskClient, world: World) -> None:
    answers = [
        client.head(path(project), headers=basic(secret))
        for project in (world.public, world.private)
        for secret in (GARBAGE, world["token"], world["expired"], world["stranger's"])
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 401, 200, 401, 200, 401, 404]


def test_an_unknown_project_is_reported_before_credentials_are_checked(client: FlaskClient, world: World) -> None:
    unknown = "/api/v4/projects/999999/packages/pypi/simple/"

    for headers in ({}, private_token(GARBAGE), basic(world["expired"]), ci("garbage"), basic(world["token"])):
        assert client.get(unknown, headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("secret", "description"),
    [
        ("expired", "Token is expired. You can either do re-authorization or token refresh."),
        ("revoked", "Token was revoked. You have to re-authorize from the user."),
    ],
)
def test_the_refusal_of_an_inactive_access_token_names_the_reason(
    client: FlaskClient, world: World, secret: str, description: str
) -> None:
    answer = client.get(path(world.public), headers=basic(world[secret]))

    assert answer.json.items() >= {"error": "invalid_token", "error_description": description}.items()
    assert answer.headers.getlist("WWW-Authenticate") == [
        'Basic realm="GitLab Packages Registry"',
        f'Bearer realm="The API", error="invalid_token", error_description="{description}"',
    ]


def test_the_refusal_of_an_unknown_credential_names_no_reason(client: FlaskClient, world: World) -> None:
    answer = client.get(path(world.private), headers=basic(GARBAGE))

    assert (answer.status_code, answer.json["message"]) == (401, "401 Unauthorized")
    assert answer.content_type == "application/problem+json"


def test_the_refusal_of_a_wrong_scope_names_the_right_ones(client: FlaskClient, world: World) -> None:
    answer = client.get(path(world.public), headers=basic(world["wrong scope"]))

    assert answer.json is not None
    assert (answer.json["error"], answer.json["scope"]) == ("insufficient_scope", "api read_api")


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("blocked", "403 Forbidden - Your account has been blocked."),
        ("deactivated", "403 Forbidden - Your account has been deactivated by your administrator."),
    ],
)
def test_the_refusal_of_an_inactive_user_names_the_reason(
    client: FlaskClient, world: World, secret: str, message: str
) -> None:
    answer = client.get(path(world.public), headers=basic(world[secret]))

    assert answer.json["message"] == message


def test_the_use_of_a_token_is_noted(client: FlaskClient, world: World) -> None:
    for secret in ("token", "deploy", "expired", "revoked deploy"):
        client.get(path(world.private), headers=basic(world[secret]))

    db.session.rollback()
    used = {
        name: digest(world[name], factories.token_key()) for name in ("token", "deploy", "expired", "revoked deploy")
    }
    noted = set(db.session.scalars(select(AccessToken.digest).where(AccessToken.last_used_at.is_not(None))))
    noted |= set(db.session.scalars(select(DeployToken.digest).where(DeployToken.last_used_at.is_not(None))))
    assert noted == {used["token"], used["deploy"]}


@pytest.fixture
def signed_in(client: FlaskClient, world: World) -> FlaskClient:
    """The browser of the reporter."""
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(world.reporter)
    return client


def csrf_token(app: Flask, client: FlaskClient, value: str = "chance") -> str:
    with client.session_transaction() as session:
        session["csrf_token"] = "chance"
    return str(URLSafeTimedSerializer(app.secret_key or "", salt="wtf-csrf-token").dumps(value))


def test_a_session_reads(signed_in: FlaskClient, world: World) -> None:
    assert signed_in.get(path(world.private)).status_code == 200
    assert signed_in.head(path(world.private)).status_code == 200


def test_a_session_comes_after_every_token(signed_in: FlaskClient, world: World) -> None:
    found = {
        name: signed_in.get(path(world.private), headers=headers).status_code
        for name, headers in {
            "garbage": basic(GARBAGE),
            "stranger": basic(world["stranger's"]),
            "wrong PRIVATE-TOKEN": private_token(GARBAGE),
            "garbage as gitlab-ci-token": ci("garbage"),
            "foreign deploy token": basic(world["foreign deploy"]),
        }.items()
    }

    assert found == {
        "garbage": 200,
        "stranger": 404,
        "wrong PRIVATE-TOKEN": 401,
        "garbage as gitlab-ci-token": 401,
        "foreign deploy token": 404,
    }


def test_a_session_changes_something_only_with_the_token_against_forgery(
    app: Flask, client: FlaskClient, twine: Twine, world: World
) -> None:
    developer = factories.member(world.private, Role.DEVELOPER, "dora")
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(developer)
    good, forged = csrf_token(app, client), csrf_token(app, client, "guess")

    def upload(**headers: str) -> int:
        return twine.upload(world.private, build_wheel(), headers=headers).status_code

    assert [upload(), upload(**{"X-CSRF-Token": forged}), upload(**{"X-CSRF-Token": "garbage"})] == [401, 401, 401]
    assert upload(**{"X-CSRF-Token": good}) == 201
    assert db.session.scalars(select(PackageFile.creator_id)).all() == [developer.id]
    assert upload() == 401, "however often the session has sent the token"


@pytest.mark.parametrize("event", ["password", "blocked", "deleted"])
def test_a_session_ends_with_a_new_password_or_when_its_user_is_stopped(
    signed_in: FlaskClient, world: World, event: str
) -> None:
    assert signed_in.get(path(world.private)).status_code == 200
    {
        "password": lambda: passwords.set_password(world.reporter, "another secret", by=SHELL),
        "blocked": lambda: users.change_state(world.reporter, StateChange.BLOCK, by=SHELL),
        "deleted": lambda: users.delete_user(world.reporter, by=SHELL),
    }[event]()

    assert signed_in.get(path(world.private)).status_code == 401


@pytest.mark.parametrize("identifier", ["", "1", "x.y", "999999.0", "²."])
def test_a_session_without_a_user_is_anonymous(client: FlaskClient, world: World, identifier: str) -> None:
    with client.session_transaction() as session:
        session["_user_id"] = identifier

    assert client.get(path(world.private)).status_code == 401


def test_a_token_never_starts_a_session(client: FlaskClient, world: World) -> None:
    answer = client.get(path(world.private), headers=basic(world["token"]))

    assert "Set-Cookie" not in answer.headers
    assert client.get(path(world.private)).status_code == 401


ENCODED = {
    "no colon": b"nocolon",
    "empty": b"",
    "only a colon": b":",
    "NUL": b"\x00:\x00",
    "NUL in the password": b"user:glpat-\x00",
    "NUL for gitlab-ci-token": b"user:\x00",
    "not UTF-8": b"\xff\xfe:\xff",
    "Latin-1": "us\u00e9r:p\u00e4ss".encode("latin-1"),
    "line breaks": b"user\r\n:pass\r\nX: y",
    "many colons": b"a:b:c:d",
    "huge": b"user:" + b"x" * 1_000_000,
}
MALFORMED = {
    **{name: "Basic " + base64.b64encode(raw).decode() for name, raw in ENCODED.items()},
    "nothing": "",
    "a blank": " ",
    "scheme alone": "Basic",
    "scheme and blank": "Basic ",
    "no base64": "Basic !!!!",
    "cut base64": "Basic YTp",
    "two words": "Basic YTpi YTpi",
    "Digest": 'Digest username="a", realm="b", nonce="c", uri="/", response="d"',
    "parameters": "Basic a=b, c=d",
    "other scheme": "Negotiate YTpi",
    "quotes": 'Basic "',
    "Latin-1 bytes": "Basic \xff\xfe",
}


def test_a_malformed_header_is_anonymous(client: FlaskClient, world: World) -> None:
    def answers(header: str) -> list[int]:
        headers = {"Authorization": header}
        return [client.get(path(one), headers=headers).status_code for one in (world.public, world.private)]

    assert {name: answers(header) for name, header in MALFORMED.items()} == {name: [200, 401] for name in MALFORMED}


IMPOSSIBLE = [
    "\x00",
    "a b",
    "a=b, c=d",
    "x" * 1_000_000,
    "\xff\xfe",
    "glpat-\x00",
    "glcbt-\xff",
    "gldt-" + "y" * 100_000,
    '"',
]


@pytest.mark.parametrize("send", [bearer, private_token], ids=["Bearer", "PRIVATE-TOKEN"])
def test_an_impossible_credential_is_refused(
    client: FlaskClient, world: World, send: Callable[[str], dict[str, str]]
) -> None:
    for secret in IMPOSSIBLE:
        answer = client.get(path(world.public), headers=send(secret))

        assert (answer.status_code, answer.json["message"]) == (401, "401 Unauthorized"), ascii(secret[:20])


def test_a_bad_credential_is_refused_before_an_upload_is_read(client: FlaskClient, world: World) -> None:
    unread: dict[str, Any] = {"data": b"no form at all", "content_type": "multipart/form-data; boundary=x"}
    target = path(world.private).removesuffix("/simple/")

    refused = client.post(target, headers=private_token(GARBAGE), **unread)
    forbidden = client.post(target, headers=basic(world["api token"]), **unread)
    insufficient = client.post(target, headers=basic(world["token"]), **unread)

    assert [answer.status_code for answer in (refused, forbidden, insufficient)] == [401, 403, 403]
    assert insufficient.json is not None
    assert insufficient.json["scope"] == "api"


@pytest.mark.parametrize("path", ["/projects/{}", "/projects/{}/packages/pypi/simple", "/groups/{}"])
def test_a_token_without_the_scope_does_not_learn_what_exists(client, path):
    """The answers for what is hidden from its user, and for what is absent, are the same."""
    hidden = factories.project() if "projects" in path else factories.group()
    token = factories.access_token(factories.user(), "read_user")

    answers = [client.get("/api/v4" + path.format(id_), headers=bearer(token)) for id_ in (hidden.id, 4711)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].data == answers[1].data
