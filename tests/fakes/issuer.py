"""An issuer of identity tokens on the loopback address, with real keys, and the faults that a test asks for."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

CONFIGURATION, KEYS, REQUESTED = "/.well-known/openid-configuration", "/keys", "/token?"
AUDIENCE = "registry.test"
KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig", "alg": "RS256"})
OTHER_KEYS: dict[str, Key] = {
    "ES256": ECKey.generate_key("P-256", {"kid": "curve"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "edwards"}),
    "PS256": RSAKey.generate_key(2048, {"kid": "pss"}),
}


class Issuer:
    """Serves its configuration and keys; ``answers`` replaces a response: status, headers, and body, by path.

    Connections stay open while ``ended`` is not set.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.clear()

    def clear(self) -> None:
        self.requests.clear()
        self.posted: list[tuple[str, dict[str, list[str]]]] = []  # authorization and form
        self.ended.set()
        self.keys: list[dict[str, Any]] = [public(key) for key in (KEY, *OTHER_KEYS.values())]
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def document(self, path: str) -> dict[str, Any]:
        if path.startswith(REQUESTED):  # as the runner of GitHub answers jobs
            return {"value": self.token(aud=parse_qs(urlsplit(path).query)["audience"][0])}
        if path == CONFIGURATION:
            return {"issuer": self.url, "jwks_uri": self.url + KEYS}
        return {"keys": self.keys}

    def claims(self, **changes: object) -> dict[str, Any]:
        """The claims of a valid token; ``None`` leaves one out."""
        now = int(time.time())
        usual = {
            "iss": self.url, "aud": AUDIENCE, "sub": "project:acme/app", "jti": uuid4().hex, "iat": now, "nbf": now,
            "exp": now + 300, "project": "acme/app", "ref": "main", "protected": True,
        }  # fmt: skip
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def token(self, **changes: object) -> str:
        return signed(self.claims(**changes))


def signed(claims: dict[str, Any] | bytes, key: Key = KEY, **header: object) -> str:
    """A token with these claims, or this text in place of them."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    head = {"alg": "RS256", "kid": key.kid, "typ": "JWT"} | header
    any_use = {name: value for name, value in key.as_dict(private=True).items() if name != "alg"}
    return jws.serialize_compact(head, payload, import_key(any_use), algorithms=[str(head["alg"])])


def public(key: Key) -> dict[str, Any]:
    found: dict[str, Any] = key.as_dict(private=False)
    return found


@contextmanager
def issuer_running() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


def _handler_for(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            usual = 200, {}, json.dumps(issuer.document(self.path)).encode()
            status, headers, body = issuer.answers.get(self.path, usual)
            if status >= 400 and "gzip" in self.headers.get("Accept-Encoding", ""):
                headers, body = {**headers, "Content-Encoding": "gzip"}, gzip.compress(body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
            issuer.ended.wait(60)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            issuer.posted.append((self.headers.get("Authorization", ""), parse_qs(body)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
