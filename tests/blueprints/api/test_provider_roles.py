"""Roles that follow from groups of the identity provider, by the REST API."""

from __future__ import annotations

from typing import Any

import pytest

from registry.models import Group
from tests.clients import Rest

ROLES = "/application/provider_roles"


def test_a_role_is_added_listed_and_deleted(rest: Rest, group: Group, admin_token: str) -> None:
    sent = {"provider_group": "eng", "group_id": group.id, "access_level": 20}

    added = rest.post(ROLES, admin_token, sent)
    listed = rest.get(ROLES, admin_token)
    deleted = rest.delete(f"{ROLES}/{added.json['id']}", admin_token)

    assert added.status_code == 201
    assert added.json == sent | {"group_full_path": "acme"} | {key: added.json[key] for key in ("id", "created_at")}
    assert listed.json == [added.json]
    assert deleted.status_code == 204
    assert rest.get(ROLES, admin_token).json == []
    assert rest.delete(f"{ROLES}/{added.json['id']}", admin_token).status_code == 404


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"provider_group": " "}, 400), ({"access_level": 60}, 400), ({"group_id": 999999}, 404)],
)
def test_a_wrong_role_is_refused(
    rest: Rest, group: Group, admin_token: str, changes: dict[str, Any], status: int
) -> None:
    sent = {"provider_group": "eng", "group_id": group.id, "access_level": 20} | changes

    assert rest.post(ROLES, admin_token, sent).status_code == status
    assert rest.get(ROLES, admin_token).json == []


def test_only_administrators_read_and_change_the_roles(rest: Rest, group: Group, owner_token: str) -> None:
    sent = {"provider_group": "eng", "group_id": group.id, "access_level": 20}

    assert [rest.get(ROLES, owner_token).status_code, rest.post(ROLES, owner_token, sent).status_code] == [403, 403]
