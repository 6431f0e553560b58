from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from registry.domain import instance
from registry.domain.settings import Setting
from registry.models import Group, Project
from tests import factories, setting_values
from tests.builders import build_wheel
from tests.clients import Rest, Twine

SETTINGS = "/application/settings"
LIMITS = "/application/plan_limits"


class TestSettings:
    def test_all_are_shown(self, rest: Rest, admin_token: str) -> None:
        response = rest.get(SETTINGS, admin_token)

        assert response.status_code == 200
        assert response.json == {
            "id": 1,
            "pypi_package_requests_forwarding": True,
            "lock_pypi_package_requests_forwarding": False,
            "pypi_upstream_mode": "redirect",
            "lock_pypi_upstream_mode": False,
            "pypi_reserved_names": [],
            "lock_pypi_reserved_names": False,
            "pypi_upstream_minimum_age_days": 0,
            "lock_pypi_upstream_minimum_age_days": False,
            "pypi_upstream_fixed_date": None,
            "lock_pypi_upstream_fixed_date": False,
            "pypi_upstream_blocked": [],
            "lock_pypi_upstream_blocked": False,
            "pypi_upstream_allowed": [],
            "lock_pypi_upstream_allowed": False,
            "pypi_withhold_malicious": True,
            "lock_pypi_withhold_malicious": False,
            "pypi_withhold_cvss_score": None,
            "lock_pypi_withhold_cvss_score": False,
            "enforce_job_token_allowlists_on_group_endpoints": False,
            "lock_enforce_job_token_allowlists_on_group_endpoints": False,
            "package_registry_allow_anyone_to_pull_option": True,
            "allow_guest_plus_roles_to_pull_packages": False,
            "personal_access_token_prefix": "glpat-",
            "require_two_factor_authentication": False,
            "require_admin_two_factor_authentication": False,
            "require_personal_access_token_expiry": True,
            "max_personal_access_token_lifetime": 365,
            "default_project_visibility": "private",
            "default_group_visibility": "private",
            "restricted_visibility_levels": [],
            "default_project_creation": 2,
            "can_create_group": True,
            "project_storage_size_limit": None,
            "group_storage_size_limit": None,
            "oidc_trusted_issuers": [],
            "signup_enabled": False,
            "password_authentication_enabled_for_web": True,
            "home_page_url": None,
            "after_sign_out_path": None,
            "enforce_ci_inbound_job_token_scope_enabled": False,
        }

    def test_whether_passwords_are_accepted_is_shown(
        self, app: Flask, rest: Rest, admin_token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(app.config, "PASSWORD_SIGN_IN", False)

        assert rest.get(SETTINGS, admin_token).json["password_authentication_enabled_for_web"] is False

    def test_those_that_are_sent_change_and_the_answer_has_all(self, rest: Rest, admin_token: str) -> None:
        before = rest.get(SETTINGS, admin_token).json
        changes = {
            "pypi_package_requests_forwarding": False, "lock_pypi_package_requests_forwarding": True,
            "default_group_visibility": "internal", "restricted_visibility_levels": ["public"],
            "default_project_creation": 1, "personal_access_token_prefix": "acme-",
            "max_personal_access_token_lifetime": 30,
        }  # fmt: skip

        response = rest.put(SETTINGS, admin_token, changes | {"throttle_unauthenticated_enabled": True})

        assert response.status_code == 200
        assert response.json == before | changes == rest.get(SETTINGS, admin_token).json

    @pytest.mark.parametrize("described", instance.SETTINGS, ids=lambda one: one.name)
    def test_each_is_readable_and_settable(self, rest: Rest, admin_token: str, described: Setting) -> None:
        name = described.rest_name
        address = SETTINGS if name in rest.get(SETTINGS, admin_token).json else LIMITS
        before = rest.get(address, admin_token).json
        after = before | {name: setting_values.in_json(described, before[name])}

        response = rest.put(address, admin_token, {"plan_name": "default", name: after[name]})

        assert after != before
        assert response.json == after == rest.get(address, admin_token).json

    def test_a_form_does_as_well_as_json(self, rest: Rest, admin_token: str) -> None:
        sent = {"can_create_group": "false", "restricted_visibility_levels[]": ["public", "internal"]}

        response = rest.put(SETTINGS, admin_token, data=sent)

        assert response.json["can_create_group"] is False
        assert response.json["restricted_visibility_levels"] == ["public", "internal"]

    def test_they_are_in_force(self, rest: Rest, group: Group, admin_token: str, owner_token: str) -> None:
        rest.put(SETTINGS, admin_token, {"default_group_visibility": "public", "default_project_creation": 0})

        made = rest.post("/groups", owner_token, {"name": "Fresh", "path": "fresh"}).json

        assert made["visibility"] == "public"
        assert made["project_creation_level"] == "noone"

    @pytest.mark.parametrize(
        ("fields", "body"),
        [
            (
                {"default_project_visibility": "secret"},
                {"error": "default_project_visibility does not have a valid value"},
            ),
            (
                {"restricted_visibility_levels": ["x"]},
                {"error": "restricted_visibility_levels does not have a valid value"},
            ),
            ({"default_project_creation": 9}, {"error": "default_project_creation does not have a valid value"}),
            ({"can_create_group": []}, {"error": "can_create_group is invalid"}),
            (
                {"max_personal_access_token_lifetime": 0},
                {"message": {"max_personal_access_token_lifetime": ["must be between 1 and 3650 days"]}},
            ),
            ({"personal_access_token_prefix": "x" * 21}, None),
        ],
    )
    def test_invalid_values_are_refused(self, rest: Rest, admin_token: str, fields: dict[str, Any], body: Any) -> None:
        response = rest.put(SETTINGS, admin_token, fields)

        assert response.status_code == 400
        assert body is None or response.json == body


class TestLimits:
    def test_the_largest_file_is_the_configured_one_until_it_is_lowered(
        self, rest: Rest, app: Flask, twine: Twine, admin_token: str
    ) -> None:
        project, wheel = factories.project(), build_wheel()
        configured = rest.get(LIMITS, admin_token).json
        lowered = rest.put(LIMITS, admin_token, {"plan_name": "default", "pypi_max_file_size": 100})
        refused = twine.upload(project, wheel, admin_token)
        lifted = rest.put(LIMITS, admin_token, {"plan_name": "default", "pypi_max_file_size": 0})

        assert configured == {"pypi_max_file_size": app.config["MAX_FILE_SIZE"], "storage_size_limit": 0}
        assert lowered.status_code == 200
        assert lowered.json["pypi_max_file_size"] == 100
        assert refused.status_code == 400
        assert lifted.json == configured
        assert twine.upload(project, wheel, admin_token).status_code == 201

    def test_it_is_not_raised_above_the_configured_one(self, rest: Rest, app: Flask, admin_token: str) -> None:
        response = rest.put(LIMITS, admin_token, {"plan_name": "default", "pypi_max_file_size": 2**62})

        assert response.json["pypi_max_file_size"] == app.config["MAX_FILE_SIZE"]

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({}, "plan_name is missing"),
            ({"plan_name": "gold"}, "plan_name does not have a valid value"),
            ({"plan_name": "default", "pypi_max_file_size": -1}, "pypi_max_file_size is invalid"),
            ({"plan_name": "default", "pypi_max_file_size": 2**63}, "pypi_max_file_size is invalid"),
        ],
    )
    def test_invalid_values_are_refused(self, rest: Rest, admin_token: str, fields: dict[str, Any], error: str) -> None:
        response = rest.put(LIMITS, admin_token, fields)

        assert response.status_code == 400
        assert response.json == {"error": error}


@pytest.mark.parametrize("address", [SETTINGS, LIMITS])
def test_only_administrators_see_and_change_them(rest: Rest, admin: object, owner_token: str, address: str) -> None:
    for token, status in ((owner_token, 403), (None, 401)):
        assert rest.get(address, token).status_code == status
        assert rest.put(address, token, {"plan_name": "default"}).status_code == status


class TestStorageLimits:
    def test_of_all_and_of_one(self, rest: Rest, group: Group, project: Project, admin_token: str) -> None:
        sent = {"project_storage_size_limit": 5_000_000_000, "group_storage_size_limit": 0}

        assert rest.put(SETTINGS, admin_token, sent).json.items() >= sent.items()
        for address in (f"/groups/{group.id}", f"/projects/{project.id}"):
            assert rest.get(address, admin_token).json["storage_size_limit"] is None
            assert rest.put(address, admin_token, {"storage_size_limit": 7}).json["storage_size_limit"] == 7
            assert rest.put(address, admin_token, {"storage_size_limit": -1}).status_code == 400
            assert rest.put(address, admin_token, {"storage_size_limit": None}).json["storage_size_limit"] is None

    def test_owners_do_not_set_their_own(self, rest: Rest, group: Group, project: Project, owner_token: str) -> None:
        for address in (f"/groups/{group.id}", f"/projects/{project.id}"):
            assert rest.put(address, owner_token, {"storage_size_limit": 7}).status_code == 403
