"""``flask`` as tests run it: within this process, or in one of its own as an administrator does."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from tests import processes
from tests.processes import Forked

Run = Callable[..., Result]
Refused = Callable[..., str]


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.output
    assert result.stderr == "", result.stderr
    return result.stdout


def loaded(result: Result) -> Any:
    return json.loads(succeeded(result))


def columns(result: Result) -> list[list[str]]:
    return [line.split("\t") for line in succeeded(result).splitlines()]


class Shell:
    """Runs ``flask`` as an administrator does: in the checkout, as a process of its own."""

    def __init__(self, instance: Path) -> None:
        self.instance = instance
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "FLASK_"))
        } | {"REGISTRY_INSTANCE_PATH": str(instance)}

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return processes.run(processes.flask, *arguments, environment={**self.environment, **environment})

    def on_a_terminal(self, *arguments: str, answers: list[str]) -> tuple[int, str]:
        """Exit status and screen; each answer is typed when a prompt waits for it."""
        controller, terminal = pty.openpty()
        process = Forked(
            processes.flask, *arguments, environment=self.environment,
            stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        screen = b""
        try:
            while piece := os.read(controller, 4096):
                screen += piece
                if answers and screen.endswith(b": "):
                    os.write(controller, answers.pop(0).encode() + b"\n")
        except OSError:  # the last program on the terminal has ended
            pass
        os.close(controller)
        return process.wait(timeout=60), screen.decode()
