"""Setting up a second factor and signing in with it, in both languages, with and without scripts."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import pyotp
from playwright.sync_api import Page, expect

from tests.acceptance.servers import RunningServer
from tests.browser.test_pages import photographed
from tests.browser.windows import DARK, IN_BOTH_LOOKS, IN_BOTH_WAYS, LIGHT, Desk, Look, Window

PAGE = "/-/profile/two_factor_auth"
PASSWORD = "a long enough one"


PASSKEY_WORDS = {
    LIGHT: ("Name", "Current password", "Add passkey", "Use passkey", "No passkey was used."),
    DARK: ("名前", "現在のパスワード", "パスキーを追加", "パスキーを使う", "パスキーは使われませんでした。"),
}


@dataclass(frozen=True)
class Words:
    """The words of the pages in a language."""

    sign_in: str
    verify: str
    code: str
    enable: str
    wrong: str
    codes_left: str


WORDS = {
    LIGHT: Words(
        "Sign in", "Verify code", "Two-factor code",
        "Enable two-factor authentication", "Invalid code.", "9 recovery codes are left.",
    ),
    DARK: Words(
        "サインイン", "コードを確認", "2要素認証コード",
        "2要素認証を有効にする", "コードが正しくありません。", "残りのリカバリーコードは9個です。",
    ),
}  # fmt: skip


def enter_password(page: Page, username: str, words: Words, home: str = "") -> None:
    page.goto(f"{home}/users/sign_in")
    page.locator("#login").fill(username)
    page.locator("#password").fill(PASSWORD)
    page.get_by_role("button", name=words.sign_in, exact=True).click()


def enter_code(page: Page, code: str, words: Words) -> None:
    page.get_by_label(words.code).fill(code)
    page.get_by_role("button", name=words.verify).click()


def new_user(server: RunningServer, username: str) -> None:
    made = {"username": username, "name": username, "email": f"{username}@example.com", "password": PASSWORD}
    server.as_root("POST", "/users", made)


def next_code(key: str, used: str) -> str:
    """A code of the app that was not used yet; those of the next 30 seconds are accepted, too."""
    app, now = pyotp.TOTP(key), time.time()
    return next(code for code in (app.at(now), app.at(now + 30)) if code != used)


@IN_BOTH_WAYS
def test_a_user_sets_up_an_app_and_signs_in_with_it_and_with_a_recovery_code(
    desk: Desk, server: RunningServer, look: Look, scripts: bool
) -> None:
    words, username = WORDS[look], f"factor-{look.language}"
    new_user(server, username)
    context = desk.context("anonymous", look, java_script_enabled=scripts)
    page = context.new_page()
    window = Window(page, look, desk.pictures)

    enter_password(page, username, words)
    page.goto(PAGE)
    expect(page.get_by_text(server.url)).to_be_visible()  # why no passkey can be added: it has no name
    expect(page.locator("form[data-passkey]")).to_have_count(0)
    key = page.locator("#totp-key").input_value().replace(" ", "")
    used = pyotp.TOTP(key).now()
    page.locator("#app-code").fill(used)
    page.locator("#app-current_password").fill(PASSWORD)
    page.get_by_role("button", name=words.enable).click()
    recovery = re.findall(r"[0-9a-f]{16}", page.locator(".issued pre").inner_text())
    assert len(recovery) == 10
    if scripts:
        assert [*photographed(window, "two-factor-codes"), *window.unreachable(), *window.barriers()] == []

    context.clear_cookies()
    enter_password(page, username, words)
    if scripts:
        assert [*photographed(window, "second-step"), *window.unreachable(), *window.barriers()] == []
    enter_code(page, used, words)
    expect(page.get_by_role("alert")).to_contain_text(words.wrong)
    enter_code(page, next_code(key, used), words)
    page.wait_for_url(re.compile(r"/$"))

    context.clear_cookies()
    enter_password(page, username, words)
    enter_code(page, recovery[0], words)
    page.wait_for_url(re.compile(r"/$"))
    page.goto(PAGE)
    expect(page.get_by_text(words.codes_left)).to_be_visible()
    assert window.problems == []
    context.close()


@IN_BOTH_LOOKS
def test_a_user_adds_a_passkey_and_signs_in_with_it(desk: Desk, server: RunningServer, look: Look) -> None:
    words, (name, password, add, use, none) = WORDS[look], PASSKEY_WORDS[look]
    username = f"passkey-{look.language}"
    new_user(server, username)
    context = desk.context("anonymous", look)
    page = context.new_page()
    window = Window(page, look, desk.pictures)
    home = server.url.replace("127.0.0.1", "localhost")  # passkeys belong to a name
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    authenticator = {
        "protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True,
        "hasResidentKey": True,
    }  # fmt: skip
    known = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})["authenticatorId"]

    enter_password(page, username, words, home)
    page.wait_for_url(re.compile(r"/$"))
    page.goto(home + PAGE)
    form = page.locator("form[data-passkey]")
    form.get_by_label(name).fill("Virtual")
    form.get_by_label(password).fill(PASSWORD)
    form.get_by_role("button", name=add).click()
    expect(page.locator(".issued pre")).to_be_visible()
    expect(page.get_by_role("cell", name="Virtual", exact=True)).to_be_visible()
    assert [*photographed(window, "passkeys"), *window.unreachable(), *window.barriers()] == []

    context.clear_cookies()
    enter_password(page, username, words, home)
    assert [*photographed(window, "second-step-passkey"), *window.unreachable(), *window.barriers()] == []
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": known, "isUserVerified": False})
    page.get_by_role("button", name=use).click()
    expect(page.get_by_text(none)).to_be_visible()
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": known, "isUserVerified": True})
    page.get_by_role("button", name=use).click()
    page.wait_for_url(re.compile(r"/$"))
    enter_password(page, username, words)
    expect(page.get_by_text(server.url)).to_be_visible()
    assert window.problems == []
    context.close()
