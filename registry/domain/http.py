"""An HTTP client for other indexes and registries, which are untrusted: bounded in time and size, and with retries.

Credentials are sent only to one origin: the scheme, host, and port of the server. They follow no redirect or link to
another one, such as an object store.
"""

from __future__ import annotations

import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from http.client import HTTPException, responses
from http.cookiejar import DefaultCookiePolicy
from threading import Event
from typing import Any, Protocol, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from registry.domain.deadlines import Deadlines
from registry.errors import SourceError

CHUNK_BYTES = 1 << 18
CONNECT_SECONDS, READ_SECONDS = 10, 30
PAGE_SECONDS = 300  # for all of a page
TRANSFER_SECONDS = 3600  # for all of a file; a retry resumes where the transfer broke off
DRAINED_BYTES, DRAIN_SECONDS = 64 << 10, 0.5  # of the body of an error
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
    """The server responds with the status of an error.

    :ivar body: of the response, if it is small.
    """

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(_status_sentence(status))
        self.status, self.body = status, body


class Unanswered(SourceError):
    """The server does not answer, or only with the status of a temporary error; a later request can succeed.

    :ivar pause_seconds: how long the server asks to be left alone; 0 if it does not.
    """

    def __init__(self, sentence: str, pause_seconds: int) -> None:
        super().__init__(sentence)
        self.pause_seconds = pause_seconds


@dataclass(frozen=True)
class Patience:
    """How long, and how often, a client tries.

    :ivar first_byte_seconds: for a connection and the head of a response together; ``None`` for the longer times of a
        transfer in the background.
    :ivar page_seconds: for all of a page.
    :ivar attempts: of each request.
    """

    first_byte_seconds: float | None = None
    page_seconds: float = PAGE_SECONDS
    attempts: int = ATTEMPTS
    rate_limited_attempts: int = RATE_LIMITED_ATTEMPTS

    @property
    def timeout(self) -> Any:
        if self.first_byte_seconds is None:
            return (CONNECT_SECONDS, READ_SECONDS)
        return urllib3.Timeout(total=self.first_byte_seconds)


class Gatekeeper(Protocol):
    """Decides where requests may go, for a server whose links are not trusted."""

    def refuse_url(self, url: str) -> None:
        """Refuse a URL before it is requested; also those of redirects.

        :raises SourceError: it must not be requested.
        """

    def refuse_address(self, host: str, address: str) -> None:
        """Refuse an address that a host name has led to, before anything is sent there.

        :raises SourceError: nothing must be requested there.
        """


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
        self,
        address: str,
        credentials: AuthBase | None = None,
        *,
        reads_netrc: bool = False,
        connections: int = 1,
        patience: Patience = Patience(),
        gatekeeper: Gatekeeper | None = None,
        redirects: int = MAX_REDIRECTS,
    ) -> None:
        """Configure access to a server, without connecting to it.

        :param address: URL of the server, whose origin alone gets the credentials.
        :param reads_netrc: whether ``.netrc`` applies to the host of each request without credentials, as in pip.
        :param connections: number of connections to keep open to each host.
        :param redirects: the maximum number to follow for a request.
        """
        self._patience = patience
        self._redirects = redirects
        self._gatekeeper = gatekeeper
        self._own = origin(address)
        self._credentials = credentials
        self._other_credentials = None if reads_netrc else _Anonymous()
        self._closed = Event()
        self._resume_at = 0.0  # time.monotonic(), until which the server asked for no requests
        self._responses: set[requests.Response] = set()
        self._deadlines = Deadlines()
        self._settings = lru_cache(64)(self._settings_of)  # evaluating the environment takes as long as a request
        self._session = requests.Session()
        # Threads can share the session, as without cookies nothing in it changes.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(gatekeeper, connections, self._deadlines))

    def read(self, url: str, *, accept: str, max_bytes: int, elsewhere: bool = True, etag: str = "") -> Page:
        """Return a page.

        :param elsewhere: whether a redirect can lead to another origin.
        :param etag: of the page that is known.
        :raises ResponseError: the response has the status of an error, or 304 if it would be the page that is known.
        :raises SourceError: the server does not deliver the page, or it is larger than ``max_bytes``.
        """
        headers = {"Accept": accept, "Accept-Encoding": "gzip"} | ({"If-None-Match": etag} if etag else {})

        def read() -> Page:
            with self._response(url, headers, self._patience.page_seconds, elsewhere=elsewhere) as response:
                return Page(response.url, response.headers, _whole(response, max_bytes))

        return self._retried(read)

    def ask(self, url: str, *, headers: Mapping[str, str], form: str | None = None, max_bytes: int) -> bytes:
        """Return the JSON document at a URL of the server itself, or its answer to a form.

        :param headers: with the credentials, as those of the client are not for this server.
        :raises SourceError: as for ``read``.
        """
        # Not packed, so that the body of an error can be logged as it is.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}

        def ask() -> bytes:
            with self._response(url, headers, self._patience.page_seconds, elsewhere=False, form=form) as response:
                return _whole(response, max_bytes)

        return self._retried(ask)

    def receive(self, url: str, sink: Sink) -> None:
        """Write the content of a file to the sink without decoding it; a retry resumes where the transfer broke off.

        :raises SourceError: the server does not deliver the file; the sink may have received a part of it.
        """
        self._retried(lambda: self._receive_rest(url, sink))

    @contextmanager
    def content(self, url: str, *, start: int = 0) -> Iterator[requests.Response]:
        """Request the content of a file, without retrying or decoding it.

        :param start: of the part that is asked for; the response can have the whole file nonetheless.
        :raises Unanswered: the server does not deliver it now; also while the block reads the response.
        :raises SourceError: the server does not deliver it at all.
        """
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with self._response(url, headers, TRANSFER_SECONDS, elsewhere=True) as response:
                yield response
        except _TransientError as error:
            raise Unanswered(error.sentence, error.pause_seconds) from error
        except _CONNECTION_ERRORS as error:
            raise Unanswered(_cause(error), 0) from error
        except (requests.RequestException, ValueError) as error:  # ValueError: an invalid URL
            raise SourceError(f"cannot be requested ({type(error).__name__})") from error

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
        self, url: str, headers: dict[str, str], seconds: float, *, elsewhere: bool, form: str | None = None
    ) -> Iterator[requests.Response]:
        """Request a URL; ``close`` and the end of the time interrupt the reading of the response.

        :raises SourceError: the client was closed in the meantime, or the response took too long.
        """
        with self._get(url, headers, form, elsewhere=elsewhere) as response:
            expired = Event()
            self._responses.add(response)
            try:
                with self._deadlines.within(seconds, partial(_expire, expired, response)):
                    self._check_open()
                    yield response
                self._check_open()  # without a Content-Length, an interrupted response looks complete
                if expired.is_set():
                    raise _TransientError(f"the response took longer than {seconds:g} seconds")
            finally:
                self._responses.discard(response)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise SourceError("the transfer was interrupted")

    def _get(self, url: str, headers: dict[str, str], form: str | None, *, elsewhere: bool) -> requests.Response:
        for _ in range(1 + self._redirects):
            if self._gatekeeper is not None:
                self._gatekeeper.refuse_url(url)
            response = self._get_once(url, headers, form)
            location = self._session.get_redirect_target(response)
            if location is None:
                return self._accepted(response)
            response.close()
            url = urljoin(url, requests.utils.requote_uri(location))
            if not elsewhere and origin(url) != self._own:
                raise SourceError(f"the response redirects to another server, {_shown_origin(url)}")
        raise SourceError(f"the response is the redirect number {1 + self._redirects}")

    def _accepted(self, response: requests.Response) -> requests.Response:
        """Return a response that is not an error.

        :raises SourceError: it is one.
        """
        status = response.status_code
        if requests.codes.ok <= status < requests.codes.multiple_choices:
            return response
        with response, self._deadlines.within(DRAIN_SECONDS, partial(_shut_down, response)):
            body = _drained(response)
        if status in TRANSIENT_STATUSES:
            is_rate_limit = status == requests.codes.too_many_requests
            raise _TransientError(_status_sentence(status), _requested_pause(response), is_rate_limit=is_rate_limit)
        raise ResponseError(status, body)

    def _get_once(self, url: str, headers: dict[str, str], form: str | None) -> requests.Response:
        """Request a URL without following redirects, as those that the library follows keep custom headers."""
        is_own = self._credentials is not None and origin(url) == self._own
        auth = self._credentials if is_own else self._other_credentials
        request = requests.PreparedRequest()  # of which the session would make two, and look for cookies
        request.prepare_method("GET" if form is None else "POST")
        request.prepare_url(url, None)
        request.prepare_headers({**self._session.headers, **headers})
        request.prepare_body(form, None)
        request.prepare_auth(auth or requests.utils.get_netrc_auth(url), url)
        parts = urlsplit(url)
        settings = self._settings(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/")
        return self._session.get_adapter(url).send(request, timeout=self._patience.timeout, **settings)

    def _settings_of(self, url: str) -> Mapping[str, Any]:
        """Return the proxies and certificates for the host of a URL, as far as the environment states them."""
        return self._session.merge_environment_settings(url, {}, True, None, None)

    def _retried(self, attempt: Callable[[], Result]) -> Result:
        limit = number = 1
        while True:
            try:
                self._wait_for_turn()
                return attempt()
            except _TransientError as error:
                failure, pause = error.sentence, error.pause_seconds
                limit = self._patience.rate_limited_attempts if error.is_rate_limit else self._patience.attempts
                if error.is_rate_limit and limit > 1:
                    self._resume_at = max(self._resume_at, time.monotonic() + pause)
            except _CONNECTION_ERRORS as error:
                failure, pause, limit = _cause(error), 0, self._patience.attempts
            except (requests.RequestException, ValueError) as error:  # ValueError: an invalid URL
                raise SourceError(f"cannot be requested ({type(error).__name__})") from error
            if number >= limit or self._closed.wait(max(pause, min(_pause(number), LONGEST_PAUSE_SECONDS))):
                raise Unanswered(f"{failure} (attempts: {number})", pause)
            number += 1

    def _wait_for_turn(self) -> None:
        """Wait as long as the server asked any thread to."""
        seconds = self._resume_at - time.monotonic()
        if seconds > 0:
            self._closed.wait(seconds)


def blocks(response: requests.Response) -> Iterator[bytes]:
    """Yield the content of a response as it arrives, without waiting for a block to be full; not decoded."""
    while block := response.raw.read1(CHUNK_BYTES, decode_content=False):
        yield block


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


class _Adapter(HTTPAdapter):
    """Connects to hosts, and has a gatekeeper decide on the addresses that their names have led to.

    Connections through a proxy are the proxy's own, which decides for itself.
    """

    def __init__(self, gatekeeper: Gatekeeper | None, connections: int, deadlines: Deadlines) -> None:
        self._gatekeeper, self._deadlines = gatekeeper, deadlines
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        if self._gatekeeper is not None:
            self.poolmanager.pool_classes_by_scheme = _guarded_pools(self._gatekeeper, self._deadlines)


def _guarded_pools(gatekeeper: Gatekeeper, deadlines: Deadlines) -> dict[str, Any]:
    """Return the classes of connection pools whose connections a gatekeeper admits when they are open."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _admitted(super()._new_conn(), self.host)

        def getresponse(self) -> Any:
            with _in_time(self.sock, deadlines):
                return super().getresponse()

    class SecureConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _admitted(super()._new_conn(), self.host)

        def getresponse(self) -> Any:
            with _in_time(self.sock, deadlines):
                return super().getresponse()

    def _admitted(connection: socket.socket, host: str) -> socket.socket:
        try:
            gatekeeper.refuse_address(host, connection.getpeername()[0])
        except BaseException:
            connection.close()
            raise
        return connection

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


@contextmanager
def _in_time(connection: Any, deadlines: Deadlines) -> Iterator[None]:
    """Have the head of a response arrive within the time that a single piece of it may take.

    :raises TimeoutError: it does not.
    """
    expired = Event()
    try:
        with deadlines.within(connection.gettimeout(), partial(_expire_head, expired, connection)):
            yield
    except (OSError, HTTPException):
        if not expired.is_set():
            raise
    if expired.is_set():  # a head that was cut looks complete
        raise TimeoutError


def _expire_head(expired: Event, connection: socket.socket) -> None:
    expired.set()
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # that of TLS would wait for the other side


def _whole(response: requests.Response, max_bytes: int) -> bytes:
    """Return the body of a response, unpacked piece by piece, so that a small one cannot fill the memory.

    :raises SourceError: it is larger than ``max_bytes``, or packed in another way than gzip, or damaged.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise SourceError(f"the response has the encoding {encoding[:100]!a}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    body = bytearray()
    try:
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            body += chunk if unpacker is None else unpacker.decompress(chunk, max_bytes + 1 - len(body))
            if len(body) > max_bytes:
                raise SourceError(f"the page is larger than {max_bytes} bytes")
            if unpacker is not None and unpacker.unused_data:  # which would be kept, and copied with each piece
                raise SourceError("the response continues after its end")
    except zlib.error as error:
        raise SourceError("the response is damaged") from error
    if unpacker is not None and not unpacker.eof:
        raise _TransientError("the response is not complete")
    return bytes(body)


def _drained(response: requests.Response) -> bytes:
    """Return the body of an error as far as it is small, after which the connection can be used again."""
    with suppress(OSError, HTTPException, urllib3.exceptions.HTTPError):
        return bytes(response.raw.read(DRAINED_BYTES, decode_content=False))
    return b""


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
