"""Responses with files: whole or in parts, from the store or while they arrive, with validators and caching."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlsplit

from flask import Response, current_app, request
from werkzeug.exceptions import PreconditionFailed, RequestedRangeNotSatisfiable
from werkzeug.http import parse_range_header
from werkzeug.wsgi import wrap_file

from registry import credential_names
from registry.addresses import root_url
from registry.blueprints.auth.credentials import current_principal
from registry.domain.upstream.arrivals import ArrivingFile
from registry.domain.upstream.cached import METADATA_SUFFIX
from registry.environ_keys import EVENT
from registry.errors import Unavailable
from registry.storage import ObjectDamaged, ObjectMissing, Storage, object_key

OBJECTS = "/_objects"  # internal location of the storage folder in nginx
BLOCK_BYTES = 1 << 18
A_DAY_SECONDS, A_YEAR_SECONDS = 86_400, 31_536_000
RECEIVED_BLOCK_BYTES = 1 << 20  # large enough for the server to spool blocks to disk for slow clients
METADATA_TYPE = "text/plain; charset=utf-8"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Content:
    """A file to send.

    :ivar size_bytes: ``None`` if the upstream does not state it.
    :ivar uploaded_at: ``None`` if the upstream does not state it.
    """

    sha256: str
    size_bytes: int | None
    filename: str
    uploaded_at: datetime | None


def send_file(file: Content, event: object) -> Response:
    """Return a file in the store, or a part of it, as the request asks.

    :param event: counted if the response has the whole file.
    :raises ObjectMissing: the file is not in the store.
    :raises ObjectDamaged: the file in the store has another size.
    """
    is_sent_by_proxy = current_app.config["STORAGE_DOWNLOADS"] == "accel"
    response = _immutable(file.size_bytes, file.sha256, file.uploaded_at, is_conditional=not is_sent_by_proxy)
    if response.status_code == 200 and not (is_sent_by_proxy and "Range" in request.headers):
        request.environ[EVENT] = event
    _name(response, file.filename)
    if is_sent_by_proxy:
        return _handed_over(response, file)
    if request.method != "GET" or response.status_code not in (200, 206):
        return response
    address = _address_in_store(file.sha256)
    if address is not None:
        return _redirected(address)
    start = response.content_range.start if response.status_code == 206 else 0
    _fill(response, _opened_whole(file, start or 0))
    return response


def send_arriving(file: Content, reader: ArrivingFile, event: object) -> Response:
    """Return a file that is being received, always as a whole, as its bytes cannot be compared with a digest before.

    :param file: as in ``announce``.
    :param event: counted when the response begins.
    """
    response = announce(file)
    request.environ[EVENT] = event
    response.call_on_close(reader.close)
    response.response = wrap_file(request.environ, cast(BinaryIO, reader), BLOCK_BYTES)
    return response


def announce(file: Content) -> Response:
    """Return the response to a HEAD request for a file that is not in the store.

    :param file: named as a file, or as a core metadata document with its suffix.
    """
    response = _immutable(file.size_bytes, file.sha256, file.uploaded_at, is_conditional=False)
    response.headers.remove("Accept-Ranges")
    if file.filename.endswith(METADATA_SUFFIX):
        response.content_type = METADATA_TYPE
    else:
        _name(response, file.filename)
    return response


def _name(response: Response, filename: str) -> None:
    response.content_type = "application/octet-stream"
    response.headers["Content-Disposition"] = f"attachment; filename=\"{filename}\"; filename*=UTF-8''{quote(filename)}"
    response.headers["Content-Transfer-Encoding"] = "binary"


def send_core_metadata(sha256: str, uploaded_at: datetime | None) -> Response:
    """Return an unmodified core metadata document in the store (PEP 658, PEP 714).

    :raises ObjectMissing: the document is not in the store.
    """
    body = _opened(sha256)
    size_bytes = body.seek(0, 2)
    try:
        response = _immutable(size_bytes, sha256, uploaded_at)
    except (RequestedRangeNotSatisfiable, PreconditionFailed):
        body.close()
        raise
    response.content_type = METADATA_TYPE
    body.seek(response.content_range.start or 0 if response.status_code == 206 else 0)
    _fill(response, body)
    return response


def _opened(sha256: str, start: int = 0) -> BinaryIO:
    try:
        return _storage().open(object_key(sha256), start)
    except ObjectMissing:
        logger.error("The object of a listed file is not in the store: %s", sha256, extra={"sha256": sha256})
        raise


def _opened_whole(file: Content, start: int = 0) -> BinaryIO:
    """Open the object of a file whose size is known, as less of it than was announced must not pass for all of it."""
    body = _opened(file.sha256, start)
    size_bytes = body.seek(0, io.SEEK_END)
    if size_bytes != file.size_bytes:
        body.close()
        logger.error("The object of a listed file is damaged: %s", file.sha256, extra={"sha256": file.sha256})
        raise ObjectDamaged(f"{file.filename} has {size_bytes} bytes instead of {file.size_bytes}")
    body.seek(start)
    return body


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


def _handed_over(response: Response, file: Content) -> Response:
    """Let nginx send the object, and handle ranges and conditions (nginx, ``X-Accel-Redirect``)."""
    _opened_whole(file).close()  # reports a missing object here
    response.headers["X-Accel-Redirect"] = f"{OBJECTS}/{object_key(file.sha256)}"
    response.direct_passthrough = False
    response.content_length = 0
    return response


def _immutable(
    size_bytes: int | None, sha256: str, uploaded_at: datetime | None, *, is_conditional: bool = True
) -> Response:
    """Return a response with status 200, 206, or 304 for immutable content, but without the content.

    :param is_conditional: if false, ranges and conditions are ignored.
    :raises RequestedRangeNotSatisfiable: the content ends before the range.
    :raises PreconditionFailed: the content is not the one that ``If-Match`` names (RFC 9110, section 13.1.1).
    """
    response = Response(direct_passthrough=True)
    if size_bytes is not None:
        response.content_length = size_bytes
    response.set_etag(sha256)
    response.last_modified = uploaded_at
    if current_app.config["SHARED_CACHES"] and current_principal().is_anonymous:
        response.cache_control.max_age = A_DAY_SECONDS
        response.cache_control.public = True
    else:  # a shared cache would serve the file even after the project is no longer public
        response.cache_control.max_age = A_YEAR_SECONDS
        response.cache_control.immutable = True
        response.cache_control.private = True
    response.accept_ranges = "bytes"
    if not is_conditional or size_bytes is None:
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
    """Return the range of the request; ``None`` for several or invalid ranges, which are ignored (RFC 9110, 14.2).

    So is the range if ``If-Range`` is a weak ETag, which never matches (13.1.5).
    """
    if request.method != "GET" or request.headers.get("If-Range", "").startswith("W/"):
        return None
    wanted = parse_range_header(request.headers.get("Range"))
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    start, _ = wanted.ranges[0]
    # A suffix longer than the file means the whole file; Werkzeug would return 416.
    return "bytes=0-" if start is not None and -start > size_bytes else wanted.to_header()
