"""A disaster recovery drill: back up while packages are published, restore elsewhere, use as before."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.acceptance.clients import Installer
from tests.acceptance.servers import DEVELOPER, Namespace, RunningServer
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.cli.running import Shell

HOST = "registry.example"  # so that links are the same wherever the server runs
JSON = "application/vnd.pypi.simple.v1+json"
FORMS = ("text/html", "application/vnd.pypi.simple.v1+html", JSON)
MOST_FILES = 40  # for pip to install in a few seconds
DEMO = [build_wheel("demo", "1.0"), build_sdist("demo", "1.0"), build_wheel("demo", "2.0", size_bytes=3_000_000)]


class Publisher:
    """Publishes one package after another, until it is stopped or has published enough.

    :ivar answered: the uploads answered 201.
    """

    def __init__(self, project: Namespace) -> None:
        self.answered: list[BuiltFile] = []
        self._project = project
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def _publish(self) -> None:
        for number in range(MOST_FILES):
            file = build_wheel(f"stream{number}", size_bytes=(0, 400_000)[number % 2])
            self._project.publish(file)
            self.answered.append(file)
            if self._stopped.wait(0.1):
                return

    def start(self, *, files: int) -> None:
        self._thread.start()
        while len(self.answered) < files:
            assert self._thread.is_alive(), "it was refused"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


@pytest.mark.slow
def test_a_backup_made_while_packages_are_published_is_restored_elsewhere(
    start_server: Callable[..., RunningServer], pip: Installer, tmp_path: Path
) -> None:
    server = start_server()
    group = server.group("acme")
    project = server.project("tools", group=group)
    project.publish(*DEMO)
    developer = group.member(DEVELOPER)
    tokens = [developer.access_token(), group.deploy_token("read_package_registry")[1], project.job_token(developer)]
    session, pages = signed_in(server), simple_pages(project, group, tokens[0])
    publisher = Publisher(project)
    publisher.start(files=10)
    before = list(publisher.answered)

    backed_up = Shell(server.instance)("backup", "create", str(tmp_path / "registry.tar"))
    publisher.stop()
    server.stop()
    elsewhere = Shell(tmp_path / "server1" / "instance")
    restored = elsewhere("backup", "restore", str(tmp_path / "registry.tar"))

    assert (backed_up.returncode, backed_up.stderr, restored.returncode, restored.stderr) == (0, "", 0, "")
    again = start_server()
    project, group = replace(project, server=again), replace(group, server=again)
    published = {file.filename: file for file in [*DEMO, *publisher.answered]}
    names = names_in(project, tokens[0])
    assert {file.name for file in [*DEMO, *before]} <= names <= {file.name for file in published.values()}
    assert simple_pages(project, group, tokens[0]) == pages
    assert session.get(f"{again.url}/{project.full_path}", timeout=30, allow_redirects=False).status_code == 200
    assert not (again.instance / "initial_root_credentials").exists()
    for token in tokens:
        assert downloaded(project, "demo", token) == {file.filename: file.sha256 for file in DEMO}
    wheels = {file.name: file for file in published.values() if file.name in names and file.filename.endswith(".whl")}
    assert install_by_digest(pip, project.index_url(tokens[1]), wheels.values()) == {
        name: file.version for name, file in wheels.items()
    }
    assert project.upload(build_wheel("after"), tokens[0]).status_code == 201


def signed_in(server: RunningServer) -> requests.Session:
    """Root's browser."""
    session = requests.Session()
    session.trust_env = False
    page = session.get(f"{server.url}/users/sign_in", timeout=30).text
    form = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert form is not None
    sent = {"csrf_token": form[1], "login": "root", "password": server.root_password}
    response = session.post(f"{server.url}/users/sign_in", data=sent, timeout=30, allow_redirects=False)
    assert response.status_code == 303, response.text
    return session


def simple_pages(project: Namespace, group: Namespace, token: str) -> list[bytes]:
    """The simple pages of a package that no longer changes, of project and group, in every format."""
    return [answer(space, "simple/demo/", form, token).content for space in (project, group) for form in FORMS]


def names_in(project: Namespace, token: str) -> set[str]:
    return {entry["name"] for entry in answer(project, "simple/", JSON, token).json()["projects"]}


def downloaded(project: Namespace, name: str, token: str) -> dict[str, str]:
    """The digests of the files of a package, downloaded."""
    found = answer(project, f"simple/{name}/", JSON, token).json()["files"]
    places = {file["filename"]: urlsplit(file["url"]).path.removeprefix(f"{project.pypi_path}/") for file in found}
    contents = {filename: answer(project, place, "*/*", token).content for filename, place in places.items()}
    return {filename: hashlib.sha256(content).hexdigest() for filename, content in contents.items()}


def answer(namespace: Namespace, path: str, form: str, token: str) -> requests.Response:
    response = namespace.server.request(
        "GET", f"{namespace.pypi_path.removeprefix('/api/v4')}/{path}",
        headers={"Accept": form, "Host": HOST}, auth=("gitlab-ci-token", token),
    )  # fmt: skip
    assert response.status_code == 200, response.text
    return response


def install_by_digest(pip: Installer, index_url: str, files: Iterable[BuiltFile]) -> dict[str, str]:
    pip.home.mkdir(parents=True)
    requirements = pip.home / "requirements.txt"
    lines = [f"{file.name}=={file.version} --hash=sha256:{file.sha256}\n" for file in files]
    requirements.write_text("".join(lines))
    pip.succeeds("install", "--require-hashes", "--requirement", requirements, "--index-url", index_url)
    return pip.installed()
