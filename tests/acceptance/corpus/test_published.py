"""Wheels and sdists of packages that are installed most often, from several years, are not refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from registry.domain.distributions import inspection
from registry.domain.distributions.budget import SECONDS, Budget
from tests.acceptance.clients import ENVIRONMENTS, Environments
from tests.acceptance.conftest import NEWEST_PIP
from tests.acceptance.corpus.checking import checked, oldest_packaging

pytestmark = [pytest.mark.clients, pytest.mark.timeout(400)]
PLATFORMS = (
    "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_12_x86_64",
    "manylinux2010_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64",
)  # fmt: skip
# By the tool that built them.
WHEELS = {
    "hatchling 1.11 to 1.18": ["colorama==0.4.6", "Pygments==2.18.0"],
    "hatchling 1.20 to 1.26": [
        "attrs==24.2.0", "beautifulsoup4==4.12.3", "black==24.8.0", "dnspython==2.6.1", "filelock==3.16.1",
        "httpx==0.27.0", "jsonschema==4.23.0", "jsonschema-specifications==2023.12.1", "openai==1.40.0",
        "opentelemetry-api==1.27.0", "platformdirs==4.3.6", "pydantic==2.8.2", "pydantic-settings==2.4.0",
        "referencing==0.35.1", "soupsieve==2.6", "sqlparse==0.5.1", "starlette==0.37.2", "termcolor==2.4.0",
        "urllib3==2.2.2", "uvicorn==0.30.6", "virtualenv==20.26.6",
    ],
    "setuptools of 2017 to 2021": [
        "certifi==2022.12.7", "chardet==4.0.0", "click==7.1.2", "docutils==0.16", "Jinja2==2.11.3", "pip==20.3.4",
        "python-dateutil==2.8.2", "pytz==2020.1", "requests==2.25.1", "six==1.16.0", "Werkzeug==1.0.1", "wheel==0.37.1",
    ],
    "setuptools of 2022 to 2024": [
        "boto3==1.26.165", "cffi==1.16.0", "charset-normalizer==3.3.2", "greenlet==3.0.3", "MarkupSafe==2.1.5",
        "numpy==1.24.4", "pillow==10.3.0", "psutil==5.9.8", "pyarrow==16.1.0", "PyYAML==6.0.1", "s3transfer==0.6.1",
        "setuptools==65.5.0", "SQLAlchemy==1.4.52", "wrapt==1.16.0",
    ],
    "flit, poetry-core, and pdm-backend": [
        "fastapi==0.111.0", "idna==3.4", "packaging==23.2", "poetry-core==1.9.0", "rich==13.7.1", "tomli==2.0.1",
        "typing-extensions==4.7.1",
    ],
    "tools for compiled code": [
        "contourpy==1.2.1", "cryptography==42.0.8", "ninja==1.11.1.1", "orjson==3.10.6", "protobuf==4.25.3",
        "pydantic-core==2.20.1", "pyzmq==26.0.3", "rpds-py==0.20.0",
    ],
}  # fmt: skip
SDISTS = (
    "attrs==24.2.0", "certifi==2022.12.7", "click==7.1.2", "docutils==0.16", "fastapi==0.111.0", "httpx==0.27.0",
    "idna==2.10", "MarkupSafe==2.1.5", "packaging==21.3", "platformdirs==4.3.6", "pyreadline==2.1",
    "python-dateutil==2.8.2", "pytz==2020.1", "requests==2.25.1", "rich==13.7.1", "simplejson==3.17.6", "six==1.16.0",
    "tomli==2.0.1", "urllib3==2.2.2",
)  # fmt: skip
# With which pip reads the metadata of the sdists.
BACKENDS = (
    "flit_core", "hatch-fancy-pypi-readme", "hatch-vcs", "hatchling", "pdm-backend", "poetry-core", "setuptools<81",
    "setuptools-scm", "wheel",
)  # fmt: skip


def test_wheels_of_well_known_packages_are_not_refused(client_environment: Environments) -> None:
    names = [name for built_alike in WHEELS.values() for name in built_alike]
    options = [option for platform in PLATFORMS for option in ("--platform", platform)]

    files = _downloaded(
        client_environment(NEWEST_PIP, NEWEST_PIP), "wheels", names,
        "--only-binary", ":all:", "--python-version", "3.11", *options,
    )  # fmt: skip

    _assert_accepted(files, client_environment)


def test_sdists_of_well_known_packages_are_not_refused(client_environment: Environments) -> None:
    python = client_environment("backends", NEWEST_PIP, *BACKENDS)

    files = _downloaded(python, "sdists", SDISTS, "--no-binary", ":all:", "--no-build-isolation")

    assert {path.suffix for path in files} == {".gz", ".zip"}
    _assert_accepted(files, client_environment)


def _downloaded(python: Path, kind: str, names: list[str] | tuple[str, ...], *options: str) -> list[Path]:
    """Download one file of each package that is not there from an earlier run; pip's configuration names the index."""
    folder = ENVIRONMENTS / "published" / kind
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *options, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = sorted(folder.iterdir())
    assert len(found) == len(names)
    return found


def _assert_accepted(files: list[Path], client_environment: Environments) -> None:
    report = checked(files)

    assert {file["file"]: file["errors"] for file in report if file["errors"]} == {}
    assert len(report) == len(files)
    assert checked(files, oldest_packaging(client_environment)) == report
    for path in files:
        with path.open("rb") as file:
            inspection.parsed(file, path.name, Budget(SECONDS / 10))  # which raises Exhausted otherwise
