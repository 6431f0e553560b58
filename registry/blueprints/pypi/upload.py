"""Uploads: the multipart forms of twine and other clients, received directly into a staged file.

The form is parsed here instead of by Flask, so that the file is written once and hashed in the process, other files are
discarded, and a malformed body is an error instead of an empty form.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import IO, Any, NamedTuple

from flask import Blueprint, Response, current_app, g, jsonify, request
from werkzeug import Request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.sansio.multipart import (
    BLANK_LINE_RE,
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from registry import metrics
from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi import in_front
from registry.blueprints.routing import PYPI
from registry.database import utcnow
from registry.domain import instance
from registry.domain.access import Permission, Principal
from registry.domain.distributions import examinations
from registry.domain.packages import publishing, uploads, usage
from registry.domain.packages.readmes import Readmes
from registry.domain.packages.uploads import Examine, Upload
from registry.domain.packages.usage import Allowance, Limit
from registry.environ_keys import EVENT, PREFLIGHT
from registry.errors import BadRequest, Code, InvalidParameter, Problem, StorageLimitReached, TooLarge
from registry.models import Project
from registry.storage import StagedFile, Storage
from registry.storage.receptions import Promised, Receptions

MULTIPART, JSON = "multipart/form-data", "application/json"
FORM_BYTES = 32 << 20  # all text fields and headers of parts; twine sends the whole long description
FORM_PARTS = 10_000
PART_HEAD_BYTES = 16 << 10
PART_HEAD_PIECES = 100  # lines and parameters of the head of a part; clients send two lines with three parameters
FORM_HEAD_BYTES = 4 << 20  # of all parts together
LONGEST_KNOWN_HEAD = 100  # of the parts that are fields
LONGEST_BOUNDARY = 200  # the limit of RFC 2046 is 70 (section 5.1.1); some clients exceed it
CHUNK_BYTES = 1 << 18
STEP_BYTES = 16 << 20  # of a body without a declared length, for which the server then asks again
_SHA256 = re.compile(r"[0-9a-f]{64}", re.IGNORECASE | re.ASCII)
_UNSAFE_FILENAME = re.compile(r"[\x00-\x1f\x7f/\\]")
# Descriptive form fields → columns of the package.
_FIELDS = {
    "metadata_version": "metadata_version",
    "requires_python": "required_python",
    "summary": "summary",
    "keywords": "keywords",
    "author_email": "author_email",
    "description": "description",
    "description_content_type": "description_content_type",
}


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("upload", __name__)
    blueprint.before_request(in_front.report_failure)

    @blueprint.post(PYPI["project"])
    @gate(Permission.CREATE_PACKAGE, before_body=_refuse_declared_length)
    def upload(project: Project) -> Response:
        """Publish a file (GitLab, PyPI API "Upload a package").

        An accepted identical upload of an existing file returns 200 instead of 201. ``remarks`` lists the problems with
        which the file was accepted.
        """
        answer = published(request, project, current_principal(), _allowed())
        return Response(answer.body, answer.status, mimetype=JSON)

    @blueprint.post(PYPI["project"] + "/validate")
    @gate(Permission.CREATE_PACKAGE, before_body=_refuse_declared_length)
    def validate(project: Project) -> Response:
        """Return the response to an upload of the same form without publishing it."""
        allowed = _allowed()
        principal = current_principal()
        with closing(_storage().stage()) as staged:
            received = received_upload(request, staged, allowed.file_bytes)
            remarks = publishing.validate(
                received, project=project, principal=principal, max_size_bytes=allowed.file_bytes,
                limits=allowed.limits, examine=_examine(principal),
            )  # fmt: skip
            return jsonify(
                message="200 OK", name=received.name, version=received.version, filename=received.filename,
                size=staged.size_bytes, sha256=staged.sha256, **_remarks(remarks),
            )  # fmt: skip

    return blueprint


class Answer(NamedTuple):
    """The response to an upload that is not refused.

    :ivar body: in JSON.
    """

    status: str
    body: bytes


def published(asked: Request, project: Project, principal: Principal, allowed: Allowed) -> Answer:
    """Publish the file in a request."""
    storage = _storage()
    with closing(storage.stage()) as staged:
        publication = publishing.publish(
            received_upload(asked, staged, allowed.file_bytes), project=project, principal=principal, storage=storage,
            max_size_bytes=allowed.file_bytes, now=utcnow(), limits=allowed.limits, examine=_examine(principal),
        )  # fmt: skip
    if publication.description is not None:
        _readmes().begin(publication.description)
    if not publication.is_new:
        return Answer("200 OK", _json(message="200 OK"))
    asked.environ[EVENT] = metrics.Upload(staged.size_bytes)
    return Answer("201 CREATED", _json(message="201 Created", **_remarks(publication.remarks)))


def _json(**members: object) -> bytes:
    return current_app.json.dumps(members, separators=(",", ":")).encode() + b"\n"


def _remarks(remarks: tuple[Problem, ...]) -> dict[str, object]:
    return {"remarks": [remark.as_json() for remark in remarks]} if remarks else {}


def _examine(principal: Principal) -> Examine:
    return partial(examinations.examine, caller=principal.label)


def _readmes() -> Readmes:
    readmes: Readmes = current_app.extensions["readmes"]
    return readmes


def _storage() -> Storage:
    storage: Storage = current_app.extensions["storage"]
    return storage


@dataclass(frozen=True)
class Allowed:
    """The limits on an upload, read before its body is.

    :ivar file_bytes: maximum file size; 0 is unlimited.
    """

    file_bytes: int
    limits: tuple[Limit, ...]


def _allowed() -> Allowed:
    """Return what ``_refuse_declared_length`` has read."""
    allowed: Allowed = g.allowed
    return allowed


def _refuse_declared_length(project: Project) -> None:
    in_front.report_refusal()
    g.allowed = allowance(request, project, current_principal(), usage.allowance(project))


def allowance(asked: Request, project: Project, principal: Principal, own: Allowance) -> Allowed:
    """Refuse a body that is too large for any accepted file, by its declared length or by what has arrived.

    :param own: the limits on uploads to the project.
    :raises Forbidden: only trusted publishers can publish to the project.
    :raises TooLarge: the file exceeds the maximum size.
    :raises StorageLimitReached: the file would exceed a storage limit, together with others that are being received.
    :raises Unavailable: uploads that are being received would together be too large.
    """
    uploads.refuse_untrusted(project, principal)
    configured_bytes = current_app.config["MAX_FILE_SIZE"]
    allowed = Allowed(instance.lowered_file_size(configured_bytes, own.file_bytes), own.limits)
    size_bytes = asked.content_length or 0
    at_least = max(0, size_bytes - FORM_BYTES)
    if allowed.file_bytes and at_least > allowed.file_bytes:
        raise TooLarge
    incoming = asked.environ.get(PREFLIGHT)
    others = () if incoming is None else _others(incoming, size_bytes, allowed.limits, principal)
    room_bytes = _room(project, allowed.limits, at_least, others)
    if incoming is not None and incoming.is_open:  # a form can be so much longer than its file
        rooms = [FORM_BYTES + room for room in (room_bytes, allowed.file_bytes or None) if room is not None]
        incoming.allowed_bytes = min([size_bytes + STEP_BYTES, *rooms])
    return allowed


def _room(project: Project, limits: Collection[Limit], size_bytes: int, others: Iterable[Promised]) -> int | None:
    """Return how many bytes the body can have; ``None`` without limits.

    An upload that is identical to a file of the project needs no storage, but is not larger than any of them.

    :raises StorageLimitReached: it has more.
    """
    if not project.identical_upload_accepted:
        return usage.refuse_growth(limits, size_bytes, others)
    try:
        room_bytes = usage.refuse_growth(limits, size_bytes, others)
    except StorageLimitReached:
        largest_bytes = usage.largest_file(project.id)
        if size_bytes > largest_bytes:
            raise
        return largest_bytes
    return None if room_bytes is None else max(room_bytes, usage.largest_file(project.id))


def _others(incoming: Any, size_bytes: int, limits: Collection[Limit], principal: Principal) -> Iterable[Promised]:
    """Promise room to the upload, and return what is promised to others.

    :raises Unavailable: there is not enough room for all of them, or for those of this caller.
    """
    receptions: Receptions = current_app.extensions["receptions"]
    expected = size_bytes + STEP_BYTES if incoming.is_open else size_bytes
    namespace_ids = [limit.namespace_id for limit in limits]
    incoming.reception = receptions.promise(incoming.reception, namespace_ids, expected, caller=principal.label)
    return receptions.others(incoming.reception)


def received_upload(asked: Request, staged: StagedFile, max_size_bytes: int) -> Upload:
    """Return the upload in the request.

    :raises InvalidParameter: a required field is missing or malformed; see also ``received_form``.
    """
    return _as_upload(received_form(asked, staged, max_size_bytes), staged)


@dataclass
class Form:
    """The text fields, with the last value of repeated ones, and the file name of the part ``content``, if present."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None

    def text(self, name: str) -> str:
        """Return the value of a field; ``UNKNOWN``, which some clients send for missing values, counts as empty."""
        value = self.fields.get(name, "")
        return "" if value == "UNKNOWN" else value


def received_form(asked: Request, staged: StagedFile, max_size_bytes: int) -> Form:
    """Parse the body of the request, and write the part ``content`` to ``staged``.

    :param max_size_bytes: maximum file size, beyond which reading stops; 0 is unlimited.
    :raises TooLarge: the file exceeds the maximum size.
    :raises BadRequest: the body is not a well-formed multipart form, or its text fields are too large.
    """
    # This function limits the body: the file by its maximum size, and the rest by FORM_BYTES.
    asked.max_content_length = sys.maxsize
    boundary = asked.mimetype_params.get("boundary", "")
    if asked.mimetype != MULTIPART or not boundary:
        return Form()
    form, name, text_bytes = Form(), "", 0
    part: StagedFile | _Discarded = _Discarded()
    text: list[bytes] | None = None
    for event in _events(boundary.encode("utf-8", "replace"), asked.stream, asked.content_length):
        if isinstance(event, Field | File):
            is_content = isinstance(event, File) and event.name == "content"
            if is_content and form.filename is not None:
                raise InvalidParameter("content is invalid")
            name, text = event.name, [] if isinstance(event, Field) else None
            text_bytes += sum(len(value) for _, value in event.headers)
            part = staged if is_content else _Discarded()
            if is_content and isinstance(event, File):
                form.filename = event.filename or ""
        elif isinstance(event, Data):
            if text is None:
                part.write(event.data)
                if max_size_bytes and staged.size_bytes > max_size_bytes:
                    raise TooLarge
            else:
                text_bytes += len(event.data)
                text.append(event.data)
                if not event.more_data:
                    form.fields[name] = b"".join(text).decode("utf-8", "replace")
        if text_bytes > FORM_BYTES:
            raise BadRequest(Code.FORM_TOO_LARGE, maximum=FORM_BYTES)
    return form


class _Discarded:
    """Discards unsupported file parts, such as signatures."""

    def write(self, data: bytes) -> int:
        return len(data)


def _events(boundary: bytes, stream: IO[bytes], length: int | None) -> Iterator[Event]:
    """Yield the events of the multipart decoder.

    :param length: the declared length of the body, if there is one.
    :raises BadRequest: the body is malformed or incomplete.
    """
    if len(boundary) > LONGEST_BOUNDARY:
        raise BadRequest(Code.MALFORMED_FORM)
    # The decoder buffers everything but the content of parts until it is complete: the preamble and the epilogue, too.
    heads_bytes = 0
    try:
        beginning = stream.read(CHUNK_BYTES)
        if len(beginning) == length and (events := plain_events(boundary, beginning)) is not None:
            yield from events
            return
        # It compiles regular expressions for each boundary, which takes 0.4 ms.
        decoder = MultipartDecoder(boundary, CHUNK_BYTES + PART_HEAD_BYTES, max_parts=FORM_PARTS)
        decoder.receive_data(beginning or None)
        while True:
            if decoder.state is State.PART:
                heads_bytes += _head_length(decoder.buffer)
                if heads_bytes > FORM_HEAD_BYTES:
                    raise BadRequest(Code.FORM_TOO_LARGE, maximum=FORM_HEAD_BYTES)
            event = decoder.next_event()
            if isinstance(event, NeedData):
                decoder.receive_data(stream.read(CHUNK_BYTES) or None)
            else:
                yield event
                if isinstance(event, Epilogue):
                    return
    except (ValueError, ClientDisconnected, RequestEntityTooLarge) as error:
        raise BadRequest(Code.MALFORMED_FORM) from error


def _head_length(received: bytearray) -> int:
    """Return the length of the head of a part; 0 if its end is not received yet.

    :raises BadRequest: the head is too long, or has too many lines or parameters, which take long to parse.
    """
    end = BLANK_LINE_RE.search(received, 0, PART_HEAD_BYTES)
    if end is None and len(received) < PART_HEAD_BYTES:
        return 0
    head = received[: end.start()] if end else b""
    if end is None or sum(map(head.count, (b"\n", b"\r", b";"))) > PART_HEAD_PIECES:
        raise BadRequest(Code.PART_HEAD_TOO_LARGE, maximum=PART_HEAD_BYTES, pieces=PART_HEAD_PIECES)
    return len(head)


# The head of a part as most clients write it, without anything that needs decoding.
_PLAIN_HEAD = re.compile(
    rb'Content-Disposition: form-data; name="([ -!#-$&-\[\]-~]*)"(?:; filename="([ -!#-$&-\[\]-~]*)")?'
    rb"(?:\r\nContent-Type: [a-z-]+/[a-z0-9.+-]+)?"
)


def plain_events(boundary: bytes, body: bytes) -> list[Event] | None:
    """Return the events of the multipart decoder for an entire small form in the simplest spelling, else ``None``.

    The decoder takes several times as long, a tenth of the processor time of an upload.
    """
    delimiter = b"--" + boundary
    begin, end = delimiter + b"\r\n", b"\r\n" + delimiter + b"--\r\n"
    if not (body.startswith(begin) and body.endswith(end)) or len(body) < len(begin) + len(end):
        return None
    parts = body[len(begin) : -len(end)].split(b"\r\n" + begin)
    if len(parts) > FORM_PARTS or body.count(delimiter) != len(parts) + 1:  # other spellings of a delimiter, or content
        return None
    events: list[Event] = []
    for part in parts:
        head, blank_line, content = part.partition(b"\r\n\r\n")
        begun = _known_head(head) if len(head) <= LONGEST_KNOWN_HEAD else _read_head(head)
        if not blank_line or begun is None:
            return None
        events += (begun, Data(content, more_data=False))
    return events


def _read_head(head: bytes) -> Field | File | None:
    """Return the event for the head of a part in the simplest spelling, else ``None``."""
    plain = _PLAIN_HEAD.fullmatch(head)
    if plain is None:
        return None
    lines = head.decode("ascii").split("\r\n")
    headers = Headers([(name, value) for name, _, value in (line.partition(": ") for line in lines)])
    name = plain[1].decode("ascii")
    return Field(name, headers) if plain[2] is None else File(name, plain[2].decode("ascii"), headers)


_known_head = lru_cache(maxsize=200)(_read_head)  # all clients send the same few fields


def _as_upload(form: Form, staged: StagedFile) -> Upload:
    """Return the upload described by the form.

    :raises InvalidParameter: a required field is missing or malformed.
    :raises BadRequest: the file name is invalid.
    """
    if "content" in form.fields and form.filename is None:
        raise InvalidParameter("content is invalid")
    sent = {"content": form.filename is not None, "name": form.text("name"), "version": form.text("version")}
    missing = [f"{name} is missing" for name, value in sent.items() if not value]
    if missing:
        raise _incomplete(missing, form.text(":action"))
    sha256 = form.text("sha256_digest")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise InvalidParameter("sha256_digest is invalid")
    return Upload(
        name=form.text("name"),
        version=form.text("version"),
        filename=_checked_filename(form.filename or ""),
        content=staged,
        fields={column: form.text(name) for name, column in _FIELDS.items()},
        sha256=sha256,
        md5=form.text("md5_digest"),
        blake2b_256=form.text("blake2_256_digest"),
    )


def _incomplete(missing: Iterable[str], action: str) -> InvalidParameter:
    """Return the refusal of a form without the fields of an upload.

    :param action: what the client wants; the ``register`` command of old setuptools sends ``submit`` or ``verify``.
    """
    error = InvalidParameter(", ".join(missing))
    if action in ("", "file_upload"):
        return error
    return error.explained(
        "Action not supported",
        f"The action {action[:100]!a} is not supported: names need no registration, as the first file creates "
        "the package. Upload the files of a version instead, for example with twine.",
    )


def _checked_filename(filename: str) -> str:
    filename = filename.replace("\\", "/").rpartition("/")[2]
    if not filename or filename in (".", "..") or _UNSAFE_FILENAME.search(filename):
        raise BadRequest(Code.NO_FILENAME, filename=ascii(filename[:100]))
    return filename
