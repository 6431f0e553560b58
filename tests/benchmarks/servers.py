"""One worker process and two, each on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from tests import postgresql
from tests.acceptance.servers import RunningServer
from tests.benchmarks.peers import Unavailable

DATABASES = ("SQLite", "PostgreSQL")
# As in operation: the tests' own servers may lose what they were given when the power fails.
DURABLE = {"fsync": "on", "full_page_writes": "on"}


@contextmanager
def one_and_two_workers(folder: Path, database: str) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Run a server with one worker and one with two, each with a new database.

    :param database: one of ``DATABASES``.
    :raises Unavailable: PostgreSQL is not installed.
    """
    with ExitStack() as stack:
        address = stack.enter_context(_postgresql()) if database == "PostgreSQL" else None
        one, two = (
            stack.enter_context(_running(folder / f"{database}-{workers}", workers, address)) for workers in (1, 2)
        )
        yield one, two


def gather_statistics(server: RunningServer) -> None:
    """Let PostgreSQL count the rows, as it does by itself within a minute: without, it plans for empty tables."""
    address = server.settings["DATABASE_URL"]
    if address:
        with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("ANALYZE")


@contextmanager
def _running(folder: Path, workers: int, postgresql_server: str | None) -> Iterator[RunningServer]:
    address = "" if postgresql_server is None else postgresql.create_database(postgresql_server)
    server = RunningServer(folder, WORKERS=str(workers), DATABASE_URL=address)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _postgresql() -> Iterator[str]:
    programs = postgresql.binaries()
    if programs is None:
        raise Unavailable("PostgreSQL is not installed")
    server = postgresql.Server(programs, **DURABLE)
    try:
        yield server.address
    finally:
        server.close()
