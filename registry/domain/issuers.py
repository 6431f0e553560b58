"""The addresses of issuers of identity tokens."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
_URL = re.compile(r"[!-~]{1,255}")


def is_issuer(url: str, *, is_listed: bool) -> bool:
    """Return whether a URL can be that of an issuer (OpenID Connect Core, section 2).

    :param is_listed: whether administrators have listed it, so that ``http`` on the machine itself is accepted, too.
    """
    try:
        parts = urlsplit(url)
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    if not is_complete or not _URL.fullmatch(url) or "@" in parts.netloc or any(c in url for c in '?#\\"<>'):
        return False
    return parts.scheme == "https" or (is_listed and parts.scheme == "http" and is_loopback(parts.hostname or ""))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
