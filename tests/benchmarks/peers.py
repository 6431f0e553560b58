"""Other registries to compare with: each from its package, in an environment and a folder of its own, as a process.

All hold the same files. They run with the settings that serve them best here, found by trying, and ask for credentials
where they can: see ``Party.settings``.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from registry.domain.packages import simple
from tests.acceptance.servers import RunningServer
from tests.benchmarks.load import Target, answer
from tests.builders import BuiltFile, build_wheel
from tests.clients import basic

VERSIONS, BUILDS = 20, 50  # of the large package; devpi takes minutes for a thousand versions
FEW = 10  # files of the small package
USER, PASSWORD = "benchmarks", "a-password-of-the-benchmarks"
START_SECONDS = 60
BOUNDARY = "a-boundary-of-the-benchmarks"
FORMS = {"HTML": simple.PLAIN_HTML, "JSON": simple.JSON}


class Unavailable(Exception):
    """A peer cannot be measured here; the text gives the reason."""


@dataclass(frozen=True)
class Party:
    """A registry that holds the packages of ``corpus``.

    :ivar few: the simple page of 10 files, by form.
    :ivar many: the one of 1,000 files.
    :ivar upload_url: takes twine's form.
    :ivar headers: of an upload.
    :ivar pid: the process that takes uploads, or the parent of those that do.
    """

    name: str
    settings: str
    few: Mapping[str, Target]
    many: Mapping[str, Target]
    upload_url: str
    headers: Mapping[str, str]
    pid: int | None = None

    def upload(self, files: Sequence[BuiltFile]) -> list[float]:
        """Upload one after another over one connection, as long as the server keeps it; the seconds of each."""
        parts, forms = urlsplit(self.upload_url), [(file.filename, form(file)) for file in files]
        headers = {**self.headers, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        durations = []
        with closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
            for filename, body in forms:
                began = time.perf_counter()
                connection.request("POST", parts.path, body, headers)
                response = connection.getresponse()
                answer = response.read()
                durations.append(time.perf_counter() - began)
                assert response.status in (200, 201), f"{self.name}, {filename}: {response.status} {answer[:300]!r}"
        return durations


def corpus() -> list[BuiltFile]:
    return [build_wheel("few", f"1.{version}") for version in range(FEW)] + [
        build_wheel("many", f"1.{version}", build=str(build or ""))
        for version in range(VERSIONS)
        for build in range(BUILDS)
    ]


def form(file: BuiltFile) -> bytes:
    """The multipart form that twine sends for a small wheel."""
    fields = {
        ":action": "file_upload", "protocol_version": "1", "filetype": "bdist_wheel", "pyversion": "py3",
        "metadata_version": "2.1", "name": file.name, "version": file.version, "summary": "A demonstration",
        "sha256_digest": file.sha256,
    }  # fmt: skip
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    texts = "".join(f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    content = f'{head}"content"; filename="{file.filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return texts.encode() + content.encode() + file.content + f"\r\n--{BOUNDARY}--\r\n".encode()


def ours(server: RunningServer) -> Party:
    project, token = server.project(), basic(server.root_token)
    pages = _pages(f"{project.url}/simple", token, server.pid)
    party = Party("ours", "reads and uploads with a token", *pages, project.url, token, server.pid)
    party.upload(corpus())
    return party


@contextmanager
def peryx(folder: Path) -> Iterator[Party]:
    """:raises Unavailable: its package cannot be installed, or does not start."""
    environment = installed(folder, "peryx==2026.1010.0")
    data, port = folder / "peryx", free_port()
    data.mkdir()
    configuration = data / "peryx.toml"
    configuration.write_text(
        f"""
data_dir = "{data}/data"
[[index]]
ecosystem = "pypi"
name = "hosted"
hosted = true
anonymous_read = false
[[index.access_token]]
name = "{USER}"
secret = "{PASSWORD}"
actions = ["read", "write"]
"""
    )
    command = (environment / "peryx", "serve", "-c", configuration, "--host", "127.0.0.1", "--port", port)
    with running(command, port, data / "log") as pid:
        url, token = f"http://127.0.0.1:{port}/hosted", basic((USER, PASSWORD))
        party = Party(
            f"peryx {_version(environment, 'peryx')}",
            "reads and uploads with a token",
            *_pages(f"{url}/simple", token, pid),
            f"{url}/",
            token,
            pid,
        )
        party.upload(corpus())
        yield party


@contextmanager
def pypiron(folder: Path) -> Iterator[Party]:
    """:raises Unavailable: its package cannot be installed, or does not start."""
    environment = installed(folder, "pypiron==0.0.29")
    data, port = folder / "pypiron", free_port()
    data.mkdir()
    settings = {
        "DATA_DIR": str(data / "data"), "BIND_ADDR": f"127.0.0.1:{port}", "UPLOADER_USER": f"{USER}-uploads",
        "UPLOADER_PASS": PASSWORD, "READ_USER": USER, "READ_PASS": PASSWORD,
    }  # fmt: skip
    variables = {f"PYPIRON_{name}": value for name, value in settings.items()}
    with running((environment / "pypiron", "serve"), port, data / "log", variables) as pid:
        url = f"http://127.0.0.1:{port}"
        party = Party(
            f"pypiron {_version(environment, 'pypiron')}",
            "reads and uploads with a password",
            *_pages(f"{url}/simple", basic((USER, PASSWORD)), pid),
            f"{url}/legacy/",
            basic((f"{USER}-uploads", PASSWORD)),
            pid,
        )
        party.upload(corpus())
        _wait_for_files(party)
        yield party


@contextmanager
def devpi(folder: Path) -> Iterator[Party]:
    """:raises Unavailable: its package cannot be installed, or does not start."""
    environment = installed(folder, "devpi-server")
    data, threads = folder / "devpi", 8
    _run(environment / "devpi-init", "--serverdir", data, "--no-root-pypi", "--root-passwd", PASSWORD)
    port = free_port()
    command = (
        environment / "devpi-server", "--serverdir", data, "--port", port, "--threads", threads, "--offline-mode"
    )  # fmt: skip
    with running(command, port, data / "log") as pid:
        token = _devpi_call(port, "POST", "/+login", {"user": "root", "password": PASSWORD}, {})["password"]
        headers = {"X-Devpi-Auth": b64encode(f"root:{token}".encode()).decode()}
        _devpi_call(port, "PUT", "/root/dev", {"type": "stage", "bases": [], "volatile": True}, headers)
        url = f"http://127.0.0.1:{port}/root/dev"
        party = Party(
            f"devpi-server {_version(environment, 'devpi-server')}",
            f"--offline-mode --threads {threads}; uploads with a token; reads need no credentials without a plugin",
            *_pages(f"{url}/+simple", {}, pid),
            f"{url}/",
            headers,
            pid,
        )
        party.upload(corpus())
        yield party


@contextmanager
def pypiserver(folder: Path) -> Iterator[Party]:
    """Pages from its cache, which gunicorn serves best; uploads by its plain server, which takes them best.

    :raises Unavailable: its package cannot be installed, or does not start.
    """
    environment = installed(folder, "pypiserver[cache,passlib]", "gunicorn", "setuptools<81")
    data, passwords = folder / "pypiserver", folder / "pypiserver-passwords"
    data.mkdir()
    # The cheapest digest that an htpasswd file can hold: the others are slow on purpose, and it checks each request.
    passwords.write_text(f"{USER}:{{SHA}}{b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()}\n")
    for file in corpus():
        (data / file.filename).write_bytes(file.content)
    common = ("-i", "127.0.0.1", "-a", "list,download,update", "-P", passwords, "--disable-fallback", data)
    pages, uploads = free_port(), free_port()
    serve = (environment / "pypi-server", "run", "--server")
    cached = (*serve, "gunicorn", "--backend", "cached-dir", "-p", pages, *common)
    plain = (*serve, "wsgiref", "--backend", "simple-dir", "-p", uploads, *common)
    with (
        running(cached, pages, folder / "pypiserver-pages.log") as pages_pid,
        running(plain, uploads, folder / "pypiserver.log") as pid,
    ):
        token = basic((USER, PASSWORD))
        few, many = _pages(f"http://127.0.0.1:{pages}/simple", token, pages_pid)
        yield Party(
            f"pypiserver {_version(environment, 'pypiserver')}",
            "pages: gunicorn, cached-dir; uploads: wsgiref, simple-dir; reads and uploads with a password; no JSON",
            {"HTML": few["HTML"]},
            {"HTML": many["HTML"]},
            f"http://127.0.0.1:{uploads}/",
            token,
            pid,
        )


PEERS: Mapping[str, Callable[[Path], AbstractContextManager[Party]]] = {
    "pypiron": pypiron, "peryx": peryx, "devpi-server": devpi, "pypiserver": pypiserver,
}  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def uv() -> str | None:
    """The program, from the environment of the tests or the path."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


@contextmanager
def running(
    command: Sequence[object], port: int, log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a server from when it listens to the end of the block; yields its process.

    :param variables: of the environment, in addition to those of this process.
    :raises Unavailable: it does not start.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)], stdout=output, stderr=output, cwd=log.parent, env={**os.environ, **(variables or {})}
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"it does not start: {_last_line(log.read_text())}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()


def _pages(url: str, headers: Mapping[str, str], pid: int) -> tuple[dict[str, Target], dict[str, Target]]:
    """Return the page of 10 files and the one of 1,000, each by form."""
    few, many = (
        {
            name: Target(f"page, {name}", f"{url}/{package}/", {**headers, "Accept": media_type}, pid=pid)
            for name, media_type in FORMS.items()
        }
        for package in ("few", "many")
    )
    return few, many


def _wait_for_files(party: Party) -> None:
    """Wait until the page of 1,000 files is complete: pypiron makes it after it has answered the upload."""
    deadline = time.monotonic() + START_SECONDS
    while len(json.loads(answer(party.many["JSON"]).body)["files"]) < VERSIONS * BUILDS:
        if time.monotonic() > deadline:
            raise Unavailable("its page does not show all files")
        time.sleep(0.1)


def installed(folder: Path, *packages: str) -> Path:
    """The programs of a new environment with these packages."""
    environment = folder / f"environment-{packages[0].partition('[')[0]}"
    program = uv()
    try:
        if program is not None:
            _run(program, "venv", "--quiet", "--python", sys.executable, environment)
            _run(program, "pip", "install", "--quiet", "--python", environment / "bin/python", *packages)
        else:
            _run(sys.executable, "-m", "venv", environment)
            _run(environment / "bin/python", "-m", "pip", "install", "--quiet", *packages)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"it cannot be installed: {_last_line(error.stderr)}") from error
    return environment / "bin"


def _version(environment: Path, package: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return _run(environment / "python", "-c", code).strip()


def _run(*command: object) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=300).stdout


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "no reason given"


def _is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _devpi_call(
    port: int, method: str, path: str, sent: dict[str, object], headers: Mapping[str, str]
) -> dict[str, str]:
    form = {"Content-Type": "application/json", "Accept": "application/json", **headers}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, json.dumps(sent), form)
        response = connection.getresponse()
        answer = response.read()
    assert response.status in (200, 201), answer
    result: dict[str, str] = json.loads(answer)["result"]
    return result
