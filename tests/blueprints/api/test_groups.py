from __future__ import annotations

from typing import Any

import pytest

from registry.domain import forwarding
from registry.domain.access import SHELL
from registry.models import Group, Project, Role, User, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.clients import Rest
from tests.tables import each

LISTED = {
    "id", "web_url", "name", "path", "description", "visibility", "share_with_group_lock",
    "require_two_factor_authentication", "two_factor_grace_period", "project_creation_level", "auto_devops_enabled",
    "subgroup_creation_level", "emails_disabled", "emails_enabled", "mentions_disabled", "lfs_enabled",
    "default_branch_protection", "avatar_url", "request_access_enabled", "full_name", "full_path", "created_at",
    "parent_id", "organization_id", "shared_runners_setting", "storage_size_limit",
}  # fmt: skip
DETAILED = LISTED | {
    "shared_with_groups", "prevent_sharing_groups_outside_hierarchy", "projects", "shared_projects",
}  # fmt: skip
FORWARDING = {
    "pypi_package_requests_forwarding", "lock_pypi_package_requests_forwarding",
    "pypi_package_requests_forwarding_locked", "pypi_package_requests_forwarding_inherited_value",
    "pypi_package_requests_forwarding_effective_value",
}  # fmt: skip


def paths(response: Any) -> list[str]:
    return [group["full_path"] for group in response.json]


@pytest.fixture
def forest(group: Group) -> dict[str, Group]:
    """``acme`` (private, of ``owner``) with ``acme/sub/deep``; ``open``, ``office``, and ``hidden`` without members."""
    sub = factories.group("sub", parent=group)
    return {
        "acme": group,
        "sub": sub,
        "deep": factories.group("deep", parent=sub),
        "open": factories.group("open", visibility=Visibility.PUBLIC),
        "office": factories.group("office", visibility=Visibility.INTERNAL),
        "hidden": factories.group("hidden"),
    }


class TestList:
    def test_a_user_sees_their_own_groups_in_the_order_of_their_names(
        self, rest: Rest, forest: dict[str, Group], owner_token: str
    ) -> None:
        response = rest.get("/groups", owner_token)

        assert response.status_code == 200
        assert paths(response) == ["acme", "acme/sub/deep", "acme/sub"]
        assert set(response.json[0]) == LISTED

    @each(
        ("query", "found"),
        [
            ("all_available=true", ["acme", "acme/sub", "acme/sub/deep", "office", "open"]),
            ("all_available=true&visibility=public", ["open"]),
            ("all_available=true&search=OP", ["open"]),
            ("all_available=true&search=acme/s", ["acme/sub", "acme/sub/deep"]),
            ("all_available=true&top_level_only=true", ["acme", "office", "open"]),
            ("owned=true", ["acme", "acme/sub", "acme/sub/deep"]),
            ("min_access_level=50", ["acme", "acme/sub", "acme/sub/deep"]),
            ("order_by=path&sort=desc", ["acme/sub", "acme/sub/deep", "acme"]),
            ("order_by=id", ["acme", "acme/sub", "acme/sub/deep"]),
            ("order_by=similarity&search=sub", ["acme/sub"]),
        ],
    )
    def test_the_list_can_be_narrowed_and_ordered(
        self, rest: Rest, forest: dict[str, Group], owner_token: str, query: str, found: list[str]
    ) -> None:
        listed = paths(rest.get(f"/groups?{query}", owner_token))

        assert (listed if "order_by" in query else sorted(listed)) == found

    def test_groups_can_be_left_out(self, rest: Rest, forest: dict[str, Group], owner_token: str) -> None:
        response = rest.get(f"/groups?skip_groups[]={forest['sub'].id}&skip_groups[]={forest['deep'].id}", owner_token)

        assert paths(response) == ["acme"]

    def test_anonymous_callers_see_public_ones_and_administrators_all(
        self, rest: Rest, forest: dict[str, Group], admin_token: str
    ) -> None:
        assert paths(rest.get("/groups")) == ["open"]
        assert len(paths(rest.get("/groups", admin_token))) == 6

    def test_a_member_of_a_project_sees_the_groups_above(
        self, rest: Rest, project: Project, developer_token: str
    ) -> None:
        assert paths(rest.get("/groups", developer_token)) == ["acme"]

    def test_statistics_are_shown_on_request_to_reporters(
        self, rest: Rest, project: Project, owner_token: str, guest_token: str
    ) -> None:
        wheel = build_wheel()
        factories.published(project, wheel)

        to_owner = rest.get("/groups?statistics=true", owner_token).json[0]
        to_guest = rest.get("/groups?statistics=true", guest_token).json[0]
        of_one = rest.get("/groups/acme?statistics=true", owner_token).json

        assert to_owner["statistics"]["packages_size"] == len(wheel.content)
        assert of_one["statistics"] == to_owner["statistics"]
        assert "statistics" not in to_guest
        assert "statistics" not in rest.get("/groups/acme", owner_token).json

    def test_subgroups_are_the_next_level_and_descendants_all(
        self, rest: Rest, forest: dict[str, Group], owner_token: str
    ) -> None:
        acme = forest["acme"].id

        assert paths(rest.get(f"/groups/{acme}/subgroups", owner_token)) == ["acme/sub"]
        assert paths(rest.get(f"/groups/{acme}/descendant_groups?order_by=id", owner_token)) == [
            "acme/sub",
            "acme/sub/deep",
        ]
        assert rest.get(f"/groups/{acme}/subgroups").json == {"message": "404 Group Not Found"}


class TestOne:
    def test_a_group_is_shown_with_its_projects(
        self, rest: Rest, group: Group, project: Project, guest_token: str
    ) -> None:
        response = rest.get(f"/groups/{group.id}", guest_token)

        assert response.status_code == 200
        assert set(response.json) == DETAILED
        assert [shown["id"] for shown in response.json["projects"]] == [project.id]
        assert response.json["web_url"] == "http://localhost/groups/acme"
        assert response.json["full_name"] == "Acme"
        assert response.json["visibility"] == "private"
        assert response.json["parent_id"] is None

    def test_at_most_a_hundred_projects_are_shown(self, rest: Rest, group: Group, owner_token: str) -> None:
        for number in range(101):
            factories.project(f"project{number}", parent=group)

        assert len(rest.get(f"/groups/{group.id}", owner_token).json["projects"]) == 100

    def test_projects_can_be_left_out(self, rest: Rest, group: Group, project: Project, owner_token: str) -> None:
        assert rest.get(f"/groups/{group.id}?with_projects=false", owner_token).json["projects"] == []

    def test_its_forwarding_setting_is_shown_to_users_who_can_change_it(
        self, rest: Rest, group: Group, owner_token: str
    ) -> None:
        response = rest.get(f"/groups/{group.id}", owner_token)

        assert response.json.keys() >= FORWARDING
        assert response.json["pypi_package_requests_forwarding"] is None

    @pytest.mark.parametrize("caller", ["anonymous", "outsider"])
    def test_a_private_group_is_not_found_by_others(
        self, rest: Rest, group: Group, outsider_token: str, caller: str
    ) -> None:
        response = rest.get(f"/groups/{group.id}", outsider_token if caller == "outsider" else None)

        assert response.status_code == 404
        assert response.json == {"message": "404 Group Not Found"}


class TestCreation:
    def test_a_new_group_is_private_and_its_creators(self, rest: Rest, owner: User, owner_token: str) -> None:
        response = rest.post("/groups", owner_token, {"name": "Tools and more", "path": "tools"})

        assert response.status_code == 201
        assert response.json["visibility"] == "private"
        assert response.json["project_creation_level"] == "developer"
        assert response.json["subgroup_creation_level"] == "maintainer"
        members = rest.get("/groups/tools/members", owner_token).json
        assert [(member["id"], member["access_level"]) for member in members] == [(owner.id, 50)]

    def test_everything_that_can_be_set_is_set(self, rest: Rest, group: Group, owner_token: str) -> None:
        rest.put(f"/groups/{group.id}", owner_token, {"visibility": "internal"})
        fields = {
            "name": "Sub", "path": "sub", "parent_id": group.id, "visibility": "internal", "description": "Below",
            "project_creation_level": "maintainer", "subgroup_creation_level": "owner",
        }  # fmt: skip

        response = rest.post("/groups", owner_token, fields)

        assert response.status_code == 201
        assert {name: response.json[name] for name in fields} == fields
        assert response.json["full_path"] == "acme/sub"
        assert response.json["full_name"] == "Acme / Sub"

    @each(
        ("fields", "body"),
        [
            ({"path": "ACME"}, {"message": 'Failed to save group {:path=>["has already been taken"]}'}),
            ({"path": "oscar"}, {"message": 'Failed to save group {:path=>["has already been taken"]}'}),
            ({"path": "groups"}, {"message": 'Failed to save group {:path=>["groups is a reserved name"]}'}),
            ({"name": ...}, {"error": "name is missing"}),
            ({"name": ..., "path": ...}, {"error": "name is missing, path is missing"}),
            ({"visibility": "secret"}, {"error": "visibility does not have a valid value"}),
            ({"project_creation_level": "everyone"}, {"error": "project_creation_level does not have a valid value"}),
            ({"parent_id": "x"}, {"error": "parent_id is invalid"}),
            ({"name": ["Other"]}, {"error": "name is invalid"}),
        ],
    )
    def test_invalid_values_are_refused(
        self, rest: Rest, group: Group, outsider: User, owner_token: str, fields: dict[str, Any], body: Any
    ) -> None:
        sent = {
            name: value for name, value in ({"name": "Other", "path": "other"} | fields).items() if value is not ...
        }

        response = rest.post("/groups", owner_token, sent)

        assert response.status_code == 400
        assert response.json == body

    def test_a_subgroup_is_not_more_visible_than_its_parent(self, rest: Rest, group: Group, owner_token: str) -> None:
        sent = {"name": "Sub", "path": "sub", "parent_id": group.id, "visibility": "public"}

        response = rest.post("/groups", owner_token, sent)

        assert response.status_code == 400
        assert response.json["message"] == (
            'Failed to save group {:visibility_level=>["public is not allowed since the parent group has a private '
            'visibility."]}'
        )

    def test_creating_a_group_without_permission_is_refused(
        self, rest: Rest, admin: User, group: Group, developer_token: str, outsider: User, outsider_token: str
    ) -> None:
        outsider.can_create_group = False
        factories.commit()
        sub = {"name": "Sub", "path": "sub", "parent_id": group.id}

        assert rest.post("/groups", None, {"name": "X", "path": "x"}).status_code == 401
        assert rest.post("/groups", outsider_token, {"name": "X", "path": "x"}).json == {"message": "403 Forbidden"}
        assert rest.post("/groups", developer_token, sub).status_code == 403
        assert rest.post("/groups", outsider_token, sub).json == {"message": "404 Group Not Found"}
        assert rest.post("/groups", outsider_token, sub | {"parent_id": 4711}).status_code == 404


class TestChange:
    def test_only_the_given_fields_of_a_group_change(self, rest: Rest, group: Group, owner_token: str) -> None:
        before = rest.get(f"/groups/{group.id}", owner_token).json

        response = rest.put(f"/groups/{group.id}", owner_token, {"name": "Acme Inc.", "description": "Anvils"})

        assert response.status_code == 200
        assert response.json == before | {"name": "Acme Inc.", "full_name": "Acme Inc.", "description": "Anvils"}

    def test_a_new_path_moves_everything_below(self, rest: Rest, project: Project, owner_token: str) -> None:
        rest.put("/groups/acme", owner_token, {"path": "anvils"})

        assert rest.get("/projects/anvils%2Ftools", owner_token).json["id"] == project.id

    def test_forwarding_is_changed_in_the_same_way(self, rest: Rest, group: Group, owner_token: str) -> None:
        sent = {"pypi_package_requests_forwarding": False, "lock_pypi_package_requests_forwarding": True}

        response = rest.put(f"/groups/{group.id}", owner_token, sent)

        assert response.status_code == 200
        assert {name: response.json[name] for name in sent} == sent
        assert forwarding.of_group(group).effective is False

    def test_a_refused_part_leaves_the_rest_unchanged(self, rest: Rest, group: Group, owner_token: str) -> None:
        sub = factories.group("sub", parent=group)
        forwarding.change_forwarding(group, lock=True, by=SHELL)

        response = rest.put(
            f"/groups/{sub.id}", owner_token, {"name": "Other", "pypi_package_requests_forwarding": False}
        )

        assert response.status_code == 400
        assert response.json == {
            "message": {"pypi_package_requests_forwarding": ["cannot be changed because it is locked by an ancestor"]}
        }
        assert rest.get(f"/groups/{sub.id}", owner_token).json["name"] == "Sub"

    def test_only_owners_change_a_group(self, rest: Rest, group: Group, outsider_token: str) -> None:
        maintainer = factories.access_token(factories.member(group, Role.MAINTAINER))

        assert rest.put(f"/groups/{group.id}", maintainer, {"name": "X"}).status_code == 403
        assert rest.put(f"/groups/{group.id}", outsider_token, {"name": "X"}).status_code == 404
        assert rest.put(f"/groups/{group.id}", None, {"name": "X"}).status_code == 404

    def test_a_taken_path_is_refused(self, rest: Rest, group: Group, owner: User, owner_token: str) -> None:
        response = rest.put(f"/groups/{group.id}", owner_token, {"path": owner.username})

        assert response.status_code == 400
        assert response.json == {"message": 'Failed to save group {:path=>["has already been taken"]}'}


class TestTransfer:
    def test_a_group_moves_with_everything_below_it(
        self, rest: Rest, group: Group, project: Project, owner: User, owner_token: str
    ) -> None:
        holding = factories.group("holding", owner=owner)

        response = rest.post(f"/groups/{group.id}/transfer", owner_token, {"group_id": holding.id})

        assert response.status_code == 201
        assert response.json["full_path"] == "holding/acme"
        assert rest.get("/projects/holding%2Facme%2Ftools", owner_token).json["id"] == project.id

    def test_without_a_parent_it_becomes_a_top_level_group(self, rest: Rest, group: Group, owner_token: str) -> None:
        sub = factories.group("sub", parent=group)

        response = rest.post(f"/groups/{sub.id}/transfer", owner_token)

        assert response.json["full_path"] == "sub"
        assert response.json["parent_id"] is None

    def test_it_needs_permission_in_both_groups(self, rest: Rest, group: Group, owner_token: str) -> None:
        public = factories.group("holding", visibility=Visibility.PUBLIC)
        hidden = factories.group("hidden")

        assert rest.post(f"/groups/{group.id}/transfer", owner_token, {"group_id": public.id}).status_code == 403
        assert rest.post(f"/groups/{group.id}/transfer", owner_token, {"group_id": hidden.id}).status_code == 404


class TestDeletion:
    def test_a_group_is_deleted_with_everything_below(
        self, rest: Rest, group: Group, project: Project, owner_token: str
    ) -> None:
        response = rest.delete(f"/groups/{group.id}", owner_token)

        assert response.status_code == 202
        assert response.json == {"message": "202 Accepted"}
        assert rest.get("/groups/acme", owner_token).status_code == 404
        assert rest.get("/projects/acme%2Ftools", owner_token).status_code == 404

    def test_only_owners_delete(self, rest: Rest, group: Group, developer_token: str) -> None:
        maintainer = factories.access_token(factories.member(group, Role.MAINTAINER))

        assert rest.delete(f"/groups/{group.id}", maintainer).status_code == 403
        assert rest.delete(f"/groups/{group.id}", developer_token).status_code == 403
        assert rest.delete(f"/groups/{group.id}").status_code == 404


class TestPackageSettings:
    def test_the_effective_values_are_shown(self, rest: Rest, group: Group, owner_token: str) -> None:
        response = rest.get(f"/groups/{group.id}/package_settings", owner_token)

        assert response.status_code == 200
        assert response.json == {
            "pypi_package_requests_forwarding": None,
            "lock_pypi_package_requests_forwarding": False,
            "pypi_package_requests_forwarding_locked": False,
            "pypi_package_requests_forwarding_inherited_value": True,
            "pypi_package_requests_forwarding_effective_value": True,
            **{
                key: value
                for name, default in {
                    "pypi_upstream_mode": "redirect",
                    "pypi_reserved_names": [],
                    "pypi_upstream_minimum_age_days": 0,
                    "pypi_upstream_fixed_date": None,
                    "pypi_upstream_blocked": [],
                    "pypi_upstream_allowed": [],
                    "pypi_withhold_malicious": True,
                    "pypi_withhold_cvss_score": None,
                }.items()
                for key, value in {
                    name: None,
                    f"lock_{name}": False,
                    f"{name}_locked": False,
                    f"{name}_inherited_value": default,
                    f"{name}_effective_value": default,
                }.items()
            },
            "enforce_job_token_allowlists_on_group_endpoints": None,
            "lock_enforce_job_token_allowlists_on_group_endpoints": False,
            "enforce_job_token_allowlists_on_group_endpoints_locked": False,
            "enforce_job_token_allowlists_on_group_endpoints_inherited_value": False,
            "enforce_job_token_allowlists_on_group_endpoints_effective_value": False,
        }

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            (
                {"pypi_upstream_blocked": ["ok", "a>1"]},
                "contains 'a>1', expected is name, name*, or name==version (PEP 440)",
            ),
            ({"pypi_upstream_mode": "proxy"}, 'pypi_upstream_mode is "proxy", expected is redirect or cache'),
            ({"pypi_upstream_minimum_age_days": 3651}, "is 3651, expected is a whole number from 0 to 3650"),
            ({"pypi_upstream_fixed_date": "soon"}, 'is "soon", expected is a date or time in ISO 8601'),
            ({"pypi_reserved_names": ["acme-*", "a==1"]}, "contains 'a==1', expected is name or name*"),
            ({"pypi_upstream_allowed": [{}]}, "is [{}], expected is a list of up to 1000 texts"),
            ({"pypi_withhold_cvss_score": 10.1}, "is 10.1, expected is a number from 0.0 to 10.0"),
            ({"pypi_withhold_cvss_score": "high"}, "expected is a number from 0.0 to 10.0"),
        ],
        ids=["pattern", "mode", "age", "date", "name", "list", "score", "text"],
    )
    def test_a_wrong_value_is_refused_with_what_is_expected(
        self, rest: Rest, group: Group, owner_token: str, sent: dict[str, object], expected: str
    ) -> None:
        address = f"/groups/{group.id}/package_settings"
        before = rest.get(address, owner_token).json

        response = rest.put(address, owner_token, sent)

        assert response.status_code == 400
        assert expected in str(response.json)
        assert rest.get(address, owner_token).json == before

    def test_an_owner_changes_it_and_takes_it_back(self, rest: Rest, group: Group, owner_token: str) -> None:
        address = f"/groups/{group.id}/package_settings"

        changed = rest.put(address, owner_token, {"pypi_package_requests_forwarding": False})
        taken_back = rest.put(address, owner_token, {"pypi_package_requests_forwarding": None})

        assert changed.status_code == 200
        assert changed.json["pypi_package_requests_forwarding"] is False
        assert changed.json["pypi_package_requests_forwarding_effective_value"] is False
        assert taken_back.json["pypi_package_requests_forwarding"] is None
        assert taken_back.json["pypi_package_requests_forwarding_effective_value"] is True

    def test_parameters_that_are_not_sent_keep_their_values(self, rest: Rest, group: Group, owner_token: str) -> None:
        address = f"/groups/{group.id}/package_settings"
        rest.put(address, owner_token, {"pypi_package_requests_forwarding": False})

        response = rest.put(address, owner_token, {"lock_pypi_package_requests_forwarding": True})

        assert response.json["pypi_package_requests_forwarding"] is False
        assert response.json["lock_pypi_package_requests_forwarding"] is True

    def test_a_form_can_send_words(self, rest: Rest, group: Group, owner_token: str) -> None:
        response = rest.put(
            f"/groups/{group.id}/package_settings", owner_token, data={"pypi_package_requests_forwarding": "false"}
        )

        assert response.json["pypi_package_requests_forwarding"] is False

    def test_a_lock_above_is_shown_and_holds(self, rest: Rest, group: Group, owner_token: str) -> None:
        sub = factories.group("sub", parent=group)
        locked = {"pypi_package_requests_forwarding": False, "lock_pypi_package_requests_forwarding": True}
        rest.put(f"/groups/{group.id}/package_settings", owner_token, locked)

        shown = rest.get(f"/groups/{sub.id}/package_settings", owner_token)
        changed = rest.put(
            f"/groups/{sub.id}/package_settings", owner_token, {"pypi_package_requests_forwarding": True}
        )

        assert shown.json["pypi_package_requests_forwarding_locked"] is True
        assert shown.json["pypi_package_requests_forwarding_effective_value"] is False
        assert changed.status_code == 400

    def test_maintainers_read_and_owners_change(self, rest: Rest, group: Group) -> None:
        address = f"/groups/{group.id}/package_settings"
        maintainer = factories.access_token(factories.member(group, Role.MAINTAINER))
        developer = factories.access_token(factories.member(group, Role.DEVELOPER))

        assert rest.get(address, maintainer).status_code == 200
        assert rest.put(address, maintainer, {"pypi_package_requests_forwarding": False}).status_code == 403
        assert rest.get(address, developer).status_code == 403
        assert rest.get(address).status_code == 404
