"""Zip files of records, whole and broken."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from registry.domain.advisories import export
from registry.domain.advisories.export import Member
from registry.errors import SourceError
from tests.builders import zip_of


def members(content: bytes) -> list[Member]:
    return list(export.members(io.BytesIO(content)))


def test_the_json_members_are_read_in_order() -> None:
    content = zip_of({"b.json": b"{}", "README": b"text", "a.json": b"[1]"})

    assert members(content) == [Member("b.json", b"{}"), Member("a.json", b"[1]")]


def test_stored_members_and_more_than_65535_of_them_are_read() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(0x10000):
            archive.writestr(f"{number}.json", b"1")

    assert sum(member.content == b"1" for member in export.members(target)) == 0x10000


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"not a zip file", zip_of({"a.json": b"{}" * 9})[:-1], b"PK\x05\x06" + bytes(10)]
)
def test_what_is_no_complete_zip_file_is_refused(content: bytes) -> None:
    with pytest.raises(SourceError, match="not a zip file"):
        members(content)


def test_a_false_directory_is_refused() -> None:
    content = bytearray(zip_of({"a.json": b"{}"}))
    entry = content.index(b"PK\x01\x02")
    content[entry : entry + 4] = b"none"

    with pytest.raises(SourceError, match="damaged"):
        members(bytes(content))


@pytest.mark.parametrize("count", [2, 0xFFFF], ids=["too many", "in records that are missing"])
def test_a_false_number_of_members_is_refused(count: int) -> None:
    content = bytearray(zip_of({"a.json": b"{}"}))
    struct.pack_into("<2H", content, content.rindex(b"PK\x05\x06") + 8, count, count)

    with pytest.raises(SourceError, match="damaged"):
        members(bytes(content))


def test_damaged_and_too_large_members_have_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_RECORD_BYTES", 1000)
    content = bytearray(zip_of({"a.json": b'{"id": "a"}' * 9, "bomb.json": bytes(100_000), "c.json": b"{}"}))
    content[40] ^= 0xFF

    assert members(bytes(content)) == [Member("a.json", None), Member("bomb.json", None), Member("c.json", b"{}")]


def test_a_member_that_unpacks_to_more_than_it_declares_has_no_content() -> None:
    content = bytearray(zip_of({"a.json": bytes(1 << 20)}))
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<L", content, entry + 24, 10)

    assert members(bytes(content)) == [Member("a.json", None)]


@pytest.mark.parametrize(
    ("limit", "value"),
    [("MAX_FILE_BYTES", 10), ("MAX_RECORDS", 1), ("MAX_DIRECTORY_BYTES", 50), ("MAX_UNPACKED_BYTES", 5)],
)  # fmt: skip
def test_an_export_beyond_a_limit_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(export, limit, value)

    with pytest.raises(SourceError, match=r"more than|larger than"):
        members(zip_of({"a.json": b"{}{}", "b.json": b"{}{}"}))
