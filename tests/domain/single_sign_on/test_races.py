"""Sign-ins and other changes of a user in two transactions at the same time (PostgreSQL)."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.single_sign_on import identities, provider_roles
from registry.domain.single_sign_on.persons import Person
from registry.models import Membership, Role, User
from tests import factories
from tests.races import race

pytestmark = pytest.mark.postgresql
ISSUER, PASSWORD = "https://sso.example", "correct horse battery"


def test_a_sign_in_while_the_account_is_unlinked_gives_no_roles(app: Flask) -> None:
    user = factories.user("olivia", password=PASSWORD)
    provider_roles.add("eng", factories.group("platform"), Role.OWNER, by=SHELL)
    person = Person(ISSUER, "olivia", groups=frozenset({"eng"}))
    identities.link(user, person, by=SHELL)
    user_id = user.id

    def unlink() -> None:
        own = db.session.get_one(User, user_id)
        identities.unlink(own, ISSUER, PASSWORD, by=factories.signed_in(own), now=utcnow())

    def sign_in() -> None:
        identities.sign_in_person(person, creates_users=False, address="192.0.2.1", now=utcnow())

    assert race(app, unlink, sign_in, after="DELETE FROM user_identities") == ("done", "Forbidden")
    assert db.session.scalars(select(Membership.id).where(Membership.from_provider)).all() == []
