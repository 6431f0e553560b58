"""Which IP addresses are those of the public internet, where users can have the registry ask servers that they name."""

from __future__ import annotations

import ipaddress

# All addresses of the internet in IPv6 (RFC 4291, section 2.4), and those that lead to one in IPv4 (RFC 6052).
_UNICAST, _TRANSLATED = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet.

    :raises ValueError: it is no IP address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in _TRANSLATED:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
        return ip.is_global and ip in _UNICAST
    return ip.is_global and not ip.is_multicast
