"""Trusting CI jobs under Settings › CI/CD, in both languages, with and without scripts."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Page, expect

from tests.acceptance.servers import Namespace, RunningServer
from tests.browser.windows import DARK, IN_BOTH_WAYS, LIGHT, Desk, Look, Window


@dataclass(frozen=True)
class Words:
    """The words of the pages in a language."""

    add: str
    repository: str
    workflow: str
    project: str
    wrong: str
    help: str
    added: str
    reader_added: str
    delete: str
    deleted: str
    reader_deleted: str


WORDS = {
    LIGHT: Words(
        "Add {}", "Repository", "Workflow file", "Project",
        "No token has 'demo' for repository. Enter it like acme/demo", "How to configure the job",
        "The trusted publisher was added.", "The trusted reader was added.", "Delete",
        "The trusted publisher was deleted.", "The trusted reader was deleted.",
    ),
    DARK: Words(
        "{}を追加", "リポジトリ", "ワークフローファイル", "プロジェクト",
        "repositoryが「demo」のトークンはありません。次のように入力してください: acme/demo", "ジョブの設定方法",
        "信頼する公開元を追加しました。", "信頼する読み取り元を追加しました。", "削除",
        "信頼する公開元を削除しました。", "信頼する読み取り元を削除しました。",
    ),
}  # fmt: skip


@IN_BOTH_WAYS
def test_a_publisher_of_a_project_and_a_reader_of_its_group_are_added_and_deleted(
    desk: Desk, server: RunningServer, look: Look, scripts: bool
) -> None:
    words, group = WORDS[look], server.group()
    project = server.project(group=group)
    context = desk.context("root", look, java_script_enabled=scripts)
    page = context.new_page()
    window = Window(page, look, desk.pictures)

    publishers = f"/{project.full_path}/-/settings/ci_cd#trusted-publishers"
    add_publisher(page, publishers, words)
    assert claims(server, project, "trusted_publishers") == [
        {"repository": "acme/demo", "workflow_ref": "acme/demo/.github/workflows/release.yml@*"}
    ]
    delete(page, "repository=acme/demo", words.delete, words.deleted)

    add_reader(page, f"/groups/{group.full_path}/-/settings/ci_cd#trusted-readers", words)
    assert claims(server, group, "trusted_readers") == [{"project_path": "acme/demo", "ref_protected": "true"}]
    delete(page, "project_path=acme/demo", words.delete, words.reader_deleted)

    assert claims(server, project, "trusted_publishers") == claims(server, group, "trusted_readers") == []
    assert window.problems == []
    context.close()


def add_publisher(page: Page, settings: str, words: Words) -> None:
    """Enter a repository without its owner first, which is refused next to the field."""
    page.goto(settings)
    page.locator("#trusted-publishers").get_by_role("link", name=words.add.format("GitHub Actions")).click()
    page.get_by_role("link", name=words.help).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("GitHub Actions")
    page.go_back()

    repository = page.get_by_label(words.repository, exact=True)
    repository.fill("demo")
    page.get_by_label(words.workflow).fill("release.yml")
    page.get_by_role("main").locator("button[type=submit]").click()
    expect(page.get_by_text(words.wrong)).to_be_visible()
    repository.fill("acme/demo")
    page.get_by_role("main").locator("button[type=submit]").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(words.added)


def add_reader(page: Page, settings: str, words: Words) -> None:
    page.goto(settings)
    page.locator("#trusted-readers").get_by_role("link", name=words.add.format("GitLab CI/CD")).click()
    page.get_by_label(words.project).fill("acme/demo")
    page.get_by_role("main").locator("button[type=submit]").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(words.reader_added)


def delete(page: Page, claim: str, word: str, confirmation: str) -> None:
    """It asks first, in a dialog or below the button."""
    row = page.get_by_role("row").filter(has_text=claim)
    row.locator("summary").click()
    page.locator(".confirm-panel:visible").get_by_role("button", name=word, exact=True).click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(confirmation)
    expect(row).to_have_count(0)


def claims(server: RunningServer, namespace: Namespace, kind: str) -> list[dict[str, str]]:
    return [each["claims"] for each in server.as_root("GET", f"{namespace.rest_path}/{kind}")]
