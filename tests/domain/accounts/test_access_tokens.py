from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db
from registry.domain import instance
from registry.domain.access import SHELL, Scope
from registry.domain.accounts import access_tokens
from registry.errors import InvalidRecord, RecordNotFound, Unauthenticated
from registry.models import AccessToken, AuditEvent, User
from tests import factories
from tests.domain.accounts.issuing import NOW, TODAY, found, issue, key


def test_a_token_is_found_by_its_secret_with_its_user(owner: User) -> None:
    token, secret = issue(owner, description="work", scopes=["read_api", "api", "read_api"])

    assert found(secret) is token
    assert token.user is owner
    assert (token.name, token.description, token.scopes) == ("laptop", "work", ["read_api", "api"])
    assert (token.created_at, token.last_used_at, token.revoked_at) == (NOW, None, None)


def test_a_secret_is_prefixed_long_and_never_the_same(owner: User) -> None:
    secrets = {issue(owner)[1] for _ in range(5)}

    assert len(secrets) == 5
    for secret in secrets:
        assert re.fullmatch(r"glpat-[A-Za-z0-9_-]{43}", secret), "32 bytes of chance"


@pytest.mark.parametrize("prefix", ["", "acme-pat-"])
def test_the_prefix_is_the_instances_to_choose(owner: User, prefix: str) -> None:
    instance.change_instance(instance.InstanceChanges(personal_access_token_prefix=prefix), by=SHELL)

    token, secret = issue(owner)

    assert secret.startswith(prefix)
    assert len(secret) == len(prefix) + 43
    assert found(secret) is token


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "x",
        lambda secret: secret.lower(),
        lambda secret: secret.removeprefix("glpat-"),
        lambda secret: " " + secret,
        lambda _: "",
        lambda _: "\x00",
        lambda _: "ü\udcff",
        lambda _: "x" * 1_000_000,
    ],
    ids=["cut", "longer", "other case", "without prefix", "blank", "empty", "NUL", "not UTF-8", "huge"],
)
def test_anything_but_the_secret_finds_nothing(owner: User, change: Any) -> None:
    secret = issue(owner)[1]

    assert access_tokens.find_access_token(change(secret), key()) is None


def test_a_secret_is_worth_nothing_under_another_key(owner: User) -> None:
    assert access_tokens.find_access_token(issue(owner)[1], b"another key") is None


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"name": ""}, {"name": ["can't be blank"]}),
        ({"name": "  "}, {"name": ["can't be blank"]}),
        ({"name": "x" * 256}, {"name": ["is too long (maximum is 255 characters)"]}),
        ({"description": "x" * 256}, {"description": ["is too long (maximum is 255 characters)"]}),
        ({"scopes": []}, {"scopes": ["can't be blank"]}),
        ({"scopes": ["api", "everything"]}, {"scopes": ["can only contain available scopes"]}),
        ({"scopes": ["API"]}, {"scopes": ["can only contain available scopes"]}),
        ({"scopes": ["read_package_registry"]}, {"scopes": ["can only contain available scopes"]}),
        ({"name": "", "scopes": []}, {"name": ["can't be blank"], "scopes": ["can't be blank"]}),
    ],
)
def test_a_token_that_breaks_a_rule_is_not_issued(
    owner: User, fields: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue(owner, **fields)

    assert refusal.value.errors == errors
    assert db.session.scalars(select(AccessToken)).all() == []


def test_a_token_can_have_every_known_scope(owner: User) -> None:
    assert issue(owner, scopes=list(Scope))[0].scopes == [scope.value for scope in Scope]


@pytest.mark.parametrize(
    ("now", "expired"),
    [
        (datetime(2030, 5, 19, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2030, 5, 20, tzinfo=UTC), True),
        (datetime(2030, 5, 21, 12, tzinfo=UTC), True),
        (datetime.fromisoformat("2030-05-20T01:30:00+02:00"), False),
        (datetime.fromisoformat("2030-05-19T22:30:00-02:00"), True),
    ],
    ids=["the second before", "00:00 UTC of the day", "later", "the day elsewhere only", "the day before elsewhere"],
)
def test_a_token_expires_at_the_start_of_its_expiry_date_in_utc(owner: User, now: datetime, expired: bool) -> None:
    token = issue(owner, expires_on=date(2030, 5, 20))[0]

    assert token.is_expired(now) is expired
    assert token.is_active(now) is not expired


@pytest.mark.parametrize("day", [TODAY, TODAY - timedelta(days=400)], ids=["today", "past"])
def test_a_token_with_a_past_expiry_date_can_be_issued_and_is_expired(owner: User, day: date) -> None:
    token = issue(owner, expires_on=day)[0]

    assert token.expires_on == day
    assert token.is_expired(NOW)


@pytest.mark.parametrize(
    ("required", "lifetime", "asked", "given"),
    [
        (True, 365, None, TODAY + timedelta(days=365)),
        (True, 30, None, TODAY + timedelta(days=30)),
        (True, 365, TODAY + timedelta(days=365), TODAY + timedelta(days=365)),
        (True, 365, TODAY + timedelta(days=1), TODAY + timedelta(days=1)),
        (False, 365, None, None),
        (False, 365, date(2099, 1, 1), date(2099, 1, 1)),
    ],
    ids=["default", "shorter default", "just allowed", "soon", "not required", "not limited"],
)
def test_expiry_is_required_and_limited_by_the_instance(
    owner: User, required: bool, lifetime: int, asked: date | None, given: date | None
) -> None:
    instance.change_instance(
        instance.InstanceChanges(
            require_personal_access_token_expiry=required, max_personal_access_token_lifetime=lifetime
        ),
        by=SHELL,
    )

    assert issue(owner, expires_on=asked)[0].expires_on == given


def test_a_token_is_not_issued_for_longer_than_the_instance_allows(owner: User) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        issue(owner, expires_on=TODAY + timedelta(days=366))

    assert refusal.value.errors == {"expires_at": [f"must be before {TODAY + timedelta(days=366)}"]}


def test_rotation_replaces_a_token_by_one_like_it(owner: User) -> None:
    old, old_secret = issue(owner, name="ci", description="for ci", scopes=["read_api", "self_rotate"])

    new, secret = access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW)

    assert secret != old_secret
    assert found(old_secret).revoked_at == NOW
    assert not found(old_secret).is_active(NOW)
    assert (new.name, new.description, new.scopes, new.user_id) == (
        "ci",
        "for ci",
        ["read_api", "self_rotate"],
        owner.id,
    )
    assert new.expires_on == TODAY + timedelta(days=7)
    assert new.family_id == old.family_id == old.id


def test_rotation_accepts_an_expiry_within_the_limit_of_the_instance(owner: User) -> None:
    old, secret = issue(owner)

    with pytest.raises(InvalidRecord):
        access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW, expires_on=TODAY + timedelta(days=366))
    assert found(secret).is_active(NOW), "a refused rotation leaves the token as it was"

    new, _ = access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW, expires_on=TODAY + timedelta(days=90))
    assert new.expires_on == TODAY + timedelta(days=90)


def test_rotation_gives_less_than_a_week_where_the_instance_allows_less(owner: User) -> None:
    old, _ = issue(owner)
    instance.change_instance(instance.InstanceChanges(max_personal_access_token_lifetime=3), by=SHELL)

    new, _ = access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW)

    assert new.expires_on == TODAY + timedelta(days=3)


def test_rotating_a_rotated_token_revokes_its_whole_family(owner: User) -> None:
    first, _ = issue(owner)
    second, _ = access_tokens.rotate_access_token(first, key=key(), by=SHELL, now=NOW)
    third, third_secret = access_tokens.rotate_access_token(second, key=key(), by=SHELL, now=NOW)
    bystander_secret = issue(owner)[1]
    later = NOW + timedelta(hours=1)

    with pytest.raises(Unauthenticated):
        access_tokens.rotate_access_token(first, key=key(), by=SHELL, now=later)

    assert found(third_secret).revoked_at == later
    assert found(bystander_secret).is_active(later)
    with pytest.raises(Unauthenticated):
        access_tokens.rotate_access_token(third, key=key(), by=SHELL, now=later)
    events = select(AuditEvent).where(AuditEvent.action == "access_token_family_revoked").order_by(AuditEvent.id)
    assert [event.details for event in db.session.scalars(events)] == [{"token_id": first.id}, {"token_id": third.id}]


def test_rotating_an_expired_token_is_refused_and_harms_no_other(owner: User) -> None:
    old, _ = issue(owner, expires_on=TODAY + timedelta(days=1))
    relative, secret = issue(owner)
    relative.family_id = old.family_id
    db.session.commit()

    with pytest.raises(Unauthenticated):
        access_tokens.rotate_access_token(old, key=key(), by=SHELL, now=NOW + timedelta(days=1))

    assert found(secret).is_active(NOW + timedelta(days=1))


def test_a_revoked_token_is_still_found_as_revoked(owner: User) -> None:
    token, secret = issue(owner)

    access_tokens.revoke_access_token(token, by=SHELL, now=NOW)
    access_tokens.revoke_access_token(token, by=SHELL, now=NOW + timedelta(days=1))

    assert found(secret).revoked_at == NOW
    assert not token.is_active(NOW)
    actions = db.session.scalars(select(AuditEvent.action).where(AuditEvent.action == "access_token_revoked")).all()
    assert len(actions) == 1


def test_the_life_of_a_token_is_on_record_without_its_secret(owner: User) -> None:
    token, _ = issue(owner, by=factories.signed_in(owner))
    access_tokens.revoke_access_token(token, by=factories.signed_in(owner), now=NOW)

    events = db.session.scalars(select(AuditEvent).where(AuditEvent.author == "olivia").order_by(AuditEvent.id)).all()
    assert [(event.action, event.target, event.details["token_id"]) for event in events] == [
        ("access_token_issued", "olivia: laptop", token.id),
        ("access_token_revoked", "olivia: laptop", token.id),
    ]


def test_a_token_belongs_to_its_user_alone(owner: User, admin: User) -> None:
    token, _ = issue(owner)

    assert access_tokens.own_access_token(owner, token.id) is token
    for user, token_id in ((admin, token.id), (owner, token.id + 1)):
        with pytest.raises(RecordNotFound):
            access_tokens.own_access_token(user, token_id)


def test_the_latest_expiry_is_the_instances_to_say(app: Flask) -> None:
    instance.change_instance(instance.InstanceChanges(max_personal_access_token_lifetime=10), by=SHELL)
    asked_for = access_tokens.latest_expiry(NOW)
    instance.change_instance(instance.InstanceChanges(require_personal_access_token_expiry=False), by=SHELL)

    assert asked_for == TODAY + timedelta(days=10)
    assert access_tokens.latest_expiry(NOW) is None


@pytest.mark.parametrize(("days", "longest", "same"), [(30, 365, 30), (30, 10, 10), (30, None, 30), (None, None, None)])
def test_a_token_lasts_as_long_as_another_if_the_instance_allows(
    owner: User, days: int | None, longest: int | None, same: int | None
) -> None:
    changes = {"require_personal_access_token_expiry": False} if longest is None else {}
    instance.change_instance(instance.InstanceChanges(**changes), by=SHELL)
    token, _ = issue(owner, expires_on=None if days is None else TODAY + timedelta(days=days))
    instance.change_instance(instance.InstanceChanges(max_personal_access_token_lifetime=longest or 365), by=SHELL)
    later = NOW + timedelta(days=100)

    expected = None if same is None else later.date() + timedelta(days=same)
    assert access_tokens.same_lifetime(token, later) == expected


@pytest.mark.parametrize("is_required", [False, True])
def test_a_token_lasts_as_long_as_another_up_to_the_last_day_of_the_calendar(owner: User, is_required: bool) -> None:
    instance.change_instance(instance.InstanceChanges(require_personal_access_token_expiry=False), by=SHELL)
    token, _ = issue(owner, expires_on=date.max)
    instance.change_instance(instance.InstanceChanges(require_personal_access_token_expiry=is_required), by=SHELL)
    later = NOW + timedelta(days=1)

    assert access_tokens.same_lifetime(token, later) == (access_tokens.latest_expiry(later) or date.max)
