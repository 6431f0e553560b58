"""Advisory locks: no two are one, and none is taken out of order."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from flask import Flask

import registry
from registry import database
from registry.database import AdvisoryLock, utcnow
from registry.domain.operation import cleanup
from registry.domain.packages.downloads import Tally
from registry.models import Project
from registry.storage import Storage
from tests import factories
from tests.builders import build_wheel
from tests.races import Racer, race

SOURCES = sorted(Path(registry.__file__).parent.rglob("*.py"))


def test_no_two_locks_have_one_number() -> None:
    numbers = [lock.value for lock in AdvisoryLock.__members__.values()]

    assert sorted(set(numbers)) == sorted(numbers)


def test_no_lock_is_made_elsewhere() -> None:
    [home] = [path for path in SOURCES if path.match("database/locks.py")]
    near = range(min(lock.value for lock in AdvisoryLock) - 1000, max(lock.value for lock in AdvisoryLock) + 1000)

    for path in SOURCES:
        constants = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        numbers = [value for value in constants if isinstance(value, int) and value in near]
        functions = [value for value in constants if isinstance(value, str) and re.search(r"pg_\w*advisory", value)]
        assert path == home or (numbers, functions) == ([], []), path


@pytest.mark.postgresql
def test_downloads_are_counted_while_a_backup_is_made(app: Flask, project: Project) -> None:
    tally = Tally()
    tally.note(factories.published(project, build_wheel()).id)

    with database.objects_kept():
        flush = Racer(app, tally.flush)
        flush.waits_or_ends()
        outcome = flush.outcome

    flush.finish()
    assert outcome == "done"


@pytest.mark.postgresql
def test_a_cleanup_does_not_mistake_the_counting_of_downloads_for_a_backup(
    app: Flask, project: Project, storage: Storage
) -> None:
    tally = Tally()
    tally.note(factories.published(project, build_wheel()).id)

    assert race(app, tally.flush, lambda: cleanup.run(storage, utcnow())) == ("done", "done")
