"""What pages about packages cost, with little data and with much, against the list of an empty project.

In process, over Flask's test client, signed in as the Owner of everything that is looked at. Times are of the
processor, which other work on the machine changes least. The number of statements must not depend on the amount of
data; a second line of a page has its goals.
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
from tests.benchmarks.goals import at_most
from tests.builders import build_sdist, build_wheel

HEADING = ("pages", "rows", "statements", "CPU ms", "of the empty list", "goal")
SMALL = 10
SAMPLES = 15
PROJECTS = 200  # of the large group
ORDERS = ("created_at", "name", "downloads", "size")
VERSIONS = 500  # of the large package
MOST_OF_EMPTY_LIST = 3  # times as long takes a list in any order
MOST_MS = 60  # of the large package
README = "# Bulk\n\n" + "Some *words* and `code`.\n\n" * 50


def run(folder: Path, packages: int, files: int) -> Iterator[tuple[str, ...]]:
    """A row for each page and amount of data.

    :param packages: in the large project.
    :param files: of the large package.
    """
    with rows.opened(folder / "pages") as app:
        owner = factories.user("owner")
        pages = _furnished(factories.group("bulk", owner=owner), owner, packages, files)
        readmes, owner_id = factories.group("readmes", owner=owner).id, owner.id
        client = _signed_in(app.test_client(), owner)
        floor, fewest = 0.0, dict[str, int]()
        for name, amount, address in pages:
            statements, milliseconds = _cost(client, address)
            floor = floor or milliseconds
            goal = at_most(milliseconds, MOST_MS) if name == "package" else ""
            if address.rpartition("=")[2] in ORDERS:
                goal = at_most(milliseconds / floor, MOST_OF_EMPTY_LIST)
            yield name, str(amount), str(statements), f"{milliseconds:.1f}", f"{milliseconds / floor:.2f}", goal
            if name in fewest:
                yield f"{name}: more statements", str(amount), "", "", "", at_most(statements - fewest[name], 0)
            fewest[name] = statements
        yield _first_view(client, readmes, owner_id)


def _first_view(client: FlaskClient, group_id: int, owner_id: int) -> tuple[str, ...]:
    """The page of a package when its README has not been made yet, against that of one without a README."""
    durations: dict[str, list[float]] = {"": [], README: []}
    for number in range(SAMPLES):
        for readme, measured in durations.items():
            group, owner = db.session.get_one(Group, group_id), db.session.get_one(User, owner_id)
            project = factories.project(f"project-{number}{'-described' * bool(readme)}", parent=group)
            package = _published(project, readme, owner, f"1.{number}")
            measured.append(_request(client, f"/{project.full_path}/-/packages/{package.id}")[1])
    without, first = map(statistics.median, durations.values())
    return "package with an unread README", "1", "", f"{first:.1f}", "", at_most(round(first / without, 1), 1)


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
            ("searched by name", amount, f"/{project.full_path}/-/packages?search=bulk0"),
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
        for order in ORDERS
    ]
    for amount in (SMALL, files):
        versions = min(amount, VERSIONS)
        package_id = _package(factories.project(f"files-{amount}", parent=group), amount, versions, owner)
        address = f"/bulk/files-{amount}/-/packages/{package_id}"
        found += [("package", amount, address), ("its other versions", amount, f"{address}?tab=versions")]
    return found


def _package(project: Project, files: int, versions: int, owner: User) -> int:
    """A package of so many files, the first and the last of them real, and of so many versions."""
    package = _published(project, README, owner, "1.0")
    rows.add_files(package, range(1, files - 1))
    sdist = build_sdist("bulk", "1.0", description=README, description_content_type="text/markdown")
    factories.published(project, sdist, by=factories.signed_in(owner))
    rows.add_packages(project, [("bulk", f"2.{n}") for n in range(1, versions)], owner)
    return package.id


def _published(project: Project, readme: str, owner: User, version: str) -> Package:
    built = build_wheel("bulk", version, description=readme, description_content_type="text/markdown")
    file = factories.published(project, built, by=factories.signed_in(owner))
    return db.session.get_one(Package, file.package_id)


def _signed_in(client: FlaskClient, user: User) -> FlaskClient:
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(user)
    return client


def _cost(client: FlaskClient, address: str) -> tuple[int, float]:
    """Statements of a request, the most seen, and the median of its milliseconds; the first request warms up."""
    measured = [_request(client, address) for _ in range(SAMPLES + 1)][1:]
    return max(sent for sent, _ in measured), statistics.median(milliseconds for _, milliseconds in measured)


def _request(client: FlaskClient, address: str) -> tuple[int, float]:
    """Statements of a request, and the milliseconds of the processor in its thread."""
    db.session.remove()
    statements = 0

    def note(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(db.engine, "before_cursor_execute", note)
    began = time.thread_time()
    response = client.get(address)
    milliseconds = (time.thread_time() - began) * 1000
    event.remove(db.engine, "before_cursor_execute", note)
    assert response.status_code == 200, response.text
    return statements, milliseconds
