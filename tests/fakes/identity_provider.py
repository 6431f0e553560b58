"""Real OpenID Connect providers on the loopback address, and the person in front of them."""

from __future__ import annotations

import json
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
    provider = IdentityProvider(free_port())
    with _running(provider, sys.executable, "-m", "oidc_provider_mock", "--port", str(urlsplit(provider.url).port)):
        yield provider


@contextmanager
def node_provider_running(port: int, program: list[str], **settings: object) -> Iterator[None]:
    """The provider of many companies (``oidc-provider`` of npm), with pages of its own.

    :param program: the command that runs ``server.js``.
    :param settings: those of ``server.js``, except for the issuer.
    """
    provider = IdentityProvider(port)
    given = json.dumps({"issuer": provider.url} | settings)
    with _running(provider, *program, given):
        yield


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _running(provider: IdentityProvider, *command: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONWARNINGS": "ignore"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not provider.is_running():
            assert process.poll() is None, "the provider has ended"
            assert time.monotonic() < end, "the provider does not start"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()
