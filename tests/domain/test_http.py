from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from requests import PreparedRequest
from requests.auth import AuthBase

from registry.domain import http
from registry.domain.http import Client, Patience
from registry.errors import SourceError
from tests.domain.importing.sinks import Received
from tests.fakes.index import FILE, Fault, StaticIndex

PATH = "/files/demo.bin"


class Token(AuthBase):
    """A token in a header of its own, which the HTTP library would send along to other hosts."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Private-Token"] = "secret"
        return request


@pytest.fixture
def client(served: StaticIndex) -> Iterator[Client]:
    client = Client(served.url, Token())
    yield client
    client.close()


@pytest.fixture
def elsewhere() -> Iterator[StaticIndex]:
    other = StaticIndex()
    yield other
    other.close()


def read(client: Client, url: str, *, elsewhere: bool = True) -> bytes:
    return client.read(url, accept="*/*", max_bytes=1000, elsewhere=elsewhere).body


def redirect(to: str) -> Fault:
    return Fault(302, (("Location", to),))


def test_a_token_in_a_header_does_not_follow_a_redirect_to_another_host(
    served: StaticIndex, client: Client, elsewhere: StaticIndex
) -> None:
    elsewhere.put(PATH, b"content", FILE)
    served.fail("/files/stored", redirect(f"http://{elsewhere.host}{PATH}"))
    sink = Received()

    client.receive(f"http://{served.host}/files/stored", sink)

    assert sink.content == b"content"
    assert [request.headers.get("Private-Token") for request in served.requests] == ["secret"]
    assert [request.headers.get("Private-Token") for request in elsewhere.requests] == [None]


def test_a_page_can_be_required_to_come_from_the_server_itself(
    served: StaticIndex, client: Client, elsewhere: StaticIndex
) -> None:
    served.put("/moved", b"content")
    served.fail("/page", redirect("/moved"), redirect(f"http://{elsewhere.host}/?signature=secret"))

    assert read(client, f"http://{served.host}/page", elsewhere=False) == b"content"
    with pytest.raises(SourceError) as error:
        read(client, f"http://{served.host}/page", elsewhere=False)

    assert error.value.sentence == f"the response redirects to another server, http://{elsewhere.host}"
    assert elsewhere.requests == []


def test_redirects_in_a_circle_are_given_up(served: StaticIndex, client: Client) -> None:
    served.fail("/page", *[redirect("/page")] * 20)

    with pytest.raises(SourceError, match=r"^the response is the redirect number 11$"):
        read(client, f"http://{served.host}/page")


def test_a_rate_limit_is_waited_for_longer_than_a_failure(
    served: StaticIndex, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.001)
    served.put("/page", b"content")
    served.fail("/page", *[Fault(429, (("Retry-After", "0"),))] * 9)

    assert read(client, f"http://{served.host}/page") == b"content"


def test_a_rate_limit_stops_the_requests_of_all_threads(served: StaticIndex, client: Client) -> None:
    served.put("/page", b"content")
    served.put("/other", b"content")
    served.fail("/page", Fault(429, (("Retry-After", "1"),)))
    before = time.monotonic()
    limited = threading.Thread(target=read, args=(client, f"http://{served.host}/page"))
    limited.start()
    while not served.requests:
        time.sleep(0.01)
    time.sleep(0.2)  # until the response has come

    read(client, f"http://{served.host}/other")

    assert time.monotonic() - before >= 1
    limited.join()


def test_a_response_that_takes_too_long_is_given_up(served: StaticIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TRANSFER_SECONDS", 0.1)
    client = Client(served.url, patience=Patience(attempts=1))
    served.put(PATH, b"content", FILE)
    hold = served.hold(PATH)

    with pytest.raises(SourceError, match="attempts: 1"):
        client.receive(f"http://{served.host}{PATH}", Received())

    hold.set()
