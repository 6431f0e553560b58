"""Tokens of the users in the tests."""

from __future__ import annotations

import pytest

from registry.models import User
from tests import kept_rows


@pytest.fixture
def admin_token(admin: User) -> str:
    return kept_rows.insert("admin_token", admin)


@pytest.fixture
def owner_token(owner: User) -> str:
    return kept_rows.insert("owner_token", owner)


@pytest.fixture
def maintainer_token(maintainer: User) -> str:
    return kept_rows.insert("maintainer_token", maintainer)


@pytest.fixture
def developer_token(developer: User) -> str:
    return kept_rows.insert("developer_token", developer)


@pytest.fixture
def guest_token(guest: User) -> str:
    return kept_rows.insert("guest_token", guest)


@pytest.fixture
def outsider_token(outsider: User) -> str:
    return kept_rows.insert("outsider_token", outsider)
