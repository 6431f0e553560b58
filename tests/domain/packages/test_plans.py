"""How PostgreSQL finds the files of packages in tables that it has no statistics about, which hold for minutes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry.database import db
from registry.database.statements import Statement
from registry.domain.packages import index, publishing, requirements, summaries

pytestmark = pytest.mark.postgresql

STATEMENTS = {
    "upload": (select(publishing._standing_yank()), {"of_project": 1, "of_name": "demo", "of_version": "1.0"}),
    "summary": (summaries._VERSIONS, {"of_project": 1, "of_name": "demo"}),
    "simple page": (index._LISTED_FILES, {"name": "demo"}),
    "requirements": (requirements._UNREAD, {"first": 0, "most": 10}),
}
NEW_TABLES = """
    CREATE SCHEMA without_statistics;
    CREATE TABLE without_statistics.packages (LIKE packages INCLUDING ALL);
    CREATE TABLE without_statistics.package_files (LIKE package_files INCLUDING ALL);
    SET LOCAL search_path = without_statistics, public;
"""


@pytest.mark.parametrize(("statement", "values"), STATEMENTS.values(), ids=STATEMENTS)
def test_files_are_found_by_their_packages(app: Flask, statement: Any, values: Mapping[str, object]) -> None:
    compiled = Statement(statement).compiled(db.engine, values)
    with db.engine.connect() as connection:  # which makes no changes permanent
        connection.exec_driver_sql(NEW_TABLES)
        explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled.sql}", compiled.parameters(values))
        plan = explained.scalar_one()[0]["Plan"]

    scans = [node for node in _nodes(plan) if node.get("Relation Name") == "package_files"]
    assert scans
    assert all("package_id = " in node.get("Index Cond", "") for node in scans), scans


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
