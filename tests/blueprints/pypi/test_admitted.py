"""Pages and uploads in front of Flask: answered as by the view, to which everything else is left."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest
from flask import Flask, request_started
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from registry.blueprints.auth.admissions import Admissions
from registry.blueprints.pypi import upload
from registry.blueprints.pypi.in_front import REFUSAL
from registry.blueprints.routing import UPLOADS, CanonicalPaths, simple_page_url, uploaded_to
from registry.database import changes_name, db, transaction
from registry.domain.packages import simple
from registry.environ_keys import ROUTE
from registry.models import Group, Project, Role, User, Visibility
from tests import factories
from tests.builders import BuiltFile, build_sdist, build_wheel
from tests.clients import Pip, Rest, Twine, basic, pypi_path
from tests.osv import affected, load, record

ROUTED = [
    "/api/v4/projects/3/packages/pypi/simple/demo",
    "/api/v4/projects/3//packages/pypi/simple/Demo.one_2-3/",
    "/api/v4/projects/acme%2Ftools/packages/pypi/simple/demo",
    "/api/v4/groups/acme%2ftools%2fsub/-/packages/pypi/simple/demo/",
    "/api/v4/groups/packages/-/packages/pypi/simple/simple",
]
ROUTED_UPLOADS = [
    "/api/v4/projects/3/packages/pypi",
    "/api/v4/projects/3//packages/pypi/",
    "/api/v4/projects/acme%2Ftools/packages/pypi",
]
NO_UPLOADS = [
    "/api/v4/projects/acme/tools/packages/pypi",
    "/api/v4/projects/3/packages/pypi/validate",
    "/api/v4/projects/%C3%A9/packages/pypi",
    "/api/v4/groups/3/-/packages/pypi",
    "/sub/api/v4/projects/3/packages/pypi",
]
NOT_ROUTED = [
    "/api/v4/projects/acme/tools/packages/pypi/simple/demo",
    "/api/v4/projects/3/packages/pypi/simple",
    "/api/v4/projects/3/packages/pypi/+simple/demo",
    "/api/v4/projects/3/packages/pypi/simple/demo/more",
    "/api/v4/projects/3/packages/pypi/simple/demo%2Fmore",
    "/api/v4/projects/3/packages/pypi/simple/..",
    "/api/v4/projects/3/packages/pypi/simple/d%C3%A9mo",
    "/api/v4/projects/%C3%A9/packages/pypi/simple/demo",
    "/api/v4/groups/3/packages/pypi/simple/demo",
    "/sub/api/v4/projects/3/packages/pypi/simple/demo",
]


def normalized(app: Flask, target: str) -> str:
    """The path that ``CanonicalPaths`` makes of a target."""
    paths: list[str] = []
    environ = app.test_request_context(target).request.environ | {"REQUEST_URI": target}
    list(CanonicalPaths(lambda environ, _: paths.append(environ["PATH_INFO"]) or [])(environ, lambda *_: print))
    return paths[0]


@pytest.mark.parametrize("target", ROUTED)
def test_a_usual_url_has_the_parts_that_flask_finds(app: Flask, target: str) -> None:
    path = normalized(app, target)

    found = simple_page_url(path)

    rule, arguments = app.url_map.bind("registry.test").match(path, return_rule=True)
    kind = "project" if "project" in arguments else "group"
    assert found == (rule.rule, f"{kind} {arguments[kind]}", arguments["name"])


@pytest.mark.parametrize("target", NOT_ROUTED)
def test_other_urls_are_left_to_flask(app: Flask, target: str) -> None:
    assert simple_page_url(normalized(app, target)) is None


@pytest.mark.parametrize("target", ROUTED_UPLOADS)
def test_a_usual_url_of_an_upload_has_the_project_that_flask_finds(app: Flask, target: str) -> None:
    path = normalized(app, target)

    found = uploaded_to(path)

    rule, arguments = app.url_map.bind("registry.test").match(path, "POST", return_rule=True)
    assert (rule.rule, f"project {arguments['project']}") == (UPLOADS, found)


@pytest.mark.parametrize("target", NO_UPLOADS)
def test_other_urls_of_uploads_are_left_to_flask(app: Flask, target: str) -> None:
    assert uploaded_to(normalized(app, target)) is None


@pytest.fixture
def tools(app: Flask) -> Project:
    """A public project with a wheel."""
    project = factories.project(
        "tools", parent=factories.group("acme", visibility=Visibility.PUBLIC), visibility=Visibility.PUBLIC
    )
    factories.published(project, build_wheel("demo"))
    return project


@pytest.fixture
def token(tools: Project) -> str:
    return factories.access_token(factories.member(tools, Role.REPORTER))


@pytest.fixture
def by_view(app: Flask) -> Callable[[Callable[[], TestResponse]], tuple[TestResponse, bool]]:
    """Makes a request, and returns the response and whether Flask was needed for it."""
    started: list[object] = []

    def note(_sender: object, **_: object) -> None:
        started.append(True)

    def make(act: Callable[[], TestResponse]) -> tuple[TestResponse, bool]:
        started.clear()
        with request_started.connected_to(note, app):
            return act(), bool(started)

    return make


def make_stale(name: str = "demo") -> None:
    """Have the pages of a name made anew, without another change."""
    with transaction(changes_answers=False):
        changes_name(name)


@pytest.mark.parametrize("accept", ["*/*", simple.JSON, simple.HTML])
@pytest.mark.parametrize(
    "headers", [{}, {"Accept-Encoding": "gzip"}, {"Range": "bytes=0-9"}], ids=["", "gzip", "range"]
)
def test_a_page_is_the_same_as_that_of_the_view(
    pip: Pip, tools: Project, token: str, by_view: Any, accept: str, headers: dict[str, str]
) -> None:
    assert isinstance(tools.parent, Group)
    for version in range(2, 6):  # so that it is compressed
        factories.published(tools, build_wheel("demo", f"{version}.0"))
    for namespace in (tools, tools.parent):
        made = []
        for _ in range(2):
            make_stale()
            made.append(by_view(lambda: pip.simple_page(namespace, "demo", token, accept, headers=headers)))  # noqa: B023

        (first, is_first_by_view), (second, is_second_by_view) = made
        assert (is_first_by_view, is_second_by_view) == (True, False)
        assert (second.status, second.data) == (first.status, first.data)
        assert ("gzip" in second.headers.get("Content-Encoding", "")) is ("Accept-Encoding" in headers)
        without_id = [[each for each in response.headers if each[0] != "X-Request-Id"] for response in (first, second)]
        assert without_id[0] == without_id[1]


def test_what_is_not_a_page_of_an_admitted_caller_is_left_to_the_view(
    app: Flask, pip: Pip, tools: Project, token: str, by_view: Any
) -> None:
    path = f"{pypi_path(tools)}/simple"
    requests: dict[str, Callable[[], TestResponse]] = {
        "an unknown name": lambda: pip.simple_page(tools, "missing", token),
        "an anonymous caller": lambda: pip.simple_page(tools, "demo"),
        "HEAD": lambda: pip.simple_page(tools, "demo", token, method="HEAD"),
        "an unusable host": lambda: pip.simple_page(tools, "demo", token, headers={"Host": "a b"}),
        "other credentials": lambda: pip.simple_page(tools, "demo", "glpat-unknown"),
        "another route": lambda: pip.get(f"{path.replace('simple', '+simple')}/demo/", token),
    }
    expected = {
        "an unknown name": 302, "an anonymous caller": 200, "HEAD": 200, "an unusable host": 400,
        "other credentials": 200, "another route": 200,
    }  # fmt: skip
    pip.simple_page(tools, "demo", token)
    for case, act in requests.items():
        for _ in range(2):
            make_stale()
            make_stale("missing")

            response, is_by_view = by_view(act)

            assert (response.status_code, is_by_view) == (expected[case], True), case


def test_an_admission_does_not_outlive_a_change_of_access(pip: Pip, tools: Project, token: str, by_view: Any) -> None:
    for _ in range(2):
        make_stale()
        response, is_by_view = by_view(lambda: pip.simple_page(tools, "demo", token))
    assert not is_by_view

    with transaction():
        make_stale()
    response, is_by_view = by_view(lambda: pip.simple_page(tools, "demo", token))

    assert (response.status_code, is_by_view) == (200, True)


def test_a_page_that_needs_more_statements_leaves_no_connection_in_use(
    pip: Pip, tools: Project, token: str, by_view: Any
) -> None:
    load(record("MAL-1", affected("demo", versions=("1.0",))))
    factories.commit()
    pip.simple_page(tools, "demo", token)
    db.session.close()
    pool: Any = db.engine.pool
    in_use = pool.checkedout()

    for _ in range(3):
        make_stale()
        response, is_by_view = by_view(lambda: pip.simple_page(tools, "demo", token, simple.JSON))
        db.session.close()

        assert (response.json["files"], is_by_view) == ([], False)
        assert pool.checkedout() == in_use


@pytest.mark.parametrize("kind", ["project", "group"])
def test_a_database_that_does_not_answer_is_waited_for_once(
    app: Flask, pip: Pip, tools: Project, token: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A statement can take a minute until it is ended, and then the admission has expired, too."""
    namespace = tools if kind == "project" else tools.parent
    asked: list[str] = []

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)
        monkeypatch.setitem(app.extensions, "admissions", Admissions(b"without any"))
        raise OperationalError(statement, None, TimeoutError("it took too long"))

    def failing() -> TestResponse:
        asked.clear()
        event.listen(db.engine, "before_cursor_execute", fail)
        try:
            return pip.simple_page(namespace, "demo", token)
        finally:
            event.remove(db.engine, "before_cursor_execute", fail)
            monkeypatch.undo()

    of_view = failing()
    assert pip.simple_page(namespace, "demo", token).status_code == 200
    make_stale()
    response = failing()

    assert len(asked) == 1
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert (response.status, response.data) == (of_view.status, of_view.data)
    assert set(response.headers.keys()) == set(of_view.headers.keys())
    assert pip.simple_page(namespace, "demo", token).status_code == 200


@pytest.mark.parametrize("is_stale", [True, False], ids=["made", "repeated"])
def test_a_request_for_a_page_is_freed_without_the_garbage_collector(
    app: Flask, pip: Pip, tools: Project, token: str, is_stale: bool
) -> None:
    """Otherwise, hundreds of requests would be in memory with their responses until they are collected."""
    pip.simple_page(tools, "demo", token)
    environ = EnvironBuilder(path=f"{pypi_path(tools)}/simple/demo", headers=basic(token)).get_environ()
    input_of_request = weakref.ref(environ["wsgi.input"])
    if is_stale:
        make_stale()
    gc.disable()
    try:
        response = run_wsgi_app(app.wsgi_app, environ)
        del environ

        assert response[1] == "200 OK"
        assert input_of_request() is None
    finally:
        gc.enable()


def test_a_refused_request_is_freed_at_once(app: Flask, pip: Pip, tools: Project, token: str) -> None:
    """A refusal refers to the request that it is noted in, by its traceback."""
    pip.simple_page(tools, "demo", token)
    target = f"{pypi_path(tools)}/simple/not_valid_"
    environ = EnvironBuilder(path=target, headers=basic(token)).get_environ()
    statuses: list[str] = []

    Context().run(app.wsgi_app, environ, lambda status, *_: statuses.append(status))

    assert statuses[0].startswith("404")
    assert ROUTE in environ
    assert REFUSAL not in environ


@pytest.fixture
def publishing(twine: Twine, tools: Project) -> str:
    """A token with which a wheel was published, so that its admission is kept."""
    token = factories.access_token(factories.member(tools, Role.DEVELOPER))
    assert twine.upload(tools, build_wheel("first"), token).status_code == 201
    assert twine.upload(tools, build_wheel("second"), token).status_code == 201
    return token


def without_id(response: TestResponse) -> tuple[str, bytes, list[tuple[str, str]]]:
    return response.status, response.data, [each for each in response.headers if each[0] != "X-Request-Id"]


ACCEPTED = {
    "a wheel": (build_wheel("one"), build_wheel("two")),
    "remarks": tuple(build_wheel(name, headers=["License-Expression: MIT"]) for name in ("one", "two")),
    "an sdist": (build_sdist("one"), build_sdist("two")),
    "the same file again": (build_wheel("first"), build_wheel("first")),
}


@pytest.mark.parametrize("files", ACCEPTED.values(), ids=ACCEPTED)
def test_an_upload_is_answered_as_by_the_view(
    twine: Twine, tools: Project, publishing: str, by_view: Any, files: tuple[BuiltFile, BuiltFile]
) -> None:
    tools.identical_upload_accepted = True
    factories.commit()
    twine.upload(tools, build_wheel("third"), publishing)  # admits the caller after the change
    other = factories.access_token(factories.member(tools, Role.DEVELOPER))
    in_front, in_view = files

    by_another, is_by_view = by_view(lambda: twine.upload(tools, in_view, other))
    assert is_by_view
    twine.upload(tools, build_wheel("fourth"), publishing)
    response, is_by_view = by_view(lambda: twine.upload(tools, in_front, publishing))

    assert not is_by_view
    assert response.status_code in (200, 201)
    assert without_id(response) == without_id(by_another)


REFUSED: dict[str, tuple[BuiltFile, dict[str, Any]]] = {
    "a file that exists": (build_wheel("first", summary="Another"), {}),
    "a wrong digest": (build_wheel("new"), {"sha256_digest": "0" * 64}),
    "no name": (build_wheel("new"), {"name": None}),
    "no content": (build_wheel("new"), {"content": None}),
    "another version": (build_wheel("new"), {"version": "2.0"}),
    "no archive": (BuiltFile("new-1.0-py3-none-any.whl", b"new", "new", "1.0", build_wheel().kind), {}),
}


@pytest.mark.parametrize(("file", "fields"), REFUSED.values(), ids=REFUSED)
def test_an_upload_is_refused_as_by_the_view(
    twine: Twine, tools: Project, publishing: str, file: BuiltFile, fields: dict[str, Any]
) -> None:
    other = factories.access_token(factories.member(tools, Role.DEVELOPER))
    by_view = twine.upload(tools, file, other, **fields)
    twine.upload(tools, build_wheel("third"), publishing)

    refused = twine.upload(tools, file, publishing, **fields)

    assert refused.status_code == 400
    assert without_id(refused) == without_id(by_view)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/application/plan_limits", {"plan_name": "default", "pypi_max_file_size": 100}),
        ("/projects/acme%2Ftools", {"storage_size_limit": 100}),
        ("/groups/acme", {"storage_size_limit": 100}),
    ],
    ids=["of a file", "of the project", "of the group"],
)
def test_a_lower_limit_holds_for_the_next_uploads(
    twine: Twine, rest: Rest, tools: Project, publishing: str, admin: User, path: str, limit: dict[str, Any]
) -> None:
    assert twine.upload(tools, build_wheel("third"), publishing).status_code == 201  # with the limits before
    root = factories.access_token(admin)
    twine.upload(tools, build_wheel("fourth"), publishing)

    assert rest.put(path, root, limit).status_code == 200

    for name in ("fifth", "sixth"):  # by the view, which admits the caller again, and in front of it
        assert twine.upload(tools, build_wheel(name), publishing).status_code == 400
    assert rest.put(path, root, {**limit, list(limit)[-1]: 0}).status_code == 200
    for name in ("fifth", "sixth"):
        assert twine.upload(tools, build_wheel(name), publishing).status_code == 201


def test_what_is_not_an_upload_of_an_admitted_caller_is_left_to_the_view(
    twine: Twine, tools: Project, publishing: str, by_view: Any
) -> None:
    def send(**options: Any) -> Callable[[], TestResponse]:
        return lambda: twine.upload(tools, build_wheel("new", "1.0"), publishing, **options)

    requests: dict[str, tuple[Callable[[], TestResponse], int]] = {
        "an anonymous caller": (lambda: twine.upload(tools, build_wheel("new")), 401),
        "an unusable host": (send(headers={"Host": "a b"}), 400),
        "other credentials": (lambda: twine.upload(tools, build_wheel("new"), "glpat-unknown"), 401),
        "another spelling": (send(url=f"/api/v4/projects/{tools.full_path}/packages/pypi"), 201),
        "another route": (send(url=f"{pypi_path(tools)}/validate"), 400),
        "another form": (
            lambda: twine.client.post(pypi_path(tools), data={"name": "a"}, headers=basic(publishing)),
            400,
        ),
    }
    for case, (act, status) in requests.items():
        response, is_by_view = by_view(act)

        assert (response.status_code, is_by_view) == (status, True), case


def test_a_refused_upload_is_freed_at_once(app: Flask, tools: Project, publishing: str) -> None:
    """A refusal refers to the request that it is noted in, by its traceback."""
    builder = EnvironBuilder(path=pypi_path(tools), method="POST", data={"content": "a"}, headers=basic(publishing))
    builder.mimetype = upload.MULTIPART
    environ = builder.get_environ()
    statuses: list[str] = []

    Context().run(app.wsgi_app, environ, lambda status, *_: statuses.append(status))

    assert statuses[0].startswith("400")
    assert environ[ROUTE] == UPLOADS
    assert REFUSAL not in environ


def test_a_database_that_does_not_answer_an_upload_is_waited_for_once(
    app: Flask, twine: Twine, tools: Project, publishing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)
        monkeypatch.setitem(app.extensions, "admissions", Admissions(b"without any"))
        raise OperationalError(statement, None, TimeoutError("it took too long"))

    event.listen(db.engine, "before_cursor_execute", fail)
    try:
        response = twine.upload(tools, build_wheel("new"), publishing)
    finally:
        event.remove(db.engine, "before_cursor_execute", fail)
        monkeypatch.undo()

    assert len(asked) == 1
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert twine.upload(tools, build_wheel("new"), publishing).status_code == 201
