"""Uploading: callers, accepted files, answers, and leftovers."""

from __future__ import annotations

import io
from contextlib import closing
from datetime import timedelta
from functools import partial

import pytest
from flask import request
from sqlalchemy import func, select

from registry.blueprints.pypi import upload
from registry.blueprints.pypi.upload import received_form
from registry.database import db, utcnow
from registry.domain import access, instance, namespaces
from registry.domain.packages import deletion, protection, releases, usage
from registry.environ_keys import PREFLIGHT
from registry.errors import TooLarge
from registry.models import AuditEvent, NameStatus, Package, PackageFile, RegistryAccess, Role, UserState, Visibility
from registry.server.parser import Incoming
from tests import factories
from tests.builders import build_sdist, build_wheel
from tests.clients import JSON, Twine, basic, pypi_path
from tests.races import at_once
from tests.tables import each

WHEEL = build_wheel(name="demo", version="1.0", summary="A demo")
FORM = "multipart/form-data; boundary=x"


def test_an_upload_is_created_and_stored_with_its_digests(twine, project, developer, storage):
    response = twine.upload(project, WHEEL, factories.access_token(developer))

    assert response.status_code == 201
    assert response.json == {"message": "201 Created"}
    file = db.session.scalars(select(PackageFile)).one()
    assert (file.filename, file.sha256, file.size_bytes) == (WHEEL.filename, WHEEL.sha256, len(WHEEL.content))
    with storage.open(f"sha256/{WHEEL.sha256[:2]}/{WHEEL.sha256}") as stored:
        assert stored.read() == WHEEL.content


@pytest.mark.parametrize("ending", ["", "/", "//"])
def test_the_address_can_end_in_a_slash_without_redirect(twine, project, developer, ending):
    response = twine.upload(project, WHEEL, factories.access_token(developer), url=pypi_path(project) + ending)

    assert response.status_code == 201


@pytest.mark.parametrize("spelling", ["acme%2Ftools", "acme%2ftools", "ACME%2FTools", "acme/tools"])
def test_a_project_is_addressed_by_its_path_in_any_spelling(twine, project, developer, spelling):
    response = twine.upload(project, WHEEL, factories.access_token(developer), url=pypi_path(spelling, group=False))

    assert response.status_code == 201


def _callers(project, group):
    """The callers of the status matrix for uploads, by name: functions that create their credentials."""
    foreign = factories.project()
    member = factories.member(project, Role.DEVELOPER)
    reader = factories.member(project, Role.REPORTER)
    dead_token = factories.deploy_token(project, expires_at=utcnow() - timedelta(seconds=1))
    ended, ended_secret = factories.job(project, member)
    ended.expires_at = utcnow() - timedelta(seconds=1)
    factories.commit()
    factories.member(foreign, Role.DEVELOPER)
    return {
        "anonymous": lambda: None,
        "bad Basic": lambda: ("somebody", "nonsense"),
        "expired deploy token": lambda: dead_token,
        "bad job token": lambda: ("gitlab-ci-token", "glcbt-nonsense"),
        "ended job": lambda: ("gitlab-ci-token", ended_secret),
        "read_api only": lambda: factories.access_token(member, "read_api"),
        "stranger": lambda: factories.access_token(factories.user()),
        "guest": lambda: factories.access_token(factories.member(project, Role.GUEST)),
        "planner": lambda: factories.access_token(factories.member(project, Role.PLANNER)),
        "reporter": lambda: factories.access_token(reader),
        "developer": lambda: factories.access_token(member),
        "maintainer": lambda: factories.access_token(factories.member(project, Role.MAINTAINER)),
        "owner of the group": lambda: factories.access_token(factories.member(group, Role.OWNER)),
        "administrator": lambda: factories.access_token(factories.user(is_admin=True)),
        "deploy token": lambda: factories.deploy_token(project, "write_package_registry"),
        "deploy token of the group": lambda: factories.deploy_token(group, "write_package_registry"),
        "reading deploy token": lambda: factories.deploy_token(project, "read_package_registry"),
        "foreign deploy token": lambda: factories.deploy_token(foreign),
        "job": lambda: ("gitlab-ci-token", factories.job(project, member)[1]),
        "job of a reporter": lambda: ("gitlab-ci-token", factories.job(project, reader)[1]),
        "job elsewhere": lambda: ("gitlab-ci-token", factories.job(foreign, member)[1]),
    }


UPLOAD_MATRIX = [
    ("anonymous", 401, 401, 401),
    ("bad Basic", 401, 401, 401),
    ("expired deploy token", 401, 401, 401),
    ("bad job token", 401, 401, 401),
    ("ended job", 401, 401, 401),
    ("read_api only", 403, 403, 403),
    ("stranger", 403, 403, 404),
    ("guest", 403, 403, 403),
    ("planner", 403, 403, 403),
    ("reporter", 403, 403, 403),
    ("developer", 201, 201, 201),
    ("maintainer", 201, 201, 201),
    ("owner of the group", 201, 201, 201),
    ("administrator", 201, 201, 201),
    ("deploy token", 201, 201, 201),
    ("deploy token of the group", 201, 201, 201),
    ("reading deploy token", 403, 403, 403),
    ("foreign deploy token", 403, 404, 404),
    ("job", 201, 201, 201),
    ("job of a reporter", 403, 403, 403),
    ("job elsewhere", 403, 403, 404),
]


@pytest.mark.parametrize("column", [1, 2, 3], ids=["public", "internal", "private"])
def test_who_can_upload(app, twine, column):
    visibility = [Visibility.PUBLIC, Visibility.INTERNAL, Visibility.PRIVATE][column - 1]
    group = factories.group(visibility=Visibility.PUBLIC)
    project = factories.project(parent=group, visibility=visibility)
    callers = _callers(project, group)

    for number, row in enumerate(UPLOAD_MATRIX):
        response = twine.upload(project, build_wheel("demo", f"{number}.0"), callers[row[0]]())

        assert response.status_code == row[column], (row[0], response.text)
        is_challenge = "Basic realm=" in response.headers.get("WWW-Authenticate", "")
        assert is_challenge == (response.status_code == 401), row[0]


def test_an_unknown_project_is_404_for_all_callers(twine, developer):
    for credentials in (None, factories.access_token(developer), ("gitlab-ci-token", "nonsense")):
        response = twine.upload(4711, WHEEL, credentials)

        assert (response.status_code, response.json["message"]) == (404, "404 Not Found")


@pytest.mark.parametrize("change", [{"archived": True}, {"registry_access": RegistryAccess.DISABLED}], ids=str)
def test_an_archived_project_or_one_without_registry_refuses_uploads(twine, project, developer, change):
    for name, value in change.items():
        setattr(project, name, value)
    factories.commit()

    response = twine.upload(project, WHEEL, factories.access_token(developer))

    assert response.status_code == 403


def test_a_blocked_user_gets_the_reason(twine, project, developer):
    token = factories.access_token(developer)
    developer.state = UserState.BLOCKED
    factories.commit()

    response = twine.upload(project, WHEEL, token)

    assert (response.status_code, response.json["message"]) == (403, "403 Forbidden - Your account has been blocked.")


def test_the_body_is_not_read_before_authorization(client, project):
    class Untouchable(io.RawIOBase):
        def readinto(self, buffer):
            raise AssertionError("the body was read")

    response = client.post(
        pypi_path(project), environ_overrides={"wsgi.input": Untouchable(), "CONTENT_LENGTH": "1000"},
        content_type=FORM,
    )  # fmt: skip

    assert response.status_code == 401


@pytest.mark.parametrize(
    ("left_out", "error"),
    [
        (["content"], "content is missing"),
        (["name"], "name is missing"),
        (["content", "name", "version"], "content is missing, name is missing, version is missing"),
    ],
    ids=str,
)
def test_missing_fields_are_listed(twine, project, developer, left_out, error):
    response = twine.upload(project, WHEEL, factories.access_token(developer), **dict.fromkeys(left_out))

    assert (response.status_code, response.json["error"]) == (400, error)


@pytest.mark.parametrize("action", ["submit", "verify"])
def test_the_registration_of_a_name_is_refused_as_not_needed(twine, project, developer, action):
    form = {":action": action, "content": None}

    response = twine.upload(project, WHEEL, factories.access_token(developer), **form)

    assert (response.status_code, response.json["error"]) == (400, "content is missing")
    told = f"Bad request - The action '{action}' is not supported: names need no registration, as the first file "
    assert response.status.startswith(f"400 {told}")
    assert response.json["code"].startswith(f"400 {told}")
    assert "Upload the files of a version" in response.json["code"]


def test_an_action_without_meaning_here_is_shown_in_part_and_in_ascii(twine, project, developer):
    response = twine.upload(
        project, WHEEL, factories.access_token(developer), **{":action": "é\n" * 1000, "version": None}
    )

    assert response.status_code == 400
    assert "The action '\\xe9\\n" in response.json["code"]
    assert len(response.json["code"]) < 1000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": "1.0.x"}, "400 Bad request - Validation failed: Version is invalid"),
        ({"name": ".$/@!^*"}, "400 Bad request - Validation failed: Name is invalid"),
        ({"version": "x", "name": "-"}, "400 Bad request - Validation failed: Version is invalid, Name is invalid"),
    ],
    ids=str,
)
def test_invalid_names_and_versions_are_refused_with_the_message_of_gitlab(
    twine, project, developer, store_files, fields, message
):
    response = twine.upload(project, WHEEL, factories.access_token(developer), **fields)

    assert (response.status_code, response.json["message"]) == (400, message)
    assert store_files() == []


@pytest.mark.parametrize("digest", ["abc", "g" * 64, "a" * 63, "a" * 65, "а" * 64])
def test_a_malformed_digest_is_refused(twine, project, developer, digest):
    response = twine.upload(project, WHEEL, factories.access_token(developer), sha256_digest=digest)

    assert (response.status_code, response.json["error"]) == (400, "sha256_digest is invalid")


@pytest.mark.parametrize("field", ["sha256_digest", "md5_digest", "blake2_256_digest"])
def test_a_digest_that_differs_stores_nothing(twine, project, developer, store_files, field):
    wrong = {"sha256_digest": "0" * 64, "md5_digest": "0" * 32, "blake2_256_digest": "0" * 64}[field]

    response = twine.upload(project, WHEEL, factories.access_token(developer), **{field: wrong})

    assert response.status_code == 400
    assert field in response.json["message"]
    assert store_files() == []
    assert db.session.scalar(select(func.count(Package.id))) == 0


def test_a_digest_in_capitals_is_the_same_digest(twine, project, developer):
    response = twine.upload(project, WHEEL, factories.access_token(developer), sha256_digest=WHEEL.sha256.upper())

    assert response.status_code == 201


@pytest.mark.parametrize("absent", [None, "", "UNKNOWN"], ids=["left out", "empty", "UNKNOWN"])
def test_an_optional_field_can_be_absent_in_three_ways(twine, project, developer, absent):
    response = twine.upload(
        project, WHEEL, factories.access_token(developer), summary=absent, requires_python=absent, sha256_digest=absent
    )

    assert response.status_code == 201
    assert db.session.scalars(select(Package)).one().summary == ""


@pytest.mark.parametrize("boundary", ["edge", "e" * 200], ids=["short", "longest"])
def test_unknown_repeated_and_reordered_fields_are_accepted(client, project, developer, boundary):
    parts = [
        ("content", WHEEL.filename, WHEEL.content),
        ("gpg_signature", "demo.asc", b"-----BEGIN PGP SIGNATURE-----"),
        ("classifiers", None, b"Programming Language :: Python"),
        ("classifiers", None, b"License :: OSI Approved"),
        ("attestations", None, b"[" + b" " * 300_000 + b"]"),
        ("summary", None, b"first"),
        ("summary", None, b"last"),
        ("name", None, b"demo"),
        ("version", None, b"1.0"),
        ("from_the_future", None, b"\xff\x00"),
    ]
    body = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (
            boundary.encode(),
            name.encode(),
            b"" if filename is None else b'; filename="%s"' % filename.encode(),
            content,
        )
        for name, filename, content in parts
    )

    response = client.post(
        pypi_path(project), data=body + f"--{boundary}--\r\n".encode(),
        content_type=f"multipart/form-data; boundary={boundary}",
        headers=basic(factories.access_token(developer)),
    )  # fmt: skip

    assert response.status_code == 201, response.text
    assert db.session.scalars(select(Package)).one().summary == "last"


def test_long_fields_are_truncated_to_exactly_their_length(twine, project, developer):
    response = twine.upload(
        project, WHEEL, factories.access_token(developer), description="x" * 4001, requires_python="é" * 300,
        keywords="k" * 1024,
    )  # fmt: skip

    assert response.status_code == 201
    package = db.session.scalars(select(Package)).one()
    assert package.description == "x" * 3997 + "..."
    assert package.required_python == "é" * 252 + "..."
    assert package.keywords == "k" * 1024


def test_a_description_of_megabytes_is_accepted(twine, project, developer):
    response = twine.upload(project, WHEEL, factories.access_token(developer), description="é" * 5_000_000)

    assert response.status_code == 201


@each(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"--x\r\n", FORM),
        (b"--x\r\nContent-Disposition: form-data; name=content; filename=a\r\n\r\nabc", FORM),
        (b"rubbish", FORM),
        (b"rubbish", "multipart/form-data"),
        (b"name=demo", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"\x00\xff" * 100, "application/octet-stream"),
        (b"--x\r\n" + b"A" * 100_000, FORM),
        (b"--x\r\nContent-Disposition: form-data; name=\"n\r\n\r\nv\r\n--x--\r\n", FORM),
        (b"x", "multipart/form-data; boundary=" + "é" * 50),
        (b"--%b\r\n" % (b"x" * 201), "multipart/form-data; boundary=" + "x" * 201),
    ],
)  # fmt: skip
def test_a_malformed_body_is_a_400_with_a_sentence(client, project, developer, store_files, body, content_type):
    response = client.post(
        pypi_path(project), data=body, content_type=content_type, headers=basic(factories.access_token(developer))
    )

    assert response.status_code == 400
    assert response.json.get("message") or response.json.get("error")
    assert store_files() == []


def test_too_many_parts_or_too_much_text_are_refused(client, project, developer, monkeypatch):
    monkeypatch.setattr("registry.blueprints.pypi.upload.FORM_BYTES", 1000)
    part = b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n%s\r\n'
    token = basic(factories.access_token(developer))

    for body in (part % b"v" * 10_001, part % (b"v" * 2000)):
        response = client.post(pypi_path(project), data=body + b"--x--\r\n", content_type=FORM, headers=token)

        assert response.status_code == 400


HEAD = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n'
ENDLESS = {
    "in front of the first part": b"",
    "in the header of a part": HEAD % b"n" + b"Name: ",
    "behind the last part": HEAD % b"n" + b"\r\nv\r\n--x--\r\n",
}


class EndlessStream(io.RawIOBase):
    """A stream of a beginning and endless spaces; ``given`` counts the bytes."""

    def __init__(self, beginning):
        self._beginning, self.given = beginning, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        part, self._beginning = self._beginning[: len(buffer)], self._beginning[len(buffer) :]
        buffer[:] = part.ljust(len(buffer))
        self.given += len(buffer)
        return len(buffer)


@pytest.mark.parametrize("beginning", ENDLESS.values(), ids=ENDLESS)
def test_form_fields_are_not_collected_in_memory_without_limit(client, project, developer, beginning):
    stream = EndlessStream(beginning)

    response = client.post(
        pypi_path(project), environ_overrides={"wsgi.input": stream, "CONTENT_LENGTH": str(1 << 30)},
        content_type=FORM, headers=basic(factories.access_token(developer)),
    )  # fmt: skip

    assert response.status_code == 400
    assert stream.given < 1 << 20


def test_the_names_of_fields_count_as_text(client, project, developer, monkeypatch):
    monkeypatch.setattr("registry.blueprints.pypi.upload.FORM_BYTES", 1000)

    response = client.post(
        pypi_path(project), data=HEAD % (b"n" * 1000) + b"\r\nv\r\n--x--\r\n", content_type=FORM,
        headers=basic(factories.access_token(developer)),
    )  # fmt: skip

    assert "larger than 1000 bytes" in response.json["message"]


PART = HEAD + b"%b\r\nv\r\n"
HEADS = {
    "longer than any client sends": (1, b"Name: " + b"n" * (16 << 10) + b"\r\n", "a head of more than 16384 bytes"),
    "of many parameters": (1, b"Name: " + b";" * 100 + b"\r\n", "more than 100 lines and parameters"),
    "of many lines": (1, b"a:\r\n" * 60, "more than 100 lines and parameters"),
    "of many parts": (300, b"Name: " + b"n" * 15_000 + b"\r\n", "the heads of its parts, are larger"),
}


@pytest.mark.parametrize(("parts", "more", "reason"), HEADS.values(), ids=HEADS)
def test_heads_of_parts_are_bounded_before_they_are_parsed(client, project, developer, parts, more, reason):
    response = client.post(
        pypi_path(project), data=PART % (b"n", more) * parts + b"--x--\r\n", content_type=FORM,
        headers=basic(factories.access_token(developer)),
    )  # fmt: skip

    assert response.status_code == 400
    assert reason in response.json["message"]


@pytest.mark.parametrize(
    "filename", ["", ".", "..", "a\x00.whl", "a\n.whl", "x" * 300 + ".whl", "demo-1.0.exe", "demo"]
)
def test_an_invalid_file_name_is_refused(twine, project, developer, store_files, filename):
    response = twine.upload(
        project, WHEEL, factories.access_token(developer), content=(io.BytesIO(WHEEL.content), filename)
    )

    assert response.status_code == 400
    assert store_files() == []


def test_folders_in_the_file_name_are_dropped(twine, project, developer):
    content = (io.BytesIO(WHEEL.content), f"../dist/{WHEEL.filename}")

    assert twine.upload(project, WHEEL, factories.access_token(developer), content=content).status_code == 201


def test_an_empty_file_is_refused(twine, project, developer):
    response = twine.upload(
        project, WHEEL, factories.access_token(developer), content=(io.BytesIO(), WHEEL.filename), sha256_digest=None
    )

    assert (response.status_code, response.json["error"]) == (400, "content is invalid")


def test_a_file_above_the_limit_is_refused_and_one_of_exactly_the_limit_is_not(twine, project, developer, store_files):
    token = factories.access_token(developer)
    instance.change_instance(instance.InstanceChanges(pypi_max_file_size=len(WHEEL.content) - 1), by=access.SHELL)

    refused = twine.upload(project, WHEEL, token)

    assert (refused.status_code, refused.json["message"]) == (400, "400 Bad request - File is too large")
    assert store_files() == []
    instance.change_instance(instance.InstanceChanges(pypi_max_file_size=len(WHEEL.content)), by=access.SHELL)
    assert twine.upload(project, WHEEL, token).status_code == 201


def send_preflight(client, project, credentials, length, incoming=None):
    """Send the preflight of the server, which has the header of a large upload and nothing of its body."""
    incoming = incoming or Incoming(is_open=False)
    response = client.post(
        pypi_path(project),
        headers=basic(credentials) | {"Content-Type": FORM},
        environ_overrides={PREFLIGHT: incoming, "CONTENT_LENGTH": str(length)},
    )
    if incoming.reception is not None:
        incoming.reception.close()
    return response


def test_a_large_upload_is_authorized_before_its_body_arrives(client, project, developer):
    response = send_preflight(client, project, factories.access_token(developer), 1_000_000)

    assert (response.status_code, response.data) == (204, b"")


def test_a_body_that_declares_more_than_the_limit_of_the_instance_is_refused_before_it_arrives(
    client, project, developer
):
    instance.change_instance(instance.InstanceChanges(pypi_max_file_size=1000), by=access.SHELL)

    response = send_preflight(client, project, factories.access_token(developer), 33 << 20)

    assert (response.status_code, response.json["message"]) == (400, "400 Bad request - File is too large")


@pytest.mark.parametrize(("received", "allowed"), [(1 << 20, 17 << 20), (20 << 20, (32 << 20) + 1000)])
def test_a_body_without_a_declared_length_is_received_as_far_as_an_accepted_one_can_be_long(
    client, project, developer, received, allowed
):
    instance.change_instance(instance.InstanceChanges(pypi_max_file_size=1000), by=access.SHELL)
    incoming = Incoming(is_open=True)

    assert send_preflight(client, project, factories.access_token(developer), received, incoming).status_code == 204
    assert incoming.allowed_bytes == allowed


def test_a_client_cannot_send_a_preflight(twine, project, developer):
    response = twine.upload(
        project,
        WHEEL,
        factories.access_token(developer),
        headers={"registry.preflight": "1", "Registry-Preflight": "1"},
    )

    assert response.status_code == 201


def test_the_same_file_again_is_refused_with_a_message_that_clients_recognize(twine, project, developer, store_files):
    token = factories.access_token(developer)
    twine.upload(project, WHEEL, token)
    stored = store_files()

    response = twine.upload(project, WHEEL, token)

    assert response.status_code == 400
    assert "File name has already been taken" in response.json["message"]
    assert "already exists" in response.json["message"]
    assert "already exist" in response.status.lower()
    assert response.json["code"] == response.json["message"]
    assert store_files() == stored


def test_a_status_line_holds_one_line_of_plain_text(twine, project, developer):
    response = twine.upload(project, WHEEL, factories.access_token(developer), version="é\r\nX-Injected: 1")

    assert response.status_code == 400
    assert response.status.isascii()
    assert "X-Injected" not in response.headers


def test_the_same_file_again_is_200_where_the_project_accepts_it(twine, project, developer, store_files):
    token = factories.access_token(developer)
    twine.upload(project, WHEEL, token)
    project.identical_upload_accepted = True
    factories.commit()
    before = store_files()

    again = twine.upload(project, WHEEL, token)
    other = twine.upload(project, build_wheel(name="demo", version="1.0", summary="Other"), token)

    assert (again.status_code, again.json) == (200, {"message": "200 OK"})
    assert other.status_code == 400
    assert "already exists" in other.json["message"]
    assert store_files() == before


def test_the_same_file_again_is_200_where_the_project_is_full(twine, project, developer, monkeypatch):
    monkeypatch.setattr(upload, "FORM_BYTES", 1 << 20)
    token = factories.access_token(developer)
    twine.upload(project, WHEEL, token)
    project.identical_upload_accepted, project.storage_size_limit = True, len(WHEEL.content)
    factories.commit()

    again = twine.upload(project, WHEEL, token)
    larger = twine.upload(project, build_wheel(name="demo", version="2.0", size_bytes=2 * upload.FORM_BYTES), token)

    assert again.status_code == 200
    assert larger.status_code == 400
    assert "Storage limit reached" in larger.json["message"]


BROKEN = build_wheel(
    name="demo", version="1.0", requires_python="3.8+", requires_dist=["a b"], description="A title\n====",
    description_content_type="text/x-rst",
)  # fmt: skip


def test_one_response_lists_every_problem_and_the_status_line_stays_short(twine, project, developer, store_files):
    response = twine.upload(project, BROKEN, factories.access_token(developer), name="other")

    assert response.status_code == 400
    assert [(error["field"], error["value"]) for error in response.json["errors"]][:3] == [
        ("name", "other"), ("Requires-Dist", "a b"), ("Requires-Python", "3.8+"),
    ]  # fmt: skip
    assert {"field", "value", "expected"} == set(response.json["errors"][0])
    assert response.json["code"] == response.json["message"]
    assert response.json["message"].startswith(
        "400 Bad request - Validation failed: name is 'other', expected is demo as in the file's metadata; Req"
    )
    assert response.status == (
        "400 Bad request - 3 problems, the first: name is 'other', expected is demo as in the file's metadata"
    )
    assert store_files() == []


TAGLESS = build_wheel(files={"demo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\n"})
NO_TAG = {"field": "WHEEL: Tag", "value": "", "expected": "one line for each tag of the file name"}


def test_remarks_are_in_the_response_and_refuse_the_file_in_a_strict_project(twine, project, developer):
    token = factories.access_token(developer)
    validation = validated(twine, project, TAGLESS, token)
    upload = twine.upload(project, TAGLESS, token)
    project.strict_uploads = True
    factories.commit()
    other = build_wheel(tag="py2-none-any", files={"demo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\n"})

    refusals = [validated(twine, project, other, token), twine.upload(project, other, token)]

    assert (upload.status_code, upload.json) == (201, {"message": "201 Created", "remarks": [NO_TAG]})
    assert (validation.status_code, validation.json["remarks"]) == (200, [NO_TAG])
    for refusal in refusals:
        assert (refusal.status_code, refusal.json["errors"]) == (400, [NO_TAG])


def validated(twine, project, file, credentials, **fields):
    return twine.upload(project, file, credentials, url=f"{pypi_path(project)}/validate", **fields)


@pytest.mark.parametrize("ending", ["validate", "validate/", "/validate//"])
def test_a_form_is_validated_without_being_kept(twine, project, developer, store_files, ending):
    response = twine.upload(project, WHEEL, factories.access_token(developer), url=f"{pypi_path(project)}/{ending}")

    assert (response.status_code, response.json) == (
        200,
        {
            "message": "200 OK", "name": "demo", "version": "1.0", "filename": WHEEL.filename,
            "size": len(WHEEL.content), "sha256": WHEEL.sha256,
        },
    )  # fmt: skip
    assert store_files() == []
    assert db.session.scalar(select(func.count(Package.id))) == 0


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        (BROKEN, {"name": "other"}),
        (WHEEL, {"sha256_digest": "0" * 64}),
        (WHEEL, {"version": None}),
        (WHEEL, {"version": "x"}),
        (WHEEL, {"content": None}),
        (build_sdist(name="demo", version="1.0"), {}),
    ],
    ids=["broken", "wrong digest", "no version", "malformed version", "no file", "published already"],
)
def test_a_validation_refuses_files_with_the_same_message_as_an_upload(twine, project, developer, file, fields):
    token = factories.access_token(developer)
    twine.upload(project, build_sdist(name="demo", version="1.0"), token)

    validation = validated(twine, project, file, token, **fields)
    upload = twine.upload(project, file, token, **fields)

    assert (validation.status, validation.json) == (upload.status, upload.json)
    assert validation.status_code == 400


@pytest.mark.parametrize("caller", ["anonymous", "reporter", "read_api only", "stranger", "developer", "deploy token"])
def test_validating_needs_the_permission_to_upload(twine, caller):
    group = factories.group(visibility=Visibility.PRIVATE)
    project = factories.project(parent=group)
    credentials = _callers(project, group)[caller]()

    validation = validated(twine, project, WHEEL, credentials)
    upload = twine.upload(project, WHEEL, credentials)

    assert validation.status_code == {201: 200}.get(upload.status_code, upload.status_code)


def test_an_sdist_joins_the_wheel_of_its_version(twine, project, developer):
    token = factories.access_token(developer)

    for file in (WHEEL, build_sdist(name="demo", version="1.0")):
        assert twine.upload(project, file, token).status_code == 201

    assert db.session.scalar(select(func.count(Package.id))) == 1
    assert db.session.scalar(select(func.count(PackageFile.id))) == 2


def test_after_deletion_the_file_can_be_published_again(twine, project, developer):
    token = factories.access_token(developer)
    twine.upload(project, WHEEL, token)
    deletion.delete_package(db.session.scalars(select(Package)).one(), project, by=access.SHELL)

    response = twine.upload(project, WHEEL, token)

    assert response.status_code == 201


def test_a_protected_name_needs_the_role_of_the_rule(twine, project, developer, maintainer):
    protection.add_protection_rule(project, pattern="de*", push=Role.MAINTAINER, delete=None, by=access.SHELL)

    refused = twine.upload(project, WHEEL, factories.access_token(developer))

    assert (refused.status_code, refused.json["message"]) == (403, "403 Forbidden - Package protected.")
    assert twine.upload(project, WHEEL, factories.access_token(maintainer)).status_code == 201


@pytest.mark.parametrize("status", [NameStatus.ARCHIVED, NameStatus.QUARANTINED])
def test_an_archived_or_quarantined_name_takes_no_files_even_from_an_owner(twine, project, owner, store_files, status):
    token = factories.access_token(owner)
    twine.upload(project, WHEEL, token)
    releases.set_name_status(project, "demo", status, "Moved to\u00a0démo", by=access.SHELL)
    before = store_files()

    response = twine.upload(project, build_wheel(name="Demo", version="2.0"), token)

    sentence = f"403 Forbidden - Package Demo is {status} and takes no more files: Moved to démo"
    assert (response.status_code, response.json["message"], response.json["code"]) == (403, sentence, sentence)
    assert response.status == sentence.replace("é", "?")
    assert store_files() == before


def test_a_deprecated_name_accepts_files(twine, project, owner):
    token = factories.access_token(owner)
    twine.upload(project, WHEEL, token)
    releases.set_name_status(project, "demo", NameStatus.DEPRECATED, by=access.SHELL)

    assert twine.upload(project, build_wheel(name="demo", version="2.0"), token).status_code == 201


def test_a_file_added_to_a_yanked_version_is_yanked_too(twine, pip, project, developer):
    token = factories.access_token(developer)
    twine.upload(project, WHEEL, token)
    releases.yank_version(db.session.scalars(select(Package)).one(), project, "Loses data", by=access.SHELL)

    assert twine.upload(project, build_sdist(name="demo", version="1.0"), token).status_code == 201

    page = pip.simple_page(project, "demo", token, accept=JSON).json
    assert [file["yanked"] for file in page["files"]] == ["Loses data", "Loses data"]


def test_name_and_version_of_the_form_must_be_those_of_the_file(twine, project, developer, store_files):
    token = factories.access_token(developer)

    for fields in ({"name": "other"}, {"version": "2.0"}):
        response = twine.upload(project, WHEEL, token, **fields)

        assert response.status_code == 400
        assert next(iter(fields.values())) in response.json["message"]
    assert store_files() == []


def test_an_upload_with_a_job_token_remembers_the_job(twine, project, developer):
    job, secret = factories.job(project, developer)

    assert twine.upload(project, WHEEL, ("gitlab-ci-token", secret)).status_code == 201

    file = db.session.scalars(select(PackageFile)).one()
    assert (file.job_id, file.creator_id) == (job.id, developer.id)


def test_an_upload_is_audited(twine, project):
    twine.upload(project, WHEEL, factories.deploy_token(project))

    event = db.session.scalars(select(AuditEvent).where(AuditEvent.action == "package_published")).one()
    assert event.author.startswith("deploy token")
    assert event.details["sha256"] == WHEEL.sha256


def test_get_on_the_upload_address_is_not_allowed(client, project):
    response = client.get(pypi_path(project))

    assert (response.status_code, response.json) == (405, {"error": "405 Not Allowed"})
    assert "POST" in response.headers["Allow"]


def test_an_upload_over_a_storage_limit_is_refused_with_the_numbers(twine, pip, project, owner, wheel_limit):
    response = twine.upload(project, build_wheel("demo"), factories.access_token(owner))

    sentence = f"Storage limit reached: project acme/tools may hold 10 bytes and holds 0, so that {wheel_limit} more"
    assert response.status_code == 400
    assert response.json["message"] == f"400 Bad request - {sentence} do not fit"
    assert response.status.startswith(f"400 Bad request - {sentence}")


@pytest.fixture
def wheel_limit(project):
    """The size of a wheel that does not fit into the project."""
    namespaces.change(project, namespaces.NamespaceChanges(storage_size_limit=10), by=access.SHELL)
    return len(build_wheel("demo").content)


def test_an_upload_that_cannot_fit_is_refused_before_its_body_is_read(client, project, owner, wheel_limit):
    def asked(length: int) -> int:
        return send_preflight(client, project, factories.access_token(owner), length).status_code

    assert asked(upload.FORM_BYTES + 10) == 204
    assert asked(upload.FORM_BYTES + 11) == 400


def test_a_file_over_the_limit_is_not_written_to_its_end(app, project, storage):
    part = b'--x\r\nContent-Disposition: form-data; name="content"; filename="demo-1.0-py3-none-any.whl"\r\n\r\n'
    stream = EndlessStream(part)
    environ = {"wsgi.input": stream, "CONTENT_LENGTH": str(1 << 30), "CONTENT_TYPE": FORM}

    with (
        app.test_request_context(pypi_path(project), method="POST", environ_overrides=environ),
        closing(storage.stage()) as staged,
        pytest.raises(TooLarge),
    ):
        received_form(request, staged, 1 << 20)

    assert stream.given < 3 << 20


def test_two_clients_publish_a_new_version_at_once(app, project, developer, store_files):
    """Different files become one package; with the same file name, one is published."""
    token, address = factories.access_token(developer), pypi_path(project)

    def published_at_once(*files):
        statuses = []

        def publish(file):
            statuses.append(Twine(app.test_client(use_cookies=False)).upload(None, file, token, url=address).status)

        assert at_once(app, *(partial(publish, file) for file in files)) == ["done"] * len(files)
        return sorted(status.partition(" ")[0] for status in statuses)

    for number in range(3):
        version = f"{number}.0"
        assert published_at_once(build_wheel(version=version), build_sdist(version=version)) == ["201", "201"]
    for number in range(3, 6):
        version = f"{number}.0"
        rivals = build_wheel(version=version, summary="One"), build_wheel(version=version, summary="Other")
        assert published_at_once(*rivals) == ["201", "400"]

    assert db.session.scalar(select(func.count()).select_from(Package)) == 6
    assert db.session.scalar(select(func.count()).select_from(PackageFile)) == 9
    assert len(store_files()) == 15, "nine files and the metadata of six versions; nothing of the refused ones"
    assert usage.miscounts() == []
