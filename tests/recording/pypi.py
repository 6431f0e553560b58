"""The PyPI API: uploads, the index, simple pages, and last of all downloads, which are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.builders import BuiltFile, build_sdist, build_wheel, metadata
from tests.recording.recorder import BOUNDARY, Answer, basic, multipart
from tests.recording.world import ROOT_TOKEN, World

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
README = """\
# signalbox

Reads **signals** and writes `tables`.

| option | default |
|---|---|
| `above` | `0.5` |

- [documented](https://example.com/docs)

<script>alert(1)</script> and <b onclick="alert(1)">bold</b>
"""
RST = """\
signalbox
=========

A *description* in reStructuredText_.

.. _reStructuredText: https://example.com
"""
DESCRIBED: dict[str, Any] = {
    "summary": "Reads signals of all instruments & writes <tables>.", "description": README,
    "description_content_type": "text/markdown", "requires_python": ">=3.9,<4",
    "requires_dist": ("packaging>=20", "tomli; python_version < '3.11'"),
    "headers": ("Author-Email: bob@example.com", "Keywords: signals,tables", "License: MIT"),
}  # fmt: skip
LONG = "a-package-with-a-name-that-was-thought-about-for-a-very-long-time-and-never-shortened-again"


class Uploads:
    """Sends forms as twine does."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(
        self, project: object, file: BuiltFile, headers: Mapping[str, str] | None = None, *, validate: bool = False,
        filename: str | None = None, content: bytes | None = None, kind: str = "projects", **fields: str | None,
    ) -> Answer:  # fmt: skip
        """``fields`` replace form fields; ``None`` leaves one out."""
        form: dict[str, str | None] = {
            ":action": "file_upload", "protocol_version": "1", "name": file.name, "version": file.version,
            "filetype": str(file.kind), "metadata_version": "2.1", "sha256_digest": file.sha256, **fields,
        }  # fmt: skip
        body = multipart(
            [
                *((name.replace("__", ":"), value) for name, value in form.items() if value is not None),
                ("content", (filename or file.filename, file.content if content is None else content)),
            ]
        )
        path = f"/api/v4/{kind}/{project}/packages/pypi" + ("/validate" if validate else "")
        return self.send(path, body, headers)

    def send(self, path: str, body: bytes, headers: Mapping[str, str] | None = None, **more: str) -> Answer:
        credentials = basic("__token__", ROOT_TOKEN) if headers is None else headers
        sent = {**credentials, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **more}
        return self.world.recorder.request("POST", path, sent, body)


def play_uploads(world: World) -> None:
    upload = Uploads(world)
    _furnish(world, upload)
    _refused_forms(world, upload)
    _refused_files(world, upload)
    _uploaders(world, upload)
    _limits(world, upload)


def _furnish(world: World, upload: Uploads) -> None:
    world.recorder.part("pypi-uploads")
    tokens, ids = world.tokens, world.ids
    bob = basic("bob", tokens["bob"])
    for version in ("1.0.0", "1.1.0", "2.0.0rc1"):
        upload(ids["tools"], build_wheel("signalbox", version, **DESCRIBED), bob, summary=DESCRIBED["summary"])
    job = basic("gitlab-ci-token", tokens["job tools"])
    for file in (build_wheel("signalbox", "2.0.0", **DESCRIBED), build_sdist("signalbox", "2.0.0", **DESCRIBED)):
        upload("acme%2Ftools", file, job, summary=DESCRIBED["summary"], keywords="signals,tables",
               requires_python=">=3.9,<4", author_email="bob@example.com", description=README,
               description_content_type="text/markdown")  # fmt: skip
    upload(ids["tools"], build_wheel("signalbox", "2.0.0", build="1"), bob)
    for number in range(1, 24):
        upload(ids["tools"], build_wheel(f"driver-{number:02}", "1.0"))
    for name, version in (("old-thing", "0.1"), ("doomed", "1.0"), ("doomed", "2.0"), ("guarded-thing", "1.0"),
                          (LONG, "1.0.0.post20260131"), ("Mixed.Case_Name", "1!2.0+local.1")):  # fmt: skip
        upload(ids["tools"], build_wheel(name, version))
    upload(
        ids["tools"], build_sdist("plain", "1.0", description="Plain & simple", description_content_type="text/plain")
    )
    upload(ids["tools"], build_sdist("restful", "1.0", description=RST, description_content_type="text/x-rst"))
    upload(ids["tools"], build_sdist("zipped", "1.0", filename="zipped-1.0.zip"))
    upload(ids["notebook"], build_wheel("fieldnotes", "0.3.0", summary="Notes that stay readable."))
    upload(ids["notebook"], build_wheel("signalbox", "3.0.0"))
    upload(ids["samples"], build_wheel("samples", "1.0", summary="To try things with"))
    upload(ids["hidden"], build_wheel("samples", "2.0"))
    upload(ids["shared"], build_wheel("shared-tools", "1.0"))
    upload(ids["own"], build_wheel("mine", "1.0"), basic("alice", tokens["alice"]))
    listed = world.root.get(f"/projects/{ids['notebook']}/packages?package_name=fieldnotes").json
    ids["fieldnotes"] = listed[0]["id"]


def _refused_forms(world: World, upload: Uploads) -> None:
    world.recorder.part("pypi-refused-forms")
    ids = world.ids
    tools, wheel = ids["tools"], build_wheel("fresh", "1.0")
    published = build_wheel("signalbox", "1.0.0", **DESCRIBED)
    fields: tuple[dict[str, Any], ...] = (
        {"name": None}, {"version": None}, {"name": ""}, {"name": "UNKNOWN"}, {"name": "other"}, {"name": "FRESH"},
        {"name": "fre sh"}, {"name": "x" * 300}, {"version": "2.0"}, {"version": "1.0.0"}, {"version": "one"},
        {"version": "x" * 300}, {"sha256_digest": None}, {"sha256_digest": "0" * 64}, {"sha256_digest": "short"},
        {"md5_digest": "0" * 32}, {"md5_digest": "zzz"}, {"blake2_256_digest": "0" * 64}, {"blake2_256_digest": "x"},
        {"metadata_version": "x" * 30}, {"requires_python": "x" * 300}, {"requires_python": "not valid"},
        {"filetype": "sdist"}, {"filetype": "egg"}, {"__action": "submit"}, {"summary": "x" * 500},
        {"keywords": "x" * 2000},
        {"filename": "fresh-1.0.exe"}, {"filename": "fresh-1.0.egg"}, {"filename": "fresh-1.0.tar.bz2"},
        {"filename": "fresh.whl"}, {"filename": "../fresh-1.0-py3-none-any.whl"}, {"filename": "x" * 300 + ".whl"},
        {"filename": "fresh-1.0-py9-none-any.whl"}, {"filename": "fresh-1.0-py3-none-strange.whl"},
        {"filename": "other-1.0-py3-none-any.whl"}, {"filename": "fresh-2.0-py3-none-any.whl"},
        {"filename": "fresh-1.0.tar.gz"}, {"filename": "fresh-1.0.zip"}, {"filename": "日本-1.0-py3-none-any.whl"},
    )  # fmt: skip
    for changed in fields:
        upload(tools, wheel, validate=True, **changed)
    for changed in fields[:16]:
        upload(tools, wheel, validate=False, **{**changed, "sha256_digest": changed.get("sha256_digest", "1" * 64)})
    upload(tools, published)
    upload(tools, published, validate=True)
    upload(tools, build_wheel("signalbox", "1.0.0", files={"more.py": b"x = 1"}))
    world.root.put(f"/projects/{tools}", {"pypi_identical_upload_accepted": True})
    upload(tools, published)
    upload(tools, published, sha256_digest="0" * 64)
    upload(tools, build_wheel("signalbox", "1.0.0", files={"more.py": b"x = 1"}))
    world.root.put(f"/projects/{tools}", {"pypi_identical_upload_accepted": False})
    path = f"/api/v4/projects/{tools}/packages/pypi"
    good = multipart([("name", "fresh"), ("version", "1.0"), ("content", (wheel.filename, wheel.content))])
    twice = multipart([("name", "fresh"), ("content", ("a.whl", b"a")), ("content", ("b.whl", b"b"))])
    for body in (b"", b"no form", good[:200], good[:-10], good.replace(b"\r\n", b"\n", 3), twice,
                 multipart([("name", "fresh"), ("version", "1.0"), ("content", "text")]),
                 multipart([("name", "fresh"), ("version", "1.0")]),
                 multipart([("name", "a"), ("name", "fresh"), ("version", "1.0"),
                     ("content", (wheel.filename, b"x"))])):  # fmt: skip
        upload.send(path, body)
    for kind in ("multipart/form-data", "application/json", "text/plain", "multipart/mixed; boundary=x",
                 "application/x-www-form-urlencoded", f"multipart/form-data; boundary={'b' * 300}"):  # fmt: skip
        upload.send(path, good, **{"Content-Type": kind})


def _refused_files(world: World, upload: Uploads) -> None:
    world.recorder.part("pypi-refused-files")
    tools = world.ids["tools"]
    info = "bad-1.0.dist-info"
    wheels = (
        build_wheel("bad", without=[f"{info}/METADATA"], version="1.0"),
        build_wheel("bad", "1.0", without=[f"{info}/WHEEL"]), build_wheel("bad", "1.0", without=[f"{info}/RECORD"]),
        build_wheel("bad", "1.0", record=b""), build_wheel("bad", "1.0", record=b"not,a\nrecord"),
        build_wheel("bad", "1.0", core_metadata=metadata("other", "1.0")),
        build_wheel("bad", "1.0", core_metadata=metadata("bad", "2.0")),
        build_wheel("bad", "1.0", core_metadata=b"nonsense"), build_wheel("bad", "1.0", core_metadata=b"\xff\xfe"),
        build_wheel("bad", "1.0", metadata_version="9.9"), build_wheel("bad", "1.0", requires_python="three"),
        build_wheel("bad", "1.0", requires_dist=["a b c"]), build_wheel("bad", "1.0", summary="two\n        lines"),
        build_wheel("bad", "1.0", headers=["Classifier: Private :: Do Not Upload"]),
        build_wheel("bad", "1.0", headers=["Classifier: Nothing :: Known", "Home-Page: no address"]),
        build_wheel("bad", "1.0", headers=["License-File: LICENSE"], metadata_version="2.4"),
        build_wheel("bad", "1.0", description=".. nonsense::\n\n*x", description_content_type="text/x-rst"),
        build_wheel("bad", "1.0", description="x", description_content_type="text/strange"),
        build_wheel("bad", "1.0", files={"other-1.0.dist-info/METADATA": b""}),
        build_wheel("bad", "1.0", files={"../escape.py": b""}), build_wheel("bad", "1.0", files={"/absolute.py": b""}),
        build_wheel("bad", "1.0", files={f"{info}/WHEEL": b"Wheel-Version: 9.0\n"}),
        build_wheel("bad", "1.0", files={f"{info}/WHEEL": b"Wheel-Version: 1.0\nTag: cp39-cp39-win32\n"}),
        build_wheel("bad", "1.0", core_metadata=metadata("other", "three", requires_python="x"), record=b""),
    )  # fmt: skip
    sdists = (
        build_sdist("bad", "1.0", top="other-1.0"), build_sdist("bad", "1.0", core_metadata=metadata("other", "1.0")),
        build_sdist("bad", "1.0", files={"../escape": b""}), build_sdist("bad", "1.0", core_metadata=b"nonsense"),
        build_sdist("bad", "1.0", filename="bad-1.0.zip", top="other-1.0"),
        build_sdist("bad", "1.0", headers=["License-File: COPYING"], metadata_version="2.4"),
    )  # fmt: skip
    for file in (*wheels, *sdists):
        upload(tools, file, validate=True)
        upload(tools, file)
    good = build_wheel("bad", "1.0")
    for content in (b"", b"PK", b"x" * 100, good.content[:-30], good.content[:100], b"\x1f\x8b" + b"0" * 50):
        upload(tools, good, content=content, sha256_digest=None)
        upload(tools, build_sdist("bad", "1.0"), content=content, sha256_digest=None)
    upload(tools, good, validate=True)
    upload(tools, build_sdist("bad", "1.0"), validate=True)


def _uploaders(world: World, upload: Uploads) -> None:
    world.recorder.part("pypi-uploaders")
    tokens, ids = world.tokens, world.ids
    credentials: dict[str, Mapping[str, str]] = {
        "nobody": {}, "guest": basic("carol", tokens["carol"]), "outsider": basic("erin", tokens["erin"]),
        "deactivated": basic("henry", tokens["henry"]), "read only": basic("alice", tokens["alice read_api"]),
        "wrong": basic("alice", "glpat-no-such-token-at-all"),
        "password": basic("alice", "a password of the recording 2"),
        "reading deploy token": basic("x", tokens["tools read"]),
        "other job": basic("gitlab-ci-token", tokens["job notebook"]),
        "wrong job": basic("gitlab-ci-token", "glcbt-no-such-token-at-all"),
        "job elsewhere": basic("job", tokens["job tools"]),
        "rotated": basic("alice", tokens["to rotate"]), "no base64": {"Authorization": "Basic !!!"},
    }  # fmt: skip
    for headers in credentials.values():
        for project in ("tools", "samples", "own"):
            upload(ids[project], build_wheel("fresh", "1.0"), headers, validate=True)
        upload("acme%2Fnothing", build_wheel("fresh", "1.0"), headers)
        upload(ids["tools"], build_wheel("fresh", "1.0"), headers)
    working: tuple[Mapping[str, str], ...] = (
        basic("x", tokens["tools write"]), basic("", tokens["acme write"]), {"Deploy-Token": tokens["tools both"]},
        {"PRIVATE-TOKEN": tokens["bob"]}, {"Authorization": f"Bearer {tokens['bob']}"},
        {"Authorization": f"Bearer {tokens['job tools']}"}, {"JOB-TOKEN": tokens["job tools"]},
        {"Authorization": f"Bearer {tokens['tools write']}"},
    )  # fmt: skip
    for number, headers in enumerate(working):
        upload(ids["tools"], build_wheel("working", f"1.{number}"), headers)
    for spelling in ("acme%2Ftools", "acme/tools", "ACME%2ftools", "acme%2Fattic", "acme%2Fresearch", "999999", "x"):
        upload(spelling, build_wheel("spelled", "1.0", tag=f"py3{len(spelling) % 10}-none-any"), validate=True)
        upload(spelling, build_wheel("spelled", "1.0"))
    upload(f"{ids['acme']}/-", build_wheel("fresh", "1.0"), kind="groups")
    root = world.root
    root.put(f"/projects/{ids['empty']}", {"package_registry_access_level": "disabled"})
    upload(ids["empty"], build_wheel("fresh", "1.0"))
    upload(ids["empty"], build_wheel("fresh", "1.0"), basic("bob", tokens["bob"]))
    root.put(f"/projects/{ids['empty']}", {"package_registry_access_level": "enabled"})


def play_closed_names(world: World) -> None:
    """Uploads to names that the REST part has archived, quarantined, yanked or protected meanwhile."""
    world.recorder.part("pypi-closed-names")
    upload, tools = Uploads(world), world.ids["tools"]
    for name in ("old-thing", "driver-01", "driver-02", "signalbox", "guarded-thing", "guarded-new", "second"):
        for validate in (True, False):
            for user in ("bob", "dave", "alice"):
                credentials = basic(user, world.tokens[user])
                upload(tools, build_wheel(name, f"7.{'abd'.index(user[0])}"), credentials, validate=validate)
    job = basic("gitlab-ci-token", world.tokens["job tools"])
    upload(tools, build_wheel("guarded-thing", "8.0"), job)
    upload(tools, build_wheel("guarded-thing", "8.1"), basic("x", world.tokens["tools write"]))
    upload(tools, build_sdist("signalbox", "1.0.0"), basic("bob", world.tokens["bob"]))


def _limits(world: World, upload: Uploads) -> None:
    world.recorder.part("pypi-limits")
    root, tools = world.root, world.ids["tools"]
    upload(tools, build_wheel("large", "1.0", size_bytes=150_000))
    upload(tools, build_wheel("large", "2.0", size_bytes=220_000))
    upload(tools, build_wheel("large", "2.0", size_bytes=220_000), validate=True)
    upload(tools, build_wheel("large", "2.0", size_bytes=220_000), {})
    root.put("/application/plan_limits", {"plan_name": "default", "pypi_max_file_size": 500})
    upload(tools, build_wheel("large", "3.0"))
    root.put("/application/plan_limits", {"plan_name": "default", "pypi_max_file_size": 0})
    root.put(f"/projects/{tools}", {"storage_size_limit": 1000})
    upload(tools, build_wheel("large", "3.0"))
    upload(tools, build_wheel("large", "3.0"), validate=True)
    root.put(f"/projects/{tools}", {"storage_size_limit": None})
    root.put("/groups/acme", {"storage_size_limit": 1000})
    upload(tools, build_wheel("large", "3.0"))
    root.put("/groups/acme", {"storage_size_limit": None})
    root.put("/application/settings", {"project_storage_size_limit": 1000})
    upload(tools, build_wheel("large", "3.0"))
    root.put("/application/settings", {"project_storage_size_limit": None})
    path = f"/api/v4/projects/{tools}/packages/pypi"
    for length in ("50000000", "9999999999", "-1", "many"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
        kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nConnection: close\r\n"
        world.recorder.raw(f"upload of {length} bytes", f"{head}{kind}\r\n".encode())
        world.recorder.raw(f"expected upload of {length} bytes", f"{head}{kind}Expect: 100-continue\r\n\r\n".encode())


def play_reading(world: World) -> None:
    _indexes(world)
    _forms(world)
    _conditions(world)
    _readers(world)
    _forwarding(world)


def _bases(world: World) -> list[str]:
    ids = world.ids
    return [
        f"/api/v4/projects/{ids['tools']}/packages/pypi", "/api/v4/projects/acme%2Ftools/packages/pypi",
        "/api/v4/projects/acme/tools/packages/pypi", f"/api/v4/projects/{ids['samples']}/packages/pypi",
        f"/api/v4/groups/{ids['acme']}/-/packages/pypi", "/api/v4/groups/acme%2Fresearch/-/packages/pypi",
        "/api/v4/groups/acme/research/-/packages/pypi", "/api/v4/groups/open/-/packages/pypi",
    ]  # fmt: skip


def _indexes(world: World) -> None:
    world.recorder.part("pypi-index")
    get = world.recorder.request
    alice = basic("alice", world.tokens["alice"])
    names = (
        "signalbox", "Signal_Box", "signal-box", "SIGNALBOX/", "driver-01", "driver-02", "driver.03", "old-thing",
        "samples",
        "fieldnotes", "mixed-case-name", "nothing-here", "a%20b", "..%2Fx", "x%00", "signalbox/1.0", "", "日本",
    )  # fmt: skip
    for base in _bases(world):
        for accept in (HTML, JSON):
            get("GET", f"{base}/simple", {**alice, "Accept": accept})
            get("GET", f"{base}/simple/", {**alice, "Accept": accept})
        for name in names:
            get("GET", f"{base}/simple/{name}", {**alice, "Accept": JSON})
            get("GET", f"{base}/simple/{name}/", alice)
    get("GET", f"{_bases(world)[0]}/+simple", alice)
    get("GET", f"{_bases(world)[0]}/+simple/signalbox/", alice)
    get("GET", f"{_bases(world)[4]}/+simple/signalbox/", alice)


def _forms(world: World) -> None:
    world.recorder.part("pypi-forms")
    base = _bases(world)[0]
    alice = basic("alice", world.tokens["alice"])
    accepts = (
        "*/*", "text/html", "application/json", f"{JSON}, {HTML};q=0.2, text/html;q=0.01", f"{JSON};q=0.1, text/html",
        "application/vnd.pypi.simple.latest+json", "application/vnd.pypi.simple.latest+html", "application/*",
        "application/vnd.pypi.simple.v2+json", f"{JSON};q=0", "text/*;q=0.5, application/*;q=0.6", "nonsense", "",
        HTML.upper(), f"{HTML};q=2",
    )  # fmt: skip
    for path in (f"{base}/simple/", f"{base}/simple/signalbox/"):
        for accept in accepts:
            world.recorder.request("GET", path, {**alice, "Accept": accept})
        for form in (JSON, HTML, "text/html", "application/vnd.pypi.simple.latest+json", "x"):
            world.recorder.request("GET", f"{path}?format={form.replace('+', '%2B')}", alice)
        for encoding in ("gzip", "gzip;q=0", "identity", "br, gzip;q=0.5", "*", "deflate"):
            for accept in (JSON, HTML):
                world.recorder.request("GET", path, {**alice, "Accept": accept, "Accept-Encoding": encoding})
        for method in ("HEAD", "OPTIONS", "POST", "PUT", "DELETE"):
            world.recorder.request(method, path, alice)
            world.recorder.request(method, path)
        world.recorder.request("HEAD", path, {**alice, "Accept": JSON, "Accept-Encoding": "gzip"})


def _conditions(world: World) -> None:
    world.recorder.part("pypi-conditions")
    base = _bases(world)[0]
    alice = basic("alice", world.tokens["alice"])
    for path in (f"{base}/simple/", f"{base}/simple/signalbox/"):
        for accept in (JSON, HTML):
            sent = {**alice, "Accept": accept}
            etag = world.recorder.request("GET", path, sent).headers["ETag"]
            for method in ("GET", "HEAD"):
                for condition in (etag, f"W/{etag}", f'"other", {etag}', '"other"', "*"):
                    world.recorder.request(method, path, {**sent, "If-None-Match": condition})
            world.recorder.request("GET", path, {**sent, "If-Match": '"other"'})
            world.recorder.request("GET", path, {**sent, "Range": "bytes=0-9"})
            world.recorder.request("GET", path, {**sent, "If-Modified-Since": "Sat, 01 Jan 2050 00:00:00 GMT"})


def _readers(world: World) -> None:
    world.recorder.part("pypi-readers")
    get, tokens = world.recorder.request, world.tokens
    readers: list[Mapping[str, str]] = [
        {}, *(basic(name, tokens[name])
            for name in ("root", "bob", "carol", "erin", "frank", "henry", "alice read_api")),
        basic("alice", tokens["alice read_user"]), basic("x", "y"), basic("alice", "a password of the recording 2"),
        basic("alice", ""), basic("x", tokens["tools read"]), basic("x", tokens["tools write"]),
        basic("", tokens["acme read"]),
        basic("x", tokens["acme both"]), {"Deploy-Token": tokens["acme read"]},
        {"Deploy-Token": "gldt-no-such-token-at-all"},
        {"PRIVATE-TOKEN": tokens["bob"]}, {"PRIVATE-TOKEN": "glpat-no-such-token-at-all"},
        {"PRIVATE-TOKEN": tokens["tools read"]}, {"Authorization": f"Bearer {tokens['bob']}"},
        {"Authorization": f"Bearer {tokens['tools read']}"}, {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Bearer {tokens['job tools']}"}, {"JOB-TOKEN": tokens["job tools"]},
        basic("gitlab-ci-token", tokens["job tools"]), basic("gitlab-ci-token", tokens["job notebook"]),
        basic("gitlab-ci-token", tokens["job samples"]), basic("x", tokens["job tools"]),
        basic("alice", tokens["to revoke"]),
        {"Authorization": f"Basic {tokens['bob']}"}, {"Authorization": "Basic"},
    ]  # fmt: skip
    ids = world.ids
    paths = (
        *(f"/api/v4/projects/{ids[name]}/packages/pypi/simple/"
            for name in ("tools", "samples", "hidden", "shared", "notebook", "own")),
        "/api/v4/groups/acme/-/packages/pypi/simple/", "/api/v4/groups/open/-/packages/pypi/simple/",
        "/api/v4/groups/acme/-/packages/pypi/simple/signalbox/", "/api/v4/groups/open/-/packages/pypi/simple/samples/",
        "/api/v4/groups/open/-/packages/pypi/simple/requests/",
        f"/api/v4/projects/{ids['samples']}/packages/pypi/simple/requests/",
        "/api/v4/groups/inner/-/packages/pypi/simple/", "/api/v4/projects/999999/packages/pypi/simple/",
        "/api/v4/projects/acme%2Ftools/packages/pypi/files/" + "0" * 64 + "/x-1.0.tar.gz",
    )  # fmt: skip
    for headers in readers:
        for path in paths:
            get("GET", path, headers)
    get("GET", f"{paths[0]}?private_token={tokens['bob']}")
    get("GET", f"{paths[0]}?job_token={tokens['job tools']}")
    root = world.root
    for level in ("private", "disabled", "public", "enabled"):
        root.put(f"/projects/{ids['hidden']}", {"package_registry_access_level": level})
        root.put(f"/projects/{ids['samples']}", {"package_registry_access_level": level})
        for headers in (
            {},
            basic("erin", tokens["erin"]),
            basic("alice", tokens["alice"]),
            basic("root", tokens["root"]),
        ):
            for path in (paths[1], paths[2], paths[7], paths[9]):
                get("GET", path, headers)
    root.put("/application/settings", {"allow_guest_plus_roles_to_pull_packages": True})
    get("GET", paths[0], basic("carol", tokens["carol"]))
    root.put("/application/settings", {"allow_guest_plus_roles_to_pull_packages": False})


def _forwarding(world: World) -> None:
    world.recorder.part("pypi-forwarding")
    get, root = world.recorder.request, world.root
    alice = basic("alice", world.tokens["alice"])

    def asked() -> None:
        for base in _bases(world):
            for name in ("requests", "Re.quests_x", "signalbox", "no name"):
                get("GET", f"{base}/simple/{name.replace(' ', '%20')}/", {**alice, "Accept": JSON})
        get("HEAD", f"{_bases(world)[0]}/simple/requests/", alice)
        get("GET", f"{_bases(world)[7]}/simple/requests/")

    asked()
    root.put("/groups/acme/package_settings", {"pypi_package_requests_forwarding": False})
    asked()
    root.put("/groups/acme/package_settings", {"pypi_package_requests_forwarding": None})
    root.put("/application/settings", {"pypi_package_requests_forwarding": False})
    asked()
    root.put("/application/settings", {"pypi_package_requests_forwarding": True})


def play_downloads(world: World) -> None:
    """Download files. The counts are written at intervals: steps that show them follow after a restart."""
    world.recorder.part("pypi-downloads")
    get, tokens = world.recorder.request, world.tokens
    alice = basic("alice", tokens["alice"])
    wheel, sdist = build_wheel("signalbox", "2.0.0", **DESCRIBED), build_sdist("signalbox", "2.0.0", **DESCRIBED)
    for base in (_bases(world)[0], _bases(world)[1], _bases(world)[4]):
        for file in (wheel, sdist):
            path = f"{base}/files/{file.sha256}/{file.filename}"
            for method in ("GET", "HEAD"):
                get(method, path, alice)
                get(method, f"{path}.metadata", alice)
            for headers in (
                {"Range": "bytes=0-9"}, {"Range": "bytes=-5"}, {"Range": "bytes=10-"}, {"Range": "bytes=99999999-"},
                {"Range": "bytes=0-1,5-6"}, {"Range": "lines=1-2"}, {"Range": "bytes=5-2"},
                {"Range": "bytes=0-9", "If-Range": f'"{file.sha256}"'}, {"Range": "bytes=0-9", "If-Range": '"other"'},
                {"If-None-Match": f'"{file.sha256}"'}, {"If-None-Match": '"other"'}, {"If-None-Match": "*"},
                {"If-Modified-Since": "Sat, 01 Jan 2050 00:00:00 GMT"},
                {"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"},
                {"Accept-Encoding": "gzip"},
            ):  # fmt: skip
                get("GET", path, {**alice, **headers})
                get("GET", f"{path}.metadata", {**alice, **headers})
        for path in (
            f"{'0' * 64}/{wheel.filename}", f"{wheel.sha256.upper()}/{wheel.filename}",
            f"{wheel.sha256}/{sdist.filename}",
            f"short/{wheel.filename}", f"{wheel.sha256}/..%2Fx", f"{wheel.sha256}/",
            f"{wheel.sha256}/{wheel.filename}/x",
            f"{wheel.sha256}/{wheel.filename}.asc", f"{wheel.sha256}/{wheel.filename}%00", wheel.sha256,
        ):  # fmt: skip
            get("GET", f"{base}/files/{path}", alice)
        for method in ("POST", "DELETE", "OPTIONS"):
            get(method, f"{base}/files/{wheel.sha256}/{wheel.filename}", alice)
    _downloaders(world, wheel)


def _downloaders(world: World, wheel: BuiltFile) -> None:
    get, tokens, ids = world.recorder.request, world.tokens, world.ids
    sample, hidden, closed = (
        build_wheel("samples", "1.0", summary="To try things with"),
        build_wheel("samples", "2.0"),
        build_wheel("driver-02", "1.0"),
    )
    readers: list[Mapping[str, str]] = [
        {}, *(basic(name, tokens[name]) for name in ("root", "bob", "carol", "erin", "frank")),
        basic("x", tokens["tools read"]),
        basic("x", tokens["acme read"]), basic("gitlab-ci-token", tokens["job notebook"]),
        {"PRIVATE-TOKEN": tokens["bob"]},
        {"Deploy-Token": tokens["tools both"]}, {"Authorization": f"Bearer {tokens['job tools']}"}, basic("x", "y"),
    ]  # fmt: skip
    for headers in readers:
        for namespace, file in (
            (f"projects/{ids['tools']}", wheel), ("groups/acme/-", wheel), ("groups/acme%2Fresearch/-", wheel),
            (f"projects/{ids['samples']}", sample), ("groups/open/-", sample), ("groups/open/-", hidden),
            (f"projects/{ids['tools']}", closed), (f"projects/{ids['samples']}", wheel),
        ):  # fmt: skip
            get("GET", f"/api/v4/{namespace}/packages/pypi/files/{file.sha256}/{file.filename}", headers)
