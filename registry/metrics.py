"""What is counted while the registry serves, for Prometheus: requests, what they did, and the pool of connections.

A request leaves in its WSGI environment which route answered it (``ROUTE``) and what it did beyond answering
(``EVENT``); both are counted when its answer begins, kept answers like any other. Labels take few values: a route is
the rule of an address, never the address.

Several processes share their numbers by files in one folder, named by ``PROMETHEUS_MULTIPROC_DIR``: whoever starts them
empties it (``empty_folder``), sets the variable in each before the application is made there, and says when one has
ended (``forget_process``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from sqlalchemy import Engine, event

from registry.errors import is_for_lack_of_room

ROUTE = "registry.route"
EVENT = "registry.event"
CONTENT_TYPE = CONTENT_TYPE_LATEST

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FILE_BYTES = 1 << 20  # 400 combinations of route, method and status; more have to find their room
LATENCIES_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A package file is given out, if the answer is the whole file."""

    file_id: int
    size_bytes: int


@dataclass(frozen=True)
class Upload:
    """A package file was published."""

    size_bytes: int


@dataclass(frozen=True)
class Forward:
    """The caller is sent to the upstream index."""


@dataclass(frozen=True)
class AuthFailure:
    """Who asked, or what they may, was not good enough."""

    reason: str


@dataclass(frozen=True)
class Reading:
    """A number that is looked up when somebody asks for the metrics."""

    name: str
    meaning: str
    value: float


class Metrics:
    """The numbers of this process, or its part of those of several.

    :param on_download: told of each download of a package file, with the file's id.
    """

    def __init__(self, on_download: Callable[[int], None]) -> None:
        self._on_download = on_download
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if self._folder is not None and not _take_room(Path(self._folder)):
            self._folder = None
        # Chosen anew: the library looked at the variable when it was imported, maybe in the parent of this process.
        values.ValueClass = values.MutexValue if self._folder is None else values.MultiProcessValue()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "registry_http_request_duration_seconds",
            "Requests, by the time until the answer began",
            ["route", "method", "status"],
            buckets=LATENCIES_SECONDS,
            registry=self._registry,
        )
        self._uploads = self._counter("registry_uploads", "Package files published")
        self._upload_bytes = self._counter("registry_upload_bytes", "Bytes of package files published")
        self._downloads = self._counter("registry_downloads", "Package files given out as a whole")
        self._download_bytes = self._counter("registry_download_bytes", "Bytes of package files given out as a whole")
        self._forwards = self._counter("registry_forwards", "Requests sent to the upstream index")
        self._failures = self._counter("registry_auth_failures", "Requests refused for who asked", "reason")
        self._connections = Gauge(
            "registry_database_connections_in_use",
            "Connections taken from the pool",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        # A hot answer takes 30 µs: looking up a label's child would take a tenth of that.
        self._known: dict[tuple[str, str, str], Any] = {}

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def count(self, environ: Mapping[str, Any], status: str, seconds: float) -> None:
        """Count a request whose answer begins.

        :param status: the status line.
        """
        key = (environ.get(ROUTE) or "none", environ["REQUEST_METHOD"], status[:3])
        known = self._known.get(key)
        if known is None:
            method = key[1] if key[1] in METHODS else "other"
            known = self._requests.labels(key[0], method, key[2])
            if method == key[1]:
                self._known[key] = known
        known.observe(seconds)
        done = environ.get(EVENT)
        if done is not None:
            self._count_event(done, environ, key[2])

    def _count_event(self, done: object, environ: Mapping[str, Any], status: str) -> None:
        if isinstance(done, Download):
            if gives_whole_file(environ, status):
                self._downloads.inc()
                self._download_bytes.inc(done.size_bytes)
                self._on_download(done.file_id)
        elif isinstance(done, Upload):
            self._uploads.inc()
            self._upload_bytes.inc(done.size_bytes)
        elif isinstance(done, Forward):
            self._forwards.inc()
        elif isinstance(done, AuthFailure):
            self._failures.labels(done.reason).inc()

    def watch_pool(self, engine: Engine) -> None:
        """Keep the number of connections that are in use."""

        def in_use() -> int:
            pool: Any = engine.pool  # another one after each disposal
            return int(pool.checkedout())

        @event.listens_for(engine, "checkout")
        def taken(*_: object) -> None:
            self._connections.set(in_use())

        @event.listens_for(engine, "checkin")
        def returned(*_: object) -> None:
            self._connections.set(max(0, in_use() - 1))  # this one is about to be

    def exposition(self, readings: Iterable[Reading]) -> bytes:
        """Everything in Prometheus' text format, of all processes."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        looked_up = CollectorRegistry()
        looked_up.register(_Readings(readings))
        return generate_latest(registry) + generate_latest(looked_up)


class _Readings(Collector):
    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = tuple(readings)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for reading in self._readings:
            yield GaugeMetricFamily(reading.name, reading.meaning, reading.value)


def gives_whole_file(environ: Mapping[str, Any], status: str) -> bool:
    """Whether an answer about a file brings all of it, or says where it is; 206 and 304 do neither."""
    return status in ("200", "302") and environ["REQUEST_METHOD"] == "GET"


# Several processes ----------------------------------------------------------------------------------------------


def _take_room(folder: Path) -> bool:
    """Write the files of this process to the size that they will have; whether the disk has room for them.

    The library leaves holes in them: on a full disk the process would be killed (SIGBUS) when it first counts there.
    Without room a process counts for itself.
    """
    files = [folder / f"{kind}_{os.getpid()}.db" for kind in ("counter", "histogram", "gauge_livesum")]
    try:
        for file in files:
            if not file.exists():  # a process of the same number may have counted before
                written = file.with_suffix(".new")
                written.write_bytes(bytes(FILE_BYTES))
                written.rename(file)  # others may be reading all there are
    except OSError as error:
        if not is_for_lack_of_room(error):
            raise
        written.unlink(missing_ok=True)
        logger.warning("There is no room on the disk for the metrics of this process: others do not show them.")
        return False
    return True


def empty_folder(folder: Path) -> None:
    """Make the folder that processes share, without the numbers of those before them."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (*folder.glob("*.db"), *folder.glob("*.new")):
        file.unlink()


def forget_process(folder: Path, process_id: int) -> None:
    """Leave out what a process that has ended was holding; what it had counted stays counted."""
    mark_process_dead(process_id, str(folder))  # type: ignore[no-untyped-call]
