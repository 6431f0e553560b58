"""The table of clients in the README, from the observations of the last run of ``pytest -m clients``.

``python -m tests.acceptance.matrix.table`` writes it between the two comments that mark its place in the README.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from packaging.version import Version

from tests.acceptance.matrix import observations
from tests.acceptance.matrix.editions import CLIENTS
from tests.acceptance.matrix.observations import Observation
from tests.acceptance.servers import CHECKOUT

README = CHECKOUT / "README.md"
BEGIN, END = "<!-- clients: begin -->", "<!-- clients: end -->"
HEADING = "| client | versions seen | publishes | installs from | credentials in |\n|---|---|---|---|---|\n"
# Facts in the order of the table; others follow alphabetically.
ORDER = ("wheels and sdists", "project", "group", "URL", "netrc")


def table(seen: Iterable[Observation]) -> str:
    """A row for each client, in the order of the matrix.

    :raises ValueError: a client has no observations.
    """
    by_client: dict[str, set[Observation]] = {client: set() for client in CLIENTS}
    for observation in seen:
        by_client[observation.client].add(observation)
    if missing := [client for client, found in by_client.items() if not found]:
        raise ValueError(f"the last run saw nothing of {', '.join(missing)}: run all of pytest -m clients")
    return HEADING + "".join(_row(client, found) for client, found in by_client.items())


def rows(readme: str) -> dict[str, list[str]]:
    """The cells of each row of the table in this text, by client."""
    lines = _between_marks(readme)[1].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {client: others for client, *others in cells}


def written_into(readme: str, content: str) -> str:
    """This text with the table replaced."""
    before, _, after = _between_marks(readme)
    return f"{before}{BEGIN}\n{content}{END}{after}"


def _between_marks(readme: str) -> tuple[str, str, str]:
    before, _, rest = readme.partition(BEGIN)
    content, _, after = rest.partition(END)
    return before, content, after


def _row(client: str, seen: set[Observation]) -> str:
    versions = sorted({observation.version for observation in seen}, key=Version)
    cells = [client, ", ".join(_version(version, seen) for version in versions)]
    publishes, manages = _facts("publishes", seen, versions), _facts("manages", seen, versions)
    cells.append(", ".join([*publishes, *(f"manages {fact}" for fact in manages)]) or "–")
    cells += [", ".join(_facts(subject, seen, versions)) or "–" for subject in ("installs", "authenticates")]
    return f"| {' | '.join(cells)} |\n"


def _version(version: str, seen: set[Observation]) -> str:
    """The version, with its Python if that is not the one that runs the tests."""
    [python] = {observation.python for observation in seen if observation.version == version}
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return version if python == own else f"{version} (Python {python})"


def _facts(subject: str, seen: set[Observation], versions: list[str]) -> list[str]:
    """The observation, with its versions where these are not all."""
    found: dict[str, set[str]] = {}
    for observation in seen:
        if observation.subject == subject:
            found.setdefault(observation.fact, set()).add(observation.version)
    ordered = sorted(found, key=lambda fact: (ORDER.index(fact) if fact in ORDER else len(ORDER), fact))
    return [fact + _which(found[fact], versions) for fact in ordered]


def _which(those: set[str], versions: list[str]) -> str:
    if len(those) == len(versions):
        return ""
    first, last = min(map(versions.index, those)), max(map(versions.index, those))
    if last - first + 1 != len(those):
        return f" ({', '.join(version for version in versions if version in those)})"
    if last == len(versions) - 1:
        return f" (from {versions[first]})"
    return f" (to {versions[last]})" if first == 0 else f" ({versions[first]} to {versions[last]})"


if __name__ == "__main__":
    README.write_text(written_into(README.read_text("utf-8"), table(observations.of_last_run())), "utf-8")
