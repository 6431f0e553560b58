"""The counters, how several processes share them, and the cost in labels."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import create_environ

from registry import metrics
from registry.environ_keys import EVENT
from registry.metrics import Metrics, Reading
from tests import processes
from tests.processes import Captured


def numbers(exposition: str) -> dict[tuple[str, frozenset], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("method", "status", "downloads"),
    [
        pytest.param("GET", "200 OK", 1, id="whole"),
        pytest.param("GET", "302 FOUND", 1, id="sent to the object store"),
        pytest.param("GET", "206 PARTIAL CONTENT", 0, id="a part"),
        pytest.param("GET", "304 NOT MODIFIED", 0, id="known already"),
        pytest.param("HEAD", "200 OK", 0, id="headers alone"),
        pytest.param("GET", "503 SERVICE UNAVAILABLE", 0, id="failed"),
    ],
)
def test_a_download_is_a_whole_file(method, status, downloads):
    noted: list[int] = []
    counted = Metrics(noted.append)

    counted.count({"REQUEST_METHOD": method, EVENT: metrics.Download(4, 50)}, status, 0.1)

    found = numbers(counted.exposition([]).decode())
    assert found["registry_downloads_total", frozenset()] == downloads
    assert found["registry_download_bytes_total", frozenset()] == 50 * downloads
    assert noted == [4] * downloads


def test_methods_that_clients_make_up_share_one_label():
    counted = Metrics(print)

    for number in range(5):
        counted.count(create_environ("/", method=f"X{number}"), "405 METHOD NOT ALLOWED", 0.1)

    labels = frozenset({"route": "none", "method": "other", "status": "405"}.items())
    found = numbers(counted.exposition([]).decode())
    assert found["registry_http_request_duration_seconds_count", labels] == 5


def test_what_counts_a_request_again_is_shared_unless_it_is_of_one_of_many_files():
    counted = Metrics(print)

    def again(effect: object) -> object:
        return counted.counter({"REQUEST_METHOD": "GET", EVENT: effect}, "200 OK")

    assert again(metrics.UpstreamPage("hit")) is again(metrics.UpstreamPage("hit"))
    assert again(metrics.Download(4, 50)) is not again(metrics.Download(4, 50))


def test_gauges_are_shown_beside_counters():
    exposition = Metrics(print).exposition([Reading("registry_storage_bytes", "Bytes", 7)]).decode()

    found = numbers(exposition)
    assert found["registry_storage_bytes", frozenset()] == 7
    assert found["registry_uploads_total", frozenset()] == 0


def count_an_upload(most_bytes: int = resource.RLIM_INFINITY) -> None:
    """The work of one of several processes, whose files are limited to so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    counted = Metrics(print)
    counted.count({"REQUEST_METHOD": "POST", EVENT: metrics.Upload(10)}, "201 CREATED", 0.1)
    counted._connections.set(3)
    print(counted.exposition([]).decode())


def test_several_processes_share_their_numbers_and_forget_those_of_ended_ones(tmp_path: Path):
    folder = tmp_path / "metrics"
    metrics.empty_folder(folder)

    def work() -> tuple[int, str]:
        process = Captured(count_an_upload, environment={"PROMETHEUS_MULTIPROC_DIR": str(folder)})
        return process.pid, process.communicate(timeout=60)[0]

    first, _ = work()
    both = numbers(work()[1])
    metrics.forget_process(folder, first)
    three = numbers(work()[1])
    metrics.empty_folder(folder)

    in_use, uploads = ("registry_database_connections_in_use", frozenset()), ("registry_uploads_total", frozenset())
    assert (both[uploads], both[in_use]) == (2, 6)
    assert (three[uploads], three[in_use]) == (3, 6)
    assert list(folder.iterdir()) == []


def test_a_process_without_space_for_its_metrics_counts_for_itself(tmp_path: Path):
    shown = processes.run(count_an_upload, 1 << 19, environment={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})

    assert numbers(shown.stdout)["registry_uploads_total", frozenset()] == 1
    assert "The disk has no space for the metrics of this process" in shown.stderr
    assert list(tmp_path.iterdir()) == []
