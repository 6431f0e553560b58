from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from registry.models import Project, User
from tests import factories
from tests.builders import build_wheel
from tests.clients import Rest, Twine

JOB = {"id", "status", "name", "ref", "project_id", "user", "created_at", "expires_at", "finished_at"}


@pytest.fixture
def started(rest: Rest, project: Project, developer_token: str) -> dict[str, Any]:
    response = rest.post(f"/projects/{project.id}/jobs", developer_token, {"name": "publish", "ref": "v1"})
    answer: dict[str, Any] = response.json
    return answer


def finish(rest: Rest, job: dict[str, Any], token: str | None = None, status: str = "success", **options: Any) -> Any:
    return rest.post(f"/projects/{job['project_id']}/jobs/{job['id']}/finish", token, {"status": status}, **options)


class TestStart:
    def test_a_job_runs_for_an_hour_with_a_token_of_its_own(
        self, project: Project, developer: User, started: dict[str, Any]
    ) -> None:
        assert set(started) == JOB | {"token"}
        assert started["status"] == "running"
        assert (started["name"], started["ref"]) == ("publish", "v1")
        assert started["project_id"] == project.id
        assert started["user"]["id"] == developer.id
        assert started["token"].startswith("glcbt-")
        lifetime = datetime.fromisoformat(started["expires_at"]) - datetime.fromisoformat(started["created_at"])
        assert lifetime.total_seconds() == 3600

    def test_it_publishes_as_its_user(
        self, rest: Rest, twine: Twine, project: Project, started: dict[str, Any]
    ) -> None:
        response = twine.upload(project, build_wheel(), ("gitlab-ci-token", started["token"]))

        assert response.status_code == 201

    def test_all_parameters_are_optional(self, rest: Rest, project: Project, developer_token: str) -> None:
        response = rest.post(f"/projects/{project.id}/jobs", developer_token)

        assert response.status_code == 201
        assert (response.json["name"], response.json["ref"]) == ("job", "main")

    @pytest.mark.parametrize(
        "fields", [{"expires_in": 0}, {"expires_in": 10**9}, {"expires_in": "long"}, {"name": ""}, {"ref": "x" * 256}]
    )
    def test_invalid_values_are_refused(
        self, rest: Rest, project: Project, developer_token: str, fields: dict[str, Any]
    ) -> None:
        assert rest.post(f"/projects/{project.id}/jobs", developer_token, fields).status_code == 400

    def test_it_needs_a_developer(self, rest: Rest, project: Project, guest_token: str, outsider_token: str) -> None:
        assert rest.post(f"/projects/{project.id}/jobs", guest_token).status_code == 403
        assert rest.post(f"/projects/{project.id}/jobs", outsider_token).status_code == 404
        assert rest.post(f"/projects/{project.id}/jobs").status_code == 404


class TestOwnJob:
    @pytest.mark.parametrize("way", ["header", "parameter", "bearer"])
    def test_a_job_sees_its_own_record(self, rest: Rest, started: dict[str, Any], way: str) -> None:
        secret = started["token"]
        headers = {"header": {"JOB-TOKEN": secret}, "bearer": {"Authorization": f"Bearer {secret}"}}.get(way)

        response = rest.get(f"/job?job_token={secret}" if way == "parameter" else "/job", headers=headers)

        assert response.status_code == 200
        assert response.json == {name: started[name] for name in JOB}

    def test_only_a_job_token_has_a_job(self, rest: Rest, owner_token: str) -> None:
        assert rest.get("/job", owner_token).json == {"message": "404 Job Not Found"}
        assert rest.get("/job").status_code == 401
        assert rest.get("/job", headers={"JOB-TOKEN": "glcbt-wrong"}).status_code == 401

    def test_its_token_grants_nothing_else(self, rest: Rest, project: Project, started: dict[str, Any]) -> None:
        bearer = {"Authorization": f"Bearer {started['token']}"}

        assert rest.get("/user", headers=bearer).status_code == 401
        assert rest.get("/user", headers={"JOB-TOKEN": started["token"]}).status_code == 401
        assert rest.post(f"/projects/{project.id}/jobs", headers=bearer).status_code == 401


class TestFinish:
    @pytest.mark.parametrize("status", ["success", "failed", "canceled"])
    def test_its_user_ends_it_and_its_token_is_refused(
        self, rest: Rest, started: dict[str, Any], developer_token: str, status: str
    ) -> None:
        response = finish(rest, started, developer_token, status)

        assert response.status_code == 200
        assert set(response.json) == JOB
        assert response.json["status"] == status
        assert response.json["finished_at"] is not None
        assert rest.get("/job", headers={"JOB-TOKEN": started["token"]}).status_code == 401

    def test_it_ends_itself(self, rest: Rest, started: dict[str, Any]) -> None:
        response = finish(rest, started, headers={"JOB-TOKEN": started["token"]})

        assert response.status_code == 200
        assert finish(rest, started, headers={"JOB-TOKEN": started["token"]}).status_code == 401

    def test_a_maintainer_ends_any(self, rest: Rest, started: dict[str, Any], maintainer_token: str) -> None:
        assert finish(rest, started, maintainer_token).status_code == 200

    def test_others_do_not(
        self, rest: Rest, project: Project, started: dict[str, Any], developer: User, guest_token: str,
        outsider_token: str,
    ) -> None:  # fmt: skip
        other_job = factories.job(project, developer)[1]

        assert finish(rest, started, guest_token).status_code == 403
        assert finish(rest, started, outsider_token).status_code == 404
        assert finish(rest, started).status_code == 404
        assert finish(rest, started, headers={"JOB-TOKEN": other_job}).status_code == 403
        assert rest.get("/job", headers={"JOB-TOKEN": started["token"]}).json["status"] == "running"

    def test_not_twice(self, rest: Rest, started: dict[str, Any], developer_token: str) -> None:
        finish(rest, started, developer_token)

        assert finish(rest, started, developer_token).status_code == 400

    @pytest.mark.parametrize(
        ("sent", "error"),
        [
            ({"status": "running"}, "status does not have a valid value"),
            ({"status": ["success"]}, "status is invalid"),
            ({}, "status is missing"),
        ],
    )
    def test_with_a_status_that_is_an_end(
        self, rest: Rest, project: Project, started: dict[str, Any], developer_token: str, sent: Any, error: str
    ) -> None:
        response = rest.post(f"/projects/{project.id}/jobs/{started['id']}/finish", developer_token, sent)

        assert response.status_code == 400
        assert response.json == {"error": error}

    def test_only_through_its_own_project(self, rest: Rest, started: dict[str, Any], admin_token: str) -> None:
        elsewhere = factories.project()

        assert finish(rest, started | {"project_id": elsewhere.id}, admin_token).json == {
            "message": "404 Job Not Found"
        }
