"""Every promise of GitLab's user guide "PyPI packages in the package registry", kept with the real pip and twine.

The tests follow the order of the guide, and use its names.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.acceptance.clients import Client, Installer
from tests.acceptance.servers import (
    DEVELOPER,
    GUEST,
    MAINTAINER,
    OWNER,
    REPORTER,
    Namespace,
    RunningServer,
    User,
    with_credentials,
)
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.fakes.upstream import Upstream

NAME = "mypypipackage"
WHEEL = build_wheel(NAME, "0.0.1")
SDIST = build_sdist(NAME, "0.0.1")
PUBLIC = build_wheel("publicpackage", "2.0")  # held by the upstream alone
Dist = Callable[..., list[Path]]
# What tests of requests, and those of the matrix of clients, hold too.
also_held_elsewhere = pytest.mark.clients
BY_NUMBER_OR_PATH = pytest.mark.parametrize(
    "by_path",
    [pytest.param(False, id="by number"), pytest.param(True, id="by encoded path", marks=also_held_elsewhere)],
)


@pytest.fixture(scope="session", autouse=True)
def _public_package(upstream: Upstream) -> None:
    upstream.add(PUBLIC)


@pytest.fixture
def group(server: RunningServer) -> Namespace:
    """A private group."""
    return server.group()


@pytest.fixture
def project(server: RunningServer, group: Namespace) -> Namespace:
    """A private project in ``group``."""
    return server.project(group=group)


@pytest.fixture
def developer(project: Namespace) -> User:
    return project.member(DEVELOPER)


@pytest.fixture
def reader(group: Namespace) -> str:
    """A personal access token with the scope ``read_api`` of a user who can read the group."""
    return group.member(REPORTER).access_token("read_api")


@pytest.fixture
def dist(home: Path) -> Dist:
    """Files in the folder ``dist``, as ``python -m build`` leaves them there."""

    def put(*files: BuiltFile) -> list[Path]:
        folder = home / "dist"
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            (folder / file.filename).write_bytes(file.content)
        return sorted(folder.iterdir())

    return put


@pytest.fixture
def instance_settings(server: RunningServer) -> Iterator[Callable[..., None]]:
    """Changes instance settings for the length of a test."""

    def change(**settings: bool) -> None:
        server.as_root("PUT", "/application/settings", settings)

    yield change
    change(pypi_package_requests_forwarding=True, lock_pypi_package_requests_forwarding=False)


def test_a_package_that_the_group_does_not_hold_is_installed_from_the_upstream(
    pip: Installer, group: Namespace, project: Namespace, reader: str
) -> None:
    project.publish(WHEEL)

    pip.succeeds("install", "--index-url", group.index_url(reader), "--no-deps", PUBLIC.name, NAME)

    assert pip.installed() == {PUBLIC.name: "2.0", NAME: "0.0.1"}


def test_a_package_that_is_not_here_is_installed_from_the_upstream_without_credentials(
    every_pip: Installer, upstream: Upstream, project: Namespace, reader: str
) -> None:
    before = len(upstream.requests)

    every_pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", PUBLIC.name)

    assert every_pip.installed() == {PUBLIC.name: "2.0"}
    asked = upstream.requests[before:]
    assert any(request.path == f"/simple/{PUBLIC.name}/" for request in asked)
    assert not any("authorization" in {name.lower() for name in request.headers} for request in asked)
    assert not any(reader in str(request) for request in asked)


@pytest.mark.parametrize("mode", ["redirect", pytest.param("cache", marks=pytest.mark.slow)])
def test_a_private_name_never_comes_from_the_upstream_whatever_its_version_there(
    pip: Installer,
    server: RunningServer,
    upstream: Upstream,
    group: Namespace,
    project: Namespace,
    reader: str,
    mode: str,
) -> None:
    """From its own index, that of the group, and that of another project, which has none; also after its deletion."""
    name = f"confused{mode}"
    beside = server.project(group=group)
    server.as_root("PUT", f"{group.rest_path}/package_settings", {"pypi_upstream_mode": mode})
    upstream.add(build_wheel(name, "99.0"))
    project.publish(build_wheel(name, "1.0"))
    before = len(upstream.requests)

    for namespace in (project, group):
        pip.succeeds("install", "--upgrade", "--index-url", namespace.index_url(reader), "--no-deps", name)
        assert pip.installed() == {name: "1.0"}
    refused = pip.fails("install", "--upgrade", "--index-url", beside.index_url(reader), name)
    for package in project.packages():
        server.as_root("DELETE", f"{project.rest_path}/packages/{package['id']}")
    deleted = [
        pip.fails("install", "--upgrade", "--index-url", namespace.index_url(reader), name)
        for namespace in (project, group, beside)
    ]

    assert all("No matching distribution found" in output for output in (refused, *deleted))
    assert upstream.requests[before:] == []


def test_with_forwarding_off_in_the_group_nothing_is_installed_from_the_upstream(
    pip: Installer, upstream: Upstream, group: Namespace, project: Namespace, reader: str
) -> None:
    group.forward(False)
    before = len(upstream.requests)

    from_project = pip.fails("install", "--index-url", project.index_url(reader), PUBLIC.name)
    from_group = pip.fails("install", "--index-url", group.index_url(reader), PUBLIC.name)

    assert "No matching distribution found" in from_project
    assert "No matching distribution found" in from_group
    assert upstream.requests[before:] == []
    response = requests.get(f"{project.index_url()}/{PUBLIC.name}/", auth=("workstation", reader), timeout=30)
    assert (response.status_code, response.json()["message"]) == (404, "404 Package Not Found")


@also_held_elsewhere
def test_a_subgroup_inherits_the_forwarding_of_its_group(
    pip: Installer, server: RunningServer, group: Namespace, reader: str
) -> None:
    group.forward(False)
    below = server.project(group=server.group(parent=group))

    assert "No matching distribution found" in pip.fails("install", "--index-url", below.index_url(reader), PUBLIC.name)


def test_only_an_owner_of_the_group_turns_forwarding_off(server: RunningServer, group: Namespace) -> None:
    maintainer, owner = group.member(MAINTAINER).access_token(), group.member(OWNER).access_token()
    wanted = {"pypi_package_requests_forwarding": False}

    refused = server.request("PUT", f"{group.rest_path}/package_settings", maintainer, wanted)
    changed = server.request("PUT", f"{group.rest_path}/package_settings", owner, wanted)

    assert (refused.status_code, changed.status_code) == (403, 200)
    assert changed.json()["pypi_package_requests_forwarding"] is False


@also_held_elsewhere
def test_an_administrator_turns_forwarding_off_for_the_whole_instance(
    pip: Installer, project: Namespace, reader: str, instance_settings: Callable[..., None]
) -> None:
    instance_settings(pypi_package_requests_forwarding=False)

    output = pip.fails("install", "--index-url", project.index_url(reader), PUBLIC.name)

    assert "No matching distribution found" in output


@also_held_elsewhere
def test_a_group_can_forward_although_the_instance_does_not(
    pip: Installer, group: Namespace, project: Namespace, reader: str, instance_settings: Callable[..., None]
) -> None:
    instance_settings(pypi_package_requests_forwarding=False)
    group.forward(True)

    pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", PUBLIC.name)

    assert pip.installed() == {PUBLIC.name: "2.0"}


@also_held_elsewhere
def test_no_group_changes_a_setting_locked_by_the_administrator(
    pip: Installer, server: RunningServer, group: Namespace, project: Namespace, reader: str,
    instance_settings: Callable[..., None],
) -> None:  # fmt: skip
    group.forward(True)
    instance_settings(pypi_package_requests_forwarding=False, lock_pypi_package_requests_forwarding=True)
    owner = group.member(OWNER).access_token()

    refused = server.request(
        "PUT", f"{group.rest_path}/package_settings", owner, {"pypi_package_requests_forwarding": False}
    )
    output = pip.fails("install", "--index-url", project.index_url(reader), PUBLIC.name)

    assert refused.status_code == 400
    assert "locked" in refused.text
    assert "No matching distribution found" in output


@pytest.fixture(params=["personal access token", "deploy token", "job token"])
def publisher(request: pytest.FixtureRequest, project: Namespace, developer: User) -> tuple[str, str]:
    """User name and password of each credential that can publish."""
    if request.param == "personal access token":
        return "workstation", developer.access_token("api")
    if request.param == "deploy token":
        return project.deploy_token("write_package_registry")
    return "gitlab-ci-token", project.job_token(developer)


def test_a_package_is_built_and_published_as_in_the_pipeline_of_the_guide(
    python: Client, home: Path, project: Namespace, developer: User
) -> None:
    source = home / "source"
    source.mkdir(parents=True)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
        f'[project]\nname = "{NAME}"\nversion = "0.0.1"\nrequires-python = ">=3.9"\n\n'
        f'[tool.setuptools]\npy-modules = ["{NAME}"]\n'
    )
    (source / f"{NAME}.py").write_text("greeting = 'hello'\n")

    python.succeeds("-m", "build", "--no-isolation", "--outdir", home / "dist", source)
    python.succeeds(
        "-m", "twine", "upload", "--repository-url", project.url, *sorted((home / "dist").iterdir()),
        TWINE_USERNAME="gitlab-ci-token", TWINE_PASSWORD=project.job_token(developer),
    )  # fmt: skip

    assert sorted(project.listed(NAME)) == [f"{NAME}-0.0.1-py3-none-any.whl", f"{NAME}-0.0.1.tar.gz"]


@also_held_elsewhere
def test_each_kind_of_token_publishes_with_inline_authentication(
    twine: Client, project: Namespace, publisher: tuple[str, str], dist: Dist
) -> None:
    username, password = publisher

    twine.succeeds(
        "upload", "--repository-url", project.url, *dist(WHEEL, SDIST), TWINE_USERNAME=username, TWINE_PASSWORD=password
    )

    assert sorted(project.listed(NAME)) == [WHEEL.filename, SDIST.filename]


@also_held_elsewhere
def test_each_kind_of_token_installs(pip: Installer, project: Namespace, publisher: tuple[str, str]) -> None:
    username, password = publisher
    project.publish(WHEEL)

    pip.succeeds("install", "--index-url", project.index_url(password, username), "--no-deps", NAME)

    assert pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_a_deploy_token_that_reads_installs_but_does_not_publish(
    pip: Installer, twine: Client, project: Namespace, dist: Dist
) -> None:
    username, password = project.deploy_token("read_package_registry")
    project.publish(WHEEL)

    pip.succeeds("install", "--index-url", project.index_url(password, username), "--no-deps", NAME)
    output = twine.fails(
        "upload", "--repository-url", project.url, *dist(SDIST), TWINE_USERNAME=username, TWINE_PASSWORD=password
    )

    assert pip.installed() == {NAME: "0.0.1"}
    assert "403 Forbidden" in output
    assert list(project.listed(NAME)) == [WHEEL.filename]


@also_held_elsewhere
def test_a_token_of_another_kind_of_registry_neither_installs_nor_publishes(
    pip: Installer, twine: Client, project: Namespace, dist: Dist
) -> None:
    username, password = project.deploy_token("read_registry", "write_registry", "read_repository")
    project.publish(WHEEL)

    pip.fails("install", "--index-url", project.index_url(password, username), "--no-deps", NAME)
    twine.fails(
        "upload", "--repository-url", project.url, *dist(SDIST), TWINE_USERNAME=username, TWINE_PASSWORD=password
    )

    assert list(project.listed(NAME)) == [WHEEL.filename]


@also_held_elsewhere
def test_an_installation_from_a_group_authenticates_at_the_address_of_the_group(
    pip: Installer, group: Namespace, project: Namespace
) -> None:
    username, password = group.deploy_token("read_package_registry")
    project.publish(WHEEL)

    assert re.search(r"/api/v4/groups/\d+/-/packages/pypi$", group.url)
    pip.succeeds("install", "--index-url", group.index_url(password, username), "--no-deps", NAME)

    assert pip.installed() == {NAME: "0.0.1"}


def test_a_package_is_published_to_a_repository_of_pypirc(
    twine: Client, project: Namespace, developer: User, home: Path, dist: Dist
) -> None:
    files = dist(WHEEL, SDIST)
    (home / ".pypirc").write_text(f"[distutils]\nindex-servers =\n    gitlab\n\n[gitlab]\nrepository = {project.url}\n")

    output = twine.succeeds(
        "upload", "--repository", "gitlab", *files,
        TWINE_USERNAME="workstation", TWINE_PASSWORD=developer.access_token("api"),
    )  # fmt: skip

    assert f"Uploading distributions to {project.url}" in output
    assert f"Uploading {WHEEL.filename}" in output
    assert f"Uploading {SDIST.filename}" in output
    assert output.count("100%") >= 2
    assert [(found["name"], found["version"]) for found in project.packages()] == [(NAME, "0.0.1")]


@also_held_elsewhere
def test_credentials_can_be_in_pypirc(
    twine: Client, project: Namespace, developer: User, home: Path, dist: Dist
) -> None:
    files = dist(WHEEL)
    (home / ".pypirc").write_text(
        f"[distutils]\nindex-servers =\n    gitlab\n\n[gitlab]\nrepository = {project.url}\n"
        f"username = workstation\npassword = {developer.access_token('api')}\n"
    )

    twine.succeeds("upload", "--repository", "gitlab", *files)

    assert list(project.listed(NAME)) == [WHEEL.filename]


@also_held_elsewhere
def test_published_packages_are_in_the_registry_of_every_group_above(
    server: RunningServer, group: Namespace, twine: Client, dist: Dist
) -> None:
    subgroup = server.group(parent=group)
    project = server.project(group=subgroup)
    token = project.member(DEVELOPER).access_token("api")

    twine.succeeds(
        "upload", "--repository-url", project.url, *dist(WHEEL), TWINE_USERNAME="workstation", TWINE_PASSWORD=token
    )

    assert list(subgroup.listed(NAME)) == [WHEEL.filename]
    assert list(group.listed(NAME)) == [WHEEL.filename]
    assert [found["name"] for found in group.packages()] == [NAME]


@also_held_elsewhere
def test_a_long_description_is_truncated_and_stays_whole_in_the_file(
    twine: Client, server: RunningServer, project: Namespace, developer: User, dist: Dist
) -> None:
    wheel = build_wheel(NAME, "0.0.2", description="é" * 100_000, description_content_type="text/plain")

    twine.succeeds(
        "upload", "--repository-url", project.url, *dist(wheel),
        TWINE_USERNAME="workstation", TWINE_PASSWORD=developer.access_token("api"),
    )  # fmt: skip

    with closing(sqlite3.connect(server.instance / "registry.sqlite3")) as connection:
        [[kept]] = connection.execute("SELECT description FROM packages WHERE project_id = ?", [project.id])
    assert kept == "é" * 3997 + "..."
    [url] = project.listed(NAME).values()
    metadata = requests.get(f"{url}.metadata", auth=("workstation", server.root_token), timeout=30)
    assert metadata.text.endswith("é" * 100_000)


@also_held_elsewhere
def test_a_file_above_the_limit_is_refused_with_the_reason(
    twine: Client, start_server: Callable[..., RunningServer], upstream: Upstream, dist: Dist
) -> None:
    server = start_server(MAX_FILE_SIZE="20000", UPSTREAM_URL=upstream.url)
    project = server.project()
    fitting, large = build_wheel("fitting", size_bytes=10_000), build_wheel("large", size_bytes=20_000)
    credentials = {"TWINE_USERNAME": "root", "TWINE_PASSWORD": server.root_token}

    output = twine.fails("upload", "--repository-url", project.url, *dist(large), **credentials)
    (dist()[0]).unlink()
    twine.succeeds("upload", "--repository-url", project.url, *dist(fitting), **credentials)

    assert "File is too large" in output
    assert [found["name"] for found in project.packages()] == ["fitting"]


@pytest.mark.slow
@pytest.mark.databases
def test_the_same_file_cannot_be_published_twice(
    twine: Client, project: Namespace, developer: User, dist: Dist
) -> None:
    upload = ("upload", "--repository-url", project.url, *dist(WHEEL))
    credentials = {"TWINE_USERNAME": "workstation", "TWINE_PASSWORD": developer.access_token("api")}
    twine.succeeds(*upload, **credentials)

    output = twine.fails(*upload, **credentials)

    assert "400 Bad" in output
    assert "File name has already been taken" in output
    assert list(project.listed(NAME)) == [WHEEL.filename]


@also_held_elsewhere
def test_twine_skips_existing_files_on_request(
    skipping_twine: Client, project: Namespace, developer: User, dist: Dist
) -> None:
    project.publish(WHEEL)

    output = skipping_twine.succeeds(
        "upload", "--skip-existing", "--repository-url", project.url, *dist(WHEEL, SDIST),
        TWINE_USERNAME="workstation", TWINE_PASSWORD=developer.access_token("api"),
    )  # fmt: skip

    assert f"Skipping {WHEEL.filename} because it appears to already exist" in output
    assert sorted(project.listed(NAME)) == [WHEEL.filename, SDIST.filename]


@pytest.mark.slow
@pytest.mark.databases
def test_a_package_can_be_published_again_once_it_was_deleted(
    twine: Client, pip: Installer, server: RunningServer, project: Namespace, developer: User, dist: Dist
) -> None:
    project.publish(WHEEL)
    changed = build_wheel(NAME, "0.0.1", summary="Corrected")
    [package] = project.packages()

    server.as_root("DELETE", f"{project.rest_path}/packages/{package['id']}")
    twine.succeeds(
        "upload", "--repository-url", project.url, *dist(changed),
        TWINE_USERNAME="workstation", TWINE_PASSWORD=developer.access_token("api"),
    )  # fmt: skip

    pip.succeeds("install", "--index-url", project.index_url(server.root_token), "--no-deps", NAME)
    [metadata] = pip.site.glob("*.dist-info/METADATA")
    assert "Summary: Corrected" in metadata.read_text()


@BY_NUMBER_OR_PATH
def test_a_package_is_installed_from_a_project(
    every_pip: Installer, server: RunningServer, project: Namespace, reader: str, by_path: bool
) -> None:
    project.publish(WHEEL, SDIST)
    index_url = project.index_url(reader, "workstation", by_path=by_path)

    output = every_pip.succeeds("install", "--index-url", index_url, "--no-deps", NAME)

    assert f"Looking in indexes: {index_url.replace(reader, '****')}" in output
    assert f"Collecting {NAME}" in output
    file_url = index_url.replace(f"workstation:{reader}@", "").replace("/simple", f"/files/{WHEEL.sha256}")
    assert re.search(rf"Downloading (?:{re.escape(file_url)}/)?{re.escape(WHEEL.filename)} \(.+\)", output)
    assert f"GET {urlsplit(file_url).path}/{WHEEL.filename} answered 200" in server.log
    assert f"Successfully installed {NAME}-0.0.1" in output
    assert every_pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_a_package_is_installed_by_a_pip_that_reads_nothing_but_html(
    html_pip: Installer, project: Namespace, reader: str
) -> None:
    project.publish(WHEEL, SDIST)

    html_pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", NAME, PUBLIC.name)

    assert html_pip.installed() == {NAME: "0.0.1", PUBLIC.name: "2.0"}


@BY_NUMBER_OR_PATH
def test_a_package_is_installed_from_a_group(
    every_pip: Installer, group: Namespace, project: Namespace, reader: str, by_path: bool
) -> None:
    project.publish(WHEEL)

    output = every_pip.succeeds("install", "--index-url", group.index_url(reader, by_path=by_path), "--no-deps", NAME)

    assert f"Successfully installed {NAME}-0.0.1" in output


@pytest.mark.slow
@pytest.mark.databases
def test_a_package_is_installed_from_the_group_above_its_group(
    pip: Installer, server: RunningServer, group: Namespace, reader: str
) -> None:
    server.project(group=server.group(parent=group)).publish(WHEEL)

    pip.succeeds("install", "--index-url", group.index_url(reader), "--no-deps", NAME)

    assert pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_the_registry_can_be_an_extra_index(
    every_pip: Installer, upstream: Upstream, project: Namespace, reader: str
) -> None:
    project.publish(build_wheel(NAME, "0.0.1", requires_dist=[PUBLIC.name]))

    every_pip.succeeds("install", "--extra-index-url", project.index_url(reader), NAME, PIP_INDEX_URL=upstream.url)

    assert every_pip.installed() == {NAME: "0.0.1", PUBLIC.name: "2.0"}


@also_held_elsewhere
def test_the_latest_version_is_installed(pip: Installer, project: Namespace, reader: str) -> None:
    project.publish(*(build_wheel(NAME, version) for version in ("1.0.0", "1.10.0", "1.9.1", "2.0.0rc1")))

    pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", NAME)

    assert pip.installed() == {NAME: "1.10.0"}


@also_held_elsewhere
def test_an_sdist_is_built_and_installed(pip: Installer, project: Namespace, reader: str) -> None:
    project.publish(SDIST)

    pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", NAME)

    assert pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_a_file_for_another_python_is_skipped(pip: Installer, project: Namespace, reader: str) -> None:
    project.publish(build_wheel(NAME, "1.0.0"), build_wheel(NAME, "2.0.0", requires_python=">=4"))

    pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", NAME)

    assert pip.installed() == {NAME: "1.0.0"}


def test_an_installation_reads_core_metadata_before_it_downloads(
    pip: Installer, server: RunningServer, project: Namespace, reader: str
) -> None:
    project.publish(WHEEL, build_wheel("second", requires_dist=[f"{NAME}<0.0.1"]))

    pip.fails("install", "--index-url", project.index_url(reader), NAME, "second")

    path = f"{project.pypi_path}/files/{WHEEL.sha256}/{WHEEL.filename}"
    assert f"GET {path}.metadata answered 200" in server.log
    assert f"GET {path} answered" not in server.log


@pytest.mark.parametrize("published", ["my.package", "My_Package"])
@pytest.mark.parametrize("asked", ["my.package", "my-package", "my_package", "my....package", "MY-_.Package"])
def test_every_spelling_of_a_name_finds_the_package(
    server: RunningServer, project: Namespace, published: str, asked: str
) -> None:
    project.publish(build_wheel(published, "1.0"))

    response = requests.get(
        f"{project.index_url()}/{asked}/", auth=("root", server.root_token), timeout=30, allow_redirects=False
    )

    assert response.status_code == 200
    assert ">my_package-1.0-py3-none-any.whl</a>" in response.text


@also_held_elsewhere
def test_a_name_is_installed_by_any_spelling(pip: Installer, project: Namespace, reader: str) -> None:
    project.publish(build_wheel("my.package", "1.0"))

    pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", "My_Package")
    pip.succeeds("download", "--index-url", project.index_url(reader), "--no-deps", "my....package")

    assert pip.installed() == {"my_package": "1.0"}


@also_held_elsewhere
def test_no_index_beside_an_index_url_keeps_pip_from_the_upstream(
    pip: Installer, upstream: Upstream, project: Namespace, reader: str
) -> None:
    before = len(upstream.requests)

    pip.fails("install", "--index-url", project.index_url(reader), "--no-index", PUBLIC.name)

    assert upstream.requests[before:] == []


def test_a_name_that_is_published_here_is_never_looked_for_elsewhere(
    pip: Installer, upstream: Upstream, project: Namespace, reader: str
) -> None:
    upstream.add(build_wheel("internalpackage", "99.0"))
    project.publish(build_wheel("internalpackage", "1.0"))

    pip.succeeds("install", "--index-url", project.index_url(reader), "--no-deps", "internalpackage")
    pip.fails("download", "--index-url", project.index_url(reader), "--no-deps", "internalpackage==99.0")

    assert pip.installed() == {"internalpackage": "1.0"}
    assert upstream.asked_for("internalpackage") == []


@also_held_elsewhere
def test_a_requirements_file_names_a_public_registry(
    every_pip: Installer, server: RunningServer, upstream: Upstream, home: Path
) -> None:
    project = server.project(visibility="public")
    project.publish(WHEEL)
    home.mkdir()
    (home / "requirements.txt").write_text(f"--extra-index-url {project.index_url()}\n{NAME}==0.0.1\n")

    every_pip.succeeds("install", "-r", "requirements.txt", PIP_INDEX_URL=upstream.url)

    assert every_pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_a_requirements_file_holds_credentials_of_a_private_registry(
    every_pip: Installer, upstream: Upstream, project: Namespace, reader: str, home: Path
) -> None:
    project.publish(WHEEL)
    home.mkdir()
    (home / "requirements.txt").write_text(
        f"--extra-index-url {project.index_url(reader, 'gitlab-ci-token')}\n{NAME}==0.0.1\n"
    )

    every_pip.succeeds("install", "-r", "requirements.txt", PIP_INDEX_URL=upstream.url)

    assert every_pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_credentials_of_a_private_registry_are_found_in_netrc(
    every_pip: Installer, upstream: Upstream, project: Namespace, reader: str, home: Path
) -> None:
    project.publish(WHEEL)
    home.mkdir()
    (home / ".netrc").write_text(
        f"machine {urlsplit(project.url).hostname}\nlogin gitlab-ci-token\npassword {reader}\n"
    )
    (home / ".netrc").chmod(0o600)
    (home / "requirements.txt").write_text(f"--extra-index-url {project.index_url()}\n{NAME}==0.0.1\n")

    every_pip.succeeds("install", "-r", "requirements.txt", PIP_INDEX_URL=upstream.url)

    assert every_pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_a_requirements_file_with_hashes_installs_matching_files(
    every_pip: Installer, project: Namespace, reader: str, home: Path
) -> None:
    project.publish(WHEEL)
    home.mkdir()
    (home / "requirements.txt").write_text(f"{NAME}==0.0.1 --hash=sha256:{WHEEL.sha256}\n")
    (home / "wrong.txt").write_text(f"{NAME}==0.0.1 --hash=sha256:{hashlib.sha256(b'other').hexdigest()}\n")
    options = ("--index-url", project.index_url(reader), "--require-hashes")

    refused = every_pip.fails("install", *options, "-r", "wrong.txt")
    every_pip.succeeds("install", *options, "-r", "requirements.txt")

    assert "DO NOT MATCH THE HASHES" in refused
    assert every_pip.installed() == {NAME: "0.0.1"}


@also_held_elsewhere
def test_valid_versions_are_published_and_installed(pip: Installer, project: Namespace, reader: str) -> None:
    versions = {"first": "0.1.0", "second": "1!1.0", "third": "v1.0", "fourth": "1.0+ubuntu.1"}
    wheels = [build_wheel(name, version.removeprefix("v")) for name, version in versions.items()]

    responses = [project.upload(wheel, version=versions[wheel.name]) for wheel in wheels]
    pip.succeeds(
        "install", "--index-url", project.index_url(reader), "--no-deps",
        *(f"{wheel.name}==={wheel.version}" for wheel in wheels),
    )  # fmt: skip

    assert [response.status_code for response in responses] == [201] * 4
    assert pip.installed() == {wheel.name: wheel.version for wheel in wheels}


@pytest.mark.parametrize("version", ["abc", "1..0", "1.0.x", "1.0 ", "1.0+", "./../1.0", "1,0", "١.٠"])
def test_an_invalid_version_is_refused(project: Namespace, version: str) -> None:
    response = project.upload(build_wheel(NAME, "1.0"), version=version)

    assert response.status_code == 400
    assert "Validation failed: Version is invalid" in response.json()["message"]
    assert project.packages() == []


@also_held_elsewhere
def test_pip_download_and_pip_index_versions_know_the_registry(
    pip: Installer, project: Namespace, reader: str, home: Path
) -> None:
    project.publish(WHEEL, build_wheel(NAME, "0.0.2"))

    pip.succeeds("download", "--index-url", project.index_url(reader), "--no-deps", f"{NAME}==0.0.1")
    output = pip.succeeds("index", "versions", "--index-url", project.index_url(reader), NAME)

    assert (home / WHEEL.filename).read_bytes() == WHEEL.content
    assert "Available versions: 0.0.2, 0.0.1" in output


@also_held_elsewhere
def test_a_deploy_token_of_the_common_group_serves_several_indexes_on_one_host(
    every_pip: Installer, server: RunningServer, group: Namespace
) -> None:
    first, below = server.project(group=group), server.group(parent=group)
    first.publish(WHEEL)
    server.project(group=below).publish(build_wheel("second"))
    username, password = group.deploy_token("read_package_registry")
    group.forward(False)

    every_pip.succeeds(
        "install", "--index-url", first.index_url(password, username),
        "--extra-index-url", below.index_url(password, username), NAME, "second",
    )  # fmt: skip

    assert every_pip.installed() == {NAME: "0.0.1", "second": "1.0"}


@also_held_elsewhere
def test_two_indexes_on_one_host_each_with_its_own_token(pip: Installer, server: RunningServer) -> None:
    first, second = server.project(), server.project()
    first.publish(WHEEL)
    second.publish(build_wheel("second"))
    tokens = [project.deploy_token("read_package_registry") for project in (first, second)]

    pip.succeeds(
        "install", "--index-url", first.index_url(tokens[0][1], tokens[0][0], by_path=True),
        "--extra-index-url", second.index_url(tokens[1][1], tokens[1][0]), NAME, "second",
    )  # fmt: skip

    assert pip.installed() == {NAME: "0.0.1", "second": "1.0"}


@also_held_elsewhere
def test_a_token_that_only_reads_cannot_publish(twine: Client, project: Namespace, developer: User, dist: Dist) -> None:
    output = twine.fails(
        "upload", "--repository-url", project.url, *dist(WHEEL),
        TWINE_USERNAME="workstation", TWINE_PASSWORD=developer.access_token("read_api"),
    )  # fmt: skip

    assert "403 Forbidden" in output
    assert project.packages() == []


@pytest.mark.parametrize("password", ["wrong", pytest.param("glpat-wrong", marks=also_held_elsewhere)])
def test_a_wrong_password_is_reported(
    pip: Installer, twine: Client, project: Namespace, dist: Dist, password: str
) -> None:
    published = twine.fails(
        "upload", "--repository-url", project.url, *dist(WHEEL), TWINE_USERNAME="me", TWINE_PASSWORD=password
    )
    installed = pip.fails("install", "--index-url", project.index_url(password), NAME)

    assert "401 Unauthorized" in published
    assert "401 Error, Credentials not correct" in installed


@also_held_elsewhere
def test_a_guest_is_forbidden_and_not_sent_to_the_upstream(
    pip: Installer, twine: Client, upstream: Upstream, project: Namespace, dist: Dist
) -> None:
    token, before = project.member(GUEST).access_token("api"), len(upstream.requests)

    published = twine.fails(
        "upload", "--repository-url", project.url, *dist(WHEEL), TWINE_USERNAME="me", TWINE_PASSWORD=token
    )
    pip.fails("install", "--index-url", project.index_url(token), PUBLIC.name)

    assert "403 Forbidden" in published
    assert upstream.requests[before:] == []


@also_held_elsewhere
def test_a_private_project_is_hidden_from_users_without_a_role(
    pip: Installer, twine: Client, server: RunningServer, project: Namespace, dist: Dist
) -> None:
    token = server.user().access_token("api")

    published = twine.fails(
        "upload", "--repository-url", project.url, *dist(WHEEL), TWINE_USERNAME="me", TWINE_PASSWORD=token
    )
    pip.fails("install", "--index-url", project.index_url(token), PUBLIC.name)

    assert "404 Not Found" in published


@also_held_elsewhere
def test_an_unknown_project_is_not_found(twine: Client, server: RunningServer, dist: Dist) -> None:
    output = twine.fails(
        "upload", "--repository-url", f"{server.url}/api/v4/projects/999999/packages/pypi", *dist(WHEEL),
        TWINE_USERNAME="root", TWINE_PASSWORD=server.root_token,
    )  # fmt: skip

    assert "404 Not Found" in output


def test_anonymous_clients_neither_install_from_a_private_project_nor_reach_the_upstream(
    pip: Installer, upstream: Upstream, project: Namespace
) -> None:
    before = len(upstream.requests)

    pip.fails("install", "--index-url", project.index_url(), PUBLIC.name)

    assert upstream.requests[before:] == []


@also_held_elsewhere
def test_a_finished_job_publishes_no_more(
    twine: Client, server: RunningServer, project: Namespace, developer: User, dist: Dist
) -> None:
    token = project.job_token(developer)
    job = server.request("GET", "/job", headers={"JOB-TOKEN": token}).json()
    finished = server.request(
        "POST", f"{project.rest_path}/jobs/{job['id']}/finish", json={"status": "success"}, headers={"JOB-TOKEN": token}
    )

    output = twine.fails(
        "upload", "--repository-url", project.url, *dist(WHEEL), TWINE_USERNAME="gitlab-ci-token", TWINE_PASSWORD=token
    )

    assert finished.status_code == 200
    assert "401 Unauthorized" in output


@also_held_elsewhere
def test_an_address_with_credentials_in_it_needs_nothing_else(pip: Installer, project: Namespace, reader: str) -> None:
    project.publish(WHEEL)
    url = with_credentials(project.listed(NAME)[WHEEL.filename], "", reader)

    pip.succeeds("install", "--no-deps", url)

    assert pip.installed() == {NAME: "0.0.1"}
