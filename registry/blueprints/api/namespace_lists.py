"""Filter parameters shared by the lists of groups and projects."""

from __future__ import annotations

from registry.blueprints.api.parameters import Sent, boolean, integer, one_of, optional, text, visibility
from registry.domain.namespaces import NamespaceFilter
from registry.models import MEMBER_ROLES, Role

DECLARED = {
    "search": optional(text),
    "visibility": optional(visibility),
    "owned": optional(boolean),
    "min_access_level": optional(one_of({int(role): role for role in MEMBER_ROLES}, integer)),
    "sort": optional(one_of({"asc": False, "desc": True})),
    "statistics": optional(boolean),
}


def wanted(sent: Sent, *, order_by: str, descending: bool, joined_only: bool = False) -> NamespaceFilter:
    """Return the filter in the parameters.

    :param order_by: the default order, as is ``descending``.
    """
    return NamespaceFilter(
        search=sent.get("search", ""),
        visibility=sent.get("visibility"),
        role=Role.OWNER if sent.get("owned") else sent.get("min_access_level", Role.NO_ACCESS),
        joined_only=joined_only,
        order_by=sent.get("order_by", order_by),
        descending=sent.get("sort", descending),
    )
