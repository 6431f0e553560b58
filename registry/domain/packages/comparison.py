"""What differs between two versions of a package: metadata, dependencies, files, and the members of a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from registry.domain.distributions.examinations import Turns
from registry.domain.distributions.filenames import Kind, kind_of
from registry.domain.distributions.members import Listing, Member
from registry.domain.packages.about import About, Person
from registry.models import Package, PackageFile

# Comparing versions with many members and requirements takes half a second of the processor.
turns = Turns(helpers=2, waiting=2, patience_seconds=5)
_NAMED_AFTER_VERSION = (".dist-info", ".data")  # the folders of a wheel


@dataclass(frozen=True)
class Difference:
    """The values of a field, or the requirements of a name, that only one of two versions has."""

    name: str
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True)
class FileDifference:
    """The files of two versions for the same use: wheels with the same tags, or sdists of the same format.

    :ivar use: the tags, or the suffix of the sdists.
    """

    use: str
    before: PackageFile | None
    after: PackageFile | None


@dataclass(frozen=True)
class MemberDifference:
    """A member that only one of two files has, or that has another content."""

    before: Member | None
    after: Member | None

    @property
    def path(self) -> str:
        found = self.after or self.before
        return "" if found is None else found.path


def of_metadata(before: Package, about_before: About, after: Package, about_after: About) -> list[Difference]:
    """Return the fields that differ, in the order of the page of a package."""
    old, new = _fields(before, about_before), _fields(after, about_after)
    return _differences(old, new, list(new))


def _fields(package: Package, about: About) -> dict[str, Sequence[str]]:
    return {
        "summary": [package.summary] if package.summary else [],
        "links": [f"{link.label}: {link.url}" for link in about.links],
        "requires_python": [about.requires_python or package.required_python],
        "license": [about.license],
        "authors": [*map(_named, about.authors)] or [package.author_email],
        "maintainers": [*map(_named, about.maintainers)],
        "extras": about.extras,
        "keywords": about.keywords,
        "classifiers": [f"{group} :: {value}" for group, values in about.classifiers for value in values],
    }


def _named(person: Person) -> str:
    return f"{person.name} <{person.email}>" if person.name and person.email else person.name or person.email


def of_dependencies(before: About, after: About) -> list[Difference]:
    """Return the names whose requirements differ, with these requirements; those that cannot be parsed are left out."""
    old, new = _requirements(before.requirements), _requirements(after.requirements)
    return _differences(old, new, sorted({*old, *new}))


def _requirements(values: Iterable[str]) -> dict[str, list[str]]:
    found = defaultdict[str, list[str]](list)
    for value in values:
        try:
            requirement = Requirement(value)
        except InvalidRequirement:  # published with an earlier version, which validated less
            continue
        found[canonicalize_name(requirement.name)].append(str(requirement))
    return found


def _differences(
    old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]], names: Iterable[str]
) -> list[Difference]:
    found = (Difference(name, _only_in(old, new, name), _only_in(new, old, name)) for name in names)
    return [each for each in found if each.removed or each.added]


def _only_in(these: Mapping[str, Sequence[str]], those: Mapping[str, Sequence[str]], name: str) -> tuple[str, ...]:
    others = set(those.get(name, ()))
    return tuple(value for value in these.get(name, ()) if value and value not in others)


def of_files(before: Iterable[PackageFile], after: Iterable[PackageFile]) -> list[FileDifference]:
    """Return all files of two versions, each beside the one for the same use: wheels first, by tags."""
    old, new = ({_use(file.filename): file for file in files} for files in (before, after))
    uses = sorted({*old, *new}, key=lambda use: (use.startswith("."), use))
    return [FileDifference(use, old.get(use), new.get(use)) for use in uses]


def _use(filename: str) -> str:
    """Return what follows name and version in a file name: the tags of a wheel, or the suffix of an sdist."""
    if kind_of(filename) is Kind.WHEEL:
        return filename.removesuffix(".whl").split("-", 2)[-1]
    return next((suffix for suffix in (".tar.gz", ".zip") if filename.endswith(suffix)), filename)


def comparable(files: Iterable[FileDifference]) -> tuple[PackageFile, PackageFile] | None:
    """Return the first pair of files for the same use; wheels come first."""
    return next(((each.before, each.after) for each in files if each.before and each.after), None)


def of_members(before: Listing, after: Listing, kind: Kind | None) -> list[MemberDifference]:
    """Return the files that differ between two archives, by path; folders named after the version count as the same.

    Contents are compared by sizes and checksums, so that those of equal size in tar files count as the same.
    """
    old, new = _files(before, kind), _files(after, kind)
    pairs = (MemberDifference(old.get(path), new.get(path)) for path in sorted({*old, *new}))
    return [pair for pair in pairs if _contents(pair.before) != _contents(pair.after)]


def _files(listing: Listing, kind: Kind | None) -> dict[str, Member]:
    return {_without_version(path, kind): each for path, each in listing.members.items() if not each.is_folder}


def _without_version(path: str, kind: Kind | None) -> str:
    top, slash, rest = path.partition("/")
    if kind is not Kind.WHEEL:
        return rest or path
    suffix = next((each for each in _NAMED_AFTER_VERSION if top.endswith(each)), "")
    return f"{suffix}/{rest}" if suffix and slash else path


def _contents(member: Member | None) -> tuple[int, int | None, str] | None:
    return None if member is None else (member.size_bytes, member.checksum, member.target)
