"""``flask …`` and ``python app.py`` on the instance that serves, each in a fork of this process: starting Python and
importing everything again would take longer than everything else.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import flask.cli

import registry  # noqa: F401 - so that the forks have it
from tests.acceptance.servers import CHECKOUT
from tests.builders import build_sdist, build_wheel, metadata
from tests.recording.world import PASSWORD, ROOT_TOKEN, World

COMMANDS = {
    "database": ("upgrade", "check"),
    "users": ("create", "list", "block", "unblock", "confirm-email", "reset-password", "disable-two-factor"),
    "tokens": ("create", "list", "revoke"),
    "groups": ("create", "list"),
    "projects": ("create", "list"),
    "paths": ("list", "free"),
    "packages": (
        "list", "delete", "yank", "unyank", "status", "check", "cleanup", "verify", "import", "move-storage",
    ),
    "backup": ("create", "verify", "restore"),
}  # fmt: skip


def play(world: World) -> None:
    world.recorder.part("shell-help")
    shell = Shell(world)
    for group, commands in COMMANDS.items():
        for command in ((), *((each,) for each in commands), ("nothing",)):
            shell(group, *command, "--help")
        shell(group)
        for command in commands:
            shell(group, command, "--nothing")
            shell(group, command, "too", "many", "arguments", "here")
    with tempfile.TemporaryDirectory(prefix="recording-files-") as folder:
        world.recorder.masks.texts[folder] = "<files>"
        for play_part in (users, namespaces, tokens, packages, backups, files, configuration):
            world.recorder.part(f"shell-{play_part.__name__}")
            play_part(world, shell, Path(folder))
    world.recorder.part("shell-starts")
    world.recorder.write("what the server printed", _without_log_lines(world.server.log))


class Shell:
    """Records a command: its arguments and input, standard output, standard error and exit status."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        def run() -> object:
            return flask.cli.cli.main(list(arguments), prog_name="flask")

        return self._record("flask", arguments, run, stdin, environment)

    def app(self, **environment: str) -> str:
        """Run ``python app.py``, which must end by itself."""
        return self._record("app.py", (), lambda: runpy.run_path("app.py", run_name="__main__"), "", environment)

    def _record(
        self, program: str, arguments: tuple[str, ...], run: Callable[[], object], stdin: str,
        environment: dict[str, str]
    ) -> str:  # fmt: skip
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            given.write(stdin.encode())
            files = [given.fileno(), output.fileno(), errors.fileno()]
            for file in (given, output, errors):
                file.seek(0)
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                self._run(run, files, {**self._world.server.environment(), "COLUMNS": "100", **environment})
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            for file in (output, errors):
                file.seek(0)
            printed, complained = output.read().decode(), errors.read().decode()
        given_settings = [f"{name}={value}" for name, value in environment.items()]
        text = "\n".join(
            [
                *given_settings, " ".join([program, *arguments]), *([f"<<< {stdin}"] if stdin else []), "---- output",
                printed, "---- errors", _without_log_lines(complained), f"---- exit status {status}", "",
            ]
        )  # fmt: skip
        self._world.recorder.write(" ".join([program, *arguments]), _without_digests(text, arguments))
        return printed

    @staticmethod
    def _run(run: Callable[[], object], files: list[int], environment: dict[str, str]) -> None:
        """Run the program in the child process, and end it with its status."""
        status = 1
        try:
            for number, file in enumerate(files):
                os.dup2(file, number)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(CHECKOUT)
            run()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:  # noqa: BLE001 - as the interpreter would
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _without_log_lines(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:", line))


def _without_digests(text: str, arguments: tuple[str, ...]) -> str:
    """Mask digests and sizes of a backup, which contains times and secrets and so differs from run to run."""
    if arguments[:1] != ("backup",):
        return text
    text = re.sub(r"\b[0-9a-f]{64}\b", "<digest>", text)
    return re.sub(r'(?<="size_bytes": )\d+', "<size>", text)


def users(world: World, shell: Shell, folder: Path) -> None:
    shell("users", "list")
    shell("users", "list", "--json")
    create = ("users", "create")
    shell(*create, "sheila", "--email", "sheila@example.com", "--name", "Sheila 日本")
    shell(*create, "sven", "--email", "sven@example.com", "--admin", "--json")
    shell(*create, "simon", "--email", "simon@example.com", "--password-stdin", "--json", stdin=PASSWORD + "\n")
    for username, email, password in (("alice", "a@example.com", PASSWORD), ("new", "alice@example.com", PASSWORD),
                                      ("a b", "x", PASSWORD), ("new", "n@example.com", "short"),
                                      ("new", "n@example.com", "")):  # fmt: skip
        shell(*create, username, "--email", email, "--password-stdin", stdin=password + "\n")
    shell(*create, "new")
    for verb in ("block", "block", "unblock", "unblock"):
        shell("users", verb, "simon")
        shell("users", verb, "simon", "--json")
    for verb in ("block", "unblock", "confirm-email", "reset-password"):
        shell("users", verb, "nobody")
    shell("users", "block", "root")
    shell("users", "unblock", "root")
    shell("users", "confirm-email", "simon")
    shell("users", "reset-password", "simon")
    shell("users", "reset-password", "simon", "--json")
    shell("users", "reset-password", "simon", "--password-stdin", stdin=PASSWORD)
    shell("users", "reset-password", "simon", "--password-stdin", stdin="short\n")
    shell("users", "list")


def namespaces(world: World, shell: Shell, folder: Path) -> None:
    shell("groups", "list")
    shell("groups", "list", "--json")
    create = ("groups", "create")
    shell(*create, "shell", "--name", "Made at the shell", "--visibility", "public", "--owner", "alice")
    shell(*create, "shell/below", "--json")
    for arguments in (
        ("shell",), ("nothing/below",), ("a b",), ("admin",), ("shell/other", "--owner", "nobody"),
        ("x", "--visibility", "secret"),
        ("shell/below/open", "--visibility", "public"), ("",), ("shell/",), ("acme/tools",), ("acme/tools/x",),
    ):  # fmt: skip
        shell(*create, *arguments)
    create = ("projects", "create")
    shell(*create, "shell/tools", "--name", "Tools")
    shell(*create, "alice/at-the-shell", "--json", "--visibility", "internal")
    for arguments in (
        ("alone",), ("shell/tools",), ("nothing/x",), ("shell/a b",), ("shell/x", "--visibility", "x"),
        ("shell/below",),
        ("shell/below/open", "--visibility", "public"), ("acme/tools/x",), ("",),
    ):  # fmt: skip
        shell(*create, *arguments)
    for arguments in ((), ("--json",), ("--group", "acme"), ("--group", "nothing"), ("--group", "shell", "--json")):
        shell("projects", "list", *arguments)
    for arguments in (("list",), ("list", "--json"), ("free", "nothing")):
        shell("paths", *arguments)


def tokens(world: World, shell: Shell, folder: Path) -> None:
    create = ("tokens", "create")
    for arguments in (
        ("alice", "--name", "shell", "--scope", "api"),
        ("alice", "--name", "s", "--scope", "read_api", "--scope", "sudo", "--json"),
        ("alice", "--name", "far", "--scope", "api", "--expires-on", "2035-01-01"),
        ("alice", "--name", "past", "--scope", "api", "--expires-on", "2001-01-31"),
        ("alice", "--name", "soon", "--scope", "api", "--expires-on", "soon"),
        ("alice", "--name", "x", "--scope", "everything"),
        ("alice", "--scope", "api"), ("alice", "--name", "x"), ("nobody", "--name", "x", "--scope", "api"),
        ("--name", "x", "--scope", "api"), ("--project", "acme/tools", "--name", "x", "--scope", "api"),
        ("--project", "acme/tools", "--name", "shell", "--scope", "read_package_registry"),
        ("--group", "acme", "--name", "shell", "--scope", "write_package_registry", "--username", "server", "--json"),
        ("--group", "acme", "--name", "x", "--scope", "read_registry", "--expires-on", "2035-01-31"),
        ("--project", "nothing/here", "--name", "x", "--scope", "read_registry"),
        ("--project", "acme/tools", "--group", "acme", "--name", "x", "--scope", "read_registry"),
        ("alice", "--project", "acme/tools", "--name", "x", "--scope", "api"),
        ("--project", "acme/tools", "--name", "x", "--scope", "read_registry", "--username", "a b"),
    ):  # fmt: skip
        shell(*create, *arguments)
    for arguments in ((), ("alice",), ("alice", "--json"), ("nobody",), ("--project", "acme/tools"),
        ("--group", "acme", "--json"),
                      ("--project", "acme/tools", "--group", "acme"), ("--project", "nothing/here")):  # fmt: skip
        shell("tokens", "list", *arguments)
    for arguments in (
        ("2",), ("2",), ("3", "--json"), ("999999",), ("x",), (str(world.ids["tools read"]), "--project", "acme/tools"),
        (str(world.ids["tools read"]), "--project", "acme/tools", "--json"),
        (str(world.ids["tools write"]), "--group", "acme"),
        ("999999", "--group", "acme"),
    ):  # fmt: skip
        shell("tokens", "revoke", *arguments)


def packages(world: World, shell: Shell, folder: Path) -> None:
    of_tools = ("--project", "acme/tools")
    for arguments in (of_tools, (*of_tools, "--json"), ("--group", "acme"), ("--group", "open", "--json"), (),
                      (*of_tools, "--group", "acme"), ("--project", "nothing/here")):  # fmt: skip
        shell("packages", "list", *arguments)
    file = "signalbox-1.1.0-py3-none-any.whl"
    for arguments in (
        ("yank", "signalbox", "1.1.0", *of_tools),
        ("yank", "signalbox", "1.1.0", *of_tools, "--reason", "Wrong <x>", "--json"),
        ("yank", "signalbox", "1.1.0", *of_tools, "--file", file),
        ("yank", "signalbox", "1.1.0", *of_tools, "--file", "x.whl"),
        ("yank", "signalbox", "9.9", *of_tools), ("yank", "signalbox", "1.1.0"),
        ("yank", "x", "1", "--project", "nothing/here"),
        ("yank", "Signal_Box", "1.1.0", *of_tools, "--reason", "x" * 3000),
        ("unyank", "signalbox", "1.1.0", *of_tools),
        ("unyank", "signalbox", "1.1.0", *of_tools, "--file", file, "--json"),
        ("unyank", "signalbox", "9.9", *of_tools),
        ("status", "signalbox", *of_tools), ("status", "Signal_Box", "deprecated", *of_tools, "--reason", "Old"),
        ("status", "signalbox", *of_tools, "--json"), ("status", "signalbox", *of_tools, "--reason", "x"),
        ("status", "signalbox", "gone", *of_tools), ("status", "nothing", *of_tools),
        ("status", "signalbox", "active", *of_tools),
        ("delete", "driver-10", "1.0", *of_tools), ("delete", "driver-10", "1.0", *of_tools, "--yes"),
        ("delete", "driver-10", "1.0", *of_tools, "--yes"),
        ("delete", "Driver.11", "1.0", *of_tools, "--yes", "--json"),
        ("cleanup",), ("cleanup", "--json"), ("verify",), ("verify", "--json"), ("verify", "--repair"),
    ):  # fmt: skip
        shell("packages", *arguments)


def backups(world: World, shell: Shell, folder: Path) -> None:
    """Make backups before further downloads, whose counts are written at an unpredictable time."""
    (folder / "notes.txt").write_text("nothing")
    backup = str(folder / "backup.tar")
    for arguments in (
        ("create", backup), ("create", backup), ("create", str(folder / "none" / "x.tar")), ("verify", backup),
        ("verify", backup, "--json"),
        ("verify", str(folder / "notes.txt")), ("create", str(folder / "second.tar"), "--json", "--inventory"),
        ("restore", backup),
        ("restore", str(folder / "none.tar")),
    ):  # fmt: skip
        shell("backup", *arguments)


def files(world: World, shell: Shell, folder: Path) -> None:
    good = (build_wheel("brought", "1.0"), build_sdist("brought", "1.0"), build_wheel("brought", "2.0"))
    bad = (build_wheel("brought", "3.0", core_metadata=metadata("other", "3.0")), build_wheel("bad", "1.0", record=b""))
    source = folder / "source"
    source.mkdir()
    for file in (*good, *bad):
        (source / file.filename).write_bytes(file.content)
    (source / "notes.txt").write_text("nothing")
    paths = [str(source / file.filename) for file in (*good, *bad)]
    for arguments in (
        (paths[0],),
        paths,
        ("--json", *paths),
        (str(source / "notes.txt"),),
        (str(source / "none.whl"),),
        (str(source),),
    ):
        shell("packages", "check", *arguments)
    into = ("--project", "acme/empty", "--jobs", "1")
    own = f"{world.recorder.url}/api/v4/projects/{world.ids['samples']}/packages/pypi/simple"
    private = f"{world.recorder.url}/api/v4/projects/{world.ids['notebook']}/packages/pypi/simple"
    for arguments, stdin in (
        ((str(source), *into), ""), ((str(source), *into, "--json"), ""),
        ((str(source), *into, "--package", "brought==2.0"), ""),
        ((str(source), *into, "--package", "nothing"), ""), ((str(source), *into, "--package", "a b"), ""),
        ((str(folder / "none"), *into), ""), ((str(source), "--project", "nothing/here"), ""),
        ((str(source), *into[:2], "--jobs", "99"), ""),
        ((own, *into), ""), ((own, *into), ""), ((private, *into), ""),
        ((private, *into, "--username", "root", "--password-stdin"), ROOT_TOKEN + "\n"),
        ((private, *into, "--username", "root", "--password-stdin", "--json"), ROOT_TOKEN + "\n"),
    ):  # fmt: skip
        shell("packages", "import", *arguments, stdin=stdin, NO_PROXY="*")
    (other := folder / "store").mkdir()
    for arguments in (
        (),
        ("--to", other.as_uri()),
        ("--to", other.as_uri(), "--json"),
        ("--from", other.as_uri()),
        ("--to", "ftp://x"),
    ):
        shell("packages", "move-storage", *arguments)


def configuration(world: World, shell: Shell, folder: Path) -> None:
    shell("database", "check")
    shell("database", "check", "--json")
    shell("database", "upgrade")
    fresh = {"REGISTRY_INSTANCE_PATH": str(folder / "fresh"), "REGISTRY_DATABASE_URL": ""}
    for arguments in (("database", "check"), ("users", "list"), ("database", "upgrade"),
        ("database", "upgrade", "--json"), ("users", "list"),
                      ("groups", "list"), ("packages", "verify")):  # fmt: skip
        shell(*arguments, **fresh)
    for name, value in (
        ("PORT", "abc"), ("PORT", "99999"), ("DATABASE_URL", "mysql://x"), ("STORAGE_URL", "ftp://x"),
        ("STORAGE_DOWNLOADS", "x"),
        ("STORAGE_DOWNLOADS", "redirect"), ("STORAGE_DOWNLOADS", "accel"), ("EXTERNAL_URL", "x"),
        ("TRUSTED_PROXIES", "11"),
        ("UPSTREAM_URL", "x"), ("MAX_FILE_SIZE", "-1"), ("WORKERS", "0"), ("THREADS", "x"), ("SECRET_KEY", "short"),
        ("ROOT_PASSWORD", "short"), ("ROOT_TOKEN", "short"), ("LOG_FORMAT", "xml"), ("SLOW_QUERY_MS", "x"),
        ("S3_REGION", ""),
        ("S3_ACCESS_KEY_ID", "alone"), ("INSTANCE_PATH", "/dev/null"), ("HOST", ""),
    ):  # fmt: skip
        shell("users", "list", **{f"REGISTRY_{name}": value})
    for name, value in (
        ("PORT", "abc"),
        ("HOST", "no host"),
        ("INSTANCE_PATH", "/dev/null/x"),
        ("DATABASE_URL", "sqlite:////none/x"),
    ):
        shell.app(**{f"REGISTRY_{name}": value})
