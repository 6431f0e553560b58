"""Security advisories: the report of a project or group, and the JSON API of PyPI, which pip-audit reads.

PyPI, "JSON API": as far as the registry knows what is in there. A name that the namespace lacks, and for which the
public index may be asked, has only its advisories.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, jsonify, request
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from registry.blueprints.auth.credentials import current_principal
from registry.blueprints.auth.permits import Gate
from registry.blueprints.pypi.index import base_url
from registry.blueprints.routing import PYPI
from registry.database import utcnow
from registry.domain import forwarding
from registry.domain.access import Permission
from registry.domain.distributions.filenames import is_valid_name
from registry.domain.packages import index, vulnerabilities
from registry.domain.packages.names import is_valid_version, version_key
from registry.domain.packages.simple import SimpleFile, SimplePage
from registry.domain.packages.vulnerabilities import Entry, Vulnerability
from registry.domain.upstream.policies.filenames import version_of
from registry.errors import InvalidParameter, NotFound
from registry.models import Group, Namespace, Project

ADDRESSES = ("/json/<name>", "/pypi/<name>/json")
VERSION_ADDRESSES = ("/json/<name>/<version>", "/pypi/<name>/<version>/json")


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("vulnerabilities", __name__)

    @blueprint.get(PYPI["project"] + "/vulnerabilities")
    @gate(Permission.READ_PACKAGE)
    def project_report(project: Project) -> Response:
        """Return the packages of a project with security advisories."""
        return _report(project)

    @blueprint.get(PYPI["group"] + "/vulnerabilities")
    @gate(Permission.READ_PACKAGE)
    def group_report(group: Group) -> Response:
        """Return the packages with security advisories of all projects in a group that the caller can read."""
        return _report(group)

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


def _report(namespace: Namespace) -> Response:
    wanted = request.args.get("format", "json")
    if wanted not in ("json", "csv"):
        raise InvalidParameter("format does not have a valid value")
    entries = vulnerabilities.report(namespace, current_principal(), utcnow().date())
    if wanted == "json":
        return jsonify([_entry_json(entry) for entry in entries])
    response = Response(vulnerabilities.as_csv(entries), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="vulnerabilities.csv"'
    return response


def _entry_json(entry: Entry) -> dict[str, object]:
    return {
        "project": entry.project,
        "name": entry.name,
        "version": entry.version,
        "advisory": entry.advisory,
        "aliases": list(entry.aliases),
        "summary": entry.summary,
        "severity": entry.severity,
        "cvss_score": entry.cvss_score,
        "fixed_in": entry.fixed_in or None,
        "downloads_in_30_days": entry.downloads,
        "link": entry.link,
    }


def _described(namespace: Namespace, name: str, version: str | None) -> Response:
    """Return the description of a version, by default of the latest one.

    :raises NotFound: the namespace has no such version, and the public index may not be asked for the name.
    """
    if not is_valid_name(name) or (version is not None and not is_valid_version(version)):
        raise NotFound("Package")
    normalized_name, base = canonicalize_name(name), base_url(namespace, request.environ)

    def file_url(digest: str, filename: str) -> str:
        return f"{base}/files/{digest}/{quote(filename, safe='+!')}"

    page = index.simple_page(namespace, normalized_name, file_url, current_principal())
    if page is None:
        return _elsewhere(namespace, normalized_name, version)
    shown = _version_in(page, version)
    if shown is None:
        raise NotFound("Package")
    releases = _releases(page)
    files = releases[shown]
    body = {
        "info": {**_info(page.title, shown), "requires_python": _requires_python(files), "yanked": _yanked(files)},
        "urls": files,
        "vulnerabilities": _vulnerabilities(normalized_name, shown),
    }
    if version is None:
        body["releases"] = releases
    return jsonify(body)


def _elsewhere(namespace: Namespace, name: NormalizedName, version: str | None) -> Response:
    """Return the advisories about a version that the namespace lacks.

    :raises NotFound: the public index may not be asked for the name.
    """
    index.refuse_where_names_are_hidden(namespace, current_principal())
    forwarding.require_forwarded(namespace, name)
    if version is None:
        raise NotFound("Package")
    return jsonify(info=_info(name, version), urls=[], vulnerabilities=_vulnerabilities(name, version))


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


def _info(name: str, version: str) -> dict[str, Any]:
    return {"name": name, "version": version}


def _requires_python(files: list[dict[str, Any]]) -> str | None:
    return next((file["requires_python"] for file in files if file["requires_python"]), None)


def _yanked(files: list[dict[str, Any]]) -> bool:
    return bool(files) and all(file["yanked"] for file in files)


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
