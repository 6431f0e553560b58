"""Serving on waitress: early refusals, and a stop that lets running requests finish."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable

from flask import Flask
from waitress import create_server

from registry.errors import ConfigurationError
from registry.server import channel, loop, parser
from registry.server.parser import SMALL_BODY_BYTES, UNLIMITED_BYTES

__all__ = ["SMALL_BODY_BYTES", "bind", "serve"]

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


def serve(app: Flask, listener: socket.socket, announce: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is running, for at most a minute.

    :param announce: called with the port once connections are accepted.
    """
    # Waitress spools bodies in the temporary folder: it must be a real disk with room for the largest file.
    spool = app.config["INSTANCE_PATH"] / "spool"
    spool.mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = str(spool)
    limit = app.config["MAX_FILE_SIZE"] or UNLIMITED_BYTES - FORM_BYTES

    class Parser(parser.GuardedParser):
        max_upload_bytes = limit + FORM_BYTES

    class Channel(channel.Channel):
        parser_class = Parser

    server = create_server(
        app,
        sockets=[listener],
        threads=app.config["THREADS"],
        max_request_body_size=UNLIMITED_BYTES,  # the parser and the application have their own limits
        recv_bytes=1 << 18,  # an upload in 256 KiB pieces costs a quarter of the time of waitress's 8
        connection_limit=1000,
        backlog=1024,
        asyncore_use_poll=True,
        ident="registry",
        clear_untrusted_proxy_headers=not app.config["TRUSTED_PROXIES"],
    )
    server.channel_class = Channel
    loop.run(server, announce)
