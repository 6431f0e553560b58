"""``python -m tests.benchmarks``: how fast, how much memory, how many statements. Prints tables; decides nothing."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from tests.acceptance.servers import RunningServer
from tests.benchmarks import bench_large_file, bench_pages, bench_requests, bench_statements, load

MIB = 1 << 20


def main() -> None:
    options = _options()
    tables = []
    with tempfile.TemporaryDirectory(prefix="registry-benchmarks-") as name:
        folder = Path(name)
        server = RunningServer(folder / "server", THREADS=str(bench_requests.THREADS))
        server.start()
        try:
            _say(f"requests: {options.seconds:g} s each ...")
            tables.append((bench_requests.HEADING, list(bench_requests.run(server, folder, options.seconds))))
            _say(f"a file of {options.size_mib} MiB ...")
            tables.append(
                (bench_large_file.HEADING, list(bench_large_file.run(server, folder, options.size_mib * MIB)))
            )
            speed = bench_large_file.disk_speed(folder, options.size_mib * MIB)
        finally:
            server.stop()
        _say(f"statements: {options.rows} rows ...")
        tables.append((bench_statements.HEADING, list(bench_statements.run(folder, options.rows))))
        _say(f"pages: {options.packages} packages, {options.files} files ...")
        tables.append((bench_pages.HEADING, list(bench_pages.run(folder, options.packages, options.files))))
    print(_machine())
    print(f"Load from {load.generator()} over {load.CONNECTIONS} connections; {bench_requests.THREADS} threads serve.")
    print(f"As for the large file: {speed}.")
    for heading, rows in tables:
        print(f"\n{_table(heading, rows)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=9, help="for each kind of request (default: %(default)s)")
    parser.add_argument("--size-mib", type=int, default=1024, help="size of the large file (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=20_000, help="files in the large registry (default: %(default)s)")
    parser.add_argument("--packages", type=int, default=10_000, help="in the large project (default: %(default)s)")
    parser.add_argument("--files", type=int, default=500, help="of the large package (default: %(default)s)")
    return parser.parse_args()


def _machine() -> str:
    packages = ("flask", "werkzeug", "waitress", "sqlalchemy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{_processor()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end; {platform.system()} "
        f"{platform.release()}\nPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Columns as wide as they need: the first to the left, numbers to the right."""
    lines = [heading, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
