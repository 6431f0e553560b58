"""Which versions clients choose: yanked ones, those of a date, and those of several indexes on one host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import sleep

import pytest

from tests.acceptance.matrix.editions import editions
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace, RunningServer
from tests.builders import build_wheel

pytestmark = pytest.mark.clients
OLD, NEW = build_wheel("resolved", "1.0"), build_wheel("resolved", "2.0")
every_pip_that_knows_yanks = pytest.mark.parametrize("pip", editions("pip", since="20"), indirect=True, ids=str)
UV_PROJECT = """\
[project]
name = "program"
version = "0"
requires-python = ">=3.11"
dependencies = ["{requirement}"]

[[tool.uv.index]]
name = "ours"
url = "{url}"
default = true
"""


@pytest.fixture(scope="module")
def half_yanked(server: RunningServer, group: Namespace) -> Namespace:
    """A project whose newest version is yanked; only read."""
    project = server.project(group=group)
    project.publish(OLD, NEW)
    [newest] = [package for package in project.packages() if package["version"] == "2.0"]
    server.as_root("PUT", f"{project.rest_path}/packages/{newest['id']}/yank", {"reason": "Loses data"})
    return project


@pytest.fixture(scope="module")
def dated(server: RunningServer, group: Namespace) -> tuple[Namespace, str]:
    """A project, and a moment between its first version and its second; only read."""
    project = server.project(group=group)
    project.publish(OLD)
    sleep(0.02)
    between = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    sleep(0.02)
    project.publish(NEW)
    return project, between


@every_pip_that_knows_yanks
def test_pip_skips_a_yanked_version_unless_it_is_pinned(
    pip: Tried, half_yanked: Namespace, credentials: Credentials
) -> None:
    download = ("download", "--index-url", half_yanked.index_url(credentials[1], credentials[0]), "--no-deps")

    pip.succeeds(*download, "resolved>=1.0")
    pinned = pip.succeeds(*download, "resolved==2.0")
    assert "Loses data" in pinned

    assert {path.name for path in pip.home.glob("*.whl")} == {OLD.filename, NEW.filename}


def test_pip_finds_nothing_in_a_range_of_yanked_versions(
    pip: Tried, half_yanked: Namespace, credentials: Credentials
) -> None:
    output = pip.fails(
        "download", "--index-url", half_yanked.index_url(credentials[1], credentials[0]), "--no-deps", "resolved>1.0"
    )

    assert "No matching distribution found" in output


def test_uv_skips_a_yanked_version_unless_it_is_pinned(
    uv: Tried, half_yanked: Namespace, credentials: Credentials
) -> None:
    def compiled(requirement: str) -> str:
        url = half_yanked.index_url(credentials[1], credentials[0])
        return uv.succeeds("pip", "compile", "--index-url", url, uv.write("in.txt", requirement))

    assert "resolved==1.0" in compiled("resolved>=1.0")
    pinned = compiled("resolved==2.0")
    assert "resolved==2.0" in pinned
    assert "Loses data" in pinned


def test_pip_installs_the_newest_version_uploaded_before_a_date(
    pip: Tried, dated: tuple[Namespace, str], credentials: Credentials
) -> None:
    project, between = dated
    index_url = project.index_url(credentials[1], credentials[0])
    before_all = (datetime.now(UTC) - timedelta(days=1)).isoformat()

    pip.succeeds("install", "--index-url", index_url, "--uploaded-prior-to", between, "resolved")
    output = pip.fails("download", "--index-url", index_url, "--uploaded-prior-to", before_all, "resolved")

    assert pip.installed() == {"resolved": "1.0"}
    assert "No matching distribution found" in output


def test_uv_locks_the_newest_version_uploaded_before_a_date(
    uv: Tried, dated: tuple[Namespace, str], credentials: Credentials
) -> None:
    project, between = dated
    uv.write("pyproject.toml", UV_PROJECT.format(url=project.index_url(), requirement="resolved"))
    settings = {
        "UV_NO_CONFIG": "0", "UV_INDEX_OURS_USERNAME": credentials[0], "UV_INDEX_OURS_PASSWORD": credentials[1]
    }  # fmt: skip

    uv.succeeds("lock", "--exclude-newer", between, **settings)

    lock = (uv.home / "uv.lock").read_text()
    assert OLD.filename in lock
    assert NEW.filename not in lock
    assert f'size = {len(OLD.content)}, upload-time = "' in lock


@pytest.fixture
def two_projects(server: RunningServer) -> list[tuple[str, Credentials]]:
    """Two projects of different groups: the address of each, by number and by path, and a token for it alone."""
    found = []
    for name, by_path in (("first", False), ("second", True)):
        group = server.group()
        group.forward(False)
        project = server.project(group=group)
        project.publish(build_wheel(f"{name}-of-two"))
        found.append((project.index_url(by_path=by_path), project.deploy_token("read_package_registry")))
    return found


def test_poetry_installs_from_two_sources_on_one_host_each_with_its_own_token(
    poetry: Tried, two_projects: list[tuple[str, Credentials]]
) -> None:
    sources = "".join(
        f'\n[[tool.poetry.source]]\nname = "{name}"\nurl = "{url}"\n'
        for name, (url, _) in zip(("one", "two"), two_projects, strict=True)
    )
    poetry.write("pyproject.toml", program("first-of-two", "second-of-two") + sources)
    settings = {}
    for name, (_, (username, password)) in zip(("ONE", "TWO"), two_projects, strict=True):
        settings |= {f"POETRY_HTTP_BASIC_{name}_USERNAME": username, f"POETRY_HTTP_BASIC_{name}_PASSWORD": password}

    poetry.succeeds("install", "--no-root", **settings)

    assert poetry.in_project() == {"first_of_two": "1.0", "second_of_two": "1.0"}


def test_pdm_installs_from_two_sources_on_one_host_each_with_its_own_token(
    pdm: Tried, two_projects: list[tuple[str, Credentials]]
) -> None:
    sources = "".join(
        f'\n[[tool.pdm.source]]\nname = "{name}"\nurl = "{with_user(url, credentials)}"\n'
        for name, (url, credentials) in zip(("pypi", "two"), two_projects, strict=True)
    )
    pdm.write("pyproject.toml", program("first-of-two", "second-of-two") + sources)

    pdm.succeeds("install", "--no-self")

    assert pdm.in_project() == {"first_of_two": "1.0", "second_of_two": "1.0"}


def test_uv_with_netrc_installs_a_private_package_from_a_public_group(uv: Tried, server: RunningServer) -> None:
    """It first sends no credentials, and must be challenged for them."""
    group = server.group(visibility="public")
    group.forward(False)
    server.project(group=group, visibility="public").publish(build_wheel("shown", requires_dist=["hidden"]))
    server.project(group=group, visibility="private").publish(build_wheel("hidden"))
    uv.has_in_netrc(group.url, group.deploy_token("read_package_registry"))

    uv.succeeds("pip", "install", "--target", uv.site, "--index-url", group.index_url(), "shown")

    assert uv.installed() == {"shown": "1.0", "hidden": "1.0"}


def program(*dependencies: str) -> str:
    """A ``pyproject.toml`` that needs these."""
    listed = ", ".join(f'"{dependency}"' for dependency in dependencies)
    return f'[project]\nname = "program"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = [{listed}]\n'


def with_user(url: str, credentials: Credentials) -> str:
    return url.replace("://", "://{}:{}@".format(*credentials), 1)
