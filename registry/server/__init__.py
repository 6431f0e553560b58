"""Serving on waitress: early refusals, several processes, and a stop that lets running requests finish."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable

from flask import Flask
from waitress.adjustments import Adjustments

from registry.errors import ConfigurationError
from registry.server import background, channel, parser
from registry.server.listening import Server
from registry.server.loop import Loop
from registry.server.parser import SMALL_BODY_BYTES, UNLIMITED_BYTES
from registry.server.supervisor import Supervisor
from registry.server.threads import Threads

__all__ = ["SMALL_BODY_BYTES", "bind", "serve", "supervise"]

BACKLOG = 1024
FORM_BYTES = 64 << 20  # what an upload's form may add to its file


def bind(host: str, port: int) -> socket.socket:
    """A socket on this address; one also for a name with several: two could not share a port that the system chooses.

    :param port: 0 lets the system choose.
    :raises ConfigurationError: the address cannot be listened on.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: no host name can be spelled so
        listener.close()
        cause = error.strerror if isinstance(error, OSError) else "not a host name"
        raise ConfigurationError(
            f"REGISTRY_HOST and REGISTRY_PORT are {host}:{port}, which cannot be listened on: {cause}."
        ) from error
    return listener


def supervise(
    make_app: Callable[[], Flask],
    listener: socket.socket,
    count: Callable[[], int],
    announce: Callable[[int], None],
    forget: Callable[[int], None],
) -> None:
    """Serve in several processes until SIGINT or SIGTERM; SIGHUP replaces them by new ones.

    :param make_app: called in each process, which owns what it opens. The calling process may not have a database
        connection or a thread when it calls.
    :param count: how many processes, asked now and at each SIGHUP.
    :param announce: called with the port once all of them accept connections.
    :param forget: called with the number of each process that has ended.
    """
    listener.listen(BACKLOG)  # from now on nobody is refused, whatever happens to the workers
    port = listener.getsockname()[1]

    def work(lifeline: socket.socket) -> None:
        serve(make_app(), listener, lambda _port: lifeline.sendall(b"."), lifeline)

    Supervisor(work, count, lambda: announce(port), forget).run(at_stop=listener.close)


def serve(
    app: Flask, listener: socket.socket, announce: Callable[[int], None], lifeline: socket.socket | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is running, for at most a minute.

    :param announce: called with the port once connections are accepted.
    :param lifeline: of a worker, to its supervisor.
    """
    # Waitress spools bodies in the temporary folder: it must be a real disk with room for the largest file.
    spool = app.config["INSTANCE_PATH"] / "spool"
    spool.mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = str(spool)
    with background.repeated(app, app.extensions["downloads"].flush):
        Loop(make_server(app, listener)).run(announce, lifeline)


def make_server(app: Flask, listener: socket.socket) -> Server:
    """The server for this socket and its threads; ``Loop`` runs it."""
    limit = app.config["MAX_FILE_SIZE"] or UNLIMITED_BYTES - FORM_BYTES

    class Parser(parser.GuardedParser):
        uploads = app.extensions["uploads"]
        max_upload_bytes = limit + FORM_BYTES

    class Channel(channel.Channel):
        parser_class = Parser

    adjustments = Adjustments(
        max_request_body_size=UNLIMITED_BYTES,  # the parser and the application have their own limits
        # What an answer may be ahead of its client, on disk: no thread waits for a slow one that gets a wheel of usual
        # size from an object store. Files of a folder are sent without a thread.
        outbuf_high_watermark=256 << 20,
        recv_bytes=1 << 18,  # an upload in 256 KiB pieces costs a quarter of the time of waitress's 8
        connection_limit=1000,
        cleanup_interval=1,
        backlog=BACKLOG,
        ident="registry",
        clear_untrusted_proxy_headers=not app.config["TRUSTED_PROXIES"],
        sockets=[listener],
    )
    server = Server(app, listener, Threads(app.config["THREADS"]), adjustments, app.extensions.get("answers"))
    server.channel_class = Channel
    return server
