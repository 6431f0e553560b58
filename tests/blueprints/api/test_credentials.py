"""How a script authenticates on any REST route, and the messages of refusals."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.accounts.users import StateChange
from registry.models import AuditEvent, Group, Project, User, UserState, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.clients import Rest, basic


@pytest.mark.parametrize("way", ["PRIVATE-TOKEN", "bearer", "parameter"])
def test_an_access_token_is_taken_in_three_ways(client: FlaskClient, owner: User, way: str) -> None:
    secret = factories.access_token(owner)
    headers = {"PRIVATE-TOKEN": {"PRIVATE-TOKEN": secret}, "bearer": {"Authorization": f"Bearer {secret}"}}.get(way)
    query = f"?private_token={secret}" if way == "parameter" else ""

    response = client.get(f"/api/v4/user{query}", headers=headers)

    assert response.status_code == 200
    assert response.json["username"] == owner.username


@pytest.mark.parametrize("encoding", ["application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_an_access_token_is_taken_from_a_form(
    client: FlaskClient, owner: User, group: Group, method: str, encoding: str
) -> None:
    token = factories.access_token(owner)
    path = "/api/v4/groups" if method == "POST" else f"/api/v4/groups/{group.id}"
    form = {"name": "Made", "path": "made"}

    answers = [
        client.open(path, method=method, data={**form, **sent}, content_type=encoding).status_code
        for sent in ({}, {"private_token": "glpat-wrong"}, {"private_token": token})
    ]

    assert answers == [
        404 if method in ("PUT", "DELETE") else 401,
        401,
        {"POST": 201, "PUT": 200, "DELETE": 202}[method],
    ]


def test_a_form_decides_nothing_where_another_token_is_sent(client: FlaskClient, owner_token: str) -> None:
    sten = factories.user("sten")
    token, form = factories.access_token(sten), {"private_token": owner_token}

    for sent in ({"headers": {"PRIVATE-TOKEN": token}}, {"query_string": {"private_token": token}}):
        response = client.post("/api/v4/projects", data={**form, "path": next(iter(sent))}, **sent)

        assert response.json["creator_id"] == sten.id


def test_a_token_in_a_large_form_or_in_json_is_not_looked_for(client: FlaskClient, owner_token: str) -> None:
    form = {"name": "Made", "path": "made", "private_token": owner_token}

    large = client.post("/api/v4/groups", data={**form, "description": "x" * (64 << 10)})
    json = client.post("/api/v4/groups", json=form)

    assert [large.status_code, json.status_code] == [401, 401]


def test_a_job_token_is_taken_from_a_form(client: FlaskClient, owner: User, project: Project) -> None:
    job, token = factories.job(project, owner)

    response = client.post(
        f"/api/v4/projects/{project.id}/jobs/{job.id}/finish", data={"status": "success", "job_token": token}
    )

    assert response.status_code == 200


def test_basic_credentials_and_deploy_tokens_count_for_nothing_here(
    client: FlaskClient, owner: User, project: Project
) -> None:
    deploy_token = factories.deploy_token(project)

    responses = [
        client.get("/api/v4/user", headers=basic(factories.access_token(owner))),
        client.get(f"/api/v4/projects/{project.id}/packages", headers={"Deploy-Token": deploy_token}),
        client.get(f"/api/v4/projects/{project.id}/packages", headers=basic(deploy_token)),
    ]

    assert [response.status_code for response in responses] == [401, 404, 404]


def test_an_unknown_token_is_refused_even_where_none_is_needed(rest: Rest) -> None:
    public = factories.project(visibility=Visibility.PUBLIC)

    anonymous = rest.get(f"/projects/{public.id}")
    wrong = rest.get(f"/projects/{public.id}", "glpat-wrong")

    assert anonymous.status_code == 200
    assert wrong.status_code == 401
    assert "PRIVATE-TOKEN" in wrong.status
    assert wrong.json == {"message": "401 Unauthorized"}


def test_an_expired_token_is_refused_as_expired(rest: Rest, owner: User) -> None:
    secret = factories.access_token(owner, expires_on=utcnow().date())

    response = rest.get("/user", secret)

    assert response.status_code == 401
    assert response.json["error"] == "invalid_token"
    assert "expired" in response.json["error_description"]


def test_the_refusal_of_a_blocked_users_token_names_the_reason(rest: Rest, owner: User, owner_token: str) -> None:
    owner.state = UserState.BLOCKED
    factories.commit()

    response = rest.get("/user", owner_token)

    assert response.status_code == 403
    assert response.json == {"message": "403 Forbidden - Your account has been blocked."}


def test_reading_needs_read_api_and_writing_api(rest: Rest, owner: User, group: Group) -> None:
    reader = factories.access_token(owner, "read_api")

    read = rest.get(f"/groups/{group.id}", reader)
    changed = rest.put(f"/groups/{group.id}", reader, {"name": "Other"})

    assert read.status_code == 200
    assert changed.status_code == 403
    assert changed.json["error"] == "insufficient_scope"
    assert changed.json["scope"] == "api"


def test_the_scope_that_is_missing_is_named(rest: Rest, owner: User, group: Group) -> None:
    response = rest.get(f"/groups/{group.id}", factories.access_token(owner, "read_registry"))

    assert response.status_code == 403
    assert response.json["scope"] == "api read_api"


class TestSudo:
    def test_an_administrators_token_acts_as_another_user(self, rest: Rest, admin: User, owner: User) -> None:
        secret = factories.access_token(admin, "api", "sudo")

        by_name = rest.get("/user", secret, headers={"Sudo": "OLIVIA"})
        by_id = rest.get(f"/user?sudo={owner.id}", secret)
        by_form = rest.post("/projects", secret, data={"path": "made", "sudo": "olivia"})

        assert by_name.json["username"] == by_id.json["username"] == "olivia"
        assert by_form.json["creator_id"] == owner.id
        assert "is_admin" not in by_name.json

    def test_actions_are_recorded_under_both_names(self, rest: Rest, admin: User, owner: User) -> None:
        secret = factories.access_token(admin, "api", "sudo")

        rest.post("/groups", secret, json={"name": "Ours", "path": "ours"}, headers={"Sudo": "olivia"})

        event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "group_created")).one()
        assert (event.author, event.author_id) == ("olivia (sudo by root)", owner.id)

    @pytest.mark.parametrize("reference", ["ghost", "4711", "%00", "9" * 30])
    def test_an_unknown_user_is_not_found(self, rest: Rest, admin: User, reference: str) -> None:
        response = rest.get(f"/user?sudo={reference}", factories.access_token(admin, "api", "sudo"))

        assert response.status_code == 404
        assert response.json["message"].startswith("404 User with ID or username '")

    @pytest.mark.parametrize("change", [StateChange.BLOCK, StateChange.DEACTIVATE])
    def test_a_user_who_is_not_active_does_nothing(
        self, rest: Rest, admin: User, owner: User, change: StateChange
    ) -> None:
        secret = factories.access_token(admin, "api", "sudo")
        users.change_state(owner, change, by=SHELL)

        read = rest.get("/user", secret, headers={"Sudo": "olivia"})
        created = rest.post(f"/groups?sudo={owner.id}", secret, json={"name": "Ours", "path": "ours"})

        assert (read.status_code, created.status_code) == (403, 403)

    def test_it_needs_an_administrator_and_the_scope(self, rest: Rest, admin: User, owner: User) -> None:
        by_owner = rest.get("/user", factories.access_token(owner, "api", "sudo"), headers={"Sudo": "root"})
        without_scope = rest.get("/user", factories.access_token(admin), headers={"Sudo": "olivia"})

        assert by_owner.status_code == 403
        assert by_owner.json == {"message": "403 Forbidden - Must be admin to use sudo"}
        assert without_scope.status_code == 403
        assert without_scope.json["scope"] == "sudo"


class TestAddresses:
    @pytest.mark.parametrize("spelling", ["{id}", "acme%2Ftools", "acme%2ftools", "ACME%2FTools", "acme/tools"])
    def test_a_project_is_addressed_by_number_or_path(
        self, rest: Rest, project: Project, owner_token: str, spelling: str
    ) -> None:
        identifier = spelling.format(id=project.id)

        assert rest.get(f"/projects/{identifier}", owner_token).json["id"] == project.id
        assert rest.get(f"/projects/{identifier}/packages", owner_token).json == []
        assert rest.get(f"/projects/{identifier}/members/all", owner_token).status_code == 200
        assert rest.get(f"/projects/{identifier}/packages/protection/rules", owner_token).json == []

    def test_a_subgroup_is_addressed_by_path(self, rest: Rest, group: Group, owner_token: str) -> None:
        sub = factories.group("sub", parent=group)

        for identifier in (sub.id, "acme%2Fsub", "acme/sub"):
            assert rest.get(f"/groups/{identifier}/package_settings", owner_token).status_code == 200
            assert rest.get(f"/groups/{identifier}", owner_token).json["id"] == sub.id

    def test_a_group_is_no_project_and_a_personal_namespace_no_group(
        self, rest: Rest, group: Group, admin_token: str
    ) -> None:
        assert rest.get(f"/projects/{group.id}", admin_token).json == {"message": "404 Project Not Found"}
        assert rest.get("/groups/root", admin_token).json == {"message": "404 Group Not Found"}

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/projects/1/nothing",
            "/projects/acme%2Ftools/nothing",
            "/users/1/nothing",
            "/groups/1/-/nothing",
            "/user/nothing",
            "/projects/1/packages/one",
            "/projects/1/packages/12345678901",
            "/users/" + "1" * 5000,
        ],
    )
    def test_an_address_without_a_route_is_not_found(self, rest: Rest, admin_token: str, path: str) -> None:
        response = rest.get(path, admin_token)

        assert response.status_code == 404
        assert response.json == {"error": "404 Not Found"}

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("DELETE", "/projects"),
            ("PATCH", "/user"),
            ("PUT", "/projects/1/packages"),
            ("POST", "/application/settings"),
        ],
    )
    def test_a_wrong_method_is_not_allowed(self, rest: Rest, admin_token: str, method: str, path: str) -> None:
        response = rest.request(method, path, admin_token)

        assert response.status_code == 405
        assert response.json == {"error": "405 Not Allowed"}
        assert response.headers["Allow"]

    def test_a_trailing_slash_makes_no_difference(self, rest: Rest, project: Project, owner_token: str) -> None:
        assert rest.get(f"/projects/{project.id}/", owner_token).json["id"] == project.id
        assert rest.post("/projects/", owner_token, {"name": "other"}).status_code == 201

    def test_head_answers_as_get_without_a_body(self, rest: Rest, project: Project, owner_token: str) -> None:
        response = rest.request("HEAD", f"/projects/{project.id}", owner_token)

        assert response.status_code == 200
        assert response.data == b""


def test_addresses_in_answers_are_those_that_clients_see(rest: Rest, project: Project, owner_token: str) -> None:
    file = factories.published(project, build_wheel())
    base = {"base_url": "https://packages.example.org/registry"}

    listed = rest.get("/groups/acme/projects", owner_token, **base)
    package = rest.get(f"/projects/{project.id}/packages/{file.package_id}", owner_token, **base).json

    assert listed.json[0]["web_url"] == "https://packages.example.org/registry/acme/tools"
    assert "<https://packages.example.org/registry/api/v4/groups/acme/projects?page=1" in listed.headers["Link"]
    assert package["_links"] == {
        "web_path": f"/registry/acme/tools/-/packages/{file.package_id}",
        "delete_api_path": (
            f"https://packages.example.org/registry/api/v4/projects/{project.id}/packages/{file.package_id}"
        ),
    }


class TestIfUnmodifiedSince:
    def test_a_record_changed_since_is_not_deleted(self, rest: Rest, project: Project, owner_token: str) -> None:
        long_ago = (utcnow() - timedelta(days=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")

        response = rest.delete(f"/projects/{project.id}", owner_token, headers={"If-Unmodified-Since": long_ago})

        assert response.status_code == 412
        assert response.json == {"message": "412 Precondition Failed"}
        assert rest.get(f"/projects/{project.id}", owner_token).status_code == 200

    @pytest.mark.parametrize("since", ["now", "no date"])
    def test_otherwise_it_is(self, rest: Rest, project: Project, owner_token: str, since: str) -> None:
        if since == "now":
            since = utcnow().strftime("%a, %d %b %Y %H:%M:%S GMT")

        response = rest.delete(f"/projects/{project.id}", owner_token, headers={"If-Unmodified-Since": since})

        assert response.status_code == 202
