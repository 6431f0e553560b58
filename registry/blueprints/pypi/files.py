"""Downloads of package files and their core metadata, with ranges, validators, and caching."""

from __future__ import annotations

import re

from flask import Blueprint, Response, current_app, request
from packaging.utils import NormalizedName

from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi.index import note_answer
from registry.blueprints.pypi.prepared import LARGEST_FILE_BYTES, depends_on_name, depends_on_upstream, preparable
from registry.blueprints.pypi.sending import Content, send_core_metadata, send_file
from registry.blueprints.pypi.upstream_files import send_upstream_file, send_upstream_metadata
from registry.blueprints.routing import PYPI
from registry.database import utcnow
from registry.domain import forwarding
from registry.domain.access import Permission
from registry.domain.packages import index, refusals, withholding
from registry.domain.packages.index import Cause
from registry.domain.upstream import cached
from registry.domain.upstream.asks import Answer
from registry.domain.upstream.cached import METADATA_SUFFIX
from registry.domain.upstream.chain import OfferedFile, offered_file, offered_from_cache
from registry.domain.upstream.policies.filenames import release_in
from registry.domain.upstream.rules import Rules, rules_of
from registry.errors import (
    NotFound,
    QuarantinedPackage,
    RecordNotFound,
    RegistryError,
    UpstreamBusy,
    UpstreamFailed,
    WithheldByRule,
)
from registry.metrics import Download
from registry.models import Group, Namespace, Project, UpstreamMode

FILE = "/files/<sha256>/<rest:filename>"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("files", __name__)

    @blueprint.get(PYPI["project"] + FILE)
    @preparable(LARGEST_FILE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def project_file(project: Project, sha256: str, filename: str) -> Response:
        """Return a file of a project."""
        return send_package_file(project, sha256, filename, NotFound("Package"))

    @blueprint.get(PYPI["group"] + FILE)
    @preparable(LARGEST_FILE_BYTES)
    @gate(Permission.READ_PACKAGE)
    def group_file(group: Group, sha256: str, filename: str) -> Response:
        """Return a file of a project in a group, if the caller can read the project."""
        return send_package_file(group, sha256, filename, RecordNotFound())

    return blueprint


def send_package_file(namespace: Namespace, sha256: str, filename: str, missing: RegistryError) -> Response:
    """Return a file, or its core metadata, to the caller whom a gate has let read the packages of a namespace.

    :param missing: raised if the namespace has no such file.
    """
    if not _SHA256.fullmatch(sha256):
        raise missing.explained("File not found", "The address of a file has its SHA-256 digest before the name.")
    principal = current_principal()
    if filename.endswith(METADATA_SUFFIX):  # no package file has this suffix
        owner = index.downloadable_file(namespace, sha256, filename.removesuffix(METADATA_SUFFIX), principal)
        if owner is not None and owner.core_metadata_sha256 is not None:
            depends_on_name(request.environ, owner.normalized_name)
            return send_core_metadata(owner.core_metadata_sha256, owner.uploaded_at)
    else:
        file = index.downloadable_file(namespace, sha256, filename, principal)
        if file is not None:
            depends_on_name(request.environ, file.normalized_name)
            content = Content(file.sha256, file.size_bytes, file.filename, file.uploaded_at)
            return send_file(content, Download(file.id, file.size_bytes))
    index.refuse_where_hidden(namespace, principal)
    _refuse_withheld(namespace, sha256, filename.removesuffix(METADATA_SUFFIX), missing)
    response = _upstream_file(namespace, sha256, filename)
    if response is not None:
        return response
    raise missing.explained(
        "File not found",
        "There is no file with this name and digest here. If a lock file lists it, create the lock file again.",
    )


def _upstream_file(namespace: Namespace, sha256: str, filename: str) -> Response | None:
    """Return a file, or its core metadata, that the upstream index offers here; ``None`` if it has none.

    A file that is gone from its page, or whose page is not available, is still offered if it is in the cache.

    :raises Unauthenticated: the caller is anonymous, and some names are hidden from anonymous callers.
    :raises WithheldByRule: a rule withholds it.
    """
    distribution = filename.removesuffix(METADATA_SUFFIX)
    release, rules = release_in(distribution), rules_of(namespace)
    if release is None or rules.mode.value is not UpstreamMode.CACHE or not rules.forwards.value:
        return None
    name = release[0]
    index.refuse_where_names_are_hidden(namespace, current_principal())
    forwarding.refuse_unforwarded(namespace, name, rules)
    try:
        found = _offered(rules, name, sha256, distribution)
    except WithheldByRule as refusal:
        note_answer(namespace, name, Answer("withheld", refusal.rule))
        if refusal.rule == withholding.MALICIOUS_RULE:
            _note_refusal(namespace.id, sha256, distribution, refusal.detail)
        raise
    if found is None:
        return None
    depends_on_name(request.environ, name)
    depends_on_upstream(request.environ, found.holds_until)
    is_metadata = distribution != filename
    send = send_upstream_metadata if is_metadata else send_upstream_file
    return send(namespace.id, name, found.file)


def _offered(rules: Rules, name: NormalizedName, sha256: str, filename: str) -> OfferedFile | None:
    """Return a file on the page of the upstream index, or else one in the cache.

    :raises WithheldByRule: a rule withholds it.
    :raises UpstreamFailed: neither the page nor the file is kept, and the upstream index does not answer.
    """
    pages, now = current_app.extensions["upstream_pages"], utcnow()
    try:
        found, failure = offered_file(rules, pages, name, sha256, filename, now), None
    except (UpstreamFailed, UpstreamBusy) as error:
        found, failure = None, error
    if found is not None:
        return found
    file = cached.file_with(sha256, filename, name)
    if file is not None:
        return offered_from_cache(rules, pages, name, file, now)
    if failure is not None:
        raise failure
    return None


def _refuse_withheld(namespace: Namespace, sha256: str, filename: str, missing: RegistryError) -> None:
    """Explain why a file is not offered to a caller who could read it otherwise.

    :raises Forbidden: its package name is quarantined, or its version is withheld because of an advisory.
    :raises RegistryError: ``missing``, as the file was deleted.
    """
    principal = current_principal()
    file = index.withheld_file(namespace, sha256, filename, principal)
    if file is None:
        return
    if file.cause is Cause.DELETION:
        raise missing.explained(
            "File deleted",
            f"The file {filename} was deleted from {file.project_path}. If a lock file lists it, lock another version.",
        )
    if file.withheld is not None:
        if file.withheld.rule == withholding.MALICIOUS_RULE:
            _note_refusal(file.project_id, sha256, filename, file.withheld.detail)
        refusal = file.withheld.refusal_of(f"{file.package_name} {file.version}")
        raise WithheldByRule(file.withheld.rule).explained("Version withheld", refusal)
    because = f": {file.reason.rstrip('. ')}" if file.reason.strip() else ""
    raise QuarantinedPackage().explained(
        "Package quarantined",
        f"The package {file.package_name} is quarantined{because}. Ask a Maintainer of {file.project_path}.",
    )


def _note_refusal(namespace_id: int, sha256: str, filename: str, reason: str) -> None:
    refusals.note(namespace_id, sha256, filename, reason, by=current_principal(), today=utcnow().date())
