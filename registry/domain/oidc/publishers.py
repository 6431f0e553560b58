"""Trusted publishers of projects: which identity tokens can be exchanged for a token to publish."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from packaging.utils import canonicalize_name
from sqlalchemy import exists, func, select

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.issuers import GITHUB, GITLAB, is_issuer, is_private, spelled
from registry.domain.oidc.claims import claim_text
from registry.errors import Code, Fault, InvalidRecord, NotFound
from registry.models import InstanceSettings, Project, TrustedPublisher

MOST_PUBLISHERS = 100  # of a project
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
    """Let CI jobs with these claims publish to a project.

    Takes no lock: the number of publishers is a soft limit, and the database refuses one of a deleted project.

    :param claims: a pattern for each claim, in which ``*`` matches any text.
    :param package_names: the only ones that they can publish; empty for any.
    :raises InvalidRecord: a value is invalid, or there are too many publishers.
    """
    names = list(dict.fromkeys(canonicalize_name(name) for name in package_names))
    listed = InstanceSettings.current().oidc_trusted_issuers
    faults = {
        "issuer": list(_issuer_faults(issuer, listed)),
        "claims": list(_claim_faults(issuer, claims)),
        "package_names": [] if len(names) <= MOST_NAMES and all(map(is_valid_name, names)) else [Fault(Code.INVALID)],
    }
    count = db.session.scalar(select(func.count()).where(TrustedPublisher.project_id == project.id)) or 0
    if count >= MOST_PUBLISHERS:
        faults["issuer"].append(Fault(Code.TOO_MANY_PUBLISHERS, maximum=MOST_PUBLISHERS))
    if any(faults.values()):
        raise InvalidRecord({field: found for field, found in faults.items() if found})
    publisher = TrustedPublisher(
        project_id=project.id, issuer=issuer, claims=dict(claims), package_names=[str(name) for name in names],
        creator_id=by.user_id,
    )  # fmt: skip
    with transaction(changes_answers=False) as session:  # no token is based on it yet
        session.add(publisher)
        session.flush()
        audit.record(by, "trusted_publisher_added", issuer, project, **_details(publisher))
    return publisher


def publishers_of(project: Project) -> list[TrustedPublisher]:
    """Return the trusted publishers of a project, oldest first."""
    found = select(TrustedPublisher).where(TrustedPublisher.project_id == project.id)
    return list(db.session.scalars(found.order_by(TrustedPublisher.id)))


def publisher(project: Project, publisher_id: int) -> TrustedPublisher:
    """Return a trusted publisher of a project.

    :raises NotFound: the project has none with this ID.
    """
    found = db.session.get(TrustedPublisher, publisher_id)
    if found is None or found.project_id != project.id:
        raise NotFound("Trusted publisher")
    return found


def delete_publisher(publisher: TrustedPublisher, project: Project, *, by: audit.Author) -> None:
    """Delete a trusted publisher, on which tokens are of no use from the next request on.

    Takes no lock: a publisher that was deleted in the meantime is reported as missing.
    """
    with transaction(changes_answers=False) as session:  # tokens to publish read nothing that is cached
        audit.record(by, "trusted_publisher_deleted", publisher.issuer, project, **_details(publisher))
        session.delete(publisher)


def is_trusted(issuer: str) -> bool:
    """Return whether any project has a trusted publisher with this issuer."""
    return bool(db.session.scalar(select(exists().where(TrustedPublisher.issuer == issuer))))


def publishers_trusting(issuer: str) -> list[TrustedPublisher]:
    """Return the trusted publishers of all projects with this issuer, oldest first."""
    found = select(TrustedPublisher).where(TrustedPublisher.issuer == issuer)
    return list(db.session.scalars(found.order_by(TrustedPublisher.id)))


def mismatches(publisher: TrustedPublisher, claims: Mapping[str, Any]) -> list[str]:
    """Return the names of the claims of a verified token that a publisher does not accept."""
    return [
        name
        for name, pattern in publisher.claims.items()
        if (text := claim_text(claims.get(name))) is None or not _matches(pattern, text)
    ]


def _matches(pattern: str, text: str) -> bool:
    # fnmatch does not backtrack, however many wildcards there are; only * is one here.
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


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


def _details(publisher: TrustedPublisher) -> dict[str, object]:
    return {
        "publisher_id": publisher.id,
        "claims": publisher.claims,
        **({"package_names": publisher.package_names} if publisher.package_names else {}),
    }
