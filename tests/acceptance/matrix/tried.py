"""A client of the matrix at work."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.clients import Installer, releases
from tests.acceptance.matrix import observations
from tests.acceptance.matrix.editions import Edition
from tests.acceptance.matrix.observations import Observation
from tests.acceptance.servers import Namespace
from tests.builders import BuiltFile

Credentials = tuple[str, str]


@dataclass
class Tried(Installer):
    """A client of the matrix: a program of an environment, whose behavior is recorded."""

    edition: Edition = field(kw_only=True)
    version: str = field(kw_only=True)
    python: str = field(kw_only=True)
    run_id: str = field(kw_only=True)

    def seen(self, subject: str, *facts: str) -> None:
        """Record that this works. Called at the end of a test, when everything in it has worked.

        :param subject: one of ``observations.SUBJECTS``.
        """
        for fact in facts:
            observations.note(Observation(self.edition.client, self.version, self.python, subject, fact), self.run_id)

    def seen_installing_from(self, index: Namespace) -> None:
        self.seen("installs", {"projects": "project", "groups": "group"}[index.kind])

    def in_project(self) -> dict[str, str]:
        """The versions of packages in the environment ``.venv`` that it created, as in ``installed``."""
        found = releases(self.home.glob(".venv/lib/*/site-packages/*.dist-info"))
        return {name: version for name, version in found.items() if name not in ("pip", "setuptools", "wheel")}

    def program(self, name: str) -> Path:
        """Another program of the environment."""
        return Path(self.command[0]).with_name(name)

    def has_in_netrc(self, url: str, credentials: Credentials) -> None:
        username, password = credentials
        self.write(".netrc", f"machine {urlsplit(url).hostname} login {username} password {password}\n").chmod(0o600)

    def has_in_pypirc(self, url: str, credentials: Credentials | None = None, username: str | None = None) -> None:
        """Name the repository ``ours`` in ``.pypirc``, with both or only the user name."""
        fields = {"repository": url, "username": username}
        if credentials is not None:
            fields |= {"username": credentials[0], "password": credentials[1]}
        lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
        self.write(".pypirc", "\n".join(["[distutils]", "index-servers =", "    ours", "", "[ours]", *lines, ""]))

    def has_in_keyring(self, service: str, credentials: Credentials) -> None:
        """Store the credentials in the keyring ``file_keyring``, and use that one."""
        username, password = credentials
        self.write(".keyring.json", json.dumps({service: {username: password}}))
        self.environment["PYTHON_KEYRING_BACKEND"] = "file_keyring.Keyring"

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file into the home folder."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def has_dist(self, *files: BuiltFile) -> list[Path]:
        """Write these files into the folder ``dist``, as a build does."""
        return [self.write(f"dist/{file.filename}", file.content) for file in files]
