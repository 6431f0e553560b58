"""What a search while typing costs in a registry of 100,000 packages of 10,000 names in 200 projects.

In process, over Flask's test client, signed in as a member of 20 of the projects, on both databases. Times are of the
processor, which other work on the machine changes least, and of the clock; only this one includes PostgreSQL.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from flask.testing import FlaskClient
from sqlalchemy import event, insert

from registry.database import db, transaction
from registry.models import Membership, Project, Role, User, Visibility
from tests import factories, postgresql
from tests.benchmarks import rows
from tests.benchmarks.goals import at_most

HEADING = ("search while typing", "found", "statements", "CPU ms", "median ms", "goal")
PROJECTS, NAMES, VERSIONS, MEMBER_OF = 200, 50, 10, 20
SAMPLES = 30
GOAL_MS = 30
KINDS = ("driver", "reader", "writer", "parser", "client")
SUBJECTS = ("signal", "spectrum", "typing", "storage", "queue", "metric", "report", "camera", "motor", "valve")
TEXTS = ("s", "si", "sig", "signal", "signal-reader-7", "reader", "writes tables", "計測", "nothing like it")


def run(folder: Path) -> Iterator[tuple[str, ...]]:
    """A row for each database and text."""
    with ExitStack() as stack:
        server = postgresql.Server(binaries) if (binaries := postgresql.binaries()) else None
        if server is not None:
            stack.callback(server.close)
        for database, settings in {
            "SQLite": {},
            **({} if server is None else {"PostgreSQL": {"DATABASE_URL": server.address}}),
        }.items():
            with rows.opened(folder / f"search-{database}", **settings) as app:
                client = _signed_in(app.test_client(), _furnished())
                for text in TEXTS:
                    yield f"{database}: {text}", *_cost(client, text)


def _furnished() -> User:
    """Fill the registry, and return a member of some of its projects; half of the others are public."""
    member = factories.user("member")
    group = factories.group("bulk", visibility=Visibility.PUBLIC)
    projects = [
        factories.project(
            f"project-{number}", parent=group, visibility=Visibility.PUBLIC if number % 2 else Visibility.PRIVATE
        )
        for number in range(PROJECTS)
    ]
    with transaction() as session:
        joined = [{"namespace_id": each.id, "user_id": member.id, "role": Role.DEVELOPER} for each in projects]
        session.execute(insert(Membership), joined[: 2 * MEMBER_OF : 2])
    for number, project in enumerate(projects):
        _publish(project, number)
    return member


def _publish(project: Project, number: int) -> None:
    names = [f"{subject}-{kind}-{number}" for subject, kind in product(SUBJECTS, KINDS)][:NAMES]
    rows.add_packages(
        project, [(name, f"1.{version}") for name in names for version in range(VERSIONS)],
        summary=f"Reads 計測 signals, writes tables of project {number}",
    )  # fmt: skip
    db.session.expunge_all()


def _signed_in(client: FlaskClient, user: User) -> FlaskClient:
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(user)
    return client


def _cost(client: FlaskClient, text: str) -> tuple[str, ...]:
    """What is found, statements of a request, and medians of its milliseconds; the first request warms up."""
    statements = 0
    processor: list[float] = []
    clock: list[float] = []

    def note(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(db.engine, "before_cursor_execute", note)
    for _ in range(SAMPLES + 1):
        db.session.remove()
        statements = 0
        began, began_processor = time.perf_counter(), time.process_time()
        response = client.get("/search.json", query_string={"q": text})
        processor.append((time.process_time() - began_processor) * 1000)
        clock.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, response.text
    event.remove(db.engine, "before_cursor_execute", note)
    found = len(response.get_json()["packages"])
    median = statistics.median(processor[1:])
    return (
        str(found), str(statements), f"{median:.1f}", f"{statistics.median(clock[1:]):.1f}", at_most(median, GOAL_MS),
    )  # fmt: skip
