"""Signing in with the account of an identity provider, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.acceptance.clients import ENVIRONMENTS, node_program
from tests.acceptance.servers import ForkedServer, RunningServer
from tests.browser.test_pages import photographed
from tests.browser.windows import DARK, IN_BOTH_WAYS, LIGHT, Desk, Look, Window
from tests.fakes import identity_provider
from tests.fakes.identity_provider import IdentityProvider, free_port, node_provider_running, provider_running

PROTECTED = "/-/user_settings/personal_access_tokens"
PERSON = {"name": "山田 花子", "email": "hanako@example.com", "email_verified": True}
CLIENT_SECRET = "s3:cr+t% /~"  # printable ASCII characters, as RFC 6749 has them (appendix A)


@dataclass(frozen=True)
class Words:
    """The words of the pages in a language."""

    sign_in: str
    refused: str
    back: str
    path: str
    add: str
    added: str
    marked: str
    account: str
    sign_out: str


WORDS = {
    LIGHT: Words(
        "Sign in with Acme 社", "Could not sign in with Acme 社", "Back", "Path of the group", "Add role",
        "The role was added.", "Group of the identity provider", "Your account", "Sign out",
    ),
    DARK: Words(
        "Acme 社でサインイン", "Acme 社でサインインできませんでした", "戻る", "グループのパス", "ロールを追加",
        "ロールを追加しました。", "IDプロバイダーのグループ", "アカウント", "サインアウト",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with provider_running() as started:
        yield started


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, provider: IdentityProvider) -> Iterator[RunningServer]:
    """A registry where people sign in with their accounts only."""
    started = configured(tmp_path_factory.mktemp("registry"), provider.url)
    started.group("platform")
    yield started
    started.kill()


@pytest.fixture(scope="module")
def desk(chromium: Browser, registry: RunningServer, pytestconfig: pytest.Config) -> Desk:
    return Desk(chromium, registry, screenshots=pytestconfig.getoption("--screenshots"))


def configured(folder: Path, issuer: str, client_id: str = "registry") -> ForkedServer:
    server = ForkedServer(
        folder, OIDC_ISSUER=issuer, OIDC_CLIENT_ID=client_id, OIDC_CLIENT_SECRET=CLIENT_SECRET, OIDC_LABEL="Acme 社",
        OIDC_ADMIN_GROUP="admins", PASSWORD_SIGN_IN="false",
    )  # fmt: skip
    server.start()
    return server


def on_this_machine(desk: Desk, look: Look, *, scripts: bool = True) -> BrowserContext:
    """A session of the browser that loads nothing from the Internet, as pages of the providers do."""
    context = desk.context("anonymous", look, java_script_enabled=scripts)
    context.route(re.compile("^https:"), lambda route: route.abort())
    return context


def faults(window: Window, name: str, *, scripts: bool) -> list[str]:
    return [*photographed(window, name), *window.unreachable(), *(window.barriers() if scripts else ())]


def leave(page: Page, words: Words) -> None:
    """From a page for users, go to the provider."""
    page.goto(PROTECTED)
    expect(page.locator("#password")).to_have_count(0)
    page.get_by_role("button", name=words.sign_in).click()


def sign_out(page: Page, words: Words) -> None:
    page.locator(f"summary[aria-label='{words.account}']").click()
    page.get_by_role("button", name=words.sign_out).click()


@IN_BOTH_WAYS
def test_a_person_denies_then_signs_in_has_a_role_and_signs_out(
    desk: Desk, provider: IdentityProvider, registry: RunningServer, look: Look, scripts: bool
) -> None:
    words, username, team = WORDS[look], f"hanako-{look.language}", f"team-{look.language}"
    provider.set_claims(username, preferred_username=username, groups=["admins", team], **PERSON)
    context = on_this_machine(desk, look, scripts=scripts)
    page = context.new_page()
    window = Window(page, look, desk.pictures)

    page.goto("/users/sign_in")
    assert faults(window, "sign-in-elsewhere", scripts=scripts) == []
    leave(page, words)
    page.get_by_role("button", name="Deny").click()
    page.get_by_role("heading", name=words.refused).wait_for()
    assert faults(window, "sign-in-refused", scripts=scripts) == []
    page.get_by_role("link", name=words.back).click()
    page.wait_for_url(re.compile("/users/sign_in$"))

    for has_role in (False, True):
        leave(page, words)
        page.get_by_placeholder("sub").fill(username)
        page.get_by_role("button", name="Authorize").click()
        page.wait_for_url(registry.url + PROTECTED)
        page.goto("/groups/platform/-/group_members")
        row = page.get_by_role("row").filter(has_text=f"@{username}")
        expect(row.filter(has_text=words.marked)).to_have_count(int(has_role))
        if not has_role:
            add_role(window, words, team, scripts=scripts)
            page.goto("/-/user_settings/identity")
            assert faults(window, "identity", scripts=scripts) == []
        sign_out(page, words)
        page.get_by_role("button", name="End session").click()
        page.wait_for_url(re.compile("/users/sign_in$"))
    page.goto(PROTECTED)
    expect(page.get_by_role("button", name=words.sign_in)).to_be_visible()
    context.close()


def add_role(window: Window, words: Words, team: str, *, scripts: bool) -> None:
    """Give people of a group of the provider a role, as an administrator."""
    page = window.page
    page.goto("/admin/provider_roles")
    page.get_by_label(words.marked, exact=True).fill(team)
    page.get_by_label(words.path).fill("platform")
    page.get_by_role("button", name=words.add).click()
    page.get_by_text(words.added).wait_for()
    assert faults(window, "provider-roles", scripts=scripts) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_person_signs_in_and_out_at_the_provider_of_many_companies(
    chromium: Browser, tmp_path: Path, method: str
) -> None:
    program = node_program(Path(identity_provider.__file__).with_name("oidc_provider"), ENVIRONMENTS / "oidc-provider")
    words, port, client_id = WORDS[LIGHT], free_port(), "package registry:1+1"
    registry = configured(tmp_path, f"http://127.0.0.1:{port}", client_id)
    settings = {
        "clientId": client_id, "clientSecret": CLIENT_SECRET, "method": method,
        "returnUrl": f"{registry.url}/users/auth/openid_connect/callback",
        "signedOutUrl": f"{registry.url}/users/sign_in",
        "claims": {"preferred_username": "hanako.yamada", **PERSON},
    }  # fmt: skip
    with node_provider_running(port, program, **settings):
        context = on_this_machine(Desk(chromium, registry, screenshots=False), LIGHT)
        page = context.new_page()

        leave(page, words)
        page.get_by_role("link", name="[ Cancel ]").click()
        page.get_by_role("heading", name=words.refused).wait_for()
        leave(page, words)
        sign_in_there(page)
        page.wait_for_url(registry.url + PROTECTED)
        expect(page.locator("summary + *", has_text="@hanako.yamada")).to_have_count(1)

        sign_out(page, words)
        page.get_by_role("button", name="Yes, sign me out").click()
        page.wait_for_url(re.compile("/users/sign_in$"))
        leave(page, words)
        sign_in_there(page)  # as the session there has ended, too
        page.wait_for_url(registry.url + PROTECTED)
        context.close()
    registry.kill()


def sign_in_there(page: Page) -> None:
    page.get_by_placeholder("Enter any login").fill("hanako")
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
