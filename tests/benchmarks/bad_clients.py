"""Clients that occupy a server: slow ones, all in one loop, and uploads of files that are expensive to examine."""

from __future__ import annotations

import asyncio
import resource
import socket
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from gzip import compress, decompress
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.acceptance.servers import Namespace, RunningServer
from tests.acceptance.wire import BOUNDARY, MIB, basic, file_head, head, large_wheel, upload_head, upload_large
from tests.benchmarks import rows
from tests.builders import BuiltFile, build_sdist, build_wheel, release_of

SLOW_HEADS, SLOW_READERS, WITHHELD_BODIES, CRAFTED_UPLOADS = 2000, 200, 50, 20
PER_ADDRESS = 200
STEP_SECONDS = 5  # between two bytes of a head, or two pieces of an answer
PIECE_BYTES = 1024
RECEIVE_BUFFER_BYTES = 4096
LARGE_FILE_MIB = 16
LARGE_PAGE_VERSIONS = 5000
START_SECONDS = 60
UPLOAD_SECONDS = 1  # from the beginning of one crafted upload to that of the next, if it is answered earlier


@dataclass(frozen=True)
class SlowClient:
    """A client that opens its connection again whenever the server closes it.

    :ivar source: the address it comes from.
    :ivar opening: sent at once.
    :ivar drop: sent every ``STEP_SECONDS`` afterwards.
    :ivar reads: accept a piece of the answer every ``STEP_SECONDS``, and send nothing.
    """

    source: str
    opening: bytes
    drop: bytes = b""
    reads: bool = False

    async def occupy(self, address: tuple[str, int], connected: Callable[[], None]) -> None:
        while True:
            with suppress(OSError), socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
                connection.setblocking(False)
                connection.bind((self.source, 0))
                await asyncio.get_running_loop().sock_connect(connection, address)
                connected()
                await self._converse(connection)
            await asyncio.sleep(0.1)

    async def _converse(self, connection: socket.socket) -> None:
        """Return when the server has ended it."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, self.opening)
        while self.reads:
            await asyncio.sleep(STEP_SECONDS)
            if not await loop.sock_recv(connection, PIECE_BYTES):
                return
        while True:
            try:
                await asyncio.wait_for(loop.sock_recv(connection, PIECE_BYTES), STEP_SECONDS)
                return
            except TimeoutError:
                await loop.sock_sendall(connection, self.drop)


def slow_heads() -> list[SlowClient]:
    opening = head("GET", "/-/health", User_Agent="slow").removesuffix(b"\r\n\r\n")
    return [SlowClient(_source(2, number), opening, b"w") for number in range(SLOW_HEADS)]


def slow_readers(project: Namespace, folder: Path) -> list[SlowClient]:
    """Half of them read a large file, and half a large simple page."""
    server = project.server
    wheel = large_wheel(folder, "large", LARGE_FILE_MIB * MIB)
    answer = upload_large(project, wheel, server.root_token)
    assert answer is not None
    assert answer.status == 201, answer.body
    paged = server.project()
    rows.add_to(server, paged, (("paged", f"1.{number}") for number in range(LARGE_PAGE_VERSIONS)))
    page = head("GET", f"{paged.pypi_path}/simple/paged/", Authorization=basic(server.root_token))
    openings = (file_head(project, wheel, server.root_token), page)
    return [SlowClient(_source(50, number), openings[number % 2], reads=True) for number in range(SLOW_READERS)]


def withheld_bodies(project: Namespace) -> list[SlowClient]:
    """All but the last byte of the largest form, by half of them to sign in, and by half as an upload."""
    kind = "application/x-www-form-urlencoded"
    sign_in = head("POST", "/users/sign_in", Content_Type=kind, Content_Length=MIB)
    openings = [each + b"a" * (MIB - 1) for each in (sign_in, upload_head(project, project.server.root_token, MIB))]
    return [SlowClient(_source(60, number), openings[number % 2]) for number in range(WITHHELD_BODIES)]


def _source(first: int, number: int) -> str:
    return f"127.0.0.{first + number // PER_ADDRESS}"


@contextmanager
def occupied(server: RunningServer, clients: Sequence[SlowClient]) -> Iterator[None]:
    """Have the clients occupy the server during the block, which begins when each has been connected once."""
    _allow_files(len(clients))
    parts = urlsplit(server.url)
    address = (parts.hostname or "", parts.port or 0)
    missing, are_connected = set(range(len(clients))), threading.Event()

    def connected(number: int) -> None:
        missing.discard(number)
        if not missing:
            are_connected.set()

    async def occupy() -> None:
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(client.occupy(address, partial(connected, number)))

    loop = asyncio.new_event_loop()
    running = loop.create_task(occupy())
    thread = threading.Thread(target=_run, args=(loop, running), name="slow clients")
    thread.start()
    try:
        assert not clients or are_connected.wait(START_SECONDS), f"{len(missing)} clients could not connect"
        yield
    finally:
        loop.call_soon_threadsafe(running.cancel)
        thread.join()
        loop.close()
        if not running.cancelled():
            running.result()  # raises what ended it


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(BaseException):  # kept in the task
        loop.run_until_complete(task)


def _allow_files(connections: int) -> None:
    """Raise the number of files that this process can have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + 512
    if resource.RLIM_INFINITY != soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class CraftedUploads:
    """Files that are expensive to examine or to show: some as far as they are accepted, others beyond."""

    def __init__(self, project: Namespace) -> None:
        self._project = project
        self._members = _many_members()
        self._form = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"'.encode() + b";" * (24 * MIB)
        self._numbers = count()
        self._kinds = (
            partial(self._nested, depth=20), partial(self._nested, depth=200), self._headings, self._table,
            self._many, self._semicolons,
        )  # fmt: skip

    def send(self, kind: int) -> str:
        """Upload the next file of a kind; returns the status, or why there is none."""
        try:
            return str(self._kinds[kind % len(self._kinds)](next(self._numbers)))
        except requests.RequestException as error:
            return type(error).__name__

    def _nested(self, number: int, depth: int) -> int:
        marker = "(" * depth + 'os_name == "posix"' + ")" * depth
        requirements = [f"x{each}; {marker}" for each in range(8000)]
        return self._project.upload(build_wheel(f"nested{number}", requires_dist=requirements)).status_code

    def _headings(self, number: int) -> int:
        return self._published(_documented(f"headings{number}", f"{number}\n\n" + "# a\n" * 125_000))

    def _table(self, number: int) -> int:
        return self._published(_documented(f"table{number}", f"{number}\n\n|a|b|\n|-|-|\n" + "|a|b|\n" * 80_000))

    def _many(self, _number: int) -> int:
        """Upload the same file to another project each time, where it is examined anew."""
        return self._project.server.project().upload(self._members).status_code

    def _semicolons(self, _number: int) -> int:
        kind, token = f"multipart/form-data; boundary={BOUNDARY}", self._project.server.root_token
        headers = {"Content-Type": kind, "Authorization": basic(token)}
        return requests.post(self._project.url, self._form, headers=headers, timeout=120).status_code

    def _published(self, file: BuiltFile) -> int:
        """Upload a file, and open its page as a visitor does."""
        project, status = self._project, self._project.upload(file).status_code
        packages = f"{project.server.url}/api/v4{project.rest_path}/packages"
        for package in requests.get(packages, {"package_name": file.name}, timeout=120).json():
            page = f"{project.server.url}/{project.full_path}/-/packages/{package['id']}"
            requests.get(page, timeout=120).raise_for_status()
        return status


def _documented(name: str, readme: str) -> BuiltFile:
    return build_wheel(name, description=readme, description_content_type="text/markdown")


def _many_members() -> BuiltFile:
    """An sdist with 90,000 files and 9,900 links."""
    small = build_sdist("members")
    top = release_of(small.name, small.version)
    members = [tarfile.TarInfo(f"{top}/{number}") for number in range(99_900)]
    for member in members[90_000:]:
        member.type, member.linkname = tarfile.SYMTYPE, "backend.py"
    headers = b"".join(member.tobuf(tarfile.USTAR_FORMAT) for member in members)
    return BuiltFile(
        small.filename, compress(headers + decompress(small.content), 1), small.name, small.version, small.kind
    )


@contextmanager
def uploading(uploads: CraftedUploads) -> Iterator[Counter[str]]:
    """Have crafted files uploaded one after another by each client during the block: how often each was the answer."""
    answers: Counter[str] = Counter()
    is_over = threading.Event()

    def upload(kind: int) -> None:
        while not is_over.is_set():
            began = time.monotonic()
            answers[uploads.send(kind)] += 1
            is_over.wait(max(0, UPLOAD_SECONDS - (time.monotonic() - began)))

    threads = [threading.Thread(target=upload, args=(kind,)) for kind in range(CRAFTED_UPLOADS)]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(is_over.set)
        yield answers
