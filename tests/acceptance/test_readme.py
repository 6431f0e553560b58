"""The README's first steps, and how the next version is published, typed as they are printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.acceptance.clients import Environments, Installer
from tests.acceptance.conftest import NEWEST_PIP, PUBLISHING
from tests.acceptance.servers import CHECKOUT, RunningServer
from tests.test_documents import DOCS, README, code

OWN_ENVIRONMENT = "python3 -m venv build/client && build/client/bin/pip install twine\n"


def test_the_first_steps_publish_a_package_install_it_and_publish_its_next_version(
    server: RunningServer, client_environment: Environments, home: Path
) -> None:
    [steps] = [block for block in code(README) if "twine upload" in block]
    packages = code(DOCS / "packages.md")
    building = next(number for number, block in enumerate(packages) if "pip wheel" in block)
    build, validate, check, publish, *_ = packages[building:]
    python = client_environment("guide", NEWEST_PIP, *PUBLISHING)
    (home / "build").mkdir(parents=True)
    (home / "build" / "client").symlink_to(python.parent.parent)
    shell = Installer(("bash", "-euc"), home, server.environment() | {
        "HOME": str(home), "PATH": f"{python.parent}:{os.environ['PATH']}", "FLASK_APP": str(CHECKOUT / "app.py"),
        "PIP_TARGET": str(home / "site"), "PIP_NO_BUILD_ISOLATION": "0",  # which turns isolation off
    })  # fmt: skip

    assert OWN_ENVIRONMENT in steps
    typed = steps.replace(OWN_ENVIRONMENT, "") + build + validate + check + publish
    typed = typed.replace("127.0.0.1:8080", server.url.removeprefix("http://"))
    told = shell.succeeds(typed.replace(".venv/bin/flask", str(Path(sys.executable).with_name("flask"))))

    assert '"message":"200 OK"' in told
    assert shell.installed() == {"hello_acme": "1.0"}
