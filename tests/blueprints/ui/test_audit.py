"""Audit events of groups and projects, their words, filters, and files."""

from __future__ import annotations

import ast
import csv
import io
from dataclasses import fields

import pytest
from flask import Flask

from registry.blueprints.ui.event_details import LABELS, author_name, event_details
from registry.blueprints.ui.wording import EVENTS
from registry.domain import audit, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts.users import UserChanges
from registry.domain.advisories.loading import Counts
from registry.domain.instance import InstanceChanges
from registry.domain.namespaces import GroupChanges, ProjectChanges
from registry.domain.packages import releases
from registry.domain.packages.protection import RuleChanges
from registry.models import AuditEvent, Group, Project, Role, User, UserState
from tests import factories
from tests.builders import build_wheel
from tests.source import trees

# Actions that are put together from parts.
COMPOSED = {
    "package_yanked", "package_unyanked", "package_file_yanked", "package_file_unyanked",
    *(f"user_{state}" for state in UserState),
    *(f"{kind}_{done}" for kind in ("group", "project") for done in ("changed", "destroyed", "visibility_changed")),
}  # fmt: skip


def rows(page) -> list[str]:
    return [" ".join("".join(row.itertext()).split()) for row in page.tree.iter("tr")][1:]


def calls(*names: str) -> list[ast.Call]:
    """The calls of these functions of ``audit``."""
    return [
        node
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names
        if ast.unparse(node.func.value) == "audit"
    ]


def recorded_actions() -> set[str]:
    """The actions that the program records as plain texts."""
    return {
        value.value
        for call in calls("record", "record_change")
        for value in ast.walk(call.args[1])
        if isinstance(value, ast.Constant) and "_" in value.value.strip("_")
    } - {"visibility_changed"}


def test_every_action_has_words(app: Flask) -> None:
    plain = {action for action in recorded_actions() if not action.startswith("_") and not action.endswith("_")}

    assert plain
    assert plain | COMPOSED <= {*EVENTS}


def recorded_names() -> set[str]:
    """The names of details that the program records by keyword."""
    return {keyword.arg for call in calls("record") for keyword in call.keywords if keyword.arg is not None}


def test_every_detail_has_a_label() -> None:
    changes = (GroupChanges, ProjectChanges, InstanceChanges, RuleChanges, UserChanges, Counts)

    names = recorded_names() | {one.name for kind in changes for one in fields(kind)}

    assert {name.removeprefix("lock_") for name in names} - LABELS.keys() == set()


def detail(app: Flask, language: str, action: str, **details: object) -> str:
    with app.app_context(), app.test_request_context(headers={"Accept-Language": language}):
        found = event_details(AuditEvent(action=action, details=details))
        return " · ".join(f"{each.label}: {each.value}" for each in found)


@pytest.mark.parametrize(
    ("action", "details", "english", "japanese"),
    [
        ("member_changed", {"before": "Guest", "after": "Owner", "expires_on": None},  # until 2026-11-29
         "Before: Guest · After: Owner",
         "変更前: ゲスト · 変更後: オーナー"),
        ("member_changed", {"role": {"before": "Guest", "after": "Owner"}}, "Role: Guest → Owner",
         "ロール: ゲスト → オーナー"),
        ("group_transferred", {"before": "private", "changed": {}, "removed": []},
         "Before: private", "変更前: private"),
        ("project_changed", {"registry_access": {"before": "private", "after": "public"}},
         "Package registry: Only project members → Anyone", "パッケージレジストリ: プロジェクトメンバーのみ → 誰でも"),
        ("package_published", {"size_bytes": 2048}, "Size: 2.00 KiB", "サイズ: 2.00 KiB"),
        ("instance_settings_changed", {"lock_pypi_reserved_names": {"before": False, "after": True}},
         "Reserved names (enforced): No → Yes", "予約された名前（強制）: いいえ → はい"),
        ("user_changed", {"fields": ["bio", "is_admin"]}, "Changed fields: Bio, Administrator",
         "変更された項目: 自己紹介, 管理者"),
        ("trusted_publisher_added", {"claims": {"ref": "refs/heads/*", "sub": "ci"}},
         "Claims: ref = refs/heads/*, sub = ci", "クレーム: ref = refs/heads/*, sub = ci"),
        ("of_another_version", {"some_code": [1, {"before": "a"}]}, "some code: 1, a → –", "some code: 1, a → –"),
    ],
)  # fmt: skip
def test_details_are_words_in_the_language_of_the_request(
    app: Flask, action: str, details: dict[str, object], english: str, japanese: str
) -> None:
    assert detail(app, "en", action, **details) == english
    assert detail(app, "ja", action, **details) == japanese


@pytest.mark.parametrize(
    ("author", "is_user", "english", "japanese"),
    [
        ("olivia", True, "olivia", "olivia"),
        ("shell", True, "shell", "shell"),
        ("shell", False, "Command line", "コマンドライン"),
        ("olivia (sudo by root)", True, "olivia (sudo by root)", "olivia（rootがsudoで操作）"),
        ("deploy token 7", False, "Deploy token 7 (ci)", "デプロイトークン7 (ci)"),
        ("deploy token 8", False, "Deploy token 8", "デプロイトークン8"),
        ("trusted publisher", False, "Trusted publisher", "信頼する公開元"),
        ("trusted reader repo:acme", False, "Trusted reader repo:acme", "信頼する読み取り元repo:acme"),
        ("OpenID Connect", False, "OpenID Connect", "OpenID Connect"),
    ],
)
def test_authors_are_words_in_the_language_of_the_request(
    app: Flask, author: str, is_user: bool, english: str, japanese: str
) -> None:
    event = AuditEvent(author=author, author_id=1 if is_user else None)

    for language, words in (("en", english), ("ja", japanese)):
        with app.app_context(), app.test_request_context(headers={"Accept-Language": language}):
            assert author_name(event, {7: "ci"}) == words


def test_events_are_found_by_the_words_shown_and_files_lead_to_their_version(
    browser_of, owner: User, events: Project
) -> None:
    by_token = factories.by_deploy_token(events, "write_package_registry")
    audit.record(by_token, "package_file_yanked", "of_token-1.0.whl", events, package="of-token 1.0")
    factories.commit()
    browser = browser_of(owner)

    def found(language: str, query: str) -> list[str]:
        return rows(browser.get(f"/acme/tools/-/audit_events?{query}", headers={"Accept-Language": language}))

    assert len(found("en", "search=Yanked a")) == 1
    assert len(found("ja", "search=ファイルを取り下げ")) == 1
    assert len(found("ja", "author=デプロイ")) == len(found("en", "author=Deploy token")) == 1
    links = browser.get("/acme/tools/-/audit_events?action=package_file_yanked").links
    assert "/acme/tools/-/packages/names/of-token?version=1.0" in links


@pytest.fixture
def events(project: Project, owner: User) -> Project:
    by = factories.signed_in(owner)
    factories.published(project, build_wheel("demo"), by=by)
    releases.set_name_status(project, "demo", releases.NameStatus.DEPRECATED, "=cmd", by=by)
    return project


def test_a_project_shows_its_own_events_with_words_and_links(browser_of, owner: User, events: Project) -> None:
    elsewhere = factories.project("elsewhere", parent=factories.group("other"))
    factories.published(elsewhere, build_wheel("hidden"))

    page = browser_of(owner).get("/acme/tools/-/audit_events")

    assert "olivia Published a package demo 1.0" in rows(page)[1]
    assert "olivia Changed the status of a package name demo" in rows(page)[0]
    assert "hidden" not in page.text
    name_url = "/acme/tools/-/packages/names/demo"
    assert {"/olivia", f"{name_url}?version=1.0", name_url} <= {*page.links}
    assert "/acme/tools/-/audit_events" in browser_of(owner).get("/acme/tools").links


def test_a_group_shows_the_events_below_it(browser_of, owner: User, events: Project) -> None:
    page = browser_of(owner).get("/groups/acme/-/audit_events")

    assert any("Published a package demo 1.0 · acme/tools" in row for row in rows(page))
    assert any("Created a group acme" in row for row in rows(page))


@pytest.mark.parametrize("path", ["/acme/tools/-/audit_events", "/acme/tools/-/audit_events.csv"])
def test_events_are_for_owners_only(browser, browser_of, maintainer: User, outsider: User, events: Project, path: str):
    assert browser.get(path).status_code == 303
    assert browser_of(outsider).get(path).status_code == 404
    assert browser_of(maintainer).get(path).status_code == 403
    assert "audit_events" not in " ".join(browser_of(maintainer).get("/acme/tools").links)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("action=package_published", 1), ("author=LIVI", 2), ("author=nobody", 0), ("search=demo&author=olivia", 2),
        ("from=2000-01-01&to=9999-12-31&action=package_published", 1), ("to=2000-01-01", 0), ("from=9999-12-31", 0),
        ("from=x&to=%00&action=package_published&page=-1", 1), ("action=%00%27&search=%25", 0),
    ],
)  # fmt: skip
def test_events_are_filtered(browser_of, owner: User, events: Project, query: str, number: int) -> None:
    assert len(rows(browser_of(owner).get(f"/acme/tools/-/audit_events?{query}"))) == number


def test_the_file_has_the_filtered_events_and_no_formulas(app: Flask, owner: User, group: Group, client) -> None:
    project = factories.project("formulas", parent=group)
    author = factories.user("dave")
    namespaces.add_member(project, author, Role.DEVELOPER, by=SHELL)
    for target in ("=HYPERLINK()", "+1", "-1", "@x", "\tx", " =x", "demo 1.0"):
        audit.record(SHELL, "package_published", target, project)
    factories.commit()
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(owner)

    response = client.get("/acme/formulas/-/audit_events.csv?action=package_published")

    lines = list(csv.reader(io.StringIO(response.get_data(as_text=True).removeprefix("\ufeff"))))
    assert response.content_type == "text/csv; charset=utf-8"
    assert "attachment" in response.headers["Content-Disposition"]
    assert lines[0][:4] == ["Time", "Author", "Action", "Target"]
    targets = ["'=HYPERLINK()", "'+1", "'-1", "'@x", "'\tx", "' =x", "demo 1.0"]
    assert [line[3] for line in reversed(lines[1:])] == targets
    assert lines[1][5] == "acme/formulas"
    assert (lines[0][7], lines[1][2], lines[1][7]) == ("Action code", "Published a package", "package_published")


def test_the_file_has_details_in_words_and_as_they_are_recorded(client, owner: User, project: Project) -> None:
    audit.record(SHELL, "package_published", "demo 1.0", project, filename="demo.whl", size_bytes=2048)
    factories.commit()
    with client.session_transaction() as session:
        session["_user_id"] = factories.session(owner)

    response = client.get("/acme/tools/-/audit_events.csv?action=package_published")

    (line,) = csv.DictReader(io.StringIO(response.get_data(as_text=True).removeprefix("\ufeff")))
    assert line["Details"] == "File: demo.whl; Size: 2.00 KiB"
    assert line["Details (JSON)"] == '{"filename": "demo.whl", "size_bytes": 2048}'
