"""How many SQL statements a request costs, with little data and with much; it must be the same number.

In process, over Flask's test client. *First* is the first request after the registry's content changed, *again* the
same request repeated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from registry.database import db, transaction
from registry.models import Group, Project, Role
from tests import factories
from tests.benchmarks import rows
from tests.builders import build_wheel
from tests.clients import basic, pypi_path

HEADING = ("statements", "rows of files", "first", "again", "first ms", "again ms")
FILES_PER_PACKAGE = 10
SAMPLES = 5


@dataclass(frozen=True)
class Shop:
    """An application with data: names are ``bulk0``, ``bulk1``, … in each project."""

    client: FlaskClient
    group: Group
    project: Project
    headers: dict[str, str]
    file_path: str
    files: int


def run(folder: Path, files: int) -> Iterator[tuple[str, ...]]:
    """A row for each kind of request and amount of data.

    :param files: in the large registry.
    """
    for projects, packages in ((1, 10), (20, files // FILES_PER_PACKAGE // 20)):
        with rows.opened(folder / f"statements-{projects}-{packages}") as app:
            yield from _measured(_furnished(app, projects, packages))


def _measured(shop: Shop) -> Iterator[tuple[str, ...]]:
    project, group = pypi_path(shop.project), pypi_path(shop.group)
    addresses = {
        "project page": f"{project}/simple/bulk3",
        "group page": f"{group}/simple/bulk3",
        "project index": f"{project}/simple",
        "group index": f"{group}/simple",
        "project download": f"{project}/{shop.file_path}",
        "group download": f"{group}/{shop.file_path}",
    }
    _cost(shop, addresses["project index"], change=True)  # the token's first use is noted
    for name, address in addresses.items():
        first = [_cost(shop, address, change=True) for _ in range(SAMPLES)]
        again = [_cost(shop, address, change=False) for _ in range(SAMPLES)]
        yield (
            name,
            str(shop.files),
            str(max(count for count, _ in first)),
            str(max(count for count, _ in again)),
            f"{statistics.median(duration for _, duration in first):.1f}",
            f"{statistics.median(duration for _, duration in again):.1f}",
        )


def _cost(shop: Shop, address: str, *, change: bool) -> tuple[int, float]:
    """Statements and milliseconds of one request."""
    if change:
        with transaction():
            pass  # enough to make every answer stale
    db.session.remove()
    sent = 0

    def note(*_: object) -> None:
        nonlocal sent
        sent += 1

    event.listen(db.engine, "before_cursor_execute", note)
    began = time.perf_counter()
    response = shop.client.get(address, headers=shop.headers, buffered=True)
    duration = time.perf_counter() - began
    event.remove(db.engine, "before_cursor_execute", note)
    assert response.status_code == 200, response.text
    return sent, duration * 1000


def _furnished(app: Flask, projects: int, packages: int) -> Shop:
    owner = factories.user("owner")
    group = factories.group("bulk", owner=owner)
    made = [
        factories.project(f"project{number}", parent=factories.group(f"sub{number}", parent=group))
        for number in range(projects)
    ]
    for project in made:
        rows.add_releases(project, [(f"bulk{number}", "1.0") for number in range(packages)], FILES_PER_PACKAGE)
        for _ in range(packages // 10):
            factories.member(project, Role.DEVELOPER)
    file = factories.published(made[0], build_wheel("single"))
    return Shop(
        app.test_client(),
        group,
        made[0],
        basic(factories.access_token(owner, "read_api")),
        f"files/{file.sha256}/{file.filename}",
        projects * packages * FILES_PER_PACKAGE,
    )
