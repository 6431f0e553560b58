from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import contains, db
from registry.models import User
from tests import factories


@pytest.mark.parametrize(
    ("text", "found"),
    [("AMI", True), ("%", False), ("_", False), ("\\", False), ("a" * 100_000, False), ("%" * 10_000, False)],
    ids=["without case", "percent", "underscore", "backslash", "longer than anything", "longest pattern"],
)
def test_a_search_text_matches_literally_however_long_it_is(app: Flask, text: str, found: bool) -> None:
    user = factories.user("tamie")

    assert db.session.scalars(select(User).where(contains(User.username, text))).all() == ([user] if found else [])
