"""What is refused, by class: who sees which part of it."""

from __future__ import annotations

import logging

import pytest

from registry import create_app, database
from registry.blueprints import api, pypi, ui
from registry.errors import (
    BackupRefused,
    ConfigurationError,
    Conflict,
    NoRoom,
    NotFound,
    OperatorError,
    RegistryError,
    TooManyRequests,
    Unavailable,
)


@pytest.mark.parametrize("path", ["/api/v4/broken", "/broken"])
@pytest.mark.parametrize("error", [ConfigurationError, BackupRefused])
def test_a_client_reads_nothing_of_what_the_operator_has_to_do(tmp_path, caplog, error, path):
    app = create_app({"INSTANCE_PATH": tmp_path})
    with app.app_context():
        database.upgrade()

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
        (Conflict("Member already exists"), "Member already exists"),
        (NotFound("Project"), "404 Project Not Found"),
    ],
)
def test_the_shell_shows_the_reason_or_else_what_the_status_says(error: OperatorError | RegistryError, sentence: str):
    assert error.sentence == sentence


@pytest.mark.parametrize("refuse", [api.refuse, pypi.refuse, ui.refuse], ids=["api", "pypi", "ui"])
@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unavailable("The store does not answer."), "5"),
        (NoRoom("The disk is full."), "5"),
        (TooManyRequests(17), "17"),
        (Conflict("Member already exists"), None),
    ],
    ids=["unavailable", "no room", "too many requests", "conflict"],
)
def test_an_answer_says_when_to_try_again_if_that_helps(app, refuse, error: RegistryError, seconds: str | None):
    with app.test_request_context("/"):
        assert refuse(error).headers.get("Retry-After") == seconds
