"""A real OpenID Connect provider on the loopback address (``oidc-provider-mock``), and the person in front of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

WAIT_SECONDS = 60


class IdentityProvider:
    """The running provider; ``claims`` of a person are set before the person signs in."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def set_claims(self, subject: str, **claims: object) -> None:
        requests.put(f"{self.url}/users/{subject}", json=claims, timeout=WAIT_SECONDS).raise_for_status()

    def sign_in(self, url: str, subject: str) -> str:
        """Sign in as a person at the URL to which the registry has led; where the provider leads back to."""
        return self._answered(url, sub=subject)

    def deny(self, url: str) -> str:
        return self._answered(url, action="deny")

    def _answered(self, url: str, **form: str) -> str:
        answer = requests.post(url, data=form, allow_redirects=False, timeout=WAIT_SECONDS)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def is_running(self) -> bool:
        try:
            return requests.get(f"{self.url}/.well-known/openid-configuration", timeout=WAIT_SECONDS).ok
        except requests.ConnectionError:
            return False


def asked(url: str) -> dict[str, Any]:
    """The parameters in a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@contextmanager
def provider_running() -> Iterator[IdentityProvider]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)],
        env={**os.environ, "PYTHONWARNINGS": "ignore"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        provider = IdentityProvider(port)
        end = time.monotonic() + WAIT_SECONDS
        while not provider.is_running():
            assert process.poll() is None, "the provider has ended"
            assert time.monotonic() < end, "the provider does not start"
            time.sleep(0.05)
        yield provider
    finally:
        process.kill()
        process.wait()
