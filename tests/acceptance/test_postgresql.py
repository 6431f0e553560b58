"""The real server while PostgreSQL restarts or is down. Other tests that run on it are marked ``databases``."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import requests

from tests import postgresql
from tests.acceptance.servers import Namespace, RunningServer
from tests.builders import BuiltFile, build_wheel

pytestmark = pytest.mark.postgresql
CRASHES = 4
LONGEST_WAIT = 30  # seconds, for one answer


@pytest.fixture
def cluster() -> Iterator[postgresql.Server]:
    """A PostgreSQL server that the test may crash."""
    programs = postgresql.binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    started = postgresql.Server(programs)
    yield started
    started.close()


class Load:
    """Clients that publish and read without a pause until they are stopped, and their answers."""

    def __init__(self, project: Namespace) -> None:
        self._project = project
        self._numbers = count(1)
        self._stop = threading.Event()
        self.answers: Counter[int] = Counter()
        self.published: list[BuiltFile] = []
        self.without_retry_after: list[requests.Response] = []

    def run_while(self, act: Callable[[], None]) -> None:
        clients = (self._publish_on, self._publish_on, self._read_on, self._read_on)
        with ThreadPoolExecutor(len(clients)) as threads:
            running = [threads.submit(client) for client in clients]
            try:
                act()
            finally:
                self._stop.set()
            for client in running:
                client.result()

    def wait_for(self, status: int, times: int) -> None:
        """Wait until this status was answered this many times more."""
        wanted = self.answers[status] + times
        deadline = time.monotonic() + 60
        while self.answers[status] < wanted:
            assert time.monotonic() < deadline, self.answers
            time.sleep(0.01)

    def _publish_on(self) -> None:
        while not self._stop.is_set():
            file = build_wheel("steady", str(next(self._numbers)))
            while (answer := self._project.upload(file)).status_code == 503 and not self._stop.is_set():
                self._note(answer)
            if "already been taken" in answer.text:  # the answer before was lost, the file was not
                continue
            self._note(answer)
            if answer.status_code == 201:
                self.published.append(file)

    def _read_on(self) -> None:
        server, project = self._project.server, self._project
        addresses = (
            f"{project.pypi_path}/simple/steady/",
            f"/api/v4{project.rest_path}/packages",
            f"/{project.full_path}/-/packages",
            "/explore",
        )
        while not self._stop.is_set():
            for address in addresses:
                self._note(requests.get(server.url + address, timeout=LONGEST_WAIT))

    def _note(self, answer: requests.Response) -> None:
        self.answers[answer.status_code] += 1
        if answer.status_code == 503 and not answer.headers.get("Retry-After", "").isdecimal():
            self.without_retry_after.append(answer)


def test_a_database_restarted_under_load_loses_no_upload_answered_201(
    cluster: postgresql.Server, start_server: Callable[..., RunningServer]
) -> None:
    server = start_server(DATABASE_URL=cluster.address)
    project = server.project("steady", group=server.group(visibility="public"), visibility="public")
    project.publish(build_wheel("steady", "0"))
    load = Load(project)

    def crash_repeatedly() -> None:
        for _ in range(CRASHES):
            load.wait_for(201, 10)
            cluster.crash()
            load.wait_for(503, 10)
            cluster.start()
        load.wait_for(201, 10)

    load.run_while(crash_repeatedly)

    listed = project.listed("steady")
    contents = {name: requests.get(url, timeout=LONGEST_WAIT).content for name, url in listed.items()}
    assert {file.filename: file.content for file in load.published}.items() <= contents.items()
    assert load.answers.keys() == {200, 201, 503}
    assert load.without_retry_after == []


def test_a_server_without_its_database_answers_503_until_it_is_back(
    cluster: postgresql.Server, start_server: Callable[..., RunningServer]
) -> None:
    server = start_server(DATABASE_URL=cluster.address)
    cluster.crash()

    names = ("liveness", "readiness", "readiness")
    probes = [requests.get(f"{server.url}/-/{name}", timeout=LONGEST_WAIT) for name in names]
    cluster.start()

    assert [probe.status_code for probe in probes] == [200, 503, 503]
    assert probes[1].json()["db_check"] == [{"status": "failed", "message": "The database is not responding."}]
    assert requests.get(f"{server.url}/-/readiness", timeout=LONGEST_WAIT).status_code == 200
    assert server.log.count("The database is not responding: ") == server.log.count("responding again") == 1
    assert "Traceback" not in server.log
