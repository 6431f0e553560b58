"""Serving on waitress: early refusals, several processes, and a stop that lets running requests finish."""

from __future__ import annotations

import gc
import socket
import tempfile
from collections.abc import Callable

from flask import Flask
from waitress.adjustments import Adjustments

from registry.errors import ConfigurationError
from registry.server import background, channel, limits, memory, parser
from registry.server.limits import Limits, Places
from registry.server.listening import Server
from registry.server.loads import Load
from registry.server.loop import Loop
from registry.server.parser import CHUNKED_PIECE_BYTES, PLACES, SMALL_BODY_BYTES, UNLIMITED_BYTES
from registry.server.supervisor import Supervisor
from registry.server.threads import Threads

__all__ = ["SMALL_BODY_BYTES", "bind", "serve", "supervise"]

BACKLOG = 1024
TEND_SECONDS = 60  # between looks at the cache of the upstream index
COLLECTED_AFTER = (10_000, 10, 10)  # new objects, and as in Python collections of each younger generation
HEAD_BYTES = 64 << 10  # all of a head is parsed again when more of it arrives


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to this address; only one, even if the name has several addresses.

    :param port: 0 for a port that the system chooses.
    :raises ConfigurationError: the address cannot be listened on.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
        listener.close()
        raise _not_listened_on(host, port, error) from error
    return listener


def _listen(listener: socket.socket) -> None:
    """Let connections wait in the backlog from now on.

    :raises ConfigurationError: a process that was bound to the same address at the same time has been faster.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _not_listened_on(host, port, error) from error


def _not_listened_on(host: str, port: int, error: OSError | UnicodeError) -> ConfigurationError:
    cause = error.strerror if isinstance(error, OSError) else "not a host name"
    return ConfigurationError(
        f"REGISTRY_HOST and REGISTRY_PORT are {host}:{port}, which cannot be listened on: {cause}."
    )


def supervise(
    make_app: Callable[[], Flask],
    listener: socket.socket,
    count: Callable[[], int],
    announce: Callable[[int], None],
    forget: Callable[[int], None],
) -> None:
    """Serve in several processes until SIGINT or SIGTERM; SIGHUP replaces them by new ones.

    :param make_app: called in each process. The calling process must not have a database connection or a thread.
    :param count: returns the number of processes; called now and at each SIGHUP.
    :param announce: called with the port once all of them accept connections.
    :param forget: called with the number of each process that has ended.
    :raises ConfigurationError: the address cannot be listened on.
    """
    _listen(listener)  # connections wait in the backlog even if workers die
    port = listener.getsockname()[1]

    def work(lifeline: socket.socket, load: Load | None) -> None:
        serve(make_app(), listener, lambda _port: lifeline.sendall(b"."), lifeline, load)

    Supervisor(work, count, lambda: announce(port), forget).run(at_stop=listener.close)


def serve(
    app: Flask,
    listener: socket.socket,
    announce: Callable[[int], None],
    lifeline: socket.socket | None = None,
    load: Load | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish running requests, for at most a minute.

    :param announce: called with the port once connections are accepted.
    :param lifeline: the connection of a worker to its supervisor.
    :param load: of a worker, by which it leaves new connections to others.
    :raises ConfigurationError: the address cannot be listened on.
    """
    _listen(listener)
    # Waitress spools bodies in the temporary folder: it must be a real disk with room for the largest file.
    spool = app.config["INSTANCE_PATH"] / "spool"
    spool.mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = str(spool)
    allowed = limits.affordable(limits.configured(app.config))
    with (
        background.repeated(app, "Counting downloads", app.extensions["downloads"].flush),
        background.repeated(app, "Reading dependencies", app.extensions["tend_requirements"]),
        background.repeated(app, "Tending files of the upstream", app.extensions["upstream_files"].tend, TEND_SECONDS),
        background.repeated(app, "Tending pages of the upstream", app.extensions["upstream_pages"].tend, TEND_SECONDS),
        background.repeated(app, "Noting requested names", app.extensions["upstream_asks"].tend, TEND_SECONDS),
        background.repeated(app, "Returning memory", memory.return_gaps),
    ):
        loop = Loop(make_server(app, listener, allowed, load))
        _leave_out_present_objects()
        loop.run(announce, lifeline)


def _leave_out_present_objects() -> None:
    """Have the garbage collector never look at what exists by now, and less often at the rest.

    Hundreds of thousands of objects of modules, mappings, and templates last as long as the process. A pass through
    them stopped all threads, on a busy machine for 0.2 s.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)


def make_server(app: Flask, listener: socket.socket, allowed: Limits, load: Load | None = None) -> Server:
    """Create the server for this socket and its threads; ``Loop`` runs it."""

    class Parser(parser.GuardedParser):
        uploads = app.extensions["uploads"]
        probes = parser.probes_at(app.config.get("EXTERNAL_URL"))
        places = Places(PLACES, allowed.proxies)

    class Channel(channel.Channel):
        request_class = Parser

    adjustments = Adjustments(
        max_request_body_size=UNLIMITED_BYTES,  # the parser and the application have their own limits
        # How much of a response is buffered for a slow client, on disk: no thread waits for a client that gets a wheel
        # of usual size from an object store. Files in a folder are sent without a thread.
        outbuf_high_watermark=256 << 20,
        recv_bytes=1 << 18,  # an upload in 256 KiB pieces costs a quarter of the time of waitress's 8
        max_request_header_size=HEAD_BYTES,
        inbuf_overflow=SMALL_BODY_BYTES + 2 * CHUNKED_PIECE_BYTES,  # only uploads are kept on disk
        backlog=BACKLOG,
        ident="registry",
        clear_untrusted_proxy_headers=False,  # /-/metrics recognizes by them what an unknown proxy forwards
        sockets=[listener],
    )
    threads = Threads(app.config["THREADS"])
    server = Server(
        app, listener, threads, adjustments, allowed, app.extensions.get("answers"), load,
        trusts_proxies=bool(app.config["TRUSTED_PROXIES"]),
    )  # fmt: skip
    server.channel_class = Channel
    return server
