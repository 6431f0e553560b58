"""``python -m tests.recording``: record a session, or compare two recordings."""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.servers import RunningServer
from tests.recording import compare, coverage, elsewhere, pages, pypi, rest, shell
from tests.recording.recorder import Recorder
from tests.recording.world import ROOT_PASSWORD, ROOT_TOKEN, World

SETTINGS = {
    "SECRET_KEY": "a key that only the recording uses, long enough",
    "UPSTREAM_URL": "https://upstream.test/simple/",
    "MAX_FILE_SIZE": "200000",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recording", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where the recording goes; what is there is replaced")
    parser.add_argument("--database-url", help="an empty database, by default an SQLite file")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="show what differs between two")
    parser.add_argument("--lines", type=int, default=40, help="lines shown of each difference (default: %(default)s)")
    options = parser.parse_args()
    if options.compare:
        return compare.show(*options.compare, options.lines)
    if options.folder is None:
        parser.error("a folder is needed, or --compare")
    record(options.folder, options.database_url)
    return 0


def record(folder: Path, database_url: str | None) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recording-") as place:
        server = _server(Path(place), database_url)
        server.start()
        try:
            recorder = Recorder(folder, f"http://127.0.0.1:{server.settings['PORT']}")
            recorder.masks.texts |= {str(server.instance): "<instance>", f":{server.settings['PORT']}": ":<port>"}
            play(recorder, server)
        finally:
            server.stop()
    print(f"{recorder.steps} steps in {time.monotonic() - begun:.0f} seconds in {folder}")
    uncovered = coverage.uncovered(recorder.sent)
    print("\n".join(["Routes without a step:", *uncovered] if uncovered else ["Every route has a step."]))


def play(recorder: Recorder, server: RunningServer) -> None:
    world = World(recorder, server)
    rest.play(world)
    pypi.play_uploads(world)
    rest.play_packages(world)
    pypi.play_closed_names(world)
    pypi.play_reading(world)
    pages.play(world)
    pypi.play_downloads(world)
    server.restart()  # the counts of downloads are written at its end
    pages.play_after_downloads(world)
    elsewhere.play(world)
    shell.play(world)


def _server(place: Path, database_url: str | None) -> RunningServer:
    address = {"DATABASE_URL": database_url} if database_url else {}
    server = RunningServer(place, **SETTINGS, **address, PORT=str(_free_port()))
    server.root_password, server.root_token = ROOT_PASSWORD, ROOT_TOKEN
    return server


def _free_port() -> int:
    """A port for all starts of the server, so that its address stays the same."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
