from __future__ import annotations

import pytest

from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Group, Project
from tests import factories
from tests.clients import Rest

LISTS = ("allowlist", "groups_allowlist")


@pytest.fixture
def address(project: Project) -> str:
    return f"/projects/{project.id}/job_token_scope"


def test_the_allowlist_counts_until_it_is_switched_off(rest: Rest, address: str, maintainer_token: str) -> None:
    before = rest.get(address, maintainer_token)
    changed = rest.patch(address, maintainer_token, {"enabled": False})

    assert before.json == {"inbound_enabled": True, "outbound_enabled": False}
    assert changed.status_code == 204
    assert rest.get(address, maintainer_token).json["inbound_enabled"] is False


def test_projects_are_listed_and_struck_off(
    rest: Rest, address: str, project: Project, group: Group, owner_token: str
) -> None:
    source = factories.project("source", parent=group)

    added = rest.post(f"{address}/allowlist", owner_token, {"target_project_id": source.id})
    listed = rest.get(f"{address}/allowlist", owner_token)
    removed = rest.delete(f"{address}/allowlist/{source.id}", owner_token)

    assert added.status_code == 201
    assert added.json == {"source_project_id": project.id, "target_project_id": source.id}
    assert [entry["id"] for entry in listed.json] == [source.id]
    assert listed.headers["X-Total"] == "1"
    assert removed.status_code == 204
    assert rest.get(f"{address}/allowlist", owner_token).json == []


def test_groups_are_listed_and_struck_off(
    rest: Rest, address: str, project: Project, group: Group, owner_token: str
) -> None:
    added = rest.post(f"{address}/groups_allowlist", owner_token, {"target_group_id": group.id})
    listed = rest.get(f"{address}/groups_allowlist", owner_token)
    removed = rest.delete(f"{address}/groups_allowlist/{group.id}", owner_token)

    assert added.status_code == 201
    assert added.json == {"source_project_id": project.id, "target_group_id": group.id}
    assert [entry["full_path"] for entry in listed.json] == ["acme"]
    assert removed.status_code == 204
    assert rest.get(f"{address}/groups_allowlist", owner_token).json == []


@pytest.mark.parametrize("kind", ["project", "group"])
def test_of_a_source_that_the_caller_cannot_see_only_the_id_is_listed(
    rest: Rest, address: str, project: Project, maintainer_token: str, kind: str
) -> None:
    source = factories.project("secret") if kind == "project" else factories.group("secret")
    namespaces.allow_job_source(project, source, by=SHELL)
    path = f"{address}/{'allowlist' if kind == 'project' else 'groups_allowlist'}"

    listed = rest.get(path, maintainer_token)
    removed = rest.delete(f"{path}/{source.id}", maintainer_token)

    assert [{name: value for name, value in entry.items() if value is not None} for entry in listed.json] == [
        {"id": source.id}
    ]
    assert "path" in listed.json[0]
    assert removed.status_code == 204


def test_a_listed_source_is_refused(rest: Rest, address: str, group: Group, owner_token: str) -> None:
    rest.post(f"{address}/groups_allowlist", owner_token, {"target_group_id": group.id})

    response = rest.post(f"{address}/groups_allowlist", owner_token, {"target_group_id": group.id})

    assert response.status_code == 400


def test_a_source_hidden_from_the_caller_is_not_found(rest: Rest, address: str, owner_token: str) -> None:
    hidden = factories.project("hidden")

    unknown = rest.post(f"{address}/allowlist", owner_token, {"target_project_id": 4711})
    invisible = rest.post(f"{address}/allowlist", owner_token, {"target_project_id": hidden.id})

    assert unknown.json == invisible.json == {"message": "404 Project Not Found"}


def test_removing_an_unlisted_source_does_not_reveal_whether_it_exists(
    rest: Rest, address: str, group: Group, owner_token: str
) -> None:
    ids = (factories.project("hidden").id, group.id, 4711)

    answers = [rest.delete(f"{address}/{name}/{id_}", owner_token) for name in LISTS for id_ in ids]

    assert {(answer.status_code, answer.json["message"]) for answer in answers} == {(404, "404 Not found")}


def test_only_maintainers_see_and_change_it(rest: Rest, address: str, group: Group, developer_token: str) -> None:
    assert rest.get(address, developer_token).status_code == 403
    assert rest.patch(address, developer_token, {"enabled": False}).status_code == 403
    assert rest.get(f"{address}/allowlist", developer_token).status_code == 403
    assert rest.post(f"{address}/groups_allowlist", developer_token, {"target_group_id": group.id}).status_code == 403
