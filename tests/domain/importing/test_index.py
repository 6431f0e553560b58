from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from registry.domain.importing import index as simple_index
from registry.domain.importing.index import Index
from registry.domain.importing.source import SourceFile, SourcePage
from registry.domain.packages.simple import HTML, JSON
from registry.errors import SourceError
from tests.builders import build_wheel
from tests.domain.importing.sinks import Received
from tests.fakes.index import FILE, Fault, StaticIndex

DEMO = NormalizedName("demo")
WHEEL = build_wheel()
WHEEL_PATH = f"/files/{WHEEL.filename}"
UPLOADED = "2024-02-03T04:05:06.789000Z"
UPLOADED_AT = datetime(2024, 2, 3, 4, 5, 6, 789000, UTC)


@pytest.fixture
def index(served: StaticIndex) -> Iterator[Index]:
    """The index at ``served``, asked without credentials."""
    index = Index(served.url)
    yield index
    index.close()


@pytest.fixture(autouse=True)
def netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """In place of the user's own."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def json_page(*files: dict[str, object], **keys: object) -> str:
    return json.dumps({"meta": {"api-version": "1.4"}, "name": "demo", "files": list(files), "versions": []} | keys)


def failure(index: Index, name: str = "demo") -> str:
    with pytest.raises(SourceError) as error:
        index.page(NormalizedName(name))
    return error.value.sentence


def test_a_json_page_holds_all_attributes_of_files(served: StaticIndex, index: Index) -> None:
    whole = {
        "filename": "demo-1.0.tar.gz", "url": "../../files/demo-1.0.tar.gz", "size": 12,
        "hashes": {"SHA256": "AB", "sha3_384": "c", "shake_128": "d", "crc": "e"},
        "upload-time": UPLOADED, "yanked": "Loses\n data", "requires-python": ">=3", "gpg-sig": True,
    }  # fmt: skip
    bare = {"filename": "demo-2.0.tar.gz", "url": "https://files.test/demo-2.0.tar.gz#ignored", "hashes": {}}
    served.put(
        "demo/",
        json_page(whole, bare, **{"project-status": {"status": "archived", "reason": "Moved"}}),
        media_type=JSON,
    )

    assert index.page(DEMO) == SourcePage(
        (
            SourceFile(
                "demo-1.0.tar.gz", f"http://{served.host}/files/demo-1.0.tar.gz", {"sha256": "ab", "sha3_384": "c"},
                12, UPLOADED_AT, "Loses data",
            ),
            SourceFile("demo-2.0.tar.gz", "https://files.test/demo-2.0.tar.gz"),
        ),
        "archived",
        "Moved",
    )  # fmt: skip


def test_an_html_page_holds_the_same(served: StaticIndex, index: Index) -> None:
    served.put(
        "demo/",
        f"""<!DOCTYPE html><html><head>
        <meta name="pypi:repository-version" content="1.4"><meta name="pypi:project-status" content="deprecated">
        <meta name="pypi:project-status-reason" content="Use &quot;other&quot;">
        <base href="/files/"></head><body>
        <a href="demo-1.0%2Blocal.tar.gz#sha256=AB" data-yanked="Loses &lt;data&gt;" data-size="12"
           data-upload-time="{UPLOADED}">demo-1.0+local.tar.gz</a>
        <A HREF="https://files.test/demo-2.0.tar.gz" data-yanked>demo-2.0.tar.gz</A>
        <a href="../up/">Up</a><a name="anchor">x</a>""",
    )

    assert index.page(DEMO) == SourcePage(
        (
            SourceFile(
                "demo-1.0+local.tar.gz", f"http://{served.host}/files/demo-1.0%2Blocal.tar.gz", {"sha256": "ab"},
                12, UPLOADED_AT, "Loses <data>",
            ),
            SourceFile("demo-2.0.tar.gz", "https://files.test/demo-2.0.tar.gz", yanked_reason=""),
        ),
        "deprecated",
        'Use "other"',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("yanked", "reason"),
    [(False, None), (True, ""), ("", None), ("Loses data", "Loses data")],
    ids=["no", "yes", "an empty reason is no yank", "reason"],
)
def test_a_yank_in_json_is_a_truth_or_a_reason(
    served: StaticIndex, index: Index, yanked: bool | str, reason: str | None
) -> None:
    file = {"filename": "demo-1.0.tar.gz", "url": "x", "hashes": {}, "yanked": yanked}
    served.put("demo/", json_page(file), JSON)

    assert [found.yanked_reason for found in index.page(DEMO).files] == [reason]


@pytest.mark.parametrize(
    ("told", "time"),
    [
        ("2024-02-03T04:05:06Z", datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2024-02-03T04:05:06+02:00", datetime(2024, 2, 3, 2, 5, 6, tzinfo=UTC)),
        ("2024-02-03T04:05:06", datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("0001-01-01T00:00:00+10:00", None),
        ("yesterday", None),
        (None, None),
    ],
    ids=["UTC", "other zone", "no zone", "before time", "words", "null"],
)
def test_an_upload_time_is_read_or_left_out(
    served: StaticIndex, index: Index, told: str | None, time: datetime | None
) -> None:
    served.put("demo/", json_page({"filename": "x", "url": "x", "hashes": {}, "upload-time": told}), JSON)

    assert [found.uploaded_at for found in index.page(DEMO).files] == [time]


def test_a_file_is_shown_in_one_line_without_control_characters(served: StaticIndex, index: Index) -> None:
    in_json = {
        "filename": "a\n\x1b[2Jb.whl",
        "url": "x",
        "hashes": {"sha256": "\x1b[2J"},
        "yanked": "\x1b" + "x" * 2000,
    }
    served.put("demo/", json_page(in_json), JSON)
    served.put("other/", '<a href="a%1B%5B2Jb.whl#md5=%1b">x</a>')

    (file,) = index.page(DEMO).files
    assert (file.filename, file.digests) == ("a [2Jb.whl", {"sha256": "malformed"})
    assert file.yanked_reason == "x" * 1000
    (file,) = index.page(NormalizedName("other")).files
    assert (file.filename, file.digests) == ("a [2Jb.whl", {"md5": "malformed"})


def test_names_of_a_json_list_have_their_pages_below_it(served: StaticIndex, index: Index) -> None:
    served.put(
        "", json.dumps({"meta": {"api-version": "1.0"}, "projects": [{"name": "Demo_Pkg"}, {"name": ".."}]}), JSON
    )
    served.put("demo-pkg/", json_page(), JSON)

    assert index.names() == ["demo-pkg"]
    assert index.page(NormalizedName("demo-pkg")) == SourcePage(())


def test_names_of_an_html_list_have_their_pages_where_the_links_lead(served: StaticIndex, index: Index) -> None:
    served.put("", '<a href="../">..</a><a href="Demo_Pkg/"> Demo_Pkg/ </a><a href="/elsewhere/other/">other</a>')
    served.put("Demo_Pkg/", '<a href="demo_pkg-1.0.tar.gz">demo_pkg-1.0.tar.gz</a>')
    served.put("/elsewhere/other/", '<a href="other-1.0.tar.gz">other-1.0.tar.gz</a>')

    names = index.names()

    assert names == ["demo-pkg", "other"]
    assert [index.page(name).files[0].location for name in names] == [
        f"{served.url}Demo_Pkg/demo_pkg-1.0.tar.gz",
        f"http://{served.host}/elsewhere/other/other-1.0.tar.gz",
    ]


def test_links_are_relative_to_the_page_that_a_redirect_leads_to(served: StaticIndex, index: Index) -> None:
    served.fail("demo/", Fault(301, (("Location", "/moved/demo/"),)))
    served.put("/moved/demo/", '<a href="demo-1.0.tar.gz">demo-1.0.tar.gz</a>')

    assert index.page(DEMO).files[0].location == f"http://{served.host}/moved/demo/demo-1.0.tar.gz"


def test_json_is_preferred_and_html_accepted(served: StaticIndex, index: Index) -> None:
    served.offer(WHEEL)
    index.page(DEMO)

    (request,) = served.asked_for("demo/")
    assert request.headers["Accept"].split(", ") == [JSON, f"{HTML};q=0.2", "text/html;q=0.01"]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, "{"),
        (JSON, "[]"),
        (JSON, '{"meta": {"api-version": "2.0"}, "files": []}'),
        (JSON, json_page({"filename": "x", "url": 1, "hashes": {}})),
        (HTML, '<meta name="pypi:repository-version" content="2.0">'),
        (HTML, '<a href="http://[/x-1.0.tar.gz">x</a>'),
    ],
    ids=["half", "list", "version in JSON", "number for an address", "version in HTML", "no address"],
)
def test_a_malformed_page_is_reported(served: StaticIndex, index: Index, media_type: str, body: str) -> None:
    served.put("demo/", body, media_type)

    assert failure(index) == "the page of demo does not conform to version 1 of the Simple API"


def test_a_page_of_another_type_is_reported(served: StaticIndex, index: Index) -> None:
    served.put("demo/", "demo", "text/plain; charset=utf-8")

    assert failure(index) == "the response has the type 'text/plain', which is not one of the Simple API"


def test_a_page_that_has_no_end_is_given_up(served: StaticIndex, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simple_index, "MAX_PAGE_BYTES", 1000)
    served.put("demo/", " " * 1001)

    assert failure(index) == "the page is larger than 1000 bytes"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "the response is 401 Unauthorized: the credentials are missing or not accepted"),
        (403, "the response is 403 Forbidden: the credentials are not sufficient"),
        (404, "the response is 404 Not Found"),
        (410, "the response is 410 Gone"),
        (599, "the response is 599"),
    ],
)
def test_a_refusal_is_reported_and_not_retried(served: StaticIndex, index: Index, status: int, reason: str) -> None:
    served.fail("demo/", status)

    assert failure(index) == reason
    assert len(served.asked_for("demo/")) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_temporary_failures_are_retried(served: StaticIndex, index: Index, status: int) -> None:
    served.offer(WHEEL)
    served.fail("demo/", status, 200, status)

    assert [file.filename for file in index.page(DEMO).files] == [WHEEL.filename]
    assert len(served.asked_for("demo/")) == 4


def test_persistent_failures_are_given_up(served: StaticIndex, index: Index) -> None:
    served.fail("demo/", 503, 503, 503, 503, 503)

    assert failure(index) == "the response is 503 Service Unavailable (attempts: 4)"
    assert len(served.asked_for("demo/")) == 4


def test_a_pause_that_is_asked_for_is_made(served: StaticIndex, index: Index) -> None:
    served.offer(WHEEL)
    served.fail("demo/", Fault(429, (("Retry-After", "1"),)))
    before = datetime.now(UTC)

    index.page(DEMO)

    assert (datetime.now(UTC) - before).total_seconds() >= 1


def test_a_pause_ends_when_the_source_is_closed(served: StaticIndex, index: Index) -> None:
    served.fail("demo/", Fault(429, (("Retry-After", "30"),)))
    index.close()

    assert failure(index) == "the response is 429 Too Many Requests (attempts: 1)"


def test_an_unreachable_index_is_reported_without_its_address(index: Index) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}/x.whl?signature"

    with pytest.raises(SourceError) as error:
        index.receive(SourceFile("x.whl", address), Received())
    assert error.value.sentence == "the connection failed (attempts: 4)"


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "http:///simple/", "http://[::1/", "http://host:port/", "simple"]
)
def test_an_invalid_address_of_an_index_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match=r"^The source is not an? "):
        Index(url)


def test_a_file_at_an_unusable_address_is_reported(index: Index) -> None:
    with pytest.raises(SourceError) as error:
        index.receive(SourceFile("demo-1.0.tar.gz", "ftp://files.test/demo-1.0.tar.gz?secret"), Received())

    assert error.value.sentence == "cannot be requested (InvalidSchema)"


def received(index: Index, location: str) -> bytes:
    sink = Received()
    index.receive(SourceFile(WHEEL.filename, location), sink)
    return sink.content


def test_a_file_is_received_as_it_is_sent(served: StaticIndex, index: Index) -> None:
    body = gzip.compress(b"x" * 1000)
    served.put("/files/demo-1.0.tar.gz", body, FILE)

    assert received(index, f"http://{served.host}/files/demo-1.0.tar.gz") == body
    (request,) = served.asked_for("/files/demo-1.0.tar.gz")
    assert request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("understands_ranges", [True, False], ids=["the rest is sent", "everything is sent again"])
def test_an_interrupted_transfer_is_resumed(served: StaticIndex, index: Index, understands_ranges: bool) -> None:
    served.understands_ranges = understands_ranges
    served.put(WHEEL_PATH, WHEEL.content, FILE)
    served.fail(WHEEL_PATH, 200, 503, 200)

    assert received(index, f"http://{served.host}{WHEEL_PATH}") == WHEEL.content
    ranges = [request.headers.get("Range") for request in served.asked_for(WHEEL_PATH)]
    half = len(WHEEL.content) // 2
    assert ranges[:3] == [None, f"bytes={half}-", f"bytes={half}-"]
    assert len(ranges) == 4


def test_another_part_than_the_rest_is_not_taken(served: StaticIndex, index: Index) -> None:
    served.put(WHEEL_PATH, WHEEL.content, FILE)
    served.fail(WHEEL_PATH, Fault(206, (("Content-Range", "bytes 0-9/10"),)))
    sink = Received()
    sink.write(b"abc")

    with pytest.raises(SourceError, match="another range than requested"):
        index.receive(SourceFile(WHEEL.filename, f"http://{served.host}{WHEEL_PATH}"), sink)
    assert sink.content == b"abc"


@pytest.mark.parametrize(
    ("user_info", "options", "credentials"),
    [
        ("", {"username": "ada", "password": "p:ß€"}, ("ada", "p:ß€")),
        ("", {"password": "secret"}, ("__token__", "secret")),
        ("ada:p%3A%2F@", {}, ("ada", "p:/")),
        ("secret@", {}, ("secret", "")),
        ("ada@", {"password": "secret"}, ("ada", "secret")),
    ],
    ids=["options", "password alone", "in the address", "user name alone", "both"],
)
def test_credentials_are_sent_with_the_first_request(
    served: StaticIndex, user_info: str, options: dict[str, str], credentials: tuple[str, str]
) -> None:
    served.offer(WHEEL)
    served.credentials = credentials
    index = Index(f"http://{user_info}{served.host}/simple", **options)

    (file,) = index.page(DEMO).files

    assert received(index, file.location) == WHEEL.content
    assert len(served.requests) == 2
    assert index.address == served.url
    index.close()


def test_credentials_are_found_in_netrc(served: StaticIndex, index: Index, netrc: Path) -> None:
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    served.offer(WHEEL)
    served.credentials = ("ada", "secret")

    assert len(index.page(DEMO).files) == 1


def test_credentials_go_to_no_other_port_or_host(served: StaticIndex) -> None:
    other = StaticIndex()
    other.put(WHEEL_PATH, WHEEL.content, FILE)
    index = Index(served.url, username="ada", password="secret")
    served.fail("demo/", Fault(302, (("Location", f"http://{other.host}{WHEEL_PATH}"),)))
    served.put("/redirected.whl", b"", FILE)
    served.fail(
        "/redirected.whl", Fault(302, (("Location", f"http://localhost:{other.host.partition(':')[2]}{WHEEL_PATH}"),))
    )

    received(index, f"http://{other.host}{WHEEL_PATH}")  # a link on a page
    received(index, f"{served.url}demo/")  # a redirect to another port
    received(index, f"http://{served.host}/redirected.whl")  # and to another host

    assert len(other.requests) == 3
    assert ["Authorization" in request.headers for request in other.requests] == [False, False, False]
    assert all("Authorization" in request.headers for request in served.requests)
    index.close()
    other.close()
