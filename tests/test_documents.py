"""The documents held against the program: every setting, command, route, metric, and file that they name exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

from registry import cli
from registry.config import ROOT, SETTINGS, Setting

DOCS = ROOT / "registry" / "docs"
README, CONFIGURATION, OPERATION = ROOT / "README.md", DOCS / "configuration.md", DOCS / "operation.md"
ARCHITECTURE = ROOT / "registry" / "ARCHITECTURE.md"
SECURITY = ROOT / "registry" / "SECURITY.md"
DOCUMENTS = [README, ROOT / "CHANGELOG.md", ARCHITECTURE, SECURITY, *sorted(DOCS.glob("*.md"))]
DEPLOYMENT = [path for path in sorted((ROOT / ".deploy").iterdir()) if path.name != ".env"]
START = "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python app.py"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
MADE_BY_TESTS = {".clients/", ".screenshots/"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=[path.name for path in DOCUMENTS])


def code(document: Path) -> list[str]:
    """The fenced blocks of code, without the lines that fence them."""
    return re.findall(r"^```\w*\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def names_in_code(document: Path) -> list[str]:
    """The words in backticks in the running text."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def test_the_readme_is_short_and_begins_with_everything_a_visitor_needs() -> None:
    lines = README.read_text().splitlines()

    beginning = "\n".join(lines[:30])
    sign_in, create, publish, install = "<http://", "flask projects create", "twine upload", "pip install --index-url"
    steps = ["![", START, sign_in, create, publish, install, TEST]
    assert len(lines) <= 120
    assert sorted(steps, key=beginning.index) == steps
    assert {START, TEST} <= set(lines)


def test_the_readme_shows_every_picture_that_is_kept_for_it() -> None:
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README.read_text())

    assert len(shown) == 2
    assert {ROOT / path for path in shown} == set((ROOT / "static" / "screenshots").iterdir())


def test_the_readme_leads_to_every_document() -> None:
    linked = {(ROOT / target).resolve() for target in re.findall(r"\]\(([^)#:]+)", README.read_text())}

    assert set(DOCUMENTS) - linked == {README}


def anchors(document: Path) -> set[str]:
    """The fragments that headings are linked by on GitHub and GitLab."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_every_link_leads_to_a_file_and_its_heading(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        assert not fragment or fragment in anchors(linked), target


def test_the_architecture_names_only_files_that_exist() -> None:
    text = ARCHITECTURE.read_text()
    named = {*re.findall(r"[\w/.-]+\.(?:py|html|css|js)\b", text), *re.findall(r"`([\w./-]+/)`", text)}
    present = [f"/{path.relative_to(ROOT)}{'/' if path.is_dir() else ''}" for path in ROOT.rglob("*")]

    assert len(named) > 50
    assert {name for name in named if not any(path.endswith(f"/{name}") for path in present)} <= MADE_BY_TESTS


def test_the_architecture_names_only_functions_that_exist() -> None:
    before, _, after = ARCHITECTURE.read_text().partition("## Who may import whom")  # has a test of its own
    text = before + after.partition("\n## ")[2]
    named = re.findall(r"(?<![\w./])([a-z_]+)\.([A-Za-z_]+)\b(?![./])", text)
    sources: dict[str, str] = {}
    for path in sorted((ROOT / "registry").rglob("*.py")):
        for name in {path.stem, path.parent.name}:
            sources[name] = sources.get(name, "") + path.read_text()

    known = [(module, name) for module, name in named if module in sources and name != "py"]
    assert ("access", "require") in known
    assert [each for each in known if not re.search(rf"\b{each[1]}\b", sources[each[0]])] == []


def test_the_threat_model_names_only_modules_and_tests_that_exist() -> None:
    named = names_in_code(SECURITY)
    tests = {name for name in named if name.startswith("test_")}
    modules = [name for name in named if name not in tests]
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", sources))

    assert min(len(tests), len(modules)) > 20
    assert tests - defined == set()
    assert [name for name in modules if not (ROOT / "registry" / name).exists()] == []


def documented_settings() -> list[tuple[str, str, str]]:
    """Variable, default, and meaning of each setting in the tables of the configuration."""
    rows = re.findall(r"^\| (`REGISTRY_.*) \|$", CONFIGURATION.read_text(), re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    return [(variable, row[1], row[2]) for row in cells for variable in re.findall(r"`(\w+)`", row[0])]


def test_the_configuration_documents_every_setting_once() -> None:
    documented = [variable for variable, _, _ in documented_settings()]

    assert sorted(documented) == sorted(setting.variable for setting in SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_configuration_gives_the_default_and_meaning_of_a_setting(setting: Setting) -> None:
    [(default, meaning)] = [found[1:] for found in documented_settings() if found[0] == setting.variable]

    assert meaning.endswith(".")
    if setting.name == "INSTANCE_PATH":
        assert default == "`./instance`"
    elif setting.default is None:
        assert default
    else:
        assert f"`{setting.default}`" in default.split(", ")


@pytest.mark.parametrize("document", [*DOCUMENTS, *DEPLOYMENT], ids=lambda path: path.name)
def test_a_document_names_only_settings_that_exist(document: Path) -> None:
    named = set(re.findall(r"\bREGISTRY_[A-Z][A-Z0-9_]*", document.read_text()))

    assert named - {"REGISTRY_TEST_UPSTREAM"} <= {setting.variable for setting in SETTINGS}  # one of the tests


def groups(app: Flask) -> dict[str, click.Group]:
    """The groups of commands that the registry adds to ``flask``, by name."""
    return {name: group.loaded for name, group in app.cli.commands.items() if isinstance(group, cli.LazyGroup)}


def commands(document: Path) -> Iterator[list[str]]:
    """The words after ``flask`` or ``pypi-registry`` of each command in blocks of code and in backticks."""
    blocks = [line for block in code(document) for line in block.replace("\\\n", " ").splitlines()]
    for text in (*blocks, *names_in_code(document)):
        for command in re.findall(r"(?:^|[\s(])(?:[\w./]*bin/)?(?:flask|pypi-registry) ((?:[^&|<;]|&(?!&))+)", text):
            words = shlex.split(command.rstrip(") "))
            if words[0] not in ("…", "serve", "--version"):
                yield words


def test_the_operation_lists_every_command(app: Flask) -> None:
    rows = re.findall(r"^\| `flask ([\w-]+)` \| (.+) \|$", OPERATION.read_text(), re.MULTILINE)

    listed = {group: set(re.findall(r"`([\w-]+)`", names)) for group, names in rows}

    assert listed == {name: set(group.commands) for name, group in groups(app).items()}


@every_document
def test_a_document_names_only_commands_and_options_that_exist(app: Flask, document: Path) -> None:
    for words in commands(document):
        group = groups(app)[words[0]]
        command = group.commands[words[1]] if len(words) > 1 else group
        arguments = words[2:]
        with click.Context(command) as context:
            if any(arguments) and not arguments[-1].startswith("--"):
                command.make_parser(context).parse_args(arguments)
            else:  # an option that is named without its value
                options = {option for parameter in command.params for option in parameter.opts}
                assert {word for word in arguments if word.startswith("--")} <= options, words


def test_there_are_commands_to_look_at() -> None:
    assert ["groups", "create", "acme"] in list(commands(README))
    assert len(list(commands(OPERATION))) > 10


def routes(document: Path) -> Iterator[tuple[str, str]]:
    """Method and path of every address of the registry in a document; without a method it is GET."""
    for name in names_in_code(document):
        method, _, path = name.rpartition(" ")
        if re.match(r"/(-|api|health_check|help|users|groups|admin|search)(/|$)", path) and "…" not in path:
            yield method or "GET", re.sub(r":\w+", "1", path)
    for block in code(document):
        for line in block.replace("\\\n", " ").splitlines():
            for path in re.findall(r"http://(?:[^@\s/]*@)?127\.0\.0\.1:8080(/[^\s\"']*)", line):
                sent = re.search(r"-X (\w+)", line)
                is_upload = re.search(r" -[dF] |twine upload", line)
                yield sent[1] if sent else "POST" if is_upload else "GET", path.replace("%2F", "/")


@every_document
def test_a_document_names_only_addresses_that_exist(app: Flask, document: Path) -> None:
    addresses = app.url_map.bind("localhost")
    for method, path in routes(document):
        assert method in METHODS, f"{method} {path}"
        try:
            addresses.match(path, method=method)
        except HTTPException:
            pytest.fail(f"{document.name}: nothing answers {method} {path}")


def test_there_are_addresses_to_look_at() -> None:
    assert ("PUT", "/api/v4/groups/1/package_settings") in set(routes(DOCS / "packages.md"))
    assert ("POST", "/api/v4/projects/acme/tools/packages/pypi") in set(routes(DOCS / "packages.md"))


def test_the_operation_names_every_probe(app: Flask) -> None:
    probes = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(("probes.", "monitoring."))}

    assert probes <= {path for _, path in routes(OPERATION)}


def test_the_operation_lists_every_metric(client: FlaskClient) -> None:
    exposed = re.findall(r"^# TYPE (\S+) (\w+)$", client.get("/-/metrics").text, re.MULTILINE)
    rows = re.findall(r"^\| (`registry_.+) \| .+ \|$", OPERATION.read_text(), re.MULTILINE)

    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]

    created = {name for name, _ in exposed if name.endswith("_created")}
    assert sorted(listed) == sorted({name for name, _ in exposed} - created)
