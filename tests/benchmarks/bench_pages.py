"""What pages about packages cost, with little data and with much, against the list of an empty project.

In process, over Flask's test client, signed in as the Owner of everything that is looked at. The number of statements
must not depend on the amount of data, and the time of a page is to stay within five times that of the empty list.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flask.testing import FlaskClient
from sqlalchemy import event, insert

from registry import create_app, database
from registry.blueprints.auth.sessions import SignedIn
from registry.database import db
from registry.models import FileStatus, Group, Package, PackageFile, PackageStatus, Project, User
from tests import factories
from tests.builders import build_wheel

HEADING = ("pages", "rows", "statements", "median ms", "of the empty list")
SMALL = 10
SAMPLES = 15
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def run(folder: Path, packages: int, files: int) -> Iterator[tuple[str, ...]]:
    """A row for each page and amount of data.

    :param packages: in the large project.
    :param files: of the large package.
    """
    app = create_app({"INSTANCE_PATH": folder / "pages"})
    with app.app_context():
        database.upgrade()
        owner = factories.user("owner")
        pages = _furnished(factories.group("bulk", owner=owner), owner, packages, files)
        client = _signed_in(app.test_client(), owner)
        floor = 0.0
        for name, rows, address in pages:
            statements, milliseconds = _cost(client, address)
            floor = floor or milliseconds
            yield name, str(rows), str(statements), f"{milliseconds:.1f}", f"{milliseconds / floor:.2f}"
        db.session.remove()
        db.engine.dispose()


def _furnished(group: Group, owner: User, packages: int, files: int) -> list[tuple[str, int, str]]:
    """Name, amount of data and address of each page; the empty list comes first."""
    empty = factories.project("empty", parent=group)
    small, large = (factories.project(name, parent=factories.group(name, parent=group)) for name in ("few", "many"))
    found = [("empty list", 0, f"/{empty.full_path}/-/packages")]
    for project, rows in ((small, SMALL), (large, packages)):
        _fill(project, rows, owner)
        found += [
            ("list of a project", rows, f"/{project.full_path}/-/packages"),
            ("its 21st page" if rows > 20 * 21 else "its last page", rows, f"/{project.full_path}/-/packages?page=21"),
            ("searched by name", rows, f"/{project.full_path}/-/packages?search=bulk1"),
            ("in the order of versions", rows, f"/{project.full_path}/-/packages?order_by=version"),
            ("list of its group", rows, f"/groups/{project.full_path.rpartition('/')[0]}/-/packages"),
        ]
    for rows in (SMALL, files):
        package_id = _package(factories.project(f"files-{rows}", parent=group), rows, owner)
        address = f"/bulk/files-{rows}/-/packages/{package_id}"
        found += [("package", rows, address), ("its other versions", rows, f"{address}?tab=versions")]
    return found


def _fill(project: Project, packages: int, owner: User) -> None:
    """Rows in bulk: versions of a tenth as many names."""
    db.session.execute(insert(Package), [_row(project, f"bulk{n // 10}", f"1.{n}", owner, n) for n in range(packages)])
    db.session.commit()


def _package(project: Project, files: int, owner: User) -> int:
    """A package of so many files, one of them real, and as many versions beside it."""
    readme = "# Bulk\n\n" + "Some *words* and `code`.\n\n" * 50
    built = build_wheel("bulk", "1.0", description=readme, description_content_type="text/markdown")
    package_id = factories.published(project, built, by=factories.signed_in(owner)).package_id
    rows = [_file(project, package_id, number) for number in range(1, files)]
    db.session.execute(insert(PackageFile), rows)
    db.session.execute(insert(Package), [_row(project, "bulk", f"2.{n}", owner, n) for n in range(files)])
    db.session.commit()
    return package_id


def _row(project: Project, name: str, version: str, owner: User, number: int) -> dict[str, object]:
    moment = _MOMENT + timedelta(minutes=number)
    return {
        "project_id": project.id, "name": name, "version": version, "normalized_name": name, "creator_id": owner.id,
        "status": PackageStatus.DEFAULT, "created_at": moment, "updated_at": moment,
    }  # fmt: skip


def _file(project: Project, package_id: int, number: int) -> dict[str, object]:
    filename = f"bulk-1.0-{number}-py3-none-any.whl"
    digest = hashlib.sha256(filename.encode()).hexdigest()
    return {
        "package_id": package_id, "project_id": project.id, "filename": filename, "status": FileStatus.DEFAULT,
        "size_bytes": 1000, "sha256": digest, "md5": digest[:32], "blake2b_256": digest, "created_at": _MOMENT,
    }  # fmt: skip


def _signed_in(client: FlaskClient, user: User) -> FlaskClient:
    with client.session_transaction() as session:
        session["_user_id"] = SignedIn(user).get_id()
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
