"""The metrics: access to them, and that they count all requests, those with kept answers too."""

from __future__ import annotations

import shutil

import pytest

from registry import create_app
from registry.database import db, utcnow
from registry.domain import access
from registry.domain.accounts import access_tokens, users
from registry.domain.accounts.users import StateChange
from tests import factories
from tests.builders import build_wheel
from tests.osv import load, record
from tests.processes import migrated_database
from tests.test_metrics import numbers

ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def counted(client):
    """The growth of a number since the last call, by its name and labels."""
    before: dict = {}

    def read(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        now = samples(client.get("/-/metrics").text, name).get(key, 0)
        growth = now - before.get(key, samples(start, name).get(key, 0))
        before[key] = now
        return growth

    start = client.get("/-/metrics").text
    return read


def samples(exposition: str, name: str) -> dict:
    """The numbers of this name alone; to parse all of them takes a tenth of a second."""
    return numbers("".join(line for line in exposition.splitlines(keepends=True) if line.startswith(name)))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_reads_without_credentials(client, address):
    response = client.get("/-/metrics", environ_overrides={"REMOTE_ADDR": address})

    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")


@pytest.mark.parametrize(
    "header", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"]
)
def test_a_request_that_a_proxy_on_this_machine_forwarded_comes_from_elsewhere(client, header):
    assert client.get("/-/metrics", headers={header: "127.0.0.1"}).status_code == 404


def test_others_get_404(client, owner, admin):
    expired = factories.access_token(admin, expires_on=utcnow().date())
    narrow = factories.access_token(admin, "read_user")

    for token in (None, "none", factories.access_token(owner), narrow, expired):
        headers = {} if token is None else {"PRIVATE-TOKEN": token}
        response = client.get("/-/metrics", headers=headers, environ_overrides=ELSEWHERE)
        assert (response.status_code, response.text) == (404, "404 Not Found\n")


@pytest.mark.parametrize("scope", ["api", "read_api"])
def test_an_administrators_token_reads_from_anywhere(client, admin, scope):
    token = factories.access_token(admin, scope)

    response = client.get("/-/metrics", headers={"Authorization": f"Bearer {token}"}, environ_overrides=ELSEWHERE)

    assert response.status_code == 200


@pytest.mark.parametrize(("proxies", "status"), [("0", 404), ("1", 200)])
def test_behind_a_proxy_its_own_address_is_not_trusted(tmp_path, proxies, status):
    shutil.copy(migrated_database(), tmp_path)
    app = create_app(
        {"INSTANCE_PATH": tmp_path, "EXTERNAL_URL": "https://pypi.example.com", "TRUSTED_PROXIES": proxies}
    )
    with app.app_context():
        assert app.test_client().get("/-/metrics").status_code == status
        db.engine.dispose()


def test_requests_are_counted_by_route_whether_or_not_the_answer_was_kept(pip, project, owner, counted):
    token = factories.access_token(owner)
    route = "/api/v4/projects/<project:project>/packages/pypi/simple"

    for _ in range(3):
        pip.index(project, token)

    name = "registry_http_request_duration_seconds_count"
    assert counted(name, route=route, method="GET", status="200") == 3
    for number in range(2):
        pip.client.get(f"/api/v4/nothing/{number}")
    assert counted(name, route="none", method="GET", status="404") == 2


def test_uploads_downloads_and_forwards_are_counted(pip, twine, project, owner, counted):
    token, wheel = factories.access_token(owner), build_wheel("demo")

    assert twine.upload(project, wheel, token).status_code == 201
    assert twine.upload(project, wheel, token).status_code == 400
    for _ in range(3):
        assert pip.download(project, wheel, token).status_code == 200
    pip.download(project, wheel, token, suffix=".metadata")
    pip.download(project, wheel, token, headers={"Range": "bytes=-5"})
    for _ in range(2):
        assert pip.simple_page(project, "elsewhere", token).status_code == 302

    size = len(wheel.content)
    assert (counted("registry_uploads_total"), counted("registry_upload_bytes_total")) == (1, size)
    assert (counted("registry_downloads_total"), counted("registry_download_bytes_total")) == (3, 3 * size)
    assert counted("registry_forwards_total") == 2
    assert counted("registry_storage_bytes") == size


def test_authentication_failures_are_counted_by_reason(pip, rest, project, owner, guest, outsider, browser, counted):
    def failures(reason: str) -> float:
        return counted("registry_auth_failures_total", reason=reason)

    pip.index(project)
    assert (failures("no_credentials"), failures("unknown_credentials")) == (1, 0)
    pip.index(project, "glpat-nobody-has-it")
    rest.get("/user", "glpat-nobody-has-it")
    rest.post("/projects", data={"private_token": "glpat-nobody-has-it"})
    assert (failures("no_credentials"), failures("unknown_credentials")) == (0, 3)
    pip.index(project, factories.access_token(owner, expires_on=utcnow().date()))
    assert failures("expired_token") == 1
    revoked = factories.access_token(owner)
    access_tokens.revoke_access_token(
        access_tokens.find_access_token(revoked, factories.token_key()), by=access.SHELL, now=utcnow()
    )
    pip.index(project, revoked)
    assert failures("revoked_token") == 1
    pip.index(project, factories.access_token(owner, "read_user"))
    assert failures("insufficient_scope") == 1
    pip.index(project, factories.access_token(guest))
    assert failures("forbidden") == 1
    users.change_state(guest, StateChange.BLOCK, by=access.SHELL)
    pip.index(project, factories.access_token(guest))
    assert failures("inactive_user") == 1
    for _ in range(7):
        browser.submit("/users/sign_in", {"login": "nobody", "password": "nothing"})
    assert (failures("wrong_password"), failures("too_many_attempts")) == (5, 2)


def test_connections_in_use_are_those_taken_from_the_pool(client, app):
    in_use = numbers(client.get("/-/metrics").text)["registry_database_connections_in_use", frozenset()]

    assert 1 <= in_use <= app.config["THREADS"] + 4


def test_the_time_of_the_last_update_of_the_advisories_is_a_metric(client):
    def updated_at() -> float:
        (number,) = samples(client.get("/-/metrics").text, "registry_advisories_updated_timestamp_seconds").values()
        return number

    before = updated_at()
    load(record("GHSA-1"))

    assert before == 0
    assert utcnow().timestamp() - updated_at() < 60
