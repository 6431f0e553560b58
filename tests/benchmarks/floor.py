"""The floor: a bare Flask application on waitress that answers everything with one prepared page."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

import waitress
from flask import Flask, Response


def main() -> None:
    """``python -m tests.benchmarks.floor <file> <status> <media type> <threads>``; prints its port."""
    file, status, media_type, threads = sys.argv[1:]
    page = Path(file).read_bytes()
    app = Flask(__name__)

    @app.get("/<path:_path>")
    def answer(_path: str) -> Response:
        return Response(page, int(status), content_type=media_type)

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # as ours
    waitress.serve(app, sockets=[listener], threads=int(threads), _quiet=True)


if __name__ == "__main__":
    main()
