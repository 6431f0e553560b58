"""A PostgreSQL server of the tests' own, with ``pytest --database postgresql``: nothing has to be set up for it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

START_SECONDS = 60
USER = "postgres"
# As most systems set up their databases, the language decides how texts are ordered and what lower case is.
INITDB = ("--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
LANGUAGE = ("--locale-provider", "icu", "--icu-locale", "en-US")
# Tests survive no power cut: data handed to the operating system is as good as written.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": "200"}


def binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``: those in the path, or else the newest that Debian has installed."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return versions[-1] if versions else None


class Server:
    """A server on a port of the loopback address, as a process of this one; stopped, all it held is gone."""

    def __init__(self, programs: Path, **settings: str) -> None:
        """``settings``: instead of those in ``SETTINGS``."""
        self._programs = programs
        self._settings = SETTINGS | settings
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self._as_user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            account = pwd.getpwnam(_unprivileged())
            self._as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "--pgdata", str(self._folder / "data"), *INITDB, *LANGUAGE)
        self._port = _free_port()
        self.start()

    @property
    def address(self) -> str:
        """Where databases are made: the address of the server's own one."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = self._settings | {"port": str(self._port), "unix_socket_directories": str(self._folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *options],
                cwd=self._folder, env=self._environment, stdout=log, stderr=log, **self._as_user,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=10).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.02)

    def crash(self) -> None:
        """Stop it at once, without notice to its clients (``pg_ctl stop --mode immediate``)."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=60)

    def close(self) -> None:
        self.crash()
        shutil.rmtree(self._folder)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text("utf-8", "replace")

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "HOME": str(self._folder), "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], cwd=self._folder, env=self._environment,
            capture_output=True, text=True, check=False, **self._as_user,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


_numbers = count(1)


def create_database(server: str, *options: str) -> str:
    """The address of a new, empty database.

    :param server: the address of the server's own database.
    """
    name = f"tests_{os.getpid()}_{next(_numbers)}"
    _execute(server, " ".join(["CREATE DATABASE", name, *options]))
    return server.rpartition("/")[0] + "/" + name


@contextmanager
def new_database(server: str, *options: str) -> Iterator[str]:
    """A database of a test's own."""
    address = create_database(server, *options)
    yield address
    _execute(server, f"DROP DATABASE {address.rpartition('/')[2]} WITH (FORCE)")


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def _unprivileged() -> str:
    names = {account.pw_name for account in pwd.getpwall()}
    return next(name for name in (USER, "nobody") if name in names)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
