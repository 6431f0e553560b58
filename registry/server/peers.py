"""The addresses that connections come from: which are those of trusted proxies, and which count as one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address


@dataclass(frozen=True)
class Proxies:
    """The addresses that trusted proxies connect from: ``address in proxies``.

    :ivar networks: ``None`` for all addresses that are not public.
    """

    networks: Collection[IPv4Network | IPv6Network] | None

    def __contains__(self, address: object) -> bool:
        try:
            parsed = _parsed(str(address))
        except ValueError:  # the application can be called without a connection
            return False
        if self.networks is None:
            return not parsed.is_global
        return any(parsed in network for network in self.networks)


def site(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the network of an IPv6 address, which is one site's."""
    if ":" not in address:
        return address
    parsed = _parsed(address)
    return str(parsed) if parsed.version == 4 else parsed.packed[:8].hex()


def _parsed(address: str) -> IPv4Address | IPv6Address:
    """Parse an IP address. An IPv4 address in the form that IPv6 has for it becomes one of IPv4.

    :raises ValueError: it is not an IP address.
    """
    parsed = ip_address(address)
    return parsed if parsed.version == 4 else parsed.ipv4_mapped or parsed
