"""uv as a client: installing, publishing, skipping, and refusals."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.clients import Client, Installer
from tests.acceptance.servers import DEVELOPER, REPORTER, Namespace, RunningServer, with_credentials
from tests.builders import build_sdist, build_wheel
from tests.fakes.upstream import Upstream

WHEEL = build_wheel("uvdemo", "1.0")
SDIST = build_sdist("uvdemo", "1.0")


@pytest.fixture
def project(server: RunningServer) -> Namespace:
    """A private project in a private group that forwards nothing."""
    group = server.group()
    group.forward(False)
    return server.project(group=group)


@pytest.fixture
def reader(project: Namespace) -> str:
    return project.member(REPORTER).access_token("read_api")


@pytest.fixture
def files(home: Path) -> list[Path]:
    """A wheel and an sdist on disk."""
    home.mkdir()
    for file in (WHEEL, SDIST):
        (home / file.filename).write_bytes(file.content)
    return [home / WHEEL.filename, home / SDIST.filename]


def publish(project: Namespace, *arguments: object) -> tuple[object, ...]:
    return ("publish", "--trusted-publishing", "never", "--publish-url", project.url, *arguments)


def install(uv: Installer, *arguments: object) -> tuple[object, ...]:
    return ("pip", "install", "--target", uv.site, *arguments)


@pytest.mark.parametrize("by_path", [False, True], ids=["by number", "by encoded path"])
def test_uv_installs_from_a_project(uv: Installer, project: Namespace, reader: str, by_path: bool) -> None:
    project.publish(WHEEL, SDIST)

    uv.succeeds(*install(uv, "--index-url", project.index_url(reader, by_path=by_path), "uvdemo"))

    assert uv.installed() == {"uvdemo": "1.0"}


def test_uv_installs_from_a_group_with_dependencies(uv: Installer, server: RunningServer, upstream: Upstream) -> None:
    upstream.add(build_wheel("uvpublic", "3.0"))
    group = server.group()
    server.project(group=group).publish(build_wheel("uvneeds", requires_dist=["uvdemo>=1", "uvpublic"]))
    server.project(group=group).publish(WHEEL)
    before = len(upstream.requests)

    uv.succeeds(*install(uv, "--index-url", group.index_url(server.root_token), "uvneeds"))

    assert uv.installed() == {"uvneeds": "1.0", "uvdemo": "1.0", "uvpublic": "3.0"}
    assert not any("Authorization" in request.headers for request in upstream.requests[before:])


def test_uv_finds_credentials_in_netrc(uv: Installer, project: Namespace, reader: str, home: Path) -> None:
    project.publish(WHEEL)
    home.mkdir()
    (home / ".netrc").write_text(f"machine {urlsplit(project.url).hostname} login reader password {reader}\n")

    uv.succeeds(*install(uv, "--index-url", project.index_url(), "uvdemo"))

    assert uv.installed() == {"uvdemo": "1.0"}


def test_uv_installs_from_two_indexes_on_one_host_each_with_its_own_token(
    uv: Installer, server: RunningServer, project: Namespace, reader: str
) -> None:
    other = server.project()
    username, password = other.deploy_token("read_package_registry")
    project.publish(WHEEL)
    other.publish(build_wheel("uvother"))

    uv.succeeds(
        *install(uv, "--index", project.index_url(reader, by_path=True)),
        "--default-index", other.index_url(password, username), "uvdemo", "uvother",
    )  # fmt: skip

    assert uv.installed() == {"uvdemo": "1.0", "uvother": "1.0"}


def test_uv_stops_at_a_private_index_without_credentials(uv: Installer, upstream: Upstream, project: Namespace) -> None:
    """It must not take the public package of the same name for the private one."""
    upstream.add(build_wheel("uvshadowed", "99.0"))
    project.publish(build_wheel("uvshadowed", "1.0"))

    output = uv.fails(*install(uv, "--index", project.index_url(), "--default-index", upstream.url, "uvshadowed"))

    assert "401 Unauthorized" in output
    assert not uv.site.exists() or uv.installed() == {}


def test_uv_goes_on_to_the_next_index_for_a_name_that_is_not_here(
    uv: Installer, upstream: Upstream, project: Namespace, reader: str
) -> None:
    upstream.add(build_wheel("uvelsewhere", "2.0"))

    uv.succeeds(*install(uv, "--index", project.index_url(reader), "--default-index", upstream.url, "uvelsewhere"))

    assert uv.installed() == {"uvelsewhere": "2.0"}


def test_uv_publishes_a_wheel_and_an_sdist(uv: Client, project: Namespace, files: list[Path]) -> None:
    token = project.member(DEVELOPER).access_token("api")

    uv.succeeds(*publish(project, "--token", token, *files))

    assert sorted(project.listed("uvdemo")) == sorted([WHEEL.filename, SDIST.filename])


def test_uv_publishes_with_a_job_token(uv: Client, project: Namespace, files: list[Path]) -> None:
    token = project.job_token(project.member(DEVELOPER))

    uv.succeeds(*publish(project, "--username", "gitlab-ci-token", "--password", token, *files))

    assert len(project.listed("uvdemo")) == 2


def test_uv_skips_identical_files_when_it_can_look(uv: Client, project: Namespace, files: list[Path]) -> None:
    project.publish(WHEEL)
    token = project.member(DEVELOPER).access_token("api")
    command = publish(project, "--check-url", project.index_url(token), "--token", token, *files)

    first = uv.succeeds(*command)
    again = uv.succeeds(*command)

    assert f"{WHEEL.filename} already exists, skipping" in first
    assert again.count("already exists, skipping") == 2
    assert len(project.listed("uvdemo")) == 2


def test_uv_looks_for_files_while_the_upstream_is_away(
    uv: Client, start_server: Callable[..., RunningServer], files: list[Path]
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        server = start_server(UPSTREAM_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        project = server.project()
        token = project.member(DEVELOPER).access_token("api")

        uv.succeeds(*publish(project, "--check-url", project.index_url(token), "--token", token, *files))

    assert len(project.listed("uvdemo")) == 2


def test_uv_reports_another_file_of_this_name(uv: Client, project: Namespace, files: list[Path]) -> None:
    project.publish(build_wheel("uvdemo", "1.0", summary="Another"))
    token = project.member(DEVELOPER).access_token("api")

    plain = uv.fails(*publish(project, "--token", token, files[0]))
    checked = uv.fails(*publish(project, "--check-url", project.index_url(token), "--token", token, files[0]))

    assert "File name has already been taken" in plain
    assert "Local file and index file do not match" in checked


@pytest.mark.parametrize(
    ("role", "scope", "expected"),
    [(DEVELOPER, "read_api", "403"), (REPORTER, "api", "403"), (None, "api", "404")],
    ids=["reading token", "reporter", "stranger"],
)
def test_uv_shows_why_publishing_was_refused(
    uv: Client,
    server: RunningServer,
    project: Namespace,
    files: list[Path],
    role: int | None,
    scope: str,
    expected: str,
) -> None:
    user = server.user() if role is None else project.member(role)

    output = uv.fails(*publish(project, "--token", user.access_token(scope), *files))

    assert expected in output
    assert project.packages() == []


def test_uv_shows_why_a_file_was_refused(uv: Installer, server: RunningServer, project: Namespace, reader: str) -> None:
    """A lock file names files by their addresses."""
    gone, blocked = build_wheel("uvgone"), build_wheel("uvblocked")
    project.publish(WHEEL, gone, blocked)
    addresses = {name: next(iter(project.listed(name).values())) for name in ("uvdemo", "uvgone", "uvblocked")}
    [package] = [package for package in project.packages() if package["name"] == "uvgone"]
    server.as_root("DELETE", f"{project.rest_path}/packages/{package['id']}")
    username, expired = project.deploy_token("read_package_registry", expires_at="2020-01-01")
    quarantine = {"status": "quarantined", "reason": "report 12"}
    server.as_root("PUT", f"{project.rest_path}/packages/names/uvblocked/status", quarantine)

    def refused(name: str, secret: str | None = reader) -> str:
        address = addresses[name] if secret is None else with_credentials(addresses[name], username, secret)
        return uv.fails(*install(uv, "--no-cache", f"{name} @ {address}"))

    message = "Server message: "
    # Of a 401, uv shows only the status line.
    assert "Unauthorized - Reading this requires a token. Send a personal access token" in refused("uvdemo", None)
    assert f"Unauthorized - The deploy token {username} expired on 2020-01-01." in refused("uvdemo", expired)
    assert f"{message}File deleted, The file {gone.filename} was deleted from {project.full_path}." in refused("uvgone")
    assert (
        f"{message}Package quarantined, The package uvblocked is quarantined: report 12. "
        f"Ask a Maintainer of {project.full_path}." in refused("uvblocked")
    )
    server.as_root("PUT", project.rest_path, {"package_registry_access_level": "disabled"})
    assert (
        f"{message}Package registry disabled, The package registry of the project {project.full_path} is switched off."
        in refused("uvdemo")
    )
