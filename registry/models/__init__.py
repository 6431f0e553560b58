"""What is stored: tables, constraints, row-local behaviour. Importing this package completes the metadata."""

from registry.models.accounts import ColorScheme, SignInFailures, User, UserState
from registry.models.audit import AuditEvent
from registry.models.namespaces import (
    MEMBER_ROLES,
    AllowedJobSource,
    Ancestry,
    CreationLevel,
    Group,
    Membership,
    Namespace,
    Project,
    RegistryAccess,
    Role,
    UserNamespace,
    Visibility,
)
from registry.models.packages import (
    CLOSED,
    DISPLAYABLE,
    INSTALLABLE,
    FileStatus,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    ProtectionRule,
)
from registry.models.settings import GroupPackageSettings, InstanceSettings
from registry.models.tokens import AccessToken, DeployToken, Job, JobStatus

__all__ = [
    "CLOSED",
    "DISPLAYABLE",
    "INSTALLABLE",
    "MEMBER_ROLES",
    "AccessToken",
    "AllowedJobSource",
    "Ancestry",
    "AuditEvent",
    "ColorScheme",
    "CreationLevel",
    "DeployToken",
    "FileStatus",
    "Group",
    "GroupPackageSettings",
    "InstanceSettings",
    "Job",
    "JobStatus",
    "Membership",
    "NameStatus",
    "Namespace",
    "Package",
    "PackageFile",
    "PackageName",
    "PackageStatus",
    "Project",
    "ProtectionRule",
    "RegistryAccess",
    "Role",
    "SignInFailures",
    "User",
    "UserNamespace",
    "UserState",
    "Visibility",
]
