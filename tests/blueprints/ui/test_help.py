"""Help: the chapters in both languages, which are true of this installation."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from werkzeug.exceptions import HTTPException

from registry import create_app
from registry.blueprints.ui.help import CHAPTERS
from registry.domain import forwarding, instance
from registry.domain.access import SHELL
from registry.domain.accounts import users
from registry.domain.packages.names import is_valid_version
from registry.models import Role, Visibility
from tests import factories
from tests.builders import build_wheel
from tests.tables import each

CHAPTER_NAMES = [chapter.name for chapter in CHAPTERS]
TEMPLATES = Path(__file__).resolve().parents[3] / "templates" / "help"


def code(page) -> list[str]:
    return ["".join(element.itertext()) for element in page.tree.iter("pre")]


def ids(page) -> list[str]:
    return [element.get("id") for element in page.tree.iter() if element.get("id")]


def attributes(page, tag: str, name: str) -> list[str]:
    return [element.get(name) for element in page.tree.iter(tag)]


def test_short_code_in_a_sentence_is_kept_in_one_line(browser):
    page = browser.get("/help/install")

    marked = {"".join(found.itertext()): found.get("class") for found in page.tree.iter("code")}
    assert marked["--index-url"] == "whole"
    assert {marked[example] for example in code(page)} == {None}
    assert {words: kind for words, kind in marked.items() if kind and len(words) > 28} == {}


@each("name", CHAPTER_NAMES)
def test_a_chapter_has_the_same_content_in_every_language(browser, app, name):
    english, japanese = (
        browser.get(f"/help/{name}", headers={"Accept-Language": language}) for language in ("en", "ja")
    )

    assert (english.status_code, japanese.status_code) == (200, 200)
    assert ids(english) == ids(japanese)
    assert code(english) == code(japanese)
    assert english.links == japanese.links
    for class_name in ("version-valid", "version-invalid"):
        assert len(english.by_class(class_name)) == len(japanese.by_class(class_name))


@each("name", CHAPTER_NAMES)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_chapter_lists_its_topics(browser, app, name, language):
    page = browser.get(f"/help/{name}", headers={"Accept-Language": language})

    [contents] = page.by_class("guide-contents")
    [text] = page.by_class("guide-text")
    headings = {heading.get("id"): "".join(heading.itertext()) for heading in text.iter("h2")}
    assert {link.get("href"): "".join(link.itertext()) for link in contents.iter("a")} == {
        f"#{id_}": words for id_, words in headings.items()
    }
    assert headings


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_first_page_leads_to_every_chapter_in_order(browser, app, language):
    page = browser.get("/help", headers={"Accept-Language": language})

    assert [link for link in page.links if link.startswith("/help/")] == [f"/help/{name}" for name in CHAPTER_NAMES]


def test_chapters_follow_each_other(browser, app):
    page, followed = browser.get(f"/help/{CHAPTER_NAMES[0]}"), [CHAPTER_NAMES[0]]

    while following := [link.get("href") for link in page.tree.iter("a") if link.get("rel") == "next"]:
        followed.append(following[0].removeprefix("/help/"))
        page = browser.get(following[0])

    assert followed == CHAPTER_NAMES


def test_an_unknown_chapter_is_not_found(browser, app):
    assert browser.get("/help/cooking").status_code == 404


def view_of(app, path: str, method: str) -> str | None:
    try:
        return app.url_map.bind("localhost").match(path, method=method)[0]
    except HTTPException:
        return None


@each("name", CHAPTER_NAMES)
def test_every_link_leads_to_a_page_and_its_heading(browser, app, name):
    for link in browser.get(f"/help/{name}").links:
        parts = urlsplit(link)
        if parts.netloc or not parts.path:
            continue
        assert view_of(app, parts.path, "GET"), link
        if parts.fragment:
            assert parts.fragment in ids(browser.get(parts.path)), link


def addresses(example: str) -> Iterator[tuple[str, str]]:
    """(method, path) of every address of the registry in an example, with a number for each placeholder."""
    for line in example.replace("\\\n", " ").splitlines():
        for found in re.findall(r"http://(?:[^@\s/]*@)?localhost(/[^\s\"']*)", line):
            path = re.sub(r"<\w+>|\$\w+", "1", found).partition("?")[0].rstrip(")")
            chosen = re.search(r"--request (\w+)", line)
            method = chosen[1] if chosen else "POST" if "--data" in line or "twine upload" in line else "GET"
            is_upload = path.endswith("/projects/1/packages/pypi")
            yield "POST" if is_upload else method, path


@each("name", CHAPTER_NAMES)
def test_every_address_in_an_example_is_answered(browser, app, name):
    shown = [address for example in code(browser.get(f"/help/{name}")) for address in addresses(example)]

    endpoints = [path for path in shown if not path[1].endswith("/-/packages/pypi")]
    assert [address for address in endpoints if not view_of(app, address[1], address[0])] == []


def test_the_addresses_in_examples_are_recognized(browser, app):
    shown = {address for example in code(browser.get("/help/authentication")) for address in addresses(example)}

    assert shown == {
        ("POST", "/api/v4/projects/1/packages/pypi"),
        ("POST", "/api/v4/projects/1/jobs"),
        ("POST", "/api/v4/projects/1/jobs/1/finish"),
        ("GET", "/api/v4/groups/1/-/packages/pypi"),
    }


def operations(rule) -> Iterator[tuple[str, str]]:
    """(method, path below /api/v4) of a route, with a star for each parameter."""
    path = rule.rule.removeprefix("/api/v4")
    alternatives = re.search(r"<any\(([\w,]+)\):\w+>", path)
    for alternative in alternatives[1].split(",") if alternatives else [""]:
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield method, re.sub(r"<[^>]+>", "*", path.replace(alternatives[0], alternative) if alternatives else path)


def test_the_chapter_on_the_rest_api_lists_all_of_it(browser, app):
    page = browser.get("/help/rest-api")

    listed = []
    for row in page.tree.findall(".//tbody/tr"):
        paths, methods, _ = row.findall("td")
        for path in paths.iter("code"):
            shown = "".join(path.itertext())
            listed += [(method, re.sub(r":\w+", "*", shown)) for method in methods.text.split(", ")]
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/v4/")]
    assert sorted(listed) == sorted(operation for rule in rules for operation in operations(rule))


def test_every_example_is_shown_somewhere():
    texts = "".join(path.read_text() for path in TEMPLATES.glob("en/*.html"))

    files = {path.name for path in (TEMPLATES / "examples").iterdir()}

    assert set(re.findall(r'code\("([\w.]+)"\)', texts)) == files


def test_the_commands_of_the_shell_work_as_described(browser, app, owner, tmp_path):
    runner, elsewhere = (to.test_cli_runner() for to in (app, create_app({"INSTANCE_PATH": tmp_path / "elsewhere"})))
    lines = [
        line for example in code(browser.get("/help/administration"))
        for line in example.replace("<package_name>", "demo").replace("/backups", str(tmp_path)).splitlines()
        if "packages import" not in line
    ]  # fmt: skip
    [of_a_package] = [line for line in lines if "packages delete" in line]
    lines.remove(of_a_package)

    listed, failed = "", []
    for line in lines:
        shell = elsewhere if "backup restore" in line else runner
        result = shell.invoke(args=shlex.split(line.replace("revoke 1", f"revoke {listed.partition(chr(9))[0]}"))[1:])
        listed = result.stdout if "tokens list" in line else listed
        failed += [line] if result.exit_code else []

    assert len(lines) > 10
    assert failed == []
    refused = runner.invoke(args=[*shlex.split(of_a_package)[1:], "--yes"])
    assert "There is no package demo 1.0.0 in acme/tools." in refused.stderr


def test_the_commands_of_the_shell_for_a_package_work_as_described(browser, app, project, tmp_path, monkeypatch):
    file = build_wheel("demo", "1.0.0")
    factories.published(project, file)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / file.filename).write_bytes(file.content)
    monkeypatch.chdir(tmp_path)
    lines = [
        line for chapter in ("publish", "releases") for example in code(browser.get(f"/help/{chapter}"))
        for line in example.replace("<package_name>", "demo").replace("<file_name>", file.filename).splitlines()
        if line.startswith("pypi-registry ")
    ]  # fmt: skip

    typed = [shlex.split(line.replace("dist/*", f"dist/{file.filename}"))[1:] for line in lines]
    answers = [app.test_cli_runner().invoke(args=arguments) for arguments in typed]

    assert [(answer.exit_code, answer.stdout) for answer in answers] == [
        (0, f"dist/{file.filename}\tok\n"),
        (0, "Yanked demo 1.0.0 in acme/tools.\n"),
        (0, f"Unyanked {file.filename} in acme/tools.\n"),
        (0, "demo in acme/tools is archived: Goes on under another name\n"),
        (0, "demo in acme/tools is archived: Goes on under another name\n"),
    ]


def test_the_commands_of_the_shell_for_trusted_jobs_work_as_described(browser, app, project):
    lines = [
        line for example in code(browser.get("/help/trusted-publishing"))
        for line in example.replace("\\\n", " ").replace("acme/demo", project.full_path).splitlines()
        if line.startswith("pypi-registry ")
    ]  # fmt: skip

    answers = [app.test_cli_runner().invoke(args=shlex.split(line)[1:]) for line in lines]

    assert [answer.exit_code for answer in answers] == [0, 0, 0]
    assert answers[0].stdout.startswith("Added trusted publisher")
    assert "ref_protected=true" in answers[1].stdout
    assert answers[2].stdout.startswith("Added trusted reader")


def test_the_commands_that_import_work_as_described(browser, app, project, served, gitlab, tmp_path):
    files = [build_wheel("demo", "1.0"), build_wheel("other", "1.0")]
    for file in files:
        (tmp_path / file.filename).write_bytes(file.content)
    served.offer(*files, build_wheel("demo", "2.0"))
    gitlab.publish(gitlab.add_project("team/tools"), *files, build_wheel("demo", "3.0"))
    filled_in = {
        "<folder>": str(tmp_path), "<index_url>": served.url, "<package_name>": "demo", "<username>": "ada",
        "<gitlab_url>": gitlab.url, "<gitlab_path>": "team/tools",
    }  # fmt: skip
    lines = [
        line for example in code(browser.get("/help/administration")) for line in example.splitlines()
        if "packages import" in line
    ]  # fmt: skip

    printed = []
    for line in lines:
        for placeholder, value in filled_in.items():
            line = line.replace(placeholder, value)
        printed.append(app.test_cli_runner().invoke(args=shlex.split(line.partition(" < ")[0])[1:]).stdout)

    counted = [(line.split()[1], line.partition(": ")[2].split()[0]) for line in printed]
    assert counted == [("2", "0"), ("1", "2"), ("0", "3"), ("1", "2")]


def test_versions_that_are_called_valid_are_and_others_are_not(browser, app):
    page = browser.get("/help/versions")

    for class_name, expected in (("version-valid", True), ("version-invalid", False)):
        shown = ["".join(element.itertext()) for element in page.by_class(class_name)]
        assert shown
        assert [version for version in shown if is_valid_version(version) is not expected] == []


@pytest.mark.parametrize(("limit", "shown"), [(1 << 20, "1.00 MiB"), (None, "5.00 GiB")])
def test_the_size_limit_is_the_one_that_holds(browser, app, limit, shown):
    instance.change_instance(instance.InstanceChanges(pypi_max_file_size=limit), by=SHELL)

    assert f"Files of up to {shown}." in browser.get("/help/publish").text


def test_without_a_project_addresses_have_placeholders(browser, app):
    page = browser.get("/help/install")

    assert "http://__token__:<your_personal_token>@localhost/api/v4/projects/<project_id>/packages/pypi/simple" in (
        page.text
    )


def test_the_addresses_of_a_project_and_its_group_are_filled_in(browser_of, owner, group, project):
    page = browser_of(owner).get("/help/install?project=acme/tools")

    assert f"@localhost/api/v4/projects/{project.id}/packages/pypi/simple" in page.text
    assert f"@localhost/api/v4/groups/{group.id}/-/packages/pypi/simple" in page.text
    assert "<project_id>" not in page.text
    assert "/help/forwarding?project=acme/tools" in page.links


def test_the_addresses_of_a_group_are_filled_in(browser_of, owner, group):
    page = browser_of(owner).get("/help/install?group=acme")

    assert f"@localhost/api/v4/groups/{group.id}/-/packages/pypi/simple" in page.text
    assert "/projects/<project_id>/packages" in page.text


@pytest.mark.parametrize("query", ["project=acme/tools", "group=acme", "project=acme/none", "group=%00", "project="])
def test_help_does_not_reveal_hidden_projects(browser, browser_of, outsider, project, query):
    for visitor in (browser, browser_of(outsider)):
        answer = visitor.get(f"/help/install?{query}")

        assert answer.status_code == 200
        assert "/projects/<project_id>/packages" in answer.text
        assert not [link for link in answer.links if "acme" in link and "next=" not in link]


def test_a_member_of_a_project_alone_does_not_see_the_number_of_its_group(browser_of, group, project):
    guest = factories.member(project, Role.GUEST)

    text = browser_of(guest).get("/help/install?project=acme/tools").text

    assert f"/projects/{project.id}/packages" in text
    assert ("/groups/<group_id>/" in text) is (f"/groups/{group.id}/" not in text)


def test_a_project_of_a_user_has_no_group(browser_of, owner):
    project = factories.project("scratch", parent=users.personal_namespace(owner))

    text = browser_of(owner).get("/help/install?project=olivia/scratch").text

    assert f"/projects/{project.id}/packages" in text
    assert "/groups/<group_id>/" in text


@pytest.mark.parametrize(("value", "sentence"), [(True, "are forwarded at present"), (False, "are not forwarded")])
def test_the_chapter_on_forwarding_shows_the_current_settings(browser_of, owner, group, project, value, sentence):
    forwarding.change_forwarding(group, value=value, by=SHELL)

    assert sentence in browser_of(owner).get("/help/forwarding?project=acme/tools").text


def test_help_is_public(browser, app):
    factories.group("open", visibility=Visibility.PUBLIC)

    assert "/api/v4/groups/<group_id>/" not in browser.get("/help/install?group=open").text


def test_over_plain_http_pip_commands_trust_the_host(app, browser):
    page = browser.get("/help/install", base_url="http://packages.example:8080/")

    commands = [line for example in code(page) for line in example.splitlines() if line.startswith("pip install")]
    assert commands
    assert all("--trusted-host packages.example" in line for line in commands)


def test_over_https_nothing_has_to_be_trusted(app, browser):
    page = browser.get("/help/install", base_url="https://packages.example/")

    assert "https://__token__:<your_personal_token>@packages.example/api/v4/" in page.text
    assert "--trusted-host" not in page.text


def test_the_netrc_entry_names_the_host_without_its_port(app, browser):
    page = browser.get("/help/requirements", base_url="http://packages.example:8080/")

    assert "machine packages.example\nlogin" in "\n".join(code(page))


def test_every_page_links_to_the_help_for_its_project_or_group(browser_of, owner, project):
    assert "/help?project=acme/tools" in browser_of(owner).get("/acme/tools").links
    assert "/help?group=acme" in browser_of(owner).get("/acme").links
    assert "/help" in browser_of(owner).get("/").links
