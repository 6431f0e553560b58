"""The page that compares two versions of a package."""

from __future__ import annotations

import pytest

from registry.domain.access import SHELL
from registry.domain.distributions.examinations import Turns
from registry.domain.packages import comparison, releases
from registry.models import NameStatus
from tests import factories
from tests.builders import build_sdist, build_wheel

PAGE = "/acme/tools/-/packages/names/demo/compare"


@pytest.fixture
def published(project):
    """Versions 1.0, 1.1, and 2.0 of ``demo``."""
    factories.published(project, build_wheel(version="1.0", requires_dist=["alpha"]))
    factories.published(project, build_wheel(version="1.1", requires_dist=["alpha"], files={"old.py": b"1"}))
    factories.published(project, build_sdist(version="2.0"))
    return factories.published(
        project, build_wheel(version="2.0", requires_dist=["beta>=2"], files={"<b>new.py": b"12"})
    )


def table(page, number):
    """The rows of a table as texts of their cells."""
    found = list(page.tree.iter("table"))[number]
    return [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in list(found.iter("tr"))[1:]]


def test_a_version_is_compared_with_the_one_before_it(browser_of, owner, published):
    browser = browser_of(owner)
    tab = browser.get("/acme/tools/-/packages/names/demo?tab=versions")

    page = browser.get(next(link for link in tab.links if "/compare?" in link))

    dependencies, files, contents = (table(page, number) for number in range(3))
    assert dependencies == [["alpha", "alpha", "–"], ["beta", "–", "beta>=2"]]
    assert [row[0] for row in files] == ["py3-none-any", "sdist .tar.gz"]
    assert ["<b>new.py", "Added", "–", "2 bytes"] in contents
    assert ["old.py", "Removed", "1 byte", "–"] in contents
    assert ["demo.py", "Changed", "20 bytes", "20 bytes"] in contents
    link = next(link for link in page.links if "new.py" in link)
    assert "12" in browser.get(link).text


def test_few_comparisons_are_made_at_a_time(browser_of, owner, published, monkeypatch):
    monkeypatch.setattr(comparison, "turns", Turns(helpers=1, waiting=1, patience_seconds=0.01))
    browser = browser_of(owner)

    with comparison.turns.taken("another caller"):
        refused = browser.get(PAGE)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert browser.get(PAGE).status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"{PAGE}?from=1.0&to=1.1", 200),
        (f"{PAGE}?from=2.0&to=2.0", 200),
        (f"{PAGE}?from=1.0&to=3.0", 404),
        ("/acme/tools/-/packages/names/nothing/compare", 404),
        ("/acme/tools/-/packages/names/not%20a%20name/compare", 404),
        ("/acme/tools/-/packages/names/De_Mo/compare", 301),
    ],
)
def test_versions_are_chosen_by_the_address(browser_of, owner, published, address, status):
    page = browser_of(owner).get(address)

    assert page.status_code == status
    assert status != 200 or page.tree is not None


def test_only_those_who_can_read_the_package_compare_it(browser, browser_of, guest, outsider, published):
    assert browser_of(guest).get(PAGE).status_code == 403
    assert browser_of(outsider).get(PAGE).status_code == 404
    assert browser.get(PAGE).status_code == 303


def test_contents_of_a_quarantined_package_are_not_compared(browser_of, owner, project, published):
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, by=SHELL)

    page = browser_of(owner).get(PAGE)

    assert len(list(page.tree.iter("table"))) == 2
    assert "new.py" not in page.text
    assert not any(link.endswith("/contents") for link in page.links)
