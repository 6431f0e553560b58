"""Passkeys: what browsers send is verified against challenge, origin, and key, and counted."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

import cbor2
import pytest
from webauthn.helpers import bytes_to_base64url

from registry.database import transaction
from registry.domain.access import SHELL
from registry.domain.accounts import passkeys, second_factors, sessions
from registry.domain.accounts.passkeys import Site
from registry.errors import Code, InvalidRecord, NotFound
from registry.models import SignInMethod, User
from tests import factories
from tests.fakes.authenticator import Authenticator

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SITE = Site("localhost", "http://localhost")
FIRST, SECOND = b"one challenge" * 3, b"another challenge" * 2


@pytest.fixture
def user(app):
    return factories.user("olivia")


def add(user: User, authenticator: Authenticator, *, challenge: bytes = FIRST, name: str = "Laptop") -> list[str]:
    answer = authenticator.create(passkeys.creation_options(user, challenge, SITE, key=factories.token_key()))
    return passkeys.add(user, name, answer, FIRST, SITE, key=factories.token_key(), by=SHELL, now=NOW)


def accepts(user: User, answer: str, challenge: bytes = SECOND) -> bool:
    with transaction():
        return passkeys.accept(user, answer, challenge, SITE, now=NOW)


def used(user: User, authenticator: Authenticator) -> str:
    return authenticator.use(passkeys.request_options(user, SECOND, SITE))


def test_a_passkey_is_added_and_accepted_for_its_challenge_only(user):
    authenticator = Authenticator()

    assert len(add(user, authenticator)) == 10
    answer = used(user, authenticator)
    assert accepts(user, answer)
    assert not accepts(user, answer, FIRST)
    assert passkeys.passkeys_of(user)[0].last_used_at == NOW


@pytest.mark.parametrize(
    ("authenticator", "challenge"),
    [
        (Authenticator("http://localhost.example"), FIRST),
        (Authenticator(verifies_user=False), FIRST),
        (Authenticator(), SECOND),
    ],
    ids=["another origin", "user not verified", "another challenge"],
)
def test_a_passkey_is_not_added(user, authenticator, challenge):
    with pytest.raises(InvalidRecord):
        add(user, authenticator, challenge=challenge)

    assert not user.has_second_factor


@pytest.mark.parametrize("change", ["origin", "key", "user not verified", "unknown"])
def test_an_answer_of_another_authenticator_is_refused(user, change):
    authenticator, other = Authenticator(), Authenticator(verifies_user=change != "user not verified")
    add(user, authenticator)
    if change != "unknown":
        other.id = authenticator.id
    if change in ("origin", "user not verified"):
        other.key = authenticator.key
    if change == "origin":
        other.origin = "http://localhost:1"

    assert not accepts(user, used(user, other))
    assert accepts(user, used(user, authenticator))


def test_a_count_of_signatures_has_to_rise(user):
    authenticator = Authenticator()
    authenticator.count = 7
    add(user, authenticator)

    assert not accepts(user, used(user, authenticator))
    authenticator.count = 8
    answer = used(user, authenticator)
    assert [accepts(user, answer), accepts(user, answer)] == [True, False]


def test_a_passkey_of_another_user_is_refused_and_cannot_be_added_twice(user):
    authenticator, other = Authenticator(), factories.user("paul")
    add(user, authenticator)

    assert not accepts(other, used(user, authenticator))
    with pytest.raises(InvalidRecord) as refused:
        add(other, authenticator)
    assert refused.value.errors == {"credential": ["has already been taken"]}


@pytest.mark.parametrize("sent", ["", "null", "[]", '{"id": 1}', "[" * 20_000, '{"id": "x"}', "{" * 30_000])
def test_what_is_no_answer_is_refused(user, sent):
    authenticator = Authenticator()
    add(user, authenticator)

    assert not accepts(user, sent)
    assert not accepts(user, sent.replace('"x"', f'"{passkeys.passkeys_of(user)[0].credential_id}"'))
    with pytest.raises(InvalidRecord):
        passkeys.add(user, "Laptop", sent, FIRST, SITE, key=factories.token_key(), by=SHELL, now=NOW)


@pytest.mark.parametrize("public_key", [[], "key", {}, {1: 2}], ids=str)
def test_a_key_that_is_none_is_not_added_and_accepts_nothing(user, public_key):
    authenticator, malformed = Authenticator(), Authenticator()
    add(user, authenticator)
    malformed.public_key = public_key

    with pytest.raises(InvalidRecord):
        add(user, malformed)

    passkeys.passkeys_of(user)[0].public_key = bytes_to_base64url(cbor2.dumps(public_key))
    assert not accepts(user, used(user, authenticator))


def test_the_id_of_a_passkey_is_bounded(user):
    authenticator = Authenticator()
    authenticator.id = bytes(passkeys.LONGEST_ID_BYTES + 1)

    with pytest.raises(InvalidRecord):
        add(user, authenticator)


def test_with_the_last_passkey_the_second_factor_ends_and_with_another_it_stays(user):
    add(user, Authenticator())
    assert add(user, Authenticator(), name="Phone") == []
    first, second = passkeys.passkeys_of(user)
    session = sessions.start(user, SignInMethod.PASSWORD, key=factories.token_key(), now=NOW)

    passkeys.remove(user, first.id, by=SHELL)
    assert user.has_second_factor
    assert sessions.find(session, key=factories.token_key(), now=NOW) is None
    passkeys.remove(user, second.id, by=SHELL)

    assert (user.has_second_factor, second_factors.recovery_codes_left(user)) == (False, 0)
    with pytest.raises(NotFound):
        passkeys.remove(user, second.id, by=SHELL)


def test_the_number_of_passkeys_and_their_names_are_bounded(user, monkeypatch):
    monkeypatch.setattr(passkeys, "MOST_PASSKEYS", 1)
    for name, expected in (("", Code.BLANK), ("x" * 101, Code.TOO_LONG), ("a\nb", Code.UNPRINTABLE)):
        with pytest.raises(InvalidRecord) as refusal:
            add(user, Authenticator(), name=name)
        assert [fault.code for fault in refusal.value.fields["name"]] == [expected]
    add(user, Authenticator())

    with pytest.raises(InvalidRecord):
        add(user, Authenticator())


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://packages.example", True), ("http://packages.example", False), ("https://192.0.2.7", False),
        ("https://[::1]", False), ("http://127.0.0.1:8080", False), ("http://localhost:8080", True),
    ],
)  # fmt: skip
def test_browsers_use_passkeys_at_names_with_https_or_on_the_machine_itself(origin: str, expected: bool) -> None:
    assert passkeys.Site(urlsplit(origin).hostname or "", origin).admits_passkeys is expected
