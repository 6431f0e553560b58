"""The database tables, their constraints, and row-local behavior. Importing this package completes the metadata."""

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
    FileDownloads,
    FileStatus,
    NameStatus,
    Package,
    PackageFile,
    PackageName,
    PackageStatus,
    ProtectionRule,
    StorageUsage,
)
from registry.models.settings import GroupPackageSettings, InstanceSettings
from registry.models.tokens import AccessToken, DeployToken, Job, JobStatus

__all__ = [
    "CLOSED",
    "MEMBER_ROLES",
    "AccessToken",
    "AllowedJobSource",
    "Ancestry",
    "AuditEvent",
    "ColorScheme",
    "CreationLevel",
    "DeployToken",
    "FileDownloads",
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
    "StorageUsage",
    "User",
    "UserNamespace",
    "UserState",
    "Visibility",
]
