"""Response cache for pages and small files of the index.

Every transaction that makes cached responses stale raises numbers of the content generation in the database
(``database.transaction``), in any process. A cached response depends on two of them: the one for who can see what, and
the one of its package name, or of the lists of names. Comparing these detects stale responses immediately after an
upload, deletion, revocation, or change of membership. Changes by time alone (tokens and memberships expire, jobs time
out) limit the age of a response.

The cache is in front of Flask: a cache hit costs one look at the content generation. The server's loop answers repeated
requests out of the same cache (``server.repeats``), by the digests of their heads.

A page is made once: equal requests, of equal callers, wait for the thread that makes it.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

from flask import Response, request
from sqlalchemy import Engine
from werkzeug.http import parse_etags, unquote_etag

from registry import credential_names, metrics
from registry.blueprints.auth.admissions import valid_until
from registry.blueprints.auth.credentials import current_principal
from registry.database import ACCESS, INDEX, ContentGeneration, Generation, immediate_look, part_of_name, utcnow
from registry.domain.access import Principal
from registry.environ_keys import ACCESS_NUMBER, EVENT, KEPT, PRINCIPAL, ROUTE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

View = TypeVar("View", bound=Callable[..., Any])
Shared = TypeVar("Shared", str, tuple[tuple[str, str], ...])
Headers = list[tuple[str, str]]

LIMIT_BYTES = 12 << 20
_OVERHEAD_BYTES = 700  # of a response in memory, besides its body; measured with tracemalloc
# Pages with thousands of files are worth caching, but files only up to the size of an ordinary page.
LARGEST_PAGE_BYTES = 8 << 20
LARGEST_FILE_BYTES = 64 << 10
_PAGES = "/simple"  # in the paths of pages; files are ready at once, or too large to be cached
LONGEST_WAIT_SECONDS = 5  # for a page that another thread is making; then, it is made again
# Headers of requests that are not answered from the cache, in contrast to those with ``If-None-Match``.
_PARTIAL = ("HTTP_RANGE", "HTTP_IF_MODIFIED_SINCE")
_VALID_UNTIL = "registry.answer_valid_until"
_UPSTREAM_UNTIL = "registry.answer_holds_until"
_MAKING = "registry.answer_is_being_made"  # the lock that equal requests wait for
_PART = "registry.answer_part"
# Everything that a response depends on besides the database. The query includes credentials in parameters.
_KEY_PARTS = (
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SCRIPT_NAME",
    "PATH_INFO",
    "REQUEST_URI",
    "RAW_URI",
    "QUERY_STRING",
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_ENCODING",
    *map(credential_names.environ_key, credential_names.HEADERS),
)


def preparable(largest_bytes: int) -> Callable[[View], View]:
    """Mark a view as cacheable: its response depends only on the database, URL, ``Accept`` headers, and caller.

    The view calls ``depends_on_name`` or ``depends_on_index``; a response of which neither is known is not cached.

    :param largest_bytes: larger responses are not cached.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def marking(**arguments: Any) -> Any:
            now = utcnow()
            response = view(**arguments)
            if _PART in request.environ and _is_cacheable(response, largest_bytes):
                note_validity(request.environ, current_principal(), now)
            return response

        cast(Any, marking).is_preparable = True
        return cast(View, marking)

    return decorate


def depends_on_name(environ: WSGIEnvironment, normalized_name: str) -> None:
    """Note that the response to a request depends on the packages of a name, and on no others."""
    environ[_PART] = part_of_name(normalized_name)


def depends_on_index(environ: WSGIEnvironment) -> None:
    """Note that the response to a request depends on the list of package names, and on nothing else about packages."""
    environ[_PART] = INDEX


def is_not_repeatable(environ: WSGIEnvironment) -> None:
    """Note that the response to a request must not be cached, although what it depends on is known."""
    environ.pop(_PART, None)


def depends_on_upstream(environ: WSGIEnvironment, until: datetime | None) -> None:
    """Note that the response to a request has a page of the upstream index, and until when that need not be asked.

    The response to a client that wants it to be asked is not cached, so that it is asked each time.
    """
    environ[_UPSTREAM_UNTIL] = None if asks_anew(environ) else until


def let_others_proceed(environ: WSGIEnvironment) -> None:
    """Have equal requests not wait for the response to this one, which can take long: they would occupy threads."""
    making: Lock | None = environ.pop(_MAKING, None)
    if making is not None:
        making.release()


def asks_anew(environ: WSGIEnvironment) -> bool:
    """Return whether a client wants no response that is kept anywhere (RFC 9111, section 5.2.1.4)."""
    return "no-cache" in environ.get("HTTP_CACHE_CONTROL", "").lower()


def _is_cacheable(response: Response, largest_bytes: int) -> bool:
    # The properties of responses parse and copy these headers.
    is_small = int(response.headers.get("Content-Length", 0)) <= largest_bytes
    is_kept = "no-store" not in response.headers.get("Cache-Control", "")
    return response.status_code in (200, 302) and is_small and is_kept


def note_validity(environ: WSGIEnvironment, principal: Principal, now: datetime) -> None:
    """Note until when a response to this principal holds if nothing changes, so that it is cached.

    :param now: before any of its data was read.
    """
    ends = valid_until(principal, now)
    upstream_ends = environ.get(_UPSTREAM_UNTIL, ends)
    if upstream_ends is not None:
        environ[_VALID_UNTIL] = min(ends, upstream_ends)


@dataclass(frozen=True, slots=True)
class Answer:
    """A cached response.

    :ivar common_headers: its headers except for ``ETag`` and ``Content-Length``, which many responses have in common.
    :ivar event: counted each time the response is sent.
    :ivar part: the part of the content generation on which it depends, besides ``ACCESS``.
    :ivar access: the number of ``ACCESS``, which like ``number`` was read before any data of the response.
    :ivar number: the number of the part.
    :ivar is_of_upstream: whether it has a page of the upstream index.
    :ivar digests: of the request heads that are remembered for this response.
    """

    status: str
    common_headers: tuple[tuple[str, str], ...]
    body: bytes
    etag: str
    principal: str | None
    route: str
    event: object
    valid_until: datetime
    part: int
    access: int
    number: int
    is_of_upstream: bool = False
    digests: list[bytes] = field(default_factory=list, compare=False)

    def holds(self, generation: Generation, now: datetime) -> bool:
        """Return whether the response would be the same if it were made anew.

        :param generation: looked at after the request for the response arrived.
        """
        return generation[self.part] == self.number and generation[ACCESS] == self.access and now < self.valid_until

    def is_newer_than(self, other: Answer) -> bool:
        return (self.access, self.number) > (other.access, other.number)

    @property
    def headers(self) -> Headers:
        etag = [("ETag", self.etag)] if self.etag else []
        return [*self.common_headers, *etag, ("Content-Length", str(len(self.body)))]

    @property
    def size_bytes(self) -> int:
        return len(self.body) + _OVERHEAD_BYTES


def _shared(value: Shared) -> Shared:
    """Return the one text or tuple of headers that all responses with an equal one have in common."""
    return cast(Shared, _the_first_of(value))


@lru_cache(maxsize=512)
def _the_first_of(value: object) -> object:
    return value


class Given(NamedTuple):
    """A cached response as it was sent to one request.

    :ivar body: empty after HEAD, and if the client has the response.
    """

    key: bytes
    answer: Answer
    body: bytes


class Head(Protocol):
    """A request head that the server remembers, and what it needs to answer the same bytes again."""

    answer: Answer
    size_bytes: int


class PreparedAnswers:
    """WSGI middleware that caches responses up to a total size; the oldest ones make room for new ones.

    :param addresses: matches the paths of ``preparable`` views.
    :param uploads: matches the paths of uploads.
    :param key: key of the HMAC digests used as cache keys, so that no credentials are kept in memory.
    :ivar look: a look at the content generation for the server's loop.
    """

    def __init__(
        self, application: WSGIApplication, addresses: re.Pattern[str], uploads: re.Pattern[str], engine: Engine,
        key: bytes,
    ) -> None:  # fmt: skip
        self._application = application
        self._addresses, self._uploads = addresses, uploads
        self.look = immediate_look(engine)
        self._generation = ContentGeneration(engine)
        self._key = key
        self._lock = Lock()
        # Oldest first. A plain dictionary looks for its first entry among all those that were removed before.
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._bodies: dict[bytes, tuple[bytes, int]] = {}  # each with the number of responses that have it
        self._being_made: dict[bytes, Lock] = {}
        self._heads: dict[bytes, Any] = {}
        self._size_bytes = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._may_be_prepared(environ):
            if self._may_be_admitted(environ) and (number := self._generation.look_at_access()) is not None:
                environ[ACCESS_NUMBER] = number
            return self._application(environ, start_response)
        generation = self._generation.look()
        if generation is None:  # the application reports the error
            return self._application(environ, start_response)
        environ[ACCESS_NUMBER] = generation[ACCESS]
        if any(name in environ for name in _PARTIAL):
            return self._application(environ, start_response)
        key = self._digest(environ)
        answer = self._present(key, generation)
        if answer is None and (making := self._being_made.get(key)) is not None:
            if making.acquire(timeout=LONGEST_WAIT_SECONDS):
                making.release()
            answer = self._present(key, generation)
        if answer is None:
            return self._make(generation, key, environ, start_response)
        if answer.is_of_upstream and asks_anew(environ):
            return self._application(environ, start_response)
        environ[PRINCIPAL] = answer.principal
        environ[ROUTE] = answer.route
        if answer.event is not None:
            environ[EVENT] = answer.event
        return _give(key, answer, environ, start_response)

    def find(self, digest: bytes) -> Any:
        """Return the remembered request head with this digest, or ``None``."""
        return self._heads.get(digest)

    def remember(self, given: Given, digest: bytes, head: Head) -> None:
        """Remember a request head as long as its response is cached. Both count towards the total size."""
        answer = given.answer
        with self._lock:
            if self._kept.get(given.key) is not answer:  # replaced in the meantime
                return
            known = self._heads.get(digest)
            if known is None or known.answer is not answer:
                answer.digests.append(digest)
            self._heads[digest] = head
            self._size_bytes += head.size_bytes - (0 if known is None else known.size_bytes)
            self._drop_oldest(utcnow())

    def _may_be_prepared(self, environ: WSGIEnvironment) -> bool:
        return (
            environ["REQUEST_METHOD"] in ("GET", "HEAD")
            and self._addresses.match(environ.get("PATH_INFO", "")) is not None
        )

    def _may_be_admitted(self, environ: WSGIEnvironment) -> bool:
        """Return whether the gate can admit an upload like an earlier one.

        Not with a cookie: a session requires a CSRF token with each change.
        """
        return (
            environ["REQUEST_METHOD"] == "POST"
            and "HTTP_COOKIE" not in environ
            and self._uploads.match(environ.get("PATH_INFO", "")) is not None
        )

    def _digest(self, environ: WSGIEnvironment) -> bytes:
        parts = "\n".join([environ.get(part, "") for part in _KEY_PARTS])
        return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()

    def _present(self, key: bytes, generation: Generation) -> Answer | None:
        answer = self._kept.get(key)
        return answer if answer is not None and answer.holds(generation, utcnow()) else None

    def _make(
        self, generation: Generation, key: bytes, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application, and cache its response; let equal requests for a page wait for it meanwhile."""
        if environ["REQUEST_METHOD"] == "HEAD" or _PAGES not in environ["PATH_INFO"]:
            return self._made(generation, key, environ, start_response)
        making = environ[_MAKING] = Lock()  # an Event takes twenty times as long to create and to set
        making.acquire()
        self._being_made.setdefault(key, making)
        try:
            return self._made(generation, key, environ, start_response)
        finally:
            if self._being_made.get(key) is making:
                del self._being_made[key]
            let_others_proceed(environ)

    def _made(
        self, generation: Generation, key: bytes, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Call the application, and cache its response if it is marked, unless it is for a HEAD request."""
        started: list[Any] = []

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            started[:] = [status, headers, exc_info]
            return started.append  # the legacy write(), which Flask never calls

        body = self._application(environ, start)
        status, headers, exc_info = started
        ends_at = environ.get(_VALID_UNTIL)
        if ends_at is None or environ["REQUEST_METHOD"] == "HEAD" or exc_info is not None:
            start_response(status, headers, exc_info)
            return body
        try:
            content = b"".join(body)
        finally:
            if hasattr(body, "close"):
                body.close()
        content, _ = self._bodies.get(content, (content, 0))  # the same for all callers with the same access
        etag = next((value for name, value in headers if name == "ETag"), "")
        own = (("ETag", etag), ("Content-Length", str(len(content))))
        part, principal = environ[_PART], environ.get(PRINCIPAL)
        answer = Answer(
            _shared(status), _shared(tuple(header for header in headers if header not in own)), content, etag,
            None if principal is None else _shared(principal), environ[ROUTE],
            metrics.repeated(environ.get(EVENT)), ends_at, part, generation[ACCESS], generation[part],
            _UPSTREAM_UNTIL in environ,
        )  # fmt: skip
        self._keep(key, answer)
        return _give(key, answer, environ, start_response)

    def _keep(self, key: bytes, answer: Answer) -> None:
        """Add a response to the cache in place of the one with its key, unless that one is newer."""
        if answer.size_bytes > LIMIT_BYTES:
            return
        with self._lock:
            present = self._kept.get(key)
            if present is not None:
                if present.is_newer_than(answer):
                    return
                self._drop(key)
            self._kept[key] = answer
            body, uses = self._bodies.get(answer.body, (answer.body, 0))
            self._bodies[body] = body, uses + 1
            self._size_bytes += _OVERHEAD_BYTES if uses else answer.size_bytes
            self._drop_oldest(utcnow())

    def _drop_oldest(self, now: datetime) -> None:
        """Drop responses until the rest is within the limit and the oldest one has not expired."""
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if self._size_bytes <= LIMIT_BYTES and now < oldest.valid_until:
                return
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        answer = self._kept.pop(key)
        body, uses = self._bodies.pop(answer.body)
        if uses > 1:
            self._bodies[body] = body, uses - 1
        self._size_bytes -= _OVERHEAD_BYTES if uses > 1 else answer.size_bytes
        for digest in answer.digests:
            head = self._heads.get(digest)
            if head is not None and head.answer is answer:
                del self._heads[digest]
                self._size_bytes -= head.size_bytes


def _give(key: bytes, answer: Answer, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Send a cached response, or 304 if the client has it (RFC 9110, section 13.1.2)."""
    is_known = _is_known(answer.etag, environ.get("HTTP_IF_NONE_MATCH"))
    body = b"" if is_known or environ["REQUEST_METHOD"] == "HEAD" else answer.body
    environ[KEPT] = Given(key, answer, body)
    if is_known:
        kept = [(name, value) for name, value in answer.headers if name not in ("Content-Type", "Content-Length")]
        start_response("304 NOT MODIFIED", kept)
    else:
        start_response(answer.status, answer.headers)
    return [body] if body else []


def _is_known(etag: str, known: str | None) -> bool:
    # By the weak comparison (section 8.8.3.2): a proxy that compresses a response marks its ETag as weak.
    return bool(known and etag) and (known == etag or parse_etags(known).contains_weak(unquote_etag(etag)[0]))
