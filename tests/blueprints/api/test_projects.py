from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain import instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.settings import Setting
from registry.models import AuditEvent, Group, Project, RegistryAccess, Role, User, Visibility
from tests import factories, setting_values
from tests.builders import build_wheel
from tests.clients import Rest
from tests.suggested_paths import PATHS
from tests.tables import each

SIMPLE = {
    "id", "description", "name", "name_with_namespace", "path", "path_with_namespace", "created_at", "default_branch",
    "tag_list", "topics", "ssh_url_to_repo", "http_url_to_repo", "web_url", "readme_url", "forks_count", "avatar_url",
    "star_count", "last_activity_at", "visibility", "namespace",
}  # fmt: skip
FULL = SIMPLE | {
    "_links", "packages_enabled", "package_registry_access_level", "pypi_identical_upload_accepted",
    "pypi_strict_uploads", "only_trusted_publishers", "empty_repo",
    "storage_size_limit",
    "archived", "creator_id",
    "container_registry_enabled", "issues_enabled", "merge_requests_enabled", "wiki_enabled", "jobs_enabled",
    "snippets_enabled", "shared_with_groups", "permissions",
}  # fmt: skip


def paths(response: Any) -> list[str]:
    return [project["path_with_namespace"] for project in response.json]


@pytest.fixture
def field(group: Group, owner: User) -> dict[str, Project]:
    """Projects of ``owner`` (in ``acme``, below it, and personal) and of others."""
    sub = factories.group("sub", parent=group)
    place = factories.group("place", visibility=Visibility.PUBLIC)
    return {
        "tools": factories.project("tools", parent=group),
        "deep": factories.project("deep", parent=sub),
        "own": factories.project("own", parent=users.personal_namespace(owner)),
        "open": factories.project("open", parent=place, visibility=Visibility.PUBLIC),
        "office": factories.project("office", parent=place, visibility=Visibility.INTERNAL),
        "hidden": factories.project("hidden", parent=place),
    }


class TestList:
    def test_visible_projects_are_listed_newest_first(
        self, rest: Rest, field: dict[str, Project], owner_token: str
    ) -> None:
        response = rest.get("/projects", owner_token)

        assert response.status_code == 200
        assert paths(response) == ["place/office", "place/open", "olivia/own", "acme/sub/deep", "acme/tools"]
        assert set(response.json[0]) == FULL

    @each(
        ("query", "found"),
        [
            ("membership=true", ["acme/sub/deep", "acme/tools", "olivia/own"]),
            ("owned=true", ["acme/sub/deep", "acme/tools", "olivia/own"]),
            ("min_access_level=30", ["acme/sub/deep", "acme/tools", "olivia/own"]),
            ("visibility=public", ["place/open"]),
            ("search=TOO", ["acme/tools"]),
            ("search=acme/", ["acme/sub/deep", "acme/tools"]),
            ("search=_", []),
            ("archived=true", ["olivia/own"]),
            ("archived=false&membership=true", ["acme/sub/deep", "acme/tools"]),
            ("order_by=name&sort=asc", ["acme/sub/deep", "place/office", "place/open", "olivia/own", "acme/tools"]),
            ("order_by=path&membership=true", ["acme/tools", "olivia/own", "acme/sub/deep"]),
            ("order_by=last_activity_at&sort=asc&search=o&membership=true", ["acme/tools", "olivia/own"]),
        ],
    )
    def test_the_list_can_be_narrowed_and_ordered(
        self, rest: Rest, field: dict[str, Project], owner_token: str, query: str, found: list[str]
    ) -> None:
        field["own"].archived = True
        factories.commit()

        listed = paths(rest.get(f"/projects?{query}", owner_token))

        assert (listed if "order_by" in query else sorted(listed)) == found

    def test_anonymous_callers_see_public_ones_and_administrators_all(
        self, rest: Rest, field: dict[str, Project], admin_token: str, outsider_token: str
    ) -> None:
        assert paths(rest.get("/projects")) == ["place/open"]
        assert paths(rest.get("/projects", outsider_token)) == ["place/office", "place/open"]
        assert len(paths(rest.get("/projects", admin_token))) == 6

    def test_in_short_it_ends_with_the_namespace(self, rest: Rest, field: dict[str, Project], owner_token: str) -> None:
        assert set(rest.get("/projects?simple=true", owner_token).json[0]) == SIMPLE

    def test_those_of_a_group_with_or_without_its_subgroups(
        self, rest: Rest, field: dict[str, Project], owner_token: str
    ) -> None:
        direct = rest.get("/groups/acme/projects", owner_token)
        below = rest.get("/groups/acme/projects?include_subgroups=true&order_by=id&sort=asc", owner_token)

        assert paths(direct) == ["acme/tools"]
        assert paths(below) == ["acme/tools", "acme/sub/deep"]
        assert rest.get("/groups/acme/projects").status_code == 404

    @pytest.mark.parametrize("reference", ["id", "olivia", "OLIVIA"])
    def test_those_of_a_user(
        self, rest: Rest, field: dict[str, Project], owner: User, owner_token: str, outsider_token: str, reference: str
    ) -> None:
        address = f"/users/{owner.id if reference == 'id' else reference}/projects"

        assert paths(rest.get(address, owner_token)) == ["olivia/own"]
        assert paths(rest.get(address, outsider_token)) == []

    def test_the_projects_of_an_unknown_user_are_not_found(self, rest: Rest) -> None:
        assert rest.get("/users/ghost/projects").json == {"message": "404 User Not Found"}

    def test_statistics_are_shown_on_request_to_reporters(
        self, rest: Rest, project: Project, owner_token: str, guest_token: str
    ) -> None:
        wheel = build_wheel()
        factories.published(project, wheel)

        to_owner = rest.get("/projects?statistics=true", owner_token).json[0]
        to_guest = rest.get(f"/projects/{project.id}?statistics=true", guest_token).json

        assert to_owner["statistics"]["packages_size"] == to_owner["statistics"]["storage_size"] == len(wheel.content)
        assert "statistics" not in to_guest
        assert "statistics" not in rest.get("/projects", owner_token).json[0]


class TestOne:
    def test_a_project_of_a_group(self, rest: Rest, project: Project, group: Group, owner_token: str) -> None:
        response = rest.get(f"/projects/{project.id}", owner_token)

        assert response.status_code == 200
        assert set(response.json) == FULL
        assert response.json["name_with_namespace"] == "Acme / Tools"
        assert response.json["web_url"] == "http://localhost/acme/tools"
        assert response.json["package_registry_access_level"] == "enabled"
        assert response.json["packages_enabled"] is True
        assert response.json["_links"]["self"] == f"http://localhost/api/v4/projects/{project.id}"
        assert response.json["permissions"] == {
            "project_access": None,
            "group_access": {"access_level": 50, "notification_level": 3},
        }
        assert response.json["namespace"] == {
            "id": group.id, "name": "Acme", "path": "acme", "kind": "group", "full_path": "acme", "parent_id": None,
            "avatar_url": None, "web_url": "http://localhost/groups/acme",
        }  # fmt: skip

    def test_a_personal_project_has_an_owner(self, rest: Rest, owner: User, owner_token: str) -> None:
        own = factories.project("own", parent=users.personal_namespace(owner))

        response = rest.get(f"/projects/{own.id}", owner_token)

        assert response.json["owner"]["username"] == "olivia"
        assert response.json["namespace"]["kind"] == "user"
        assert response.json["namespace"]["web_url"] == "http://localhost/olivia"
        assert response.json["permissions"]["project_access"]["access_level"] == 50

    def test_direct_and_inherited_roles_are_distinguished(
        self, rest: Rest, project: Project, developer_token: str
    ) -> None:
        permissions = rest.get(f"/projects/{project.id}", developer_token).json["permissions"]

        assert permissions["project_access"]["access_level"] == 30
        assert permissions["group_access"] is None

    @pytest.mark.parametrize("caller", ["anonymous", "outsider"])
    def test_a_private_project_is_not_found_by_others(
        self, rest: Rest, project: Project, outsider_token: str, caller: str
    ) -> None:
        response = rest.get(f"/projects/{project.id}", outsider_token if caller == "outsider" else None)

        assert response.status_code == 404
        assert response.json == {"message": "404 Project Not Found"}


class TestCreation:
    def test_by_default_it_is_private_and_personal(self, rest: Rest, owner_token: str) -> None:
        response = rest.post("/projects", owner_token, {"name": "My first project!"})

        assert response.status_code == 201
        assert response.json["path_with_namespace"] == "olivia/my-first-project"
        assert response.json["name"] == "My first project!"
        assert response.json["visibility"] == "private"

    def test_a_path_that_is_not_given_follows_from_the_name(self, rest: Rest, owner_token: str) -> None:
        for name, path in PATHS.items():
            assert rest.post("/projects", owner_token, {"name": name}).json["path"] == path

    def test_a_path_names_it_too(self, rest: Rest, owner_token: str) -> None:
        assert rest.post("/projects", owner_token, {"path": "demo"}).json["name"] == "demo"

    def test_everything_that_can_be_set_is_set(self, rest: Rest, group: Group, owner_token: str) -> None:
        fields = {
            "name": "Tools", "path": "the-tools", "description": "Hammers", "visibility": "private",
            "package_registry_access_level": "public",
        }  # fmt: skip

        response = rest.post(
            "/projects", owner_token, fields | {"namespace_id": group.id, "initialize_with_readme": True}
        )

        assert response.status_code == 201
        assert {name: response.json[name] for name in fields} == fields
        assert response.json["path_with_namespace"] == "acme/the-tools"

    def test_the_older_switch_turns_the_registry_off(self, rest: Rest, owner_token: str) -> None:
        response = rest.post("/projects", owner_token, {"name": "demo", "packages_enabled": False})

        assert response.json["package_registry_access_level"] == "disabled"
        assert response.json["packages_enabled"] is False

    @pytest.mark.parametrize(
        ("fields", "body"),
        [
            ({"name": ...}, {"error": "name, path are missing, at least one parameter must be provided"}),
            (
                {"name": "tools"},
                {
                    "message": {
                        "project_namespace.name": ["has already been taken"],
                        "name": ["has already been taken"],
                        "path": ["has already been taken"],
                    }
                },
            ),
            ({"namespace_id": 4711}, {"message": {"namespace": ["is not valid"]}}),
            (
                {"visibility": "public"},
                {"message": {"visibility_level": ["public is not allowed in a private group."]}},
            ),
            ({"visibility": "open"}, {"error": "visibility does not have a valid value"}),
            (
                {"package_registry_access_level": "all"},
                {"error": "package_registry_access_level does not have a valid value"},
            ),
            ({"path": "edit"}, {"message": {"path": ["edit is a reserved name"]}}),
            ({"name": "日本語", "path": ""}, {"message": {"path": ["can't be blank"]}}),
        ],
    )
    def test_invalid_values_are_refused(
        self, rest: Rest, project: Project, owner_token: str, fields: dict[str, Any], body: Any
    ) -> None:
        sent = {"name": "other", "namespace_id": project.parent_id} | fields

        response = rest.post(
            "/projects", owner_token, {name: value for name, value in sent.items() if value is not ...}
        )

        assert response.status_code == 400
        assert response.json == body

    def test_a_namespace_without_permission_to_create_projects_is_invalid(
        self, rest: Rest, group: Group, project: Project, outsider_token: str, guest_token: str
    ) -> None:
        for namespace_id, token in ((group.id, outsider_token), (group.id, guest_token), (project.id, guest_token)):
            response = rest.post("/projects", token, {"name": "other", "namespace_id": namespace_id})

            assert response.status_code == 400
            assert response.json == {"message": {"namespace": ["is not valid"]}}

    def test_a_developer_of_the_group_may(self, rest: Rest, group: Group) -> None:
        developer = factories.access_token(factories.member(group, Role.DEVELOPER))

        assert rest.post("/projects", developer, {"name": "other", "namespace_id": group.id}).status_code == 201

    def test_anonymous_callers_are_refused(self, rest: Rest) -> None:
        assert rest.post("/projects", None, {"name": "other"}).status_code == 401


class TestChange:
    def test_only_the_given_fields_of_a_project_change(self, rest: Rest, project: Project, owner_token: str) -> None:
        before = rest.get(f"/projects/{project.id}", owner_token).json
        changes = {"name": "Better tools", "description": "Hammers", "package_registry_access_level": "private"}

        response = rest.put(f"/projects/{project.id}", owner_token, changes)

        assert response.status_code == 200
        assert response.json == before | changes | {"name_with_namespace": "Acme / Better tools"}

    @pytest.mark.parametrize("described", namespaces.PROJECT_SETTINGS, ids=lambda one: one.name)
    def test_each_setting_is_readable_and_settable_at_once_and_later(
        self, rest: Rest, group: Group, project: Project, owner_token: str, described: Setting
    ) -> None:
        address, name = f"/projects/{project.id}", described.rest_name
        before = rest.get(address, owner_token).json
        changes = {name: setting_values.in_json(described, before[name])}
        new = {"name": "other", "namespace_id": group.id} | changes

        assert rest.put(address, owner_token, changes).json == before | changes
        assert rest.get(address, owner_token).json == before | changes
        assert rest.post("/projects", owner_token, new).json[name] == changes[name] != before[name]

    def test_whether_identical_uploads_are_accepted_is_the_maintainers_to_say(
        self, rest: Rest, project: Project, maintainer_token: str, developer: User
    ) -> None:
        changes = {"pypi_identical_upload_accepted": True}
        address = f"/projects/{project.id}"

        assert rest.get(address, maintainer_token).json["pypi_identical_upload_accepted"] is False
        assert rest.put(address, factories.access_token(developer), changes).status_code == 403
        assert rest.put(address, maintainer_token, changes).json["pypi_identical_upload_accepted"] is True
        assert rest.get(address, maintainer_token).json["pypi_identical_upload_accepted"] is True

    def test_a_new_path_is_a_new_address(self, rest: Rest, project: Project, owner_token: str) -> None:
        rest.put(f"/projects/{project.id}", owner_token, {"path": "hammers"})

        assert rest.get("/projects/acme%2Fhammers", owner_token).json["id"] == project.id
        assert rest.get("/projects/acme%2Ftools", owner_token).json["path"] == "hammers"

    def test_a_new_path_takes_an_owner_as_on_the_page(
        self, rest: Rest, project: Project, maintainer_token: str
    ) -> None:
        same = rest.put(f"/projects/{project.id}", maintainer_token, {"path": "tools", "description": "Hammers"})
        other = rest.put(f"/projects/{project.id}", maintainer_token, {"path": "hammers"})

        assert (same.status_code, other.status_code) == (200, 403)
        assert rest.get("/projects/acme%2Ftools", maintainer_token).json["description"] == "Hammers"

    def test_access_to_the_registry_takes_an_owner(
        self, rest: Rest, project: Project, owner_token: str, maintainer_token: str
    ) -> None:
        for changes in ({"package_registry_access_level": "public"}, {"packages_enabled": False}):
            assert rest.put(f"/projects/{project.id}", maintainer_token, changes).status_code == 403
            assert rest.put(f"/projects/{project.id}", owner_token, changes).status_code == 200
            assert rest.put(f"/projects/{project.id}", maintainer_token, changes).status_code == 200, "no change"

    def test_restricted_visibility_keeps_packages_of_private_projects_from_the_public(
        self, rest: Rest, group: Group, project: Project, owner_token: str
    ) -> None:
        admin_token = factories.access_token(factories.user(is_admin=True))
        instance.change_instance(instance.InstanceChanges(restricted_visibility_levels=["public"]), by=SHELL)
        opened = {"package_registry_access_level": "public"}
        new = {"name": "other", "namespace_id": group.id} | opened

        for response in (
            rest.put(f"/projects/{project.id}", owner_token, opened), rest.post("/projects", owner_token, new),
        ):  # fmt: skip
            assert response.status_code == 400
            assert response.json == {
                "message": {"package_registry_access_level": ["public has been restricted by your administrator."]}
            }
        assert rest.put(f"/projects/{project.id}", admin_token, opened).status_code == 200
        assert rest.put(f"/projects/{project.id}", owner_token, opened | {"name": "Same"}).status_code == 200

    def test_every_change_of_a_setting_is_on_record_with_its_value_before_and_after(
        self, rest: Rest, project: Project, owner_token: str
    ) -> None:
        address = f"/projects/{project.id}"
        for changes in (
            {"name": "Tools", "path": "hammers", "package_registry_access_level": "public"},
            {"pypi_identical_upload_accepted": True, "name": "Tools"},
        ):
            rest.put(address, owner_token, changes)
        rest.patch(f"{address}/job_token_scope", owner_token, {"enabled": False})

        changed = select(AuditEvent).where(AuditEvent.action == "project_changed").order_by(AuditEvent.id)
        events = db.session.scalars(changed)
        assert [(event.author, event.target, event.details) for event in events] == [
            (
                "olivia",
                "acme/hammers",
                {
                    "path": {"before": "acme/tools", "after": "acme/hammers"},
                    "registry_access": {"before": "enabled", "after": "public"},
                },
            ),
            ("olivia", "acme/hammers", {"identical_upload_accepted": {"before": False, "after": True}}),
            ("olivia", "acme/hammers", {"job_allowlist_enforced": {"before": True, "after": False}}),
        ]

    @pytest.mark.parametrize(
        ("before", "sent", "after"),
        [
            (RegistryAccess.PUBLIC, True, "public"),
            (RegistryAccess.DISABLED, True, "enabled"),
            (RegistryAccess.PRIVATE, False, "disabled"),
        ],
    )
    def test_the_older_switch_keeps_an_enabled_registry(
        self, rest: Rest, project: Project, owner_token: str, before: RegistryAccess, sent: bool, after: str
    ) -> None:
        project.registry_access = before
        factories.commit()

        response = rest.put(f"/projects/{project.id}", owner_token, {"packages_enabled": sent})

        assert response.json["package_registry_access_level"] == after

    def test_visibility_is_the_owners_to_change(
        self, rest: Rest, group: Group, project: Project, owner_token: str, maintainer_token: str
    ) -> None:
        rest.put(f"/groups/{group.id}", owner_token, {"visibility": "public"})

        by_maintainer = rest.put(f"/projects/{project.id}", maintainer_token, {"visibility": "public"})
        by_owner = rest.put(f"/projects/{project.id}", owner_token, {"visibility": "public"})

        assert by_maintainer.status_code == 403
        assert by_owner.json["visibility"] == "public"

    def test_a_request_without_any_parameter_is_refused(self, rest: Rest, project: Project, owner_token: str) -> None:
        response = rest.put(f"/projects/{project.id}", owner_token)

        assert response.status_code == 400
        assert response.json["error"].endswith("are missing, at least one parameter must be provided")

    def test_unused_parameters_are_ignored(self, rest: Rest, project: Project, owner_token: str) -> None:
        assert rest.put(f"/projects/{project.id}", owner_token, {"wiki_enabled": True}).status_code == 200

    def test_developers_change_nothing(self, rest: Rest, project: Project, developer_token: str) -> None:
        assert rest.put(f"/projects/{project.id}", developer_token, {"name": "X"}).status_code == 403


class TestArchive:
    def test_an_archived_project_is_read_only_until_it_is_unarchived(
        self, rest: Rest, project: Project, owner_token: str
    ) -> None:
        archived = rest.post(f"/projects/{project.id}/archive", owner_token)
        started = rest.post(f"/projects/{project.id}/jobs", owner_token, {})
        unarchived = rest.post(f"/projects/{project.id}/unarchive", owner_token)

        assert (archived.status_code, archived.json["archived"]) == (201, True)
        assert started.status_code == 403
        assert (unarchived.status_code, unarchived.json["archived"]) == (201, False)

    def test_only_owners_archive(self, rest: Rest, project: Project, maintainer_token: str) -> None:
        assert rest.post(f"/projects/{project.id}/archive", maintainer_token).status_code == 403


class TestDeletion:
    def test_a_project_is_deleted(self, rest: Rest, project: Project, owner_token: str) -> None:
        response = rest.delete("/projects/acme%2Ftools", owner_token)

        assert response.status_code == 202
        assert response.json == {"message": "202 Accepted"}
        assert rest.get(f"/projects/{project.id}", owner_token).status_code == 404

    def test_only_owners_delete(self, rest: Rest, project: Project, maintainer_token: str) -> None:
        assert rest.delete(f"/projects/{project.id}", maintainer_token).status_code == 403
        assert rest.delete(f"/projects/{project.id}").status_code == 404
