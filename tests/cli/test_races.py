"""Commands beside requests, in two transactions (PostgreSQL)."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.models import Group
from tests.races import race

pytestmark = pytest.mark.postgresql


def test_a_subgroup_created_while_its_parent_is_renamed_gets_the_new_path(app: Flask, group: Group) -> None:
    group_id = group.id

    def rename() -> None:
        namespaces.change(db.session.get_one(Group, group_id), namespaces.NamespaceChanges(path="renamed"), by=SHELL)

    def create() -> None:
        app.test_cli_runner().invoke(args=["groups", "create", "acme/inner"], catch_exceptions=False)

    race(app, rename, create)

    assert db.session.scalar(select(Group.full_path).where(Group.parent_id == group_id)) == "renamed/inner"
