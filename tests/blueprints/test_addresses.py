"""The code in front of the routing (the server's parser, cached responses) knows every route that concerns it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from registry.blueprints import routing
from registry.models import Project, Visibility
from tests import factories
from tests.builders import BuiltFile, build_wheel
from tests.clients import Twine

# Paths as the server receives them: percent signs decoded, nothing else changed.
SPELLINGS: list[Callable[[str], str]] = [
    lambda path: path,
    lambda path: path.replace("/7/", "/acme/tools/"),
    lambda path: path.replace("/", "//"),
    lambda path: path + "/",
    lambda path: path + "//",
    lambda path: "/registry/of/ours" + path,
    lambda path: path.replace("/7/", "/a\nb/"),
]


def rules(app: Flask, method: str) -> list[Rule]:
    return [
        rule
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(routing.API) and method in (rule.methods or ())
    ]


def has(app: Flask, rule: Rule, mark: str) -> bool:
    return bool(getattr(app.view_functions[rule.endpoint], mark, False))


def example(rule: Rule) -> str:
    return re.sub("<[^>]+>", "7", rule.rule)


def test_the_parser_knows_every_upload_in_every_spelling_and_nothing_else(app: Flask) -> None:
    uploads = {rule.endpoint for rule in rules(app, "POST") if has(app, rule, "is_asked_before_body")}

    assert uploads == {"pypi.upload.upload", "pypi.upload.validate"}
    for rule in rules(app, "POST"):
        found = {app.extensions["uploads"].match(spelled(example(rule))) is not None for spelled in SPELLINGS}
        assert found == {rule.endpoint in uploads}, rule


@pytest.fixture
def wheel() -> BuiltFile:
    return build_wheel("demo", "1.0")


@pytest.fixture
def published(twine: Twine, wheel: BuiltFile) -> Project:
    group = factories.group("open", visibility=Visibility.PUBLIC)
    project = factories.project("tools", parent=group, visibility=Visibility.PUBLIC)
    assert twine.upload(project, wheel, factories.deploy_token(project)).status_code == 201
    return project


def test_the_second_response_of_every_preparable_route_is_a_cached_one(
    app: Flask, client: FlaskClient, published: Project, wheel: BuiltFile, statements: list[str]
) -> None:
    values = {
        "<project:project>": str(published.id), "<group:group>": str(published.parent_id),
        "<rest:name>": "demo", "<sha256>": wheel.sha256, "<rest:filename>": wheel.filename,
    }  # fmt: skip
    preparable = [rule for rule in rules(app, "GET") if has(app, rule, "is_preparable")]

    assert len(preparable) == 8
    for rule in preparable:
        path = re.sub("<[^>]+>", lambda found: values[found.group()], rule.rule)
        for spelled in (path, path + "/", path.replace("/packages/", "//packages//")):
            assert client.get(spelled, buffered=True).status_code == 200
            statements.clear()

            assert client.get(spelled, buffered=True).status_code == 200

            assert statements == [], spelled


def test_an_id_in_plain_slashes_ends_before_every_resource_there_is(app: Flask) -> None:
    after_ids = {
        found.group(1)
        for rule in app.url_map.iter_rules()
        if (found := re.search("<(?:project|group|namespace):[^>]+>/([^/<]+)", rule.rule))
    }

    assert after_ids == set(routing.RESOURCES)


@pytest.mark.parametrize(
    "part",
    ["/api/v4/projects/", "/api/v4/projects/a/packages", "/", "/api", "/packages", "/packages/pypi", "/-"],
)
def test_a_path_of_the_longest_header_is_matched_in_no_time(app: Flask, part: str) -> None:
    path = "/api/v4/projects/x" + part * (250_000 // len(part))
    begun = time.process_time()

    app.extensions["uploads"].match(path)

    assert time.process_time() - begun < 1
