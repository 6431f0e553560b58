"""The addresses of issuers of identity tokens."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from registry.domain.ip_addresses import is_public

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
CONFIGURATION = "/.well-known/openid-configuration"  # its path below an issuer
_URL = re.compile(r"[!-~]{1,255}")


def is_accepted(issuer: str, listed: Collection[str]) -> bool:
    """Return whether jobs with identity tokens of an issuer can be trusted, as far as its address shows.

    :param listed: the issuers that administrators have listed; without any, all with HTTPS and a public address.
    """
    return issuer in listed if listed else is_issuer(issuer, is_listed=False) and not is_private(issuer)


def is_issuer(url: str, *, is_listed: bool) -> bool:
    """Return whether a URL can be an issuer (OpenID Connect Core, section 2), and is not that of its configuration.

    :param is_listed: whether administrators have listed it, so that ``http`` on the machine itself is accepted, too.
    """
    if not _URL.fullmatch(url) or any(c in url for c in '?#\\"<>'):
        return False
    try:
        parts = urlsplit(url)
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    if not is_complete or "@" in parts.netloc:
        return False
    if parts.path.rstrip("/").endswith(CONFIGURATION):
        return False
    return parts.scheme == "https" or (is_listed and parts.scheme == "http" and is_loopback(parts.hostname or ""))


def spelled(url: str) -> str:
    """Return an issuer as identity tokens name it: its host in lower case, and without the port that is the default.

    A slash at the end is part of the names of some issuers, but not of those that are known.
    """
    parts = urlsplit(url)
    host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80").removesuffix(":")
    usual = f"{parts.scheme}://{host}{parts.path}"
    return usual.rstrip("/") if usual.rstrip("/") in (GITHUB, GITLAB) else usual


def is_private(url: str) -> bool:
    """Return whether the host of an issuer is an address that is not public, without looking up its name."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return not is_public(host)
    except ValueError:  # no top-level domain begins with a digit, but other spellings of addresses do
        return host == "localhost" or host.endswith(".localhost") or host.rpartition(".")[2][:1].isdigit()


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
