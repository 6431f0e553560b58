"""The real clients: programs in environments of their own, run with nothing of what surrounds the tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uv

Environments = Callable[..., Path]
RUN_SECONDS = 150


class Unavailable(Exception):
    """An environment could not be made: the packages in it cannot be had here."""


@dataclass
class Client:
    """A program and the home folder it runs in.

    :ivar home: where it finds ``.netrc`` and ``.pypirc``, and keeps its cache; gone after the test.
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
        """What it says, having ended with 0."""
        status, output = self.run(*arguments, **environment)
        assert status == 0, output
        return output

    def fails(self, *arguments: object, **environment: str) -> str:
        """What it says, having ended with another status than 0."""
        status, output = self.run(*arguments, **environment)
        assert status != 0, output
        return output


@dataclass
class Installer(Client):
    """A client that installs; what it installs goes into a folder of the test's own."""

    @property
    def site(self) -> Path:
        return self.home / "site"

    def installed(self) -> dict[str, str]:
        """The versions of what it installed, by name as in the file system."""
        found = [path.name.removesuffix(".dist-info") for path in self.site.glob("*.dist-info")]
        return {name: version for name, _, version in (release.partition("-") for release in found)}


def clean_environment(home: Path) -> dict[str, str]:
    """Only the loopback address is spoken to, so that neither indexes nor certificates need to be set up."""
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

    Of several processes that ask at once, one makes it. What cannot be downloaded skips the test, in CI fails it.
    """

    def client_environment(name: str, *requirements: str) -> Path:
        try:
            return _made_once(folder / name, requirements)
        except Unavailable as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))

    return client_environment


def uv_command() -> str:
    return str(uv.find_uv_bin())


def _made_once(path: Path, requirements: tuple[str, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    python, done = path / "bin" / "python", path / "made"
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, path)
            if requirements:
                _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", python, *requirements)
            done.touch()
    return python


def _uv(*arguments: object) -> None:
    """Run as the machine is set up, for this is what reaches the package index; only the choice of Python is ours."""
    environment = {name: value for name, value in os.environ.items() if name not in ("UV_PYTHON", "VIRTUAL_ENV")}
    done = subprocess.run(
        [uv_command(), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"the clients cannot be installed from the package index: {done.stderr.strip()[-500:]}")
