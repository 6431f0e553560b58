"""The real pip-audit, whose requests to pypi.org are led to the registry, as it has no option for another address."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests import processes
from tests.acceptance.clients import Client, Environments
from tests.acceptance.servers import RunningServer
from tests.osv import HIGH, affected, export, record

PROGRAM = """
import os
import sys

from pip_audit import _cli
from pip_audit._service import pypi
from requests.adapters import HTTPAdapter


class ToRegistry(HTTPAdapter):
    def send(self, request, **options):
        request.url = request.url.replace("https://pypi.org", os.environ["REGISTRY"], 1)
        request.headers["Authorization"] = os.environ["AUTHORIZATION"]
        return super().send(request, **options)


def session(*arguments, of=pypi.caching_session):
    made = of(*arguments)
    made.mount("https://pypi.org/", ToRegistry())
    return made


pypi.caching_session = session
sys.exit(_cli.audit())
"""


@pytest.mark.clients
def test_pip_audit_finds_the_advisories_of_the_registry(
    server: RunningServer, client_environment: Environments, home: Path, tmp_path: Path
) -> None:
    exported, requirements = tmp_path / "all.zip", tmp_path / "requirements.txt"
    exported.write_bytes(
        export(
            record("GHSA-1", affected("audited", {"introduced": "0"}, {"fixed": "1.5"}), cvss=HIGH, aliases=["CVE-1"]),
            record("GHSA-2", affected("audited", versions=("1.0",)), withdrawn="2026-01-01T00:00:00Z"),
        )
    )
    requirements.write_text("audited==1.0\nfine==1.0\n")
    updated = processes.run(
        processes.flask, "upstream", "advisories", "update", str(exported), environment=server.environment()
    )
    assert updated.returncode == 0, updated.stderr
    token = base64.b64encode(f"__token__:{server.root_token}".encode()).decode()
    python = client_environment("pip-audit", "pip-audit==2.10.1")
    audit = Client((str(python), "-c", PROGRAM), home, {
        "REGISTRY": server.project().url, "AUTHORIZATION": f"Basic {token}",
    })  # fmt: skip

    status, output = audit.run(
        "-r", requirements, "--no-deps", "--disable-pip", "--vulnerability-service", "pypi", "-f", "json",
        "--progress-spinner", "off", "--cache-dir", home / "cache",
    )  # fmt: skip

    assert status == 1, output
    found = json.loads(output[output.index('{"dep') :].splitlines()[0])["dependencies"]
    assert {one["name"]: [entry["id"] for entry in one["vulns"]] for one in found} == {
        "audited": ["CVE-1"],
        "fine": [],
    }
    (vulnerability,) = next(one["vulns"] for one in found if one["name"] == "audited")
    assert (vulnerability["fix_versions"], vulnerability["aliases"]) == (["1.5"], ["GHSA-1"])
