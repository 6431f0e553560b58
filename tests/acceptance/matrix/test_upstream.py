"""The public index in the mode ``cache``: what clients lock and install, and which lock files are refused."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from tests.acceptance.matrix.test_resolution import program, with_user
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace, RunningServer
from tests.builders import BuiltFile, build_wheel
from tests.fakes.index import StaticIndex

pytestmark = pytest.mark.clients
TOP, BELOW = build_wheel("top", "2.0", requires_dist=["below>=1"]), build_wheel("below", "1.5")
THEIRS, OURS = build_wheel("contested", "9.9"), build_wheel("contested", "1.0")
YOUNG = build_wheel("young", "1.0")
PAGE_SECONDS = 1
ALL = {"top": "2.0", "below": "1.5", "contested": "1.0"}
# What they show of a file at whose address the registry answers 403, or which is missing on its page.
REFUSALS = {
    "uv": "the instance offers files 7 days after their upload, this one from {date}",
    "pip": "the instance offers files 7 days after their upload, this one from {date}",
    "pdm": "Client error '403 Forbidden' for url",
    "poetry": "Unable to find installation candidates for young (1.0)",
}


@pytest.fixture
def public_index() -> Iterator[StaticIndex]:
    index = StaticIndex()
    for file in (TOP, BELOW, THEIRS):
        index.publish(file)
    yield index
    index.close()


@pytest.fixture
def cached(start_server: Callable[..., RunningServer], public_index: StaticIndex) -> Namespace:
    """A private project with a name that the public index has, too, on a server with two processes."""
    server = start_server(UPSTREAM_URL=public_index.url, UPSTREAM_PAGE_SECONDS=str(PAGE_SECONDS), WORKERS="2")
    server.as_root("PUT", "/application/settings", {"pypi_upstream_mode": "cache"})
    project = server.project()
    project.publish(OURS)
    return project


@pytest.fixture
def reader(cached: Namespace) -> Credentials:
    return cached.deploy_token("read_package_registry")


@dataclass
class Program:
    """A program whose requirements a client locks, and installs as they are locked; each time with an empty cache.

    :ivar source: names the index in ``pyproject.toml``.
    :ivar cache: the variable that names the folder of the cache.
    """

    client: Tried
    lock_file: str
    locking: tuple[str, ...]
    installing: tuple[str, ...]
    cache: str
    source: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    runs: Iterator[int] = field(default_factory=count)

    def lock(self, *names: str) -> str:
        """Lock the newest versions of these, and return the lock file."""
        path = self.client.write(self.lock_file, "")
        path.unlink()
        self.client.write("pyproject.toml", program(*names) + self.source)
        self.client.write("requirements.txt", "\n".join(names))
        self.client.succeeds(*self.locking, **self._environment())
        return path.read_text()

    def install(self) -> tuple[int, str]:
        """Install anew what is locked; return exit status and output."""
        for folder in (".venv", "site"):
            shutil.rmtree(self.client.home / folder, ignore_errors=True)
        return self.client.run(*self.installing, **self._environment())

    def installed(self) -> dict[str, str]:
        return self.client.in_project() | self.client.installed()

    def _environment(self) -> dict[str, str]:
        return self.environment | {self.cache: str(self.client.home / f"cache{next(self.runs)}")}


def _with_pip(pip: Tried, index: Namespace, reader: Credentials) -> Program:
    options = ("--index-url", with_user(index.index_url(), reader), "-r")
    return Program(
        pip, "pylock.toml", ("lock", *options, "requirements.txt"), ("install", *options, "pylock.toml"),
        cache="PIP_CACHE_DIR",
    )  # fmt: skip


def _with_uv(uv: Tried, index: Namespace, reader: Credentials) -> Program:
    settings = {"UV_NO_CONFIG": "0", "UV_INDEX_OURS_USERNAME": reader[0], "UV_INDEX_OURS_PASSWORD": reader[1]}
    return Program(
        uv, "uv.lock", ("lock",), ("sync", "--frozen", "--no-install-project"), cache="UV_CACHE_DIR",
        source=f'\n[[tool.uv.index]]\nname = "ours"\nurl = "{index.index_url()}"\ndefault = true\n',
        environment={"VIRTUAL_ENV": "", **settings},
    )  # fmt: skip


def _with_poetry(poetry: Tried, index: Namespace, reader: Credentials) -> Program:
    username, password = reader
    settings = {"POETRY_HTTP_BASIC_OURS_USERNAME": username, "POETRY_HTTP_BASIC_OURS_PASSWORD": password}
    return Program(
        poetry, "poetry.lock", ("lock",), ("install", "--no-root"), cache="POETRY_CACHE_DIR",
        source=f'\n[[tool.poetry.source]]\nname = "ours"\nurl = "{index.index_url()}/"\npriority = "primary"\n',
        environment={"POETRY_KEYRING_ENABLED": "false", **settings},
    )  # fmt: skip


def _with_pdm(pdm: Tried, index: Namespace, reader: Credentials) -> Program:
    return Program(
        pdm, "pdm.lock", ("lock", "--static-urls"), ("sync", "--no-self"), cache="PDM_CACHE_DIR",
        source=f'\n[[tool.pdm.source]]\nname = "pypi"\nurl = "{with_user(index.index_url(), reader)}"\n',
    )  # fmt: skip


PROGRAMS = {"pip": _with_pip, "uv": _with_uv, "poetry": _with_poetry, "pdm": _with_pdm}


@pytest.fixture(params=PROGRAMS)
def installer(request: pytest.FixtureRequest, cached: Namespace, reader: Credentials) -> Program:
    return PROGRAMS[request.param](request.getfixturevalue(request.param), cached, reader)


def test_public_packages_are_locked_and_installed_cold_and_warm_and_while_the_public_index_is_away(
    installer: Program, public_index: StaticIndex, reader: Credentials
) -> None:
    def locked_and_installed() -> str:
        locked = installer.lock("top", "contested")
        status, output = installer.install()
        assert (status, installer.installed()) == (0, ALL), output
        return locked

    cold = locked_and_installed()
    assert locked_and_installed() == cold
    assert [len(public_index.asked_for(f"/files/{file.filename}")) for file in (TOP, BELOW)] == [1, 1]
    assert public_index.asked_for("contested/") == []
    assert not any(reader[1] in str(request) or "Authorization" in request.headers for request in public_index.requests)

    time.sleep(PAGE_SECONDS)  # until the pages are due
    public_index.close()
    assert locked_and_installed() == cold


def test_a_lock_file_does_not_get_around_the_age(
    installer: Program, public_index: StaticIndex, cached: Namespace
) -> None:
    uploaded = datetime.now(UTC)
    public_index.publish(YOUNG, upload_time=uploaded.isoformat())
    assert YOUNG.sha256 in installer.lock("young")

    cached.server.as_root("PUT", "/application/settings", {"pypi_upstream_minimum_age_days": 7})
    status, output = installer.install()

    assert status != 0
    assert installer.installed() == {}
    refusal = REFUSALS[installer.client.edition.client]
    assert refusal.format(date=f"{uploaded + timedelta(days=7):%Y-%m-%d %H:%M} UTC") in output


def test_pip_requires_the_hashes_of_what_the_registry_offers(
    pip: Tried, public_index: StaticIndex, cached: Namespace, reader: Credentials
) -> None:
    public_index.publish(YOUNG, upload_time=datetime.now(UTC).isoformat())
    cached.server.as_root("PUT", "/application/settings", {"pypi_upstream_minimum_age_days": 7})

    def install(*files: BuiltFile) -> tuple[int, str]:
        lines = (f"{file.name}=={file.version} --hash=sha256:{file.sha256}" for file in files)
        requirements = pip.write("requirements.txt", "\n".join(lines))
        url = with_user(cached.index_url(), reader)
        return pip.run("install", "--no-cache-dir", "--index-url", url, "--require-hashes", "-r", requirements)

    status, output = install(TOP, BELOW, OURS)
    assert (status, pip.installed()) == (0, ALL), output
    assert "No matching distribution found for contested==9.9" in install(THEIRS)[1]
    assert "No matching distribution found for young==1.0" in install(YOUNG)[1]
