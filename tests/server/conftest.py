"""A server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from registry.blueprints.pypi.prepared import PreparedAnswers
from tests.server.pages import Pages, has_connection
from tests.server.serving import Serving


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A server with one thread for answers."""
    with closing(Serving(tmp_path)) as serving:
        yield serving


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def served(app: Flask, pages: Pages) -> Flask:
    return pages.app(app)


@pytest.fixture
def answers(served: Flask) -> PreparedAnswers:
    cache: PreparedAnswers = served.extensions["answers"]
    return cache


@pytest.fixture
def serving_pages(served: Flask, tmp_path: Path) -> Iterator[Serving]:
    with closing(Serving(tmp_path, app=served)) as serving:
        has_connection(serving)
        yield serving
