"""Commands, run and refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from registry.database import db
from tests.cli.running import Run, Shell
from tests.processes import migrated_database


@pytest.fixture
def run(app: Flask) -> Run:
    """Runs ``flask <arguments>`` in this process; standard input is no terminal."""
    runner = app.test_cli_runner()

    def run(*arguments: str, typed: str | None = None) -> Result:
        result = runner.invoke(args=list(arguments), input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        db.session.expire_all()
        return result

    return run


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Runs a command that must fail, and returns its one sentence."""

    def refused(*arguments: str, typed: str | None = None) -> str:
        result = run(*arguments, typed=typed)
        assert result.exit_code != 0, result.output
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("Error: ")
        return lines[0].removeprefix("Error: ")

    return refused


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell on a new installation."""
    shell = Shell(tmp_path / "instance")
    shutil.copytree(migrated_database().parent, shell.instance)
    return shell
