"""The registry as a program: prepares the installation and serves, in one process or with workers."""

from __future__ import annotations

import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask

from registry import config, database, logs, metrics, server
from registry.blueprints.routing import pypi_path
from registry.database import utcnow
from registry.domain.accounts import first_run
from registry.domain.accounts.first_run import CREDENTIALS_FILE, Credentials
from registry.errors import OperatorError, RegistryError
from registry.factory import create_app
from registry.server import memory


def main() -> int:
    """Upgrade the database, create the first administrator, and serve until stopped."""
    memory.use_one_heap()
    try:
        values = config.load()
        with server.bind(values["HOST"], values["PORT"]) as listener:
            _start(listener, values["INSTANCE_PATH"])
    except (OperatorError, RegistryError) as error:
        _report(error)
        return 1
    return 0


def _start(listener: socket.socket, instance: Path) -> None:
    with _removed_after_failure(instance):
        app = create_app()
        _prepare_in_child(app)
    with app.app_context():
        credentials = first_run.create_administrator(
            password=app.config["ROOT_PASSWORD"],
            token=app.config["ROOT_TOKEN"],
            key=app.config["TOKEN_KEY"],
            instance_path=instance,
            now=utcnow(),
        )

    def announce(port: int) -> None:
        _show(banner(app, port, credentials, shows_secrets=_is_interactive()))

    if app.config["WORKERS"] == 1:
        server.serve(app, listener, announce)
    else:
        _serve_with_workers(app, listener, announce)


@contextmanager
def _removed_after_failure(folder: Path) -> Iterator[None]:
    """Remove an instance folder that the block creates if it fails, such as on a wrong setting at the first start."""
    existed = folder.exists()
    try:
        yield
    except (OperatorError, RegistryError, SystemExit):
        if not existed:
            config.remove_unused_folder(folder)
        raise


def _serve_with_workers(app: Flask, listener: socket.socket, announce: Callable[[int], None]) -> None:
    counts: Path = app.config["INSTANCE_PATH"] / "metrics"
    metrics.empty_folder(counts)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counts)
    database.disconnect(app)
    server.supervise(
        worker_app, listener, lambda: int(config.load()["WORKERS"]), announce, partial(metrics.forget_process, counts)
    )


def worker_app() -> Flask:
    """Create the application of a worker process from the current configuration."""
    app = create_app()
    _prepare(app)
    return app


def _prepare_in_child(app: Flask) -> None:
    """Prepare the installation in a child process, with which its connections and the memory of migrations end.

    If only this process is killed meanwhile, the child completes the upgrade, for which the next start waits.

    :raises OperatorError: the child was killed.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _prepare(app)
            status = 0
        except (OperatorError, RegistryError) as error:
            _report(error)
        except Exception:  # noqa: BLE001 - the end of a process that exits at once shows nothing
            traceback.print_exc()
        finally:
            logging.shutdown()
            os._exit(status)  # without the exit handlers, which are the parent's
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:  # it could print nothing
        raise OperatorError(
            f"the process that prepares the installation was ended by signal {-status}; after 9, memory can be short."
        )
    if status != 0:
        sys.exit(1)
    logs.configure(app.config["LOG_FORMAT"])


def _prepare(app: Flask) -> None:
    """Check the store, and create or upgrade the database."""
    logs.configure(app.config["LOG_FORMAT"])
    app.extensions["storage"].check()  # before the database, which is not created for a store that cannot be used
    app.extensions["storage"].sweep()
    with app.app_context():
        database.upgrade()


def _show(text: str) -> None:
    """Print a text; if nothing reads it, or the disk with it is full, the registry serves nevertheless."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:  # would come again at the exit (Python documentation, "Note on SIGPIPE")
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def _report(error: OperatorError | RegistryError) -> None:
    print(f"The registry cannot start: {error.sentence}", file=sys.stderr, flush=True)


def _is_interactive() -> bool:
    """Return whether a person started the program and reads its output, which otherwise is kept in a log."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def banner(app: Flask, port: int, credentials: Credentials | None, *, shows_secrets: bool) -> str:
    """Return the start banner: URL, data folder, generated credentials, and commands for the first steps.

    :param shows_secrets: whether to show generated credentials, and not only the file that contains them.
    """
    url = app.config["EXTERNAL_URL"] or f"http://{_host(app.config['HOST'])}:{port}"
    instance: Path = app.config["INSTANCE_PATH"]
    lines = [f"Registry at {url}", f"Data in {instance}"]
    token = "$TOKEN"
    if credentials is not None and credentials.generated and shows_secrets:
        lines += [f"Administrator root: {name} {getattr(credentials, name)}" for name in credentials.generated]
        lines.append(f"Shown once; also in {instance / CREDENTIALS_FILE}")
        token = credentials.token if "token" in credentials.generated else token
    elif credentials is not None and credentials.generated:
        lines.append(f"Administrator root: {' and '.join(credentials.generated)} in {instance / CREDENTIALS_FILE}")
    parts = urlsplit(url)
    endpoint = pypi_path("project", "root%2Fdemo")
    lines += [
        "",
        f"Sign in:  {url}/users/sign_in",
        f'Publish:  curl -sSo /dev/null -H "PRIVATE-TOKEN: {token}" -d path=demo {url}/api/v4/projects; '
        f"TWINE_USERNAME=root TWINE_PASSWORD={token} twine upload --repository-url {url}/{endpoint} dist/*",
        f"Install:  pip install --index-url {parts.scheme}://root:{token}@{parts.netloc}{parts.path}/{endpoint}/simple "
        "your-package",
    ]
    if token == "$TOKEN":
        lines.append("(TOKEN stands for an access token with the scope api.)")
    return "\n".join(lines)


def _host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - shown, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host
