"""Browsers of users."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from registry.models import User
from tests.clients import Browser


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A browser without a session."""
    return Browser(app)


@pytest.fixture
def browser_of(app: Flask) -> Callable[[User], Browser]:
    """A browser in which this user is signed in."""
    return lambda user: Browser(app).sign_in(user)
