"""Installations that are backed up and restored, and their contents."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from registry import create_app, database
from registry.database import Model, db, transaction, utcnow
from registry.domain import access, namespaces
from registry.domain.accounts import users
from registry.domain.oidc import identities
from registry.domain.operation import backups, table_rows
from registry.domain.operation.backup_file import Manifest
from registry.domain.packages import releases
from registry.models import (
    IS_CACHE,
    Advisory,
    AdvisoryExport,
    AffectedPackage,
    AllowedJobSource,
    BegunSignIn,
    FileDownloads,
    GroupPackageSettings,
    NameStatus,
    PackageAdvisory,
    PackageRequirement,
    Passkey,
    ProtectionRule,
    ProviderRole,
    PublishingToken,
    RecoveryCode,
    RefusedDownload,
    Role,
    SignInAddress,
    SignInFailures,
    TokenRevocation,
    UpstreamException,
    UsedIdentityToken,
    UserIdentity,
    UserSession,
)
from tests import factories
from tests.builders import build_sdist, build_wheel

NOW = utcnow()
Make = Callable[..., Path]
Restore = Callable[..., Manifest]


def new_installation(folder: Path, **settings: object) -> Flask:
    return create_app({"INSTANCE_PATH": folder, **settings})


def furnish() -> None:
    early, later = factories.group("early"), factories.group("later")
    project = factories.project("tools", parent=factories.group("acme"))
    developer = factories.member(project, Role.DEVELOPER, "dora", password="a pass phrase")
    namespaces.add_member(later, developer, Role.OWNER, expires_on=date(2040, 2, 29), by=access.SHELL)
    namespaces.transfer(early, later, by=access.SHELL)
    users.delete_user(factories.user("last"), by=access.SHELL)
    factories.access_token(developer)
    factories.deploy_token(project)
    factories.published(project, build_wheel(description="Überall 🎉\n"), by=factories.by_job(project, developer))
    sdist = factories.published(project, build_sdist())
    sdist.imported_pipelines = [factories.imported_pipeline().as_json()]
    factories.commit()
    releases.set_name_status(project, "demo", NameStatus.DEPRECATED, "Use another", by=access.SHELL)
    publisher = identities.add_publisher(
        project, issuer="https://ci.example.com", claims={"sub": "ci"}, by=access.SHELL
    )
    identities.add_reader(later, issuer=publisher.issuer, claims={"sub": "ci"}, by=access.SHELL)
    token = PublishingToken(
        digest="7" * 64, issuer=publisher.issuer, subject="ci", claims={"sub": "ci"}, run_url="", expires_at=NOW
    )
    with transaction() as session:
        session.add(token)
        session.flush()
        session.add_all([
            TokenRevocation(token_id=token.id, namespace_id=project.id),
            UsedIdentityToken(key="8" * 64, expires_at=NOW),
            AllowedJobSource(project_id=project.id, source_id=later.id),
            GroupPackageSettings(group_id=later.id, pypi_package_requests_forwarding=False),
            ProtectionRule(project_id=project.id, pattern="demo*", minimum_push_role=Role.MAINTAINER),
            SignInAddress(user_id=developer.id, key="1" * 64, last_at=NOW),
            UserSession(digest="2" * 64, user_id=developer.id, expires_at=NOW),
            BegunSignIn(digest="9" * 64, user_id=developer.id, expires_at=NOW),
            RecoveryCode(digest="a" * 64, user_id=developer.id),
            Passkey(user_id=developer.id, name="Schlüssel", credential_id="id", public_key="key", sign_count=1),
            UserIdentity(user_id=developer.id, issuer=publisher.issuer, subject="dora"),
            ProviderRole(provider_group="developers", group_id=later.id, role=Role.DEVELOPER),
            SignInFailures(key="0" * 64, count=3, last_at=NOW),
            FileDownloads(file_id=sdist.id, day=date(2026, 11, 24), count=7),
            UpstreamException(group_id=later.id, pattern="demo==1.0", reason="A fix", user_id=developer.id),
            RefusedDownload(namespace_id=project.id, sha256="3" * 64, author="dora", day=date(2026, 11, 24)),
            AdvisoryExport(run="4" * 32, sha256="5" * 64, source="all.zip", loaded_at=NOW, advisories=1),
            Advisory(
                id="PYSEC-1", digest="6" * 32, summary="Überall 🎉", details="", aliases=["CVE-2026-1"],
                published_at=NOW, cvss_score=9.8, severity="critical",
            ),
            AffectedPackage(normalized_name="demo", advisory_id="PYSEC-1", ranges=[], versions=["1.0"]),
            PackageAdvisory(package_id=sdist.package_id, advisory_id="PYSEC-1"),
            PackageRequirement(
                package_id=sdist.package_id, number=0, extra="plot", name="Other", normalized_name="other", extras="",
                specifier=">=1", url="", condition="",
            ),
        ])  # fmt: skip


def create(app: Flask, path: Path) -> None:
    with app.app_context():
        key = app.config["SECRET_KEY"]
        backups.create(path, app.extensions["storage"], secret_key=key, now=NOW, report=pytest.fail)
        db.engine.dispose()


def rows(app: Flask) -> dict[str, list[dict[str, Any]]]:
    """All rows of the database except those that count changes, and of caches."""
    with app.app_context(), db.engine.connect() as connection:
        return {
            table.name: [json.loads(line) for line in table_rows.dump(connection, table)]
            for table in Model.metadata.sorted_tables
            if table.name != "content_generation" and IS_CACHE not in table.info
        }


def objects(app: Flask) -> dict[str, bytes]:
    root: Path = app.extensions["storage"].root
    return {found.key: (root / found.key).read_bytes() for found in app.extensions["storage"].objects()}


def is_new(app: Flask) -> bool:
    with app.app_context():
        return database.schema_version() is None and objects(app) == {}


def members(path: Path) -> dict[str, bytes]:
    """The members of a backup, as read by ``tar``."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
