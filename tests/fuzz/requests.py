"""Fuzz targets for the heads of requests: framing, addresses, and negotiation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import h11
import requests
from flask import Flask
from waitress.adjustments import Adjustments
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from registry import create_app
from registry.addresses import OwnAddress, is_host, is_usable, root_url
from registry.blueprints.pypi.index import negotiated_media_type
from registry.blueprints.routing import CanonicalPaths, raw_path, simple_page_url, spelled_id
from registry.domain.packages import simple
from registry.server import HEAD_BYTES
from registry.server.limits import Places
from registry.server.parser import PLACES, SMALL_BODY_BYTES, UNLIMITED_BYTES, GuardedParser
from tests.fuzz.target import Target, lines, words

LONGEST_INPUT = 8000  # below every limit whose refusal depends on how the bytes arrive
UPLOAD = "/api/v4/projects/3/packages/pypi"


@cache
def application() -> Flask:
    """The registry with an empty folder, for its routes; nothing here uses the database."""
    return create_app({"INSTANCE_PATH": Path(mkdtemp(prefix="fuzz")), "SECRET_KEY": "x" * 64, "UPSTREAM_CHECK": False})


class Parser(GuardedParser):
    """The server's parser, with the addresses of uploads."""

    uploads = re.compile(re.escape(UPLOAD) + r"/?\Z")
    places = Places(PLACES)


@cache
def _adjustments() -> Adjustments:
    return Adjustments(
        listen="127.0.0.1:0",
        max_request_body_size=UNLIMITED_BYTES,
        max_request_header_size=HEAD_BYTES,
        inbuf_overflow=SMALL_BODY_BYTES,
    )


@dataclass(frozen=True)
class Parsed:
    """A request as the parser read it; only the refusal, if it was refused."""

    refusal: str = ""
    command: str = ""
    target: str = ""
    version: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    path: str = ""
    query: str = ""
    closes: bool = False


def parsed(pieces: Iterator[bytes] | Sequence[bytes]) -> list[Parsed]:
    """The requests in a stream that arrives in pieces, up to the first refusal; the application allows every upload."""
    found: list[Parsed] = []
    parser = Parser(_adjustments(), "127.0.0.1")
    for piece in pieces:
        data = piece
        while data:
            data = data[parser.received(data) :]
            if parser.held is not None:
                data = parser.release() + data
            if not parser.completed:
                continue
            if not parser.empty:
                found.append(_as_parsed(parser))
            parser.close()
            if found and found[-1].refusal:
                return found
            parser = Parser(_adjustments(), "127.0.0.1")
    parser.close()
    return found


def _as_parsed(parser: Parser) -> Parsed:
    if parser.error is not None:
        return Parsed(type(parser.error).__name__)
    with parser.get_body_stream() as stream:
        body = stream.read()
    target = parser.request_uri if hasattr(parser, "request_uri") else parser.path
    headers = tuple(sorted(parser.headers.items()))
    return Parsed(
        "", parser.command, target, parser.version, headers, body, parser.path, parser.query, parser.connection_close
    )


def check_framing(data: bytes) -> None:
    """A stream is read alike in whatever pieces it arrives, and as h11 reads it where both accept it."""
    data = data[:LONGEST_INPUT]
    whole = parsed([data])

    size = 1 + len(data) % 7
    assert parsed([data[at : at + size] for at in range(0, len(data), size)]) == whole

    if whole and not whole[0].refusal:
        _compare_with_h11(data, whole[0])


def _compare_with_h11(data: bytes, ours: Parsed) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data.lstrip(b"\r\n"))
    body = b""
    try:
        head: Any = connection.next_event()
        while isinstance(event := connection.next_event(), h11.Data):
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return
    assert isinstance(head, h11.Request)
    assert isinstance(event, h11.EndOfMessage)
    assert (head.method.decode(), body) == (ours.command, ours.body)
    hosts = [value.decode("latin-1") for name, value in head.headers if name == b"host"]
    assert hosts == [value for name, value in ours.headers if name == "HOST"]


FRAMING = Target(
    "framing",
    check_framing,
    (
        lines(["GET /-/health HTTP/1.1", "Host: registry.test", ""]) * 2,
        lines([f"POST {UPLOAD} HTTP/1.1", "Host: registry.test", "Content-Length: 5", "", "a=b", ""]),
        lines(["POST /users HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "3;x=y", "a=b", "0", "T: 1", ""]),
        lines([f"POST {UPLOAD} HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "3", "a=b", "0", ""])
        + lines(["GET / HTTP/1.1", "Host: b", ""]),
        lines([f"POST {UPLOAD} HTTP/1.1", "Host: a", "Content-Length: 3", "Expect: 100-continue", "", "a=b"]),
        lines(["GET http://registry.test/a?b HTTP/1.1", "Host: registry.test", "Connection: close", ""]),
        lines(["GET / HTTP/1.0", ""]),
    ),
    words(
        "\r\n", "\n", "\r", " ", "\t", ":", "\r\n\r\n", "\r\n ", "Content-Length: 3\r\n", "Content-Length: +3\r\n",
        "Content-Length: 3, 3\r\n", "Content_Length: 3\r\n", "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n", "Transfer-Encoding : chunked\r\n", "Transfer-Encoding: identity\r\n",
        "Host: b\r\n", "HTTP/1.0", "HTTP/1.2", "HTTP/9", "0\r\n\r\n", "0x3", "-1", "_", "3 ", "\x00", b"\xff", b"\x85",
        "http://", "http://[", "//", "?", "#", "%", "%00", "\x0b", "\x0c", "\x1c", "100-continue", "upgrade: h2c\r\n",
    ),
)  # fmt: skip


def check_paths(data: bytes) -> None:
    """The quick ways around Flask's routing find what Flask finds, and links contain only what belongs into URLs."""
    target = data[:LONGEST_INPUT].decode("latin-1")
    if _is_refused(target):
        return
    path = target.partition("?")[0]
    environ = EnvironBuilder("/").get_environ()
    environ |= {"REQUEST_URI": target, "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1")}
    received = environ["PATH_INFO"]

    list(
        CanonicalPaths(
            lambda *_: [],
        )(environ, lambda *_: lambda _: None)
    )

    assert re.fullmatch(r"[!#-;=?-Z\[\]_a-z~%]*", spelled_id(environ)), spelled_id(environ)
    assert isinstance(raw_path(environ), str)
    app = application()
    found = simple_page_url(environ["PATH_INFO"])
    if found is not None:
        rule, arguments = app.url_map.bind_to_environ(environ).match(return_rule=True)
        kind = "project" if "project" in arguments else "group"
        assert found == (rule.rule, f"{kind} {arguments[kind]}", arguments["name"])
    try:
        endpoint, arguments = app.url_map.bind_to_environ(environ).match(method="POST")
    except (HTTPException, RequestRedirect):
        return
    is_nothing = set(str(arguments.get("project"))) == {"/"}
    if getattr(app.view_functions[endpoint], "is_asked_before_body", False) and not is_nothing:
        assert app.extensions["uploads"].match(received)


def _is_refused(target: str) -> bool:
    """Whether the parser refuses this target, so that no application has to read it."""
    request = f"GET {target} HTTP/1.0\r\n\r\n".encode("latin-1")
    found = parsed([request])
    return len(found) != 1 or bool(found[0].refusal)


PATHS = Target(
    "paths",
    check_paths,
    words(
        UPLOAD, f"{UPLOAD}/", f"{UPLOAD}/validate", f"{UPLOAD}/simple/demo/", f"{UPLOAD}/files/{'a' * 64}/demo.whl",
        "/api/v4/projects/acme%2Ftools/packages/pypi/simple/demo?format=json",
        "/api/v4/groups/acme%2ftools%2fsub/-/packages/pypi/simple/demo",
        "/api/v4/projects/acme/tools/packages/pypi/simple/demo", "/acme/tools/-/packages/1",
        "http://registry.test/api/v4/projects/3/packages/pypi",
    ),
    words(
        "/", "//", "%2F", "%2f", "%25", "%", "%00", "..", ".", "-", "\x1f", "%1f", "\x7f", "?", "#", ";", "@", b"\xe9",
        "%C3%A9", "simple", "packages", "pypi", "/packages/pypi", "/api/v4/", "/-/", "http://", "//[", "3", "<", '"',
        "\\", " ", "+", "%FF",
    ),
)  # fmt: skip


def check_host(data: bytes) -> None:
    """A host that is accepted is one to urllib and requests, and no other makes Werkzeug fail."""
    host = data[:LONGEST_INPUT].decode("latin-1")
    environ = EnvironBuilder("/").get_environ() | {"HTTP_HOST": host}

    list(OwnAddress(lambda *_: [])(environ, lambda *_: lambda _: None))

    assert isinstance(Request(environ).host, str)
    assert is_usable(environ) is is_host(host)
    if not is_usable(environ):
        return
    url = root_url(environ)
    name, colon, port = host.rpartition(":")
    bare = name if colon and not port.endswith("]") else host
    assert urlsplit(url).hostname == bare.lower().strip("[]")
    assert urlsplit(url).port in (None, int(port or 0) if colon and port.isdigit() else None)
    assert url.isascii()
    assert url.isprintable()
    assert requests.Request("GET", url).prepare().url


HOSTS = Target(
    "hosts",
    check_host,
    words(
        "registry.test", "registry.test:8080", "127.0.0.1:80", "[::1]:8080", "[2001:db8::1]", "my_host",
        "xn--bcher-kva.de"
    ),
    words(
        ":", ".", "[", "]", "@", "/", "\\", "%", "#", "?", "xn--", "-", "_", "::", "0", "65536", "a" * 64, b"\xe9", " ",
        "\x00", "%25eth0", "..", ",", "1.2.3.4", "::ffff:1.2.3.4", "0x7f",
    ),
)  # fmt: skip


_TYPES = {
    simple.PLAIN_HTML: (),
    simple.JSON: ("application/vnd.pypi.simple.latest+json",),
    simple.HTML: ("application/vnd.pypi.simple.latest+html",),
}


def check_negotiation(data: bytes) -> None:
    """The response has one of the known types, and one that the client accepts unless it accepts none of them."""
    accept, _, query = data[:LONGEST_INPUT].decode("latin-1").partition("\n")
    if not query.isascii():  # the parser refuses it
        return
    environ = EnvironBuilder("/").get_environ() | {"HTTP_ACCEPT": accept, "QUERY_STRING": query}
    request = Request(environ)

    chosen = negotiated_media_type(environ)

    assert chosen in _TYPES
    if chosen != simple.PLAIN_HTML and "format" not in request.args:
        assert any(request.accept_mimetypes.quality(name) > 0 for name in (chosen, *_TYPES[chosen]))


NEGOTIATION = Target(
    "negotiation",
    check_negotiation,
    words(
        "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01",
        "*/*", "text/html", "application/vnd.pypi.simple.latest+json;q=0.5, */*;q=0.1", "text/html\nformat=json",
        "*/*\nformat=application/vnd.pypi.simple.v1%2Bjson",
    ),
    words(
        ",", ";", "q=", "q=0", "q=1.5", "q=nan", "q=-1", "q=1e9", '"', "\\", "*", "/", "*/*", "application/*", ";q=0.5",
        simple.JSON, simple.HTML, "text/html", " ", "\x00", b"\xe9", "=", "format=", "%", "charset*=utf-8''x", "q*0=1",
    ),
)  # fmt: skip
