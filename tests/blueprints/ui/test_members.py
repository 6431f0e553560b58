"""Members of projects and groups."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from registry.database import utcnow
from registry.domain import access, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.accounts.users import StateChange
from registry.models import Role, Visibility
from tests import factories

PROJECT = "/acme/tools/-/project_members"
GROUP = "/groups/acme/-/group_members"
TOMORROW = utcnow().date() + timedelta(days=1)


def people(page):
    """Name and source of each member."""
    found = []
    for row in page.tree.find(".//tbody") or ():
        cells = [" ".join("".join(cell.itertext()).split()) for cell in row]
        found.append((cells[0].partition(" ")[2].partition(" @")[0], cells[1]))
    return found


def test_inherited_members_are_listed_with_their_source(browser_of, owner, project):
    factories.member(project, Role.DEVELOPER, "dora")

    assert people(browser_of(owner).get(PROJECT)) == [
        ("Dora", "Direct member"),
        ("Olivia It's you", "Inherited from Acme"),
    ]


def test_a_member_below_sees_where_the_members_above_come_from(browser_of, outsider, owner):
    top = factories.group("secret-top", owner=owner, visibility=Visibility.PRIVATE)
    inner = factories.group("inner", parent=top)
    namespaces.add_member(inner, outsider, Role.GUEST, by=SHELL)

    page = browser_of(outsider).get("/groups/secret-top/inner/-/group_members")

    assert ("Olivia", "Inherited from Secret-top") in people(page)


def test_a_member_is_added_by_name_or_address(browser_of, owner, project, outsider):
    factories.user("paul")
    browser = browser_of(owner)

    added = browser.submit(PROJECT, {"username": "Oscar", "role": "30", "expires_on": TOMORROW.isoformat()})
    browser.submit(PROJECT, {"username": "paul@example.com", "role": "10"})

    member = namespaces.member(project, outsider.id)
    assert (added.status_code, added.location) == (303, PROJECT)
    assert (member.role, member.membership.expires_on) == (Role.DEVELOPER, TOMORROW)
    assert access.role_of(users.find_username("paul"), project) is Role.GUEST


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"username": "nobody"}, {"username": "No user was found with this name or confirmed email address."}),
        ({"username": ""}, {"username": "Enter a name."}),
        ({"username": "oscar", "role": "60"}, {"role": "Choose one of the available options."}),
        ({"username": "oscar", "role": "x"}, {"role": "Choose one of the available options."}),
        ({"username": "oscar", "expires_on": "2001-01-01"}, {"expires_on": "Choose a date in the future."}),
        ({"username": "oscar", "expires_on": "soon"}, {"expires_on": "Enter a date, such as 2030-12-31."}),
        (
            {"username": "olivia", "role": "10"},
            {"role": "This user already has the Owner role through the group Acme. Choose that role or a higher one."},
        ),
    ],
    ids=["unknown", "empty", "no member role", "no number", "past", "no date", "below what is inherited"],
)
def test_errors_of_a_new_member_are_shown_beside_the_field(browser_of, owner, project, outsider, sent, errors):
    answer = browser_of(owner).submit(PROJECT, {"role": "10", **sent})

    assert answer.status_code == 422
    assert answer.errors == errors


@pytest.mark.parametrize("path", [PROJECT, GROUP])
def test_a_part_of_a_name_offers_people_to_choose_from(browser_of, owner, project, outsider, path):
    browser = browser_of(owner)

    answer = browser.submit(path, {"username": "osc", "role": "20"})
    added = browser.submit(path, {"username": "osc", "role": "20", "chosen": "oscar"})

    assert answer.errors == {"username": "No user has exactly this username. Choose a person."}
    assert [button.get("value") for button in answer.tree.findall(".//button[@name='chosen']")] == ["oscar"]
    assert added.location == path
    assert access.role_of(outsider, project) is Role.REPORTER


@pytest.mark.parametrize(
    ("member", "path", "status"),
    [("owner", PROJECT, 200), ("owner", GROUP, 200), ("developer", PROJECT, 403), ("developer", GROUP, 403)],
)
def test_those_who_manage_members_get_suggestions(
    browser_of, owner, developer, project, outsider, member, path, status
):
    browser = browser_of({"owner": owner, "developer": developer}[member])

    answer = browser.open(f"{path}/suggestions.json?q=OSCAR")

    assert answer.status_code == status
    if status == 200:
        assert json.loads(answer.html) == {"users": [{"username": "oscar", "name": "Oscar"}]}


def test_a_member_is_not_added_twice(browser_of, owner, project, developer):
    answer = browser_of(owner).submit(PROJECT, {"username": "dora", "role": "40"})

    assert answer.errors == {"username": "This user is already a member."}


def test_a_member_cannot_grant_a_role_above_their_own(browser_of, maintainer, project, outsider):
    browser = browser_of(maintainer)

    page = browser.get(PROJECT)
    answer = browser.submit(PROJECT, {"username": "oscar", "role": "50"})

    assert [option.get("value") for option in page.tree.iter("option")][:6] == ["10", "15", "20", "30", "40", "10"]
    assert answer.errors == {"role": "Choose one of the available options."}


def test_a_membership_is_changed_in_its_row(browser_of, owner, project, developer):
    answer = browser_of(owner).submit(
        PROJECT, {"role": "20", "expires_on": TOMORROW.isoformat()}, action=f"{PROJECT}/{developer.id}"
    )

    membership = namespaces.member(project, developer.id).membership
    assert answer.location == PROJECT
    assert (membership.role, membership.expires_on) == (Role.REPORTER, TOMORROW)


def test_an_empty_field_removes_the_expiry(browser_of, owner, project, developer):
    namespaces.change_member(project, developer, Role.DEVELOPER, expires_on=TOMORROW, by=SHELL)

    browser_of(owner).submit(PROJECT, {"expires_on": ""}, action=f"{PROJECT}/{developer.id}")

    factories.reload(namespaces.member(project, developer.id).membership)
    assert namespaces.member(project, developer.id).membership.expires_on is None


def test_a_refused_change_is_shown_on_a_page_of_the_member_with_all_faults(
    browser_of, owner, group, project, developer
):
    namespaces.add_member(group, developer, Role.DEVELOPER, by=SHELL)
    row = f"{PROJECT}/{developer.id}"

    answer = browser_of(owner).submit(PROJECT, {"role": "20", "expires_on": "2001-01-01"}, action=row)

    assert answer.status_code == 422
    assert answer.errors == {
        "role": "This user already has the Developer role through the group Acme. Choose that role or a higher one.",
        "expires_on": "Choose a date in the future.",
    }
    kept = answer.fields(row)
    assert (kept["role"], kept["expires_on"]) == ("20", "2001-01-01")
    assert namespaces.member(project, developer.id).membership.expires_on is None


def test_a_change_that_is_corrected_returns_to_the_list(browser_of, owner, project, developer):
    browser, row = browser_of(owner), f"{PROJECT}/{developer.id}"
    refused = browser.submit(PROJECT, {"expires_on": "2001-01-01"}, action=row)

    answer = browser.open(row, method="POST", data=refused.fields(row) | {"expires_on": TOMORROW.isoformat()})

    assert (answer.status_code, answer.location) == (303, PROJECT)
    assert namespaces.member(project, developer.id).membership.expires_on == TOMORROW


def test_a_member_is_removed(browser_of, owner, project, developer):
    browser = browser_of(owner)

    browser.submit(PROJECT, action=f"{PROJECT}/{developer.id}/remove")

    assert browser.get(PROJECT).flashes == ["Dora was removed."]
    assert access.role_of(developer, project) is Role.NO_ACCESS


def test_a_member_can_leave_but_not_remove_another(browser_of, developer, guest, project):
    browser = browser_of(developer)
    token = browser.get(PROJECT).fields(f"{PROJECT}/{developer.id}/remove")

    other = browser.open(f"{PROJECT}/{guest.id}/remove", method="POST", data=token)
    left = browser.open(f"{PROJECT}/{developer.id}/remove", method="POST", data=token)

    assert other.status_code == 403
    assert left.location == "/"
    assert access.role_of(guest, project) is Role.GUEST
    assert access.role_of(developer, project) is Role.NO_ACCESS


@pytest.mark.parametrize("change", ["role", "expiry", "leave"])
def test_a_group_keeps_an_owner(browser_of, owner, group, change):
    browser = browser_of(owner)
    row = f"{GROUP}/{owner.id}"

    if change == "leave":
        browser.submit(GROUP, action=f"{row}/remove")
    else:
        sent = {"role": "40"} if change == "role" else {"expires_on": date.max.isoformat()}
        browser.submit(GROUP, sent, action=row)

    assert browser.get(GROUP).flashes == ["Acme needs at least one owner."]
    assert access.role_of(owner, group) is Role.OWNER


def test_inherited_memberships_are_changed_where_they_come_from(browser_of, owner, project):
    page = browser_of(owner).get(PROJECT)

    assert f"{PROJECT}/{owner.id}" not in {form.get("action") for form in page.tree.iter("form")}


@pytest.mark.parametrize(
    ("member", "path", "offered"),
    [("maintainer", PROJECT, True), ("developer", PROJECT, False), ("owner", GROUP, True), ("developer", GROUP, False)],
)
def test_who_can_manage_members(browser_of, owner, maintainer, developer, member, path, offered):
    user = {"owner": owner, "maintainer": maintainer, "developer": developer}[member]

    page = browser_of(user).get(path)

    if page.status_code == 200:
        assert ("Add member" in page.text) is offered
    else:
        assert not offered


def test_members_are_found_by_a_part_of_their_name(browser_of, owner, project, developer):
    assert people(browser_of(owner).get(PROJECT + "?search=DOR")) == [("Dora", "Direct member")]
    assert "No members found" in browser_of(owner).get(PROJECT + "?search=nobody").text


def test_a_blocked_member_is_marked(browser_of, owner, project, developer):
    users.change_state(developer, StateChange.BLOCK, by=SHELL)

    assert ("Dora Blocked", "Direct member") in people(browser_of(owner).get(PROJECT))


@pytest.mark.parametrize("path", [PROJECT, GROUP])
def test_the_number_of_statements_does_not_grow_with_the_members(browser_of, owner, project, group, statements, path):
    place = project if path == PROJECT else group
    factories.member(place, Role.GUEST)
    browser = browser_of(owner)
    browser.get(path)
    del statements[:]
    browser.get(path)
    few = len(statements)
    for _ in range(15):
        factories.member(place, Role.GUEST)
    del statements[:]

    browser.get(path)

    assert len(statements) == few
