"""Settings › Packages and registries of groups and projects, and Settings › CI/CD of projects."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from registry.domain import cascade, forwarding, instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import jobs
from registry.domain.packages import protection
from registry.domain.settings import Section
from registry.domain.upstream import exceptions
from registry.models import Group, JobStatus, Project, RegistryAccess, Role, UpstreamMode, Visibility
from tests import factories
from tests.builders import build_wheel

GROUP = "/groups/acme/-/settings/packages_and_registries"
PROJECT = "/acme/tools/-/settings/packages_and_registries"
RULES = f"{PROJECT}/protection_rules"
CI_CD = "/acme/tools/-/settings/ci_cd"
FORWARDING, LOCK = cascade.FORWARDING.name, cascade.FORWARDING.lock_name
HOSTILE = '"><img src=x onerror=alert(1)>'


def boxes(page, setting=None):
    """The check boxes by name, of one cascading setting or all: checked, and whether they can be changed."""
    return {
        box.get("name"): (box.get("checked") is not None, box.get("disabled") is None)
        for box in page.tree.iter("input")
        if box.get("type") == "checkbox" and (setting is None or box.get("name") in (setting.name, setting.lock_name))
    }


def state(page, setting=cascade.FORWARDING):
    found = page.by_class("state")[cascade.SETTINGS.index(setting)]
    return " ".join("".join(found.itertext()).split())


def test_a_group_shows_the_effective_value_and_its_source(browser_of, owner, group):
    page = browser_of(owner).get(GROUP)

    assert page.status_code == 200
    assert boxes(page, cascade.FORWARDING) == {FORWARDING: (True, True), LOCK: (False, True)}
    assert "Forward PyPI package requests" in page.text
    assert "Enforce PyPI setting for all subgroups" in page.text
    assert state(page) == "Requests are forwarded."
    assert "Without a note, a setting is inherited from the instance settings." in page.text
    assert 'id="packages-forwarding-settings"' in page.html


def test_an_owner_switches_forwarding_off(browser_of, owner, group, pip, project):
    token = factories.access_token(owner)
    browser = browser_of(owner)
    before = pip.simple_page(project, "unknown", token)

    answer = browser.submit(GROUP, {FORWARDING: None})
    after = browser.get(answer.location)

    assert (answer.status_code, answer.location) == (303, GROUP)
    assert after.flashes == ["Settings saved successfully."]
    assert state(after) == "Requests are not forwarded. Set in this group."
    assert before.status_code == 302
    assert pip.simple_page(project, "unknown", token).status_code == 404


def test_saving_untouched_boxes_leaves_a_group_inheriting(browser_of, owner, group):
    browser_of(owner).submit(GROUP)

    assert forwarding.of_group(group).value is None


def test_enforcing_keeps_the_current_value(browser_of, owner, group):
    browser_of(owner).submit(GROUP, {LOCK: "y"})

    standing = forwarding.of_group(group)
    assert (standing.value, standing.lock) == (True, True)


def test_a_group_returns_to_inheriting(browser_of, owner, group):
    forwarding.change_forwarding(group, value=False, lock=True, by=SHELL)
    browser = browser_of(owner)

    page = browser.get(GROUP)
    answer = browser.submit(GROUP, action=f"{GROUP}/inherit")

    assert "Uses the setting of the instance: requests are forwarded." in page.text
    assert browser.get(answer.location).flashes == ["Settings saved successfully."]
    assert (forwarding.of_group(group).value, forwarding.of_group(group).lock) == (None, False)


def test_a_subgroup_names_the_group_it_inherits_from(browser_of, owner, group):
    factories.group("inner", parent=group)
    forwarding.change_forwarding(group, value=False, by=SHELL)

    page = browser_of(owner).get("/groups/acme/inner/-/settings/packages_and_registries")

    assert state(page) == "Requests are not forwarded. Inherited from the group Acme."
    assert "/acme" in page.links


def test_a_locked_setting_cannot_be_changed_and_names_who_locks_it(browser_of, owner, group):
    inner = factories.group("inner", parent=group)
    forwarding.change_forwarding(group, value=False, lock=True, by=SHELL)
    path = "/groups/acme/inner/-/settings/packages_and_registries"
    browser = browser_of(owner)

    page = browser.get(path)
    forced = browser.post(path, {FORWARDING: "y"})

    assert boxes(page, cascade.FORWARDING) == {FORWARDING: (False, False), LOCK: (False, False)}
    assert "The group Acme enforces this setting for all its subgroups" in state(page)
    assert page.text.count("Save changes") == len(cascade.SETTINGS) - 1, "of the other settings"
    assert forced.status_code == 422
    assert forced.errors == {FORWARDING: "A parent group or the instance enforces this setting."}
    assert forwarding.of_group(inner).value is None


def test_a_lock_of_the_instance_is_shown(browser_of, owner, group):
    instance.change_instance(
        instance.InstanceChanges(pypi_package_requests_forwarding=False, lock_pypi_package_requests_forwarding=True),
        by=SHELL,
    )

    page = browser_of(owner).get(GROUP)

    assert "An administrator enforces this setting for the whole instance" in state(page)
    assert boxes(page)[FORWARDING] == (False, False)


def test_an_owner_lets_job_token_allowlists_count_and_the_project_shows_it(browser_of, owner, group, project):
    setting, browser = cascade.JOB_ALLOWLISTS, browser_of(owner)
    path = f"{GROUP}/job_token_allowlists"
    before, shown_before = browser.get(GROUP), browser.get(CI_CD).text

    browser.submit(GROUP, {setting.name: "y", setting.lock_name: "y"}, action=path)
    after, shown_after = browser.get(GROUP), browser.get(CI_CD).text
    browser.submit(GROUP, action=f"{path}/inherit")

    assert boxes(before, setting) == {setting.name: (False, True), setting.lock_name: (False, True)}
    assert boxes(after, setting) == {setting.name: (True, True), setting.lock_name: (True, True)}
    assert state(after, setting) == "Allowlists are enforced on group endpoints. Set in this group."
    assert "Through group indexes, jobs can read the same packages as their users" in shown_before
    assert "This also applies to packages that jobs read through group indexes." in shown_after
    assert setting.of_group(group).value is None
    assert forwarding.of_group(group).value is None


@pytest.mark.parametrize(
    ("role", "status"), [(None, 404), (Role.DEVELOPER, 403), (Role.MAINTAINER, 403), (Role.OWNER, 200)]
)
def test_package_settings_of_a_group_are_the_owners(browser_of, group, role, status):
    browser = browser_of(factories.user() if role is None else factories.member(group, role))

    shown = browser.get(GROUP)
    answers = [browser.post(GROUP, {}), browser.post(f"{GROUP}/inherit")]

    assert shown.status_code == status
    assert {answer.status_code for answer in answers} == {303 if status == 200 else status}
    assert (forwarding.of_group(group).value is False) is False


def test_an_owner_blocks_packages_of_the_public_index(browser_of, owner, group, pip, project):
    setting, browser = cascade.BLOCKED, browser_of(owner)
    inner = factories.group("inner", parent=group)
    path = f"{GROUP}/public_index/{setting.name}"
    token = factories.access_token(owner)
    before = pip.simple_page(project, "torchvision", token)

    refused = browser.submit(GROUP, {setting.name: "torch*\nno name"}, action=path)
    saved = browser.submit(GROUP, {setting.name: "torch*\r\n\r\n demo==1.0 "}, action=path)
    page = browser.get(GROUP)
    below = browser.get("/groups/acme/inner/-/settings/packages_and_registries")

    assert (refused.status_code, refused.errors) == (
        422, {setting.name: "'no name' is not a pattern. Enter name, name*, or name==version."},
    )  # fmt: skip
    assert saved.status_code == 303
    assert state(page, setting) == "torch*, demo==1.0 This group adds entries of its own."
    assert state(below, setting) == "torch*, demo==1.0 Inherited from the group Acme."
    assert before.status_code == 302
    assert pip.simple_page(project, "torchvision", token).status_code == 403

    browser.submit(GROUP, {}, action=f"{path}/inherit")
    assert setting.of_group(inner).effective == []


def test_an_owner_withholds_vulnerable_versions_and_offers_malicious_ones(browser_of, owner, group):
    browser, (score, malicious) = browser_of(owner), (cascade.WITHHOLD_CVSS_SCORE, cascade.WITHHOLD_MALICIOUS)
    cascade.UPSTREAM_MODE.change(group, value=UpstreamMode.CACHE, by=SHELL)

    refused = browser.submit(GROUP, {score.name: "11"}, action=f"{GROUP}/public_index/{score.name}")
    browser.submit(GROUP, {score.name: "7.5"}, action=f"{GROUP}/public_index/{score.name}")
    browser.submit(GROUP, {malicious.name: None}, action=f"{GROUP}/public_index/{malicious.name}")
    page = browser.get(GROUP)

    assert (refused.status_code, refused.errors) == (422, {score.name: "Enter a number from 0.0 to 10.0."})
    assert state(page, score) == "Versions with a CVSS score above 7.5 are withheld. Set in this group."
    assert state(page, malicious) == "Malicious versions are offered. Set in this group."
    assert (score.of_group(group).effective, malicious.of_group(group).effective) == (7.5, False)

    browser.submit(GROUP, {score.name: ""}, action=f"{GROUP}/public_index/{score.name}")
    assert score.of_group(group).value is None


def test_rules_about_files_are_shown_as_without_effect_while_requests_are_redirected(browser_of, owner, group):
    def shown() -> dict[str, bool]:
        page = browser_of(owner).get(GROUP)
        return {rule.name: "not affected" in state(page, rule) for rule in (cascade.MINIMUM_AGE, cascade.BLOCKED)}

    cascade.MINIMUM_AGE.change(group, value=7, by=SHELL)
    redirected = shown()
    cascade.FORWARDING.change(group, value=False, by=SHELL)
    off = shown()
    cascade.FORWARDING.change(group, value=True, by=SHELL)
    cascade.UPSTREAM_MODE.change(group, value=UpstreamMode.CACHE, by=SHELL)

    assert redirected == {cascade.MINIMUM_AGE.name: True, cascade.BLOCKED.name: False}
    assert set(off.values()) == set(shown().values()) == {False}


@pytest.mark.parametrize(
    ("setting", "sent", "value", "shown"),
    [
        (cascade.UPSTREAM_MODE, "cache", "cache", "Fetch from the public index, and keep the files here"),
        (cascade.MINIMUM_AGE, "7", 7, "Files are offered 7 days after their upload."),
        (cascade.FIXED_DATE, "2026-01-01T00:00", datetime(2026, 1, 1, tzinfo=UTC), "Only files from before"),
    ],
    ids=["mode", "age", "date"],
)
def test_an_owner_changes_a_rule_and_inherits_again(browser_of, owner, group, setting, sent, value, shown):
    browser, path = browser_of(owner), f"{GROUP}/public_index/{setting.name}"

    unchanged = browser.submit(GROUP, {}, action=path)
    inherits = setting.of_group(group).value
    saved = browser.submit(GROUP, {setting.name: sent}, action=path)
    page = browser.get(GROUP)

    assert (unchanged.status_code, inherits) == (303, None)
    assert saved.status_code == 303
    assert setting.of_group(group).value == value
    assert state(page, setting).startswith(shown)
    browser.submit(GROUP, {}, action=f"{path}/inherit")
    assert setting.of_group(group).value is None


def test_an_owner_adds_and_removes_an_exception(browser_of, owner, group):
    browser, path = browser_of(owner), f"{GROUP}/upstream_exceptions"

    refused = browser.submit(GROUP, {"pattern": "a>1", "reason": "x", "expires_on": "2020-01-01"}, action=path)
    added = browser.submit(GROUP, {"pattern": "numpy", "reason": HOSTILE, "expires_on": "2126-01-01"}, action=path)
    (exception,) = exceptions.exceptions_of(group)
    page = browser.get(GROUP)

    assert refused.status_code == 422
    assert refused.errors == {
        "pattern": "'a>1' is not a pattern. Enter name, name*, or name==version.",
        "expires_on": "Choose a date in the future.",
    }
    assert added.status_code == 303
    assert HOSTILE in page.text
    assert owner.name in page.text
    assert "Jan 1, 2126" in page.text
    assert "12:00:00" not in page.text
    browser.submit(GROUP, {}, action=f"{path}/{exception.id}/delete")
    assert exceptions.exceptions_of(group) == []


def test_a_form_without_the_token_changes_nothing(browser_of, owner, group, project):
    browser = browser_of(owner)
    rule = protection.add_protection_rule(project, pattern="a*", push=Role.OWNER, delete=None, by=SHELL)

    for path in (
        GROUP, f"{GROUP}/inherit", f"{GROUP}/job_token_allowlists", f"{GROUP}/job_token_allowlists/inherit",
        f"{GROUP}/upstream_exceptions",
        f"{GROUP}/public_index/{cascade.BLOCKED.name}", f"{GROUP}/public_index/{cascade.BLOCKED.name}/inherit",
        f"{PROJECT}/access", f"{PROJECT}/duplicates", f"{PROJECT}/remarks", RULES,
        f"{RULES}/{rule.id}", f"{RULES}/{rule.id}/delete", f"{CI_CD}/job_token_permissions", f"{CI_CD}/allowlist",
    ):  # fmt: skip
        assert browser.open(path, method="POST", data={"registry_access": "disabled"}).status_code == 400

    factories.reload(project)
    assert forwarding.of_group(group).value is None
    assert project.registry_access is RegistryAccess.ENABLED
    assert len(protection.protection_rules(project)) == 1


@pytest.mark.parametrize("page", [PROJECT, CI_CD])
@pytest.mark.parametrize(("role", "status"), [(None, 404), (Role.DEVELOPER, 403), (Role.MAINTAINER, 200)])
def test_settings_of_a_project_are_the_maintainers(browser_of, project, page, role, status):
    browser = browser_of(factories.user() if role is None else factories.member(project, role))

    assert browser.get(page).status_code == status


@pytest.mark.parametrize(
    ("sent", "registry_access"),
    [
        ({"registry_access": "disabled"}, RegistryAccess.DISABLED),
        ({"registry_access": "private"}, RegistryAccess.PRIVATE),
        ({"registry_access": "enabled", "anyone_may_pull": "y"}, RegistryAccess.PUBLIC),
        ({"registry_access": "enabled"}, RegistryAccess.ENABLED),
    ],
)
def test_an_owner_decides_who_reaches_the_registry(browser_of, owner, project, sent, registry_access):
    answer = browser_of(owner).submit(PROJECT, sent, action=f"{PROJECT}/access")

    factories.reload(project)
    assert (answer.status_code, answer.location) == (303, PROJECT)
    assert project.registry_access is registry_access


def test_a_maintainer_does_not_decide_who_reaches_the_registry(browser_of, maintainer, project):
    browser = browser_of(maintainer)
    answer = browser.post(f"{PROJECT}/access", {"registry_access": "private"})

    assert "Package registry access" not in browser.get(PROJECT).text
    assert answer.status_code == 403


def test_anyone_may_pull_is_offered_only_where_the_instance_offers_it(browser_of, owner, project):
    browser = browser_of(owner)
    offered = browser.get(PROJECT)
    instance.change_instance(instance.InstanceChanges(package_registry_allow_anyone_to_pull_option=False), by=SHELL)

    assert "Allow anyone to pull from package registry" in offered.text
    assert "Allow anyone to pull from package registry" not in browser.get(PROJECT).text


@pytest.mark.parametrize("described", namespaces.PROJECT_SETTINGS, ids=lambda one: one.name)
def test_each_setting_of_a_project_is_on_its_page(browser_of, maintainer, project, described):
    is_about_ci = described.section is Section.TRUSTED_PUBLISHING
    page = browser_of(maintainer).get(f"/{project.full_path}/-/settings/ci_cd" if is_about_ci else PROJECT)

    assert described.name in boxes(page)
    assert described.label in page.text
    assert described.hint in page.text


@pytest.mark.parametrize(("form", "name"), [("duplicates", "identical_upload_accepted"), ("remarks", "strict_uploads")])
def test_a_maintainer_decides_which_uploads_are_accepted(browser_of, maintainer, project, form, name):
    browser = browser_of(maintainer)
    path = f"{PROJECT}/{form}"
    states = [boxes(browser.get(PROJECT))[name]]

    for sent in ("y", None):
        answer = browser.submit(PROJECT, {name: sent}, action=path)
        page = browser.get(answer.location)
        assert page.flashes == ["Settings saved successfully."]
        states.append(boxes(page)[name])

    assert states == [(False, True), (True, True), (False, True)]
    assert browser_of(factories.member(project, Role.DEVELOPER)).post(path).status_code == 403


def test_a_project_shows_how_unknown_names_are_answered(browser_of, owner, maintainer, group, project):
    forwarding.change_forwarding(group, value=False, by=SHELL)

    for_owner, for_maintainer = browser_of(owner).get(PROJECT), browser_of(maintainer).get(PROJECT)

    assert state(for_owner).startswith("Requests are not forwarded. Set in the group Acme.")
    assert f"{GROUP}#packages-forwarding-settings" in for_owner.links
    assert f"{GROUP}#packages-forwarding-settings" not in for_maintainer.links


def test_a_project_names_where_forwarding_is_decided(browser_of, owner, group, demo):
    inner = factories.group("inner", parent=group)
    below = factories.project("below", parent=inner)
    factories.published(below, build_wheel("other"))
    browser = browser_of(owner)

    def decided():
        pages = [
            browser.get(path).text
            for path in ("/acme/inner/below", "/acme/inner/below/-/settings/packages_and_registries")
        ]
        return [re.search(r"Set in (the instance settings|the group [^.]*)\.", text)[1] for text in pages]

    assert decided() == ["the instance settings"] * 2
    forwarding.change_forwarding(group, value=False, by=SHELL)
    assert decided() == ["the group Acme"] * 2
    forwarding.change_forwarding(inner, value=True, by=SHELL)
    assert decided() == ["the group Acme / Inner"] * 2
    forwarding.change_forwarding(group, lock=True, by=SHELL)
    assert decided() == ["the group Acme"] * 2


def test_a_rule_is_added_changed_and_deleted(browser_of, maintainer, project):
    browser = browser_of(maintainer)

    added = browser.submit(PROJECT, {"pattern": "core-*", "push": "40"}, action=RULES)
    listed = browser.get(PROJECT)
    (rule,) = protection.protection_rules(project)
    changed = browser.submit(f"{RULES}/{rule.id}", {"push": "", "delete": "60"})
    after = browser.get(PROJECT)
    deleted = browser.submit(PROJECT, action=f"{RULES}/{rule.id}/delete")

    assert added.location == changed.location == deleted.location == f"{PROJECT}#protected-packages"
    assert listed.flashes == ["Package protection rule created."]
    assert "core-* PyPI Maintainer Maintainer (default)" in listed.text
    assert "core-* PyPI Developer (default) Administrator" in after.text
    assert protection.protection_rules(project) == []


@pytest.mark.parametrize(
    ("sent", "field", "told"),
    [
        ({"pattern": "core-*"}, "push", "Choose a minimum role for publishing or for deleting."),
        ({"pattern": "a b", "push": "40"}, "pattern", "The name pattern must be a package name"),
        ({"pattern": HOSTILE, "push": "40"}, "pattern", "The name pattern must be a package name"),
        ({"pattern": "taken", "push": "40"}, "pattern", "A rule for this name pattern already exists."),
    ],
    ids=["no level", "no name", "hostile", "taken"],
)
def test_a_refused_rule_shows_why_and_keeps_its_values(browser_of, maintainer, project, sent, field, told):
    protection.add_protection_rule(project, pattern="taken", push=Role.OWNER, delete=None, by=SHELL)

    page = browser_of(maintainer).submit(PROJECT, sent, action=RULES)

    assert page.status_code == 422
    assert list(page.errors) == [field]
    assert told in page.errors[field]
    assert page.fields(RULES)["pattern"] == sent["pattern"]
    assert len(protection.protection_rules(project)) == 1


def test_a_rule_without_a_pattern_is_refused_beside_the_field(browser_of, maintainer, project):
    page = browser_of(maintainer).submit(PROJECT, {"pattern": "", "push": "40"}, action=RULES)

    assert (page.status_code, page.errors) == (422, {"pattern": "This field is required."})


@pytest.mark.parametrize("push", ["30", "99", "x"])
def test_a_level_that_is_not_offered_is_refused(browser_of, maintainer, project, push):
    page = browser_of(maintainer).submit(PROJECT, {"pattern": "a*", "push": push}, action=RULES)

    assert page.status_code == 422
    assert protection.protection_rules(project) == []


@pytest.mark.parametrize(("role", "status"), [(None, 404), (Role.DEVELOPER, 403), (Role.MAINTAINER, 303)])
def test_rules_are_the_maintainers(browser_of, project, role, status):
    rule = protection.add_protection_rule(project, pattern="a*", push=Role.OWNER, delete=None, by=SHELL)
    browser = browser_of(factories.user() if role is None else factories.member(project, role))
    sent = {"pattern": "b*", "package_type": "pypi", "push": "40", "delete": ""}

    answers = [browser.post(RULES, sent), browser.post(f"{RULES}/{rule.id}", sent | {"pattern": "c*"}),
               browser.post(f"{RULES}/{rule.id}/delete")]  # fmt: skip

    assert [answer.status_code for answer in answers] == [status] * 3


def test_a_rule_of_another_project_is_not_found(browser_of, maintainer, project):
    foreign = protection.add_protection_rule(factories.project(), pattern="a*", push=Role.OWNER, delete=None, by=SHELL)
    browser = browser_of(maintainer)

    assert browser.get(f"{RULES}/{foreign.id}").status_code == 404
    assert browser.post(f"{RULES}/{foreign.id}/delete").status_code == 404


def test_the_allowlist_is_switched_off_and_on(browser_of, maintainer, project):
    browser = browser_of(maintainer)
    path = f"{CI_CD}/job_token_permissions"

    browser.submit(CI_CD, {"enforced": ""}, action=path)
    factories.reload(project)
    open_to_all = project.job_allowlist_enforced
    browser.submit(CI_CD, {"enforced": "y"}, action=path)
    factories.reload(project)

    assert (open_to_all, project.job_allowlist_enforced) == (False, True)


def test_groups_and_projects_are_put_on_the_allowlist_and_taken_off(browser_of, owner, group, project):
    other = factories.project("other", parent=group)
    browser = browser_of(owner)
    path = f"{CI_CD}/allowlist"

    browser.submit(CI_CD, {"path": "acme/other"}, action=path)
    browser.submit(CI_CD, {"path": " ACME/ "}, action=path)
    listed = browser.get(CI_CD)
    removed = browser.submit(CI_CD, action=f"{path}/{other.id}/remove")

    assert "acme/other Project" in listed.text
    assert "acme Group" in listed.text
    assert removed.location == CI_CD
    assert namespaces.allowed_job_sources(project, Project) == []
    assert namespaces.allowed_job_sources(project, Group) == [group]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "This field is required."),
        ("nothing/there", "No group or project with this path exists, or you cannot see it."),
        ("secret/vault", "No group or project with this path exists, or you cannot see it."),
        ("olivia", "No group or project with this path exists, or you cannot see it."),
        (HOSTILE, "No group or project with this path exists, or you cannot see it."),
        ("acme/listed", "This is already on the allowlist."),
    ],
)
def test_a_refused_path_shows_why_and_stays(browser_of, owner, group, project, path, told):
    listed = factories.project("listed", parent=group)
    namespaces.allow_job_source(project, listed, by=SHELL)
    factories.project("vault", parent=factories.group("secret"))

    page = browser_of(owner).submit(CI_CD, {"path": path}, action=f"{CI_CD}/allowlist")

    assert (page.status_code, page.errors) == (422, {"path": told})
    assert page.fields(f"{CI_CD}/allowlist")["path"] == path


def test_an_entry_that_cannot_be_seen_is_not_named(browser_of, maintainer, project):
    hidden = factories.project("vault", parent=factories.group("secret"))
    namespaces.allow_job_source(project, hidden, by=SHELL)
    browser = browser_of(maintainer)

    page = browser.get(CI_CD)
    browser.submit(CI_CD, action=f"{CI_CD}/allowlist/{hidden.id}/remove")

    assert "A group or project that you cannot see" in page.text
    assert "vault" not in page.text
    assert "vault" not in browser.get(CI_CD).text


def test_a_running_job_is_listed_and_canceled(browser_of, maintainer, owner, project):
    job, _ = factories.job(project, owner)
    browser = browser_of(maintainer)

    page = browser.get(CI_CD)
    browser.submit(CI_CD, action=f"{CI_CD}/jobs/{job.id}/cancel")

    assert f"publish #{job.id} main" in page.text
    factories.reload(job)
    assert job.status is JobStatus.CANCELED
    assert "No job is running." in browser.get(CI_CD).text
    assert jobs.running_jobs(project, job.created_at) is not None


def test_a_longer_allowlist_costs_no_more_statements(browser_of, maintainer, owner, project, statements):
    browser = browser_of(maintainer)

    def cost():
        before = len(statements)
        assert browser.get(CI_CD).status_code == 200
        return len(statements) - before

    namespaces.allow_job_source(project, factories.project(), by=SHELL)
    factories.job(project, owner)
    few = cost()
    for _ in range(10):
        namespaces.allow_job_source(project, factories.project(), by=SHELL)
        namespaces.allow_job_source(project, factories.group(visibility=Visibility.PRIVATE), by=SHELL)
        factories.job(project, factories.user())

    assert cost() == few


@pytest.mark.parametrize("path", [GROUP, PROJECT, CI_CD, "rule"])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_page_is_whole_in_both_languages(browser_of, owner, project, path, language):
    rule = protection.add_protection_rule(project, pattern="a*", push=Role.OWNER, delete=None, by=SHELL)
    namespaces.allow_job_source(project, factories.project(), by=SHELL)
    factories.job(project, owner)

    page = browser_of(owner).get(
        f"{RULES}/{rule.id}" if path == "rule" else path, headers={"Accept-Language": language}
    )

    assert page.status_code == 200
    assert page.tree.get("lang") == language


def test_the_japanese_words_of_the_user_guide_are_used(browser_of, owner, group):
    page = browser_of(owner).get(GROUP, headers={"Accept-Language": "ja"})

    for words in ("設定", "パッケージとレジストリ", "パッケージ転送", "PyPIパッケージリクエストの転送"):
        assert words in page.text


def test_the_hints_of_a_group_are_true_of_groups(browser_of, owner, group):
    page = browser_of(owner).get(f"/groups/{group.full_path}/-/settings/packages_and_registries").text

    assert "One per line: name or name*." in page
    assert "@group" not in page
    assert "Groups can add entries" not in page
