"""Heads of requests: those in the usual spelling are parsed by our own code, exactly as waitress parses them."""

from __future__ import annotations

from typing import Any

import pytest
from waitress.adjustments import Adjustments

from registry.server import HEAD_BYTES
from registry.server.parser import LONGEST_USUAL_HEAD, SMALL_BODY_BYTES, UNLIMITED_BYTES, GuardedParser
from tests.fuzz.requests import Parser

PAGE = "GET /api/v4/projects/3/packages/pypi/simple/demo/ HTTP/1.1"
HOST = "Host: registry.test"


def parsed(*pieces: bytes) -> GuardedParser:
    adjustments = Adjustments(
        listen="127.0.0.1:0",
        max_request_body_size=UNLIMITED_BYTES,
        max_request_header_size=HEAD_BYTES,
        inbuf_overflow=SMALL_BODY_BYTES,
    )
    parser = Parser(adjustments, "127.0.0.1")
    for piece in pieces:
        parser.received(piece)
    return parser


def findings(parser: GuardedParser) -> dict[str, Any]:
    """What the server and tasks read of a request."""
    names = (
        "command", "request_uri", "version", "proxy_scheme", "proxy_netloc", "path", "query", "fragment", "url_scheme",
        "headers", "header_bytes_received", "headers_finished", "completed", "empty", "connection_close", "chunked",
        "expect_continue", "content_length", "held", "incoming", "is_upload", "is_probe", "is_too_large",
    )  # fmt: skip
    error = parser.error
    return {name: getattr(parser, name, None) for name in names} | {"error": None if error is None else vars(error)}


def head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


USUAL = [
    head(PAGE, HOST),
    head("HEAD /?a=b?c&d HTTP/1.1", HOST),
    head("GET /a%2Fb%00%zz/%E3%81%82?x=%20 HTTP/1.1", HOST, "Accept:*/*"),
    head("GET /-/health HTTP/1.1", HOST),
    head(PAGE, "HOST: [::1]:5000", "Accept: a,  b;q=0.5", "Connection: Keep-Alive", "authorization: Basic YTpi"),
    head(PAGE, HOST, "Connection: close", 'If-None-Match: "abc", W/"d"', 'User-Agent: pip/25.0 {"ci":null}'),
    head("GET /a;b=c:d[e]\\^`{|}~ HTTP/1.1", HOST),
]
OTHERS = [
    b"",
    b"GET",
    head(PAGE),
    head(PAGE, "Host: a", "Host: a"),
    head(PAGE, "Host: a,b"),
    head(PAGE, HOST, "Accept: a", "accept: b"),
    head(PAGE, HOST, "Accept_: a"),
    head(PAGE, HOST, "Accept : a"),
    head(PAGE, HOST, "Accept:  a\t"),
    head(PAGE, HOST, "Accept: "),
    head(PAGE, HOST, "Accept: a", " b"),
    head(PAGE, HOST, "Accept: \xe9"),
    head(PAGE, HOST, "Content-Length: 0"),
    head(PAGE, HOST, "Content-Length: 3") + b"abc",
    head(PAGE, HOST, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    head(PAGE, HOST, "Expect: 100-continue"),
    head(PAGE, HOST) + head(PAGE, HOST),
    head("", PAGE, HOST),
    head("GET //a HTTP/1.1", HOST),
    head("GET /a#b HTTP/1.1", HOST),
    head("GET http://registry.test/a HTTP/1.1", HOST),
    head("GET a HTTP/1.1", HOST),
    head("GET /a HTTP/1.0", HOST),
    head("GET /a", HOST),
    head("get /a HTTP/1.1", HOST),
    head("POST /a HTTP/1.1", HOST),
    head("GET  /a HTTP/1.1", HOST),
    head(PAGE, HOST, f"Accept: {'a' * LONGEST_USUAL_HEAD}"),
]


@pytest.mark.parametrize("data", USUAL + OTHERS)
def test_a_head_is_read_alike_whether_it_arrives_whole_or_in_pieces(data: bytes) -> None:
    """Waitress parses what does not arrive whole."""
    assert findings(parsed(data)) == findings(parsed(data[:1], data[1:]))


@pytest.mark.parametrize("data", USUAL)
def test_a_head_in_the_usual_spelling_is_not_left_to_waitress(data: bytes) -> None:
    assert not hasattr(parsed(data), "first_line")  # which waitress keeps for its own tests
