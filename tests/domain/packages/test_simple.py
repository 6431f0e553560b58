from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from registry.domain.packages import simple
from registry.domain.packages.simple import SimpleFile, SimpleIndex, SimplePage

FILE = SimpleFile(
    filename="demo-1.0.tar.gz", url="https://registry.test/demo-1.0.tar.gz", sha256="0" * 64, size_bytes=7,
    requires_python="", uploaded_at=datetime(2030, 5, 17, 15, 30, tzinfo=UTC), core_metadata_sha256=None,
    yanked_reason=None,
)  # fmt: skip
PAGE = SimplePage(
    name="demo", title="Demo", versions=("1.0",), files=(FILE,), status="active", status_reason=""
)  # fmt: skip


def file_entry(**changes: Any) -> dict[str, Any]:
    document = json.loads(simple.page_json(replace(PAGE, files=(FILE._replace(**changes),))))
    entry: dict[str, Any] = document["files"][0]
    return entry


def test_a_page_holds_the_keys_of_the_standard() -> None:
    assert json.loads(simple.page_json(PAGE)) == {
        "meta": {"api-version": "1.4"},
        "name": "demo",
        "project-status": {"status": "active"},
        "versions": ["1.0"],
        "files": [
            {
                "filename": "demo-1.0.tar.gz",
                "url": "https://registry.test/demo-1.0.tar.gz",
                "hashes": {"sha256": "0" * 64},
                "size": 7,
                "upload-time": "2030-05-17T15:30:00.000000Z",
                "yanked": False,
            }
        ],
    }


def test_known_attributes_of_a_file_are_added() -> None:
    entry = file_entry(requires_python=">=3.9", core_metadata_sha256="1" * 64)

    assert entry["requires-python"] == ">=3.9"
    assert entry["core-metadata"] == {"sha256": "1" * 64}
    assert "dist-info-metadata" not in entry


def test_what_the_upstream_index_states_of_a_file_is_passed_on() -> None:
    assert file_entry(provenance="https://pypi.test/provenance")["provenance"] == "https://pypi.test/provenance"
    assert file_entry().keys() - file_entry(size_bytes=None, uploaded_at=None).keys() == {"size", "upload-time"}


@pytest.mark.parametrize(
    ("reason", "yanked"), [(None, False), ("", True), ("Loses data", "Loses data")], ids=["no", "no reason", "reason"]
)
def test_a_yank_without_a_reason_is_true_as_an_empty_text_would_be_none(reason: str | None, yanked: bool | str) -> None:
    entry = file_entry(yanked_reason=reason)

    assert (entry["yanked"], type(entry["yanked"])) == (yanked, type(yanked))


@pytest.mark.parametrize(
    ("reason", "told"),
    [("", {"status": "archived"}), ("Done", {"status": "archived", "reason": "Done"})],
    ids=["without a reason", "with a reason"],
)
def test_the_status_of_a_name_is_shown_with_its_reason(reason: str, told: dict[str, str]) -> None:
    page = replace(PAGE, status="archived", status_reason=reason)

    assert json.loads(simple.page_json(page))["project-status"] == told


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (datetime(2030, 5, 17, 15, 30, 1, 234567, tzinfo=timezone(timedelta(hours=9))), "2030-05-17T06:30:01.234567Z"),
        (datetime(2030, 5, 17, 6, 30, 1, 234000, tzinfo=UTC), "2030-05-17T06:30:01.234000Z"),
        (datetime(2030, 5, 17, 6, 30, 1, tzinfo=UTC), "2030-05-17T06:30:01.000000Z"),
    ],
    ids=["other zone", "fraction", "whole second"],
)
def test_the_time_of_upload_is_in_utc_to_the_microsecond(moment: datetime, shown: str) -> None:
    assert FILE._replace(uploaded_at=moment).upload_time == shown
    assert file_entry(uploaded_at=moment)["upload-time"] == shown


def test_an_index_holds_normalized_names() -> None:
    index = SimpleIndex("Tools", (("demo-pkg", "Demo.Pkg", "https://registry.test/simple/demo-pkg"),))

    assert json.loads(simple.index_json(index)) == {
        "meta": {"api-version": "1.4"},
        "projects": [{"name": "demo-pkg"}],
    }


def test_a_page_takes_up_no_more_memory_than_its_length() -> None:
    index = SimpleIndex("group", tuple((f"name{number}", f"name{number}", "") for number in range(1000)))

    simple.index_json(index)  # what is allocated once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        page = simple.index_json(index)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(page) > 16 << 10
    assert after - before < len(page) * 2  # small objects that Python keeps are in it
