"""python-gitlab, old and current, with the script of the acceptance tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.matrix.editions import Edition, editions
from tests.acceptance.matrix.tried import Tried
from tests.acceptance.servers import RunningServer
from tests.acceptance.test_python_gitlab import SCRIPT
from tests.builders import build_sdist, build_wheel

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("edition", editions("python-gitlab"), ids=str)
def test_it_manages_packages(tried: Callable[..., Tried], server: RunningServer, edition: Edition) -> None:
    script = tried(edition, "python", str(SCRIPT))
    project = server.project()
    project.publish(build_wheel("demo", "1.0"), build_wheel("demo", "2.0"), build_sdist("demo", "2.0"))

    script.succeeds("packages", server.url, server.root_token, project.full_path)

    script.seen("manages", "packages")
    script.seen("authenticates", "token")
