"""The REST API, resource by resource."""

from __future__ import annotations

from tests.recording.world import PASSWORD, World


def play(world: World) -> None:
    instance(world)
    users(world)


def instance(world: World) -> None:
    world.recorder.part("rest-instance")
    for caller in (world.anonymous, world.root):
        for path in ("/version", "/metadata", "/user", "/application/settings", "/application/plan_limits"):
            caller.get(path)


def users(world: World) -> None:
    world.recorder.part("rest-users")
    root, anonymous = world.root, world.anonymous
    for username, name in (
        ("alice", "Alice Anderson"),
        ("bob", "Bob Brown"),
        ("carol", "Carol 日本"),
        ("dave", "Dave"),
    ):
        made = {
            "username": username, "name": name, "email": f"{username}@example.com", "password": PASSWORD,
            "skip_confirmation": True,
        }  # fmt: skip
        user_id = world.keep(username, root.post("/users", made))
        token = root.post(f"/users/{user_id}/personal_access_tokens", {"name": "workstation", "scopes": ["api"]})
        world.tokens[username] = token.json["token"]
    anonymous.get("/users")
    root.get("/users")
