"""An HTTP client for other indexes and registries, which are untrusted: bounded in time and size, and with retries.

Credentials are sent only to one origin: the scheme, host, and port of the server. They follow no redirect or link to
another one, such as an object store.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import responses
from http.cookiejar import DefaultCookiePolicy
from threading import Event, Timer
from typing import Protocol, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from registry.errors import SourceError

CHUNK_BYTES = 1 << 18
CONNECT_SECONDS, READ_SECONDS = 10, 30
PAGE_SECONDS = 300  # for all of a page
TRANSFER_SECONDS = 3600  # for all of a file; a retry resumes where the transfer broke off
MAX_REDIRECTS = 10
ATTEMPTS, RATE_LIMITED_ATTEMPTS = 4, 10
FIRST_PAUSE_SECONDS = 0.5  # doubled each time
LONGEST_PAUSE_SECONDS = 120
TRANSIENT_STATUSES = (429, 500, 502, 503, 504)  # a later attempt can succeed

_CONNECTION_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)

Result = TypeVar("Result")


class Sink(Protocol):
    """Receives the content of a file; ``write`` can raise an exception to abort the transfer."""

    @property
    def size_bytes(self) -> int: ...
    def write(self, data: bytes) -> int: ...


class ResponseError(SourceError):
    """The server responds with the status of an error."""

    def __init__(self, status: int) -> None:
        super().__init__(_status_sentence(status))
        self.status = status


@dataclass(frozen=True)
class Page:
    """A received page; ``url`` is its address after redirects."""

    url: str
    headers: CaseInsensitiveDict[str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class Client:
    """Requests pages and files; thread-safe. Transient failures are retried."""

    def __init__(
        self, address: str, credentials: AuthBase | None = None, *, reads_netrc: bool = False, connections: int = 1
    ) -> None:
        """Configure access to a server, without connecting to it.

        :param address: URL of the server, whose origin alone gets the credentials.
        :param reads_netrc: whether ``.netrc`` applies to the host of each request without credentials, as in pip.
        :param connections: number of connections to keep open.
        """
        self._own = origin(address)
        self._credentials = credentials
        self._other_credentials = None if reads_netrc else _Anonymous()
        self._closed = Event()
        self._resume_at = 0.0  # time.monotonic(), until which the server asked for no requests
        self._responses: set[requests.Response] = set()
        self._session = requests.Session()
        # Threads can share the session, as without cookies nothing in it changes.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))

    def read(self, url: str, *, accept: str, max_bytes: int, elsewhere: bool = True) -> Page:
        """Return a page.

        :param elsewhere: whether a redirect can lead to another origin.
        :raises SourceError: the server does not deliver the page, or it is larger than ``max_bytes``.
        """

        def read() -> Page:
            with self._response(url, {"Accept": accept}, PAGE_SECONDS, elsewhere=elsewhere) as response:
                body = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    body += chunk
                    if len(body) > max_bytes:
                        raise SourceError(f"the page is larger than {max_bytes} bytes")
                return Page(response.url, response.headers, bytes(body))

        return self._retried(read)

    def receive(self, url: str, sink: Sink) -> None:
        """Write the content of a file to the sink without decoding it; a retry resumes where the transfer broke off.

        :raises SourceError: the server does not deliver the file; the sink may have received a part of it.
        """
        self._retried(lambda: self._receive_rest(url, sink))

    def close(self) -> None:
        """Make calls in other threads end soon, with an error."""
        self._closed.set()
        for response in tuple(self._responses):
            _shut_down(response)
        self._session.close()

    def _receive_rest(self, url: str, sink: Sink) -> None:
        received = sink.size_bytes
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
        with self._response(url, headers, TRANSFER_SECONDS, elsewhere=True) as response:
            if response.status_code == requests.codes.partial_content:
                if not response.headers.get("Content-Range", "").startswith(f"bytes {received}-"):
                    raise SourceError("the response contains another range than requested")
                received = 0
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                fresh = chunk[received:]
                received -= len(chunk) - len(fresh)
                if fresh:
                    sink.write(fresh)

    @contextmanager
    def _response(
        self, url: str, headers: dict[str, str], seconds: float, *, elsewhere: bool
    ) -> Iterator[requests.Response]:
        """Request a URL; ``close`` and the end of the time interrupt the reading of the response.

        :raises SourceError: the client was closed in the meantime, or the response took too long.
        """
        with self._get(url, headers, elsewhere=elsewhere) as response:
            expired = Event()
            timer = Timer(seconds, _expire, [expired, response])
            timer.daemon = True
            timer.start()
            self._responses.add(response)
            try:
                self._check_open()
                yield response
                self._check_open()  # without a Content-Length, an interrupted response looks complete
                if expired.is_set():
                    raise _TransientError(f"the response took longer than {seconds:g} seconds")
            finally:
                timer.cancel()
                self._responses.discard(response)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise SourceError("the transfer was interrupted")

    def _get(self, url: str, headers: dict[str, str], *, elsewhere: bool) -> requests.Response:
        for _ in range(1 + MAX_REDIRECTS):
            response = self._get_once(url, headers)
            location = self._session.get_redirect_target(response)
            if location is None:
                return _accepted(response)
            response.close()
            url = urljoin(url, location)
            if not elsewhere and origin(url) != self._own:
                raise SourceError(f"the response redirects to another server, {_shown_origin(url)}")
        raise SourceError(f"the response is the redirect number {1 + MAX_REDIRECTS}")

    def _get_once(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Request a URL without following redirects, as those that the library follows keep custom headers."""
        is_own = self._credentials is not None and origin(url) == self._own
        return self._session.get(
            url, headers=headers, auth=self._credentials if is_own else self._other_credentials, stream=True,
            timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False,
        )  # fmt: skip

    def _retried(self, attempt: Callable[[], Result]) -> Result:
        limit = number = 1
        while True:
            try:
                self._wait_for_turn()
                return attempt()
            except _TransientError as error:
                failure, pause = error.sentence, error.pause_seconds
                limit = RATE_LIMITED_ATTEMPTS if error.is_rate_limit else ATTEMPTS
                if error.is_rate_limit:
                    self._resume_at = max(self._resume_at, time.monotonic() + pause)
            except _CONNECTION_ERRORS as error:
                failure, pause, limit = _cause(error), 0, ATTEMPTS
            except (requests.RequestException, ValueError) as error:  # ValueError: an invalid URL
                raise SourceError(f"cannot be requested ({type(error).__name__})") from error
            if number >= limit or self._closed.wait(max(pause, min(_pause(number), LONGEST_PAUSE_SECONDS))):
                raise SourceError(f"{failure} (attempts: {number})")
            number += 1

    def _wait_for_turn(self) -> None:
        """Wait as long as the server asked any thread to."""
        seconds = self._resume_at - time.monotonic()
        if seconds > 0:
            self._closed.wait(seconds)


def split(url: str) -> SplitResult:
    """Return the parts of an HTTP URL.

    :raises SourceError: the URL is not valid.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError as error:
        raise SourceError("The source is not a valid URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SourceError("The source is not an http:// or https:// URL")
    return parts


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host, and port of a URL.

    :raises ValueError: the URL is not valid.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class _Anonymous(AuthBase):
    """No credentials, not even those in ``.netrc``."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _TransientError(SourceError):
    """A refusal that can be temporary."""

    def __init__(self, reason: str, pause_seconds: int = 0, *, is_rate_limit: bool = False) -> None:
        super().__init__(reason)
        self.pause_seconds, self.is_rate_limit = pause_seconds, is_rate_limit


def _accepted(response: requests.Response) -> requests.Response:
    """Return a response that is not an error.

    :raises SourceError: it is one.
    """
    status = response.status_code
    if status in TRANSIENT_STATUSES:
        response.close()
        is_rate_limit = status == requests.codes.too_many_requests
        raise _TransientError(_status_sentence(status), _requested_pause(response), is_rate_limit=is_rate_limit)
    if not requests.codes.ok <= status < requests.codes.multiple_choices:
        response.close()
        raise ResponseError(status)
    return response


def _expire(expired: Event, response: requests.Response) -> None:
    expired.set()
    _shut_down(response)


def _shut_down(response: requests.Response) -> None:
    with suppress(OSError, RuntimeError, ValueError):  # it has been read completely in the meantime
        response.raw.shutdown()


def _pause(number: int) -> float:
    return FIRST_PAUSE_SECONDS * 2.0 ** (number - 1)


def _requested_pause(response: requests.Response) -> int:
    asked = response.headers.get("Retry-After", "")
    return min(int(asked), LONGEST_PAUSE_SECONDS) if re.fullmatch("[0-9]{1,6}", asked) else 0


def _status_sentence(status: int) -> str:
    hint = {
        401: ": the credentials are missing or not accepted",
        403: ": the credentials are not sufficient",
    }.get(status, "")
    return f"the response is {status} {responses.get(status, '')}".rstrip() + hint


def _cause(error: Exception) -> str:
    """Describe a connection error without the URL, which can contain a signature."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate is not accepted"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "the connection timed out"
    return "the connection failed"


def _shown_origin(url: str) -> str:
    """Return scheme, host, and port of a URL for a message, without the rest, which can contain a signature."""
    parts = urlsplit(url)
    return ascii(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")[1:-1][:300]
