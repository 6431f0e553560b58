"""The clients of the matrix, and the projects they publish to and install from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.clients import Environments
from tests.acceptance.matrix.editions import KEYRING_PROGRAM, Edition, editions, installed_version, python_version
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace, RunningServer
from tests.builders import build_sdist, build_wheel

# Every Python can install this wheel, even the oldest.
WHEEL = build_wheel("matrixdemo", "1.0", tag="py2.py3-none-any")
SDIST = build_sdist("matrixdemo", "1.0")


@pytest.fixture(scope="session")
def run_id() -> str:
    return os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())


@pytest.fixture
def tried(client_environment: Environments, home: Path, run_id: str) -> Callable[..., Tried]:
    """``tried(edition, *command)``: the client, run with this command of its environment."""

    def equip(edition: Edition, *command: str) -> Tried:
        python = edition.interpreter(client_environment)
        programs = python.parent
        environment = {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        return Tried(
            (str(programs / command[0]), *command[1:]), home, environment, edition=edition,
            version=installed_version(python, edition.client), python=python_version(python), run_id=run_id,
        )  # fmt: skip

    return equip


@pytest.fixture
def pip(request: pytest.FixtureRequest, tried: Callable[..., Tried]) -> Tried:
    """The current pip, or the edition that the test is parametrized with."""
    pip = tried(getattr(request, "param", editions("pip")[-1]), "python", "-m", "pip")
    pip.environment["PIP_TARGET"] = str(pip.site)
    return pip


@pytest.fixture
def uv(tried: Callable[..., Tried], client_environment: Environments) -> Tried:
    """uv, installing for an environment without packages."""
    [current] = editions("uv")
    uv = tried(current, "uv")
    uv.environment["VIRTUAL_ENV"] = str(client_environment("empty").parent.parent)
    return uv


@pytest.fixture
def poetry(tried: Callable[..., Tried]) -> Tried:
    [current] = editions("poetry")
    poetry = tried(current, "poetry")
    poetry.environment["POETRY_VIRTUALENVS_IN_PROJECT"] = "true"
    return poetry


@pytest.fixture
def pdm(tried: Callable[..., Tried]) -> Tried:
    [current] = editions("pdm")
    pdm = tried(current, "pdm")
    pdm.environment["PDM_CHECK_UPDATE"] = "0"
    return pdm


@pytest.fixture
def keyring_program(client_environment: Environments) -> Path:
    """The folder of the ``keyring`` command."""
    return KEYRING_PROGRAM.interpreter(client_environment).parent


@pytest.fixture(scope="session")
def group(server: RunningServer) -> Namespace:
    """A private group that forwards nothing."""
    made = server.group()
    made.forward(False)
    return made


@pytest.fixture(scope="session")
def shelf(server: RunningServer, group: Namespace) -> Namespace:
    """A private project of ``group`` that holds ``WHEEL`` and ``SDIST``, and is only read."""
    made = server.project(group=group)
    made.publish(WHEEL, SDIST)
    return made


@pytest.fixture(scope="session")
def credentials(group: Namespace) -> Credentials:
    """User name and secret of a deploy token that reads and publishes everywhere in ``group``."""
    return group.deploy_token("read_package_registry", "write_package_registry")


@pytest.fixture
def project(server: RunningServer, group: Namespace) -> Namespace:
    """An empty private project of ``group``."""
    return server.project(group=group)


@pytest.fixture(params=["project", "group"])
def index(request: pytest.FixtureRequest, shelf: Namespace, group: Namespace) -> Namespace:
    """Where to install ``matrixdemo`` from."""
    return {"project": shelf, "group": group}[request.param]
