"""The fixtures of all tests: one application on a migrated database and a store, emptied before each test."""

from __future__ import annotations

import gc
import math
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from registry import create_app, database
from registry.database import db, is_sqlite
from registry.domain import http
from registry.domain.accounts import passwords
from registry.domain.distributions import readmes
from registry.domain.upstream.asks import Asks
from registry.models import Group, Package, PackageFile, Project, User
from registry.storage import Storage, cloud
from registry.storage.local import LocalStorage
from tests import factories, kept_rows, postgresql
from tests.acceptance.clients import ENVIRONMENTS, environments_in
from tests.builders import build_sdist, build_wheel
from tests.clients import Client, Pip, Rest, Twine
from tests.fakes import s3 as s3_server
from tests.fakes.gitlab import GitLab
from tests.fakes.index import StaticIndex
from tests.fakes.s3 import NoS3, S3Server
from tests.processes import migrated_database
from tests.scheduling import ByFile

SECRET_KEY = "a key that only tests use, long enough to pass"
NO_SERVER = "PostgreSQL is not installed: neither is `postgres` in the path, nor below /usr/lib/postgresql"

SERVER, ADDRESS = pytest.StashKey[postgresql.Server](), pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="the database; with postgresql only tests that need one, on a server of their own",
    )
    parser.addoption(
        "--kills", type=int, default=4, help="how often to kill processes in a stream of uploads (default: %(default)s)"
    )
    parser.addoption(
        "--fuzz-examples",
        type=int,
        default=1500,
        help="how many inputs each target of -m fuzz gets (default: %(default)s)",
    )
    parser.addoption("--screenshots", action="store_true", help="keep pictures of all pages in .screenshots/")


def pytest_configure(config: pytest.Config) -> None:
    """One server for all workers; each makes its own databases in it."""
    if config.getoption("--database") == "sqlite" or config.option.collectonly:
        return
    if hasattr(config, "workerinput"):
        config.stash[ADDRESS] = config.workerinput["postgresql"]
    elif (programs := postgresql.binaries()) is not None:
        config.stash[SERVER] = postgresql.Server(programs)
        config.stash[ADDRESS] = config.stash[SERVER].address
    elif os.environ.get("CI"):
        raise pytest.UsageError(NO_SERVER)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgresql"] = node.config.stash.get(ADDRESS, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVER in config.stash:
        config.stash[SERVER].close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of the other database, and on PostgreSQL those that need none."""
    chosen = _is_for_sqlite if config.getoption("--database") == "sqlite" else _is_for_postgresql
    config.hook.pytest_deselected(items=[item for item in items if not chosen(item)])
    items[:] = filter(chosen, items)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end, so the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


def _is_for_sqlite(item: pytest.Item) -> bool:
    return item.get_closest_marker("postgresql") is None


def _is_for_postgresql(item: Any) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    needs_database = not marks.isdisjoint({"postgresql", "databases"}) or "new_database" in item.fixturenames
    return "sqlite" not in marks and (needs_database or "_app" in item.fixturenames)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are processors: tests with servers, browsers, and clients often wait."""
    return (os.cpu_count() or 1) * 3 // 2 or 1


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest) -> str | None:
    """Address of the PostgreSQL server, or ``None`` when records are in SQLite files."""
    if request.config.getoption("--database") == "sqlite":
        return None
    address = request.config.stash.get(ADDRESS, None)
    return address or pytest.skip(NO_SERVER)


@pytest.fixture
def new_database(postgresql_server: str | None, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes an empty database, on PostgreSQL with options; its address."""
    numbers = count(1)
    with ExitStack() as databases:
        yield (
            lambda *options: (
                f"sqlite:///{tmp_path / f'database{next(numbers)}.sqlite3'}"
                if postgresql_server is None
                else databases.enter_context(postgresql.new_database(postgresql_server, *options))
            )
        )


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Tests cannot connect to another machine with a socket of this process."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            raise AssertionError(f"a test connects to {address}")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Of the same kind as the product's, but made in no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_power_cuts() -> Iterator[None]:
    """Nothing in this process waits until its files are on the disk. Servers and commands do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _file: None)
        yield


@pytest.fixture(scope="session")
def _app(postgresql_server: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    instance = tmp_path_factory.mktemp("instance")
    if postgresql_server is None:
        shutil.copy(migrated_database(), instance)
    app = create_app(
        {
            "INSTANCE_PATH": instance,
            "SECRET_KEY": SECRET_KEY,
            "UPSTREAM_URL": "https://upstream.test/simple/",
            "UPSTREAM_CHECK": False,
            "DATABASE_URL": postgresql_server and postgresql.create_database(postgresql_server),
        }
    )
    app.testing = True
    with app.app_context():
        if is_sqlite(db.engine):
            event.listen(db.engine, "connect", _prepare_for_tests)
        database.upgrade()
        kept_rows.prepare()
    yield app
    with app.app_context():
        db.engine.dispose()


def _prepare_for_tests(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    # PostgreSQL returns rows in any order, so code and tests that need one have to ask for it.
    connection.execute("PRAGMA reverse_unordered_selects = ON")


@pytest.fixture
def app(_app: Flask) -> Iterator[Flask]:
    """The application, empty as after the first migration, with its context pushed."""
    with _app.app_context():
        factories.empty()
        _app.extensions["upstream_asks"] = Asks()
        store: LocalStorage = _app.extensions["storage"]
        for folder in ("sha256", "readme"):
            shutil.rmtree(Path(store.root, folder), ignore_errors=True)
        store.sweep_shared(math.inf)
        yield _app
        db.session.rollback()


@pytest.fixture
def storage(app: Flask) -> Storage:
    store: Storage = app.extensions["storage"]
    return store


@pytest.fixture
def store_files(app: Flask) -> object:
    """All files of the store, staged ones included, as relative paths; not READMEs, which are rendered at any time."""
    root: Path = app.extensions["storage"].root
    return lambda: sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and root / "readme" not in path.parents
    )


@pytest.fixture
def statements(app: Flask) -> Iterator[list[str]]:
    """The SQL statements sent to the database so far in this test, growing."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    yield sent
    event.remove(db.engine, "before_cursor_execute", note)


@pytest.fixture(scope="session")
def _index() -> Iterator[StaticIndex]:
    index = StaticIndex()
    yield index
    index.close()


@pytest.fixture
def served(_index: StaticIndex, monkeypatch: pytest.MonkeyPatch) -> StaticIndex:
    """Another index, empty, which is asked at once and without a proxy."""
    _index.clear()
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    return _index


@pytest.fixture(scope="session")
def _gitlab() -> Iterator[GitLab]:
    gitlab = GitLab()
    yield gitlab
    gitlab.close()


@pytest.fixture
def gitlab(_gitlab: GitLab, monkeypatch: pytest.MonkeyPatch) -> GitLab:
    """A GitLab instance without projects, which is asked at once and without a proxy."""
    _gitlab.clear()
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    return _gitlab


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; each test has a prefix of its own from ``s3.address()``."""
    python = environments_in(ENVIRONMENTS)("swift", *s3_server.REQUIREMENTS)
    try:
        server = S3Server(python, tmp_path_factory.mktemp("s3"))
    except NoS3 as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture
def object_store_seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the timeouts of object stores, as in ``object_store_seconds(READ=1)``."""

    def change(**seconds: float) -> None:
        for name, value in seconds.items():
            monkeypatch.setattr(cloud, f"{name}_SECONDS", value)

    return change


@pytest.fixture
def impatience(object_store_seconds: Callable[..., None]) -> None:
    """Short timeouts for object stores that are silent. A store counts as silent for the rest of the test."""
    object_store_seconds(CONNECT=0.5, READ=0.5, PART=5, PROBE=0.8, SLOW=0.7, PAUSE=600)


@pytest.fixture
def patience(object_store_seconds: Callable[..., None]) -> None:
    """Timeouts that no busy machine reaches: an object store that is slow does not count as silent."""
    object_store_seconds(CONNECT=60, READ=60, PART=60, PROBE=60, SLOW=60)


@pytest.fixture
def busy_helpers() -> Iterator[ExitStack]:
    """All helpers that render READMEs are busy, until the test closes this or ends."""
    with ExitStack() as busy:
        for _ in range(readmes.HELPERS):
            busy.enter_context(readmes._helpers)
        yield busy


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return Client(app, use_cookies=True)


@pytest.fixture
def pip(client: FlaskClient) -> Pip:
    return Pip(client)


@pytest.fixture
def twine(client: FlaskClient) -> Twine:
    return Twine(client)


@pytest.fixture
def rest(client: FlaskClient) -> Rest:
    return Rest(client)


@pytest.fixture
def admin(app: Flask) -> User:
    return kept_rows.insert("admin")


@pytest.fixture
def owner(app: Flask) -> User:
    return kept_rows.insert("owner")


@pytest.fixture
def outsider(app: Flask) -> User:
    """A user without any membership."""
    return kept_rows.insert("outsider")


@pytest.fixture
def group(owner: User) -> Group:
    """A private group of ``owner``."""
    return kept_rows.insert("group", owner)


@pytest.fixture
def project(group: Group) -> Project:
    """A private project in ``group``."""
    return kept_rows.insert("project", group)


@pytest.fixture
def demo(project: Project) -> PackageFile:
    """A published wheel of demo 1.0."""
    return factories.published(project, build_wheel())


@pytest.fixture
def release(project: Project) -> Package:
    """demo 1.0 with a wheel and an sdist."""
    factories.published(project, build_wheel())
    return db.session.get_one(Package, factories.published(project, build_sdist()).package_id)


@pytest.fixture
def developer(project: Project) -> User:
    return kept_rows.insert("developer", project)


@pytest.fixture
def maintainer(project: Project) -> User:
    return kept_rows.insert("maintainer", project)


@pytest.fixture
def guest(project: Project) -> User:
    return kept_rows.insert("guest", project)
