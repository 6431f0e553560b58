"""Other registries to compare with: each from its package, in an environment and a folder of its own, as a process.

They run with what serves them best here, found by trying: ``Party.settings`` tells.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from registry.domain.packages import simple
from tests.acceptance.servers import RunningServer
from tests.benchmarks import rows
from tests.benchmarks.load import Target
from tests.builders import BuiltFile, build_wheel
from tests.clients import basic

VERSIONS, BUILDS = 20, 50  # of the large package; devpi takes minutes for a thousand versions
START_SECONDS = 60
BOUNDARY = "a-boundary-of-the-benchmarks"
FORMS = {"HTML": simple.PLAIN_HTML, "JSON": simple.JSON}


class Unavailable(Exception):
    """A peer cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Party:
    """A registry that holds a package ``many`` of 1,000 files.

    :ivar pages: its simple page, by form.
    :ivar upload_url: takes twine's form.
    """

    name: str
    settings: str
    pages: Mapping[str, Target]
    upload_url: str
    headers: Mapping[str, str]

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


def large_package() -> list[BuiltFile]:
    """As ``rows.add_releases`` has it."""
    return [
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
    project = server.project()
    rows.add_to(server, project, [("many", f"1.{version}") for version in range(VERSIONS)], BUILDS)
    token = basic(server.root_token)
    return Party("ours", "", _pages(f"{project.url}/simple/many/", token), project.url, token)


@contextmanager
def devpi(folder: Path) -> Iterator[Party]:
    """:raises Unavailable: its package cannot be installed, or does not start."""
    environment = _installed(folder, "devpi-server")
    data, password, threads = folder / "devpi", "secret", 8
    _run(environment / "devpi-init", "--serverdir", data, "--no-root-pypi", "--root-passwd", password)
    port = free_port()
    command = (
        environment / "devpi-server", "--serverdir", data, "--port", port, "--threads", threads, "--offline-mode"
    )  # fmt: skip
    with running(command, port, data / "log"):
        token = _devpi_call(port, "POST", "/+login", {"user": "root", "password": password}, {})["password"]
        headers = {"X-Devpi-Auth": b64encode(f"root:{token}".encode()).decode()}
        _devpi_call(port, "PUT", "/root/dev", {"type": "stage", "bases": [], "volatile": True}, headers)
        url = f"http://127.0.0.1:{port}/root/dev"
        party = Party(
            f"devpi-server {_version(environment, 'devpi-server')}",
            f"--offline-mode --threads {threads}",
            _pages(f"{url}/+simple/many/", {}),
            f"{url}/",
            headers,
        )
        party.upload(large_package())
        yield party


@contextmanager
def pypiserver(folder: Path) -> Iterator[Party]:
    """Pages from its cache, which gunicorn serves best; uploads by its plain server, which takes them best.

    :raises Unavailable: its package cannot be installed, or does not start.
    """
    environment = _installed(folder, "pypiserver[cache]", "gunicorn", "setuptools<81")
    data = folder / "pypiserver"
    data.mkdir()
    for file in large_package():
        (data / file.filename).write_bytes(file.content)
    common = ("-i", "127.0.0.1", "-a", ".", "-P", ".", "--disable-fallback", data)
    pages, uploads = free_port(), free_port()
    serve = (environment / "pypi-server", "run", "--server")
    cached = (*serve, "gunicorn", "--backend", "cached-dir", "-p", pages, *common)
    plain = (*serve, "wsgiref", "--backend", "simple-dir", "-p", uploads, *common)
    with running(cached, pages, folder / "pypiserver-pages.log"), running(plain, uploads, folder / "pypiserver.log"):
        yield Party(
            f"pypiserver {_version(environment, 'pypiserver')}",
            "pages: gunicorn, cached-dir; uploads: wsgiref, simple-dir; no passwords",
            {"HTML": Target("page", f"http://127.0.0.1:{pages}/simple/many/", {})},
            f"http://127.0.0.1:{uploads}/",
            {},
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def uv() -> str | None:
    """The program, from the environment of the tests or the path."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


@contextmanager
def running(command: Sequence[object], port: int, log: Path) -> Iterator[None]:
    """A server of its own, from when it listens to the end of the block.

    :raises Unavailable: it does not start.
    """
    with log.open("wb") as output:
        process = subprocess.Popen([*map(str, command)], stdout=output, stderr=output, cwd=log.parent)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"it does not start: {_last_line(log.read_text())}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()


def _pages(url: str, headers: Mapping[str, str]) -> dict[str, Target]:
    return {name: Target(f"page, {name}", url, {**headers, "Accept": media_type}) for name, media_type in FORMS.items()}


def _installed(folder: Path, *packages: str) -> Path:
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
