"""Observations of each client: a line for each fact, in a file for each run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from tests.acceptance.clients import ENVIRONMENTS

FOLDER = ENVIRONMENTS / "seen"
SUBJECTS = ("publishes", "installs", "authenticates", "manages")


@dataclass(frozen=True)
class Observation:
    """:ivar python: the version of the client's own Python.
    :ivar subject: what the fact is about, a column of the table.
    """

    client: str
    version: str
    python: str
    subject: str
    fact: str


def note(observation: Observation, run: str) -> None:
    """Append an observation to the file of its run; any number of processes can do so at once.

    :param run: names the run.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(observation)) + "\n"
    file = os.open(FOLDER / f"{run}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def of_last_run() -> set[Observation]:
    """Return the observations of the last run, an empty set without one."""
    runs = sorted(FOLDER.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not runs:
        return set()
    return {Observation(**json.loads(line)) for line in runs[-1].read_text().splitlines()}
