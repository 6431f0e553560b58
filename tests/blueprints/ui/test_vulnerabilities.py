"""The report of security advisories, and the advisories on the page of a package."""

from __future__ import annotations

import re

import pytest

from registry.models import Role
from tests import factories
from tests.builders import build_wheel
from tests.osv import HIGH, affected, load, record


@pytest.fixture
def vulnerable(project):
    """``demo`` 1.0, with an advisory, and 2.0 without one."""
    file = factories.published(project, build_wheel("demo", "1.0"))
    factories.published(project, build_wheel("demo", "2.0"))
    load(record("GHSA-1", affected("demo", {"introduced": "0"}, {"fixed": "1.5"}), cvss=HIGH, summary="<b>Bad</b>"))
    return file


@pytest.mark.parametrize("address", ["/acme/tools/-/vulnerabilities", "/groups/acme/-/vulnerabilities"])
def test_the_report_lists_packages_with_their_advisories(browser_of, owner, vulnerable, address):
    browser = browser_of(owner)

    page = browser.get(address)

    assert page.status_code == 200
    for text in ("demo 1.0", "GHSA-1", "<b>Bad</b>", "Critical", "9.8", "1.5"):
        assert text in page.text
    assert "demo 2.0" not in page.text
    (csv,) = (link for link in page.links if link.endswith("format=csv"))
    assert browser.get(csv).html.splitlines()[1].startswith("acme/tools,demo,1.0,GHSA-1,critical,9.8,1.5,")


def test_the_report_has_pages(browser_of, owner, vulnerable):
    load(*(record(f"GHSA-{number}", affected("demo", {"introduced": "0"})) for number in range(10, 21)))
    browser = browser_of(owner)

    first, second, beyond = (browser.get(f"/acme/tools/-/vulnerabilities?page={number}").text for number in (1, 2, 3))

    shown = [re.findall(r"demo (\d)\.0 GHSA-(\d+)", text) for text in (first, second)]
    assert shown[0] + shown[1] == [(version, str(number)) for version in "12" for number in range(10, 21)]
    assert len(shown[1]) == 2
    assert "Page 2 of 2" in beyond


def test_before_advisories_are_loaded_no_page_says_that_packages_have_none(browser_of, owner, project):
    browser = browser_of(owner)

    page, rules = browser.get("/acme/tools/-/vulnerabilities"), browser.get("/acme/tools/-/upstream")

    assert "Packages have not been checked yet" in page.text
    assert "No package here has a known vulnerability" not in page.text
    assert "No advisories have been loaded yet" in rules.text


def test_without_advisories_about_its_packages_the_report_is_empty(browser_of, owner, project):
    load(record("GHSA-1", affected("other", {"introduced": "0"})))
    browser = browser_of(owner)

    page, rules = browser.get("/acme/tools/-/vulnerabilities"), browser.get("/acme/tools/-/upstream")

    assert "No package here has a known vulnerability" in page.text
    assert "No advisories have been loaded yet" not in rules.text


def test_a_group_shows_only_what_the_viewer_can_read(browser_of, group, vulnerable, project):
    other = factories.project("other", parent=group)
    viewer = factories.member(other, Role.REPORTER, "viewer")

    assert "GHSA-1" not in browser_of(viewer).get("/groups/acme/-/vulnerabilities").text
    assert browser_of(viewer).get("/acme/tools/-/vulnerabilities").status_code == 404


def test_the_page_of_a_package_shows_its_advisories(browser_of, owner, vulnerable):
    page = browser_of(owner).get(f"/acme/tools/-/packages/{vulnerable.package_id}")

    assert "GHSA-1" in page.text
    assert "Fixed in 1.5" in page.text
    assert "https://osv.dev/vulnerability/GHSA-1" in page.links
