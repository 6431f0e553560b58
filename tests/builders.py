"""Real wheels and sdists, made in memory: pip installs them, and equal arguments give equal bytes."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import io
import random
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from registry.domain.distributions.filenames import Kind

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BUILD_SYSTEM = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
# The sdist carries its own build backend, so that pip can build it without an index.
_BACKEND = """\
import pathlib
import zipfile

WHEEL = "Wheel-Version: 1.0\\nGenerator: backend\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    release, module = "{release}", "{module}.py"
    files = {{
        module: pathlib.Path(module).read_text(),
        f"{{release}}.dist-info/METADATA": pathlib.Path("PKG-INFO").read_text("utf-8"),
        f"{{release}}.dist-info/WHEEL": WHEEL,
    }}
    files[f"{{release}}.dist-info/RECORD"] = "".join(f"{{path}},,\\n" for path in files)
    filename = f"{{release}}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, filename), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return filename
"""


@dataclass(frozen=True)
class BuiltFile:
    """A wheel or sdist as ``twine upload`` would find it on disk."""

    filename: str
    content: bytes
    name: str
    version: str
    kind: Kind

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.content)


def build_wheel(
    name: str = "demo",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    build: str = "",
    filename: str | None = None,
    files: Mapping[str, bytes] | None = None,
    without: Iterable[str] = (),
    record: bytes | None = None,
    size_bytes: int = 0,
    core_metadata: bytes | None = None,
    **fields: str | Iterable[str],
) -> BuiltFile:
    """A wheel with one module named as the package, ``METADATA``, ``WHEEL`` and ``RECORD``.

    :param tag: may be compressed, as in ``py2.py3-none-any``.
    :param build: build number, as in ``1``.
    :param filename: instead of the one that name, version and tag make.
    :param files: more files, or other content for the usual ones, by path in the wheel.
    :param without: paths of usual files to leave out.
    :param record: the whole ``RECORD``, instead of one that lists the others.
    :param size_bytes: padded to at least so many bytes.
    :param core_metadata: the whole ``METADATA`` document instead of ``fields``.
    :param fields: see ``metadata``.
    """
    release = release_of(name, version)
    info = f"{release}.dist-info"
    contents = {
        f"{module_of(name)}.py": _module(version),
        f"{info}/METADATA": core_metadata or metadata(name, version, **fields),
        f"{info}/WHEEL": _wheel_document(tag, build),
        **(files or {}),
        **_padding("padding.bin", size_bytes),
    }
    contents[f"{info}/RECORD"] = record_of(contents, f"{info}/RECORD") if record is None else record
    contents = {path: content for path, content in contents.items() if path not in without}
    default_filename = "-".join(part for part in (release, build, tag) if part) + ".whl"
    return BuiltFile(filename or default_filename, zip_of(contents), name, version, Kind.WHEEL)


def build_sdist(
    name: str = "demo",
    version: str = "1.0",
    *,
    filename: str | None = None,
    top: str | None = None,
    files: Mapping[str, bytes] | None = None,
    size_bytes: int = 0,
    core_metadata: bytes | None = None,
    **fields: str | Iterable[str],
) -> BuiltFile:
    """An sdist with ``PKG-INFO``, ``pyproject.toml``, one module, and a build backend of its own.

    :param filename: instead of the one that name and version make; ``.zip`` at its end makes a zip file.
    :param top: name of the top folder, instead of the one that name and version make.
    :param files: more files, or other content for the usual ones, by path in the top folder.
    :param size_bytes: padded to at least so many bytes.
    :param core_metadata: the whole ``PKG-INFO`` document instead of ``fields``.
    :param fields: see ``metadata``.
    """
    release = release_of(name, version)
    filename = filename or f"{release}.tar.gz"
    contents = {
        "PKG-INFO": core_metadata or metadata(name, version, **fields),
        "pyproject.toml": _BUILD_SYSTEM.encode(),
        "backend.py": _BACKEND.format(release=release, module=module_of(name)).encode(),
        f"{module_of(name)}.py": _module(version),
        **(files or {}),
        **_padding("padding.bin", size_bytes),
    }
    placed = {f"{top or release}/{path}": content for path, content in contents.items()}
    content = zip_of(placed) if filename.endswith(".zip") else tar_gz_of(placed)
    return BuiltFile(filename, content, name, version, Kind.SDIST)


def metadata(
    name: str,
    version: str,
    *,
    metadata_version: str = "2.1",
    summary: str = "A demonstration",
    description: str = "",
    description_content_type: str = "",
    requires_python: str = "",
    requires_dist: Iterable[str] = (),
    headers: Iterable[str] = (),
) -> bytes:
    """A core metadata document; empty fields are left out.

    :param headers: more lines, as in ``Classifier: Private :: Do Not Upload``.
    """
    fields = [
        ("Metadata-Version", metadata_version),
        ("Name", name),
        ("Version", version),
        ("Summary", summary),
        ("Requires-Python", requires_python),
        *(("Requires-Dist", requirement) for requirement in requires_dist),
        ("Description-Content-Type", description_content_type),
    ]
    lines = [f"{field}: {value}" for field, value in fields if value]
    body = f"\n{description}" if description else ""
    return ("\n".join([*lines, *headers]) + "\n" + body).encode()


def release_of(name: str, version: str) -> str:
    """``<name>-<version>`` as in file and folder names (PyPA, "Binary distribution format", escaping)."""
    return f"{module_of(name)}-{version.replace('-', '_')}"


def module_of(name: str) -> str:
    return canonicalize_name(name).replace("-", "_")


def zip_of(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for path, content in files.items():
            member = zipfile.ZipInfo(path, _EPOCH)
            member.external_attr = 0o644 << 16
            target.writestr(member, content, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def tar_gz_of(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as target:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), mtime=0)


def _module(version: str) -> bytes:
    return f'__version__ = "{version}"\n'.encode()


def _wheel_document(tag: str, build: str) -> bytes:
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    tags = [f"{python}-{abi}-{platform}" for python in pythons for abi in abis for platform in platforms]
    lines = ["Wheel-Version: 1.0", "Generator: builders", "Root-Is-Purelib: true", *(f"Tag: {each}" for each in tags)]
    return ("\n".join([*lines, *([f"Build: {build}"] if build else [])]) + "\n").encode()


def record_of(files: Mapping[str, bytes], path_of_record: str) -> bytes:
    """A ``RECORD`` of these files, which ends with itself."""
    rows = [f'"{path}",{record_digest(content)},{len(content)}\n' for path, content in files.items()]
    return "".join([*rows, f"{path_of_record},,\n"]).encode()


def record_digest(content: bytes, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _padding(path: str, size_bytes: int) -> dict[str, bytes]:
    return {path: random.Random(0).randbytes(size_bytes)} if size_bytes else {}
