"""The JSON API of PyPI ("JSON API"), which pip-audit reads: a package name or version with its security advisories.

The documents have the fields that the registry knows. Packages are described by their core metadata, those of the
public index only if their pages are fetched here. If clients are redirected, there are only the advisories.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from packaging.metadata import RawMetadata
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi.index import file_url_in
from registry.blueprints.routing import PYPI
from registry.database import utcnow
from registry.domain import forwarding
from registry.domain.access import Permission
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.packages import index, vulnerabilities
from registry.domain.packages.about import Documents
from registry.domain.packages.index import FileURL
from registry.domain.packages.names import is_valid_version, version_key
from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.packages.vulnerabilities import Vulnerability
from registry.domain.upstream import cached
from registry.domain.upstream.chain import upstream_for
from registry.domain.upstream.policies.filenames import version_of
from registry.domain.upstream.rules import Rules
from registry.errors import NotFound, UpstreamBusy, UpstreamFailed
from registry.models import Group, Namespace, Project, UpstreamMode

ADDRESSES = ("/json/<name>", "/pypi/<name>/json")
VERSION_ADDRESSES = ("/json/<name>/<version>", "/pypi/<name>/<version>/json")


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("json_api", __name__)

    @gate(Permission.READ_PACKAGE)
    def project_name(project: Project, name: str, version: str | None = None) -> Response:
        """Return a package name, or a version of it, with its security advisories."""
        return _described(project, name, version)

    @gate(Permission.READ_PACKAGE)
    def group_name(group: Group, name: str, version: str | None = None) -> Response:
        """Return a package name, or a version of it, with its security advisories."""
        return _described(group, name, version)

    for address in (*ADDRESSES, *VERSION_ADDRESSES):
        blueprint.get(PYPI["project"] + address)(project_name)
        blueprint.get(PYPI["group"] + address)(group_name)
    return blueprint


def _described(namespace: Namespace, name: str, version: str | None) -> Response:
    """Return the description of a version, by default of the latest one.

    Of one that is withheld, there are only the advisories, since it can be installed somewhere nonetheless.

    :raises NotFound: the namespace has no such version, and the public index may not be asked for the name.
    """
    if not is_valid_name(name) or (version is not None and not is_valid_version(version)):
        raise NotFound("Package")
    normalized_name, file_url = canonicalize_name(name), file_url_in(namespace, request.environ)
    page = index.simple_page(namespace, normalized_name, file_url, current_principal())
    if page is None:
        return _elsewhere(namespace, normalized_name, version, file_url)
    shown = _version_in(page, version)
    if shown is None and version is not None and _is_withheld(page, version):
        return _advisories_alone(normalized_name, version)
    if shown is None:
        raise NotFound("Package")
    return _on_page(page, shown, _documented(page, shown), with_releases=version is None)


def _on_page(page: SimplePage, version: str, core_metadata_sha256: str | None, *, with_releases: bool) -> Response:
    """Return the description of a version with files.

    :param core_metadata_sha256: of the document that describes it; ``None`` if there is none here.
    """
    documents: Documents = current_app.extensions["documents"]
    releases = _releases(page)
    files = releases[version]
    body = {
        "info": _info(page.title, version, files, documents.fields(core_metadata_sha256)),
        "urls": files,
        "vulnerabilities": _vulnerabilities(canonicalize_name(page.name), version),
    }
    if with_releases:
        body["releases"] = releases
    return jsonify(body)


def _elsewhere(namespace: Namespace, name: NormalizedName, version: str | None, file_url: FileURL) -> Response:
    """Return the description of a version that the namespace lacks, as far as it is known here.

    Of one that the public index does not list, or not to this namespace, there are only the advisories, since it can be
    installed somewhere nonetheless.

    :raises NotFound: the public index may not be asked for the name.
    """
    index.refuse_where_names_are_hidden(namespace, current_principal())
    rules = forwarding.require_forwarded(namespace, name)
    page = _upstream_page(rules, name, is_needed=version is None)
    shown = None if page is None else _version_in(page, version)
    if page is not None and shown is not None:
        document = _cached_document(_files_of(page, shown))
        files = tuple(file._replace(url=file_url(file.sha256, file.filename)) for file in page.files)
        return _on_page(replace(page, files=files), shown, document, with_releases=version is None)
    if version is None:
        raise NotFound("Package")
    return _advisories_alone(name, version)


def _advisories_alone(name: NormalizedName, version: str) -> Response:
    info = {"name": name, "version": version}
    return jsonify(info=info, urls=[], vulnerabilities=_vulnerabilities(name, version))


def _is_withheld(page: SimplePage, version: str) -> bool:
    return any(version_key(str(version_of(one.file.filename))) == version_key(version) for one in page.withheld)


def _upstream_page(rules: Rules, name: NormalizedName, *, is_needed: bool) -> SimplePage | None:
    """Return the page of the public index, or ``None`` if it has none, or clients are redirected to it.

    :param is_needed: otherwise, a page that is not available is as good as none.
    :raises UpstreamFailed: it is not available.
    """
    if rules.mode.value is not UpstreamMode.CACHE:
        return None
    try:
        return upstream_for(rules, current_app.extensions["upstream_pages"], utcnow()).page(name)
    except (UpstreamFailed, UpstreamBusy):
        if is_needed:
            raise
        return None


def _files_of(page: SimplePage, version: str) -> list[SimpleFile]:
    key = version_key(version)
    return [file for file in page.files if version_key(str(version_of(file.filename))) == key]


def _documented(page: SimplePage, version: str) -> str | None:
    return index.core_metadata_of([file.sha256 for file in _files_of(page, version)])


def _cached_document(files: Iterable[SimpleFile]) -> str | None:
    """Return the digest of the first core metadata of files of the public index that are in the cache."""
    digests = [file.core_metadata_sha256 for file in files if file.core_metadata_sha256 is not None]
    found = cached.cached_among(digests)
    return next((digest for digest in digests if digest in found), None)


def _version_in(page: SimplePage, version: str | None) -> str | None:
    """Return a version as the page spells it, by default the latest one, before pre-releases."""
    if version is not None:
        return next((one for one in page.versions if version_key(one) == version_key(version)), None)
    final = [one for one in page.versions if is_valid_version(one) and not Version(one).is_prerelease]
    return next(reversed(final or page.versions), None)


def _releases(page: SimplePage) -> dict[str, list[dict[str, Any]]]:
    """Return the files of each version."""
    by_version: dict[object, list[dict[str, Any]]] = {version_key(version): [] for version in page.versions}
    for file in page.files:
        by_version.setdefault(version_key(str(version_of(file.filename))), []).append(_file_json(file))
    return {version: by_version[version_key(version)] for version in page.versions}


def _info(name: str, version: str, files: list[dict[str, Any]], fields: RawMetadata) -> dict[str, Any]:
    """Return the description of a version with the keys of PyPI; ``None`` for what its core metadata do not state.

    :param fields: of its core metadata; empty if the document is not here.
    """
    is_yanked = bool(files) and all(file["yanked"] for file in files)
    requires_python = next((file["requires_python"] for file in files if file["requires_python"]), None)
    return {
        "name": name,
        "version": version,
        "summary": fields.get("summary"),
        "keywords": ",".join(fields.get("keywords", [])) or None,
        "author": fields.get("author"),
        "author_email": fields.get("author_email"),
        "maintainer": fields.get("maintainer"),
        "maintainer_email": fields.get("maintainer_email"),
        "license": fields.get("license"),
        "license_expression": fields.get("license_expression"),
        "license_files": fields.get("license_files"),
        "classifiers": fields.get("classifiers", []),
        "home_page": fields.get("home_page"),
        "download_url": fields.get("download_url"),
        "project_urls": fields.get("project_urls"),
        "requires_dist": fields.get("requires_dist"),
        "provides_extra": fields.get("provides_extra"),
        "requires_python": requires_python or fields.get("requires_python"),
        "yanked": is_yanked,
        "yanked_reason": next((file["yanked_reason"] for file in files if file["yanked_reason"]), None)
        if is_yanked
        else None,
    }


def _file_json(file: SimpleFile) -> dict[str, Any]:
    return {
        "filename": file.filename,
        "url": file.url,
        "digests": {"sha256": file.sha256},
        "size": file.size_bytes,
        "upload_time_iso_8601": file.upload_time,
        "requires_python": file.requires_python or None,
        "packagetype": "bdist_wheel" if file.filename.endswith(".whl") else "sdist",
        "yanked": file.yanked_reason is not None,
        "yanked_reason": file.yanked_reason or None,
    }


def _vulnerabilities(name: str, version: str) -> list[dict[str, object]]:
    return [_vulnerability_json(one) for one in vulnerabilities.about(name, version)]


def _vulnerability_json(one: Vulnerability) -> dict[str, object]:
    return {
        "id": one.id,
        "aliases": list(one.aliases),
        "summary": one.summary or None,
        "details": one.details,
        "fixed_in": list(one.fixed_in),
        "link": one.link,
        "source": "osv",
        "published": None if one.published_at is None else f"{one.published_at:%Y-%m-%dT%H:%M:%SZ}",
        "withdrawn": None if one.withdrawn_at is None else f"{one.withdrawn_at:%Y-%m-%dT%H:%M:%SZ}",
    }
