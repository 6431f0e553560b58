from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select

from registry.database import db
from registry.domain import namespaces
from registry.domain.access import SHELL, Principal, PrincipalKind
from registry.domain.packages import deletion, protection, publishing
from registry.domain.packages.publishing import FIELD_LENGTHS
from registry.domain.packages.uploads import Origin, Upload
from registry.errors import (
    BadRequest,
    DuplicateFile,
    InvalidDistribution,
    InvalidParameter,
    ProtectedPackage,
    RecordNotFound,
    RegistryError,
    StorageLimitReached,
    TooLarge,
    ValidationFailed,
)
from registry.models import AuditEvent, FileStatus, Namespace, PackageFile, PackageStatus, Project, Role, User
from registry.storage import Storage, object_key
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.domain.packages.publications import LATER, NOW, Publish, StoreFiles, live_files, packages
from tests.races import at_once
from tests.tables import each


def objects_of(*built: BuiltFile, documents: int) -> int:
    return len({file.sha256 for file in built}) + documents


@pytest.mark.parametrize("build", [build_wheel, build_sdist], ids=["wheel", "sdist"])
def test_a_published_file_and_its_metadata_are_in_the_store(
    publish: Publish, project: Project, storage: Storage, store_files: StoreFiles, build: Callable[..., BuiltFile]
) -> None:
    built = build("Demo.Pkg", "1.0", requires_python=">=3.9")

    file = publish(built, project)

    assert (file.filename, file.size_bytes, file.sha256) == (built.filename, len(built.content), built.sha256)
    assert file.md5 == hashlib.md5(built.content).hexdigest()
    assert file.blake2b_256 == hashlib.blake2b(built.content, digest_size=32).hexdigest()
    assert (file.status, file.created_at, file.requires_python) == (FileStatus.DEFAULT, NOW, ">=3.9")
    with storage.open(object_key(built.sha256)) as stored:
        assert stored.read() == built.content
    assert file.core_metadata_sha256 is not None
    with storage.open(object_key(file.core_metadata_sha256)) as stored:
        assert stored.read().startswith(b"Metadata-Version: 2.1\nName: Demo.Pkg\nVersion: 1.0\n")
    assert store_files() == sorted([object_key(built.sha256), object_key(file.core_metadata_sha256)])


def test_a_package_keeps_name_and_version_as_spelled(publish: Publish, project: Project) -> None:
    publish(build_wheel("Demo.Pkg", "1.0.0RC1"), project, name="demo_PKG", version="V1.0.0-rc.1")

    package = packages()[0]
    assert (package.name, package.version, package.normalized_name) == ("demo_PKG", "V1.0.0-rc.1", "demo-pkg")
    assert (package.status, package.package_type, package.project_id) == (PackageStatus.DEFAULT, "pypi", project.id)
    assert (package.created_at, package.updated_at, package.last_downloaded_at) == (NOW, NOW, None)


def test_the_publisher_is_recorded(publish: Publish, project: Project, developer: User) -> None:
    by_job = factories.by_job(project, developer)

    by_user = publish(build_wheel(version="1.0"), project, factories.signed_in(developer))
    by_token = publish(build_wheel(version="2.0"), project, factories.by_deploy_token(project))
    by_ci = publish(build_wheel(version="3.0"), project, by_job)

    assert [(file.creator_id, file.job_id) for file in (by_user, by_token, by_ci)] == [
        (developer.id, None), (None, None), (developer.id, by_job.job.id if by_job.job else None),
    ]  # fmt: skip
    assert [package.creator_id for package in packages()] == [developer.id, None, developer.id]


def test_publishing_is_audited_and_counts_as_activity(publish: Publish, project: Project, developer: User) -> None:
    before = project.last_activity_at
    built = build_wheel()

    publish(built, project, factories.signed_in(developer))

    db.session.refresh(project)
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_published")).one()
    assert (event.author, event.target, event.namespace_id) == ("dora", "demo 1.0", project.id)
    assert event.details == {"filename": built.filename, "sha256": built.sha256, "size_bytes": len(built.content)}
    assert before is not None
    assert project.last_activity_at is not None
    assert project.last_activity_at > before


def test_files_of_one_version_share_a_package(publish: Publish, project: Project) -> None:
    built = [
        build_wheel(tag="py3-none-any"),
        build_wheel(tag="cp311-cp311-manylinux_2_17_x86_64"),
        build_wheel(build="2"),
        build_sdist(),
        build_sdist(filename="demo-1.0.zip"),
    ]

    files = [publish(file, project) for file in built]

    assert len({file.package_id for file in files}) == len(packages()) == 1
    assert live_files() == [file.filename for file in built]


def test_each_file_keeps_its_own_requirement_of_python(publish: Publish, project: Project) -> None:
    publish(build_wheel(requires_python=">=3.9"), project, fields={"required_python": ">=3.9"})
    publish(build_sdist(requires_python=">=3.8,<4"), project, fields={"required_python": ">=3.7"})

    files = db.session.scalars(select(PackageFile).order_by(PackageFile.id)).all()
    assert [file.requires_python for file in files] == [">=3.9", ">=3.8,<4"]
    assert packages()[0].required_python == ">=3.7", "the package repeats the latest form"


def test_the_metadata_of_a_package_is_that_of_the_latest_upload(publish: Publish, project: Project) -> None:
    publish(build_wheel(), project, fields={"summary": "First", "keywords": "a, b", "author_email": "a@b"})
    publish(build_sdist(), project, fields={"summary": "Second"}, now=LATER)

    package = packages()[0]
    assert (package.summary, package.keywords, package.author_email) == ("Second", "", "")
    assert (package.created_at, package.updated_at) == (NOW, LATER)


def test_other_spellings_are_other_records(publish: Publish, project: Project) -> None:
    publish(build_wheel("my-pkg", "1.0"), project)
    publish(build_sdist("my-pkg", "1.0"), project, name="My.Pkg")
    publish(build_wheel("my-pkg", "1.0", tag="cp311-cp311-win32"), project, version="1.0.0")

    assert [(package.name, package.version) for package in packages()] == [
        ("my-pkg", "1.0"), ("My.Pkg", "1.0"), ("my-pkg", "1.0.0"),
    ]  # fmt: skip
    assert {package.normalized_name for package in packages()} == {"my-pkg"}


def test_the_same_bytes_in_two_projects_are_stored_once(
    publish: Publish, project: Project, store_files: StoreFiles
) -> None:
    other = factories.project("other")
    built = build_wheel()

    publish(built, project)
    publish(built, other)

    assert live_files() == [built.filename] * 2
    assert len(store_files()) == objects_of(built, documents=1)


@pytest.mark.parametrize(
    ("column", "limit"),
    [
        ("required_python", 255),
        ("metadata_version", 16),
        ("author_email", 2048),
        ("summary", 255),
        ("keywords", 1024),
        ("description", 4000),
        ("description_content_type", 128),
    ],
)
def test_a_long_field_is_truncated_to_its_length_with_three_dots(
    publish: Publish, project: Project, column: str, limit: int
) -> None:
    publish(build_wheel(version="1"), project, fields={column: "é" * limit})
    publish(build_wheel(version="2"), project, fields={column: "é" * (limit + 1)})
    publish(build_wheel(version="3"), project, fields={column: "a\x00b"})

    whole, cut, cleaned = (getattr(package, column) for package in packages())
    assert whole == "é" * limit
    assert cut == "é" * (limit - 3) + "..."
    assert cleaned == "ab"


def test_every_descriptive_field_has_a_length() -> None:
    assert FIELD_LENGTHS == {
        "required_python": 255, "metadata_version": 16, "author_email": 2048, "summary": 255, "keywords": 1024,
        "description": 4000, "description_content_type": 128,
    }  # fmt: skip


@each(
    ("given", "refusal", "message"),
    [
        ({"version": "1.0.x"}, ValidationFailed, "400 Bad request - Validation failed: Version is invalid"),
        ({"name": "de mo"}, ValidationFailed, "400 Bad request - Validation failed: Name is invalid"),
        (
            {"name": "de mo", "version": "x"},
            ValidationFailed,
            "400 Bad request - Validation failed: Version is invalid, Name is invalid",
        ),
        ({"sha256": "0" * 64}, BadRequest, None),
        ({"md5": "0" * 32}, BadRequest, None),
        ({"md5": "é"}, BadRequest, None),
        ({"blake2b_256": "0" * 64}, BadRequest, None),
        ({"max_size_bytes": 10}, TooLarge, "400 Bad request - File is too large"),
        ({"name": "other"}, InvalidDistribution, None),
        ({"version": "2.0"}, InvalidDistribution, None),
        ({"filename": "other-1.0-py3-none-any.whl"}, InvalidDistribution, None),
        ({"filename": "demo-2.0-py3-none-any.whl"}, InvalidDistribution, None),
        ({"filename": "demo-1.0.tar.gz"}, InvalidDistribution, None),
        ({"filename": "demo-1.0.exe"}, InvalidDistribution, None),
        ({"filename": ""}, InvalidDistribution, None),
        ({"filename": "demo-2.0-py3-none-any.whl", "version": "2.0"}, InvalidDistribution, None),
        ({"filename": "other-1.0-py3-none-any.whl", "name": "other"}, InvalidDistribution, None),
    ],
)
def test_a_refused_upload_leaves_nothing(
    publish: Publish,
    project: Project,
    store_files: StoreFiles,
    given: dict[str, Any],
    refusal: type[RegistryError],
    message: str | None,
) -> None:
    with pytest.raises(refusal) as refused:
        publish(build_wheel(), project, **given)

    if message is not None:
        assert refused.value.message == message
    assert refused.value.status == 400
    assert store_files() == []
    assert packages() == []
    assert db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_published")).all() == []


@pytest.mark.parametrize("content", [b"not an archive", b"PK\x05\x06" + b"\x00" * 18], ids=["text", "empty zip file"])
def test_an_invalid_distribution_leaves_nothing(
    publish: Publish, project: Project, store_files: StoreFiles, content: bytes
) -> None:
    real = build_wheel()

    with pytest.raises(InvalidDistribution):
        publish(BuiltFile(real.filename, content, real.name, real.version, real.kind), project)

    assert store_files() == []


def test_an_empty_file_is_refused(publish: Publish, project: Project) -> None:
    real = build_wheel()

    with pytest.raises(InvalidParameter) as refusal:
        publish(BuiltFile(real.filename, b"", real.name, real.version, real.kind), project)

    assert refusal.value.body() == {"error": "content is invalid"}


def test_a_file_of_exactly_the_limit_is_accepted(publish: Publish, project: Project) -> None:
    built = build_wheel()

    with pytest.raises(TooLarge):
        publish(built, project, max_size_bytes=len(built.content) - 1)

    assert publish(built, project, max_size_bytes=len(built.content)).size_bytes == len(built.content)


def test_correct_digests_are_accepted_in_upper_and_lower_case(publish: Publish, project: Project) -> None:
    built = build_wheel()

    file = publish(
        built, project, sha256=built.sha256.upper(), md5=hashlib.md5(built.content).hexdigest().upper(),
        blake2b_256=hashlib.blake2b(built.content, digest_size=32).hexdigest().upper(),
    )  # fmt: skip

    assert file.sha256 == built.sha256


def test_the_refusal_of_a_wrong_digest_shows_the_actual_one(publish: Publish, project: Project) -> None:
    built = build_wheel()

    with pytest.raises(BadRequest) as refusal:
        publish(built, project, sha256="f" * 64)

    assert built.sha256 in refusal.value.message
    assert "sha256_digest" in refusal.value.message


@pytest.mark.parametrize("same_bytes", [True, False], ids=["the same bytes", "other bytes"])
def test_a_file_name_is_published_once(
    publish: Publish, project: Project, store_files: StoreFiles, same_bytes: bool
) -> None:
    built = build_wheel()
    publish(built, project, fields={"summary": "First"})
    before = store_files()

    with pytest.raises(DuplicateFile) as refusal:
        publish(built if same_bytes else build_wheel(summary="Other"), project, fields={"summary": "Second"})

    assert "File name has already been taken" in refusal.value.message
    assert "already exists" in refusal.value.message
    assert store_files() == before
    assert packages()[0].summary == "First"


def test_a_file_name_is_taken_under_every_spelling_of_the_package(publish: Publish, project: Project) -> None:
    publish(build_wheel("my-pkg", "1.0"), project)

    with pytest.raises(DuplicateFile):
        publish(build_wheel("my-pkg", "1.0"), project, name="My.Pkg")
    with pytest.raises(DuplicateFile):
        publish(build_wheel("my-pkg", "1.0"), project, version="1.0.0")


def test_a_file_name_is_free_in_other_projects(publish: Publish, project: Project) -> None:
    publish(build_wheel(), project)
    publish(build_wheel(), factories.project("other"))

    assert len(live_files()) == 2


def test_the_name_of_a_deleted_package_can_be_published_again(publish: Publish, project: Project) -> None:
    built = build_wheel()
    first = publish(built, project)

    deletion.delete_package(packages()[0], project, by=SHELL)
    second = publish(built, project)

    assert second.package_id != first.package_id
    assert live_files() == [built.filename]


def test_the_name_of_a_deleted_file_can_be_published_again_in_its_package(publish: Publish, project: Project) -> None:
    built = build_wheel()
    first = publish(built, project)

    deletion.delete_file(first, packages()[0], project, by=SHELL)
    second = publish(build_wheel(summary="Repaired"), project)

    assert second.package_id == first.package_id
    assert live_files() == [built.filename]


@pytest.fixture
def lenient_project(project: Project) -> Project:
    """A project that accepts identical files again."""
    project.identical_upload_accepted = True
    db.session.commit()
    return project


def test_the_same_bytes_again_change_nothing_where_that_is_accepted(
    publish: Publish, lenient_project: Project, store_files: StoreFiles
) -> None:
    built = build_wheel()
    first = publish(built, lenient_project, fields={"summary": "First"})
    before = store_files()

    second = publish(built, lenient_project, fields={"summary": "Second"}, now=LATER)

    assert (second.id, second.created_at) == (first.id, NOW)
    assert (packages()[0].summary, packages()[0].updated_at) == ("First", NOW)
    assert store_files() == before
    assert len(db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_published")).all()) == 1


def test_other_bytes_are_refused_also_where_the_same_are_accepted(publish: Publish, lenient_project: Project) -> None:
    publish(build_wheel(), lenient_project)

    with pytest.raises(DuplicateFile):
        publish(build_wheel(summary="Other"), lenient_project)


def test_the_same_bytes_are_the_same_only_if_they_were_received_as_sent(
    publish: Publish, lenient_project: Project
) -> None:
    publish(build_wheel(), lenient_project)

    with pytest.raises(BadRequest):
        publish(build_wheel(), lenient_project, sha256="0" * 64)


def test_the_same_bytes_of_a_deleted_file_are_published_again(publish: Publish, lenient_project: Project) -> None:
    first = publish(build_wheel(), lenient_project)
    deletion.delete_file(first, packages()[0], lenient_project, by=SHELL)

    assert publish(build_wheel(), lenient_project).id != first.id


def test_the_same_bytes_still_need_the_role_of_the_rule(
    publish: Publish, lenient_project: Project, developer: User
) -> None:
    publish(build_wheel(), lenient_project)
    protection.add_protection_rule(lenient_project, pattern="de*", push=Role.MAINTAINER, delete=None, by=SHELL)

    with pytest.raises(ProtectedPackage):
        publish(build_wheel(), lenient_project, factories.signed_in(developer))


ODD = build_wheel(
    requires_python=">=3.7.*", headers=["License-Expression: MIT", "Provides-Extra: \u202e\0" + "x" * 2000]
)


def test_remarks_are_stored_with_the_file(publish: Publish, project: Project) -> None:
    odd, plain = publish(ODD, project), publish(build_wheel(version="2.0"), project)

    assert plain.remarks is None
    assert odd.remarks is not None
    assert [(remark["field"], remark["value"]) for remark in odd.remarks] == [
        ("Provides-Extra", ("\u202e\0" + "x" * 2000)[:1000]),
        ("Requires-Python", ">=3.7.*"),
        ("Metadata-Version", "2.1"),
    ]
    assert odd.requires_python == ">=3.7", "installers ignore a constraint that they cannot parse"
    remarked = select(PackageFile.id).where(PackageFile.remarks.is_not(None))
    assert list(db.session.scalars(remarked)) == [odd.id]


def test_a_strict_project_refuses_what_others_remark(
    publish: Publish, project: Project, store_files: StoreFiles
) -> None:
    project.strict_uploads = True
    db.session.commit()

    with pytest.raises(InvalidDistribution) as refusal:
        publish(ODD, project)
    publish(build_wheel(version="2.0"), project)

    assert [problem.field for problem in refusal.value.problems] == [
        "Provides-Extra", "Requires-Python", "Metadata-Version",
    ]  # fmt: skip
    assert len(store_files()) == 2


def test_one_refusal_lists_every_problem_of_form_and_file(publish: Publish, project: Project) -> None:
    built = build_wheel("demo", "1.0", requires_python="3.8+", requires_dist=["a b"])

    with pytest.raises(InvalidDistribution) as refusal:
        publish(built, project, name="-", version="2.0")

    assert refusal.value.body() == {
        "message": "400 Bad request - Validation failed: Name is invalid; "
        "version is '2.0', expected is 1.0 as in the file's metadata; "
        "Requires-Dist is 'a b', expected is a requirement as in PEP 508; "
        "Requires-Python is '3.8+', expected is version specifiers as in PEP 440",
        "errors": [
            {
                "field": "name",
                "value": "-",
                "expected": "up to 255 ASCII letters, digits and . _ - between letters or digits",
            },
            {"field": "version", "value": "2.0", "expected": "1.0 as in the file's metadata"},
            {"field": "Requires-Dist", "value": "a b", "expected": "a requirement as in PEP 508"},
            {"field": "Requires-Python", "value": "3.8+", "expected": "version specifiers as in PEP 440"},
        ],
    }
    assert refusal.value.headline == "400 Bad request - 4 problems, the first: Name is invalid"


def test_the_form_is_compared_by_name_and_version_only(publish: Publish, project: Project) -> None:
    built = build_wheel(summary="In the file", requires_python=">=3.9")

    file = publish(
        built, project, name="DEMO", version="v1.0.0",
        fields={"summary": "In the form", "required_python": ">=2.7", "metadata_version": "9"},
    )  # fmt: skip

    assert file.requires_python == ">=3.9"


@pytest.fixture
def validate(storage: Storage) -> Callable[..., None]:
    """Validates a built file; further arguments are those of ``Upload``."""

    def validate(built: BuiltFile, project: Project, by: Principal = SHELL, **given: Any) -> None:
        with closing(storage.stage()) as staged:
            staged.write(built.content)
            claimed = {"name": built.name, "version": built.version, "filename": built.filename, "fields": {}}
            upload = Upload(**claimed | {"content": staged} | given)
            publishing.validate(upload, project=project, principal=by, max_size_bytes=0)

    return validate


def test_a_validated_file_is_not_published(
    validate: Callable[..., None], project: Project, store_files: StoreFiles
) -> None:
    validate(build_wheel(), project)

    assert store_files() == []
    assert packages() == []


def test_validation_refuses_what_publishing_refuses(
    validate: Callable[..., None], publish: Publish, project: Project, developer: User
) -> None:
    protection.add_protection_rule(project, pattern="safe", push=Role.OWNER, delete=None, by=SHELL)
    publish(build_wheel(), project)

    with pytest.raises(DuplicateFile):
        validate(build_wheel(), project)
    with pytest.raises(InvalidDistribution):
        validate(build_sdist(requires_python="x"), project)
    with pytest.raises(BadRequest):
        validate(build_sdist(), project, sha256="0" * 64)
    with pytest.raises(ProtectedPackage):
        validate(build_wheel("safe"), project, factories.signed_in(developer))


def test_a_file_that_is_accepted_again_is_valid(
    validate: Callable[..., None], publish: Publish, lenient_project: Project
) -> None:
    publish(build_wheel(), lenient_project)

    validate(build_wheel(), lenient_project)

    with pytest.raises(DuplicateFile):
        validate(build_wheel(summary="Other"), lenient_project)


def test_an_upload_over_a_storage_limit_is_not_valid(validate: Callable[..., None], project: Project) -> None:
    namespaces.change(project, namespaces.NamespaceChanges(storage_size_limit=10), by=SHELL)

    with pytest.raises(StorageLimitReached):
        validate(build_wheel(), project)


def published_at_once(app: Flask, publish: Publish, project: Project, *files: BuiltFile) -> list[str]:
    project_id = project.id

    def publishing(file: BuiltFile) -> Callable[[], object]:
        return lambda: publish(file, db.session.get_one(Project, project_id))

    return at_once(app, *map(publishing, files))


@pytest.mark.parametrize("is_lenient", [False, True], ids=["as a rule", "where the same file is accepted again"])
@pytest.mark.parametrize("gone", ["project", "publisher"])
def test_an_upload_whose_project_or_publisher_is_deleted_meanwhile_leaves_nothing(
    publish: Publish, project: Project, developer: User, store_files: StoreFiles, gone: str, is_lenient: bool
) -> None:
    project.identical_upload_accepted = is_lenient
    db.session.commit()
    deleted = delete(Namespace).where(Namespace.id == project.id)
    if gone == "publisher":
        deleted = delete(User).where(User.id == developer.id)
    with db.engine.begin() as connection:
        connection.execute(deleted)

    with pytest.raises(RecordNotFound):
        publish(build_wheel(), project, by=Principal(PrincipalKind.ACCESS_TOKEN, user=developer))

    assert store_files() == []


@pytest.mark.parametrize("same_bytes", [True, False], ids=["the same bytes", "other bytes"])
def test_one_of_concurrent_uploads_wins_and_its_bytes_are_kept(
    app: Flask, publish: Publish, project: Project, storage: Storage, store_files: StoreFiles, same_bytes: bool
) -> None:
    for number in range(5):
        version = f"{number}.0"
        built = [build_wheel(version=version, summary="" if same_bytes else f"Number {place}") for place in range(3)]

        results = published_at_once(app, publish, project, *built)

        assert sorted(results) == ["DuplicateFile", "DuplicateFile", "done"]
        winner = built[results.index("done")]
        file = db.session.scalars(select(PackageFile).where(PackageFile.filename == winner.filename)).one()
        assert file.sha256 == winner.sha256
        with storage.open(object_key(file.sha256)) as stored:
            assert stored.read() == winner.content
    assert len(store_files()) == 10, "of each version the winner and its metadata; nothing of the losers"


def test_the_same_upload_twice_at_once_succeeds_twice_where_that_is_accepted(
    app: Flask, publish: Publish, lenient_project: Project, store_files: StoreFiles
) -> None:
    for number in range(5):
        built = build_wheel(version=f"{number}.0")

        results = published_at_once(app, publish, lenient_project, *[built] * 3)

        assert results == ["done"] * 3
    assert len(live_files()) == 5
    assert len(store_files()) == 10


def test_two_files_of_a_new_version_at_once_become_one_package(app: Flask, publish: Publish, project: Project) -> None:
    for number in range(5):
        version = f"{number}.0"
        built = [build_wheel(version=version), build_sdist(version=version)]

        results = published_at_once(app, publish, project, *built)

        assert results == ["done", "done"]
    assert [package.version for package in packages()] == ["0.0", "1.0", "2.0", "3.0", "4.0"]


def test_without_a_form_the_file_describes_itself(publish: Publish, project: Project) -> None:
    built = build_wheel(
        "Demo.Pkg", "1.0.0RC1", metadata_version="2.1", summary="Shown", requires_python=">=3.9",
        description="# Demo", description_content_type="text/markdown",
        headers=["Keywords: one,two", "Author-Email: Ada <ada@example.com>"],
    )  # fmt: skip

    publish(built, project, name="demo-pkg", version="1.0.0rc1", fields=None)

    package = packages()[0]
    assert (package.name, package.version, package.normalized_name) == ("Demo.Pkg", "1.0.0RC1", "demo-pkg")
    assert {column: getattr(package, column) for column in FIELD_LENGTHS} == {
        "metadata_version": "2.1", "required_python": ">=3.9", "summary": "Shown", "keywords": "one,two",
        "author_email": "Ada <ada@example.com>", "description": "# Demo", "description_content_type": "text/markdown",
    }  # fmt: skip


def test_without_a_form_problems_are_listed_once(publish: Publish, project: Project) -> None:
    built = build_wheel("other", "1.0", filename="demo-1.0-py3-none-any.whl")

    with pytest.raises(InvalidDistribution) as refusal:
        publish(built, project, name="demo", version="1.0", fields=None)

    assert [problem.field for problem in refusal.value.problems] == [".dist-info folder", "Name"]


def test_a_file_keeps_the_time_and_the_yank_of_its_origin(publish: Publish, project: Project) -> None:
    earlier, earliest = datetime(2020, 5, 1, tzinfo=UTC), datetime(2020, 4, 1, tzinfo=UTC)

    wheel = publish(build_wheel(), project, origin=Origin(earlier, "Loses data"))
    sdist = publish(build_sdist(), project, origin=Origin(earliest, None))

    assert (wheel.created_at, wheel.yanked_reason) == (earlier, "Loses data")
    assert (sdist.created_at, sdist.yanked_reason) == (earliest, None)
    assert [package.created_at for package in packages()] == [earliest]
