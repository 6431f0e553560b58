"""Object stores: the promises of stores behind a network. S3 represents all; the library handles their differences."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests

from registry.errors import ConfigurationError, Unavailable
from registry.storage import ObjectDamaged, ObjectMissing, cloud, object_key, open_storage
from registry.storage.cloud import ObjectStorage
from tests import processes
from tests.fakes.network import FaultyLine
from tests.fakes.s3 import S3Server

CONTENT = b"the bytes of a wheel, for all the store knows"
KEY = object_key(hashlib.sha256(CONTENT).hexdigest())
LARGE = Random(1).randbytes(20 << 20)  # in three parts
LARGE_KEY = object_key(hashlib.sha256(LARGE).hexdigest())
OpenStore = Callable[..., ObjectStorage]


@pytest.fixture
def open_store(s3: S3Server, tmp_path: Path) -> OpenStore:
    """Opens a store at a new place, or at the address named, with other settings than the usual ones."""

    def open_store(address: str | None = None, **settings: object) -> ObjectStorage:
        store = open_storage(address or s3.address(), {**s3.settings, "INSTANCE_PATH": tmp_path, **settings})
        assert isinstance(store, ObjectStorage)
        return store

    return open_store


@pytest.fixture
def store(open_store: OpenStore) -> ObjectStorage:
    return open_store()


def put(store: ObjectStorage, content: bytes = CONTENT, filename: str = "", key: str | None = None) -> str:
    key = key or object_key(hashlib.sha256(content).hexdigest())
    with closing(store.stage()) as staged:
        staged.write(content)
        staged.filename = filename
        store.put(key, staged)
    return key


def read(store: ObjectStorage, key: str) -> bytes:
    with store.open(key) as file:
        return file.read()


def test_a_large_file_is_sent_in_parts_and_read_from_any_position(store: ObjectStorage) -> None:
    key = put(store, LARGE)

    with store.open(key, 9 << 20) as file:
        assert file.read(1000) == LARGE[9 << 20 :][:1000]
        file.seek(-10, 2)
        assert file.read() == LARGE[-10:]
    assert read(store, key) == LARGE


def test_stores_below_other_prefixes_of_the_bucket_know_nothing_of_each_other(
    store: ObjectStorage, open_store: OpenStore
) -> None:
    put(store)

    assert not open_store().exists(KEY)


def test_received_content_is_staged_in_the_instance_folder(store: ObjectStorage, tmp_path: Path) -> None:
    with closing(store.stage()) as staged:
        staged.write(CONTENT)
        opened = os.readlink(f"/proc/self/fd/{staged.file.fileno()}")  # type: ignore[attr-defined]

    assert Path(opened).parent == tmp_path / "staging"  # with or without a name there
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_file_staged_by_another_kind_of_store_is_refused(store: ObjectStorage) -> None:
    with pytest.raises(TypeError, match="another store"):
        store.put(KEY, object())  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["../other", "/other", "sha256/../../other", "..", "a\x00b", "a b", "A"])
def test_a_key_cannot_leave_the_prefix(store: ObjectStorage, key: str) -> None:
    for act in (store.open, store.exists, store.delete, store.link, lambda key: put(store, key=key)):
        with pytest.raises(ObjectMissing):
            act(key)


def test_a_link_answers_anyone_with_the_file_as_the_registry_would(store: ObjectStorage) -> None:
    put(store, filename="demo-1.0+local-py3-none-any.whl")

    response = requests.get(store.link(KEY), timeout=10)

    assert response.content == CONTENT
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"] == 'attachment; filename="demo-1.0+local-py3-none-any.whl"'
    assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"


def test_the_file_name_is_kept_with_a_file_sent_in_parts(store: ObjectStorage) -> None:
    key = put(store, LARGE, "large-1.0.tar.gz")

    response = requests.get(store.link(key), headers={"Range": "bytes=5-9"}, timeout=10)

    assert (response.status_code, response.content) == (206, LARGE[5:10])
    assert response.headers["Content-Disposition"] == 'attachment; filename="large-1.0.tar.gz"'


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_link_is_for_reading_alone(store: ObjectStorage, method: str) -> None:
    put(store)

    response = requests.request(method, store.link(KEY), data=b"other bytes", timeout=10)

    assert response.status_code == 403
    assert read(store, KEY) == CONTENT


def test_a_link_is_for_one_object_alone(store: ObjectStorage) -> None:
    put(store)
    other = put(store, b"another file")

    response = requests.get(store.link(KEY).replace(KEY, other), timeout=10)

    assert response.status_code == 403


def test_a_link_ends(store: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    monkeypatch.setattr(cloud, "LINK_SECONDS", 1)
    link = store.link(KEY)

    assert requests.get(link, timeout=10).status_code == 200
    time.sleep(2.1)
    assert requests.get(link, timeout=10).status_code == 403


@pytest.mark.parametrize(("content", "key"), [(CONTENT, KEY), (LARGE, LARGE_KEY)], ids=["whole", "in parts"])
def test_content_that_changes_during_an_upload_is_not_stored(
    s3: S3Server, open_store: OpenStore, patience: None, content: bytes, key: str
) -> None:
    with s3.line() as (line, settings):
        store = open_store(**settings)
        line.garbled = (content[20:30], b"0123456789")

        with pytest.raises(Unavailable):
            put(store, content)

        line.heal()
        assert not store.exists(key)


def test_an_object_with_other_bytes_is_noticed_before_its_end(store: ObjectStorage) -> None:
    key = put(store, LARGE[:-1] + b"?", key=LARGE_KEY)
    received: list[bytes] = []

    with store.open(key) as file, pytest.raises(ObjectDamaged, match="has different content"):
        received.extend(iter(lambda: file.read(1 << 18), b""))

    assert LARGE.startswith(b"".join(received))
    assert 0 < len(b"".join(received)) < len(LARGE)


def test_a_small_object_with_other_bytes_gives_none_of_them(store: ObjectStorage) -> None:
    put(store, b"other bytes", key=KEY)

    with store.open(KEY) as file, pytest.raises(ObjectDamaged):
        file.read(1)


def test_a_download_that_breaks_off_goes_on_where_it_was(s3: S3Server, open_store: OpenStore) -> None:
    with s3.line() as (line, settings):
        store = open_store(**settings)
        put(store, LARGE)
        line.cut_after_bytes = 12 << 20

        assert read(store, LARGE_KEY) == LARGE
        assert line.cut_after_bytes is None


@pytest.fixture
def line(s3: S3Server) -> Iterator[tuple[FaultyLine, dict[str, str]]]:
    with s3.line() as opened:
        yield opened


ACTS: dict[str, Callable[[ObjectStorage], object]] = {
    "put": lambda store: put(store, b"new bytes"),
    "put in parts": lambda store: put(store, LARGE),
    "open": lambda store: store.open(KEY),
    "exists": lambda store: store.exists(KEY),
    "delete": lambda store: store.delete(KEY),
    "list": lambda store: list(store.objects()),
    "check": lambda store: store.check(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=list(ACTS))
def test_a_store_that_refuses_connections_fails_at_once_and_is_used_again_at_once(
    line: tuple[FaultyLine, dict[str, str]],
    patience: None,
    open_store: OpenStore,
    act: Callable[[ObjectStorage], object],
) -> None:
    network, settings = line
    store = open_store(**settings)
    network.is_cut = True
    began = time.monotonic()

    with pytest.raises(Unavailable, match="The package store is not responding"):
        act(store)

    assert time.monotonic() - began < cloud.CONNECT_SECONDS
    network.heal()
    assert not store.exists(KEY)


def test_after_a_timeout_requests_fail_without_being_sent(
    line: tuple[FaultyLine, dict[str, str]], impatience: None, open_store: OpenStore
) -> None:
    network, settings = line
    store = open_store(**settings)
    put(store)
    network.is_silent = True
    began = time.monotonic()
    with pytest.raises(Unavailable):
        store.exists(KEY)
    waited, sent = time.monotonic() - began, network.received_pieces

    for _ in range(2):
        with pytest.raises(Unavailable):
            store.exists(KEY)

    assert waited > cloud.SLOW_SECONDS
    assert network.received_pieces == sent > 0


def test_a_store_that_answers_again_is_used_after_the_pause(
    line: tuple[FaultyLine, dict[str, str]],
    impatience: None,
    object_store_seconds: Callable[..., None],
    open_store: OpenStore,
) -> None:
    network, settings = line
    store = open_store(**settings)
    put(store)
    object_store_seconds(PAUSE=3)
    network.is_silent = True
    with pytest.raises(Unavailable):
        store.exists(KEY)
    paused = time.monotonic()
    network.heal()

    with pytest.raises(Unavailable):
        store.exists(KEY)
    time.sleep(max(0, paused + cloud.PAUSE_SECONDS - time.monotonic()))

    assert read(store, KEY) == CONTENT


def test_after_the_pause_a_single_request_probes_a_silent_store(
    line: tuple[FaultyLine, dict[str, str]],
    impatience: None,
    object_store_seconds: Callable[..., None],
    open_store: OpenStore,
) -> None:
    network, settings = line
    store = open_store(**settings)
    network.is_silent = True
    object_store_seconds(PAUSE=0)
    with pytest.raises(Unavailable):
        store.exists(KEY)
    object_store_seconds(PAUSE=600)
    sent = [network.received_pieces]

    for _ in range(2):
        with pytest.raises(Unavailable):
            store.exists(KEY)
        sent.append(network.received_pieces)

    assert sent[0] < sent[1] == sent[2]


def test_a_check_is_sent_even_during_the_pause(
    line: tuple[FaultyLine, dict[str, str]], impatience: None, open_store: OpenStore
) -> None:
    network, settings = line
    store = open_store(**settings)
    network.is_silent = True
    with pytest.raises(Unavailable):
        store.check()
    network.heal()

    store.check()

    assert not store.exists(KEY)


def test_a_file_whose_content_stops_is_reported(
    line: tuple[FaultyLine, dict[str, str]], impatience: None, open_store: OpenStore
) -> None:
    network, settings = line
    store = open_store(**settings)
    put(store, LARGE)

    with store.open(LARGE_KEY) as file:
        file.read(1)
        network.is_silent = True
        with pytest.raises(Unavailable):
            file.read()


def test_a_wrong_secret_is_reported(open_store: OpenStore, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(S3_SECRET_ACCESS_KEY="wrong")

    with pytest.raises(Unavailable, match="The package store refuses the registry's requests"):
        put(store)

    assert "SignatureDoesNotMatch" in caplog.text
    assert "wrong" not in caplog.text


def test_a_missing_bucket_is_reported(open_store: OpenStore, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store("s3://nowhere/at-all")

    for act in (store.check, lambda: put(store), lambda: store.open(KEY), lambda: list(store.objects())):
        with pytest.raises(Unavailable, match="has no such bucket"):
            act()

    assert caplog.text.count("NoSuchBucket") == 4


def test_the_variables_of_aws_count_where_the_registry_has_no_setting(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.settings.items():
        monkeypatch.setenv({"S3_ENDPOINT": "AWS_ENDPOINT_URL"}.get(name, name.replace("S3_", "AWS_")), value)
    unset = dict.fromkeys(s3.settings)

    store = open_storage(s3.address(), {**unset, "INSTANCE_PATH": tmp_path})

    store.check()


@pytest.mark.parametrize(
    ("address", "variables", "endpoint"),
    [
        (
            "az://container/prefix",
            {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"},
            "https://account.blob.core.windows.net/container/prefix/sha256/",
        ),
        (
            "s3://bucket/prefix",
            {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-central-1"},
            "https://s3.eu-central-1.amazonaws.com/bucket/prefix/sha256/",
        ),
    ],
    ids=["Azure", "AWS"],
)
def test_links_lead_to_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, variables: dict[str, str], endpoint: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    unset = dict.fromkeys(("S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"))

    store = open_storage(address, {**unset, "INSTANCE_PATH": tmp_path})

    assert (store.link(KEY) or "").startswith(endpoint)


def test_google_cloud_storage_can_be_named(tmp_path: Path) -> None:
    assert open_storage("gs://bucket/prefix", {"INSTANCE_PATH": tmp_path}).is_remote


def test_a_store_without_required_settings_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^STORAGE_URL is 'az://container/prefix', which is not usable: [^\n]*\.$"
    ):
        open_storage("az://container/prefix", {"INSTANCE_PATH": tmp_path})


def test_without_the_extra_its_name_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "registry.storage.cloud")
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigurationError, match=r"requires the extra object-store: pip install"):
        open_storage("s3://bucket/prefix", {"INSTANCE_PATH": tmp_path})


def test_a_staging_folder_that_cannot_be_created_is_reported(open_store: OpenStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="file/staging cannot be created: Not a directory"):
        open_store(INSTANCE_PATH=tmp_path / "file")


def use_in_a_fork(address: str, configuration: dict[str, Any], is_used_before: bool) -> int:
    """Whether a store could be used after a fork: 0 or 3."""
    store = open_storage(address, configuration)
    if is_used_before:
        store.check()
    if os.fork() == 0:
        try:
            store.check()
        except RuntimeError:
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.wait()[1])


@pytest.mark.parametrize(("is_used", "status"), [(False, 0), (True, 3)], ids=["not used", "used"])
def test_a_store_can_be_opened_before_a_fork_but_not_used(
    s3: S3Server, tmp_path: Path, is_used: bool, status: int
) -> None:
    """The library would wait for ever for its threads, which stay in the first process."""
    configuration = s3.settings | {"INSTANCE_PATH": tmp_path}

    done = processes.run(use_in_a_fork, s3.address(), configuration, is_used, timeout=30)

    assert done.returncode == status
