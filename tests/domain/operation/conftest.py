from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from registry.database import db
from registry.domain.operation import backups
from registry.domain.operation.backup_file import Manifest
from registry.domain.operation.verification import Finding
from registry.models import PackageFile, Project
from registry.storage import Storage
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.conftest import SECRET_KEY
from tests.domain.operation.installations import NOW, Make, Restore, create, furnish, new_installation
from tests.processes import migrated_database


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An installation that has something in every table and two files in its store; no test changes it."""
    folder = tmp_path_factory.mktemp("origin")
    shutil.copy(migrated_database(), folder)
    app = new_installation(folder)
    with app.app_context():
        furnish()
        db.engine.dispose()
    return app


@pytest.fixture(scope="module")
def made(origin: Flask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backup of ``origin``."""
    path = tmp_path_factory.mktemp("made") / "registry.tar"
    create(origin, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the backup of the test."""
    return tmp_path / "backup" / "registry.tar"


@pytest.fixture
def backup(made: Path, path: Path) -> Path:
    """A backup of ``origin`` that the test may damage."""
    path.parent.mkdir()
    path.write_bytes(made.read_bytes())
    return path


@pytest.fixture
def problems() -> list[Finding]:
    """The messages shown while a backup was made or restored."""
    return []


@pytest.fixture
def demo_files(project: Project) -> list[PackageFile]:
    """A published wheel and sdist, with the same core metadata."""
    return [factories.published(project, file) for file in (build_wheel(), build_sdist())]


@pytest.fixture
def make(app: Flask, storage: Storage, path: Path, problems: list[Finding]) -> Make:
    """Makes a backup of the tests' own installation."""
    path.parent.mkdir()

    def make(store: Storage = storage, **options: bool) -> Path:
        backups.create(path, store, secret_key=SECRET_KEY, now=NOW, report=problems.append, **options)
        return path

    return make


@pytest.fixture
def other(tmp_path: Path, new_database: Callable[..., str]) -> Iterator[Flask]:
    """Another installation, new, on the database that the tests run with; ``origin`` is always on SQLite."""
    app = new_installation(tmp_path / "other", DATABASE_URL=new_database())
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """Another installation, which refused restores leave as new."""
    return new_installation(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def restore(path: Path, problems: list[Finding]) -> Restore:
    """Restores a backup into an installation."""

    def restore(app: Flask, store: Storage | None = None, **options: Any) -> Manifest:
        with app.app_context():
            return backups.restore(
                path, store or app.extensions["storage"], secret_key=app.config["SECRET_KEY"],
                secret_key_file=app.config["SECRET_KEY_FILE"], report=problems.append, **options,
            )  # fmt: skip

    return restore
