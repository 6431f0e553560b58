"""Rows in bulk, where only rows are needed: packages and files, of whose bytes there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path

from flask import Flask
from sqlalchemy import insert, text

from registry import create_app, database
from registry.database import db, execute, folded, is_sqlite, transaction
from registry.domain.packages import summaries
from registry.domain.packages.names import version_rank
from registry.domain.packages.requirements import NO_DOCUMENT
from registry.models import FileStatus, Package, PackageFile, PackageStatus, Project, User
from tests.acceptance.servers import Namespace, RunningServer

MOMENT = datetime(2026, 1, 1, 9, 30, 15, 123456, tzinfo=UTC)  # with fractions of a second, as almost all times
BATCH = 50_000


@contextmanager
def opened(instance: Path, **settings: str) -> Iterator[Flask]:
    """The application over an instance, in its context; the instance may be new, or that of a running server."""
    app = create_app({"INSTANCE_PATH": instance, **settings})
    with app.app_context():
        database.upgrade()
        try:
            yield app
        finally:
            db.session.remove()
            db.engine.dispose()


def add_packages(
    project: Project, releases: Iterable[tuple[str, str]], creator: User | None = None, *, summary: str = ""
) -> None:
    """A package for each name and version, a minute after the one before; the search and lists find them, too."""
    releases = list(releases)
    _add_packages(project, releases, creator, summary)
    _summarize(project.id, {name for name, _ in releases})


def _add_packages(project: Project, releases: list[tuple[str, str]], creator: User | None, summary: str) -> None:
    made: Iterator[dict[str, object]] = (
        {
            "project_id": project.id, "name": name, "version": version, "normalized_name": name,
            "version_rank": version_rank(version),
            "creator_id": None if creator is None else creator.id, "status": PackageStatus.DEFAULT,
            "summary": summary, "created_at": MOMENT + timedelta(minutes=number),
            "requirements_sha256": NO_DOCUMENT,  # otherwise, servers would look for core metadata in the store
            "updated_at": MOMENT + timedelta(minutes=number),
        }
        for (name, version), number in zip(releases, count(), strict=False)
    )  # fmt: skip
    _insert(Package, made)
    with transaction():
        execute(_FIND_PACKAGES, {"of_project": project.id, "folded": folded(summary)})


_FIND_PACKAGES = text(
    "INSERT INTO searched_names (project_id, normalized_name, words, described_at)"
    " SELECT project_id, normalized_name, :folded, MAX(created_at) FROM packages WHERE project_id = :of_project"
    " GROUP BY project_id, normalized_name ON CONFLICT DO NOTHING"
)


def _summarize(project_id: int, names: Iterable[str]) -> None:
    with transaction():
        for name in names:
            summaries.count(project_id, name)


def add_files(package: Package, numbers: Iterable[int]) -> None:
    """A wheel of a package for each build number; for 0 the one without."""
    _insert(PackageFile, (_file(package, number) for number in numbers))
    _summarize(package.project_id, [package.normalized_name])


def add_releases(project: Project, releases: Iterable[tuple[str, str]], files: int = 1) -> None:
    """A package for each name and version of an empty project, with so many files each."""
    releases = list(releases)
    _add_packages(project, releases, None, "")
    packages = db.session.scalars(db.select(Package).where(Package.project_id == project.id))
    _insert(PackageFile, (_file(package, number) for package in packages for number in range(files)))
    _summarize(project.id, {name for name, _ in releases})


def add_to(server: RunningServer, project: Namespace, releases: Iterable[tuple[str, str]], files: int = 1) -> None:
    """``add_releases`` in the database of a running server."""
    address = server.settings.get("DATABASE_URL")
    with opened(server.instance, **({"DATABASE_URL": address} if address else {})):
        found = db.session.get(Project, project.id)
        assert found is not None
        add_releases(found, releases, files)


def _file(package: Package, number: int) -> dict[str, object]:
    build = f"-{number}" if number else ""
    filename = f"{package.name}-{package.version}{build}-py3-none-any.whl"
    digest = hashlib.sha256(f"{package.project_id}/{filename}".encode()).hexdigest()
    return {
        "package_id": package.id, "project_id": package.project_id, "filename": filename, "sha256": digest,
        "status": FileStatus.DEFAULT, "size_bytes": 1000, "md5": digest[:32], "blake2b_256": digest,
        "core_metadata_sha256": digest, "core_metadata_is_final": True, "requires_python": ">=3.9",
        "created_at": MOMENT,
    }  # fmt: skip


def _insert(model: type[Package] | type[PackageFile], made: Iterable[dict[str, object]]) -> None:
    rows = iter(made)
    while batch := list(islice(rows, BATCH)):
        with transaction() as session:
            session.execute(insert(model), batch)
    if not is_sqlite(db.engine):  # counts the rows by itself only within a minute, and until then plans for few
        with transaction() as session:
            session.execute(text("ANALYZE packages, package_files"))
