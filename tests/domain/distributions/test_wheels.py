"""The documents of a wheel: tags, ``WHEEL``, ``RECORD``."""

import base64
import hashlib
import io
import tracemalloc

import pytest

from registry.domain.distributions import wheels, zip_files
from registry.domain.distributions.filenames import parse_filename
from registry.errors import InvalidDistribution
from tests.builders import record_digest, record_of, zip_of

MIB = 1024 * 1024
INFO = "demo-1.0.dist-info"

PLATFORMS = [
    "any", "win32", "win_amd64", "win_arm64", "linux_x86_64", "linux_armv7l", "manylinux1_i686", "manylinux2010_x86_64",
    "manylinux2014_aarch64", "manylinux_2_28_x86_64", "musllinux_1_2_riscv64", "macosx_10_6_intel",
    "macosx_11_0_arm64", "macosx_10_9_universal2", "ios_13_0_arm64_iphoneos", "ios_13_0_x86_64_iphonesimulator",
    "android_21_arm64_v8a", "pyodide_2024_0_wasm32", "emscripten_3_1_58_wasm32", "wasi_0_0_0_wasm32",
    "freebsd_13_1_release_amd64", "cygwin_3_4_x86_64", "mingw_x86_64_ucrt", "solaris_2_11_sun4v", "aix_7200_1938_64",
]  # fmt: skip
UNKNOWN_PLATFORMS = [
    "win64", "windows", "win_x86", "linux", "x86_64", "manylinux_x86_64", "manylinux2020_x86_64", "manylinux_2_x86_64",
    "musllinux_x86_64", "macosx_arm64", "macosx_11_arm64", "darwin_arm64", "osx_64", "ios_13_0_arm64", "none", "all",
    "linux+x86_64", "ubuntu_22_04_x86_64",
]  # fmt: skip


def unknown(tag: str) -> list[tuple[str, str]]:
    claimed = parse_filename(f"demo-1.0-{tag}.whl")
    return [(finding.problem.field, finding.problem.value) for finding in wheels.unknown_tags(claimed)]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_platform_that_clients_know_is_one(platform):
    assert unknown(f"cp312-cp312-{platform}") == []


@pytest.mark.parametrize("platform", UNKNOWN_PLATFORMS)
def test_a_platform_that_no_client_would_take_is_unknown(platform):
    assert unknown(f"cp312-cp312-{platform}") == [("platform tag", platform)]


@pytest.mark.parametrize(
    "tag",
    [
        "py2.py3-none-any", "py310-none-any", "cp27-cp27mu-any", "cp313-cp313t-any", "cp38-abi3-any",
        "pp310-pypy310_pp73-any", "graalpy242-graalpy242_311_native-any", "jy27-none-any", "CP312-NONE-ANY",
    ],
)  # fmt: skip
def test_tags_of_any_interpreter_are_known(tag):
    assert unknown(tag) == []


def test_every_unknown_part_is_reported_once():
    assert unknown("python.py3-3.none-any.win64") == [
        ("interpreter tag", "python"), ("abi tag", "3"), ("platform tag", "win64")
    ]  # fmt: skip


def wrong_wheel_document(document: bytes, filename: str = "demo-1.0-py3-none-any.whl") -> list[tuple[str, str]]:
    opened = zip_files.open_zip(io.BytesIO(zip_of({f"{INFO}/WHEEL": document})))
    found = wheels.wrong_wheel_document(opened, INFO, parse_filename(filename))
    return [(finding.problem.field, finding.problem.value) for finding in found]


def wheel_document(*tags: str, version: str = "1.0", build: str = "") -> bytes:
    lines = [f"Wheel-Version: {version}", "Root-Is-Purelib: true", *(f"Tag: {tag}" for tag in tags)]
    return "\n".join([*lines, *([f"Build: {build}"] if build else [])]).encode()


AGREEING = {
    "the same": (["py3-none-any"], "py3-none-any"),
    "every one": (["py2-none-any", "py3-none-any"], "py2.py3-none-any"),
    "compressed as in the name": (["py2.py3-none-any"], "py2.py3-none-any"),
    "in capitals": (["CP312-CP312-Win_AMD64"], "cp312-cp312-win_amd64"),
    "more than in the name": (
        ["cp27-cp27mu-linux_x86_64", "cp27-cp27mu-manylinux1_x86_64"], "cp27-cp27mu-manylinux1_x86_64",
    ),
    "repaired for Linux": (["cp37-cp37m-linux_x86_64"], "cp37-cp37m-manylinux_2_17_x86_64.manylinux2014_x86_64"),
    "for more versions of macOS": (["cp27-none-macosx_10_6_intel"], "cp27-none-macosx_10_6_intel.macosx_10_9_x86_64"),
    "with the platform of what is in it": (["py3-none-any"], "py3-none-win_amd64"),
    "with the ABI left out": (["cp27-cp27m-win32"], "cp27-none-win32"),
    "with the ABI named": (["cp27-none-win32"], "cp27-cp27m-win32"),
}  # fmt: skip


@pytest.mark.parametrize(("tags", "name"), AGREEING.values(), ids=AGREEING)
def test_tags_agree_with_the_name(tags, name):
    assert wrong_wheel_document(wheel_document(*tags), f"demo-1.0-{name}.whl") == []


CONTRADICTING = {
    "another interpreter": (["py2-none-any"], "py3-none-any"),
    "one interpreter too few": (["py3-none-any"], "py2.py3-none-any"),
    "an interpreter for any": (["cp311-cp311-linux_x86_64"], "py3-none-any"),
    "another ABI": (["cp312-cp312-win_amd64"], "cp312-abi3-win_amd64"),
    "another system": (["cp312-cp312-linux_x86_64"], "cp312-cp312-win_amd64"),
    "another architecture of Linux": (["cp312-cp312-linux_x86_64"], "cp312-cp312-manylinux_2_28_aarch64"),
    "another architecture of Windows": (["cp312-cp312-win32"], "cp312-cp312-win_amd64"),
    "any system in the name only": (["py3-none-win_amd64"], "py3-none-any"),
}


@pytest.mark.parametrize(("tags", "name"), CONTRADICTING.values(), ids=CONTRADICTING)
def test_tags_of_another_build_do_not_agree(tags, name):
    found = wrong_wheel_document(wheel_document(*tags), f"demo-1.0-{name}.whl")

    assert found == [("WHEEL: Tag", ", ".join(tags))]


WHEEL_DOCUMENT = wheel_document("py3-none-any")
NO_FIELDS = [("WHEEL: Wheel-Version", ""), ("WHEEL: Tag", "")]
BAD_WHEEL_DOCUMENTS = {
    "nothing": (b"", NO_FIELDS),
    "a new major version": (wheel_document("py3-none-any", version="2.0"), [("WHEEL: Wheel-Version", "2.0")]),
    "a version that is none": (wheel_document("py3-none-any", version="x"), [("WHEEL: Wheel-Version", "x")]),
    "a version beyond all measure": (
        wheel_document("py3-none-any", version="1" * 5000 + ".0"), [("WHEEL: Wheel-Version", "1" * 5000 + ".0")],
    ),
    "an old major version": (wheel_document("py3-none-any", version="0.1"), [("WHEEL: Wheel-Version", "0.1")]),
    "fields behind a blank line": (b"\n" + WHEEL_DOCUMENT, NO_FIELDS),
    "fields after a line that is not a field": (b"wheel\n" + WHEEL_DOCUMENT, NO_FIELDS),
    "a space before the colon": (WHEEL_DOCUMENT.replace(b":", b" :"), NO_FIELDS),
    "lines that end as in no header": (b"Generator: a\x0b" + WHEEL_DOCUMENT, [("WHEEL: Wheel-Version", "")]),
    "two versions": (WHEEL_DOCUMENT + b"\nWheel-Version: 2.0", [("WHEEL: Wheel-Version", "1.0, 2.0")]),
    "two kinds": (WHEEL_DOCUMENT + b"\nRoot-Is-Purelib: false", [("WHEEL: Root-Is-Purelib", "true, false")]),
    "another build": (wheel_document("py3-none-any", build="7"), [("WHEEL: Build", "7")]),
    "a malformed tag": (wheel_document("py3-any"), [("WHEEL: Tag", "py3-any")]),
    "tags beyond all measure": (
        wheel_document("-".join([".".join(["a"] * 30)] * 3)), [("WHEEL: Tag", "more than 10000 tags")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), BAD_WHEEL_DOCUMENTS.values(), ids=BAD_WHEEL_DOCUMENTS)
def test_an_invalid_wheel_document_is_reported(document, expected):
    assert wrong_wheel_document(document) == expected


@pytest.mark.parametrize("version", ["1.0", "1.9"])
def test_minor_versions_of_the_format_are_compatible(version):
    assert wrong_wheel_document(wheel_document("py3-none-any", version=version)) == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_a_wheel_document_end_as_in_a_header(end):
    repeated = WHEEL_DOCUMENT + b"\nroot-is-purelib: True\n\nWheel-Version: 2.0\n"

    assert wrong_wheel_document(repeated.replace(b"\n", end.encode())) == []


@pytest.mark.parametrize("build", ["", "3", "3a", "03"])
def test_a_build_number_is_the_one_of_the_name_or_left_out(build):
    document = wheel_document("py3-none-any", build=build)

    assert wrong_wheel_document(document, f"demo-1.0-{build or 3}-py3-none-any.whl") == []


def test_a_wheel_document_that_is_no_text_is_not_read():
    with pytest.raises(InvalidDistribution, match="WHEEL is 'other bytes at 5', expected is text in UTF-8"):
        wrong_wheel_document(b"Tag: \xff")


FILES = {"demo.py": b"demo", f"{INFO}/METADATA": b"metadata", f"{INFO}/WHEEL": b"wheel"}
RECORD = f"{INFO}/RECORD"
GOOD_RECORD = record_of(FILES, RECORD)
ANOTHER = record_digest(b"another")


def wrong_record(record: bytes, files: dict[str, bytes] = FILES) -> list[str]:
    opened = zip_files.open_zip(io.BytesIO(zip_of({**files, RECORD: record})))
    return [str(finding.problem) for finding in wheels.wrong_record(opened, INFO)]


def changed(old: str, new: str) -> bytes:
    assert old.encode() in GOOD_RECORD
    return GOOD_RECORD.replace(old.encode(), new.encode())


DEMO = f'"demo.py",{record_digest(b"demo")},4\n'
GOOD_RECORDS = {
    "every file": (GOOD_RECORD, FILES),
    "without itself": (changed(f"{RECORD},,\n", ""), FILES),
    "of itself without a digest": (changed(f"{RECORD},,", f"{RECORD},,77"), FILES),
    "with lines that end as on Windows": (changed("\n", "\r\n"), FILES),
    "without sizes": (changed(",4\n", ",\n"), FILES),
    "with a stronger digest": (changed(record_digest(b"demo"), record_digest(b"demo", "sha512")), FILES),
    "with a line twice": (GOOD_RECORD + DEMO.encode(), FILES),
    "of a name in small letters only": (changed(record_digest(b"demo"), record_digest(b"demo", "sha3_256")), FILES),
    "with a folder beside": (GOOD_RECORD, FILES | {"folder/": b""}),
    "with signatures beside": (GOOD_RECORD, FILES | {f"{RECORD}.jws": b"{}", f"{RECORD}.p7s": b""}),
    "with names that need quotes": (record_of(FILES | {"a,b\u00e9.py": b""}, RECORD), FILES | {"a,b\u00e9.py": b""}),
}  # fmt: skip


@pytest.mark.parametrize(("record", "files"), GOOD_RECORDS.values(), ids=GOOD_RECORDS)
def test_a_record_of_the_files_is_in_order(record, files):
    assert wrong_record(record, files) == []


BAD_RECORDS = {
    "a file too few": (changed(DEMO, ""), "RECORD is 'without demo.py', expected is a line for every file"),
    "a file too many": (GOOD_RECORD + b"other.py,,\n", "RECORD is 'other.py', expected is a file of the wheel"),
    "a folder": (GOOD_RECORD + b"demo/,,\n", "RECORD is 'demo', expected is a file of the wheel"),
    "a path out of the wheel": (GOOD_RECORD + b"../demo.py,,\n", "RECORD is '../demo.py', expected is a path within"),
    "an absolute path": (GOOD_RECORD + b"C:\\demo.py,,\n", "expected is a path within the wheel"),
    "a path in another spelling": (
        changed(DEMO, DEMO.replace("demo.py", "./demo.py")), "RECORD is './demo.py', expected is a plain relative path",
    ),
    "backslashes": (
        changed(f"{INFO}/WHEEL", f"{INFO}\\WHEEL"), "demo-1.0.dist-info\\\\WHEEL', expected is a plain relative path",
    ),
    "another digest": (
        changed(record_digest(b"demo"), ANOTHER),
        f"RECORD is 'demo.py with {ANOTHER}', expected is the digest of the file, {record_digest(b'demo')}",
    ),
    "no digest": (changed(record_digest(b"demo"), ""), "'demo.py with no digest', expected is sha256=<digest>, or"),
    "a weak digest": (
        changed(record_digest(b"demo"), record_digest(b"demo", "md5")), "RECORD is 'demo.py with md5=_gHOKn-6",
    ),
    "an unknown digest": (changed(DEMO, DEMO.replace("sha256", "sha1024")), "expected is sha256=<digest>, or a"),
    "a digest cut off": (changed(record_digest(b"demo"), "sha256=2a97516c"), "expected is the digest of the file"),
    "a digest with padding": (changed(",4\n", "=,4\n"), "expected is the same digest spelled sha256=KpdRb"),
    "a hexadecimal digest": (
        changed(record_digest(b"demo"), f"SHA-256={hashlib.sha256(b'demo').hexdigest()}"), "the same digest spelled",
    ),
    "another hexadecimal digest": (
        changed(record_digest(b"demo"), f"sha256={hashlib.sha256(b'x').hexdigest()}"), "is the digest of the file",
    ),
    "another digest of a weak kind": (
        changed(record_digest(b"demo"), record_digest(b"x", "md5")), "or a stronger one", "is the digest of the file",
    ),
    "another size": (
        changed(",4\n", ",5\n"), "RECORD is 'demo.py of 5 bytes', expected is the size of the file, 4 bytes",
    ),
    "two different lines": (
        GOOD_RECORD + b"demo.py,,\n",
        f"RECORD is 'line 5: demo.py,,', expected is '{record_digest(b'demo')},4' as in line 1, or no line",
    ),
    "two lines, of which the second has the digest": (
        b"demo.py,,\n" + changed(record_digest(b"demo"), ANOTHER), "',' as in line 1", "the digest of the file",
    ),
    "two digests": (
        GOOD_RECORD + f"demo.py,{ANOTHER},4\n".encode(),
        f"RECORD is 'line 5: demo.py,{ANOTHER},4', expected is '{record_digest(b'demo')},4' as in line 1, or no line",
    ),
    "two columns": (changed(",4\n", "\n"), "RECORD is 'line 1: demo.py,sha256="),
    "an empty line": (GOOD_RECORD + b"\n", "RECORD is 'line 5: empty', expected is <path>,"),
    "a comma without quotes": (
        changed('"demo.py"', "demo,py"), "RECORD is 'line 1: demo,py,sha256=", "without demo.py",
    ),
    "no text": (GOOD_RECORD + b"\xff,,\n", "RECORD is 'other bytes at 254', expected is text in UTF-8"),
    "no table": (b"x" * 200_000, "RECORD is 'something else behind line 1'"),
    "a NUL character": (GOOD_RECORD + b"a\x00.py,x,\n", "RECORD is 'a NUL character in line 5', expected is text"),
    "nothing": (
        b"", "RECORD is 'without demo-1.0.dist-info/METADATA'", "RECORD is 'without demo-1.0.dist-info/WHEEL'",
        "RECORD is 'without demo.py'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("record", "expected"), [(row[0], row[1:]) for row in BAD_RECORDS.values()], ids=BAD_RECORDS)
def test_a_record_of_other_files_is_reported(record, expected):
    try:
        found = wrong_record(record)
    except InvalidDistribution as refusal:
        found = [str(problem) for problem in refusal.problems]

    assert len(found) == len(expected)
    for sentence in expected:
        assert any(sentence in problem for problem in found), found


def test_a_damaged_file_is_found():
    content = zip_of({"demo.py": b"x" * 1000, RECORD: record_of({"demo.py": b"x" * 1000}, RECORD)})
    start = 30 + len("demo.py")  # behind the local header
    opened = zip_files.open_zip(io.BytesIO(content[:start] + b"\x07\x07" + content[start + 2 :]))

    with pytest.raises(InvalidDistribution, match="is damaged: its content is not deflated"):
        list(wheels.wrong_record(opened, INFO))


def test_a_wheel_beyond_the_bound_is_compared_by_names_and_sizes_only(monkeypatch):
    monkeypatch.setattr(wheels, "MAX_DIGESTED_BYTES", 10)

    assert wrong_record(changed(record_digest(b"demo"), ANOTHER)) == []
    assert len(wrong_record(changed(",4\n", ",5\n"))) == 1
    assert len(wrong_record(changed(DEMO, ""))) == 1


def test_a_record_of_endless_lines_takes_little_memory():
    opened = zip_files.open_zip(
        io.BytesIO(zip_of({RECORD: b"".join(b"%d,,\n" % number for number in range(400_000)), "a": b""}))
    )

    tracemalloc.start()
    with pytest.raises(InvalidDistribution, match="more than 100000 lines"):
        list(wheels.wrong_record(opened, INFO))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 3 * wheels.MAX_RECORD_BYTES


@pytest.mark.parametrize(
    "line",
    [b"a/" * 30_000 + b",,\n", b"a\\" * 30_000 + b",,\n", b"," * 60_000 + b"\n"],
    ids=["folders", "Windows folders", "commas"],
)
def test_a_record_over_the_budget_is_not_parsed(line):
    opened = zip_files.open_zip(io.BytesIO(zip_of({RECORD: line * 40, "a": b""})))

    with pytest.raises(InvalidDistribution, match="exceeds the budget"):
        list(wheels.wrong_record(opened, INFO))


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha224"])
def test_a_record_with_a_digest_that_can_be_forged_is_refused(algorithm):
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, b"demo").digest()).rstrip(b"=").decode()

    found = wrong_record(changed(record_digest(b"demo"), f"{algorithm}={digest}"))

    assert len(found) == 1
    assert algorithm in found[0]


def test_the_files_of_a_wheel_of_many_megabytes_are_compared_with_its_record():
    large = bytes(8 * MIB)
    files = {"demo.py": large, f"{INFO}/METADATA": b"", f"{INFO}/WHEEL": b""}
    record = record_of({**files, "demo.py": b"other"}, RECORD).replace(b",5\n", b",%d\n" % len(large))
    opened = zip_files.open_zip(io.BytesIO(zip_of({**files, RECORD: record})))

    assert len(list(wheels.wrong_record(opened, INFO))) == 1
