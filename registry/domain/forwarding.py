"""The forwarding decision, and nothing else."""

from __future__ import annotations

from packaging.utils import canonicalize_name

from registry.domain import settings
from registry.errors import NotFound
from registry.models import Namespace


def upstream_url(namespace: Namespace, name: str, upstream: str) -> str:
    """The upstream page to redirect to for a package name this namespace does not hold.

    :param name: as requested; the answer carries its normalized form (PEP 503).
    :param upstream: address of the upstream simple index.
    :raises NotFound: forwarding is off here, by own, inherited or locked setting.

    GitLab, "Package request forwarding": the direct parent group decides for a project.
    """
    if not settings.forwards(namespace):
        raise NotFound("Package")
    return f"{upstream}/{canonicalize_name(name)}/"
