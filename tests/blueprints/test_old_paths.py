"""Paths that were given up: where they lead, and who can take them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain import audit, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.accounts.users import UserChanges
from registry.models import Group, Namespace, OldPath, Project, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.clients import Browser, Pip, Rest, Twine

WHEEL = build_wheel("demo")
REFUSED = 'Failed to save group {:path=>["was given up, but clients can still use it; it is kept until '


@pytest.fixture
def published(group: Group, project: Project) -> Project:
    factories.published(project, WHEEL)
    return project


@pytest.fixture
def owner_token(owner: User) -> str:
    return factories.access_token(owner)


@pytest.fixture
def strangers_token(outsider: User) -> str:
    return factories.access_token(outsider)


def rename(rest: Rest, namespace: Namespace, path: str, token: str) -> None:
    kind = "groups" if isinstance(namespace, Group) else "projects"
    assert rest.put(f"/{kind}/{namespace.id}", token, {"path": path}).status_code == 200


def take(rest: Rest, path: str, token: str) -> tuple[int, str]:
    response = rest.post("/groups", token, {"name": "Taken", "path": path})
    return response.status_code, response.json.get("message", "")


def pass_days(days: int) -> None:
    for old in db.session.scalars(select(OldPath)):
        old.given_up_at -= timedelta(days=days)
    db.session.commit()


def test_reading_requests_for_old_paths_lead_to_the_new_ones(
    rest: Rest, pip: Pip, twine: Twine, browser_of: Callable[[User], Browser], group: Group, published: Project,
    owner: User, outsider: User, owner_token: str,
) -> None:  # fmt: skip
    index = "/api/v4/projects/acme%2Ftools/packages/pypi"
    rename(rest, group, "beta", owner_token)
    rename(rest, published, "kit", owner_token)

    def get(address: str, user: User) -> tuple[int, str]:
        answer = browser_of(user).get(address)
        return answer.status_code, answer.headers.get("Location", "")

    token, file = {"PRIVATE-TOKEN": owner_token}, f"{index}/files/{WHEEL.sha256}/{WHEEL.filename}"
    pages = [pip.client.get(f"{index}/simple/demo", headers=token) for _ in range(2)]
    assert [file in page.text for page in pages] == [True, True], "clients have the credentials for this path"
    assert pip.client.get(file, headers=token).data == WHEEL.content
    assert pip.client.get("/api/v4/groups/acme/-/packages/pypi/simple/demo", headers=token).status_code == 200
    assert rest.get("/projects/acme%2FTools", owner_token).json["path_with_namespace"] == "beta/kit"
    assert get("/acme/tools/-/packages?search=de%20mo", owner) == (302, "/beta/kit/-/packages?search=de%20mo")
    assert get("/groups/acme/-/packages", owner) == (302, "/groups/beta/-/packages")
    assert get("/acme/tools", outsider) == get("/acme/unknown", outsider) == (404, "")
    assert rest.put("/projects/acme%2Ftools", owner_token, {"description": "x"}).status_code == 404
    assert pip.client.post(index, headers=token).status_code == 404, "a change names the present path"


@pytest.mark.parametrize("way", ["rename", "transfer", "delete", "rename user", "delete user"])
def test_a_path_under_which_packages_were_published_is_not_given_to_others_for_90_days(
    rest: Rest, group: Group, published: Project, owner: User, owner_token: str, strangers_token: str, way: str
) -> None:
    path = "acme"
    if way == "rename":
        rename(rest, group, "beta", owner_token)
    elif way == "transfer":
        other = factories.group("other", owner=owner)
        assert rest.post(f"/groups/{group.id}/transfer", owner_token, {"group_id": other.id}).status_code == 201
    elif way == "delete":
        assert rest.delete(f"/groups/{group.id}", owner_token).status_code == 202
    else:
        path, user = "paula", factories.user("paula")
        factories.published(factories.project("own", parent=users.personal_namespace(user)), build_wheel("own"))
        if way == "rename user":
            users.change_user(user, UserChanges(username="pola"), by=SHELL)
        else:
            users.delete_user(user, by=SHELL)

    status, message = take(rest, path.upper(), strangers_token)
    assert (status, message[: len(REFUSED)]) == (400, REFUSED)
    pass_days(89)
    assert take(rest, path, strangers_token)[0] == 400
    pass_days(1)
    assert take(rest, path, strangers_token)[0] == 201
    assert [event.target for event in db.session.scalars(audit.events("path_given_up"))] == [path]


@pytest.mark.parametrize("way", ["delete", "rename"])
def test_a_group_keeps_its_path_also_for_a_project_that_was_deleted_before(
    rest: Rest, group: Group, published: Project, owner_token: str, strangers_token: str, way: str
) -> None:
    assert rest.delete(f"/projects/{published.id}", owner_token).status_code == 202
    if way == "rename":
        rename(rest, group, "beta", owner_token)
    else:
        assert rest.delete(f"/groups/{group.id}", owner_token).status_code == 202

    assert take(rest, "acme", strangers_token)[0] == 400, "its Owner could take acme/tools then"


def test_a_project_path_is_kept_from_a_developer_of_the_group(
    rest: Rest, group: Group, published: Project, owner_token: str
) -> None:
    developer = factories.access_token(factories.member(group, Role.DEVELOPER))
    rename(rest, published, "kit", owner_token)
    sent = {"path": "tools", "namespace_id": group.id}

    refused = rest.post("/projects", developer, sent)
    by_owner = rest.post("/projects", owner_token, sent)

    assert refused.status_code == 400
    assert "path" in refused.json["message"]
    assert by_owner.status_code == 201, "Owners could always publish there"
    assert rest.get("/projects/acme%2Ftools", owner_token).json["id"] == by_owner.json["id"], "no longer the other"


def test_a_user_gets_no_name_that_others_install_from(
    rest: Rest, published: Project, group: Group, admin: User
) -> None:
    token = factories.access_token(admin)
    rename(rest, group, "beta", token)
    sent = {"username": "acme", "email": "a@example.org", "name": "A", "force_random_password": True}

    assert rest.post("/users", token, sent).status_code == 400, "administrators free a path knowingly"
    namespaces.free(namespaces.find_old_path("acme"), by=SHELL)
    assert rest.post("/users", token, sent).status_code == 201


def test_packages_that_were_deleted_count(
    rest: Rest, group: Group, published: Project, owner_token: str, strangers_token: str
) -> None:
    [package] = rest.get(f"/projects/{published.id}/packages", owner_token).json
    rest.delete(f"/projects/{published.id}/packages/{package['id']}", owner_token)
    rename(rest, group, "beta", owner_token)

    assert take(rest, "acme", strangers_token)[0] == 400


def test_old_paths_are_found_by_a_part_in_any_case_and_not_by_a_text_longer_than_a_pattern_can_be(
    rest: Rest, group: Group, owner_token: str
) -> None:
    rename(rest, group, "beta", owner_token)

    found = [list(db.session.scalars(namespaces.all_old_paths(search))) for search in ("CM", "a" * 60_000)]

    assert [[old.path for old in paths] for paths in found] == [["acme"], []]


def test_its_owners_take_a_path_back_and_the_one_who_deleted_it(
    rest: Rest, group: Group, published: Project, owner_token: str
) -> None:
    rename(rest, group, "beta", owner_token)
    rename(rest, group, "acme", owner_token)
    assert [old.path for old in db.session.scalars(namespaces.all_old_paths())] == ["beta"]

    rest.delete(f"/groups/{group.id}", owner_token)

    assert take(rest, "acme", owner_token)[0] == 201


def test_a_path_without_packages_is_free_at_once_and_then_leads_to_what_took_it(
    rest: Rest, group: Group, project: Project, owner_token: str, strangers_token: str
) -> None:
    rename(rest, group, "beta", owner_token)
    assert rest.get("/groups/acme", owner_token).json["id"] == group.id

    assert take(rest, "acme", strangers_token)[0] == 201

    assert rest.get("/groups/acme", owner_token).status_code == 404
    assert rest.get("/projects/acme%2Ftools", owner_token).status_code == 404


def test_an_administrator_frees_a_path(
    rest: Rest, browser_of: Callable[[User], Browser], group: Group, published: Project, admin: User, owner: User,
    owner_token: str, strangers_token: str,
) -> None:  # fmt: skip
    rename(rest, group, "beta", owner_token)
    browser = browser_of(admin)
    assert browser_of(owner).get("/admin/old_paths").status_code == 403
    assert "acme" in browser.get("/admin/old_paths?search=ACM").text

    answer = browser.submit("/admin/old_paths", action="/admin/old_paths/free")

    assert answer.status_code == 303
    assert browser.get("/admin/old_paths").flashes == ["The path acme is free."]
    assert rest.get("/groups/acme", owner_token).status_code == 404
    assert take(rest, "acme", strangers_token)[0] == 201
    event = db.session.scalars(audit.events("old_path_freed")).one()
    assert (event.author, event.target, event.details) == ("root", "acme", {"current": "beta"})


def test_an_administrator_frees_a_path_by_the_rest_api(
    rest: Rest, group: Group, published: Project, admin: User, owner_token: str, strangers_token: str
) -> None:
    token = factories.access_token(admin)
    rename(rest, published, "kit", owner_token)
    assert rest.get("/admin/old_paths", owner_token).status_code == 403
    assert rest.delete("/admin/old_paths/acme%2Ftools", owner_token).status_code == 403

    [old] = rest.get("/admin/old_paths?search=TOOLS", token).json
    freed = rest.delete("/admin/old_paths/acme%2FTools", token)

    assert (old["path"], old["current_path"]) == ("acme/tools", "acme/kit")
    assert old["given_up_at"] < old["kept_until"]
    assert freed.status_code == 204
    assert rest.delete("/admin/old_paths/acme%2Ftools", token).json == {"message": "404 Path Not Found"}
    assert rest.get("/admin/old_paths", token).json == []
    assert [event.author for event in db.session.scalars(audit.events("old_path_freed"))] == ["root"]


def test_old_paths_are_bounded_in_number_and_followed_in_any_order(group: Group, project: Project, monkeypatch) -> None:
    monkeypatch.setattr("registry.domain.namespaces.old_paths.LIMIT", 3)
    for path in ("b", "c", "d", "e", "B"):
        namespaces.change(group, namespaces.NamespaceChanges(path=path), by=SHELL)

    assert sorted(db.session.scalars(select(OldPath.path_key))) == ["c", "d", "e"]
    assert namespaces.moved("e/Tools", Project) == project
    assert namespaces.moved("e/tools", Group) is None
    assert namespaces.moved("acme/tools", Project) is None


def test_a_path_that_is_kept_from_others_is_not_freed_for_further_ones(
    rest: Rest, published: Project, owner: User, strangers_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.domain.namespaces.old_paths.LIMIT", 1)
    group = published.parent
    for path in ("b", "c", "d"):
        namespaces.change(group, namespaces.NamespaceChanges(path=path), by=SHELL)

    assert take(rest, "acme", strangers_token)[0] == 400
    assert list(db.session.scalars(audit.events("old_path_freed"))) == []
    pass_days(90)
    namespaces.change(group, namespaces.NamespaceChanges(path="e"), by=SHELL)
    freed = db.session.scalars(audit.events("old_path_freed"))
    assert [event.target for event in freed] == ["c", "b", "acme"]
    assert take(rest, "acme", strangers_token)[0] == 201


def test_a_path_is_given_up_again_after_a_renamed_group_has_come_back(group: Group, published: Project) -> None:
    path, other = published.full_path, factories.project("spare", parent=group)
    namespaces.delete_namespace(published, by=SHELL)
    namespaces.change(group, namespaces.NamespaceChanges(path="elsewhere"), by=SHELL)
    namespaces.change(other, namespaces.NamespaceChanges(path=path.rpartition("/")[2]), by=SHELL)
    namespaces.change(group, namespaces.NamespaceChanges(path=path.partition("/")[0]), by=SHELL)

    namespaces.change(other, namespaces.NamespaceChanges(path="spare"), by=SHELL)

    [old] = db.session.scalars(select(OldPath).where(OldPath.path_key == path))
    assert (old.namespace_id, old.had_packages) == (other.id, True)
