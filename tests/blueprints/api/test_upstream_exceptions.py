from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain.upstream.rules import rules_of
from registry.models import AuditEvent, Group, Role
from tests import factories
from tests.clients import Rest

NEW = {"pattern": "numpy==2.0", "reason": "A security fix", "expires_at": "2126-01-01T00:00:00.000Z"}


@pytest.mark.parametrize("place", ["group", "instance"])
def test_an_exception_is_added_listed_and_removed(
    rest: Rest, group: Group, place: str, owner_token: str, admin_token: str
) -> None:
    address, token = {
        "group": (f"/groups/{group.id}/upstream_exceptions", owner_token),
        "instance": ("/application/upstream_exceptions", admin_token),
    }[place]

    added = rest.post(address, token, NEW)
    listed = rest.get(address, token)
    removed = rest.delete(f"{address}/{added.json['id']}", token)

    assert added.status_code == 201
    assert added.json == NEW | {key: added.json[key] for key in ("id", "created_at", "user")}
    assert added.json["user"]["username"] == ("olivia" if place == "group" else "root")
    assert listed.json == [added.json]
    assert removed.status_code == 204
    assert rest.get(address, token).json == []
    events = db.session.scalars(
        select(AuditEvent).where(AuditEvent.action.startswith("upstream_exception")).order_by(AuditEvent.id)
    ).all()
    assert [(event.action, event.target, event.details["reason"]) for event in events] == [
        ("upstream_exception_created", "numpy==2.0", "A security fix"),
        ("upstream_exception_deleted", "numpy==2.0", "A security fix"),
    ]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"pattern": "a>1"}, "contains 'a>1', expected is name, name*, or name==version (PEP 440)"),
        ({"reason": " "}, "can't be blank"),
        ({"reason": None}, "reason is missing"),
        ({"expires_at": "2020-01-01"}, "is 2020-01-01T00:00:00+00:00, expected is a time in the future"),
        ({"expires_at": "soon"}, 'expires_at is "soon", expected is a date or time in ISO 8601'),
    ],
)
def test_a_wrong_exception_is_refused_with_what_is_expected(
    rest: Rest, group: Group, owner_token: str, sent: dict[str, Any], message: str
) -> None:
    address = f"/groups/{group.id}/upstream_exceptions"

    response = rest.post(address, owner_token, NEW | sent)

    assert response.status_code == 400
    assert message in str(response.json).replace("\\\\", "")
    assert rules_of(group).exceptions == ()


def test_owners_and_administrators_alone_add_and_remove(rest: Rest, group: Group, owner_token: str) -> None:
    maintainer = factories.access_token(factories.member(group, Role.MAINTAINER))
    address = f"/groups/{group.id}/upstream_exceptions"
    exception = rest.post(address, owner_token, NEW).json

    assert rest.get(address, maintainer).json == [exception]
    assert rest.post(address, maintainer, NEW).status_code == 403
    assert rest.delete(f"{address}/{exception['id']}", maintainer).status_code == 403
    assert rest.post("/application/upstream_exceptions", owner_token, NEW).status_code == 403
    assert rest.delete(f"/application/upstream_exceptions/{exception['id']}", owner_token).status_code == 403


def test_an_exception_of_another_place_is_not_found(
    rest: Rest, group: Group, owner_token: str, admin_token: str
) -> None:
    exception = rest.post("/application/upstream_exceptions", admin_token, NEW).json

    response = rest.delete(f"/groups/{group.id}/upstream_exceptions/{exception['id']}", owner_token)

    assert response.status_code == 404
