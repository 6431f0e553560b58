"""Validation of the files in a wheel that installers put elsewhere or generate: its data folder and entry points.

PyPA specifications, "Binary distribution format", "Entry points".
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from registry.domain.distributions import archives
from registry.domain.distributions.budget import MIB
from registry.domain.distributions.gate import Check, Finding
from registry.domain.distributions.zip_files import Zip
from registry.errors import quoted

MAX_ENTRY_POINTS_BYTES = MIB // 4

_SCHEMES = {"data", "headers", "platlib", "purelib", "scripts"}
_LIBRARIES = {"platlib", "purelib"}  # the same folder in most environments
_SCRIPTS = {"console_scripts", "gui_scripts"}


def misplaced_data(wheel: Zip, folder: str) -> Iterator[Finding]:
    """Yield files in ``.data`` folders for which installers have no place, or different ones.

    :param folder: the ``.dist-info`` folder.
    """
    own = f"{folder.removesuffix('.dist-info')}.data"
    for path in wheel.files:
        top, _, rest = path.partition("/")
        scheme, _, place = rest.partition("/")
        if top == own and not (scheme in _SCHEMES and place):
            yield Check.DATA_SCHEME.found(".data folder", path, f"{own}/ and one of {', '.join(sorted(_SCHEMES))}")
        elif top != own and rest and top.endswith(".data"):
            yield Check.DATA_FOLDER.found(".data folder", path, f"a file in {quoted(own)}, or another folder")


def overwritten_files(wheel: Zip) -> Iterator[Finding]:
    """Yield files of which installers keep one, because a ``.data`` folder puts both at the same place.

    Otherwise, clients would get other code or metadata than the registry reads. pip takes any folder of that ending.
    """
    targets, has_data = [], False
    for path in wheel.files:
        top, _, rest = path.partition("/")
        scheme, _, place = rest.partition("/")
        is_data = top.endswith(".data") and bool(rest)
        if is_data and scheme in _LIBRARIES and place:
            targets.append((place, False, path))
            has_data = True
        elif not is_data:
            targets.append((path, False, path))
    for path, other in archives.collisions(targets, wheel.budget) if has_data else ():
        yield Check.DATA_TARGET.found(".data folder", other, f"another place than that of {quoted(path)}")


def wrong_entry_points(wheel: Zip, folder: str) -> Iterator[Finding]:
    """Yield the lines of ``entry_points.txt`` that installers read differently or not at all.

    :raises InvalidDistribution: the file is damaged or too large.
    """
    path = f"{folder}/entry_points.txt"
    if not wheel.has_file(path):
        return
    try:
        text = wheel.read(path, MAX_ENTRY_POINTS_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        yield Check.ENTRY_POINTS_UNREADABLE.found("entry_points.txt", f"other bytes at {error.start}", "text in UTF-8")
    else:
        wheel.budget.add_fields(text)
        yield from _wrong_lines(text)


def _wrong_lines(text: str) -> Iterator[Finding]:
    section = None
    for number, line in enumerate(io.StringIO(text), 1):
        entry = line.strip()
        found = f"line {number}: {entry}"
        name, is_assigned, _ = map(str.strip, entry.partition("="))
        if not entry or entry.startswith("#"):
            continue
        if entry.startswith("[") and entry.endswith("]"):
            section = entry[1:-1]
        elif section is None or entry.startswith("["):
            yield Check.ENTRY_POINTS.found("entry_points.txt", found, "[<section>] in front of its entry points")
            section = section or ""
        elif not is_assigned:
            # uv takes indented lines as those of the value before, and skips those with a semicolon.
            is_read = line[0].isspace() or entry.startswith(";")
            check = Check.ENTRY_POINTS if is_read else Check.ENTRY_POINTS_UNREADABLE
            yield check.found("entry_points.txt", found, "<name> = <object> on one line")
        elif section in _SCRIPTS and _is_path(name):
            yield Check.ENTRY_POINT_NAME.found(f"entry_points.txt: {section}", name, "a name without folders")


def _is_path(name: str) -> bool:
    slashed = name.replace("\\", "/")
    return "/" in slashed or archives.leads_outside(slashed)
