"""The page "Upstream" of groups and projects."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from registry.database import utcnow
from registry.domain import cascade
from registry.domain.access import SHELL
from registry.domain.upstream import exceptions
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.pages import KeptPages
from registry.models import Role, UpstreamMode
from tests import factories
from tests.builders import build_wheel
from tests.fakes.index import StaticIndex

YOUNG = build_wheel("young", "2.0")
PROJECT, GROUP = "/acme/tools/-/upstream", "/groups/acme/-/upstream"


@pytest.fixture(autouse=True)
def upstream(app: Flask, served: StaticIndex, group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StaticIndex:
    """The public index, whose package ``young`` was uploaded just now."""
    kept = KeptPages(PublicIndex(served.url), tmp_path / "upstream", fresh_seconds=600, threads=8)
    monkeypatch.setitem(app.extensions, "upstream_pages", kept)
    served.publish(YOUNG, **{"upload-time": utcnow().isoformat()})
    cascade.UPSTREAM_MODE.change(group, value=UpstreamMode.CACHE, by=SHELL)
    cascade.MINIMUM_AGE.change(group, value=7, by=SHELL)
    return served


def test_an_owner_sees_the_rule_and_adds_an_exception_with_one_click(browser_of, owner, group, project):
    browser = browser_of(owner)
    before = browser.get(f"{PROJECT}?name=Young")

    answer = browser.submit(f"{PROJECT}?name=Young", {}, action=f"{GROUP}/exceptions")
    after = browser.get(answer.location)

    assert before.status_code == 200
    assert YOUNG.filename in before.text
    assert "Too young: offered from" in before.text
    assert "(set in acme)" in before.text
    assert answer.location == f"{GROUP}?name=young"
    assert after.flashes == ["young==2.0 is now offered in Acme."]
    assert "Offered" in after.text
    assert [(one.pattern, one.user_id) for one in exceptions.exceptions_of(group)] == [("young==2.0", owner.id)]


def test_only_owners_add_exceptions_there(browser_of, group, project):
    browser = browser_of(factories.member(group, Role.MAINTAINER))

    page = browser.get(f"{PROJECT}?name=young")
    answer = browser.post(f"{GROUP}/exceptions", {"pattern": "young==2.0"})

    assert "Too young: offered from" in page.text
    assert "Add exception" not in page.text
    assert answer.status_code == 403
    assert exceptions.exceptions_of(group) == []


@pytest.mark.parametrize(
    ("query", "status", "shown"),
    [
        ("", 200, "Minimum age of files in days"),
        ("", 200, "Malicious versions are withheld. (set in the instance)"),
        ("?name=no%20name", 422, "This is not a valid package name."),
        ("?name=young&version=x", 422, "This is not a valid version."),
        (f"?name=young&version={'1' * 5000}", 422, "This is not a valid version."),
        ("?name=absent", 200, "absent is neither in this registry nor in the public index."),
        ("?name=own", 200, "own comes from projects in this registry."),
        ("?name=broken", 422, "The public index is not responding. Try again later."),
    ],
)
def test_every_question_is_answered(browser_of, owner, project, upstream, query, status, shown):
    factories.published(project, build_wheel("own"))
    upstream.fail("broken/", 503)

    page = browser_of(owner).get(GROUP + query)

    assert page.status_code == status
    assert shown in page.text
