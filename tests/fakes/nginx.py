"""Debian's nginx, with the configuration that the registry is deployed with."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CONFIGURATION = Path(__file__).resolve().parents[2] / ".deploy" / "nginx.conf"
START_SECONDS = 20


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Nginx:
    """``.deploy/nginx.conf`` on a port of the loopback address, everything it writes below one folder.

    :param replaced: further replacements in the configuration.
    """

    def __init__(self, folder: Path, port: int, registry_url: str, replaced: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self._port = port
        self._configuration = folder / "nginx.conf"
        self._configuration.write_text(_adapted(port, registry_url, replaced))
        # Below the tests' own folder nothing can be read by another user.
        directives = f"user root; daemon off; pid {folder}/pid; error_log {folder}/error.log;"
        self._command = [
            str(PROGRAM), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(self._configuration),
            "-g", directives,
        ]  # fmt: skip

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=5):
                return
            assert self._process.poll() is None, self._process.communicate()[1].decode()
            assert time.monotonic() < deadline, "nginx did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()


def _adapted(port: int, registry_url: str, replaced: dict[str, str]) -> str:
    text = CONFIGURATION.read_text()
    own = {
        "server registry:8080;": f"server {urlsplit(registry_url).netloc};",
        "listen 80;": f"listen 127.0.0.1:{port};",
        "tcp_nopush on;": "tcp_nopush on; access_log off;",
    }
    for old, new in (own | replaced).items():
        assert old in text, f"{CONFIGURATION} has no {old!r} any more"
        text = text.replace(old, new)
    return text
