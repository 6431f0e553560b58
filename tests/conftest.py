"""What all tests share: one application on a migrated database and a store, emptied before each test."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, insert, select, text, update

from registry import create_app, database
from registry.database import Model, db
from registry.domain import sources
from registry.models import Group, InstanceSettings, Project, Role, User
from registry.storage import Storage, cloud
from tests import factories
from tests.acceptance.clients import ENVIRONMENTS, environments_in
from tests.clients import Client, Pip, Rest, Twine
from tests.fakes import s3 as s3_server
from tests.fakes.index import StaticIndex
from tests.fakes.s3 import NoS3, S3Server

SECRET_KEY = "a key that only tests use, long enough to pass"


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Nothing in the tests may speak to another machine by a socket of this process."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            raise AssertionError(f"a test connects to {address}")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    instance = tmp_path_factory.mktemp("instance")
    overrides = {"INSTANCE_PATH": instance, "SECRET_KEY": SECRET_KEY, "UPSTREAM_URL": "https://upstream.test/simple/"}
    if "TEST_DATABASE_URL" in os.environ:  # an empty PostgreSQL database in place of SQLite; one worker (-n 0) only
        overrides["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]
    app = create_app(overrides)
    app.testing = True
    with app.app_context():
        database.upgrade()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(_app: Flask) -> Iterator[Flask]:
    """The application, empty as after the first migration, with its context pushed."""
    with _app.app_context():
        _empty()
        shutil.rmtree(_app.extensions["storage"].root / "sha256", ignore_errors=True)
        yield _app
        db.session.rollback()


def _empty() -> None:
    settings = db.session.execute(select(InstanceSettings.__table__)).mappings().one()
    defaults = {**settings, **factories.INSTANCE_DEFAULTS}
    for table in reversed(Model.metadata.sorted_tables):
        if table.name != "content_generation":
            db.session.execute(table.delete())
    db.session.execute(update(Model.metadata.tables["content_generation"]).values(number=text("number + 1")))
    db.session.execute(insert(InstanceSettings.__table__), defaults)
    db.session.commit()


@pytest.fixture
def storage(app: Flask) -> Storage:
    store: Storage = app.extensions["storage"]
    return store


@pytest.fixture
def store_files(app: Flask) -> object:
    """All files of the store, staged ones included, as relative paths."""
    root: Path = app.extensions["storage"].root
    return lambda: sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


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
    monkeypatch.setattr(sources, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    return _index


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; tests keep what they store apart by ``s3.address()``."""
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
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience with object stores that are silent; what refuses at once is still told from them."""
    for name, seconds in {"CONNECT": 0.5, "READ": 0.5, "PART": 5, "PROBE": 0.8, "SLOW": 0.7, "PAUSE": 0.6}.items():
        monkeypatch.setattr(cloud, f"{name}_SECONDS", seconds)


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
    return factories.user("root", is_admin=True)


@pytest.fixture
def owner(app: Flask) -> User:
    return factories.user("olivia")


@pytest.fixture
def outsider(app: Flask) -> User:
    """A user without any membership."""
    return factories.user("oscar")


@pytest.fixture
def group(owner: User) -> Group:
    """A private group of ``owner``."""
    return factories.group("acme", owner=owner)


@pytest.fixture
def project(group: Group) -> Project:
    """A private project in ``group``."""
    return factories.project("tools", parent=group)


@pytest.fixture
def developer(project: Project) -> User:
    return factories.member(project, Role.DEVELOPER, "dora")


@pytest.fixture
def maintainer(project: Project) -> User:
    return factories.member(project, Role.MAINTAINER, "mark")


@pytest.fixture
def guest(project: Project) -> User:
    return factories.member(project, Role.GUEST, "gwen")
