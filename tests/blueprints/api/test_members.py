from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from registry.database import utcnow
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Group, Project, Role, User, Visibility
from tests import factories
from tests.clients import Rest

MEMBER = {
    "id", "username", "public_email", "name", "state", "locked", "avatar_url", "web_url", "access_level", "created_at",
    "created_by", "expires_at", "membership_state", "from_provider",
}  # fmt: skip
TOMORROW = (utcnow() + timedelta(days=1)).date().isoformat()


def levels(response: Any) -> dict[str, int]:
    return {member["username"]: member["access_level"] for member in response.json}


class TestList:
    def test_direct_members_are_listed_apart_from_all(
        self, rest: Rest, project: Project, developer: User, owner: User, guest_token: str
    ) -> None:
        direct = rest.get(f"/projects/{project.id}/members", guest_token)
        everybody = rest.get(f"/projects/{project.id}/members/all", guest_token)

        assert direct.status_code == 200
        assert levels(direct) == {"dora": 30, "gwen": 10}
        assert levels(everybody) == {"olivia": 50, "dora": 30, "gwen": 10}
        assert set(direct.json[0]) == MEMBER
        assert direct.json[0]["membership_state"] == "active"

    def test_of_several_roles_the_highest_is_shown_once(self, rest: Rest, group: Group, owner_token: str) -> None:
        sub = factories.group("sub", parent=group)
        member = factories.member(group, Role.REPORTER, "rita")
        namespaces.add_member(sub, member, Role.DEVELOPER, by=SHELL)

        assert levels(rest.get(f"/groups/{sub.id}/members/all", owner_token)) == {"olivia": 50, "rita": 30}

    @pytest.mark.parametrize(
        ("query", "found"), [("query=DOR", ["dora"]), ("query=zz", []), ("user_ids[]={dora}", ["dora"])]
    )
    def test_the_list_can_be_narrowed(
        self, rest: Rest, project: Project, developer: User, guest_token: str, query: str, found: list[str]
    ) -> None:
        response = rest.get(f"/projects/{project.id}/members?{query.format(dora=developer.id)}", guest_token)

        assert [member["username"] for member in response.json] == found

    def test_addresses_are_shown_to_owners_of_a_group(self, rest: Rest, group: Group, owner_token: str) -> None:
        reporter = factories.access_token(factories.member(group, Role.REPORTER))

        assert rest.get(f"/groups/{group.id}/members", owner_token).json[0]["email"] == "olivia@example.com"
        assert "email" not in rest.get(f"/groups/{group.id}/members", reporter).json[0]

    def test_a_user_who_sees_no_email_addresses_cannot_find_them_by_searching(
        self, rest: Rest, group: Group, owner_token: str
    ) -> None:
        reporter = factories.access_token(factories.member(group, Role.REPORTER))
        search = f"/groups/{group.id}/members/all?query=olivia@exam"

        assert [member["username"] for member in rest.get(search, owner_token).json] == ["olivia"]
        assert rest.get(search, reporter).json == []

    def test_of_a_private_project_others_learn_nothing(self, rest: Rest, project: Project, outsider_token: str) -> None:
        for token in (None, outsider_token):
            assert rest.get(f"/projects/{project.id}/members", token).json == {"message": "404 Project Not Found"}

    def test_the_members_of_a_public_project_are_public(self, rest: Rest, owner: User) -> None:
        public = factories.project(visibility=Visibility.PUBLIC)

        assert rest.get(f"/projects/{public.id}/members/all").status_code == 200


class TestOne:
    def test_a_direct_member(self, rest: Rest, project: Project, developer: User, owner_token: str) -> None:
        response = rest.get(f"/projects/{project.id}/members/{developer.id}", owner_token)

        assert response.status_code == 200
        assert response.json["username"] == "dora"

    def test_an_inherited_member_only_among_all(
        self, rest: Rest, project: Project, owner: User, owner_token: str
    ) -> None:
        direct = rest.get(f"/projects/{project.id}/members/{owner.id}", owner_token)
        any_member = rest.get(f"/projects/{project.id}/members/all/{owner.id}", owner_token)

        assert direct.status_code == 404
        assert direct.json == {"message": "404 Not found"}
        assert any_member.json["access_level"] == 50


class TestAdding:
    def test_a_user_becomes_a_member(
        self, rest: Rest, project: Project, outsider: User, maintainer: User, maintainer_token: str
    ) -> None:
        sent = {"user_id": outsider.id, "access_level": 30, "expires_at": TOMORROW}

        response = rest.post(f"/projects/{project.id}/members", maintainer_token, sent)

        assert response.status_code == 201
        assert response.json["id"] == outsider.id
        assert response.json["access_level"] == 30
        assert response.json["expires_at"] == TOMORROW
        assert response.json["created_by"]["id"] == maintainer.id

    def test_by_user_name_too(self, rest: Rest, group: Group, outsider: User, owner_token: str) -> None:
        response = rest.post(f"/groups/{group.id}/members", owner_token, {"username": "Oscar", "access_level": 10})

        assert response.status_code == 201
        assert response.json["id"] == outsider.id

    def test_a_user_name_of_digits_is_no_number(
        self, rest: Rest, group: Group, outsider: User, owner_token: str
    ) -> None:
        digits = factories.user(str(outsider.id))

        response = rest.post(
            f"/groups/{group.id}/members", owner_token, {"username": digits.username, "access_level": 10}
        )

        assert response.json["id"] == digits.id

    @pytest.mark.parametrize("spelling", ["text", "array"])
    def test_several_at_once(
        self, rest: Rest, group: Group, outsider: User, owner: User, owner_token: str, spelling: str
    ) -> None:
        ids = [outsider.id, factories.user("ulla").id]
        user_id = ",".join(map(str, ids)) if spelling == "text" else ids

        first = rest.post(f"/groups/{group.id}/members", owner_token, {"user_id": user_id, "access_level": 20})
        again = rest.post(f"/groups/{group.id}/members", owner_token, {"user_id": user_id, "access_level": 20})

        assert first.status_code == 201
        assert first.json == {"status": "success"}
        assert again.json == {
            "status": "error",
            "message": {"oscar": "Member already exists", "ulla": "Member already exists"},
        }

    @pytest.mark.parametrize(
        ("fields", "status", "body"),
        [
            ({"user_id": 4711}, 404, {"message": "404 User Not Found"}),
            ({"user_id": ..., "username": "ghost"}, 404, {"message": "404 User Not Found"}),
            ({"user_id": "dora"}, 400, {"error": "user_id is invalid"}),
            ({"access_level": 31}, 400, {"error": "access_level does not have a valid value"}),
            ({"access_level": "many"}, 400, {"error": "access_level is invalid"}),
            ({"access_level": ...}, 400, {"error": "access_level is missing"}),
            ({"access_level": 0}, 400, {"error": "access_level does not have a valid value"}),
            ({"expires_at": "soon"}, 400, {"error": "expires_at is invalid"}),
            ({"expires_at": "2000-01-01"}, 400, {"message": {"expires_at": ["cannot be a date in the past"]}}),
            (
                {"user_id": ...}, 400,
                {"error": "user_id, username are missing, at least one parameter must be provided"},
            ),
        ],
    )  # fmt: skip
    def test_invalid_values_are_refused(
        self,
        rest: Rest,
        project: Project,
        outsider: User,
        owner_token: str,
        fields: dict[str, Any],
        status: int,
        body: Any,
    ) -> None:
        sent = {"user_id": outsider.id, "access_level": 30} | fields

        response = rest.post(
            f"/projects/{project.id}/members",
            owner_token,
            {name: value for name, value in sent.items() if value is not ...},
        )

        assert response.status_code == status
        assert response.json == body

    def test_a_member_is_not_added_twice(self, rest: Rest, project: Project, developer: User, owner_token: str) -> None:
        response = rest.post(
            f"/projects/{project.id}/members", owner_token, {"user_id": developer.id, "access_level": 30}
        )

        assert response.status_code == 409
        assert response.json == {"message": "Member already exists"}

    def test_not_below_the_inherited_role(self, rest: Rest, group: Group, project: Project, owner_token: str) -> None:
        reporter = factories.member(group, Role.REPORTER)

        response = rest.post(
            f"/projects/{project.id}/members", owner_token, {"user_id": reporter.id, "access_level": 10}
        )

        assert response.status_code == 400
        assert response.json == {
            "message": {
                "access_level": ["should be greater than or equal to Reporter inherited membership from group Acme"]
            }
        }

    def test_a_role_above_that_of_the_caller_is_refused(
        self, rest: Rest, project: Project, outsider: User, maintainer_token: str
    ) -> None:
        response = rest.post(
            f"/projects/{project.id}/members", maintainer_token, {"user_id": outsider.id, "access_level": 50}
        )

        assert response.status_code == 403

    def test_maintainers_of_a_project_and_owners_of_a_group(
        self, rest: Rest, group: Group, project: Project, outsider: User, developer_token: str, outsider_token: str
    ) -> None:
        maintainer = factories.access_token(factories.member(group, Role.MAINTAINER))
        sent = {"user_id": outsider.id, "access_level": 10}

        assert rest.post(f"/projects/{project.id}/members", developer_token, sent).status_code == 403
        assert rest.post(f"/projects/{project.id}/members", outsider_token, sent).status_code == 404
        assert rest.post(f"/projects/{project.id}/members", None, sent).status_code == 404
        assert rest.post(f"/groups/{group.id}/members", maintainer, sent).status_code == 403
        assert rest.post(f"/projects/{project.id}/members", maintainer, sent).status_code == 201


class TestChange:
    def test_another_role_keeps_the_expiry(
        self, rest: Rest, project: Project, outsider: User, owner_token: str
    ) -> None:
        address = f"/projects/{project.id}/members"
        rest.post(address, owner_token, {"user_id": outsider.id, "access_level": 20, "expires_at": TOMORROW})

        changed = rest.put(f"{address}/{outsider.id}", owner_token, {"access_level": 40})
        endless = rest.put(f"{address}/{outsider.id}", owner_token, {"access_level": 40, "expires_at": None})

        assert changed.status_code == 200
        assert (changed.json["access_level"], changed.json["expires_at"]) == (40, TOMORROW)
        assert endless.json["expires_at"] is None

    def test_a_role_that_expires_is_not_extended_by_its_holder(
        self, rest: Rest, group: Group, project: Project, outsider: User, owner_token: str
    ) -> None:
        token, member = factories.access_token(outsider), {"user_id": outsider.id, "expires_at": TOMORROW}
        rest.post(f"/groups/{group.id}/members", owner_token, member | {"access_level": 50})
        own, below = f"/groups/{group.id}/members/{outsider.id}", f"/projects/{project.id}/members"
        later = (date.fromisoformat(TOMORROW) + timedelta(days=1)).isoformat()

        for expires_at in (None, later):
            longer = {"access_level": 20, "expires_at": expires_at}
            assert rest.put(own, token, longer).status_code == 400, "even with a lower role"
            assert rest.post(below, token, {"user_id": outsider.id, **longer}).status_code == 400
        refused = rest.put(own, token, {"access_level": 50, "expires_at": None}).json
        subgroup = rest.post("/groups", token, {"name": "Sub", "path": "sub", "parent_id": group.id}).json["id"]
        moved = rest.post(f"/groups/{subgroup}/transfer", token, {})

        assert refused == {"message": {"expires_at": [f"cannot be after {TOMORROW}, when your own role expires"]}}
        assert rest.get(f"/groups/{subgroup}/members/all/{outsider.id}", token).json["expires_at"] == TOMORROW
        assert moved.status_code == 403, "it would make the role permanent"
        assert rest.get(own, owner_token).json["expires_at"] == TOMORROW

    def test_an_empty_form_field_removes_the_expiry(
        self, rest: Rest, project: Project, outsider: User, owner_token: str
    ) -> None:
        address = f"/projects/{project.id}/members"
        rest.post(address, owner_token, {"user_id": outsider.id, "access_level": 20, "expires_at": TOMORROW})

        response = rest.put(f"{address}/{outsider.id}", owner_token, data={"access_level": "20", "expires_at": ""})

        assert response.json["expires_at"] is None

    def test_a_user_without_a_direct_membership_is_not_found(
        self, rest: Rest, project: Project, owner: User, owner_token: str
    ) -> None:
        response = rest.put(f"/projects/{project.id}/members/{owner.id}", owner_token, {"access_level": 50})

        assert response.status_code == 404
        assert response.json == {"message": "404 Not found"}

    def test_the_last_owner_stays_owner(self, rest: Rest, group: Group, owner: User, owner_token: str) -> None:
        response = rest.put(f"/groups/{group.id}/members/{owner.id}", owner_token, {"access_level": 40})

        assert response.status_code == 403

    def test_a_role_above_that_of_the_caller_is_refused(
        self, rest: Rest, project: Project, developer: User, maintainer_token: str
    ) -> None:
        address = f"/projects/{project.id}/members/{developer.id}"

        assert rest.put(address, maintainer_token, {"access_level": 50}).status_code == 403


class TestRemoval:
    def test_a_member_is_removed(self, rest: Rest, project: Project, developer: User, maintainer_token: str) -> None:
        response = rest.delete(f"/projects/{project.id}/members/{developer.id}", maintainer_token)

        assert response.status_code == 204
        assert rest.get(f"/projects/{project.id}/members/{developer.id}", maintainer_token).status_code == 404

    def test_every_member_can_leave(self, rest: Rest, project: Project, guest: User, guest_token: str) -> None:
        assert rest.delete(f"/projects/{project.id}/members/{guest.id}", guest_token).status_code == 204
        assert rest.get(f"/projects/{project.id}", guest_token).status_code == 404

    def test_leaving_needs_more_than_a_reading_token(self, rest: Rest, project: Project, guest: User) -> None:
        reader = factories.access_token(guest, "read_api")

        assert rest.delete(f"/projects/{project.id}/members/{guest.id}", reader).status_code == 403

    def test_members_are_not_removed_by_lower_roles(
        self, rest: Rest, project: Project, developer: User, guest_token: str, outsider_token: str
    ) -> None:
        address = f"/projects/{project.id}/members/{developer.id}"

        assert rest.delete(address, guest_token).status_code == 403
        assert rest.delete(address, outsider_token).status_code == 404
        assert rest.delete(address).status_code == 404

    def test_the_last_owner_stays(self, rest: Rest, group: Group, owner: User, owner_token: str) -> None:
        assert rest.delete(f"/groups/{group.id}/members/{owner.id}", owner_token).status_code == 403

    def test_a_user_without_a_membership_is_not_found(
        self, rest: Rest, project: Project, outsider: User, owner_token: str
    ) -> None:
        response = rest.delete(f"/projects/{project.id}/members/{outsider.id}", owner_token)

        assert response.json == {"message": "404 Not found"}
