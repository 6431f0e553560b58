"""Valid and invalid parameters on every route."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule

from registry.blueprints.api import setting_kinds
from registry.blueprints.api.parameters import Fields, Parameter, boolean, optional, text
from registry.database import utcnow
from registry.domain import instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens, deploy_tokens
from registry.domain.accounts.users import UserChanges
from registry.domain.oidc import identities
from registry.domain.packages import protection
from registry.domain.single_sign_on import provider_roles
from registry.domain.upstream import exceptions as upstream_exceptions
from registry.models import Group, Project, Role, User
from tests import factories
from tests.builders import build_wheel
from tests.clients import Rest

# Names of parameters that some route declares; invalid values are sent to all of them at once.
NAMES = (
    "name", "path", "username", "email", "password", "reset_password", "admin", "external", "projects_limit", "bio",
    "note", "namespace_id", "parent_id", "group_id", "visibility", "description", "project_creation_level",
    "packages_enabled", "package_registry_access_level", "user_id", "user_ids", "access_level", "expires_at", "scopes",
    "state", "revoked", "search", "created_after", "created_before", "last_used_after", "expires_after", "sort",
    "order_by", "status", "package_type", "package_name", "package_version", "package_name_pattern",
    "minimum_access_level_for_push", "minimum_access_level_for_delete", "enabled", "target_project_id",
    "target_group_id", "ref", "expires_in", "page", "per_page", "cursor", "pagination", "id_after", "id_before",
    "skip_groups", "query", "plan_name", "active", "blocked", "statistics", "with_projects", "owned",
    "min_access_level", "reason", "pattern",
    *(one.rest_name for one in (*instance.SETTINGS, *namespaces.PROJECT_SETTINGS)),
)  # fmt: skip
VALUES: dict[str, Any] = {
    "null": None, "true": True, "zero": 0, "negative": -1, "huge": 10**30, "fraction": 1.5, "empty": "",
    "blank": " ", "text": "text", "NUL": "a\x00b", "half a pair": "\ud800", "long": "x" * 100_000, "digits": "9" * 400,
    "control": "a\x1fb\r\nc", "array": [], "array of nothing": [None], "array of arrays": [[1], {"a": 1}],
    "array of NUL": ["\x00"], "object": {"a": {"b": 1}}, "long array": [1] * 50_000,
    "a date too early": "0001-01-01T00:00:00+14:00",
    "a date too late": "9999-12-31T23:59:59-14:00", "no date": "2024-02-30", "a year": "2024", "markup": "<b>&'\"%_\\",
}  # fmt: skip
# One for each way in which a value can be wrong; the others are like one of these.
TELLING = (
    "null", "huge", "NUL", "half a pair", "long", "object", "a date too early",
)  # fmt: skip
TOO_LONG_FOR_ALL = ("long", "long array")  # in so many parameters they are refused for the size of the body
IN_ALL = [
    pytest.param(value, marks=() if value in ("NUL", "object") else pytest.mark.slow)
    for value in VALUES
    if value not in TOO_LONG_FOR_ALL
]
BODIES: dict[str, tuple[bytes, str]] = {
    "an array": (b"[1, 2]", "application/json"),
    "a text": (b'"name"', "application/json"),
    "a number": (b"7", "application/json"),
    "null": (b"null", "application/json"),
    "cut off": (b'{"name": ', "application/json"),
    "no UTF-8": (b'{"name": "\xff\xfe"}', "application/json"),
    "deep": (b"[" * 100_000, "application/json"),
    "a long number": (b'{"user_id": ' + b"9" * 5000 + b"}", "application/json"),
    "not a number": (b'{"user_id": NaN, "access_level": Infinity}', "application/json"),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), "application/json"),
    "a broken form": (b"--x\r\nContent-Disp", "multipart/form-data; boundary=x"),
    "a form without a boundary": (b"name=x", "multipart/form-data"),
    "a form that is no UTF-8": (b"name=%ff%fe&scopes[]=%ff", "application/x-www-form-urlencoded"),
    "something else": (b"<name/>", "text/xml"),
}
# All routes read a body with the same function, which TestBodies tries with what is not JSON.
TELLING_BODIES = ("an array", "a broken form", "a form that is no UTF-8")


# Requests that succeed, by method and address; ``...`` is a parameter that they do without.
_LIST = {"page": 1, "per_page": 20}
GOOD_REQUESTS: dict[str, dict[str, Any]] = {
    "GET /users": _LIST | {
        "username": ..., "search": ..., "active": ..., "external": ..., "admins": ..., "created_after": ...,
        "created_before": ..., "order_by": ..., "sort": ...,
    },
    "POST /users": {
        "username": "alice", "email": "alice@example.com", "name": "Alice", "password": "correct horse", "admin": ...,
        "reset_password": ..., "projects_limit": ..., "bio": ..., "note": ..., "can_create_group": ...,
    },
    "PUT /users/{user_id}": {
        "username": ..., "email": ..., "name": ..., "password": ..., "projects_limit": ..., "bio": ..., "note": ...,
    },
    "GET /groups": _LIST | {
        "search": ..., "owned": ..., "min_access_level": ..., "visibility": ..., "skip_groups": ..., "order_by": ...,
        "sort": ..., "statistics": ..., "all_available": ..., "top_level_only": ...,
    },
    "POST /groups": {
        "name": "Other", "path": "other", "parent_id": ..., "visibility": ..., "description": ...,
        "project_creation_level": ..., "subgroup_creation_level": ...,
    },
    "PUT /groups/{group}": {
        "name": ..., "path": ..., "visibility": ..., "description": ..., "pypi_package_requests_forwarding": ...,
        "lock_pypi_package_requests_forwarding": ...,
    },
    "POST /groups/{group}/transfer": {"group_id": ...},
    "PUT /groups/{group}/package_settings": {
        "pypi_package_requests_forwarding": ..., "lock_pypi_package_requests_forwarding": ...,
    },
    "GET /projects": _LIST | {
        "search": ..., "owned": ..., "membership": ..., "visibility": ..., "archived": ..., "simple": ...,
        "min_access_level": ..., "order_by": ..., "sort": ..., "pagination": ..., "id_after": ..., "id_before": ...,
    },
    "POST /projects": {
        "name": "Other", "path": "other", "namespace_id": ..., "visibility": ..., "description": ...,
        "packages_enabled": ..., "package_registry_access_level": ...,
    },
    "PUT /projects/{project}": {
        "name": ..., "path": ..., "visibility": ..., "description": ..., "packages_enabled": ...,
        "package_registry_access_level": ...,
    },
    "PATCH /projects/{project}/job_token_scope": {"enabled": True},
    "POST /projects/{project}/job_token_scope/allowlist": {"target_project_id": 1},
    "POST /projects/{project}/job_token_scope/groups_allowlist": {"target_group_id": 1},
    "GET /projects/{project}/members/all": _LIST | {"query": ..., "user_ids": ...},
    "POST /projects/{project}/members": {"user_id": 1, "access_level": 30, "username": ..., "expires_at": ...},
    "POST /users/{user_id}/personal_access_tokens": {
        "name": "ci", "scopes": ["api"], "expires_at": ..., "description": ...,
    },
    "POST /user/personal_access_tokens": {"name": "ci", "scopes": ["self_rotate"], "expires_at": ...},
    "GET /personal_access_tokens": _LIST | {
        "user_id": ..., "state": ..., "revoked": ..., "search": ..., "created_after": ..., "last_used_before": ...,
        "expires_after": ..., "expires_before": ..., "sort": ...,
    },
    "POST /personal_access_tokens/{token_id}/rotate": {"expires_at": ...},
    "GET /deploy_tokens": _LIST | {"active": ...},
    "POST /projects/{project}/deploy_tokens": {
        "name": "deployment", "scopes": ["read_package_registry"], "expires_at": ..., "username": ...,
    },
    "GET /projects/{project}/packages": _LIST | {
        "order_by": ..., "sort": ..., "package_type": ..., "package_name": ..., "package_version": ..., "status": ...,
    },
    "GET /groups/{group}/packages": _LIST | {"exclude_subgroups": ..., "package_name": ...},
    "GET /projects/{project}/packages/{package_id}/pipelines": {"per_page": ..., "cursor": ...},
    "GET /projects/{project}/packages/{package_id}/package_files": _LIST | {"order_by": ..., "sort": ...},
    "PUT /projects/{project}/packages/{package_id}/yank": {"reason": ...},
    "PUT /projects/{project}/packages/{package_id}/package_files/{file_id}/yank": {"reason": ...},
    "PUT /projects/{project}/packages/names/{name}/status": {"status": "deprecated", "reason": ...},
    "POST /projects/{project}/packages/protection/rules": {
        "package_name_pattern": "y", "package_type": "pypi", "minimum_access_level_for_push": "owner",
        "minimum_access_level_for_delete": ...,
    },
    "PATCH /projects/{project}/packages/protection/rules/{rule_id}": {
        "package_name_pattern": ..., "minimum_access_level_for_push": ..., "minimum_access_level_for_delete": ...,
    },
    "GET /admin/old_paths": _LIST | {"search": ...},
    "GET /groups/{group}/packages/pypi/explain": {"name": "demo", "version": ...},
    "POST /groups/{group}/upstream_exceptions": {"pattern": "demo", "reason": "needed", "expires_at": ...},
    "POST /application/upstream_exceptions": {"pattern": "demo", "reason": "needed", "expires_at": ...},
    "POST /application/provider_roles": {"provider_group": "eng", "group_id": 1, "access_level": 30},
    "PUT /application/settings": {one.rest_name: ... for one in setting_kinds.INSTANCE_SETTINGS},
    "PUT /application/plan_limits": {"plan_name": "default", "pypi_max_file_size": ...},
    "POST /projects/{project}/jobs": {"name": "publish", "ref": "main", "expires_in": 60},
    "POST /projects/{project}/jobs/{job_id}/finish": {"status": "success"},
}  # fmt: skip


# DELETE routes of attributes and of entries of lists, which have no time of their last change.
PACKAGE = "/api/v4/projects/<project:project>/packages/<id:package_id>"
ALLOWLISTS = "/api/v4/projects/<project:project>/job_token_scope"
WITHOUT_A_TIME = {
    "/api/v4/projects/<project:project>/trusted_publishers/tokens/<id:token_id>",
    "/api/v4/projects/<project:project>/trusted_readers/tokens/<id:token_id>",
    "/api/v4/groups/<group:group>/trusted_readers/tokens/<id:token_id>",
    f"{PACKAGE}/yank",
    f"{PACKAGE}/package_files/<id:file_id>/yank",
    f"{ALLOWLISTS}/allowlist/<id:source_id>",
    f"{ALLOWLISTS}/groups_allowlist/<id:source_id>",
}


def routes(app: Flask) -> Iterator[tuple[str, Rule]]:
    """Every method of every REST route; those that delete come late, those that end the caller's own token last."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("api.")]
    pairs = [(method, rule) for rule in rules for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    yield from sorted(pairs, key=lambda pair: ("/self" in pair[1].rule, pair[0] == "DELETE", pair[1].rule))


@pytest.fixture
def arguments(project: Project, group: Group, outsider: User, admin: User) -> dict[str, Any]:
    """A value for every argument of an address, all of which lead somewhere."""
    file = factories.published(project, build_wheel())
    token = access_tokens.find_access_token(factories.access_token(outsider), factories.token_key())
    deploy_token = deploy_tokens.find_deploy_token(factories.deploy_token(project), factories.token_key(), utcnow())
    rule = protection.add_protection_rule(project, pattern="x", push=Role.OWNER, delete=None, by=SHELL)
    exceptions = [
        upstream_exceptions.add_exception(place, pattern="x", reason="x", expires_at=None, by=SHELL)
        for place in (group, None)
    ]
    assert token is not None
    assert deploy_token is not None
    namespaces.change(factories.group("before"), namespaces.NamespaceChanges(path="afterwards"), by=SHELL)
    publisher = identities.add_publisher(project, issuer="https://ci.example.com", claims={"sub": "build"}, by=SHELL)
    readers = {
        place: identities.add_reader(place, issuer=publisher.issuer, claims=publisher.claims, by=SHELL)
        for place in (project, group)
    }
    return {
        "project": project.id, "group": group.id, "user_id": outsider.id, "reference": "oscar", "verb": "block",
        "package_id": file.package_id, "file_id": file.id, "name": "demo", "token_id": token.id,
        "deploy_token_id": deploy_token.id,
        "publisher_id": publisher.id, "reader_id": readers[project].id, "group_reader_id": readers[group].id,
        "rule_id": rule.id, "source_id": project.id, "job_id": factories.job(project, admin)[0].id,
        "old_path": "before", "role_id": provider_roles.add("eng", group, Role.GUEST, by=SHELL).id,
        "exception_id": exceptions[0].id, "instance_exception_id": exceptions[1].id,
    }  # fmt: skip


def address(app: Flask, rule: Rule, arguments: dict[str, Any]) -> str:
    needed = {name: arguments[name] for name in rule.arguments}
    if "<group:group>" in rule.rule and "reader_id" in needed:
        needed["reader_id"] = arguments["group_reader_id"]
    if "deploy_tokens" in rule.rule and "token_id" in needed:
        needed["token_id"] = arguments["deploy_token_id"]
    if "application" in rule.rule and "exception_id" in needed:
        needed["exception_id"] = arguments["instance_exception_id"]
    with app.test_request_context():
        _, path = rule.build(needed) or ("", "")
    return path.removeprefix("/api/v4")


def test_every_route_has_a_gate(app: Flask) -> None:
    for _, rule in routes(app):
        assert hasattr(app.view_functions[rule.endpoint], "permission"), rule.rule


class TestJunk:
    """Whatever is sent, the registry answers for itself: never with 500."""

    @pytest.mark.parametrize("value", IN_ALL)
    @pytest.mark.parametrize("way", ["json", "query"])
    def test_in_every_parameter_of_every_route_at_once(
        self, app: Flask, rest: Rest, arguments: dict[str, Any], admin_token: str, value: str, way: str
    ) -> None:
        sent = _sent(dict.fromkeys(NAMES, VALUES[value]), way)

        failed = {}
        for method, rule in routes(app):
            answer = rest.request(method, address(app, rule, arguments), admin_token, **sent)
            if answer.status_code >= 500:
                failed[f"{method} {rule.rule}"] = answer.text

        assert failed == {}

    @pytest.mark.parametrize(
        "values",
        [TELLING, pytest.param([value for value in VALUES if value not in TELLING], marks=pytest.mark.slow)],
        ids=["telling", "others"],
    )
    @pytest.mark.parametrize("request_", GOOD_REQUESTS)
    def test_in_one_parameter_of_a_good_request(
        self, rest: Rest, arguments: dict[str, Any], admin_token: str, request_: str, values: Collection[str]
    ) -> None:
        method, _, path = request_.partition(" ")
        path = path.format(**arguments)
        good = GOOD_REQUESTS[request_]
        way = "query" if method == "GET" else "json"

        failed = {}
        for name in good:
            for value in values:
                junk = {key: sent for key, sent in good.items() if sent is not ...} | {name: VALUES[value]}
                answer = rest.request(method, path, admin_token, **_sent(junk, way))
                if answer.status_code >= 500:
                    failed[f"{name}: {value}"] = answer.text

        assert failed == {}

    @pytest.mark.parametrize(
        "body", [pytest.param(body, marks=() if body in TELLING_BODIES else pytest.mark.slow) for body in BODIES]
    )
    def test_in_place_of_every_body(
        self, app: Flask, rest: Rest, arguments: dict[str, Any], admin_token: str, body: str
    ) -> None:
        data, content_type = BODIES[body]

        failed = {}
        for method, rule in routes(app):
            path = address(app, rule, arguments)
            answer = rest.request(method, path, admin_token, data=data, content_type=content_type)
            if answer.status_code >= 500:
                failed[f"{method} {rule.rule}"] = answer.text

        assert failed == {}

    @pytest.mark.parametrize(
        "identifier",
        [
            "%00", "%FF", "9" * 5000, "..%2F..", "%2F",
            *(pytest.param(one, marks=pytest.mark.slow) for one in ("a%2Fb%00", "%252F", "a" * 5000, "%1F", "0", "-1")),
        ],
    )  # fmt: skip
    def test_in_every_address(self, app: Flask, rest: Rest, admin_token: str, identifier: str) -> None:
        failed = {}
        for method, rule in routes(app):
            path = re.sub("<[^>]*>", identifier, rule.rule).removeprefix("/api/v4")
            answer = rest.request(method, path, admin_token)
            if rule.arguments and answer.status_code not in (400, 401, 404, 405):
                failed[f"{method} {rule.rule}"] = answer.text

        assert failed == {}

    def test_without_a_token(self, app: Flask, rest: Rest, arguments: dict[str, Any]) -> None:
        failed = {}
        for method, rule in routes(app):
            answer = rest.request(method, address(app, rule, arguments), json={"name": ["x"]})
            if answer.status_code not in (200, 401, 403, 404):
                failed[f"{method} {rule.rule}"] = answer.text

        assert failed == {}


def test_no_record_that_changed_since_is_deleted(
    app: Flask, rest: Rest, project: Project, outsider: User, arguments: dict[str, Any], admin_token: str
) -> None:
    namespaces.add_member(project, outsider, Role.GUEST, by=SHELL)
    namespaces.add_member(project.parent, outsider, Role.GUEST, by=SHELL)
    group_token = deploy_tokens.find_deploy_token(
        factories.deploy_token(project.parent), factories.token_key(), utcnow()
    )
    assert group_token is not None
    long_ago = {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}

    answers = {}
    for method, rule in routes(app):
        if method == "DELETE" and "self" not in rule.rule:
            token_id = group_token.id if "groups/" in rule.rule else arguments["deploy_token_id"]
            path = address(app, rule, arguments | {"deploy_token_id": token_id})
            answers[rule.rule] = rest.delete(path, admin_token, headers=long_ago)

    assert {rule for rule, answer in answers.items() if answer.status_code != 412} == WITHOUT_A_TIME


def _sent(junk: dict[str, Any], way: str) -> dict[str, Any]:
    if way == "json":
        return {"data": json.dumps(junk), "content_type": "application/json"}
    return {"query_string": {name: _in_words(value)[:500] for name, value in junk.items()}}


def _in_words(value: Any) -> str:
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def test_a_list_is_only_so_long(rest: Rest, group: Group, owner_token: str) -> None:
    thousand = ",".join(map(str, range(1000)))

    assert rest.get(f"/groups?skip_groups={thousand}", owner_token).status_code == 200
    response = rest.get(f"/groups?skip_groups={thousand},1000", owner_token)
    assert response.status_code == 400
    assert response.json == {"error": "skip_groups is invalid"}


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (b"[1]", "The body is not a JSON object"),
            (b"{", "The body is not valid JSON"),
            (b'{"name": "\xff"}', "The body is not valid JSON"),
            (b"[" * 100_000, "The body is not valid JSON"),
            (b"", "name is missing, path is missing"),
            (b"{}", "name is missing, path is missing"),
        ],
        ids=["array", "cut off", "no UTF-8", "deep", "empty", "empty object"],
    )
    def test_an_invalid_body_is_refused(self, rest: Rest, owner_token: str, body: bytes, error: str) -> None:
        response = rest.post("/groups", owner_token, data=body, content_type="application/json")

        assert response.status_code == 400
        assert response.json == {"error": error}

    def test_parameters_can_be_in_the_query_and_the_body_has_precedence(self, rest: Rest, owner_token: str) -> None:
        response = rest.post("/groups?path=query&name=Query", owner_token, {"path": "body"})

        assert (response.json["path"], response.json["name"]) == ("body", "Query")

    def test_a_multipart_form_does_too(self, rest: Rest, owner_token: str) -> None:
        form = {"name": "Form", "path": "form", "avatar": (io.BytesIO(b"\x89PNG"), "a.png")}

        response = rest.post("/groups", owner_token, data=form, content_type="multipart/form-data")

        assert response.status_code == 201

    def test_nothing_is_read_of_it_before_the_caller_may(self, rest: Rest, group: Group, outsider_token: str) -> None:
        response = rest.put(f"/groups/{group.id}", outsider_token, data=b"{", content_type="application/json")

        assert response.status_code == 404

    def test_too_much_is_refused(self, rest: Rest, owner_token: str) -> None:
        response = rest.post("/groups", owner_token, {"name": "x" * (5 << 20), "path": "x"})

        assert response.status_code == 413
        assert response.json == {"error": "413 Request Entity Too Large"}

    def test_numbers_are_texts_where_a_text_is_wanted(self, rest: Rest, owner_token: str) -> None:
        assert rest.post("/groups", owner_token, {"name": 2024, "path": "g2024"}).json["name"] == "2024"


class TestFields:
    """Parameters that become changes of the domain."""

    def test_the_changes_hold_the_sent_values(self) -> None:
        declared = Fields(UserChanges, {"admin": optional(boolean, sets="is_admin"), "bio": optional(text, null="")})

        assert declared.of({"admin": True, "password": "secret"}) == UserChanges(is_admin=True)
        assert declared.of({}) == UserChanges()

    @pytest.mark.parametrize("parameter", [optional(text), optional(text, sets="emial")])
    def test_a_parameter_that_sets_no_field_stops_the_start(self, parameter: Parameter) -> None:
        with pytest.raises(TypeError, match="UserChanges has no emial"):
            Fields(UserChanges, {"name": optional(text), "emial": parameter})
