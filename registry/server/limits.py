"""How many connections there can be, and how long each can wait for its client."""

from __future__ import annotations

import logging
import resource
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from registry.server.peers import Proxies, site

# A connection can have a file beside it: the body that it sends, or the file that it gets.
DESCRIPTORS_PER_CONNECTION = 2
OTHER_DESCRIPTORS = 256  # the database, the store, the log, metrics, files under inspection

logger = logging.getLogger(__name__)


class Places:
    """Room for so many requests of a kind, of which each address has a share.

    An address gets another place while more are free than it has: alone half of them, and together with others as many
    as each of these, so that some remain free for other clients.

    The loop never waits here. Threads that take places at the same moment can pass the limit by one each.

    :param unshared: the addresses that get every place that is free.
    """

    def __init__(self, count: int, unshared: Container[str] = ()) -> None:
        self._count, self._unshared = count, unshared
        self._holders: list[str] = []

    def take(self, address: str) -> bool:
        """Take a place for a request of this address, and return whether there is one."""
        holder = site(address)
        held = 0 if address in self._unshared else self._holders.count(holder)
        is_free = held < self._count - len(self._holders)
        if is_free:
            self._holders.append(holder)
        return is_free

    def give_back(self, address: str) -> None:
        self._holders.remove(site(address))


@dataclass(frozen=True)
class Limits:
    """The limits on the connections of one process.

    :ivar per_address: how many connections one address can have, an IPv6 network of 64 bits being one; 0 is unlimited.
    :ivar proxies: the addresses without this limit.
    :ivar head_seconds: from the first byte of a head, or a new connection, to the end of the head.
    :ivar idle_seconds: from an answer to the first byte of the next request.
    :ivar body_seconds: for each ``waits.PROGRESS_BYTES`` of a body, and for its rest.
    :ivar response_seconds: during which a client accepts nothing of its response.
    :ivar linger_seconds: during which further input is discarded before a connection closes.
    """

    connections: int
    per_address: int = 0
    head_seconds: float = 20
    idle_seconds: float = 75
    body_seconds: float = 30
    response_seconds: float = 120
    linger_seconds: float = 5
    proxies: Container[str] = ()


def configured(values: Mapping[str, Any]) -> Limits:
    """Return the limits by the settings. All connections of a proxy have its address."""
    proxies = Proxies(values["TRUSTED_PROXY_ADDRESSES"]) if values["TRUSTED_PROXIES"] else ()
    return Limits(values["MAX_CONNECTIONS"], values["MAX_CONNECTIONS_PER_ADDRESS"], proxies=proxies)


def affordable(limits: Limits) -> Limits:
    """Raise the number of file descriptors that the process can have, or lower the number of connections to fit."""
    needed = limits.connections * DESCRIPTORS_PER_CONNECTION + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    available = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < available:
        resource.setrlimit(resource.RLIMIT_NOFILE, (available, hard))
        logger.info("Raised the limit of open files from %d to %d.", soft, available)
    if available >= needed:
        return limits
    connections = max(1, (available - OTHER_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)
    logger.warning(
        "REGISTRY_MAX_CONNECTIONS is %d, which needs %d open files; the system allows %d: at most %d connections.",
        limits.connections, needed, available, connections,
    )  # fmt: skip
    return replace(limits, connections=connections)
