"""Every page as it is seen in both languages, color schemes, and widths: valid, accessible, without complaints."""

from __future__ import annotations

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException

from registry.blueprints.ui.help import CHAPTERS
from tests.acceptance.servers import RunningServer
from tests.browser.windows import BETWEEN, DARK, LIGHT, MIDDLE, NARROW, PHONE, WIDE, Desk, Look, Window, parse
from tests.browser.world import World, furnish

# Name of the page → its address; braces enclose numbers of the world.
PUBLIC_PAGES = {
    "sign-in": "/users/sign_in",
    "visitor-preferences": "/-/preferences",
    "explore": "/explore",
    "explore-groups": "/explore/groups",
    "public-project": "/open/samples",
    "public-packages": "/open/samples/-/packages",
    "help": "/help",
    **{f"help-{chapter.name}": f"/help/{chapter.name}" for chapter in CHAPTERS},
}
PAGES_OF_ROOT = {
    "dashboard": "/",
    "own-groups": "/dashboard/groups",
    "search": "/search?q=o",
    "search-nothing": "/search?q=nothing-is-called-so",
    "group": "/acme",
    "subgroups": "/acme?tab=groups",
    "project": "/acme/tools",
    "project-empty": "/acme/empty",
    "project-archived": "/acme/attic",
    "user": "/alice",
    "new-group": "/groups/new",
    "new-project": "/projects/new",
    "group-edit": "/groups/acme/-/edit",
    "project-edit": "/acme/tools/edit",
    "group-delete": "/groups/acme/-/delete",
    "project-delete": "/acme/tools/-/delete",
    "members": "/acme/tools/-/project_members",
    "group-members": "/groups/acme/-/group_members",
    "packages": "/acme/tools/-/packages",
    "packages-sorted": "/acme/tools/-/packages?order_by=name&sort=asc&page=2",
    "packages-versions": "/acme/tools/-/packages?tab=versions",
    "packages-filtered": "/acme/tools/-/packages?search=nothing-is-called-so",
    "packages-empty": "/acme/empty/-/packages",
    "group-packages": "/groups/acme/-/packages",
    "project-upstream": "/acme/tools/-/upstream?name=signalbox",
    "group-upstream": "/groups/acme/-/upstream",
    "package": "/acme/tools/-/packages/{package_id}",
    "package-name": "/acme/tools/-/packages/names/signalbox",
    "package-long": "/acme/tools/-/packages/{long_package_id}",
    "package-dependencies": "/acme/tools/-/packages/{package_id}?tab=dependencies",
    "package-versions": "/acme/tools/-/packages/{package_id}?tab=versions",
    "package-activity": "/acme/tools/-/packages/{long_package_id}?tab=activity",
    "package-contents": "/acme/tools/-/packages/{package_id}/files/{file_id}/contents",
    "package-contents-text": "/acme/tools/-/packages/{package_id}/files/{file_id}/contents?path=signalbox.py",
    "package-compared": "/acme/tools/-/packages/names/signalbox/compare?from=1.1.0&to=2.0.0",
    "package-in-group": "/groups/acme/-/packages/{package_id}",
    "packages-delete": "/acme/tools/-/packages/delete?id={package_id}&id={long_package_id}",
    "group-packages-delete": "/groups/acme/-/packages/delete?id={package_id}",
    "files-delete": "/acme/tools/-/packages/{package_id}/package_files/delete?id={file_id}",
    "package-yank": "/acme/tools/-/packages/{package_id}/yank",
    "package-unyank": "/acme/tools/-/packages/{long_package_id}/unyank",
    "file-yank": "/acme/tools/-/packages/{package_id}/package_files/{file_id}/yank",
    "file-unyank": "/acme/tools/-/packages/{package_id}/package_files/{file_id}/unyank",
    "package-status": "/acme/tools/-/packages/{package_id}/status",
    "group-settings": "/groups/acme/-/settings/packages_and_registries",
    "group-reserved-names": "/groups/acme/-/settings/reserved_names",
    "project-settings": "/acme/tools/-/settings/packages_and_registries",
    "protection-rule": "/acme/tools/-/settings/packages_and_registries/protection_rules/{rule_id}",
    "deploy-tokens": "/acme/tools/-/settings/repository",
    "group-deploy-tokens": "/groups/acme/-/settings/repository",
    "job-tokens": "/acme/tools/-/settings/ci_cd",
    **{
        f"trusted-publisher-{kind}": f"/acme/tools/-/settings/ci_cd/trusted_publishers/new/{kind}"
        for kind in ("github", "gitlab", "other")
    },
    "trusted-reader": "/acme/tools/-/settings/ci_cd/trusted_readers/new/github",
    "group-ci-cd": "/groups/acme/-/settings/ci_cd",
    "group-trusted-reader": "/groups/acme/-/settings/ci_cd/trusted_readers/new/gitlab",
    "audit-events": "/acme/tools/-/audit_events",
    "group-audit-events": "/groups/acme/-/audit_events",
    "vulnerabilities": "/acme/tools/-/vulnerabilities",
    "group-vulnerabilities": "/groups/acme/-/vulnerabilities",
    "usage": "/acme/tools/-/usage_quotas",
    "group-usage": "/groups/acme/-/usage_quotas",
    "access-tokens": "/-/user_settings/personal_access_tokens",
    "access-tokens-prefilled": "/-/user_settings/personal_access_tokens?name=pip&scopes=read_api",
    "profile": "/-/user_settings/profile",
    "password": "/-/user_settings/password/edit",
    "two-factor": "/-/profile/two_factor_auth",
    "preferences": "/-/user_settings/preferences",
    "admin": "/admin",
    "admin-users": "/admin/users",
    "admin-user": "/admin/users/alice",
    "admin-user-new": "/admin/users/new",
    "admin-user-edit": "/admin/users/alice/edit",
    "admin-groups": "/admin/groups",
    "admin-projects": "/admin/projects",
    "admin-old-paths": "/admin/old_paths",
    "admin-provider-roles": "/admin/provider_roles",
    "admin-general": "/admin/application_settings/general",
    "admin-ci-cd": "/admin/application_settings/ci_cd",
    "admin-audit": "/admin/audit_log",
    "help-about-project": "/help/install?project=acme/tools",
}
ERROR_PAGES = {"404": ("/nowhere/at/all", 404), "package-unknown": ("/acme/tools/-/packages/999999", 404)}
# Views that answer with a redirect, and so have no page, the second step of a sign-in (test_two_factor.py), and the
# page of an account at an identity provider (test_single_sign_on.py).
NO_PAGES = {
    "ui.packages.download", "ui.tokens.old_address", "ui.admin.application_settings",
    "ui.namespaces.group_by_long_address", "ui.explore.search_while_typing", "ui.audit.instance_audit_events_csv",
    "ui.audit.project_audit_events_csv", "ui.audit.group_audit_events_csv",
    "ui.members.project_suggestions", "ui.members.group_suggestions", "ui.auth.second_factor",
    "ui.single_sign_on.callback", "ui.identity.show",
}  # fmt: skip

PAGES = [
    *((name, "anonymous", address, 200) for name, address in PUBLIC_PAGES.items()),
    *((name, "root", address, 200) for name, address in PAGES_OF_ROOT.items()),
    *((name, "root", address, status) for name, (address, status) in ERROR_PAGES.items()),
]
# Pages beside each other are alike. So every twelfth one is opened with one look, in turns, and in the slow group all.
VIEWS = [
    pytest.param(*page, look, id=f"{page[0]}-{look}", marks=() if number % 24 == 12 * turn else pytest.mark.slow)
    for turn, look in enumerate((LIGHT, DARK))
    for number, page in enumerate(PAGES)
]


@pytest.fixture(scope="session")
def world(server: RunningServer) -> World:
    return furnish(server)


@pytest.mark.parametrize(("name", "reader", "address", "status", "look"), VIEWS)
def test_a_page_is_as_it_should_be(
    desk: Desk, world: World, name: str, reader: str, address: str, status: int, look: Look
) -> None:
    window = desk.window(reader, look)

    parse(window.open(address.format(**vars(world)), status))
    does_not_fit = photographed(window, name)
    window.unfold()
    window.resize(NARROW)
    does_not_fit += [f"unfolded: {fault}" for fault in (*window.too_wide(), *window.broken())]
    window.resize(WIDE)

    assert [*window.problems, *does_not_fit, *window.unreachable(), *window.barriers()] == []


def photographed(window: Window, name: str) -> list[str]:
    """Elements that are too wide, broken words, cut texts, and spaces that a language does not have, at each width."""
    found = []
    for width in (WIDE, MIDDLE, PHONE, NARROW):
        window.resize(width)
        window.screenshot(name)
        faults = (*window.too_wide(), *window.broken(), *window.cut(), *window.spaced())
        found += [f"{width}: {fault}" for fault in faults]
    for width in BETWEEN:
        window.resize(width)
        found += [f"{width}: {fault}" for fault in window.too_wide()]
    window.resize(WIDE)
    return found


def test_every_page_is_in_the_lists(app: Flask) -> None:
    listed = set()
    for address in (*PUBLIC_PAGES.values(), *PAGES_OF_ROOT.values()):
        path = address.format(**dict.fromkeys(World.__annotations__, 1)).partition("?")[0]
        try:
            listed.add(app.url_map.bind("localhost").match(path)[0])
        except HTTPException as error:
            raise AssertionError(f"no page at {path}") from error

    views = {
        rule.endpoint for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("ui.") and "GET" in (rule.methods or ())
    }  # fmt: skip
    assert views - NO_PAGES == listed
