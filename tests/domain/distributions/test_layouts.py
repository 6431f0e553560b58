"""The layouts that build tools are known for, copied from what they wrote, are not refused.

``tests/acceptance/corpus`` has the tools build them; here are those that deviate from a standard, or whose tools need a
compiler.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from registry.domain.distributions.filenames import Kind
from registry.domain.distributions.inspection import examine
from tests.builders import BuiltFile, record_digest, zip_of

INFO = "corpus_demo-1.0.dist-info"
DESCRIPTION = "\n# Corpus demo\n\nBuilt to be *examined*, with 日本語 in it.\n"
DYNAMIC = (
    "author", "author-email", "classifier", "description", "description-content-type", "home-page", "license",
    "project-url", "provides-extra", "requires-dist", "requires-python", "summary",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What a tool wrote into a wheel.

    :ivar fields: those of ``METADATA`` that are its own.
    :ivar paths: of other files, in the order of its ``RECORD``.
    :ivar wheel_end: how ``WHEEL`` ends.
    :ivar is_quoted: whether paths with a comma are in quotes in ``RECORD``.
    """

    generator: str
    fields: tuple[str, ...]
    paths: tuple[str, ...] = ("corpus_demo/__init__.py",)
    tag: str = "py3-none-any"
    metadata_version: str = "2.1"
    wheel_tags: tuple[str, ...] = ()
    wheel_end: str = "\n"
    is_quoted: bool = True

    def built(self) -> BuiltFile:
        contents = {path: b"" if path.endswith(".py") else path.encode() for path in self.paths}
        contents[f"{INFO}/METADATA"] = self._metadata().encode()
        contents[f"{INFO}/WHEEL"] = self._wheel().encode()
        contents[f"{INFO}/RECORD"] = self._record(contents).encode()
        return BuiltFile(f"corpus_demo-1.0-{self.tag}.whl", zip_of(contents), "corpus-demo", "1.0", Kind.WHEEL)

    def _metadata(self) -> str:
        always = (
            f"Metadata-Version: {self.metadata_version}", "Name: corpus-demo", "Version: 1.0",
            "Summary: Built to be examined", "Requires-Python: >=3.7", "Provides-Extra: more",
        )  # fmt: skip
        return "\n".join((*always, *self.fields)) + "\n" + DESCRIPTION

    def _wheel(self) -> str:
        is_pure = str(self.tag.endswith("-any")).lower()
        tags = "\n".join(f"Tag: {tag}" for tag in self.wheel_tags or (self.tag,))
        head = f"Wheel-Version: 1.0\nGenerator: {self.generator}\nRoot-Is-Purelib: {is_pure}\n"
        return head + tags + self.wheel_end

    def _record(self, contents: dict[str, bytes]) -> str:
        rows = [(path, record_digest(content), str(len(content))) for path, content in contents.items()]
        return _table([*rows, (f"{INFO}/RECORD", "", "")], is_quoted=self.is_quoted)


def _table(rows: Iterable[tuple[str, str, str]], *, is_quoted: bool) -> str:
    if not is_quoted:
        return "".join(",".join(row) + "\n" for row in rows)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue()


MARKDOWN = "Description-Content-Type: text/markdown"
LICENSED = ("License-Expression: MIT", "License-File: LICENSE", MARKDOWN)
COMMA = "corpus_demo/data, and more/日本.txt"
LAYOUTS = {
    "hatchling 1.20": Layout("hatchling 1.20.0", LICENSED, (f"{INFO}/licenses/LICENSE",)),
    "hatchling 1.25": Layout("hatchling 1.25.0", LICENSED, (f"{INFO}/licenses/LICENSE",), metadata_version="2.3"),
    "setuptools 75, wheel 0.43, and a class of its own": Layout(
        "bdist_wheel (0.43.0)",
        ("License: MIT", "License-File: LICENSE", *(f"Dynamic: {name}" for name in DYNAMIC), MARKDOWN),
        ("corpus_demo-1.0.data/purelib/corpus_demo/__init__.py", f"{INFO}/LICENSE", f"{INFO}/top_level.txt"),
        tag="py3-none-linux_x86_64",
        wheel_end="\n\n",
    ),
    "wheel 0.42 above the folder of the sources, as pyarrow 16": Layout(
        "bdist_wheel (0.42.0)",
        ("License: Apache License, Version 2.0", "License-File: ../LICENSE.txt", "License-File: ../NOTICE.txt"),
        ("corpus_demo/lib.so", f"{INFO}/LICENSE.txt", f"{INFO}/NOTICE.txt"),
        tag="cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
        wheel_tags=("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux2014_x86_64"),
        wheel_end="\n\n",
    ),
    "flit 3.9, with a comma": Layout(
        "flit 3.9.0", ('Requires-Dist: packaging ; extra == "more"', MARKDOWN), (COMMA,), is_quoted=False
    ),
    "maturin": Layout(
        "maturin (1.16.0)",
        ("License-Expression: MIT", "License-File: LICENSE", f"{MARKDOWN}; charset=UTF-8; variant=GFM"),
        (
            "corpus_demo-1.0.data/scripts/corpus-demo", f"{INFO}/licenses/LICENSE",
            f"{INFO}/sboms/corpus-demo.cyclonedx.json",
        ),
        tag="py3-none-linux_x86_64",
        metadata_version="2.4",
    ),
    "scikit-build-core": Layout(
        "scikit-build-core 1.1.2", ("Author-Email: Ada <ada@example.com>", *LICENSED),
        ("corpus_demo/_demo.cpython-311-x86_64-linux-gnu.so", COMMA, f"{INFO}/licenses/LICENSE"),
        tag="cp311-cp311-linux_x86_64", metadata_version="2.4", wheel_end="\n\n",
    ),
    "meson-python": Layout(
        "meson", ("Author-Email: Ada <ada@example.com>", "License-Expression: MIT", MARKDOWN),
        ("corpus_demo/_demo.cpython-311-x86_64-linux-gnu.so",),
        tag="cp311-cp311-linux_x86_64", metadata_version="2.4", wheel_end="",
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_wheel_as_a_tool_lays_it_out_is_not_refused(layout: Layout) -> None:
    file = layout.built()

    examination = examine(file.open(), file.filename)

    assert examination.refusals == ()
    assert examination.distribution is not None
    assert (examination.distribution.name, examination.distribution.version) == ("corpus-demo", "1.0")
