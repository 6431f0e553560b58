"""Protection rules, which require a higher role to publish or delete packages by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import EllipsisType

from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from registry.database import db, lock, refers_to_nothing, transaction
from registry.domain import access, audit
from registry.domain.access import Principal
from registry.domain.changes import Changes
from registry.domain.distributions.filenames import is_valid_name
from registry.errors import Code, NotFound, ProtectedPackage, Unprocessable
from registry.models import Package, Project, ProtectionRule, Role

_PATTERN = re.compile(r"[A-Z0-9._*-]+", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class PushRule:
    """The part of a protection rule that counts when a package is published."""

    pattern: str
    minimum_push_role: Role | None


def refuse_protected(rules: Iterable[PushRule], name: str, project: Project, principal: Principal) -> None:
    """Refuse to publish a protected package name; deploy tokens have no role, so any matching rule refuses them.

    :param rules: all rules of the project. None matches an invalid name, which no package can have.
    :param name: as requested.
    :raises ProtectedPackage: a matching rule requires a higher role.
    """
    if principal.is_admin or not is_valid_name(name):
        return
    for rule in rules:
        if not matches(rule.pattern, name):
            continue
        if principal.deploy_token is not None:
            raise ProtectedPackage
        if rule.minimum_push_role is not None and _push_role(principal, project) < rule.minimum_push_role:
            raise ProtectedPackage


def _push_role(principal: Principal, project: Project) -> Role:
    """Return the role with which a principal publishes; a trusted publisher has that of those who can add one."""
    return Role.MAINTAINER if principal.publishing_token is not None else access.role_in(principal, project)


def refuse_delete_protected(project: Project, name: str, principal: Principal) -> None:
    """Refuse to delete a package with a protected name.

    :raises ProtectedPackage: a matching rule requires a higher role.
    """
    if not _may_delete(project, _matching_rules(project, name), principal):
        raise ProtectedPackage


@dataclass(frozen=True)
class Protection:
    """The protection of one package.

    :ivar is_protected: a rule matches its name.
    :ivar may_delete: the principal can delete it.
    """

    is_protected: bool
    may_delete: bool


def protections(packages: Iterable[Package], principal: Principal) -> dict[int, Protection]:
    """Return the protection of packages, loaded with their projects, by package ID, in two statements."""
    packages = list(packages)
    projects = {package.project_id: package.project for package in packages}
    principal = access.load_roles(principal, projects.values())
    rules = db.session.scalars(select(ProtectionRule).where(ProtectionRule.project_id.in_(projects))).all()
    found = {}
    for package in packages:
        covering = [
            rule for rule in rules if rule.project_id == package.project_id and matches(rule.pattern, package.name)
        ]
        may_delete = access.allowed(principal, access.Permission.DESTROY_PACKAGE, package.project) and _may_delete(
            package.project, covering, principal
        )
        found[package.id] = Protection(bool(covering), may_delete)
    return found


def _may_delete(project: Project, covering: Iterable[ProtectionRule], principal: Principal) -> bool:
    return all(
        rule.minimum_delete_role is None or access.role_in(principal, project) >= rule.minimum_delete_role
        for rule in covering
    )


def protection_rules(project: Project) -> list[ProtectionRule]:
    """Return the protection rules of a project, oldest first."""
    return list(
        db.session.scalars(
            select(ProtectionRule).where(ProtectionRule.project_id == project.id).order_by(ProtectionRule.id)
        )
    )


def protection_rule(project: Project, rule_id: int) -> ProtectionRule:
    """Return a protection rule of a project.

    :raises NotFound: the project has no rule with this ID.
    """
    rule = db.session.get(ProtectionRule, rule_id)
    if rule is None or rule.project_id != project.id:
        raise NotFound("Package protection rule")
    return rule


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern with ``*`` wildcards matches a package name, as given or normalized, ignoring case."""
    patterns = {pattern.lower(), re.sub(r"[-_.]+", "-", pattern).lower()}
    names = {name.lower(), str(canonicalize_name(name))}
    # fnmatch does not backtrack, however many wildcards there are; patterns contain none of its other wildcards.
    return any(fnmatchcase(spelled, one) for one in patterns for spelled in names)


def add_protection_rule(
    project: Project,
    *,
    pattern: str,
    push: Role | None,
    delete: Role | None,
    by: audit.Author,
    package_type: str = "pypi",
) -> ProtectionRule:
    """Add a protection rule to a project. Takes no lock: the database refuses a rule of a project that was deleted.

    :raises Unprocessable: the pattern or roles are invalid, or the pattern is taken.
    :raises RecordNotFound: the project was deleted in the meantime.
    """
    rule = ProtectionRule(
        project_id=project.id, package_type=package_type, pattern=pattern,
        minimum_push_role=push, minimum_delete_role=delete,
    )  # fmt: skip
    with transaction() as session:
        _refuse_invalid_rule(rule)
        session.add(rule)
        _flush_rule()
        audit.record(by, "protection_rule_created", pattern, project)
    return rule


@dataclass(frozen=True)
class RuleChanges(Changes):
    """Changes to a protection rule; ``None`` as role means the default one."""

    pattern: str | EllipsisType = ...
    package_type: str | EllipsisType = ...
    minimum_push_role: Role | EllipsisType | None = ...
    minimum_delete_role: Role | EllipsisType | None = ...


def change_protection_rule(rule: ProtectionRule, changes: RuleChanges, project: Project, *, by: audit.Author) -> None:
    """Change a protection rule, whose row is locked: a concurrent change waits, and is checked against the result.

    :raises Unprocessable: as for ``add_protection_rule``.
    :raises RecordNotFound: the rule was deleted in the meantime.
    """
    with transaction() as session, session.no_autoflush:
        lock(rule)
        before = changes.standing(rule)
        changes.apply_to(rule)
        _refuse_invalid_rule(rule)
        _flush_rule()
        audit.record_change(by, "protection_rule_changed", rule.pattern, project, before, changes.standing(rule))


def delete_protection_rule(rule: ProtectionRule, project: Project, *, by: audit.Author) -> None:
    """Delete a protection rule. Takes no lock: a rule that was deleted in the meantime is reported as missing."""
    with transaction() as session:
        audit.record(by, "protection_rule_deleted", rule.pattern, project)
        session.delete(rule)


def _matching_rules(project: Project, name: str) -> list[ProtectionRule]:
    """Return the rules that match a name; none for invalid names, which no package can have.

    :param name: as requested.
    """
    if not is_valid_name(name):
        return []
    return [rule for rule in protection_rules(project) if matches(rule.pattern, name)]


def _refuse_invalid_rule(rule: ProtectionRule) -> None:
    if not _PATTERN.fullmatch(rule.pattern) or len(rule.pattern) > 255:
        raise Unprocessable(Code.INVALID_PATTERN)
    if rule.minimum_push_role is None and rule.minimum_delete_role is None:
        raise Unprocessable(Code.RULE_WITHOUT_ROLE)
    taken = db.session.scalar(
        select(ProtectionRule.id).where(
            ProtectionRule.project_id == rule.project_id,
            ProtectionRule.package_type == rule.package_type,
            ProtectionRule.pattern == rule.pattern,
            ProtectionRule.id != (rule.id or 0),
        )
    )
    if taken is not None:
        raise Unprocessable(Code.PATTERN_TAKEN)


def _flush_rule() -> None:
    try:
        db.session.flush()
    except IntegrityError as error:
        if refers_to_nothing(error):
            raise
        # Another process was faster.
        raise Unprocessable(Code.PATTERN_TAKEN) from error
