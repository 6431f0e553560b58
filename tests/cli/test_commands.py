from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry import cli, config, create_app
from registry.__main__ import main
from registry.domain.packages import lists
from registry.models import Project
from tests import factories
from tests.builders import build_wheel
from tests.cli.running import Refused, Run, Shell, loaded, succeeded

LONG = "a key of at least thirty-two characters"
GROUPS = {
    "database": ["check", "upgrade"],
    "users": ["block", "confirm-email", "create", "disable-two-factor", "list", "reset-password", "unblock"],
    "tokens": ["create", "list", "revoke"],
    "groups": ["create", "list"],
    "projects": ["create", "list"],
    "paths": ["free", "list"],
    "packages": [
        "check", "cleanup", "delete", "import", "list", "move-storage", "read-dependencies", "release", "reserved",
        "status", "unyank", "verify", "yank",
    ],
    "upstream": ["advisories", "cleanup", "export", "import", "status", "warm"],
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_explains_its_commands(run: Run, group: str) -> None:
    explained = succeeded(run(group, "--help"))

    listed = re.findall(r"^  (\S+)  +\S", explained.split("Commands:\n")[1], re.MULTILINE)
    assert listed == GROUPS[group]


@pytest.mark.parametrize("group", cli.GROUPS)
def test_a_group_is_listed_with_its_own_description(group: str) -> None:
    description, load = cli.GROUPS[group]

    assert (load().name, load().help) == (group, description)


COMMANDS = [(group, command) for group, commands in GROUPS.items() for command in commands]
COMMANDS.remove(("upstream", "advisories"))  # a group itself


@pytest.mark.parametrize(("group", "command"), COMMANDS)
def test_every_command_explains_itself_and_offers_json(run: Run, group: str, command: str) -> None:
    explained = succeeded(run(group, command, "--help"))

    assert re.match(rf"Usage: \w+ {group} {command} ", explained)
    assert len(explained.split("\n\n")[1].strip()) > 20
    assert "--json" in explained


@pytest.mark.parametrize("arguments", [("users", "bogus"), ("users", "list", "--bogus"), ("tokens", "revoke", "x")])
def test_a_misspelled_command_fails_in_one_sentence(refused: Refused, arguments: tuple[str, ...]) -> None:
    assert refused(*arguments)


def test_flask_finds_the_application_in_the_checkout_and_lists_all_groups(tmp_path: Path) -> None:
    flask = Path(sys.executable).with_name("flask")

    shown = subprocess.run(
        [flask, "--help"], cwd=config.ROOT, env=Shell(tmp_path).environment, capture_output=True, text=True, check=True
    )

    assert shown.stderr == ""
    assert set(GROUPS) <= set(re.findall(r"^  (\w+) ", shown.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("act", "absent"),
    [
        ("sys.argv[1:] = ['--help']; cli.main()", {"alembic", "registry.factory", "sqlalchemy", "wtforms"}),
        ("from registry.__main__ import main; main(['--help'])", {"alembic", "registry.factory", "sqlalchemy"}),
        (
            "registry.create_app()",
            {"alembic", "cvss", "joserfc", "nh3", "obstore", "registry.cli.users", "requests", "segno"},
        ),
    ],
    ids=["the list of groups", "the list of an installed program", "the application"],
)
def test_slow_imports_happen_only_when_they_are_needed(tmp_path: Path, act: str, absent: set[str]) -> None:
    program = f"""
import atexit, sys
import registry
from flask import cli
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
{act}
"""

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=config.ROOT, env=Shell(tmp_path).environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "flask.app" in (imported := ended.stderr.split())
    assert absent.isdisjoint(imported)


def test_an_installed_program_serves_and_has_the_commands_of_flask(tmp_path: Path) -> None:
    shell = CliRunner(env={"REGISTRY_INSTANCE_PATH": str(tmp_path)})

    upgraded, listed = shell.invoke(main, ["database", "upgrade"]), shell.invoke(main, ["users", "list", "--json"])
    refused = shell.invoke(main, ["users", "list"], env={"REGISTRY_PORT": "http"})

    assert set(main.commands) == {*cli.GROUPS, "serve"}
    assert succeeded(upgraded).startswith("Upgraded the schema from empty to ")
    assert loaded(listed) == []
    assert refused.exit_code == 1
    assert refused.output == "Error: REGISTRY_PORT is 'http'; expected a whole number from 0 to 65535.\n"


def test_an_installed_program_checks_files_without_an_installation(tmp_path: Path) -> None:
    wheel = build_wheel()
    (tmp_path / wheel.filename).write_bytes(wheel.content)

    checked = CliRunner(env={"REGISTRY_INSTANCE_PATH": str(tmp_path / "instance")}).invoke(
        main, ["packages", "check", str(tmp_path / wheel.filename)]
    )

    assert succeeded(checked) == f"{tmp_path / wheel.filename}\tok\n"
    assert not (tmp_path / "instance").exists()


def test_flask_itself_sees_the_whole_application(shell: Shell) -> None:
    assert "pypi.upload" in shell("routes").stdout


@pytest.mark.parametrize("command", [("users", "list"), ("database", "check"), ("routes",)])
def test_a_command_without_a_registry_names_the_folder_and_creates_nothing(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    result = Shell(tmp_path / "instance")(*command)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: There is no registry in {tmp_path / 'instance'} (REGISTRY_INSTANCE_PATH); start it first, or set the "
        "variable to the folder of a registry.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [["-m", "flask"], pytest.param(["-m", "registry"], marks=pytest.mark.slow)])
def test_a_new_database_is_readable_only_by_its_owner(tmp_path: Path, program: list[str]) -> None:
    instance = tmp_path / "instance"

    subprocess.run(
        [sys.executable, *program, "database", "upgrade"],
        cwd=config.ROOT, env=Shell(instance).environment, check=True, capture_output=True, umask=0o022, timeout=60,
    )  # fmt: skip

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (instance, instance / "registry.sqlite3")]
    assert modes == [0o750, 0o600]


def test_an_empty_database_is_upgraded_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path)

    first, second = shell("database", "upgrade"), shell("database", "upgrade")

    assert re.fullmatch(r"Upgraded the schema from empty to \d{4}\.\n", first.stdout)
    assert re.fullmatch(r"The schema is already at version \d{4}\.\n", second.stdout)
    assert (first.stderr, second.stderr) == ("", "")


@pytest.mark.parametrize("arguments", [("users", "list"), ("database", "check")])
def test_a_command_on_an_empty_database_shows_the_remedy(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "registry.sqlite3").touch()

    result = Shell(tmp_path)(*arguments, REGISTRY_SECRET_KEY=LONG)

    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(
        r"Error: The database schema is empty, but this registry requires \d{4}; "
        r"run 'pypi-registry database upgrade'\.\n",
        result.stderr,
    )


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"REGISTRY_PORT": "http"}, "REGISTRY_PORT is 'http'; expected a whole number from 0 to 65535."),
        (
            {"REGISTRY_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"},
            "The database (REGISTRY_DATABASE_URL) canno",
        ),
    ],
    ids=["read at the start", "found at work"],
)
def test_a_wrong_setting_is_one_sentence_and_no_traceback(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    result = Shell(tmp_path)("users", "list", REGISTRY_SECRET_KEY=LONG, **variables)

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {sentence}")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_a_file_that_is_no_database_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_text("this is a letter, and long enough not to look like an empty file" * 20)

    result = Shell(tmp_path)("users", "list", REGISTRY_SECRET_KEY=LONG)

    assert result.returncode == 1
    assert result.stderr == ("Error: The database (REGISTRY_DATABASE_URL) cannot be opened: file is not a database.\n")


def test_an_installation_is_set_up_from_the_shell(shell: Shell) -> None:
    assert shell("users", "create", "alice", "--email", "alice@example.com").returncode == 0

    token = shell("tokens", "create", "alice", "--name", "laptop", "--scope", "api", "--json")

    assert (token.returncode, token.stderr) == (0, "")
    assert json.loads(token.stdout)["username"] == "alice"


def test_nothing_is_asked_when_standard_input_is_closed(shell: Shell) -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m flask users create bob --email bob@example.com <&-', sys.executable],
        cwd=config.ROOT, env=shell.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Created user bob.\nPassword: ")


def test_a_terminal_is_asked_for_the_password_twice_and_does_not_show_it(shell: Shell) -> None:
    status, screen = shell.on_a_terminal(
        "users", "create", "carol", "--email", "carol@example.com", answers=["correct horse", "correct horse"]
    )

    assert status == 0
    assert "Created user carol." in screen
    assert "Password:" not in screen.split("Created user carol.")[1]


def test_a_password_left_empty_on_a_terminal_is_generated(shell: Shell) -> None:
    status, screen = shell.on_a_terminal("users", "create", "carol", "--email", "carol@example.com", answers=["", ""])

    assert status == 0
    assert re.search(r"Created user carol\.\s+Password: \S{24}\s", screen)


@pytest.fixture
def project_at_the_shell(shell: Shell) -> Iterator[Project]:
    """A project with one package in the installation of ``shell``."""
    other = create_app({"INSTANCE_PATH": shell.instance})
    with other.app_context():
        project = factories.project("tools", parent=factories.group("acme"))
        factories.published(project, build_wheel("demo", "1.0"))
        yield project


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, 0), ("n", 1, 1)], ids=["yes", "no"])
def test_a_terminal_is_asked_before_a_package_is_deleted(
    shell: Shell, project_at_the_shell: Project, answer: str, status: int, left: int
) -> None:
    found, screen = shell.on_a_terminal(
        "packages", "delete", "--project", "acme/tools", "demo", "1.0", answers=[answer]
    )

    assert "Delete demo 1.0 from acme/tools? [y/N]" in screen
    assert found == status
    factories.reload()
    assert len(lists.packages_named(project_at_the_shell, "demo", "1.0")) == left
