"""What is hidden from a caller is answered as what is absent, at every address in a project or group."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextvars import Context
from typing import Any

from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from registry.blueprints.auth.credentials import JOB_USERNAME
from registry.models import Group, Project, Role, Visibility
from tests import factories
from tests.clients import Browser, Client, basic

PATHS = {"project": "acme/tools", "group": "acme", "namespace": "acme"}
ABSENT_PATHS = {kind: path.replace("acme", "emca") for kind, path in PATHS.items()}
OTHERS: dict[str, Any] = {
    "name": "demo", "version": "1.0", "sha256": "0" * 64, "filename": "demo-1.0-py3-none-any.whl",
}  # fmt: skip


def addresses(app: Flask) -> Iterator[tuple[Rule, str, str]]:
    """Each route in a project or group, with its address in a hidden and in an absent one."""
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.arguments & {*PATHS}:
                others = {name: OTHERS.get(name, 1) for name in rule.arguments}
                built = (rule.build({**others, **paths}, append_unknown=False) for paths in (PATHS, ABSENT_PATHS))
                hidden, absent = (path for _, path in filter(None, built))
                yield rule, hidden, absent


def comparable(response: TestResponse) -> tuple[str, list[tuple[str, str]], str]:
    """A whole answer, without its time, id, and token against forgery, and with one path wherever it repeats that."""
    headers = [
        (name, value.replace("emca", "acme")) for name, value in response.headers
        if name not in ("Date", "X-Request-Id")
    ]  # fmt: skip
    text = re.sub('(?<=name="csrf_token" value=")[^"]*', "", response.text)
    return response.status, headers, text.replace("emca", "acme")


def test_every_address_in_a_hidden_namespace_is_answered_as_in_an_absent_one(
    app: Flask, project: Project, group: Group
) -> None:
    elsewhere = factories.project(parent=factories.group(visibility=Visibility.PRIVATE))
    owner = factories.member(elsewhere, Role.OWNER)
    browser, token = Browser(app).sign_in(owner), factories.access_token(owner)
    browser.get("/nowhere")  # the first page adds the token against forgery to the cookie
    session = browser.client
    clients = {
        "ui": [(session, {})],
        "feeds": [(session, {})],
        "api": [(Client(app), {"PRIVATE-TOKEN": token})],
        "pypi": [
            (session, {}),
            (Client(app), {"PRIVATE-TOKEN": token}),
            (Client(app), basic(factories.deploy_token(elsewhere))),
            (Client(app), basic((JOB_USERNAME, factories.job(elsewhere, owner)[1]))),
        ],
    }

    different = []
    for rule, hidden, absent in addresses(app):
        part = rule.endpoint.partition(".")[0]
        for client, headers in clients[part]:
            # A change without the token against forgery is anonymous, which is asked for credentials.
            assert rule.methods is not None
            tried = {
                "pypi": {"GET", "HEAD"} if client is session else {"GET", "POST"},
                "api": rule.methods - {"OPTIONS", "HEAD"},
            }
            for method in rule.methods & tried.get(part, {"GET"}):
                one, other = (
                    comparable(Context().run(client.open, path, method=method, headers=headers))
                    for path in (hidden, absent)
                )
                if one != other:
                    different.append((rule.rule, method, *headers, one, other))
    assert different == []
