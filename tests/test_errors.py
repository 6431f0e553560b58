"""Refusals by class, and which part of them clients, pages, and operators see."""

from __future__ import annotations

import ast
import logging
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import create_app
from registry.blueprints import api, pypi, ui
from registry.errors import (
    BackupRefused,
    Code,
    ConfigurationError,
    Conflict,
    DiskFull,
    Fault,
    InvalidGroup,
    InvalidRecord,
    NotFound,
    OperatorError,
    RegistryError,
    TooManyRequests,
    Unavailable,
    quoted,
)
from tests.processes import migrated_database
from tests.refusals import values_of
from tests.source import trees


def coded_calls() -> Iterator[tuple[str, Code, set[str | None]]]:
    """Where in the registry a fault or a refusal is made with a code, and the names of the values it is given."""
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and (code := _code(node.args[0])) is not None:
                yield f"{module}:{node.lineno}", code, {keyword.arg for keyword in node.keywords}


def _code(node: ast.expr) -> Code | None:
    """The code of the expression ``Code.NAME``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Code":
        return Code[node.attr]
    return None


def test_every_refusal_has_the_values_of_its_sentence():
    calls = list(coded_calls())

    assert len(calls) > len(Code) / 2
    assert [call for call in calls if call[2] != set(values_of(call[1]))] == []


def test_every_code_is_used_to_refuse_something():
    used = {
        _code(node)
        for module, tree in trees().items()
        if module != "registry.blueprints.ui.wording"
        for node in ast.walk(tree)
        if isinstance(node, ast.expr)
    }

    assert set(Code) - used == set()


def test_a_value_can_contain_placeholders():
    fault = Fault(Code.RESERVED_PATH, path="{path} %(path)s")

    assert str(fault) == "{path} %(path)s is a reserved name"


def test_a_record_is_refused_field_by_field():
    error = InvalidRecord({"name": [Fault(Code.BLANK)], "path": [Fault(Code.TAKEN), Fault(Code.TOO_LONG, maximum=255)]})

    assert error.body() == {
        "message": {
            "name": ["can't be blank"],
            "path": ["has already been taken", "is too long (maximum is 255 characters)"],
        }
    }
    assert str(error) == (
        "name can't be blank; path has already been taken; path is too long (maximum is 255 characters)"
    )


def test_a_group_is_refused_in_one_line():
    error = InvalidGroup({"path": [Fault(Code.RESERVED_PATH, path='"api"')]})

    assert error.body() == {"message": 'Failed to save group {:path=>["\\"api\\" is a reserved name"]}'}


@pytest.mark.parametrize("path", ["/api/v4/broken", "/broken"])
@pytest.mark.parametrize("error", [ConfigurationError, BackupRefused])
def test_a_client_does_not_see_instructions_for_the_operator(tmp_path, caplog, error, path):
    shutil.copy(migrated_database(), tmp_path)
    app = create_app({"INSTANCE_PATH": tmp_path})

    @app.get(path)
    def broken() -> None:
        raise error("The folder /srv/registry cannot be used.")

    with caplog.at_level(logging.ERROR):
        response = app.test_client().get(path)

    assert response.status_code == 500
    assert "/srv/registry" not in response.text
    assert "The folder /srv/registry cannot be used." in caplog.text


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConfigurationError("PORT is 0."), "PORT is 0."),
        (Conflict(Code.ALREADY_MEMBER), "Member already exists"),
        (NotFound("Project"), "404 Project Not Found"),
    ],
)
def test_the_shell_shows_the_reason_or_the_name_of_the_status(error: OperatorError | RegistryError, sentence: str):
    assert error.sentence == sentence


@pytest.mark.parametrize("refuse", [api.refuse, pypi.refuse, ui.refuse], ids=["api", "pypi", "ui"])
@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unavailable(Code.STORE_AWAY), "5"),
        (DiskFull(Code.DISK_FULL), "5"),
        (TooManyRequests(17), "17"),
        (Conflict(Code.ALREADY_MEMBER), None),
    ],
    ids=["unavailable", "no room", "too many requests", "conflict"],
)
def test_an_answer_names_the_time_to_retry_if_that_helps(app, refuse, error: RegistryError, seconds: str | None):
    with app.test_request_context("/"):
        assert refuse(error).headers.get("Retry-After") == seconds


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_a_value_of_the_uploader_is_quoted_in_one_short_line_of_ascii(value):
    assert quoted(value).isascii()
    assert quoted(value).isprintable()
    assert len(quoted(value)) <= 104
