"""The middleware of prepared answers, around an application that makes a new page at each call."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Semaphore
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from registry import credential_names
from registry.blueprints.pypi import prepared
from registry.blueprints.pypi.prepared import PreparedAnswers
from registry.database import INDEX, db, transaction, utcnow
from registry.environ_keys import ROUTE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# What an answer depends on besides the database.
PARTS = [
    "wsgi.url_scheme", "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO", "REQUEST_URI", "RAW_URI", "QUERY_STRING",
    "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING",
]  # fmt: skip


class Pages:
    """Numbers its pages.

    :ivar text: of all pages from now on, instead of their number.
    :ivar meanwhile: called when a page is made and not yet sent, with its path.
    :ivar waits: whether a page waits for another server.
    """

    def __init__(self) -> None:
        self.text: str | None = None
        self.meanwhile: Callable[[str], object] = lambda path: None
        self.waits = False
        self._count = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self._count += 1
        page = Response(f"page {self._count}" if self.text is None else self.text)
        if self.waits:
            prepared.let_others_proceed(environ)
        self.meanwhile(Request(environ).path)
        environ["registry.answer_valid_until"] = utcnow() + timedelta(minutes=1)
        environ["registry.answer_part"] = INDEX
        environ[ROUTE] = "/page"
        return page(environ, start_response)


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def client(app: Flask, pages: Pages) -> Client:
    return Client(
        PreparedAnswers(pages, re.compile("/page"), re.compile("/upload"), db.engine, b"a key"), use_cookies=False
    )


def change_something() -> None:
    """Raise the content generation, as any change does."""
    with transaction():
        pass


def test_a_page_is_repeated_until_something_changes(client: Client) -> None:
    assert [client.get("/page").text for _ in range(3)] == ["page 1"] * 3

    change_something()

    assert [client.get("/page").text for _ in range(2)] == ["page 2"] * 2


@pytest.mark.parametrize("part", [*PARTS, *map(credential_names.environ_key, credential_names.HEADERS)])
def test_each_part_of_a_request_that_matters_has_a_page_of_its_own(client: Client, part: str) -> None:
    value = {"wsgi.url_scheme": "https", "PATH_INFO": "/page/2", "HTTP_HOST": "elsewhere"}.get(part, "/other")
    for _ in range(2):
        assert client.get("/page").text == "page 1"
        assert client.get("/page", environ_overrides={part: value}).text == "page 2"


@pytest.mark.parametrize("parameter", credential_names.PARAMETERS)
def test_each_credential_in_a_parameter_has_a_page_of_its_own(client: Client, parameter: str) -> None:
    for number, secret in enumerate(["one", "two", "one"]):
        assert client.get(f"/page?{parameter}={secret}").text == f"page {1 + number % 2}"


def test_a_page_is_made_once_for_readers_who_come_at_once(client: Client, pages: Pages) -> None:
    came, is_over = Semaphore(0), threading.Event()

    def take_long(path: str) -> None:
        came.release()
        assert is_over.wait(10)

    pages.meanwhile = take_long
    with ThreadPoolExecutor(8) as readers:
        first = readers.submit(client.get, "/page/simple/demo/")
        assert came.acquire(timeout=10)
        others = [readers.submit(client.get, "/page/simple/demo/") for _ in range(6)]
        other_caller = readers.submit(client.get, "/page/simple/demo/", headers={"Authorization": "other"})
        assert came.acquire(timeout=10), "other callers do not wait"
        assert not came.acquire(timeout=0.2)
        is_over.set()
        texts = {reader.result().text for reader in (first, *others)}

    assert texts == {"page 1"}
    assert other_caller.result().text == "page 2"


def test_readers_do_not_wait_for_a_page_that_waits_for_another_server(client: Client, pages: Pages) -> None:
    came, is_over = Semaphore(0), threading.Event()

    def wait_for_upstream(path: str) -> None:
        came.release()
        assert is_over.wait(10)

    pages.meanwhile, pages.waits = wait_for_upstream, True
    with ThreadPoolExecutor(3) as readers:
        for _ in range(3):
            readers.submit(client.get, "/page/simple/demo/")
            assert came.acquire(timeout=4)
        is_over.set()


def test_readers_do_not_wait_forever_for_a_page(client: Client, pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "LONGEST_WAIT_SECONDS", 0.01)
    nested = []

    def ask_again(path: str) -> None:
        pages.meanwhile = lambda path: None
        nested.append(client.get(path).text)

    pages.meanwhile = ask_again

    assert client.get("/page/simple/demo/").text == "page 1"
    assert nested == ["page 2"]
    assert not client.application._being_made


def test_an_answer_to_head_is_not_repeated_to_get(client: Client) -> None:
    head = client.head("/page")

    assert (head.status_code, head.data) == (200, b"")
    assert client.get("/page").text == "page 2"


def test_a_page_that_was_made_before_a_change_does_not_outlive_it(client: Client, pages: Pages) -> None:
    pages.meanwhile = lambda path: change_something()
    assert client.get("/page").text == "page 1"
    pages.meanwhile = lambda path: None

    assert client.get("/page").text == "page 2"


def test_the_oldest_pages_are_evicted_for_new_ones(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "LIMIT_BYTES", 2000)  # for two pages
    for path in ("/page/1", "/page/2", "/page/3"):
        client.get(path)

    assert [client.get(path).text for path in ("/page/3", "/page/2", "/page/1")] == ["page 3", "page 2", "page 4"]


def test_equal_pages_of_several_callers_are_kept_once(
    client: Client, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "LIMIT_BYTES", 8000)  # for one of these pages
    callers = [{"Authorization": f"Bearer {number}"} for number in range(3)]
    for letter in "abc":
        change_something()
        pages.text = 5000 * letter
        for caller in callers:
            client.get("/page", headers=caller)
    pages.text = "another page"

    kept = [client.get("/page", headers=caller).text for caller in callers]

    assert kept == 3 * [5000 * "c"]


def test_different_pages_of_a_caller_are_kept_each(
    client: Client, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "LIMIT_BYTES", 8000)
    for path in ("/page/1", "/page/2"):
        pages.text = 5000 * path[-1]
        client.get(path)
    pages.text = "another page"

    assert [client.get(path).text for path in ("/page/2", "/page/1")] == [5000 * "2", "another page"]


def test_expired_pages_are_dropped(client: Client, pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    client.get("/page/1")
    later = utcnow() + timedelta(minutes=2)
    monkeypatch.setattr(prepared, "utcnow", lambda: later)
    client.get("/page/2")
    monkeypatch.undo()

    assert client.get("/page/1").text == "page 3"


def test_a_slow_page_does_not_replace_a_newer_one_of_the_same_address(client: Client, pages: Pages) -> None:
    def overtake(path: str) -> None:
        pages.meanwhile = lambda path: None
        change_something()
        assert client.get("/page").text == "page 2"

    pages.meanwhile = overtake
    assert client.get("/page").text == "page 1"

    assert client.get("/page").text == "page 2"


def test_a_slow_page_does_not_evict_newer_ones(client: Client, pages: Pages) -> None:
    def overtake(path: str) -> None:
        if path == "/page/slow":
            change_something()
            assert client.get("/page/quick").text == "page 2"

    pages.meanwhile = overtake
    assert client.get("/page/slow").text == "page 1"

    assert client.get("/page/quick").text == "page 2"
