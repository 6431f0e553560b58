"""Authorization: principals, roles, the permission table, and the same rules as SQL conditions."""

from __future__ import annotations

from registry.domain.access.conditions import (
    below,
    has_role,
    joined,
    load_reader,
    readable,
    reader_of,
    visible,
    within,
)
from registry.domain.access.policy import (
    POLICY,
    DeployScope,
    Permission,
    Rule,
    Scope,
    allowed,
    anyone_may_pull,
    load_role_for,
    require,
    require_scope,
)
from registry.domain.access.principals import (
    ANONYMOUS,
    SHELL,
    Acceptance,
    Principal,
    PrincipalKind,
    Reader,
)
from registry.domain.access.roles import (
    HeldRoles,
    held_roles,
    highest_role,
    is_within,
    load_roles,
    role_in,
    role_of,
    unexpired,
)
from registry.domain.access.trust import accepting

__all__ = [
    "ANONYMOUS",
    "POLICY",
    "SHELL",
    "Acceptance",
    "DeployScope",
    "HeldRoles",
    "Permission",
    "Principal",
    "PrincipalKind",
    "Reader",
    "Rule",
    "Scope",
    "accepting",
    "allowed",
    "anyone_may_pull",
    "below",
    "has_role",
    "held_roles",
    "highest_role",
    "is_within",
    "joined",
    "load_reader",
    "load_role_for",
    "load_roles",
    "readable",
    "reader_of",
    "require",
    "require_scope",
    "role_in",
    "role_of",
    "unexpired",
    "visible",
    "within",
]
