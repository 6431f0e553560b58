from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from registry.database import utcnow
from registry.models import User
from tests import factories
from tests.clients import Rest
from tests.tables import each

TOKEN = {
    "id", "name", "revoked", "created_at", "description", "scopes", "user_id", "last_used_at", "active", "expires_at",
}  # fmt: skip
SELF = "/personal_access_tokens/self"


def days_ahead(days: int) -> date:
    return (utcnow() + timedelta(days=days)).date()


class TestCreation:
    def test_an_administrator_creates_one_for_any_user(self, rest: Rest, owner: User, admin_token: str) -> None:
        sent = {
            "name": "ci", "scopes": ["read_api", "api"], "expires_at": str(days_ahead(30)), "description": "For the CI",
        }  # fmt: skip

        response = rest.post(f"/users/{owner.id}/personal_access_tokens", admin_token, sent)

        assert response.status_code == 201
        assert set(response.json) == TOKEN | {"token"}
        assert {name: response.json[name] for name in sent} == sent
        assert response.json["user_id"] == owner.id
        assert (response.json["active"], response.json["revoked"]) == (True, False)
        assert response.json["token"].startswith("glpat-")
        assert rest.get("/user", response.json["token"]).json["username"] == "olivia"

    def test_without_an_expiry_it_is_valid_as_long_as_allowed(self, rest: Rest, owner: User, admin_token: str) -> None:
        response = rest.post(
            f"/users/{owner.id}/personal_access_tokens", admin_token, {"name": "ci", "scopes": ["api"]}
        )

        assert response.json["expires_at"] == str(days_ahead(365))

    @pytest.mark.parametrize("scopes", [{"scopes[]": ["read_api", "read_user"]}, {"scopes": "read_api, read_user"}])
    def test_a_form_names_scopes_in_two_ways(
        self, rest: Rest, owner: User, admin_token: str, scopes: dict[str, Any]
    ) -> None:
        response = rest.post(f"/users/{owner.id}/personal_access_tokens", admin_token, data={"name": "ci", **scopes})

        assert response.status_code == 201
        assert response.json["scopes"] == ["read_api", "read_user"]

    @pytest.mark.parametrize("days", [0, -1])
    def test_one_with_a_past_expiry_is_expired_at_once(
        self, rest: Rest, owner: User, admin_token: str, days: int
    ) -> None:
        sent = {"name": "ci", "scopes": ["api"], "expires_at": str(days_ahead(days))}

        response = rest.post(f"/users/{owner.id}/personal_access_tokens", admin_token, sent)

        assert response.status_code == 201
        assert response.json["active"] is False
        assert rest.get("/user", response.json["token"]).status_code == 401

    @pytest.mark.parametrize(
        ("fields", "body"),
        [
            ({"name": ..., "scopes": ...}, {"error": "name is missing, scopes is missing"}),
            ({"name": " "}, {"message": {"name": ["can't be blank"]}}),
            ({"scopes": []}, {"message": {"scopes": ["can't be blank"]}}),
            ({"scopes": ["everything"]}, {"message": {"scopes": ["can only contain available scopes"]}}),
            ({"scopes": {"api": True}}, {"error": "scopes is invalid"}),
            ({"expires_at": "31.12."}, {"error": "expires_at is invalid"}),
            ({"expires_at": "0001-01-01T00:00:00+14:00"}, None),
        ],
    )
    def test_invalid_values_are_refused(
        self, rest: Rest, owner: User, admin_token: str, fields: dict[str, Any], body: Any
    ) -> None:
        sent = {"name": "ci", "scopes": ["api"]} | fields

        response = rest.post(
            f"/users/{owner.id}/personal_access_tokens", admin_token,
            {name: value for name, value in sent.items() if value is not ...},
        )  # fmt: skip

        assert response.status_code == (201 if body is None else 400)
        assert body is None or response.json == body

    def test_not_longer_than_allowed(self, rest: Rest, owner: User, admin_token: str) -> None:
        sent = {"name": "ci", "scopes": ["api"], "expires_at": str(days_ahead(366))}

        response = rest.post(f"/users/{owner.id}/personal_access_tokens", admin_token, sent)

        assert response.status_code == 400
        assert response.json == {"message": {"expires_at": [f"must be before {days_ahead(366)}"]}}

    def test_only_administrators_and_only_for_existing_users(
        self, rest: Rest, owner: User, owner_token: str, admin_token: str
    ) -> None:
        sent = {"name": "ci", "scopes": ["api"]}

        assert rest.post(f"/users/{owner.id}/personal_access_tokens", owner_token, sent).status_code == 403
        assert rest.post(f"/users/{owner.id}/personal_access_tokens", None, sent).status_code == 401
        assert rest.post("/users/4711/personal_access_tokens", admin_token, sent).status_code == 404

    def test_users_create_tokens_for_themselves_only_with_limited_scopes(
        self, rest: Rest, owner: User, owner_token: str
    ) -> None:
        made = rest.post("/user/personal_access_tokens", owner_token, {"name": "r", "scopes": ["self_rotate"]})
        refused = rest.post("/user/personal_access_tokens", owner_token, {"name": "r", "scopes": ["api"]})

        assert made.status_code == 201
        assert made.json["user_id"] == owner.id
        assert refused.status_code == 400
        assert refused.json == {"error": "scopes does not have a valid value"}


@pytest.fixture
def tokens_of_each_state(rest: Rest, admin: User, admin_token: str) -> None:
    ids = {}
    for name, expires_at in (("alpha", "2020-01-01"), ("beta", None), ("gamma", None)):
        made = {"name": name, "scopes": ["api"], "expires_at": expires_at}
        ids[name] = rest.post(f"/users/{admin.id}/personal_access_tokens", admin_token, made).json["id"]
    rest.delete(f"/personal_access_tokens/{ids['gamma']}", admin_token)


class TestList:
    def test_users_see_their_own_tokens_and_administrators_all(
        self, rest: Rest, owner: User, owner_token: str, admin: User, admin_token: str
    ) -> None:
        own = rest.get("/personal_access_tokens", owner_token)
        of_all_users = rest.get("/personal_access_tokens", admin_token)
        one_users = rest.get(f"/personal_access_tokens?user_id={owner.id}", admin_token)

        assert own.status_code == 200
        assert {token["user_id"] for token in own.json} == {owner.id}
        assert set(own.json[0]) == TOKEN
        assert {token["user_id"] for token in of_all_users.json} == {owner.id, admin.id}
        assert {token["user_id"] for token in one_users.json} == {owner.id}

    def test_tokens_of_other_users_are_refused(self, rest: Rest, owner: User, outsider_token: str) -> None:
        assert rest.get(f"/personal_access_tokens?user_id={owner.id}", outsider_token).status_code == 401

    @each(
        ("query", "found"),
        [
            ("state=active", ["test", "beta"]),
            ("state=inactive", ["alpha", "gamma"]),
            ("revoked=true", ["gamma"]),
            ("revoked=false", ["test", "alpha", "beta"]),
            ("search=ET", ["beta"]),
            ("created_after=2999-01-01", []),
            ("created_before=2999-01-01T00:00:00Z", ["test", "alpha", "beta", "gamma"]),
            ("last_used_after=2020-01-01", ["test"]),
            ("last_used_before=2020-01-01", []),
            ("expires_before=2020-12-31", ["alpha"]),
            ("expires_before=2020-01-01", ["alpha"]),
            ("expires_before=2019-12-31", []),
            ("expires_after=2020-01-01&search=alpha", ["alpha"]),
            ("expires_after=2020-01-02&search=alpha", []),
            ("expires_after=2021-01-01&search=a", ["beta", "gamma"]),
            ("sort=name_asc", ["alpha", "beta", "gamma", "test"]),
            ("sort=name_desc", ["test", "gamma", "beta", "alpha"]),
            ("sort=created_desc", ["gamma", "beta", "alpha", "test"]),
        ],
    )
    def test_the_list_can_be_narrowed_and_ordered(
        self, rest: Rest, admin_token: str, tokens_of_each_state: None, query: str, found: list[str]
    ) -> None:
        response = rest.get(f"/personal_access_tokens?{query}", admin_token)

        assert [token["name"] for token in response.json] == found


class TestOne:
    def test_the_token_of_the_request_whatever_its_scope(self, rest: Rest, owner: User) -> None:
        for scope in ("api", "read_registry", "self_rotate"):
            response = rest.get(SELF, factories.access_token(owner, scope))

            assert response.status_code == 200
            assert set(response.json) == TOKEN
            assert response.json["scopes"] == [scope]
            assert response.json["last_used_at"] is not None

    def test_a_token_of_the_caller_is_found_by_id(self, rest: Rest, owner_token: str) -> None:
        own = rest.get(SELF, owner_token).json

        assert rest.get(f"/personal_access_tokens/{own['id']}", owner_token).json == own

    def test_foreign_and_unknown_tokens_get_the_same_answer(
        self, rest: Rest, owner_token: str, outsider_token: str
    ) -> None:
        foreign = rest.get(SELF, owner_token).json["id"]

        for token_id in (foreign, 4711):
            assert rest.get(f"/personal_access_tokens/{token_id}", outsider_token).status_code == 401

    def test_an_administrator_sees_any(self, rest: Rest, owner_token: str, admin_token: str) -> None:
        foreign = rest.get(SELF, owner_token).json["id"]

        assert rest.get(f"/personal_access_tokens/{foreign}", admin_token).status_code == 200
        assert rest.get("/personal_access_tokens/4711", admin_token).status_code == 404


class TestRotation:
    def test_a_new_token_replaces_the_old_one(self, rest: Rest, owner: User) -> None:
        secret = factories.access_token(owner, "api", "read_user")
        before = rest.get(SELF, secret).json

        response = rest.post(f"{SELF}/rotate", secret)

        assert response.status_code == 200
        assert set(response.json) == TOKEN | {"token"}
        assert response.json["name"] == before["name"]
        assert response.json["scopes"] == before["scopes"]
        assert response.json["id"] != before["id"]
        assert response.json["expires_at"] == str(days_ahead(7))
        assert rest.get("/user", response.json["token"]).status_code == 200
        assert rest.get("/user", secret).status_code == 401

    def test_with_an_expiry_and_with_hardly_any_scope(self, rest: Rest, owner: User) -> None:
        secret = factories.access_token(owner, "self_rotate")

        response = rest.post(f"{SELF}/rotate", secret, {"expires_at": str(days_ahead(20))})

        assert response.status_code == 200
        assert response.json["expires_at"] == str(days_ahead(20))

    def test_without_the_scope_it_is_refused(self, rest: Rest, owner: User) -> None:
        response = rest.post(f"{SELF}/rotate", factories.access_token(owner, "read_api"))

        assert response.status_code == 403
        assert response.json["scope"] == "api self_rotate"

    def test_by_number_ones_own_or_as_administrator(
        self, rest: Rest, owner: User, owner_token: str, admin_token: str, outsider_token: str
    ) -> None:
        token_id = rest.get(SELF, factories.access_token(owner, "read_api")).json["id"]

        by_other = rest.post(f"/personal_access_tokens/{token_id}/rotate", outsider_token)
        by_owner = rest.post(f"/personal_access_tokens/{token_id}/rotate", owner_token)
        by_admin = rest.post(f"/personal_access_tokens/{by_owner.json['id']}/rotate", admin_token)

        assert [response.status_code for response in (by_other, by_owner, by_admin)] == [401, 200, 200]
        assert rest.post("/personal_access_tokens/4711/rotate", admin_token).status_code == 404

    @pytest.mark.parametrize("way", ["self", "by number"])
    def test_reuse_of_a_revoked_token_revokes_its_family(
        self, rest: Rest, owner: User, owner_token: str, way: str
    ) -> None:
        stolen = factories.access_token(owner)
        stolen_id = rest.get(SELF, stolen).json["id"]
        rotated = rest.post(f"{SELF}/rotate", stolen).json["token"]

        if way == "self":
            response = rest.post(f"{SELF}/rotate", stolen)
        else:
            response = rest.post(f"/personal_access_tokens/{stolen_id}/rotate", owner_token)

        assert response.status_code == 401
        assert rest.get("/user", rotated).status_code == 401
        assert rest.get("/user", owner_token).status_code == 200

    def test_an_expired_token_is_not_rotated(self, rest: Rest, owner: User, owner_token: str) -> None:
        factories.access_token(owner, expires_on=days_ahead(0))
        token_id = rest.get("/personal_access_tokens?state=inactive", owner_token).json[0]["id"]

        assert rest.post(f"/personal_access_tokens/{token_id}/rotate", owner_token).status_code == 401

    def test_a_bad_expiry_leaves_the_old_one_active(self, rest: Rest, owner_token: str) -> None:
        for expires_at in ("soon", str(days_ahead(1000))):
            assert rest.post(f"{SELF}/rotate", owner_token, {"expires_at": expires_at}).status_code == 400

        assert rest.get("/user", owner_token).status_code == 200


class TestRevocation:
    def test_a_token_revokes_itself_whatever_its_scope(self, rest: Rest, owner: User) -> None:
        secret = factories.access_token(owner, "read_registry")

        response = rest.delete(SELF, secret)

        assert response.status_code == 204
        again = rest.get(SELF, secret)
        assert again.status_code == 401
        assert again.json["error_description"].startswith("Token was revoked")

    def test_by_number_ones_own_or_as_administrator(
        self, rest: Rest, owner: User, owner_token: str, admin_token: str, outsider_token: str
    ) -> None:
        ids = [rest.get(SELF, factories.access_token(owner)).json["id"] for _ in range(2)]

        assert rest.delete(f"/personal_access_tokens/{ids[0]}", outsider_token).status_code == 401
        assert rest.delete(f"/personal_access_tokens/{ids[0]}", owner_token).status_code == 204
        assert rest.delete(f"/personal_access_tokens/{ids[1]}", admin_token).status_code == 204
        assert rest.delete("/personal_access_tokens/4711", admin_token).status_code == 404
        shown = rest.get(f"/personal_access_tokens/{ids[0]}", owner_token).json
        assert (shown["revoked"], shown["active"]) == (True, False)

    def test_others_tokens_take_the_api_scope(self, rest: Rest, owner: User) -> None:
        token_id = rest.get(SELF, factories.access_token(owner)).json["id"]

        assert (
            rest.delete(f"/personal_access_tokens/{token_id}", factories.access_token(owner, "read_api")).status_code
            == 403
        )


def test_a_request_without_a_token_is_challenged(client: FlaskClient, rest: Rest, owner: User) -> None:
    assert rest.get(SELF).status_code == 401
    assert rest.post(f"{SELF}/rotate").status_code == 401
    assert rest.delete(SELF).status_code == 401


def test_a_session_is_no_token(app: Flask, client: FlaskClient, owner: User) -> None:
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(owner)
        session["csrf_token"] = "raw"
    csrf = {"X-CSRF-Token": URLSafeTimedSerializer(app.secret_key or "", salt="wtf-csrf-token").dumps("raw")}

    assert client.get("/api/v4/user").json["username"] == "olivia"
    assert client.get(f"/api/v4{SELF}").status_code == 404
    assert client.post(f"/api/v4{SELF}/rotate", headers=csrf).json == {"message": "405 Method Not Allowed"}
    assert client.post(f"/api/v4{SELF}/rotate").status_code == 401


def test_a_secret_is_shown_only_when_it_is_created(rest: Rest, owner: User, admin_token: str) -> None:
    made = rest.post(f"/users/{owner.id}/personal_access_tokens", admin_token, {"name": "ci", "scopes": ["api"]}).json

    for address in ("/personal_access_tokens", f"/personal_access_tokens/{made['id']}"):
        assert made["token"].removeprefix("glpat-") not in rest.get(address, admin_token).text
