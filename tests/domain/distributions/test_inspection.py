"""The inspection of whole files: valid wheels and sdists pass, all problems of others are reported."""

import gzip
import io
import tracemalloc
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.domain.distributions import inspection, wheels
from registry.domain.distributions.core_metadata import Description
from registry.domain.distributions.filenames import Kind
from registry.domain.distributions.inspection import MAX_PROBLEMS, Distribution, Examination
from registry.errors import InvalidDistribution, Problem
from tests.builders import BuiltFile, build_sdist, build_wheel, metadata, record_of, tar_gz_of, zip_of

MIB = 1024 * 1024
WHEEL = "demo-1.0-py3-none-any.whl"
SDIST = "demo-1.0.tar.gz"
ZIP_SDIST = "demo-1.0.zip"
INFO = "demo-1.0.dist-info"
MARKDOWN = "text/markdown; charset=UTF-8; variant=GFM"


def examine(content: bytes, filename: str) -> Examination:
    return inspection.examine(io.BytesIO(content), filename)


def problems(content: bytes, filename: str) -> list[Problem]:
    """Refusals and remarks alike."""
    return list(examine(content, filename).strictly().refusals)


def sentences(content: bytes, filename: str) -> list[str]:
    return [str(problem) for problem in problems(content, filename)]


def distribution(built: BuiltFile) -> Distribution:
    examination = examine(built.content, built.filename)
    assert (examination.refusals, examination.remarks) == ((), ())
    assert examination.distribution is not None
    return examination.distribution


GOOD = {
    "wheel": build_wheel(),
    "wheel with a build number": build_wheel(build="1"),
    "wheel with a build number in words": build_wheel(build="20240101nightly"),
    "wheel whose version is spelled differently": build_wheel(filename="demo-1.0.0-py3-none-any.whl"),
    "wheel whose name is spelled differently": build_wheel(filename="Demo-1.0-py3-none-any.whl"),
    "wheel of a local version": build_wheel(version="1.0+cu121"),
    "wheel of an epoch": build_wheel(version="1!2.0"),
    "wheel of a development version": build_wheel(version="1.0rc1.post2.dev3"),
    "wheel for two Pythons": build_wheel(tag="py2.py3-none-any"),
    "wheel for this machine": build_wheel(tag="cp312-cp312-linux_x86_64"),
    "wheel for many machines": build_wheel(tag="cp312-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64"),
    "wheel with data and scripts": build_wheel(
        files={"demo-1.0.data/scripts/demo": b"#!python\n", f"{INFO}/entry_points.txt": b"[console_scripts]\n"}
    ),
    "wheel that brings others along": build_wheel(
        files={"demo/_vendor/other-2.0.dist-info/METADATA": b"", "demo/_vendor/other-2.0.dist-info/RECORD": b"x"}
    ),
    "wheel with license files": build_wheel(
        metadata_version="2.4", headers=["License-Expression: MIT", "License-File: legal/LICENSE"],
        files={f"{INFO}/licenses/legal/LICENSE": b"MIT"},
    ),
    "wheel of old times": build_wheel(
        metadata_version="2.0", headers=["Platform: UNKNOWN", "Description-Content-Type: UNKNOWN"], description="x *y"
    ),
    "wheel from the future": build_wheel(metadata_version="2.99", headers=["From-The-Future: x"]),
    "wheel with Markdown": build_wheel(description="# Demo\n<b>*", description_content_type=MARKDOWN),
    "wheel with reStructuredText": build_wheel(description="Demo\n====\n\n*x*", description_content_type="text/x-rst"),
    "wheel with plain text": build_wheel(description="``x", description_content_type="text/plain"),
    "wheel with a text of no type": build_wheel(description="Demo\n=\n\n``broken, but nobody said what it is"),
    "wheel that must not be published elsewhere": build_wheel(headers=["Classifier: Private :: Do Not Upload"]),
    "wheel that needs what has no name elsewhere": build_wheel(requires_dist=["tools @ https://git.example/t.zip"]),
    "sdist": build_sdist(),
    "sdist whose name is spelled differently": build_sdist(filename="DEMO-1.0.tar.gz"),
    "sdist whose top folder is spelled differently": build_sdist(filename="demo-1.0.0.tar.gz", top="Demo-1.0"),
    "sdist in a zip file": build_sdist(filename=ZIP_SDIST),
    "sdist of a name with dashes, as before PEP 625": build_sdist(
        "my-demo", filename="my-demo-1.0.tar.gz", top="my-demo-1.0"
    ),
    "sdist of an implicit post release": build_sdist("pkg", "1.0-1", filename="pkg-1.0-1.tar.gz", top="pkg-1.0-1"),
    "sdist with license files": build_sdist(
        metadata_version="2.4", headers=["License-File: LICENSE"], files={"LICENSE": b"MIT"}
    ),
    "sdist of the first standard": build_sdist(metadata_version="1.0"),
}  # fmt: skip


@pytest.mark.parametrize("built", GOOD.values(), ids=GOOD)
def test_a_valid_file_is_accepted(built):
    assert sentences(built.content, built.filename) == []


def test_a_distribution_has_the_values_of_its_own_metadata():
    requires_python = ">=3.8, " + ", ".join(f"!=3.{minor}.*" for minor in range(9, 90))
    built = build_wheel("My.Pkg", "1.0.0RC1", requires_python=requires_python, requires_dist=["demo>=1"])

    assert distribution(built) == Distribution(
        filename="my_pkg-1.0.0RC1-py3-none-any.whl",
        kind=Kind.WHEEL,
        name="My.Pkg",
        version="1.0.0RC1",
        normalized_name="my-pkg",
        metadata_version="2.1",
        requires_python=requires_python,
        core_metadata=metadata("My.Pkg", "1.0.0RC1", requires_python=requires_python, requires_dist=["demo>=1"]),
        requires_dist=("demo>=1",),
        summary="A demonstration",
        keywords="",
        author_email="",
        core_metadata_is_final=True,
        description=Description(text="", content_type=""),
    )


@pytest.mark.parametrize("headers", [[], ["Dynamic: Requires-Dist"]], ids=["nothing dynamic", "dynamic"])
def test_metadata_of_a_wheel_is_always_final_and_of_an_sdist_if_declared(headers):
    fields = {"metadata_version": "2.2", "headers": headers}

    assert distribution(build_wheel(**fields)).core_metadata_is_final
    assert distribution(build_sdist(**fields)).core_metadata_is_final is not bool(headers)


def test_the_file_can_start_at_any_position():
    file = build_sdist().open()
    file.seek(7)

    assert inspection.examine(file, SDIST).refusals == ()


WHEEL_FILES = {f"{INFO}/METADATA": metadata("demo", "1.0"), f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n"}
MANY_LINES = "a line\n" * (2 * MIB)
DEMO = "expected is that of demo 1.0 as in the file name"
ONE_FOLDER = "expected is one at the top of the wheel"


def wheel_of(files: dict[str, bytes]) -> bytes:
    return zip_of({**files, f"{INFO}/RECORD": record_of(files, f"{INFO}/RECORD")})


def damaged(archive: bytes, name: bytes) -> bytes:
    """The zip file with wrong bytes at the beginning of a member's content."""
    start = archive.index(name) + len(name)
    return archive[:start] + b"\x07\x07" + archive[start + 2 :]


BAD_STRUCTURES = {
    "no archive": (WHEEL, b"not an archive", "the file is not a zip file: it has no end record"),
    "nothing": (SDIST, b"", "the gzip stream is cut off"),
    "sdist named as a wheel": (WHEEL, build_sdist().content, "the file is not a zip file: it has no end record"),
    "wheel named as an sdist": (SDIST, build_wheel().content, "the file is not a gzip stream, or is a damaged one"),
    "wheel named as an sdist in a zip file": (
        ZIP_SDIST, build_wheel().content, "the archive member 'demo.py' is outside a top folder",
    ),
    "wheel without members": (WHEEL, zip_of({}), f".dist-info folder is missing, {ONE_FOLDER}"),
    "wheel without .dist-info": (WHEEL, zip_of({"a.py": b""}), f".dist-info folder is missing, {ONE_FOLDER}"),
    "wheel with .dist-info too deep": (
        WHEEL, zip_of({f"a/{path}": content for path, content in WHEEL_FILES.items()}),
        f".dist-info folder is missing, {ONE_FOLDER}",
    ),
    "wheel with two .dist-info": (
        WHEEL, wheel_of(WHEEL_FILES | {"other-1.0.dist-info/METADATA": b""}),
        f".dist-info folder is 'demo-1.0.dist-info, other-1.0.dist-info', {ONE_FOLDER}",
    ),
    "wheel with an empty second .dist-info": (
        WHEEL, wheel_of(WHEEL_FILES | {"x.dist-info/": b""}),
        f".dist-info folder is 'demo-1.0.dist-info, x.dist-info', {ONE_FOLDER}",
    ),
    "wheel with two to Windows": (
        WHEEL, wheel_of(WHEEL_FILES | {"Demo-1.0.DIST-INFO/RECORD": b""}),
        "the archive member 'demo-1.0.dist-info/RECORD' cannot be unpacked beside 'Demo-1.0.DIST-INFO/RECORD'",
    ),
    "wheel with the .dist-info of another name": (
        WHEEL, build_wheel("other", core_metadata=metadata("demo", "1.0")).content,
        f".dist-info folder is 'other-1.0.dist-info', {DEMO}",
    ),
    "wheel with the .dist-info of another version": (
        WHEEL, build_wheel(version="1.0.1", core_metadata=metadata("demo", "1.0")).content,
        f".dist-info folder is 'demo-1.0.1.dist-info', {DEMO}",
    ),
    "wheel without METADATA": (
        WHEEL, build_wheel(files={f"{INFO}/METADATA/": b""}, without=[f"{INFO}/METADATA"], record=b"").content,
        "METADATA is missing, expected is a file in 'demo-1.0.dist-info'",
        "RECORD is 'without demo-1.0.dist-info/WHEEL', expected is a line for every file of the wheel",
        "RECORD is 'without demo.py', expected is a line for every file of the wheel",
    ),
    "wheel without WHEEL and RECORD": (
        WHEEL, build_wheel(without=[f"{INFO}/WHEEL", f"{INFO}/RECORD"]).content,
        "WHEEL is missing, expected is a file in 'demo-1.0.dist-info'",
        "RECORD is missing, expected is a file in 'demo-1.0.dist-info'",
    ),
    "wheel with too large a METADATA": (
        WHEEL, build_wheel(description=MANY_LINES).content,
        "the archive member 'demo-1.0.dist-info/METADATA' is larger than 10485760 bytes",
    ),
    "wheel with too large a WHEEL": (
        WHEEL, build_wheel(files={f"{INFO}/WHEEL": bytes(MIB // 8 + 1)}).content,
        "the archive member 'demo-1.0.dist-info/WHEEL' is larger than 131072 bytes",
    ),
    "wheel with another's WHEEL": (
        WHEEL, build_wheel(tag="cp312-cp312-win_amd64", filename=WHEEL).content,
        "WHEEL: Tag is 'cp312-cp312-win_amd64', expected is one line for each tag of the file name, also py3-none-any",
    ),
    "wheel with a RECORD of other files": (
        WHEEL, build_wheel(record=record_of({**WHEEL_FILES, "demo.pyc": b""}, "RECORD")).content,
        "RECORD is 'without demo.py', expected is a line for every file of the wheel",
        "RECORD is 'RECORD', expected is a file of the wheel",
        "RECORD is 'demo.pyc', expected is a file of the wheel",
        "RECORD is 'demo-1.0.dist-info/WHEEL of 37 bytes', expected is the size of the file, 79 bytes",
        "RECORD is 'demo-1.0.dist-info/WHEEL with sha256=",
    ),
    "wheel without its license file": (
        WHEEL, build_wheel(metadata_version="2.4", headers=["License-File: LICENSE"], files={"LICENSE": b""}).content,
        "License-File is 'LICENSE', expected is a file in 'demo-1.0.dist-info/licenses'",
    ),
    "wheel for no platform": (
        "demo-1.0-py3-none-win64.whl", build_wheel(tag="py3-none-win64").content,
        "platform tag is 'win64', expected is any or a known platform, such as win_amd64",
    ),
    "wheel with a link": (
        WHEEL, build_wheel().content.replace(b"\x00\x00\xa4\x01", b"\x00\x00\xa4\xa1", 1),
        "the archive member 'demo.py' is a link or special file; only files and folders may be in a zip file",
    ),
    "wheel that leads outside": (
        WHEEL, build_wheel(files={"../demo.py": b""}).content, "the archive member '../demo.py' has .. in its path",
    ),
    "wheel cut off": (WHEEL, build_wheel().content[:-30], "the file is not a zip file: it has no end record"),
    "wheel with something in front": (
        WHEEL, b"#!/bin/sh\n" + build_wheel().content,
        "the zip file's central directory does not lie right before its end record",
    ),
    "sdist without members": (SDIST, tar_gz_of({}), f"top folder is missing, {DEMO}", "PKG-INFO is missing"),
    "sdist of another name": (
        SDIST, build_sdist(top="other-1.0").content, f"top folder is 'other-1.0', {DEMO}",
    ),
    "sdist of another version": (SDIST, build_sdist(top="demo-2").content, f"top folder is 'demo-2', {DEMO}"),
    "sdist of no version": (SDIST, build_sdist(top="demo").content, f"top folder is 'demo', {DEMO}"),
    "sdist with two top folders": (
        SDIST, tar_gz_of({"demo-1.0/PKG-INFO": metadata("demo", "1.0"), "other/a.py": b""}),
        "the archive has 'other' beside 'demo-1.0'; it must have one top folder",
    ),
    "sdist without PKG-INFO": (
        SDIST, tar_gz_of({"demo-1.0/a.py": b""}),
        "PKG-INFO is missing, expected is a file in the top folder 'demo-1.0'",
    ),
    "sdist with PKG-INFO too deep": (SDIST, tar_gz_of({"demo-1.0/a/PKG-INFO": b""}), "PKG-INFO is missing"),
    "sdist with too large a PKG-INFO": (
        SDIST, build_sdist(description=MANY_LINES).content,
        "the archive member 'demo-1.0/PKG-INFO' is larger than 10485760 bytes",
    ),
    "sdist without its license file": (
        SDIST, build_sdist(metadata_version="2.4", headers=["License-File: LICENSE"]).content,
        "License-File is 'LICENSE', expected is a file in 'demo-1.0'",
    ),
    "sdist with two gzip streams": (
        SDIST, build_sdist().content * 2, "the file has bytes behind its gzip stream",
    ),
    "sdist cut off": (SDIST, build_sdist().content[:-9], "the gzip stream is cut off"),
    "sdist without members in a zip file": (
        ZIP_SDIST, zip_of({}), f"top folder is missing, {DEMO}", "PKG-INFO is missing",
    ),
    "sdist without PKG-INFO in a zip file": (ZIP_SDIST, zip_of({"demo-1.0/a.py": b""}), "PKG-INFO is missing"),
    "sdist with a damaged file in a zip file": (
        ZIP_SDIST, damaged(build_sdist(filename=ZIP_SDIST).content, b"demo-1.0/demo.py"),
        "the archive member 'demo-1.0/demo.py' is damaged: its content is not deflated",
    ),
    "file of an unknown kind": (
        "demo-1.0.egg", build_wheel().content,
        "file name is 'demo-1.0.egg', expected is a name that ends in .whl (wheel), .tar.gz or .zip (sdist)",
    ),
    "wheel of a version that is none": (
        "demo-latest-py3-none-any.whl", build_wheel().content,
        "file name is 'demo-latest-py3-none-any.whl', expected is <name>-<version>-... with a version as in PEP 440",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("filename", "content", "expected"), [(*row[:2], row[2:]) for row in BAD_STRUCTURES.values()], ids=BAD_STRUCTURES
)
def test_misplaced_members_are_reported(filename, content, expected):
    found = sentences(content, filename)

    assert len(found) == len(expected), found
    for sentence in expected:
        assert any(problem.startswith(sentence) for problem in found), found


BAD_METADATA = {
    "nothing": (b"\n", ["Metadata-Version is missing", "Name is missing", "Version is missing"]),
    "body only": (b"\n" + metadata("demo", "1.0"), ["Metadata-Version is missing", "Name is", "Version is missing"]),
    "not UTF-8": (b"\xff", ["the core metadata is not UTF-8 at byte 0"]),
    "unknown metadata version": (
        metadata("demo", "1.0", metadata_version="3.0"), ["Metadata-Version is '3.0', expected is 1.x or 2.x"],
    ),
    "other name": (metadata("other", "1.0"), ["Name is 'other', expected is demo as in the file name"]),
    "malformed name": (metadata("demo!", "1.0"), ["Name is 'demo!', expected is up to 255 ASCII letters"]),
    "other version": (metadata("demo", "1.1"), ["Version is '1.1', expected is 1.0 as in the file name"]),
    "malformed version": (metadata("demo", "latest"), ["Version is 'latest', expected is a version as in PEP 440"]),
    "control characters": (
        metadata("demo", "1.0", requires_python=">=3\0"),
        [r"Requires-Python is '>=3\x00', expected is one line"],
    ),
    "malformed requirements": (
        metadata("demo", "1.0", requires_dist=["a b", "c", "d e"]),
        ["Requires-Dist is 'a b', expected is a requirement as in PEP 508", "Requires-Dist is 'd e'"],
    ),
    "broken reStructuredText": (
        metadata("demo", "1.0", description="A title\n====\n\nText", description_content_type="text/x-rst"),
        ["Description is '<string>:2: (WARNING/2) Title underline too short."],
    ),
    "reStructuredText that shows nothing": (
        metadata("demo", "1.0", description=".. a comment", description_content_type="text/x-rst; charset=UTF-8"),
        ["Description is 'No content rendered from RST source.', expected is valid reStructuredText, its content type"],
    ),
    "text of a type that is none": (
        metadata("demo", "1.0", description="Demo", description_content_type="rst"),
        ["Description-Content-Type is 'rst', expected is text/plain, text/x-rst or text/markdown"],
    ),
    "fields of a later version": (
        metadata("demo", "1.0", headers=["License-Expression: MIT"]),
        ["Metadata-Version is '2.1', expected is 2.4 or later, for there is a field License-Expression"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("field", ["Name", "Version"])
def test_metadata_without_a_valid_name_or_version_describes_no_distribution(field):
    document = metadata("demo", "1.0").replace(*{"Name": (b"demo", b"-"), "Version": (b"1.0", b"latest")}[field])

    assert examine(build_wheel(core_metadata=document).content, WHEEL).distribution is None


@pytest.mark.parametrize("build", [build_wheel, build_sdist], ids=["wheel", "sdist"])
@pytest.mark.parametrize(("document", "expected"), BAD_METADATA.values(), ids=BAD_METADATA)
def test_invalid_metadata_is_reported(build, document, expected):
    built = build(core_metadata=document)

    found = sentences(built.content, built.filename)

    assert len(found) == len(expected), found
    for sentence in expected:
        assert any(problem.startswith(sentence) for problem in found), found


def test_every_problem_of_a_wheel_is_reported_at_once():
    built = build_wheel(
        "other", "2.0", tag="cp311-cp311-win64", filename="demo-1.0-py3-none-win64.whl",
        requires_python="3.8+", requires_dist=["a b"], description="Title\n====", description_content_type="text/x-rst",
        metadata_version="2.4", headers=["License-File: LICENSE"], record=b"gone.py,,\n",
    )  # fmt: skip

    examination = examine(built.content, built.filename)

    assert [problem.field for problem in examination.refusals] == [
        ".dist-info folder", "Requires-Dist", "Requires-Python", "Name", "Version",
    ]  # fmt: skip
    assert [problem.field for problem in examination.remarks] == [
        "platform tag", "License-File", "WHEEL: Tag", "RECORD", "RECORD", "RECORD", "RECORD", "Description",
    ]  # fmt: skip
    assert examination.distribution is not None
    assert (examination.distribution.name, examination.distribution.version) == ("other", "2.0")


def test_a_wrong_name_does_not_keep_the_file_from_being_looked_at():
    built = build_wheel(filename="demo-latest.whl", requires_python="x")

    assert [problem.field for problem in problems(built.content, built.filename)] == [
        "file name", "Requires-Python",
    ]  # fmt: skip


def test_parts_within_their_bounds_are_refused_if_they_take_too_long_together():
    extras = [f"Provides-Extra: x{number:019}" for number in range(25_000)]
    built = build_wheel(headers=extras, record=b"a/b/c/d/e/f/g/h/i/j,,\n" * 100_000)

    (problem,) = problems(built.content, built.filename)

    assert problem.sentence.endswith("takes 2 s, which exceeds the budget of an examination")


def test_of_very_many_problems_the_first_are_reported():
    files = {f"demo/{number}.py": b"" for number in range(MAX_PROBLEMS * 2)}
    wrong = "".join(f"demo/{number}.py,sha256=0,0\n" for number in range(MAX_PROBLEMS, MAX_PROBLEMS * 2))
    built = build_wheel(files=files, record=wrong.encode(), requires_dist=["a b"] * 2)

    examination = examine(built.content, built.filename)

    for found in (examination.refusals, examination.remarks, examination.strictly().refusals):
        assert len(found) == MAX_PROBLEMS + 1
        assert found[-1].value == f"more than {MAX_PROBLEMS} problems"
    assert examination.strictly().remarks == ()


def test_a_problem_is_printable_whatever_it_quotes():
    nasty = "d\u00e9mo\t\u202e" + "x" * 10_000
    built = build_sdist(requires_dist=[nasty], requires_python=nasty, headers=[f"Provides-Extra: {nasty}"])

    refusal = InvalidDistribution(*problems(built.content, built.filename))

    assert refusal.message.isascii()
    assert refusal.message.isprintable()
    assert len(refusal.message) < 1000
    assert len(refusal.headline) < 300
    assert len(str(refusal.body())) < 10_000


FILES_OF_ANY_SIZE = {
    "large wheel": (build_wheel, {"size_bytes": 20 * MIB}, 2),
    "large sdist": (build_sdist, {"size_bytes": 20 * MIB}, 2),
    "large sdist in a zip file": (build_sdist, {"size_bytes": 20 * MIB, "filename": ZIP_SDIST}, 2),
    "wheel with endless fields": (
        build_wheel,
        {"core_metadata": metadata("demo", "1.0", headers=["A:"] * 3_000_000)},
        40,
    ),
    "sdist with many requirements": (build_sdist, {"requires_dist": ["demo >= 1"] * 10_000}, 9),
    "sdist with long requirements": (build_sdist, {"requires_dist": ["demo >= 1" + ",>=1" * 2400] * 60}, 9),
}
# The default run reads a large tar file in the tests of archives, and a large zip file as a wheel.
LIKE_OTHERS = ("large sdist", "large sdist in a zip file")


@pytest.mark.parametrize(
    ("build", "options", "limit_mib"),
    [
        pytest.param(*values, id=name, marks=pytest.mark.slow if name in LIKE_OTHERS else ())
        for name, values in FILES_OF_ANY_SIZE.items()
    ],
)
def test_memory_does_not_grow_with_the_file(build, options, limit_mib):
    built = build(**options)

    tracemalloc.start()
    examine(built.content, built.filename)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < limit_mib * MIB


def test_a_zip_sdist_beyond_the_bound_is_not_read_through(monkeypatch):
    monkeypatch.setattr(wheels, "MAX_DIGESTED_BYTES", 10)
    filename, content, _ = BAD_STRUCTURES["sdist with a damaged file in a zip file"]

    assert sentences(content, filename) == []


# Descriptions in reStructuredText are left out: each would start a process.
SOURCES = [built for built in GOOD.values() if built is not GOOD["wheel with reStructuredText"]]
TELLING = [b"\xff" * 4, bytes(4), b"PK\x05\x06", b"PK\x01\x02", b"../", b"\n", b",", b"sha256=", b"Tag: ", b"-", b"."]
DOCUMENTS = {
    name: zipfile.ZipFile(build_wheel(requires_python=">=3.8", requires_dist=["demo"]).open()).read(f"{INFO}/{name}")
    for name in ("METADATA", "WHEEL", "RECORD")
}


@st.composite
def changed(draw, content: bytes) -> bytes:
    """The content with a few bytes overwritten, removed, or inserted."""
    result = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(result)))
        stop = start + draw(st.sampled_from([0, 1, 2, 4, 8, 32]))
        result[start:stop] = draw(st.one_of(st.binary(max_size=8), st.sampled_from(TELLING)))
    return bytes(result)


def is_judged(examination: Examination) -> bool:
    """Whether a file was found in order, or is refused with reasons."""
    found = (*examination.refusals, *examination.remarks)
    told = all(problem.field and problem.expected for problem in found)
    return told and (examination.distribution is not None or examination.refusals != ())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_file_of_any_bytes_and_any_name_is_judged(data):
    built = data.draw(st.sampled_from(SOURCES))
    is_tar = built.filename.endswith(".gz") and data.draw(st.booleans())
    content = data.draw(changed(gzip.decompress(built.content) if is_tar else built.content))
    at = data.draw(st.integers(0, len(built.filename)))
    filename = (
        built.filename[:at] + data.draw(st.sampled_from(["", "-", ".", "_", "1", "\u00e9"])) + built.filename[at:]
    )

    assert is_judged(examine(gzip.compress(content, 1) if is_tar else content, filename))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_wheel_with_any_documents_is_judged(data):
    name = data.draw(st.sampled_from(list(DOCUMENTS)))
    document = data.draw(changed(DOCUMENTS[name]))
    built = build_wheel(record=document) if name == "RECORD" else build_wheel(files={f"{INFO}/{name}": document})

    assert is_judged(examine(built.content, built.filename))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([WHEEL, SDIST, ZIP_SDIST, "demo.whl"]))
@example(gzip.compress(b""), SDIST)
@example(gzip.compress(bytes(1024)), SDIST)
def test_any_bytes_are_judged(content, filename):
    assert is_judged(examine(content, filename))
