"""Trusted publishers and readers: which CI jobs can publish to a project, or install from a project or group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from packaging.utils import canonicalize_name
from sqlalchemy import exists, func, select

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.issuers import GITHUB, GITLAB, is_issuer, is_private, spelled
from registry.errors import Code, Fault, InvalidRecord, NotFound
from registry.models import Group, InstanceSettings, Namespace, Project, TrustedPublisher, TrustedReader

Identity = TypeVar("Identity", bound=TrustedPublisher | TrustedReader)

MOST_IDENTITIES = 100  # of a kind in a namespace
MOST_CLAIMS = 20
MOST_NAMES = 100
LONGEST_VALUE = 255
# Claims that are about the token itself.
STANDARD = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
# Claims that identify an account or repository where anyone can have some, one of which has to begin with its owner.
# ``job_workflow_ref`` is not one of them: it names a reusable workflow, which jobs of any repository can call.
IDENTIFYING = frozenset(
    {"sub", "repository", "repository_id", "repository_owner", "repository_owner_id"}
    | {"project_path", "project_id", "namespace_path", "namespace_id", "workflow_ref"}
)
_CLAIM = re.compile(r"[A-Za-z0-9_.:/-]{1,100}", re.ASCII)


def parse_claims(lines: Iterable[str]) -> dict[str, str]:
    """Return the claims in lines like ``name=value``; spaces around both do not count.

    :raises InvalidRecord: a name is repeated.
    """
    claims: dict[str, str] = {}
    for name, _equals, value in (line.partition("=") for line in lines):
        if name.strip() in claims:
            raise InvalidRecord({"claims": [Fault(Code.REPEATED_CLAIM, name=name.strip()[:100])]})
        claims[name.strip()] = value.strip()
    return claims


def add_publisher(
    project: Project,
    *,
    issuer: str,
    claims: Mapping[str, str],
    package_names: Iterable[str] = (),
    by: audit.Author,
) -> TrustedPublisher:
    """Let CI jobs with these claims publish to a project; otherwise as ``add_reader``.

    :param package_names: the only ones that they can publish; empty for any.
    """
    names = list(dict.fromkeys(canonicalize_name(name) for name in package_names))
    are_names = len(names) <= MOST_NAMES and all(map(is_valid_name, names))
    _validate(TrustedPublisher, project, issuer, claims, {"package_names": [] if are_names else [Fault(Code.INVALID)]})
    publisher = TrustedPublisher(
        project_id=project.id, issuer=issuer, claims=dict(claims), package_names=[str(name) for name in names],
        creator_id=by.user_id,
    )  # fmt: skip
    return _added(publisher, project, by)


def add_reader(
    namespace: Project | Group, *, issuer: str, claims: Mapping[str, str], by: audit.Author
) -> TrustedReader:
    """Let CI jobs with these claims install the packages of a project, or of a group and everything in it.

    Takes no lock: their number is a soft limit, and the database refuses one of a deleted namespace.

    :param claims: a pattern for each claim, in which ``*`` matches any text.
    :raises InvalidRecord: a value is invalid, or there are too many.
    """
    _validate(TrustedReader, namespace, issuer, claims, {})
    reader = TrustedReader(namespace_id=namespace.id, issuer=issuer, claims=dict(claims), creator_id=by.user_id)
    return _added(reader, namespace, by)


def identities_of(kind: type[Identity], namespace: Namespace) -> list[Identity]:
    """Return the trusted publishers or readers of a namespace itself, oldest first."""
    return list(db.session.scalars(select(kind).where(kind.namespace_id == namespace.id).order_by(kind.id)))


def identity(kind: type[Identity], namespace: Namespace, identity_id: int) -> Identity:
    """Return a trusted publisher or reader of a namespace.

    :raises NotFound: the namespace has none with this ID.
    """
    found = db.session.get(kind, identity_id)
    if found is None or found.namespace_id != namespace.id:
        raise NotFound(kind.noun.replace("_", " ").capitalize())
    return found


def delete(identity: TrustedPublisher | TrustedReader, namespace: Namespace, *, by: audit.Author) -> None:
    """Delete a trusted publisher or reader, after which tokens of its jobs are of no use from the next request on.

    Takes no lock: one that was deleted in the meantime is reported as missing.
    """
    with transaction(changes_answers=isinstance(identity, TrustedReader)) as session:
        audit.record(by, f"{identity.noun}_deleted", identity.issuer, namespace, **_details(identity))
        session.delete(identity)


def trusting(kind: type[Identity], issuer: str) -> list[Identity]:
    """Return the trusted publishers or readers of all namespaces with this issuer, oldest first."""
    return list(db.session.scalars(select(kind).where(kind.issuer == issuer).order_by(kind.id)))


def is_trusted(kind: type[TrustedPublisher | TrustedReader], issuer: str) -> bool:
    """Return whether any namespace has a trusted publisher or reader with this issuer."""
    return bool(db.session.scalar(select(exists().where(kind.issuer == issuer))))


def _validate(
    kind: type[TrustedPublisher | TrustedReader],
    namespace: Namespace,
    issuer: str,
    claims: Mapping[str, str],
    further: Mapping[str, list[Fault]],
) -> None:
    listed = InstanceSettings.current().oidc_trusted_issuers
    faults = {
        "issuer": list(_issuer_faults(issuer, listed)),
        "claims": list(_claim_faults(issuer, claims)),
        **further,
    }
    count = db.session.scalar(select(func.count()).where(kind.namespace_id == namespace.id)) or 0
    if count >= MOST_IDENTITIES:
        faults["issuer"].append(Fault(Code.TOO_MANY_IDENTITIES, maximum=MOST_IDENTITIES))
    if any(faults.values()):
        raise InvalidRecord({field: found for field, found in faults.items() if found})


def _added(identity: Identity, namespace: Namespace, by: audit.Author) -> Identity:
    # Cached responses depend on readers; tokens to publish read nothing that is cached.
    with transaction(changes_answers=isinstance(identity, TrustedReader)) as session:
        session.add(identity)
        session.flush()
        audit.record(by, f"{identity.noun}_added", identity.issuer, namespace, **_details(identity))
    return identity


def _issuer_faults(issuer: str, listed: list[str]) -> Iterable[Fault]:
    if listed and issuer not in listed:
        yield Fault(Code.ISSUER_NOT_LISTED, issuers=", ".join(listed))
    elif not is_issuer(issuer, is_listed=issuer in listed):
        yield Fault(Code.NO_ISSUER)
    elif not listed and is_private(issuer):
        yield Fault(Code.ISSUER_NOT_PUBLIC)
    elif spelled(issuer) != issuer:
        yield Fault(Code.ISSUER_MISSPELLED, expected=spelled(issuer))


def _claim_faults(issuer: str, claims: Mapping[str, str]) -> Iterable[Fault]:
    if len(claims) > MOST_CLAIMS:
        yield Fault(Code.TOO_MANY_CLAIMS, maximum=MOST_CLAIMS)
        return
    for name, value in claims.items():
        if not _CLAIM.fullmatch(name) or name in STANDARD:
            yield Fault(Code.NO_CLAIM_NAME, name=name[:100])
        elif not value or len(value) > LONGEST_VALUE or not value.isprintable():
            yield Fault(Code.NO_CLAIM_VALUE, name=name)
    if issuer in (GITHUB, GITLAB):
        if not any(name in IDENTIFYING and "*" not in value.partition("/")[0] for name, value in claims.items()):
            yield Fault(Code.CLAIMS_OF_ANYONE)
    elif not any(value.strip("*") for value in claims.values()):
        yield Fault(Code.NO_CLAIMS)


def _details(identity: TrustedPublisher | TrustedReader) -> dict[str, object]:
    names = identity.package_names if isinstance(identity, TrustedPublisher) else []
    return {
        f"{identity.noun.removeprefix('trusted_')}_id": identity.id,
        "claims": identity.claims,
        **({"package_names": names} if names else {}),
    }
