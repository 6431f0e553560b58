"""The weight of every check: a file is refused or remarked on, in a lenient and in a strict project."""

import base64
import hashlib
from collections.abc import Callable

import pytest

from registry.domain.distributions import inspection
from registry.domain.distributions.gate import RULES, Check, Rule, Weight
from tests.builders import BuiltFile, build_sdist, build_wheel, metadata, record_digest, record_of, zip_of

INFO = "demo-1.0.dist-info"
WHEEL = "demo-1.0-py3-none-any.whl"
TEXT = b"text 1"  # whose digest differs in the two alphabets of base64
DIGEST = record_digest(TEXT)
WRONG = record_digest(b"x").removeprefix("sha256=")


def with_metadata(*headers: str, version: str = "2.4", **fields: str) -> BuiltFile:
    return build_wheel(core_metadata=metadata("demo", "1.0", metadata_version=version, headers=headers, **fields))


def with_wheel_document(document: str) -> BuiltFile:
    return build_wheel(files={f"{INFO}/WHEEL": f"{document}\n".encode()})


def with_entry_points(text: str) -> BuiltFile:
    return build_wheel(files={f"{INFO}/entry_points.txt": text.encode("latin-1")})


def with_record(change: Callable[[str], str]) -> BuiltFile:
    """A wheel with ``a,b.txt`` and ``demo/text``, and a ``RECORD`` that is not as it should be."""
    files = {
        "a,b.txt": b"",
        "demo/text": TEXT,
        f"{INFO}/METADATA": metadata("demo", "1.0"),
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    record = record_of(files, f"{INFO}/RECORD").decode()
    assert change(record) != record
    content = zip_of({**files, f"{INFO}/RECORD": change(record).encode("latin-1")})
    return BuiltFile(WHEEL, content, "demo", "1.0", inspection.Kind.WHEEL)


def with_digest(digest: str) -> BuiltFile:
    return with_record(lambda record: record.replace(DIGEST, digest))


def with_line(line: str) -> BuiltFile:
    return with_record(lambda record: f"{record}{line}\n")


REFUSED = {
    "an unknown suffix": (Check.FILE_NAME, build_wheel(filename="demo-1.0.egg")),
    "no .dist-info": (Check.DIST_INFO, BuiltFile(WHEEL, zip_of({"a": b""}), "demo", "1.0", inspection.Kind.WHEEL)),
    "another .dist-info": (
        Check.DIST_INFO_NAME, build_wheel("other", core_metadata=metadata("demo", "1.0"), filename=WHEEL),
    ),
    "no zip file": (Check.ARCHIVE, BuiltFile(WHEEL, b"text", "demo", "1.0", inspection.Kind.WHEEL)),
    "two names of one file": (Check.ARCHIVE, build_wheel(files={f"{INFO}/metadata": b""})),
    "a file in a file": (Check.ARCHIVE, build_wheel(files={"a": b"", "A/b": b""})),
    "no RECORD": (Check.DOCUMENT_MISSING, build_wheel(without=[f"{INFO}/RECORD"])),
    "metadata not in UTF-8": (Check.DOCUMENT_UNREADABLE, build_wheel(core_metadata=b"Name: d\xe9mo\n")),
    "a file for an unknown place": (Check.DATA_SCHEME, build_wheel(files={"demo-1.0.data/etc/a": b""})),
    "a file for no place": (Check.DATA_SCHEME, build_wheel(files={"demo-1.0.data/data": b""})),
    "other metadata in a .data folder": (
        Check.DATA_TARGET, build_wheel(files={f"demo-1.0.data/purelib/{INFO}/METADATA": metadata("demo", "6.6.6")}),
    ),
    "another module in another .data folder": (Check.DATA_TARGET, build_wheel(files={"a.data/platlib/DEMO.py": b""})),
    "two files of the data folders": (
        Check.DATA_TARGET, build_wheel(files={f"demo-1.0.data/{scheme}": b"" for scheme in ("purelib/q", "platlib/Q")}),
    ),
    "entry points not in UTF-8": (Check.ENTRY_POINTS_UNREADABLE, with_entry_points("[a]\n\xff = b")),
    "an entry point without an object": (Check.ENTRY_POINTS_UNREADABLE, with_entry_points("[a]\nb")),
    "no name": (Check.NAME, build_wheel(core_metadata=b"Metadata-Version: 2.1\nVersion: 1.0\n")),
    "no version": (Check.VERSION, build_wheel(core_metadata=b"Metadata-Version: 2.1\nName: demo\n")),
    "another name": (Check.NAME_DIFFERS, build_wheel(core_metadata=metadata("other", "1.0"))),
    "another version": (Check.VERSION_DIFFERS, build_wheel(core_metadata=metadata("demo", "2.0"))),
    "no requirement": (Check.REQUIREMENT, with_metadata("Requires-Dist: six >=1.*")),
    "no requirement of Python": (Check.PYTHON, with_metadata(requires_python="3.8 or later")),
    "two requirements of Python": (
        Check.AMBIGUOUS_FIELD, with_metadata("Requires-Python: >=3", "Requires-Python: >=2"),
    ),
    "WHEEL not in UTF-8": (Check.WHEEL_UNREADABLE, build_wheel(files={f"{INFO}/WHEEL": b"\xff"})),
    "a new major version": (Check.WHEEL_VERSION, with_wheel_document("Wheel-Version: 2.0\nTag: py3-none-any")),
    "two versions": (
        Check.WHEEL_AMBIGUOUS, with_wheel_document("Wheel-Version: 1.0\nWheel-Version: 2.0\nTag: py3-none-any"),
    ),
    "RECORD not in UTF-8": (Check.RECORD_UNREADABLE, with_line("\xff,,")),
    "a path out of the wheel": (Check.RECORD_OUTSIDE, with_line("../../other.py,,")),
    "two digests": (Check.RECORD_TWO_DIGESTS, with_line(f"demo/text,{record_digest(b'x')},6")),
    "another digest": (Check.RECORD_DIGEST, with_digest(record_digest(b"x"))),
    "another digest in hexadecimal": (Check.RECORD_DIGEST, with_digest(f"sha256={hashlib.sha256(b'x').hexdigest()}")),
    "another digest with padding": (Check.RECORD_DIGEST, with_digest(f"{record_digest(b'x')}=")),
    "another digest of a weak kind": (Check.RECORD_DIGEST, with_digest(record_digest(b"x", "md5"))),
    "another digest behind a space": (Check.RECORD_DIGEST, with_digest(f" sha256\xc2\xa0={WRONG}")),
    "another digest of any length": (Check.RECORD_DIGEST, with_digest(f"shake_128={WRONG}")),
    "nothing as a digest of any length": (Check.RECORD_DIGEST, with_digest("shake_256==")),
    "digests of two algorithms": (Check.RECORD_TWO_DIGESTS, with_line(f"demo/text,{record_digest(TEXT, 'md5')},6")),
    "another size without a digest": (
        Check.RECORD_SIZE_ALONE, with_record(lambda record: record.replace(f"{DIGEST},6", ",7")),
    ),
}  # fmt: skip
REMARKED = {
    "a platform that no client knows": (Check.UNKNOWN_TAG, build_wheel(tag="py3-none-win64")),
    "another top folder": (Check.TOP_FOLDER, build_sdist(top="demo-main")),
    "no license file": (Check.LICENSE_FILE_MISSING, with_metadata("License-File: LICENSE")),
    "another .data folder": (Check.DATA_FOLDER, build_wheel(files={"other.data/purelib/a": b""})),
    "entry points without a section": (Check.ENTRY_POINTS, with_entry_points("a = b\nc = d")),
    "a section with something behind": (Check.ENTRY_POINTS, with_entry_points("[a] b\nc = d")),
    "an entry point on two lines": (Check.ENTRY_POINTS, with_entry_points("[a]\nb =\n  c")),
    "a comment with a semicolon": (Check.ENTRY_POINTS, with_entry_points("[a]\n; b\nc = d")),
    "a script above its folder": (Check.ENTRY_POINT_NAME, with_entry_points("[console_scripts]\n.. = a:b")),
    "a script in a folder": (Check.ENTRY_POINT_NAME, with_entry_points("[gui_scripts]\na\\b = a:b")),
    ".* behind >=": (Check.PYTHON_WILDCARD, with_metadata(requires_python=">=3.7.*")),
    "Python on two lines": (Check.PYTHON_LINES, with_metadata("Requires-Python: >=3.8,", "  <4")),
    "two summaries": (Check.REPEATED_FIELD, with_metadata("Summary: another")),
    "requirements behind a line that is no field": (
        Check.LOST_FIELDS, with_metadata("Home page", "Requires-Dist: six", version="2.1"),
    ),
    "a new major version of metadata": (Check.METADATA_VERSION, with_metadata(version="3.0")),
    "a license expression under 2.1": (Check.EARLY_FIELD, with_metadata("License-Expression: MIT", version="2.1")),
    "a license expression under 2.3": (Check.EARLY_FIELD, with_metadata("License-Expression: MIT", version="2.3")),
    "a dynamic field under 2.1": (Check.EARLY_FIELD, with_metadata("Dynamic: Requires-Dist", version="2.1")),
    "a content type under 1.2": (
        Check.EARLY_FIELD, with_metadata("Description-Content-Type: text/plain", version="1.2"),
    ),
    "HTML": (Check.FIELD_SYNTAX, with_metadata("Description-Content-Type: text/html")),
    "a license file outside": (Check.FIELD_SYNTAX, with_metadata("License-File: ../LICENSE")),
    "an unknown classifier": (Check.CLASSIFIER, with_metadata("Classifier: Topic :: Hammers")),
    "a broken description": (
        Check.DESCRIPTION, with_metadata(description="A\n=\n\n``b", description_content_type="text/x-rst"),
    ),
    "a version without a minor number": (
        Check.WHEEL_VERSION_SPELLING, with_wheel_document("Wheel-Version: 1\nTag: py3-none-any"),
    ),
    "an old major version": (
        Check.WHEEL_VERSION_SPELLING, with_wheel_document("Wheel-Version: 0.1\nTag: py3-none-any"),
    ),
    "another build": (Check.WHEEL_BUILD, with_wheel_document("Wheel-Version: 1.0\nTag: py3-none-any\nBuild: 7")),
    "no tag": (Check.WHEEL_TAG, with_wheel_document("Wheel-Version: 1.0")),
    "another tag": (Check.WHEEL_TAG, with_wheel_document("Wheel-Version: 1.0\nTag: cp312-cp312-win_amd64")),
    "a malformed tag": (Check.WHEEL_TAG, with_wheel_document("Wheel-Version: 1.0\nTag: py3")),
    "a comma without quotes": (
        Check.RECORD_COLUMNS, with_record(lambda record: record.replace('"a,b.txt"', "a,b.txt")),
    ),
    "an empty line": (Check.RECORD_COLUMNS, with_line("")),
    "a backslash": (Check.RECORD_PATH, with_record(lambda record: record.replace("demo/text", "demo\\text"))),
    "two lines": (Check.RECORD_TWO_LINES, with_line("demo/text,,")),
    "two lines with one digest": (
        Check.RECORD_TWO_LINES, with_line(f"demo/text,sha256={hashlib.sha256(TEXT).hexdigest()},6"),
    ),
    "a digest of RECORD": (
        Check.RECORD_OWN_DIGEST, with_record(lambda record: record.replace("RECORD,,", f"RECORD,{DIGEST},")),
    ),
    "a digest behind a space": (Check.RECORD_SPELLING, with_digest(DIGEST.replace("=", "\xc2\xa0= "))),
    "a digest of any length": (
        Check.RECORD_ALGORITHM, with_digest(f"shake_128={hashlib.shake_128(TEXT).hexdigest(64)}"),
    ),
    "a file too few": (
        Check.RECORD_WITHOUT, with_record(lambda record: record.replace(f'"demo/text",{DIGEST},6\n', "")),
    ),
    "a file too many": (Check.RECORD_ABSENT, with_line("other.py,,")),
    "a digest in hexadecimal": (Check.RECORD_SPELLING, with_digest(f"sha256={hashlib.sha256(TEXT).hexdigest()}")),
    "a digest in capitals": (
        Check.RECORD_SPELLING, with_digest(f"SHA256={hashlib.sha256(TEXT).hexdigest().upper()}"),
    ),
    "a digest in the other base64": (
        Check.RECORD_SPELLING,
        with_digest(f"sha256={base64.b64encode(hashlib.sha256(TEXT).digest()).decode()}"),
    ),
    "a digest with padding": (Check.RECORD_SPELLING, with_digest(f"{DIGEST}=")),
    "no digest": (Check.RECORD_NO_DIGEST, with_digest("")),
    "a weak digest": (Check.RECORD_ALGORITHM, with_digest(record_digest(TEXT, "md5"))),
    "an unknown algorithm": (Check.RECORD_ALGORITHM, with_digest("crc32=0")),
    "another size": (Check.RECORD_SIZE, with_record(lambda record: record.replace(f"{DIGEST},6", f"{DIGEST},7"))),
}  # fmt: skip
OF_THE_FORM = {Check.FORM_NAME, Check.FORM_VERSION}  # see the tests of publishing


def test_every_check_has_a_weight_and_a_case():
    refused, remarked = ({check for check, _ in cases.values()} for cases in (REFUSED, REMARKED))

    assert set(RULES) == set(Check)
    assert refused | OF_THE_FORM == {check for check in Check if RULES[check].weight is Weight.REFUSED}
    assert remarked == {check for check in Check if RULES[check].weight is Weight.REMARKED}


@pytest.mark.parametrize(("check", "built"), REFUSED.values(), ids=REFUSED)
def test_what_no_installer_can_use_is_refused_by_every_project(check, built, monkeypatch):
    lenient = inspection.examine(built.open(), built.filename)

    assert lenient.refusals
    assert lenient.strictly().refusals[: len(lenient.refusals)] == lenient.refusals

    monkeypatch.setitem(RULES, check, Rule(Weight.REMARKED, "the table decides"))
    assert len(inspection.examine(built.open(), built.filename).refusals) < len(lenient.refusals)


@pytest.mark.parametrize(("check", "built"), REMARKED.values(), ids=REMARKED)
def test_what_installers_accept_is_remarked_and_refused_by_strict_projects(check, built, monkeypatch):
    lenient = inspection.examine(built.open(), built.filename)
    strict = lenient.strictly()

    assert lenient.refusals == ()
    assert lenient.distribution is not None
    assert 0 < len(lenient.remarks) <= 2
    assert (strict.refusals, strict.remarks) == (lenient.remarks, ())

    monkeypatch.setitem(RULES, check, Rule(Weight.REFUSED, "the table decides"))
    assert inspection.examine(built.open(), built.filename).refusals


def test_a_line_of_record_with_a_comma_is_shown_with_its_number_and_text():
    _, built = REMARKED["a comma without quotes"]

    (remark,) = inspection.examine(built.open(), built.filename).remarks

    digest = record_digest(b"")
    assert remark.field == "RECORD"
    assert remark.value == f"line 1: a,b.txt,{digest},0"
    assert remark.expected == "<path>,<algorithm>=<digest>,<size>, with the path in quotes if it contains a comma"
