"""Every form shows all of its faults at once, beside their fields."""

from __future__ import annotations

from typing import Any

import pytest

from registry.database import db
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.models import DeployToken

PAST, LONG = "2020-01-01", "x" * 5000
GROUP, PROJECT = "/groups/acme/-", "/acme/tools/-"

# Form → (its page, where it posts, what is sent, the fields with faults)
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
        "/projects/new", "", {"name": "", "path": "no path", "description": LONG}, {"name", "path", "description"}
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
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_all_faults_of_a_form_are_shown_at_once(browser_of, admin, owner, group, project, form):
    users.set_password(admin, "a long enough one", by=SHELL)
    page, action, sent, faults = FORMS[form]

    answer = browser_of(admin).submit(page, sent, action=action or None)

    assert (answer.status_code, set(answer.errors), answer.flashes) == (422, faults, [])


def test_a_form_with_a_fault_has_no_effect(browser_of, owner, project):
    sent = {"name": "deployment", "expires_on": PAST, "scopes": ["read_package_registry"]}

    answer = browser_of(owner).submit(f"{PROJECT}/settings/repository", sent, action=f"{PROJECT}/deploy_tokens")

    assert (answer.status_code, answer.errors) == (422, {"expires_on": "Choose a date in the future."})
    assert db.session.query(DeployToken).count() == 0
