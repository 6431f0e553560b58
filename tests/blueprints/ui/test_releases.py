"""Yanks of versions and files, and the status of a package name, set and seen on pages."""

from __future__ import annotations

import pytest

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import SHELL
from registry.domain.packages import deletion, lists, names, protection, releases
from registry.models import NameStatus, Package, PackageFile, Role
from tests import factories
from tests.builders import build_sdist, build_wheel

LIST = "/acme/tools/-/packages"
WHEEL, SDIST = build_wheel().filename, build_sdist().filename
HOSTILE = '<script>alert(1)</script> "><img src=x onerror=alert(1)> {{ 7 * 7 }} %(name)s'


def address(package):
    return f"{LIST}/{package.id}"


def asset(package, filename=WHEEL):
    return db.session.scalars(lists.package_files(package).where(PackageFile.filename == filename)).one()


def asset_address(package, filename=WHEEL):
    return f"{address(package)}/package_files/{asset(package, filename).id}"


def reasons(package):
    """Why its wheel and its sdist are yanked."""
    factories.reload(asset(package), asset(package, SDIST))
    return [asset(package).yanked_reason, asset(package, SDIST).yanked_reason]


def marks(page):
    return [tag.text for tag in page.by_class("tag")]


def controls(page):
    """The words of links and buttons in the page, without those of the frame."""
    [main] = page.tree.iter("main")
    return {" ".join("".join(found.itertext()).split()) for found in main.iter() if found.tag in ("a", "button")}


def test_a_version_is_yanked_with_a_reason_and_taken_back(browser_of, maintainer, release):
    browser = browser_of(maintainer)

    yanked = browser.submit(f"{address(release)}/yank", {"reason": " Loses data "})
    after_yank = browser.get(yanked.location)
    standing = reasons(release)
    unyanked = browser.submit(f"{address(release)}/unyank")
    after_unyank = browser.get(unyanked.location)

    assert (yanked.status_code, yanked.location) == (303, address(release))
    assert after_yank.flashes == [
        "demo 1.0 is yanked.",
        "This version is yanked: pip and uv skip it unless it is pinned exactly. Reason: Loses data Change reason",
    ]
    assert marks(after_yank).count("Yanked") == 3
    assert after_yank.text.count("Loses data") == 1
    assert standing == ["Loses data", "Loses data"]
    assert (unyanked.status_code, unyanked.location) == (303, address(release))
    assert after_unyank.flashes == ["demo 1.0 is no longer yanked."]
    assert reasons(release) == [None, None]


def test_the_reason_can_be_left_out_and_added_later(browser_of, maintainer, release):
    browser = browser_of(maintainer)

    browser.submit(f"{address(release)}/yank")
    without = browser.get(address(release))
    browser.submit(f"{address(release)}/yank", {"reason": "Loses data"})

    assert "Reason:" not in without.text
    assert "Give a reason" in controls(without)
    assert reasons(release) == ["Loses data", "Loses data"]
    assert browser.get(f"{address(release)}/yank").fields(f"{address(release)}/yank")["reason"] == "Loses data"


def test_a_version_without_assets_cannot_be_yanked(browser_of, maintainer, project, release):
    for file in db.session.scalars(lists.package_files(release)):
        deletion.delete_file(file, release, project, by=SHELL)
    browser = browser_of(maintainer)

    page = browser.get(address(release))
    answer = browser.post(f"{address(release)}/yank", {"reason": ""})

    assert not controls(page) & {"Yank", "Unyank"}
    assert (answer.status_code, answer.flashes) == (422, ["demo 1.0 has no files to yank."])


def test_an_asset_is_yanked_alone_and_taken_back(browser_of, maintainer, release):
    browser = browser_of(maintainer)

    yanked = browser.submit(f"{asset_address(release)}/yank", {"reason": "Wrong platform"})
    after_yank = browser.get(yanked.location)
    standing = reasons(release)
    unyanked = browser.submit(f"{asset_address(release)}/unyank")

    assert after_yank.flashes == [f"{WHEEL} is yanked."]
    assert marks(after_yank).count("Yanked") == 1
    assert "Reason: Wrong platform" in after_yank.text
    assert standing == ["Wrong platform", None]
    assert browser.get(unyanked.location).flashes == [f"{WHEEL} is no longer yanked."]
    assert reasons(release) == [None, None]


def test_a_version_that_is_partly_yanked_can_be_yanked_and_taken_back(browser_of, maintainer, project, release):
    releases.yank_file(asset(release), release, project, "Wrong platform", by=SHELL)

    page = browser_of(maintainer).get(address(release))

    assert {"Yank", "Unyank", f"Unyank {WHEEL}", f"Yank {SDIST}"} <= controls(page)
    assert page.flashes == []


def test_several_reasons_are_shown_beside_the_assets(browser_of, maintainer, project, release):
    releases.yank_file(asset(release), release, project, "Wrong platform", by=SHELL)
    releases.yank_file(asset(release, SDIST), release, project, "Lacks a file", by=SHELL)

    page = browser_of(maintainer).get(address(release))

    assert "The reasons are shown with its files." in page.flashes[0]
    assert all(f"Reason: {reason}" in page.text for reason in ("Wrong platform", "Lacks a file"))
    assert "Yank" not in controls(page)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("deprecated", "This package is deprecated. Consider another package."),
        ("archived", "This package is archived. No more files can be published under its name."),
        ("quarantined", "This package is quarantined. None of its versions can be installed."),
    ],
)
def test_a_name_is_given_a_status_with_a_reason(browser_of, maintainer, project, release, status, told):
    browser = browser_of(maintainer)

    answer = browser.submit(f"{address(release)}/status", {"name_status": status, "reason": "Moved to demo2"})
    page = browser.get(answer.location)

    assert (answer.status_code, answer.location) == (303, address(release))
    assert page.flashes == [f"The status of demo is now: {status.capitalize()}.", f"{told} Reason: Moved to demo2"]
    said = names.name_status(project, "demo")
    assert (said.status, said.reason) == (status, "Moved to demo2")


def test_a_name_becomes_active_again(browser_of, maintainer, project, release):
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, "Looked into", by=SHELL)
    browser = browser_of(maintainer)
    path = f"{address(release)}/status"

    shown = browser.get(path).fields(path)
    answer = browser.submit(path, {"name_status": "active", "reason": ""})

    assert (shown["name_status"], shown["reason"]) == ("quarantined", "Looked into")
    assert browser.get(answer.location).flashes == ["The status of demo is now: Active."]
    assert names.name_status(project, "demo").status is NameStatus.ACTIVE


def test_a_status_that_is_not_offered_is_refused(browser_of, maintainer, project, release):
    page = browser_of(maintainer).submit(f"{address(release)}/status", {"name_status": "banned"})

    assert page.status_code == 422
    assert "name_status" in page.errors
    assert names.name_status(project, "demo").status is NameStatus.ACTIVE


@pytest.mark.parametrize(
    ("reason", "told"),
    [("x" * 1001, "Use at most 1000 characters."), ("a\x07b", "Only printable characters are allowed.")],
    ids=["too long", "control character"],
)
@pytest.mark.parametrize("view", ["version", "asset", "status"])
def test_a_reason_that_is_refused_stays_with_the_sentence_beside_it(
    browser_of, maintainer, project, release, view, reason, told
):
    path = {
        "version": f"{address(release)}/yank",
        "asset": f"{asset_address(release)}/yank",
        "status": f"{address(release)}/status",
    }[view]

    page = browser_of(maintainer).submit(path, {"reason": reason})

    assert (page.status_code, page.errors) == (422, {"reason": told})
    assert page.fields(path)["reason"] == reason.replace("\x07", "\ufffd")
    assert reasons(release) == [None, None]


def test_readers_see_reasons_as_text_and_no_controls(browser_of, project, release):
    releases.yank_version(release, project, HOSTILE, by=SHELL)
    releases.yank_file(asset(release), release, project, f"{HOSTILE} too", by=SHELL)
    releases.set_name_status(project, "demo", NameStatus.DEPRECATED, HOSTILE, by=SHELL)

    page = browser_of(factories.member(project, Role.REPORTER)).get(address(release))

    assert page.text.count(f"Reason: {HOSTILE}") == 3
    assert all(script.get("src", "").startswith("/static/") for script in page.tree.iter("script"))
    assert not [words for words in controls(page) if "ank" in words or "reason" in words or "status" in words]


@pytest.mark.parametrize(
    ("role", "status"),
    [(None, 404), (Role.GUEST, 403), (Role.REPORTER, 403), (Role.DEVELOPER, 403), (Role.MAINTAINER, 200)],
)
def test_all_of_it_asks_for_the_role_of_a_maintainer(browser_of, project, release, role, status):
    browser = browser_of(factories.user() if role is None else factories.member(project, role))
    paths = [
        f"{address(release)}/unyank", f"{asset_address(release)}/unyank", f"{asset_address(release)}/yank",
        f"{address(release)}/yank", f"{address(release)}/status",
    ]  # fmt: skip

    asked = [browser.get(path).status_code for path in paths]
    done = [browser.post(path, {"reason": "R", "name_status": "archived"}).status_code for path in paths]

    assert asked == [status] * 5
    assert done == [303 if status == 200 else status] * 5
    assert (names.name_status(project, "demo").status is NameStatus.ARCHIVED) is (status == 200)
    assert reasons(release) == (["R", "R"] if status == 200 else [None, None])


def test_controls_are_shown_to_maintainers_in_the_group_too(browser_of, group, release):
    shown = {"Yank", f"Yank {WHEEL}", f"Yank {SDIST}", "Change status"}

    for path in (address(release), f"/groups/acme/-/packages/{release.id}"):
        assert shown <= controls(browser_of(factories.member(group, Role.MAINTAINER)).get(path))
        assert not shown & controls(browser_of(factories.member(group, Role.DEVELOPER)).get(path))


def test_a_protection_rule_does_not_prevent_it(browser_of, maintainer, project, release):
    protection.add_protection_rule(project, pattern="demo", push=Role.OWNER, delete=Role.OWNER, by=SHELL)
    browser = browser_of(maintainer)

    page = browser.get(address(release))
    browser.submit(f"{asset_address(release)}/yank")

    assert "Delete" not in controls(page)
    assert reasons(release) == ["", None]


def test_in_an_archived_project_nothing_is_yanked(browser_of, maintainer, project, release):
    namespaces.set_archived(project, True, by=SHELL)
    browser = browser_of(maintainer)

    assert "Yank" not in controls(browser.get(address(release)))
    assert browser.post(f"{address(release)}/yank").status_code == 403


def test_anonymous_visitors_are_asked_to_sign_in(browser, release):
    assert browser.get(f"{address(release)}/yank").location.startswith("/users/sign_in?next=")


def test_a_form_without_the_token_changes_nothing(browser_of, maintainer, project, release):
    browser = browser_of(maintainer)

    for path in (f"{address(release)}/yank", f"{asset_address(release)}/yank", f"{address(release)}/status"):
        answer = browser.open(path, method="POST", data={"reason": "R", "name_status": "archived"})
        assert answer.status_code == 400

    assert reasons(release) == [None, None]
    assert names.name_status(project, "demo").status is NameStatus.ACTIVE


def test_packages_of_other_projects_are_not_found_here(browser_of, maintainer, project, release):
    foreign = factories.published(factories.project(), build_wheel())
    other = factories.published(project, build_wheel("other"))
    browser = browser_of(maintainer)

    for path in (
        f"{LIST}/{foreign.package_id}/yank", f"{LIST}/{foreign.package_id}/status",
        f"{address(release)}/package_files/{other.id}/yank", f"{address(release)}/package_files/{other.id}/unyank",
    ):  # fmt: skip
        assert browser.get(path).status_code == 404
        assert browser.post(path, {"name_status": "archived"}).status_code == 404

    factories.reload(foreign, other)
    assert (foreign.yanked_reason, other.yanked_reason) == (None, None)


def test_lists_mark_versions_that_are_yanked_and_names_with_a_status(browser_of, owner, project, release):
    newer = db.session.get_one(Package, factories.published(project, build_wheel(version="2.0")).package_id)
    releases.yank_version(release, project, by=SHELL)
    releases.set_name_status(project, "Demo", NameStatus.QUARANTINED, by=SHELL)
    browser = browser_of(owner)

    listed, beside = browser.get(f"{LIST}?order_by=version"), browser.get(f"{address(newer)}?tab=versions")

    assert marks(listed) == ["Quarantined", "Yanked", "Quarantined"]
    assert [tag for tag in marks(beside) if tag == "Yanked"] == ["Yanked"]


def test_a_version_that_is_partly_yanked_is_not_marked_as_one(browser_of, owner, project, release):
    releases.yank_file(asset(release), release, project, by=SHELL)

    assert marks(browser_of(owner).get(LIST)) == []
