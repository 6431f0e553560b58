"""What one simple page costs in a small registry and in a large one; the page is the same, the cost is to be.

In process, straight through the WSGI application, so that no client's work hides a difference. *First* is the first
request after the registry's content changed, *again* the same request repeated. The two registries take turns.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from registry.database import db, transaction
from registry.domain.packages import simple
from tests import factories
from tests.benchmarks import rows
from tests.benchmarks.goals import at_most
from tests.clients import basic, pypi_path

HEADING = ("one page of 10 files", "in ms", "in the large one", "ratio", "goal")
GOAL = 1.2
SMALL = 1_000
FILES = 10
NAMES = 100
SAMPLES = 200
REPEATED = 20


@dataclass(frozen=True)
class Registry:
    """:ivar environs: of the requests, by the name of the page."""

    app: Flask
    environs: dict[str, dict[str, Any]]


def run(folder: Path, files: int) -> Iterator[tuple[str, ...]]:
    """A row for each page, first and again.

    :param files: in the large registry.
    """
    with ExitStack() as stack:
        small, large = (_registry(stack, folder / f"scale-{amount}", amount) for amount in (SMALL, files))
        for page in small.environs:
            for which, cost in (("first", _first_cost), ("again", _repeated_cost)):
                in_small, in_large = _medians(cost, small, large, page)
                ratio = in_large / in_small
                name = f"{page}, {SMALL} or {files} files around it, {which}"
                yield name, f"{in_small:.3f}", f"{in_large:.3f}", f"{ratio:.2f}", at_most(ratio, GOAL)


def _medians(
    cost: Callable[[Registry, str], float], small: Registry, large: Registry, page: str
) -> tuple[float, float]:
    samples: list[tuple[float, float]] = []
    gc.disable()
    try:
        for number in range(SAMPLES + 5):
            order = (small, large) if number % 2 else (large, small)
            measured = {id(registry): cost(registry, page) for registry in order}
            samples.append((measured[id(small)], measured[id(large)]))
    finally:
        gc.enable()
    warm = samples[5:]
    return statistics.median(first for first, _ in warm), statistics.median(second for _, second in warm)


def _first_cost(registry: Registry, page: str) -> float:
    with registry.app.app_context(), transaction():
        pass  # enough to raise the content generation
    began = time.perf_counter()
    _answered(registry, page)
    return (time.perf_counter() - began) * 1000


def _repeated_cost(registry: Registry, page: str) -> float:
    _answered(registry, page)
    began = time.perf_counter()
    for _ in range(REPEATED):
        _answered(registry, page)
    return (time.perf_counter() - began) * 1000 / REPEATED


def _answered(registry: Registry, page: str) -> None:
    statuses: list[str] = []

    def start(status: str, _headers: object, _exc_info: object = None) -> Callable[[bytes], object]:
        statuses.append(status)
        return len

    answer = registry.app.wsgi_app(dict(registry.environs[page]), start)
    size_bytes = sum(map(len, answer))
    if hasattr(answer, "close"):
        answer.close()
    assert statuses == ["200 OK"], statuses
    assert size_bytes > FILES * 100


def _registry(stack: ExitStack, folder: Path, files: int) -> Registry:
    """Projects of 1,000 files below one group; only the first has the requested name."""
    with rows.opened(folder) as app:
        owner = factories.user("owner")
        group = factories.group("all", owner=owner)
        projects = [factories.project(f"project{number}", parent=group) for number in range(files // NAMES // FILES)]
        for project in projects:
            names = [f"{project.path}-{number}" for number in range(NAMES - (project is projects[0]))]
            asked = ["asked"] if project is projects[0] else []
            rows.add_releases(project, [(name, "1.0") for name in names + asked], FILES)
            db.session.expunge_all()
        headers = basic(factories.access_token(owner, "read_api")) | {"Accept": simple.JSON}
        paths = {"page of a project": pypi_path(projects[0]), "page of a group": pypi_path(group)}
        environs = {
            name: EnvironBuilder(f"{path}/simple/asked/", headers=Headers(headers)).get_environ()
            for name, path in paths.items()
        }
    registry = Registry(app, environs)
    stack.callback(_closed, app)
    return registry


def _closed(app: Flask) -> None:
    with app.app_context():
        db.engine.dispose()
