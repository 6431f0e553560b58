"""Files in an object store: through the registry or at a signed address, and while the store is unavailable."""

from __future__ import annotations

from contextlib import closing

import pytest
import requests

from registry import credential_names
from registry.storage import cloud, object_key, open_storage
from tests import factories
from tests.builders import build_sdist, build_wheel, metadata
from tests.clients import links

WHEEL = build_wheel("demo", "1.0")
METADATA = metadata("demo", "1.0")
LARGE = build_wheel("demo", "2.0", size_bytes=3_000_000)


@pytest.fixture
def line(s3, request):
    """The network between registry and store; timeouts are short only where it can be silent."""
    request.getfixturevalue("impatience" if "away" in request.fixturenames else "patience")
    with s3.line() as (line, settings):
        # By another host name than that of the registry, which is localhost.
        line.settings = settings | {"S3_ENDPOINT": f"http://127.0.0.1:{line.port}"}
        yield line


@pytest.fixture
def store(app, s3, line, tmp_path, monkeypatch):
    """The store of the application."""
    store = open_storage(s3.address(), {**line.settings, "INSTANCE_PATH": tmp_path})
    monkeypatch.setitem(app.extensions, "storage", store)
    return store


@pytest.fixture
def redirects(app, monkeypatch):
    monkeypatch.setitem(app.config, "STORAGE_DOWNLOADS", "redirect")


@pytest.fixture
def token(owner):
    return factories.access_token(owner)


@pytest.fixture
def published_project(store, project, twine, token):
    for file in (WHEEL, LARGE):
        assert twine.upload(project, file, token).status_code == 201
    return project


@pytest.mark.parametrize("file", [WHEEL, LARGE], ids=["small", "large"])
def test_a_file_is_given_as_from_a_folder(pip, published_project, token, file):
    response = pip.download(published_project, file, token)

    assert (response.status_code, response.data) == (200, file.content)
    assert response.headers["Content-Length"] == str(len(file.content))
    assert response.headers["ETag"] == f'"{file.sha256}"'


@pytest.mark.parametrize("range_", ["bytes=0-9", "bytes=2000000-2999999", "bytes=-7", "bytes=2500000-"])
def test_a_part_of_a_file_is_given(pip, published_project, token, range_):
    first, _, last = range_.removeprefix("bytes=").partition("-")
    wanted = LARGE.content[int(first) : int(last) + 1 if last else None] if first else LARGE.content[-int(last) :]

    response = pip.download(published_project, LARGE, token, headers={"Range": range_})

    assert (response.status_code, response.data) == (206, wanted)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-20"}], ids=["whole", "part"])
def test_the_core_metadata_is_given(pip, published_project, token, headers):
    response = pip.download(published_project, WHEEL, token, ".metadata", headers=headers)

    assert response.status_code == (206 if headers else 200)
    assert response.data == (METADATA[5:21] if headers else METADATA)


def test_requests_without_content_are_answered_while_the_store_is_unavailable(pip, published_project, token, line):
    line.is_cut = True

    assert pip.download(published_project, LARGE, token, method="HEAD").status_code == 200
    known = pip.download(published_project, LARGE, token, headers={"If-None-Match": f'"{LARGE.sha256}"'})
    assert (known.status_code, known.data) == (304, b"")
    assert pip.download(published_project, LARGE, token, headers={"Range": "bytes=99999999-"}).status_code == 416


def test_a_file_with_other_bytes_is_never_given_whole(pip, published_project, token, store, caplog):
    damaged = LARGE.content[:-1] + b"?"
    staged = store.stage()
    staged.write(damaged)
    store.put(object_key(LARGE.sha256), staged)
    staged.close()

    response = pip.download(published_project, LARGE, token)

    assert damaged.startswith(response.data)
    assert len(response.data) < len(damaged)
    assert "A download was broken off: " in caplog.text


@pytest.mark.parametrize("size_bytes", [0, 1_000_000, len(LARGE.content) + 1])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-1500000"}], ids=["whole", "part"])
def test_nothing_is_given_of_a_file_with_another_size(pip, published_project, token, store, size_bytes, headers):
    with closing(store.stage()) as staged:
        staged.write(LARGE.content.ljust(size_bytes)[:size_bytes])
        store.put(object_key(LARGE.sha256), staged)

    response = pip.download(published_project, LARGE, token, headers=headers)

    assert response.status_code == (503 if headers and not size_bytes else 500)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-20"}], ids=["whole", "part"])
def test_a_client_is_sent_to_the_store(pip, published_project, token, redirects, headers):
    response = pip.download(published_project, WHEEL, token, headers=headers)

    assert (response.status_code, response.data) == (302, b"")
    assert response.headers["Cache-Control"] == "no-store"
    followed = requests.get(response.location, headers=headers, timeout=10)
    assert followed.content == (WHEEL.content[5:21] if headers else WHEEL.content)
    assert followed.headers["Content-Disposition"] == f'attachment; filename="{WHEEL.filename}"'


def test_an_address_is_given_once(pip, published_project, token, redirects, monkeypatch):
    monkeypatch.setattr(cloud, "LINK_SECONDS", 1)
    first = pip.download(published_project, WHEEL, token).location
    monkeypatch.setattr(cloud, "LINK_SECONDS", 600)

    second = pip.download(published_project, WHEEL, token).location

    assert "X-Amz-Expires=1&" in first
    assert "X-Amz-Expires=600&" in second


def test_other_requests_than_downloads_are_answered_here(pip, published_project, token, redirects):
    head = pip.download(published_project, WHEEL, token, method="HEAD")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(WHEEL.content)))
    assert pip.download(published_project, WHEEL, token, ".metadata").data == METADATA
    assert (
        pip.download(published_project, WHEEL, token, headers={"If-None-Match": f'"{WHEEL.sha256}"'}).status_code == 304
    )
    assert pip.download(published_project, WHEEL, token, headers={"Range": "bytes=99999999-"}).status_code == 416


def test_callers_who_cannot_read_are_not_redirected(pip, published_project, redirects):
    assert pip.download(published_project, WHEEL).status_code == 401
    assert pip.download(published_project, WHEEL, factories.access_token(factories.user("eve"))).status_code == 404


@pytest.mark.parametrize("header", credential_names.TOKEN_HEADERS)
def test_a_token_in_a_header_of_its_own_is_not_sent_along(pip, published_project, token, redirects, header):
    response = pip.download(published_project, WHEEL, token, headers={header: token})

    assert (response.status_code, response.data) == (200, WHEEL.content)


def test_clients_are_not_redirected_to_another_port_of_the_registrys_host(
    pip, published_project, token, redirects, caplog
):
    """Old pips send their credentials there."""
    response = pip.download(published_project, WHEEL, token, base_url="http://127.0.0.1:8080")

    assert (response.status_code, response.data) == (200, WHEEL.content)
    assert "redirects are not safe there" in caplog.text


def test_a_download_at_the_store_is_counted_and_a_part_is_not(app, pip, published_project, token, redirects, rest):
    for file, headers in ((WHEEL, {}), (LARGE, {"Range": "bytes=0-9"})):
        assert pip.download(published_project, file, token, headers=headers).status_code == 302
    app.extensions["downloads"].flush()

    packages = rest.get(f"/projects/{published_project.id}/packages", token).json
    assert {one["version"] for one in packages if one["last_downloaded_at"]} == {"1.0"}


@pytest.fixture(params=["refuses connections", "is silent"])
def away(request, published_project, line):
    if request.param == "is silent":
        line.is_silent = True
    else:
        line.is_cut = True


def test_downloads_and_uploads_get_503_and_a_time_to_retry(away, pip, twine, published_project, token):
    answers = [
        pip.download(published_project, LARGE, token),
        pip.download(published_project, WHEEL, token, ".metadata"),
        twine.upload(published_project, build_sdist("demo", "3.0"), token),
    ]

    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json["message"] == "503 Service Unavailable - The package store is not responding."


def test_an_upload_that_got_503_leaves_nothing_and_can_be_repeated(
    pip, twine, published_project, token, line, store, tmp_path
):
    file = build_sdist("demo", "3.0")
    line.is_cut = True
    assert twine.upload(published_project, file, token).status_code == 503
    assert list((tmp_path / "staging").iterdir()) == []
    line.heal()

    assert twine.upload(published_project, file, token).status_code == 201
    assert pip.download(published_project, file, token).data == file.content


def test_indexes_are_served(away, pip, published_project, token):
    assert pip.index(published_project, token).status_code == 200
    assert [link.text for link in links(pip.simple_page(published_project, "demo", token).text)] == [
        WHEEL.filename,
        LARGE.filename,
    ]


def test_the_page_of_a_package_is_shown_without_its_readme(away, published_project, browser_of, owner, rest, token):
    package = rest.get(f"/projects/{published_project.id}/packages", token).json[0]

    assert browser_of(owner).get(f"/{published_project.full_path}/-/packages/{package['id']}").status_code == 200


def test_the_registry_is_alive_but_not_ready(away, client):
    response = client.get("/-/readiness")

    assert response.status_code == 503
    assert response.json["storage_check"] == [{"status": "failed", "message": "The package store is not responding."}]
    assert client.get("/-/liveness").status_code == 200


def test_a_download_that_gets_no_more_from_the_store_ends_short(pip, published_project, token, line, store, caplog):
    line.cut_after_bytes, line.cuts_for_good = 2_500_000, True

    response = pip.download(published_project, LARGE, token)

    assert LARGE.content.startswith(response.data)
    assert len(response.data) < len(LARGE.content)
