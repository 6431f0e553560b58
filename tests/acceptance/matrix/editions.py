"""The clients of the matrix: which, in which versions, with which Python, each in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import Version

from tests.acceptance.clients import ENVIRONMENTS, Environments
from tests.builders import build_wheel

KEYRING = "keyring==25.7.0"  # brings ``file_keyring`` with it


@dataclass(frozen=True)
class Edition:
    """A version of a client.

    :ivar version: ``None`` for the current one.
    :ivar python: the Python of the environment; by default the one that runs the tests.
    :ivar beside: requirements installed with it.
    """

    client: str
    version: str | None = None
    python: str | None = None
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.client} {self.version or 'current'}"

    @property
    def requirement(self) -> str:
        return self.client if self.version is None else f"{self.client}=={self.version}"

    def interpreter(self, client_environment: Environments) -> Path:
        """The Python of its environment, which is created if necessary."""
        requirements = [*self.beside]
        if KEYRING in self.beside:
            requirements.append(str(_file_keyring()))
        return client_environment(
            str(self).replace(" ", "-"),
            self.requirement,
            *requirements,
            python=self.python,
            as_of=datetime.now(UTC).date() if self.version is None else None,
        )


# Old pips limit the forms of a response: 1.5.6 is the oldest that runs, on Python 2.7; 22.0 demands a doctype in
# capitals; 22.3 and 23.1 read no page with "dist-info-metadata" in its JSON; 21.3.1 is the last with html5lib.
EDITIONS = (
    Edition("pip", "1.5.6", "2.7", ("setuptools==41.6.0",)),
    Edition("pip", "9.0.3", "3.6", ("setuptools==59.6.0",)),
    Edition("pip", "20.3.4", "3.9", (KEYRING, "setuptools==59.6.0")),
    Edition("pip", "21.3.1", "3.10", (KEYRING,)),
    Edition("pip", "22.0", beside=(KEYRING,)),
    Edition("pip", "22.3", beside=(KEYRING,)),
    Edition("pip", "23.1", beside=(KEYRING,)),
    Edition("pip", "24.0", beside=(KEYRING,)),
    Edition("pip", beside=(KEYRING,)),
    Edition("uv"),
    Edition("twine", "3.8.0", beside=(KEYRING, "packaging==25.0", "setuptools==80.9.0")),
    Edition("twine", "4.0.2", beside=(KEYRING, "importlib-metadata==7.2.1")),
    Edition("twine", "5.1.1", beside=(KEYRING,)),
    Edition("twine", "6.1.0", beside=(KEYRING,)),
    Edition("twine", beside=(KEYRING,)),
    Edition("setuptools", "41.6.0", "3.7", ("wheel==0.34.2",)),
    Edition("poetry", beside=(KEYRING,)),
    Edition("pdm", beside=(KEYRING, "hishel[httpx]==1.2.1", "unearth==0.18.2")),
    Edition("hatch", beside=(KEYRING,)),
    Edition("flit", beside=(KEYRING, "pip")),
    Edition("pipenv"),
    Edition("python-gitlab", "4.13.0"),
    Edition("python-gitlab"),
)
# Clients that run the ``keyring`` command need it outside their own environment.
KEYRING_PROGRAM = Edition("keyring", "25.7.0", beside=(KEYRING,))
CLIENTS = tuple(dict.fromkeys(edition.client for edition in EDITIONS))


def editions(client: str, *, since: str = "0") -> list[Edition]:
    """The editions of a client from this version on, oldest first."""
    return [
        edition for edition in EDITIONS
        if edition.client == client and (edition.version is None or Version(edition.version) >= Version(since))
    ]  # fmt: skip


def installed_version(python: Path, client: str) -> str:
    """The packages in the environment of this interpreter."""
    [metadata] = python.parent.parent.glob(f"lib/python*/site-packages/{client.replace('-', '_')}-*.dist-info")
    return metadata.name.removesuffix(".dist-info").rpartition("-")[2]


def python_version(python: Path) -> str:
    done = subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True)
    return done.stdout.decode().strip()


def _file_keyring() -> Path:
    """A wheel of ``file_keyring`` on disk."""
    backend = Path(__file__).with_name("file_keyring.py").read_bytes()
    wheel = build_wheel("file-keyring", files={"file_keyring.py": backend})
    path = ENVIRONMENTS / "wheels" / wheel.sha256 / wheel.filename
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f"{os.getpid()}.part")
        written.write_bytes(wheel.content)
        written.replace(path)
    return path
