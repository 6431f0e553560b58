"""The contents of a package file: tree, text, and who sees them."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from registry.blueprints.ui.contents import OBSTACLES
from registry.domain.access import SHELL
from registry.domain.packages import releases
from registry.domain.packages.contents import Obstacle
from registry.models import NameStatus
from registry.storage import object_key
from tests import factories
from tests.builders import build_sdist, build_wheel, metadata

HOSTILE = '<script>alert(1)<script>&"\u202egnp.py'


def address(file, path=""):
    here = f"/acme/tools/-/packages/{file.package_id}/files/{file.id}/contents"
    return f"{here}?path={path}" if path else here


def sdist_with_link():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as target:
        content = metadata("demo", "1.0")
        member = tarfile.TarInfo("demo-1.0/PKG-INFO")
        member.size = len(content)
        target.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("demo-1.0/latest")
        link.type, link.linkname = tarfile.SYMTYPE, "PKG-INFO"
        target.addfile(link)
    built = build_sdist()
    return type(built)(built.filename, gzip.compress(archive.getvalue(), mtime=0), "demo", "1.0", built.kind)


def test_a_reader_opens_a_file_of_a_package_and_reads_a_member(browser_of, owner, project):
    factories.published(project, build_wheel(files={"pkg/sub/text.py": b"first\r\n<b>\x1b[31m\xe2\x80\xae"}))
    browser = browser_of(owner)
    package = browser.get("/acme/tools/-/packages/names/demo")

    contents = next(link for link in package.links if link.endswith("/contents"))
    tree = browser.get(contents)
    text = browser.get(next(link for link in tree.links if link.endswith("text.py")))

    assert {"demo.py", "pkg/", "sub/", "text.py"} <= set(tree.text.split())
    assert "first\n<b>\u241b[31m[U+202E]" in "".join(next(text.tree.iter("pre")).itertext())
    assert contents in text.links


def test_names_are_escaped_and_found_by_their_links(browser_of, owner, project):
    file = factories.published(project, build_wheel(files={HOSTILE: b"read me", "100%/a b?#.txt": b"this, too"}))
    browser = browser_of(owner)

    tree = browser.get(address(file))

    assert '<script>alert(1)<script>&"[U+202E]gnp.py' in tree.text
    for name, content in (("script", "read me"), ("100", "this, too")):
        link = next(link for link in tree.links if "?path=" in link and name in link.partition("?")[2])
        assert content in browser.get(link).text


def test_a_link_is_shown_with_its_target_and_not_followed(browser_of, owner, project):
    file = factories.published(project, sdist_with_link())

    page = browser_of(owner).get(address(file, "demo-1.0/latest"))

    assert "Links are not followed" in page.text
    assert "Its target is PKG-INFO" in page.text
    assert "Metadata-Version" not in page.text


@pytest.mark.parametrize("path", ["nothing", "../../../etc/passwd", "demo.py/more", "%00"])
def test_other_paths_are_not_found(browser_of, owner, project, path):
    file = factories.published(project, build_wheel())

    assert browser_of(owner).get(address(file, path)).status_code == 404


def test_a_large_folder_has_pages(browser_of, owner, project):
    file = factories.published(project, build_wheel(files={f"data/{number:04}.txt": b"1" for number in range(700)}))
    browser = browser_of(owner)

    root, last = browser.get(address(file)), browser.get(f"{address(file, 'data')}&page=4")

    assert "0000.txt" not in root.text
    assert address(file, "data") in root.links
    assert "0699.txt" in last.text
    assert "Page 4 of 4" in last.text


def test_contents_are_shown_to_those_who_can_download_the_file(
    browser, browser_of, project, owner, developer, guest, outsider
):
    file = factories.published(project, build_wheel())

    statuses = [browser_of(user).get(address(file)).status_code for user in (owner, developer, guest, outsider)]

    assert statuses == [200, 200, 403, 404]
    assert browser.get(address(file)).location == f"/users/sign_in?next={address(file)}"


def test_a_file_of_another_package_or_project_is_not_found_by_this_address(browser_of, owner, project, group):
    file = factories.published(project, build_wheel())
    other = factories.published(factories.project("other", parent=group), build_wheel("other"))
    browser = browser_of(owner)

    for package_id, file_id in ((other.package_id, other.id), (file.package_id, other.id), (file.package_id, 99999)):
        page = browser.get(f"/acme/tools/-/packages/{package_id}/files/{file_id}/contents")
        assert page.status_code == 404


def test_contents_of_a_quarantined_package_are_not_shown(browser_of, owner, project):
    file = factories.published(project, build_wheel())
    releases.set_name_status(project, "demo", NameStatus.QUARANTINED, "stolen", by=SHELL)

    page = browser_of(owner).get(address(file, "demo.py"))

    assert page.status_code == 403
    assert "This package is quarantined" in page.text
    assert "__version__" not in page.text
    assert not any(link.endswith("/download") for link in page.links)


def test_a_file_without_contents_to_show_can_be_downloaded(browser_of, owner, project, storage):
    file = factories.published(project, build_wheel("lost"))  # whose listing is not kept
    storage.delete(object_key(file.sha256))

    page = browser_of(owner).get(address(file))

    assert "the file is missing from the package store" in page.text
    assert any(link.endswith("/download") for link in page.links)
    assert OBSTACLES.keys() == set(Obstacle)
