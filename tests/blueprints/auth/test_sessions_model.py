"""Sessions, by any sequence of sign-ins, sign-outs, new passwords, and blocks: copies of a cookie end with them."""

from __future__ import annotations

from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.accounts.users import StateChange
from registry.models import User
from tests import factories
from tests.clients import Browser

COOKIE, PROFILE, PASSWORDS = "registry_session", "/-/user_settings/profile", "/-/user_settings/password/edit"
FIRST_PASSWORD = "correct horse battery"
STEPS = st.one_of(
    st.tuples(st.just("sign in"), st.integers(0, 1)),  # which user
    st.tuples(st.sampled_from(["block", "unblock"]), st.integers(0, 1)),
    st.tuples(st.sampled_from(["sign out", "new password"]), st.integers(0, 5)),  # which session
)


class Sessions:
    """All cookies that were ever set, with whether their sessions should be usable."""

    def __init__(self, app: Flask, of: list[User]) -> None:
        self._app, self._users = app, of
        self._blocked = [False, False]
        self._passwords = [FIRST_PASSWORD, FIRST_PASSWORD]
        self.cookies: list[tuple[int, str]] = []
        self.is_usable: list[bool] = []

    def browser(self, number: int) -> Browser:
        """A browser with a copy of a cookie."""
        browser = Browser(self._app)
        browser.client.set_cookie(COOKIE, self.cookies[number][1])
        return browser

    def act(self, step: str, number: int) -> None:
        if step == "sign in":
            if not self._blocked[number]:
                factories.reload(self._users[number])  # whose password requests have changed
                self._keep(number, Browser(self._app).sign_in(self._users[number]))
        elif step in ("block", "unblock"):
            if self._blocked[number] != (step == "block"):
                users.change_state(self._users[number], StateChange(step), by=SHELL)
                self._blocked[number] = step == "block"
                self._end_all_of(number)
        elif self.cookies:
            number %= len(self.cookies)
            if self.is_usable[number]:
                self._sign_out(number) if step == "sign out" else self._change_password(number)

    def _sign_out(self, number: int) -> None:
        assert self.browser(number).submit("/", action="/users/sign_out").status_code == 303
        self.is_usable[number] = False

    def _change_password(self, number: int) -> None:
        user, browser = self.cookies[number][0], self.browser(number)
        new = f"{FIRST_PASSWORD} {len(self.cookies)}"
        sent = {"current_password": self._passwords[user], "password": new, "repeated": new}
        assert browser.submit(PASSWORDS, sent).status_code == 303
        self._passwords[user] = new
        self._end_all_of(user)
        self._keep(user, browser)

    def _keep(self, user: int, browser: Browser) -> None:
        cookie = browser.client.get_cookie(COOKIE)
        assert cookie is not None
        self.cookies.append((user, cookie.value))
        self.is_usable.append(True)

    def _end_all_of(self, user: int) -> None:
        for number, (owner, _) in enumerate(self.cookies):
            self.is_usable[number] &= owner != user


@example([("sign in", 0), ("sign in", 0), ("sign in", 1), ("new password", 0), ("sign out", 3)])
@example([("sign in", 0), ("new password", 0), ("sign in", 0)])
@example([("sign in", 0), ("sign in", 0), ("sign out", 1), ("block", 0), ("unblock", 0), ("sign in", 0)])
@given(st.lists(STEPS, min_size=3, max_size=10))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_copies_of_a_cookie_are_of_use_exactly_as_long_as_its_session(app: Flask, steps: list[tuple[str, int]]) -> None:
    factories.empty()
    sessions = Sessions(app, [factories.user(password=FIRST_PASSWORD) for _ in range(2)])

    for step, number in steps:
        sessions.act(step, number)

    for number, is_usable in enumerate(sessions.is_usable):
        browser = sessions.browser(number)
        statuses = (browser.get(PROFILE).status_code, browser.get("/api/v4/user").status_code)
        assert statuses == ((200, 200) if is_usable else (303, 401))
