"""Several processes on one socket: each sees the changes of the others, and one that ends is replaced."""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyotp
import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.acceptance.servers import Namespace, RunningServer, needs_proc
from tests.acceptance.wire import (
    BOUNDARY,
    MIB,
    answer_on,
    basic,
    connect,
    digest_of_rest,
    file_head,
    head,
    large_wheel,
    multipart,
    upload_large,
)
from tests.builders import build_wheel

StartServer = Callable[..., RunningServer]

pytestmark = needs_proc


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    started = RunningServer(tmp_path_factory.mktemp("workers"), WORKERS="2")
    started.start()
    yield started
    assert started.stop() == 0, started.log
    assert "Traceback" not in started.log


def signed_in(server: RunningServer, login: str, password: str) -> requests.Session:
    browser, page = requests.Session(), f"{server.url}/users/sign_in"
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(page).text)
    assert token is not None
    form = {"csrf_token": token[1], "login": login, "password": password}
    assert browser.post(page, form, allow_redirects=False).status_code == 303
    return browser


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Client:
    """A client of one process, over a connection that stays open."""

    def __init__(self, project: Namespace) -> None:
        self._project = project
        host, port = project.server.url.removeprefix("http://").split(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=60)
        self.versions()
        self.worker = self._found_worker(int(port))

    def versions(self) -> set[str]:
        path = f"{self._project.pypi_path}/simple/shared/"
        headers = {"Authorization": basic(self._project.server.root_token), "Accept": "text/html"}
        self.connection.request("GET", path, headers=headers)
        return set(re.findall(r">shared-(\d+)-", self.connection.getresponse().read().decode()))

    def publish(self, version: str) -> int:
        file = build_wheel("shared", version)
        form = {":action": "file_upload", "name": file.name, "version": file.version}
        request = requests.Request(
            "POST", self._project.url, data=form, files={"content": (file.filename, file.content)},
            auth=("__token__", self._project.server.root_token),
        ).prepare()  # fmt: skip
        self.connection.request("POST", self._project.pypi_path, request.body, dict(request.headers))
        response = self.connection.getresponse()
        response.read()
        return response.status

    def _found_worker(self, port: int) -> int:
        own_port = self.connection.sock.getsockname()[1]
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = (f":{port:04X}", f":{own_port:04X}")
        [inode] = [line[9] for line in lines if line[1].endswith(ends[0]) and line[2].endswith(ends[1])]
        [worker] = [pid for pid in self._project.server.workers() if f"socket:[{inode}]" in open_files(pid)]
        return worker


def connections_of(workers: Sequence[int]) -> list[int]:
    """How many sockets each of these processes has."""
    return [sum(file.startswith("socket:") for file in open_files(pid)) for pid in workers]


def open_files(pid: int) -> set[str]:
    return {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.fixture
def clients(server: RunningServer) -> Iterator[tuple[Client, Client]]:
    """One client for each process, both of one project."""
    project, found = server.project(), dict[int, Client]()
    with ExitStack() as stack:
        while len(found) < 2:
            client = Client(project)
            stack.enter_context(closing(client.connection))
            found.setdefault(client.worker, client)
        first, second = found.values()
        yield first, second


def test_a_package_published_through_one_process_is_on_the_pages_of_the_other(
    clients: tuple[Client, Client],
) -> None:
    for version in map(str, range(1, 21)):
        publisher, reader = clients if int(version) % 2 else reversed(clients)
        reader.versions()  # possibly cached

        assert publisher.publish(version) == 201
        assert version in reader.versions()
        assert version in publisher.versions()


def test_the_metrics_are_those_of_all_processes(server: RunningServer, clients: tuple[Client, Client]) -> None:
    def published() -> list[float]:
        texts = [requests.get(f"{server.url}/-/metrics", timeout=60).text for _ in range(5)]
        return [float(re.findall(r"^registry_uploads_total (\S+)", text, re.MULTILINE)[0]) for text in texts]

    [before] = set(published())

    for version, client in enumerate(clients):
        assert client.publish(str(version)) == 201

    assert set(published()) == {before + 2}


def test_a_process_writes_its_counts_when_it_ends(server: RunningServer, project: Namespace) -> None:
    file = build_wheel("counted")
    project.publish(file)
    [url] = project.listed("counted").values()
    token = {"PRIVATE-TOKEN": server.root_token}
    for _ in range(6):
        assert requests.get(url, headers=token, timeout=60).status_code == 200
    [package] = [each for each in project.packages() if each["name"] == "counted"]

    server.signal(signal.SIGHUP)

    def downloads() -> object:
        [shown] = server.as_root("GET", f"{project.rest_path}/packages/{package['id']}/package_files")
        return shown["downloads"]

    wait_until(lambda: downloads() == {"last_30_days": 6, "total": 6})


def test_new_connections_go_to_the_worker_that_has_fewer_unless_it_is_stuck(start_server: StartServer) -> None:
    server = start_server(WORKERS="2")
    running, stuck = sorted(server.workers())
    before = connections_of([running, stuck])
    with ExitStack() as stack:

        def open_some() -> list[int]:
            for _ in range(20):
                connection = stack.enter_context(closing(connect(server)))
                connection.sendall(head("GET", "/-/liveness"))
                answer = answer_on(connection)
                assert answer is not None
                assert answer.status == 200
            return [now - then for now, then in zip(connections_of([running, stuck]), before, strict=True)]

        os.kill(stuck, signal.SIGSTOP)
        try:
            assert open_some() == [20, 0]
        finally:
            os.kill(stuck, signal.SIGCONT)

        _, of_stuck = open_some()
        assert of_stuck > 10


class Load:
    """Clients that send requests without a pause: half of them over one connection, the others each over a new one."""

    def __init__(self, project: Namespace) -> None:
        self._project = project
        self._versions = count(1)
        self._is_over = threading.Event()
        self.answered = 0
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=act) for act in (self._read, self._read_anew, self._publish) * 2]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Wait for enough answers to show that all clients are served."""
        wanted = self.answered + 30
        wait_until(lambda: self.answered >= wanted)

    def _read(self) -> None:
        with requests.Session() as session:
            self._repeat(lambda: self._get(session))

    def _read_anew(self) -> None:
        def read() -> int:
            with requests.Session() as session:
                return self._get(session)

        self._repeat(read)

    def _get(self, session: requests.Session) -> int:
        url = f"{self._project.url}/simple/load/"
        return session.get(url, auth=("__token__", self._project.server.root_token), timeout=60).status_code

    def _publish(self) -> None:
        self._repeat(lambda: self._project.upload(build_wheel("load", str(next(self._versions)))).status_code)

    def _repeat(self, act: Callable[[], int]) -> None:
        while not self._is_over.is_set():
            try:
                status = act()
            except requests.RequestException as error:
                self.failed.append(str(error))
            else:
                if status in (200, 201):
                    self.answered += 1
                else:
                    self.failed.append(str(status))


@pytest.fixture
def project(server: RunningServer) -> Namespace:
    made = server.project()
    made.publish(build_wheel("load", "0"))
    return made


def test_a_killed_worker_is_replaced_and_fails_only_its_own_requests(server: RunningServer, project: Namespace) -> None:
    victim, survivor = sorted(server.workers())

    with Load(project) as load:
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(server.workers() - {victim}) == 2)
        load.goes_on()

    assert survivor in server.workers()
    assert len(load.failed) <= 6, load.failed
    assert f"Worker {victim} ended unexpectedly" in server.log


def test_a_reload_brings_the_new_configuration_and_loses_no_request(server: RunningServer, project: Namespace) -> None:
    before = server.workers()
    (server.instance / "config.py").write_text("UPSTREAM_URL = 'https://mirror.example.com/simple/'\n")

    with Load(project) as load:
        server.signal(signal.SIGHUP)
        wait_until(lambda: not before & server.workers())
        load.goes_on()

    assert load.failed == []
    assert len(server.workers()) == 2
    for _ in range(10):
        answer = server.request("GET", f"{project.rest_path}/packages/pypi/simple/elsewhere", server.root_token)
        assert answer.headers["Location"].startswith("https://mirror.example.com/simple/elsewhere")


UNUSABLE = {
    "a value that is not accepted": ("THREADS = 'many'\n", "Nothing was reloaded: THREADS in config.py is 'many'"),
    "a store that cannot be used": ("STORAGE_URL = 'file:///proc/nowhere'\n", "A worker cannot start: The package"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("configuration", "told"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_invalid_configuration_leaves_the_workers_running(
    server: RunningServer, project: Namespace, configuration: str, told: str
) -> None:
    before = server.workers()
    said = server.log.count(told)
    (server.instance / "config.py").write_text(configuration)

    with Load(project) as load:
        server.signal(signal.SIGHUP)
        wait_until(lambda: server.log.count(told) > said)
        time.sleep(1.5)
        load.goes_on()

    assert load.failed == []
    assert before <= server.workers()
    assert server.log.count(told) - said <= 6, "and tries again with longer and longer pauses"
    (server.instance / "config.py").write_text("THREADS = 4\n")
    server.signal(signal.SIGHUP)
    wait_until(lambda: not before & server.workers() and len(server.workers()) == 2)


@pytest.mark.slow
def test_a_stop_lets_the_downloads_of_all_workers_finish(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(WORKERS="2")
    project, wheel = server.project(), large_wheel(tmp_path, "drained", 40 * MIB)
    upload_large(project, wheel, server.root_token)
    workers = server.workers()

    with ExitStack() as stack:
        downloads = []
        for _ in range(6):
            connection = stack.enter_context(connect(server))
            connection.sendall(file_head(project, wheel, server.root_token))
            downloads.append(http.client.HTTPResponse(connection))
            downloads[-1].begin()
        server.signal(signal.SIGTERM)
        time.sleep(0.5)
        digests = {digest_of_rest(download) for download in downloads}

    assert digests == {wheel.sha256}
    assert server.wait() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_workers_do_not_outlive_their_supervisor(start_server: StartServer) -> None:
    server = start_server(WORKERS="2")
    workers = server.workers()
    with connect(server) as connection:
        connection.sendall(b"GET /-/health HTTP/1.0\r\n\r\n")
        assert answer_on(connection) is not None

    server.kill()

    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_session_ends_in_all_processes_when_its_user_signs_out(server: RunningServer) -> None:
    profile, sign_in = f"{server.url}/-/user_settings/profile", f"{server.url}/users/sign_in"
    browser = requests.Session()

    def submit(page: str, action: str, **fields: str) -> None:
        found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(page).text)
        assert found is not None
        assert browser.post(action, {"csrf_token": found[1], **fields}, allow_redirects=False).status_code == 303

    def statuses(cookies: dict[str, str]) -> set[int]:
        """Each over a connection of its own, so that both processes answer some."""
        return {requests.get(profile, cookies=cookies, allow_redirects=False).status_code for _ in range(12)}

    submit(sign_in, sign_in, login="root", password=server.root_password)
    copy = browser.cookies.get_dict()
    before = statuses(copy)
    submit(profile, f"{server.url}/users/sign_out")

    assert (before, statuses(copy)) == ({200}, {303})


def test_a_session_sets_no_email_without_the_password_and_guesses_it_in_no_process(server: RunningServer) -> None:
    user, password = server.user(), "a long password of a user"
    server.as_root("PUT", f"/users/{user.id}", {"password": password})
    colleague = server.user().access_token("api")
    profile = {"name": user.username, "username": user.username, "email": "chief@example.org"}
    guess = {"password": "another long one", "repeated": "another long one"}

    def change(browser: requests.Session, page: str, **fields: str) -> int:
        return submit(browser, f"/-/user_settings/{page}", fields, server)

    def found() -> list[str]:
        listed = server.request("GET", "/users?search=chief@example.org", colleague).json()
        return [each["username"] for each in listed]

    with signed_in(server, user.username, password) as browser:
        browser.headers["Connection"] = "close"  # so that both processes answer some
        unconfirmed = change(browser, "profile", **profile)
        set_by_user = change(browser, "profile", **profile, current_password=password)
        guesses = [change(browser, "password/edit", **guess, current_password=f"guess {n}") for n in range(8)]

    assert (unconfirmed, set_by_user) == (422, 303)
    assert guesses == [422] * 5 + [429] * 3
    assert found() == []
    server.as_root("POST", f"/users/{user.id}/confirm")
    assert found() == [user.username]


def test_requests_do_no_more_than_the_pages_allow(server: RunningServer) -> None:
    project, user = server.project(visibility="public"), server.user()
    project.publish(build_wheel("cached"))
    [file] = project.listed("cached").values()
    maintainer = project.member(40).access_token("api")
    today = datetime.now(UTC).date()
    expiring = {"user_id": user.id, "access_level": 40, "expires_at": str(today + timedelta(days=2))}
    server.as_root("POST", f"{project.rest_path}/members", expiring)
    extended = {"access_level": 40, "expires_at": str(today + timedelta(days=200))}
    own = user.access_token("api")
    root = server.as_root("GET", "/user")["id"]
    acting = {"name": "acting", "scopes": ["api", "sudo"]}
    sudo = server.as_root("POST", f"/users/{root}/personal_access_tokens", acting)["token"]

    answers = [
        server.request("PUT", project.rest_path, maintainer, {"path": "renamed"}),
        server.request("PUT", f"{project.rest_path}/members/{user.id}", own, extended),
        server.request("PUT", f"/users/{user.id}", server.root_token, {"bio": "x" * 256}),
    ]
    before = server.request("GET", f"/user?sudo={user.id}", sudo)
    server.as_root("POST", f"/users/{user.id}/block")
    answers.append(server.request("GET", f"/user?sudo={user.id}", sudo))

    assert before.status_code == 200
    assert [answer.status_code for answer in answers] == [403, 400, 400, 403]
    assert "private" in requests.get(file, timeout=60).headers["Cache-Control"]


def statuses(url: str, token: str | None, username: str = "__token__") -> set[int]:
    """The statuses of requests over connections of their own, so that both processes answer some."""
    auth = None if token is None else (username, token)
    return {requests.get(url, auth=auth, allow_redirects=False, timeout=60).status_code for _ in range(12)}


def test_a_name_that_a_group_holds_is_forwarded_by_no_process(server: RunningServer) -> None:
    group = server.group(visibility="public")
    hidden = server.project(group=group)
    removed = hidden.member(20)
    removed_token = removed.access_token("api")
    callers = {
        "guest": group.member(10).access_token("api"),
        "stranger": server.user().access_token("api"),
        "foreign deploy token": server.project().deploy_token("read_package_registry")[1],
        "removed member": removed_token,
    }
    assert statuses(f"{group.url}/simple/secret/", removed_token) == {302}

    hidden.publish(build_wheel("secret"))
    assert statuses(f"{group.url}/simple/secret/", removed_token) == {200}
    server.as_root("DELETE", f"{hidden.rest_path}/members/{removed.id}")

    found = {who: statuses(f"{group.url}/simple/secret/", token) for who, token in callers.items()}
    assert found == {who: {404} for who in callers}
    assert statuses(f"{group.url}/simple/unknown/", callers["stranger"]) == {302}
    assert statuses(f"{group.url}/simple/secret/", None) == {401}


def test_wrong_passwords_lock_out_their_own_address_in_all_processes(server: RunningServer) -> None:
    sign_in, name = f"{server.url}/users/sign_in", server.user().username

    def attempt(login: str, password: str, address: str) -> int:
        with requests.Session() as browser:
            browser.mount("http://", FromAddress(address))
            token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(sign_in).text)
            assert token is not None
            form = {"csrf_token": token[1], "login": login, "password": password}
            return browser.post(sign_in, form, allow_redirects=False).status_code

    assert attempt("root", server.root_password, "127.0.0.3") == 303
    wrong = [attempt("root", "wrong", "127.0.0.2") for _ in range(8)]

    assert wrong == [422] * 5 + [429] * 3
    assert attempt("root", server.root_password, "127.0.0.2") == 429
    assert attempt("root", server.root_password, "127.0.0.3") == 303
    assert attempt(name, "wrong", "127.0.0.4") == 422


class FromAddress(HTTPAdapter):
    """Connects from one of the addresses of the loopback network."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, source_address=(self._address, 0))


def test_a_path_that_was_given_up_leads_nobody_else_in_any_process(server: RunningServer) -> None:
    group = server.group()
    project = server.project(group=group)
    project.publish(build_wheel("held"))
    reader = project.member(20).access_token("api")
    stranger = server.user().access_token("api")
    old = f"{project.index_url(by_path=True)}/held/"

    server.as_root("PUT", group.rest_path, {"path": f"{group.full_path}-renamed"})

    wanted = {"name": "mine", "path": group.full_path}
    taken = {server.request("POST", "/groups", stranger, wanted).status_code for _ in range(12)}
    assert taken == {400}
    assert statuses(old, reader) == {200}
    assert statuses(old, stranger) == {404}


def test_only_owners_make_packages_public(server: RunningServer) -> None:
    project = server.project()
    project.publish(build_wheel("internal"))
    maintainer, owner = (project.member(role).access_token("api") for role in (40, 50))
    public = {"package_registry_access_level": "public"}

    assert {server.request("PUT", project.rest_path, maintainer, public).status_code for _ in range(12)} == {403}
    assert statuses(f"{project.url}/simple/internal/", None) == {401}
    assert server.request("PUT", project.rest_path, owner, public).status_code == 200
    assert statuses(f"{project.url}/simple/internal/", None) == {200}


def test_what_exceeds_the_budget_of_an_examination_is_refused_by_each_process(server: RunningServer) -> None:
    project, authorization = server.project(), {"Authorization": basic(server.root_token)}
    marker = "(" * 200 + 'os_name == "posix"' + ")" * 200
    nested = build_wheel("nested", requires_dist=[f"x{number}; {marker}" for number in range(9_000)])
    form = {"content": (nested.filename, nested.content), "name": (None, "nested"), "version": (None, nested.version)}
    parameters = multipart({"name": "x"}, "x-1.0-py3-none-any.whl" + '"; ' + 'a="b"; ' * 1000)[0]
    sent = authorization | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    refused = [requests.post(project.url, files=form, headers=authorization, timeout=60) for _ in range(6)]
    checked = requests.post(f"{project.url}/validate", files=form, headers=authorization, timeout=60)
    parts = {requests.post(project.url, parameters, headers=sent, timeout=60).status_code for _ in range(6)}

    answers = [*refused, checked]
    assert {(answer.status_code, "exceeds the budget" in answer.text) for answer in answers} == {(400, True)}
    assert parts == {400}
    assert project.packages() == []


def test_a_job_reads_through_a_group_what_the_allowlist_of_a_project_denies_until_it_counts_there(
    server: RunningServer,
) -> None:
    group = server.group()
    guarded, source = server.project(group=group), server.project(group=group)
    guarded.publish(build_wheel("guarded"))
    job = source.job_token(group.member(40)), "gitlab-ci-token"
    page = "simple/guarded/"

    assert statuses(f"{guarded.url}/{page}", *job) == {404}
    assert statuses(f"{group.url}/{page}", *job) == {200}
    setting = {"enforce_job_token_allowlists_on_group_endpoints": True}
    server.as_root("PUT", f"{group.rest_path}/package_settings", setting)
    assert statuses(f"{group.url}/{page}", *job) == {404}


def test_no_process_shows_a_caller_what_is_hidden_elsewhere(server: RunningServer) -> None:
    group = server.group()
    hidden, project = server.project(group=group), server.project(group=server.group(parent=group))
    hidden.publish(build_wheel("hidden", size_bytes=123_457))
    maintainer = project.member(40).access_token("api")
    scope = f"{project.rest_path}/job_token_scope/allowlist"
    server.as_root("POST", scope, {"target_project_id": hidden.id})

    [listed] = server.request("GET", scope, maintainer).json()
    assert {key for key, value in listed.items() if value is not None} == {"id"}

    server.as_root("PUT", group.rest_path, {"storage_size_limit": 130_000})
    full = project.upload(build_wheel("more", size_bytes=20_000), maintainer)
    assert (full.status_code, "130000" in full.text, "12345" in full.text) == (400, True, False)

    [package] = hidden.packages()
    server.as_root("DELETE", f"{hidden.rest_path}/packages/{package['id']}")
    deleted = f"{server.url}/api/v4{hidden.rest_path}/packages?status=pending_destruction"
    assert {requests.get(deleted, headers={"PRIVATE-TOKEN": server.root_token}).text for _ in range(12)} == {"[]\n"}

    for user, status in ((project.member(50), 403), (server.user(), 404)):
        token = {"PRIVATE-TOKEN": user.access_token("read_user")}
        url = f"{server.url}/api/v4{project.rest_path}/packages"
        assert {requests.get(url, headers=token).status_code for _ in range(12)} == {status}


def test_no_process_shows_guests_how_many_packages_a_project_has(server: RunningServer) -> None:
    group = server.group()
    server.project(group=group).publish(build_wheel("one"), build_wheel("two"))

    def shown_to(role: int) -> set[str]:
        user = group.member(role)
        server.as_root("PUT", f"/users/{user.id}", {"password": "a long password of a user"})
        with signed_in(server, user.username, "a long password of a user") as browser:
            page = f"{server.url}/{group.full_path}"
            pages = [browser.get(page, headers={"Connection": "close"}).text for _ in range(6)]
        return {found for page in pages for found in re.findall(r'(\d+)<span class="visually-hidden"> Packages', page)}

    assert shown_to(20) == {"2"}
    assert shown_to(10) == set()


@pytest.mark.slow
def test_readmes_that_take_long_occupy_no_thread(server: RunningServer) -> None:
    project = server.project(visibility="public")
    for number in range(4):
        text = f"number {number}\n" + "> " * 40_000
        file = build_wheel(f"heavy{number}", description=text, description_content_type="text/markdown")
        project.publish(file)
    place = f"{server.url}/{project.full_path}/-/packages"
    pages = 8 * [f"{place}/{package['id']}" for package in project.packages()]

    with ThreadPoolExecutor(len(pages)) as visitors:
        shown = [visitors.submit(requests.get, page, timeout=120) for page in pages]
        alive = [requests.get(f"{server.url}/-/liveness", timeout=30).status_code for _ in range(20)]

    assert {page.result().status_code for page in shown} == {200}
    assert set(alive) == {200}


def test_of_two_sign_ins_with_one_code_at_the_same_time_one_succeeds(server: RunningServer) -> None:
    name, password = "factor", "a long enough one"
    made = {"username": name, "name": name, "email": "factor@example.com", "password": password}
    server.as_root("POST", "/users", made)
    page = "/-/profile/two_factor_auth"

    def began() -> requests.Session:
        browser = requests.Session()
        submit(browser, "/users/sign_in", {"login": name, "password": password}, server)
        return browser

    owner = began()
    shown = owner.get(f"{server.url}{page}").text
    key = re.search(r'value="([A-Z2-7 ]{39})"', shown)
    assert key is not None
    app = pyotp.TOTP(key[1].replace(" ", ""))
    assert submit(owner, page, {"app-code": app.now(), "app-current_password": password}, server, shown) == 200
    code = app.at(time.time() + 30)

    browsers = [began() for _ in range(6)]
    with ThreadPoolExecutor(len(browsers)) as pool:
        found = list(pool.map(lambda one: submit(one, "/users/two_factor", {"code": code}, server), browsers))

    assert found.count(303) == 1
    assert set(found) <= {303, 422, 429}


def submit(
    browser: requests.Session, path: str, fields: dict[str, str], server: RunningServer, page: str | None = None
) -> int:
    """The status of a page's form with these fields and all hidden ones."""
    page = page or browser.get(f"{server.url}{path}").text
    hidden = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]*type="hidden"[^>]*value="([^"]*)"', page))
    hidden |= dict(re.findall(r'<input[^>]*type="hidden"[^>]* name="([^"]+)" value="([^"]*)"', page))
    return browser.post(f"{server.url}{path}", hidden | fields, allow_redirects=False).status_code
