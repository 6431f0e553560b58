"""Prometheus metrics of the running registry: requests, their effects, and the connection pool.

A request records its route (``ROUTE``) and its effect (``EVENT``) in the WSGI environment. Both are counted when the
response begins, including cached responses. Labels have few values: a route is a URL rule, never a URL.

Several processes share their metrics through files in the folder ``PROMETHEUS_MULTIPROC_DIR``. Their parent process
empties the folder (``empty_folder``), sets the variable before each process creates its application, and removes the
files of processes that ended (``forget_process``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from sqlalchemy import Engine, event

from registry.environ_keys import EVENT, ROUTE
from registry.errors import is_disk_full

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

CONTENT_TYPE = CONTENT_TYPE_LATEST

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FILE_BYTES = 1 << 20  # enough for 400 combinations of route, method, and status; beyond that, the file grows
LATENCIES_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Download:
    """A package file was requested; it counts as a download if the response delivers the entire file."""

    file_id: int
    size_bytes: int


@dataclass(frozen=True)
class Upload:
    """A package file was published."""

    size_bytes: int


@dataclass(frozen=True)
class Forward:
    """The client was redirected to the upstream index."""


@dataclass(frozen=True)
class UpstreamDownload:
    """A file of the upstream index was requested; it counts if the response delivers the entire file.

    :ivar use: of the file, as ``Metrics.on_use`` gets it.
    :ivar is_kept: whether it was in the store; otherwise, it is fetched.
    """

    use: object
    size_bytes: int
    is_kept: bool


@dataclass(frozen=True)
class UpstreamPage:
    """A page of the upstream index was given out.

    :ivar origin: ``hit`` if the kept page was current, ``miss`` if the index was asked, ``stale`` if it did not answer.
    """

    origin: str


@dataclass(frozen=True)
class Withheld:
    """A file was requested that a rule withholds."""

    rule: str


@dataclass(frozen=True)
class AuthFailure:
    """Authentication or authorization failed."""

    reason: str


@dataclass(frozen=True)
class Reading:
    """A value that is computed when metrics are requested."""

    name: str
    meaning: str
    value: float


class Metrics:
    """The metrics of this process, which are combined with those of other processes if there are several.

    :param on_download: called with the file id for each download of a package file.
    :ivar on_use: called with the use of each file of the upstream index that was given out.
    """

    on_use: Callable[[Any], None]

    def __init__(self, on_download: Callable[[int], None]) -> None:
        self._on_download = on_download
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if self._folder is not None and not _allocate_files(Path(self._folder)):
            self._folder = None
        # Set again, because the library read the variable when it was imported, possibly in the parent process.
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
        self._upstream_files = self._counter(
            "registry_upstream_files", "Files of the upstream index given out: kept (hit) or fetched (miss)", "origin"
        )
        self._upstream_file_bytes = self._counter(
            "registry_upstream_file_bytes", "Bytes of files of the upstream index given out", "origin"
        )
        self._fetched_bytes = self._counter(
            "registry_upstream_fetched_bytes", "Bytes of files received from the upstream index"
        )
        self._upstream_pages = self._counter(
            "registry_upstream_pages",
            "Pages of the upstream index given out: kept (hit), asked for (miss), or kept as it did not answer (stale)",
            "origin",
        )
        self._failures = self._counter("registry_auth_failures", "Requests refused for who asked", "reason")
        self._withheld = self._counter("registry_withheld_files", "Requests for files that are withheld", "rule")
        self._connections = Gauge(
            "registry_database_connections_in_use",
            "Connections taken from the pool",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self._known: dict[tuple[str, str, str], Histogram] = {}
        self._counters: dict[tuple[Histogram, object], Repetition] = {}

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def count(self, environ: WSGIEnvironment, status: str, seconds: float) -> None:
        """Count a request whose response begins.

        :param status: the status line.
        :param seconds: time until the response began.
        """
        self._duration(environ, status).observe(seconds)
        for step in self._steps(environ, status[:3]):
            step()

    def counter(self, environ: WSGIEnvironment, status: str) -> Callable[[float], None]:
        """Return a function that counts the same request again, and takes the time until its response began."""
        duration, event = self._duration(environ, status), environ.get(EVENT)
        known = self._counters.get((duration, event))
        if known is None:
            # A cached response takes 30 µs; looking up the child of a label would take a tenth of that.
            known = Repetition(duration, self._steps(environ, status[:3]))
            if not isinstance(event, Download | UpstreamDownload):  # of which there are many
                self._counters[duration, event] = known
        return known

    def _duration(self, environ: WSGIEnvironment, status: str) -> Histogram:
        key = (environ.get(ROUTE) or "none", environ["REQUEST_METHOD"], status[:3])
        known = self._known.get(key)
        if known is None:
            method = key[1] if key[1] in METHODS else "other"
            known = self._requests.labels(key[0], method, key[2])
            if method == key[1]:
                self._known[key] = known
        return known

    def _steps(self, environ: WSGIEnvironment, status: str) -> tuple[Callable[[], None], ...]:
        """Return the calls that count the effect of a request."""
        match environ.get(EVENT):
            case Download() as done if gives_whole_file(environ, status):
                return (RepeatedDownload(self._downloads, self._download_bytes, self._on_download, done),)
            case UpstreamDownload(use, size_bytes, is_kept) if gives_whole_file(environ, status):
                origin = "hit" if is_kept else "miss"
                return (
                    self._upstream_files.labels(origin).inc,
                    partial(self._upstream_file_bytes.labels(origin).inc, size_bytes),
                    partial(self.on_use, use),
                )
            case Upload(size_bytes):
                return self._uploads.inc, partial(self._upload_bytes.inc, size_bytes)
            case Forward():
                return (self._forwards.inc,)
            case UpstreamPage(origin):
                return (self._upstream_pages.labels(origin).inc,)
            case Withheld(rule):
                return (self._withheld.labels(rule).inc,)
            case AuthFailure(reason):
                return (self._failures.labels(reason).inc,)
        return ()

    def count_fetched(self, size_bytes: int) -> None:
        """Count bytes that were received from the upstream index."""
        self._fetched_bytes.inc(size_bytes)

    def watch_pool(self, engine: Engine) -> None:
        """Track the number of connections in use."""
        connections = self._connections  # the engine, which the database knows by its application, keeps no more of it

        def in_use() -> int:
            pool: Any = engine.pool  # each disposal creates a new pool
            return int(pool.checkedout())

        @event.listens_for(engine, "checkout")
        def taken(*_: object) -> None:
            connections.set(in_use())

        @event.listens_for(engine, "checkin")
        def returned(*_: object) -> None:
            connections.set(max(0, in_use() - 1))  # this connection still counts as checked out

    def exposition(self, readings: Iterable[Reading]) -> bytes:
        """Return the metrics of all processes in Prometheus' text format."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        computed = CollectorRegistry()
        computed.register(_Readings(readings))
        return generate_latest(registry) + generate_latest(computed)


@dataclass(slots=True)
class Repetition:
    """Counts the same request again; takes less memory than a closure, as there are thousands."""

    _duration: Histogram
    _steps: tuple[Callable[[], None], ...]

    def __call__(self, seconds: float) -> None:
        self._duration.observe(seconds)
        for step in self._steps:
            step()


@dataclass(slots=True)
class RepeatedDownload:
    """Counts a download of the same file again."""

    _count: Counter
    _bytes: Counter
    _on_download: Callable[[int], None]
    _done: Download

    def __call__(self) -> None:
        self._count.inc()
        self._bytes.inc(self._done.size_bytes)
        self._on_download(self._done.file_id)


class _Readings(Collector):
    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = tuple(readings)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for reading in self._readings:
            yield GaugeMetricFamily(reading.name, reading.meaning, reading.value)


def repeated(event: object) -> object:
    """Return what a response counts as when it is sent again."""
    return UpstreamPage("hit") if event == UpstreamPage("miss") else event


def gives_whole_file(environ: WSGIEnvironment, status: str) -> bool:
    """Return whether a response delivers an entire file or redirects to it, unlike 206 and 304."""
    return status in ("200", "302") and environ["REQUEST_METHOD"] == "GET"


def _allocate_files(folder: Path) -> bool:
    """Allocate the metric files of this process on disk, and return whether there was enough space.

    The library creates sparse files: on a full disk, the first write to a hole would kill the process (SIGBUS).
    Without enough space, the metrics of a process are not shared.
    """
    files = [folder / f"{kind}_{os.getpid()}.db" for kind in ("counter", "histogram", "gauge_livesum")]
    try:
        for file in files:
            if not file.exists():  # a former process with the same id may have created it
                written = file.with_suffix(".new")
                written.write_bytes(bytes(FILE_BYTES))
                written.rename(file)  # atomic, as other processes can be reading all files
    except OSError as error:
        if not is_disk_full(error):
            raise
        written.unlink(missing_ok=True)
        logger.warning("The disk has no space for the metrics of this process: other processes do not show them.")
        return False
    return True


def empty_folder(folder: Path) -> None:
    """Create the folder shared by the processes, and remove the metrics of former processes."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (*folder.glob("*.db"), *folder.glob("*.new")):
        file.unlink()


def forget_process(folder: Path, process_id: int) -> None:
    """Remove the gauges of a process that ended; its counters are kept."""
    mark_process_dead(process_id, str(folder))  # type: ignore[no-untyped-call]
