from __future__ import annotations

import pytest
from flask import Flask

from registry.domain.access import SHELL
from registry.domain.accounts import passwords, users
from registry.errors import InvalidRecord
from tests import factories

PASSWORD = "correct horse battery"


def test_a_password_is_kept_only_as_an_argon2_hash(app: Flask) -> None:
    one, two = factories.user(password=PASSWORD), factories.user(password=PASSWORD)

    assert one.password_hash is not None
    assert one.password_hash.startswith("$argon2id$")
    assert one.password_hash != two.password_hash


def test_a_new_password_replaces_the_old_one(app: Flask) -> None:
    user = factories.user("alice", password=PASSWORD)

    passwords.set_password(user, "another secret", by=SHELL, must_change=True)

    assert users.verify_password("alice", PASSWORD) is None
    assert users.verify_password("alice", "another secret") is user
    assert user.must_change_password


@pytest.mark.parametrize("password", ["1234567", "x" * 129])
def test_a_password_of_wrong_length_replaces_none(app: Flask, password: str) -> None:
    user = factories.user("alice", password=PASSWORD)

    with pytest.raises(InvalidRecord):
        passwords.set_password(user, password, by=SHELL)

    assert users.verify_password("alice", PASSWORD) is user


def test_a_password_that_is_set_need_not_be_changed_unless_it_is_asked_for(app: Flask) -> None:
    user = factories.user("alice", password=PASSWORD, must_change_password=True)

    passwords.set_password(user, "another secret", by=SHELL)

    assert not user.must_change_password


def test_a_generated_password_is_long_enough_and_never_the_same(app: Flask) -> None:
    one, other = passwords.generated(), passwords.generated()

    passwords.refuse_bad(one)
    assert one != other
