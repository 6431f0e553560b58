"""How clients transfer files: metadata first, in parts, and resuming interrupted downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace, RunningServer
from tests.builders import build_wheel
from tests.fakes.proxy import FaultyProxy

pytestmark = pytest.mark.clients
LARGE = build_wheel("largedemo", "1.0", size_bytes=3 << 20)
POETRY_PROJECT = """\
[project]
name = "program"
version = "0"
requires-python = ">=3.11"
dependencies = ["largedemo"]

[[tool.poetry.source]]
name = "ours"
url = "{url}"
"""
PDM_PROJECT = """\
[project]
name = "program"
version = "0"
requires-python = ">=3.11"
dependencies = ["largedemo"]

[[tool.pdm.source]]
name = "pypi"
url = "{url}"
"""


@pytest.fixture
def project(project: Namespace) -> Namespace:
    """A project that holds ``LARGE``."""
    project.publish(LARGE)
    return project


@pytest.fixture
def proxy(server: RunningServer) -> Iterator[FaultyProxy]:
    started = FaultyProxy(server.url)
    yield started
    started.close()


@pytest.fixture
def index_url(proxy: FaultyProxy, project: Namespace, credentials: Credentials) -> str:
    """Through the proxy."""
    return proxy.through(project.index_url(credentials[1], credentials[0]))


@pytest.fixture(params=["pip", "uv", "poetry", "pdm"])
def resolve(
    request: pytest.FixtureRequest,
    proxy: FaultyProxy,
    project: Namespace,
    index_url: str,
    credentials: Credentials,
) -> Callable[[], str]:
    """Shows the packages a client would install, without installing them."""
    client: Tried = request.getfixturevalue(request.param)
    if request.param == "pip":
        return lambda: client.succeeds("install", "--dry-run", "--index-url", index_url, "largedemo", PIP_TARGET="")
    if request.param == "uv":
        return lambda: client.succeeds("pip", "compile", "--index-url", index_url, client.write("in.txt", "largedemo"))
    if request.param == "poetry":
        client.write("pyproject.toml", POETRY_PROJECT.format(url=proxy.through(project.index_url())))
        username, password = credentials
        return lambda: client.succeeds(
            "lock", POETRY_HTTP_BASIC_OURS_USERNAME=username, POETRY_HTTP_BASIC_OURS_PASSWORD=password
        )
    client.write("pyproject.toml", PDM_PROJECT.format(url=index_url))
    return lambda: client.succeeds("lock")


def test_a_resolution_reads_core_metadata_and_no_wheel(resolve: Callable[[], str], proxy: FaultyProxy) -> None:
    resolve()

    assert {asked.status for asked in proxy.asked_for(f"{LARGE.filename}.metadata")} >= {200}
    assert proxy.asked_for(LARGE.filename) == []


@pytest.mark.parametrize("resolve", ["uv", "poetry"], indirect=True)
def test_without_core_metadata_a_resolution_reads_parts_of_the_wheel(
    resolve: Callable[[], str], proxy: FaultyProxy
) -> None:
    """The registry has core metadata beside every wheel; the proxy hides it, as an old mirror does."""
    proxy.announces_core_metadata = False

    resolve()

    assert_only_parts_were_read(proxy)


def test_without_core_metadata_pip_reads_parts_of_the_wheel_with_fast_deps(
    pip: Tried, proxy: FaultyProxy, index_url: str
) -> None:
    proxy.announces_core_metadata = False

    pip.succeeds(
        "install", "--dry-run", "--use-feature", "fast-deps", "--index-url", index_url, "largedemo", PIP_TARGET=""
    )

    assert any(asked.method == "HEAD" and asked.status == 200 for asked in proxy.asked_for(LARGE.filename))
    assert any(asked.status == 206 for asked in proxy.asked_for(LARGE.filename))


def assert_only_parts_were_read(proxy: FaultyProxy) -> None:
    asked = [request for request in proxy.asked_for(LARGE.filename) if request.status != 401]
    assert any(request.status == 206 for request in asked)
    assert not [request for request in asked if request.method == "GET" and request.status != 206]


def test_pip_resumes_an_interrupted_download(pip: Tried, proxy: FaultyProxy, index_url: str) -> None:
    proxy.cut_after_bytes = 2 << 20

    output = pip.succeeds("install", "--index-url", index_url, "--no-deps", "largedemo")

    whole, rest = proxy.asked_for(LARGE.filename)
    assert (whole.status, rest.status) == (200, 206)
    assert rest.headers["Range"].startswith("bytes=")
    assert rest.headers["Range"] != "bytes=0-"
    assert LARGE.sha256 in rest.headers["If-Range"]
    assert "resum" in output
    assert pip.installed() == {"largedemo": "1.0"}


def test_uv_retries_an_interrupted_download(uv: Tried, proxy: FaultyProxy, index_url: str) -> None:
    proxy.cut_after_bytes = 2 << 20

    uv.succeeds("pip", "install", "--target", uv.site, "--index-url", index_url, "largedemo")

    assert uv.installed() == {"largedemo": "1.0"}


def test_pip_revalidates_a_cached_page(pip: Tried, proxy: FaultyProxy, index_url: str, project: Namespace) -> None:
    """Without https it caches only pages of trusted hosts."""
    install = ("install", "--dry-run", "--trusted-host", "127.0.0.1", "--index-url", index_url, "largedemo")

    for _ in range(2):
        pip.succeeds(*install, PIP_TARGET="")

    assert answers(proxy, project) == [200, 304]


def test_uv_revalidates_a_cached_page(uv: Tried, proxy: FaultyProxy, index_url: str, project: Namespace) -> None:
    for _ in range(2):
        uv.succeeds("pip", "compile", "--index-url", index_url, uv.write("in.txt", "largedemo\n"))

    assert answers(proxy, project) == [200, 304]


def answers(proxy: FaultyProxy, project: Namespace) -> list[int]:
    """The statuses of the simple page, without challenges."""
    page = f"{project.pypi_path}/simple/largedemo/"
    return [asked.status for asked in proxy.passed if asked.path == page and asked.status != 401]
