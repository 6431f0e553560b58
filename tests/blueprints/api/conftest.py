"""Tokens of the users in the tests."""

from __future__ import annotations

import pytest

from registry.models import User
from tests import factories


@pytest.fixture
def admin_token(admin: User) -> str:
    return factories.access_token(admin)


@pytest.fixture
def owner_token(owner: User) -> str:
    return factories.access_token(owner)


@pytest.fixture
def maintainer_token(maintainer: User) -> str:
    return factories.access_token(maintainer)


@pytest.fixture
def developer_token(developer: User) -> str:
    return factories.access_token(developer)


@pytest.fixture
def guest_token(guest: User) -> str:
    return factories.access_token(guest)


@pytest.fixture
def outsider_token(outsider: User) -> str:
    return factories.access_token(outsider)
