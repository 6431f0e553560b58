"""The package registry of projects and groups: lists, packages, files, deletion."""

from __future__ import annotations

from configparser import ConfigParser
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from sqlalchemy import delete, update

from registry.database import db, transaction, utcnow
from registry.domain import cascade, forwarding, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.packages import deletion, lists, protection, releases, reserved
from registry.domain.packages.lists import PackageFilter
from registry.models import (
    FileDownloads,
    FileStatus,
    NameStatus,
    Package,
    PackageFile,
    PackageRequirement,
    PackageStatus,
    RegistryAccess,
    Role,
    UserNamespace,
    Visibility,
)
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import links
from tests.tables import each

LIST = "/acme/tools/-/packages"
GROUP_LIST = "/groups/acme/-/packages"
BY_TRUSTED_PUBLISHER = "Published by build (https://ci.test)"
VERSIONS, GROUP_VERSIONS = f"{LIST}?tab=versions", f"{GROUP_LIST}?tab=versions"
DELETE = f"{LIST}/delete"
NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "{{ 7 * 7 }}",
    "%(name)s %s",
    "</textarea><svg onload=alert(1)>",
    "\u202egnirts desrever",
]


def rows(page):
    """Name and version of each package of a list."""
    found = []
    for row in page.by_class("row-item"):
        title, text = (next(part for part in row.iter() if name in (part.get("class") or "").split())
                       for name in ("row-title", "row-text"))  # fmt: skip
        link = title.find("a")
        found.append((words(title if link is None else link), words(text)))
    return found


def names(page):
    return [name for name, _ in rows(page)]


def words(element):
    return " ".join("".join(element.itertext()).split())


def code(page, part=None):
    """The blocks of code to be copied, of the page or of its part with an ID; none if there is no such part."""
    parts = [page.tree] if part is None else page.tree.findall(f".//*[@id='{part}']")
    return ["".join(block.itertext()) for each in parts for block in each.iter("pre")]


def package_of(file):
    return db.session.get(Package, file.package_id)


def address(package, prefix=LIST):
    return f"{prefix}/{package.id}"


@pytest.fixture
def release(project, owner):
    """A package ``demo`` 1.0 of two files, published by the owner."""
    factories.published(project, build_sdist(), by=factories.signed_in(owner))
    return package_of(factories.published(project, build_wheel(), by=factories.signed_in(owner)))


def publish_some(project, count, name="driver"):
    return [
        package_of(factories.published(project, build_wheel(f"{name}-{number:02}"), now=NOW + timedelta(hours=number)))
        for number in range(count)
    ]


def test_a_list_shows_packages_with_author_and_time(browser_of, owner, release):
    page = browser_of(owner).get(VERSIONS)

    assert page.status_code == 200
    assert rows(page) == [("demo", "1.0 · PyPI")]
    assert "Versions 1" in page.text
    assert "Manually published" in page.text
    assert "Published by Olivia " in page.text
    assert address(release) in page.links


def test_a_list_of_a_group_also_shows_the_project(browser_of, owner, release):
    page = browser_of(owner).get(GROUP_VERSIONS)

    assert rows(page) == [("demo", "1.0 · PyPI")]
    assert "to Tools" in page.text
    assert {address(release, GROUP_LIST), LIST} <= set(page.links)


def test_a_package_published_by_a_job_shows_its_branch(browser_of, owner, project):
    factories.published(project, build_wheel(), by=factories.by_job(project, owner))

    page = browser_of(owner).get(VERSIONS)

    assert "main · publish" in page.text
    assert "Manually published" not in page.text


def test_a_version_published_with_a_deploy_token_names_the_token(browser_of, owner, project):
    by_token = factories.by_deploy_token(project, "write_package_registry")
    factories.published(project, build_wheel(), by=by_token)
    browser = browser_of(owner)

    assert "Published by the deploy token test" in browser.get(LIST).text
    assert "Published by the deploy token test" in browser.get(VERSIONS).text
    assert "Deploy token test" in browser.get(f"{LIST}/names/demo?tab=versions").text
    assert "Deploy token test" in browser.get(f"{LIST}/names/demo").text


def test_visitors_of_a_public_project_see_no_names_of_deploy_tokens(browser_of, owner, outsider, project):
    by_token = factories.by_deploy_token(project, "write_package_registry")
    factories.published(project, build_wheel(), by=by_token)
    project.parent.visibility = project.visibility = Visibility.PUBLIC
    factories.commit()
    browser = browser_of(outsider)

    for page in (LIST, VERSIONS, *(f"{LIST}/names/demo?tab={tab}" for tab in ("", "versions", "activity"))):
        assert f"eploy token {by_token.deploy_token.id}" in browser.get(page).text
        assert "eploy token test" not in browser.get(page).text


def test_a_version_published_again_by_a_user_names_no_deploy_token(browser_of, owner, project):
    by_token = factories.by_deploy_token(project, "write_package_registry")
    deleted = factories.published(project, build_wheel(), by=by_token)
    deletion.delete_package(db.session.get_one(Package, deleted.package_id), project, by=factories.signed_in(owner))
    mia = factories.member(project, Role.MAINTAINER, "mia")
    factories.published(project, build_wheel(), by=factories.signed_in(mia))
    users.delete_user(mia, by=SHELL)

    assert "Deploy token" not in browser_of(owner).get(f"{LIST}/names/demo?tab=versions").text


def test_names_are_listed_with_their_latest_version(browser_of, owner, group, project, release):
    factories.published(project, build_wheel("demo", "2.0rc1"), by=factories.signed_in(owner), summary="For later")
    factories.published(project, build_wheel("demo", "1.1"), by=factories.signed_in(owner), summary="Does it")
    browser = browser_of(owner)

    page, of_group = browser.get(LIST), browser.get(GROUP_LIST)

    assert rows(page) == [("demo", "Does it")]
    side = words(page.by_class("row-side")[0])
    assert side.startswith("3 versions · ")
    assert "0 downloads Published by Olivia" in side
    assert words(page.by_class("row-version")[0]) == "1.1"
    assert f"{LIST}/names/demo" in page.links
    assert f"{LIST}/names/demo" in of_group.links
    assert "to Tools" in of_group.text


@pytest.fixture
def marked(project, owner):
    """Names of a project with each of the marks, from oldest to newest."""
    for number, (name, version) in enumerate(
        [("Yanked", "1.0"), ("pre", "1.0rc1"), ("deprecated", "1.0"), ("archived", "1.0"), ("quarantined", "1.0"),
         ("plain", "1.0")]
    ):  # fmt: skip
        file = factories.published(
            project, build_wheel(name, version, size_bytes=1000 * number), by=factories.signed_in(owner),
            now=NOW + timedelta(hours=number),
        )  # fmt: skip
        if name == "Yanked":
            releases.yank_version(package_of(file), project, by=SHELL)
        elif name in {status.value for status in NameStatus}:
            releases.set_name_status(project, name, NameStatus(name), by=SHELL)
    other = factories.member(project, Role.DEVELOPER, "hopper")
    factories.published(project, build_wheel("remarked", headers=["License-Expression: MIT"]), now=NOW,
                        by=factories.signed_in(other))  # fmt: skip


@each(
    ("query", "found"),
    [
        ("", ["plain", "quarantined", "archived", "deprecated", "pre", "remarked", "Yanked"]),
        ("sort=asc", ["remarked", "Yanked", "pre", "deprecated", "archived", "quarantined", "plain"]),
        ("order_by=name", ["archived", "deprecated", "plain", "pre", "quarantined", "remarked", "Yanked"]),
        ("order_by=downloads", ["archived", "deprecated", "plain", "pre", "quarantined", "remarked", "Yanked"]),
        (
            "order_by=size&sort=desc&publisher=Olivia",
            ["plain", "quarantined", "archived", "deprecated", "pre", "Yanked"],
        ),
        ("state=yanked", ["Yanked"]),
        ("state=prerelease", ["pre"]),
        ("state=deprecated", ["deprecated"]),
        ("state=archived", ["archived"]),
        ("state=quarantined", ["quarantined"]),
        ("state=remarks", ["remarked"]),
        ("state=nonsense&search=PLA", ["plain"]),
        ("publisher=hopper", ["remarked"]),
    ],
)
def test_names_can_be_sorted_and_filtered_by_their_marks(browser_of, owner, marked, query, found):
    page = browser_of(owner).get(f"{LIST}?{query}")

    assert names(page) == found


def test_names_show_and_are_filtered_by_the_job_or_trusted_publisher_that_published_last(browser_of, owner, project):
    factories.published(project, build_wheel("by-hand"), by=factories.signed_in(owner))
    factories.published(project, build_wheel("by-job"), by=factories.by_job(project, owner))
    factories.published(project, build_wheel("trusted"), by=factories.by_trusted_publisher(project))
    browser = browser_of(owner)

    by_job, trusted = (browser.get(f"{LIST}?publisher={publisher}") for publisher in ("PUBLISH", "build"))

    assert (names(by_job), names(trusted)) == (["by-job"], ["trusted"])
    assert BY_TRUSTED_PUBLISHER in words(trusted.by_class("package-rows")[0])


def test_the_publisher_in_a_list_is_the_one_of_the_version_published_last(browser_of, owner, project):
    ci = factories.by_trusted_publisher(project)
    factories.published(project, build_wheel("newest-by-ci", "2.0"), by=factories.signed_in(owner), now=NOW)
    factories.published(project, build_wheel("newest-by-ci", "1.1"), by=ci, now=NOW + timedelta(days=1))
    factories.published(project, build_wheel("newest-by-hand", "2.0"), by=ci, now=NOW)
    by_token = factories.by_deploy_token(project, "write_package_registry")
    factories.published(project, build_wheel("newest-by-hand", "1.1"), by=by_token, now=NOW + timedelta(days=1))

    page = browser_of(owner).get(f"{LIST}?order_by=name&sort=asc")

    by_ci, by_hand = (words(row) for row in page.by_class("row-item"))
    assert BY_TRUSTED_PUBLISHER in by_ci
    assert "Olivia" not in by_ci
    assert "Published by the deploy token test" in by_hand


def test_remarks_are_marked_for_users_who_can_publish(browser_of, owner, group, marked):
    reporter = factories.member(group, Role.REPORTER)

    shown = [names(browser_of(user).get(f"{GROUP_LIST}?state=remarks")) for user in (owner, reporter)]

    assert shown[0] == ["remarked"]
    assert len(shown[1]) == 7
    assert "Remarks" not in browser_of(reporter).get(GROUP_LIST).text


def test_marks_are_badges(browser_of, owner, marked):
    page = browser_of(owner).get(f"{LIST}?order_by=name")

    badges = [
        [words(badge) for badge in row.iter("span") if "tag" in badge.get("class", "").split()]
        for row in page.by_class("row-title")
    ]
    assert badges == [["Archived"], ["Deprecated"], [], ["Pre-release only"], ["Quarantined"], ["Remarks"], ["Yanked"]]


def test_protected_packages_are_marked(browser_of, owner, project, release):
    protection.add_protection_rule(project, pattern="de*", push=Role.OWNER, delete=None, by=SHELL)

    page = browser_of(owner).get(LIST)

    assert 'title="A protection rule exists for this package."' in page.html


@pytest.fixture
def drivers(project):
    publish_some(project, 2)
    factories.published(project, build_wheel("other", "2.0"), now=NOW + timedelta(days=1))


@each(
    ("query", "found"),
    [
        ({"search": "RIVER-0"}, ["driver-01", "driver-00"]),
        ({"search": "er_01"}, ["driver-01"]),
        ({"search": "er%01"}, []),
        ({"version": "2.0"}, ["other"]),
        ({"version": "2"}, []),
        ({"type": "pypi", "search": "other"}, ["other"]),
        ({"order_by": "name"}, ["driver-00", "driver-01", "other"]),
        ({}, ["other", "driver-01", "driver-00"]),
        ({"sort": "asc"}, ["driver-00", "driver-01", "other"]),
        ({"order_by": "name", "sort": "desc"}, ["other", "driver-01", "driver-00"]),
    ],
)
def test_filters_and_order_come_from_the_address(browser_of, owner, drivers, query, found):
    page = browser_of(owner).get(f"{VERSIONS}&{urlencode(query)}")

    assert names(page) == found


def test_the_form_shows_the_current_filter(browser_of, owner, release):
    page = browser_of(owner).get(f"{VERSIONS}&search=de&version=1.0&type=pypi&order_by=name&sort=desc")

    chosen = {option.get("value") for option in page.tree.iter("option") if option.get("selected") is not None}
    typed = {(field.get("name"), field.get("value")) for field in page.tree.iter("input")}
    assert chosen == {"pypi", "name", "desc"}
    assert {("search", "de"), ("version", "1.0")} <= typed


@each(
    "query",
    [
        "status=error", "type=npm", "order_by=project_path", "order_by=password", "sort=sideways", "page=-3",
        "page=x", "page=99999999999999999999", "endpoint=x", "project=x", "_external=1", "_anchor=x", "search=%00",
        "version=%00", "search=%25", "search=%FF",
    ],
)  # fmt: skip
def test_an_address_that_makes_no_sense_still_shows_the_list(browser_of, owner, release, query):
    page = browser_of(owner).get(f"{LIST}?{query}")

    assert page.status_code == 200
    assert page.tree is not None


def test_versions_are_sorted_as_versions(browser_of, owner, project):
    for version in ("1.10", "1.9", "1.9rc1", "2.0.post1", "1.9+local"):
        factories.published(project, build_wheel("demo", version))

    page = browser_of(owner).get(f"{LIST}?order_by=version&sort=asc")

    assert [text.partition(" ")[0] for _, text in rows(page)] == ["1.9rc1", "1.9", "1.9+local", "1.10", "2.0.post1"]


def test_a_group_can_be_sorted_by_project(browser_of, owner, group, release):
    factories.published(factories.project("aardvark", parent=group), build_wheel("zebra"))

    assert names(browser_of(owner).get(f"{GROUP_LIST}?order_by=project_path")) == ["zebra", "demo"]


@pytest.mark.parametrize("order_by", ["created_at", "version"])
def test_a_long_list_has_pages_that_keep_the_filter(browser_of, owner, project, order_by):
    publish_some(project, 21)
    browser = browser_of(owner)

    first = browser.get(f"{LIST}?search=driver&order_by={order_by}")
    following = next(link for link in first.links if "page=2" in link)
    second = browser.get(following)

    assert (len(rows(first)), len(rows(second))) == (20, 1)
    assert "search=driver" in following
    assert f"{'Versions' if order_by == 'version' else 'Packages'} 21" in second.text


def test_an_empty_registry_shows_how_to_publish_to_it(browser_of, developer, project):
    page = browser_of(developer).get(LIST)

    assert "There are no packages yet" in page.text
    assert any(f"--repository-url http://localhost/api/v4/projects/{project.id}/packages/pypi dist/*" in block
               for block in code(page))  # fmt: skip
    assert any(link.startswith("/help/publish?project=acme/tools") for link in page.links)


def test_an_empty_registry_shows_a_pypirc_that_twine_reads(browser_of, developer, project):
    page = browser_of(developer).get(LIST)

    (shown,) = (block for block in code(page) if block.startswith("[distutils]"))
    parsed = ConfigParser()
    parsed.read_string(shown)
    assert parsed["distutils"]["index-servers"].split() == ["gitlab"]
    assert dict(parsed["gitlab"]) == {
        "repository": f"http://localhost/api/v4/projects/{project.id}/packages/pypi",
        "username": "__token__",
        "password": "<your_personal_token>",
    }


def test_publishing_instructions_are_for_publishers_only(browser_of, project):
    reporter = factories.member(project, Role.REPORTER)

    for path in (LIST, f"/{project.full_path}"):
        page = browser_of(reporter).get(path)

        assert "There are no packages yet" in page.text
        assert "You need the Developer role or higher to publish packages." in page.text
        assert "publish it with twine" not in page.text
        assert code(page) == []


def test_an_empty_group_shows_its_index(browser_of, owner, group):
    page = browser_of(owner).get(GROUP_LIST)

    assert "There are no packages yet" in page.text
    assert f"http://localhost/api/v4/groups/{group.id}/-/packages/pypi/simple" in page.html


def test_a_filter_without_results_has_a_text(browser_of, owner, release):
    page = browser_of(owner).get(f"{LIST}?search=nothing+like+it")

    assert "Sorry, your filter produced no results" in page.text
    assert "To widen your search, change or remove the filters above." in page.text


def test_a_group_lists_only_packages_the_viewer_can_read(browser_of, group, release):
    open_group = factories.group("open", visibility=Visibility.PUBLIC)
    public = factories.project("public", parent=open_group, visibility=Visibility.PUBLIC)
    private = factories.project("private", parent=open_group)
    factories.published(public, build_wheel("seen"))
    factories.published(private, build_wheel("unseen"))
    reporter = factories.member(private, Role.REPORTER)
    stranger = factories.user()

    seen_by = {user: names(browser_of(user).get("/groups/open/-/packages")) for user in (reporter, stranger)}

    assert sorted(seen_by[reporter]) == ["seen", "unseen"]
    assert seen_by[stranger] == ["seen"]


@pytest.mark.parametrize(("role", "may_configure"), [(Role.DEVELOPER, False), (Role.MAINTAINER, True)])
def test_the_cog_is_shown_to_users_who_can_change_settings(browser_of, project, role, may_configure):
    page = browser_of(factories.member(project, role)).get(LIST)

    assert ('title="Configure in settings"' in page.html) is may_configure


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_search_terms_are_shown_as_text(browser_of, owner, release, hostile):
    page = browser_of(owner).get(f"{VERSIONS}&{urlencode({'search': hostile, 'version': hostile})}")

    values = [field.get("value") for field in page.tree.iter("input") if field.get("name") in ("search", "version")]
    assert values.count(hostile) == 2
    assert not list(page.tree.iter("img"))[1:]


def test_a_longer_list_costs_no_more_statements(browser_of, owner, project, statements):
    browser = browser_of(owner)
    publish_some(project, 1)
    few = cost(browser, LIST, statements)

    publish_some(project, 20, name="more")
    protection.add_protection_rule(project, pattern="more*", push=Role.OWNER, delete=None, by=SHELL)

    assert cost(browser, LIST, statements) == few


def test_a_group_of_many_projects_costs_no_more_statements(browser_of, owner, group, statements):
    browser = browser_of(owner)
    publish_some(factories.project(parent=group), 1)
    few = cost(browser, GROUP_LIST, statements)

    for number in range(15):
        project = factories.project(parent=factories.group(parent=group))
        factories.published(project, build_wheel(f"one{number}"), by=factories.signed_in(factories.user()))

    assert cost(browser, GROUP_LIST, statements) == few


def cost(browser, path, statements):
    """The number of statements of a page with an empty database session."""
    db.session.remove()
    before = len(statements)
    page = browser.get(path)
    assert page.status_code == 200
    return len(statements) - before


@pytest.mark.parametrize(
    ("role", "visibility", "status"),
    [
        (None, Visibility.PRIVATE, 404),
        (None, Visibility.INTERNAL, 200),
        (None, Visibility.PUBLIC, 200),
        (Role.GUEST, Visibility.PRIVATE, 403),
        (Role.PLANNER, Visibility.PRIVATE, 403),
        (Role.REPORTER, Visibility.PRIVATE, 200),
        (Role.OWNER, Visibility.PRIVATE, 200),
    ],
)
@pytest.mark.parametrize("page", ["list", "package", "versions", "download"])
def test_reading_needs_the_role_of_a_reporter_or_an_open_project(browser_of, role, visibility, status, page):
    project = factories.project("tools", parent=factories.group("wide", visibility=Visibility.PUBLIC),
                                visibility=visibility)  # fmt: skip
    file = factories.published(project, build_wheel())
    user = factories.user() if role is None else factories.member(project, role)
    place = "/wide/tools/-"
    path = {
        "list": f"{place}/packages",
        "package": f"{place}/packages/{file.package_id}",
        "versions": f"{place}/packages/{file.package_id}?tab=versions",
        "download": f"{place}/package_files/{file.id}/download",
    }[page]

    answer = browser_of(user).get(path)

    assert answer.status_code == (302 if page == "download" and status == 200 else status)


def test_anonymous_visitors_are_asked_to_sign_in_where_that_can_help(browser, release):
    for path in (LIST, GROUP_LIST, address(release)):
        assert browser.get(path).location.startswith("/users/sign_in?next=")


def test_a_registry_that_is_disabled_shows_no_list(browser_of, owner, project, release):
    namespaces.change(project, namespaces.ProjectChanges(registry_access=RegistryAccess.DISABLED), by=SHELL)

    assert browser_of(owner).get(LIST).status_code == 403


DELETERS = [
    (None, 404),
    (Role.GUEST, 403),
    (Role.REPORTER, 403),
    (Role.DEVELOPER, 403),
    (Role.MAINTAINER, 200),
    (Role.OWNER, 200),
]


@pytest.mark.parametrize(("role", "status"), DELETERS)
def test_deleting_packages_asks_for_the_role_of_a_maintainer(browser_of, project, release, role, status):
    browser = browser_of(factories.user() if role is None else factories.member(project, role))

    question = browser.get(f"{DELETE}?id={release.id}")
    answer = browser.post(DELETE, {"id": release.id})

    assert question.status_code == status
    assert answer.status_code == (303 if status == 200 else status)
    factories.reload(release)
    assert (release.status is PackageStatus.PENDING_DESTRUCTION) is (status == 200)


@pytest.mark.parametrize(("role", "status"), DELETERS)
def test_deleting_assets_asks_for_the_role_of_a_maintainer(browser_of, project, release, role, status):
    file = db.session.scalars(lists.package_files(release)).first()
    browser = browser_of(factories.user() if role is None else factories.member(project, role))
    path = f"{address(release)}/package_files/delete"

    question = browser.get(f"{path}?id={file.id}")
    answer = browser.post(path, {"id": file.id})

    assert question.status_code == status
    assert answer.status_code == (303 if status == 200 else status)
    factories.reload(file)
    assert (file.status is FileStatus.PENDING_DESTRUCTION) is (status == 200)


@pytest.mark.parametrize(("role", "may_delete"), [(Role.DEVELOPER, False), (Role.MAINTAINER, True)])
def test_controls_to_delete_are_shown_to_users_who_can_delete(browser_of, project, release, role, may_delete):
    browser = browser_of(factories.member(project, role))

    listed, shown = browser.get(VERSIONS), browser.get(address(release))

    assert ("Delete selected" in listed.text) is may_delete
    assert ("Delete version" in listed.text) is may_delete
    assert ("Delete file" in shown.text) is may_delete
    assert (f"{DELETE}" in shown.html) is may_delete


def test_a_package_is_deleted_after_a_confirmation_that_names_it(browser_of, maintainer, group, release):
    forwarding.change_forwarding(group, value=False, by=SHELL)
    browser = browser_of(maintainer)

    question = browser.get(f"{DELETE}?id={release.id}")
    answer = browser.submit(f"{DELETE}?id={release.id}", action=DELETE)
    after = browser.get(answer.location)

    assert "Delete version" in question.title
    assert "You are about to delete version 1.0 of demo. Are you sure?" in question.text
    assert "Permanently delete" in question.text
    assert "The name stays reserved in acme" in question.text
    assert "Release the name" not in question.text, "which takes an Owner"
    assert after.flashes == ["Version deleted successfully"]
    assert "There are no packages yet" in after.text


def test_deleting_one_of_several_versions_warns_of_that_version_only(browser_of, owner, project, release):
    factories.published(project, build_wheel("Demo", "2.0"))
    other = package_of(factories.published(project, build_wheel("other")))
    (file, *more) = db.session.scalars(lists.package_files(release).order_by(PackageFile.id))
    chosen = urlencode([("id", each.id) for each in (file, *more)])
    browser = browser_of(owner)
    alone = browser.get(f"{DELETE}?id={release.id}")
    by_files = browser.get(f"{address(release)}/package_files/delete?{chosen}")
    with_other = browser.get(f"{DELETE}?id={release.id}&id={other.id}")

    for page in (alone, by_files, with_other):
        assert "The other versions of the name stay available." in page.text
    for page in (alone, by_files):
        assert "stays reserved" not in page.text
        assert "Release the name" not in page.text
        assert "Permanently delete" in page.text
    assert "The name stays reserved in acme" in with_other.text
    assert "Yes, delete selected versions" in with_other.text


def test_an_owner_releases_the_name_with_its_last_package(browser_of, owner, group, project, release):
    browser = browser_of(owner)
    page = browser.get(f"{DELETE}?id={release.id}")

    browser.submit(f"{DELETE}?id={release.id}", {"release_name": "1"}, action=DELETE)

    assert "security risk" in page.text
    assert "What are the risks?" in page.text
    assert "Yes, delete version" in page.text
    assert any(link.startswith("/help/forwarding") for link in page.links)
    assert reserved.reservation(project, "demo") is None


def test_the_names_of_a_group_are_listed_and_released(browser_of, owner, maintainer, group, project, release):
    factories.published(project, build_wheel("kept"))
    deletion.delete_package(release, project, by=SHELL)
    address = "/groups/acme/-/settings/reserved_names"
    browser = browser_of(owner)

    listed = browser.get(address)
    assert "Published names" in browser.get("/groups/acme/-/settings/packages_and_registries").text
    assert all(text in listed.text for text in ("demo", "kept", "acme/tools", "In use"))
    assert "kept" not in browser.get(f"{address}?search=dem").text
    answer = browser.post(f"{address}/release", {"name": "Demo"})
    after = browser.get(answer.location)
    assert after.flashes == ["The name demo is released."]
    assert reserved.reservation(project, "demo") is None
    assert browser.post(f"{address}/release", {"name": "kept"}).status_code == 409
    assert browser_of(maintainer).get(address).status_code in (403, 404)


@pytest.mark.databases
@pytest.mark.parametrize("name", ["other", "a\x00b", "", "-" * 100_000], ids=["other", "NUL", "empty", "long"])
def test_only_a_published_name_is_released(browser_of, owner, group, name):
    answer = browser_of(owner).post("/groups/acme/-/settings/reserved_names/release", {"name": name})

    assert answer.status_code == 404


def test_several_packages_are_deleted_at_once(browser_of, maintainer, group, project):
    forwarding.change_forwarding(group, value=False, by=SHELL)
    packages = publish_some(project, 3)
    browser = browser_of(maintainer)
    path = f"{DELETE}?{urlencode([('id', package.id) for package in packages[:2]])}"

    question = browser.get(path)
    answer = browser.post(DELETE, {"id": [package.id for package in packages[:2]]})
    after = browser.get(answer.location)

    assert "Delete versions" in question.title
    assert "You are about to delete 2 versions. This action cannot be undone." in question.text
    assert all(name in question.text for name in ("driver-00", "driver-01"))
    assert after.flashes == ["Versions deleted successfully"]
    assert names(after) == ["driver-02"]


def test_the_confirmation_for_several_packages_with_forwarding_has_its_own_button(browser_of, maintainer, project):
    ids = urlencode([("id", package.id) for package in publish_some(project, 2)])

    assert "Yes, delete selected versions" in browser_of(maintainer).get(f"{DELETE}?{ids}").text


def test_protected_packages_are_named_and_stay(browser_of, maintainer, project, release):
    protection.add_protection_rule(project, pattern="demo", push=None, delete=Role.OWNER, by=SHELL)
    other = package_of(factories.published(project, build_wheel("other")))
    browser = browser_of(maintainer)
    path = f"{DELETE}?id={release.id}&id={other.id}"

    question = browser.get(path)
    browser.submit(path, action=DELETE)
    forced = browser.post(DELETE, {"id": release.id})

    assert "The following versions are kept" in question.text
    factories.reload(release, other)
    assert (release.status, other.status) == (PackageStatus.DEFAULT, PackageStatus.PENDING_DESTRUCTION)
    assert forced.status_code == 403
    assert "A protection rule prevents this action." in forced.text


def test_of_several_packages_all_or_none_are_deleted(browser_of, maintainer, project, release):
    protection.add_protection_rule(project, pattern="demo", push=None, delete=Role.OWNER, by=SHELL)
    other = package_of(factories.published(project, build_wheel("other")))

    answer = browser_of(maintainer).post(DELETE, {"id": [other.id, release.id]})

    factories.reload(other)
    assert answer.status_code == 403
    assert other.status is PackageStatus.DEFAULT


def test_in_a_group_a_package_is_deleted_by_the_maintainer_of_its_project(browser_of, group, project, release):
    elsewhere = factories.project("elsewhere", parent=group)
    other = package_of(factories.published(elsewhere, build_wheel("other")))
    user = factories.member(group, Role.REPORTER)
    namespaces.add_member(elsewhere, user, Role.MAINTAINER, by=SHELL)
    browser = browser_of(user)

    question = browser.get(f"{GROUP_LIST}/delete?id={release.id}&id={other.id}")
    refused = browser.post(f"{GROUP_LIST}/delete", {"id": [release.id, other.id]})
    done = browser.post(f"{GROUP_LIST}/delete", {"id": other.id})

    assert "The following versions are kept" in question.text
    assert refused.status_code == 403
    assert (done.status_code, done.location) == (303, GROUP_LIST)
    factories.reload(release, other)
    assert (release.status, other.status) == (PackageStatus.DEFAULT, PackageStatus.PENDING_DESTRUCTION)


@pytest.mark.parametrize("ids", ["", "id=x", "id=-1", "id=99999999999999999999", "id=%D9%A1", "id=4711"])
def test_an_empty_selection_is_reported(browser_of, maintainer, project, release, ids):
    browser = browser_of(maintainer)

    answer = browser.get(f"{DELETE}?{ids}")

    assert (answer.status_code, answer.location) == (303, LIST)
    assert browser.get(LIST).flashes == ["Select at least one version."]


def test_packages_of_another_project_are_not_deleted_through_this_one(browser_of, maintainer, project, release):
    foreign = package_of(factories.published(factories.project(), build_wheel("foreign")))

    browser_of(maintainer).post(DELETE, {"id": foreign.id})

    factories.reload(foreign)
    assert foreign.status is PackageStatus.DEFAULT


def test_a_form_without_the_token_deletes_nothing(browser_of, maintainer, release):
    file = db.session.scalars(lists.package_files(release)).first()
    browser = browser_of(maintainer)

    for path, record in ((DELETE, release), (f"{address(release)}/package_files/delete", file)):
        answer = browser.open(path, method="POST", data={"id": record.id})
        assert answer.status_code == 400

    factories.reload(release, file)
    assert (release.status, file.status) == (PackageStatus.DEFAULT, FileStatus.DEFAULT)


def test_an_asset_is_deleted_after_a_confirmation_that_names_it(browser_of, maintainer, release):
    wheel = db.session.scalars(lists.package_files(release).where(PackageFile.filename.endswith(".whl"))).one()
    path = f"{address(release)}/package_files/delete"
    browser = browser_of(maintainer)

    question = browser.get(f"{path}?id={wheel.id}")
    answer = browser.submit(f"{path}?id={wheel.id}", action=path)
    after = browser.get(answer.location)

    assert "Delete file" in question.title
    assert "You are about to delete demo-1.0-py3-none-any.whl." in question.text
    assert "The package might become unusable" in question.text
    assert after.path == address(release)
    assert after.flashes == ["File deleted successfully"]
    assert "demo-1.0.tar.gz" in after.text


def test_deleting_the_last_assets_deletes_the_package_as_the_confirmation_shows(
    browser_of, maintainer, project, release
):
    files = db.session.scalars(lists.package_files(release)).all()
    path = f"{address(release)}/package_files/delete"
    ids = urlencode([("id", file.id) for file in files])
    browser = browser_of(maintainer)

    question = browser.get(f"{path}?{ids}")
    answer = browser.post(path, {"id": [file.id for file in files]})
    after = browser.get(answer.location)

    assert "Delete version" in question.title
    assert "this package version is deleted with them" in question.text
    assert "The name stays reserved in acme" in question.text
    assert after.flashes == ["Version deleted successfully"]
    assert after.path == LIST
    assert db.session.scalar(lists.packages(project, SHELL, PackageFilter())) is None


def test_several_assets_are_named_one_by_one(browser_of, maintainer, project, release):
    factories.published(project, build_wheel(tag="py2-none-any"))
    ids = [file.id for file in db.session.scalars(lists.package_files(release).order_by(PackageFile.id))][:2]

    page = browser_of(maintainer).get(f"{address(release)}/package_files/delete?{urlencode([('id', i) for i in ids])}")

    assert "Delete 2 files" in page.title
    assert all(name in page.text for name in ("demo-1.0.tar.gz", "demo-1.0-py3-none-any.whl"))


def test_an_empty_selection_of_assets_is_reported(browser_of, maintainer, release):
    browser = browser_of(maintainer)

    answer = browser.get(f"{address(release)}/package_files/delete")

    assert (answer.status_code, answer.location) == (303, address(release))
    assert browser.get(address(release)).flashes == ["Select at least one file."]


def test_assets_of_a_protected_package_stay(browser_of, maintainer, project, release):
    protection.add_protection_rule(project, pattern="demo", push=None, delete=Role.OWNER, by=SHELL)
    file = db.session.scalars(lists.package_files(release)).first()
    path = f"{address(release)}/package_files/delete"
    browser = browser_of(maintainer)

    question = browser.get(f"{path}?id={file.id}")
    answer = browser.post(path, {"id": file.id})

    assert "A protection rule prevents you from deleting" in question.text
    assert answer.status_code == 403


def test_a_package_page_has_lines_that_install_it_from_its_group(browser_of, owner, group, release):
    page = browser_of(owner).get(address(release))

    index = f"localhost/api/v4/groups/{group.id}/-/packages/pypi/simple"
    with_variable = f'"http://__token__:$REGISTRY_TOKEN@{index}"'
    assert code(page)[:2] == [
        f"pip install demo --index-url {with_variable}",
        f"pip install demo --index-url http://__token__:<your_personal_token>@{index}",
    ]
    assert f"uv pip install demo --default-index {with_variable}" in code(page)
    assert any(block.endswith("poetry add --source gitlab demo") for block in code(page))
    assert "pdm add demo" in code(page)
    assert any(block.startswith("--index-url") and block.endswith("demo==1.0") for block in code(page))
    assert "export REGISTRY_TOKEN='<your_personal_token>'" in code(page)
    assert "You will need a personal access token" in page.text
    assert 'aria-label="Copy Pip command"' in page.html


def test_a_package_page_has_a_line_for_the_index_of_the_project(browser_of, owner, project, release):
    page = browser_of(owner).get(address(release))

    index = f"localhost/api/v4/projects/{project.id}/packages/pypi/simple"
    assert code(page, "from-project") == [f'pip install demo --index-url "http://__token__:$REGISTRY_TOKEN@{index}"']
    assert "Deploy tokens of the project require this index." in page.text


def test_the_line_for_the_index_of_a_project_ignores_versions_elsewhere(browser_of, owner, group, release):
    factories.published(factories.project("other", parent=group), build_wheel("demo", "2.0"))

    page = browser_of(owner).get(address(release))

    assert code(page)[0].startswith("pip install demo==1.0 --index-url")
    assert code(page, "from-project")[0].startswith("pip install demo --index-url")


def test_a_package_page_has_a_pypirc_for_those_who_can_publish(browser_of, developer, project, release):
    reporter = factories.member(project, Role.REPORTER)

    shown = browser_of(developer).get(address(release))
    hidden = browser_of(reporter).get(address(release))

    [file] = code(shown, "publishing")
    parsed = ConfigParser()
    parsed.read_string(file)
    assert dict(parsed["gitlab"]) == {
        "repository": f"http://localhost/api/v4/projects/{project.id}/packages/pypi",
        "username": "__token__",
        "password": "<your_personal_token>",
    }
    assert "python -m twine upload --repository gitlab dist/*" in shown.text
    assert "[gitlab]" not in hidden.html
    assert "Publish a new version" not in hidden.text


def test_a_name_that_takes_no_files_has_no_pypirc(browser_of, developer, project, release):
    releases.set_name_status(project, "demo", NameStatus.ARCHIVED, by=SHELL)

    page = browser_of(developer).get(address(release))

    assert code(page)
    assert code(page, "publishing") == []


def test_the_line_of_a_version_that_is_not_the_latest_is_pinned(browser_of, owner, project, release):
    factories.published(project, build_wheel("demo", "2.0"))

    page = browser_of(owner).get(address(release))

    assert code(page)[0].startswith("pip install demo==1.0 --index-url")
    assert "pdm add demo==1.0" in code(page)
    assert "Latest version: 2.0" in page.text


def test_the_line_of_a_yanked_version_is_pinned_as_installers_require(browser_of, owner, project, release):
    releases.yank_version(release, project, by=SHELL)

    assert code(browser_of(owner).get(address(release)))[0].startswith("pip install demo==1.0 --index-url")


def test_the_line_is_pinned_if_another_project_of_the_group_has_a_later_version(browser_of, owner, group, release):
    other = factories.project("other", parent=group)
    factories.published(other, build_wheel("demo", "2.0rc1"))
    browser = browser_of(owner)
    before = code(browser.get(address(release)))[0]
    factories.published(other, build_wheel("Demo", "1.0.1"))

    assert before.startswith("pip install demo --index-url")
    assert code(browser.get(address(release)))[0].startswith("pip install demo==1.0 --index-url")


def test_a_project_without_a_group_offers_its_own_index(browser_of, owner):
    own = factories.project("own", parent=namespaces.by_path(owner.username, UserNamespace))
    package = package_of(factories.published(own, build_wheel()))

    page = browser_of(owner).get(f"/{own.full_path}/-/packages/{package.id}")

    assert f"/api/v4/projects/{own.id}/packages/pypi/simple" in code(page)[0]
    assert code(page, "from-project") == []


@pytest.mark.parametrize("opened", ["public project", "anyone may pull"])
def test_where_anyone_may_pull_the_lines_have_no_credentials(browser, browser_of, owner, opened):
    visibility = Visibility.PUBLIC if opened == "public project" else Visibility.PRIVATE
    registry_access = RegistryAccess.ENABLED if opened == "public project" else RegistryAccess.PUBLIC
    group = factories.group("wide", owner=owner, visibility=visibility)
    project = factories.project("tools", parent=group, visibility=visibility, registry_access=registry_access)
    package = package_of(factories.published(project, build_wheel()))

    page = browser_of(owner).get(f"/wide/tools/-/packages/{package.id}")

    own_index = f"http://localhost/api/v4/projects/{project.id}/packages/pypi/simple"
    assert code(page, "from-project") == [f"pip install demo --index-url {own_index}"]
    assert ("REGISTRY_TOKEN" in page.text) is (opened == "anyone may pull")
    if opened == "public project":
        index = f"http://localhost/api/v4/groups/{group.id}/-/packages/pypi/simple"
        assert code(page)[0] == f"pip install demo --index-url {index}"
        assert browser.get(f"/wide/tools/-/packages/{package.id}").status_code == 200


def test_a_quarantined_package_offers_no_install_line_and_no_links(browser_of, owner, project):
    built = build_wheel(
        headers=["Project-URL: Homepage, https://example.com/"],
        description="[Fetch it](https://example.com/fetch)", description_content_type="text/markdown",
    )  # fmt: skip
    package = package_of(factories.published(project, built))
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, by=SHELL)

    page = browser_of(owner).get(address(package))

    assert code(page) == []
    assert "None of its versions can be installed" in page.text
    assert "The README is not shown while the package is quarantined." in page.text
    assert not [
        link for link in page.links if "example.com" in link or ("/package_files/" in link and "download" in link)
    ]


def test_a_package_page_shows_what_its_metadata_say(browser_of, owner, project):
    headers = [
        "Project-URL: Bug Tracker, https://example.com/bugs", "Project-URL: Trap, javascript:alert(1)",
        "Author-email: Ada Lovelace <ada@example.com>", "Maintainer: The Team", "License: MIT",
        "Classifier: Topic :: Scientific/Engineering", "Provides-Extra: plot", "Keywords: signals,tables",
    ]  # fmt: skip
    package = package_of(factories.published(
        project, build_wheel(headers=headers), by=factories.by_job(project, owner), required_python=">=3.9",
        summary="Short",
    ))  # fmt: skip

    page = browser_of(owner).get(address(package))

    assert {"https://example.com/bugs", "mailto:ada@example.com"} <= set(page.links)
    assert "javascript:alert(1)" not in page.html
    about = " ".join(" ".join(page.by_class("about")[0].itertext()).split())
    for text in (
        "Bug Tracker", "Ada Lovelace", "Maintainers The Team", "License MIT", "Topic Scientific/Engineering",
        "Extras plot", "Keywords signals tables", "Requires Python >=3.9", "Built by job publish",
    ):  # fmt: skip
        assert text in about
    assert words(page.by_class("summary")[0]) == "Short"


def test_dependencies_are_linked_where_the_index_has_them(browser_of, owner, group, project):
    other = factories.project("other", parent=group)
    factories.published(other, build_wheel("Here.Too", headers=["Requires-Dist: demo<2"]))
    headers = ["Provides-Extra: plot", "Requires-Dist: here-too>=1", 'Requires-Dist: missing; extra == "plot"']
    package = package_of(factories.published(project, build_wheel(headers=headers)))
    browser, tab = browser_of(owner), f"{address(package)}?tab=dependencies"

    forwarded = browser.get(tab)
    forwarding.change_forwarding(group, value=False, by=SHELL)
    closed = browser.get(tab)
    with transaction():
        db.session.execute(update(Package).values(requirements_sha256=None))
        db.session.execute(delete(PackageRequirement))
    unread = browser.get(tab)

    here = f"/{other.full_path}/-/packages/names/here-too"
    assert here in forwarded.links
    listed = [[words(row) for row in part.iter("li")] for part in forwarded.by_class("dependencies")]
    assert listed == [["here-too >=1"], ["missing Public index"], ["Here.Too 1.0 <2 in Acme / Other"]]
    assert "With the extra plot" in forwarded.text
    assert words(closed.by_class("dependencies")[1]) == "missing Missing"
    assert here in unread.links
    assert "still being read" in unread.text
    assert "still being read" not in closed.text


def test_dependencies_that_are_never_forwarded_do_not_come_from_the_public_index(browser_of, group, project):
    headers = [f"Requires-Dist: {name}" for name in ("gone", "held", "blocked", "inner-tool", "open")]
    package = package_of(factories.published(project, build_wheel(headers=headers)))
    gone = package_of(factories.published(project, build_wheel("gone")))
    deletion.delete_package(gone, project, by=SHELL)
    factories.published(factories.project("other", parent=group), build_wheel("held"))
    cascade.BLOCKED.change(group, value=["blocked"], by=SHELL)
    cascade.RESERVED.change(group, value=["inner-*"], by=SHELL)
    reader = factories.member(project, Role.REPORTER)

    page = browser_of(reader).get(f"{address(package)}?tab=dependencies")

    assert [words(row) for row in page.by_class("dependencies")[0].iter("li")] == [
        "gone Missing", "held Missing", "blocked Missing", "inner-tool Missing", "open Public index",
    ]  # fmt: skip


def test_dependencies_do_not_reveal_private_names(browser):
    group = factories.group(visibility=Visibility.PUBLIC)
    project = factories.project(parent=group, visibility=Visibility.PUBLIC)
    hidden = factories.project(parent=group)
    headers = ["Requires-Dist: secret", "Requires-Dist: none"]
    package = package_of(factories.published(project, build_wheel(headers=headers)))
    tab = address(package, f"/{project.full_path}/-/packages") + "?tab=dependencies"

    def shown():
        return [words(part) for part in browser.get(tab).by_class("tab-content")]

    before = shown()
    factories.published(hidden, build_wheel("secret", headers=["Requires-Dist: demo"]))

    assert "secret Public index" in before[0]
    assert shown() == before


def test_the_tab_of_dependencies_takes_as_many_statements_for_few_as_for_many(
    browser_of, owner, group, project, statements
):
    other = factories.project("other", parent=group)
    browser = browser_of(owner)

    def cost(number):
        headers = [f"Requires-Dist: needed{n}" for n in range(number)]
        package = package_of(factories.published(project, build_wheel(version=f"{number}", headers=headers)))
        for n in range(number):
            factories.published(other, build_wheel(f"needed{n}", f"{number}", headers=["Requires-Dist: demo"]))
        browser.get(f"{address(package)}?tab=dependencies")
        del statements[:]
        assert browser.get(f"{address(package)}?tab=dependencies").text.count("needed0") == 2
        return len(statements)

    assert cost(5) == cost(1)


def test_downloads_of_ninety_days_are_a_line(browser_of, owner, release):
    file = db.session.scalars(lists.package_files(release)).first()
    page = browser_of(owner).get(address(release))
    assert not page.tree.findall(".//{*}polyline")
    for days, number in ((0, 2), (89, 4), (90, 8)):
        db.session.add(FileDownloads(file_id=file.id, day=utcnow().date() - timedelta(days=days), count=number))
    factories.commit()

    page = browser_of(owner).get(address(release))

    (line,) = page.tree.findall(".//{*}polyline")
    points = line.get("points").split()
    assert (len(points), points[0], points[-1]) == (90, "2.0,2.0", "238.0,24.0")
    assert "6 downloads in the last 90 days" in page.html
    assert "2 in 30 days, 14 in total" in page.text


def test_an_imported_package_shows_who_published_it_originally(browser_of, owner, project):
    file = factories.published(project, build_wheel())
    pipelines = factories.imported_pipeline(), factories.imported_pipeline(id=122, year=2020)
    file.imported_pipelines = [pipeline.as_json() for pipeline in pipelines]
    factories.commit()

    page = browser_of(owner).get(address(package_of(file)))

    for number in (122, 123):
        assert f"Imported; built by pipeline #{number} on main, started" in page.text
    assert "by Ada Lovelace" in page.text
    listed = browser_of(owner).get(VERSIONS).text
    assert "main · #123" in listed
    assert "Published by Ada Lovelace" in listed


def test_assets_are_shown_with_size_and_digests(browser_of, owner, project, release):
    file = db.session.scalars(lists.package_files(release)).first()

    page = browser_of(owner).get(address(release))

    assert all(digest in page.text for digest in (file.sha256, file.md5, file.blake2b_256))
    assert f"/acme/tools/-/package_files/{file.id}/download" in page.links
    assert "Files 2" in page.text


@pytest.mark.parametrize(("role", "shown"), [(Role.DEVELOPER, True), (Role.REPORTER, False)])
def test_remarks_on_an_asset_are_shown_to_users_who_can_publish(browser_of, project, role, shown):
    hostile = "<script>alert(1)</script>"
    file = factories.published(project, build_wheel(headers=[f"Provides-Extra: {hostile}"]))
    package = db.session.get_one(Package, file.package_id)

    page = browser_of(factories.member(project, role)).get(address(package))

    assert ("Remarks (1)" in page.text) is shown
    assert (f"Provides-Extra: {hostile}. Expected: the name of an extra" in page.text) is shown
    assert page.status_code == 200


def test_an_asset_is_downloaded_with_the_session(browser_of, owner, project, release):
    built = build_wheel()
    file = db.session.scalars(lists.package_files(release).where(PackageFile.filename == built.filename)).one()
    browser = browser_of(owner)

    answer = browser.get(f"/acme/tools/-/package_files/{file.id}/download")
    downloaded = browser.client.get(answer.location)

    assert downloaded.data == built.content


@pytest.mark.parametrize("which", ["unknown", "another project's", "deleted"])
def test_an_unknown_asset_is_not_found(browser_of, owner, project, release, which):
    file_id = 4711
    if which == "another project's":
        file_id = factories.published(factories.project(), build_wheel()).id
    elif which == "deleted":
        deletion.delete_package(release, project, by=SHELL)
        file_id = db.session.scalars(db.select(PackageFile.id)).first()

    assert browser_of(owner).get(f"/acme/tools/-/package_files/{file_id}/download").status_code == 404


def test_versions_are_listed_newest_first_with_their_marks(browser_of, owner, project, release):
    for version in ("1.10", "1.9", "2.0rc1"):
        factories.published(project, build_wheel("demo", version), by=factories.signed_in(owner))
    releases.yank_version(release, project, by=SHELL)
    browser = browser_of(owner)

    detail, tab = browser.get(address(release)), browser.get(f"{address(release)}?tab=versions")

    listed = [words(row[0]) for row in tab.tree.find(".//tbody")]
    assert "Versions 4" in detail.text
    assert listed == ["2.0rc1 Pre-release", "1.10 Latest", "1.9", "1.0 Yanked"]
    choices = [words(option) for option in detail.tree.iter("option")]
    assert choices == ["2.0rc1 · pre-release", "1.10 · latest", "1.9", "1.0"]


def test_activity_shows_what_was_done_with_a_name_and_by_whom(browser_of, owner, project, release):
    gone = package_of(factories.published(project, build_wheel("demo", "2.0"), by=factories.signed_in(owner)))
    factories.published(project, build_wheel("demo-other"), by=factories.signed_in(owner))
    releases.yank_version(release, project, "Broken", by=factories.signed_in(owner))
    deletion.delete_package(gone, project, by=factories.signed_in(owner))
    releases.set_name_status(project, "demo", NameStatus.DEPRECATED, by=factories.signed_in(owner))
    reporter = factories.member(project, Role.REPORTER)

    page = browser_of(reporter).get(f"{address(release)}?tab=activity")

    shown = [[words(cell) for cell in row][1:] for row in page.tree.findall(".//tbody/tr")]
    assert [target for _, target, _ in shown] == [
        "demo", "demo 2.0", "demo 1.0 Reason: Broken", "demo-2.0-py3-none-any.whl", "demo-1.0-py3-none-any.whl",
        "demo-1.0.tar.gz",
    ]  # fmt: skip
    assert {author for _, _, author in shown} == {owner.username}
    assert {link.get("href") for link in page.tree.findall(".//tbody//a")} == {f"/{owner.username}"}
    assert len({action for action, _, _ in shown}) == 4


def test_the_page_of_a_name_shows_its_latest_version(browser_of, owner, project, release):
    for version in ("1.10", "1.9", "2.0rc1"):
        factories.published(project, build_wheel("demo", version), by=factories.signed_in(owner))

    page = browser_of(owner).get(f"{LIST}/names/demo")

    assert page.status_code == 200
    assert page.title.startswith("demo 1.10 ")


def test_the_page_of_a_name_leads_to_a_version(browser_of, owner, release):
    page = browser_of(owner).get(f"{LIST}/names/demo?version=1.0")

    assert (page.status_code, page.location) == (302, address(release))


@pytest.mark.parametrize(("spelled", "query"), [("Demo", ""), ("DEMO", "?tab=versions"), ("demo", "?version=9")])
def test_other_spellings_lead_to_the_page_of_the_name(browser_of, owner, release, spelled, query):
    page = browser_of(owner).get(f"{LIST}/names/{spelled}{query}")

    if spelled == "demo":
        assert page.status_code == 200
    else:
        assert (page.status_code, page.location) == (301, f"{LIST}/names/demo{query}")


@pytest.mark.parametrize("name", ["other", "-", "%00", "..%5C", "demo%2Fx"])
def test_a_name_without_packages_has_no_page(browser_of, owner, release, name):
    browser = browser_of(owner)

    statuses = [browser.get(f"{LIST}/names/{name}{end}").status_code for end in ("", ".atom", "/badge.svg")]

    assert statuses == [404] * 3


@pytest.mark.parametrize("which", ["unknown", "another project's", "deleted"])
def test_a_package_without_a_page_cannot_be_loaded(browser_of, owner, project, release, which):
    package_id = release.id
    if which == "unknown":
        package_id = 4711
    elif which == "another project's":
        package_id = factories.published(factories.project(), build_wheel()).package_id
    else:
        deletion.delete_package(release, project, by=SHELL)

    page = browser_of(owner).get(f"{LIST}/{package_id}")

    assert page.status_code == 404
    assert "Unable to load package" in page.title
    assert "Package registry" in page.text


def test_a_package_is_shown_in_its_group_too(browser_of, owner, release):
    page = browser_of(owner).get(address(release, GROUP_LIST))

    assert page.status_code == 200
    assert "Acme / Tools" in page.text
    assert f"{address(release, GROUP_LIST)}?tab=versions" in page.links


def test_a_package_of_another_group_is_not_shown_in_this_one(browser_of, owner, group):
    foreign = factories.published(factories.project("x", visibility=Visibility.PUBLIC), build_wheel())

    assert browser_of(owner).get(f"{GROUP_LIST}/{foreign.package_id}").status_code == 404


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_metadata_is_shown_as_text(browser_of, owner, project, hostile):
    fields = dict.fromkeys(("summary", "keywords", "author_email", "required_python"), hostile)
    package = package_of(factories.published(project, build_wheel(), **fields))

    page = browser_of(owner).get(address(package))

    assert page.text.count(" ".join(hostile.split())) >= 4
    assert {image.get("src", "").partition("?")[0] for image in page.tree.iter("img")} == {"/static/logo.svg"}
    assert all(script.get("src", "").startswith("/static/") for script in page.tree.iter("script"))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_of_people_are_shown_as_text(browser_of, owner, project, hostile):
    author = factories.member(project, Role.DEVELOPER)
    author.name = hostile
    db.session.commit()
    factories.published(project, build_wheel(), by=factories.signed_in(author))

    page = browser_of(owner).get(LIST)

    assert page.text.count(" ".join(hostile.split())) == 1


def test_a_package_of_many_files_costs_no_more_statements(browser_of, owner, project, release, statements):
    browser = browser_of(owner)
    few = cost(browser, address(release), statements)
    for number in range(30):
        factories.published(project, build_wheel(tag=f"py3-none-manylinux_2_{number}_x86_64"))
    for number in range(30):
        factories.published(project, build_wheel("demo", f"2.{number}"))

    page = browser.get(address(release))

    assert cost(browser, address(release), statements) == few
    assert len(page.tree.findall(".//tbody/tr")) == 20
    assert "Page 1 of 2" in page.text


@pytest.fixture
def empty_project(group):
    return factories.project("empty", parent=group)


@each("path", [LIST, GROUP_LIST, "package", "versions", "question", "files", "empty"])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_page_is_whole_in_both_languages(browser_of, owner, empty_project, release, path, language):
    file = db.session.scalars(lists.package_files(release)).first()
    paths = {
        "package": address(release),
        "versions": f"{address(release)}?tab=versions",
        "question": f"{DELETE}?id={release.id}",
        "files": f"{address(release)}/package_files/delete?id={file.id}",
        "empty": "/acme/empty/-/packages",
    }

    page = browser_of(owner).get(paths.get(path, path), headers={"Accept-Language": language})

    assert page.status_code == 200
    assert page.tree.get("lang") == language
    assert ("パッケージ" in page.text) is (language == "ja")


def test_times_can_be_read_exactly(browser_of, owner, project):
    factories.published(project, build_wheel(), now=utcnow() - timedelta(hours=3))

    page = browser_of(owner).get(LIST)

    assert "3 hours ago" in page.text
    assert any((time.get("title") or "").endswith("UTC") for time in page.tree.iter("time"))


def test_links_of_the_index_and_of_the_page_lead_to_the_same_file(browser_of, pip, owner, project, release):
    token = factories.access_token(owner, "read_api")
    file = db.session.scalars(lists.package_files(release)).first()

    location = browser_of(owner).get(f"/acme/tools/-/package_files/{file.id}/download").location
    index = pip.simple_page(project, "demo", token).text

    assert any(link.href.partition("#")[0].endswith(location) for link in links(index))
