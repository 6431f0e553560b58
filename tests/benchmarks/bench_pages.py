"""What pages about packages cost, with little data and with much, against the list of an empty project.

In process, over Flask's test client, signed in as the Owner of everything that is looked at. The number of statements
must not depend on the amount of data, and the time of a page is to stay within five times that of the empty list.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from flask.testing import FlaskClient
from sqlalchemy import event

from registry.database import db
from registry.models import Group, Package, Project, User
from tests import factories
from tests.benchmarks import rows
from tests.builders import build_wheel

HEADING = ("pages", "rows", "statements", "median ms", "of the empty list")
SMALL = 10
SAMPLES = 15
PROJECTS = 200  # of the large group


def run(folder: Path, packages: int, files: int) -> Iterator[tuple[str, ...]]:
    """A row for each page and amount of data.

    :param packages: in the large project.
    :param files: of the large package.
    """
    with rows.opened(folder / "pages") as app:
        owner = factories.user("owner")
        pages = _furnished(factories.group("bulk", owner=owner), owner, packages, files)
        client = _signed_in(app.test_client(), owner)
        floor = 0.0
        for name, amount, address in pages:
            statements, milliseconds = _cost(client, address)
            floor = floor or milliseconds
            yield name, str(amount), str(statements), f"{milliseconds:.1f}", f"{milliseconds / floor:.2f}"


def _furnished(group: Group, owner: User, packages: int, files: int) -> list[tuple[str, int, str]]:
    """Name, amount of data and address of each page; the empty list comes first."""
    empty = factories.project("empty", parent=group)
    small, large = (factories.project(name, parent=factories.group(name, parent=group)) for name in ("few", "many"))
    found = [("empty list", 0, f"/{empty.full_path}/-/packages")]
    for project, amount in ((small, SMALL), (large, packages)):
        rows.add_packages(project, [(f"bulk{n // 10}", f"1.{n}") for n in range(amount)], owner)
        found += [
            ("list of a project", amount, f"/{project.full_path}/-/packages"),
            (
                "its 21st page" if amount > 20 * 21 else "its last page",
                amount,
                f"/{project.full_path}/-/packages?page=21",
            ),
            ("searched by name", amount, f"/{project.full_path}/-/packages?search=bulk1"),
            ("its versions", amount, f"/{project.full_path}/-/packages?tab=versions"),
            ("in the order of versions", amount, f"/{project.full_path}/-/packages?order_by=version"),
        ]
    spread = factories.group("spread", parent=group)
    for number in range(PROJECTS):
        project = factories.project(f"project{number}", parent=spread)
        each = packages // PROJECTS
        rows.add_packages(project, [(f"spread{number}-{n // 10}", f"1.{n}") for n in range(each)], owner)
    found += [
        (
            f"names of {PROJECTS} projects by {order}",
            packages,
            f"/groups/{spread.full_path}/-/packages?order_by={order}",
        )
        for order in ("created_at", "name", "downloads", "size")
    ]
    for amount in (SMALL, files):
        package_id = _package(factories.project(f"files-{amount}", parent=group), amount, owner)
        address = f"/bulk/files-{amount}/-/packages/{package_id}"
        found += [("package", amount, address), ("its other versions", amount, f"{address}?tab=versions")]
    return found


def _package(project: Project, files: int, owner: User) -> int:
    """A package of so many files, one of them real, and as many versions beside it."""
    readme = "# Bulk\n\n" + "Some *words* and `code`.\n\n" * 50
    built = build_wheel("bulk", "1.0", description=readme, description_content_type="text/markdown")
    file = factories.published(project, built, by=factories.signed_in(owner))
    package = db.session.get_one(Package, file.package_id)
    rows.add_files(package, range(1, files))
    rows.add_packages(project, [("bulk", f"2.{n}") for n in range(files)], owner)
    return package.id


def _signed_in(client: FlaskClient, user: User) -> FlaskClient:
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(user)
    return client


def _cost(client: FlaskClient, address: str) -> tuple[int, float]:
    """Statements of a request, the most seen, and the median of its milliseconds; the first request warms up."""
    sent: list[int] = []
    durations: list[float] = []
    for _ in range(SAMPLES + 1):
        db.session.remove()
        statements = 0

        def note(*_: object) -> None:
            nonlocal statements
            statements += 1

        event.listen(db.engine, "before_cursor_execute", note)
        began = time.perf_counter()
        response = client.get(address)
        durations.append((time.perf_counter() - began) * 1000)
        event.remove(db.engine, "before_cursor_execute", note)
        assert response.status_code == 200, response.text
        sent.append(statements)
    return max(sent[1:]), statistics.median(durations[1:])
