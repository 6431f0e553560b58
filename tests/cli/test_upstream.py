"""``flask upstream``."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.domain.advisories import source
from tests.cli.running import Refused, Run, loaded, succeeded
from tests.fakes.index import FILE, StaticIndex
from tests.osv import affected, export, record


def test_advisories_are_updated_from_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    file.write_bytes(export(record("MAL-1"), record("GHSA-1", withdrawn="2026-01-01T00:00:00Z"), b"{"))

    first = succeeded(run("upstream", "advisories", "update", str(file)))
    again = succeeded(run("upstream", "advisories", "update", str(file)))

    assert first == (
        "2 advisories, of which 1 are about malicious packages and 1 are withdrawn: 2 added, 0 changed, 0 removed. "
        "Ignored records: 1 malformed (2-x.json).\n"
    )
    assert again == f"{file} is the export of the last update, with 2 advisories; nothing changed.\n"


def test_advisories_are_updated_from_a_url_without_showing_its_secrets(run: Run, served: StaticIndex) -> None:
    served.put("/PyPI/all.zip?signature=1", export(record("MAL-1")), FILE)
    address = f"{served.host}/PyPI/all.zip"

    found = loaded(run("upstream", "advisories", "update", f"http://me:secret@{address}?signature=1", "--json"))

    assert (found["source"], found["added"], found["is_same"]) == (f"http://{address}", 1, False)


def test_a_source_that_gives_no_export_is_refused(
    run: Run, refused: Refused, served: StaticIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.zip"
    other.write_bytes(export(record("GHSA-1", affected(ecosystem="npm"))))
    served.put("/all.zip", b"0123456789", FILE)
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 5)
    url = f"http://{served.host}"

    def update(name: str) -> str:
        return refused("upstream", "advisories", "update", name)

    assert update(str(tmp_path / "none.zip")) == f"{tmp_path}/none.zip cannot be read: No such file or directory."
    assert update(f"{url}/none.zip") == f"{url}/none.zip: the response is 404 Not Found."
    assert update(f"{url}/all.zip") == f"{url}/all.zip: the file is larger than 5 bytes."
    assert "no advisories about packages" in update(str(other))
