"""The keys that an issuer publishes (OpenID Connect Discovery).

Users name issuers, so their servers are not trusted: nothing is requested from private addresses unless administrators
have listed the issuer, and responses are bounded in time and size.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from registry.domain.http import Client, Patience, Unanswered
from registry.domain.ip_addresses import is_public
from registry.domain.issuers import CONFIGURATION, is_loopback
from registry.domain.oidc.claims import read_object
from registry.errors import SourceError, quoted

MAX_CONFIGURATION_BYTES = 64 << 10
MAX_KEYS_BYTES = 256 << 10
MAX_KEYS = 100
UNREACHABLE = "it does not answer at a public address"
FIRST_BYTE_SECONDS, PAGE_SECONDS = 5, 8  # of each of the two documents; clients wait for 30 seconds

logger = logging.getLogger(__name__)


def published_keys(issuer: str, *, is_listed: bool) -> dict[str, dict[str, Any]]:
    """Return the keys that an issuer publishes, by ID (OpenID Connect Discovery, sections 3 and 4).

    :raises SourceError: it does not deliver its configuration or keys, or they are malformed. Of an issuer that is not
        listed, it does not show what is at an address that is not public; the log does.
    """
    try:
        return _published_keys(issuer, is_listed=is_listed)
    except SourceError as error:
        logger.warning("The keys of the issuer %s are not usable: %s.", issuer, error.sentence)
        if not is_listed and isinstance(error, Unanswered | _PrivateAddress):
            raise SourceError(UNREACHABLE) from error
        raise


class _AnotherIssuer(SourceError):
    """The configuration at the address of an issuer is that of another, which jobs and clients do not get to know."""

    def __init__(self, named: str) -> None:
        super().__init__("its configuration names another issuer")
        self.named = named


def configuration(issuer: str) -> dict[str, Any]:
    """Return the configuration of an issuer that administrators have listed.

    :raises SourceError: it does not deliver it, or it is malformed; administrators see which issuer it names.
    """
    client = _client(issuer, is_listed=True)
    try:
        return _configuration(client, issuer)
    except _AnotherIssuer as error:
        named = f"its configuration names the issuer {quoted(error.named)}; expected {quoted(issuer)}"
        raise SourceError(named) from error
    finally:
        client.close()


def _client(issuer: str, *, is_listed: bool) -> Client:
    patience = Patience(FIRST_BYTE_SECONDS, PAGE_SECONDS, attempts=1, rate_limited_attempts=1)
    return Client(issuer, patience=patience, gatekeeper=ServerGate(is_listed=is_listed), redirects=0)


def _configuration(client: Client, issuer: str) -> dict[str, Any]:
    document = _read(client, issuer.rstrip("/") + CONFIGURATION, MAX_CONFIGURATION_BYTES)
    if document.get("issuer") != issuer:
        raise _AnotherIssuer(str(document.get("issuer", "")))
    return document


def _published_keys(issuer: str, *, is_listed: bool) -> dict[str, dict[str, Any]]:
    client = _client(issuer, is_listed=is_listed)
    try:
        address = _configuration(client, issuer).get("jwks_uri")
        if not isinstance(address, str) or not address.isascii():
            raise SourceError("its configuration has no jwks_uri")
        return _keys(_read(client, address, MAX_KEYS_BYTES).get("keys"))
    finally:
        client.close()


def _read(client: Client, url: str, max_bytes: int) -> dict[str, Any]:
    page = client.read(url, accept="application/json", max_bytes=max_bytes, elsewhere=False)
    try:
        return read_object(page.body)
    except ValueError as error:
        raise SourceError("the response is not a JSON object") from error


def _keys(listed: object) -> dict[str, dict[str, Any]]:
    """Return the keys for signatures in a JSON Web Key Set (RFC 7517, section 5), one of them without an ID."""
    if not isinstance(listed, list):
        raise SourceError("the key set has no list of keys")
    if len(listed) > MAX_KEYS:
        raise SourceError(f"the key set has more than {MAX_KEYS} keys")
    return {
        key.get("kid", ""): key
        for key in listed
        if isinstance(key, dict) and isinstance(key.get("kid", ""), str) and key.get("use", "sig") == "sig"
    }


class _PrivateAddress(SourceError):
    """The name of a server leads to an address that is not public."""


@dataclass(frozen=True)
class ServerGate:
    """Admits public servers with HTTPS, and for a listed issuer any address (``http.Gatekeeper``)."""

    is_listed: bool

    def refuse_url(self, url: str) -> None:
        parts = urlsplit(url)
        is_local = self.is_listed and parts.scheme == "http" and is_loopback(parts.hostname or "")
        if (parts.scheme != "https" and not is_local) or "@" in parts.netloc:
            raise SourceError("its configuration or keys have an address without HTTPS")

    def refuse_address(self, host: str, address: str) -> None:
        if not self.is_listed and not is_public(address):
            raise _PrivateAddress(f"{host} has an address that is not public")
