"""An application whose pages are cached like those of the registry, by the same middleware."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.wrappers import Request, Response

from registry.blueprints.pypi.prepared import PreparedAnswers
from registry.database import ACCESS, db, utcnow
from registry.environ_keys import EVENT, PRINCIPAL, ROUTE
from registry.metrics import Download, Metrics
from registry.observability import RequestLog
from tests.server.serving import Serving, eventually, whole_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FILE_ID = 7
PAGE = "/page/5000"


class Pages:
    """``/page/<bytes>`` is a page of this size, which begins with the number of pages made so far.

    :ivar made: how many pages were made.
    :ivar downloads: the ids of downloaded files; each page counts as one.
    :ivar on_download: called with each of these ids.
    :ivar valid_until: when the next page expires.
    :ivar meanwhile: called when a page is made and not yet sent.
    """

    def __init__(self) -> None:
        self.made = 0
        self.downloads: list[int] = []
        self.on_download: Callable[[int], None] = self.downloads.append
        self.valid_until: Callable[[], datetime] = lambda: utcnow() + timedelta(minutes=1)
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        if not request.path.startswith("/page/"):
            return Response("elsewhere")(environ, start_response)
        self.made += 1
        size_bytes = int(request.path.removeprefix("/page/"))
        page = Response(f"page {self.made}".ljust(size_bytes, "."))
        page.set_etag(f"{self.made}")
        environ["registry.answer_valid_until"] = self.valid_until()
        environ["registry.answer_part"] = ACCESS
        environ[PRINCIPAL] = "olivia"
        environ[ROUTE] = "/page"
        environ[EVENT] = Download(FILE_ID, size_bytes)
        self.meanwhile()
        return page(environ, start_response)

    def app(self, around: Flask, trusted_proxies: int = 0, threads: int = 2) -> Flask:
        """Return an application of these pages over the database of another one."""
        app = Flask(__name__)
        app.config.update(
            MAX_FILE_SIZE=0,
            THREADS=threads,
            TRUSTED_PROXIES=trusted_proxies,
            INSTANCE_PATH=around.config["INSTANCE_PATH"],
        )
        answers = PreparedAnswers(self, re.compile("/page/"), re.compile("/upload/"), db.engine, b"a key")
        app.extensions.update(
            uploads=re.compile("/upload"), answers=answers, metrics=Metrics(lambda file_id: self.on_download(file_id))
        )
        app.wsgi_app = RequestLog(answers, app.extensions["metrics"])  # type: ignore[method-assign]
        return app


class Client:
    """One connection that sends the same head again and again."""

    def __init__(self, serving: Serving, path: str = PAGE, method: str = "GET", version: str = "1.1", **headers: str):
        self.serving = serving
        self.connection = serving.connected()
        lines = [f"{method} {path} HTTP/{version}", "Host: registry.test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self._has_body = method == "GET" and "If_None_Match" not in headers

    def get(self, head: bytes | None = None) -> tuple[bytes, bytes]:
        """Head and body of the answer to one request."""
        self.connection.sendall(head or self.head)
        return self.answer()

    def answer(self) -> tuple[bytes, bytes]:
        return whole_answer(self.connection, self._has_body)

    def known(self) -> tuple[bytes, bytes]:
        """The answer of a thread, which the loop can repeat from now on."""
        return self.get()

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def has_connection(serving: Serving) -> None:
    """Wait until the loop can read the content generation."""
    look = serving.server.repeats._look
    eventually(lambda: look._opened is not None or look._connection is not None)


def by_loop(serving: Serving, act: Callable[[], Any]) -> Any:
    """Return the result of an action, and assert that no request went to a thread meanwhile."""
    # Threads are done with the connections, not only clients with their answers.
    eventually(lambda: not any(channel.is_lent or channel.total_outbufs_len for channel in serving.channels()))
    time.sleep(0.02)
    tasks = serving.tasks
    result = act()
    assert serving.tasks == tasks, "a thread was needed"
    return result
