"""Request forwarding: whether it is on, and the upstream URL of a request."""

from __future__ import annotations

from packaging.utils import canonicalize_name

from registry.domain.cascade import FORWARDING
from registry.domain.packages.names import is_held
from registry.errors import NotFound
from registry.models import Namespace

of_group, change_forwarding = FORWARDING.of_group, FORWARDING.change


def forwards(namespace: Namespace) -> bool:
    """Return whether requests for package names missing from this project or group are forwarded."""
    return FORWARDING.value_in(namespace)


def upstream_url(namespace: Namespace, name: str, upstream: str) -> str:
    """Return the URL of the upstream page to redirect to for a package name that this namespace lacks.

    :param name: as requested; the URL contains its normalized form (PEP 503).
    :param upstream: URL of the upstream simple index.
    :raises NotFound: forwarding is off, by the namespace's own, an inherited, or a locked setting; or the name is held
        (``names.is_held``), by a project that the caller cannot read, or only until the next cleanup.

    GitLab, "Package request forwarding": the direct parent group decides for a project. GitLab forwards held names.
    """
    normalized_name = canonicalize_name(name)
    if not forwards(namespace):
        raise NotFound("Package").explained(
            "Package not found",
            f"The {namespace.kind} {namespace.full_path} has no package {normalized_name}, and the setting "
            '"Forward PyPI package requests" is off there, so the public index is not asked.',
        )
    if is_held(namespace, normalized_name):
        raise NotFound("Package").explained(
            "Package not found",
            f"The name {normalized_name} belongs to the {namespace.kind} {namespace.full_path}, so the public index "
            "is not asked. Its packages were deleted, or you cannot read them.",
        )
    return f"{upstream}/{normalized_name}/"
