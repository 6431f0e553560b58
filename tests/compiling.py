"""Compiles each module once for all processes of the tests. Loaded before any other module (``-p tests.compiling``)."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path

import pytest

# Otherwise each of these processes, and each program that they start, compiles the same modules again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import all modules with tests, in each worker in another order, so that hardly two compile the same one at once.

    Nothing is done where a part of the tests was asked for.
    """
    config = session.config
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    paths = sorted(path for folder in config.args for path in Path(config.rootpath, folder).rglob("test_*.py"))
    first = len(paths) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for path in paths[first:] + paths[:first]:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # reported when the module is collected
            importlib.import_module(".".join(path.relative_to(config.rootpath).with_suffix("").parts))
