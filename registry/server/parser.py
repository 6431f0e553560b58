"""Parsing of requests, with early refusals.

Waitress receives the whole body before the application sees the request. Requests that can be refused by their header
alone are refused here, and large uploads wait behind their header until the application has authorized them.
"""

from __future__ import annotations

import re
from collections.abc import Container
from contextlib import suppress
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError, unquote_bytes_to_wsgi
from waitress.utilities import Error

from registry.errors import is_disk_full
from registry.server.limits import Places

SMALL_BODY_BYTES = 1 << 20  # every request but an upload
UNASKED_BYTES = 64 << 10  # uploads up to this size are received without authorization
PLACES = 64  # for other bodies above this size in each process: they are kept in memory, and almost none has it
UNLIMITED_BYTES = 1 << 60
PROBES = ("/-/health", "/-/liveness")  # of the process alone
CHUNKED_PIECE_BYTES = 1 << 13
LONGEST_PATH = 8 << 10  # unquoted; it is matched with the patterns of all routes
LONGEST_USUAL_HEAD = 8 << 10  # so that its path is not too long, either
LONGEST_CHUNK_LINE = 1 << 14  # the head of a chunk, or the trailer behind the last one


def probes_at(external_url: str | None) -> frozenset[str]:
    """Return the paths of ``PROBES``, also with the path of the external URL, which a proxy can pass on or remove."""
    prefix = urlsplit(external_url or "").path
    return frozenset((*PROBES, *(prefix + path for path in PROBES)))


class EarlyRefusal(Error):  # type: ignore[misc]
    """A response to the header alone; the connection closes after it."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        super().__init__(body)
        self.status, self.headers = status, headers

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        return self.status, self.headers, self.body


class SupportsClose(Protocol):
    def close(self) -> None: ...


class Incoming:
    """The body of an upload, between the server and the application that is asked for it.

    :ivar is_open: whether its length is not declared.
    :ivar allowed_bytes: set by the application, which is asked again when more has arrived.
    :ivar reception: kept by the application until the request is over, and then closed.
    """

    def __init__(self, is_open: bool) -> None:
        self.is_open = is_open
        self.allowed_bytes: int | None = None
        self.reception: SupportsClose | None = None


class GuardedParser(HTTPRequestParser):  # type: ignore[misc]
    """A parser that runs in the loop, so its checks are cheap and never wait.

    :cvar uploads: matches the paths of routes that accept large bodies.
    :cvar probes: the paths of probes of the process.
    :cvar places: for bodies that are kept in memory.
    :param address: of the client, or of its proxy.
    :ivar incoming: the body, if the application is asked for it.
    :ivar is_upload: its path is one of ``uploads``.
    :ivar is_probe: its path is one of ``probes``.
    :ivar is_too_large: the application is asked for its refusal of a body of this size.
    :ivar held: the data received behind the header of a request that has to be authorized before its body is received;
        ``None`` if it need not be, or has been.
    :ivar digest: of the head, if the loop can answer the same bytes itself (``Repeats``).
    """

    uploads: re.Pattern[str]
    probes: Container[str] = PROBES
    places: Places
    query: str
    error: Error | None
    content_length: int
    expect_continue: bool
    held: bytes | None = None
    digest: bytes | None = None
    incoming: Incoming | None = None
    is_upload = False
    is_probe = False
    is_too_large = False
    _has_place = False
    _has_to_ask = False
    _expects_continue = False

    def __init__(self, adjustments: Adjustments, address: str) -> None:
        super().__init__(adjustments)
        self._address = address

    def received(self, data: bytes) -> int:
        try:
            consumed = self._received(data)
            if self.completed and self.body_rcv is not None:
                self.body_rcv.getfile().flush()  # a failure while it is read would look like a lost client
            return consumed
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._refuse(EarlyRefusal("507 Insufficient Storage", _JSON, _NO_ROOM))
            return len(data)

    def _received(self, data: bytes) -> int:
        if not self.headers_finished and not self.header_plus and self._takes_usual_head(data):
            return len(data)
        if not self.chunked:
            consumed = int(super().received(data))
            return self._hold(data, consumed) if self._has_to_ask and not self.completed else consumed
        # In pieces, because waitress copies all of its input once for each chunk in it: a megabyte in chunks of one
        # byte would keep the loop busy for seconds.
        consumed = int(super().received(data[:CHUNKED_PIECE_BYTES]))
        if self.completed:
            return consumed
        self._refuse(self._overrun())
        if self.completed:
            return consumed
        if self._is_too_much:
            return self._hold(data, consumed)
        if self.incoming is None and self.size_bytes > UNASKED_BYTES and not self._has_place:
            self._take_place()
        return consumed

    def _takes_usual_head(self, data: bytes) -> bool:
        """Parse a whole request that is a head in the usual spelling, as waitress does, in a quarter of the time.

        :return: false for any other data, of which nothing is taken.
        """
        found = _USUAL_HEAD.fullmatch(data.decode("latin-1")) if len(data) <= LONGEST_USUAL_HEAD else None
        if found is None:
            return False
        command, target, lines = found.groups()
        fields = _USUAL_LINE.findall(lines)
        headers = {_environ_name(name): value for name, value in fields}
        is_repeated, host = len(headers) < len(fields), headers.get("HOST", ",")
        if is_repeated or "," in host or not _FRAMING.isdisjoint(headers):
            return False
        path, _, self.query = target.partition("?")
        self.command, self.version, self.request_uri = command, "1.1", target
        self.proxy_scheme = self.proxy_netloc = self.fragment = ""
        self.path = unquote_bytes_to_wsgi(path.encode()) if "%" in path else path
        self.url_scheme, self.headers = self.adj.url_scheme, headers
        self.connection_close = headers.get("CONNECTION", "").lower() == "close"
        self.header_bytes_received = len(data)
        self.headers_finished = self.completed = True
        self.is_probe = self.path in self.probes
        return True

    @property
    def _is_too_much(self) -> bool:
        """Whether the application has to be asked because of what has arrived."""
        if self.incoming is None:
            self.is_too_large = self.size_bytes > SMALL_BODY_BYTES
            return self.is_too_large
        allowed_bytes = self.incoming.allowed_bytes
        return allowed_bytes is not None and self.size_bytes > allowed_bytes

    @property
    def size_bytes(self) -> int:
        """The declared length of the body, or how much of it has arrived."""
        return len(self.body_rcv) if self.chunked else self.content_length

    def close(self) -> None:
        if self._has_place:
            self._has_place = False
            self.places.give_back(self._address)
        if self.incoming is not None and self.incoming.reception is not None:
            self.incoming.reception.close()
        with suppress(OSError):  # a full disk does not accept the buffered rest; the file is removed all the same
            super().close()

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # an absolute target that is not a valid URL
            raise ParsingError("Malformed request target") from error
        self._refuse_ambiguous(header_plus)
        if len(self.path) > LONGEST_PATH:
            self._refuse(EarlyRefusal("414 URI Too Long", _JSON, b'{"error":"414 URI Too Long"}'))
            return
        self.is_probe = self.path in self.probes and self.command in ("GET", "HEAD")
        self.is_upload = self.command == "POST" and self.uploads.match(self.path) is not None
        if self.is_upload:
            is_small = not self.chunked and self.content_length <= UNASKED_BYTES
            self._has_to_ask = self.body_rcv is not None and (self.expect_continue or not is_small)
            self.incoming = Incoming(self.chunked) if self._has_to_ask else None
        elif not self.chunked:  # chunked bodies are counted as they arrive
            self.is_too_large = self._has_to_ask = self.content_length > SMALL_BODY_BYTES
            if UNASKED_BYTES < self.content_length <= SMALL_BODY_BYTES:
                self._take_place()

    def _take_place(self) -> None:
        self._has_place = self.places.take(self._address)
        if not self._has_place:
            self._refuse(EarlyRefusal("503 Service Unavailable", [*_JSON, ("Retry-After", "5")], _NO_PLACE))

    def _refuse_ambiguous(self, head: bytes) -> None:
        """Refuse a head that a proxy in front could read as another request (RFC 9112, sections 2.3, 3.2, 5.2, 6.1).

        :raises ParsingError: the target, the version, the host, or the length of the body is not the only possible one.
        """
        is_target = _TARGET.match(self.request_uri) is not None and self.request_uri.isascii()
        if not is_target and (self.command, self.request_uri) != ("OPTIONS", "*"):
            raise ParsingError("Malformed request target")
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("Unsupported HTTP version")
        if b"\r\n " in head or b"\r\n\t" in head:
            raise ParsingError("Folded header line")
        host = self.headers.get("HOST")
        if host is None and self.version == "1.1":
            raise ParsingError("Host is missing")
        if host is not None and "," in host:  # waitress joins repeated headers
            raise ParsingError("Host is repeated")
        if self.proxy_netloc and host is not None and self.proxy_netloc.lower() != host.lower():
            raise ParsingError("Host differs from the request target")
        lowered = head.lower()
        if b"\r\ntransfer-encoding:" not in lowered:
            return
        if "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length with Transfer-Encoding")
        if self.version == "1.0" or _CODINGS.findall(lowered) != [b"chunked"]:
            raise ParsingError("Transfer-Encoding is invalid")

    def _hold(self, data: bytes, consumed: int) -> int:
        """Pretend to be a complete request, so that the channel reads no further and queues it behind the others."""
        self.held = data[consumed:]
        self.completed = True
        self._has_to_ask = False
        self._expects_continue, self.expect_continue = self.expect_continue, False
        return len(data)

    def release(self) -> bytes:
        """Receive the body from now on. The data that was held is returned, and has to be received again."""
        held, self.held = self.held or b"", None
        self.completed = False
        self.expect_continue, self._expects_continue = self._expects_continue, False
        return held

    def _refuse(self, refusal: EarlyRefusal | None) -> None:
        if refusal is not None:
            self.error = refusal
            self.completed = True
            self.expect_continue = False
            self.content_length = 0

    def _overrun(self) -> EarlyRefusal | None:
        """Return a refusal of chunks that waitress would keep in memory, as it does with all but their content."""
        body = self.body_rcv
        if max(len(body.control_line), len(body.trailer)) > LONGEST_CHUNK_LINE:
            return EarlyRefusal("400 Bad Request", _JSON, b'{"error":"400 Bad Request"}')
        return None


# A request without a body whose target is a path, in printable ASCII, with one space at most behind each colon.
_USUAL_HEAD = re.compile(
    r"(GET|HEAD) (/(?!/)[!\"$-~]*) HTTP/1\.1\r\n((?:[A-Za-z0-9-]++: ?(?:[!-~]++(?: ++[!-~]++)*+)\r\n)++)\r\n"
)
_USUAL_LINE = re.compile(r"([A-Za-z0-9-]++): ?([ -~]++)")
_FRAMING = frozenset(("CONTENT_LENGTH", "TRANSFER_ENCODING", "EXPECT"))
# A path, or a whole URL. Applications add the slash that a path lacks, behind the checks of the server.
_TARGET = re.compile("/|https?://", re.IGNORECASE)
_CODINGS = re.compile(rb"\r\ntransfer-encoding:[ \t]*([^\r]*?)[ \t]*(?=\r)")
# Most of these requests are for the API, which pages of all origins can use (blueprints/cross_origin.py).
_JSON = [("Content-Type", "application/json"), ("Access-Control-Allow-Origin", "*")]
_NO_PLACE = b'{"message":"503 Service Unavailable"}'
_NO_ROOM = b'{"message":"507 Insufficient Storage - The disk is full."}'


@lru_cache(maxsize=256)
def _environ_name(header: str) -> str:
    return header.upper().replace("-", "_")


def too_large() -> EarlyRefusal:
    return EarlyRefusal("413 Request Entity Too Large", _JSON, b'{"error":"413 Request Entity Too Large"}')
