"""The real server as a process of its own, and groups, projects, users, and tokens for it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
import requests

from tests.builders import BuiltFile
from tests.processes import Forked, app_py, migrated_database

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 150  # on slow machines; less than the timeout of a test, which does not show the log
GUEST, REPORTER, DEVELOPER, MAINTAINER, OWNER = 10, 20, 30, 40, 50
needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="looks into Linux's /proc")
_BANNER = re.compile(rb"^Registry at (https?://\S+)$", re.MULTILINE)


class RunningServer:
    """``python app.py``, the README's command, on a free port of the loopback address with an instance of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """``settings``: start-time settings by name, as text; changes take effect at the next start."""
        self.instance = folder / "instance"
        self.root_password = secrets.token_urlsafe(12)
        self.root_token = "glpat-" + secrets.token_urlsafe(24)
        self.url = ""
        self._log = folder / "server.log"
        self.settings = settings
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._numbers = count(1)
        self._session = requests.Session()
        self._session.trust_env = False

    @property
    def log(self) -> str:
        """Everything written to standard output and standard error, over all starts."""
        return self._log.read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.instance.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            before = log.tell()
            self._process = self._started(log.fileno())
        deadline = time.monotonic() + START_SECONDS
        while not (found := _BANNER.search(self._log.read_bytes(), before)):
            assert self._process.poll() is None, f"the server ended at its start:\n{self.log}"
            assert time.monotonic() < deadline, f"the server did not start:\n{self.log}"
            time.sleep(0.02)
        self.url = found[1].decode()

    def _started(self, log: int) -> subprocess.Popen[bytes] | Forked:
        return subprocess.Popen(
            [sys.executable, "app.py"], cwd=CHECKOUT, env=self.environment(), stdout=log, stderr=log
        )

    def stop(self) -> int:
        """Stop it as an operator does, and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        self.signal(signal.SIGKILL)
        self.wait()

    def restart(self) -> None:
        """Start it again on the same instance, at another port."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(timeout=90)

    def resident_bytes(self, field: str = "VmRSS") -> int:
        """Memory of the process now, or with ``VmHWM`` the most since ``forget_peak``."""
        found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) << 10

    def processor_seconds(self) -> float:
        """Processor time of the process so far, however busy the machine is."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def workers(self) -> set[int]:
        """The processes that answer, where there are several."""
        return {int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()}

    def unnamed_files(self) -> list[str]:
        """Deleted files of the instance folder that take up disk space while the process has them open."""
        links = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                links.append(os.readlink(descriptor))
            except FileNotFoundError:  # closed meanwhile
                continue
        return [link for link in links if link.startswith(str(self.instance)) and link.endswith(" (deleted)")]

    def environment(self) -> dict[str, str]:
        """The environment of the server, without variables of the tests' own."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.instance.parent),
            "LC_ALL": "C.UTF-8",
            "REGISTRY_PORT": "0",
            "REGISTRY_INSTANCE_PATH": str(self.instance),
            "REGISTRY_ROOT_PASSWORD": self.root_password,
            "REGISTRY_ROOT_TOKEN": self.root_token,
            **{f"REGISTRY_{name}": value for name, value in self.settings.items()},
        }

    def request(
        self, method: str, path: str, token: str | None = None, json: Any = None, **options: Any
    ) -> requests.Response:
        """A request to the REST API; ``path`` begins behind ``/api/v4``."""
        headers = {"PRIVATE-TOKEN": token} if token else {}
        headers |= options.pop("headers", {})
        return self._session.request(
            method, f"{self.url}/api/v4{path}", json=json, headers=headers, timeout=60, allow_redirects=False, **options
        )

    def as_root(self, method: str, path: str, json: Any = None) -> Any:
        """The JSON answer to a request of the administrator that must succeed."""
        response = self.request(method, path, self.root_token, json)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def group(self, path: str | None = None, *, parent: Namespace | None = None, **fields: Any) -> Namespace:
        """A new group, private unless ``visibility`` is given."""
        path = path or f"group{next(self._numbers)}"
        made = {"name": path, "path": path, "parent_id": None if parent is None else parent.id, **fields}
        return self._namespace("groups", made)

    def project(self, path: str | None = None, *, group: Namespace | None = None, **fields: Any) -> Namespace:
        """A new project in this group, or in a group of its own; private unless ``visibility`` is given."""
        path = path or f"project{next(self._numbers)}"
        parent = group or self.group(**{key: value for key, value in fields.items() if key == "visibility"})
        return self._namespace("projects", {"name": path, "path": path, "namespace_id": parent.id, **fields})

    def user(self) -> User:
        username = f"user{next(self._numbers)}"
        made = {
            "username": username, "name": username, "email": f"{username}@example.com",
            "password": secrets.token_urlsafe(16), "skip_confirmation": True,
        }  # fmt: skip
        return User(self, self.as_root("POST", "/users", made)["id"], username)

    def _namespace(self, kind: str, fields: dict[str, Any]) -> Namespace:
        made = self.as_root("POST", f"/{kind}", {key: value for key, value in fields.items() if value is not None})
        return Namespace(self, kind, made["id"], made.get("path_with_namespace") or made["full_path"])


class ForkedServer(RunningServer):
    """The same program in a process that is forked, on SQLite with tables that are there already."""

    def start(self) -> None:
        if not self.instance.exists() and not self.settings.get("DATABASE_URL"):
            self.instance.mkdir(mode=0o700, parents=True)
            shutil.copy(migrated_database(), self.instance)
        super().start()

    def _started(self, log: int) -> Forked:
        return Forked(app_py, environment=self.environment(), stdout=log, stderr=log)


@dataclass(frozen=True)
class User:
    server: RunningServer
    id: int
    username: str

    def access_token(self, *scopes: str, **fields: Any) -> str:
        """The secret of a new personal access token; scope ``api`` unless others are named."""
        made = {"name": "workstation", "scopes": scopes or ("api",), **fields}
        secret: str = self.server.as_root("POST", f"/users/{self.id}/personal_access_tokens", made)["token"]
        return secret


@dataclass(frozen=True)
class Namespace:
    """A group or a project. ``kind`` is its collection in the REST API."""

    server: RunningServer
    kind: str
    id: int
    full_path: str

    @property
    def rest_path(self) -> str:
        return f"/{self.kind}/{self.id}"

    @property
    def pypi_path(self) -> str:
        """The path of its PyPI endpoints."""
        return f"/api/v4/{self.kind}/{self.id}" + ("/-" if self.kind == "groups" else "") + "/packages/pypi"

    @property
    def url(self) -> str:
        """Where twine uploads to."""
        return self.server.url + self.pypi_path

    def index_url(self, token: str | None = None, username: str = "workstation", *, by_path: bool = False) -> str:
        """Where pip installs from, with a token in it, by number or by encoded path."""
        url = f"{self.url}/simple"
        if by_path:
            url = url.replace(f"/{self.kind}/{self.id}/", f"/{self.kind}/{quote(self.full_path, safe='')}/")
        return url if token is None else with_credentials(url, username, token)

    def member(self, role: int) -> User:
        """A new user with this role."""
        user = self.server.user()
        self.server.as_root("POST", f"{self.rest_path}/members", {"user_id": user.id, "access_level": role})
        return user

    def deploy_token(self, *scopes: str, **fields: Any) -> tuple[str, str]:
        """User name and secret of a new deploy token."""
        made = self.server.as_root(
            "POST", f"{self.rest_path}/deploy_tokens", {"name": "deployment", "scopes": scopes, **fields}
        )
        return made["username"], made["token"]

    def job_token(self, starter: User) -> str:
        """The secret of a new running job of this user."""
        response = self.server.request(
            "POST", f"{self.rest_path}/jobs", starter.access_token(), {"name": "publish", "ref": "main"}
        )
        assert response.status_code == 201, response.text
        secret: str = response.json()["token"]
        return secret

    def forward(self, value: bool | None) -> None:
        """Set the group's package forwarding."""
        self.server.as_root("PUT", f"{self.rest_path}/package_settings", {"pypi_package_requests_forwarding": value})

    def upload(self, file: BuiltFile, token: str | None = None, **fields: str) -> requests.Response:
        """Upload as twine does; by the administrator unless a token is given. ``fields`` replace form fields."""
        form = {":action": "file_upload", "name": file.name, "version": file.version, "sha256_digest": file.sha256}
        return requests.post(
            self.url,
            data=form | fields,
            files={"content": (file.filename, file.content)},
            auth=("__token__", token or self.server.root_token),
            timeout=120,
        )

    def publish(self, *files: BuiltFile) -> None:
        for file in files:
            response = self.upload(file)
            assert response.status_code == 201, response.text

    def listed(self, name: str) -> dict[str, str]:
        """The address of each file on a simple page, by file name; empty without such a page."""
        response = self.server.request(
            "GET",
            f"{self.pypi_path.removeprefix('/api/v4')}/simple/{name}/",
            self.server.root_token,
            headers={"Accept": "application/vnd.pypi.simple.v1+json"},
        )
        if response.status_code != 200:
            return {}
        return {file["filename"]: file["url"] for file in response.json()["files"]}

    def packages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.as_root("GET", f"{self.rest_path}/packages?per_page=100")
        return found


def with_credentials(url: str, username: str, password: str) -> str:
    parts = urlsplit(url)
    credentials = f"{quote(username, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{credentials}@{parts.netloc}"))
