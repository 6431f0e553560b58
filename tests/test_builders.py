"""The wheels and sdists that the tests make."""

import os
import subprocess
import sys

import pytest

from tests.builders import build_sdist, build_wheel


@pytest.mark.parametrize(
    "built",
    [
        build_wheel(
            "My.Pkg", requires_python=">=3.8", description="# Read me", description_content_type="text/markdown"
        ),
        build_sdist("My.Pkg"),
        build_sdist("My.Pkg", filename="my_pkg-1.0.zip"),
    ],
    ids=["wheel", "sdist", "sdist in a zip file"],
)
def test_pip_installs_built_distributions(built, tmp_path):
    (tmp_path / built.filename).write_bytes(built.content)
    command = [
        sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps",
        "--target", tmp_path / "site", tmp_path / built.filename,
    ]  # fmt: skip
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}

    subprocess.run(command, check=True, capture_output=True, env=environment)

    assert (tmp_path / "site" / "my_pkg.py").read_text() == '__version__ = "1.0"\n'


def test_equal_arguments_build_equal_bytes():
    assert build_wheel(size_bytes=1000).sha256 == build_wheel(size_bytes=1000).sha256
    assert build_sdist(size_bytes=1000).sha256 == build_sdist(size_bytes=1000).sha256
