"""Bad input is refused with a 4xx: no answer of the PyPI routes is a 5xx, and nothing breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.servers import Namespace, RunningServer
from tests.acceptance.wire import BOUNDARY, Answer, basic, connect, exchange, head, multipart, upload_head
from tests.builders import BuiltFile, build_wheel

pytestmark = pytest.mark.databases
WHEEL = build_wheel("fuzzed", "1.0")
MIB = 1 << 20
FUZZ = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="session")
def project(server: RunningServer) -> Namespace:
    """A private project with one published file."""
    made = server.project(group=server.group())
    made.publish(WHEEL)
    return made


@pytest.fixture(scope="session")
def public_project(server: RunningServer) -> Namespace:
    made = server.project(visibility="public")
    made.publish(WHEEL)
    return made


@pytest.fixture(autouse=True)
def _nothing_breaks(server: RunningServer) -> Iterator[None]:
    """The server is alive after the test, and has logged no failure during it."""
    before = len(server.log)
    yield
    assert server.request("GET", "/version", server.root_token).status_code == 200
    logged = server.log[before:]
    assert "Traceback" not in logged
    assert " ERROR " not in logged


def status_of(answer: Answer | None) -> int | None:
    """``None`` for a closed connection, which is also an answer to input that is not HTTP."""
    assert answer is None or answer.status < 500, answer
    return None if answer is None else answer.status


def file_path(project: Namespace, file: BuiltFile = WHEEL) -> str:
    return f"{project.pypi_path}/files/{file.sha256}/{file.filename}"


AUTHORIZATIONS = [
    "", " ", "Basic", "Basic ", "Basic =", "Basic ====", "Basic %%%", "Basic Zm9v", "Basic Og==",
    "Basic " + "A" * 50_000, "Basic /////w==", "Basic w6k6w6k=", "Basic AAAAOgAAAA==", "Bearer", "Bearer ",
    "Bearer \xff\xfe", "Bearer a b c", "Bearer glcbt-x", "Digest username=x", "basic dXNlcjpwYXNz",
    "BASIC dXNlcjpwYXNz", "Negotiate", ":", "\xe9", "Basic dXNlcjpwYXNz, Basic dXNlcjpwYXNz", "Basic realm=\"x\"",
]  # fmt: skip


@pytest.mark.parametrize("value", AUTHORIZATIONS, ids=lambda value: ascii(value[:25]))
def test_a_malformed_authorization_is_anonymous(server: RunningServer, project: Namespace, value: str) -> None:
    for target in (f"{project.pypi_path}/simple/fuzzed/", file_path(project)):
        assert status_of(exchange(server, head("GET", target, Authorization=value, Connection="close"))) == 401


@pytest.mark.parametrize("name", ["PRIVATE-TOKEN", "DEPLOY-TOKEN", "JOB-TOKEN", "Cookie", "X-CSRF-Token", "Sudo"])
@pytest.mark.parametrize(
    "value", ["x", "\xff\xfe", "a" * 50_000, "=;=;", "registry_session=.e30.x.y"], ids=lambda value: ascii(value[:25])
)
def test_a_malformed_token_header_grants_nothing(
    server: RunningServer, project: Namespace, name: str, value: str
) -> None:
    request = head("GET", f"{project.pypi_path}/simple/fuzzed/", Connection="close", **{name: value})

    assert status_of(exchange(server, request)) == 401


IDS = [
    "0", "-1", "00001", "99999999999999999999999", "1e3", "%D9%A1", "%00", "1%00", "%0a", "..", "%2e%2e", "%2F",
    "a%2F%2Fb", "%252F", "a%252Fb", "%ff%fe", "%", "%zz", "a" * 5000, "a%2F" * 500, "%F0%9F%90%8D", "$(id)", "';--",
    "*", "~", "%1f", "\xff",
]  # fmt: skip


@pytest.mark.parametrize("identifier", IDS, ids=lambda value: ascii(value[:25]))
def test_an_unknown_or_malformed_id_is_not_found(server: RunningServer, identifier: str) -> None:
    for path in (
        f"/api/v4/projects/{identifier}/packages/pypi/simple",
        f"/api/v4/projects/{identifier}/packages/pypi/simple/x/",
        f"/api/v4/groups/{identifier}/-/packages/pypi/simple/x",
        f"/api/v4/projects/{identifier}/packages/pypi/files/{WHEEL.sha256}/{WHEEL.filename}",
    ):
        request = head("GET", path, Authorization=basic(server.root_token), Connection="close")
        assert status_of(exchange(server, request)) in (400, 404)


NAMES = [
    "%00", "%00.whl", "..%2f..%2fetc%2fpasswd", "../../../../etc/passwd", "%ff", "a" * 20_000, "%F0%9F%90%8D",
    "a%0d%0aSet-Cookie:x", "....", "-", "%2e", "x/y/z", "%25", "a;b", "a?b", "<script>", "{{7*7}}", "a%20b",
    "\\..\\..",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda value: ascii(value[:25]))
def test_a_malformed_name_is_refused_or_not_found(server: RunningServer, project: Namespace, name: str) -> None:
    authorization = basic(server.root_token)
    for path in (
        f"{project.pypi_path}/simple/{name}", f"{project.pypi_path}/files/{WHEEL.sha256}/{name}",
        f"{project.pypi_path}/files/{name}/{WHEEL.filename}", f"{project.pypi_path}/{name}",
    ):  # fmt: skip
        answer = exchange(server, head("GET", path, Authorization=authorization, Connection="close"))
        assert status_of(answer) in (None, 302, 400, 404, 414)
        assert answer is None or "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://127.0.0.1{path} HTTP/1.1",
        b"GET https://elsewhere.test:99999{path} HTTP/1.1",
        b"GET http://[::1{path} HTTP/1.1",
        b"GET //elsewhere.test{path} HTTP/1.1",
        b"GET ftp://elsewhere.test{path} HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT elsewhere.test:443 HTTP/1.1",
        b"GET {path} HTTP/1.0",
        b"GET {path} HTTP/9.9",
        b"GET {path}",
        b"GET  {path}  HTTP/1.1",
        b"get {path} HTTP/1.1",
        b"G\xffT {path} HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x00",
        b"GET {path}\x00 HTTP/1.1",
        b"GET {path}#fragment HTTP/1.1",
        b"GET {path}?a=%zz&&&=&%00 HTTP/1.1",
        b"GET {path}?" + b"a=b&" * 20_000 + b" HTTP/1.1",
        b"TRACE {path} HTTP/1.1",
        b"BREW {path} HTTP/1.1",
        b"A" * 300_000,
    ],
    ids=lambda line: ascii(line[:35]),
)
def test_a_strange_request_line_is_no_failure(server: RunningServer, project: Namespace, line: bytes) -> None:
    path = f"{project.pypi_path}/simple/fuzzed/".encode()

    status_of(exchange(server, line.replace(b"{path}", path) + b"\r\nHost: registry.test\r\nConnection: close\r\n\r\n"))


@pytest.mark.parametrize(
    "header",
    [
        b"Host: \r\n",
        b"Host: a\r\nHost: b\r\n",
        b"Host: elsewhere.test:99999\r\n",
        b"Host: <script>\r\n",
        b"Host: a b\r\n",
        b": no name\r\n",
        b"No colon\r\n",
        b"Space : before\r\n",
        b"Folded: a\r\n b\r\n",
        b"Nul: a\x00b\r\n",
        b"Bare: a\nInjected: b\r\n",
        b"Accept: " + b"a" * 300_000 + b"\r\n",
        b"".join(b"X-%d: y\r\n" % number for number in range(20_000)),
        b"Content-Length: -1\r\n",
        b"Content-Length: abc\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n",
        b"X-Forwarded-For: \xff, a\r\nX-Forwarded-Host: <>\r\nX-Forwarded-Proto: javascript\r\n",
        b"X-Request-Id: " + b"\xff" * 500 + b"\r\n",
        b"Expect: the unexpected\r\n",
        b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    ],
    ids=lambda header: ascii(header[:35]),
)
def test_a_strange_header_is_no_failure(server: RunningServer, project: Namespace, header: bytes) -> None:
    for method in (b"GET", b"POST"):
        line = method + f" {project.pypi_path}/simple/fuzzed/ HTTP/1.1\r\n".encode()
        status_of(exchange(server, line + b"Connection: close\r\n" + header + b"\r\n"))


@pytest.mark.parametrize("coding", ["gzip", "chunked, identity", "\xff"], ids=ascii)
def test_an_unknown_transfer_coding_is_not_implemented(server: RunningServer, project: Namespace, coding: str) -> None:
    """RFC 9112, section 6.1."""
    answer = exchange(server, head("POST", project.pypi_path, Transfer_Encoding=coding))

    assert answer is not None
    assert answer.status == 501


HOST, CHUNKED, LENGTH = b"Host: registry.test\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"
AMBIGUOUS = {
    "length and coding": b"POST / HTTP/1.1\r\n" + HOST + LENGTH + CHUNKED,
    "coding and length": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED.upper() + LENGTH,
    "chunked twice": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked in two lines": b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + CHUNKED,
    "empty coding": b"POST / HTTP/1.1\r\n" + HOST + LENGTH + b"Transfer-Encoding:\r\n",
    "coding in a folded line": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n chunked\r\n",
    "coding in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"Connection: keep-alive\r\n",
    "coding in HTTP/1.2": b"POST / HTTP/1.2\r\n" + HOST + CHUNKED + b"Connection: keep-alive\r\n",
    "target without a slash": b"POST api/v4/projects/1/packages/pypi HTTP/1.1\r\n" + HOST + CHUNKED,
    "target with another scheme": b"POST ftp://registry.test/api HTTP/1.1\r\n" + HOST + CHUNKED,
    "target in another encoding": b"GET //x?q=\xe9 HTTP/1.1\r\n" + HOST,
    "no host": b"GET /-/health HTTP/1.1\r\n",
    "another host in the target": b"GET http://other.test/-/health HTTP/1.1\r\n" + HOST,
    "two hosts": b"GET /-/health HTTP/1.1\r\n" + HOST + HOST,
}


@pytest.mark.parametrize("request_head", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_a_request_with_ambiguous_framing_is_refused_and_nothing_behind_it_is_read(
    server: RunningServer, request_head: bytes
) -> None:
    """RFC 9112, sections 3.2 and 6.1."""
    body = b"0\r\n\r\n" if b"POST" in request_head else b""

    with connect(server) as connection, connection.makefile("rb") as answers:
        connection.sendall(request_head + b"\r\n" + body + head("GET", "/-/health", Connection="close"))
        statuses = re.findall(rb"^HTTP/1\.[01] (\d+) ", answers.read(), re.MULTILINE)

    assert statuses == [b"400"]


def test_links_without_a_host_header_have_the_address_of_the_connection(server: RunningServer) -> None:
    with connect(server) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"GET /api/v4/projects HTTP/1.0\r\n\r\n")
        answer = answers.read()
        own = "{}:{}".format(*connection.getpeername()[:2])

    assert f"\r\nLink: <http://{own}/api/v4/projects?".encode() in answer


ACCEPTS = [
    "", ",", ";", "*", "*/*;q=x", "text/html;q=nan", "text/html;q=-1", "text/html;q=1e999", "a" * 50_000, "\xff", "/",
    "a/b/c", "text/html;" * 5000, 'text/html;a="\\', "application/vnd.pypi.simple.v99+json", "application/json;q=0",
]  # fmt: skip


@pytest.mark.parametrize("accept", ACCEPTS, ids=lambda value: ascii(value[:25]))
def test_an_empty_accept_header_gets_a_page(server: RunningServer, project: Namespace, accept: str) -> None:
    for path in ("/simple", "/simple/fuzzed"):
        request = head(
            "GET", project.pypi_path + path, Authorization=basic(server.root_token), Accept=accept, Connection="close"
        )
        assert status_of(exchange(server, request)) == 200


RANGES = [
    "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=-0", "bytes=0-0", "bytes=-99999999999999999999",
    "bytes=1-2,3-4", "bytes=99999999999999999999-", "items=0-1", "bytes=0-99999999999999999999",
    "bytes=" + "0-0," * 10_000, "bytes==0-1", "\xff", "bytes=--1", "bytes=0-1-2", "bytes= 0 - 1 ", "bytes=1_0-2_0",
    "bytes=+1-+2",
]  # fmt: skip


@pytest.mark.parametrize("value", RANGES, ids=lambda value: ascii(value[:25]))
def test_a_strange_range_gets_the_file_a_part_or_416(server: RunningServer, project: Namespace, value: str) -> None:
    request = head("GET", file_path(project), Authorization=basic(server.root_token), Range=value, Connection="close")

    answer = exchange(server, request)

    assert answer is not None
    assert answer.status in (200, 206, 416)
    if answer.status == 200:
        assert answer.body == WHEEL.content
    assert answer.status == 416 or len(answer.body) == int(answer.headers["Content-Length"])


@pytest.mark.parametrize("name", ["If-None-Match", "If-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since"])
@pytest.mark.parametrize(
    "value",
    [
        "", "*", '"', "W/", '"a' + "b" * 50_000, "\xff", "0", "Mon, 99 Foo 0000 99:99:99 GMT",
        "Thu, 01 Jan 99999 00:00:00 GMT",
    ],
    ids=lambda value: ascii(value[:25]),
)  # fmt: skip
def test_a_strange_condition_is_no_failure(server: RunningServer, project: Namespace, name: str, value: str) -> None:
    for path in (f"{project.pypi_path}/simple/fuzzed", file_path(project)):
        request = head(
            "GET", path, Authorization=basic(server.root_token), Connection="close", Range="bytes=0-9", **{name: value}
        )
        assert status_of(exchange(server, request)) in (200, 206, 304, 412)


def test_head_answers_like_get_on_every_route(server: RunningServer, project: Namespace) -> None:
    for path in _reading_paths(project):
        request = {"Authorization": basic(server.root_token), "Connection": "close"}
        got = exchange(server, head("GET", path, **request))
        told = exchange(server, head("HEAD", path, **request), "HEAD")

        assert got is not None
        assert told is not None
        assert (told.status, told.body) == (got.status, b"")
        changing = {"date", "x-request-id"}
        assert {name.lower(): value for name, value in told.headers.items() if name.lower() not in changing} == {
            name.lower(): value for name, value in got.headers.items() if name.lower() not in changing
        }


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "PROPFIND"])
def test_a_wrong_method_is_refused_on_every_route(server: RunningServer, project: Namespace, method: str) -> None:
    for path in (*_reading_paths(project), project.pypi_path):
        request = head(method, path, Authorization=basic(server.root_token), Connection="close")
        answer = exchange(server, request)

        assert status_of(answer) == (204 if method == "OPTIONS" else 405)
        assert answer is not None
        assert answer.headers["Allow"]


@pytest.mark.parametrize("path", ["", "/simple", "/simple/fuzzed", f"/files/{WHEEL.sha256}/{WHEEL.filename}"])
def test_reading_tokens_do_not_upload_and_uploading_tokens_do_not_read(
    server: RunningServer, project: Namespace, path: str
) -> None:
    request = head(
        "POST" if path else "GET", project.pypi_path + path,
        Authorization=basic(server.root_token), Content_Length=0, Connection="close",
    )  # fmt: skip

    assert status_of(exchange(server, request)) == 405


def _reading_paths(project: Namespace) -> list[str]:
    pages = [
        f"{project.pypi_path}{path}" for path in ("/simple", "/simple/fuzzed", "/simple/absent", "/+simple/fuzzed")
    ]
    return [*pages, file_path(project), f"{file_path(project)}.metadata", f"{file_path(project)}.absent"]


def upload(
    project: Namespace, body: bytes, content_type: str = f"multipart/form-data; boundary={BOUNDARY}"
) -> int | None:
    request = head(
        "POST", project.pypi_path, Authorization=basic(project.server.root_token), Content_Type=content_type,
        Content_Length=len(body), Connection="close",
    )  # fmt: skip
    return status_of(exchange(project.server, request + body, "POST"))


def part(disposition: bytes, content: bytes = b"x") -> bytes:
    return b"--" + BOUNDARY.encode() + b"\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + content + b"\r\n"


END = b"--" + BOUNDARY.encode() + b"--\r\n"
FIELDS = part(b'form-data; name="name"', b"fuzzed") + part(b'form-data; name="version"', b"2.0")
CONTENT = part(b'form-data; name="content"; filename="fuzzed-2.0-py3-none-any.whl"', b"PK\x03\x04 no archive")
BODIES = {
    "empty": b"",
    "only the end": END,
    "no end": FIELDS + CONTENT,
    "cut in a part": FIELDS + CONTENT[:-20],
    "no part headers": b"--" + BOUNDARY.encode() + b"\r\n\r\nx\r\n" + END,
    "other boundary": FIELDS.replace(BOUNDARY.encode(), b"other") + END,
    "text before": b"preamble\r\n" * 1000 + FIELDS + END,
    "text after": FIELDS + CONTENT + END + b"epilogue" * 1000,
    "line feeds only": (FIELDS + CONTENT + END).replace(b"\r\n", b"\n"),
    "no name": part(b"form-data") + END,
    "no file name": FIELDS + part(b'form-data; name="content"') + END,
    "empty file name": FIELDS + part(b'form-data; name="content"; filename=""') + END,
    "file name with NUL": FIELDS + part(b'form-data; name="content"; filename="a\x00.whl"') + END,
    "file name that climbs": FIELDS + part(b'form-data; name="content"; filename="../../a-1.0.tar.gz"') + END,
    "file name of bytes": FIELDS + part(b'form-data; name="content"; filename="\xff\xfe.whl"') + END,
    "encoded file name": FIELDS + part(b"form-data; name=content; filename*=UTF-8''%ff%00.whl") + END,
    "encoded in no charset": FIELDS + part(b"form-data; name=content; filename*=nonsense''a.whl") + END,
    "long file name": FIELDS + part(b'form-data; name="content"; filename="' + b"a" * 9000 + b'.whl"') + END,
    "two files": FIELDS + CONTENT + CONTENT + END,
    "file twice named": FIELDS + part(b'form-data; name="name"; filename="x"') + CONTENT + END,
    "no archive": FIELDS + CONTENT + END,
    "empty file": FIELDS + part(b'form-data; name="content"; filename="fuzzed-2.0.tar.gz"', b"") + END,
    "name of bytes": part(b'form-data; name="name"', b"\xff\xfe\x00") + CONTENT + END,
    "version of bytes": part(b'form-data; name="version"', b"1.0\x00") + FIELDS[:60] + CONTENT + END,
    "digest of bytes": FIELDS + part(b'form-data; name="sha256_digest"', b"\xff" * 64) + CONTENT + END,
    "md5 of bytes": FIELDS + part(b'form-data; name="md5_digest"', "é".encode()) + CONTENT + END,
    "long name": part(b'form-data; name="name"', b"a" * MIB) + part(b'form-data; name="version"', b"1") + CONTENT + END,
    "long version": part(b'form-data; name="name"', b"a")
    + part(b'form-data; name="version"', b"1" * MIB)
    + CONTENT
    + END,
    "many digits": FIELDS + part(b'form-data; name="version"', b"1" * 5000) + CONTENT + END,
    "long part header": FIELDS + part(b'form-data; name="x"\r\nX: ' + b"a" * MIB) + END,
    "many part headers": FIELDS + part(b'form-data; name="x"' + b"\r\nX: y" * 50_000) + END,
    "huge field": FIELDS + part(b'form-data; name="description"', b"x" * (33 * MIB)) + CONTENT + END,
    "many parts": part(b'form-data; name="classifiers"') * 10_100 + FIELDS + CONTENT + END,
    "boundaries alone": (b"--" + BOUNDARY.encode() + b"\r\n") * 100_000,
    "returns": b"\r" * MIB,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_malformed_form_is_refused_and_nothing_is_published(project: Namespace, body: bytes) -> None:
    assert upload(project, body) in (None, 400)
    assert [package["version"] for package in project.packages()] == ["1.0"]


@pytest.mark.parametrize(
    "content_type",
    [
        "", "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="',
        "multipart/mixed; boundary=x", "multipart/form-data; boundary=" + "b" * 5000,
        "multipart/form-data; boundary=\xff", "application/json", "text/plain", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=(.*)+", "multipart/form-data; charset=nonsense; boundary=x",
    ],
    ids=lambda value: ascii(value[:45]),
)  # fmt: skip
def test_a_body_of_another_type_is_refused(project: Namespace, content_type: str) -> None:
    assert upload(project, FIELDS + CONTENT + END, content_type) == 400


CHUNKS = {
    "no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "negative": b"-5\r\nabcde\r\n0\r\n\r\n",
    "too large": b"ffffffffffffffffff\r\nabc\r\n",
    "too short": b"2\r\nabcdef\r\n0\r\n\r\n",
    "never ending": b"5\r\nabcde\r\n",
    "empty line": b"\r\n\r\n\r\n",
    "long extension": b"5;" + b"x" * 300_000 + b"\r\nabcde\r\n0\r\n\r\n",
    "bare line feeds": b"5\nabcde\n0\n\n",
    "trailer": b"0\r\nX: y\r\n\r\n",
    "nothing": b"0\r\n\r\n",
    "small chunks": b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_a_malformed_chunked_body_is_refused(server: RunningServer, project: Namespace, chunks: bytes) -> None:
    request = head(
        "POST", project.pypi_path, Authorization=basic(server.root_token), Transfer_Encoding="chunked",
        Content_Type=f"multipart/form-data; boundary={BOUNDARY}", Connection="close",
    )  # fmt: skip

    with connect(server) as connection:
        connection.sendall(request + chunks)
        connection.settimeout(0.3)  # a body that never ends is never answered
        try:
            received = connection.recv(100)
        except TimeoutError:
            received = b""

    assert received == b"" or received.startswith(b"HTTP/1.1 4")


def test_a_good_chunked_upload_is_published(server: RunningServer, project: Namespace) -> None:
    file = build_wheel("chunked", "1.0")
    target = server.project()
    before, after = multipart({"name": file.name, "version": file.version}, file.filename)
    body = before + file.content + after
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50))
    request = upload_head(target, server.root_token, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")

    assert status_of(exchange(server, request + chunks + b"0\r\n\r\n", "POST")) == 201
    assert list(target.listed("chunked")) == [file.filename]


HEADER_NAMES = st.sampled_from(
    [
        "Accept", "Accept-Encoding", "Authorization", "Content-Type", "Cookie", "DEPLOY-TOKEN", "Expect", "Host",
        "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "JOB-TOKEN",
        "PRIVATE-TOKEN", "Range", "Referer", "Sudo", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host",
        "X-Forwarded-Proto", "X-Request-Id",
    ]
)  # fmt: skip
HEADER_VALUES = st.one_of(
    st.binary(max_size=80).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").decode("latin-1")),
    st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}(,[0-9]{0,3}-[0-9]{0,3})?", fullmatch=True),
    st.from_regex(r"(Basic|Bearer) [A-Za-z0-9+/=]{0,20}", fullmatch=True),
    st.from_regex(r'(W/)?"[ -~]{0,10}"(, "[a-z]{0,5}")?', fullmatch=True).map(lambda text: text.replace("\n", "")),
    st.from_regex(r"[a-z*]{0,9}/[a-z*+.]{0,9}(;q=[0-9.]{0,4})?", fullmatch=True),
)
PATHS = ["/simple", "/simple/fuzzed", f"/files/{WHEEL.sha256}/{WHEEL.filename}", ""]


@FUZZ
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]),
    path=st.sampled_from(PATHS),
    headers=st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=5),
)
def test_no_header_is_a_failure(
    server: RunningServer, public_project: Namespace, method: str, path: str, headers: dict[str, str]
) -> None:
    request = head(method, public_project.pypi_path + path, **{"Connection": "close", **headers})

    status_of(exchange(server, request, method))


@FUZZ
@given(tail=st.binary(max_size=60).map(lambda raw: raw.translate(None, b"\r\n ")))
def test_no_target_is_a_failure(server: RunningServer, public_project: Namespace, tail: bytes) -> None:
    request = b"GET " + public_project.pypi_path.encode() + b"/" + tail + b" HTTP/1.1\r\nConnection: close\r\n\r\n"

    status_of(exchange(server, request))


@FUZZ
@given(
    name=st.text(max_size=20),
    version=st.text(max_size=20),
    filename=st.text(max_size=20),
    content=st.binary(max_size=200),
)
def test_no_form_is_a_failure(project: Namespace, name: str, version: str, filename: str, content: bytes) -> None:
    fields = part(b'form-data; name="name"', name.encode()) + part(b'form-data; name="version"', version.encode())
    file = part(b'form-data; name="content"; filename="' + filename.encode() + b'"', content)

    assert upload(project, fields + file + END) in (None, 400)


@FUZZ
@given(noise=st.binary(min_size=1, max_size=400))
def test_no_noise_is_a_failure(server: RunningServer, noise: bytes) -> None:
    good = head("GET", "/-/health", Connection="close")  # a connection without any request is not logged

    status_of(exchange(server, noise + b"\r\n\r\n" + good))
