from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from flask import Flask
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import StatementError

from registry.database import db, transaction
from registry.models import AuditEvent, Membership, Role, User, UserState
from tests import factories


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))], ids=str
)
def test_a_time_in_any_zone_is_read_as_utc(app: Flask, owner: User, zone: timezone) -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=zone)
    with transaction():
        owner.last_sign_in_at = moment

    db.session.expire_all()

    assert owner.last_sign_in_at == moment
    assert owner.last_sign_in_at is not None
    assert owner.last_sign_in_at.utcoffset() == timedelta(0)


def test_an_enumeration_is_stored_as_its_value_and_read_as_its_member(app: Flask, owner: User) -> None:
    membership = db.session.scalars(select(Membership)).one()

    stored = db.session.execute(text("SELECT users.state, memberships.role FROM users, memberships")).one()

    assert tuple(stored) == ("active", 50)
    assert owner.state is UserState.ACTIVE
    assert membership.role is Role.OWNER


def test_a_value_outside_an_enumeration_is_refused(app: Flask, owner: User) -> None:
    with pytest.raises(StatementError, match="'asleep' is not a valid UserState"):
        db.session.execute(update(User).values(state="asleep"))


def test_an_id_is_never_reused(app: Flask) -> None:
    first = factories.user().id
    with transaction() as session:
        session.execute(delete(User))

    assert factories.user().id > first


def test_text_of_any_language_is_read_unchanged(app: Flask) -> None:
    target = "päckchen 包裹 📦 'quoted' \\ \"double\""
    with transaction() as session:
        session.add(AuditEvent(action="tested", author="shell", address="", target=target, details={"of": [target]}))
    db.session.expire_all()

    event = db.session.scalars(select(AuditEvent)).one()

    assert (event.target, event.details) == (target, {"of": [target]})
