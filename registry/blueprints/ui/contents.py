"""Pages with the contents of a package file: the tree of its members, and the text of one."""

from __future__ import annotations

from flask import Blueprint, current_app, render_template, request
from flask_babel import lazy_gettext
from werkzeug.wrappers import Response

from registry.blueprints.auth.permits import Gate
from registry.blueprints.ui import pagination
from registry.blueprints.ui.viewer import principal
from registry.domain.access import Permission
from registry.domain.distributions import members
from registry.domain.distributions.members import Folder, Listing
from registry.domain.packages import index, lists
from registry.domain.packages.contents import Contents, NotShown, Obstacle
from registry.domain.packages.index import Cause, DownloadableFile, WithheldFile
from registry.errors import RecordNotFound
from registry.models import Package, PackageFile, Project

_ = lazy_gettext

PAGE_SIZE = 200  # members of a folder
MOST_ROWS = 600  # on a page
MOST_LEVELS = 6  # of folders that unfold
OPEN_BELOW_ROWS = 60  # with fewer members in all, folders are unfolded from the start

OBSTACLES = {
    Obstacle.TOO_MUCH: _("The contents cannot be shown, because the file is too large or has too many members."),
    Obstacle.INVALID: _("The contents cannot be shown, because the archive is damaged or ambiguous."),
    Obstacle.MISSING: _("The contents cannot be shown, because the file is missing from the package store."),
    Obstacle.LINK: _("This is a link. Links are not followed."),
    Obstacle.LONG: _("This file is larger than 256 KiB, so it is not shown."),
    Obstacle.BINARY: _("This file is not UTF-8 text, so it is not shown."),
}

# Control characters, and those of the bidirectional algorithm (Unicode, UAX 9).
_MARKS = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"},
    0x7F: "\u2421",
    **{code: f"[U+{code:04X}]" for code in (*range(0x80, 0xA0), 0x061C, 0x200E, 0x200F)},
    **{code: f"[U+{code:04X}]" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}

Page = Response | tuple[str, int] | str


def routes(gate: Gate) -> Blueprint:
    blueprint = Blueprint("contents", __name__)

    @blueprint.get("/<page_project:project>/-/packages/<id:package_id>/files/<id:file_id>/contents")
    @gate(Permission.READ_PACKAGE)
    def file_contents(project: Project, package_id: int, file_id: int) -> Page:
        """Show the folder ``?path=`` of a file, by default all of it, or the text of the member with this path."""
        package = lists.package(project, package_id)
        return _shown(package, lists.package_file(package, file_id), project)

    return blueprint


def contents() -> Contents:
    found: Contents = current_app.extensions["contents"]
    return found


def caller() -> str:
    """Return who takes turns with others: the viewer, or the address of an anonymous one."""
    viewer = principal()
    return f"{viewer.label} {viewer.address}" if viewer.is_anonymous else viewer.label


def _shown(package: Package, file: PackageFile, project: Project) -> Page:
    offered = index.downloadable_file(project, file.sha256, file.filename, principal())
    around = {
        "namespace": project,
        "package": package,
        "file": file,
        "is_offered": offered is not None,
        "path": _path(),
        "visible": visible,
    }
    if offered is None:
        return _withheld(file, project, around)
    try:
        listing = contents().listing(offered, caller())
        return _member(listing, offered, around)
    except NotShown as refusal:
        return render_template("ui/contents/file.html", obstacle=OBSTACLES[refusal.obstacle], **around)


def _path() -> str:
    return "/".join(part for part in request.args.get("path", "").split("/") if part)


def _withheld(file: PackageFile, project: Project, around: dict[str, object]) -> Page:
    withheld = index.withheld_file(project, file.sha256, file.filename, principal())
    return render_template("ui/contents/file.html", obstacle=_reason(withheld), **around), 403


def _reason(withheld: WithheldFile | None) -> object:
    if withheld is None or withheld.cause is Cause.DELETION:  # in this moment
        raise RecordNotFound
    if withheld.withheld is not None:
        return withheld.withheld.refusal_of(f"{withheld.package_name} {withheld.version}")
    return _("This package is quarantined. None of its versions can be installed.")


def _member(listing: Listing, offered: DownloadableFile, around: dict[str, object]) -> Page:
    """Show the member at the path of the request.

    :raises RecordNotFound: the file has none there.
    """
    path = _path()
    folder = listing.folder(path)
    if folder is not None:
        return _tree(listing, folder, around)
    member = listing.members.get(path)
    if member is None:
        raise RecordNotFound
    found = contents().text(offered, member, caller())
    obstacle = None if found.obstacle is None else OBSTACLES[found.obstacle]
    return render_template(
        "ui/contents/text.html", member=member, text=visible(found.text), obstacle=obstacle, **around
    )


def _tree(listing: Listing, folder: Folder, around: dict[str, object]) -> Page:
    shown = pagination.page_of(folder.children, PAGE_SIZE)
    return render_template(
        "ui/contents/tree.html",
        folder=folder,
        shown=shown,
        expanded=members.expanded(shown.items, MOST_ROWS, MOST_LEVELS),
        is_open=len(listing.members) < OPEN_BELOW_ROWS,
        **around,
    )


def visible(text: str) -> str:
    """Return text of a file with marks for control characters, and for those that change the order of others."""
    return text.translate(_MARKS)
