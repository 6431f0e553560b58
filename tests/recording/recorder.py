"""Sends requests byte for byte as they are written here, and records the responses."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tests.recording.masks import Masks

API = "/api/v4"
BOUNDARY = "a-boundary-of-the-recording"
_ASCII = "".join(map(chr, range(33, 127)))
_TEXTS = ("text/", "application/json", "application/vnd.pypi", "application/problem+json", "image/svg")


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    headers: HTTPMessage
    body: bytes

    @cached_property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @cached_property
    def content(self) -> bytes:
        """The decompressed body."""
        return gzip.decompress(self.body) if self.headers["Content-Encoding"] == "gzip" and self.body else self.body

    @cached_property
    def json(self) -> Any:
        return json.loads(self.text)


class Recorder:
    """Writes a file for each step. ``part`` sets the folder for the next steps; numbers start at one in each."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.masks = Masks()
        self.sent: list[tuple[str, str]] = []
        self.steps = 0
        self.tokens: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._part = ""
        self._etags: dict[str, str] = {}

    def part(self, name: str) -> None:
        self._part = name
        print(f"{self.steps:5} {name}", flush=True)

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send a request on a connection of its own, with the path unchanged, and with ``Host`` unless it is given."""
        parts = urlsplit(self.url)
        path = quote(path, safe=_ASCII)
        sent = {"Host": parts.netloc, **(headers or {})}
        if body or method in ("POST", "PUT", "PATCH"):
            sent.setdefault("Content-Length", str(len(body)))
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value.encode("utf-8"))
            connection.endheaders(body or None)
            response = connection.getresponse()
            answer = Answer(response.status, response.reason, response.headers, response.read())
        finally:
            connection.close()
        self.sent.append((method, path.partition("?")[0]))
        self._keep_secrets(answer)
        self._write(method, path, sent, body, answer)
        return answer

    def raw(self, name: str, sent: bytes) -> None:
        """Send any bytes, and record everything received until the connection ends."""
        parts = urlsplit(self.url)
        received = b""
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        shown = sent.decode("latin-1") if len(sent) < 2000 else f"{sent[:200]!r}… ({len(sent)} bytes)"
        self.write(f"raw {name}", f"{shown}\n----\n{_without_ids(received.decode('utf-8', 'replace'))}\n")

    def write(self, name: str, text: str) -> None:
        number = self._numbers[self._part] = self._numbers.get(self._part, 0) + 1
        slug = re.sub(r"[^A-Za-z0-9.+=_]+", "-", self.masks(name)).strip("-")[:90]
        file = self.folder / self._part / f"{number:03}-{slug}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.masks(text), "utf-8")
        self.steps += 1

    def _keep_secrets(self, answer: Answer) -> None:
        """Mask a new token from now on, whatever its prefix."""
        if answer.body and answer.status in (200, 201) and answer.headers["Content-Type"] == "application/json":
            document = answer.json
            if isinstance(document, dict) and isinstance(document.get("token"), str):
                self.masks.texts.setdefault(document["token"], "<new token>")

    def _write(self, method: str, path: str, sent: Mapping[str, str], body: bytes, answer: Answer) -> None:
        shown = _shown(answer)
        self._note_etag(answer, shown)
        lines = [f"{method} {path}", *(f"{name}: {self._sent(name, value)}" for name, value in sent.items()), ""]
        lines += [_sent_body(body)] if body else []
        lines += ["----", f"{answer.status} {answer.reason}"]
        lines += [
            f"{name}: {self._received(name, value, answer, method, path)}" for name, value in answer.headers.items()
        ]
        self.write(f"{method} {path.removeprefix(API)}", "\n".join([*lines, "", shown]))

    def _sent(self, name: str, value: str) -> str:
        if name == "Authorization" and value.startswith("Basic "):
            try:
                return f"Basic base64({base64.b64decode(value[6:]).decode()})"
            except ValueError:
                return value
        return self._with_etags(value) if name.startswith("If-") else value

    def _received(self, name: str, value: str, answer: Answer, method: str, path: str) -> str:
        name = name.lower()
        if name == "x-request-id":
            return re.sub(r"^[0-9a-f]{32}$", "<id>", value)
        if name == "allow":  # a set, whose order differs from process to process
            return ", ".join(sorted(value.split(", ")))
        if name == "retry-after" and value != "5":
            return "<seconds>"
        if path.startswith("/static/") and name in ("etag", "last-modified"):
            return f"<{name} of a static file>"
        if name == "content-length":
            if answer.body and value == str(len(answer.body)):
                return "<length of the body>"
            is_varying = answer.headers["Content-Encoding"] or (answer.headers["Content-Type"] or "").startswith(
                "text/html"
            )
            return "<length>" if method == "HEAD" and is_varying else value
        return self._with_etags(value)

    def _with_etags(self, value: str) -> str:
        return re.sub(r'"[0-9a-f]{32}(-gzip)?"', lambda found: self._etags.get(found[0], found[0]), value)

    def _note_etag(self, answer: Answer, shown: str) -> None:
        """Number the ETag of a body with masked parts, which differs from run to run."""
        etag = answer.headers["ETag"]
        if etag and answer.body and etag not in self._etags and self.masks(shown) != shown:
            self._etags[etag] = f"<ETag {len(self._etags) + 1}>"


def _shown(answer: Answer) -> str:
    kind = answer.headers["Content-Type"] or ""
    if not answer.body:
        return ""
    if not kind.startswith(_TEXTS):
        return f"<{len(answer.body)} bytes, sha256 {hashlib.sha256(answer.body).hexdigest()}>"
    return ("<compressed>\n" if answer.content is not answer.body else "") + answer.text


def _sent_body(body: bytes) -> str:
    """The body as recorded: files as their digest only."""
    if len(body) > 4000 or not body.isascii():
        readable = body.decode("utf-8", "replace") if len(body) <= 4000 else ""
        if readable and "\ufffd" not in readable and "\x00" not in readable:
            return readable
        return f"<{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}>"
    return body.decode()


def _without_ids(text: str) -> str:
    """The same replacements as in ``Recorder._received``, for a response that was not parsed."""
    text = re.sub(r"(?<=X-Request-Id: )[0-9a-f]{32}", "<id>", text)
    text = re.sub(r"(?<=Allow: )[A-Z, ]+", lambda found: ", ".join(sorted(found[0].split(", "))), text)
    return re.sub(r"(?<=Content-Length: )\d+(?=(?s:.*?)\r\n\r\n<)", "<length>", text)


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def multipart(fields: Iterable[tuple[str, str | tuple[str, bytes]]]) -> bytes:
    """The body of a form; a pair of file name and content is a file."""
    parts = b""
    for name, value in fields:
        parts += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if isinstance(value, tuple):
            filename, content = value
            parts += f'; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode() + content
        else:
            parts += b"\r\n\r\n" + value.encode()
        parts += b"\r\n"
    return parts + f"--{BOUNDARY}--\r\n".encode()


class Rest:
    """A script on the REST API with the token of a user, or without one."""

    def __init__(self, recorder: Recorder, token: str | None = None) -> None:
        self._recorder = recorder
        self._headers = {} if token is None else {"PRIVATE-TOKEN": token}

    def __call__(
        self, method: str, path: str, json_body: Any = None, *, headers: Mapping[str, str] | None = None,
        form: Mapping[str, Any] | None = None, body: bytes = b"",
    ) -> Answer:  # fmt: skip
        sent = {**self._headers, **(headers or {})}
        if json_body is not None:
            sent["Content-Type"], body = "application/json", json.dumps(json_body, ensure_ascii=False).encode()
        if form is not None:
            sent["Content-Type"], body = "application/x-www-form-urlencoded", urlencode(form, doseq=True).encode()
        return self._recorder.request(method, path if path.startswith("/api/") else API + path, sent, body)

    def get(self, path: str, **options: Any) -> Answer:
        return self("GET", path, **options)

    def post(self, path: str, json_body: Any = None, **options: Any) -> Answer:
        return self("POST", path, json_body, **options)

    def put(self, path: str, json_body: Any = None, **options: Any) -> Answer:
        return self("PUT", path, json_body, **options)

    def patch(self, path: str, json_body: Any = None, **options: Any) -> Answer:
        return self("PATCH", path, json_body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self("DELETE", path, **options)
