"""Each header and parameter that can carry credentials is known wherever credentials must not pass unnoticed."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest
from flask import Flask

from registry import credential_names, logs
from registry.blueprints.auth import credentials, sent
from tests import factories
from tests.clients import Rest

# Identifies the caller, but is no secret: an administrator's "sudo", and the form token of a session.
NO_CREDENTIALS = {"Sudo", "sudo", "X-CSRF-Token"}
headers = pytest.mark.parametrize("header", credential_names.HEADERS)
parameters = pytest.mark.parametrize("parameter", credential_names.PARAMETERS)
FORMATTERS = {"text": logs.TextFormatter(), "json": logs.JSONFormatter()}
formatters = pytest.mark.parametrize("formatter", FORMATTERS.values(), ids=FORMATTERS)


def test_every_name_is_in_a_list() -> None:
    names = {value for name, value in vars(credential_names).items() if name.isupper() and isinstance(value, str)}

    assert names == {*credential_names.HEADERS, *credential_names.PARAMETERS}


def test_credentials_are_read_by_these_names_only() -> None:
    """A name spelled out where the caller is found would be missing from the lists."""
    tree = ast.parse("\n".join(Path(module.__file__).read_text() for module in (sent, credentials)))

    read = [
        ast.unparse(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("request.headers.get", "request.args.get", "sent.form_parameter")
    ]

    listed = {
        ast.unparse(loop.target)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.comprehension) and ast.unparse(loop.iter).startswith("credential_names.")
    }

    spelled_out = {name for name in read if not name.startswith("credential_names.")} - listed
    assert spelled_out == set(map(repr, NO_CREDENTIALS))
    assert ast.unparse(tree).count("request.headers[") == ast.unparse(tree).count("request.args[") == 0


@pytest.mark.parametrize("header", [name for name in credential_names.HEADERS if name != "Cookie"])
def test_a_header_counts_as_credentials_sent(app: Flask, header: str) -> None:
    with app.test_request_context(headers={header: "s3cret"}):
        assert sent.has_credentials()


@parameters
def test_a_parameter_counts_as_credentials_sent(app: Flask, parameter: str) -> None:
    with app.test_request_context(f"/?{parameter}=s3cret"):
        assert sent.has_credentials()


def test_a_cookie_does_not_count(app: Flask) -> None:
    with app.test_request_context(headers={"Cookie": "s3cret=1"}):
        assert not sent.has_credentials()


def logged(message: str, formatter: logging.Formatter) -> str:
    return formatter.format(logging.LogRecord("registry", logging.INFO, __file__, 1, message, None, None))


@formatters
@pytest.mark.parametrize("written", ["{}: {}", "{}:{}", "'{}': '{}'", '{{"{}": "{}"}}'])
@headers
def test_a_header_is_filtered_from_the_log(formatter: logging.Formatter, written: str, header: str) -> None:
    for name in (header, header.lower(), credential_names.environ_key(header)):
        line = logged(written.format(name, "s3cret") + "\nHost: here", formatter)

        assert "s3cret" not in line
        assert "[FILTERED]" in line
        assert "Host: here" in line


@formatters
@parameters
def test_a_parameter_is_filtered_from_the_log(formatter: logging.Formatter, parameter: str) -> None:
    line = logged(f"GET /api/v4/projects?{parameter}=s3cret&page=2 was slow", formatter)

    assert f"?{parameter}=[FILTERED]&page=2 was slow" in line


@parameters
def test_a_parameter_is_left_out_of_links_to_other_pages(rest: Rest, parameter: str) -> None:
    token = factories.access_token(factories.user("ada", is_admin=True))
    for path in ("one", "two"):
        factories.project(path)

    for listed in ("users?per_page=1", "projects?pagination=keyset&order_by=id&per_page=1"):
        link = rest.get(f"/{listed}&{parameter}=s3cret&sort=asc", token).headers["Link"]

        assert "s3cret" not in link
        assert "sort=asc" in link
