"""How often a password can be guessed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from registry.database import db
from registry.domain.accounts import passwords, users
from registry.domain.accounts import sign_in as limits
from registry.domain.accounts.sign_in import (
    ADDRESS_REMEMBERED_FOR,
    FORGOTTEN_AFTER,
    LONGEST_WAIT_SECONDS,
    sign_in,
)
from registry.domain.accounts.users import UserChanges
from registry.errors import InvalidRecord, TooManyRequests
from registry.models import AuditEvent, SignInAddress, SignInFailures, User
from tests import factories

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PASSWORD = "correct horse battery"
ADDRESS = "192.0.2.1"


@pytest.fixture
def user(app):
    return factories.user("olivia", password=PASSWORD)


def attempt(
    login: str = "olivia", password: str = "wrong", *, address: str = ADDRESS, seconds: float = 0
) -> User | None:
    return sign_in(login, password, address=address, now=NOW + timedelta(seconds=seconds))


def fail(times: int, **options: str) -> None:
    for _ in range(times):
        assert attempt(**options) is None


def wait_seconds(**options: str) -> int:
    with pytest.raises(TooManyRequests) as refused:
        attempt(**options)
    return refused.value.retry_after_seconds


def test_four_failures_cost_nothing(user):
    fail(4)

    assert attempt(password=PASSWORD) == user


def test_after_the_fifth_failure_this_login_waits_at_this_address_and_nowhere_else(user):
    fail(5)

    assert wait_seconds(password=PASSWORD) == 16
    assert attempt(password=PASSWORD, address="192.0.2.99") == user


def test_no_number_of_addresses_locks_a_user_out(user):
    for number in range(30):
        fail(5, address=f"198.51.100.{number}")

    assert attempt(password=PASSWORD) == user


def test_after_the_wait_the_right_password_is_accepted(user):
    fail(5)

    assert attempt(password=PASSWORD, seconds=15) == user


def test_each_further_failure_doubles_the_wait_up_to_ten_minutes(user):
    fail(5)
    waits = []
    seconds = 0
    for _ in range(8):
        seconds += LONGEST_WAIT_SECONDS
        attempt(seconds=seconds)
        with pytest.raises(TooManyRequests) as refused:
            attempt(seconds=seconds)
        waits.append(refused.value.retry_after_seconds - 1)

    assert waits == [30, 60, 120, 240, 480, 600, 600, 600]


def test_waiting_attempts_do_not_count(user):
    fail(5)
    for _ in range(20):
        wait_seconds()

    assert attempt(password=PASSWORD, seconds=15) == user


def test_an_unknown_login_waits_as_well(user):
    fail(5, login="nobody")

    assert wait_seconds(login="nobody") == 16


@pytest.mark.parametrize("spelled", ["OLIVIA", "Olivia", " olivia ", "olivia@example.com"])
def test_failures_count_against_the_login_however_it_is_spelled(user, spelled):
    fail(3)
    fail(2, login=spelled)

    assert wait_seconds(password=PASSWORD) == 16
    assert wait_seconds(login=spelled, password=PASSWORD) == 16


class CountingHasher(PasswordHasher):
    """The hasher of these tests, with the number of passwords that it was asked to verify."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0

    def verify(self, *arguments):
        self.verified += 1
        return super().verify(*arguments)


def test_no_password_is_looked_at_while_a_login_has_to_wait(user, monkeypatch):
    fail(5)
    hasher = CountingHasher()
    monkeypatch.setattr(passwords, "HASHER", hasher)

    wait_seconds(password=PASSWORD)
    verified_while_waiting = hasher.verified
    attempt(password=PASSWORD, seconds=15)

    assert (verified_while_waiting, hasher.verified) == (0, 1)


def test_success_clears_the_failures_of_the_login(user):
    fail(4)
    attempt(password=PASSWORD)
    fail(4)

    assert attempt(password=PASSWORD) == user


def test_twenty_failures_from_one_address_delay_all_its_logins(user):
    for number in range(20):
        fail(1, login=f"guess{number}")

    assert wait_seconds(password=PASSWORD) == 16
    assert attempt(password=PASSWORD, address="192.0.2.2") == user


def test_an_own_account_does_not_clear_the_failures_of_the_address(user):
    factories.user("mallory", password=PASSWORD)
    for number in range(19):
        fail(1, login=f"guess{number}")
        assert attempt("mallory", PASSWORD) is not None
    fail(1, login="guess")

    assert wait_seconds() == 16


def test_failures_of_others_at_an_address_do_not_keep_out_who_has_signed_in_there(user):
    assert attempt(password=PASSWORD) == user
    for number in range(20):
        fail(1, login=f"guess{number}")

    assert wait_seconds(login="oscar") == 16
    assert attempt(password=PASSWORD, seconds=1) == user
    assert wait_seconds(login="oscar", password=PASSWORD) == 16, "the success exempts its own user only"
    fail(5)
    assert wait_seconds(password=PASSWORD) == 16, "nor can this user's password be guessed there without end"


def test_an_exemption_ends_after_ninety_days_without_a_success(user):
    attempt(password=PASSWORD)
    later = ADDRESS_REMEMBERED_FOR.total_seconds()
    for number in range(20):
        attempt(f"guess{number}", seconds=later)

    with pytest.raises(TooManyRequests):
        attempt(password=PASSWORD, seconds=later)


@pytest.mark.parametrize(
    ("one", "other"),
    [("2001:db8::1", "2001:db8::ffff:2"), ("::ffff:192.0.2.1", "192.0.2.1")],
    ids=["one network", "mapped"],
)
def test_addresses_that_one_client_can_choose_from_count_as_one(user, one, other):
    fail(5, address=one)

    assert wait_seconds(password=PASSWORD, address=other) == 16
    assert attempt(password=PASSWORD, address="2001:db8:0:1::1") == user


def test_what_is_remembered_is_bounded(user, monkeypatch):
    monkeypatch.setattr(limits, "COUNTED_LIMIT", 6)
    monkeypatch.setattr(limits, "ADDRESSES_LIMIT", 3)
    for number in range(8):
        attempt(f"guess{number}", seconds=number)
        attempt(password=PASSWORD, address=f"198.51.100.{number}", seconds=number)

    assert db.session.scalar(select(func.count()).select_from(SignInFailures)) <= 6
    assert db.session.scalar(select(func.count()).select_from(SignInAddress)) == 3


def test_failures_are_forgotten_after_an_hour(user):
    fail(5)

    attempt(seconds=FORGOTTEN_AFTER.total_seconds() + 1)

    assert {failures.count for failures in db.session.scalars(select(SignInFailures))} == {1}


STEPS = st.tuples(
    st.sampled_from(["user name", "email", "new password", "new email"]),
    st.booleans(),  # whether the password is right
    st.sampled_from(["192.0.2.1", "192.0.2.2"]),
)


@given(st.lists(STEPS, min_size=6, max_size=16))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_guesses_on_every_page_count_together_by_address_and_only_the_password_changes_an_email(
    app: Flask, steps: list[tuple[str, bool, str]]
) -> None:
    factories.empty()
    user = factories.user("olivia", password=PASSWORD)
    password, email, failures = PASSWORD, user.email, Counter[str]()

    for number, (way, is_right, address) in enumerate(steps):
        given_password, by = password if is_right else "wrong", replace(factories.signed_in(user), address=address)
        found = "refused"
        try:
            if way == "new password":
                limits.require_password(user, given_password, by=by, now=NOW)
                passwords.set_password(user, f"{PASSWORD} {number}", by=by)
            elif way == "new email":
                changes = UserChanges(email=f"olivia{number}@example.org")
                limits.require_password_for_email(user, f"olivia{number}@example.org", given_password, by=by, now=NOW)
                users.change_user(user, changes, confirmed=False, by=by)
            elif attempt(user.username if way == "user name" else user.email, given_password, address=address) is None:
                raise InvalidRecord({})
            found = "accepted"
        except TooManyRequests:
            found = "too many"
        except InvalidRecord:
            db.session.rollback()

        expected = "too many" if failures[address] >= 5 else "accepted" if is_right else "refused"
        assert found == expected
        if expected == "accepted":
            failures[address] = 0
            password = f"{PASSWORD} {number}" if way == "new password" else password
            email = f"olivia{number}@example.org" if way == "new email" else email
        elif expected == "refused":
            failures[address] += 1
        factories.reload(user)
        assert user.email == email

    assert users.by_name_or_confirmed_email(email) == (user if email == "olivia@example.com" else None)
    assert users.by_login(email) == user


def test_logins_are_stored_as_digests_only(user):
    fail(1, login="a password typed in the wrong field")

    assert all(len(key) == 64 for key in db.session.scalars(select(SignInFailures.key)))


def test_signing_in_is_an_event(user):
    attempt(password=PASSWORD)

    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "user_signed_in")).one()
    assert (event.author, event.address, event.target) == ("olivia", ADDRESS, "olivia")
