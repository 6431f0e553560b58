"""Codes of authenticator apps, and recovery codes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain import audit
from registry.domain.access import SHELL
from registry.domain.accounts import second_factors, sessions, sign_in
from registry.domain.accounts.secrets import seal, unseal
from registry.errors import InvalidRecord, TooManyRequests
from registry.models import RecoveryCode, SignInMethod, User
from tests import factories

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PASSWORD = "correct horse battery"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
ADDRESS = "192.0.2.1"


def code(steps: float = 0) -> str:
    """The code of the app this many steps of 30 seconds later."""
    return pyotp.TOTP(SECRET).at(NOW + timedelta(seconds=30 * steps))


def enable(user: User, *, steps: float = -10) -> list[str]:
    now = NOW + timedelta(seconds=30 * steps)
    return second_factors.add_app(user, SECRET, code(steps), key=factories.token_key(), by=SHELL, now=now)


@pytest.fixture
def user(app):
    return factories.user("olivia", password=PASSWORD)


def enters(user: User, text: str, *, address: str = ADDRESS, steps: float = 0) -> bool:
    key, now = factories.token_key(), NOW + timedelta(seconds=30 * steps)
    begun = sessions.begin(user, key=key, now=now)
    return sign_in.enter_code(user, text, begun=begun, key=key, address=address, now=now)


@pytest.mark.parametrize(
    ("steps", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)], ids=lambda value: str(value)
)
def test_a_code_is_accepted_one_step_before_and_after_its_own(user, steps, accepted):
    enable(user)

    assert enters(user, code(steps)) is accepted


def test_a_code_is_accepted_with_spaces_and_in_full_width(user):
    enable(user)
    first, second = code(), code(1).translate({48 + digit: 65296 + digit for digit in range(10)})

    assert enters(user, f" {first[:3]} {first[3:]} ")
    assert enters(user, second)


def test_a_code_in_a_longer_text_than_anyone_enters_is_refused(user):
    enable(user)

    assert not enters(user, code() + " " * 300)


def test_a_code_is_accepted_once_and_none_before_it_afterwards(user):
    enable(user)

    assert [enters(user, code(steps)) for steps in (0, 0, -1, 1)] == [True, False, False, True]


def test_the_code_that_sets_up_the_app_does_not_sign_in(user):
    enable(user, steps=0)

    assert not enters(user, code())


def test_a_wrong_code_sets_up_nothing(user):
    with pytest.raises(InvalidRecord):
        second_factors.add_app(user, SECRET, "000000", key=factories.token_key(), by=SHELL, now=NOW)

    assert not user.has_second_factor


def test_each_of_ten_recovery_codes_is_accepted_once_in_any_spelling(user):
    codes = enable(user)

    assert len(set(codes)) == 10
    entered = (codes[0], codes[0], codes[1].upper(), f"{codes[2][:8]}-{codes[2][8:]}")
    assert [enters(user, text) for text in entered] == [True, False, True, True]
    assert second_factors.recovery_codes_left(user) == 7
    used = db.session.scalars(audit.events("recovery_code_used")).all()
    assert [event.details["left"] for event in used] == [7, 8, 9]


def test_recovery_codes_of_others_and_replaced_ones_are_refused(user):
    other = factories.user("paul", password=PASSWORD)
    codes, others = enable(user), enable(other)
    replaced = second_factors.replace_recovery_codes(user, key=factories.token_key(), by=SHELL)

    assert [enters(user, text) for text in (codes[0], others[0], replaced[0])] == [False, False, True]


def test_secret_and_codes_are_not_stored_as_they_are(user):
    codes = enable(user)

    assert SECRET not in (user.totp_secret or "")
    assert not set(codes) & set(db.session.scalars(select(RecoveryCode.digest)))


@pytest.mark.parametrize(
    ("key", "purpose"), [(b"another", "of olivia"), (b"key", "of paul")], ids=["another key", "another user"]
)
def test_an_encrypted_secret_is_of_use_with_its_key_and_for_its_purpose_only(key, purpose):
    sealed = seal(SECRET, b"key", "of olivia")

    assert unseal(sealed, b"key", "of olivia") == SECRET
    assert unseal(sealed, key, purpose) is None
    assert unseal(sealed[:-4] + "AAA=", b"key", "of olivia") is None
    assert unseal("no base64", b"key", "of olivia") is None


def test_enabling_and_disabling_end_the_sessions_and_begun_sign_ins_of_the_user(user):
    key = factories.token_key()
    for change in (lambda: enable(user), lambda: second_factors.disable(user, by=SHELL)):
        session = sessions.start(user, SignInMethod.PASSWORD, key=key, now=NOW)
        begun = sessions.begin(user, key=key, now=NOW)

        change()

        assert sessions.find(session, key=key, now=NOW) is None
        assert sessions.begun_by(begun, key=key, now=NOW) is None
    assert (user.has_second_factor, user.totp_secret, second_factors.recovery_codes_left(user)) == (False, None, 0)


def test_a_begun_sign_in_ends_after_ten_minutes(user):
    key = factories.token_key()
    begun = sessions.begin(user, key=key, now=NOW)

    assert sessions.begun_by(begun, key=key, now=NOW + timedelta(minutes=9)) == user
    assert sessions.begun_by(begun, key=key, now=NOW + timedelta(minutes=10)) is None


def test_a_begun_sign_in_is_completed_once(user):
    key, codes = factories.token_key(), enable(user)
    begun = sessions.begin(user, key=key, now=NOW)

    completed = [
        sign_in.enter_code(user, text, begun=begun, key=key, address=ADDRESS, now=NOW) for text in (codes[0], codes[1])
    ]

    assert completed == [True, False]
    assert len(db.session.scalars(audit.events("user_signed_in")).all()) == 1


def test_the_right_password_does_not_reset_the_count_of_wrong_codes(user):
    enable(user)

    for _ in range(5):
        assert sign_in.sign_in("olivia", PASSWORD, address=ADDRESS, now=NOW) == user
        assert not enters(user, "000000")

    with pytest.raises(TooManyRequests):
        sign_in.sign_in("olivia", PASSWORD, address=ADDRESS, now=NOW)
    with pytest.raises(TooManyRequests):
        enters(user, code())


def test_the_right_password_does_not_prolong_the_wait_after_wrong_codes(user):
    enable(user)
    for _ in range(5):
        assert not enters(user, "000000")

    assert sign_in.sign_in("olivia", PASSWORD, address=ADDRESS, now=NOW + timedelta(seconds=30)) == user
    assert enters(user, code(1), steps=1)


def test_wrong_codes_at_many_new_addresses_count_together_and_do_not_keep_the_user_out_at_a_known_one(user):
    enable(user)
    assert enters(user, code(), address="203.0.113.1")

    for number in range(10):
        assert not enters(user, "000000", address=f"198.51.100.{number}")

    with pytest.raises(TooManyRequests):
        enters(user, code(1), address="198.51.100.99")
    assert enters(user, code(1), address="203.0.113.1")


def test_the_password_alone_is_not_recorded_as_a_sign_in(user):
    enable(user)

    sign_in.sign_in("olivia", PASSWORD, address=ADDRESS, now=NOW)

    assert user.current_sign_in_at is None
    assert not db.session.scalars(audit.events("user_signed_in")).all()
    assert enters(user, code())
    assert user.current_sign_in_at == NOW
