"""First schema: users, namespaces, tokens, packages, settings, audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "audit_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("author", sa.String(length=255), nullable=False),
        sa.Column("author_id", sa.Integer(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("namespace_id", sa.Integer(), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_events_created_at"), "audit_events", ["created_at"], unique=False)
    op.create_index(op.f("ix_audit_events_namespace_id"), "audit_events", ["namespace_id"], unique=False)
    op.create_table(
        "content_generation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_content_generation_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_content_generation")),
    )
    op.create_table(
        "instance_settings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pypi_package_requests_forwarding", sa.Boolean(), nullable=False),
        sa.Column("lock_pypi_package_requests_forwarding", sa.Boolean(), nullable=False),
        sa.Column("package_registry_allow_anyone_to_pull_option", sa.Boolean(), nullable=False),
        sa.Column("allow_guest_plus_roles_to_pull_packages", sa.Boolean(), nullable=False),
        sa.Column("personal_access_token_prefix", sa.String(length=20), nullable=False),
        sa.Column("require_personal_access_token_expiry", sa.Boolean(), nullable=False),
        sa.Column("max_personal_access_token_lifetime", sa.Integer(), nullable=False),
        sa.Column("default_project_visibility", sa.SmallInteger(), nullable=False),
        sa.Column("default_group_visibility", sa.SmallInteger(), nullable=False),
        sa.Column("restricted_visibility_levels", sa.JSON(), nullable=False),
        sa.Column("default_project_creation", sa.String(length=32), nullable=False),
        sa.Column("can_create_group", sa.Boolean(), nullable=False),
        sa.Column("pypi_max_file_size", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_instance_settings_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance_settings")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=255), nullable=False),
        sa.Column("username_key", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("email_key", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("must_change_password", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("is_external", sa.Boolean(), nullable=False),
        sa.Column("private_profile", sa.Boolean(), nullable=False),
        sa.Column("can_create_group", sa.Boolean(), nullable=False),
        sa.Column("projects_limit", sa.Integer(), nullable=False),
        sa.Column("bio", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=True),
        sa.Column("last_sign_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("current_sign_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name=op.f("fk_users_created_by_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email_key", name=op.f("uq_users_email_key")),
        sa.UniqueConstraint("username_key", name=op.f("uq_users_username_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "access_tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("family_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_access_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_access_tokens_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_access_tokens_family_id"), "access_tokens", ["family_id"], unique=False)
    op.create_index(op.f("ix_access_tokens_user_id"), "access_tokens", ["user_id"], unique=False)
    op.create_table(
        "namespaces",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("full_path", sa.Text(), nullable=False),
        sa.Column("full_path_key", sa.Text(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("visibility", sa.SmallInteger(), nullable=False),
        sa.Column("creator_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_creation_level", sa.String(length=32), nullable=True),
        sa.Column("subgroup_creation_level", sa.String(length=32), nullable=True),
        sa.Column("registry_access", sa.String(length=32), nullable=True),
        sa.Column("archived", sa.Boolean(), nullable=True),
        sa.Column("job_allowlist_enforced", sa.Boolean(), nullable=True),
        sa.Column("last_activity_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.CheckConstraint("kind IN ('group', 'project', 'user')", name=op.f("ck_namespaces_kind")),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["users.id"], name=op.f("fk_namespaces_creator_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["namespaces.id"], name=op.f("fk_namespaces_parent_id_namespaces"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_namespaces_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_namespaces")),
        sa.UniqueConstraint("full_path_key", name=op.f("uq_namespaces_full_path_key")),
        sa.UniqueConstraint("user_id", name=op.f("uq_namespaces_user_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_namespaces_creator_id"), "namespaces", ["creator_id"], unique=False)
    op.create_index(op.f("ix_namespaces_parent_id"), "namespaces", ["parent_id"], unique=False)
    op.create_table(
        "allowed_job_sources",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["namespaces.id"],
            name=op.f("fk_allowed_job_sources_project_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["namespaces.id"],
            name=op.f("fk_allowed_job_sources_source_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "source_id", name=op.f("pk_allowed_job_sources")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_allowed_job_sources_source_id"), "allowed_job_sources", ["source_id"], unique=False)
    op.create_table(
        "deploy_tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("username", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("creator_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["users.id"], name=op.f("fk_deploy_tokens_creator_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_deploy_tokens_namespace_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deploy_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_deploy_tokens_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_deploy_tokens_namespace_id"), "deploy_tokens", ["namespace_id"], unique=False)
    op.create_table(
        "group_package_settings",
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("pypi_package_requests_forwarding", sa.Boolean(), nullable=True),
        sa.Column("lock_pypi_package_requests_forwarding", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["namespaces.id"],
            name=op.f("fk_group_package_settings_group_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_group_package_settings")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("ref", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("length(name) > 0", name=op.f("ck_jobs_name_not_empty")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_jobs_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_jobs_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("digest", name=op.f("uq_jobs_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_jobs_project_id"), "jobs", ["project_id"], unique=False)
    op.create_index(op.f("ix_jobs_user_id"), "jobs", ["user_id"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.SmallInteger(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["users.id"], name=op.f("fk_memberships_created_by_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["namespaces.id"], name=op.f("fk_memberships_namespace_id_namespaces"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_memberships_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
        sa.UniqueConstraint("user_id", "namespace_id", name=op.f("uq_memberships_user_id_namespace_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_memberships_namespace_id"), "memberships", ["namespace_id"], unique=False)
    op.create_table(
        "namespace_ancestries",
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.Column("ancestor_id", sa.Integer(), nullable=False),
        sa.Column("distance", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ancestor_id"],
            ["namespaces.id"],
            name=op.f("fk_namespace_ancestries_ancestor_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_namespace_ancestries_namespace_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("namespace_id", "ancestor_id", name=op.f("pk_namespace_ancestries")),
    )
    op.create_index(
        op.f("ix_namespace_ancestries_ancestor_id_namespace_id"),
        "namespace_ancestries",
        ["ancestor_id", "namespace_id"],
        unique=False,
    )
    op.create_table(
        "packages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=False),
        sa.Column("normalized_name", sa.String(length=255), nullable=False),
        sa.Column("package_type", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("creator_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_downloaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata_version", sa.String(length=16), nullable=False),
        sa.Column("required_python", sa.String(length=255), nullable=False),
        sa.Column("summary", sa.String(length=255), nullable=False),
        sa.Column("keywords", sa.String(length=1024), nullable=False),
        sa.Column("author_email", sa.String(length=2048), nullable=False),
        sa.Column("description", sa.String(length=4000), nullable=False),
        sa.Column("description_content_type", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["users.id"], name=op.f("fk_packages_creator_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_packages_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packages")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_packages_creator_id"), "packages", ["creator_id"], unique=False)
    op.create_index(
        op.f("ix_packages_normalized_name_project_id"), "packages", ["normalized_name", "project_id"], unique=False
    )
    op.create_index(op.f("ix_packages_project_id_created_at"), "packages", ["project_id", "created_at"], unique=False)
    op.create_index(
        op.f("ix_packages_project_id_normalized_name"), "packages", ["project_id", "normalized_name"], unique=False
    )
    op.create_index(
        "uq_packages_live",
        "packages",
        ["project_id", "name", "version"],
        unique=True,
        sqlite_where=sa.text("status != 'pending_destruction'"),
        postgresql_where=sa.text("status != 'pending_destruction'"),
    )
    op.create_table(
        "protection_rules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("package_type", sa.String(length=16), nullable=False),
        sa.Column("pattern", sa.String(length=255), nullable=False),
        sa.Column("minimum_push_role", sa.SmallInteger(), nullable=True),
        sa.Column("minimum_delete_role", sa.SmallInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "minimum_push_role IS NOT NULL OR minimum_delete_role IS NOT NULL",
            name=op.f("ck_protection_rules_some_role"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["namespaces.id"],
            name=op.f("fk_protection_rules_project_id_namespaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_protection_rules")),
        sa.UniqueConstraint(
            "project_id", "package_type", "pattern", name=op.f("uq_protection_rules_project_id_package_type_pattern")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "package_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("package_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=False),
        sa.Column("blake2b_256", sa.String(length=64), nullable=False),
        sa.Column("requires_python", sa.Text(), nullable=False),
        sa.Column("core_metadata_sha256", sa.String(length=64), nullable=True),
        sa.Column("core_metadata_is_final", sa.Boolean(), nullable=False),
        sa.Column("creator_id", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["users.id"], name=op.f("fk_package_files_creator_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_package_files_job_id_jobs"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["package_id"], ["packages.id"], name=op.f("fk_package_files_package_id_packages"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["namespaces.id"], name=op.f("fk_package_files_project_id_namespaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_files")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_package_files_core_metadata_sha256"), "package_files", ["core_metadata_sha256"], unique=False
    )
    op.create_index(op.f("ix_package_files_creator_id"), "package_files", ["creator_id"], unique=False)
    op.create_index(op.f("ix_package_files_job_id"), "package_files", ["job_id"], unique=False)
    op.create_index(op.f("ix_package_files_package_id"), "package_files", ["package_id"], unique=False)
    op.create_index(op.f("ix_package_files_sha256"), "package_files", ["sha256"], unique=False)
    op.create_index(
        "uq_package_files_live",
        "package_files",
        ["project_id", "filename"],
        unique=True,
        sqlite_where=sa.text("status = 'default'"),
        postgresql_where=sa.text("status = 'default'"),
    )
    op.bulk_insert(
        sa.table(
            "instance_settings",
            sa.column("id", sa.Integer()),
            sa.column("pypi_package_requests_forwarding", sa.Boolean()),
            sa.column("lock_pypi_package_requests_forwarding", sa.Boolean()),
            sa.column("package_registry_allow_anyone_to_pull_option", sa.Boolean()),
            sa.column("allow_guest_plus_roles_to_pull_packages", sa.Boolean()),
            sa.column("personal_access_token_prefix", sa.String()),
            sa.column("require_personal_access_token_expiry", sa.Boolean()),
            sa.column("max_personal_access_token_lifetime", sa.Integer()),
            sa.column("default_project_visibility", sa.SmallInteger()),
            sa.column("default_group_visibility", sa.SmallInteger()),
            sa.column("restricted_visibility_levels", sa.JSON()),
            sa.column("default_project_creation", sa.String()),
            sa.column("can_create_group", sa.Boolean()),
        ),
        [
            {
                "id": 1,
                "pypi_package_requests_forwarding": True,
                "lock_pypi_package_requests_forwarding": False,
                "package_registry_allow_anyone_to_pull_option": True,
                "allow_guest_plus_roles_to_pull_packages": False,
                "personal_access_token_prefix": "glpat-",
                "require_personal_access_token_expiry": True,
                "max_personal_access_token_lifetime": 365,
                "default_project_visibility": 0,
                "default_group_visibility": 0,
                "restricted_visibility_levels": [],
                "default_project_creation": "developer",
                "can_create_group": True,
            }
        ],
    )
    op.bulk_insert(
        sa.table("content_generation", sa.column("id", sa.Integer()), sa.column("number", sa.BigInteger())),
        [{"id": 1, "number": 1}],
    )
