"""Trusted publishers and readers: which CI jobs can publish to a project, or install from a project or group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

from packaging.utils import canonicalize_name
from sqlalchemy import exists, func, select

from registry.database import db, transaction
from registry.domain import audit
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.issuers import GITHUB, GITLAB, is_accepted, is_issuer, is_private, spelled
from registry.errors import Code, Fault, InvalidRecord, NotFound
from registry.models import LONGEST_CLAIM, Group, InstanceSettings, Namespace, Project, TrustedPublisher, TrustedReader

Identity = TypeVar("Identity", bound=TrustedPublisher | TrustedReader)

MOST_IDENTITIES = 100  # of a kind in a namespace
MOST_COMPARED = 100  # with a job that none accepts
MOST_CANDIDATES = 10_000  # compared with a job
MOST_SEPARATORS = 8
MOST_CLAIMS = 20
MOST_NAMES = 100
LONGEST_VALUE = 255
# Claims that are about the token itself.
STANDARD = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
# Claims whose values the jobs of many owners have, so that they do not identify a job alone.
SHARED = frozenset(
    {"ref", "ref_path", "ref_type", "ref_protected", "environment", "environment_protected", "event_name"}
    | {"pipeline_source", "runner_environment", "repository_visibility", "project_visibility"}
)
# Issuers where anyone can have an account: the claims of which one has to name its owner, and how.
# ``job_workflow_ref`` is not one of them: it names a reusable workflow, which jobs of any repository can call.
# Repositories on GitHub choose the claims that ``sub`` consists of, so that it has to begin with the owner.
_OWNER, _WHOLE = re.compile(r"[^*/]+(/.*)?"), re.compile(r"[^*]+")
_OF_GITHUB = ("repository", "repository_id", "repository_owner", "repository_owner_id", "workflow_ref")
TENANTS: dict[str, dict[str, re.Pattern[str]]] = {
    GITHUB: {
        **dict.fromkeys(_OF_GITHUB, _OWNER),
        "sub": re.compile(rf"(repo|{'|'.join(_OF_GITHUB)}):[^*/:]+([/:].*)?"),
    },
    GITLAB: dict.fromkeys(("project_path", "project_id", "namespace_path", "namespace_id", "sub"), _OWNER),
    "https://agent.buildkite.com": {
        **dict.fromkeys(("organization_slug", "organization_id", "pipeline_id"), _WHOLE),
        "sub": re.compile(r"organization:[^*:]+:.*"),
    },
    "https://app.terraform.io": {
        **dict.fromkeys(("terraform_organization_name", "terraform_organization_id", "terraform_workspace_id"), _WHOLE),
        "sub": re.compile(r"organization:[^*:]+:.*"),
    },
    "https://platform.activestate.com/api/v1/oauth/oidc": {
        **dict.fromkeys(("organization", "organization_id", "project_id"), _WHOLE),
        "sub": re.compile(r"org:[^*:]+:.*"),
    },
    "https://accounts.google.com": dict.fromkeys(("email", "sub"), _WHOLE),
}
# What values look like in all tokens of GitHub; those of ``project_path``, in all of GitLab. Each with an example.
_FORMS_OF_GITHUB = {
    "repository": (re.compile(r"[^/]+/[^/]+"), "acme/demo"),
    "ref": (re.compile(r"refs/.+"), "refs/heads/main"),
    "workflow_ref": (
        re.compile(r"[^/]+/[^/]+/\.github/workflows/[^/]+\.ya?ml@.+"), "acme/demo/.github/workflows/release.yml@*",
    ),
}  # fmt: skip
_FORMS = {"project_path": (re.compile(r"[^/]+(/[^/]+)+"), "acme/demo")}
_SEPARATOR = re.compile("[/:]")
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
        project_id=project.id, issuer=issuer, claims=dict(claims), exact_claim=_exact_claim(claims),
        package_names=[str(name) for name in names], creator_id=by.user_id,
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
    reader = TrustedReader(
        namespace_id=namespace.id, issuer=issuer, claims=dict(claims), exact_claim=_exact_claim(claims),
        creator_id=by.user_id,
    )  # fmt: skip
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


def candidates(kind: type[Identity], issuer: str, claims: Mapping[str, str]) -> list[Identity]:
    """Return the trusted publishers or readers of all namespaces that can accept a job with these claims, oldest first.

    The index finds them by their exact claim, however many others the issuer has; those without one are among them. Of
    more than ``MOST_CANDIDATES``, which strangers can bring about, those with the most exact claim count.
    """
    texts = (f"{name}={text}" for name, value in claims.items() for text in (value, *_beginnings(value)))
    exact = {"", *(text for text in texts if len(text) <= LONGEST_CLAIM and text.isprintable())}
    found = select(kind).where(kind.issuer == issuer, kind.exact_claim.in_(exact))
    most_exact = found.order_by(func.length(kind.exact_claim).desc(), kind.id).limit(MOST_CANDIDATES)
    return sorted(db.session.scalars(most_exact), key=lambda each: each.id)


def first_trusting(kind: type[Identity], issuer: str) -> list[Identity]:
    """Return the first trusted publishers or readers with this issuer."""
    return list(db.session.scalars(select(kind).where(kind.issuer == issuer).order_by(kind.id).limit(MOST_COMPARED)))


def is_trusted(kind: type[TrustedPublisher | TrustedReader], issuer: str) -> bool:
    """Return whether any namespace has a trusted publisher or reader with this issuer."""
    return bool(db.session.scalar(select(exists().where(kind.issuer == issuer))))


def accepts_issuer(issuer: str) -> bool:
    """Return whether the instance lets jobs with identity tokens of an issuer be trusted."""
    return is_accepted(issuer, InstanceSettings.current().oidc_trusted_issuers)


def _exact_claim(claims: Mapping[str, str]) -> str:
    """Return what a job must have exactly: if possible a claim that few jobs have, or else the beginning of one."""
    best_first = sorted(claims, key=lambda name: (name in SHARED, "*" in claims[name]))
    for name in best_first:
        literal, wildcard, _ = claims[name].partition("*")
        exact = next(_beginnings(literal), "") if wildcard else literal
        if exact:
            return f"{name}={exact}"
    return ""


def _beginnings(text: str) -> Iterator[str]:
    """Yield beginnings of a text by which patterns are found: up to a slash or colon, the longest first; one character.

    Their number is limited: each is looked up for each claim of a job.
    """
    ends = [match.end() for match in islice(_SEPARATOR.finditer(text), MOST_SEPARATORS)]
    yield from (text[:end] for end in reversed(ends))
    if text:
        yield text[0]


def _validate(
    kind: type[TrustedPublisher | TrustedReader],
    namespace: Namespace,
    issuer: str,
    claims: Mapping[str, str],
    further: Mapping[str, list[Fault]],
) -> None:
    faults = {
        "issuer": list(_issuer_faults(issuer, InstanceSettings.current())),
        "claims": list(_claim_faults(issuer, claims)),
        **further,
    }
    count = db.session.scalar(select(func.count()).where(kind.namespace_id == namespace.id)) or 0
    if count >= MOST_IDENTITIES:
        faults["issuer"].append(Fault(Code.TOO_MANY_IDENTITIES, maximum=MOST_IDENTITIES))
    if any(faults.values()):
        raise InvalidRecord({field: found for field, found in faults.items() if found})


def _added(identity: Identity, namespace: Namespace, by: audit.Author) -> Identity:
    """Add an identity. Takes no lock: the database refuses one of a deleted namespace."""
    # Cached responses depend on readers; tokens to publish read nothing that is cached.
    with transaction(changes_answers=isinstance(identity, TrustedReader)) as session:
        session.add(identity)
        session.flush()
        audit.record(by, f"{identity.noun}_added", identity.issuer, namespace, **_details(identity))
    return identity


def _issuer_faults(issuer: str, settings: InstanceSettings) -> Iterable[Fault]:
    listed = settings.oidc_trusted_issuers
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
        else:
            yield from _form_faults(issuer, name, value)
    owners = TENANTS.get(issuer)
    if owners is None:
        if all(name in SHARED or value.startswith("*") for name, value in claims.items()):
            yield Fault(Code.NO_CLAIMS)
    elif not any(name in owners and owners[name].fullmatch(value) for name, value in claims.items()):
        yield Fault(Code.CLAIMS_OF_ANYONE, claims=", ".join(owners))


def _form_faults(issuer: str, name: str, value: str) -> Iterable[Fault]:
    """Refuse a value that no token of a known CI system has, which people enter who know another system."""
    form, example = (_FORMS_OF_GITHUB if issuer == GITHUB else _FORMS).get(name, (None, ""))
    if form is None or form.fullmatch(value):
        return
    literal, wildcard, _ = value.partition("*")
    is_possible = "refs/".startswith(literal) if name == "ref" else "@" not in literal
    if not (wildcard and is_possible):
        yield Fault(Code.CLAIM_MATCHES_NOTHING, name=name, value=value, example=example)


def _details(identity: TrustedPublisher | TrustedReader) -> dict[str, object]:
    names = identity.package_names if isinstance(identity, TrustedPublisher) else []
    return {
        f"{identity.noun.removeprefix('trusted_')}_id": identity.id,
        "claims": identity.claims,
        **({"package_names": names} if names else {}),
    }
