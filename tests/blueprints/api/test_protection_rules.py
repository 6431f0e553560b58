from __future__ import annotations

from typing import Any

import pytest

from registry.models import Project
from tests import factories
from tests.builders import build_wheel
from tests.clients import Rest, Twine

NEW = {
    "package_name_pattern": "acme-*", "package_type": "pypi", "minimum_access_level_for_push": "maintainer",
    "minimum_access_level_for_delete": "owner",
}  # fmt: skip


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.id}/packages/protection/rules"


def test_a_rule_is_created_listed_and_in_force(
    rest: Rest, twine: Twine, address: str, project: Project, maintainer_token: str, developer_token: str
) -> None:
    made = rest.post(address, maintainer_token, NEW)

    assert made.status_code == 201
    assert made.json == NEW | {"id": made.json["id"], "project_id": project.id}
    assert rest.get(address, maintainer_token).json == [made.json]
    assert twine.upload(project, build_wheel("acme-tools"), developer_token).status_code == 403
    assert twine.upload(project, build_wheel("acme-tools"), maintainer_token).status_code == 201


def test_one_of_the_two_levels_is_enough(rest: Rest, address: str, maintainer_token: str) -> None:
    response = rest.post(address, maintainer_token, NEW | {"minimum_access_level_for_push": None})

    assert response.status_code == 201
    assert response.json["minimum_access_level_for_push"] is None


def test_only_the_given_fields_of_a_rule_change(rest: Rest, address: str, maintainer_token: str) -> None:
    made = rest.post(address, maintainer_token, NEW).json
    changes = {"minimum_access_level_for_push": "admin", "minimum_access_level_for_delete": None}

    response = rest.patch(f"{address}/{made['id']}", maintainer_token, changes)

    assert response.status_code == 200
    assert response.json == made | changes


def test_a_rule_ends(rest: Rest, address: str, maintainer_token: str) -> None:
    made = rest.post(address, maintainer_token, NEW).json

    response = rest.delete(f"{address}/{made['id']}", maintainer_token)

    assert response.status_code == 204
    assert rest.get(address, maintainer_token).json == []
    assert rest.delete(f"{address}/{made['id']}", maintainer_token).status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"package_name_pattern": "acme-*"}, 422, "has already been taken"),
        (
            {"minimum_access_level_for_push": None, "minimum_access_level_for_delete": None},
            422,
            "A rule must have at least a minimum access role for push or delete.",
        ),
        (
            {"package_name_pattern": "@acme/*"},
            422,
            "should be a valid PyPI package name with optional wildcard characters.",
        ),
        ({"package_name_pattern": "a" * 256}, 422, "should be a valid PyPI package name"),
        ({"package_name_pattern": ...}, 400, "package_name_pattern is missing"),
        ({"package_type": ...}, 400, "package_type is missing"),
        ({"package_type": "npm"}, 400, "package_type does not have a valid value"),
        (
            {"minimum_access_level_for_push": "developer"},
            400,
            "minimum_access_level_for_push does not have a valid value",
        ),
        (
            {"minimum_access_level_for_delete": "maintainer"},
            400,
            "minimum_access_level_for_delete does not have a valid value",
        ),
    ],
)
def test_invalid_values_are_refused(
    rest: Rest, address: str, maintainer_token: str, fields: dict[str, Any], status: int, told: str
) -> None:
    rest.post(address, maintainer_token, NEW)
    sent = NEW | {"package_name_pattern": "other"} | fields

    response = rest.post(address, maintainer_token, {name: value for name, value in sent.items() if value is not ...})

    assert response.status_code == status
    assert told in response.json["message" if status == 422 else "error"]


def test_a_change_obeys_the_same_rules(rest: Rest, address: str, maintainer_token: str) -> None:
    rest.post(address, maintainer_token, NEW)
    other = rest.post(address, maintainer_token, NEW | {"package_name_pattern": "other"}).json

    response = rest.patch(f"{address}/{other['id']}", maintainer_token, {"package_name_pattern": "acme-*"})

    assert response.status_code == 422
    assert rest.get(address, maintainer_token).json[1] == other


def test_a_rule_of_another_project_is_not_found(rest: Rest, address: str, admin_token: str) -> None:
    elsewhere = factories.project()
    made = rest.post(f"/projects/{elsewhere.id}/packages/protection/rules", admin_token, NEW).json

    assert rest.patch(f"{address}/{made['id']}", admin_token, {"package_name_pattern": "x"}).status_code == 404
    assert rest.delete(f"{address}/{made['id']}", admin_token).status_code == 404


def test_only_maintainers_see_and_change_rules(
    rest: Rest, address: str, maintainer_token: str, developer_token: str, outsider_token: str
) -> None:
    made = rest.post(address, maintainer_token, NEW).json

    for token, status in ((developer_token, 403), (outsider_token, 404), (None, 404)):
        assert rest.get(address, token).status_code == status
        assert rest.post(address, token, NEW).status_code == status
        assert rest.patch(f"{address}/{made['id']}", token, {}).status_code == status
        assert rest.delete(f"{address}/{made['id']}", token).status_code == status


def test_a_pattern_of_many_wildcards_costs_no_time(
    rest: Rest, twine: Twine, address: str, project: Project, maintainer_token: str
) -> None:
    rest.post(address, maintainer_token, NEW | {"package_name_pattern": "*a" * 100 + "*b"})

    assert twine.upload(project, build_wheel("a" * 120), maintainer_token).status_code == 201
