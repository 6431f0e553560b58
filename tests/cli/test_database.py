from __future__ import annotations

import re

from tests.cli.running import Run, loaded, succeeded


def test_database_check_shows_the_current_version(run: Run) -> None:
    assert re.fullmatch(r"The schema is at the required version \d{4}\.\n", succeeded(run("database", "check")))


def test_database_upgrade_of_a_current_schema_changes_nothing(run: Run) -> None:
    versions = loaded(run("database", "upgrade", "--json"))

    assert versions["before"] == versions["after"]
