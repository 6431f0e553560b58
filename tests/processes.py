"""Processes that start in a fifth of the time: forked from one that has loaded the registry.

What runs in them is the program itself, with an environment and standard streams of its own. Only the start of the
interpreter and the imports are left out.
"""

from __future__ import annotations

import atexit
import functools
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
# Including the modules that the program imports on demand.
_LATE = ["alembic.command", "registry.program", "registry.storage.cloud", *(f"registry.cli.{name}" for name in (
    "backup", "database", "importing", "moving", "namespaces", "packages", "paths", "tokens", "users",
))]  # fmt: skip
_FORKS.set_forkserver_preload(["app", "flask.cli", *_LATE, __name__])


class Forked:
    """A process of its own, used as ``subprocess.Popen``."""

    def __init__(
        self,
        act: Callable[..., object],
        *arguments: object,
        environment: Mapping[str, str] = os.environ,
        stdin: int | None = None,
        stdout: int,
        stderr: int,
    ) -> None:
        """Call ``act(*arguments)``; the exit status is its result, or the argument of ``sys.exit``.

        :param stdin: a file descriptor, as ``stdout`` and ``stderr``; without one there is nothing to read.
        """
        given = {0: stdin, 1: stdout, 2: stderr}
        streams = {number: DupFd(descriptor) for number, descriptor in given.items() if descriptor is not None}
        self._process = _FORKS.Process(target=_call, args=(act, arguments, dict(environment), streams), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; ``None`` while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Captured(Forked):
    """A forked process whose output is read when it has ended."""

    def __init__(
        self, act: Callable[..., object], *arguments: object, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._files = (TemporaryFile(), TemporaryFile())  # noqa: SIM115 - closed by ``communicate``
        stdout, stderr = (file.fileno() for file in self._files)
        super().__init__(act, *arguments, environment=environment, stdout=stdout, stderr=stderr)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return standard output and standard error."""
        self.wait(timeout)
        written = []
        for file in self._files:
            file.seek(0)
            written.append(file.read().decode())
            file.close()
        return written[0], written[1]


def run(
    act: Callable[..., object], *arguments: object, environment: Mapping[str, str] = os.environ, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Call ``act(*arguments)`` in a process of its own and wait for its end."""
    process = Captured(act, *arguments, environment=environment)
    written = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.wait(), *written)


@functools.cache
def migrated_database() -> Path:
    """A file with an SQLite database of the newest version without users, to copy; made once."""
    from registry import create_app, database
    from registry.database import db

    instance = Path(mkdtemp())
    atexit.register(shutil.rmtree, instance, ignore_errors=True)
    with create_app({"INSTANCE_PATH": instance, "DATABASE_URL": None}).app_context():
        database.upgrade()
        db.session.remove()
        db.engine.dispose()
    return instance / "registry.sqlite3"


def app_py() -> int:
    """``python app.py``."""
    import app

    return app.main()


def flask(*arguments: str) -> None:
    """``python -m flask <arguments>``."""
    from flask.cli import main

    sys.argv = ["flask", *arguments]
    main()


def _call(
    act: Callable[..., object], arguments: tuple[Any, ...], environment: dict[str, str], streams: dict[int, Any]
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in streams.items():
        descriptor = stream.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    if 0 in streams:  # there is another file in the place of standard input
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    sys.exit(act(*arguments))  # type: ignore[arg-type]
