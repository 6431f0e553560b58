"""The REST API, resource by resource; the records that the parts create are on the pages later."""

from __future__ import annotations

from typing import Any

from tests.recording.recorder import Rest
from tests.recording.world import PASSWORD, World, day

PEOPLE = {
    "alice": "Alice Anderson", "bob": "Bob Brown", "carol": "Carol 日本", "dave": "Dave <b>Dunn</b>", "erin": "Erin",
    "frank": "Frank", "gina": "Gina", "henry": "Henry",
}  # fmt: skip
GUEST, PLANNER, REPORTER, DEVELOPER, MAINTAINER, OWNER = 10, 15, 20, 30, 40, 50


def play(world: World) -> None:
    """Everything that needs no packages; ``play_packages`` comes after the uploads."""
    instance(world)
    users(world)
    groups(world)
    projects(world)
    members(world)
    access_tokens(world)
    deploy_tokens(world)
    jobs(world)
    settings(world)
    addresses(world)


def instance(world: World) -> None:
    world.recorder.part("rest-instance")
    for caller in (world.anonymous, world.root):
        for path in ("/version", "/metadata", "/user", "/application/settings", "/application/plan_limits"):
            caller.get(path)
        for path in ("/users", "/groups", "/projects", "/deploy_tokens", "/personal_access_tokens", "/job"):
            caller.get(path)


def users(world: World) -> None:
    world.recorder.part("rest-users")
    root, anonymous = world.root, world.anonymous
    for username, name in PEOPLE.items():
        made = {
            "username": username, "name": name, "email": f"{username}@example.com", "password": PASSWORD,
            "skip_confirmation": True, "external": username == "frank", "note": f"about {username}", "bio": "",
        }  # fmt: skip
        user_id = world.keep(username, root.post("/users", made))
        token = root.post(f"/users/{user_id}/personal_access_tokens", {"name": "workstation", "scopes": ["api"]})
        world.tokens[username] = token.json["token"]
    alice, erin, ids = world.by("alice"), world.by("erin"), world.ids
    _wrong_users(root, alice, anonymous)
    _user_lists(root, alice, anonymous)
    _user_changes(world, root, alice)
    for caller in (root, alice, erin, anonymous):
        for name in ("alice", "henry"):
            caller.get(f"/users/{ids[name]}")
    for path in ("/users/0", "/users/999999", "/users/abc", "/users/12345678901", "/users/alice"):
        root.get(path)
    for reference in ("alice", ids["alice"], "root", "nobody", "999999"):
        root.get(f"/users/{reference}/projects")
    alice.get("/user")
    alice.get("/users/alice/projects?simple=true")


def _wrong_users(root: Rest, alice: Rest, anonymous: Rest) -> None:
    good: dict[str, Any] = {"username": "zoe", "name": "Zoe", "email": "zoe@example.com", "password": PASSWORD}
    without = [{name: value for name, value in good.items() if name != left_out} for left_out in good]
    changed: list[dict[str, Any]] = [
        {"username": "alice"}, {"username": "ALICE"}, {"email": "alice@example.com"}, {"email": "Alice@Example.com"},
        {"username": "a b"}, {"username": "-zoe"}, {"username": "zoe.git"}, {"username": "admin"},
        {"username": "x" * 300},
        {"username": ""}, {"username": 7}, {"username": ["zoe"]}, {"username": None}, {"email": "no address"},
        {"email": ""}, {"email": "x" * 300 + "@example.com"}, {"name": "x" * 300}, {"name": ""}, {"name": "a\x00b"},
        {"password": "short"}, {"password": "x" * 200}, {"password": "password"}, {"password": ""},
        {"admin": "perhaps"}, {"admin": 2}, {"projects_limit": "many"}, {"projects_limit": -1},
        {"projects_limit": 2**31}, {"can_create_group": "sometimes"}, {"external": None, "email": "wrong"},
        {"bio": "x" * 3000}, {"note": ["a"]},
    ]  # fmt: skip
    for sent in (*without, *({**good, **change} for change in changed), {}, {"unknown": True}):
        root.post("/users", sent)
    for caller in (alice, anonymous):
        caller.post("/users", good)
    root.post("/users", form={**good, "username": "ivan", "email": "ivan@example.com", "admin": "false"})
    root.post("/users", {"username": "jane", "name": "Jane", "email": "jane@example.com", "reset_password": True})
    root.post("/users", {"username": "kim", "name": "K", "email": "kim@example.com", "force_random_password": "yes"})
    root.post("/users", body=b"{not json", headers={"Content-Type": "application/json"})
    root.post("/users", body=b"[1, 2]", headers={"Content-Type": "application/json"})
    root.post("/users", body=b'"text"', headers={"Content-Type": "application/json"})
    root.post("/users", body=b"[" * 100000, headers={"Content-Type": "application/json"})
    root.post("/users", body=b'{"username": "\\ud800"}', headers={"Content-Type": "application/json"})
    root.post("/users", body=b"<xml/>", headers={"Content-Type": "text/xml"})


def _user_lists(root: Rest, alice: Rest, anonymous: Rest) -> None:
    queries = (
        "", "?username=alice", "?username=ALICE", "?username=nobody", "?search=ali", "?search=example.com",
        "?search=日本", "?search=%25", "?active=true", "?blocked=true", "?external=true", "?admins=true",
        "?active=perhaps", "?order_by=name&sort=asc", "?order_by=username&sort=desc", "?order_by=email",
        "?order_by=created_at", "?sort=up", "?per_page=2", "?per_page=2&page=2", "?per_page=2&page=99", "?per_page=0",
        "?per_page=-1", "?per_page=many", "?page=0", "?page=x", "?per_page=500", "?per_page=2&search=a&extra=1",
        "?created_after=2001-01-01", "?created_before=2001-01-01T00:00:00Z", "?created_after=never",
        "?private_token=glpat-wrong-token-0000", "?page=2147483648",
    )  # fmt: skip
    for query in queries:
        root.get(f"/users{query}")
    for query in ("", "?username=alice", "?search=example.com", "?admins=true", "?blocked=true", "?per_page=3"):
        alice.get(f"/users{query}")
        anonymous.get(f"/users{query}")
    anonymous.get(f"/users?username=alice&private_token={'glpat-' + 'x' * 20}")


def _user_changes(world: World, root: Rest, alice: Rest) -> None:
    gina, henry, own = world.ids["gina"], world.ids["henry"], world.ids["alice"]
    for change in (
        {"name": "Gina Green"}, {"username": "alice"}, {"username": "gina.green"}, {"username": "gina"},
        {"email": "bob@example.com"}, {"email": "gina@example.org"}, {"password": "short"}, {"password": PASSWORD},
        {"admin": True}, {"admin": False}, {"projects_limit": 0}, {"bio": "Likes wheels", "note": None}, {},
        {"unknown": 1}, {"private_profile": True}, {"external": "x"}, {"name": None}, {"name": ""},
    ):  # fmt: skip
        root.put(f"/users/{gina}", change)
    alice.put(f"/users/{gina}", {"name": "No"})
    alice.put(f"/users/{own}", {"name": "No"})
    root.put("/users/999999", {"name": "No"})
    root.put("/users/1", {"admin": False})
    for verb in ("deactivate", "deactivate", "activate", "activate", "unblock", "block", "block", "deactivate"):
        root.post(f"/users/{henry}/{verb}")
    for verb in ("block", "deactivate", "delete", "ban"):
        root.post(f"/users/1/{verb}")
    alice.post(f"/users/{henry}/unblock")
    world.by("henry").get("/user")
    root.get("/users?blocked=true")
    root.delete("/users/999999")
    root.delete("/users/1")
    alice.delete(f"/users/{gina}")
    root.delete(f"/users/{gina}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})
    root.delete(f"/users/{gina}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2050 00:00:00 GMT"})
    root.delete(f"/users/{gina}")
    world.by("gina").get("/user")


def groups(world: World) -> None:
    world.recorder.part("rest-groups")
    root, alice, erin, anonymous = world.root, world.by("alice"), world.by("erin"), world.anonymous
    keep, ids = world.keep, world.ids
    acme = keep("acme", alice.post("/groups", {"name": "Acme", "path": "acme", "description": "Measuring <i>all</i>"}))
    research = keep("research", alice.post("/groups", {"name": "Research", "path": "research", "parent_id": acme}))
    keep("deep", alice.post("/groups", {"name": "Deep", "path": "deep", "parent_id": research}))
    keep("open", root.post("/groups", {"name": "Open", "path": "open", "visibility": "public"}))
    keep("inner", root.post("/groups", {"name": "Inner", "path": "inner", "visibility": "internal"}))
    keep("spare", alice.post("/groups", {"name": "Spare", "path": "spare"}))
    _wrong_groups(world)
    queries = (
        "", "?search=res", "?search=acme/res", "?owned=true", "?min_access_level=50", "?min_access_level=11",
        "?visibility=public", "?visibility=secret", "?all_available=true", "?all_available=false",
        "?top_level_only=true", f"?skip_groups[]={acme}&skip_groups[]=2", "?skip_groups=1,2", "?skip_groups=x",
        "?order_by=id&sort=desc", "?order_by=path", "?order_by=similarity", "?order_by=size", "?statistics=true",
        "?per_page=2", "?per_page=2&page=2", "?per_page=1&page=3&search=e",
    )  # fmt: skip
    for query in queries:
        for caller in (root, alice):
            caller.get(f"/groups{query}")
    for query in ("", "?search=o", "?visibility=private", "?owned=true"):
        erin.get(f"/groups{query}")
        anonymous.get(f"/groups{query}")
    for caller in (root, alice, erin, anonymous):
        for reference in (acme, "acme", "ACME", "acme%2Fresearch", "acme/research", "open", "inner", "nothing", 999999):
            caller.get(f"/groups/{reference}")
    for query in ("?with_projects=false", "?statistics=true", "?with_projects=x"):
        alice.get(f"/groups/acme{query}")
    for path in ("subgroups", "descendant_groups", "projects"):
        for caller in (alice, erin, anonymous):
            for group in ("acme", "open"):
                caller.get(f"/groups/{group}/{path}")
        alice.get(f"/groups/acme/{path}?search=res&per_page=1&order_by=id&sort=desc&statistics=true")
    _group_changes(world)
    ids["acme"] = acme


def _wrong_groups(world: World) -> None:
    root, alice, erin, anonymous, acme = (
        world.root, world.by("alice"), world.by("erin"), world.anonymous, world.ids["acme"]
    )  # fmt: skip
    for sent in (
        {}, {"name": "A"}, {"path": "a"}, {"name": "A", "path": "acme"}, {"name": "A", "path": "ACME"},
        {"name": "A", "path": "alice"}, {"name": "A", "path": "admin"}, {"name": "A", "path": "api"},
        {"name": "A", "path": "-a"}, {"name": "A", "path": "a b"}, {"name": "A", "path": "a.git"},
        {"name": "A", "path": "a/b"}, {"name": "A", "path": "x" * 300}, {"name": "x" * 300, "path": "long"},
        {"name": "<A>", "path": "angle"}, {"name": "", "path": "empty"}, {"name": "A", "path": ""},
        {"name": "A", "path": "visible", "visibility": "secret"}, {"name": "A", "path": "v", "visibility": 20},
        {"name": "A", "path": "sub", "parent_id": 999999}, {"name": "A", "path": "sub", "parent_id": "x"},
        {"name": "A", "path": "packages", "parent_id": acme}, {"name": "A", "path": "research", "parent_id": acme},
        {"name": "A", "path": "public", "parent_id": acme, "visibility": "public"},
        {"name": "A", "path": "level", "project_creation_level": "anyone"},
        {"name": "A", "path": "level", "subgroup_creation_level": "developer"},
        {"name": "A", "path": "numbers", "description": 7, "parent_id": None, "storage_size_limit": 5},
        {"name": 5, "path": 5},
    ):  # fmt: skip
        alice.post("/groups", sent)
    erin.post("/groups", {"name": "A", "path": "sub", "parent_id": acme})
    anonymous.post("/groups", {"name": "A", "path": "a"})
    world.by("frank").post("/groups", {"name": "F", "path": "franks"})
    root.post("/groups", {"name": "Limited", "path": "limited", "project_creation_level": "noone"})


def _group_changes(world: World) -> None:
    root, alice, erin, anonymous, ids = (
        world.root, world.by("alice"), world.by("erin"), world.anonymous, world.ids
    )  # fmt: skip
    for change in (
        {}, {"unknown": 1}, {"name": "Spare parts"}, {"name": ""}, {"name": None}, {"path": "acme"}, {"path": "spares"},
        {"path": "spare"}, {"description": "x" * 600}, {"description": None}, {"visibility": "public"},
        {"visibility": "nothing"}, {"visibility": "private"}, {"project_creation_level": "maintainer"},
        {"subgroup_creation_level": "owner"}, {"subgroup_creation_level": "noone"}, {"storage_size_limit": 1000},
        {"storage_size_limit": -1}, {"pypi_package_requests_forwarding": False},
        {"pypi_package_requests_forwarding": None, "lock_pypi_package_requests_forwarding": "x"},
    ):  # fmt: skip
        alice.put("/groups/spare", change)
    root.put("/groups/spare", {"storage_size_limit": 100000})
    root.put("/groups/spare", {"storage_size_limit": None})
    root.put("/groups/spare", {"storage_size_limit": "many"})
    alice.put(f"/groups/{ids['research']}", {"visibility": "public"})
    for caller in (erin, anonymous):
        caller.put("/groups/acme", {"name": "Mine"})
        caller.put("/groups/open", {"name": "Mine"})
        caller.delete("/groups/acme")
        caller.post("/groups/acme/transfer", {"group_id": ids["open"]})
    for moved in ({"group_id": ids["acme"]}, {"group_id": ids["acme"]}, {"group_id": ids["spare"]},
        {"group_id": 999999},
                  {"group_id": "x"}, {"group_id": ids["inner"]}, {}, {}):  # fmt: skip
        alice.post(f"/groups/{ids['spare']}/transfer", moved)
    alice.post("/groups/acme/transfer", {"group_id": ids["deep"]})
    doomed = world.keep("doomed", alice.post("/groups", {"name": "Doomed", "path": "doomed", "parent_id": ids["acme"]}))
    alice.post("/projects", {"name": "Inside", "namespace_id": doomed})
    alice.delete(f"/groups/{doomed}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})
    alice.delete(f"/groups/{doomed}")
    alice.delete(f"/groups/{doomed}")
    alice.get(f"/groups/{doomed}")
    alice.get("/projects/acme%2Fdoomed%2Finside")


def projects(world: World) -> None:
    world.recorder.part("rest-projects")
    root, alice, erin, anonymous, ids = (
        world.root, world.by("alice"), world.by("erin"), world.anonymous, world.ids
    )  # fmt: skip
    acme = ids["acme"]
    world.keep("tools", alice.post("/projects", {"name": "Tools", "namespace_id": acme, "description": "Reading"}))
    world.keep("empty", alice.post("/projects", {"path": "empty", "namespace_id": acme}))
    world.keep("attic", alice.post("/projects", {"name": "The attic", "path": "attic", "namespace_id": acme}))
    world.keep("notebook", alice.post("/projects", {"name": "Notebook", "namespace_id": ids["research"]}))
    world.keep(
        "samples", root.post("/projects", {"name": "Samples", "namespace_id": ids["open"], "visibility": "public"})
    )
    world.keep(
        "hidden", root.post("/projects", {"name": "Hidden", "namespace_id": ids["open"], "visibility": "private"})
    )
    world.keep(
        "shared", root.post("/projects", {"name": "Shared", "namespace_id": ids["inner"], "visibility": "internal"})
    )
    world.keep("own", alice.post("/projects", {"name": "My own things"}))
    _wrong_projects(world)
    queries = (
        "", "?search=to", "?search=acme/tools", "?owned=true", "?membership=true", "?min_access_level=30",
        "?min_access_level=x", "?visibility=public", "?visibility=internal", "?archived=true", "?archived=false",
        "?simple=true", "?statistics=true", "?order_by=name&sort=asc", "?order_by=path", "?order_by=updated_at",
        "?order_by=last_activity_at", "?order_by=similarity&search=o", "?order_by=stars", "?per_page=2",
        "?per_page=2&page=2", "?per_page=3&page=9", "?pagination=keyset&per_page=2",
        "?pagination=keyset&per_page=2&sort=asc", "?pagination=keyset&order_by=name", "?pagination=cursor",
        "?pagination=legacy&per_page=2", f"?id_after={ids['empty']}", f"?id_before={ids['empty']}&per_page=1",
        f"?pagination=keyset&per_page=2&id_before={ids['samples']}&sort=desc", "?id_after=x", "?include_subgroups=true",
    )  # fmt: skip
    for query in queries:
        for caller in (root, alice):
            caller.get(f"/projects{query}")
    for query in ("", "?membership=true", "?visibility=private", "?simple=true", "?search=s&per_page=1"):
        erin.get(f"/projects{query}")
        world.by("frank").get(f"/projects{query}")
        anonymous.get(f"/projects{query}")
    for query in (
        "",
        "?include_subgroups=true",
        "?archived=true",
        "?simple=true&order_by=id",
        "?pagination=keyset&per_page=1",
    ):
        alice.get(f"/groups/acme/projects{query}")
    for caller in (root, alice, erin, anonymous):
        for reference in (
            ids["tools"], "acme%2Ftools", "acme%2ftools", "ACME%2FTools", "acme/tools", "acme%2Fresearch%2Fnotebook",
            "open%2Fsamples", "open%2Fhidden", "inner%2Fshared", "alice%2Fmy-own-things", "acme%2Fnothing", 999999,
        ):  # fmt: skip
            caller.get(f"/projects/{reference}")
    alice.get("/projects/acme%2Ftools?statistics=true")
    alice.get("/projects/acme%2Ftools?statistics=x")
    _project_changes(world)


def _wrong_projects(world: World) -> None:
    alice, erin, anonymous, acme = world.by("alice"), world.by("erin"), world.anonymous, world.ids["acme"]
    for sent in (
        {}, {"namespace_id": acme}, {"name": "Tools", "namespace_id": acme}, {"path": "TOOLS", "namespace_id": acme},
        {"name": "Research", "namespace_id": acme}, {"path": "edit", "namespace_id": acme},
        {"path": "-", "namespace_id": acme},
        {"path": "a b", "namespace_id": acme}, {"path": "a.git", "namespace_id": acme},
        {"name": "!!!", "namespace_id": acme},
        {"name": "日本", "namespace_id": acme}, {"name": "x" * 300, "namespace_id": acme},
        {"name": "A", "namespace_id": 999999},
        {"name": "A", "namespace_id": "acme"}, {"name": "A", "namespace_id": world.ids["tools"]},
        {"name": "A", "namespace_id": acme, "visibility": "public"}, {"name": "A", "visibility": "hidden"},
        {"name": "A1", "packages_enabled": False}, {"name": "A2", "package_registry_access_level": "public"},
        {"name": "A3", "package_registry_access_level": "everyone"},
        {"name": "A4", "pypi_identical_upload_accepted": True},
        {"name": "A5", "storage_size_limit": 5}, {"name": ["A"]},
    ):  # fmt: skip
        alice.post("/projects", sent)
    erin.post("/projects", {"name": "A", "namespace_id": acme})
    erin.post("/projects", {"name": "A", "namespace_id": world.ids["open"]})
    anonymous.post("/projects", {"name": "A"})
    accented = alice.post("/projects", {"name": "Métro tools!", "namespace_id": acme})
    alice.delete(f"/projects/{accented.json['id']}")  # whose path is in no other answer then


def _project_changes(world: World) -> None:
    root, alice, erin, anonymous, ids = (
        world.root, world.by("alice"), world.by("erin"), world.anonymous, world.ids
    )  # fmt: skip
    empty = f"/projects/{ids['empty']}"
    for change in (
        {}, {"unknown": 1}, {"name": "Empty"}, {"name": ""}, {"path": "tools"}, {"path": "empty-one"},
        {"path": "empty"},
        {"path": "a b"}, {"description": "Nothing here"}, {"description": None}, {"visibility": "public"},
        {"visibility": "private"}, {"packages_enabled": False}, {"packages_enabled": True},
        {"package_registry_access_level": "private"}, {"package_registry_access_level": "public"},
        {"package_registry_access_level": "enabled"}, {"package_registry_access_level": "x"},
        {"pypi_identical_upload_accepted": True}, {"pypi_identical_upload_accepted": "x"}, {"storage_size_limit": 5000},
    ):  # fmt: skip
        alice.put(empty, change)
    root.put(empty, {"storage_size_limit": 5000})
    root.put(empty, {"storage_size_limit": None})
    root.put(f"/projects/{ids['samples']}", {"description": "For everybody"})
    for caller in (erin, anonymous):
        for project in ("tools", "samples"):
            caller.put(f"/projects/{ids[project]}", {"name": "Mine"})
            caller.delete(f"/projects/{ids[project]}")
            caller.post(f"/projects/{ids[project]}/archive")
    attic = f"/projects/{ids['attic']}"
    for verb in ("archive", "archive", "unarchive", "unarchive", "archive"):
        alice.post(f"{attic}/{verb}")
    alice.put(attic, {"description": "Old"})
    alice.post(f"{attic}/jobs", {"name": "no"})
    gone = world.keep("gone", alice.post("/projects", {"name": "Gone", "namespace_id": ids["acme"]}))
    alice.delete(f"/projects/{gone}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})
    alice.delete(f"/projects/{gone}", headers={"If-Unmodified-Since": "yesterday"})
    alice.delete(f"/projects/{gone}")
    alice.get(f"/projects/{gone}")


def members(world: World) -> None:
    world.recorder.part("rest-members")
    root, alice, erin, anonymous, ids = (
        world.root, world.by("alice"), world.by("erin"), world.anonymous, world.ids
    )  # fmt: skip
    tools, acme = f"/projects/{ids['tools']}/members", "/groups/acme/members"
    alice.post(tools, {"user_id": ids["bob"], "access_level": DEVELOPER})
    alice.post(tools, {"username": "carol", "access_level": GUEST, "expires_at": day(30)})
    alice.post(tools, {"user_id": ids["dave"], "access_level": MAINTAINER})
    alice.post(acme, {"user_id": ids["bob"], "access_level": REPORTER})
    alice.post("/groups/acme%2Fresearch/members", {"user_id": ids["bob"], "access_level": MAINTAINER})
    for path in (tools, acme):
        for sent in (
            {}, {"user_id": ids["erin"]}, {"access_level": DEVELOPER}, {"user_id": ids["erin"], "access_level": 25},
            {"user_id": ids["erin"], "access_level": "developer"}, {"user_id": 999999, "access_level": DEVELOPER},
            {"username": "nobody", "access_level": DEVELOPER}, {"user_id": "x", "access_level": DEVELOPER},
            {"user_id": ids["bob"], "access_level": DEVELOPER}, {"user_id": ids["alice"], "access_level": GUEST},
            {"user_id": ids["bob"], "access_level": GUEST}, {"user_id": ids["henry"], "access_level": 60},
            {"user_id": ids["erin"], "access_level": GUEST, "expires_at": "2000-01-01"},
            {"user_id": ids["erin"], "access_level": GUEST, "expires_at": "soon"},
            {"user_id": f"{ids['bob']},{ids['erin']},{ids['frank']}", "access_level": PLANNER},
            {"username": ["erin", "frank"], "access_level": REPORTER, "expires_at": "2035-01-31"},
            {"user_id": [], "access_level": DEVELOPER},
        ):  # fmt: skip
            alice.post(path, sent)
        for caller in (root, alice, world.by("bob"), world.by("carol"), anonymous):
            caller.get(path)
            caller.get(f"{path}/all")
        for query in ("?query=bo", "?query=example.com", f"?user_ids={ids['bob']}",
            f"?user_ids[]={ids['bob']}&user_ids[]=1",
                      "?user_ids=x", "?per_page=1&page=2"):  # fmt: skip
            alice.get(f"{path}{query}")
            alice.get(f"{path}/all{query}")
        for who in (ids["bob"], ids["alice"], ids["erin"], 999999, "bob"):
            alice.get(f"{path}/{who}")
            alice.get(f"{path}/all/{who}")
        for change in (
            {}, {"access_level": REPORTER}, {"access_level": 1},
            {"access_level": DEVELOPER, "expires_at": "2035-02-01"},
            {"access_level": DEVELOPER, "expires_at": None}, {"access_level": DEVELOPER, "expires_at": day(-1)},
            {"expires_at": "2035-01-01"},
        ):  # fmt: skip
            alice.put(f"{path}/{ids['erin']}", change)
        alice.put(f"{path}/999999", {"access_level": GUEST})
        alice.put(f"{path}/{ids['alice']}", {"access_level": GUEST})
        world.by("bob").put(f"{path}/{ids['erin']}", {"access_level": OWNER})
        world.by("dave").put(f"{path}/{ids['erin']}", {"access_level": OWNER})
        world.by("dave").put(f"{path}/{ids['alice']}", {"access_level": GUEST})
        erin.delete(f"{path}/{ids['bob']}")
        alice.delete(f"{path}/{ids['frank']}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})
        alice.delete(f"{path}/{ids['frank']}")
        alice.delete(f"{path}/{ids['frank']}")
        erin.delete(f"{path}/{ids['erin']}")
        alice.delete(f"{path}/{ids['alice']}")
    for path in ("/projects/open%2Fsamples/members", "/groups/open/members", "/projects/open%2Fhidden/members/all"):
        for caller in (erin, anonymous):
            caller.get(path)
            caller.post(path, {"user_id": ids["erin"], "access_level": OWNER})
    root.post("/groups/open/members", {"user_id": ids["alice"], "access_level": MAINTAINER})


def access_tokens(world: World) -> None:
    world.recorder.part("rest-access-tokens")
    root, alice, anonymous, ids = world.root, world.by("alice"), world.anonymous, world.ids
    of_bob = f"/users/{ids['bob']}/personal_access_tokens"
    for sent in (
        {}, {"name": "n"}, {"scopes": ["api"]}, {"name": "", "scopes": ["api"]}, {"name": "n", "scopes": []},
        {"name": "n", "scopes": ["everything"]}, {"name": "n", "scopes": "api,read_api"}, {"name": "n", "scopes": 5},
        {"name": "x" * 300, "scopes": ["api"]}, {"name": "past", "scopes": ["api"], "expires_at": day(-1)},
        {"name": "today", "scopes": ["api"], "expires_at": day(0)},
        {"name": "far", "scopes": ["api"], "expires_at": "2035-01-01"},
        {"name": "soon", "scopes": ["api"], "expires_at": "soon"}, {"name": "n", "scopes": ["sudo"]},
        {"name": "described", "scopes": ["read_api", "read_user"], "description": "for <pip>", "expires_at": day(10)},
    ):  # fmt: skip
        root.post(of_bob, sent)
    alice.post(of_bob, {"name": "n", "scopes": ["api"]})
    root.post("/users/999999/personal_access_tokens", {"name": "n", "scopes": ["api"]})
    for scopes in (["k8s_proxy"], ["self_rotate"], ["api"], []):
        alice.post("/user/personal_access_tokens", {"name": "own", "scopes": scopes})
    anonymous.post("/user/personal_access_tokens", {"name": "own", "scopes": ["k8s_proxy"]})
    for scope in ("read_api", "read_user", "self_rotate", "read_repository"):
        made = root.post(f"/users/{ids['alice']}/personal_access_tokens", {"name": scope, "scopes": [scope]})
        world.tokens[f"alice {scope}"] = made.json["token"]
        token = world.by(f"alice {scope}")
        for path in ("/user", "/users", "/groups", "/personal_access_tokens", "/personal_access_tokens/self",
            "/projects",
                     "/application/settings"):  # fmt: skip
            token.get(path)
        token.post("/groups", {"name": "S", "path": f"s-{scope}"})
    queries = (
        "", f"?user_id={ids['bob']}", "?user_id=x", "?state=active", "?state=inactive", "?state=dead", "?revoked=true",
        "?revoked=false", "?search=work", "?sort=name_asc", "?sort=expires_desc", "?sort=created_asc",
        "?sort=last_used_asc",
        "?sort=x", f"?expires_before={day(20)}", f"?expires_after={day(400)}", "?created_after=2001-01-01",
        "?last_used_before=2001-01-01", "?created_before=x", "?per_page=2&page=2",
    )  # fmt: skip
    for query in queries:
        root.get(f"/personal_access_tokens{query}")
        alice.get(f"/personal_access_tokens{query}")
    anonymous.get("/personal_access_tokens")
    _access_token_ends(world)


def _access_token_ends(world: World) -> None:
    root, alice, anonymous, ids = world.root, world.by("alice"), world.anonymous, world.ids

    def issued(name: str, *scopes: str) -> tuple[int, Rest]:
        sent = {"name": name, "scopes": scopes or ("api",)}
        made = root.post(f"/users/{ids['alice']}/personal_access_tokens", sent)
        world.tokens[name] = made.json["token"]
        return made.json["id"], world.by(name)

    number, token = issued("to rotate")
    alice.get(f"/personal_access_tokens/{number}")
    world.by("bob").get(f"/personal_access_tokens/{number}")
    root.get("/personal_access_tokens/999999")
    token.get("/personal_access_tokens/self")
    for sent in ({"expires_at": "soon"}, {"expires_at": "2035-01-01"}, {"expires_at": day(5)}):
        world.by("bob").post(f"/personal_access_tokens/{number}/rotate", sent)
        alice.post(f"/personal_access_tokens/{number}/rotate", sent)
    token.get("/user")
    number, token = issued("to rotate itself", "self_rotate")
    rotated = token.post("/personal_access_tokens/self/rotate")
    Rest(world.recorder, rotated.json["token"]).get("/personal_access_tokens/self")
    token.post("/personal_access_tokens/self/rotate")
    Rest(world.recorder, rotated.json["token"]).get("/personal_access_tokens/self")
    number, token = issued("to revoke")
    world.by("bob").delete(f"/personal_access_tokens/{number}")
    alice.delete(f"/personal_access_tokens/{number}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})
    alice.delete(f"/personal_access_tokens/{number}")
    alice.delete(f"/personal_access_tokens/{number}")
    token.get("/user")
    number, token = issued("to revoke itself", "read_user")
    token.delete("/personal_access_tokens/self")
    token.get("/user")
    for method in ("GET", "DELETE"):
        anonymous(method, "/personal_access_tokens/self")
    anonymous.post("/personal_access_tokens/self/rotate")
    _sudo(world)


def _sudo(world: World) -> None:
    root, alice, ids = world.root, world.by("alice"), world.ids
    made = root.post("/users/1/personal_access_tokens", {"name": "sudo", "scopes": ["api", "sudo"]})
    sudo = Rest(world.recorder, made.json["token"])
    for reference in ("alice", str(ids["alice"]), "nobody", "henry", ""):
        sudo.get("/user", headers={"Sudo": reference})
    sudo.get("/user?sudo=bob")
    sudo.post("/groups", {"name": "By sudo", "path": "by-sudo"}, headers={"Sudo": "alice"})
    root.get("/user", headers={"Sudo": "alice"})
    alice.get("/user", headers={"Sudo": "bob"})
    world.anonymous.get("/user", headers={"Sudo": "bob"})


def deploy_tokens(world: World) -> None:
    world.recorder.part("rest-deploy-tokens")
    root, alice, anonymous, ids = world.root, world.by("alice"), world.anonymous, world.ids
    tools, acme = f"/projects/{ids['tools']}/deploy_tokens", "/groups/acme/deploy_tokens"
    for path, owner in ((tools, "tools"), (acme, "acme")):
        for name, scopes in (("read", ["read_package_registry"]), ("write", ["write_package_registry"]),
                             ("both", ["read_package_registry", "write_package_registry"]),
                             ("idle", ["read_repository"])):  # fmt: skip
            made = alice.post(path, {"name": f"{name} {owner}", "scopes": scopes})
            world.tokens[f"{owner} {name}"] = made.json["token"]
            world.ids[f"{owner} {name}"] = made.json["id"]
        for sent in (
            {}, {"name": "n"}, {"scopes": ["read_registry"]}, {"name": "n", "scopes": []},
            {"name": "n", "scopes": ["api"]},
            {"name": "", "scopes": ["read_registry"]}, {"name": "x" * 300, "scopes": ["read_registry"]},
            {"name": "named", "scopes": "read_registry,read_repository", "username": "server"},
            {"name": "n", "scopes": ["read_registry"], "username": "a b"},
            {"name": "n", "scopes": ["read_registry"], "username": "x" * 300},
            {"name": "dead", "scopes": ["read_package_registry"], "expires_at": "2001-01-31"},
            {"name": "late", "scopes": ["read_package_registry"], "expires_at": "2035-01-31T12:00:00+09:00"},
            {"name": "n", "scopes": ["read_package_registry"], "expires_at": "soon"},
        ):  # fmt: skip
            alice.post(path, sent)
        for caller in (root, alice, world.by("bob"), world.by("dave"), anonymous):
            caller.get(path)
            caller.get(f"{path}/{ids[f'{owner} read']}")
            caller.delete(f"{path}/999999")
            caller.post(path, {"name": "another", "scopes": ["read_registry"]})
        for query in ("?active=true", "?active=false", "?active=x", "?per_page=2&page=2"):
            alice.get(f"{path}{query}")
        alice.delete(f"{path}/{ids[f'{owner} idle']}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})
        alice.delete(f"{path}/{ids[f'{owner} idle']}")
        alice.get(f"{path}/{ids[f'{owner} idle']}")
    alice.get(f"{acme}/{ids['tools read']}")
    for caller in (root, alice, anonymous):
        caller.get("/deploy_tokens")
        caller.get("/deploy_tokens?active=true&per_page=3")
    world.recorder.request("GET", f"/api/v4/projects/{ids['tools']}", {"Deploy-Token": world.tokens["tools read"]})


def jobs(world: World) -> None:
    world.recorder.part("rest-jobs")
    alice, bob, anonymous, ids = world.by("alice"), world.by("bob"), world.anonymous, world.ids
    tools = f"/projects/{ids['tools']}"
    for sent in (
        {}, {"name": "publish", "ref": "v2.0.0", "expires_in": 7200}, {"name": "x" * 300}, {"name": ""},
        {"ref": "x" * 300},
        {"expires_in": 0}, {"expires_in": -5}, {"expires_in": 10**9}, {"expires_in": "long"},
    ):  # fmt: skip
        bob.post(f"{tools}/jobs", sent)
    for caller in (world.by("carol"), world.by("erin"), anonymous):
        caller.post(f"{tools}/jobs", {"name": "no"})
    for name, project, by in (
        ("tools", "tools", bob),
        ("notebook", "notebook", alice),
        ("samples", "samples", world.root),
    ):
        made = by.post(f"/projects/{ids[project]}/jobs", {"name": "publish", "ref": "main"})
        world.tokens[f"job {name}"], world.ids[f"job {name}"] = made.json["token"], made.json["id"]
    job = {"JOB-TOKEN": world.tokens["job tools"]}
    for path in ("/job", f"{tools}", f"{tools}/packages", "/user", "/projects", f"/projects/{ids['notebook']}"):
        anonymous.get(path, headers=job)
        anonymous.get(path, headers={"Authorization": f"Bearer {world.tokens['job tools']}"})
    anonymous.get(f"/job?job_token={world.tokens['job tools']}")
    anonymous.get("/job", headers={"JOB-TOKEN": "glcbt-no-such-job-token-000"})
    anonymous.get("/job")
    alice.get("/job")
    short = bob.post(f"{tools}/jobs", {"name": "short"}).json
    path = f"{tools}/jobs/{short['id']}/finish"
    for sent in ({}, {"status": "running"}, {"status": "done"}):
        bob.post(path, sent)
    world.by("carol").post(path, {"status": "success"})
    anonymous.post(path, {"status": "success"}, headers={"JOB-TOKEN": world.tokens["job notebook"]})
    anonymous.post(path, {"status": "failed"}, headers={"JOB-TOKEN": short["token"]})
    anonymous.get("/job", headers={"JOB-TOKEN": short["token"]})
    bob.post(path, {"status": "success"})
    bob.post(f"{tools}/jobs/999999/finish", {"status": "success"})
    _job_scope(world, tools)


def _job_scope(world: World, tools: str) -> None:
    alice, bob, anonymous, ids = world.by("alice"), world.by("bob"), world.anonymous, world.ids
    scope = f"{tools}/job_token_scope"
    for caller in (alice, bob, anonymous):
        for path in ("", "/allowlist", "/groups_allowlist"):
            caller.get(f"{scope}{path}")
        for sent in ({}, {"enabled": "x"}, {"enabled": False}, {"enabled": True}):
            caller.patch(scope, sent)
        for kind, parameter, source in (("allowlist", "target_project_id", "notebook"),
                                        ("groups_allowlist", "target_group_id", "research")):  # fmt: skip
            for value in (ids[source], ids[source], 999999, "x", None, 0, ids["hidden"]):
                caller.post(f"{scope}/{kind}", {parameter: value})
            caller.get(f"{scope}/{kind}?per_page=1")
            caller.delete(f"{scope}/{kind}/999999")
    other = {"JOB-TOKEN": world.tokens["job notebook"]}
    anonymous.get(tools, headers=other)
    anonymous.get(f"{tools}/packages", headers=other)
    alice.delete(f"{scope}/groups_allowlist/{ids['research']}")
    anonymous.get(f"{tools}/packages", headers=other)
    alice.delete(f"{scope}/allowlist/{ids['notebook']}")
    alice.delete(f"{scope}/allowlist/{ids['notebook']}")
    anonymous.get(tools, headers=other)
    anonymous.get(f"{tools}/packages", headers=other)
    alice.post(f"{scope}/allowlist", {"target_project_id": ids["notebook"]})
    alice.post(f"{scope}/groups_allowlist", {"target_group_id": ids["research"]})


def settings(world: World) -> None:
    world.recorder.part("rest-settings")
    root, alice, anonymous, ids = world.root, world.by("alice"), world.anonymous, world.ids
    for change in (
        {}, {"unknown": 1}, {"pypi_package_requests_forwarding": "x"}, {"personal_access_token_prefix": "acme-"},
        {"personal_access_token_prefix": "x" * 30}, {"personal_access_token_prefix": "a b"},
        {"personal_access_token_prefix": None}, {"personal_access_token_prefix": "glpat-"},
        {"max_personal_access_token_lifetime": 30}, {"max_personal_access_token_lifetime": 0},
        {"max_personal_access_token_lifetime": "x"}, {"max_personal_access_token_lifetime": 365},
        {"require_personal_access_token_expiry": False}, {"require_personal_access_token_expiry": True},
        {"default_project_visibility": "internal"}, {"default_project_visibility": "hidden"},
        {"default_project_visibility": "private"}, {"restricted_visibility_levels": ["public", "internal"]},
        {"restricted_visibility_levels": ["private"]}, {"restricted_visibility_levels": "x"},
        {"restricted_visibility_levels": None}, {"default_project_creation": 0}, {"default_project_creation": 7},
        {"default_project_creation": 2}, {"can_create_group": False}, {"can_create_group": True},
        {"project_storage_size_limit": 10000}, {"project_storage_size_limit": -1}, {"project_storage_size_limit": None},
        {"group_storage_size_limit": "x"}, {"allow_guest_plus_roles_to_pull_packages": True},
        {"allow_guest_plus_roles_to_pull_packages": False}, {"package_registry_allow_anyone_to_pull_option": False},
        {"package_registry_allow_anyone_to_pull_option": True, "pypi_package_requests_forwarding": None},
    ):  # fmt: skip
        root.put("/application/settings", change)
        if "prefix" in str(change) or "lifetime" in str(change):
            root.post(f"/users/{ids['carol']}/personal_access_tokens", {"name": "after", "scopes": ["read_user"]})
    for caller in (alice, anonymous):
        caller.get("/application/settings")
        caller.put("/application/settings", {"can_create_group": False})
        caller.put("/application/plan_limits", {"plan_name": "default", "pypi_max_file_size": 1})
    for change in (
        {}, {"plan_name": "gold"}, {"plan_name": "default"}, {"plan_name": "default", "pypi_max_file_size": 100},
        {"plan_name": "default", "pypi_max_file_size": 10**9}, {"plan_name": "default", "pypi_max_file_size": -1},
        {"plan_name": "default", "pypi_max_file_size": 0},
    ):  # fmt: skip
        root.put("/application/plan_limits", change)
    root.get("/application/plan_limits")
    _forwarding(world)


def _forwarding(world: World) -> None:
    root, alice, ids = world.root, world.by("alice"), world.ids
    groups = ("acme", "acme%2Fresearch", "acme%2Fresearch%2Fdeep")

    def shown() -> None:
        for group in groups:
            alice.get(f"/groups/{group}/package_settings")

    shown()
    for caller in (world.by("bob"), world.by("erin"), world.anonymous):
        caller.get("/groups/acme/package_settings")
        caller.get("/groups/acme%2Fresearch/package_settings")
        caller.put("/groups/acme/package_settings", {"pypi_package_requests_forwarding": False})
    for group, change in (
        ("acme", {"pypi_package_requests_forwarding": False}),
        ("acme%2Fresearch", {"pypi_package_requests_forwarding": True, "lock_pypi_package_requests_forwarding": True}),
        ("acme%2Fresearch%2Fdeep", {"pypi_package_requests_forwarding": False}),
        ("acme%2Fresearch%2Fdeep", {"lock_pypi_package_requests_forwarding": True}),
        ("acme", {"lock_pypi_package_requests_forwarding": True}),
        ("acme%2Fresearch", {"pypi_package_requests_forwarding": None}),
        ("acme", {"pypi_package_requests_forwarding": "x"}), ("acme", {}), ("acme", {"unknown": 1}),
        ("acme", {"pypi_package_requests_forwarding": None, "lock_pypi_package_requests_forwarding": False}),
        ("acme%2Fresearch", {"pypi_package_requests_forwarding": None, "lock_pypi_package_requests_forwarding": False}),
    ):  # fmt: skip
        alice.put(f"/groups/{group}/package_settings", change)
        shown()
    root.put("/application/settings", {"lock_pypi_package_requests_forwarding": True})
    shown()
    alice.put("/groups/acme/package_settings", {"pypi_package_requests_forwarding": False})
    root.put("/application/settings", {"lock_pypi_package_requests_forwarding": False})
    alice.get(f"/groups/{ids['acme']}")


def addresses(world: World) -> None:
    """Unknown addresses, and credentials in every place and state."""
    world.recorder.part("rest-addresses")
    root, anonymous, alice = world.root, world.anonymous, world.by("alice")
    for path in (
        "", "/", "/nothing", "/projects/", "//projects", "/projects//", "/version/", "/version/more", "/users//1",
        "/groups/acme%2F", "/groups/%2Facme", "/groups/acme%2F%2Fresearch", "/groups/acme%00", "/groups/..",
        "/projects/%ff",
        "/projects/acme%2Ftools/", "/projects/acme/tools/packages/", "/projects/acme/tools/nothing", "/merge_requests",
    ):  # fmt: skip
        for caller in (alice, anonymous):
            caller.get(path)
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND"):
        for path in ("/version", "/projects", "/nothing", f"/projects/{world.ids['tools']}"):
            root(method, path) if method != "DELETE" or path == "/nothing" else anonymous(method, path)
    token = world.tokens["alice"]
    for headers in (
        {"Authorization": f"Bearer {token}"}, {"Authorization": f"bearer {token}"}, {"Authorization": f"Basic {token}"},
        {"Authorization": "Bearer glpat-no-such-token-at-all"}, {"Authorization": "Bearer "},
        {"Authorization": "Digest x"},
        {"PRIVATE-TOKEN": "glpat-no-such-token-at-all"}, {"PRIVATE-TOKEN": ""}, {"PRIVATE-TOKEN": f" {token} "},
        {"JOB-TOKEN": token}, {"Deploy-Token": world.tokens["acme read"]}, {"PRIVATE-TOKEN": world.tokens["acme read"]},
        {"Cookie": "registry_session=forged"}, {"X-Request-Id": "an-id.of_mine"}, {"X-Request-Id": "bad id!"},
        {"Accept": "text/html"}, {"Accept-Encoding": "gzip"}, {"Origin": "https://elsewhere.test"},
        {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "elsewhere.test"},
        {"Host": "registry.example.com"}, {"Host": "registry.example.com:8443"}, {"Host": ""}, {"Host": "a b"},
    ):  # fmt: skip
        for path in ("/user", "/groups/acme", "/projects?per_page=1"):
            anonymous.get(path, headers=headers)
    for query in (f"?private_token={token}", "?private_token=wrong", f"?access_token={token}", "?job_token=wrong"):
        anonymous.get(f"/user{query}")
        anonymous.get(f"/groups{query}&per_page=1")
    today = root.post(f"/users/{world.ids['alice']}/personal_access_tokens",
                      {"name": "dead at once", "scopes": ["api"], "expires_at": day(0)})  # fmt: skip
    Rest(world.recorder, today.json["token"]).get("/user")
    world.by("henry").get("/projects")
    root.post(f"/users/{world.ids['henry']}/unblock")
    root.post(f"/users/{world.ids['henry']}/deactivate")
    world.by("henry").get("/projects")
    root.post("/users", body=b"x" * ((4 << 20) + 1), headers={"Content-Type": "application/json"})


def play_packages(world: World) -> None:
    packages(world)
    releases(world)
    protection_rules(world)


def packages(world: World) -> None:
    world.recorder.part("rest-packages")
    root, alice, bob, carol, anonymous, ids = (
        world.root, world.by("alice"), world.by("bob"), world.by("carol"), world.anonymous, world.ids
    )  # fmt: skip
    tools = f"/projects/{ids['tools']}/packages"
    queries = (
        "", "?order_by=name", "?order_by=version&sort=desc", "?order_by=version&sort=asc",
        "?order_by=created_at&sort=desc",
        "?order_by=type", "?order_by=project_path", "?order_by=x", "?sort=x", "?package_type=pypi", "?package_type=npm",
        "?package_type=x", "?package_name=signal", "?package_name=SIGNAL_box", "?package_version=2.0.0",
        "?status=default",
        "?status=pending_destruction", "?status=x", "?include_versionless=true", "?per_page=2&page=2&order_by=name",
        "?per_page=0",
    )  # fmt: skip
    for query in queries:
        alice.get(f"{tools}{query}")
        alice.get(f"/groups/acme/packages{query}")
    alice.get("/groups/acme/packages?exclude_subgroups=true&order_by=project_path&sort=desc")
    for caller in (root, bob, carol, world.by("erin"), anonymous):
        for path in (tools, "/groups/acme/packages", "/projects/open%2Fsamples/packages", "/groups/open/packages",
                     "/projects/inner%2Fshared/packages"):  # fmt: skip
            caller.get(path)
    found = {(one["name"], one["version"]): one["id"] for one in alice.get(f"{tools}?per_page=100").json}
    for (name, version), number in found.items():
        ids[f"{name} {version}"] = number
    package = ids["signalbox 2.0.0"]
    for caller in (alice, bob, carol, anonymous):
        for path in ("", "/package_files", "/pipelines"):
            caller.get(f"{tools}/{package}{path}")
    for query in (
        "?order_by=file_name&sort=desc",
        "?order_by=created_at",
        "?order_by=x",
        "?per_page=1",
        "?per_page=1&page=2",
    ):
        alice.get(f"{tools}/{package}/package_files{query}")
    for query in ("?per_page=1", "?per_page=21", "?cursor=1", "?cursor=x", "?per_page=1&cursor=999"):
        alice.get(f"{tools}/{package}/pipelines{query}")
    for number in (999999, "x", ids["fieldnotes"]):
        for path in ("", "/package_files", "/pipelines"):
            alice.get(f"{tools}/{number}{path}")
    files = alice.get(f"{tools}/{package}/package_files").json
    world.ids["file"], world.ids["second file"] = files[0]["id"], files[1]["id"]
    for caller in (bob, carol, anonymous):
        caller.delete(f"{tools}/{package}")
        caller.delete(f"{tools}/{package}/package_files/{files[0]['id']}")
    doomed = ids["doomed 1.0"]
    only = alice.get(f"{tools}/{doomed}/package_files").json
    alice.delete(f"{tools}/{doomed}/package_files/999999")
    alice.delete(f"{tools}/{package}/package_files/{only[0]['id']}")
    old = {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}
    alice.delete(f"{tools}/{doomed}/package_files/{only[0]['id']}", headers=old)
    alice.delete(f"{tools}/{doomed}/package_files/{only[0]['id']}")
    alice.get(f"{tools}/{doomed}")
    alice.delete(f"{tools}/{doomed}", headers=old)
    alice.delete(f"{tools}/{doomed}")
    alice.delete(f"{tools}/{doomed}")
    alice.get(f"{tools}?status=pending_destruction")
    anonymous.delete(f"{tools}/{ids['doomed 2.0']}", headers={"JOB-TOKEN": world.tokens["job tools"]})


def releases(world: World) -> None:
    world.recorder.part("rest-releases")
    alice, bob, dave, anonymous, ids = (
        world.by("alice"), world.by("bob"), world.by("dave"), world.anonymous, world.ids
    )  # fmt: skip
    tools = f"/projects/{ids['tools']}/packages"
    package = f"{tools}/{ids['signalbox 1.0.0']}"
    file = f"{tools}/{ids['signalbox 2.0.0']}/package_files/{ids['file']}"
    for path in (package, file):
        for caller in (bob, anonymous):
            caller.put(f"{path}/yank", {"reason": "no"})
            caller.delete(f"{path}/yank")
        for sent in (None, {}, {"reason": "Rounds <b>every</b> measurement"}, {"reason": "x" * 3000}, {"reason": 5},
                     {"reason": ["a"]}, {"reason": "line\nbreak"}):  # fmt: skip
            dave.put(f"{path}/yank", sent)
        dave.delete(f"{path}/yank")
        dave.delete(f"{path}/yank")
        dave.put(f"{path}/yank", {"reason": "Rounds <b>every</b> measurement"})
    dave.put(f"{tools}/999999/yank", {})
    dave.put(f"{tools}/{ids['signalbox 2.0.0']}/package_files/999999/yank", {})
    alice.get(f"{package}/package_files")
    for name in ("signalbox", "Signal_Box", "driver-01", "nothing", "a%20b"):
        status = f"{tools}/names/{name}/status"
        for caller in (bob, anonymous, alice):
            caller.get(status)
            caller.put(status, {"status": "deprecated"})
        for sent in ({}, {"status": "gone"}, {"reason": "no status"}, {"status": "archived", "reason": "Use <x>"},
                     {"status": "quarantined", "reason": "x" * 3000}, {"status": "quarantined", "reason": "Looked at"},
                     {"status": "active"}):  # fmt: skip
            alice.put(status, sent)
    alice.put(f"{tools}/names/old-thing/status", {"status": "archived", "reason": "Go on with signalbox"})
    alice.put(f"{tools}/names/driver-01/status", {"status": "deprecated", "reason": "See driver-02"})
    alice.put(f"{tools}/names/driver-02/status", {"status": "quarantined"})


def protection_rules(world: World) -> None:
    world.recorder.part("rest-protection-rules")
    alice, bob, dave, anonymous, ids = (
        world.by("alice"), world.by("bob"), world.by("dave"), world.anonymous, world.ids
    )  # fmt: skip
    tools = f"/projects/{ids['tools']}/packages"
    rules = f"{tools}/protection/rules"
    good = {"package_name_pattern": "guarded*", "package_type": "pypi", "minimum_access_level_for_push": "maintainer"}
    ids["rule"] = alice.post(rules, good).json["id"]
    for change in (
        {}, {"package_name_pattern": ""}, {"package_name_pattern": None}, {"package_name_pattern": "x" * 300},
        {"package_name_pattern": "a b"}, {"package_name_pattern": "*"}, {"package_type": "npm"}, {"package_type": None},
        {"minimum_access_level_for_push": "developer"}, {"minimum_access_level_for_push": None},
        {"package_name_pattern": "other", "minimum_access_level_for_push": None},
        {"package_name_pattern": "admins-only", "minimum_access_level_for_push": "admin",
            "minimum_access_level_for_delete": "admin"},
        {"package_name_pattern": "second", "minimum_access_level_for_delete": "owner"},
        {"package_name_pattern": "third", "minimum_access_level_for_delete": "maintainer"},
    ):  # fmt: skip
        alice.post(rules, {**good, **change})
    for caller in (bob, world.by("erin"), anonymous):
        caller.post(rules, {**good, "package_name_pattern": "mine"})
        caller.get(rules)
        caller.patch(f"{rules}/{ids['rule']}", {"package_name_pattern": "mine"})
        caller.delete(f"{rules}/{ids['rule']}")
    for change in (
        {}, {"package_name_pattern": "second"}, {"package_name_pattern": "guarded-*"},
        {"minimum_access_level_for_push": "x"},
        {"minimum_access_level_for_push": None}, {"minimum_access_level_for_delete": "owner"},
        {"minimum_access_level_for_push": "owner"}, {"package_type": "x"}, {"package_name_pattern": None},
        {"package_name_pattern": "guarded*", "minimum_access_level_for_push": "maintainer"},
    ):  # fmt: skip
        dave.patch(f"{rules}/{ids['rule']}", change)
    alice.patch(f"{rules}/999999", {"package_name_pattern": "x"})
    alice.get(f"{rules}?per_page=1&page=2")
    listed = alice.get(rules).json
    alice.delete(f"{rules}/{listed[-1]['id']}", headers={"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"})
    alice.delete(f"{rules}/{listed[-1]['id']}")
    alice.delete(f"{rules}/{listed[-1]['id']}")
    guarded = ids["guarded-thing 1.0"]
    world.by("dave").delete(f"{tools}/{guarded}")
    world.anonymous.delete(f"{tools}/{guarded}", headers={"JOB-TOKEN": world.tokens["job tools"]})
    alice.get(f"{tools}/{guarded}")
