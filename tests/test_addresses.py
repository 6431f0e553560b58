"""Valid hosts, and the registry's own address."""

from __future__ import annotations

import pytest

from registry.addresses import is_host, root_url


@pytest.mark.parametrize(
    "host",
    ["a", "a.b:1", "a.b:65535", "a:", "a.", "1.2.3.4", "a_b", "_a", "-", "A-1", "[::]", "[::1]:8", "[::ffff:1.2.3.4]",
     "a" * 63, ".".join(["a" * 61] * 4), "xn--a", "XN--R8JZ45G.jp", "xn--strae-oqa"],
)  # fmt: skip
def test_a_host_is_an_address_or_a_name_with_or_without_a_port(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    ["", ".", "a..b", ".a", "a..", "a:0", "a:65536", "a:b", "a:1:2", "::1", "[]", "[1]", "[::1", "[::1]a",
     "[fe80::1%eth0]", "a b", "a\n", "a/b", "a?b", "a#b", "u@a", "a%20b", "a,b", "例.jp", "a" * 64,
     ".".join(["a" * 63] * 4), "xn--", "a.xn--", "xn--99999999"],
)  # fmt: skip
def test_anything_else_is_no_host(host: str) -> None:
    assert not is_host(host)


@pytest.mark.parametrize(
    ("scheme", "host", "prefix", "url"),
    [
        ("http", "a", "", "http://a/"),
        ("http", "a:80", "", "http://a/"),
        ("http", "a:443", "", "http://a:443/"),
        ("https", "a:443", "", "https://a/"),
        ("https", "[::1]:443", "/sub", "https://[::1]/sub/"),
        ("https", "a:", "/a b/\xc3\xa9/%20", "https://a/a%20b/%C3%A9/%20/"),
        ("http", None, "", "http://[::1]:8080/"),
    ],
)
def test_the_own_address_is_ascii_without_a_default_port(scheme: str, host: str | None, prefix: str, url: str) -> None:
    environ = {"wsgi.url_scheme": scheme, "SERVER_NAME": "::1", "SERVER_PORT": "8080", "SCRIPT_NAME": prefix}

    assert root_url(environ if host is None else environ | {"HTTP_HOST": host}) == url
