"""The sweep: rows of what was deleted, tokens that ended long ago, and objects that no file refers to any more.

Every statement, every transaction and the memory used are bounded, whatever the size of the registry. A sweep may run
while packages are published and downloaded, beside another one, and again after it was stopped half-way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, union_all
from sqlalchemy.orm import aliased

from registry.database import AdvisoryLock, db, objects_removable, transaction
from registry.errors import BackupUnderWay
from registry.models import AccessToken, AuditEvent, DeployToken, FileStatus, Job, Package, PackageFile, PackageStatus
from registry.storage import Storage, StoredObject, digest_in

# An upload stores its bytes before its row, so a young object may belong to one under way. Taking it would be safe
# (see remove_orphans), but would make the upload write it again.
GRACE = timedelta(hours=1)
# As long as GitLab keeps the inactive access tokens of projects and groups: somebody may still ask what ended.
TOKEN_RETENTION = timedelta(days=30)
BATCH = 200

Purgeable = Package | PackageFile | AccessToken | DeployToken | Job


@dataclass(frozen=True)
class Report:
    """What was removed; ``tokens`` are those of all kinds, ``size_bytes`` is the size of the objects."""

    packages: int
    files: int
    tokens: int
    objects: int
    size_bytes: int
    staged_files: int


def run(storage: Storage, now: datetime) -> Report:
    """Remove what nobody can reach any more: rows at once, objects once they are older than ``GRACE``, tokens
    ``TOKEN_RETENTION`` after their end.

    A package that is left without files stays, as its name must not be looked for elsewhere.

    :raises BackupUnderWay: a backup is being made.
    """
    refuse_during_backup()
    files = _purge(PackageFile, or_(PackageFile.status == FileStatus.PENDING_DESTRUCTION, _package_is_deleted()))
    packages = _purge(Package, Package.status == PackageStatus.PENDING_DESTRUCTION)
    tokens = _purge_tokens(ended_before=now - TOKEN_RETENTION)
    objects = size_bytes = 0
    for orphan in remove_orphans(storage, stored_before=now - GRACE):
        objects += 1
        size_bytes += orphan.size_bytes
    return Report(packages, files, tokens, objects, size_bytes, storage.sweep())


def remove_orphans(storage: Storage, *, stored_before: datetime) -> Generator[StoredObject, None, None]:
    """Remove the objects that no file refers to; yields them once they are gone.

    Each is looked up again under ``AdvisoryLock.OBJECTS``, which an upload shares while it writes its row and makes
    sure that its object is still there: either the row is seen here, or the missing object is seen there.

    :raises BackupUnderWay: a backup was begun meanwhile; it may need them.
    """
    for orphans in orphaned_objects(storage, stored_before=stored_before):
        with objects_removable() as removable:
            _refuse_unless(removable)
            with transaction(lock=AdvisoryLock.OBJECTS, changes_answers=False):
                removed = _unreferenced(orphans)
                storage.delete(*(orphan.key for orphan in removed))
        yield from removed


def refuse_during_backup() -> None:
    """:raises BackupUnderWay: a backup is being made."""
    with objects_removable() as removable:
        _refuse_unless(removable)


def _refuse_unless(removable: bool) -> None:
    if not removable:
        raise BackupUnderWay


def orphaned_objects(storage: Storage, *, stored_before: datetime) -> Iterator[list[StoredObject]]:
    """The objects that no file refers to, in batches; what else lies in the store is passed over."""
    candidates = (
        found for found in storage.objects() if found.modified_at < stored_before and digest_in(found.key) is not None
    )
    while batch := list(islice(candidates, BATCH)):
        orphans = _unreferenced(batch)
        db.session.rollback()  # no transaction stays open while the store is listed
        if orphans:
            yield orphans


def _unreferenced(objects: list[StoredObject]) -> list[StoredObject]:
    digests = [digest_in(found.key) for found in objects]
    referenced = set(
        db.session.scalars(
            union_all(
                select(PackageFile.sha256).where(PackageFile.sha256.in_(digests)),
                select(PackageFile.core_metadata_sha256).where(PackageFile.core_metadata_sha256.in_(digests)),
            )
        )
    )
    return [found for found, digest in zip(objects, digests, strict=True) if digest not in referenced]


def _purge(kind: type[Purgeable], condition: ColumnElement[bool]) -> int:
    """Delete the rows that meet the condition, in one pass by id; their number."""
    purged = last = 0
    while ids := db.session.scalars(
        select(kind.id).where(kind.id > last, condition).order_by(kind.id).limit(BATCH)
    ).all():
        with transaction(changes_answers=False) as session:
            session.execute(delete(kind).where(kind.id.in_(ids)), execution_options={"synchronize_session": False})
        purged, last = purged + len(ids), ids[-1]
    db.session.rollback()
    return purged


def _purge_tokens(*, ended_before: datetime) -> int:
    return (
        _purge(AccessToken, _family_ended(ended_before))
        + _purge(DeployToken, _deploy_token_ended(ended_before))
        + _purge(Job, and_(_job_ended(ended_before), ~exists().where(PackageFile.job_id == Job.id)))
    )


def _family_ended(before: datetime) -> ColumnElement[bool]:
    """All tokens of a family go together: one that was rotated and is used again has to be known as stolen."""
    relative = aliased(AccessToken)
    lives_on = exists().where(relative.family_id == AccessToken.family_id, ~_access_token_ended(relative, before))
    return and_(_access_token_ended(AccessToken, before), ~lives_on)


def _access_token_ended(token: type[AccessToken], before: datetime) -> ColumnElement[bool]:
    # Spelled out, as "not" of what is not known is not known either.
    is_revoked = and_(token.revoked_at.is_not(None), token.revoked_at < before)
    is_expired = and_(token.expires_on.is_not(None), token.expires_on <= before.date())
    return or_(is_revoked, is_expired)


def _deploy_token_ended(before: datetime) -> ColumnElement[bool]:
    """When one was revoked, only the audit events know."""
    was_revoked_since = exists().where(
        AuditEvent.action == "deploy_token_revoked",
        AuditEvent.created_at >= before,
        AuditEvent.namespace_id == DeployToken.namespace_id,
        AuditEvent.details["token_id"].as_integer() == DeployToken.id,
    )
    return or_(DeployToken.expires_at < before, and_(DeployToken.revoked, ~was_revoked_since))


def _job_ended(before: datetime) -> ColumnElement[bool]:
    return or_(Job.finished_at < before, Job.expires_at < before)


def _package_is_deleted() -> ColumnElement[bool]:
    return exists().where(Package.id == PackageFile.package_id, Package.status == PackageStatus.PENDING_DESTRUCTION)
