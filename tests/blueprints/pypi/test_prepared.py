"""Prepared answers: repeated while nothing has changed, never after a change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from registry import create_app
from registry.blueprints.pypi import prepared
from registry.database import db, utcnow
from registry.domain import access, forwarding, namespaces
from registry.domain.accounts import access_tokens, deploy_tokens, jobs, users
from registry.domain.accounts.users import StateChange
from registry.domain.packages import deletion, releases
from registry.models import (
    JobStatus,
    NameStatus,
    Package,
    PackageFile,
    RegistryAccess,
    Role,
    Visibility,
)
from tests import factories
from tests.builders import build_wheel
from tests.clients import JSON, Browser, Client, Pip, basic, pypi_path


@pytest.fixture
def reporter(project):
    return factories.member(project, Role.REPORTER, "rita")


def test_a_kept_page_costs_no_statement_but_the_look_at_the_content_generation(
    pip, published_project, group, reporter, statements
):
    token = factories.access_token(reporter)
    namespaces.add_member(group, reporter, Role.REPORTER, by=access.SHELL)
    for namespace in (published_project, group):
        for read in (pip.index, lambda *arguments: pip.simple_page(arguments[0], "demo", arguments[1])):
            first = read(namespace, token)
            statements.clear()

            again = read(namespace, token)

            assert (again.data, again.status_code) == (first.data, 200)
            assert {k: v for k, v in again.headers if k != "X-Request-Id"} == {
                k: v for k, v in first.headers if k != "X-Request-Id"
            }
            assert statements == []


def test_conditional_and_head_requests_are_answered_from_it(pip, published_project, reporter):
    token = factories.access_token(reporter)
    first = pip.simple_page(published_project, "demo", token)

    etag = first.headers["ETag"]
    for listed in (f'"other", {etag}', f'"other", W/{etag}'):  # a proxy can have made it weak
        known = pip.simple_page(published_project, "demo", token, headers={"If-None-Match": listed})
        assert (known.status_code, known.data, known.headers["ETag"]) == (304, b"", etag)

    head = pip.simple_page(published_project, "demo", token, method="HEAD")

    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(first.data))


def _changes(project, group, reporter):
    """Every change that makes a reporter's or a deploy token's page stale, by name."""
    package = select(Package)

    return {
        "member removed": lambda: namespaces.remove_member(project, reporter, by=access.SHELL),
        "role lowered": lambda: namespaces.change_member(project, reporter, Role.GUEST, by=access.SHELL),
        "user blocked": lambda: users.change_state(reporter, StateChange.BLOCK, by=access.SHELL),
        "package deleted": lambda: deletion.delete_package(db.session.scalars(package).one(), project, by=access.SHELL),
        "registry switched off": lambda: namespaces.change(
            project, namespaces.ProjectChanges(registry_access=RegistryAccess.DISABLED), by=access.SHELL
        ),
        "project deleted": lambda: namespaces.delete_namespace(project, by=access.SHELL),
        "group deleted": lambda: namespaces.delete_namespace(group, by=access.SHELL),
    }


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("member removed", 404),
        ("role lowered", 403),
        ("user blocked", 403),
        ("package deleted", 404),
        ("registry switched off", 403),
        ("project deleted", 404),
        ("group deleted", 404),
    ],
)
def test_a_change_is_seen_by_the_next_request(pip, published_project, group, reporter, change, status):
    token = factories.access_token(reporter)
    for _ in range(2):
        assert pip.simple_page(published_project, "demo", token).status_code == 200

    identifier = published_project.id
    _changes(published_project, group, reporter)[change]()

    assert pip.simple_page(identifier, "demo", token).status_code == status


@pytest.fixture
def kept(pip, published_project, group, reporter, statements):
    """Keeps the answers of ``demo``, and returns a function for the names of those that are still kept."""
    token, wheel = factories.access_token(reporter), build_wheel(name="demo")
    namespaces.add_member(group, reporter, Role.REPORTER, by=access.SHELL)
    reads = {
        "page": lambda: pip.simple_page(published_project, "demo", token),
        "page of the group": lambda: pip.simple_page(group, "demo", token),
        "file": lambda: pip.download(published_project, wheel, token),
        "metadata": lambda: pip.download(group, wheel, token, suffix=".metadata"),
        "index": lambda: pip.index(published_project, token),
        "index of the group": lambda: pip.index(group, token),
    }

    def costs_nothing(read):
        statements.clear()
        assert read().status_code == 200
        return statements == []

    for read in reads.values():
        read()
        assert costs_nothing(read)
    return lambda: {name for name, read in reads.items() if costs_nothing(read)}


INDEXES = {"index", "index of the group"}
OF_NAME = {"page", "page of the group", "file", "metadata"}


def test_the_first_publication_of_another_name_leaves_all_but_the_lists_of_names(published_project, kept):
    factories.published(published_project, build_wheel("other"))

    assert kept() == OF_NAME


def test_further_publications_of_another_name_leave_everything(published_project, kept):
    factories.published(published_project, build_wheel("other"))
    kept()

    factories.published(published_project, build_wheel("other", "2.0"))

    assert kept() == OF_NAME | INDEXES


def test_a_publication_of_the_same_name_leaves_the_lists_of_names(published_project, kept):
    factories.published(published_project, build_wheel("demo", "2.0"))

    assert kept() == INDEXES


def test_a_change_of_access_leaves_no_answer(published_project, kept, outsider):
    namespaces.add_member(published_project, outsider, Role.GUEST, by=access.SHELL)

    assert kept() == set()


def _releases(project):
    """Successive changes, each with the text that the JSON page contains after it."""
    package, file = db.session.scalars(select(Package)).one(), db.session.scalars(select(PackageFile)).one()

    def status(status, reason=""):
        return lambda: releases.set_name_status(project, "demo", status, reason, by=access.SHELL)

    return [
        (lambda: releases.yank_version(package, project, by=access.SHELL), '"yanked":true'),
        (lambda: releases.yank_version(package, project, "Bad", by=access.SHELL), '"yanked":"Bad"'),
        (lambda: releases.unyank_version(package, project, by=access.SHELL), '"yanked":false'),
        (lambda: releases.yank_file(file, package, project, "Worse", by=access.SHELL), '"yanked":"Worse"'),
        (lambda: releases.unyank_file(file, package, project, by=access.SHELL), '"yanked":false'),
        (status(NameStatus.DEPRECATED), '{"status":"deprecated"}'),
        (status(NameStatus.ARCHIVED, "Done"), '{"status":"archived","reason":"Done"}'),
        (status(NameStatus.QUARANTINED), '"files":[]'),
        (status(NameStatus.ACTIVE), '{"status":"active"}'),
    ]


def test_each_yank_and_status_is_seen_by_the_next_request(pip, published_project, group, reporter):
    token = factories.access_token(reporter)
    namespaces.add_member(group, reporter, Role.REPORTER, by=access.SHELL)
    pages = [(namespace, accept) for namespace in (published_project, group) for accept in (JSON, "text/html")]

    for change, text in _releases(published_project):
        known = [pip.simple_page(namespace, "demo", token, accept).headers["ETag"] for namespace, accept in pages]

        change()

        for (namespace, accept), etag in zip(pages, known, strict=True):
            page = pip.simple_page(namespace, "demo", token, accept, headers={"If-None-Match": etag})
            assert page.status_code == 200
            assert accept != JSON or text in page.text


def test_a_kept_file_of_a_quarantined_name_is_not_repeated(pip, published_project, group, reporter):
    token = factories.access_token(reporter)
    wheel = build_wheel(name="demo")
    for suffix in ("", ".metadata", ""):
        assert pip.download(published_project, wheel, token, suffix=suffix).status_code == 200

    releases.set_name_status(published_project, "demo", NameStatus.QUARANTINED, by=access.SHELL)

    for suffix in ("", ".metadata"):
        assert pip.download(published_project, wheel, token, suffix=suffix).status_code == 403


def test_forwarding_that_is_switched_off_stops_at_once(pip, published_project, group, reporter):
    token = factories.access_token(reporter)
    for _ in range(2):
        assert pip.simple_page(published_project, "unknown", token).status_code == 302

    forwarding.change_forwarding(group, value=False, by=access.SHELL)

    assert pip.simple_page(published_project, "unknown", token).status_code == 404


def _issued(project, owner):
    """A credential of each kind with a function that ends it and changes nothing else, by name."""
    now, key = utcnow(), factories.token_key()

    def access_token():
        secret = factories.access_token(owner)
        return access_tokens.find_access_token(secret, key), secret

    def deploy_token():
        secret = factories.deploy_token(project)
        return deploy_tokens.find_deploy_token(secret, key, now), secret

    def access_token_revoked():
        token, secret = access_token()
        return secret, lambda: access_tokens.revoke_access_token(token, by=access.SHELL, now=now)

    def access_token_rotated():
        token, secret = access_token()
        return secret, lambda: access_tokens.rotate_access_token(token, key=key, by=access.SHELL, now=now)

    def access_token_family_revoked():
        token, _ = access_token()
        _, secret = access_tokens.rotate_access_token(token, key=key, by=access.SHELL, now=now)
        return secret, lambda: access_tokens.revoke_family(token, by=access.SHELL, now=now)

    def deploy_token_revoked():
        token, secret = deploy_token()
        return secret, lambda: deploy_tokens.revoke_deploy_token(token, project, by=access.SHELL, now=now)

    def deploy_token_destroyed():
        token, secret = deploy_token()
        return secret, lambda: deploy_tokens.destroy_deploy_token(token, project, by=access.SHELL)

    def job_finished():
        job, secret = factories.job(project, owner)
        end = jobs.finish_job
        return ("gitlab-ci-token", secret), lambda: end(job, JobStatus.SUCCESS, by=access.SHELL, now=now)

    return {
        "access token revoked": access_token_revoked,
        "access token rotated": access_token_rotated,
        "family of an access token revoked": access_token_family_revoked,
        "deploy token revoked": deploy_token_revoked,
        "deploy token destroyed": deploy_token_destroyed,
        "job finished": job_finished,
    }


@pytest.mark.parametrize(
    "end",
    [
        "access token revoked",
        "access token rotated",
        "family of an access token revoked",
        "deploy token revoked",
        "deploy token destroyed",
        "job finished",
    ],
)
def test_a_credential_that_ends_is_refused_by_the_next_request(pip, published_project, owner, statements, end):
    credentials, end_it = _issued(published_project, owner)[end]()
    for _ in range(2):
        statements.clear()
        assert pip.simple_page(published_project, "demo", credentials).status_code == 200
    assert statements == [], "the second is the kept one"

    end_it()

    assert pip.simple_page(published_project, "demo", credentials).status_code == 401


@pytest.mark.parametrize(
    "issue",
    [
        lambda project, owner: factories.access_token(owner),
        lambda project, owner: factories.deploy_token(project),
        lambda project, owner: factories.job(project, owner),
    ],
    ids=["access token", "deploy token", "job"],
)
def test_a_credential_that_is_issued_leaves_the_kept_answers(
    pip, published_project, owner, reporter, statements, issue
):
    token = factories.access_token(reporter)
    pip.simple_page(published_project, "demo", token)

    issue(published_project, owner)

    statements.clear()
    assert pip.simple_page(published_project, "demo", token).status_code == 200
    assert statements == []


def test_an_answer_expires_with_the_token_it_was_made_for(pip, published_project, owner, monkeypatch):
    _, job_secret = factories.job(published_project, owner, lifetime=timedelta(seconds=20))
    deploy = factories.deploy_token(published_project, expires_at=utcnow() + timedelta(seconds=20))
    callers = [deploy, ("gitlab-ci-token", job_secret)]
    for credentials in callers:
        assert pip.simple_page(published_project, "demo", credentials).status_code == 200
    later = utcnow() + timedelta(seconds=21)
    for module in ("pypi.prepared", "pypi.admitted", "auth.permits", "auth.credentials"):
        monkeypatch.setattr(f"registry.blueprints.{module}.utcnow", lambda: later)

    for credentials in callers:
        assert pip.simple_page(published_project, "demo", credentials).status_code == 401


def test_a_kept_answer_is_not_repeated_to_another_caller(pip, client, published_project, reporter, outsider):
    assert pip.simple_page(published_project, "demo", factories.access_token(reporter)).status_code == 200

    assert pip.simple_page(published_project, "demo").status_code == 401
    assert pip.simple_page(published_project, "demo", factories.access_token(outsider)).status_code == 404
    assert pip.simple_page(published_project, "demo", "nonsense").status_code == 401
    assert (
        client.get(f"{pypi_path(published_project)}/simple/demo/", headers={"PRIVATE-TOKEN": "nonsense"}).status_code
        == 401
    )


def test_each_form_host_and_spelling_has_an_answer_of_its_own(pip, published_project, reporter):
    token = factories.access_token(reporter)

    html = pip.simple_page(published_project, "demo", token)
    as_json = pip.simple_page(published_project, "demo", token, accept=JSON)
    elsewhere = pip.simple_page(published_project, "demo", token, headers={"Host": "elsewhere.example"})
    by_path = pip.get("/api/v4/projects/acme%2Ftools/packages/pypi/simple/demo/", token)

    assert html.content_type.startswith("text/html")
    assert as_json.content_type == JSON
    assert "http://elsewhere.example/" in elsewhere.text
    assert "projects/acme%2Ftools/" in by_path.text


def test_a_write_through_another_process_is_seen(app, pip, twine, published_project, reporter):
    token = factories.access_token(reporter)
    shared = ("INSTANCE_PATH", "SECRET_KEY", "UPSTREAM_URL", "DATABASE_URL")
    other = create_app({name: app.config[name] for name in shared})
    for _ in range(2):
        assert (
            len(Pip(other.test_client()).simple_page(published_project, "demo", token, accept=JSON).json["files"]) == 1
        )

    twine.upload(published_project, build_wheel(name="demo", version="2.0"), factories.deploy_token(published_project))

    assert len(Pip(other.test_client()).simple_page(published_project, "demo", token, accept=JSON).json["files"]) == 2
    with other.app_context():
        db.engine.dispose()


def test_kept_answers_stay_within_their_limit(pip, published_project, reporter, statements, monkeypatch):
    monkeypatch.setattr(prepared, "LIMIT_BYTES", 4000)
    token = factories.access_token(reporter)

    for number in range(20):
        assert pip.get(f"{pypi_path(published_project)}/simple/demo/?n={number}", token).status_code == 200
    statements.clear()
    pip.get(f"{pypi_path(published_project)}/simple/demo/?n=0", token)

    assert statements, "the first was dropped"


def test_a_public_page_that_turns_private_is_closed_at_once(app, pip, twine):
    project = factories.project(visibility=Visibility.PUBLIC)
    twine.upload(project, build_wheel(name="demo"), factories.deploy_token(project))
    for _ in range(2):
        assert pip.simple_page(project, "demo").status_code == 200

    namespaces.change(project, namespaces.NamespaceChanges(visibility=Visibility.PRIVATE), by=access.SHELL)

    assert pip.simple_page(project, "demo").status_code == 401


def _ways_to_ask(app, published_project, reporter):
    """Every way of giving credentials that opens a private page, as the headers and the query of a request."""
    token, secret = factories.access_token(reporter), factories.deploy_token(published_project)
    cookies = Browser(app).sign_in(reporter).client
    return {
        "basic": (basic(token), ""),
        "bearer": ({"Authorization": f"Bearer {token}"}, ""),
        "private token": ({"PRIVATE-TOKEN": token}, ""),
        "parameter": ({}, f"?private_token={token}"),
        "deploy token as basic": (basic(secret), ""),
        "deploy token": ({"Deploy-Token": secret}, ""),
        "cookie": ({"Cookie": f"registry_session={cookies.get_cookie('registry_session').value}"}, ""),
    }


@pytest.mark.parametrize(
    "way", ["basic", "bearer", "private token", "parameter", "deploy token as basic", "deploy token", "cookie"]
)
def test_a_page_for_credentials_is_not_repeated_without_them(app, published_project, reporter, statements, way):
    headers, query = _ways_to_ask(app, published_project, reporter)[way]
    path = f"{pypi_path(published_project)}/simple/demo/"
    for _ in range(2):
        statements.clear()
        assert Client(app, use_cookies=False).get(path + query, headers=headers).status_code == 200
    assert statements == [], "the second is the kept one"

    assert Client(app, use_cookies=False).get(path + (query and "?private_token=nonsense")).status_code == 401
    assert Client(app, use_cookies=False).get(path).status_code == 401


def test_links_are_spelled_as_each_client_spells_them(client, twine):
    group = factories.group("acme", visibility=Visibility.PUBLIC)
    project = factories.project("tools", parent=group, visibility=Visibility.PUBLIC)
    twine.upload(project, build_wheel(name="demo"), factories.deploy_token(project))

    for spelled in ("acme%2Ftools", "acme%2ftools", "acme/tools", "acme%2Ftools"):
        page = client.get(f"/api/v4/projects/{spelled}/packages/pypi/simple/demo/")

        assert f"/api/v4/projects/{spelled}/packages/pypi/files/" in page.text


def test_a_token_that_expires_at_midnight_reads_nothing_after_it(pip, published_project, reporter, monkeypatch):
    midnight = (utcnow() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    token = factories.access_token(reporter, expires_on=midnight.date())

    def at(moment):
        for module in ("pypi.prepared", "pypi.admitted", "auth.permits", "auth.credentials"):
            monkeypatch.setattr(f"registry.blueprints.{module}.utcnow", lambda: moment)
        return pip.simple_page(published_project, "demo", token).status_code

    assert at(midnight - timedelta(seconds=10)) == 200
    assert at(midnight - timedelta(seconds=1)) == 200
    assert at(midnight) == 401
