"""The registry's own address, as its clients see it: scheme, host, and sub-path, always in ASCII.

Every absolute link begins with ``root_url``. Those of Werkzeug are not used: they have internationalized host names in
Unicode, which headers cannot contain and clients do not connect with the URL they sent, and no host with an underscore.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from registry.environ_keys import PROXY_USER
from registry.errors import BadRequest, Code

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LONGEST_HOST = 253  # characters of a name in the DNS
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::(?P<port>[0-9]{0,5}))?", re.I | re.A)
_LABEL = re.compile(r"[a-z0-9_-]{1,63}", re.I | re.A)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_UNUSABLE_PREFIX = re.compile(r"[\\\x00-\x1f\x7f]|//")  # browsers take a backslash for a slash
_FAULT = "registry.address_fault"


def is_host(text: str) -> bool:
    """Return whether this is a host with or without a port (RFC 3986, section 3.2).

    A host is an address or a name of the DNS in ASCII. Underscores are allowed, as in the names of containers.
    """
    return len(text) <= LONGEST_HOST + len(":65535") and _is_host(text)


def root_url(environ: WSGIEnvironment) -> str:
    """Return the registry's URL, with a slash at its end."""
    return _root_url(environ["wsgi.url_scheme"], _host(environ), environ.get("SCRIPT_NAME", ""))


def is_usable(environ: WSGIEnvironment) -> bool:
    """Return whether links can begin with the address of a request that ``OwnAddress`` received."""
    return _FAULT not in environ


def require_usable(environ: WSGIEnvironment) -> None:
    """Check the address of a request that ``OwnAddress`` received.

    :raises BadRequest: no link can begin with it (RFC 9112, section 3.2).
    """
    if not is_usable(environ):
        raise BadRequest(environ[_FAULT])


class ExternalURL:
    """WSGI middleware: sets scheme, host, and sub-path to those of the configured external URL."""

    def __init__(self, application: WSGIApplication, url: str) -> None:
        self.application = application
        parts = urlsplit(url)
        self.scheme, self.host, self.prefix = parts.scheme, parts.netloc, parts.path.rstrip("/")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.url_scheme"], environ["HTTP_HOST"] = self.scheme, self.host
        environ["SCRIPT_NAME"] = self.prefix
        path = environ.get("PATH_INFO", "")
        if self.prefix and (path == self.prefix or path.startswith(self.prefix + "/")):
            environ["PATH_INFO"] = path[len(self.prefix) :] or "/"
        return self.application(environ, start_response)


class FromProxies:
    """WSGI middleware: has only the requests of trusted proxies read with the headers that proxies add.

    :param proxied: the application behind the middleware that reads those headers.
    :param direct: the same application without it.
    :param proxies: the addresses of the proxies.
    """

    def __init__(self, proxied: WSGIApplication, direct: WSGIApplication, proxies: Container[str]) -> None:
        self._proxied, self._direct, self._proxies = proxied, direct, proxies

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_proxy = environ.get("REMOTE_ADDR", "") in self._proxies
        return (self._proxied if is_proxy else self._direct)(environ, start_response)


class UserHeader:
    """WSGI middleware: takes the name of the user from a header of trusted proxies, and removes that of all others.

    :param header: its name; ``X-Forwarded-User`` also matches no header with underscores, which the server drops.
    :param proxies: the addresses of the proxies.
    """

    def __init__(self, application: WSGIApplication, header: str, proxies: Container[str]) -> None:
        self._application, self._proxies = application, proxies
        self._key = f"HTTP_{header.upper().replace('-', '_')}"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = environ.pop(self._key, "")
        if name and environ.get("REMOTE_ADDR", "") in self._proxies:
            environ[PROXY_USER] = name
        return self._application(environ, start_response)


class OwnAddress:
    """WSGI middleware: normalizes scheme and sub-path, and notes whether scheme and host can be used in links.

    Werkzeug fails on some malformed hosts before any view or error handler could refuse them, so it gets another one.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        prefix = environ.get("SCRIPT_NAME", "").strip("/")
        environ["SCRIPT_NAME"] = f"/{prefix}" if prefix else ""
        environ["wsgi.url_scheme"] = environ["wsgi.url_scheme"].lower()
        if environ["wsgi.url_scheme"] not in _DEFAULT_PORTS:
            environ[_FAULT], environ["wsgi.url_scheme"] = Code.INVALID_SCHEME, "http"
        if _UNUSABLE_PREFIX.search(environ["SCRIPT_NAME"]):
            environ[_FAULT], environ["SCRIPT_NAME"] = Code.INVALID_PREFIX, ""
        if not is_host(_host(environ)):
            environ[_FAULT], environ["HTTP_HOST"] = Code.INVALID_HOST, "localhost"
        return self.application(environ, start_response)


def _host(environ: WSGIEnvironment) -> str:
    """Return the host of the request; if it has none, as in HTTP/1.0, that of the server."""
    host: str | None = environ.get("HTTP_HOST")
    if host is not None:
        return host
    name, port = environ["SERVER_NAME"], environ["SERVER_PORT"]
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


@lru_cache(maxsize=64)  # clients use few, but each in thousands of requests
def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    if found is None:
        return False
    port = found["port"]
    is_port = not port or 0 < int(port) <= 65535
    return is_port and (_is_name(found["name"]) if found["ipv6"] is None else _is_ipv6(found["ipv6"]))


@lru_cache(maxsize=64)
def _root_url(scheme: str, host: str, prefix: str) -> str:
    host = host.removesuffix(":").removesuffix(_DEFAULT_PORTS[scheme])
    path = quote(prefix, safe="/%!$&'()*+,:;=@~", encoding="latin-1")
    return f"{scheme}://{host}{path}/"


def _is_name(name: str) -> bool:
    name = name.removesuffix(".")
    return len(name) <= LONGEST_HOST and all(_LABEL.fullmatch(label) and _is_idn(label) for label in name.split("."))


def _is_idn(label: str) -> bool:
    """Return whether a label is decodable, if it is the ASCII form of another one.

    Without the further rules of IDNA, of which browsers and registries of names use different versions.
    """
    prefix, punycode = label[:4].lower(), label[4:]
    if prefix != "xn--":
        return True
    try:
        return punycode.encode().decode("punycode") != ""
    except UnicodeError:
        return False


def _is_ipv6(address: str) -> bool:
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return True
