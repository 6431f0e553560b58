"""What the tools build is published: no file is refused, and twine uploads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.clients import Client, Environments
from tests.acceptance.corpus.checking import checked, oldest_packaging
from tests.acceptance.corpus.tools import TOOLS, Tool
from tests.acceptance.servers import RunningServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(400)]


@pytest.mark.parametrize("tool", TOOLS, ids=str)
def test_what_a_tool_builds_is_published(
    tool: Tool, client_environment: Environments, server: RunningServer, twine: Client, tmp_path: Path
) -> None:
    if missing := tool.missing_programs():
        pytest.skip(f"{tool} needs {', '.join(missing)}")
    if tool.twine:
        twine.command = (str(client_environment(f"corpus-twine-{tool.twine}", f"twine=={tool.twine}")), "-m", "twine")
    built = tool.build(client_environment, tmp_path / "project")
    project = server.project()

    report = checked(built)
    twine.succeeds("upload", "--repository-url", project.url, "-u", "root", "-p", server.root_token, *built)

    assert {file["file"]: file["errors"] for file in report} == {str(path): [] for path in built}
    assert checked(built, oldest_packaging(client_environment)) == report
    assert sorted(project.listed("corpus-demo")) == sorted(path.name for path in built)
