"""Every form shows all of its faults at once, beside their fields."""

from __future__ import annotations

from typing import Any

import pytest

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.accounts import passwords, users
from registry.domain.accounts.users import UserChanges
from registry.domain.packages import protection
from registry.models import DeployToken, Group, PackageFile, Project, Role, User, Visibility
from tests import factories
from tests.clients import Page

PASSWORD, PUBLIC = "a long enough one", Visibility.PUBLIC
PAST, LONG = "2020-01-01", "x" * 5000
GROUP, PROJECT = "/groups/acme/-", "/acme/tools/-"

# Form → (its page, where it posts, what is sent, the fields with faults); braces enclose what _furnish makes.
FORMS: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    "group deploy token": (
        f"{GROUP}/settings/repository", f"{GROUP}/deploy_tokens",
        {"name": "", "expires_on": PAST, "username": "no user", "scopes": []},
        {"name", "expires_on", "username", "scopes"},
    ),
    "project deploy token": (
        f"{PROJECT}/settings/repository", f"{PROJECT}/deploy_tokens",
        {"name": LONG, "expires_on": PAST, "username": "no user", "scopes": []},
        {"name", "expires_on", "username", "scopes"},
    ),
    "access token": (
        "/-/user_settings/personal_access_tokens", "",
        {"name": "", "description": LONG, "expires_on": "2199-01-01", "scopes": []},
        {"name", "description", "expires_on", "scopes"},
    ),
    "past access token": (
        "/-/user_settings/personal_access_tokens", "",
        {"name": LONG, "expires_on": PAST, "scopes": []}, {"name", "expires_on", "scopes"},
    ),
    "new user": (
        "/admin/users/new", "",
        {"name": "", "username": "no user", "email": "none", "projects_limit": "-1", "password": "short"},
        {"name", "username", "email", "projects_limit", "password"},
    ),
    "new user with what others have": (
        "/admin/users/new", "",
        {"name": "", "username": "olivia", "email": "olivia@example.com", "password": "short"},
        {"name", "username", "email", "password"},
    ),
    "user": (
        "/admin/users/olivia/edit", "", {"name": "", "username": "no user", "email": "none", "projects_limit": "-1"},
        {"name", "username", "email", "projects_limit"},
    ),
    "new group": (
        "/groups/new", "", {"name": "", "path": "no path", "description": LONG}, {"name", "path", "description"}
    ),
    "new project": (
        "/projects/new", "", {"name": "", "path": "no path", "description": LONG, "namespace_id": "{group}"},
        {"name", "path", "description"},
    ),
    "group": ("/groups/acme/-/edit", "", {"name": "", "description": LONG}, {"name", "description"}),
    "project": ("/acme/tools/edit", "", {"name": "", "description": LONG, "visibility": "20"},
                {"name", "description", "visibility"}),
    "github publisher": (
        f"{PROJECT}/settings/ci_cd/trusted_publishers/new/github", "",
        {"repository": "", "ref": LONG, "package_names": "no name"}, {"repository", "ref", "package_names"},
    ),
    "gitlab publisher": (
        f"{PROJECT}/settings/ci_cd/trusted_publishers/new/gitlab", "",
        {"issuer": "none", "project_path": "", "ref": LONG, "package_names": "no name"},
        {"issuer", "project_path", "ref", "package_names"},
    ),
    "other publisher": (
        f"{PROJECT}/settings/ci_cd/trusted_publishers/new/other", "",
        {"issuer": "", "claims": "sub", "package_names": "no name"}, {"issuer", "claims", "package_names"},
    ),
    "protection rule": (
        f"{PROJECT}/settings/packages_and_registries", f"{PROJECT}/settings/packages_and_registries/protection_rules",
        {"pattern": "", "push": "", "delete": ""}, {"pattern", "push"},
    ),
    "password": (
        "/-/user_settings/password/edit", "", {"current_password": "", "password": "short", "repeated": "other"},
        {"current_password", "password", "repeated"},
    ),
    "exception": (
        f"{GROUP}/settings/packages_and_registries", f"{GROUP}/settings/packages_and_registries/upstream_exceptions",
        {"pattern": "", "reason": "", "expires_on": PAST}, {"pattern", "reason", "expires_on"},
    ),
    "exception with a bad pattern": (
        "/admin/application_settings/ci_cd", "/admin/application_settings/upstream_exceptions",
        {"pattern": "no name", "reason": "", "expires_on": PAST}, {"pattern", "reason", "expires_on"},
    ),
    "member": (
        f"{PROJECT}/project_members", "", {"username": "", "expires_on": PAST}, {"username", "expires_on"},
    ),
    "unknown member": (
        f"{PROJECT}/project_members", "", {"username": "nobody", "expires_on": PAST}, {"username", "expires_on"},
    ),
    "rules about the public index": (
        "/admin/application_settings/ci_cd", "/admin/application_settings/public_index",
        {"pypi_withhold_cvss_score": "11", "pypi_upstream_minimum_age_days": "-1", "pypi_upstream_blocked": "no name",
         "pypi_reserved_names": "no name"},
        {"pypi_withhold_cvss_score", "pypi_upstream_minimum_age_days", "pypi_upstream_blocked", "pypi_reserved_names"},
    ),
    "role of the provider": (
        "/admin/provider_roles", "", {"provider_group": "", "group": "nowhere"}, {"provider_group", "group"},
    ),
    "new user with an unreadable number": (
        "/admin/users/new", "", {"name": "N", "username": "olivia", "email": "none", "projects_limit": "many"},
        {"username", "email", "projects_limit"},
    ),
    "new user whose name and address others have": (
        "/admin/users/new", "", {"name": "N", "username": "olivia", "email": "olivia@example.com"},
        {"username", "email"},
    ),
    "new user without a user name, with an address of another": (
        "/admin/users/new", "", {"name": "N", "username": "", "email": "olivia@example.com"}, {"username", "email"},
    ),
    "last administrator": (
        "/admin/users/{admin}/edit", "", {"is_admin": None, "username": "olivia", "email": "none", "note": LONG * 3},
        {"is_admin", "username", "email", "note"},
    ),
    "new group at a taken path": (
        "/groups/new", "", {"name": LONG, "path": "acme", "description": LONG}, {"name", "path", "description"}
    ),
    "new project at a taken path": (
        "/projects/new", "", {"name": "", "path": "tools", "description": LONG, "namespace_id": "{group}"},
        {"name", "path", "description"},
    ),
    "project in a full namespace": (
        "/projects/new", "", {"name": "X", "path": "no path", "description": LONG},
        {"namespace_id", "path", "description"},
    ),
    "group that is more visible inside": (
        "/groups/open/-/edit", "", {"name": "", "description": LONG, "visibility": "0"},
        {"name", "description", "visibility"},
    ),
    "profile": (
        "/-/user_settings/profile", "",
        {"name": "", "username": "olivia", "email": "none", "bio": LONG, "current_password": ""},
        {"name", "username", "email", "bio", "current_password"},
    ),
    "profile with a wrong password": (
        "/-/user_settings/profile", "", {"username": "olivia", "email": "olivia@example.com", "current_password": "no"},
        {"username", "email", "current_password"},
    ),
    "wrong current password": (
        "/-/user_settings/password/edit", "", {"current_password": "wrong", "password": "short", "repeated": "other"},
        {"current_password", "password", "repeated"},
    ),
    "authenticator app": (
        "/-/profile/two_factor_auth", "", {"app-current_password": "wrong", "app-code": "123"},
        {"app-current_password", "app-code"},
    ),
    "passkey": (
        "/-/profile/two_factor_auth", "/-/profile/two_factor_auth/passkeys",
        {"passkey-current_password": "wrong", "passkey-name": "", "passkey-credential": "none"},
        {"passkey-current_password", "passkey-name"},
    ),
    "unreadable date of a deploy token": (
        f"{GROUP}/settings/repository", f"{GROUP}/deploy_tokens",
        {"name": LONG, "expires_on": "soon", "username": "no user", "scopes": []},
        {"name", "expires_on", "username", "scopes"},
    ),
    "unreadable numbers of the rules about the public index": (
        "/admin/application_settings/ci_cd", "/admin/application_settings/public_index",
        {"pypi_withhold_cvss_score": "high", "pypi_upstream_minimum_age_days": "x", "pypi_upstream_blocked": "no name"},
        {"pypi_withhold_cvss_score", "pypi_upstream_minimum_age_days", "pypi_upstream_blocked"},
    ),
    "rule of a group": (
        f"{GROUP}/settings/packages_and_registries",
        f"{GROUP}/settings/packages_and_registries/public_index/pypi_upstream_minimum_age_days",
        {"pypi_upstream_minimum_age_days": "x"}, {"pypi_upstream_minimum_age_days"},
    ),
    "protection rule without roles to choose from": (
        f"{PROJECT}/settings/packages_and_registries", f"{PROJECT}/settings/packages_and_registries/protection_rules",
        {"pattern": "no name", "package_type": "npm", "push": "x", "delete": "50"}, {"pattern", "package_type", "push"},
    ),
    "status of a name": (
        f"{PROJECT}/packages/{{package}}/status", "", {"name_status": "none", "reason": LONG}, {"name_status", "reason"}
    ),
    "role of an unknown group of the provider": (
        "/admin/provider_roles", "", {"provider_group": LONG, "group": "nowhere", "role": "7"},
        {"provider_group", "group", "role"},
    ),
    "general settings": (
        "/admin/application_settings/general", "",
        {"default_project_visibility": "7", "require_personal_access_token_expiry": None},
        {"default_project_visibility"},
    ),
    "changed protection rule": (
        f"{PROJECT}/settings/packages_and_registries/protection_rules/{{rule}}", "",
        {"pattern": "no name", "push": "", "delete": ""}, {"pattern", "push"},
    ),
    "github reader": (
        f"{PROJECT}/settings/ci_cd/trusted_readers/new/github", "", {"repository": "", "ref": LONG},
        {"repository", "ref"},
    ),
    "gitlab reader of a group": (
        f"{GROUP}/settings/ci_cd/trusted_readers/new/gitlab", "", {"issuer": "none", "project_path": "", "ref": LONG},
        {"issuer", "project_path", "ref"},
    ),
    "member of a group": (
        f"{GROUP.replace('/-', '/-/group_members')}", "", {"username": "nobody", "role": "7", "expires_on": "soon"},
        {"username", "role", "expires_on"},
    ),
    "preferences": (
        "/-/user_settings/preferences", "", {"language": "tlh", "color_scheme": "sepia"}, {"language", "color_scheme"}
    ),
    "size limits": (
        "/admin/application_settings/ci_cd", "/admin/plan_limits",
        {"pypi_max_file_size": "big", "project_storage_limit": "bigger"}, {"pypi_max_file_size"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_all_faults_of_a_form_are_shown_at_once(browser_of, admin, owner, group, project, demo, form):
    made = _furnish(admin, group, project, demo)
    page, action, sent, faults = FORMS[form]
    filled = {name: value.format(**made) if isinstance(value, str) else value for name, value in sent.items()}

    answer = browser_of(admin).submit(page.format(**made), filled, action=action or None)

    assert (answer.status_code, set(answer.errors), answer.flashes) == (422, faults, [])
    assert {f"{field}-error" for field in faults} <= _described(answer)


def _described(page: Page) -> set[str]:
    """Return the IDs of the texts that describe fields, and are read out with them."""
    return {id_ for field in page.tree.iter() for id_ in (field.get("aria-describedby") or "").split()}


def _furnish(admin: User, group: Group, project: Project, demo: PackageFile) -> dict[str, object]:
    passwords.set_password(admin, PASSWORD, by=SHELL)
    users.change_user(admin, UserChanges(projects_limit=0), by=SHELL)
    factories.project("inside", parent=factories.group("open", visibility=PUBLIC), visibility=PUBLIC)
    rule = protection.add_protection_rule(project, pattern="a*", push=Role.OWNER, delete=None, by=SHELL)
    return {"admin": admin.username, "group": group.id, "package": demo.package_id, "rule": rule.id}


def test_all_faults_of_rules_that_are_tried_are_shown_at_once(browser_of, admin):
    sent = {"pypi_withhold_cvss_score": "x", "pypi_upstream_minimum_age_days": "-1", "pypi_upstream_blocked": "no name"}

    answer = browser_of(admin).post("/admin/application_settings/public_index/try", sent)

    assert (answer.status_code, set(answer.errors)) == (422, set(sent))


def test_a_form_keeps_what_was_entered_except_secrets(browser_of, admin):
    passwords.set_password(admin, PASSWORD, by=SHELL)
    sent = {"name": "", "username": "no user", "email": "none", "bio": "Packages.", "current_password": "guess"}

    answer = browser_of(admin).submit("/-/user_settings/profile", sent)

    kept = answer.fields("/-/user_settings/profile")
    assert {name: kept.get(name) for name in sent} == sent | {"current_password": ""}


def test_a_form_with_a_fault_has_no_effect(browser_of, owner, project):
    sent = {"name": "deployment", "expires_on": PAST, "scopes": ["read_package_registry"]}

    answer = browser_of(owner).submit(f"{PROJECT}/settings/repository", sent, action=f"{PROJECT}/deploy_tokens")

    assert (answer.status_code, answer.errors) == (422, {"expires_on": "Choose a date in the future."})
    assert db.session.query(DeployToken).count() == 0
