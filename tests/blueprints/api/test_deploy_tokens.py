from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from registry.database import utcnow
from registry.models import Group, Project, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.clients import Pip, Rest, Twine

TOKEN = {"id", "name", "username", "expires_at", "revoked", "expired", "scopes"}
NEW = {"name": "deployment", "scopes": ["read_package_registry"]}


class TestCreation:
    @pytest.mark.parametrize("kind", ["projects", "groups"])
    def test_a_token_is_shown_once_and_works(
        self, rest: Rest, twine: Twine, pip: Pip, group: Group, project: Project, owner_token: str, kind: str
    ) -> None:
        namespace = project if kind == "projects" else group
        sent = {"name": "deployment", "scopes": ["read_package_registry", "write_package_registry"]}

        response = rest.post(f"/{kind}/{namespace.id}/deploy_tokens", owner_token, sent)

        assert response.status_code == 201
        assert set(response.json) == TOKEN | {"token"}
        assert response.json["token"].startswith("gldt-")
        assert response.json["username"] == f"gitlab+deploy-token-{response.json['id']}"
        assert response.json["expires_at"] is None
        credentials = (response.json["username"], response.json["token"])
        assert twine.upload(project, build_wheel(), credentials).status_code == 201
        assert pip.simple_page(project, "demo", credentials).status_code == 200

    def test_everything_that_can_be_set_is_set(self, rest: Rest, project: Project, maintainer_token: str) -> None:
        sent = NEW | {"username": "deployer+1", "expires_at": "2099-12-31T12:00:00+02:00"}

        response = rest.post(f"/projects/{project.id}/deploy_tokens", maintainer_token, sent)

        assert response.json["username"] == "deployer+1"
        assert response.json["expires_at"] == "2099-12-31T10:00:00.000Z"

    def test_a_date_means_its_first_moment(self, rest: Rest, project: Project, maintainer_token: str) -> None:
        today = utcnow().date()

        response = rest.post(
            f"/projects/{project.id}/deploy_tokens", maintainer_token, NEW | {"expires_at": str(today)}
        )

        assert response.json["expires_at"] == f"{today}T00:00:00.000Z"
        assert response.json["expired"] is True

    @pytest.mark.parametrize(
        ("fields", "body"),
        [
            ({"scopes": ["api"]}, {"error": "scopes does not have a valid value"}),
            ({"scopes": []}, {"message": "Scopes can't be blank"}),
            ({"scopes": ...}, {"error": "scopes is missing"}),
            ({"name": ..., "scopes": ...}, {"error": "name is missing, scopes is missing"}),
            ({"name": ""}, {"message": {"name": ["can't be blank"]}}),
            (
                {"username": "me@home"},
                {"message": {"username": ["can contain only letters, digits, '_', '-', '+', and '.'"]}},
            ),
            ({"expires_at": "never"}, {"error": "expires_at is invalid"}),
        ],
    )
    def test_invalid_values_are_refused(
        self, rest: Rest, project: Project, maintainer_token: str, fields: dict[str, Any], body: Any
    ) -> None:
        sent = {name: value for name, value in (NEW | fields).items() if value is not ...}

        response = rest.post(f"/projects/{project.id}/deploy_tokens", maintainer_token, sent)

        assert response.status_code == 400
        assert response.json == body


class TestReading:
    def test_a_list_has_all_or_only_active_tokens(self, rest: Rest, project: Project, maintainer_token: str) -> None:
        factories.deploy_token(project)
        factories.deploy_token(project, expires_at=utcnow() - timedelta(days=1))

        everything = rest.get(f"/projects/{project.id}/deploy_tokens", maintainer_token)
        active = rest.get(f"/projects/{project.id}/deploy_tokens?active=true", maintainer_token)

        assert everything.status_code == 200
        assert [token["expired"] for token in everything.json] == [False, True]
        assert [token["expired"] for token in active.json] == [False]
        assert set(active.json[0]) == TOKEN

    def test_a_token_is_found_only_in_its_project_or_group(
        self, rest: Rest, group: Group, project: Project, owner_token: str
    ) -> None:
        token_id = rest.post(f"/projects/{project.id}/deploy_tokens", owner_token, NEW).json["id"]
        other = factories.project("other", parent=group)

        assert rest.get(f"/projects/{project.id}/deploy_tokens/{token_id}", owner_token).json["id"] == token_id
        for elsewhere in (f"/projects/{other.id}", f"/groups/{group.id}"):
            response = rest.get(f"{elsewhere}/deploy_tokens/{token_id}", owner_token)
            assert response.status_code == 404
            assert response.json == {"message": "404 Not found"}

    def test_administrators_see_all_tokens(
        self, rest: Rest, group: Group, project: Project, admin_token: str, owner_token: str
    ) -> None:
        factories.deploy_token(project)
        factories.deploy_token(group, expires_at=utcnow() - timedelta(days=1))

        assert len(rest.get("/deploy_tokens", admin_token).json) == 2
        assert len(rest.get("/deploy_tokens?active=true", admin_token).json) == 1
        assert rest.get("/deploy_tokens", owner_token).status_code == 403
        assert rest.get("/deploy_tokens").status_code == 401


class TestDestruction:
    def test_a_deleted_token_is_refused_and_not_listed(
        self, rest: Rest, pip: Pip, project: Project, maintainer_token: str
    ) -> None:
        made = rest.post(f"/projects/{project.id}/deploy_tokens", maintainer_token, NEW).json
        address = f"/projects/{project.id}/deploy_tokens/{made['id']}"

        response = rest.delete(address, maintainer_token)

        assert response.status_code == 204
        assert rest.get(address, maintainer_token).status_code == 404
        assert rest.delete(address, maintainer_token).status_code == 404
        assert pip.index(project, made["token"]).status_code == 401


@pytest.mark.parametrize(
    ("role", "project_read", "project_change", "group_read", "group_change"),
    [
        (Role.DEVELOPER, 403, 403, 403, 403),
        (Role.MAINTAINER, 200, 201, 200, 403),
        (Role.OWNER, 200, 201, 200, 201),
        (None, 404, 404, 404, 404),
    ],
)
def test_maintainers_of_projects_and_owners_of_groups_change_them(
    rest: Rest, group: Group, project: Project, outsider: User,
    role: Role | None, project_read: int, project_change: int, group_read: int, group_change: int,
) -> None:  # fmt: skip
    caller = outsider if role is None else factories.member(group, role)
    token = factories.access_token(caller)

    assert rest.get(f"/projects/{project.id}/deploy_tokens", token).status_code == project_read
    assert rest.post(f"/projects/{project.id}/deploy_tokens", token, NEW).status_code == project_change
    assert rest.get(f"/groups/{group.id}/deploy_tokens", token).status_code == group_read
    assert rest.post(f"/groups/{group.id}/deploy_tokens", token, NEW).status_code == group_change
