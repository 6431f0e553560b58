"""Cleanup: removes the rows of deleted packages and files, tokens that ended long ago, and orphaned objects.

Statements, transactions, and memory are bounded for a registry of any size. A cleanup can run while packages are
published and downloaded and while another cleanup runs, and can be repeated after an interruption.
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
from registry.models import (
    AccessToken,
    CachedFile,
    DeployToken,
    FileStatus,
    Job,
    OldPath,
    Package,
    PackageFile,
    PackageStatus,
)
from registry.storage import Storage, StoredObject, digest_in, is_readme

# An upload stores its object before its row, so a recent object can belong to an unfinished upload. Removing it would
# be safe (see remove_orphans), but the upload would have to write it again.
GRACE = timedelta(hours=1)
# GitLab also keeps inactive access tokens of projects and groups for this long, so that they can be looked up.
TOKEN_RETENTION = timedelta(days=30)
# Pages of deleted packages need no README, and those of others have it rendered again.
README_RETENTION = timedelta(days=30)
BATCH = 200

Purgeable = Package | PackageFile | AccessToken | DeployToken | Job | OldPath


@dataclass(frozen=True)
class Report:
    """The number of records and objects removed.

    :ivar tokens: tokens of all kinds.
    :ivar size_bytes: total size of the objects.
    """

    packages: int
    files: int
    tokens: int
    objects: int
    size_bytes: int
    staged_files: int


def run(storage: Storage, now: datetime) -> Report:
    """Remove deleted rows, orphaned objects older than ``GRACE``, tokens ``TOKEN_RETENTION`` after their end, and
    rendered READMEs after ``README_RETENTION``.

    A package without files remains, so that requests for its name are not forwarded.

    :raises BackupUnderWay: a backup is being made.
    """
    refuse_during_backup()
    _purge(OldPath, _old_path_ended(now))
    files = _purge(PackageFile, or_(PackageFile.status == FileStatus.PENDING_DESTRUCTION, _package_is_deleted()))
    packages = _purge(Package, Package.status == PackageStatus.PENDING_DESTRUCTION)
    tokens = _purge_tokens(ended_before=now - TOKEN_RETENTION)
    objects = size_bytes = 0
    for orphan in remove_orphans(storage, stored_before=now - GRACE):
        objects += 1
        size_bytes += orphan.size_bytes
    for readme in _remove_readmes(storage, stored_before=now - README_RETENTION):
        objects += 1
        size_bytes += readme.size_bytes
    return Report(packages, files, tokens, objects, size_bytes, storage.sweep())


def remove_orphans(storage: Storage, *, stored_before: datetime) -> Generator[StoredObject, None, None]:
    """Remove the objects that no file refers to, neither published nor cached, and yield each one after its removal.

    References are checked again under ``AdvisoryLock.OBJECTS``. An upload shares this lock while it writes its row and
    checks that its object still exists, so either the row is visible here, or the removal is visible to the upload.

    :raises BackupUnderWay: a backup was started in the meantime and can need the objects.
    """
    for orphans in orphaned_objects(storage, stored_before=stored_before):
        with objects_removable() as removable:
            _refuse_unless(removable)
            with transaction(lock=AdvisoryLock.OBJECTS, changes_answers=False):
                removed = _unreferenced(orphans)
                storage.delete(*(orphan.key for orphan in removed))
        yield from removed


def _remove_readmes(storage: Storage, *, stored_before: datetime) -> Iterator[StoredObject]:
    """Remove the rendered READMEs that were stored before this time, and yield each one after its removal."""
    for found in storage.objects():
        if is_readme(found.key) and found.modified_at < stored_before:
            storage.delete(found.key)
            yield found


def refuse_during_backup() -> None:
    """Refuse an operation that removes objects while a backup is being made.

    :raises BackupUnderWay: a backup is being made.
    """
    with objects_removable() as removable:
        _refuse_unless(removable)


def _refuse_unless(removable: bool) -> None:
    if not removable:
        raise BackupUnderWay


def orphaned_objects(storage: Storage, *, stored_before: datetime) -> Iterator[list[StoredObject]]:
    """Yield batches of objects that no file refers to; other keys in the store are ignored."""
    candidates = (
        found for found in storage.objects() if found.modified_at < stored_before and digest_in(found.key) is not None
    )
    while batch := list(islice(candidates, BATCH)):
        orphans = _unreferenced(batch)
        db.session.rollback()  # do not keep a transaction open while listing the store
        if orphans:
            yield orphans


def _unreferenced(objects: list[StoredObject]) -> list[StoredObject]:
    digests = [digest_in(found.key) for found in objects]
    referenced = set(
        db.session.scalars(
            union_all(
                select(PackageFile.sha256).where(PackageFile.sha256.in_(digests)),
                select(PackageFile.core_metadata_sha256).where(PackageFile.core_metadata_sha256.in_(digests)),
                select(CachedFile.sha256).where(CachedFile.sha256.in_(digests)),
            )
        )
    )
    return [found for found, digest in zip(objects, digests, strict=True) if digest not in referenced]


def _purge(kind: type[Purgeable], condition: ColumnElement[bool]) -> int:
    """Delete the rows that meet the condition, in one pass by id, and return their number.

    Shares ``AdvisoryLock.TREE``: namespaces and users, with which rows are deleted too, are not deleted meanwhile.
    """
    purged = last = 0
    while ids := db.session.scalars(
        select(kind.id).where(kind.id > last, condition).order_by(kind.id).limit(BATCH)
    ).all():
        with transaction(lock=AdvisoryLock.TREE, shared=True, changes_answers=False) as session:
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
    """Match tokens whose entire family has ended; until then, reuse of a rotated token has to be detected as theft."""
    relative = aliased(AccessToken)
    lives_on = exists().where(relative.family_id == AccessToken.family_id, ~_access_token_ended(relative, before))
    return and_(_access_token_ended(AccessToken, before), ~lives_on)


def _access_token_ended(token: type[AccessToken], before: datetime) -> ColumnElement[bool]:
    # The checks for NULL are explicit because the condition is negated, and NOT NULL is NULL.
    is_revoked = and_(token.revoked_at.is_not(None), token.revoked_at < before)
    is_expired = and_(token.expires_on.is_not(None), token.expires_on <= before.date())
    return or_(is_revoked, is_expired)


def _deploy_token_ended(before: datetime) -> ColumnElement[bool]:
    return or_(DeployToken.expires_at < before, DeployToken.revoked_at < before)


def _job_ended(before: datetime) -> ColumnElement[bool]:
    return or_(Job.finished_at < before, Job.expires_at < before)


def _old_path_ended(now: datetime) -> ColumnElement[bool]:
    """Match the paths of deleted groups, projects, and users that are no longer kept."""
    return and_(OldPath.namespace_id.is_(None), OldPath.is_free(now))


def _package_is_deleted() -> ColumnElement[bool]:
    return exists().where(Package.id == PackageFile.package_id, Package.status == PackageStatus.PENDING_DESTRUCTION)
