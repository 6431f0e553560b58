"""A GitLab instance, in small: its REST API for packages, and its file endpoint, which redirects to an object store.

Written from GitLab's documentation ("Packages API", "REST API: pagination", "PyPI API") and not from this registry.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from tests.builders import BuiltFile
from tests.fakes.index import FILE, Fault, StaticIndex
from tests.fakes.upstream import ReceivedRequest

UPLOADED = "2021-02-03T04:05:06.789Z"
USER = {
    "id": 12, "username": "ada", "name": "Ada Lovelace", "state": "active", "avatar_url": "https://gravatar.test/a",
    "web_url": "https://gitlab.test/ada",
}  # fmt: skip
PIPELINE = {
    "id": 123, "iid": 7, "project_id": 9, "sha": "11bb5dcb" * 5, "ref": "main", "status": "success", "source": "push",
    "created_at": "2021-02-03T04:00:00.000Z", "updated_at": "2021-02-03T04:06:00.000Z",
    "web_url": "https://gitlab.test/acme/tools/-/pipelines/123", "user": USER,
}  # fmt: skip


@dataclass
class Package:
    """A package of a project, with the entries of its files as the API shows them."""

    id: int
    name: str
    version: str
    package_type: str
    status: str
    files: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Project:
    id: int
    path: str
    packages: list[Package] = field(default_factory=list)


class GitLab:
    """Serves projects and groups.

    :ivar token: the required token; empty for a public instance.
    :ivar page_size: the largest page, below GitLab's 100 so that few packages fill several.
    :ivar external_url: the address in links, which can differ from that of a request.
    :ivar uses_keyset: whether lists are paged by cursors instead of numbers.
    :ivar store: the object store to which downloads are redirected.
    """

    def __init__(self) -> None:
        self.store = StaticIndex()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        self.clear()

    def clear(self) -> None:
        """Be as at the beginning."""
        self.token, self.page_size, self.uses_keyset, self.external_url = "", 2, False, "https://gitlab.test"
        self.requests: list[ReceivedRequest] = []
        self.projects: dict[int, Project] = {}
        self.groups: dict[int, str] = {}
        self._contents: dict[tuple[int, str, str], bytes] = {}
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._ids = 0
        self.store.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.store.close()

    def add_group(self, path: str, group_id: int = 0) -> int:
        group_id = group_id or self._next_id()
        self.groups[group_id] = path
        return group_id

    def add_project(self, path: str, project_id: int = 0) -> Project:
        project = Project(project_id or self._next_id(), path)
        self.projects[project.id] = project
        return project

    def publish(
        self, project: Project, *files: BuiltFile, package_type: str = "pypi", status: str = "default",
        version: str = "", pipelines: Iterable[dict[str, Any]] = (), **changes: Any,
    ) -> None:  # fmt: skip
        """Add files to packages of a project; ``changes`` are of the entries of the files."""
        for file in files:
            key = (file.name, version or file.version, package_type, status)
            package = next(
                (one for one in project.packages if (one.name, one.version, one.package_type, one.status) == key), None
            )
            if package is None:
                package = Package(self._next_id(), *key)
                project.packages.append(package)
            entry: dict[str, Any] = {
                "id": self._next_id(), "package_id": package.id, "created_at": UPLOADED, "file_name": file.filename,
                "size": len(file.content), "file_md5": hashlib.md5(file.content).hexdigest(), "file_sha1": None,
                "file_sha256": file.sha256,
            }  # fmt: skip
            if pipelines := list(pipelines):  # GitLab leaves the attribute out where a file has none
                entry["pipelines"] = pipelines
            package.files.append(entry | changes)
            self._contents[project.id, file.sha256, file.filename] = file.content

    def fail(self, path: str, *faults: int | Fault) -> None:
        """Answer the next requests for a path below ``/api/v4/`` with these; a number is a status."""
        self._faults[path].extend(Fault(fault) if isinstance(fault, int) else fault for fault in faults)

    def asked_for(self, path: str) -> list[ReceivedRequest]:
        return [request for request in self.requests if urlsplit(request.path).path == f"/api/v4/{path}"]

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def answer(self, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        """Return status, headers, and JSON of the response to a request."""
        parts = urlsplit(target)
        query, path = dict(parse_qsl(parts.query)), parts.path.removeprefix("/api/v4/")
        if self._faults[path]:
            fault = self._faults[path].popleft()
            return fault.status, dict(fault.headers), {"message": "failed"}
        download = re.fullmatch("projects/([^/]+)/packages/pypi/files/([0-9a-f]{64})/(.+)", path)
        if not self._is_admitted(headers, is_download=download is not None):
            return 401, {}, {"message": "401 Unauthorized"}
        if download:
            return self._download(self._project(download[1]), download[2], unquote(download[3]))
        if found := re.fullmatch("projects/([^/]+)/packages", path):
            project = self._project(found[1])
            entries = None if project is None else self._packages([project], query)
            return self._page(path, entries, query)
        if found := re.fullmatch("groups/([^/]+)/packages", path):
            return self._page(path, self._packages_below(found[1], query), query)
        if found := re.fullmatch("projects/([^/]+)/packages/([0-9]+)/package_files", path):
            project = self._project(found[1])
            files = [one.files for one in project.packages if str(one.id) == found[2]] if project else []
            return self._page(path, files[0] if files else None, query)
        return 404, {}, {"error": "404 Not Found"}

    def _is_admitted(self, headers: dict[str, str], *, is_download: bool) -> bool:
        if not self.token:
            return True
        if not is_download:
            return self.token in (headers.get("PRIVATE-TOKEN"), headers.get("Deploy-Token"), headers.get("JOB-TOKEN"))
        sent = headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(sent).decode().partition(":")[2] == self.token

    def _project(self, wanted: str) -> Project | None:
        name = unquote(wanted)
        return next((one for one in self.projects.values() if name in (str(one.id), one.path)), None)

    def _packages(self, projects: Iterable[Project], query: dict[str, str]) -> list[dict[str, Any]]:
        return [
            {
                "id": package.id, "name": package.name, "version": package.version,
                "package_type": package.package_type, "status": package.status, "created_at": UPLOADED, "tags": [],
                "_links": {"web_path": f"/{project.path}/-/packages/{package.id}"}, "pipelines": [], "versions": [],
            }
            for project in projects
            for package in project.packages
            if query.get("package_type") in (None, package.package_type)
        ]  # fmt: skip

    def _packages_below(self, wanted: str, query: dict[str, str]) -> list[dict[str, Any]] | None:
        name = unquote(wanted)
        for group_id, path in self.groups.items():
            if name in (str(group_id), path):
                below = [one for one in self.projects.values() if one.path.startswith(f"{path}/")]
                return [
                    entry | {"project_id": project.id, "project_path": project.path}
                    for project in below
                    for entry in self._packages([project], query)
                ]
        return None

    def _page(
        self, path: str, entries: list[dict[str, Any]] | None, query: dict[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        if entries is None:
            return 404, {}, {"message": "404 Not Found"}
        size = min(self.page_size, int(query.get("per_page", 20)))
        name = "cursor" if self.uses_keyset else "page"
        number = int(query.get(name, 1))
        headers = {}
        if number * size < len(entries):
            following = urlencode({**query, name: number + 1})
            headers["Link"] = f'<{self.external_url}/api/v4/{path}?{following}>; rel="next"'
        return 200, headers, entries[(number - 1) * size : number * size]

    def _download(self, project: Project | None, sha256: str, filename: str) -> tuple[int, dict[str, str], Any]:
        content = None if project is None else self._contents.get((project.id, sha256, filename))
        if content is None:
            return 404, {}, {"message": "404 Package Not Found"}
        self.store.put(f"/objects/{filename}?signature=for-this-object", content, FILE)
        return 302, {"Location": f"http://{self.store.host}/objects/{filename}?signature=for-this-object"}, None


def _handler_for(gitlab: GitLab) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = dict(self.headers.items())
            gitlab.requests.append(ReceivedRequest(self.command, self.path, headers))
            status, sent, document = gitlab.answer(self.path, headers)
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **sent}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are kept in ``requests``; nothing is printed."""

    return Handler
