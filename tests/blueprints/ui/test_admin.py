"""The area of administrators."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from registry.database import db, utcnow
from registry.domain import cascade, forwarding, instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.accounts.users import StateChange
from registry.domain.cascade import FORWARDING
from registry.domain.settings import Section
from registry.models import CreationLevel, InstanceSettings, Role, UserIdentity, UserState, Visibility
from tests import factories, setting_values
from tests.builders import build_wheel
from tests.tables import each

HOSTILE = '"><img src=x onerror=alert(1)>'
PAGES = [
    "/admin", "/admin/users", "/admin/users/new", "/admin/users/olivia", "/admin/users/olivia/edit", "/admin/groups",
    "/admin/projects", "/admin/application_settings/general", "/admin/application_settings/ci_cd", "/admin/audit_log",
]  # fmt: skip
CHANGES = [
    "/admin/users/new", "/admin/users/olivia/edit", "/admin/users/olivia/block", "/admin/users/olivia/deactivate",
    "/admin/users/olivia/reset_password", "/admin/users/olivia/delete", "/admin/application_settings/general",
    "/admin/application_settings/ci_cd", "/admin/plan_limits",
]  # fmt: skip
PLACES = {
    Section.VISIBILITY: ("/admin/application_settings/general", None),
    Section.ACCOUNTS: ("/admin/application_settings/general", None),
    Section.PACKAGE_REGISTRY: ("/admin/application_settings/ci_cd", None),
    Section.PUBLIC_INDEX: ("/admin/application_settings/ci_cd", "/admin/application_settings/public_index"),
    Section.TRUSTED_PUBLISHING: (
        "/admin/application_settings/ci_cd", "/admin/application_settings/trusted_publishing",
    ),
    Section.SIZE_LIMITS: ("/admin/application_settings/ci_cd", "/admin/plan_limits"),
}  # fmt: skip
NEW_USER = {"name": "Nina", "username": "nina", "email": "nina@example.com"}


def words(element):
    return " ".join("".join(element.itertext()).split())


def listed(page):
    """The rows of the first table of the page, as words."""
    return [words(row) for row in page.tree.findall(".//tbody/tr")]


def facts(page):
    """Terms and their values."""
    return {words(pair.find("dt")): words(pair.find("dd")) for pair in page.tree.findall(".//dl/div")}


def shown(page, field="issued-password"):
    return next((box.get("value") for box in page.tree.iter("input") if box.get("id") == field), None)


@pytest.fixture
def area(browser_of, admin):
    """The browser of an administrator."""
    return browser_of(admin)


@each("path", PAGES)
def test_the_area_is_for_administrators_only(browser, browser_of, area, owner, project, path):
    assert area.get(path).status_code == 200
    assert browser_of(owner).get(path).status_code == 403
    assert browser.get(path).location == f"/users/sign_in?next={path}"


@each("path", CHANGES)
def test_only_administrators_change_anything(browser_of, area, owner, path):
    answer = browser_of(owner).post(path, NEW_USER | {"pypi_max_file_size": "1"})

    factories.reload(owner)
    assert answer.status_code == 403
    assert (owner.name, owner.state) == ("Olivia", UserState.ACTIVE)
    assert InstanceSettings.current().pypi_package_requests_forwarding is True


@each("path", CHANGES)
def test_a_form_without_the_token_changes_nothing(area, owner, path):
    answer = area.open(path, method="POST", data=NEW_USER | {"pypi_max_file_size": "1"})

    factories.reload(owner)
    assert answer.status_code == 400
    assert (owner.name, owner.state) == ("Olivia", UserState.ACTIVE)
    assert InstanceSettings.current().pypi_max_file_size is None


@each("path", PAGES)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_page_is_whole_in_both_languages(area, owner, project, path, language):
    page = area.get(path, headers={"Accept-Language": language})

    assert page.status_code == 200
    assert page.tree.get("lang") == language
    assert ("管理者" in page.text) is (language == "ja")


def test_the_overview_counts_the_records_of_the_instance(area, owner, project):
    built = build_wheel()
    factories.published(project, built)

    page = area.get("/admin")

    told = facts(page)
    assert {"Users": "2", "Groups": "1", "Projects": "1", "Packages": "1", "Files": "1"}.items() <= told.items()
    assert told["Storage"] == f"{len(built.content)} bytes"
    assert (told["Registry"], told["Public index"]) == (
        version("private-pypi-registry"),
        "https://upstream.test/simple",
    )


@pytest.fixture
def users_of_each_kind(app):
    factories.user("external", is_external=True).second_factor_since = utcnow()
    db.session.commit()
    users.change_state(factories.user("blocked"), StateChange.BLOCK, by=SHELL)
    users.change_state(factories.user("sleeping"), StateChange.DEACTIVATE, by=SHELL)


@each(
    ("query", "names"),
    [
        ("", ["blocked", "external", "olivia", "root", "sleeping"]),
        ("filter=active", ["external", "olivia", "root"]),
        ("filter=admins", ["root"]),
        ("filter=external", ["external"]),
        ("filter=two_factor_enabled", ["external"]),
        ("filter=two_factor_disabled", ["blocked", "olivia", "root", "sleeping"]),
        ("filter=blocked", ["blocked"]),
        ("filter=deactivated", ["sleeping"]),
        ("search=LIVI", ["olivia"]),
        ("search=olivia@ex", ["olivia"]),
        ("search=livi&filter=blocked", []),
        ("order_by=created_at", ["sleeping", "blocked", "external", "olivia", "root"]),
        ("filter=x&order_by=password_hash&page=0&search=%00", ["blocked", "external", "olivia", "root", "sleeping"]),
    ],
)
def test_users_are_searched_filtered_and_sorted(area, owner, users_of_each_kind, query, names):
    page = area.get(f"/admin/users?{query}")

    found = [row.partition("@")[2].partition(" ")[0] for row in listed(page)]
    assert found == names
    assert "Blocked 1" in page.text
    assert "2FA enabled 1" in page.text


@pytest.mark.parametrize("kind", ["groups", "projects"])
def test_groups_and_projects_are_listed_with_their_contents(area, owner, project, kind):
    factories.published(project, build_wheel())
    factories.project("hidden", parent=factories.group("secret"))

    everything, found = area.get(f"/admin/{kind}"), area.get(f"/admin/{kind}?search=too" if kind == "projects" else
                                                             f"/admin/{kind}?search=acm")  # fmt: skip

    assert any("secret" in row for row in listed(everything))
    assert len(listed(found)) == 1
    assert "acme" in listed(found)[0]
    link = "/groups/acme/-/delete" if kind == "groups" else "/acme/tools/-/delete"
    assert link in found.links


def test_the_audit_log_shows_authors_and_actions(area, browser_of, owner, project):
    browser_of(owner).submit("/acme/tools/-/settings/repository", {"name": HOSTILE, "scopes": "read_package_registry"},
                             action="/acme/tools/-/deploy_tokens")  # fmt: skip

    namespaces.change(project, namespaces.ProjectChanges(description="Hammers"), by=SHELL)
    page = area.get("/admin/audit_log?search=deploy_token")

    assert "Description: – → Hammers" in listed(area.get("/admin/audit_log?search=project_changed"))[0]
    assert len(listed(page)) == 1
    assert f"olivia Created a deploy token {HOSTILE}" in listed(page)[0]
    assert "127.0.0.1" in listed(page)[0]


def test_hostile_names_are_shown_as_text(area, owner, group):
    owner.name = owner.note = HOSTILE
    factories.commit()
    namespaces.change(group, namespaces.NamespaceChanges(name=HOSTILE), by=SHELL)

    for path in ("/admin", "/admin/users", "/admin/users/olivia", "/admin/users/olivia/edit", "/admin/groups",
                 f"/admin/users?search={HOSTILE}"):  # fmt: skip
        page = area.get(path)
        assert HOSTILE in page.text + " ".join(box.get("value", "") for box in page.tree.iter("input"))
        assert len(list(page.tree.iter("img"))) == 1


@pytest.mark.parametrize("path", ["/admin", "/admin/users", "/admin/groups", "/admin/projects", "/admin/audit_log"])
def test_a_larger_instance_costs_no_more_statements(area, owner, project, statements, path):
    def cost():
        before = len(statements)
        assert area.get(path).status_code == 200
        return len(statements) - before

    few = cost()
    for _ in range(8):
        factories.published(factories.project(parent=factories.group(owner=factories.user())), build_wheel())

    assert cost() == few


def test_a_user_is_created_with_a_generated_password_shown_once(area, browser):
    made = area.submit("/admin/users/new", NEW_USER)
    password = shown(made)

    nina = users.find_username("nina")
    assert made.status_code == 200
    assert made.flashes[0] == "User Nina was created."
    assert users.verify_password("nina", password) == nina
    assert nina.must_change_password
    assert password not in area.get("/admin/users/nina").html
    assert made.headers["Cache-Control"] == "no-store"


def test_a_user_is_created_with_a_chosen_password_and_rights(area):
    sent = NEW_USER | {
        "password": "a long password",
        "is_external": "y",
        "can_create_group": None,
        "projects_limit": "3",
    }

    answer = area.submit("/admin/users/new", sent)

    nina = users.find_username("nina")
    assert answer.location == "/admin/users/nina"
    assert users.verify_password("nina", "a long password") == nina
    assert (nina.is_admin, nina.is_external, nina.can_create_group, nina.projects_limit) == (False, True, False, 3)
    assert nina.must_change_password


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, {"name": "This field is required."}),
        ({"username": "a b"}, {"username": "Use letters, digits"}),
        ({"username": "admin"}, {"username": "admin is a reserved name."}),
        ({"email": "nowhere"}, {"email": "This is not valid."}),
        ({"password": "short"}, {"password": "Use at least 8 characters."}),
        ({"projects_limit": "-1"}, {"projects_limit": "Enter a whole number."}),
        ({"projects_limit": "many"}, {"projects_limit": "Enter a whole number."}),
    ],
    ids=lambda value: next(iter(value.items()))[-1] or "blank" if isinstance(value, dict) else "",
)
def test_a_refused_new_user_shows_why_and_keeps_the_values(area, change, told):
    page = area.submit("/admin/users/new", NEW_USER | change)

    ((name, sentence),) = told.items()
    assert page.status_code == 422
    assert page.errors[name].startswith(sentence)
    assert page.fields("/admin/users/new")["email"] == (NEW_USER | change)["email"]
    assert users.by_login("nina") is None


def test_a_taken_name_is_reported(area, owner):
    page = area.submit("/admin/users/new", NEW_USER | {"username": "OLIVIA"})

    assert page.errors == {"username": "This username is already taken."}


def test_a_user_is_edited(area, owner):
    answer = area.submit("/admin/users/olivia/edit", {"username": "liv", "is_admin": "y", "note": "left in May"})

    factories.reload(owner)
    assert answer.location == "/admin/users/liv"
    assert (owner.username, owner.is_admin, owner.note) == ("liv", True, "left in May")
    assert "left in May" in area.get("/admin/users/liv").text


def test_the_last_administrator_stays_one(area, admin):
    page = area.submit("/admin/users/root/edit", {"is_admin": None})

    factories.reload(admin)
    assert admin.is_admin
    assert page.errors["is_admin"] == "The last active administrator cannot be blocked, demoted, or deleted."


@pytest.mark.parametrize(
    ("before", "verb", "after"),
    [
        (UserState.ACTIVE, "block", UserState.BLOCKED),
        (UserState.BLOCKED, "unblock", UserState.ACTIVE),
        (UserState.ACTIVE, "deactivate", UserState.DEACTIVATED),
        (UserState.DEACTIVATED, "activate", UserState.ACTIVE),
    ],
)
def test_an_administrator_changes_the_state_of_a_user(area, rest, owner, before, verb, after):
    token = factories.access_token(owner)
    owner.state = before
    factories.commit()

    answer = area.submit("/admin/users/olivia", action=f"/admin/users/olivia/{verb}")

    factories.reload(owner)
    assert answer.location == "/admin/users/olivia"
    assert owner.state is after
    assert rest.get("/user", token).status_code == (200 if after is UserState.ACTIVE else 403)
    assert area.get(answer.location).flashes[0].startswith("User Olivia was ")


@pytest.mark.parametrize(("verb", "state"), [("unblock", UserState.ACTIVE), ("activate", UserState.BLOCKED)])
def test_an_action_that_does_not_fit_the_state_is_refused(area, owner, verb, state):
    owner.state = state
    factories.commit()

    area.post(f"/admin/users/olivia/{verb}")

    factories.reload(owner)
    assert owner.state is state
    assert area.get("/admin/users/olivia").flashes == ["This is not possible in the current state of the user."]


def test_the_last_administrator_cannot_lock_the_area(area, admin):
    told = []
    for verb in ("block", "delete"):
        area.post(f"/admin/users/root/{verb}")
        told += area.get("/admin/users/root").flashes

    assert told == ["The last active administrator cannot be blocked, demoted, or deleted."] * 2


def test_a_password_is_reset_and_shown_once(area, browser_of):
    olivia = factories.user("olivia", password="the old password")

    made = area.submit("/admin/users/olivia", action="/admin/users/olivia/reset_password")
    password = shown(made)

    factories.reload(olivia)
    assert users.verify_password("olivia", password) == olivia
    assert olivia.must_change_password
    assert password not in area.get("/admin/users/olivia").html


def test_a_user_is_deleted_after_a_confirmation_that_lists_the_effects(area, rest, owner, project):
    factories.project("own", parent=users.personal_namespace(owner))
    namespaces.add_member(project, owner, Role.OWNER, by=SHELL)
    other = factories.user("other")
    namespaces.add_member(namespaces.by_path("acme", type(project.parent)), other, Role.OWNER, by=SHELL)

    page, without_projects = area.get("/admin/users/olivia"), area.get("/admin/users/other")
    answer = area.submit("/admin/users/olivia", action="/admin/users/olivia/delete")

    assert "1 personal project with packages of 0 bytes is deleted, too." in page.text
    assert "0 personal projects" not in without_projects.text
    assert answer.location == "/admin/users"
    assert area.get(answer.location).flashes == ["User Olivia was deleted."]
    assert users.by_login("olivia") is None


def test_the_only_owner_of_a_group_is_not_deleted(area, owner, group):
    answer = area.submit("/admin/users/olivia", action="/admin/users/olivia/delete")

    assert area.get(answer.location).flashes == [
        "This user is the only owner of a group. Add another owner to the group first."
    ]
    assert users.by_login("olivia") == owner


def test_a_user_is_shown_with_roles_and_tokens(area, owner, group):
    factories.access_token(owner)
    db.session.add(UserIdentity(user_id=owner.id, issuer="https://id.example", subject="248289761001"))
    factories.commit()

    page = area.get("/admin/users/olivia")

    assert facts(page)["Active access tokens"] == "1"
    assert facts(page)["Linked account"].startswith("https://id.example: 248289761001")
    assert listed(page) == ["Acme Group Owner Never"]


@pytest.mark.parametrize("path", ["/admin/users/nobody", "/admin/users/nobody/edit"])
def test_an_unknown_user_is_not_found(area, path):
    assert area.get(path).status_code == 404


def test_forwarding_is_switched_off_and_enforced_for_all(area, owner, group):
    answer = area.submit("/admin/application_settings/ci_cd", {FORWARDING.name: None, FORWARDING.lock_name: "y"})

    assert answer.location == "/admin/application_settings/ci_cd"
    assert area.get(answer.location).flashes == ["Application settings saved successfully."]
    assert forwarding.of_group(group).effective is False
    assert forwarding.of_group(group).locked_by == "instance"


def test_instance_settings_are_changed(area):
    area.submit(
        "/admin/application_settings/ci_cd",
        {
            "allow_guest_plus_roles_to_pull_packages": "y",
            "package_registry_allow_anyone_to_pull_option": None,
        },
    )

    current = InstanceSettings.current()
    assert current.allow_guest_plus_roles_to_pull_packages is True
    assert current.package_registry_allow_anyone_to_pull_option is False
    assert current.pypi_package_requests_forwarding is True


@pytest.mark.parametrize(
    ("sent", "status", "limit"),
    [("1000000", 303, 1_000_000), ("0", 303, 0), ("-1", 422, None), ("much", 422, None), ("", 422, None),
     ("9" * 30, 422, None)],
)  # fmt: skip
def test_the_size_limit_is_a_whole_number_of_bytes(area, sent, status, limit):
    page = area.get("/admin/application_settings/ci_cd")
    answer = area.submit("/admin/application_settings/ci_cd", {"pypi_max_file_size": sent}, action="/admin/plan_limits")

    assert "Save size limits" in page.text
    assert page.fields("/admin/plan_limits")["pypi_max_file_size"] == "5 GiB"
    assert answer.status_code == status
    assert InstanceSettings.current().pypi_max_file_size == limit
    if status == 422:
        assert "pypi_max_file_size" in answer.errors


def test_general_settings_are_saved(area):
    answer = area.submit(
        "/admin/application_settings/general",
        {
            "default_project_visibility": "10",
            "default_group_visibility": "20",
            "restricted_visibility_levels": ["public", "private"],
            "default_project_creation": "maintainer",
            "can_create_group": None,
            "max_personal_access_token_lifetime": "30",
            "personal_access_token_prefix": "acme-",
        },
    )

    current = InstanceSettings.current()
    assert answer.status_code == 303
    assert (current.default_project_visibility, current.default_group_visibility) == (
        Visibility.INTERNAL, Visibility.PUBLIC,
    )  # fmt: skip
    assert current.restricted_visibility_levels == ["public", "private"]
    assert current.default_project_creation is CreationLevel.MAINTAINER
    assert (current.can_create_group, current.max_personal_access_token_lifetime) == (False, 30)
    assert current.personal_access_token_prefix == "acme-"


@pytest.mark.parametrize("described", instance.SETTINGS, ids=lambda one: one.name)
def test_each_setting_is_on_a_page_and_can_be_changed_there(area, described):
    path, action = PLACES[described.section]
    page = area.get(path)
    boxes = {box.get("name"): box.get("checked") is not None for box in page.tree.iter("input")}
    before = getattr(InstanceSettings.current(), described.name)

    answer = area.submit(
        path, {described.name: setting_values.in_a_form(described, boxes.get(described.name, False))}, action=action
    )

    factories.reload(InstanceSettings.current())
    assert described.label in page.text
    assert described.hint in page.text
    assert answer.status_code == 303
    assert getattr(InstanceSettings.current(), described.name) != before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_personal_access_token_lifetime": "0"}, "max_personal_access_token_lifetime"),
        ({"max_personal_access_token_lifetime": ""}, "max_personal_access_token_lifetime"),
        ({"personal_access_token_prefix": "x" * 21}, "personal_access_token_prefix"),
        ({"default_project_visibility": "15"}, "default_project_visibility"),
        ({"restricted_visibility_levels": "all"}, "restricted_visibility_levels"),
    ],
)
def test_refused_general_settings_show_why_and_change_nothing(area, change, field):
    page = area.submit("/admin/application_settings/general", change | {"can_create_group": None})

    assert page.status_code == 422
    assert field in page.errors
    assert InstanceSettings.current().can_create_group is True


def test_the_list_of_events_is_in_pages(area, owner):
    for _ in range(25):
        users.change_user(owner, users.UserChanges(note=str(utcnow())), by=SHELL)

    page = area.get("/admin/audit_log?search=user_changed")

    assert len(listed(page)) == 20
    assert any("page=2" in link and "search=user_changed" in link for link in page.links)


def test_enforcing_a_setting_shows_which_groups_it_changes(area, group):
    address = "/admin/application_settings/ci_cd"
    changed = "has its own value, which does not apply while this is enforced:"
    before = area.get(address)
    cascade.FORWARDING.change(group, value=False, by=SHELL)
    cascade.BLOCKED.change(factories.group("other"), value=["left-pad"], by=SHELL)
    cascade.BLOCKED.change(group, value=["left-pad"], by=SHELL)

    after = area.get(address)

    assert changed not in before.text
    assert after.text.count(f"1 group {changed}") == 1
    assert after.text.count("2 groups have their own values, which do not apply while this is enforced:") == 1
    assert f"/groups/{group.full_path}/-/settings/packages_and_registries" in after.links
    assert "while this is enforced: acme, other" in after.text
