"""Principals: the authenticated or anonymous callers of requests."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from registry.models import AccessToken, DeployToken, Job, PublishingToken, ReadingToken, Role, User, Visibility


class PrincipalKind(enum.StrEnum):
    ANONYMOUS = "anonymous"
    SESSION = "session"
    ACCESS_TOKEN = "access token"
    DEPLOY_TOKEN = "deploy token"
    JOB = "job"
    TRUSTED_PUBLISHER = "trusted publisher"
    TRUSTED_READER = "trusted reader"
    SHELL = "shell"


@dataclass(frozen=True)
class Reader:
    """Everything that decides which projects of a group a principal reads; equal for principals that read the same.

    :ivar user_id: only if the projects depend on the user's roles.
    :ivar deploy_namespace_id: only if the principal is a deploy token that can read packages.
    :ivar least_role: the role that a user needs in a project.
    :ivar today: in UTC; memberships expire.
    :ivar trusting_ids: of the namespaces whose trusted readers accept the principal, a CI job.
    :ivar job_project_id: only if the principal is a CI job.
    :ivar are_allowlists_enforced: whether job token allowlists count in groups, by the setting of the instance.
    :ivar are_allowlists_locked: whether groups cannot choose otherwise.
    """

    is_admin: bool
    visibilities: tuple[Visibility, ...]
    user_id: int | None
    deploy_namespace_id: int | None
    least_role: Role
    today: date
    trusting_ids: tuple[int, ...] = ()
    job_project_id: int | None = None
    are_allowlists_enforced: bool = False
    are_allowlists_locked: bool = False


@dataclass(frozen=True)
class Acceptance:
    """A trusted publisher or reader that accepts a CI job.

    :ivar claims: the names of those that it asks for.
    :ivar package_names: the only ones that the job can publish; empty for any.
    """

    id: int
    namespace_id: int
    claims: tuple[str, ...]
    package_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Principal:
    """The caller of a request: a user, token, CI job, trusted publisher or reader, the shell, or anonymous.

    :ivar sudo_by: the administrator who acts as ``user`` by sudo.
    :ivar roles: by namespace ID, those that ``load_roles`` has loaded.
    :ivar accepting: by namespace ID, the trusted publishers or readers that ``load_accepting`` has loaded.
    :ivar reader: if ``load_reader`` has loaded it.
    """

    kind: PrincipalKind
    user: User | None = None
    sudo_by: User | None = None
    access_token: AccessToken | None = None
    deploy_token: DeployToken | None = None
    job: Job | None = None
    publishing_token: PublishingToken | None = None
    reading_token: ReadingToken | None = None
    address: str = ""
    roles: Mapping[int, Role] = field(default_factory=dict, compare=False, repr=False)
    accepting: Mapping[int, tuple[Acceptance, ...]] = field(default_factory=dict, compare=False, repr=False)
    reader: Reader | None = field(default=None, compare=False, repr=False)

    @property
    def is_anonymous(self) -> bool:
        return self.kind is PrincipalKind.ANONYMOUS

    @property
    def is_admin(self) -> bool:
        return self.kind is PrincipalKind.SHELL or (self.user is not None and self.user.is_admin)

    @property
    def can_create_group(self) -> bool:
        """Return whether the principal can create top-level groups."""
        return self.is_admin or (self.user is not None and self.user.can_create_group)

    @property
    def is_internal_user(self) -> bool:
        """Whether internal namespaces are visible: to all users except external ones."""
        return self.user is not None and not self.user.is_external

    @property
    def user_id(self) -> int | None:
        return None if self.user is None else self.user.id

    @property
    def label(self) -> str:
        if self.deploy_token is not None:
            return f"deploy token {self.deploy_token.id}"
        if self.publishing_token is not None:
            return f"trusted publisher {self.publishing_token.subject}"
        if self.reading_token is not None:
            return f"trusted reader {self.reading_token.subject}"
        if self.user is None:
            return self.kind.value
        return self.user.username if self.sudo_by is None else f"{self.user.username} (sudo by {self.sudo_by.username})"


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS)
SHELL = Principal(PrincipalKind.SHELL)
