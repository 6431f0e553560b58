"""A running server with an upstream beside it, and the real clients that speak to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import postgresql
from tests.acceptance.clients import ENVIRONMENTS, Client, Environments, Installer, environments_in, uv_command
from tests.acceptance.servers import ForkedServer, RunningServer
from tests.fakes.upstream import Upstream

NEWEST_PIP = "pip==26.3"
HTML_PIP = "pip==22.0.4"  # asks for nothing but HTML
PUBLISHING = ("twine==7.0.0", "build==1.6.1", "setuptools==84.2.1")


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The index that the server forwards to."""
    started = Upstream()
    yield started
    started.close()


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, postgresql_server: str | None
) -> Iterator[RunningServer]:
    """One server for all tests of this process: they change only records that they created themselves."""
    address = "" if postgresql_server is None else postgresql.create_database(postgresql_server)
    started = RunningServer(tmp_path_factory.mktemp("server"), UPSTREAM_URL=upstream.url, DATABASE_URL=address)
    started.start()
    yield started
    assert started.stop() == 0, started.log


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start servers for one test, each with its own settings; the test can kill them."""
    started: list[RunningServer] = []

    def start(**settings: str) -> RunningServer:
        server = ForkedServer(tmp_path / f"server{len(started)}", **settings)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def client_environment() -> Environments:
    """``client_environment(name, *requirements)``: the interpreter of an environment that is made once and shared."""
    return environments_in(ENVIRONMENTS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home folder in which the clients run."""
    return tmp_path / "home"


def _pip(python: Path, home: Path) -> Installer:
    return Installer((str(python), "-m", "pip"), home, {"PIP_TARGET": str(home / "site")})


@pytest.fixture
def pip(client_environment: Environments, home: Path) -> Installer:
    return _pip(client_environment(NEWEST_PIP, NEWEST_PIP), home)


@pytest.fixture(
    params=[pytest.param(NEWEST_PIP, id="json pip"), pytest.param(HTML_PIP, id="html pip", marks=pytest.mark.slow)]
)
def every_pip(request: pytest.FixtureRequest, client_environment: Environments, home: Path) -> Installer:
    """The newest pip, and one that reads only HTML."""
    return _pip(client_environment(request.param, request.param), home)


@pytest.fixture
def html_pip(client_environment: Environments, home: Path) -> Installer:
    return _pip(client_environment(HTML_PIP, HTML_PIP), home)


@pytest.fixture
def python(client_environment: Environments, home: Path) -> Client:
    """Python with the guide's tools for building and publishing."""
    return Client((str(client_environment("guide", NEWEST_PIP, *PUBLISHING)),), home)


@pytest.fixture
def twine(client_environment: Environments, home: Path) -> Client:
    return Client((str(client_environment("guide", NEWEST_PIP, *PUBLISHING)), "-m", "twine"), home)


@pytest.fixture
def skipping_twine(client_environment: Environments, home: Path) -> Client:
    """The last twine whose ``--skip-existing`` works with private indexes."""
    return Client((str(client_environment("twine-6.1", "twine==6.1.0")), "-m", "twine"), home)


@pytest.fixture
def uv(client_environment: Environments, home: Path) -> Installer:
    """uv, installing for an environment without packages."""
    python = client_environment("empty")
    return Installer((uv_command(),), home, {"VIRTUAL_ENV": str(python.parent.parent)})
