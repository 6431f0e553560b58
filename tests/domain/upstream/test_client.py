"""Pages and files of an upstream index that is slow, wrong, or hostile."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime

import pytest
from packaging.utils import NormalizedName

from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.upstream import client
from registry.domain.upstream.client import IndexFailed, PublicIndex
from registry.domain.upstream.protocol import WrongPart
from registry.errors import UpstreamFailed
from tests.builders import build_sdist, build_wheel
from tests.fakes.index import JSON, Fault, StaticIndex

DEMO = NormalizedName("demo")
WHEEL, SDIST = build_wheel(), build_sdist()
UPLOADED_AT = datetime(2024, 2, 3, 4, 5, 6, 789000, UTC)
DIGEST = "0" * 64


@pytest.fixture
def index(served: StaticIndex) -> Iterator[PublicIndex]:
    index = PublicIndex(served.url, username="reader", password="secret", file_hosts=["files.test"])
    yield index
    index.close()


def page(index: PublicIndex, name: str = "demo") -> SimplePage:
    found = index.page(NormalizedName(name)).page
    assert found is not None
    return found


def file_of(filename: str = "demo-1.0.tar.gz", **keys: object) -> dict[str, object]:
    return {"filename": filename, "url": f"/files/{filename}", "hashes": {"sha256": DIGEST}} | keys


def put(served: StaticIndex, *files: dict[str, object], **keys: object) -> None:
    document = {"meta": {"api-version": "1.1"}, "name": "demo", "files": files} | keys
    served.put("demo/", json.dumps(document), JSON)


def test_a_page_holds_all_that_the_index_states(served: StaticIndex, index: PublicIndex) -> None:
    served.publish(
        WHEEL, requires_python=">=3.9", yanked="Loses data", core_metadata={"sha256": DIGEST},
        provenance="https://files.test/provenance",
    )  # fmt: skip

    assert page(index) == SimplePage(
        "demo", "demo", ("1.0",),
        (
            SimpleFile(
                WHEEL.filename, f"http://{served.host}/files/{WHEEL.filename}", WHEEL.sha256, len(WHEEL.content),
                ">=3.9", UPLOADED_AT, DIGEST, "Loses data", "https://files.test/provenance",
            ),
        ),
        "active", "",
    )  # fmt: skip


def test_an_index_that_has_only_html_states_less(served: StaticIndex, index: PublicIndex) -> None:
    served.offer(SDIST, attributes='data-requires-python="&gt;=3.9" data-core-metadata="true" data-yanked')

    (file,) = page(index).files

    assert (file.filename, file.sha256, file.requires_python) == (SDIST.filename, SDIST.sha256, ">=3.9")
    assert (file.size_bytes, file.uploaded_at, file.core_metadata_sha256) == (None, None, None)
    assert file.yanked_reason == ""


LEFT_OUT = {
    "no digest": {"hashes": {"md5": "0" * 32}},
    "malformed digest": {"hashes": {"sha256": "0" * 63 + "g"}},
    "name of another package": {"filename": "other-1.0.tar.gz"},
    "no valid version": {"filename": "demo-new.tar.gz"},
    "two suffixes": {"filename": "demo-1.0.zip.tar.gz"},
    "no distribution": {"filename": "demo-1.0.exe"},
    "a path": {"filename": "../demo-1.0.tar.gz"},
    "another host": {"url": "https://elsewhere.test/demo-1.0.tar.gz"},
    "another port": {"url": "https://files.test:8443/demo-1.0.tar.gz"},
    "another scheme": {"url": "file:///etc/passwd"},
    "credentials": {"url": "https://user:password@files.test/demo-1.0.tar.gz"},
    "two hosts": {"url": "https://files.test\\@elsewhere.test/demo-1.0.tar.gz"},
    "control characters": {"url": "https://files.test/demo\r\n-1.0.tar.gz"},
}


@pytest.mark.parametrize("keys", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_file_that_cannot_be_offered_is_left_out(
    served: StaticIndex, index: PublicIndex, keys: dict[str, object]
) -> None:
    put(served, file_of() | keys, file_of("demo-2.0.tar.gz", url="https://files.test/demo-2.0.tar.gz"))

    assert [file.filename for file in page(index).files] == ["demo-2.0.tar.gz"]


def test_a_quarantined_name_has_no_files_whatever_its_page_lists(served: StaticIndex, index: PublicIndex) -> None:
    put(served, file_of(), **{"project-status": {"status": "quarantined", "reason": "Malware"}})

    found = page(index)

    assert (found.files, found.status, found.status_reason) == ((), "quarantined", "Malware")


def test_what_cannot_be_true_of_a_file_is_not_stated(served: StaticIndex, index: PublicIndex) -> None:
    lies = {
        "size": -1, "upload-time": "soon", "requires-python": 3, "yanked": {}, "provenance": "javascript:alert(1)",
        "core-metadata": {"sha256": "short"},
    }  # fmt: skip
    put(served, file_of(**lies), file_of(hashes={"sha256": "1" * 64}), versions=["1.0", "new", "2.0"])

    found = page(index)

    assert found.files == (
        SimpleFile(
            "demo-1.0.tar.gz", f"http://{served.host}/files/demo-1.0.tar.gz", DIGEST, None, "3", None, None, None
        ),
    )
    assert found.versions == ("1.0", "2.0")


def test_an_unchanged_page_is_not_sent_again_and_an_absent_one_is_none(served: StaticIndex, index: PublicIndex) -> None:
    served.publish(WHEEL, etag='"first"')
    connections = served.connections

    assert index.page(DEMO).etag == '"first"'
    assert index.page(DEMO, '"first"').is_unchanged
    assert index.page(NormalizedName("other")) == client.Answer(None)
    assert index.page(DEMO, '"other"').page is not None
    assert served.connections == connections + 1
    assert [request.headers.get("If-None-Match") for request in served.asked_for("demo/")][:2] == [None, '"first"']


def bomb(served: StaticIndex, _monkeypatch: pytest.MonkeyPatch) -> None:
    served.put("demo/", gzip.compress(bytes(client.MAX_PAGE_BYTES + 1)), JSON, Content_Encoding="gzip")


def endless(served: StaticIndex, _monkeypatch: pytest.MonkeyPatch) -> None:
    served.put("demo/", gzip.compress(b"<a>") + bytes(1), "text/html", Content_Encoding="gzip")


def too_many(served: StaticIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_FILES", 1)
    served.publish(WHEEL, SDIST)


def elsewhere(served: StaticIndex, _monkeypatch: pytest.MonkeyPatch) -> None:
    served.fail("demo/", Fault(302, (("Location", "http://169.254.169.254/latest/meta-data/"),)))


def malformed(served: StaticIndex, _monkeypatch: pytest.MonkeyPatch) -> None:
    served.put("demo/", '{"meta"', JSON)


def cut(served: StaticIndex, _monkeypatch: pytest.MonkeyPatch) -> None:
    served.publish(WHEEL)
    served.fail("demo/", 200)


def limited(served: StaticIndex, _monkeypatch: pytest.MonkeyPatch) -> None:
    served.fail("demo/", Fault(429, (("Retry-After", "77"),)))


def broken(served: StaticIndex, _monkeypatch: pytest.MonkeyPatch) -> None:
    served.fail("demo/", 500)


@pytest.mark.parametrize(
    ("act", "pause_seconds"),
    [(bomb, 0), (endless, 0), (too_many, 0), (elsewhere, 0), (malformed, 0), (cut, 10), (limited, 77), (broken, 10)],
)
def test_a_page_that_cannot_be_used_is_a_failure_after_one_request(
    served: StaticIndex, index: PublicIndex, monkeypatch: pytest.MonkeyPatch, act, pause_seconds: int
) -> None:
    act(served, monkeypatch)

    with pytest.raises(IndexFailed) as error:
        index.page(DEMO)

    assert error.value.pause_seconds == pause_seconds
    assert len(served.requests) == 1


@pytest.mark.parametrize("slowness", [{"seconds": 1}, {"seconds": 0, "per_piece": 0.05}], ids=["first byte", "drip"])
def test_a_slow_index_is_not_waited_for(
    served: StaticIndex, monkeypatch: pytest.MonkeyPatch, slowness: dict[str, float]
) -> None:
    monkeypatch.setattr(client, "FIRST_BYTE_SECONDS", 0.3)
    monkeypatch.setattr(client, "PAGE_SECONDS", 0.3)
    served.publish(WHEEL)
    served.delay("demo/", **slowness)
    index = PublicIndex(served.url)

    with pytest.raises(IndexFailed):
        index.page(DEMO)


def test_a_head_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_BYTE_SECONDS", 0.3)

    def drip() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for _ in range(100):
                connection.sendall(b"X: y\r\n")
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        began_at = time.monotonic()
        with pytest.raises(IndexFailed):
            PublicIndex(f"http://127.0.0.1:{server.getsockname()[1]}/simple/").page(DEMO)
        took = time.monotonic() - began_at
        thread.join()

    assert took < 2  # of the five seconds that the head takes


def test_a_file_is_received_from_where_it_broke_off(served: StaticIndex, index: PublicIndex) -> None:
    served.publish(WHEEL)
    url = page(index).files[0].url

    with index.content(url) as whole:
        assert (whole.start, whole.size_bytes, b"".join(whole.blocks)) == (0, len(WHEEL.content), WHEEL.content)
    with index.content(url, start=100) as rest:
        assert (rest.start, rest.size_bytes, b"".join(rest.blocks)) == (100, len(WHEEL.content), WHEEL.content[100:])
    with pytest.raises(UpstreamFailed), index.content(f"http://{served.host}/absent"):
        pass
    with pytest.raises(UpstreamFailed), index.content("https://elsewhere.test/demo-1.0.tar.gz"):
        pass


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("206 Partial Content", "Content-Range: bytes 0-4/10"),
        ("206 Partial Content", "Content-Range: bytes 6-9/10"),
        ("206 Partial Content", "X: y"),
        ("416 Range Not Satisfiable", "Content-Range: bytes */10"),
    ],
    ids=["from the beginning", "behind", "without a range", "not satisfiable"],
)
def test_another_part_than_asked_for_is_distinguished_from_other_failures(status: str, headers: str) -> None:
    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(f"HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: 5\r\n\r\n12345".encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        thread = threading.Thread(target=answer)
        thread.start()
        with closing(PublicIndex(f"{address}/simple/")) as index, pytest.raises(WrongPart):
            index.content(f"{address}/files/demo-1.0.tar.gz", start=5).__enter__()
        thread.join()


def test_a_file_is_passed_on_while_it_arrives(served: StaticIndex, index: PublicIndex) -> None:
    served.offer(SDIST)
    path = f"/files/{SDIST.filename}"
    rest = served.hold(path)

    with index.content(f"http://{served.host}{path}") as incoming:
        first = next(incoming.blocks)
        rest.set()
        assert first + b"".join(incoming.blocks) == SDIST.content
    assert 0 < len(first) <= len(SDIST.content) // 2


def test_credentials_go_only_to_the_index_itself(served: StaticIndex) -> None:
    files = StaticIndex()
    files.publish(SDIST)
    index = PublicIndex(served.url, username="reader", password="secret", file_hosts=[files.host])
    served.credentials = ("reader", "secret")
    served.publish(SDIST, url=f"http://{files.host}/files/{SDIST.filename}")

    with index.content(page(index).files[0].url) as content:
        assert b"".join(content.blocks) == SDIST.content

    assert [request.headers.get("Authorization") for request in files.requests] == [None]
    index.close()
    files.close()


def test_a_public_index_leads_to_no_private_address(served: StaticIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the file host is public when it is looked up, and leads to this machine when it is connected to."""
    served.publish(WHEEL)
    index = PublicIndex("http://index.test/simple", file_hosts=[served.host])

    def looked_up(host: str, port: int | None, *arguments: object, **options: object):
        address = "93.184.215.14" if host == "index.test" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)

    with pytest.raises(UpstreamFailed), index.content(f"http://{served.host}/files/{WHEEL.filename}"):
        pass

    assert served.requests == []
    index.close()
