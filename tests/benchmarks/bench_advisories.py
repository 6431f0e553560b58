"""How long loading an export of advisories into an empty registry takes, and how much memory."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from tests import osv
from tests.acceptance.servers import CHECKOUT, RunningServer
from tests.benchmarks.goals import at_most

HEADING = ("advisories", "measured", "goal")
COMMAND = (sys.executable, "-m", "flask", "upstream", "advisories", "update")
SECONDS_GOAL, MEMORY_GOAL_MIB = 60, 200
VULNERABLE_NAMES = 3000


def run(folder: Path, records: int) -> Iterator[tuple[str, ...]]:
    """A row for the time, and one for the memory.

    :raises ChildProcessError: the command fails.
    """
    export = folder / "all.zip"
    with ZipFile(export, "w", ZIP_DEFLATED) as archive:
        for number in range(records):
            document = _malicious(number) if number % 10 else _vulnerable(number)
            archive.writestr(f"{document['id']}.json", json.dumps(document))
    server = RunningServer(folder / "advisories")
    server.start()
    server.stop()
    began, used_before = time.perf_counter(), _seconds_of_children()
    process = subprocess.Popen(
        [*COMMAND, str(export)], cwd=CHECKOUT, env=server.environment(), stdout=subprocess.DEVNULL
    )
    peak_mib = 0.0
    while process.poll() is None:
        peak_mib = max(peak_mib, _peak_mib(process.pid))
        time.sleep(0.02)
    seconds, used = time.perf_counter() - began, _seconds_of_children() - used_before
    if process.returncode:
        raise ChildProcessError(f"the update ended with {process.returncode}")
    yield f"{records} records, s ({used:.0f} s CPU)", f"{seconds:.0f}", at_most(seconds, SECONDS_GOAL)
    yield "memory meanwhile, MiB", f"{peak_mib:.0f}", at_most(peak_mib, MEMORY_GOAL_MIB)


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_mib(pid: int) -> float:
    """Return the most memory so far; that of ``wait4`` would include what this process had at the fork."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _malicious(number: int) -> dict[str, Any]:
    """Most records of OSV are like this."""
    package = osv.affected(f"malicious-{number}", {"introduced": "0"}, versions=("0.1", "0.2"))
    return osv.record(f"MAL-2025-{number}", package, details="The package sends secrets to its author. " * 25)


def _vulnerable(number: int) -> dict[str, Any]:
    versions = tuple(f"{number % 9}.{minor}.{patch}" for minor in range(5) for patch in range(8))
    name, fixed = f"vulnerable-{number % VULNERABLE_NAMES}", f"{number % 9}.5"
    package = osv.affected(name, {"introduced": "0"}, {"fixed": fixed}, versions=versions)
    return osv.record(
        f"GHSA-{number}", package, cvss=osv.HIGH if number % 20 else osv.LOW, details="Details. " * 400,
        aliases=[f"CVE-2025-{number}", f"PYSEC-2025-{number}"], database_specific={"severity": "HIGH"},
    )  # fmt: skip
