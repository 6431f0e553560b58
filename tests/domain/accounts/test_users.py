from __future__ import annotations

from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import select

from registry.database import db, utcnow
from registry.domain import access, instance, namespaces
from registry.domain.access import SHELL
from registry.domain.accounts import access_tokens, passwords, users
from registry.domain.accounts.users import StateChange
from registry.errors import Conflict, Forbidden, InactiveUser, InvalidRecord, NotFound
from registry.models import (
    AccessToken,
    AuditEvent,
    Job,
    Membership,
    Namespace,
    Package,
    Project,
    Role,
    User,
    UserState,
    Visibility,
)
from tests import factories

PASSWORD = "correct horse battery"


def create(username: str = "alice", **fields: Any) -> User:
    given = {"username": username, "email": "alice@example.com", "name": "Alice", "password": None, "by": SHELL}
    return users.create_user(**given | fields)


def test_a_new_user_is_active_and_has_a_personal_namespace(app: Flask, admin: User) -> None:
    user = create(by=factories.signed_in(admin), name=" Alice A. ", details=users.UserDetails(bio="Hello"))

    space = users.personal_namespace(user)
    assert (user.state, user.is_admin, user.is_external, user.name, user.bio) == (
        UserState.ACTIVE, False, False, "Alice A.", "Hello",
    )  # fmt: skip
    assert user.confirmed_at is not None
    assert user.created_by_id == admin.id
    assert (space.full_path, space.full_name, space.visibility) == ("alice", "Alice A.", Visibility.PUBLIC)
    assert access.role_of(user, space) is Role.OWNER
    event = db.session.scalars(select(AuditEvent).where(AuditEvent.target == "alice")).one()
    assert (event.author, event.action) == ("root", "user_created")


def test_whether_a_new_user_creates_groups_is_the_instances_to_say(app: Flask) -> None:
    instance.change_instance(instance.InstanceChanges(can_create_group=False), by=SHELL)

    assert not create("alice").can_create_group
    details = users.UserDetails(can_create_group=True)
    assert create("bob", email="bob@example.com", details=details).can_create_group


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"username": "OLIVIA"}, "Username has already been taken"),
        ({"username": "acme"}, "Username has already been taken"),
        ({"username": "ACME"}, "Username has already been taken"),
        ({"email": "Olivia@Example.com"}, "Email has already been taken"),
        ({"username": "olivia", "email": "olivia@example.com"}, "Email has already been taken"),
    ],
    ids=[
        "user name in other case",
        "path of a group",
        "path of a group in other case",
        "address in other case",
        "both",
    ],
)
def test_user_names_addresses_and_paths_are_taken_without_case(
    group: Namespace, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(Conflict) as refusal:
        create(**fields)

    assert refusal.value.body() == {"message": message}
    assert refusal.value.status == 409


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"username": "a b"}, {"username"}),
        ({"username": ""}, {"username"}),
        ({"username": "admin"}, {"username"}),
        ({"username": "x" * 256}, {"username"}),
        ({"email": "nowhere"}, {"email"}),
        ({"email": "a@b@c"}, {"email"}),
        ({"email": "a b@c"}, {"email"}),
        ({"email": "a\x00@c"}, {"email"}),
        ({"email": ""}, {"email"}),
        ({"email": "a@" + "b" * 254}, {"email"}),
        ({"name": " "}, {"name"}),
        ({"name": "x" * 256}, {"name"}),
        ({"name": "a\nb"}, {"name"}),
        ({"username": "-", "email": "-", "name": ""}, {"username", "email", "name"}),
        ({"password": "short77"}, {"password"}),
        ({"password": "x" * 129}, {"password"}),
    ],
)
def test_invalid_values_are_reported_field_by_field(app: Flask, fields: dict[str, Any], errors: set[str]) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        create(**fields)

    assert set(refusal.value.errors) == errors
    assert db.session.scalars(select(User)).all() == []


def test_a_short_password_is_refused_with_the_message_of_gitlab(app: Flask) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        create(password="1234567")

    assert refusal.value.body() == {"message": {"password": ["is too short (minimum is 8 characters)"]}}


def test_a_user_signs_in_by_name_or_address_without_case(app: Flask) -> None:
    user = create(password=PASSWORD)

    for login in ("alice", "ALICE", " alice ", "alice@example.com", "Alice@EXAMPLE.com"):
        assert users.verify_password(login, PASSWORD) is user, login


def test_anything_else_does_not_sign_in(app: Flask) -> None:
    create(password=PASSWORD)

    for login, password in [
        ("alice", PASSWORD.upper()),
        ("alice", PASSWORD + " "),
        ("alice", PASSWORD[:-1]),
        ("alice", PASSWORD + "\x00"),
        ("alice", ""),
        ("alice", "x" * 100_000),
        ("alice\x00", PASSWORD),
        ("nobody", PASSWORD),
        ("", PASSWORD),
    ]:
        assert users.verify_password(login, password) is None, (login, password[:30])


def test_the_longest_password_is_compared_to_its_end(app: Flask) -> None:
    user = create(password="x" * 128)

    assert users.verify_password("alice", "x" * 128) is user
    assert users.verify_password("alice", "x" * 129) is None
    assert users.verify_password("alice", "x" * 127) is None


def test_a_user_without_a_password_cannot_sign_in(app: Flask) -> None:
    create(password=None)

    assert users.verify_password("alice", "") is None


@pytest.mark.parametrize("change", [StateChange.BLOCK, StateChange.DEACTIVATE])
def test_a_user_who_is_not_active_cannot_sign_in(app: Flask, change: StateChange) -> None:
    user = create(password=PASSWORD)
    users.change_state(user, change, by=SHELL)

    assert users.verify_password("alice", "not the password") is None
    with pytest.raises(InactiveUser):
        users.verify_password("alice", PASSWORD)


def test_a_user_is_found_by_id_and_by_name_without_case(owner: User) -> None:
    assert users.find_user(str(owner.id)) is owner
    assert users.find_user("OLIVIA") is owner


@pytest.mark.parametrize("reference", ["", "0", "99999999999999999999", "nobody", "olivia@example.com", "a\x00", "³"])
def test_an_unknown_user_is_not_found(owner: User, reference: str) -> None:
    with pytest.raises(NotFound) as refusal:
        users.find_user(reference)

    assert refusal.value.message == "404 User Not Found"


def test_a_new_user_name_moves_the_personal_namespace_with_its_projects(owner: User) -> None:
    project = factories.project("own", parent=users.personal_namespace(owner))

    users.change_user(owner, users.UserChanges(username="Liv", name="Liv O."), by=SHELL)

    assert (project.full_path, project.full_name) == ("Liv/own", "Liv O. / Own")
    assert users.find_user("liv") is owner
    assert namespaces.find("liv/own", Project) is project
    assert create("olivia", email="other@example.com").username == "olivia", "the old name is free"


def test_a_new_name_renames_the_personal_namespace(owner: User) -> None:
    project = factories.project("own", parent=users.personal_namespace(owner))

    users.change_user(owner, users.UserChanges(name="Olivia Owner"), by=SHELL)

    assert (project.full_path, project.full_name) == ("olivia/own", "Olivia Owner / Own")


def test_a_user_name_can_change_its_case_only(owner: User) -> None:
    users.change_user(owner, users.UserChanges(username="Olivia"), by=SHELL)

    assert users.personal_namespace(owner).full_path == "Olivia"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"username": "Oscar"}, Conflict),
        ({"username": "acme"}, Conflict),
        ({"email": "OSCAR@example.com"}, Conflict),
        ({"username": "a b"}, InvalidRecord),
        ({"username": "api"}, InvalidRecord),
        ({"email": ""}, InvalidRecord),
        ({"name": ""}, InvalidRecord),
    ],
)
def test_a_refused_change_changes_nothing(
    group: Namespace, owner: User, outsider: User, changes: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        users.change_user(owner, users.UserChanges(bio="new", **changes), by=SHELL)

    db.session.expire_all()
    assert (owner.username, owner.email, owner.name, owner.bio) == ("olivia", "olivia@example.com", "Olivia", "")
    assert users.personal_namespace(owner).full_path == "olivia"


def test_a_bad_password_refuses_the_whole_change(owner: User) -> None:
    with pytest.raises(InvalidRecord):
        users.change_user(owner, users.UserChanges(name="New"), password="short", by=SHELL)

    db.session.expire_all()
    assert owner.name == "Olivia"


ACTIVE, BLOCKED, DEACTIVATED = UserState.ACTIVE, UserState.BLOCKED, UserState.DEACTIVATED


POSSIBLE = {
    (ACTIVE, StateChange.BLOCK): BLOCKED,
    (BLOCKED, StateChange.UNBLOCK): ACTIVE,
    (ACTIVE, StateChange.DEACTIVATE): DEACTIVATED,
    (DEACTIVATED, StateChange.ACTIVATE): ACTIVE,
}


@pytest.mark.parametrize("before", UserState)
@pytest.mark.parametrize("change", StateChange)
def test_a_state_changes_only_as_the_table_has_it(owner: User, before: UserState, change: StateChange) -> None:
    owner.state = before
    db.session.commit()
    if (before, change) in POSSIBLE:
        users.change_state(owner, change, by=SHELL)
        assert owner.state is POSSIBLE[before, change]
        return

    with pytest.raises(Forbidden, match=f"The user is {before} and cannot be made "):
        users.change_state(owner, change, by=SHELL)

    assert owner.state is before


@pytest.mark.parametrize("way", ["block", "deactivate", "demote", "delete"])
def test_the_last_active_administrator_stays(admin: User, way: str) -> None:
    users.change_state(factories.user("former", is_admin=True), StateChange.BLOCK, by=SHELL)
    ways = {
        "block": lambda: users.change_state(admin, StateChange.BLOCK, by=SHELL),
        "deactivate": lambda: users.change_state(admin, StateChange.DEACTIVATE, by=SHELL),
        "demote": lambda: users.change_user(admin, users.UserChanges(is_admin=False), by=SHELL),
        "delete": lambda: users.delete_user(admin, by=SHELL),
    }

    with pytest.raises(Forbidden):
        ways[way]()

    db.session.expire_all()
    assert (admin.state, admin.is_admin) == (ACTIVE, True)
    factories.user("second", is_admin=True)
    ways[way]()


def test_a_user_is_deleted_with_namespace_memberships_and_tokens(project: Project, developer: User) -> None:
    own = factories.project("own", parent=users.personal_namespace(developer))
    factories.access_token(developer)
    factories.job(project, developer)

    users.delete_user(developer, by=SHELL)

    assert users.by_reference("dora") is None
    for model in (AccessToken, Job):
        assert db.session.scalars(select(model)).all() == []
    assert db.session.scalar(select(Namespace.id).where(Namespace.id.in_([own.id]))) is None
    assert [member.user.username for member in namespaces.members(project)] == []
    assert create("dora").username == "dora"


def test_packages_published_elsewhere_by_a_deleted_user_stay(project: Project, developer: User) -> None:
    package = Package(
        project_id=project.id, name="demo", normalized_name="demo", version="1.0", creator_id=developer.id,
        created_at=utcnow(),
    )  # fmt: skip
    db.session.add(package)
    db.session.commit()

    users.delete_user(developer, by=SHELL)

    db.session.refresh(package)
    assert package.creator_id is None


def test_the_only_owner_of_a_group_is_not_deleted(group: Namespace, owner: User) -> None:
    with pytest.raises(Conflict) as refusal:
        users.delete_user(owner, by=SHELL)

    assert refusal.value.body() == {"message": "User cannot be removed while is the sole-owner of a group"}
    factories.member(group, Role.OWNER)
    users.delete_user(owner, by=SHELL)
    assert users.by_reference("olivia") is None


def test_an_owner_of_a_subgroup_is_deleted_while_there_is_one_above(group: Namespace) -> None:
    sub = factories.group("sub", parent=group)  # type: ignore[arg-type]
    lead = factories.member(sub, Role.OWNER)

    users.delete_user(lead, by=SHELL)

    assert db.session.scalars(select(Membership).where(Membership.user_id == lead.id)).all() == []


def test_changes_of_a_user_are_recorded(owner: User) -> None:
    users.change_user(owner, users.UserChanges(name="New"), password=PASSWORD, by=SHELL)
    users.change_state(owner, StateChange.BLOCK, by=SHELL)
    users.delete_user(owner, by=SHELL)

    events = db.session.scalars(select(AuditEvent).where(AuditEvent.target == "olivia").order_by(AuditEvent.id)).all()
    assert [event.action for event in events] == [
        "user_created", "user_password_changed", "user_changed", "user_blocked", "user_deleted",
    ]  # fmt: skip
    assert events[2].details == {"name": {"before": "Olivia", "after": "New"}}
    assert PASSWORD not in str([event.details for event in events])


def test_tokens_of_a_blocked_user_stay_for_when_they_come_back(owner: User) -> None:
    secret = factories.access_token(owner)

    users.change_state(owner, StateChange.BLOCK, by=SHELL)
    users.change_state(owner, StateChange.UNBLOCK, by=SHELL)

    found = access_tokens.find_access_token(secret, factories.token_key())
    assert found is not None
    assert found.is_active(utcnow())


@pytest.mark.parametrize(
    ("is_private", "state", "is_shown"),
    [(False, ACTIVE, True), (True, ACTIVE, False), (False, BLOCKED, False), (False, DEACTIVATED, False)],
)
def test_a_profile_is_shown_unless_it_is_private_or_its_user_is_not_active(
    admin: User, outsider: User, is_private: bool, state: UserState, is_shown: bool
) -> None:
    user = factories.user(private_profile=is_private)
    user.state = state

    assert users.shows_profile(user, factories.signed_in(outsider)) is is_shown
    assert users.shows_profile(user, access.ANONYMOUS) is is_shown
    assert users.shows_profile(user, factories.signed_in(user))
    assert users.shows_profile(user, factories.signed_in(admin))


class WatchedHasher(PasswordHasher):
    """Notes whether the session has a transaction for which others wait while a password is hashed."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.in_transactions: list[bool] = []

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.in_transactions.append("writing" in db.session.info)
        return super().hash(password, salt=salt)


def test_others_do_not_wait_while_a_password_is_hashed(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = WatchedHasher()
    monkeypatch.setattr(passwords, "HASHER", hasher)
    user = create(password=PASSWORD)

    users.change_user(user, users.UserChanges(name="Alicia"), password="another secret", by=SHELL)
    passwords.set_password(user, "yet another secret", by=SHELL)

    assert hasher.in_transactions == [False] * 3
    assert users.verify_password("alice", "yet another secret") is user


@pytest.mark.parametrize("password", ["short", "x" * 200])
def test_a_bad_password_is_refused_after_other_values(app: Flask, owner: User, password: str) -> None:
    user = create()

    with pytest.raises(Conflict):
        users.change_user(user, users.UserChanges(email=owner.email), password=password, by=SHELL)
    with pytest.raises(InvalidRecord):
        users.change_user(user, users.UserChanges(name="Alicia"), password=password, by=SHELL)

    db.session.refresh(user)
    assert user.name == "Alice"
