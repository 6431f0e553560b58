from __future__ import annotations

from typing import Any

import pytest

from registry.database import db, utcnow
from registry.domain.accounts import users
from registry.models import User, UserState
from tests import factories
from tests.clients import Rest
from tests.tables import each

SHORT = {"id", "username", "public_email", "name", "state", "locked", "avatar_url", "web_url"}
DETAILS = SHORT | {
    "created_at", "bio", "location", "linkedin", "twitter", "website_url", "organization", "job_title", "pronouns",
    "bot", "work_information", "followers", "following", "local_time", "last_sign_in_at", "confirmed_at",
    "last_activity_on", "email", "theme_id", "color_scheme_id", "projects_limit", "current_sign_in_at", "identities",
    "can_create_group", "can_create_project", "two_factor_enabled", "external", "private_profile", "commit_email",
    "shared_runners_minutes_limit",
}  # fmt: skip
ADMINISTERED = DETAILS | {
    "is_admin", "note", "namespace_id", "created_by", "email_reset_offered_at", "using_license_seat",
}  # fmt: skip
NEW = {"username": "alice", "email": "alice@example.com", "name": "Alice A.", "password": "correct horse"}


class TestOwnUser:
    def test_users_see_their_own_record(self, rest: Rest, owner: User, owner_token: str) -> None:
        response = rest.get("/user", owner_token)

        assert response.status_code == 200
        assert set(response.json) == DETAILS
        assert response.json["email"] == "olivia@example.com"
        assert response.json["web_url"] == "http://localhost/olivia"
        assert response.json["state"] == "active"

    def test_an_administrator_sees_more(self, rest: Rest, admin: User, admin_token: str) -> None:
        response = rest.get("/user", admin_token)

        assert set(response.json) == ADMINISTERED
        assert response.json["is_admin"] is True
        assert response.json["namespace_id"] == users.personal_namespace(admin).id

    def test_an_anonymous_caller_has_no_user(self, rest: Rest) -> None:
        assert rest.get("/user").status_code == 401


@pytest.fixture
def users_of_each_kind(admin: User, owner: User, outsider: User) -> None:
    factories.user("eva", is_external=True).second_factor_since = utcnow()
    outsider.state = UserState.BLOCKED
    factories.commit()


class TestList:
    def test_to_others_users_are_shown_in_short_the_newest_first(
        self, rest: Rest, owner: User, outsider: User, owner_token: str
    ) -> None:
        response = rest.get("/users", owner_token)

        assert [user["username"] for user in response.json] == ["oscar", "olivia"]
        assert set(response.json[0]) == SHORT

    def test_to_administrators_they_are_shown_whole(self, rest: Rest, admin: User, admin_token: str) -> None:
        created = rest.post("/users", admin_token, NEW).json

        response = rest.get("/users?order_by=username&sort=asc", admin_token)

        assert [user["username"] for user in response.json] == ["alice", "root"]
        assert set(response.json[0]) == ADMINISTERED
        assert response.json[0] == created
        assert response.json[0]["created_by"]["id"] == admin.id

    @each(
        ("query", "found"),
        [
            ("username=OLIVIA", ["olivia"]),
            ("username=liv", []),
            ("search=osc", ["oscar"]),
            ("search=Osc", ["oscar"]),
            ("search=@example", ["root", "olivia", "oscar", "eva"]),
            ("search=%25", []),
            ("active=true", ["root", "olivia", "eva"]),
            ("blocked=true", ["oscar"]),
            ("external=true", ["eva"]),
            ("admins=true", ["root"]),
            ("two_factor=enabled", ["eva"]),
            ("two_factor=disabled", ["root", "olivia", "oscar"]),
            ("created_after=2999-01-01", []),
            ("created_before=2999-01-01T00:00:00Z", ["root", "olivia", "oscar", "eva"]),
        ],
    )
    def test_the_list_can_be_narrowed(
        self, rest: Rest, admin_token: str, users_of_each_kind: None, query: str, found: list[str]
    ) -> None:
        response = rest.get(f"/users?{query}&sort=asc", admin_token)

        assert [user["username"] for user in response.json] == found

    def test_only_administrators_search_through_addresses(self, rest: Rest, owner_token: str, outsider: User) -> None:
        part = rest.get("/users?search=oscar@exam", owner_token)
        whole = rest.get("/users?search=oscar@example.com", owner_token)

        assert part.json == []
        assert [user["username"] for user in whole.json] == ["oscar"]

    def test_anonymous_callers_can_look_up_a_name_only(self, rest: Rest, owner: User) -> None:
        by_name = rest.get("/users?username=olivia")
        everyone = rest.get("/users")
        by_id = rest.get(f"/users/{owner.id}")

        assert [user["id"] for user in by_name.json] == [owner.id]
        assert everyone.status_code == by_id.status_code == 403
        assert everyone.json == {"message": "403 Forbidden - Not authorized to access /api/v4/users"}

    def test_read_user_suffices(self, rest: Rest, owner: User) -> None:
        secret = factories.access_token(owner, "read_user")

        assert rest.get("/users", secret).status_code == 200
        assert rest.get(f"/users/{owner.id}", secret).status_code == 200
        assert rest.get("/user", secret).status_code == 200
        assert rest.get("/projects", secret).status_code == 403


class TestOne:
    def test_in_short_to_others_and_whole_to_administrators(
        self, rest: Rest, owner: User, outsider_token: str, admin_token: str
    ) -> None:
        assert set(rest.get(f"/users/{owner.id}", outsider_token).json) == SHORT
        assert set(rest.get(f"/users/{owner.id}", admin_token).json) == ADMINISTERED

    def test_an_unknown_user_is_not_found(self, rest: Rest, admin_token: str) -> None:
        response = rest.get("/users/4711", admin_token)

        assert response.status_code == 404
        assert response.json == {"message": "404 User Not Found"}


class TestCreation:
    def test_a_new_user_can_sign_in_at_once(self, rest: Rest, admin_token: str) -> None:
        response = rest.post("/users", admin_token, NEW | {"skip_confirmation": True})

        assert response.status_code == 201
        assert set(response.json) == ADMINISTERED
        assert response.json["username"] == "alice"
        assert users.verify_password("alice", NEW["password"]) is not None
        assert response.json["confirmed_at"] is not None

    def test_everything_that_can_be_set_is_set(self, rest: Rest, admin_token: str) -> None:
        fields: dict[str, Any] = {
            "external": True, "can_create_group": False, "projects_limit": 3, "private_profile": True,
            "bio": "Writes wheels", "note": "Contractor",
        }  # fmt: skip

        created = rest.post("/users", admin_token, NEW | fields | {"admin": True}).json

        assert {name: created[name] for name in fields} == fields
        assert created["is_admin"] is True

    def test_a_new_user_has_a_personal_namespace(self, rest: Rest, admin_token: str) -> None:
        created = rest.post("/users", admin_token, NEW).json

        project = rest.post("/projects", admin_token, {"name": "demo", "namespace_id": created["namespace_id"]})

        assert project.json["path_with_namespace"] == "alice/demo"

    @pytest.mark.parametrize("way", ["reset_password", "force_random_password"])
    def test_a_password_can_be_random(self, rest: Rest, admin_token: str, way: str) -> None:
        response = rest.post("/users", admin_token, {**NEW, "password": None, way: True})

        assert response.status_code == 201
        assert "password" not in response.text

    def test_a_form_does_as_well_as_json(self, rest: Rest, admin_token: str) -> None:
        response = rest.post("/users", admin_token, data=NEW | {"admin": "true", "projects_limit": "7"})

        assert response.status_code == 201
        assert (response.json["is_admin"], response.json["projects_limit"]) == (True, 7)

    def test_whether_new_users_create_groups_is_the_instances_setting(self, rest: Rest, admin_token: str) -> None:
        rest.put("/application/settings", admin_token, {"can_create_group": False})

        assert rest.post("/users", admin_token, NEW).json["can_create_group"] is False

    @each(
        ("fields", "status", "body"),
        [
            ({"username": "OLIVIA"}, 409, {"message": "Username has already been taken"}),
            ({"username": "acme"}, 409, {"message": "Username has already been taken"}),
            ({"email": "Olivia@example.com"}, 409, {"message": "Email has already been taken"}),
            ({"password": "short"}, 400, {"message": {"password": ["is too short (minimum is 8 characters)"]}}),
            ({"username": "api"}, 400, {"message": {"username": ["api is a reserved name"]}}),
            ({"email": "nowhere"}, 400, {"message": {"email": ["is invalid"]}}),
            ({"name": " "}, 400, {"message": {"name": ["can't be blank"]}}),
            ({"bio": "x" * 256}, 400, {"message": {"bio": ["is too long (maximum is 255 characters)"]}}),
            ({"username": None, "email": None}, 400, {"error": "email is missing, username is missing"}),
            (
                {"password": ...}, 400,
                {"error": "password, reset_password, force_random_password are missing, "
                          "at least one parameter must be provided"},
            ),
            ({"admin": "perhaps"}, 400, {"error": "admin is invalid"}),
            ({"projects_limit": 2**40}, 400, {"error": "projects_limit is invalid"}),
        ],
    )  # fmt: skip
    def test_invalid_values_are_refused(
        self, rest: Rest, admin_token: str, owner: User, group: object, fields: dict[str, Any], status: int, body: Any
    ) -> None:
        sent = {name: value for name, value in (NEW | fields).items() if value is not ...}

        response = rest.post("/users", admin_token, sent)

        assert response.status_code == status
        assert response.json == body

    def test_only_administrators_create_users(self, rest: Rest, owner_token: str) -> None:
        assert rest.post("/users", owner_token, NEW).status_code == 403
        assert rest.post("/users", None, NEW).status_code == 401


class TestChange:
    def test_only_the_given_fields_of_a_user_change(self, rest: Rest, admin_token: str) -> None:
        created = rest.post("/users", admin_token, NEW | {"note": "Contractor"}).json

        response = rest.put(f"/users/{created['id']}", admin_token, {"name": "Alice B.", "external": True})

        assert response.status_code == 200
        assert response.json == created | {"name": "Alice B.", "external": True}

    def test_a_new_password_counts(self, rest: Rest, admin_token: str, owner: User) -> None:
        response = rest.put(f"/users/{owner.id}", admin_token, {"password": "battery staple"})

        assert response.status_code == 200
        factories.reload(owner)
        assert users.verify_password("olivia", "battery staple") is not None

    def test_a_new_user_name_moves_the_projects(self, rest: Rest, admin_token: str) -> None:
        created = rest.post("/users", admin_token, NEW).json
        project = rest.post("/projects", admin_token, {"path": "demo", "namespace_id": created["namespace_id"]}).json

        rest.put(f"/users/{created['id']}", admin_token, {"username": "alicia"})

        assert rest.get("/projects/alicia%2Fdemo", admin_token).json["id"] == project["id"]

    def test_the_last_administrator_stays_one(self, rest: Rest, admin: User, admin_token: str) -> None:
        response = rest.put(f"/users/{admin.id}", admin_token, {"admin": False})

        assert response.status_code == 403

    def test_only_administrators_change_users(self, rest: Rest, owner: User, owner_token: str) -> None:
        assert rest.put(f"/users/{owner.id}", owner_token, {"admin": True}).status_code == 403


class TestState:
    @pytest.mark.parametrize(
        ("before", "verb", "status", "after"),
        [
            (UserState.ACTIVE, "block", 201, UserState.BLOCKED),
            (UserState.BLOCKED, "unblock", 201, UserState.ACTIVE),
            (UserState.ACTIVE, "deactivate", 201, UserState.DEACTIVATED),
            (UserState.DEACTIVATED, "activate", 201, UserState.ACTIVE),
            (UserState.ACTIVE, "unblock", 403, UserState.ACTIVE),
            (UserState.BLOCKED, "block", 403, UserState.BLOCKED),
            (UserState.BLOCKED, "activate", 403, UserState.BLOCKED),
            (UserState.BLOCKED, "deactivate", 403, UserState.BLOCKED),
            (UserState.DEACTIVATED, "unblock", 403, UserState.DEACTIVATED),
        ],
    )
    def test_it_changes_where_it_can(
        self, rest: Rest, admin_token: str, owner: User, before: UserState, verb: str, status: int, after: UserState
    ) -> None:
        owner.state = before
        factories.commit()

        response = rest.post(f"/users/{owner.id}/{verb}", admin_token)

        assert response.status_code == status
        assert status == 403 or response.json is True
        factories.reload(owner)
        assert owner.state is after

    def test_a_blocked_user_is_shown_so_and_locked_out(self, rest: Rest, admin_token: str, owner: User) -> None:
        secret = factories.access_token(owner)

        rest.post(f"/users/{owner.id}/block", admin_token)

        assert rest.get(f"/users/{owner.id}", admin_token).json["state"] == "blocked"
        assert rest.get("/user", secret).status_code == 403

    def test_the_last_administrator_is_not_blocked(self, rest: Rest, admin: User, admin_token: str) -> None:
        assert rest.post(f"/users/{admin.id}/block", admin_token).status_code == 403

    def test_only_administrators_block(self, rest: Rest, owner: User, outsider_token: str) -> None:
        assert rest.post(f"/users/{owner.id}/block", outsider_token).status_code == 403


class TestDeletion:
    def test_a_user_is_deleted_with_the_tokens(self, rest: Rest, admin_token: str, outsider: User) -> None:
        secret = factories.access_token(outsider)

        response = rest.delete(f"/users/{outsider.id}?hard_delete=true", admin_token)

        assert response.status_code == 204
        assert response.data == b""
        assert rest.get(f"/users/{outsider.id}", admin_token).status_code == 404
        assert rest.get("/user", secret).status_code == 401

    def test_the_only_owner_of_a_group_stays(self, rest: Rest, admin_token: str, owner: User, group: object) -> None:
        assert rest.delete(f"/users/{owner.id}", admin_token).status_code == 409

    def test_only_administrators_delete(self, rest: Rest, owner: User, outsider_token: str) -> None:
        assert rest.delete(f"/users/{owner.id}", outsider_token).status_code == 403


def test_an_administrator_confirms_an_email(rest: Rest, owner: User, owner_token: str, admin_token: str) -> None:
    owner.confirmed_at = None
    db.session.commit()

    refused = rest.post(f"/users/{owner.id}/confirm", owner_token)
    confirmed = rest.post(f"/users/{owner.id}/confirm", admin_token)

    assert (refused.status_code, confirmed.status_code, confirmed.json) == (403, 201, True)
    assert rest.get(f"/users/{owner.id}", admin_token).json["confirmed_at"] is not None
    assert rest.post("/users/4711/confirm", admin_token).status_code == 404


def test_a_password_is_in_no_answer(rest: Rest, admin_token: str) -> None:
    created = rest.post("/users", admin_token, NEW)
    listed = rest.get("/users", admin_token)
    changed = rest.put(f"/users/{created.json['id']}", admin_token, {"password": "battery staple"})

    for response in (created, listed, changed):
        assert not {"password", "password_hash"} & set(_keys(response.json))
        assert "horse" not in response.text
        assert "$argon2" not in response.text


def _keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in _keys(item))]
    return [key for item in value for key in _keys(item)] if isinstance(value, list) else []
