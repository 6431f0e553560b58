"""The examination of files on disk, as ``pypi-registry packages check`` reports it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.acceptance.clients import Environments
from tests.acceptance.servers import CHECKOUT


def checked(paths: Iterable[Path], packages: Path | None = None) -> list[dict[str, Any]]:
    """Return the report on each file.

    :param packages: a folder with packages that are imported instead of those of this environment.
    """
    search = [str(CHECKOUT)] if packages is None else [str(packages), str(CHECKOUT)]
    done = subprocess.run(
        [sys.executable, "-m", "registry", "packages", "check", "--json", *paths],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(search)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    report: list[dict[str, Any]] = json.loads(done.stdout)
    return report


def oldest_packaging(client_environment: Environments) -> Path:
    """Return the folder of the oldest ``packaging`` that the registry works with."""
    [lowest] = re.findall(r'"packaging>=(\S+)"', (CHECKOUT / "pyproject.toml").read_text())
    python = client_environment("packaging-oldest", f"packaging=={lowest}")
    [folder] = python.parent.parent.glob("lib/python*/site-packages")
    return folder
