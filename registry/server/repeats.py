"""Requests that the loop answers itself: the same bytes were answered before, and the answer is still valid.

The bytes of a request head contain everything that an answer depends on, except time and the content of the database.
So a head that is byte for byte the same needs no parsing, no WSGI environment, and no thread. A thread answers it the
first time; the application keeps the answer, and the loop keeps the head of the response, to be completed with the
current date and a request id. Heads contain credentials, so only keyed digests of them are kept.

All requests that arrive in one turn of the loop share one look at the content generation. The look starts after they
have arrived, so a request never gets an answer that was outdated before it was sent.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from waitress.utilities import build_http_date

from registry.environ_keys import KEPT, NOTE

if TYPE_CHECKING:
    from registry.server.channel import Channel
    from registry.server.listening import Server
    from registry.server.task import Task

LONGEST_HEAD = 8 << 10
LOOK_SECONDS = 1  # then threads answer, which wait longer and report the failure
_END = b"\r\n\r\n"
_DATE, _REQUEST_ID, _LINE_END = b"\r\nDate: ", b"\r\nX-Request-Id: ", b"\r\n"
_LENGTH, _ETAG = b"\r\nContent-Length: ", b"\r\nEtag: "  # as waitress writes them
# Of a remembered head in memory, besides the text for the log, which grows with the request; measured with tracemalloc.
_OVERHEAD_BYTES = 1000
_IDS_AT_ONCE = 256

logger = logging.getLogger(__name__)

Note = Callable[
    ..., None
]  # with the seconds until the answer, the request's id, and the peer's address if it is logged


class Answer(Protocol):
    """A response that the application keeps."""

    def holds(self, generation: Any, now: datetime) -> bool:
        """Return whether it would be the same if it were made anew."""
        ...


class Kept(Protocol):
    """A kept answer as it was given to a request: without its body after HEAD, or if the client has it."""

    answer: Answer
    body: bytes


class Look(Protocol):
    """Looks at the content generation, without ever waiting.

    :ivar generation: the result of the last look, which is over; ``None`` if it failed.
    """

    generation: Any

    def begin(self) -> bool:
        """Begin to look, and return whether there is a connection to do so."""
        ...

    def proceed(self) -> bool:
        """Return whether the look is over, as far as that is known by now."""
        ...

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable when there is something to ``proceed`` with."""
        ...

    def renew(self) -> None:
        """Close the connection, if any, and open another in the background."""
        ...

    def close(self) -> None: ...


class Cache(Protocol):
    """The kept answers of the application, and the request heads for them."""

    look: Look

    def find(self, digest: bytes) -> Any:
        """Return the head with this digest, or ``None``."""
        ...

    def remember(self, kept: Any, digest: bytes, head: Any) -> None:
        """Remember a head for as long as its answer is kept."""
        ...


class Pieces(NamedTuple):
    """The pieces of a response head, without the values of ``Date`` and ``X-Request-Id``.

    :ivar constant: those that most responses have in common: before the values of ``Content-Length``, ``Date``,
        ``ETag``, and ``X-Request-Id``, and behind. waitress sends headers in this order.
    :ivar length: the value of ``Content-Length``; empty without this header.
    :ivar etag: that of ``ETag``.
    """

    constant: tuple[bytes, bytes, bytes, bytes, bytes]
    length: bytes
    etag: bytes

    @classmethod
    def of(cls, head: bytes) -> Pieces | None:
        """Return the pieces of a head, or ``None`` without either of the values, or in another order."""
        if head.count(_DATE) != 1 or head.count(_REQUEST_ID) != 1:
            return None
        before_date, _, behind = head.partition(_DATE)
        _, date_end, behind = behind.partition(_LINE_END)
        before_id, is_found, behind = behind.partition(_REQUEST_ID)
        if not is_found:
            return None
        _, id_end, rest = behind.partition(_LINE_END)
        before_length, length, before_date = _cut(before_date, _LENGTH)
        before_etag, etag, before_id = _cut(date_end + before_id, _ETAG)
        constant = before_length, before_date + _DATE, before_etag, before_id + _REQUEST_ID, id_end + rest
        return cls(constant, length, etag)


def _cut(text: bytes, header: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what is before the value of a header, the value, and what is behind; without it, all is behind."""
    before, is_found, behind = text.partition(header)
    if not is_found:
        return b"", b"", text
    value, line_end, behind = behind.partition(_LINE_END)
    return before + header, value, line_end + behind


@lru_cache(maxsize=256)
def _shared(pieces: tuple[bytes, bytes, bytes, bytes, bytes]) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Return the tuple of these pieces that all heads have in common."""
    return pieces


class Head:
    """A request head that was answered, and the head of the response without date and request id.

    :ivar closes: whether the connection closes after the response.
    """

    __slots__ = ("_etag", "_length", "_parts", "answer", "body", "closes", "note", "size_bytes")

    def __init__(self, kept: Kept, pieces: Pieces, closes: bool, note: Note, request_bytes: int) -> None:
        """Remember a head.

        :param request_bytes: length of the head of the request.
        """
        self._parts, self._length, self._etag = _shared(pieces.constant), pieces.length, pieces.etag
        self.answer, self.body = kept.answer, kept.body
        self.closes, self.note = closes, note
        self.size_bytes = request_bytes + _OVERHEAD_BYTES

    def response_head(self, date: bytes, request_id: str) -> bytes:
        before_length, before_date, before_etag, before_id, rest = self._parts
        return b"".join(
            (
                before_length, self._length, before_date, date, before_etag, self._etag, before_id, request_id.encode(),
                rest,
            )
        )  # fmt: skip


# Plain tuples, as making one with names takes half as long as finding the head of a request.
# A request that has arrived and whose head was found: its connection, its bytes and their digest, the head, and when it
# arrived, by ``time.perf_counter``.
Request = tuple["Channel", bytes, bytes, Head, float]
# A request that was answered and has to be logged and counted: how, after how many seconds, and its id.
Answered = tuple["Channel", Note, float, str]
AnyRequest = TypeVar("AnyRequest", Request, Answered)


class Repeats:
    """The requests of all connections that the loop can answer itself.

    A request waits for a look at the content generation, and goes to a thread if its answer is not valid any more or
    the look is not possible. Meanwhile its connection is lent, so that nothing more of it is read.

    The look at PostgreSQL is a round trip. Its connection is one of those whose events the loop waits for, so this is
    also the dispatcher of that connection.

    :ivar answered_at: when a request was last answered, on the monotonic clock.
    :ivar watched: the events of that connection that the loop waits for; set by ``Server.watch``.
    """

    watched = 0

    def __init__(self, server: Server, cache: Cache, trusts_proxies: bool) -> None:
        self._server = server
        self._cache = cache
        self._look = cache.look
        self._trusts_proxies = trusts_proxies
        self._hash = blake2b(key=os.urandom(32), digest_size=16)
        self._arrived: list[Request] = []
        self._asked: list[Request] = []  # those that the present look is for
        self._ask_until = math.inf
        self._ids = _request_ids()
        self._date = (0, b"")
        self.answered_at = -math.inf
        self._look.renew()

    def receive(self, channel: Channel, data: bytes) -> bool:
        """Take over what a connection that has nothing else to do has sent, or have it parsed.

        :return: whether it is taken over, as it is one whole request head, and the same was answered before.
        """
        digest = head = None
        if len(data) <= LONGEST_HEAD:
            digest = self._digest(channel, data)
            head = self._cache.find(digest)
        if head is None or digest is None or self._server.is_stopping:
            channel.take(data, digest if _is_one_head(data) else None)
            return False
        channel.lend()
        if self._asked:  # it has to wait for the end of the present look, and for another one
            self._server.waits.end(channel)
        self._arrived.append((channel, data, digest, head, time.perf_counter()))
        return True

    def _digest(self, channel: Channel, data: bytes) -> bytes:
        found = self._hash.copy()
        if self._trusts_proxies:  # the address of the peer decides whose address is logged
            found.update(f"{channel.addr[0]} ".encode())
        found.update(data)
        return found.digest()

    def remember(self, task: Task) -> None:
        """Remember the head of a request that was answered with a kept answer."""
        environ, digest = task.get_environment(), task.request.digest
        kept: Kept | None = environ.get(KEPT)
        if kept is None or digest is None or "HTTP_X_REQUEST_ID" in environ:
            return
        pieces = Pieces.of(task.response_head)
        if pieces is not None:
            note = environ[NOTE](not self._trusts_proxies)
            head = Head(kept, pieces, task.close_on_finish, note, task.request.header_bytes_received)
            self._cache.remember(kept, digest, head)

    def close(self) -> None:
        self._server.forget(self)
        self._look.close()

    def answer(self) -> None:
        """Answer the requests that have arrived, or begin to look for them; called by the end of each turn."""
        if not self._arrived or self._asked:
            return
        self._asked, self._arrived = self._arrived, []
        try:
            self._look_for_them()
        except Exception:  # noqa: BLE001 - logged there
            self.handle_error()

    def _look_for_them(self) -> None:
        if not self._look.begin():
            self._fail()
        elif self._look.fileno() is None:
            self._proceed()
        else:
            self._ask_until = time.monotonic() + LOOK_SECONDS
            self._server.watch(self)
            for channel, *_ in self._asked:
                self._server.waits.end(channel)

    def relieve(self) -> float:
        """End a look that takes too long.

        :return: after how many seconds this has to be called again.
        """
        if not self._asked:
            return math.inf
        left = self._ask_until - time.monotonic()
        if left <= 0:
            self._fail()
        return max(0, left)

    def _proceed(self) -> None:
        if not self._look.proceed():
            return
        if self._look.generation is None:
            self._fail()
        else:
            self._finish(self._look.generation)

    def _fail(self) -> None:
        """Have threads answer the requests, and open another connection for further looks."""
        self._server.forget(self)
        self._look.renew()
        _for_each(self._taken(), _refer)

    def _finish(self, generation: Any) -> None:
        """Answer the requests whose answers are still valid, and have threads answer the others.

        Answers are logged and counted when all of them are sent. Meanwhile the client has its answer and sends its next
        request, so that even with one connection the loop seldom has to sleep, and to be woken, between two requests.
        """
        now = datetime.now(UTC)
        date = self._http_date(int(time.time()))
        self.answered_at = time.monotonic()
        answered: list[Answered] = []

        def answer(request: Request) -> None:
            channel, _, _, head, begun = request
            if not self._server.is_stopping and head.answer.holds(generation, now):
                request_id, seconds = next(self._ids), time.perf_counter() - begun
                if channel.give(head.response_head(date, request_id), head.body, head.closes):
                    answered.append((channel, head.note, seconds, request_id))
                    return
            _refer(request)

        _for_each(self._taken(), answer)
        _for_each(answered, self._note)

    def _note(self, answered: Answered) -> None:
        channel, note, seconds, request_id = answered
        address = () if self._trusts_proxies else (channel.addr[0],)
        note(seconds, request_id, *address)

    def _taken(self) -> list[Request]:
        """Take the requests that the present look is for."""
        asked, self._asked = self._asked, []
        return asked

    def _http_date(self, second: int) -> bytes:
        if self._date[0] != second:
            self._date = (second, build_http_date(second).encode())
        return self._date[1]

    # As the dispatcher of the connection to the database.

    @property
    def socket(self) -> Look | None:
        return None if self._look.fileno() is None else self._look

    @property
    def _fileno(self) -> int | None:
        return self._look.fileno()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        """Proceed with the look, or notice the end of the connection."""
        self._proceed()

    def handle_error(self) -> None:
        logger.exception("A look at the content generation failed.")
        self._fail()


def _is_one_head(data: bytes) -> bool:
    """Return whether the data are one whole head of a request that could be remembered."""
    return data.startswith((b"GET ", b"HEAD ")) and data.find(_END) == len(data) - len(_END)


def _for_each(requests: Iterable[AnyRequest], act: Callable[[AnyRequest], object]) -> None:
    """Do something for each request. A failure is logged, and closes its connection and no other."""
    for request in requests:
        try:
            act(request)
        except Exception:
            logger.exception("A request failed.")
            request[0].give_up()


def _refer(request: Request) -> None:
    channel, data, digest, *_ = request
    channel.refer(data, digest)


def _request_ids() -> Iterator[str]:
    """Yield random ids, for many of which the operating system is asked at once."""
    while True:
        drawn = os.urandom(16 * _IDS_AT_ONCE).hex()
        for start in range(0, len(drawn), 32):
            yield drawn[start : start + 32]
