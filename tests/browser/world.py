"""An installation with something on every page: groups, people, packages, tokens, rules and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from tests.acceptance.servers import DEVELOPER, MAINTAINER, OWNER, REPORTER, Namespace, RunningServer, User
from tests.builders import BuiltFile, build_sdist, build_wheel

# With underscores, it has no place to break.
LONG = "a_package_with_a_name_that_somebody_thought_about_for_a_very_long_time_and_never_shortened_again"
README = """\
# signalbox

Reads **signals** and writes `tables`.

## Use

```python
from signalbox import Box

box = Box.open("line.csv")  # a file
print(box.peaks(above=0.5))
```

| option | default |
|---|---|
| `above` | `0.5` |

- fast
- [documented](https://example.com/docs)

1. Install it
2. Use it

> Made for the laboratory.

<script>alert(1)</script> and <b onclick="alert(1)">bold</b>
"""


@dataclass(frozen=True)
class World:
    """Numbers of records in addresses."""

    package_id: int
    long_package_id: int
    file_id: int
    rule_id: int
    group_id: int


def furnish(server: RunningServer) -> World:
    """Fill an installation through its REST API, as scripts do."""
    acme = server.group("acme", name="Acme Instruments", description="Everything that measures.")
    research = server.group("research", parent=acme, name="Research", description="What may become something.")
    server.group("long", parent=acme, name="A group with quite a long name that has to wrap somewhere on small screens")
    tools = server.project("tools", group=acme, name="Tools", description="Reading and writing of measurements.")
    people = dict(zip(("alice", "bob"), _people(server), strict=True))
    for namespace, user, role in (
        (acme, people["alice"], OWNER), (tools, people["bob"], DEVELOPER), (research, people["bob"], MAINTAINER)
    ):  # fmt: skip
        server.as_root("POST", f"{namespace.rest_path}/members", {"user_id": user.id, "access_level": role})
    _publish(tools, people["bob"])
    notebook = server.project("notebook", group=research, name="Notebook")
    notebook.publish(build_wheel("fieldnotes", "0.3.0", summary="Notes that stay readable."))
    server.project("empty", group=acme, name="Empty")
    server.project("attic", group=acme, name="Attic")
    server.as_root("POST", f"/projects/{acme.full_path}%2Fattic/archive")
    _open(server)
    _tokens(server, acme, tools)
    server.as_root("POST", f"{tools.rest_path}/job_token_scope/allowlist", {"target_project_id": notebook.id})
    rule = server.as_root(
        "POST", f"{tools.rest_path}/packages/protection/rules",
        {"package_name_pattern": "signal*", "package_type": "pypi", "minimum_access_level_for_push": "maintainer"},
    )  # fmt: skip
    by_name = {(found["name"], found["version"]): found["id"] for found in tools.packages()}
    package_id, long_package_id = by_name["signalbox", "2.0.0"], by_name[LONG, "1.0.0.post20260131"]
    _retire(server, tools, long_package_id)
    files = server.as_root("GET", f"{tools.rest_path}/packages/{package_id}/package_files")
    return World(package_id, long_package_id, files[0]["id"], rule["id"], acme.id)


def _people(server: RunningServer) -> Iterator[User]:
    for username, name in (("alice", "Alice Anderson"), ("bob", "Bob Brown")):
        made = {
            "username": username, "name": name, "email": f"{username}@example.com", "password": "a long enough one",
            "skip_confirmation": True,
        }  # fmt: skip
        yield User(server, server.as_root("POST", "/users", made)["id"], username)
    blocked = server.user()
    server.as_root("POST", f"/users/{blocked.id}/block")


def _publish(tools: Namespace, bob: User) -> None:
    described: dict[str, Any] = {
        "summary": "Reads signals of all our instruments, and writes tables that everybody can open.",
        "description": README,
        "description_content_type": "text/markdown",
        "requires_python": ">=3.9",
    }
    for version in ("1.0.0", "1.1.0", "2.0.0rc1"):
        tools.publish(build_wheel("signalbox", version, **described))
    described["requires_dist"] = [
        "driver-01>=1",
        "numpy>=1.26,<3; python_version >= '3.10'",
        "driver-02; extra == 'all'",
    ]
    job = tools.job_token(bob)
    for file in (build_wheel("signalbox", "2.0.0", **described), build_sdist("signalbox", "2.0.0", **described)):
        _upload_as_job(tools, file, job, summary=described["summary"], requires_python=">=3.9")
    tools.publish(build_wheel(LONG, "1.0.0.post20260131", requires_dist=["signalbox>=2"]))
    tools.publish(*(build_wheel(f"driver-{number:02}", "1.0") for number in range(1, 23)))


def _retire(server: RunningServer, tools: Namespace, package_id: int) -> None:
    """Yank a release and deprecate its name."""
    packages = f"{tools.rest_path}/packages"
    server.as_root(
        "PUT", f"{packages}/{package_id}/yank", {"reason": "Rounds <b>every</b> measurement to whole numbers"}
    )
    said = {"status": "deprecated", "reason": "Go on with signalbox"}
    server.as_root("PUT", f"{packages}/names/{LONG}/status", said)


def _upload_as_job(project: Namespace, file: BuiltFile, token: str, **fields: str) -> None:
    form = {"name": file.name, "version": file.version, "keywords": "signals,tables", "author_email": "bob@example.com"}
    response = requests.post(
        project.url,
        data=form | fields,
        files={"content": (file.filename, file.content)},
        auth=("gitlab-ci-token", token),
        timeout=60,
    )
    assert response.status_code == 201, response.text


def _open(server: RunningServer) -> None:
    """Create a public project for visitors."""
    group = server.group("open", name="Open", visibility="public", description="For everybody.")
    project = server.project("samples", group=group, name="Samples", visibility="public")
    project.publish(build_wheel("samples", "1.0", summary="Measurements to try things with."))


def _tokens(server: RunningServer, acme: Namespace, tools: Namespace) -> None:
    acme.deploy_token("read_package_registry", name="production servers", expires_at="2035-01-31")
    tools.deploy_token("read_package_registry", "write_package_registry", name="publishing pipeline")
    root = User(server, server.as_root("GET", "/user")["id"], "root")
    root.access_token("read_api", name="laptop", description="pip on my own computer")
    reader = tools.member(REPORTER)
    reader.access_token("read_api")
    ended = server.as_root(
        "POST", f"/users/{root.id}/personal_access_tokens", {"name": "old laptop", "scopes": ["api"]}
    )
    server.as_root("DELETE", f"/personal_access_tokens/{ended['id']}")
