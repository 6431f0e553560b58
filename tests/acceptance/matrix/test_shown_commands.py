"""The commands and files that pages show, pasted as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree.ElementTree import Element

import html5lib
import pytest
import requests

from tests.acceptance.clients import releases
from tests.acceptance.matrix.editions import editions
from tests.acceptance.matrix.tried import Tried
from tests.acceptance.servers import DEVELOPER, REPORTER, Namespace, RunningServer
from tests.builders import build_wheel

pytestmark = pytest.mark.clients
PROJECT = """\
[project]
name = "pasting"
version = "1.0"
requires-python = ">=3.11,<4"
dependencies = []

[tool.pdm]
distribution = false
"""
PLACEHOLDER = "<your_personal_token>"


@pytest.fixture(scope="session")
def signed_in(server: RunningServer) -> Callable[[str], Element]:
    """Opens pages as the administrator."""
    session = requests.Session()
    session.trust_env = False
    form = session.get(f"{server.url}/users/sign_in", timeout=60).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert token is not None
    sent = {"csrf_token": token[1], "login": "root", "password": server.root_password}
    assert session.post(f"{server.url}/users/sign_in", data=sent, timeout=60).ok

    def opened(path: str) -> Element:
        response = session.get(f"{server.url}{path}", timeout=60)
        assert response.status_code == 200
        page: Element = html5lib.parse(response.text, namespaceHTMLElements=False)
        return page

    return opened


@pytest.fixture(scope="session")
def demo(server: RunningServer, group: Namespace) -> Namespace:
    """A private project of ``group`` with two versions of ``page-demo``."""
    made = server.project(group=group)
    made.publish(*(build_wheel("page-demo", version) for version in ("1.0", "2.0")))
    return made


@pytest.fixture(scope="session")
def open_demo(server: RunningServer) -> Namespace:
    """A public project with a version of ``page-demo``."""
    made = server.project(visibility="public")
    made.publish(build_wheel("page-demo", "2.0"))
    return made


@pytest.fixture(params=["older version of a private project", "latest version of a public project"])
def shown(
    request: pytest.FixtureRequest,
    signed_in: Callable[[str], Element],
    group: Namespace,
    demo: Namespace,
    open_demo: Namespace,
) -> Callable[[str], list[str]]:
    """The code blocks about a client on the page of a version, after the one that sets the variable."""
    is_private = "private" in request.param
    project, version = (demo, "1.0") if is_private else (open_demo, "2.0")
    page = signed_in(f"/{project.full_path}/-/packages/names/page-demo?version={version}")
    reader = group.member(REPORTER).access_token("read_api")
    [installation] = page.findall(".//section[@id='installation']")
    variables = [block for block in blocks(installation) if block.startswith("export ")]
    assert len(variables) == is_private

    def of(client: str) -> list[str]:
        [found] = installation.findall(f".//details[@data-choice='{client}']")
        own = [block for block in blocks(found) if PLACEHOLDER not in block]
        return ["\n".join(variables).replace(PLACEHOLDER, reader), *own]

    return of


def blocks(element: Element) -> list[str]:
    return ["".join(block.itertext()) for block in element.findall(".//pre/code")]


def paste(client: Tried, *lines: str) -> None:
    """Run lines in a shell of the client's environment."""
    replace(client, command=("bash", "-euc")).succeeds("\n".join(lines))


def expected(shown: Callable[[str], list[str]]) -> dict[str, str]:
    return {"page_demo": "1.0" if shown("pip")[0] else "2.0"}


def test_pip_installs_by_the_line_of_the_page(pip: Tried, shown: Callable[[str], list[str]]) -> None:
    paste(pip, *shown("pip"))

    assert pip.installed() == expected(shown)


def test_pip_installs_by_the_requirements_of_the_page(pip: Tried, shown: Callable[[str], list[str]]) -> None:
    variable, requirements = shown("requirements")
    pip.write("requirements.txt", requirements)

    paste(pip, variable, "pip install -r requirements.txt")

    assert pip.installed() == expected(shown)


def test_pip_installs_by_the_line_of_the_page_for_the_project(
    pip: Tried, signed_in: Callable[[str], Element], demo: Namespace
) -> None:
    page = signed_in(f"/{demo.full_path}/-/packages/names/page-demo?version=1.0")
    [part] = page.findall(".//details[@id='from-project']")
    [line] = blocks(part)
    token = demo.deploy_token("read_package_registry")[1]

    paste(pip, f"export REGISTRY_TOKEN={token}", line)

    assert pip.installed() == {"page_demo": "1.0"}


def test_uv_installs_by_the_line_of_the_page(uv: Tried, shown: Callable[[str], list[str]]) -> None:
    del uv.environment["VIRTUAL_ENV"]
    uv.succeeds("venv", ".venv")

    paste(uv, *shown("uv"))

    assert uv.in_project() == expected(shown)


def test_poetry_adds_by_the_lines_of_the_page(poetry: Tried, shown: Callable[[str], list[str]]) -> None:
    poetry.write("pyproject.toml", PROJECT)

    paste(poetry, *shown("poetry"))

    assert poetry.in_project() == expected(shown)


def test_pdm_adds_by_the_lines_of_the_page(pdm: Tried, shown: Callable[[str], list[str]]) -> None:
    variable, source, command = shown("pdm")
    pdm.write("pyproject.toml", f"{PROJECT}\n{source}\n")

    paste(pdm, variable, command)

    assert releases(pdm.home.glob(".venv/lib/*/site-packages/page_demo*.dist-info")) == expected(shown)


@pytest.fixture
def twine(tried: Callable[..., Tried]) -> Tried:
    return tried(editions("twine")[-1], "python", "-m", "twine")


@pytest.mark.parametrize("page", ["list of an empty project", "package"])
def test_twine_publishes_with_the_file_of_the_page(
    twine: Tried, signed_in: Callable[[str], Element], project: Namespace, page: str
) -> None:
    if page == "package":
        project.publish(build_wheel("page-demo", "2.0"))
    shown = signed_in(f"/{project.full_path}/-/packages" + ("/names/page-demo" if page == "package" else ""))
    [file] = [block for block in blocks(shown) if block.startswith("[distutils]")]
    [command] = [
        "".join(code.itertext()) for code in shown.iter("code") if "--repository gitlab" in "".join(code.itertext())
    ]
    twine.write(".pypirc", file.replace(PLACEHOLDER, project.member(DEVELOPER).access_token("api")))
    twine.has_dist(build_wheel("page-demo", "3.0"))

    paste(twine, command)

    assert ("page-demo", "3.0") in [(package["name"], package["version"]) for package in project.packages()]
