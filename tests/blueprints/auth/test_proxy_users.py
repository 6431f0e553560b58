"""Signing in by the header of a trusted proxy."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_network

import pytest

from registry.addresses import UserHeader
from registry.database import db, transaction, utcnow
from registry.domain import audit
from registry.domain.access import SHELL
from registry.domain.accounts import sessions, sign_in, users
from registry.domain.accounts.users import StateChange
from registry.domain.packages import releases
from registry.models import NameStatus, UserSession
from registry.server.peers import Proxies
from tests import factories
from tests.builders import build_wheel
from tests.clients import Browser, Page

PROFILE = "/-/user_settings/profile"


@pytest.fixture
def user(app):
    return factories.user("olivia")


@pytest.fixture(autouse=True)
def _header(app, monkeypatch):
    proxies = Proxies((ip_network("127.0.0.1"),))
    monkeypatch.setattr(app, "wsgi_app", UserHeader(app.wsgi_app, "X-Forwarded-User", proxies))


def get(browser: Browser, path: str = PROFILE, *, name: str = "olivia", address: str = "127.0.0.1") -> Page:
    headers = {"X-Forwarded-User": name} if name else {}
    return browser.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": address})


def test_the_user_in_the_header_is_signed_in_once_with_or_without_a_cookie(app, browser, user):
    assert [get(browser, name=name).status_code for name in ("olivia", "Olivia")] == [200, 200]
    assert [get(Browser(app)).status_code for _ in range(3)] == [200] * 3

    signed_in = db.session.scalars(audit.events("user_signed_in")).one()
    assert (signed_in.author, signed_in.details["method"]) == ("olivia", "proxy")
    assert db.session.scalars(db.select(UserSession)).one().user_id == user.id


def test_a_user_of_the_proxy_signs_in_once_at_an_address_in_a_day_until_the_session_ends(user):
    def signed_in(address: str, now: datetime) -> int:
        sign_in.sign_in_by_proxy("olivia", key=factories.token_key(), address=address, now=now)
        return len(db.session.scalars(audit.events("user_signed_in")).all())

    now = utcnow()
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2"]
    assert [signed_in(address, now) for address in addresses] == [1, 2, 2, 3, 3]
    assert signed_in("192.0.2.1", now + timedelta(days=1)) == 4
    with transaction():
        sessions.end_all(user)
    assert signed_in("192.0.2.1", now) == 5


def test_signing_out_ends_the_session_and_the_next_page_begins_another(app, browser, user):
    get(browser)
    form = get(browser).fields("/users/sign_out")

    browser.open("/users/sign_out", method="POST", data=form, headers={"X-Forwarded-User": "olivia"})

    assert not db.session.scalars(db.select(UserSession)).all()
    assert get(browser).status_code == 200
    assert len(db.session.scalars(audit.events("user_signed_in")).all()) == 2


def test_the_header_of_any_other_address_is_ignored(browser, user):
    assert get(browser, address="192.0.2.1").status_code == 303


def test_a_session_by_the_header_is_of_no_use_without_it_or_with_that_of_another_user(browser, user):
    factories.user("paul")
    get(browser)

    assert get(browser, name="").status_code == 303
    assert get(browser, address="192.0.2.1").status_code == 303
    assert "paul@example.com" in get(browser, name="paul").html
    assert "olivia@example.com" in get(browser).html


def test_a_form_of_the_user_before_is_not_accepted_for_another_one(browser, user):
    other = factories.user("paul")
    sent = get(browser).fields(PROFILE) | {"name": "Mallory"}

    answer = browser.open(PROFILE, method="POST", data=sent, headers={"X-Forwarded-User": "paul"})

    assert answer.status_code == 400
    factories.reload(other)
    assert other.name == "Paul"


def test_a_session_with_a_password_is_replaced_by_that_of_the_header(app, browser_of, user):
    browser, copy = browser_of(factories.user("root2", is_admin=True)), Browser(app)

    copy.client.set_cookie("registry_session", browser.client.get_cookie("registry_session").value)

    assert "olivia@example.com" in get(browser).html
    assert get(browser, "/admin").status_code == 403
    assert get(copy, name="").status_code == 303, "it has ended"


@pytest.mark.parametrize("name", ["nobody", "olivia, root", "olivia@example.com", "1", "o\u00e9", "oliv\x00ia"])
def test_a_name_that_no_user_has_is_refused(browser, user, name):
    assert get(browser, name=name).status_code == 403


@pytest.mark.parametrize("change", [StateChange.BLOCK, StateChange.DEACTIVATE])
def test_a_user_who_is_not_active_is_refused(browser, user, change):
    get(browser)
    users.change_state(user, change, by=SHELL)

    assert get(browser).status_code == 403


def test_the_api_ignores_the_header_and_its_session(browser, user):
    project = factories.project("tools", parent=users.personal_namespace(user))
    get(browser)

    for path in ("/api/v4/user", f"/api/v4/projects/{project.id}/packages/pypi/simple/"):
        assert get(browser, path).status_code == 401
    assert get(browser, "/olivia/tools").status_code == 200


def test_a_quarantined_file_is_not_sent_to_a_user_of_the_proxy(browser, user):
    project = factories.project("tools", parent=users.personal_namespace(user))
    file = factories.published(project, build_wheel())
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, "malware", by=SHELL)

    assert get(browser, f"/olivia/tools/-/package_files/{file.id}/download").status_code == 403
