"""``python -m tests.benchmarks``: how fast, how much memory, how many statements, beside goals and other registries.

Prints tables and which goals were met, and the reason for each skipped measurement. Everything runs on this machine,
in a temporary folder: with ``TMPDIR`` on the disk that counts. ``--record`` also appends it all to ``RESULTS.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.acceptance.servers import RunningServer
from tests.benchmarks import (
    bench_advisories,
    bench_bad_clients,
    bench_large_file,
    bench_memory,
    bench_mixed,
    bench_pages,
    bench_peers,
    bench_requests,
    bench_resolution,
    bench_scale,
    bench_search,
    bench_start,
    bench_statements,
    bench_stores,
    bench_uploads,
    bench_upstream,
    bench_workers,
    goals,
    load,
    peers,
    servers,
)
from tests.benchmarks.peers import Party, Unavailable

MIB = 1 << 20
RESULTS = Path(__file__).with_name("RESULTS.md")
PARTS = (
    "requests", "mixed", "workers", "uploads", "peers", "resolution", "large-file", "start", "stores", "scale",
    "statements", "pages", "search", "upstream", "advisories", "bad-clients", "memory",
)  # fmt: skip

SHARED_PROCESSORS = (
    f"The load comes from the same {os.cpu_count()} processors, so two workers cannot do twice the work of one."
)

Heading = tuple[str, ...]
Rows = Iterable[tuple[str, ...]]


@dataclass
class Bench:
    """What all parts share: options, a folder, a running server, and the goals that were met and missed so far."""

    options: argparse.Namespace
    folder: Path
    server: RunningServer
    goals: list[str] = field(default_factory=list)

    def requests(self) -> Iterator[str]:
        yield self._table(bench_requests.HEADING, bench_requests.run(self.server, self.folder, self.options.seconds))

    def mixed(self) -> Iterator[str]:
        yield self._table(bench_mixed.HEADING, bench_mixed.run(self.server, self.options.seconds))

    def workers(self) -> Iterator[str]:
        yield SHARED_PROCESSORS
        for database in servers.DATABASES:
            yield self._table(bench_workers.HEADING, bench_workers.run(self.folder, database, self.options.seconds))

    def uploads(self) -> Iterator[str]:
        yield SHARED_PROCESSORS
        for database in servers.DATABASES:
            yield self._table(bench_uploads.HEADING, bench_uploads.run(self.folder, database))
        yield self._table(bench_uploads.IMPORT_HEADING, bench_uploads.imports(self.server, self.folder))

    def peers(self) -> Iterator[str]:
        with ExitStack() as stack:
            ours = peers.ours(self.server)
            others, remarks = self._others(stack)
            if others:
                yield self._table(bench_peers.PAGES_HEADING, bench_peers.pages(ours, others, self.options.seconds))
            yield self._table(bench_peers.UPLOADS_HEADING, bench_peers.uploads(ours, others))
            yield self._table(bench_peers.MEMORY_HEADING, bench_peers.memory(ours, others))
        yield "\n".join([f"As for uploads: {bench_peers.sync_speed(self.folder)}.", *remarks])

    def resolution(self) -> Iterator[str]:
        yield self._table(bench_resolution.HEADING, bench_resolution.run(self.server, self.folder))

    def large_file(self) -> Iterator[str]:
        size_bytes = self.options.size_mib * MIB
        yield self._table(bench_large_file.HEADING, bench_large_file.run(self.server, self.folder, size_bytes))
        nginx = bench_large_file.beside_nginx(self.server, self.folder, size_bytes)
        yield self._table(bench_large_file.NGINX_HEADING, nginx)
        yield f"As for the large file: {bench_large_file.disk_speed(self.folder, size_bytes)}."

    def start(self) -> Iterator[str]:
        yield self._table(bench_start.HEADING, bench_start.run(self.folder))

    def stores(self) -> Iterator[str]:
        yield self._table(bench_stores.HEADING, bench_stores.run(self.folder, self.options.size_mib * MIB))

    def scale(self) -> Iterator[str]:
        yield self._table(bench_scale.HEADING, bench_scale.run(self.folder, self.options.large))

    def statements(self) -> Iterator[str]:
        yield self._table(bench_statements.HEADING, bench_statements.run(self.folder, self.options.rows))

    def pages(self) -> Iterator[str]:
        options = self.options
        yield self._table(bench_pages.HEADING, bench_pages.run(self.folder, options.packages, options.files))

    def search(self) -> Iterator[str]:
        yield self._table(bench_search.HEADING, bench_search.run(self.folder))

    def upstream(self) -> Iterator[str]:
        seconds = min(1, self.options.seconds)
        yield self._table(bench_upstream.HEADING, bench_upstream.run(self.folder, seconds))

    def advisories(self) -> Iterator[str]:
        yield self._table(bench_advisories.HEADING, bench_advisories.run(self.folder, self.options.records))

    def bad_clients(self) -> Iterator[str]:
        answers: list[tuple[str, ...]] = []
        yield self._table(bench_bad_clients.HEADING, bench_bad_clients.run(self.folder, answers))
        yield self._table(bench_bad_clients.ANSWERS_HEADING, answers)

    def memory(self) -> Iterator[str]:
        """Of the server that all parts share, after those that came before."""
        yield self._table(bench_memory.HEADING, bench_memory.run(self.server))

    def _table(self, heading: Heading, rows: Rows) -> str:
        """Columns as wide as they need: the first to the left, numbers to the right."""
        measured = list(rows)
        self.goals += goals.found_in(heading, measured)
        lines = [heading, *measured]
        widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
        return "\n".join(
            "  ".join(
                text.ljust(width) if column == 0 else text.rjust(width)
                for column, (text, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )

    def _others(self, stack: ExitStack) -> tuple[list[Party], list[str]]:
        """The other registries, started, with a remark about each."""
        if not self.options.peers:
            return [], ["Other registries were not measured: that takes --peers, which installs them."]
        found, remarks = [], []
        for name, start in peers.PEERS.items():
            _progress(f"{name} is installed and filled ...")
            try:
                party = stack.enter_context(start(self.folder))
            except (Unavailable, AssertionError, OSError) as missing:
                remarks.append(f"{name} was not measured: {missing}.")
            else:
                found.append(party)
                remarks.append(f"{party.name}: {party.settings}.")
        return found, remarks


def main() -> None:
    options = _options()
    parts = options.parts or PARTS
    written = [_say(_heading(parts))]
    with tempfile.TemporaryDirectory(prefix="registry-benchmarks-") as name:
        server = RunningServer(Path(name, "server"), THREADS=str(bench_requests.THREADS))
        server.start()
        try:
            bench = Bench(options, Path(name), server)
            for part in parts:
                _progress(f"{part} ...")
                for text in _measured(part, getattr(bench, part.replace("-", "_"))):
                    written.append(_say(text))
        finally:
            server.stop()
    missed = [goal for goal in bench.goals if goal.endswith(goals.MISSED)]
    summary = f"{len(missed)} of {len(bench.goals)} goals missed{':' if missed else '.'}"
    written.append(_say("\n".join([summary, *missed])))
    if options.record:
        _record("\n\n".join(written))


def _heading(parts: Iterable[str]) -> str:
    lines = [
        _machine(),
        f"Load from {load.generator()}; {bench_requests.THREADS} threads serve. CPU ms: for 1,000 requests.",
    ]
    left_out = [part for part in PARTS if part not in parts]
    if left_out:
        lines.append(f"Left out: {', '.join(left_out)}.")
    return "\n".join(lines)


def _record(text: str) -> None:
    """Append the measurements to the results, with date and commit."""
    moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    with RESULTS.open("a") as results:
        results.write(f"\n## {moment}, {_commit()}\n\n```text\n{text}\n```\n")


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=, with uncommitted changes"],
        cwd=RESULTS.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return f"commit {described.stdout.strip()}"


def _measured(part: str, run: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Yield a part's tables and how busy the machine was with other work; or why it was not, or not all, measured."""
    before, is_begun = os.getloadavg()[0], False
    try:
        for text in run():
            yield text
            is_begun = True
    except Unavailable as missing:
        yield f"{part} was not measured{' to its end' if is_begun else ''}: {missing}."
    except Exception as failure:  # noqa: BLE001 - keeps the measurements of the other parts
        traceback.print_exc()
        yield f"{part} FAILED{' after this' if is_begun else ''}: {failure}"
    yield f"(load {before:.1f} before, {os.getloadavg()[0]:.1f} after)"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--peers", action="store_true", help=f"install {', '.join(peers.PEERS)}, and measure them too")
    parser.add_argument("--record", action="store_true", help=f"append the results to {RESULTS.name}")
    parser.add_argument("--seconds", type=float, default=9, help="for each kind of request (default: %(default)s)")
    parser.add_argument("--size-mib", type=int, default=1024, help="size of the large file (default: %(default)s)")
    parser.add_argument("--large", type=int, default=1_000_000, help="files in the large registry of the part scale")
    parser.add_argument("--rows", type=int, default=20_000, help="files in the one of the part statements")
    parser.add_argument("--packages", type=int, default=100_000, help="in the large project of the part pages")
    parser.add_argument("--files", type=int, default=2000, help="of the large package of the part pages")
    parser.add_argument("--records", type=int, default=200_000, help="in the export of the part advisories")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def _machine() -> str:
    packages = ("flask", "werkzeug", "waitress", "sqlalchemy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{_processor()}, {os.cpu_count()} processors; {platform.system()} "
        f"{platform.release()}\nPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _say(text: str) -> str:
    """Print a table as soon as it is measured, and return it."""
    print(f"{text}\n", flush=True)
    return text


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
