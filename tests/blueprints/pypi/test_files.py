"""Downloads: bytes, headers, ranges, validators, core metadata."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain.packages import downloads
from registry.models import Package, Visibility
from registry.storage import object_key
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import pypi_path

WHEEL = build_wheel(name="demo", version="1.0")
SIZE = len(WHEEL.content)


@pytest.fixture
def token(owner):
    return factories.access_token(owner, "read_api")


def test_a_download_is_the_stored_bytes_with_the_headers_clients_need(pip, published_project, group, token):
    for namespace in (published_project, group):
        response = pip.download(namespace, WHEEL, token)

        assert (response.status_code, response.data) == (200, WHEEL.content)
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["Content-Length"] == str(SIZE)
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["ETag"] == f'"{WHEEL.sha256}"'
        assert "Last-Modified" in response.headers
        assert "Content-Encoding" not in response.headers
        assert response.headers["Cache-Control"] == "max-age=31536000, immutable, private"
        assert response.headers["Content-Disposition"] == (
            f"attachment; filename=\"{WHEEL.filename}\"; filename*=UTF-8''{WHEEL.filename}"
        )


@pytest.mark.parametrize(
    ("allowed", "anonymous"), [(False, "max-age=31536000, immutable, private"), (True, "max-age=86400, public")]
)
def test_a_shared_cache_keeps_files_of_public_projects_only_where_that_is_allowed(
    app, pip, published_project, token, monkeypatch, allowed, anonymous
):
    published_project.visibility = published_project.parent.visibility = Visibility.PUBLIC
    db.session.commit()
    monkeypatch.setitem(app.config, "SHARED_CACHES", allowed)

    seen = [pip.download(published_project, WHEEL, by).headers["Cache-Control"] for by in (None, None, token)]

    assert seen == [anonymous, anonymous, "max-age=31536000, immutable, private"], "the second one from the cache"


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-0"}], ids=["whole", "part"])
@pytest.mark.parametrize("size_bytes", [0, SIZE - 1, SIZE + 1])
def test_nothing_is_given_of_a_file_with_another_size(pip, published_project, token, storage, size_bytes, headers):
    (storage.root / object_key(WHEEL.sha256)).write_bytes(WHEEL.content.ljust(size_bytes)[:size_bytes])

    response = pip.download(published_project, WHEEL, token, headers=headers)

    assert response.status_code == 500


def test_head_has_the_headers_of_get(pip, published_project, token):
    got, head = (pip.download(published_project, WHEEL, token, method=method) for method in ("GET", "HEAD"))

    assert head.data == b""
    skipped = {"X-Request-Id", "Date"}
    assert {k: v for k, v in head.headers if k not in skipped} == {k: v for k, v in got.headers if k not in skipped}


@pytest.mark.parametrize(
    ("range_", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-9", 0, 9),
        ("bytes=10-", 10, SIZE - 1),
        ("bytes=-7", SIZE - 7, SIZE - 1),
        (f"bytes=5-{SIZE * 2}", 5, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
    ],
)
def test_one_range_is_served_exactly(pip, published_project, token, range_, first, last):
    response = pip.download(published_project, WHEEL, token, headers={"Range": range_})

    assert response.status_code == 206
    assert response.data == WHEEL.content[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert response.headers["Content-Length"] == str(last - first + 1)
    assert response.headers["ETag"] == f'"{WHEEL.sha256}"'


@pytest.mark.parametrize("range_", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}"])
def test_a_range_beyond_the_end_is_416(pip, published_project, token, range_):
    response = pip.download(published_project, WHEEL, token, headers={"Range": range_})

    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "range_",
    ["bytes=0-1,5-6", "rubbish", "bytes=", "bytes=x-y", "lines=0-5", "bytes=5-2", "bytes=-", "bytes=-0", "\x01"],
)
def test_several_or_invalid_ranges_get_the_whole(pip, published_project, token, range_):
    response = pip.download(published_project, WHEEL, token, headers={"Range": range_})

    assert response.status_code in (200, 416)
    assert response.status_code == 416 or response.data == WHEEL.content


def test_a_broken_download_is_resumed_only_if_the_file_is_the_same(pip, published_project, token):
    resume = {"Range": "bytes=10-"}
    last_modified = pip.download(published_project, WHEEL, token).headers["Last-Modified"]

    for validator in (f'"{WHEEL.sha256}"', last_modified):
        assert (
            pip.download(published_project, WHEEL, token, headers={**resume, "If-Range": validator}).status_code == 206
        )
    for validator in ('"other"', f'W/"{WHEEL.sha256}"', "Mon, 01 Jan 2001 00:00:00 GMT"):
        response = pip.download(published_project, WHEEL, token, headers={**resume, "If-Range": validator})
        assert (response.status_code, response.data) == (200, WHEEL.content)


def test_a_known_file_is_not_sent_again(pip, published_project, token):
    response = pip.download(published_project, WHEEL, token, headers={"If-None-Match": f'"{WHEEL.sha256}"'})

    assert (response.status_code, response.data) == (304, b"")


def test_the_core_metadata_is_served_byte_for_byte(pip, published_project, group, token):
    page = pip.simple_page(published_project, "demo", token, accept="application/vnd.pypi.simple.v1+json").json

    for namespace in (published_project, group):
        response = pip.download(namespace, WHEEL, token, suffix=".metadata")

        assert response.status_code == 200
        assert response.data in WHEEL.content or response.data.startswith(b"Metadata-Version:")
        assert response.headers["ETag"].strip('"') == page["files"][0]["core-metadata"]["sha256"]


def test_files_that_are_not_announced_are_not_served(pip, twine, project, owner, token):
    sdist = build_sdist(name="demo", version="2.0", metadata_version="2.1")
    twine.upload(project, sdist, factories.access_token(owner))

    page = pip.simple_page(project, "demo", token, accept="application/vnd.pypi.simple.v1+json").json

    assert "core-metadata" not in page["files"][0]
    assert pip.download(project, sdist, token, suffix=".metadata").status_code == 404


@pytest.mark.parametrize(
    ("digest", "filename"),
    [
        (WHEEL.sha256.upper(), WHEEL.filename),
        ("0" * 64, WHEEL.filename),
        (WHEEL.sha256, WHEEL.filename.upper()),
        (WHEEL.sha256, "demo"),
        ("%00", WHEEL.filename),
        (WHEEL.sha256, "x/" + WHEEL.filename),
    ],
    ids=range(6),
)
def test_name_and_digest_must_both_be_exact(pip, published_project, group, token, digest, filename):
    for namespace, message in ((published_project, "404 Package Not Found"), (group, "404 Not found")):
        response = pip.get(f"{pypi_path(namespace)}/files/{digest}/{filename}", token)

        assert (response.status_code, response.json["message"]) == (404, message)


def test_where_a_group_hides_something_an_anonymous_caller_is_asked_to_sign_in(app, pip, twine):
    group = factories.group(visibility=Visibility.PUBLIC)
    private, public = factories.project(parent=group), factories.project(parent=group, visibility=Visibility.PUBLIC)
    twine.upload(private, WHEEL, factories.deploy_token(private))
    shown, absent = build_wheel(name="shown"), build_wheel(name="absent")
    twine.upload(public, shown, factories.deploy_token(public))

    for suffix in ("", ".metadata"):
        assert pip.download(group, shown, suffix=suffix).status_code == 200
        for file in (WHEEL, absent):
            answer = pip.download(group, file, suffix=suffix)

            assert (answer.status_code, "Basic" in answer.headers["WWW-Authenticate"]) == (401, True), file.name
            assert pip.download(group, file, factories.access_token(factories.user()), suffix).status_code == 404


def test_a_purely_public_group_does_not_ask_to_sign_in(app, pip):
    group = factories.group(visibility=Visibility.PUBLIC)
    factories.project(parent=group, visibility=Visibility.PUBLIC)

    assert pip.download(group, WHEEL).status_code == 404


@pytest.mark.parametrize("path", ["../x", "..%2Fx", "..%5Cx", "a/../../x", "a%5C..", "a%00"])
@pytest.mark.parametrize("namespace", ["projects/{id}", "groups/{group_id}/-", "projects/999999", "groups/nobody/-"])
def test_a_name_that_leads_out_of_its_folder_is_400_before_anything_else(pip, published_project, path, namespace):
    ids = {"id": published_project.id, "group_id": published_project.parent_id}
    endpoints = f"/api/v4/{namespace.format(**ids)}/packages/pypi"

    page = pip.get(f"{endpoints}/simple/{path}")
    file = pip.get(f"{endpoints}/files/{WHEEL.sha256}/{path}")

    assert (page.status_code, page.json["error"]) == (400, "package_name should be a valid file path")
    assert (file.status_code, file.json["error"]) == (400, "file_identifier should be a valid file path")


def test_whole_files_count_as_downloads_kept_answers_too(app, pip, published_project, token):
    package = db.session.scalars(select(Package)).one()

    pip.download(published_project, WHEEL, token, method="HEAD")
    pip.download(published_project, WHEEL, token, suffix=".metadata")
    pip.download(published_project, WHEEL, token, headers={"Range": "bytes=-5"})
    app.extensions["downloads"].flush()
    factories.reload(package)
    assert package.last_downloaded_at is None
    for _ in range(3):
        etag = pip.download(published_project, WHEEL, token).headers["ETag"]
    assert pip.download(published_project, WHEEL, token, headers={"If-None-Match": etag}).status_code == 304
    app.extensions["downloads"].flush()

    factories.reload(package)
    assert utcnow() - package.last_downloaded_at < timedelta(minutes=1)
    assert downloads.of_package(package, utcnow().date()).total == 3


def test_a_download_writes_nothing(pip, published_project, token, statements):
    pip.download(published_project, WHEEL, token, headers={"Range": "bytes=0-4"})  # notes the use of the token
    statements.clear()

    for _ in range(2):
        assert pip.download(published_project, WHEEL, token).status_code == 200

    assert [statement for statement in statements if not statement.startswith("SELECT")] == []


def test_a_listed_file_without_bytes_is_an_error_that_is_logged(pip, published_project, token, storage, caplog):
    storage.delete(f"sha256/{WHEEL.sha256[:2]}/{WHEEL.sha256}")

    response = pip.download(published_project, WHEEL, token)

    assert response.status_code == 500
    assert "not in the store" in caplog.text


@pytest.fixture
def opened(storage, monkeypatch):
    """The files that the store was asked to open, in this order."""
    files, opens = [], storage.open

    def noting(*arguments):
        files.append(opens(*arguments))
        return files[-1]

    monkeypatch.setattr(storage, "open", noting)
    return files


@pytest.mark.parametrize(
    ("suffix", "method", "headers", "status"),
    [
        ("", "GET", {}, 200),
        ("", "GET", {"Range": "bytes=3-9"}, 206),
        (".metadata", "GET", {}, 200),
        (".metadata", "HEAD", {}, 200),
        (".metadata", "GET", {"Range": "bytes=3-9"}, 206),
        (".metadata", "GET", {"Range": "bytes=999999-"}, 416),
        (".metadata", "GET", {"If-Match": '"another"'}, 412),
        (".metadata", "GET", {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
    ],
)
def test_a_file_is_closed_after_every_response(pip, published_project, token, opened, suffix, method, headers, status):
    response = pip.download(published_project, WHEEL, token, suffix, method=method, headers=headers)

    assert response.status_code == status
    assert [file.closed for file in opened] == [True]


def test_a_file_is_closed_when_the_client_leaves(app, published_project, token, opened):
    address = f"{pypi_path(published_project)}/files/{WHEEL.sha256}/{WHEEL.filename}"
    response = app.test_client().get(address, headers={"PRIVATE-TOKEN": token, "Range": "bytes=1-"})
    assert [file.closed for file in opened] == [False]

    response.close()

    assert [file.closed for file in opened] == [True]
