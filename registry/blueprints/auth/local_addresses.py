"""Addresses within the registry to which pages return."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import url_for


def local_address(address: str | None) -> str:
    """Return a redirect target: a path of this registry, or its home page.

    Browsers interpret ``//host``, ``/\\host``, and control characters between slashes as another host.
    """
    address = address or ""
    is_local = address.startswith("/") and not address.startswith("//") and address.isprintable()
    if not is_local or "\\" in address or urlsplit(address).netloc:
        return url_for("ui.explore.home")
    return address
