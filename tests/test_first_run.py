"""The first minutes of an installation: ``python app.py`` as a process of its own, and the first administrator."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

import app as program
from registry import config, create_app
from registry.database import db, utcnow
from registry.domain.accounts import access_tokens, first_run, users
from registry.domain.accounts.first_run import CREDENTIALS_FILE, Credentials
from registry.errors import InvalidRecord
from registry.models import AccessToken, InstanceSettings, User
from registry.server import bind
from tests import processes
from tests.acceptance.servers import needs_proc
from tests.factories import token_key
from tests.fakes.nginx import free_port
from tests.processes import Captured, Forked, app_py, migrated_database

PASSWORD = "correct horse battery"
TOKEN = "a-token-of-the-operator"


class Server:
    """The registry on a port that the system chooses."""

    def __init__(self, instance: Path, **settings: str) -> None:
        self.instance = instance
        self.log_path = instance.with_suffix(".log")
        output, stdout = self._channel()
        with self.log_path.open("ab") as log:
            self.process = self._started(stdout, log.fileno(), environment(instance, **settings))
        os.close(stdout)
        with open(output) as lines:
            self.banner = self._banner(lines)
        self.url = self.banner[0].removeprefix("Registry at ")

    def _channel(self) -> tuple[int, int]:
        """Where its output is read, and where it writes it."""
        return os.pipe()

    def _started(self, stdout: int, stderr: int, environment: dict[str, str]) -> subprocess.Popen[bytes] | Forked:
        return Forked(app_py, environment=environment, stdout=stdout, stderr=stderr)

    def _banner(self, output: Iterable[str]) -> list[str]:
        lines: list[str] = []
        for line in output:
            lines.append(line.rstrip("\n"))
            if line.startswith("Install:"):
                return lines
        raise AssertionError(self.log)

    def get(self, path: str, token: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"PRIVATE-TOKEN": token})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        return host.strip("[]"), int(port)


class Program(Server):
    """``python app.py`` in a terminal."""

    def _channel(self) -> tuple[int, int]:
        return pty.openpty()

    def _started(self, stdout: int, stderr: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "app.py"], cwd=config.ROOT, env=environment, stdin=stdout, stdout=stdout, stderr=stderr
        )


def environment(instance: Path, **settings: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    own = {"INSTANCE_PATH": str(instance), "PORT": "0", **settings}
    return inherited | {f"REGISTRY_{name}": value for name, value in own.items()}


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "instance"


@pytest.fixture
def serve(instance: Path) -> Iterator[Callable[..., Server]]:
    """Starts the registry on tables without users; what still runs at the end of the test is killed."""
    servers: list[Server] = []

    def serve(**settings: str) -> Server:
        if not instance.exists():
            instance.mkdir(mode=0o700)
            shutil.copy(migrated_database(), instance)
        servers.append(Server(instance, **settings))
        return servers[-1]

    yield serve
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


Serve = Callable[..., Server]
LookInto = Callable[[Path], None]


@pytest.fixture
def look_into() -> Iterator[LookInto]:
    """Opens an installation beside what serves it; its context stays pushed."""
    contexts: list[Any] = []

    def look_into(instance: Path) -> None:
        contexts.append(create_app({"INSTANCE_PATH": instance}).app_context())
        contexts[-1].push()

    yield look_into
    for context in contexts:
        db.session.remove()
        db.engine.dispose()
        context.pop()


def printed(server: Server, name: str) -> str:
    return next(line.split()[-1] for line in server.banner if line.startswith(f"Administrator root: {name} "))


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The program, started on nothing; no test changes it."""
    server = Program(tmp_path_factory.mktemp("first start") / "instance")
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_the_first_start_shows_its_address_and_the_next_steps(first_start: Server) -> None:
    banner, token = first_start.banner, printed(first_start, "token")

    assert re.fullmatch(r"Registry at http://127\.0\.0\.1:[1-9]\d+", banner[0])
    assert banner[1] == f"Data in {first_start.instance}"
    assert f"Shown once; also in {first_start.instance / CREDENTIALS_FILE}" in banner
    sign_in, publish, install = banner[-3:]
    assert sign_in == f"Sign in:  {first_start.url}/users/sign_in"
    assert publish.startswith("Publish:  ")
    repository = f"{first_start.url}/api/v4/projects/root%2Fdemo/"
    assert f"TWINE_PASSWORD={token} twine upload --repository-url {repository}" in publish
    assert install.startswith("Install:  pip install --index-url ")
    assert f"root:{token}@" in install


def test_generated_credentials_are_kept_in_a_file_for_its_owner_alone(first_start: Server) -> None:
    path = first_start.instance / CREDENTIALS_FILE

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().splitlines() == [
        "user: root",
        f"password: {printed(first_start, 'password')}",
        f"token: {printed(first_start, 'token')}",
    ]


def test_the_printed_token_works_at_once(first_start: Server) -> None:
    user = first_start.get("/api/v4/user", printed(first_start, "token"))

    assert (user["username"], user["is_admin"]) == ("root", True)


def test_the_printed_password_is_that_of_an_administrator_who_has_to_change_it(
    first_start: Server, look_into: LookInto
) -> None:
    look_into(first_start.instance)

    user = users.verify_password("root", printed(first_start, "password"))

    assert user is not None
    assert user.is_admin
    assert user.must_change_password


def test_no_secret_is_kept_in_clear_but_in_the_credentials_file_nor_logged(first_start: Server) -> None:
    secrets = [printed(first_start, "password"), printed(first_start, "token")]
    first_start.get("/api/v4/user", secrets[1])

    holding = {
        path.name
        for path in first_start.instance.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    }

    assert holding == {CREDENTIALS_FILE}
    assert [secret for secret in secrets if secret in first_start.log] == []


def test_a_password_and_a_token_that_were_given_are_used_and_not_shown(
    serve: Serve, instance: Path, look_into: LookInto
) -> None:
    server = serve(ROOT_PASSWORD=PASSWORD, ROOT_TOKEN=TOKEN)

    assert server.get("/api/v4/user", TOKEN)["username"] == "root"
    assert PASSWORD not in "\n".join(server.banner)
    assert TOKEN not in "\n".join(server.banner)
    assert "twine upload" in server.banner[-2]
    assert "TWINE_PASSWORD=$TOKEN" in server.banner[-2]
    assert not (instance / CREDENTIALS_FILE).exists()
    look_into(instance)
    user = users.verify_password("root", PASSWORD)
    assert user is not None
    assert not user.must_change_password


def test_a_start_without_a_terminal_only_names_the_file_with_password_and_token(serve: Serve, instance: Path) -> None:
    server = serve()

    user, *generated = (instance / CREDENTIALS_FILE).read_text().splitlines()
    secrets = dict(line.split(": ") for line in generated)
    assert user == "user: root"
    assert list(secrets) == ["password", "token"]
    assert server.banner[2] == f"Administrator root: password and token in {instance / CREDENTIALS_FILE}"
    shown = "\n".join(server.banner) + server.log
    assert [name for name, secret in secrets.items() if secret in shown] == []
    assert "TWINE_PASSWORD=$TOKEN" in server.banner[-2]
    assert server.get("/api/v4/user", secrets["token"])["username"] == "root"


def test_beside_a_given_password_only_a_token_is_generated(serve: Serve, instance: Path) -> None:
    server = serve(ROOT_PASSWORD=PASSWORD)

    user, token = (instance / CREDENTIALS_FILE).read_text().splitlines()
    assert user == "user: root"
    assert server.banner[2] == f"Administrator root: token in {instance / CREDENTIALS_FILE}"
    assert server.get("/api/v4/user", token.removeprefix("token: "))["username"] == "root"


def test_a_second_start_creates_and_shows_nothing_new(serve: Serve, instance: Path, look_into: LookInto) -> None:
    first = serve()
    assert first.stop() == 0
    credentials = (instance / CREDENTIALS_FILE).read_text()

    second = serve(ROOT_PASSWORD=PASSWORD, ROOT_TOKEN=TOKEN)

    assert [line for line in second.banner if line.startswith("Administrator")] == []
    assert (instance / CREDENTIALS_FILE).read_text() == credentials
    look_into(instance)
    assert db.session.scalars(select(User.username)).all() == ["root"]
    assert len(db.session.scalars(select(AccessToken.id)).all()) == 1
    assert users.verify_password("root", PASSWORD) is None


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"HOST": "localhost"}, r"http://localhost:\d+"),
        ({"HOST": "0.0.0.0"}, r"http://localhost:\d+"),
        ({"HOST": "::1"}, r"http://\[::1\]:\d+"),
        ({"EXTERNAL_URL": "https://pypi.example.com/registry"}, r"https://pypi\.example\.com/registry"),
    ],
    ids=["a name", "all addresses", "IPv6", "behind a proxy"],
)
def test_the_banner_shows_an_address_that_can_be_opened(serve: Serve, settings: dict[str, str], address: str) -> None:
    server = serve(**settings)

    assert re.fullmatch(f"Registry at {address}", server.banner[0])
    if "EXTERNAL_URL" not in settings:
        with urllib.request.urlopen(f"{server.url}/-/health", timeout=30) as response:
            assert response.status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["terminate", "Ctrl-C"])
def test_a_stop_is_clean(serve: Serve, number: signal.Signals) -> None:
    server = serve()

    assert server.stop(number) == 0
    assert "Traceback" not in server.log


def test_a_stop_lets_a_running_request_finish_and_takes_no_new_one(serve: Serve) -> None:
    server = serve(ROOT_TOKEN=TOKEN)
    body = b'{"name": "Acme", "path": "acme"}'
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(
            b"POST /api/v4/groups HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"PRIVATE-TOKEN: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (TOKEN.encode(), len(body))
        )
        connection.sendall(body[:10])
        time.sleep(0.2)

        server.process.send_signal(signal.SIGTERM)
        wait_until_refused(server.address)
        assert server.process.poll() is None
        connection.sendall(body[10:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert server.process.wait(timeout=30) == 0


def wait_until_refused(address: tuple[str, int]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=5).close()
        except (ConnectionRefusedError, ConnectionResetError):  # reset: it was waiting to be accepted
            return
        time.sleep(0.05)
    pytest.fail("still takes connections")


def test_idle_connections_do_not_hold_up_a_stop(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(server.address, timeout=30):
        started = time.monotonic()

        assert server.stop() == 0

    assert time.monotonic() - started < 15


def refused_start(instance: Path, **settings: str) -> str:
    """The one sentence with which a start fails."""
    result = processes.run(app_py, environment=environment(instance, **settings))
    return _refusal(result.returncode, result.stdout, result.stderr)


def _refusal(status: int, out: str, err: str) -> str:
    assert (status, out) == (1, "")
    assert err.count("\n") == 1, err
    assert err.startswith("The registry cannot start: ")
    return err.removeprefix("The registry cannot start: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"PORT": "eighty"}, "REGISTRY_PORT is 'eighty'; expected a whole number from 0 to 65535."),
        ({"THREADS": "0"}, "REGISTRY_THREADS is '0'; expected a whole number from 1 to 256."),
        ({"ROOT_PASSWORD": "hush"}, "REGISTRY_ROOT_PASSWORD has 4 characters; expected"),
        ({"DATABASE_URL": "mysql://u:hush@db/x"}, "REGISTRY_DATABASE_URL begins with 'mysql://'; expected"),
        ({"DATABASE_URL": "postgresql://u:hush@[::1/x"}, "REGISTRY_DATABASE_URL has a host or port that cannot"),
        ({"STORAGE_URL": "file:///dev/null/packages"}, "The package folder /dev/null/packages cannot be created: Not"),
        ({"HOST": "192.0.2.1"}, "REGISTRY_HOST and REGISTRY_PORT are 192.0.2.1:0, which cannot be listened on: "),
        ({"HOST": "no such host"}, "REGISTRY_HOST and REGISTRY_PORT are no such host:0, which cannot be listened on"),
        ({"HOST": "a" * 64 + ".example"}, "REGISTRY_HOST and REGISTRY_PORT are aaa"),
    ],
    ids=[
        "port", "threads", "password", "kind of database", "database address", "package folder",
        "address of another machine", "no host name", "impossible host name",
    ],
)  # fmt: skip
def test_a_wrong_setting_stops_the_start_with_one_sentence(
    instance: Path,
    settings: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment(instance, **settings).items():
        monkeypatch.setenv(name, value)

    told = _refusal(program.main(), *capsys.readouterr())

    assert told.startswith(sentence)
    assert "hush" not in told
    assert not instance.exists()


@pytest.mark.parametrize("address", ["postgresql://u:hush@127.0.0.1:1/x", "sqlite:////dev/null/x"])
def test_a_database_that_cannot_be_opened_stops_the_start_with_one_sentence(instance: Path, address: str) -> None:
    told = refused_start(instance, DATABASE_URL=address)

    assert told.startswith("The database (REGISTRY_DATABASE_URL) cannot be opened: ")
    assert "hush" not in told
    assert not instance.exists()


@contextmanager
def preparing(instance: Path) -> Iterator[tuple[Captured, int]]:
    """A start that waits for another upgrade of its database, and the process that prepares the installation."""
    instance.mkdir(mode=0o700)
    database = shutil.copy(migrated_database(), instance)
    with open(f"{database}.upgrade-lock", "w") as another_upgrade:
        fcntl.flock(another_upgrade, fcntl.LOCK_EX)
        process = Captured(app_py, environment=environment(instance))
        yield process, only_child(process.pid)


@needs_proc
def test_a_start_whose_preparation_is_killed_ends_with_one_sentence(instance: Path) -> None:
    with preparing(instance) as (process, child):
        os.kill(child, signal.SIGKILL)

        told = _refusal(process.wait(60), *process.communicate())

    assert told == "the process that prepares the installation was ended by signal 9; after 9, memory can be short."


@needs_proc
def test_ctrl_c_before_it_serves_ends_the_registry_without_a_word(instance: Path) -> None:
    with preparing(instance) as (process, child):
        process.send_signal(signal.SIGINT)

        assert process.wait(60) == -signal.SIGINT
        os.kill(child, signal.SIGKILL)
    assert process.communicate() == ("", "")


def without_reader() -> int:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def on_a_full_disk() -> int:
    """A file that takes nothing."""
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("output", [without_reader, on_a_full_disk])
def test_it_serves_although_its_output_cannot_be_written(instance: Path, output: Callable[[], int]) -> None:
    instance.mkdir(mode=0o700)
    shutil.copy(migrated_database(), instance)
    port, writer = free_port(), output()
    log_path = instance.with_suffix(".log")
    with log_path.open("w") as log:
        process = Forked(app_py, environment=environment(instance, PORT=str(port)), stdout=writer, stderr=log.fileno())
        os.close(writer)
        try:
            assert answers(port, process)
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert "Traceback" not in log_path.read_text()


def answers(port: int, process: Forked) -> bool:
    """Whether the process answers before it ends."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/liveness", timeout=30) as response:
                return bool(response.status == 200)
        except urllib.error.URLError:
            time.sleep(0.05)
    return False


class ProgramWithoutStreams(Server):
    """``python app.py``, started with its standard input and standard error closed, as some service managers do."""

    def _started(self, stdout: int, stderr: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        closing = ["sh", "-c", 'exec "$0" app.py <&- 2>&-', sys.executable]
        return subprocess.Popen(closing, cwd=config.ROOT, env=environment, stdout=stdout)


@needs_proc
def test_it_serves_without_standard_input_and_error_and_gives_their_descriptors_to_no_other_file(
    instance: Path,
) -> None:
    instance.mkdir(mode=0o700)
    shutil.copy(migrated_database(), instance)
    server = ProgramWithoutStreams(instance)
    try:
        with urllib.request.urlopen(f"{server.url}/-/liveness", timeout=30) as response:
            assert response.status == 200
        streams = [os.readlink(f"/proc/{server.process.pid}/fd/{descriptor}") for descriptor in (0, 2)]
    finally:
        status = server.stop()

    assert streams == [os.devnull, os.devnull]
    assert status == 0


def only_child(pid: int) -> int:
    """The child of a process, as soon as it has one."""
    deadline = time.monotonic() + 60
    while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (child,) = children
    return int(child)


def test_a_port_in_use_stops_the_start_before_anything_is_created(instance: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        told = refused_start(instance, PORT=str(port))

    assert told == (
        f"REGISTRY_HOST and REGISTRY_PORT are 127.0.0.1:{port}, which cannot be listened on: Address already in use."
    )
    assert not instance.exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_two_registries_that_start_at_one_port_the_slower_one_ends_with_one_sentence(
    instance: Path, workers: str
) -> None:
    """Both are bound to it before one of them listens."""
    instance.mkdir(mode=0o700)
    database = shutil.copy(migrated_database(), instance)
    with closing(bind("127.0.0.1", 0)) as faster, open(f"{database}.upgrade-lock", "w") as another_upgrade:
        port = faster.getsockname()[1]
        fcntl.flock(another_upgrade, fcntl.LOCK_EX)
        process = Captured(app_py, environment=environment(instance, PORT=str(port), WORKERS=workers))
        only_child(process.pid)  # after it was bound
        faster.listen()
        another_upgrade.close()

        told = _refusal(process.wait(60), *process.communicate())

    assert told.endswith(f"127.0.0.1:{port}, which cannot be listened on: Address already in use.")


def create(app: Flask, folder: Path, **given: str) -> Credentials | None:
    chosen = {"password": None, "token": None, **given}
    return first_run.create_administrator(**chosen, key=token_key(), instance_path=folder, now=utcnow())


@needs_proc
def test_the_credentials_are_on_the_disk_before_they_are_shown(app: Flask, tmp_path: Path, monkeypatch) -> None:
    synced, sync = [], os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    create(app, tmp_path)

    assert str(tmp_path / CREDENTIALS_FILE) in synced


def test_the_first_token_has_the_scope_api_and_lives_for_thirty_days(app: Flask, tmp_path: Path) -> None:
    credentials = create(app, tmp_path)

    assert credentials is not None
    token = access_tokens.find_access_token(credentials.token, token_key())
    assert token is not None
    assert token.scopes == ["api"]
    assert token.expires_on == (utcnow() + timedelta(days=30)).date()
    assert token.user.username == "root"


def test_the_first_token_carries_the_prefix_of_the_instance(app: Flask, tmp_path: Path) -> None:
    InstanceSettings.current().personal_access_token_prefix = "acme-"
    db.session.commit()

    credentials = create(app, tmp_path)

    assert credentials is not None
    assert credentials.token.startswith("acme-")


def test_an_installation_with_any_user_gets_no_administrator(app: Flask, tmp_path: Path, owner: User) -> None:
    assert create(app, tmp_path) is None

    assert db.session.scalars(select(User.username)).all() == ["olivia"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "lines"),
    [({"password": PASSWORD}, ["user", "token"]), ({"token": TOKEN}, ["user", "password"])],
    ids=["password given", "token given"],
)
def test_only_generated_credentials_are_written_down(
    app: Flask, tmp_path: Path, given: dict[str, str], lines: list[str]
) -> None:
    credentials = create(app, tmp_path, **given)

    written = (tmp_path / CREDENTIALS_FILE).read_text()
    assert credentials is not None
    assert [line.split(":")[0] for line in written.splitlines()] == lines
    assert list(credentials.generated) == lines[1:]
    assert next(iter(given.values())) not in written


def test_a_credentials_file_of_an_earlier_attempt_is_replaced(app: Flask, tmp_path: Path) -> None:
    (tmp_path / CREDENTIALS_FILE).write_text("password: of a start that was killed\n")
    (tmp_path / CREDENTIALS_FILE).chmod(0o644)

    credentials = create(app, tmp_path)

    assert credentials is not None
    assert f"password: {credentials.password}\n" in (tmp_path / CREDENTIALS_FILE).read_text()
    assert stat.S_IMODE((tmp_path / CREDENTIALS_FILE).stat().st_mode) == 0o600


def test_an_account_without_a_usable_password_is_not_created(app: Flask, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create(app, tmp_path / "gone")

    assert db.session.scalars(select(User.id)).all() == []


def test_a_password_that_breaks_the_rules_creates_nothing(app: Flask, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="password is too short"):
        create(app, tmp_path, password="short")

    assert db.session.scalars(select(User.id)).all() == []
    assert list(tmp_path.iterdir()) == []


def test_of_several_first_starts_one_creates_the_administrator(app: Flask, tmp_path: Path) -> None:
    made: list[Credentials | None] = []

    def start() -> None:
        with app.app_context():
            made.append(create(app, tmp_path))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [credentials] = [one for one in made if one is not None]
    assert len(made) == 4
    assert f"password: {credentials.password}\n" in (tmp_path / CREDENTIALS_FILE).read_text()
    assert db.session.scalars(select(User.username)).all() == ["root"]
