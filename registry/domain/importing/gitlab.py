"""Import from a project or group of a GitLab instance, through its REST API ("Packages API").

Only files state who published them, through the users of their pipelines. This registry also states yanks.

Files come from the file endpoint of the PyPI API, which names them by their SHA-256 digest. Of several files of one
name in a package, GitLab serves only the newest. Files of the same package name in several projects of a group add up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version
from requests import PreparedRequest
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import parse_header_links

from registry.domain.distributions import filenames
from registry.domain.http import Client, Page, ResponseError, Sink, split
from registry.domain.importing.source import LeftOut, SourceFile, SourcePage
from registry.domain.listings import known_digests, moment, one_line
from registry.errors import SourceError
from registry.models import ImportedPipeline

MAX_PAGE_BYTES = 64 << 20
MAX_PAGES = 10_000
MAX_PIPELINES = 20  # of a file
MAX_PIPELINE_TEXT = 255
LARGEST_NUMBER = (1 << 63) - 1
PAGE_SIZE = 100  # the largest that GitLab accepts
IMPORTED_STATUSES = ("default", "deprecated")  # what GitLab's own lists show, without what has an error

_SHA256 = re.compile("[0-9a-f]{64}")
_LAST = datetime.max.replace(tzinfo=UTC)

Entry = dict[str, Any]


@dataclass(frozen=True)
class _Package:
    """A package as GitLab lists it; ``project`` is the project in URLs."""

    id: int
    project: str
    name: str
    version: str
    status: str

    @property
    def normalized_name(self) -> NormalizedName:
        """The normalized name, empty if the name is invalid."""
        return canonicalize_name(self.name) if filenames.is_valid_name(self.name) else NormalizedName("")


class GitLab:
    """The packages of a project, or of all projects below a group that the token can read.

    The token is sent only to the scheme, host, and port of the instance. Lists have to come from there, too; files can
    come from an object store.
    """

    is_local = False

    def __init__(self, url: str, namespace: str, *, token: str = "", connections: int = 1) -> None:
        """Configure access to an instance, without connecting to it.

        :param url: URL of the instance.
        :param namespace: ID or full path of a project or group.
        :param token: a personal, project, or group access token, or a deploy token or CI job token where the instance
            accepts them; empty for public packages.
        :param connections: number of connections to keep open.
        :raises SourceError: ``url`` is not a valid HTTP URL, or contains credentials.
        """
        parts = split(url)
        if "@" in parts.netloc:
            raise SourceError("The URL of a GitLab instance contains no credentials; --token-stdin reads the token")
        base = urlunsplit((parts.scheme, parts.netloc, re.sub(r"(/api/v4)?/*$", "", parts.path), "", ""))
        self.address = f"{base}/{namespace}"
        self._api, self._namespace = f"{base}/api/v4", namespace
        self._client = Client(base, _Token(token) if token else None, connections=connections)
        self._listing = Lock()
        self._packages: dict[NormalizedName, list[_Package]] | None = None

    def names(self) -> list[NormalizedName]:
        return list(self._listed())

    def page(self, name: NormalizedName, versions: Collection[Version] = ()) -> SourcePage:
        packages = self._listed().get(name)
        if packages is None:
            raise SourceError("GitLab lists no package of this name")
        files: list[SourceFile] = []
        left_out: list[LeftOut] = []
        for package in packages:
            if versions and filenames.version(package.version) not in versions:
                continue  # saves a request
            if package.status in IMPORTED_STATUSES:
                newest, replaced = self._files(package)
                files += newest
                left_out += replaced
            else:
                reason = f"the package has the status {package.status}"
                left_out.append(LeftOut(f"{package.name} {package.version}", package.version, reason))
        # The oldest first, so that of different files of one name in several projects the same one is always imported.
        files.sort(key=lambda file: file.uploaded_at or _LAST)
        return SourcePage(tuple(files), left_out=tuple(left_out))

    def digests(self, file: SourceFile) -> dict[str, str]:
        return file.digests

    def receive(self, file: SourceFile, sink: Sink) -> None:
        if not file.location:
            raise SourceError("GitLab states no SHA-256 digest, without which it does not deliver the file")
        self._client.receive(file.location, sink)

    def close(self) -> None:
        self._client.close()

    def _listed(self) -> dict[NormalizedName, list[_Package]]:
        with self._listing:
            if self._packages is None:
                self._packages = self._list()
            return self._packages

    def _list(self) -> dict[NormalizedName, list[_Package]]:
        """List the packages of the project or group, by name.

        :raises SourceError: the packages cannot be listed, or the ID is that of a project and also of a group.
        """
        found, refusals = [], []
        for kind in ("projects", "groups"):
            try:
                found.append(self._packages_of(kind))
            except ResponseError as error:
                if error.status not in (401, 403, 404):
                    raise
                refusals.append(error)
            if found and not self._namespace.isdecimal():
                break
        if not found:
            raise next(
                (refusal for refusal in refusals if refusal.status != 404),
                SourceError("there is no project or group with this ID or path that the token can read"),
            )
        if len(found) > 1:
            raise SourceError("the ID is that of a project and also of a group; use the full path")
        by_name: dict[NormalizedName, list[_Package]] = {}
        for package in found[0]:
            by_name.setdefault(package.normalized_name, []).append(package)
        return by_name

    def _packages_of(self, kind: str) -> list[_Package]:
        namespace = quote(self._namespace, safe="")
        query = {"package_type": "pypi", "order_by": "created_at", "sort": "asc"}
        entries = self._entries(f"{kind}/{namespace}/packages", query)
        with _parsing("the list of packages"):
            return [_package(entry, namespace) for entry in entries if entry["package_type"] == "pypi"]

    def _files(self, package: _Package) -> tuple[list[SourceFile], list[LeftOut]]:
        """Return the newest file of each name in a package, and the different files that they replaced."""
        path = f"projects/{package.project}/packages/{package.id}/package_files"
        with _parsing(f"the list of files of {package.name} {package.version}"):
            numbered = [(int(entry["id"]), self._file(entry, package)) for entry in self._entries(path, {})]
        files = [file for _, file in sorted(numbered, key=lambda each: each[0])]
        newest = {file.filename: file for file in files}
        replaced = [
            LeftOut(file.filename, package.version, "GitLab delivers only the newest file of this name in the package")
            for file in files
            if file.digests != newest[file.filename].digests
        ]
        return list(newest.values()), replaced

    def _file(self, entry: Entry, package: _Package) -> SourceFile:
        filename = str(entry["file_name"])
        sha256 = str(entry.get("file_sha256") or "").lower()
        files = f"{self._api}/projects/{package.project}/packages/pypi/files"
        return SourceFile(
            filename=one_line(filename),
            location=f"{files}/{sha256}/{quote(filename, safe='')}" if _SHA256.fullmatch(sha256) else "",
            digests=known_digests({"sha256": sha256, "md5": str(entry.get("file_md5") or "")}),
            size_bytes=_number(entry, "size"),
            uploaded_at=moment(str(entry.get("created_at") or "")),
            yanked_reason=one_line(str(entry.get("yanked_reason") or "")) if entry.get("yanked") is True else None,
            pipelines=tuple(_pipelines(entry.get("pipelines") or [])),
        )

    def _entries(self, path: str, query: Mapping[str, str]) -> Iterator[Entry]:
        """Yield the entries of a list, page by page.

        Only the query of the link to the next page is used, as it can name another host than this connection does.
        """
        following, seen = urlencode({**query, "per_page": str(PAGE_SIZE)}), set[str]()
        while following and following not in seen:
            if len(seen) == MAX_PAGES:
                raise SourceError(f"a list has more than {MAX_PAGES} pages")
            seen.add(following)
            page = self._client.read(
                f"{self._api}/{path}?{following}", accept="application/json", max_bytes=MAX_PAGE_BYTES, elsewhere=False
            )
            yield from _list_in(page)
            following = _next_query(page)


class _Token(AuthBase):
    """Sends a token as GitLab reads it: in a header of its own kind, but to the PyPI API as a password."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._is_job_token = token.startswith("glcbt-")
        if self._is_job_token:
            self._header = "JOB-TOKEN"
        else:
            self._header = "Deploy-Token" if token.startswith("gldt-") else "PRIVATE-TOKEN"

    def __call__(self, unsigned: PreparedRequest) -> PreparedRequest:
        if "/packages/pypi/" in urlsplit(unsigned.url or "").path:
            username = "gitlab-ci-token" if self._is_job_token else "__token__"
            signed: PreparedRequest = HTTPBasicAuth(username, self._token)(unsigned)
            return signed
        unsigned.headers[self._header] = self._token
        return unsigned


@contextmanager
def _parsing(part: str) -> Iterator[None]:
    """Turn the exceptions of parsing a response into a SourceError.

    :raises SourceError: the response is not that of GitLab's API.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise SourceError(f"{one_line(part)} is not as in GitLab's REST API") from error


def _list_in(page: Page) -> Iterable[Entry]:
    with _parsing("a response"):
        entries = json.loads(page.body)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError
        if len(entries) > PAGE_SIZE:
            raise SourceError(f"a page of a list has more than {PAGE_SIZE} entries")
        return entries


def _next_query(page: Page) -> str:
    """Return the query of the next page, from GitLab's links for offset and keyset pagination."""
    links = parse_header_links(page.headers.get("Link", ""))
    return next((urlsplit(link["url"]).query for link in links if link.get("rel") == "next"), "")


def _package(entry: Entry, namespace: str) -> _Package:
    """Parse a package; lists of a project do not name it."""
    project = entry.get("project_id")
    return _Package(
        id=int(entry["id"]),
        project=namespace if project is None else str(int(project)),
        name=one_line(str(entry["name"])),
        version=one_line(str(entry["version"])),
        status=one_line(str(entry.get("status") or "default")),
    )


def _pipelines(entries: list[Entry]) -> Iterator[ImportedPipeline]:
    """Yield the pipelines of a file, without those that lack an ID or time."""
    for entry in entries[:MAX_PIPELINES]:
        created_at, user = moment(_text(entry, "created_at")), entry.get("user") or {}
        if created_at is not None and _number(entry, "id") is not None:
            web_url = _text(entry, "web_url")
            yield ImportedPipeline(
                id=entry["id"],
                iid=_number(entry, "iid"),
                sha=_text(entry, "sha"),
                ref=_text(entry, "ref"),
                status=_text(entry, "status"),
                source=_text(entry, "source"),
                created_at=created_at,
                updated_at=moment(_text(entry, "updated_at")) or created_at,
                web_url=web_url if web_url.startswith(("https://", "http://")) else "",
                username=_text(user, "username"),
                user_name=_text(user, "name"),
            )


def _number(entry: Entry, key: str) -> int | None:
    number = entry.get(key)
    return number if isinstance(number, int) and 0 <= number <= LARGEST_NUMBER else None


def _text(entry: Entry, key: str) -> str:
    return one_line(str(entry.get(key) or ""))[:MAX_PIPELINE_TEXT]
