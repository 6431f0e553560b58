"""One request and its response: when the connection closes behind it, and how its head is written."""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import Any

from waitress.task import WSGITask
from waitress.utilities import build_http_date

from registry.server.files import file_buffer

_COMPLETED = ("Server", "Date")  # headers that waitress adds if the application has not


class Task(WSGITask):  # type: ignore[misc]
    """Keeps the connection open behind a 204 or 304, where waitress misses a length and closes it.

    When the process is about to stop, the answer to the last request that has arrived announces that the connection
    closes.

    :ivar response_head: the head of the response, once it is written.
    """

    response_head = b""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ["wsgi.file_wrapper"] = file_buffer
        if "HTTP_HOST" not in environ:  # in HTTP/1.0; waitress only knows a placeholder
            environ["SERVER_NAME"] = self.channel.socket.getsockname()[0].partition("%")[0]
            self.request.digest = None  # links depend on more than the head
        return environ

    def set_close_on_finish(self) -> None:
        is_asked_for = self.version == "1.0" or self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or is_asked_for:
            super().set_close_on_finish()

    def build_response_header(self) -> bytes:
        if self.channel.server.is_stopping and len(self.channel.requests) == 1:
            self.request.headers["CONNECTION"] = "close"
        self.response_head = self._usual_head() or bytes(super().build_response_header())
        return self.response_head

    def _usual_head(self) -> bytes:
        """Return what waitress makes of most responses, in a third of the time, or nothing if it can differ.

        The names of headers are the same few in all responses, and so is the date of those within a second.
        """
        connection = self.request.headers.get("CONNECTION", "").lower()
        if self.version != "1.1" or connection not in ("", "keep-alive") or not self.has_body:
            return b""
        headers = [(_capitalized(name), value) for name, value in self.response_headers]
        names = {name for name, _ in headers}
        if "Content-Length" not in names or not names.isdisjoint(_COMPLETED):
            return b""
        headers += [("Server", self.channel.server.adj.ident), ("Date", _http_date(int(self.start_time)))]
        headers.sort(key=itemgetter(0))
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        return f"HTTP/1.1 {self.status}\r\n{lines}\r\n".encode("latin-1")

    def finish(self) -> None:
        super().finish()
        if self.request.digest is not None:
            self.channel.server.repeats.remember(self)

    def write(self, data: bytes) -> None:
        """Send the data at once, unless it is the end of the response, which is sent after everything else is done."""
        super().write(data)
        if data and self.content_bytes_written != self.content_length:
            self.channel.flush()


@lru_cache(maxsize=256)
def _capitalized(name: str) -> str:
    return "-".join([part.capitalize() for part in name.split("-")])


@lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    return str(build_http_date(second))
