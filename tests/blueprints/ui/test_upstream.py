"""The page "Upstream" of groups and projects."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from registry.database import utcnow
from registry.domain import cascade
from registry.domain.access import SHELL
from registry.domain.upstream import exceptions, uses
from registry.domain.upstream.client import PublicIndex
from registry.domain.upstream.pages import KeptPages
from registry.domain.upstream.uses import Use
from registry.models import Role, UpstreamMode
from tests import factories
from tests.builders import build_wheel
from tests.clients import Page, Pip
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


def test_while_requests_are_redirected_the_page_says_which_rules_have_no_effect(browser_of, owner, group, project):
    kept = browser_of(owner).get(PROJECT)
    cascade.UPSTREAM_MODE.change(group, value=UpstreamMode.REDIRECT, by=SHELL)
    redirected = browser_of(owner).get(PROJECT)

    sentence = "While requests are redirected, rules about versions and files"
    assert (sentence in kept.text, sentence in redirected.text) == (False, True)


def asked_on(page: Page) -> dict[str, list[str]]:
    """The names on the list of a page, each with its source and rule."""
    section = page.tree.find(".//section[@id='upstream-asked']")
    rows = [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in section.findall(".//tbody/tr")]
    return {name: [source, rule] for name, source, rule, _ in rows}


def test_maintainers_see_what_was_asked_for_and_what_it_came_from(
    app: Flask, browser_of, pip: Pip, owner, group, project, upstream: StaticIndex
):
    """With the answer to the latest request for each name."""
    upstream.publish(build_wheel("old"))
    upstream.publish(build_wheel("mixed"), **{"upload-time": None})
    upstream.fail("broken/", *[500] * 3)
    factories.published(project, build_wheel("own"))
    cascade.BLOCKED.change(group, value=["bad"], by=SHELL)
    cascade.RESERVED.change(group, value=["acme-*"], by=SHELL)
    token = factories.access_token(owner, "read_api")
    for name in ("old", "young", "bad", "acme-x", "missing", "own", "mixed", "broken"):
        pip.simple_page(project, name, token)
    app.extensions["upstream_asks"].tend()

    rows = asked_on(browser_of(owner).get(PROJECT))

    assert rows == {
        "old": ["Public index", "–"],
        "young": ["Withheld", "Minimum age (set in acme)"],
        "mixed": ["Withheld", "Minimum age (set in acme)"],
        "bad": ["Withheld", "Blocked packages of the public index (set in acme)"],
        "acme-x": ["Nowhere: the name is reserved", "Reserved names (set in acme)"],
        "missing": ["In neither", "–"],
        "own": ["Projects in this registry", "–"],
        "broken": ["The public index did not answer", "–"],
    }
    assert asked_on(browser_of(owner).get(GROUP)) == {}
    assert "upstream-asked" not in browser_of(factories.member(group, Role.DEVELOPER)).get(PROJECT).text


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
        ("?name=no%20name&version=x", 422, "This is not a valid package name."),
        ("?name=no%20name&version=x", 422, "This is not a valid version."),
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


def test_a_rule_that_hides_a_whole_name_is_shown_with_its_entry_and_place(browser_of, owner, group, project):
    factories.published(project, build_wheel("own"))
    cascade.RESERVED.change(group, value=["acme-*"], by=SHELL)
    cascade.BLOCKED.change(group, value=["you*"], by=SHELL)
    cascade.ALLOWED.change(group, value=["young"], by=SHELL)
    other = factories.project("other", parent=group)
    browser = browser_of(owner)

    def shown(page: str, name: str) -> str:
        text = browser.get(f"{page}?name={name}").text
        return " ".join(text.partition("No version of this package is offered.")[2].split())

    assert shown(GROUP, "acme-tool").startswith("The name is reserved. Entry: acme-* (set in acme)")
    assert shown(GROUP, "young").startswith("Blocked. Entry: you* (set in acme)")
    assert shown(GROUP, "absent").startswith("Not among the allowed packages. (set in acme)")
    assert shown(f"/{other.full_path}/-/upstream", "own").startswith("The name was published in acme, and remains")
    assert shown(PROJECT, "own") == ""


@pytest.fixture
def downloaded(project) -> None:
    uses.note([Use(project.id, YOUNG.sha256, YOUNG.filename, "young", utcnow())], utcnow().date())


def test_an_owner_tries_a_rule_before_it_is_saved(browser_of, owner, group, downloaded):
    browser, rule = browser_of(owner), "pypi_upstream_blocked"
    settings = "/groups/acme/-/settings/packages_and_registries"
    address = f"{settings}/public_index/{rule}/try"
    before = browser.get(f"{GROUP}?name=young")

    page = browser.post(address, {rule: "young"})
    refused = browser.post(address, {rule: "not a pattern"})

    assert "try a change without saving it" in before.text
    assert "would withhold none of the files" in page.text  # it is too young already
    assert page.status_code == 200
    assert refused.status_code == 422
    assert cascade.BLOCKED.of_group(group).value is None

    cascade.MINIMUM_AGE.change(group, value=0, by=SHELL)
    page = browser.post(address, {rule: "young"})

    assert f"{address}#rule-{rule}" in [
        button.get("formaction") for button in browser.get(settings).tree.iter("button")
    ]
    assert "would withhold 1 of the files" in page.text
    assert f"{YOUNG.filename} Blocked." in page.text
    assert browser_of(factories.member(group, Role.MAINTAINER)).post(address, {rule: "young"}).status_code == 403


def test_an_administrator_tries_rules_of_the_instance(browser_of, admin, group, downloaded):
    cascade.MINIMUM_AGE.change(group, value=None, by=SHELL)
    browser, settings = browser_of(admin), "/admin/application_settings/public_index"
    fields = browser.get("/admin/application_settings/ci_cd").fields(settings)

    page = browser.post(f"{settings}/try", fields | {"pypi_upstream_minimum_age_days": "7"})

    assert "would withhold 1 of the files" in page.text
    assert "acme/tools" in page.text
    assert cascade.MINIMUM_AGE.of_group(group).effective == 0
