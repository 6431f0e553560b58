"""Pages in both languages, for visitors and users of every role; then every form, refused and accepted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.recording.recorder import Answer
from tests.recording.world import PASSWORD, ROOT_PASSWORD, World, day

ENGLISH, JAPANESE = "en-US,en;q=0.5", "ja,en;q=0.3"
CHAPTERS = (
    "getting-started", "authentication", "publish", "install", "releases", "forwarding", "requirements", "versions",
    "commands", "troubleshooting", "rest-api", "administration",
)  # fmt: skip
_FORM_TOKEN = re.compile(r'name="csrf_token" value="([^"]*)"')


class Browser:
    """Keeps the session's cookie, sends the form token of the page before, and follows redirects after a form."""

    def __init__(self, world: World, language: str = ENGLISH) -> None:
        self._recorder = world.recorder
        self.language = language
        self._cookie = ""
        self._form_token = ""

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return self._send(method, path, headers)

    def post(self, path: str, fields: Mapping[str, Any] | None = None, *, token: str | None = None) -> Answer:
        """Send a form, and look at the page it leads to."""
        form = {"csrf_token": self._form_token if token is None else token, **(fields or {})}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._send("POST", path, kind, urlencode(form, doseq=True).encode())
        if answer.status in (301, 302, 303):
            place = urlsplit(answer.headers["Location"])
            self.get(place.path + (f"?{place.query}" if place.query else ""))
        return answer

    def sign_in(self, login: str, password: str = PASSWORD) -> Browser:
        self.get("/users/sign_in")
        self.post("/users/sign_in", {"login": login, "password": password, "next": "/help"})
        return self

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        sent = {"Accept": "text/html", "Accept-Language": self.language, **headers}
        if self._cookie:
            sent["Cookie"] = self._cookie
        answer = self._recorder.request(method, path, sent, body)
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            self._cookie = cookie.partition(";")[0]
        if found := _FORM_TOKEN.search(answer.text):
            self._form_token = found[1]
        return answer


def play(world: World) -> None:
    sign_in(world)
    people = {name: Browser(world).sign_in(name) for name in ("alice", "bob", "carol", "dave", "erin")}
    people["root"] = Browser(world).sign_in("root", ROOT_PASSWORD)
    look(world, people)
    account(world, people)
    namespaces(world, people)
    members(world, people)
    deploy_tokens(world, people)
    settings(world, people)
    job_tokens(world, people)
    releases(world, people)
    administration(world, people)
    deletions(world, people)
    errors(world, people)


def sign_in(world: World) -> None:
    world.recorder.part("pages-sign-in")
    for language in (ENGLISH, JAPANESE):
        browser = Browser(world, language)
        browser.get("/users/sign_in?next=/acme/tools")
        for fields in (
            {}, {"login": "alice"}, {"password": PASSWORD}, {"login": "alice", "password": "wrong"},
            {"login": "nobody", "password": PASSWORD}, {"login": "henry", "password": PASSWORD},
        ):  # fmt: skip
            browser.post("/users/sign_in", fields)
        browser.post("/users/sign_in", {"login": "alice", "password": PASSWORD}, token="forged")
        for following in (
            "https://elsewhere.test/",
            "//elsewhere.test",
            "/\\elsewhere.test",
            "/acme/tools?a=b",
            "help",
            "",
        ):
            fresh = Browser(world, language)
            fresh.get(f"/users/sign_in?next={following}")
            fresh.post("/users/sign_in", {"login": " Alice@Example.com ", "password": PASSWORD, "next": following})
            fresh.get("/users/sign_in?next=/help")
            fresh.post("/users/sign_out")
            fresh.post("/users/sign_out")
    browser = Browser(world)
    browser.get("/users/sign_in")
    for _ in range(7):
        browser.post("/users/sign_in", {"login": "mallory", "password": "guessed"})
    browser.language = JAPANESE
    browser.post("/users/sign_in", {"login": "mallory", "password": "guessed"})
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        browser.get("/users/sign_in", method)
    browser.get("/users/sign_out")


def addresses(world: World) -> list[str]:
    """The addresses of all pages, with the parameters that they accept."""
    ids = world.ids
    project, group = "/acme/tools/-", "/groups/acme/-"
    box, first, long = ids["signalbox 2.0.0"], ids["signalbox 1.0.0"], ids["driver-01 1.0"]
    lists = ("", "?search=signal", "?search=%3Cb%3E", "?order_by=name&sort=desc", "?order_by=version",
        "?order_by=x&sort=x",
             "?status=default", "?status=deprecated", "?version=2.0.0", "?type=pypi", "?page=2", "?page=99",
             "?page=x")  # fmt: skip
    return [
        "/", "/explore", "/explore?search=tools", "/explore?page=2", "/explore/groups", "/explore/groups?search=res",
        "/dashboard/groups", "/search?q=tools", "/search?q=acme/tools", "/search?q=",
        "/search?q=%3Cb%3E",
        "/acme", "/acme/?tab=groups", "/acme?tab=groups", "/acme?search=note", "/groups/acme", "/acme/research",
        "/acme/research/deep",
        "/open", "/inner", "/spare", "/acme/tools", "/acme/tools/", "/acme/empty", "/acme/attic",
        "/acme/research/notebook",
        "/open/samples", "/open/hidden", "/inner/shared", "/alice", "/bob", "/henry", "/alice/my-own-things",
        "/nobody", "/ACME/Tools",
        "/groups/new", f"/groups/new?parent_id={ids['acme']}", "/groups/new?parent_id=999999",
        "/groups/new?parent_id=x",
        "/projects/new", f"/projects/new?namespace_id={ids['acme']}", "/projects/new?namespace_id=x",
        f"{group}/edit", "/groups/acme/research/-/edit", "/acme/tools/edit", "/acme/attic/edit", "/open/samples/edit",
        f"{group}/delete", f"{project}/delete", f"{group}/usage_quotas", f"{project}/usage_quotas",
        "/acme/empty/-/usage_quotas",
        f"{group}/group_members", f"{group}/group_members?search=bo", f"{project}/project_members",
        f"{project}/project_members?search=zzz", "/open/-/project_members", "/open/samples/-/project_members",
        f"{group}/settings/repository", f"{project}/settings/repository", f"{project}/settings/ci_cd",
        f"{group}/settings/packages_and_registries", "/groups/acme/research/-/settings/packages_and_registries",
        f"{project}/settings/packages_and_registries",
        f"{project}/settings/packages_and_registries/protection_rules/{ids['rule']}",
        f"{project}/settings/packages_and_registries/protection_rules/999999",
        *(f"{base}/packages{query}" for base in (project, group) for query in lists),
        "/acme/empty/-/packages", "/open/samples/-/packages", "/groups/open/-/packages", "/groups/spare/-/packages",
        *(f"{base}/packages/{number}{query}" for base in (project, group)
            for number in (box, first, long, ids["old-thing 0.1"], 999999)
          for query in ("", "?tab=versions")),
        f"{group}/packages/{ids['fieldnotes']}", f"{project}/packages/{ids['fieldnotes']}",
        *(f"{project}/packages/{ids[name]}"
            for name in ("plain 1.0", "restful 1.0", "zipped 1.0", "driver-02 1.0", "guarded-thing 1.0")),
        f"{project}/packages/delete", f"{project}/packages/delete?id={box}&id={first}&id={ids['guarded-thing 1.0']}",
        f"{group}/packages/delete?id={box}&id={ids['fieldnotes']}", f"{group}/packages/delete?id=x&id=999999",
        f"{project}/packages/{box}/package_files/delete?id={ids['file']}",
        f"{project}/packages/{box}/package_files/delete",
        f"{project}/packages/{box}/package_files/delete?id={ids['file']}&id={ids['second file']}",
        f"{project}/packages/999999/package_files/delete?id=1",
        *(f"{project}/packages/{number}/{verb}" for number in (box, first) for verb in ("yank", "unyank", "status")),
        *(f"{project}/packages/{box}/package_files/{number}/{verb}" for number in (ids["file"], 999999)
            for verb in ("yank", "unyank")),
        "/-/user_settings/profile", "/-/user_settings/password/edit", "/-/user_settings/preferences",
        "/-/user_settings/personal_access_tokens",
        "/-/user_settings/personal_access_tokens?name=ci&scopes=api,read_api&description=x",
        "/-/profile/personal_access_tokens?name=ci", "/admin", "/admin/users", "/admin/users?filter=blocked",
        "/admin/users?filter=deactivated", "/admin/users?filter=admins&order_by=created_at",
        "/admin/users?search=ali&filter=x",
        "/admin/users?order_by=username", "/admin/users/new", "/admin/users/alice", "/admin/users/root",
        "/admin/users/henry",
        "/admin/users/nobody", "/admin/users/alice/edit", "/admin/users/root/edit", "/admin/groups",
        "/admin/groups?search=acme",
        "/admin/projects", "/admin/projects?search=tools", "/admin/application_settings",
        "/admin/application_settings/general",
        "/admin/application_settings/ci_cd", "/admin/audit_log", "/admin/audit_log?search=alice",
        "/admin/audit_log?page=2",
        "/help", "/help?project=acme/tools", "/help?group=acme", "/help?project=nothing/here",
        *(f"/help/{name}" for name in CHAPTERS),
        "/help/nothing",
    ]  # fmt: skip


def look(world: World, people: Mapping[str, Browser]) -> None:
    visitor = Browser(world)
    for name, browser, language in (
        ("alice-en", people["alice"], ENGLISH), ("alice-ja", people["alice"], JAPANESE),
        ("root-en", people["root"], ENGLISH),
        ("root-ja", people["root"], JAPANESE), ("bob-en", people["bob"], ENGLISH), ("visitor-en", visitor, ENGLISH),
        ("visitor-ja", visitor, JAPANESE),
    ):  # fmt: skip
        world.recorder.part(f"pages-look-{name}")
        browser.language = language
        for path in addresses(world):
            browser.get(path)
        browser.language = ENGLISH
    for name in ("carol", "dave", "erin"):
        world.recorder.part(f"pages-look-{name}-en")
        for path in addresses(world):
            if (
                not path.startswith(("/admin", "/help", "/-/", "/search"))
                and "search=" not in path
                and "order_by" not in path
            ):
                people[name].get(path)
    world.recorder.part("pages-help")
    for language in (ENGLISH, JAPANESE):
        people["alice"].language = language
        for chapter in CHAPTERS:
            for query in ("?project=acme/tools", "?group=acme/research", "?project=open/samples"):
                people["alice"].get(f"/help/{chapter}{query}")
    people["alice"].language = ENGLISH


def send(browser: Browser, path: str, forms: Iterable[Mapping[str, Any]], *, both: bool = True) -> None:
    """Send each form; refused ones in Japanese as well."""
    for fields in forms:
        answer = browser.post(path, fields)
        if both and answer.status >= 400:
            browser.language = JAPANESE
            browser.post(path, fields)
            browser.language = ENGLISH


def account(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-account")
    erin, carol = people["erin"], people["carol"]
    profile: dict[str, Any] = {
        "name": "Erin Ellis",
        "username": "erin",
        "email": "erin@example.com",
        "bio": "Likes <b>",
    }
    send(erin, "/-/user_settings/profile", (
        profile, {**profile, "name": ""}, {**profile, "username": "alice"}, {**profile, "username": "a b"},
        {**profile, "email": "alice@example.com"}, {**profile, "email": "none"}, {**profile, "bio": "x" * 3000},
        {**profile, "private_profile": "y"}, {}, {**profile, "username": "erin2"}, profile,
    ))  # fmt: skip
    people["bob"].get("/erin")
    new = "another password of the recording 3"
    send(erin, "/-/user_settings/password/edit", (
        {}, {"current_password": "wrong", "password": new, "repeated": new},
        {"current_password": PASSWORD, "password": new, "repeated": "other"},
        {"current_password": PASSWORD, "password": "short", "repeated": "short"},
        {"current_password": PASSWORD, "password": "", "repeated": ""},
        {"current_password": PASSWORD, "password": new, "repeated": new},
    ))  # fmt: skip
    send(erin, "/-/user_settings/preferences", (
        {"language": "ja", "color_scheme": "dark"}, {"language": "", "color_scheme": "light"},
        {"language": "de", "color_scheme": "dark"},
        {"language": "en", "color_scheme": "pink"}, {}, {"language": "", "color_scheme": "auto"},
    ))  # fmt: skip
    tokens = "/-/user_settings/personal_access_tokens"
    for browser in (carol, people["root"]):
        send(browser, tokens, (
            {}, {"name": "n"}, {"scopes": ["api"]}, {"name": "n", "scopes": ["sudo"]},
            {"name": "n", "scopes": ["everything"]},
            {"name": "x" * 300, "scopes": ["api"]}, {"name": "n", "scopes": ["api"], "expires_on": "soon"},
            {"name": "n", "scopes": ["api"], "expires_on": "2035-01-01"},
            {"name": "past", "scopes": ["api"], "expires_on": day(-1)},
            {"name": "page <token>", "scopes": ["api", "read_api"], "expires_on": day(20), "description": "of a page"},
            {"name": "no expiry", "scopes": ["read_user"]},
        ))  # fmt: skip
    mine = world.by("carol").get("/personal_access_tokens?search=page").json
    token, foreign = mine[-1]["id"], world.ids["alice"]
    send(carol, f"{tokens}/{token}/rotate", ({}, {}))
    send(carol, f"{tokens}/{foreign}/rotate", ({},))
    newest = world.by("carol").get("/personal_access_tokens?search=page&state=active").json[-1]["id"]
    send(carol, f"{tokens}/{newest}/revoke", ({}, {}))
    send(carol, f"{tokens}/{foreign}/revoke", ({},))
    send(carol, f"{tokens}/999999/revoke", ({},))


def namespaces(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-namespaces")
    alice, bob, root, ids = people["alice"], people["bob"], people["root"], world.ids
    group: dict[str, Any] = {"name": "From a page", "path": "", "description": "x", "visibility": "0"}
    wrong = (
        {"name": ""}, {"path": "acme"}, {"path": "a b"}, {"path": "admin"}, {"name": "x" * 300}, {"visibility": "7"},
        {"visibility": ""}, {"name": "日本"}, {"name": "<>"}, {"path": "page.git"}, {"description": "x" * 600},
    )  # fmt: skip
    send(alice, "/groups/new", ({**group, **change} for change in wrong))
    send(alice, "/groups/new", (group, {**group, "name": "Métro tools"}))
    send(alice, f"/groups/new?parent_id={ids['acme']}", (
        {**group, "path": "research"}, {**group, "name": "Sub", "visibility": "20"}, {**group, "name": "Sub group"},
    ))  # fmt: skip
    send(bob, f"/groups/new?parent_id={ids['acme']}", (group,))
    project = {**group, "namespace_id": ids["acme"]}
    send(alice, "/projects/new",
        ({**project, **change} for change in (*wrong, {"namespace_id": 999999}, {"namespace_id": "x"},
                                                                        {"namespace_id": ids["open"]},
                                                                        {"path": "tools"})))  # fmt: skip
    send(
        alice,
        "/projects/new",
        (project, {**project, "name": "Métro page", "visibility": "20"}, {**project, "name": "Métro page"}),
    )
    send(bob, "/projects/new", (project, {**group, "name": "Bob's own"}))
    edit: dict[str, Any] = {
        "name": "Métro tools", "description": "Edited", "visibility": "0", "project_creation_level": "owner",
        "subgroup_creation_level": "maintainer",
    }  # fmt: skip
    send(alice, "/groups/metro-tools/-/edit", ({**edit, **change} for change in (
        {}, {"name": ""}, {"name": "x" * 300}, {"visibility": "20"}, {"visibility": "9"},
        {"project_creation_level": "x"},
        {"subgroup_creation_level": "developer"},
    )))  # fmt: skip
    send(alice, "/groups/acme/research/-/edit", ({**edit, "name": "Research", "visibility": "20"},))
    access = {"registry_access": "enabled", "anyone_may_pull": "y"}
    send(alice, "/acme/metro-page/edit", ({**edit, **access, **change} for change in (
        {}, {"name": ""}, {"visibility": "20"}, {"registry_access": "x"}, {"registry_access": "disabled"},
        {"registry_access": "private"},
    )))  # fmt: skip
    send(
        people["dave"],
        "/acme/tools/edit",
        ({**edit, "name": "Tools", "description": "Reading", "registry_access": "enabled"},),
    )
    send(bob, "/acme/tools/edit", ({**edit, **access},))
    for path in ("/groups/metro-tools/-/path", "/acme/metro-page/-/path"):
        send(alice, path, ({}, {"path": ""}, {"path": "a b"}, {"path": "acme"}, {"path": "empty"}, {"path": "metro"}))
        send(bob, path, ({"path": "bobs"},))
    for parent in ("x", "999999", str(ids["open"]), str(ids["acme"]), "0", ""):
        send(alice, "/groups/metro/-/transfer", ({"parent_id": parent},))
        send(alice, "/groups/acme/metro/-/transfer", ({"parent_id": parent},))
    send(alice, "/groups/acme/-/transfer", ({"parent_id": ids["research"]},))
    for verb in ("archive", "archive", "unarchive", "unarchive"):
        alice.post(f"/acme/empty/-/{verb}")
    bob.post("/acme/empty/-/archive")
    for path in ("/acme/tools/-/usage_quotas", "/groups/acme/-/usage_quotas"):
        for browser in (alice, root, bob):
            send(browser, path, ({"storage_size_limit": "x"}, {"storage_size_limit": "-1"},
                {"storage_size_limit": "1000000"},
                                 {"storage_size_limit": ""}))  # fmt: skip


def members(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-members")
    alice, dave, bob, ids = people["alice"], people["dave"], people["bob"], world.ids
    for path in ("/acme/tools/-/project_members", "/groups/acme/-/group_members"):
        send(alice, path, (
            {}, {"username": "nobody", "role": "30"}, {"username": "erin", "role": "60"},
            {"username": "erin", "role": "x"},
            {"username": "erin", "role": "30", "expires_on": "soon"},
            {"username": "erin", "role": "30", "expires_on": "2001-01-01"},
            {"username": "ERIN@example.com", "role": "20", "expires_on": day(9)}, {"username": "erin", "role": "30"},
            {"username": "bob", "role": "10"}, {"username": "henry", "role": "10"},
        ))  # fmt: skip
        send(bob, path, ({"username": "erin", "role": "50"},))
        send(dave, path, ({"username": "frank", "role": "50"}, {"username": "frank", "role": "30"}))
        one = f"{path}/{ids['erin']}"
        send(alice, one, (
            {"role": "10"}, {"role": "x"}, {"role": "30", "expires_on": "x"},
            {"role": "30", "expires_on": "2001-01-01"},
            {"role": "40", "expires_on": "2035-01-31"}, {},
        ))  # fmt: skip
        send(alice, f"{path}/999999", ({"role": "10"},))
        send(alice, f"{path}/{ids['alice']}", ({"role": "10"}, {"role": "50", "expires_on": day(9)}))
        alice.language = JAPANESE
        send(alice, f"{path}/{ids['alice']}", ({"role": "10"},))
        alice.language = ENGLISH
        send(dave, f"{path}/{ids['erin']}", ({"role": "50"},))
        for browser, who in (
            (bob, ids["erin"]),
            (alice, ids["erin"]),
            (alice, ids["erin"]),
            (alice, ids["alice"]),
            (alice, 999999),
        ):
            browser.post(f"{path}/{who}/remove")
    people["carol"].post(f"/acme/tools/-/project_members/{ids['carol']}/remove")


def deploy_tokens(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-deploy-tokens")
    alice, dave, bob, ids = people["alice"], people["dave"], people["bob"], world.ids
    for base, owner in (("/acme/tools/-", "tools"), ("/groups/acme/-", "acme")):
        path = f"{base}/deploy_tokens"
        forms = (
            {}, {"name": "n"}, {"scopes": ["read_registry"]}, {"name": "n", "scopes": ["api"]},
            {"name": "x" * 300, "scopes": ["read_registry"]},
            {"name": "n", "scopes": ["read_registry"], "username": "a b"},
            {"name": "n", "scopes": ["read_registry"], "expires_on": "x"},
            {"name": "past", "scopes": ["read_registry"], "expires_on": day(-1)},
            {"name": "page <token>", "scopes": ["read_package_registry", "write_package_registry"], "username": "page",
             "expires_on": day(40)},
        )  # fmt: skip
        send(alice, path, forms)
        send(dave, path, forms[-1:])
        send(bob, path, forms[-1:])
        for browser, number in (
            (bob, ids[f"{owner} both"]),
            (alice, ids[f"{owner} both"]),
            (alice, ids[f"{owner} both"]),
            (alice, 999999),
        ):
            browser.post(f"{path}/{number}/revoke")
        alice.get(f"{base}/settings/repository")


def settings(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-settings")
    alice, dave, bob, root, ids = people["alice"], people["dave"], people["bob"], people["root"], world.ids
    on, lock = {"pypi_package_requests_forwarding": "y"}, {"lock_pypi_package_requests_forwarding": "y"}
    acme, research = (
        "/groups/acme/-/settings/packages_and_registries",
        "/groups/acme/research/-/settings/packages_and_registries",
    )
    for path, form in (
        (acme, on),
        (acme, {}),
        (research, on),
        (acme, lock),
        (research, on),
        (research, {**on, **lock}),
        (acme, on),
    ):
        alice.post(path, form)
        alice.get(acme)
        alice.get(research)
        alice.get("/acme/tools/-/settings/packages_and_registries")
    bob.post(acme, on)
    for path in (acme, research):
        alice.post(f"{path}/inherit")
        bob.post(f"{path}/inherit")
    project = "/acme/tools/-/settings/packages_and_registries"
    for browser in (dave, bob):
        send(browser, f"{project}/access", ({"registry_access": "x"}, {}, {"registry_access": "private"},
                                            {"registry_access": "enabled", "anyone_may_pull": "y"},
                                            {"registry_access": "enabled"}))  # fmt: skip
        send(browser, f"{project}/duplicates", ({"identical_upload_accepted": "y"}, {}))
        send(browser, f"{project}/remarks", ({"strict_uploads": "y"}, {}))
        rule = {"pattern": "page-*", "package_type": "pypi", "push": "40", "delete": ""}
        send(browser, f"{project}/protection_rules", ({**rule, **change} for change in (
            {"pattern": ""}, {"pattern": "x" * 300}, {"pattern": "a b"}, {"push": "30"}, {"delete": "40"},
            {"push": "", "delete": ""},
            {"package_type": "npm"}, {}, {}, {"pattern": "both", "push": "60", "delete": "60"},
        )))  # fmt: skip
        send(browser, f"{project}/protection_rules/{ids['rule']}", ({**rule, **change} for change in (
            {}, {"pattern": "both"}, {"pattern": ""}, {"push": "x"}, {"pattern": "guarded*", "push": "50"},
        )))  # fmt: skip
    listed = world.by("alice").get(f"/projects/{ids['tools']}/packages/protection/rules").json
    for browser, number in (
        (bob, listed[-1]["id"]),
        (dave, listed[-1]["id"]),
        (dave, listed[-1]["id"]),
        (dave, 999999),
    ):
        browser.post(f"{project}/protection_rules/{number}/delete")
    root.get(project)


def job_tokens(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-job-tokens")
    dave, bob, ids = people["dave"], people["bob"], world.ids
    path = "/acme/tools/-/settings/ci_cd"
    for browser in (dave, bob):
        send(browser, f"{path}/job_token_permissions", ({"enforced": ""}, {"enforced": "x"}, {}, {"enforced": "y"}))
        send(browser, f"{path}/allowlist", (
            {}, {"path": "nothing"}, {"path": "open/hidden"}, {"path": "acme/tools"}, {"path": "alice"},
            {"path": "/acme/empty/"},
            {"path": "acme/empty"}, {"path": "acme/research"}, {"path": "open"}, {"path": "ACME/Research/Notebook"},
        ))  # fmt: skip
        for number in (ids["empty"], ids["empty"], ids["open"], 999999, ids["hidden"]):
            browser.post(f"{path}/allowlist/{number}/remove")
    job = world.by("bob").post(f"/projects/{ids['tools']}/jobs", {"name": "to <cancel>"}).json["id"]
    for browser, number in ((bob, job), (dave, job), (dave, job), (dave, 999999), (dave, ids["job notebook"])):
        browser.post(f"{path}/jobs/{number}/cancel")


def releases(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-releases")
    dave, bob, ids = people["dave"], people["bob"], world.ids
    package = f"/acme/tools/-/packages/{ids['signalbox 1.1.0']}"
    asset = f"/acme/tools/-/packages/{ids['signalbox 2.0.0']}/package_files/{ids['second file']}"
    for browser in (bob, dave):
        for path in (package, asset):
            send(browser, f"{path}/yank", ({"reason": "x" * 3000}, {"reason": "Broken <on> a page"}, {}))
            browser.get(path if path == package else package)
            send(browser, f"{path}/unyank", ({}, {}))
        send(browser, f"{package}/status", (
            {}, {"name_status": "gone"}, {"name_status": "archived", "reason": "x" * 3000},
            {"name_status": "archived", "reason": "Over"},
            {"name_status": "deprecated", "reason": "Old <b>"}, {"name_status": "quarantined"},
            {"name_status": "active", "reason": "why"},
        ))  # fmt: skip
    for path in ("/acme/tools/-/packages/999999/yank", "/acme/tools/-/packages/999999/status"):
        send(dave, path, ({"reason": "x", "name_status": "active"},))


def administration(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-administration")
    root, alice = people["root"], people["alice"]
    user: dict[str, Any] = {
        "name": "Page User", "username": "paul", "email": "paul@example.com", "projects_limit": "5", "note": "by page",
        "can_create_group": "y",
    }  # fmt: skip
    wrong = (
        {"name": ""}, {"username": ""}, {"email": ""}, {"username": "alice"}, {"username": "a b"}, {"username": "acme"},
        {"email": "alice@example.com"}, {"email": "x"}, {"projects_limit": "-1"}, {"projects_limit": "x"},
        {"password": "short"},
        {"name": "x" * 300},
    )  # fmt: skip
    send(root, "/admin/users/new", ({**user, **change} for change in wrong))
    send(
        root,
        "/admin/users/new",
        (user, {**user, "username": "quinn", "email": "quinn@example.com", "password": PASSWORD}),
    )
    send(alice, "/admin/users/new", (user,))
    send(
        root,
        "/admin/users/paul/edit",
        ({**user, **change} for change in (*wrong, {"note": "changed"}, {"is_admin": "y"}, {})),
    )
    send(root, "/admin/users/root/edit", ({**user, "username": "root", "email": "root@example.com"},))
    send(alice, "/admin/users/paul/edit", (user,))
    for verb in ("block", "block", "unblock", "unblock", "deactivate", "activate", "activate", "ban"):
        root.post(f"/admin/users/paul/{verb}")
    root.language = JAPANESE
    for verb in ("block", "unblock", "deactivate", "activate"):
        root.post(f"/admin/users/root/{verb}")
        root.post(f"/admin/users/paul/{verb}")
    root.language = ENGLISH
    alice.post("/admin/users/paul/block")
    root.post("/admin/users/paul/reset_password")
    root.post("/admin/users/nobody/reset_password")
    quinn = Browser(world).sign_in("quinn")
    for path in ("/", "/help", "/acme", "/-/user_settings/profile"):
        quinn.get(path)
    quinn.post(
        "/-/user_settings/password/edit", {"current_password": PASSWORD, "password": PASSWORD, "repeated": PASSWORD}
    )
    new = "quite another password 4"
    quinn.post("/-/user_settings/password/edit", {"current_password": PASSWORD, "password": new, "repeated": new})
    for name in ("root", "quinn", "nobody", "quinn"):
        root.post(f"/admin/users/{name}/delete")
    quinn.get("/")
    alice.post("/admin/users/paul/delete")
    general: dict[str, Any] = {
        "default_project_visibility": "0", "default_group_visibility": "0", "restricted_visibility_levels": [],
        "default_project_creation": "developer", "can_create_group": "y", "require_personal_access_token_expiry": "y",
        "max_personal_access_token_lifetime": "365", "personal_access_token_prefix": "glpat-",
    }  # fmt: skip
    send(root, "/admin/application_settings/general", ({**general, **change} for change in (
        {"default_project_visibility": "5"}, {"default_group_visibility": ""}, {"restricted_visibility_levels": ["x"]},
        {"restricted_visibility_levels": ["private"]}, {"default_project_creation": "x"},
        {"max_personal_access_token_lifetime": "0"},
        {"max_personal_access_token_lifetime": "x"}, {"personal_access_token_prefix": "x" * 40},
        {"personal_access_token_prefix": "a b"},
        {"restricted_visibility_levels": ["public"]}, {"personal_access_token_prefix": ""}, {},
    )))  # fmt: skip
    send(alice, "/admin/application_settings/general", (general,))
    registry = {"pypi_package_requests_forwarding": "y", "package_registry_allow_anyone_to_pull_option": "y"}
    send(root, "/admin/application_settings/ci_cd", (
        {}, {**registry, "lock_pypi_package_requests_forwarding": "y", "allow_guest_plus_roles_to_pull_packages": "y"},
        registry,
    ))  # fmt: skip
    limits = {"pypi_max_file_size": "100000", "project_storage_size_limit": "0", "group_storage_size_limit": "0"}
    send(root, "/admin/plan_limits", ({**limits, **change} for change in (
        {"pypi_max_file_size": "x"}, {"pypi_max_file_size": "-1"}, {"project_storage_size_limit": ""},
        {"group_storage_size_limit": "x"},
        {}, {"pypi_max_file_size": "0"},
    )))  # fmt: skip
    send(alice, "/admin/plan_limits", (limits,))


def deletions(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-deletions")
    alice, bob, dave, ids = people["alice"], people["bob"], people["dave"], world.ids
    project, group = "/acme/tools/-/packages", "/groups/acme/-/packages"
    box = f"{project}/{ids['signalbox 2.0.0']}"
    for browser in (bob, dave):
        send(browser, f"{box}/package_files/delete", ({}, {"id": "x"}, {"id": ids["second file"]}))
        browser.post(f"{project}/delete", {"id": [ids["driver-05 1.0"], ids["driver-06 1.0"]]})
        browser.post(f"{project}/delete", {"id": ids["guarded-thing 1.0"]})
        browser.post(f"{project}/delete", {})
    alice.post(f"{group}/delete", {"id": [ids["driver-07 1.0"], ids["fieldnotes"], 999999]})
    bob.post(f"{group}/delete", {"id": ids["driver-08 1.0"]})
    alice.get(f"{project}?page=2")
    alice.get(box)
    for path, confirmation in (("/acme/metro/-/delete", "acme/metro"),
        ("/groups/acme/sub-group/-/delete", "acme/sub-group"),
                               ("/groups/from-a-page/-/delete", "from-a-page")):  # fmt: skip
        send(bob, path, ({"confirmation": confirmation},))
        send(alice, path, ({}, {"confirmation": "wrong"}, {"confirmation": confirmation}))


def errors(world: World, people: Mapping[str, Browser]) -> None:
    world.recorder.part("pages-errors")
    visitor = Browser(world)
    for browser in (people["alice"], visitor):
        for language in (ENGLISH, JAPANESE):
            browser.language = language
            for path in (
                "/nothing", "/nothing/here", "/acme/nothing", "/acme/-/nothing", "/acme/tools/-/nothing",
                "/admin/nothing",
                "/acme%2Ftools", "/acme//tools", "//acme", "/acme/tools/-/packages/x", "/acme/%00", "/%ff",
                "/acme.git", "/-/nothing",
                "/users/sign_up", "/groups", "/projects", "/groups/", "/static/nothing.css", "/static/../app.py",
                "/favicon.ico",
                "/robots.txt", "/acme/tools/-/packages/12345678901", "/search?search=%00", "/explore?page=0",
                "/explore?page=-1",
            ):  # fmt: skip
                browser.get(path)
            for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
                for path in ("/explore", "/acme/tools", "/groups/new"):
                    browser.get(path, method)
            browser.post("/groups/new", {"name": "x"}, token="")
            browser.post("/explore", {})
            browser.post("/nothing", {})
        browser.language = ENGLISH
    for path in (
        "/-/health",
        "/-/liveness",
        "/-/readiness",
        "/-/readiness?all=1",
        "/-/readiness?all=x",
        "/health_check",
    ):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            visitor.get(path, method)
        visitor.get(path, Accept="application/json")
    for path in ("/static/app.css", "/static/app.js", "/static/icons.svg", "/static/app.css?v=0", "/static/"):
        for method in ("HEAD", "OPTIONS", "POST"):
            visitor.get(path, method)
    for headers in (
        {"X_Forwarded_Proto": "https"}, {"Referer": "https://elsewhere.test"}, {"Host": "registry.example.com"},
        {"Cookie": "registry_session=forged"}, {"Accept": "application/json"}, {"Accept-Encoding": "gzip"},
        {"Accept-Language": "de"},
        {"Accept-Language": "*"}, {"Accept-Language": "de, ja;q=0.5"}, {"Accept-Language": "nonsense;;q=x"},
        {"PRIVATE-TOKEN": "x"},
    ):  # fmt: skip
        visitor.get("/explore", "GET", **{name.replace("_", "-"): value for name, value in headers.items()})
    people["alice"].get(f"/api/v4/projects/{world.ids['tools']}/packages?per_page=1")
    people["alice"].get("/api/v4/user")
    people["alice"].post("/api/v4/groups", {"name": "By cookie", "path": "by-cookie"})
    _raw(world)
    visitor.post("/users/sign_in", {"login": "x" * (5 << 20)})


def _raw(world: World) -> None:
    """Send malformed and unusual requests."""
    raw = world.recorder.raw
    host = b"Host: localhost\r\nConnection: close\r\n"
    post = b"POST /api/v4/users HTTP/1.1\r\n" + host
    for name, sent in {
        "nonsense": b"nonsense\r\n\r\n", "no version": b"GET /explore\r\n\r\n",
        "no host": b"GET /help HTTP/1.1\r\nConnection: close\r\n\r\n",
        "http 1.0": b"GET /-/health HTTP/1.0\r\n\r\n", "http 3": b"GET / HTTP/3.0\r\n\r\n",
        "absolute": b"GET http://other.test/-/health HTTP/1.1\r\n" + host + b"\r\n",
        "long header": b"GET /-/health HTTP/1.1\r\n" + host + b"X-Long: " + b"x" * 300_000 + b"\r\n\r\n",
        "two lengths": post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "chunked": post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "bad chunk": post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "gzip coding": post + b"Transfer-Encoding: gzip\r\n\r\nx",
        "expect": post + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        "large": post + b"Content-Length: 99999999\r\n\r\n",
        "bad header": b"GET /-/health HTTP/1.1\r\n" + host + b"No colon\r\n\r\n",
        "star": b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n", "connect": b"CONNECT a:1 HTTP/1.1\r\n" + host + b"\r\n",
    }.items():  # fmt: skip
        raw(name, sent)


def play_after_downloads(world: World) -> None:
    """Counts of downloads, of requests, and every audit event; the server has been started again before."""
    world.recorder.part("pages-after-downloads")
    root, ids = Browser(world).sign_in("root", ROOT_PASSWORD), world.ids
    for number in (ids["signalbox 2.0.0"], ids["driver-02 1.0"]):
        root.get(f"/acme/tools/-/packages/{number}")
        world.root.get(f"/projects/{ids['tools']}/packages/{number}")
    root.get(f"/acme/tools/-/package_files/{ids['file']}/download")
    root.get("/acme/tools/-/package_files/999999/download")
    root.get("/-/metrics")
    pages = range(1, 200)
    for page in pages:
        if f"page={page + 1}" not in root.get(f"/admin/audit_log?page={page}").text:
            break
