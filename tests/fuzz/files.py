"""Fuzz targets for uploads: the form, the archives, and the documents in them."""

from __future__ import annotations

import gzip
import io
import json
import posixpath
import tarfile
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from email import message_from_string
from functools import cache
from tempfile import mkdtemp

from flask import Flask, request
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from registry.blueprints.pypi.upload import Form, received_form
from registry.domain.distributions import core_metadata, members, tar_files, zip_files
from registry.domain.distributions.filenames import Kind, parse_filename
from registry.domain.distributions.inspection import MAX_PROBLEMS, examine
from registry.errors import BadRequest, InvalidDistribution, InvalidParameter, Problem
from registry.storage.local import LocalStorage
from tests.builders import build_sdist, build_wheel, metadata
from tests.fuzz.target import Target, words

LIMIT = 1 << 20  # of a file that is read from an archive
LONGEST_PROBLEM = 8000  # as JSON, in which a character can take six


def require_bounded(problems: Iterable[Problem]) -> None:
    """Fail unless problems are few, short, and complete."""
    listed = list(problems)
    assert len(listed) <= MAX_PROBLEMS + 1
    assert all(problem.field and problem.expected for problem in listed)
    assert all(len(json.dumps(problem.as_json())) <= LONGEST_PROBLEM for problem in listed)


@cache
def _flask() -> Flask:
    return Flask("fuzz")


@cache
def _storage() -> LocalStorage:
    return LocalStorage(mkdtemp(prefix="fuzz"))


def _read_form(content_type: str, body: bytes, *, is_declared: bool) -> tuple[Form, bytes] | str:
    """The form and the file in it, or the refusal."""
    environ = {"CONTENT_TYPE": content_type, "REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(body)}
    if is_declared:
        environ["CONTENT_LENGTH"] = str(len(body))
    else:
        environ["wsgi.input_terminated"] = True
    staged = _storage().stage()
    try:
        with _flask().test_request_context("/", environ_overrides=environ):
            form = received_form(request, staged, LIMIT)
            staged.seek(0)
            return form, staged.file.read()
    except (BadRequest, InvalidParameter) as refusal:
        return type(refusal).__name__
    finally:
        staged.close()


def check_form(data: bytes) -> None:
    """A form is read alike with a declared length, where there is a quicker way, and without."""
    content_type, _, body = data.partition(b"\n")

    declared = _read_form(content_type.decode("latin-1"), body, is_declared=True)

    assert declared == _read_form(content_type.decode("latin-1"), body, is_declared=False)


def _form(*parts: bytes, boundary: bytes = b"x", end: bytes = b"--\r\n") -> bytes:
    delimiter = b"--" + boundary
    written = b"".join(delimiter + b"\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
    return b"multipart/form-data; boundary=" + boundary + b"\n" + written + delimiter + end


FORM = Target(
    "form",
    check_form,
    (
        _form(b'name="name"\r\n\r\ndemo', b'name="content"; filename="demo-1.0.tar.gz"\r\n\r\nbytes'),
        _form(b'name="a"\r\n\r\n1', b'name="content"; filename="b"\r\nContent-Type: text/plain\r\n\r\n\r\n'),
        _form(b'name=":action"\r\n\r\nfile_upload', boundary=b"a-b"),
    ),
    words(
        "\r\n", "\n", "\r", "--x", "\r\n--x", "\r\n--x\r\n", "\r\n--x--\r\n", "--x--", "--x \r\n", "\n--x\n", "--", "x",
        '; filename="c"', "; filename*=UTF-8''c", '; name="b"', "\r\n\r\n", "\r\nContent-Type: a/b; charset=utf-16",
        "\r\nContent-Length: 3", '"', "%22", "\\", ";", "=", ":", " ", "\x00", b"\xff", b"\xc3\xa9", "; boundary=y",
    ),
)  # fmt: skip


def check_zip(data: bytes) -> None:
    """An accepted zip file has the members and contents that zipfile finds, and pages show the same."""
    shown = _shown(data, "demo-1.0.zip")
    try:
        opened = zip_files.open_zip(io.BytesIO(data))
        contents = {path: opened.read(path, LIMIT) for path in opened.files}
    except InvalidDistribution as refusal:
        require_bounded(refusal.problems)
        return
    with zipfile.ZipFile(io.BytesIO(data)) as theirs:
        files = [member for member in theirs.infolist() if not member.is_dir()]
        assert {member.filename: theirs.read(member) for member in files} == contents
    assert shown == contents


def _shown(data: bytes, filename: str) -> dict[str, bytes]:
    """Return the files that pages show of an archive, with the contents that can be read, or nothing."""
    contents = {}
    with suppress(InvalidDistribution):
        for path, member in members.listing(io.BytesIO(data), filename).members.items():
            if not member.is_folder and not member.target:
                with suppress(InvalidDistribution):
                    contents[path] = members.content(io.BytesIO(data), member, LIMIT)
    return contents


def with_checksums(data: bytes) -> bytes:
    """A tar file with the checksum of each header corrected, which chance would never do."""
    content, at = bytearray(data), 0
    while at + tarfile.BLOCKSIZE <= len(content):
        block = bytes(content[at : at + tarfile.BLOCKSIZE])
        if block.count(0) == tarfile.BLOCKSIZE:
            break
        checksum, _ = tarfile.calc_chksums(block)
        content[at + 148 : at + 156] = b"%06o\0 " % checksum
        try:
            size = tarfile.nti(block[124:136])
        except tarfile.HeaderError:
            break
        at += tarfile.BLOCKSIZE * (1 + max(0, -(-size // tarfile.BLOCKSIZE)))
    return bytes(content)


def check_tar(data: bytes) -> None:
    """An accepted tar file has the members and the document that tarfile finds, and tarfile's filter accepts it.

    Pages show the same document.
    """
    packed = gzip.compress(with_checksums(data), 1)
    shown = _shown(packed, "demo-1.0.tar.gz")
    try:
        top = tar_files.read_tar_gz(io.BytesIO(packed), "PKG-INFO", LIMIT)
    except InvalidDistribution as refusal:
        require_bounded(refusal.problems)
        return
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as theirs:
        found_members = theirs.getmembers()
        files = {posixpath.normpath(member.name): member for member in found_members if not member.isdir()}
        assert files.keys() == top.files
        document = files.get(f"{top.name}/PKG-INFO")
        found = theirs.extractfile(document) if document else None
        assert (found.read() if found else None) == top.content == shown.get(f"{top.name}/PKG-INFO")
        for member in found_members:
            tarfile.data_filter(member, "/nowhere")


def _tar(*members: tuple[str, bytes, bytes, str], form: int = tarfile.USTAR_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for name, kind, body, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(body), link
            archive.addfile(member, io.BytesIO(body))
    return content.getvalue()[:8192]


_FILE, _LINK, _FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
_MEMBERS = (("d-1/PKG-INFO", _FILE, b"Name: d\n", ""), ("d-1/a", _FILE, b"a", ""), ("d-1/b", _LINK, b"", "a"))
_LONG = (("d-1/" + "\u00e9" * 120, _FILE, b"x", ""), ("d-1/s", _FOLDER, b"", ""), ("d-1/s/h", _LINK, b"", "../a"))

ZIP = Target(
    "zip",
    check_zip,
    (build_wheel().content, build_sdist(filename="demo-1.0.zip").content),
    words(
        "PK\x01\x02", "PK\x03\x04", "PK\x05\x06", "PK\x06\x06", "PK\x06\x07", "PK\x07\x08", b"\xff" * 4, b"\xff" * 8,
        bytes(4), bytes(2), b"\x01\x00", b"\x08\x00", b"\x00\x08", "up", "../", "/", "\\", "a:", b"\x01\x00\x08\x00",
    ),
)  # fmt: skip
TAR = Target(
    "tar",
    check_tar,
    (_tar(*_MEMBERS), _tar(*_MEMBERS, *_LONG, form=tarfile.PAX_FORMAT),
     _tar(*_MEMBERS, *_LONG, form=tarfile.GNU_FORMAT)),
    words(
        "../", "/", "./", "0", "1", "2", "5", "7", "g", "x", "L", "K", "S", "V", "\x00", "ustar\x0000", "ustar  \x00",
        b"\x80" + bytes(10) + b"\x01", b"\xff" * 12, "00000000012", "00000001000", "12 path=a/b\n", "16 linkpath=a/b\n",
        "11 size=10\n", "10 size=1\n", "25 GNU.sparse.major=1\n", "20 hdrcharset=BINARY\n", b"\xff", bytes(512), " ",
    ),
)  # fmt: skip


def check_metadata(data: bytes) -> None:
    """Accepted metadata has the fields for resolvers that the parser of installers reads from the whole document."""
    try:
        read = core_metadata.read(data)
    except InvalidDistribution as refusal:
        require_bounded(refusal.problems)
        return
    findings = list(core_metadata.findings(read))
    for finding in findings:
        require_bounded([finding.problem])
    assert isinstance(read.description.text, str)
    if any(finding.is_refused for finding in findings):
        return
    theirs = message_from_string(data.decode())  # as importlib.metadata reads it
    assert read.name == theirs["Name"].strip()
    assert read.version == theirs["Version"].strip()
    ours = [requirement.strip() for requirement in read.fields.get("requires_dist", [])]
    assert ours == [value.strip() for value in theirs.get_all("Requires-Dist", [])]
    requires_python = (theirs["Requires-Python"] or "").strip()
    assert read.requires_python == ("" if requires_python == "UNKNOWN" else requires_python)


METADATA = Target(
    "metadata",
    check_metadata,
    (
        metadata("demo", "1.0", requires_dist=["a>=1; extra == 'x'", "b @ https://b.test/b.whl"]),
        metadata("demo", "1.0", requires_python=">=3.9", headers=["Keywords: a,b"])
        + b"\n\nThe description.\n",
        b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nDescription: a\n        b\n       |c\n",
    ),
    words(
        "\n", "\r\n", "\r", "\n ", "\n\n", ":", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", b"\xff",
        "Name: evil\n",
        "Version: 9\n", "Requires-Dist: evil\n", "Requires-Python: >=9\n", "requires-dist : evil\n", "From demo\n",
        ">=3.*", "9" * 5000, "(" * 50, "Dynamic: name\n", "Project-URL: a\n", "License-File: ../a\n",
        "=?utf-8?q?evil?=",
        "Description-Content-Type: text/x; c*0=d\n", "Provides-Extra: x\n", "Import-Name: a\n",
        "Metadata-Version: 2.5\n",
        "; python_version < '3'", "\n\t", " ", "Classifier: Private :: x\n", "UNKNOWN", "Keywords: a\n",
    ),
)  # fmt: skip

_SEPARATOR = b"\n--\n"


def check_wheel(data: bytes) -> None:
    """A wheel with any ``METADATA``, ``WHEEL``, and ``RECORD`` is judged with few, short problems."""
    document, wheel, record, *_ = [*data.split(_SEPARATOR), b"", b"", b""]
    info = "demo-1.0.dist-info"
    built = build_wheel(files={f"{info}/METADATA": document, f"{info}/WHEEL": wheel}, record=record)

    examination = examine(built.open(), built.filename)

    require_bounded(examination.refusals)
    require_bounded(examination.remarks)
    assert examination.distribution is not None or examination.refusals


def _documents() -> bytes:
    with zipfile.ZipFile(build_wheel().open()) as built:
        return _SEPARATOR.join(built.read(f"demo-1.0.dist-info/{name}") for name in ("METADATA", "WHEEL", "RECORD"))


WHEEL = Target(
    "wheel",
    check_wheel,
    (_documents(),),
    words(
        "\n", "\r", '"', ",", ",,", "=", "sha256=", "md5=", "shake_128=", "../", "/", "\\",
        "Tag: py3-none-any\n", "-", ".",
        "Tag: py2.py3-none-any\n", "Build: 1\n", "Wheel-Version: 2.0\n", "\x00", b"\xff", b"\xc3\xa9", "9" * 5000, ":",
        "demo.py,,\n", "demo.py", "Name: a\n", "Root-Is-Purelib: x\n", "\x85", "\u2028",
    ),
)  # fmt: skip


def check_filename(data: bytes) -> None:
    """A file name has the package name and the version that installers find in it."""
    filename = data.decode("utf-8", "replace")
    try:
        ours = parse_filename(filename)
    except InvalidDistribution as refusal:
        require_bounded(refusal.problems)
        return
    try:
        name, version = _as_installers_read(filename, ours.kind)
    except ValueError:
        return
    assert (name, version) == (ours.normalized_name, ours.version)


def _as_installers_read(filename: str, kind: Kind) -> tuple[str, Version]:
    if kind is Kind.WHEEL:
        name, version, _, _ = parse_wheel_filename(filename)
    else:
        name, version = parse_sdist_filename(filename)
        if filename.count("-") > 1:
            raise ValueError("packaging takes the last dash, without regard to what follows it")
    return canonicalize_name(name), version


FILENAMES = Target(
    "filenames",
    check_filename,
    words(
        "demo-1.0-py3-none-any.whl", "my_pkg-1.0.post1-1-cp311-abi3-linux_x86_64.whl", "demo-1.0.tar.gz", "a-b-2.zip"
    ),
    words(
        "-", "_", ".", "+", "!", "1", "rc1", "post", ".whl", ".tar.gz", ".zip", "é", "\n", "\x00", "py3", "9" * 240, " "
    ),
)
