from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Group, Project, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.clients import Rest


def links(response: Any) -> dict[str, str]:
    return {relation: url for url, relation in re.findall(r'<([^>]*)>; rel="(\w+)"', response.headers.get("Link", ""))}


def numbers(response: Any) -> dict[str, str]:
    names = ("Page", "Per-Page", "Total", "Total-Pages", "Next-Page", "Prev-Page")
    return {name: response.headers[f"X-{name}"] for name in names}


@pytest.fixture
def projects(group: Group) -> list[int]:
    """The ids of five projects, the oldest first."""
    return [factories.project(parent=group).id for _ in range(5)]


def test_a_page_in_the_middle_leads_to_all_others(rest: Rest, projects: list[int], owner_token: str) -> None:
    response = rest.get("/projects?page=2&per_page=2&order_by=id&sort=asc", owner_token)

    assert [project["id"] for project in response.json] == projects[2:4]
    assert numbers(response) == {
        "Page": "2", "Per-Page": "2", "Total": "5", "Total-Pages": "3", "Next-Page": "3", "Prev-Page": "1",
    }  # fmt: skip
    pages = {relation: dict(parse_qsl(urlsplit(url).query))["page"] for relation, url in links(response).items()}
    assert pages == {"prev": "1", "next": "3", "first": "1", "last": "3"}


def test_without_a_wish_it_is_the_first_twenty(rest: Rest, projects: list[int], owner_token: str) -> None:
    response = rest.get("/projects", owner_token)

    assert numbers(response) == {
        "Page": "1", "Per-Page": "20", "Total": "5", "Total-Pages": "1", "Next-Page": "", "Prev-Page": "",
    }  # fmt: skip
    assert set(links(response)) == {"first", "last"}


def test_an_empty_list_has_one_page(rest: Rest, owner_token: str) -> None:
    response = rest.get("/projects", owner_token)

    assert response.json == []
    assert (response.headers["X-Total"], response.headers["X-Total-Pages"]) == ("0", "1")


def test_a_page_beyond_the_end_is_empty(rest: Rest, projects: list[int], owner_token: str) -> None:
    response = rest.get("/projects?page=2147483647&per_page=100", owner_token)

    assert response.status_code == 200
    assert response.json == []
    assert response.headers["X-Next-Page"] == ""


def test_a_page_has_a_hundred_at_most(rest: Rest, projects: list[int], owner_token: str) -> None:
    response = rest.get("/projects?per_page=5000", owner_token)

    assert response.headers["X-Per-Page"] == "100"
    assert "per_page=100" in links(response)["first"]


@pytest.mark.parametrize("name", ["page", "per_page"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "99999999999", "%00"])
def test_a_page_is_a_number_above_zero(rest: Rest, owner_token: str, name: str, value: str) -> None:
    response = rest.get(f"/projects?{name}={value}", owner_token)

    assert response.status_code == 400
    assert response.json == {"error": f"{name} is invalid"}


def test_links_are_absolute_and_keep_the_parameters(rest: Rest, group: Group, projects: list[int], owner: User) -> None:
    secret = factories.access_token(owner)

    response = rest.get(f"/groups/acme/projects?search=pro&per_page=2&private_token={secret}&skip[]=a%20b")

    url = links(response)["next"]
    assert url == "http://localhost/api/v4/groups/acme/projects?search=pro&skip%5B%5D=a+b&page=2&per_page=2"


def test_links_spell_a_path_as_one_segment(rest: Rest, group: Group, owner_token: str) -> None:
    sub = factories.group("sub", parent=group)
    for _ in range(3):
        factories.group(parent=sub)

    response = rest.get("/groups/acme%2Fsub/subgroups?per_page=1", owner_token)
    following = links(response)["next"]

    assert following.startswith("http://localhost/api/v4/groups/acme%2Fsub/subgroups?")
    assert rest.get(following.removeprefix("http://localhost/api/v4"), owner_token).status_code == 200


class TestKeyset:
    @pytest.mark.parametrize("sort", ["asc", "desc"])
    def test_links_lead_through_all(self, rest: Rest, projects: list[int], owner_token: str, sort: str) -> None:
        address, found = f"/projects?pagination=keyset&order_by=id&sort={sort}&per_page=2", []
        pages = 0
        while address:
            response = rest.get(address, owner_token)
            found += [project["id"] for project in response.json]
            address = links(response).get("next", "").removeprefix("http://localhost/api/v4")
            pages += 1

        assert found == (projects if sort == "asc" else projects[::-1])
        assert pages == 3
        assert "X-Total" not in response.headers

    def test_only_ids_are_keys(self, rest: Rest, owner_token: str) -> None:
        response = rest.get("/projects?pagination=keyset&order_by=name", owner_token)

        assert response.status_code == 400
        assert response.json == {"error": "order_by does not have a valid value"}

    def test_ids_narrow_an_ordinary_list_too(self, rest: Rest, projects: list[int], owner_token: str) -> None:
        response = rest.get(f"/projects?id_after={projects[0]}&id_before={projects[3]}&sort=asc", owner_token)

        assert [project["id"] for project in response.json] == projects[1:3]


LISTS = (
    "/projects?per_page=100",
    "/projects?per_page=100&statistics=true",
    "/projects?per_page=100&pagination=keyset",
    "/groups?per_page=100&all_available=true&statistics=true",
    "/groups/{group}/projects?per_page=100",
    "/groups/{group}",
    "/users?per_page=100",
    "/projects/{project}/members?per_page=100",
    "/projects/{project}/members/all?per_page=100",
    "/projects/{project}/packages?per_page=100",
    "/groups/{group}/packages?per_page=100",
    "/projects/{project}/deploy_tokens?per_page=100",
    "/projects/{project}/job_token_scope/allowlist?per_page=100",
    "/personal_access_tokens?per_page=100",
)


@pytest.mark.parametrize("caller", ["owner", "admin"])
def test_thirty_rows_cost_as_many_statements_as_three(
    rest: Rest, group: Group, project: Project, owner: User, admin: User, statements: list[str], caller: str
) -> None:
    token = factories.access_token({"owner": owner, "admin": admin}[caller])
    rest.get("/user", token)  # now the use of the token is noted
    costs: list[dict[str, int]] = []
    rows: list[dict[str, int]] = []
    for count in (3, 27):
        _furnish(group, project, owner, count)
        costs.append({})
        rows.append({})
        for address in LISTS:
            statements.clear()
            answer = rest.get(address.format(group=group.id, project=project.id), token).json
            costs[-1][address] = len(statements)
            rows[-1][address] = len(answer["projects"] if isinstance(answer, dict) else answer)

    assert costs[0] == costs[1]
    assert max(costs[1].values()) <= 14
    assert all(rows[1][address] - rows[0][address] >= 27 for address in LISTS)


def _furnish(group: Group, project: Project, owner: User, count: int) -> None:
    for number in range(count):
        sub = factories.group(parent=group)
        factories.project(parent=sub)
        source = factories.project(parent=group)
        factories.member(project, Role.DEVELOPER)
        factories.deploy_token(project)
        factories.access_token(owner)
        namespaces.allow_job_source(project, source, by=SHELL)
        file = factories.published(project, build_wheel(f"demo{count}-{number}"))
        file.job_id = factories.job(project, owner)[0].id
        factories.commit()
