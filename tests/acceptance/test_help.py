"""The examples of the help chapters, typed as the running server shows them."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import html5lib
import pytest
import requests

from tests.acceptance.clients import Client, Environments, Installer, uv_command
from tests.acceptance.conftest import NEWEST_PIP, PUBLISHING
from tests.acceptance.servers import DEVELOPER, REPORTER, Namespace, RunningServer
from tests.acceptance.test_python_gitlab import PYTHON_GITLAB
from tests.builders import build_sdist, build_wheel
from tests.fakes.issuer import Issuer, issuer_running
from tests.fakes.upstream import Upstream

NAME = "helpdemo"
WHEEL, SDIST = build_wheel(NAME, "1.0.0"), build_sdist(NAME, "1.0.0")
like_others = pytest.mark.clients  # examples that do little else than others do
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="the examples call curl, which is not here"
)


@pytest.fixture
def project(server: RunningServer) -> Namespace:
    """A private project in a private group."""
    return server.project(group=server.group())


@pytest.fixture
def group(server: RunningServer, project: Namespace) -> Namespace:
    """The group of the project."""
    found = server.as_root("GET", f"/groups/{project.full_path.rpartition('/')[0]}")
    return Namespace(server, "groups", found["id"], found["full_path"])


@pytest.fixture
def example(server: RunningServer, project: Namespace, group: Namespace) -> Callable[..., str]:
    """``example(chapter, start, token)``: the example that starts so, with placeholders in angle brackets filled in."""

    def find(chapter: str, start: str, token: str, **values: object) -> str:
        page = requests.get(f"{server.url}/help/{chapter}", timeout=30).text
        tree = html5lib.parse(page, namespaceHTMLElements=False)
        texts = ["".join(element.itertext()) for element in tree.iter("pre")]
        text = next(text for text in texts if text.startswith(start))
        filled_in = {
            "project_id": project.id, "group_id": group.id, "package_name": NAME, "your_personal_token": token, **values
        }  # fmt: skip
        return re.sub(r"<(\w+)>", lambda found: str(filled_in[found[1]]), text)

    return find


@pytest.fixture
def shell(client_environment: Environments, home: Path, upstream: Upstream) -> Installer:
    """A shell whose Python has pip and twine, with two files in ``dist``."""
    python = client_environment("guide", NEWEST_PIP, *PUBLISHING)
    (home / "dist").mkdir(parents=True)
    for file in (WHEEL, SDIST):
        (home / "dist" / file.filename).write_bytes(file.content)
    paths = (python.parent, Path(uv_command()).parent)
    return Installer(
        ("bash", "-euc"),
        home,
        {
            "PATH": os.pathsep.join([*map(str, paths), os.environ["PATH"]]),
            "PIP_TARGET": str(home / "site"),
            "PIP_INDEX_URL": upstream.url,  # for commands that only add an index
            "UV_PYTHON": str(python),
        },
    )


@pytest.fixture
def publisher(project: Namespace) -> str:
    return project.member(DEVELOPER).access_token("api")


@pytest.fixture
def reader(group: Namespace) -> str:
    return group.member(REPORTER).access_token("read_api")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuer_running() as running:
        yield running


def audience_of(server: RunningServer) -> str:
    audience: str = requests.get(f"{server.url}/_/oidc/audience", timeout=30).json()["audience"]
    return audience


@pytest.fixture
def job(server: RunningServer, project: Namespace, group: Namespace, issuer: Issuer) -> dict[str, str]:
    """The variables of a job that the project trusts to publish, and its group to install."""
    server.as_root("PUT", "/application/settings", {"oidc_trusted_issuers": [issuer.url]})
    trusted = {"issuer": issuer.url, "claims": {"project": "acme/app"}}
    server.as_root("POST", f"{project.rest_path}/trusted_publishers", trusted)
    server.as_root("POST", f"{group.rest_path}/trusted_readers", trusted)
    return {
        "IDENTITY_TOKEN": issuer.token(aud=audience_of(server)),
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runtime-token",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/token?api-version=2.0",
    }


def files(project: Namespace) -> set[str]:
    return set(project.listed(NAME))


STOPS = "set -e  # some CI systems go on after a command that failed"
GOES_ON = "set +e  # as they do"
BOTH = {WHEEL.filename, SDIST.filename}


def test_a_repository_in_pypirc(shell: Installer, example, project, publisher: str) -> None:
    (shell.home / ".pypirc").write_text(example("publish", "[distutils]", publisher))

    shell.succeeds(example("publish", "python -m twine upload --repository gitlab", publisher))

    assert files(project) == BOTH


@pytest.mark.parametrize("start", ["TWINE_USERNAME=__token__", "UV_PUBLISH_TOKEN="], ids=["twine", "uv"])
def test_a_token_in_the_environment(shell: Installer, example, project, publisher: str, start: str) -> None:
    shell.succeeds(example("publish", start, publisher), UV_PUBLISH_TRUSTED_PUBLISHING="never")

    assert files(project) == BOTH


def test_uv_publishes_what_is_missing(shell: Installer, example, project, publisher: str) -> None:
    project.publish(WHEEL)

    output = shell.succeeds(
        example("publish", "export UV_PUBLISH_TOKEN=", publisher), UV_PUBLISH_TRUSTED_PUBLISHING="never"
    )

    assert f"{WHEEL.filename} already exists, skipping" in output
    assert files(project) == BOTH


@like_others
def test_an_upload_is_validated_without_being_published(shell: Installer, example, project, publisher: str) -> None:
    check = example("publish", "export TWINE_USERNAME", publisher)
    shell.succeeds(check)
    (shell.home / "dist" / build_wheel("other", "1.0").filename).write_bytes(WHEEL.content)

    told = shell.fails(check)

    assert "other" in told
    assert project.packages() == []


@pytest.mark.parametrize("which", ["REGISTRY_TOKEN", pytest.param("REGISTRY_DEPLOY_TOKEN", marks=like_others)])
def test_a_pipeline(shell: Installer, example, project, publisher: str, which: str) -> None:
    username, secret = project.deploy_token("write_package_registry")
    pipelines = ("authentication", "publish:\n  image: python:3\n  variables:\n    TWINE_USERNAME: ")
    text = example(pipelines[0], pipelines[1] + ("__token__" if which == "REGISTRY_TOKEN" else "$REG"), publisher)
    variables = dict(re.findall(r"^    (TWINE_\w+): (.+)$", text, re.MULTILINE))
    steps = re.findall(r"^    - (.+)$", text, re.MULTILINE)

    exports = "".join(f"export {name}={value}\n" for name, value in variables.items())
    shell.succeeds(
        exports + steps[-1],
        REGISTRY_TOKEN=publisher, REGISTRY_DEPLOY_USERNAME=username, REGISTRY_DEPLOY_TOKEN=secret,
    )  # fmt: skip

    assert variables["TWINE_PASSWORD"] == f"${which}"
    assert files(project) == BOTH


@needs_curl
def test_a_job_that_is_announced_publishes_and_is_ended(
    shell: Installer, server: RunningServer, example, project, publisher: str
) -> None:
    output = shell.succeeds(example("authentication", "JOB=", publisher), REGISTRY_TOKEN=publisher)

    assert files(project) == BOTH
    assert '"status":"success"' in output
    [package] = project.packages()
    shown = server.as_root("GET", f"{project.rest_path}/packages/{package['id']}")
    assert [pipeline["ref"] for pipeline in shown["pipelines"]] == ["main"]


@needs_curl
@pytest.mark.parametrize(
    ("chapter", "start"),
    [
        pytest.param("gitlab-ci", "test:", marks=like_others),
        pytest.param("github-actions", "on: push", marks=like_others),
        ("other-ci", f"{STOPS}\nREAD_TOKEN="),
    ],
    ids=["GitLab", "GitHub", "other"],
)
def test_a_job_installs_with_its_identity_token(
    shell: Installer, example, project, group, job: dict[str, str], issuer: Issuer, chapter: str, start: str
) -> None:
    project.publish(WHEEL)
    script = textwrap.dedent(example(chapter, start, "").rpartition("|\n")[2])
    if chapter == "other-ci":
        script = f"{GOES_ON}\n{script}"

    shell.succeeds(script, **job)

    assert shell.installed() == {NAME: "1.0.0"}

    [trusted] = group.server.as_root("GET", f"{group.rest_path}/trusted_readers")
    group.server.as_root("DELETE", f"{group.rest_path}/trusted_readers/{trusted['id']}")

    told = shell.fails(script, **job | {"IDENTITY_TOKEN": issuer.token(aud=audience_of(group.server))})

    assert "Traceback" not in told
    assert "No trusted reader has the issuer of the identity token." in told
    assert "index" not in told, "pip is not run"


@needs_curl
def test_a_job_publishes_with_its_identity_token(
    shell: Installer, example, project, server: RunningServer, job: dict[str, str]
) -> None:
    claims = shell.succeeds(example("other-ci", "python3 -c", ""), **job)
    publish = f"{GOES_ON}\n" + example("other-ci", f"{STOPS}\nTOKEN=", "")
    shell.succeeds(publish, **job)
    told = shell.fails(publish, **job)

    assert '"project": "acme/app"' in claims
    assert "The identity token was exchanged before (jti)." in told
    assert files(project) == BOTH
    assert server.as_root("GET", f"{project.rest_path}/trusted_publishers/tokens") == []


@pytest.mark.parametrize(
    ("chapter", "start"),
    [
        ("install", "pip install --index-url http://__token__:<your_personal_token>@"),
        ("getting-started", "pip install --index-url"),
        ("install", "pip install --extra-index-url"),
    ],
    ids=["project", "first steps", "extra index"],
)
def test_an_index_for_one_command(shell: Installer, example, project, reader: str, chapter: str, start: str) -> None:
    project.publish(WHEEL)

    shell.succeeds(example(chapter, start, reader), PIP_NO_DEPS="1")

    assert shell.installed() == {NAME: "1.0.0"}


def test_a_deploy_token_of_the_group(shell: Installer, example, project, group) -> None:
    project.publish(WHEEL)
    username, secret = group.deploy_token("read_package_registry")
    credentials = {"deploy_token_username": username, "deploy_token": secret}

    shell.succeeds(example("troubleshooting", "pip install --index-url", "", **credentials))

    assert shell.installed() == {NAME: "1.0.0"}


@like_others
def test_an_index_in_the_configuration_of_pip(shell: Installer, example, project, reader: str) -> None:
    project.publish(WHEEL)
    shell.environment |= {"PIP_CONFIG_FILE": str(shell.home / "pip.conf")}
    del shell.environment["PIP_INDEX_URL"]

    shell.succeeds(example("install", "pip config set", reader) + f"\npip install --no-deps {NAME}")

    assert shell.installed() == {NAME: "1.0.0"}


@like_others
def test_files_are_fetched_first_and_then_installed_without_an_index(
    shell: Installer, upstream: Upstream, example, project, reader: str
) -> None:
    project.publish(WHEEL)
    before = len(upstream.requests)

    fetch, install = example("forwarding", "pip download", reader).splitlines()
    shell.succeeds(f"unset PIP_TARGET\n{fetch}")
    shell.succeeds(install)

    assert shell.installed() == {NAME: "1.0.0"}
    assert upstream.requests[before:] == []


@like_others
def test_a_dry_run_shows_the_origin_of_packages(shell: Installer, example, project, group, reader: str) -> None:
    project.publish(WHEEL)

    output = shell.succeeds("unset PIP_TARGET\n" + example("forwarding", "pip install --dry-run", reader))

    assert f"{group.url}/files/{WHEEL.sha256}/{WHEEL.filename}" in re.sub(r"//[^@/]*@", "//", output)


@like_others
def test_commands_for_troubleshooting_pip(shell: Installer, example) -> None:
    shell.succeeds(example("troubleshooting", "pip debug", "") + "\n" + example("troubleshooting", "pip cache", ""))


@pytest.mark.parametrize(
    "start", ["--extra-index-url http://__token__:", pytest.param("--index-url http://__token__:", marks=like_others)]
)
def test_a_requirements_file(shell: Installer, example, project, reader: str, start: str) -> None:
    project.publish(WHEEL)
    (shell.home / "requirements.txt").write_text(example("requirements", start, reader))

    shell.succeeds(example("requirements", "pip install", reader), REGISTRY_TOKEN=reader)

    assert shell.installed() == {NAME: "1.0.0"}


@like_others
def test_credentials_in_netrc(shell: Installer, example, project, reader: str) -> None:
    project.publish(WHEEL)
    (shell.home / ".netrc").write_text(example("requirements", "machine", reader))
    (shell.home / ".netrc").chmod(0o600)
    (shell.home / "requirements.txt").write_text(example("requirements", "--extra-index-url http://127", reader))

    shell.succeeds(example("requirements", "pip install", reader))

    assert shell.installed() == {NAME: "1.0.0"}


def test_uv_for_one_command(shell: Installer, example, project, reader: str) -> None:
    project.publish(WHEEL)

    shell.succeeds("uv venv --quiet\nunset UV_PYTHON\n" + example("install", "uv pip install", reader))

    assert list(shell.home.glob(f".venv/lib/*/site-packages/{NAME}-1.0.0.dist-info"))


@pytest.mark.parametrize("chapter", ["install", pytest.param("trusted-publishing", marks=like_others)])
def test_uv_in_a_project(shell: Installer, example, project, reader: str, chapter: str) -> None:
    project.publish(WHEEL)
    (shell.home / "pyproject.toml").write_text(
        '[project]\nname = "program"\nversion = "0"\nrequires-python = ">=3.9"\n'
        f'dependencies = ["{NAME}"]\n\n' + example("install", "[[tool.uv.index]]", reader)
    )

    shell.succeeds(example(chapter, "export UV_INDEX", reader), READ_TOKEN=reader)

    assert list(shell.home.glob(f".venv/lib/*/site-packages/{NAME}-1.0.0.dist-info"))
    assert reader not in (shell.home / "uv.lock").read_text()


@needs_curl
def test_requests_of_the_rest_api(shell: Installer, example, project, server: RunningServer, group) -> None:
    project.publish(WHEEL)

    who = shell.succeeds(
        example("rest-api", 'curl --header "PRIVATE-TOKEN: <your_personal_token>" http', server.root_token)
    )
    packages = shell.succeeds(
        example("rest-api", 'curl --header "PRIVATE-TOKEN: <your_personal_token>" "', server.root_token)
    )
    shell.succeeds(example("rest-api", "curl --request PUT", server.root_token))

    assert '"username":"root"' in who
    assert f'"name":"{NAME}"' in packages
    standing = server.as_root("GET", f"{group.rest_path}/package_settings")
    assert standing["pypi_package_requests_forwarding"] is False
    assert standing["lock_pypi_package_requests_forwarding"] is True


@needs_curl
def test_yanks_and_statuses_over_the_rest_api(shell: Installer, example, project, server: RunningServer) -> None:
    project.publish(WHEEL, SDIST)
    [package] = project.packages()
    files_path = f"{project.rest_path}/packages/{package['id']}/package_files"
    first = server.as_root("GET", files_path)[0]
    numbers = {"package_id": package["id"], "file_id": first["id"]}

    yank = example("releases", "curl --request PUT", server.root_token, **numbers)
    status = example(
        "releases", 'curl --request PUT --header "PRIVATE-TOKEN: <your_personal_token>" \\', server.root_token
    )
    identical = example("publish", "curl --request PUT", server.root_token)
    shell.succeeds("\n".join((yank, status, identical)))

    reasons = {file["id"]: file["yanked_reason"] for file in server.as_root("GET", files_path)}
    assert reasons.pop(first["id"]) is None
    assert set(reasons.values()) == {"Loses data"}
    said = server.as_root("GET", f"{project.rest_path}/packages/names/{NAME}/status")
    assert (said["status"], said["reason"]) == ("archived", "Goes on under another name")
    assert server.as_root("GET", project.rest_path)["pypi_identical_upload_accepted"] is True


def test_a_script_with_python_gitlab(
    client_environment: Environments, home: Path, server: RunningServer, example
) -> None:
    python = Client((str(client_environment("python-gitlab", PYTHON_GITLAB)), "-c"), home)
    script = example("rest-api", "import gitlab", server.root_token)

    output = python.succeeds(script.replace('"path": "acme"', '"path": "acme-of-help"'))

    assert re.search(r"^gitlab\+deploy-token-\d+ gldt-", output, re.MULTILINE)
