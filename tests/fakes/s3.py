"""A real S3 server, OpenStack Swift: unlike a mock it checks signatures and their expiry."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import obstore
import requests
from obstore.store import S3Store

from tests.fakes.network import FaultyLine

REQUIREMENTS = ("swift==2.38.3", "pyeclib==1.8.0", "setuptools")
BUCKET = "packages"


class NoS3(Exception):
    """The server does not run on this machine."""


class S3Server:
    """Swift as a process of its own, with one bucket. It is addressed by another host name than the registry.

    :ivar settings: access to it, as settings of the registry.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        script = Path(__file__).with_name("swift_process.py")
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen([python, script, folder / "data"], stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        port = self._process.stdout.readline().decode().strip()
        if not port:
            raise NoS3(f"the S3 server does not start: {(folder / 'log').read_text().strip()[-500:]}")
        self.settings = {
            "S3_ENDPOINT": f"http://localhost:{port}",
            "S3_REGION": "us-east-1",
            "S3_ACCESS_KEY_ID": "test:tester",
            "S3_SECRET_ACCESS_KEY": "testing",
        }
        self._port = int(port)
        self._prefixes = count(1)
        self._make_bucket()

    def address(self) -> str:
        """A new empty place for a store."""
        return f"s3://{BUCKET}/store{next(self._prefixes)}"

    @contextmanager
    def line(self) -> Iterator[tuple[FaultyLine, dict[str, str]]]:
        """A way to the server that can be disturbed, and the settings that lead there."""
        with closing(FaultyLine(self._port)) as line:
            yield line, self.settings | {"S3_ENDPOINT": f"http://localhost:{line.port}"}

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def _client(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.settings["S3_ENDPOINT"],
            access_key_id=self.settings["S3_ACCESS_KEY_ID"],
            secret_access_key=self.settings["S3_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
        )

    def _make_bucket(self) -> None:
        """:raises NoS3: where the temporary folder has no extended attributes, among others."""
        made = requests.put(obstore.sign(self._client(), "PUT", "", timedelta(minutes=1)), timeout=30)
        if made.status_code != 200:
            raise NoS3(f"the S3 server makes no bucket: {made.text[:300]}")
        try:
            obstore.put(self._client(), "first", b"object")
        except obstore.exceptions.BaseError as error:
            raise NoS3(f"the S3 server keeps nothing: {str(error)[:300]}") from error
