"""New groups and projects, their general settings, moving and deleting them."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from registry.database import db
from registry.domain import instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.models import CreationLevel, Group, Namespace, Project, RegistryAccess, Role, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.suggested_paths import PATHS
from tests.tables import each


def at(path: str) -> Namespace | None:
    found = select(Namespace).where(Namespace.full_path_key == path)
    db.session.rollback()
    return db.session.scalar(found.execution_options(populate_existing=True))


def test_a_new_group_belongs_to_its_creator(browser_of, outsider):
    answer = browser_of(outsider).submit(
        "/groups/new", {"name": "Data platform", "path": "data", "description": "Tools", "visibility": "10"}
    )

    group = at("data")
    assert (answer.status_code, answer.location) == (303, "/data")
    assert isinstance(group, Group)
    assert (group.name, group.description, group.visibility) == ("Data platform", "Tools", Visibility.INTERNAL)


def test_a_path_left_empty_follows_from_the_name(browser_of, outsider):
    browser = browser_of(outsider)

    for name, path in PATHS.items():
        assert browser.submit("/groups/new", {"name": name}).location == f"/{path}"


def test_a_subgroup_is_created_in_its_parent(browser_of, owner, group):
    answer = browser_of(owner).submit(f"/groups/new?parent_id={group.id}", {"name": "Inner"})

    assert answer.location == "/acme/inner"


def test_a_project_is_created_in_the_personal_namespace_by_default(browser_of, owner, group):
    browser = browser_of(owner)

    assert browser.submit("/projects/new", {"name": "Scratch"}).location == "/olivia/scratch"
    assert browser.submit(f"/projects/new?namespace_id={group.id}", {"name": "Lib"}).location == "/acme/lib"


def test_only_groups_where_the_user_can_create_projects_are_offered(browser_of, developer, group):
    closed = factories.group("closed", project_creation_level=CreationLevel.NOBODY)
    open_to_developers = factories.group("for-developers", project_creation_level=CreationLevel.DEVELOPER)
    for place in (closed, open_to_developers):
        namespaces.add_member(place, developer, Role.DEVELOPER, by=SHELL)

    page = browser_of(developer).get("/projects/new")

    assert [option.text for option in page.tree.iter("option")] == ["dora", "for-developers"]


def test_a_place_that_was_not_offered_is_refused(browser_of, outsider, group):
    answer = browser_of(outsider).submit("/projects/new", {"name": "Lib", "namespace_id": str(group.id)})

    assert answer.status_code == 422
    assert at("acme/lib") is None


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({"name": ""}, {"name": "This field is required."}),
        ({"name": "日本語"}, {"path": "No path can be derived from this name."}),
        ({"name": "X", "path": "a/b"}, {"path": "Use letters, digits"}),
        ({"name": "X", "path": "-x"}, {"path": "Use letters, digits"}),
        ({"name": "X", "path": "api"}, {"path": "api is a reserved name."}),
        ({"name": "X", "path": "acme"}, {"path": "This is already taken."}),
        ({"name": "X" * 256, "path": "x"}, {"name": "Use at most 255 characters."}),
        ({"name": "X", "description": "x" * 2001}, {"description": "Use at most 2000 characters."}),
    ],
    ids=["no name", "name without letters", "slash", "hyphen first", "reserved", "taken", "long name", "long text"],
)
def test_errors_are_shown_beside_their_fields_and_values_are_kept(browser_of, outsider, group, sent, errors):
    answer = browser_of(outsider).submit("/groups/new", sent)

    assert answer.status_code == 422
    assert set(answer.errors) == set(errors)
    assert all(answer.errors[field].startswith(sentence) for field, sentence in errors.items())
    assert answer.fields("/groups/new") | sent == answer.fields("/groups/new")


def test_refusals_are_translated(browser_of, outsider, group):
    browser = browser_of(outsider)
    users.change_preferences(outsider, language="ja", color_scheme=outsider.color_scheme)

    assert browser.submit("/groups/new", {"name": "X", "path": "acme"}).errors == {"path": "すでに使用されています。"}


def test_a_subgroup_cannot_be_more_visible_than_its_parent(browser_of, owner, group):
    answer = browser_of(owner).submit(f"/groups/new?parent_id={group.id}", {"name": "Inner", "visibility": "20"})

    assert answer.errors == {"visibility": "The visibility cannot be higher than that of the parent group."}


def test_only_allowed_visibilities_can_be_chosen(browser_of, owner, group):
    page = browser_of(owner).get(f"/groups/new?parent_id={group.id}")

    open_values = [
        field.get("value") for field in page.tree.iter("input")
        if field.get("name") == "visibility" and field.get("disabled") is None
    ]  # fmt: skip
    assert open_values == ["0"]


def test_a_restricted_visibility_is_offered_to_administrators_only(browser_of, outsider, admin):
    instance.change_instance(instance.InstanceChanges(restricted_visibility_levels=["public"]), by=SHELL)

    assert browser_of(outsider).submit("/groups/new", {"name": "X", "visibility": "20"}).errors == {
        "visibility": "An administrator has restricted this visibility level."
    }
    assert browser_of(admin).submit("/groups/new", {"name": "X", "visibility": "20"}).status_code == 303


def test_a_user_without_permission_to_create_groups_is_refused(browser_of):
    user = factories.user("carl", can_create_group=False)
    browser = browser_of(user)

    assert browser.submit("/groups/new", {"name": "X"}).status_code == 403
    assert "/groups/new" not in browser.get("/").links


@pytest.mark.parametrize(("role", "status"), [(Role.MAINTAINER, 200), (Role.DEVELOPER, 403)], ids=str)
def test_the_setting_of_the_group_decides_who_can_create_subgroups(browser_of, group, role, status):
    browser = browser_of(factories.member(group, role))

    assert browser.get(f"/groups/new?parent_id={group.id}").status_code == status


@pytest.mark.parametrize("parent", ["private", "999999", "x", "\x00"])
def test_an_unknown_parent_is_not_found(browser_of, outsider, group, parent):
    parent_id = str(group.id) if parent == "private" else parent

    assert browser_of(outsider).get("/groups/new", query_string={"parent_id": parent_id}).status_code == 404


def test_creating_anything_requires_signing_in(browser, app):
    assert browser.get("/projects/new").location == "/users/sign_in?next=/projects/new"


def test_an_owner_changes_a_group(browser_of, owner, group):
    answer = browser_of(owner).submit(
        "/groups/acme/-/edit",
        {"name": "New name", "description": "New", "visibility": "20", "project_creation_level": "maintainer"},
    )

    factories.reload(group)
    assert (answer.status_code, answer.location) == (303, "/groups/acme/-/edit")
    assert (group.name, group.description, group.visibility) == ("New name", "New", Visibility.PUBLIC)
    assert group.project_creation_level is CreationLevel.MAINTAINER


def test_a_group_stays_as_visible_as_its_contents(browser_of, owner):
    group = factories.group("open", owner=owner, visibility=Visibility.PUBLIC)
    factories.project("lib", parent=group, visibility=Visibility.PUBLIC)

    answer = browser_of(owner).submit("/groups/open/-/edit", {"visibility": "0", "name": "Kept as typed"})

    assert answer.errors == {"visibility": "This group contains projects that are more visible."}
    assert answer.fields("/groups/open/-/edit")["name"] == "Kept as typed"
    assert at("open").visibility is Visibility.PUBLIC


def test_a_maintainer_changes_a_project_but_not_its_visibility(browser_of, maintainer, project):
    browser = browser_of(maintainer)

    page = browser.get("/acme/tools/edit")
    browser.submit("/acme/tools/edit", {"name": "Renamed", "visibility": "20"})

    factories.reload(project)
    assert not {"visibility", "registry_access", "anyone_may_pull"} & page.fields("/acme/tools/edit").keys()
    assert (project.name, project.visibility) == ("Renamed", Visibility.PRIVATE)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"registry_access": "enabled"}, RegistryAccess.ENABLED),
        ({"registry_access": "private"}, RegistryAccess.PRIVATE),
        ({"registry_access": "disabled"}, RegistryAccess.DISABLED),
        ({"registry_access": "enabled", "anyone_may_pull": "y"}, RegistryAccess.PUBLIC),
        ({"registry_access": "private", "anyone_may_pull": "y"}, RegistryAccess.PRIVATE),
        ({"registry_access": "disabled", "anyone_may_pull": "y"}, RegistryAccess.DISABLED),
    ],
    ids=["enabled", "members", "disabled", "anyone", "anyone but members only", "anyone but disabled"],
)
def test_the_package_registry_of_a_project_is_opened_and_closed(browser_of, owner, project, sent, stored):
    browser_of(owner).submit("/acme/tools/edit", sent)

    factories.reload(project)
    assert project.registry_access is stored


def test_anyone_may_pull_is_shown_with_its_current_value(browser_of, owner, group):
    factories.project("lib", parent=group, registry_access=RegistryAccess.PUBLIC)

    sent = browser_of(owner).get("/acme/lib/edit").fields("/acme/lib/edit")

    assert (sent["registry_access"], sent["anyone_may_pull"]) == ("enabled", "y")


def test_anyone_may_pull_is_not_offered_where_the_instance_forbids_it_and_kept(browser_of, owner, group):
    project = factories.project("lib", parent=group, registry_access=RegistryAccess.PUBLIC)
    instance.change_instance(instance.InstanceChanges(package_registry_allow_anyone_to_pull_option=False), by=SHELL)
    browser = browser_of(owner)

    page = browser.get("/acme/lib/edit")
    browser.submit("/acme/lib/edit", {"name": "Renamed"})

    factories.reload(project)
    assert "Allow anyone to pull from package registry" not in page.text
    assert project.registry_access is RegistryAccess.PUBLIC


def test_anyone_may_pull_is_not_offered_where_public_visibility_is_restricted(browser_of, owner, project):
    instance.change_instance(instance.InstanceChanges(restricted_visibility_levels=["public"]), by=SHELL)
    browser = browser_of(owner)

    page = browser.get("/acme/tools/edit")
    answer = browser.submit("/acme/tools/edit", {"registry_access": "enabled", "anyone_may_pull": "y"})

    factories.reload(project)
    assert "Allow anyone to pull from package registry" not in page.text
    assert answer.status_code == 422
    assert project.registry_access is RegistryAccess.ENABLED


@pytest.mark.parametrize(
    "sent", [{"visibility": "7"}, {"visibility": "x"}, {"registry_access": "x"}, {"visibility": "5" * 500}], ids=str
)
def test_a_value_that_was_never_offered_changes_nothing(browser_of, owner, project, sent):
    answer = browser_of(owner).submit("/acme/tools/edit", {"name": "Changed", **sent})

    factories.reload(project)
    assert answer.status_code == 422
    assert project.name == "Tools"


def test_a_new_path_moves_everything_below(browser_of, owner, project):
    answer = browser_of(owner).submit("/groups/acme/-/edit", {"path": "apex"}, action="/groups/acme/-/path")

    assert answer.location == "/groups/apex/-/edit"
    assert at("apex/tools") is not None


def test_a_path_that_is_taken_is_refused_beside_the_field(browser_of, owner, project, group):
    factories.project("taken", parent=group)

    answer = browser_of(owner).submit("/acme/tools/edit", {"path": "Taken"}, action="/acme/tools/-/path")

    assert answer.status_code == 422
    assert answer.errors == {"path": "This is already taken."}
    assert answer.fields("/acme/tools/edit")["name"] == "Tools"


def test_a_group_is_transferred_below_another(browser_of, owner, group):
    target = factories.group("target", owner=owner)

    answer = browser_of(owner).submit(
        "/groups/acme/-/edit", {"parent_id": str(target.id)}, action="/groups/acme/-/transfer"
    )

    assert answer.location == "/groups/target/acme/-/edit"


def test_a_group_is_transferred_to_the_top(browser_of, owner, group):
    factories.group("inner", parent=group)

    answer = browser_of(owner).submit(
        "/groups/acme/inner/-/edit", {"parent_id": "0"}, action="/groups/acme/inner/-/transfer"
    )

    assert answer.location == "/groups/inner/-/edit"


def test_a_group_is_not_offered_itself_or_its_subgroups_as_a_parent(browser_of, owner, group):
    factories.group("inner", parent=group)
    factories.group("other", owner=owner)

    page = browser_of(owner).get("/groups/acme/-/edit")

    offered = [option.text for select_ in page.tree.iter("select") if select_.get("name") == "parent_id"
               for option in select_]  # fmt: skip
    assert offered == ["No parent group", "other"]


def test_an_archived_project_can_be_opened_again(browser_of, owner, project):
    browser = browser_of(owner)

    browser.submit("/acme/tools/edit", action="/acme/tools/-/archive")
    assert at("acme/tools").archived
    assert "Archived" in browser.get("/acme/tools").text
    for page in ("/acme/tools", "/acme/tools/-/packages"):
        assert "Learn how to publish" not in browser.get(page).text

    browser.submit("/acme/tools/edit", action="/acme/tools/-/unarchive")
    assert not at("acme/tools").archived


def test_a_deletion_lists_its_effects_and_asks_for_the_path(browser_of, owner, group, project):
    factories.project("second", parent=factories.group("inner", parent=group))
    factories.published(project, build_wheel("demo", "1.0"))

    browser = browser_of(owner)
    page, below = browser.get("/groups/acme/-/delete"), browser.get("/acme/tools/-/delete")

    assert "1 subgroup" in page.text
    assert "2 projects" in page.text
    assert "stay reserved" not in page.text
    assert "Their names stay reserved in acme" in below.text


@pytest.mark.parametrize("typed", ["", "tools", "acme/tools2", "ACME/TOOLS"])
def test_without_the_path_nothing_is_deleted(browser_of, owner, project, typed):
    answer = browser_of(owner).submit("/acme/tools/-/delete", {"confirmation": typed})

    assert answer.status_code == 422
    assert answer.errors == {"confirmation": "Type acme/tools to confirm."}
    assert at("acme/tools") is not None


def test_with_the_path_a_project_is_deleted(browser_of, owner, project):
    answer = browser_of(owner).submit("/acme/tools/-/delete", {"confirmation": "acme/tools"})

    assert (answer.status_code, answer.location) == (303, "/acme")
    assert at("acme/tools") is None


def test_with_the_path_a_group_is_deleted_with_its_projects(browser_of, owner, project):
    answer = browser_of(owner).submit("/groups/acme/-/delete", {"confirmation": "acme"})

    assert answer.location == "/"
    assert at("acme") is None
    assert at("acme/tools") is None


@each(
    ("method", "path"),
    [
        ("GET", "/acme/tools/edit"),
        ("POST", "/acme/tools/edit"),
        ("POST", "/acme/tools/-/path"),
        ("POST", "/acme/tools/-/archive"),
        ("POST", "/acme/tools/-/unarchive"),
        ("GET", "/acme/tools/-/delete"),
        ("POST", "/acme/tools/-/delete"),
        ("GET", "/groups/acme/-/edit"),
        ("POST", "/groups/acme/-/edit"),
        ("POST", "/groups/acme/-/path"),
        ("POST", "/groups/acme/-/transfer"),
        ("POST", "/groups/acme/-/delete"),
    ],
)
@pytest.mark.parametrize("who", ["anonymous", "outsider", "developer"])
def test_requests_of_hidden_buttons_are_refused(
    app, browser, browser_of, outsider, developer, project, who, method, path
):
    someone = {"anonymous": browser, "outsider": browser_of(outsider), "developer": browser_of(developer)}[who]
    token = someone.get("/users/sign_in" if who == "anonymous" else "/groups/new")
    form = "/users/sign_in" if who == "anonymous" else "/groups/new"

    answer = someone.open(path, method=method, data={"csrf_token": token.fields(form)["csrf_token"]})

    # The developer is a member of the project alone, and can therefore see its group.
    assert answer.status_code == {"anonymous": 303, "outsider": 404, "developer": 403}[who]
    assert isinstance(at("acme/tools"), Project)
