"""Downloads: package files and, beside them, their core metadata; ranges, validators, immutable caching."""

from __future__ import annotations

import io
import logging
import re
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import parse_range_header
from werkzeug.wsgi import wrap_file

from registry import metrics
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi.prepared import LARGEST_FILE_BYTES, preparable
from registry.domain import catalog
from registry.domain.access import Permission
from registry.domain.catalog import DownloadableFile
from registry.errors import InvalidParameter, NotFound, RecordNotFound, RegistryError
from registry.metrics import Download
from registry.models import Group, Namespace, Project
from registry.storage import ObjectMissing, Storage, object_key

METADATA_SUFFIX = ".metadata"
BLOCK_BYTES = 1 << 18
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

logger = logging.getLogger(__name__)


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("files", __name__)

    @blueprint.get("/projects/<project:project>/packages/pypi/files/<sha256>/<rest:filename>")
    @preparable(LARGEST_FILE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def project_file(project: Project, sha256: str, filename: str) -> Response:
        """One file of a project."""
        return _download(project, sha256, filename, NotFound("Package"))

    @blueprint.get("/groups/<group:group>/-/packages/pypi/files/<sha256>/<rest:filename>")
    @preparable(LARGEST_FILE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def group_file(group: Group, sha256: str, filename: str) -> Response:
        """One file of a project below a group, if the caller may read that project."""
        return _download(group, sha256, filename, RecordNotFound())

    return blueprint


def _download(namespace: Namespace, sha256: str, filename: str, missing: RegistryError) -> Response:
    if re.search(r"(^|/)\.\.(/|$)|\x00", filename):
        raise InvalidParameter("file_identifier should be a valid file path")
    if not _SHA256.fullmatch(sha256):
        raise missing
    principal = current_principal()
    file = catalog.downloadable_file(namespace, sha256, filename, principal)
    if file is not None:
        return _package_file(file)
    if filename.endswith(METADATA_SUFFIX):
        owner = catalog.downloadable_file(namespace, sha256, filename.removesuffix(METADATA_SUFFIX), principal)
        if owner is not None and owner.core_metadata_sha256 is not None:
            return _core_metadata(owner, owner.core_metadata_sha256)
    catalog.refuse_where_hidden(namespace, principal)
    raise missing


def _package_file(file: DownloadableFile) -> Response:
    request.environ[metrics.EVENT] = Download(file.id, file.size_bytes)
    body = _opened(file.sha256)
    response = _immutable(body, file.size_bytes, file.sha256, file)
    response.content_type = "application/octet-stream"
    response.headers["Content-Disposition"] = (
        f"attachment; filename=\"{file.filename}\"; filename*=UTF-8''{quote(file.filename)}"
    )
    response.headers["Content-Transfer-Encoding"] = "binary"
    return response


def _core_metadata(owner: DownloadableFile, sha256: str) -> Response:
    """The ``METADATA`` document byte for byte (PEP 658, 714)."""
    body = _opened(sha256)
    size_bytes = body.seek(0, 2)
    body.seek(0)
    response = _immutable(body, size_bytes, sha256, owner)
    response.content_type = "text/plain; charset=utf-8"
    return response


def _opened(sha256: str) -> BinaryIO:
    storage: Storage = current_app.extensions["storage"]
    try:
        return storage.open(object_key(sha256))
    except ObjectMissing:
        logger.error("The object of a listed file is not in the store: %s", sha256, extra={"sha256": sha256})
        raise


def _immutable(body: BinaryIO, size_bytes: int, sha256: str, file: DownloadableFile) -> Response:
    """200, 206, 304 or 416 for content that never changes under its address."""
    response = Response(wrap_file(request.environ, body, BLOCK_BYTES), direct_passthrough=True)
    response.call_on_close(body.close)
    response.content_length = size_bytes
    response.set_etag(sha256)
    response.last_modified = file.uploaded_at
    response.cache_control.max_age = 31_536_000
    response.cache_control.immutable = True
    if current_principal().is_anonymous:
        response.cache_control.public = True
    else:
        response.cache_control.private = True
    response.accept_ranges = "bytes"
    wanted = _asked_range(size_bytes)
    environ = request.environ if wanted is None else {**request.environ, "HTTP_RANGE": wanted}
    try:
        response.make_conditional(environ, accept_ranges=wanted is not None, complete_length=size_bytes)
    except RequestedRangeNotSatisfiable:
        response.close()
        raise
    if response.status_code == 206:
        part = _Part(body, response.content_range.start or 0, response.content_length or 0)
        response.response = wrap_file(request.environ, cast(BinaryIO, part), BLOCK_BYTES)
    return response


class _Part(io.RawIOBase):
    """A part of a file, as a file. Like a whole one, the server takes it over: no thread waits for a slow client."""

    def __init__(self, file: BinaryIO, start: int, size_bytes: int) -> None:
        self._file, self._start, self._size_bytes, self._position = file, start, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size_bytes)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(len(buffer), self._size_bytes - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _asked_range(size_bytes: int) -> str | None:
    """The one range to answer 206 with. Several, or what is no range at all, get the whole (RFC 9110, 14.2)."""
    if request.method != "GET":
        return None
    wanted = parse_range_header(request.headers.get("Range"))
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    start, _ = wanted.ranges[0]
    # A suffix longer than the file means all of it; Werkzeug would answer 416.
    return "bytes=0-" if start is not None and -start > size_bytes else wanted.to_header()
