"""The page that compares two versions of a package name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui.contents import OBSTACLES, caller, contents, visible
from registry.blueprints.ui.viewer import principal
from registry.database import db
from registry.domain.access import Permission
from registry.domain.distributions.filenames import is_valid_name, kind_of
from registry.domain.packages import comparison, index, lists, names, versions
from registry.domain.packages.about import Documents
from registry.domain.packages.comparison import FileDifference, MemberDifference
from registry.domain.packages.contents import NotShown
from registry.domain.packages.versions import PublishedVersion
from registry.errors import RecordNotFound
from registry.models import NameStatus, Package, PackageFile, Project

MOST_ROWS = 200  # of files, and of members

Page = Response | tuple[str, int] | str


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("comparison", __name__)

    @blueprint.get("/<page_project:project>/-/packages/names/<name>/compare")
    @gate(Permission.READ_PACKAGE)
    def versions_compared(project: Project, name: str) -> Page:
        """Compare the versions ``?from=`` and ``?to=`` of a name: by default, the latest and the one before it."""
        normalized_name = names.normalized(name)
        if is_valid_name(name) and name != normalized_name:
            here = url_for("ui.comparison.versions_compared", project=project, name=normalized_name)
            return redirect(f"{here}?{request.query_string.decode()}", 301)
        published = versions.of_name(project, normalized_name) if is_valid_name(name) else []
        before, after = _chosen(published)
        with comparison.turns.taken(caller()):
            return _compared(project, published, before, after)

    return blueprint


def _chosen(published: Sequence[PublishedVersion]) -> tuple[PublishedVersion, PublishedVersion]:
    """Return the versions to compare.

    :param published: from newest to oldest.
    :raises RecordNotFound: there is no version, or none that was asked for.
    """
    after = _version(published, request.args.get("to")) or versions.latest(published)
    if after is None:
        raise RecordNotFound
    older = next((older for newer, older in pairwise(published) if newer == after), after)
    return _version(published, request.args.get("from")) or older, after


def _version(published: Sequence[PublishedVersion], version: str | None) -> PublishedVersion | None:
    if not version:
        return None
    found = next((each for each in published if each.version == version), None)
    if found is None:
        raise RecordNotFound
    return found


def _compared(
    project: Project, published: Sequence[PublishedVersion], before: PublishedVersion, after: PublishedVersion
) -> str:
    packages = {each.id: each for each in lists.packages_by_id(project, principal(), [before.id, after.id])}
    if not packages.keys() >= {before.id, after.id}:  # deleted in this moment
        raise RecordNotFound
    old, new = packages[before.id], packages[after.id]
    documents: Documents = current_app.extensions["documents"]
    about_old, about_new = (documents.about(lists.core_metadata_digest(each)) for each in (old, new))
    is_offered = names.name_status(project, new.name).status is not NameStatus.QUARANTINED
    fields = comparison.of_metadata(old, about_old, new, about_new)
    files = comparison.of_files(_files(old), _files(new))
    return render_template(
        "ui/comparison/versions.html",
        namespace=project,
        published=published,
        before=old,
        after=new,
        is_offered=is_offered,
        fields=[each for each in fields if is_offered or each.name != "links"],
        dependencies=comparison.of_dependencies(about_old, about_new),
        files=files[:MOST_ROWS],
        more_files=len(files[MOST_ROWS:]),
        visible=visible,
        **_members(project, files),
    )


def _files(package: Package) -> list[PackageFile]:
    return list(db.session.scalars(lists.package_files(package).order_by(PackageFile.id)))


def _members(project: Project, files: Sequence[FileDifference]) -> dict[str, Any]:
    """Return what the page shows of the members of the first two files that can be compared."""
    pair = comparison.comparable(files)
    offered = [index.downloadable_file(project, file.sha256, file.filename, principal()) for file in pair or ()]
    old, new = offered or (None, None)
    if pair is None or old is None or new is None:
        return {"pair": None}
    found: list[MemberDifference] = []
    try:
        if old.sha256 != new.sha256:
            old_listing, new_listing = (contents().listing(each, caller()) for each in (old, new))
            found = comparison.of_members(old_listing, new_listing, kind_of(new.filename))
    except NotShown as refusal:
        return {"pair": pair, "obstacle": OBSTACLES[refusal.obstacle]}
    return {"pair": pair, "members": found[:MOST_ROWS], "more_members": len(found[MOST_ROWS:])}
