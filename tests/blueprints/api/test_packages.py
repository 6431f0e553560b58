from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from registry.database import db, utcnow
from registry.domain.access import SHELL
from registry.domain.packages import deletion
from registry.models import (
    Group,
    Namespace,
    Package,
    PackageFile,
    Project,
    RegistryAccess,
    Role,
    User,
    Visibility,
)
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.clients import JSON, Pip, Rest, Twine
from tests.tables import each

PACKAGE = {
    "id", "name", "version", "package_type", "status", "_links", "created_at", "last_downloaded_at", "tags",
    "pipelines", "trusted_publisher",
}  # fmt: skip
FILE = {
    "id", "package_id", "created_at", "file_name", "size", "file_md5", "file_sha1", "file_sha256", "pipelines",
    "yanked", "yanked_reason", "downloads", "trusted_publisher",
}  # fmt: skip


def publish(project: Project, file: BuiltFile, *, days_ago: int = 0) -> Package:
    published = factories.published(project, file, now=utcnow() - timedelta(days=days_ago))
    return db.session.get_one(Package, published.package_id)


def shown(response: Any) -> list[str]:
    assert response.status_code == 200, response.text
    return [f"{package['name']} {package['version']}" for package in response.json]


@pytest.fixture
def shelf(project: Project) -> dict[str, Package]:
    """Four packages: two versions of ``demo``, another name, and a deleted package."""
    shelf = {
        "demo 1.0": publish(project, build_wheel("demo", "1.0"), days_ago=4),
        "gone 2.0": publish(project, build_wheel("gone", "2.0"), days_ago=3),
        "demo 2.0": publish(project, build_wheel("demo", "2.0"), days_ago=2),
        "beta 0.1": publish(project, build_wheel("beta", "0.1"), days_ago=1),
    }
    deletion.delete_package(shelf["gone 2.0"], project, by=SHELL)
    return shelf


class TestList:
    def test_packages_are_listed_the_oldest_first(
        self, rest: Rest, project: Project, shelf: dict[str, Package], owner_token: str
    ) -> None:
        response = rest.get(f"/projects/{project.id}/packages", owner_token)

        assert shown(response) == ["demo 1.0", "demo 2.0", "beta 0.1"]
        first = response.json[0]
        assert set(first) == PACKAGE
        assert first["package_type"] == "pypi"
        assert first["status"] == "default"
        assert first["_links"] == {
            "web_path": f"/acme/tools/-/packages/{first['id']}",
            "delete_api_path": f"http://localhost/api/v4/projects/{project.id}/packages/{first['id']}",
        }

    @each(
        ("query", "found"),
        [
            ("sort=desc", ["beta 0.1", "demo 2.0", "demo 1.0"]),
            ("order_by=name", ["beta 0.1", "demo 1.0", "demo 2.0"]),
            ("order_by=version&sort=desc", ["demo 2.0", "demo 1.0", "beta 0.1"]),
            ("order_by=type", ["demo 1.0", "demo 2.0", "beta 0.1"]),
            ("package_name=EM", ["demo 1.0", "demo 2.0"]),
            ("package_name=%25", []),
            ("package_version=2.0", ["demo 2.0"]),
            ("package_type=pypi", ["demo 1.0", "demo 2.0", "beta 0.1"]),
            ("package_type=npm", []),
            ("status=default&include_versionless=true", ["demo 1.0", "demo 2.0", "beta 0.1"]),
            *(
                (f"status={status}", [])
                for status in ("hidden", "processing", "error", "deprecated", "pending_destruction")
            ),
        ],
    )
    def test_the_list_can_be_narrowed_and_ordered(
        self, rest: Rest, project: Project, shelf: dict[str, Package], owner_token: str, query: str, found: list[str]
    ) -> None:
        assert shown(rest.get(f"/projects/{project.id}/packages?{query}", owner_token)) == found

    @pytest.mark.parametrize("name", ["status", "package_type", "order_by", "sort"])
    def test_an_unknown_word_is_refused(self, rest: Rest, project: Project, owner_token: str, name: str) -> None:
        response = rest.get(f"/projects/{project.id}/packages?{name}=other", owner_token)

        assert response.status_code == 400
        assert response.json == {"error": f"{name} does not have a valid value"}

    def test_the_address_for_deleting_is_shown_to_users_who_can_delete(
        self, rest: Rest, project: Project, shelf: dict[str, Package], developer_token: str
    ) -> None:
        assert "delete_api_path" not in rest.get(f"/projects/{project.id}/packages", developer_token).json[0]["_links"]


class TestGroupList:
    @pytest.fixture
    def tree(self, group: Group, project: Project, owner: User) -> dict[str, Project]:
        sub = factories.group("sub", parent=group)
        projects = {
            "tools": project,
            "deep": factories.project("deep", parent=sub),
            "off": factories.project("off", parent=group, registry_access=RegistryAccess.DISABLED),
        }
        for number, (name, place) in enumerate(projects.items()):
            publish(place, build_wheel(name), days_ago=9 - number)
        publish(factories.project("elsewhere"), build_wheel("elsewhere"))
        return projects

    def test_packages_of_the_whole_tree_with_their_projects(
        self, rest: Rest, group: Group, tree: dict[str, Project], owner_token: str
    ) -> None:
        response = rest.get(f"/groups/{group.id}/packages", owner_token)

        assert shown(response) == ["tools 1.0", "deep 1.0"]
        assert set(response.json[0]) == PACKAGE | {"project_id", "project_path"}
        assert response.json[1]["project_id"] == tree["deep"].id
        assert response.json[1]["project_path"] == "acme/sub/deep"

    def test_without_subgroups_and_by_path(
        self, rest: Rest, group: Group, tree: dict[str, Project], owner_token: str
    ) -> None:
        address = f"/groups/{group.id}/packages"

        assert shown(rest.get(f"{address}?exclude_subgroups=true", owner_token)) == ["tools 1.0"]
        assert shown(rest.get(f"{address}?order_by=project_path", owner_token)) == ["deep 1.0", "tools 1.0"]

    def test_a_public_group_lists_readable_packages(self, rest: Rest, outsider_token: str) -> None:
        public = factories.group("open", visibility=Visibility.PUBLIC)
        for visibility in Visibility:
            place = factories.project(visibility.label, parent=public, visibility=visibility)
            publish(place, build_wheel(f"of-{visibility.label}"))

        assert shown(rest.get(f"/groups/{public.id}/packages")) == ["of-public 1.0"]
        assert shown(rest.get(f"/groups/{public.id}/packages", outsider_token)) == ["of-internal 1.0", "of-public 1.0"]

    def test_of_a_private_group_only_reporters_see_any(
        self, rest: Rest, group: Group, developer_token: str, outsider_token: str
    ) -> None:
        address = f"/groups/{group.id}/packages"

        assert rest.get(address).json == {"message": "404 Group Not Found"}
        assert rest.get(address, outsider_token).status_code == 404
        assert rest.get(address, developer_token).status_code == 403
        assert rest.get(address, factories.access_token(factories.member(group, Role.GUEST))).status_code == 403
        assert rest.get(address, factories.access_token(factories.member(group, Role.REPORTER))).status_code == 200


class TestOne:
    def test_a_package_is_shown_with_its_other_versions(
        self, rest: Rest, project: Project, shelf: dict[str, Package], owner_token: str
    ) -> None:
        publish(project, build_wheel("demo", "1.10"))
        deletion.delete_package(publish(project, build_wheel("demo", "1.9")), project, by=SHELL)

        response = rest.get(f"/projects/{project.id}/packages/{shelf['demo 2.0'].id}", owner_token)

        assert response.status_code == 200
        assert set(response.json) == PACKAGE | {"versions"}
        assert [other["version"] for other in response.json["versions"]] == ["1.0", "1.10"]
        assert set(response.json["versions"][0]) == {"id", "version", "created_at", "tags", "pipelines"}

    @pytest.mark.parametrize("which", ["gone 2.0", "elsewhere", "none"])
    def test_hidden_packages_are_not_found(
        self, rest: Rest, project: Project, shelf: dict[str, Package], owner_token: str, which: str
    ) -> None:
        elsewhere = publish(factories.project(), build_wheel())
        package_id = {"elsewhere": elsewhere.id, "none": 4711}.get(which) or shelf[which].id

        response = rest.get(f"/projects/{project.id}/packages/{package_id}", owner_token)

        assert response.status_code == 404
        assert response.json == {"message": "404 Not found"}

    def test_downloads_are_counted_and_the_latest_noted(
        self, app: Flask, rest: Rest, pip: Pip, project: Project, owner_token: str
    ) -> None:
        wheel = build_wheel()
        package = publish(project, wheel)

        pip.download(project, wheel, owner_token)
        app.extensions["downloads"].flush()

        address = f"/projects/{project.id}/packages/{package.id}"
        assert rest.get(address, owner_token).json["last_downloaded_at"]
        (file,) = rest.get(f"{address}/package_files", owner_token).json
        assert file["downloads"] == {"last_30_days": 1, "total": 1}


class TestFiles:
    def test_the_files_of_a_package(self, rest: Rest, project: Project, owner_token: str) -> None:
        wheel, sdist = build_wheel(), build_sdist()
        package = publish(project, wheel)
        publish(project, sdist)

        response = rest.get(f"/projects/{project.id}/packages/{package.id}/package_files", owner_token)

        assert response.status_code == 200
        assert [file["file_name"] for file in response.json] == [wheel.filename, sdist.filename]
        assert set(response.json[0]) == FILE
        assert response.json[0]["package_id"] == package.id
        assert response.json[0]["size"] == len(wheel.content)
        assert response.json[0]["file_sha256"] == wheel.sha256
        assert len(response.json[0]["file_md5"]) == 32
        assert response.json[0]["file_sha1"] is None
        assert (response.json[0]["yanked"], response.json[0]["yanked_reason"]) == (False, None)

    @pytest.mark.parametrize(
        ("query", "kinds"),
        [
            ("sort=desc", ["sdist", "wheel"]),
            ("order_by=file_name", ["wheel", "sdist"]),
            ("order_by=created_at&sort=desc", ["sdist", "wheel"]),
        ],
    )
    def test_in_another_order(
        self, rest: Rest, project: Project, owner_token: str, query: str, kinds: list[str]
    ) -> None:
        names = {"wheel": build_wheel(), "sdist": build_sdist()}
        package = publish(project, names["wheel"], days_ago=1)
        publish(project, names["sdist"])

        response = rest.get(f"/projects/{project.id}/packages/{package.id}/package_files?{query}", owner_token)

        assert [file["file_name"] for file in response.json] == [names[kind].filename for kind in kinds]


class TestPipelines:
    def test_a_package_published_by_a_job_shows_it(
        self, rest: Rest, twine: Twine, project: Project, owner: User, owner_token: str
    ) -> None:
        job, secret = factories.job(project, owner)
        twine.upload(project, build_wheel(), ("gitlab-ci-token", secret))

        listed = rest.get(f"/projects/{project.id}/packages", owner_token).json[0]
        address = f"/projects/{project.id}/packages/{listed['id']}"
        alone = rest.get(address, owner_token).json
        pipelines = rest.get(f"{address}/pipelines", owner_token)
        files = rest.get(f"{address}/package_files", owner_token).json

        assert [(pipeline["id"], pipeline["ref"], pipeline["status"]) for pipeline in listed["pipelines"]] == [
            (job.id, "main", "running")
        ]
        assert listed["pipelines"][0]["user"]["username"] == "olivia"
        assert alone["pipelines"] == pipelines.json == files[0]["pipelines"] == listed["pipelines"]

    def test_pipelines_of_an_imported_file_are_shown_without_ids_of_other_instances(
        self, rest: Rest, project: Project, owner_token: str
    ) -> None:
        file = factories.published(project, build_wheel())
        pipelines = factories.imported_pipeline(), factories.imported_pipeline(id=122, year=2020)
        file.imported_pipelines = [pipeline.as_json() for pipeline in pipelines]
        factories.commit()
        address = f"/projects/{project.id}/packages/{file.package_id}"

        first = rest.get(f"{address}/pipelines?per_page=1", owner_token)
        second = rest.get(f"{address}/pipelines?per_page=1&cursor=-1", owner_token)

        assert "cursor=-1" in first.headers["Link"]
        assert first.json == [
            {
                "id": 123, "iid": 7, "project_id": None, "sha": "11bb5dcb" * 5, "ref": "main", "status": "success",
                "source": "push", "created_at": "2021-02-03T04:05:06.000Z", "updated_at": "2021-02-03T04:05:06.000Z",
                "web_url": "https://gitlab.test/acme/tools/-/pipelines/123",
                "user": {"id": None, "username": "ada", "name": "Ada Lovelace"},
            }
        ]  # fmt: skip
        both = [*first.json, *second.json]
        assert rest.get(address, owner_token).json["pipelines"] == both
        assert rest.get(f"/projects/{project.id}/packages", owner_token).json[0]["pipelines"] == both
        assert rest.get(f"{address}/package_files", owner_token).json[0]["pipelines"] == both

    def test_they_come_in_small_pages(
        self, rest: Rest, twine: Twine, project: Project, owner: User, owner_token: str
    ) -> None:
        jobs = [factories.job(project, owner) for _ in range(3)]
        for number, (_, secret) in enumerate(jobs):
            twine.upload(project, build_wheel(tag=f"cp31{number}-none-any"), ("gitlab-ci-token", secret))
        address = f"/projects/{project.id}/packages/{db.session.query(Package).one().id}/pipelines"

        first = rest.get(f"{address}?per_page=2", owner_token)
        link = first.headers["Link"]
        second = rest.get(link[link.index("/api/v4") + 7 : link.index(">")], owner_token)

        assert [pipeline["id"] for pipeline in first.json] == [jobs[2][0].id, jobs[1][0].id]
        assert link.endswith('rel="next"')
        assert [pipeline["id"] for pipeline in second.json] == [jobs[0][0].id]
        assert "Link" not in second.headers

    @pytest.mark.parametrize("size", [0, 21])
    def test_of_twenty_at_most(self, rest: Rest, project: Project, owner_token: str, size: int) -> None:
        package = publish(project, build_wheel())

        response = rest.get(f"/projects/{project.id}/packages/{package.id}/pipelines?per_page={size}", owner_token)

        assert response.status_code == 400
        assert response.json == {"error": "per_page does not have a valid value"}


class TestDeletion:
    def test_a_package_is_deleted_at_once(self, rest: Rest, pip: Pip, project: Project, maintainer_token: str) -> None:
        wheel = build_wheel()
        package = publish(project, wheel)
        address = f"/projects/{project.id}/packages/{package.id}"

        response = rest.delete(address, maintainer_token)

        assert response.status_code == 204
        assert response.data == b""
        assert rest.get(address, maintainer_token).status_code == 404
        assert rest.delete(address, maintainer_token).status_code == 404
        assert rest.get(f"/projects/{project.id}/packages", maintainer_token).json == []
        assert pip.download(project, wheel, maintainer_token).status_code == 404

    def test_an_owner_releases_the_name_with_its_last_package(
        self, rest: Rest, pip: Pip, project: Project, maintainer_token: str, owner_token: str
    ) -> None:
        package = publish(project, build_wheel("demo", "1.0"))
        address = f"/projects/{project.id}/packages/{package.id}?release_name=true"

        assert rest.delete(address, maintainer_token).status_code == 403
        assert pip.simple_page(project, "demo", owner_token).status_code == 200
        assert rest.delete(address, owner_token).status_code == 204
        assert pip.simple_page(project, "demo", owner_token).status_code == 302

    def test_a_file_is_deleted_and_the_others_stay(
        self, rest: Rest, pip: Pip, project: Project, maintainer_token: str
    ) -> None:
        wheel, sdist = build_wheel(), build_sdist()
        package = publish(project, wheel)
        file_id = factories.published(project, sdist).id
        address = f"/projects/{project.id}/packages/{package.id}/package_files"

        response = rest.delete(f"{address}/{file_id}", maintainer_token)

        assert response.status_code == 204
        assert [file["file_name"] for file in rest.get(address, maintainer_token).json] == [wheel.filename]
        assert rest.delete(f"{address}/{file_id}", maintainer_token).json == {"message": "404 Not found"}
        assert pip.download(project, sdist, maintainer_token).status_code == 404

    def test_a_file_is_deleted_only_through_its_own_package(
        self, rest: Rest, project: Project, owner_token: str
    ) -> None:
        package = publish(project, build_wheel())
        other = factories.published(project, build_wheel("other"))

        response = rest.delete(f"/projects/{project.id}/packages/{package.id}/package_files/{other.id}", owner_token)

        assert response.status_code == 404

    def test_a_protection_rule_keeps_package_and_file(
        self, rest: Rest, project: Project, owner_token: str, maintainer_token: str
    ) -> None:
        file = factories.published(project, build_wheel())
        address = f"/projects/{project.id}/packages/{file.package_id}"
        rule = {"package_name_pattern": "d*", "package_type": "pypi", "minimum_access_level_for_delete": "owner"}
        rest.post(f"/projects/{project.id}/packages/protection/rules", maintainer_token, rule)

        for one in (address, f"{address}/package_files/{file.id}"):
            response = rest.delete(one, maintainer_token)
            assert response.status_code == 403
            assert response.json == {"message": "403 Forbidden - Package protected."}
        assert rest.delete(address, owner_token).status_code == 204


class TestYank:
    def test_a_package_is_yanked_with_its_files_and_offered_again(
        self, rest: Rest, pip: Pip, project: Project, maintainer_token: str
    ) -> None:
        wheel, sdist = build_wheel(), build_sdist()
        package = publish(project, wheel)
        publish(project, sdist)
        address = f"/projects/{project.id}/packages/{package.id}"

        response = rest.put(f"{address}/yank", maintainer_token, {"reason": "Loses data"})

        assert response.status_code == 200
        assert [set(file) for file in response.json] == [FILE, FILE]
        assert [(file["file_name"], file["yanked"], file["yanked_reason"]) for file in response.json] == [
            (wheel.filename, True, "Loses data"),
            (sdist.filename, True, "Loses data"),
        ]
        assert rest.get(f"{address}/package_files", maintainer_token).json == response.json
        page = pip.simple_page(project, "demo", maintainer_token, accept=JSON).json
        assert [file["yanked"] for file in page["files"]] == ["Loses data", "Loses data"]

        response = rest.delete(f"{address}/yank", maintainer_token)

        assert (response.status_code, response.data) == (204, b"")
        assert [file["yanked"] for file in rest.get(f"{address}/package_files", maintainer_token).json] == [False] * 2

    @pytest.mark.parametrize("sent", [None, {}, {"reason": ""}, {"reason": None}], ids=["nothing", "{}", "''", "null"])
    def test_a_reason_is_optional(
        self, rest: Rest, project: Project, maintainer_token: str, sent: dict[str, Any] | None
    ) -> None:
        file = factories.published(project, build_wheel())
        address = f"/projects/{project.id}/packages/{file.package_id}"

        of_package = rest.put(f"{address}/yank", maintainer_token, sent)
        of_file = rest.put(f"{address}/package_files/{file.id}/yank", maintainer_token, sent)

        assert of_package.json == [of_file.json]
        assert (of_file.json["yanked"], of_file.json["yanked_reason"]) == (True, "")

    def test_one_file_is_yanked_and_offered_again(
        self, rest: Rest, twine: Twine, project: Project, owner: User, maintainer_token: str
    ) -> None:
        twine.upload(project, build_wheel(), ("gitlab-ci-token", factories.job(project, owner)[1]))
        file = db.session.query(PackageFile).one()
        publish(project, build_sdist())
        files = f"/projects/{project.id}/packages/{file.package_id}/package_files"

        response = rest.put(f"{files}/{file.id}/yank", maintainer_token, {"reason": "Broken wheel"})

        assert response.status_code == 200
        assert set(response.json) == FILE
        assert (response.json["id"], response.json["yanked_reason"]) == (file.id, "Broken wheel")
        assert len(response.json["pipelines"]) == 1
        assert [shown["yanked"] for shown in rest.get(files, maintainer_token).json] == [True, False]
        assert rest.delete(f"{files}/{file.id}/yank", maintainer_token).status_code == 204
        assert [shown["yanked"] for shown in rest.get(files, maintainer_token).json] == [False, False]

    @pytest.mark.parametrize(
        ("sent", "body"),
        [
            ({"reason": ["a"]}, {"error": "reason is invalid"}),
            ({"reason": "x" * 1001}, {"message": {"reason": ["is too long (maximum is 1000 characters)"]}}),
            ({"reason": "a\u0007b"}, {"message": {"reason": ["can contain only printable characters"]}}),
        ],
        ids=["no text", "too long", "control character"],
    )
    def test_a_reason_is_a_short_text(
        self, rest: Rest, project: Project, maintainer_token: str, sent: dict[str, Any], body: dict[str, Any]
    ) -> None:
        file = factories.published(project, build_wheel())
        address = f"/projects/{project.id}/packages/{file.package_id}"

        for one in (address, f"{address}/package_files/{file.id}"):
            response = rest.put(f"{one}/yank", maintainer_token, sent)
            assert (response.status_code, response.json) == (400, body)

    def test_a_file_is_yanked_only_through_its_own_package(
        self, rest: Rest, project: Project, maintainer_token: str
    ) -> None:
        package = publish(project, build_wheel())
        other = factories.published(project, build_wheel("other"))
        elsewhere = factories.published(factories.project(), build_wheel())

        away = elsewhere.package_id
        for address in (f"{package.id}/package_files/{other.id}", f"{away}", f"{away}/package_files/{elsewhere.id}"):
            for method in ("PUT", "DELETE"):
                response = rest.request(method, f"/projects/{project.id}/packages/{address}/yank", maintainer_token)
                assert (response.status_code, response.json) == (404, {"message": "404 Not found"})

    def test_a_project_is_named_by_its_path_too(self, rest: Rest, project: Project, maintainer_token: str) -> None:
        package = publish(project, build_wheel())

        for spelled in ("acme%2Ftools", "acme/tools"):
            assert rest.put(f"/projects/{spelled}/packages/{package.id}/yank", maintainer_token).status_code == 200
            assert rest.get(f"/projects/{spelled}/packages/names/demo/status", maintainer_token).status_code == 200

    def test_a_job_yanks_as_its_user(self, rest: Rest, project: Project, maintainer: User, developer: User) -> None:
        package = publish(project, build_wheel())
        address = f"/projects/{project.id}/packages/{package.id}/yank"

        for user, status in ((developer, 403), (maintainer, 200)):
            sent = {"JOB-TOKEN": factories.job(project, user)[1]}
            assert rest.put(address, headers=sent).status_code == status


class TestStatusOfAName:
    def test_a_name_has_a_status_under_every_spelling(
        self, rest: Rest, pip: Pip, project: Project, maintainer_token: str
    ) -> None:
        publish(project, build_wheel("Demo.Pkg"))
        names = f"/projects/{project.id}/packages/names"
        told = {"project_id": project.id, "name": "demo-pkg", "status": "active", "reason": ""}
        assert rest.get(f"{names}/Demo.Pkg/status", maintainer_token).json == told

        response = rest.put(
            f"{names}/demo_pkg/status", maintainer_token, {"status": "archived", "reason": "Moved to demo2"}
        )

        assert (response.status_code, response.json) == (200, told | {"status": "archived", "reason": "Moved to demo2"})
        assert rest.get(f"{names}/DEMO--PKG/status", maintainer_token).json == response.json
        page = pip.simple_page(project, "demo-pkg", maintainer_token, accept=JSON).json
        assert page["project-status"] == {"status": "archived", "reason": "Moved to demo2"}
        assert rest.put(f"{names}/demo-pkg/status", maintainer_token, {"status": "active"}).json == told

    @pytest.mark.parametrize(
        ("sent", "error"),
        [
            ({}, "status is missing"),
            ({"status": "gone"}, "status does not have a valid value"),
            ({"status": "archived", "reason": 1.5}, "reason is invalid"),
        ],
        ids=["no status", "unknown status", "reason that is no text"],
    )
    def test_sent_values_are_checked(
        self, rest: Rest, project: Project, maintainer_token: str, sent: dict[str, Any], error: str
    ) -> None:
        publish(project, build_wheel())

        response = rest.put(f"/projects/{project.id}/packages/names/demo/status", maintainer_token, sent)

        assert (response.status_code, response.json) == (400, {"error": error})

    @pytest.mark.parametrize("name", ["other", "de%20mo", "-", "a%00b", "a%2Fb", "%C3%A9"])
    def test_a_name_that_is_not_here_is_not_found(
        self, rest: Rest, project: Project, maintainer_token: str, name: str
    ) -> None:
        publish(project, build_wheel())
        address = f"/projects/{project.id}/packages/names/{name}/status"

        for response in (
            rest.get(address, maintainer_token),
            rest.put(address, maintainer_token, {"status": "archived"}),
        ):
            assert (response.status_code, response.json) == (404, {"message": "404 Package Not Found"})

    def test_an_archived_project_keeps_its_yanks_and_can_still_be_quarantined(
        self, rest: Rest, project: Project, owner: User, owner_token: str
    ) -> None:
        package = publish(project, build_wheel())
        rest.post(f"/projects/{project.id}/archive", owner_token)
        address = f"/projects/{project.id}/packages"

        assert rest.put(f"{address}/{package.id}/yank", owner_token).status_code == 403
        assert rest.put(f"{address}/names/demo/status", owner_token, {"status": "quarantined"}).status_code == 200

    def test_a_job_reads_a_status_and_sets_none(self, rest: Rest, project: Project, maintainer: User) -> None:
        publish(project, build_wheel())
        sent = {"JOB-TOKEN": factories.job(project, maintainer)[1]}
        address = f"/projects/{project.id}/packages/names/demo/status"

        assert rest.get(address, headers=sent).status_code == 200
        assert rest.put(address, json={"status": "archived"}, headers=sent).status_code == 403


CALLERS = (
    "anonymous",
    "stranger",
    "guest",
    "reporter",
    "developer",
    "maintainer",
    "owner",
    "admin",
    "bad token",
    "read_api",
)


def headers_of(caller: str, project: Namespace, group: Group) -> dict[str, str]:
    """What this kind of caller sends."""
    if caller == "anonymous":
        return {}
    if caller == "bad token":
        return {"PRIVATE-TOKEN": "glpat-wrong"}
    if caller == "bad job token":
        return {"JOB-TOKEN": "glcbt-wrong"}
    if caller == "stranger":
        return {"PRIVATE-TOKEN": factories.access_token(factories.user())}
    if caller == "admin":
        return {"PRIVATE-TOKEN": factories.access_token(factories.user(is_admin=True))}
    if caller == "read_api":
        return {"PRIVATE-TOKEN": factories.access_token(factories.member(group, Role.OWNER), "read_api")}
    return {"PRIVATE-TOKEN": factories.access_token(factories.member(project, Role[caller.upper()]))}


@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.PRIVATE], ids=["public", "private"])
@pytest.mark.parametrize(
    ("caller", "to_public", "to_private"),
    [
        ("anonymous", 403, 404), ("stranger", 403, 404), ("guest", 403, 403), ("reporter", 403, 403),
        ("developer", 403, 403), ("maintainer", 204, 204), ("owner", 204, 204), ("admin", 204, 204),
        ("bad token", 401, 401), ("bad job token", 401, 401), ("read_api", 403, 403),
    ],
)  # fmt: skip
def test_who_can_delete(rest: Rest, visibility: Visibility, caller: str, to_public: int, to_private: int) -> None:
    group = factories.group("place", visibility=visibility)
    project = factories.project("shelf", parent=group, visibility=visibility)
    sent = headers_of(caller, project, group)
    file = factories.published(project, build_wheel())
    address = f"/projects/{project.id}/packages/{file.package_id}"

    of_file = rest.delete(f"{address}/package_files/{file.id}", headers=sent)
    of_package = rest.delete(address, headers=sent)

    expected = to_public if visibility is Visibility.PUBLIC else to_private
    assert (of_file.status_code, of_package.status_code) == (expected, expected)
    assert "WWW-Authenticate" not in of_package.headers


@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.PRIVATE], ids=["public", "private"])
@pytest.mark.parametrize(
    ("caller", "to_public", "to_private"),
    [
        ("anonymous", 401, 404), ("stranger", 403, 404), ("guest", 403, 403), ("reporter", 403, 403),
        ("developer", 403, 403), ("maintainer", 200, 200), ("owner", 200, 200), ("admin", 200, 200),
        ("bad token", 401, 401), ("bad job token", 401, 401), ("read_api", 403, 403),
    ],
)  # fmt: skip
def test_who_can_yank_and_set_a_status(
    rest: Rest, visibility: Visibility, caller: str, to_public: int, to_private: int
) -> None:
    group = factories.group("place", visibility=visibility)
    project = factories.project("shelf", parent=group, visibility=visibility)
    sent = headers_of(caller, project, group)
    file = factories.published(project, build_wheel())
    address = f"/projects/{project.id}/packages"
    expected = to_public if visibility is Visibility.PUBLIC else to_private

    for one in (f"{file.package_id}", f"{file.package_id}/package_files/{file.id}"):
        assert rest.put(f"{address}/{one}/yank", headers=sent).status_code == expected
        lifted = rest.delete(f"{address}/{one}/yank", headers=sent).status_code
        assert lifted == (204 if expected == 200 else expected)
    of_name = rest.put(f"{address}/names/demo/status", json={"status": "archived"}, headers=sent)
    assert of_name.status_code == expected


@pytest.mark.parametrize("visibility", Visibility, ids=lambda visibility: visibility.label)
@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ("anonymous", (404, 404, 200)), ("stranger", (404, 200, 200)), ("guest", (403, 200, 200)),
        ("reporter", (200, 200, 200)), ("bad token", (401, 401, 401)), ("bad job token", (401, 401, 401)),
        ("read_api", (200, 200, 200)), ("admin", (200, 200, 200)),
    ],
)  # fmt: skip
def test_who_can_read(rest: Rest, visibility: Visibility, caller: str, expected: tuple[int, ...]) -> None:
    group = factories.group("place", visibility=visibility)
    project = factories.project("shelf", parent=group, visibility=visibility)
    package = publish(project, build_wheel())
    sent = headers_of(caller, project, group)

    for address in (
        "", f"/{package.id}", f"/{package.id}/package_files", f"/{package.id}/pipelines", "/names/demo/status"
    ):  # fmt: skip
        response = rest.get(f"/projects/{project.id}/packages{address}", headers=sent)
        assert response.status_code == expected[list(Visibility).index(visibility)]


class TestJobs:
    def test_a_job_reads_and_deletes_as_its_user(self, rest: Rest, project: Project, owner: User) -> None:
        package = publish(project, build_wheel())
        sent = {"JOB-TOKEN": factories.job(project, owner)[1]}

        assert shown(rest.get(f"/projects/{project.id}/packages", headers=sent)) == ["demo 1.0"]
        assert rest.delete(f"/projects/{project.id}/packages/{package.id}", headers=sent).status_code == 204

    def test_a_job_is_not_more_than_its_user(self, rest: Rest, project: Project, developer: User) -> None:
        package = publish(project, build_wheel())
        sent = {"JOB-TOKEN": factories.job(project, developer)[1]}

        assert rest.delete(f"/projects/{project.id}/packages/{package.id}", headers=sent).status_code == 403

    def test_the_jobs_of_a_project_that_is_not_listed_find_nothing(
        self, rest: Rest, group: Group, project: Project, owner: User
    ) -> None:
        elsewhere = factories.project("elsewhere", parent=group)
        sent = {"JOB-TOKEN": factories.job(elsewhere, owner)[1]}

        assert rest.get(f"/projects/{project.id}/packages", headers=sent).status_code == 404

    def test_a_job_lists_the_packages_of_a_group(self, rest: Rest, group: Group, project: Project, owner: User) -> None:
        publish(project, build_wheel())
        job = factories.job(project, owner)[1]

        assert shown(rest.get(f"/groups/{group.id}/packages?job_token={job}")) == ["demo 1.0"]


@pytest.mark.parametrize(("visibility", "status"), [(Visibility.PUBLIC, 403), (Visibility.PRIVATE, 404)])
def test_a_registry_that_is_switched_off_shows_nothing(rest: Rest, visibility: Visibility, status: int) -> None:
    project = factories.project(visibility=visibility, registry_access=RegistryAccess.DISABLED)

    assert rest.get(f"/projects/{project.id}/packages").status_code == status


def test_files_pending_destruction_are_in_no_list(rest: Rest, project: Project, owner_token: str) -> None:
    file = factories.published(project, build_wheel())
    address = f"/projects/{project.id}/packages/{file.package_id}/package_files"
    rest.delete(f"{address}/{file.id}", owner_token)

    assert rest.get(address, owner_token).json == []
    assert db.session.get(PackageFile, file.id) is not None
