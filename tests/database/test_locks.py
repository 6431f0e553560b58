"""Advisory locks: each has its own number, and none is taken out of order."""

from __future__ import annotations

import ast
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from flask import Flask

from registry import database
from registry.database import AdvisoryLock, OutOfOrder, db, hold, transaction, utcnow
from registry.domain.operation import cleanup
from registry.domain.packages.downloads import Tally
from registry.models import Project, User
from registry.storage import Storage
from tests import factories
from tests.builders import build_wheel
from tests.races import Racer, race
from tests.source import functions, trees

BEYOND_TRANSACTIONS = {AdvisoryLock.SCHEMA, AdvisoryLock.REMOVAL}
IN_TRANSACTIONS = [lock for lock in AdvisoryLock if lock not in BEYOND_TRANSACTIONS]


class Failure(Exception):
    pass


def test_no_two_locks_have_the_same_number() -> None:
    numbers = [lock.value for lock in AdvisoryLock.__members__.values()]

    assert sorted(set(numbers)) == sorted(numbers)


def test_no_lock_is_made_elsewhere() -> None:
    near = range(min(lock.value for lock in AdvisoryLock) - 1000, max(lock.value for lock in AdvisoryLock) + 1000)

    assert "registry.database.locks" in trees()
    for module, tree in trees().items():
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        numbers = [value for value in constants if isinstance(value, int) and value in near]
        calls = [value for value in constants if isinstance(value, str) and re.search(r"pg_\w*advisory", value)]
        assert module == "registry.database.locks" or (numbers, calls) == ([], []), module


def test_a_function_that_takes_a_lock_names_it_in_its_docstring() -> None:
    silent = []
    for module, function in functions("AdvisoryLock."):
        taken = re.findall(r"(?:lock=|hold\()(AdvisoryLock\.\w+)", ast.unparse(function))
        said = ast.get_docstring(function) or ""
        silent += [(module, function.name, lock) for lock in taken if lock not in said]

    assert silent == []


def test_a_function_that_writes_without_such_a_lock_states_how_it_does_without() -> None:
    silent = [
        (module, function.name)
        for module, function in functions("transaction(")
        if module.startswith("registry.domain.")
        and re.search(r"\btransaction\((?!.*lock=)", ast.unparse(function))
        and "lock" not in (ast.get_docstring(function) or "").lower()
    ]

    assert silent == []


@pytest.mark.parametrize(("earlier", "later"), list(pairwise(IN_TRANSACTIONS)), ids=lambda lock: lock.name)
def test_an_inner_transaction_takes_a_later_lock_and_refuses_an_earlier_one(
    app: Flask, earlier: AdvisoryLock, later: AdvisoryLock
) -> None:
    with transaction(lock=earlier), transaction(lock=later), transaction(lock=earlier):
        pass

    with pytest.raises(OutOfOrder), transaction(lock=later), transaction(lock=earlier):
        pass


def test_locks_of_several_groups_are_taken_in_the_order_of_their_ids(app: Flask) -> None:
    with transaction():
        hold(AdvisoryLock.LIMITED_NAMESPACE, part=1)
        hold(AdvisoryLock.LIMITED_NAMESPACE, part=3)
        with pytest.raises(OutOfOrder):
            hold(AdvisoryLock.LIMITED_NAMESPACE, part=2)


def test_a_shared_lock_does_not_become_an_exclusive_one(app: Flask) -> None:
    with transaction(lock=AdvisoryLock.OBJECTS), transaction(lock=AdvisoryLock.OBJECTS, shared=True):
        pass

    with (
        transaction(lock=AdvisoryLock.OBJECTS, shared=True),
        pytest.raises(OutOfOrder),
        transaction(lock=AdvisoryLock.OBJECTS),
    ):
        pass


@pytest.mark.parametrize("failure", [None, Failure], ids=["committed", "failed"])
def test_a_lock_is_released_at_the_end_of_the_transaction(app: Flask, failure: type[Failure] | None) -> None:
    with suppress(Failure), transaction(), transaction(lock=AdvisoryLock.SIGN_IN):
        if failure is not None:
            raise failure

    with transaction(lock=AdvisoryLock.FIRST_START):
        pass


def test_a_lock_without_a_transaction_is_refused(app: Flask) -> None:
    with pytest.raises(OutOfOrder):
        hold(AdvisoryLock.TREE)


def test_a_lock_held_beyond_transactions_is_not_waited_for_in_one(app: Flask) -> None:
    for locked in (database.objects_kept, database.schema_locked):
        with transaction(), pytest.raises(OutOfOrder), locked():
            pass


def test_locks_held_beyond_transactions_are_waited_for_in_order(app: Flask) -> None:
    with database.schema_locked(), database.objects_kept(), transaction(lock=AdvisoryLock.TREE):
        pass

    with database.objects_kept(), pytest.raises(OutOfOrder), database.schema_locked():
        pass
    with database.objects_removable(), pytest.raises(OutOfOrder), database.objects_kept():
        pass


@pytest.mark.sqlite
def test_the_lock_of_the_schema_leaves_the_write_ahead_log_to_the_open_connections(app: Flask, owner: User) -> None:
    """SQLite removes the log once it finds no lock of other processes, as it does when the last one leaves."""
    path = Path(str(db.engine.url.database))
    visit = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT 1 FROM users')"

    with database.schema_locked():
        pass
    subprocess.run([sys.executable, "-c", visit, path], check=True)

    assert path.with_name(f"{path.name}-wal").exists()
    with transaction() as session:
        session.get_one(User, owner.id).name = "Changed afterwards"
    [[name]] = sqlite3.connect(path).execute("SELECT name FROM users WHERE id = ?", [owner.id])
    assert name == "Changed afterwards"


def change(user: User) -> None:
    user.note = "changed"
    db.session.flush()


@pytest.mark.postgresql
@pytest.mark.parametrize("touch", [change, database.lock], ids=["changed", "locked"])
def test_a_lock_is_not_taken_once_rows_are_held(app: Flask, owner: User, touch: Callable[[User], None]) -> None:
    with transaction():
        touch(owner)
        with pytest.raises(OutOfOrder):
            hold(AdvisoryLock.TREE)
        hold(AdvisoryLock.LIMITED_NAMESPACE, part=1)


@pytest.mark.postgresql
@pytest.mark.parametrize("lock", IN_TRANSACTIONS, ids=lambda lock: lock.name)
def test_a_lock_of_an_inner_transaction_keeps_others_out(app: Flask, lock: AdvisoryLock) -> None:
    counted: list[int] = []

    def count() -> None:
        with transaction(changes_answers=False), transaction(lock=lock):
            counted.append(len(counted))

    with transaction(), transaction(lock=lock):
        other = Racer(app, count)
        other.waits_or_ends()
        assert counted == []

    other.finish()
    assert counted == [0]


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
