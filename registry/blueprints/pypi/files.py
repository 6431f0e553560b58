"""Downloads of package files and their core metadata, with ranges, validators, and caching."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import PreconditionFailed, RequestedRangeNotSatisfiable
from werkzeug.http import parse_range_header
from werkzeug.wsgi import wrap_file

from registry import credential_names, metrics
from registry.addresses import root_url
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi.prepared import LARGEST_FILE_BYTES, depends_on_name, preparable
from registry.blueprints.routing import PYPI
from registry.domain.access import Permission
from registry.domain.packages import index
from registry.domain.packages.index import DownloadableFile
from registry.errors import (
    InvalidParameter,
    NotFound,
    QuarantinedPackage,
    RecordNotFound,
    RegistryError,
    Unavailable,
)
from registry.metrics import Download
from registry.models import Group, Namespace, Project
from registry.storage import ObjectDamaged, ObjectMissing, Storage, object_key

FILE = "/files/<sha256>/<rest:filename>"
METADATA_SUFFIX = ".metadata"
OBJECTS = "/_objects"  # internal location of the storage folder in nginx
BLOCK_BYTES = 1 << 18
A_DAY_SECONDS, A_YEAR_SECONDS = 86_400, 31_536_000
RECEIVED_BLOCK_BYTES = 1 << 20  # large enough for the server to spool blocks to disk for slow clients
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

logger = logging.getLogger(__name__)


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("files", __name__)

    @blueprint.get(PYPI["project"] + FILE)
    @preparable(LARGEST_FILE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def project_file(project: Project, sha256: str, filename: str) -> Response:
        """Return a file of a project."""
        return _download(project, sha256, filename, NotFound("Package"))

    @blueprint.get(PYPI["group"] + FILE)
    @preparable(LARGEST_FILE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def group_file(group: Group, sha256: str, filename: str) -> Response:
        """Return a file of a project in a group, if the caller can read the project."""
        return _download(group, sha256, filename, RecordNotFound())

    return blueprint


def _download(namespace: Namespace, sha256: str, filename: str, missing: RegistryError) -> Response:
    if re.search(r"(^|/)\.\.(/|$)|\x00", filename):
        raise InvalidParameter("file_identifier should be a valid file path")
    if not _SHA256.fullmatch(sha256):
        raise missing.explained("File not found", "The address of a file has its SHA-256 digest before the name.")
    principal = current_principal()
    if filename.endswith(METADATA_SUFFIX):  # no package file has this suffix
        owner = index.downloadable_file(namespace, sha256, filename.removesuffix(METADATA_SUFFIX), principal)
        if owner is not None and owner.core_metadata_sha256 is not None:
            depends_on_name(request.environ, owner.normalized_name)
            return _core_metadata(owner, owner.core_metadata_sha256)
    else:
        file = index.downloadable_file(namespace, sha256, filename, principal)
        if file is not None:
            depends_on_name(request.environ, file.normalized_name)
            return _package_file(file)
    index.refuse_where_hidden(namespace, principal)
    _refuse_withheld(namespace, sha256, filename.removesuffix(METADATA_SUFFIX), missing)
    raise missing.explained(
        "File not found",
        "There is no file with this name and digest here. If a lock file lists it, create the lock file again.",
    )


def _refuse_withheld(namespace: Namespace, sha256: str, filename: str, missing: RegistryError) -> None:
    """Explain why a file is not offered to a caller who could read it otherwise.

    :raises Forbidden: its package name is quarantined.
    :raises RegistryError: ``missing``, as the file was deleted.
    """
    file = index.withheld_file(namespace, sha256, filename, current_principal())
    if file is None:
        return
    if file.is_deleted:
        raise missing.explained(
            "File deleted",
            f"The file {filename} was deleted from {file.project_path}. If a lock file lists it, lock another version.",
        )
    because = f": {file.reason.rstrip('. ')}" if file.reason.strip() else ""
    raise QuarantinedPackage().explained(
        "Package quarantined",
        f"The package {file.package_name} is quarantined{because}. Ask a Maintainer of {file.project_path}.",
    )


def _package_file(file: DownloadableFile) -> Response:
    is_sent_by_proxy = current_app.config["STORAGE_DOWNLOADS"] == "accel"
    response = _immutable(file.size_bytes, file.sha256, file, is_conditional=not is_sent_by_proxy)
    if response.status_code == 200 and not (is_sent_by_proxy and "Range" in request.headers):
        request.environ[metrics.EVENT] = Download(file.id, file.size_bytes)
    response.content_type = "application/octet-stream"
    response.headers["Content-Disposition"] = (
        f"attachment; filename=\"{file.filename}\"; filename*=UTF-8''{quote(file.filename)}"
    )
    response.headers["Content-Transfer-Encoding"] = "binary"
    if is_sent_by_proxy:
        return _handed_over(response, file.sha256)
    if request.method != "GET" or response.status_code not in (200, 206):
        return response
    address = _address_in_store(file.sha256)
    if address is not None:
        return _redirected(address)
    start = response.content_range.start if response.status_code == 206 else 0
    _fill(response, _opened(file.sha256, start or 0))
    return response


def _core_metadata(owner: DownloadableFile, sha256: str) -> Response:
    """Return the unmodified core metadata document (PEP 658, PEP 714)."""
    body = _opened(sha256)
    size_bytes = body.seek(0, 2)
    try:
        response = _immutable(size_bytes, sha256, owner)
    except (RequestedRangeNotSatisfiable, PreconditionFailed):
        body.close()
        raise
    response.content_type = "text/plain; charset=utf-8"
    body.seek(response.content_range.start or 0 if response.status_code == 206 else 0)
    _fill(response, body)
    return response


def _opened(sha256: str, start: int = 0) -> BinaryIO:
    try:
        return _storage().open(object_key(sha256), start)
    except ObjectMissing:
        logger.error("The object of a listed file is not in the store: %s", sha256, extra={"sha256": sha256})
        raise


def _storage() -> Storage:
    storage: Storage = current_app.extensions["storage"]
    return storage


def _address_in_store(sha256: str) -> str | None:
    """Return the URL of an object in the store to redirect the client to; ``None`` if the registry must send it.

    On redirects, clients forward tokens in custom headers to any host, and old clients forward ``Authorization`` to
    another port of the same host, so these clients are not redirected.
    """
    if current_app.config["STORAGE_DOWNLOADS"] != "redirect" or _holds_token_header():
        return None
    address = _storage().link(object_key(sha256))
    if address is not None and urlsplit(address).hostname == urlsplit(root_url(request.environ)).hostname:
        logger.warning("A file was streamed, as the store is on the registry's own host: redirects are not safe there.")
        return None
    return address


def _holds_token_header() -> bool:
    return any(name in request.headers for name in credential_names.TOKEN_HEADERS)


def _redirected(address: str) -> Response:
    response = Response(status=302)
    response.location = address
    response.cache_control.no_store = True  # the URL expires
    return response


def _handed_over(response: Response, sha256: str) -> Response:
    """Let nginx send the object, and handle ranges and conditions (nginx, ``X-Accel-Redirect``)."""
    _opened(sha256).close()  # reports a missing object here
    response.headers["X-Accel-Redirect"] = f"{OBJECTS}/{object_key(sha256)}"
    response.direct_passthrough = False
    response.content_length = 0
    return response


def _immutable(size_bytes: int, sha256: str, file: DownloadableFile, *, is_conditional: bool = True) -> Response:
    """Return a response with status 200, 206, or 304 for immutable content, but without the content.

    :param is_conditional: if false, ranges and conditions are ignored.
    :raises RequestedRangeNotSatisfiable: the content ends before the range.
    :raises PreconditionFailed: the content is not the one that ``If-Match`` names (RFC 9110, section 13.1.1).
    """
    response = Response(direct_passthrough=True)
    response.content_length = size_bytes
    response.set_etag(sha256)
    response.last_modified = file.uploaded_at
    if current_app.config["SHARED_CACHES"] and current_principal().is_anonymous:
        response.cache_control.max_age = A_DAY_SECONDS
        response.cache_control.public = True
    else:  # a shared cache would serve the file even after the project is no longer public
        response.cache_control.max_age = A_YEAR_SECONDS
        response.cache_control.immutable = True
        response.cache_control.private = True
    response.accept_ranges = "bytes"
    if not is_conditional:
        return response
    wanted = _asked_range(size_bytes)
    environ = request.environ if wanted is None else {**request.environ, "HTTP_RANGE": wanted}
    response.make_conditional(environ, accept_ranges=wanted is not None, complete_length=size_bytes)
    if response.status_code == 412:
        raise PreconditionFailed
    return response


def _fill(response: Response, body: BinaryIO) -> None:
    """Set the content of a response, which starts at the position of ``body``."""
    response.call_on_close(body.close)
    if request.method != "GET" or response.status_code not in (200, 206):
        return
    size_bytes = response.content_length or 0
    if _storage().is_remote:
        response.direct_passthrough = False
        response.response = _received(body, size_bytes)
    else:
        part = _Part(body, body.tell() + size_bytes) if response.status_code == 206 else body
        response.response = wrap_file(request.environ, cast(BinaryIO, part), BLOCK_BYTES)


def _received(body: BinaryIO, size_bytes: int) -> Iterable[bytes]:
    """Return blocks of an object in a remote store, read by this thread instead of the server's event loop.

    :raises Unavailable: the first block cannot be read; a later failure truncates the response.
    """
    first = body.read(min(RECEIVED_BLOCK_BYTES, size_bytes))
    return chain([first], _further_blocks(body, size_bytes - len(first)))


def _further_blocks(body: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    while size_bytes > 0:
        try:
            block = body.read(min(RECEIVED_BLOCK_BYTES, size_bytes))
        except (Unavailable, ObjectDamaged) as error:
            logger.error("A download was broken off: %s", error)
            return
        yield block
        size_bytes -= len(block)


class _Part(io.RawIOBase):
    """A file that ends earlier, which the server sends without occupying a thread."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file, self._end = file, end

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            return self._file.seek(self._end + offset)
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(max(0, min(len(buffer), self._end - self._file.tell())))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _asked_range(size_bytes: int) -> str | None:
    """Return the range of the request; ``None`` for several or invalid ranges, which are ignored (RFC 9110, 14.2)."""
    if request.method != "GET":
        return None
    wanted = parse_range_header(request.headers.get("Range"))
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    start, _ = wanted.ranges[0]
    # A suffix longer than the file means the whole file; Werkzeug would return 416.
    return "bytes=0-" if start is not None and -start > size_bytes else wanted.to_header()
