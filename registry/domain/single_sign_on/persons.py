"""What an identity provider states about a person: the claims of its ID token and UserInfo response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

LONGEST_TEXT = 255
MOST_GROUPS = 10_000
_NAMES = ("preferred_username", "nickname", "email", "name")  # from which a user name is derived, the best one first


@dataclass(frozen=True)
class Person:
    """A person whom an identity provider has signed in.

    :ivar subject: identifies the person forever, within the issuer.
    :ivar usernames: texts from which a user name can be derived, the best one first.
    :ivar name: the full name; empty if it is not known, like ``email``.
    :ivar groups: ``None`` if the provider states that there are more than it lists.
    """

    issuer: str
    subject: str
    usernames: tuple[str, ...] = ()
    name: str = ""
    email: str = ""
    is_email_verified: bool = False
    groups: frozenset[str] | None = frozenset()


def from_claims(issuer: str, claims: Mapping[str, Any], groups_claim: str) -> Person:
    """Return the person whom verified claims describe; claims of another type than usual count as missing."""
    texts = {name: _text(claims.get(name)) for name in (*_NAMES, "given_name", "family_name")}
    return Person(
        issuer=issuer,
        subject=claims["sub"],
        usernames=tuple(texts[name].partition("@")[0] for name in _NAMES if texts[name]),
        name=texts["name"] or f"{texts['given_name']} {texts['family_name']}".strip(),
        email=texts["email"],
        is_email_verified=claims.get("email_verified") is True,
        groups=_groups(claims, groups_claim),
    )


def _text(value: object) -> str:
    """Return a text that can be shown and stored on one line; empty if the value is something else."""
    return value.strip() if _is_line(value) else ""


def _is_line(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str] | None:
    elsewhere = claims.get("_claim_names")  # OpenID Connect Core, section 5.6.2: too many for the token, as in Entra ID
    if isinstance(elsewhere, Mapping) and name in elsewhere:
        return None
    found = claims.get(name)
    if name not in claims and "." in name:  # such as realm_access.roles
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    if len(listed) > MOST_GROUPS:
        return None
    return frozenset(filter(_is_line, listed))  # as they are: a name with a space at its end is that of another group
