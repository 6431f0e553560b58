"""Responses with files of the upstream index, once it is decided that the caller gets them."""

from __future__ import annotations

from flask import Response, current_app, request

from registry.blueprints.pypi.prepared import is_not_repeatable
from registry.blueprints.pypi.sending import Content, announce, send_arriving, send_core_metadata, send_file
from registry.domain.packages.simple import SimpleFile
from registry.domain.upstream.arrivals import ArrivingFile, Wanted
from registry.domain.upstream.cached import METADATA_SUFFIX
from registry.domain.upstream.files import Files, Kept
from registry.domain.upstream.uses import Use
from registry.environ_keys import EVENT
from registry.errors import NotFound, UpstreamBusy, UpstreamFailed
from registry.metrics import UpstreamDownload
from registry.storage import ObjectDamaged, ObjectMissing

ABSENT = (404, 410)


def send_upstream_file(namespace_id: int, normalized_name: str, file: SimpleFile) -> Response:
    """Return a file on a page of the upstream index, from the store or while it arrives.

    :param namespace_id: of the project or group that is asked.
    """
    return _send(namespace_id, Wanted.of_file(normalized_name, file), file)


def send_upstream_metadata(namespace_id: int, normalized_name: str, file: SimpleFile) -> Response:
    """Return the core metadata document of such a file.

    :raises NotFound: the upstream has none.
    """
    wanted = Wanted.of_metadata(normalized_name, file)
    if wanted is None:
        raise NotFound("Package").explained("File not found", f"The public index has no metadata of {file.filename}.")
    return _send(namespace_id, wanted, file)


def _send(namespace_id: int, wanted: Wanted, file: SimpleFile) -> Response:
    files: Files = current_app.extensions["upstream_files"]
    is_metadata = wanted.filename.endswith(METADATA_SUFFIX)
    use = Use(namespace_id, wanted.sha256, wanted.filename, wanted.normalized_name, file.uploaded_at, is_metadata)
    kept = files.kept(wanted)
    try:
        if kept is not None:
            return _stored(kept, file, use)
        if request.method == "HEAD":
            return announce(Content(wanted.sha256, wanted.size_bytes, wanted.filename, file.uploaded_at))
        reader = files.fetch(wanted)
    except (ObjectMissing, ObjectDamaged):
        reader = files.refetch(wanted)
    return _arriving(files, wanted, reader, file, use)


def _stored(kept: Kept, file: SimpleFile, use: Use) -> Response:
    wanted, event = kept.wanted, UpstreamDownload(use, kept.size_bytes, is_kept=True)
    if use.is_metadata:
        request.environ[EVENT] = event
        return send_core_metadata(wanted.sha256, file.uploaded_at)
    return send_file(Content(wanted.sha256, kept.size_bytes, wanted.filename, file.uploaded_at), event)


def _arriving(files: Files, wanted: Wanted, reader: ArrivingFile, file: SimpleFile, use: Use) -> Response:
    """Return a response with a file that arrives.

    :raises NotFound: the upstream has it no more.
    :raises UpstreamFailed: the upstream does not deliver it.
    :raises UpstreamBusy: it does not begin to.
    """
    is_not_repeatable(request.environ)  # caching would wait for the rest of the file
    try:
        size_bytes = files.wait(reader)
        content = Content(wanted.sha256, size_bytes, wanted.filename, file.uploaded_at)
        return send_arriving(content, reader, UpstreamDownload(use, size_bytes, is_kept=False))
    except (UpstreamFailed, UpstreamBusy) as error:
        reader.close()
        if isinstance(error, UpstreamFailed) and error.upstream_status in ABSENT:
            raise NotFound("Package").explained(
                "File gone", f"The public index lists {wanted.filename}, but no longer has it. Lock another version."
            ) from error
        error.explained(
            error.title, f"{wanted.filename} is not kept here, and could not be fetched now. Try again later."
        )
        raise
    except BaseException:
        reader.close()
        raise
