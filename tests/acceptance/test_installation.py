"""The registry as a wheel, installed without the checkout: built, served from any folder, used, and upgraded."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.acceptance.clients import Client, Environments, Installer, installs
from tests.acceptance.servers import CHECKOUT, RunningServer
from tests.builders import build_wheel

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]
BUILDING = ("build==1.6.1", "hatchling==1.33.0")
BUILT = ("registry", "static", "templates")


@dataclass(frozen=True)
class Build:
    """What one call of ``python -m build`` has made."""

    wheel: Path
    sdist: Path


class InstalledServer(RunningServer):
    """``pypi-registry serve`` of an environment, in a folder in which it keeps its data."""

    def __init__(self, programs: Path, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self._programs = programs
        self._folder = folder

    def _started(self, log: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._programs / "pypi-registry", "serve"],
            cwd=self._folder, env=self.environment(), stdout=log, stderr=log,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Without the folder of its data, which is ``instance`` in the current one."""
        return {name: value for name, value in super().environment().items() if name != "REGISTRY_INSTANCE_PATH"}

    def shell(self, *arguments: str) -> str:
        """Run a command of ``pypi-registry``; returns what it prints."""
        done = subprocess.run(
            [self._programs / "pypi-registry", *arguments],
            cwd=self._folder, env=self.environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture(scope="module")
def building(client_environment: Environments) -> Client:
    return Client((str(client_environment("building", *BUILDING)), "-m", "build", "--no-isolation"), CHECKOUT)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, building: Client) -> Build:
    """The wheel that is built from the sdist, as ``python -m build`` does."""
    return _built(building, CHECKOUT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, build: Build) -> Path:
    """The programs of a new environment with nothing but the wheel and its dependencies."""
    return _installed(build.wheel, tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[InstalledServer]:
    started = InstalledServer(programs, tmp_path_factory.mktemp("anywhere"), WORKERS="2")
    started.start()
    yield started
    assert started.stop() == 0, started.log
    assert "Traceback" not in started.log


def _built(building: Client, source: Path, folder: Path, *options: str) -> Build:
    building.succeeds("--outdir", folder, *options, source)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Build(wheel, sdist)


def _installed(wheel: Path, environment: Path) -> Path:
    """Install a wheel in a new environment; returns the folder of its programs."""
    installs(sys.executable, "-m", "venv", environment)
    installs(environment / "bin" / "pip", "install", "--quiet", wheel)
    return environment / "bin"


def _files_of_checkout(*folders: str) -> set[str]:
    """Return the files of the checkout that version control does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split() if (CHECKOUT / name).exists()}


def test_the_wheel_holds_every_file_of_the_program(build: Build) -> None:
    with zipfile.ZipFile(build.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    wanted = {name for name in _files_of_checkout(*BUILT) if not name.startswith("static/screenshots/")}
    assert names == {name if name.startswith("registry/") else f"registry/{name}" for name in wanted}


def test_the_sdist_holds_what_a_checkout_needs_and_builds_the_same_wheel(
    build: Build, building: Client, tmp_path: Path
) -> None:
    with tarfile.open(build.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    from_checkout = _built(building, CHECKOUT, tmp_path, "--wheel", "--sdist")

    assert {"app.py", "README.md", "LICENSE", "CHANGELOG.md", *_files_of_checkout(*BUILT, "tests", ".deploy")} <= names
    assert [hashlib.sha256(path.read_bytes()).digest() for path in (build.wheel, build.sdist)] == [
        hashlib.sha256(path.read_bytes()).digest() for path in (from_checkout.wheel, from_checkout.sdist)
    ]


def test_an_installed_registry_publishes_and_installs_with_several_workers(
    server: InstalledServer, twine: Client, pip: Installer, tmp_path: Path
) -> None:
    wheel = build_wheel("anywhere")
    (tmp_path / wheel.filename).write_bytes(wheel.content)
    server.shell("groups", "create", "acme")
    server.shell("projects", "create", "acme/tools")
    token = server.shell("tokens", "create", "root", "--name", "laptop", "--scope", "api").strip()
    endpoint = f"{server.url}/api/v4/projects/acme%2Ftools/packages/pypi"

    twine.succeeds("upload", "--repository-url", endpoint, "-u", "root", "-p", token, tmp_path / wheel.filename)
    pip.succeeds("install", "--index-url", f"{endpoint.replace('://', f'://root:{token}@')}/simple", "anywhere")

    assert pip.installed() == {"anywhere": "1.0"}
    assert len(server.workers()) == 2
    assert server.instance.is_dir()
    assert "anywhere\t1.0" in server.shell("packages", "list", "--project", "acme/tools")


def test_an_installed_registry_has_its_pages_styles_and_translations(server: InstalledServer) -> None:
    page = requests.get(f"{server.url}/help/publish", headers={"Accept-Language": "ja"}, timeout=60)
    [style] = {line for line in page.text.split('"') if line.startswith("/static/app.css?")}

    assert page.status_code == 200
    assert '<html lang="ja"' in page.text
    assert "ヘルプ" in page.text  # from the catalogue
    assert requests.get(server.url + style, timeout=60).content == (CHECKOUT / "static" / "app.css").read_bytes()


def test_a_newer_wheel_replaces_the_installed_one_and_keeps_the_data(
    build: Build, building: Client, tmp_path: Path
) -> None:
    version = build.wheel.name.split("-")[1]
    newer = _built(building, _with_version(build.sdist, tmp_path / "source", version, "99.0"), tmp_path / "newer")
    programs = _installed(build.wheel, tmp_path / "venv")
    server = InstalledServer(programs, tmp_path / "anywhere")
    server.start()
    try:
        before = server.as_root("GET", "/metadata")["revision"], server.shell("--version").strip()
        server.group("kept")

        installs(programs / "pip", "install", "--quiet", "-U", newer.wheel)
        server.restart()

        after = server.as_root("GET", "/metadata")["revision"], server.shell("--version").strip()
        assert (before, after) == ((version, version), ("99.0", "99.0"))
        assert server.as_root("GET", "/groups/kept")["full_path"] == "kept"
    finally:
        server.kill()


def _with_version(sdist: Path, folder: Path, before: str, after: str) -> Path:
    """Unpack an sdist and change the version where it is kept; returns the unpacked folder."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    project = source / "pyproject.toml"
    text = project.read_text()
    assert text.count(f'version = "{before}"') == 1
    project.write_text(text.replace(f'version = "{before}"', f'version = "{after}"'))
    return source
