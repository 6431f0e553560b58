"""The command ``upload`` of old setuptools, as old CI images still run it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.matrix.editions import editions
from tests.acceptance.matrix.tried import Credentials, Tried
from tests.acceptance.servers import Namespace

pytestmark = pytest.mark.clients
[LAST_WITH_UPLOAD] = editions("setuptools")
SETUP = """\
from setuptools import setup
setup(name="olddemo", version="1.0", description="A demonstration", url="http://example.com", py_modules=["olddemo"])
"""


def test_it_publishes_its_build_and_takes_the_answer_201_for_a_failure(
    tried: Callable[..., Tried], project: Namespace, credentials: Credentials
) -> None:
    """It accepts only 200. GitLab answers 201, and scripts that check the status rely on that."""
    python = tried(LAST_WITH_UPLOAD, "python")
    python.write("setup.py", SETUP)
    python.write("olddemo.py", "")
    python.has_in_pypirc(project.url, credentials)

    outputs = [python.fails("setup.py", kind, "upload", "--repository", "ours") for kind in ("sdist", "bdist_wheel")]
    repeated = python.fails("setup.py", "bdist_wheel", "upload", "--repository", "ours")

    assert all("Upload failed (201): CREATED" in output for output in outputs)
    assert sorted(project.listed("olddemo")) == ["olddemo-1.0-py3-none-any.whl", "olddemo-1.0.tar.gz"]
    assert "File name has already been taken" in repeated
    python.seen("publishes", "wheels and sdists", "calls the answer 201 a failure")
    python.seen("authenticates", "configuration file")
