from __future__ import annotations

from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from registry.domain.http import CHUNK_BYTES
from registry.domain.importing.folder import Folder
from registry.domain.importing.source import SourceFile, SourcePage
from registry.errors import SourceError
from tests.builders import build_sdist, build_wheel
from tests.domain.importing.sinks import Received

DEMO = NormalizedName("demo")
WHEEL = build_wheel()


def test_a_folder_has_the_packages_that_its_files_name(tmp_path: Path) -> None:
    for path in (
        "b/Demo_Pkg-2.0.zip",
        "a/demo_pkg-1.0-py3-none-any.whl",
        "a/b/other-1.0.tar.gz",
        "README.md",
        "x.tar.gz",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"content")
    folder = Folder(tmp_path)

    assert folder.names() == ["", "demo-pkg", "other"]
    assert folder.page(NormalizedName("demo-pkg")) == SourcePage(
        (
            SourceFile("demo_pkg-1.0-py3-none-any.whl", str(tmp_path / "a/demo_pkg-1.0-py3-none-any.whl")),
            SourceFile("Demo_Pkg-2.0.zip", str(tmp_path / "b/Demo_Pkg-2.0.zip")),
        )
    )
    assert [file.filename for file in folder.page(NormalizedName("")).files] == ["x.tar.gz"]
    with pytest.raises(SourceError, match=r"^the folder has no files of this package$"):
        folder.page(NormalizedName("unknown"))


def test_files_of_a_folder_are_read_whole(tmp_path: Path) -> None:
    sdist = build_sdist(size_bytes=CHUNK_BYTES + 1)
    (tmp_path / sdist.filename).write_bytes(sdist.content)
    folder, sink = Folder(tmp_path), Received()
    (file,) = folder.page(DEMO).files

    folder.receive(file, sink)

    assert sink.content == sdist.content
    assert folder.digests(file) == {"sha256": sdist.sha256}


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / WHEEL.filename).mkdir()
    with pytest.raises(SourceError, match=r"^The folder .*/gone cannot be read: No such file or directory$"):
        Folder(tmp_path / "gone")

    with pytest.raises(SourceError, match=r"^the file cannot be read: Is a directory$"):
        Folder(tmp_path).digests(SourceFile(WHEEL.filename, str(tmp_path / WHEEL.filename)))
